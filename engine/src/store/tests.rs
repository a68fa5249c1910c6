use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::DataType;
use bytes::Bytes;
use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::operations::create::CreateBuilder;

use super::*;
use crate::model::{
    Case, Detection, Entity, EntityRole, Incident, InputId, InputOffset, PathStep, Rejected, Relation, RoledEntity,
    ScorePart, Severity, Verdict, WorkflowStatus,
};

pub(crate) const START: i64 = 1_770_000_000_000_000;
const DAY: i64 = 86_400_000_000;

/// Events named `ids`, a day apart.
pub(crate) fn events(ids: &[&str]) -> RecordBatch {
    let rows = ids.len();
    let columns = Table::Events
        .schema()
        .fields()
        .iter()
        .map(|field| -> ArrayRef {
            let times = (0..rows as i64).map(|row| START + row * DAY);
            match (field.name().as_str(), field.data_type()) {
                ("event_id", _) => Arc::new(StringViewArray::from_iter_values(ids)),
                ("class", _) => Arc::new(StringViewArray::from_iter_values(vec!["api_activity"; rows])),
                (_, DataType::Utf8View) if !field.is_nullable() => {
                    Arc::new(StringViewArray::from_iter_values(vec![field.name(); rows]))
                }
                (_, DataType::Timestamp(..)) => {
                    Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
                }
                (_, DataType::Int64) if !field.is_nullable() => Arc::new(Int64Array::from_iter_values(0..rows as i64)),
                (_, other) => new_null_array(other, rows),
            }
        })
        .collect();
    RecordBatch::try_new(Table::Events.schema().clone(), columns).unwrap()
}

pub(crate) fn detection(id: &str) -> Detection {
    Detection {
        detection_id: id.to_string(),
        tenant: "acme".to_string(),
        time: START,
        plugin: "prompt-injection".to_string(),
        plugin_version: "1.0.0".to_string(),
        rule: "override".to_string(),
        severity: Severity::High,
        title: "Instructions overridden".to_string(),
        message: "The prompt tells the model to ignore its instructions".to_string(),
        techniques: vec!["AML.T0051".to_string()],
        entities: vec![
            RoledEntity {
                role: EntityRole::Actor,
                entity: Entity::new("gateway_key", "k1"),
            },
            RoledEntity {
                role: EntityRole::Context,
                entity: Entity::new("address", "2001:db8::1"),
            },
        ],
        event_ids: vec!["e1".to_string(), "e2".to_string()],
        layer: "gateway".to_string(),
        action: id.to_string(),
        late: false,
    }
}

pub(crate) fn relation(event_id: &str, first_time: i64, count: u64) -> Relation {
    Relation {
        tenant: "acme".into(),
        from: Entity::new("session", "arn:aws:sts::1:assumed-role/a/b"),
        kind: "assumed".into(),
        to: Entity::new("role", "arn:aws:iam::1:role/a"),
        first_time,
        last_time: first_time + 10,
        count,
        event_id: event_id.into(),
        layer: "cloud".into(),
    }
}

pub(crate) fn incident(id: &str, revision: u32, detections: &[&str]) -> Incident {
    Incident {
        tenant: "acme".to_string(),
        revision,
        severity: Severity::Critical,
        score: 87.5,
        score_parts: vec![ScorePart {
            name: "severity".to_string(),
            points: 87.5,
            why: "critical".to_string(),
        }],
        title: format!("Revision {revision}"),
        first_time: START,
        last_time: START + 1,
        techniques: vec!["T1078".to_string()],
        entities: vec!["gateway_key:k1".to_string()],
        layers: vec!["cloud".to_string(), "gateway".to_string()],
        folds: detections.iter().map(|id| detection(id).fold()).collect(),
        path: (1..=revision)
            .map(|step| PathStep {
                step,
                time: START + i64::from(step),
                from_entity: "gateway_key:k1".to_string(),
                to_entity: String::new(),
                action: "chat".to_string(),
                technique: (step == 1).then(|| "T1078".to_string()),
                detection_id: detections.first().map(|id| id.to_string()),
                why: "same key".to_string(),
            })
            .collect(),
        ..Incident::bare(id, detections)
    }
}

pub(crate) fn epoch(epoch: u64, tables: impl IntoIterator<Item = (Table, RecordBatch)>) -> EpochData {
    let offsets = [(
        InputId::kafka("cloud", "trail", 0),
        InputOffset::Kafka {
            next: epoch as i64 * 10,
        },
    )];
    EpochData {
        epoch,
        tables: tables.into_iter().map(|(table, batch)| (table, vec![batch])).collect(),
        offsets: offsets.into_iter().collect(),
        state: BTreeMap::from([("graph".to_string(), Bytes::from(format!("graph {epoch}")))]),
        plugins: BTreeMap::from([("prompt-injection".to_string(), "abc".to_string())]),
        plugin_configs: BTreeMap::from([("prompt-injection".to_string(), "def".to_string())]),
        rules: "ghi".to_string(),
        sequences: "jkl".to_string(),
    }
}

async fn ids(view: &View) -> Vec<String> {
    let mut ids: Vec<String> = scan(view, Table::Events, None)
        .await
        .unwrap()
        .iter()
        .flat_map(|batch| {
            let column = arrow::compute::cast(batch.column_by_name("event_id").unwrap(), &DataType::Utf8View).unwrap();
            column
                .as_string_view()
                .iter()
                .flatten()
                .map(str::to_string)
                .collect::<Vec<_>>()
        })
        .collect();
    ids.sort();
    ids
}

fn parquet_files(dir: &Path) -> usize {
    disk::files_below(&dir.join("tables")).unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_there_after_a_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, recovered) = Store::open(dir.path()).await.unwrap();
    assert_eq!(recovered.epoch, 0);
    let rejected = Rejected {
        tenant: "acme".to_string(),
        source: "cloud".to_string(),
        position: "a/0/1".to_string(),
        reason: "no JSON".to_string(),
        raw: vec![0, 159, 146, 150],
        ingested_time: START,
        newest_before: None,
    };
    let detections = vec![detection("d1"), detection("d2")];
    let relations = vec![relation("e1", START, 3)];
    let tables = [
        (Table::Events, events(&["e1", "e2", "e3"])),
        (Table::Detections, rows::detections_to_batch(&detections).unwrap()),
        (Table::RelationParts, rows::relations_to_batch(&relations).unwrap()),
        (Table::Rejected, rows::rejected_to_batch(&[rejected]).unwrap()),
    ];
    store.commit(epoch(1, tables)).await.unwrap();
    let incidents = vec![incident("i1", 2, &["d1", "d2"])];
    store
        .commit(epoch(2, rows::incidents_to_batches(&incidents, START).unwrap()))
        .await
        .unwrap();
    drop(store);

    let (store, recovered) = Store::open(dir.path()).await.unwrap();
    assert_eq!(recovered.epoch, 2);
    assert_eq!(
        recovered.offsets[&InputId::kafka("cloud", "trail", 0)],
        InputOffset::Kafka { next: 20 }
    );
    assert_eq!(
        recovered.state,
        BTreeMap::from([("graph".to_string(), Bytes::from("graph 2"))])
    );
    assert_eq!(recovered.plugins["prompt-injection"], "abc");
    assert_eq!(ids(&store.views().current()).await, ["e1", "e2", "e3"]);
    let store = &store;
    let read = |table| async move { (table, store.scan(table, None).await) };
    assert_eq!(
        rows::detections_from_batches(&read(Table::Detections).await.1.unwrap()).unwrap(),
        detections
    );
    assert_eq!(
        rows::relations_from_batches(&read(Table::RelationParts).await.1.unwrap()).unwrap(),
        relations
    );
    let held = rows::incidents_from_batches(
        &read(Table::IncidentRevisions).await.1.unwrap(),
        &read(Table::IncidentPath).await.1.unwrap(),
        &read(Table::IncidentEvidence).await.1.unwrap(),
    );
    assert_eq!(held.unwrap(), incidents);
    let of_one_day = store
        .scan(Table::Events, Some("date = '2026-02-02' AND class = 'api_activity'"))
        .await
        .unwrap();
    assert_eq!(of_one_day.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    assert_eq!(
        parquet_files(dir.path()),
        3 + 3 + 3,
        "three days of events, and one file for each other table with rows"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_finishes_what_a_manifest_began_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(dir.path()).await.unwrap();
    store.commit(epoch(1, [(Table::Events, events(&["a"]))])).await.unwrap();
    // Died after the manifest: one of two logs has the epoch.
    let tables = [
        (Table::Events, events(&["b"])),
        (
            Table::Detections,
            rows::detections_to_batch(&[detection("d1")]).unwrap(),
        ),
    ];
    let manifest = prepare(dir.path(), &store.newest, epoch(2, tables)).unwrap();
    let adds = manifest.tables[&Table::Detections].clone();
    let delta = store.deltas.get_mut(&Table::Detections).unwrap();
    delta::apply(dir.path(), Table::Detections, delta, 2, adds)
        .await
        .unwrap();
    drop(store);

    // A reader while nobody writes sees the epoch whole …
    let view = open_readonly(dir.path()).await.unwrap();
    assert_eq!(
        (view.epoch, ids(&view).await),
        (2, vec!["a".to_string(), "b".to_string()])
    );
    // … and so do starts, however many.
    for _ in 0..2 {
        let (store, recovered) = Store::open(dir.path()).await.unwrap();
        assert_eq!((recovered.epoch, ids(&store.views().current()).await.len()), (2, 2));
        let detections = store.scan(Table::Detections, None).await.unwrap();
        assert_eq!(detections.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_without_a_manifest_are_garbage() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(dir.path()).await.unwrap();
    store.commit(epoch(1, [(Table::Events, events(&["a"]))])).await.unwrap();
    let events_dir = delta::table_dir(dir.path(), Table::Events);
    parts::write_table(&events_dir, Table::Events, 2, &[events(&["b"])]).unwrap();
    std::fs::write(dir.path().join("state").join("00000000000000000002.bin"), b"half").unwrap();
    let foreign = events_dir.join("part-00000-somebody-else.snappy.parquet");
    std::fs::write(&foreign, b"").unwrap();
    drop(store);
    let (mut store, recovered) = Store::open(dir.path()).await.unwrap();
    assert_eq!((recovered.epoch, ids(&store.views().current()).await.len()), (1, 1));
    assert_eq!(parquet_files(dir.path()), 2, "the one of epoch 1, and what is not ours");
    assert_eq!(
        disk::file_names(&dir.path().join("state")).unwrap(),
        ["00000000000000000001.bin"]
    );
    // The epoch's number is free for another try.
    store.commit(epoch(2, [(Table::Events, events(&["c"]))])).await.unwrap();
    assert_eq!(ids(&store.views().current()).await, ["a", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_manifest_costs_no_data() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(dir.path()).await.unwrap();
    for (number, id) in [(1, "a"), (2, "b"), (3, "c")] {
        store
            .commit(epoch(number, [(Table::Events, events(&[id]))]))
            .await
            .unwrap();
    }
    drop(store);
    let newest = Manifest::path(dir.path(), 3);
    let held = std::fs::read(&newest).unwrap();
    let files = parquet_files(dir.path());
    // The newest, then all of them.
    for lost in [&[3][..], &[1, 2]] {
        for epoch in lost {
            std::fs::remove_file(Manifest::path(dir.path(), *epoch)).unwrap();
        }
        let refused = Store::open(dir.path()).await.err().unwrap().to_string();
        assert!(
            refused.contains("00000000000000000003.json is missing") && refused.contains("restore"),
            "{refused}"
        );
        assert_eq!(parquet_files(dir.path()), files);
    }
    std::fs::write(&newest, held).unwrap();
    let (store, recovered) = Store::open(dir.path()).await.unwrap();
    assert_eq!((recovered.epoch, ids(&store.views().current()).await.len()), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_leave_the_tail_when_they_appear_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(dir.path()).await.unwrap();
    let views = store.views();
    let tail = |names: &[&str]| BTreeMap::from([(Table::Events, vec![events(names)])]);
    views.publish_tail(1, tail(&["a"]));
    views.publish_tail(1, tail(&["a", "b"]));
    views.publish_tail(2, tail(&["c"]));
    let before = views.current();
    assert_eq!(ids(&before).await, ["a", "b", "c"]);
    let filtered = scan(&before, Table::Events, Some("date = '2026-02-03'")).await.unwrap();
    assert_eq!(
        filtered.iter().map(RecordBatch::num_rows).sum::<usize>(),
        1,
        "filters hold for the tail too"
    );
    store
        .commit(epoch(1, [(Table::Events, events(&["a", "b"]))]))
        .await
        .unwrap();
    let after = views.current();
    assert_eq!(after.tables[&Table::Events].tail.len(), 1);
    assert_eq!(ids(&after).await, ["a", "b", "c"]);
    // Too late: epoch 1 is on disk.
    views.publish_tail(1, tail(&["a", "b"]));
    assert_eq!(ids(&views.current()).await, ["a", "b", "c"]);
    assert_eq!(ids(&before).await, ["a", "b", "c"], "a view that is held does not move");
    assert_eq!(before.epoch, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_the_same_in_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(dir.path()).await.unwrap();
    let views = store.views();
    let (mut sender, mut receiver) = (ViewSender::default(), ViewReceiver::new(dir.path()));
    let mut sizes = Vec::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| events(&[name]));
    for step in 0..6 {
        match step {
            0 => {}
            1 => views.publish_tail(1, BTreeMap::from([(Table::Events, vec![a.clone()])])),
            2 => views.publish_tail(1, BTreeMap::from([(Table::Events, vec![a.clone(), b.clone()])])),
            3 => views.publish_tail(2, BTreeMap::from([(Table::Events, vec![c.clone()])])),
            4 => {
                let rows = events(&["a", "b"]);
                store.commit(epoch(1, [(Table::Events, rows)])).await.unwrap();
            }
            _ => {
                store.commit(epoch(2, [(Table::Events, c.clone())])).await.unwrap();
            }
        }
        let mut message = Vec::new();
        let view = views.current();
        sender.send(&view, &mut message).unwrap();
        sizes.push(message.len());
        let received = receiver.read(&mut message.as_slice()).unwrap().unwrap();
        let mirrored = receiver.view(received).await.unwrap();
        assert_eq!(mirrored.epoch, view.epoch);
        assert_eq!(ids(&mirrored).await, ids(&view).await, "step {step}");
        for (table, held) in &view.tables {
            assert_eq!(mirrored.tables[table].tail, held.tail, "step {step}");
        }
    }
    assert_eq!(ids(&views.current()).await, ["a", "b", "c"]);
    // Each row is sent once, and none when it is on disk.
    assert!(
        sizes[2] < sizes[1] * 5 / 4 && sizes[4] < sizes[1] / 2 && sizes[5] < sizes[1] / 2,
        "{sizes:?}"
    );
    assert!(receiver.read(&mut [].as_slice()).unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_engine_writes_and_anybody_reads() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        open_readonly(dir.path()).await,
        Err(StoreError::NoData { .. })
    ));
    let (mut store, _) = Store::open(dir.path()).await.unwrap();
    store.commit(epoch(1, [(Table::Events, events(&["a"]))])).await.unwrap();
    let error = Store::open(dir.path()).await.err().unwrap();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert_eq!(ids(&open_readonly(dir.path()).await.unwrap()).await, ["a"]);
    assert!(matches!(
        store.commit(epoch(1, [])).await,
        Err(StoreError::EpochExists { epoch: 1, .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_another_shape_are_refused_before_anything_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(dir.path()).await.unwrap();
    let error = store
        .commit(epoch(1, [(Table::Rejected, events(&["a"]))]))
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("`event_id`"), "{error}");
    drop(store);
    assert_eq!(Store::open(dir.path()).await.unwrap().1.epoch, 0);
}

#[test]
fn state_that_does_not_change_is_carried_forward_in_few_files() {
    let dir = tempfile::tempdir().unwrap();
    disk::create_dir(&dir.path().join("state")).unwrap();
    disk::create_dir(&dir.path().join("epochs")).unwrap();
    let mut newest = Manifest::zero();
    for epoch in 1..=200u64 {
        let mut changed = BTreeMap::from([(format!("shard {}", epoch % 60), Bytes::from(vec![epoch as u8; 4]))]);
        if epoch == 1 {
            changed.insert("rare".to_string(), Bytes::from_static(b"still here"));
            changed.insert("gone".to_string(), Bytes::from_static(b"x"));
        }
        if epoch == 2 {
            changed.insert("gone".to_string(), Bytes::new());
        }
        let state = newest.write_state(dir.path(), epoch, changed).unwrap();
        newest = Manifest {
            epoch,
            state,
            ..Manifest::zero()
        };
        newest.publish(dir.path()).unwrap();
        Manifest::collect_garbage(dir.path()).unwrap();
    }
    let state = newest.read_state(dir.path()).unwrap();
    assert_eq!(state["rare"], Bytes::from_static(b"still here"));
    assert_eq!(state["shard 20"], Bytes::from(vec![200u8; 4]));
    assert_eq!(state["shard 21"], Bytes::from(vec![141u8; 4]));
    assert!(!state.contains_key("gone"));
    let files = disk::file_names(&dir.path().join("state")).unwrap().len();
    assert!(files <= 32 + manifest::MANIFESTS_KEPT, "{files} state files");
    assert_eq!(
        disk::file_names(&dir.path().join("epochs")).unwrap().len(),
        manifest::MANIFESTS_KEPT
    );
}

#[test]
fn incidents_come_back_the_same_in_whatever_order_their_rows_come() {
    let mut one = incident("i1", 3, &["d3", "d1", "d2"]);
    one.score_parts[0].points = 0.1 + 0.2;
    one.score_parts.push(ScorePart {
        name: "reach".to_string(),
        points: 5e-324,
        why: String::new(),
    });
    one.case = Case {
        status: WorkflowStatus::OnHold,
        assignee: Some("bob".to_string()),
        verdict: Some(Verdict::TruePositive),
        silences: vec!["a".to_string(), "b".to_string()],
        withheld: true,
        ..Case::default()
    };
    let incidents = vec![one, incident("i2", 1, &["d9"])];
    let batches = rows::incidents_to_batches(&incidents, START).unwrap();
    let reversed = |table: Table| {
        let batch = &batches[&table];
        let rows: Vec<u32> = (0..batch.num_rows() as u32).rev().collect();
        [arrow::compute::take_record_batch(batch, &arrow::array::UInt32Array::from(rows)).unwrap()]
    };
    let mut back = rows::incidents_from_batches(
        &reversed(Table::IncidentRevisions),
        &reversed(Table::IncidentPath),
        &reversed(Table::IncidentEvidence),
    )
    .unwrap();
    back.reverse();
    assert_eq!(back, incidents);
    assert_eq!(back[0].content_id(), incidents[0].content_id());
}

#[test]
fn damaged_state_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    disk::create_dir(&dir.path().join("state")).unwrap();
    let changed = BTreeMap::from([("a".to_string(), Bytes::from_static(b"abc"))]);
    let state = Manifest::zero().write_state(dir.path(), 1, changed).unwrap();
    let manifest = Manifest {
        epoch: 1,
        state,
        ..Manifest::zero()
    };
    let file = dir.path().join("state").join("00000000000000000001.bin");
    std::fs::write(&file, b"abd").unwrap();
    assert!(matches!(
        manifest.read_state(dir.path()),
        Err(StoreError::Damaged { .. })
    ));
    std::fs::write(&file, b"ab").unwrap();
    assert!(matches!(
        manifest.read_state(dir.path()),
        Err(StoreError::Damaged { .. })
    ));
}

#[test]
fn a_manifest_is_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    disk::create_dir(&dir.path().join("epochs")).unwrap();
    let manifest = Manifest {
        epoch: 1,
        ..Manifest::zero()
    };
    manifest.publish(dir.path()).unwrap();
    assert!(matches!(
        manifest.publish(dir.path()),
        Err(StoreError::EpochExists { epoch: 1, .. })
    ));
    assert_eq!(disk::file_names(&dir.path().join("epochs")).unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_checkpointed_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(dir.path()).await.unwrap();
    for number in 1..=52 {
        let row = rows::detections_to_batch(&[detection(&format!("d{number}"))]).unwrap();
        store.commit(epoch(number, [(Table::Detections, row)])).await.unwrap();
    }
    drop(store);
    let log = delta::table_dir(dir.path(), Table::Detections).join("_delta_log");
    let checkpoints = disk::file_names(&log)
        .unwrap()
        .iter()
        .filter(|name| name.contains(".checkpoint"))
        .count();
    assert!(checkpoints >= 1, "{:?}", disk::file_names(&log).unwrap());
    let (store, recovered) = Store::open(dir.path()).await.unwrap();
    assert_eq!(recovered.epoch, 52);
    let rows = store
        .scan(Table::Detections, Some("detection_id = 'd7'"))
        .await
        .unwrap();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
}

#[test]
fn invented_times_cost_files_not_memory() {
    let rows = 300i64;
    let names: Vec<String> = (0..rows).map(|row| format!("e{row}")).collect();
    let batch = events(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let dir = tempfile::tempdir().unwrap();
    let adds = parts::write_table(dir.path(), Table::Events, 7, &[batch.clone(), batch]).unwrap();
    assert_eq!(adds.len() as i64, rows, "a file a day, with the rows of both batches");
    assert!(adds.iter().all(|add| {
        add.stats
            .as_deref()
            .is_some_and(|stats| stats.contains("\"numRecords\":2"))
    }));
    assert!(adds.iter().all(|add| parts::epoch_of(Path::new(&add.path)) == Some(7)));
}

#[test]
fn times_beyond_the_calendar_still_have_a_date() {
    let batch = events(&["a", "b"]);
    let mut columns = batch.columns().to_vec();
    let index = batch.schema().index_of("time").unwrap();
    columns[index] = Arc::new(TimestampMicrosecondArray::from(vec![i64::MIN, i64::MAX]).with_timezone("UTC"));
    let batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let adds = parts::write_table(dir.path(), Table::Events, 1, &[batch]).unwrap();
    let dates: Vec<_> = adds
        .iter()
        .filter_map(|add| add.partition_values["date"].clone())
        .collect();
    assert_eq!(dates, ["2000-01-01", "2100-01-01"]);
    let stats: serde_json::Value = serde_json::from_str(adds[0].stats.as_deref().unwrap()).unwrap();
    assert_eq!(stats["numRecords"], 1);
    assert!(stats["minValues"].get("time").is_none());
    assert_eq!(stats["minValues"]["tenant"], "tenant");
}

#[tokio::test]
async fn columns_that_are_new_since_are_added() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).await.unwrap());
    // The table as a version without `reason` would have made it.
    let table = Table::PluginHealth;
    let at = delta::table_dir(dir.path(), table);
    std::fs::remove_dir_all(&at).unwrap();
    std::fs::create_dir(&at).unwrap();
    let columns: StructType = table.stored_schema().as_ref().try_into_kernel().unwrap();
    CreateBuilder::new()
        .with_location(at.to_string_lossy())
        .with_columns(columns.fields().filter(|field| field.name() != "reason").cloned())
        .await
        .unwrap();
    let refused = open_readonly(dir.path()).await.err().unwrap().to_string();
    assert!(refused.contains("`reason` is missing on disk"), "{refused}");
    let (store, _) = Store::open(dir.path()).await.unwrap();
    assert!(store.scan(table, Some("reason IS NULL")).await.unwrap().is_empty());
    drop(store);
    open_readonly(dir.path()).await.unwrap();
}

const KILLED_DIR: &str = "SENTRAIL_TEST_KILLED_DIR";
const KILLED_EPOCHS: u64 = 4;

/// Not a test of its own: the process that the next one kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by a_commit_that_is_killed_is_whole_or_absent"]
async fn commits_until_it_is_killed() {
    let Ok(dir) = std::env::var(KILLED_DIR) else { return };
    let (mut store, recovered) = Store::open(Path::new(&dir)).await.unwrap();
    for number in recovered.epoch + 1..=KILLED_EPOCHS {
        let name = format!("e{number}");
        let tables = [
            (Table::Events, events(&[&name])),
            (
                Table::Detections,
                rows::detections_to_batch(&[detection(&name)]).unwrap(),
            ),
        ];
        store.commit(epoch(number, tables)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_killed_is_whole_or_absent() {
    let steps = [
        "before_parquet",
        "after_parquet",
        "after_state",
        "before_manifest",
        "after_manifest",
        "between_logs",
        "after_logs",
    ];
    let kills = steps
        .iter()
        .flat_map(|step| (1..=3).map(move |times| format!("store.{step}:{times}")));
    for kill in kills {
        let dir = tempfile::tempdir().unwrap();
        let run = |failpoint: &str| {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "store::tests::commits_until_it_is_killed", "--ignored"])
                .env(KILLED_DIR, dir.path())
                .env(failpoint::FAILPOINT_ENV, failpoint)
                .output()
                .unwrap()
        };
        let killed = run(&kill);
        assert!(!killed.status.success(), "{kill} was never reached");
        let view = open_readonly(dir.path()).await.unwrap();
        let (read, read_epoch) = (ids(&view).await, view.epoch);
        let (store, recovered) = Store::open(dir.path()).await.unwrap();
        let wanted: Vec<String> = (1..=recovered.epoch).map(|number| format!("e{number}")).collect();
        assert_eq!(ids(&store.views().current()).await, wanted, "{kill}");
        assert_eq!(
            (read, read_epoch),
            (wanted, recovered.epoch),
            "{kill}: a reader sees what a start does"
        );
        let detections = store.scan(Table::Detections, None).await.unwrap();
        assert_eq!(
            detections.iter().map(RecordBatch::num_rows).sum::<usize>() as u64,
            recovered.epoch,
            "{kill}"
        );
        let state = (recovered.epoch > 0).then(|| Bytes::from(format!("graph {}", recovered.epoch)));
        assert_eq!(recovered.state.get("graph").cloned(), state, "{kill}");
        println!(
            "killed at {kill}: {} of {KILLED_EPOCHS} epochs were whole",
            recovered.epoch
        );
        drop(store);
        assert!(run("").status.success(), "{kill}: going on");
        let view = open_readonly(dir.path()).await.unwrap();
        assert_eq!(
            (view.epoch, ids(&view).await.len() as u64),
            (KILLED_EPOCHS, KILLED_EPOCHS),
            "{kill}"
        );
    }
}
