//! The laws of the stage: order, restarts, and guests that misbehave. The hostile guests are built from tests/guests; where they
//! are not built, their tests say so and pass.

mod guests;
mod hostile;
mod lasting;
mod reloading;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, ListBuilder, RecordBatch, StringViewArray, StringViewBuilder, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::datatypes::DataType;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::Watermarks;
use super::findings::needed_columns;
use super::layout::{LaidColumn, LaidValues, Selection, column, text_at, times};
use super::manifest::{PluginManifest, PluginRule};
use super::order::{Progress, shard_of};
use super::reorder::ReorderBuffer;
use crate::model::{EventBatch, EventSchema, Micros, Severity};

/// One event of a test.
#[derive(Clone, Debug)]
struct Event {
    id: String,
    time: Micros,
    tenant: &'static str,
    layer: &'static str,
    user: Option<String>,
    operation: String,
    flags: Vec<&'static str>,
}

fn event(number: usize, time: Micros, user: &str, operation: &str) -> Event {
    Event {
        id: format!("event-{number:05}"),
        time,
        tenant: "acme",
        layer: "cloud",
        user: Some(user.to_owned()),
        operation: operation.to_owned(),
        flags: Vec::new(),
    }
}

/// Events of a few users with equal times among them.
fn events(count: usize) -> Vec<Event> {
    (0..count)
        .map(|number| {
            event(
                number,
                (number / 3) as Micros * 1000,
                &format!("user-{}", number % 17),
                &format!("Op{number}"),
            )
        })
        .collect()
}

fn batch(events: &[Event]) -> EventBatch {
    let text = |of: &dyn Fn(&Event) -> String| -> ArrayRef {
        Arc::new(events.iter().map(|event| Some(of(event))).collect::<StringViewArray>())
    };
    let columns = EventSchema::get()
        .columns()
        .iter()
        .zip(EventSchema::get().arrow().fields());
    let columns: Vec<ArrayRef> = columns
        .map(|(declared, field)| match declared.name.as_str() {
            "event_id" => text(&|event| event.id.clone()),
            "tenant" => text(&|event| event.tenant.to_owned()),
            "layer" => text(&|event| event.layer.to_owned()),
            "api_operation" => text(&|event| event.operation.clone()),
            "actor_user_uid" => Arc::new(
                events
                    .iter()
                    .map(|event| event.user.clone())
                    .collect::<StringViewArray>(),
            ),
            "ai_tool_names" | "flags" => {
                let mut list = ListBuilder::new(StringViewBuilder::new());
                for event in events {
                    event.flags.iter().for_each(|flag| list.values().append_value(flag));
                    list.append(!event.flags.is_empty());
                }
                Arc::new(list.finish())
            }
            _ => match field.data_type() {
                DataType::Timestamp(..) => Arc::new(
                    TimestampMicrosecondArray::from_iter_values(events.iter().map(|event| event.time))
                        .with_timezone("UTC"),
                ),
                _ if field.is_nullable() => new_null_array(field.data_type(), events.len()),
                DataType::Int64 => Arc::new(Int64Array::from(vec![0; events.len()])),
                _ => text(&|_| String::new()),
            },
        })
        .collect();
    EventBatch::new(RecordBatch::try_new(EventSchema::get().arrow().clone(), columns).expect("columns of the schema"))
}

/// The events so that none comes more than `bound` after its place in time.
fn shuffled(events: &[Event], bound: usize, seed: u64) -> Vec<Event> {
    let mut shuffled = events.to_vec();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    shuffled.chunks_mut(bound).for_each(|chunk| chunk.shuffle(&mut random));
    shuffled
}

#[test]
fn rows_are_released_in_order_however_they_arrive() {
    let events = events(1000);
    let expected: Vec<String> = events.iter().map(|event| event.id.clone()).collect();
    for (seed, size) in [(1, 1), (2, 7), (3, 64), (4, 1000)] {
        let mut buffer = ReorderBuffer::new(1 << 30);
        let mut released = Vec::new();
        for (step, part) in shuffled(&events, 1000, seed).chunks(size).enumerate() {
            buffer.push(batch(part).batch().clone()).expect("taken in");
            assert_eq!(buffer.rows(), (step * size + part.len()).min(1000));
        }
        for through in [0, 999, 1000, 100_000, 100_000, Micros::MAX] {
            for part in buffer.release(through, 100).expect("released") {
                assert!(part.num_rows() <= 100);
                assert!(times(&part).iter().all(|time| *time <= through));
                released.extend(
                    (0..part.num_rows()).map(|row| text_at(&part, "event_id", row).unwrap_or_default().to_owned()),
                );
            }
            assert!(buffer.oldest().is_none_or(|oldest| oldest > through));
        }
        assert_eq!(released, expected, "arrived by {size}");
        assert_eq!((buffer.rows(), buffer.bytes()), (0, 0));
    }
}

#[test]
fn small_arrivals_stay_few_chunks_and_pin_no_block() {
    let mut buffer = ReorderBuffer::new(1 << 30);
    let whole = batch(&events(2000));
    for row in 0..2000 {
        buffer.push(whole.batch().slice(row, 1)).expect("taken in");
    }
    let one = whole.batch().get_array_memory_size();
    assert!(buffer.bytes() < 4 * one, "{} bytes for rows of {one}", buffer.bytes());
    assert_eq!(buffer.median(), Some(333_000));
}

#[test]
fn a_slice_of_a_laid_out_batch_is_the_laid_out_slice() {
    let mut rows = events(20);
    rows[3].user = None;
    rows[5].flags = vec!["no_time", "id_conflict"];
    rows[7].flags = vec!["späte Grüße"];
    let source = batch(&rows);
    let columns: Vec<String> = [
        "actor_user_uid",
        "flags",
        "time",
        "row_count",
        "ai_cost_usd",
        "actor_session_is_mfa",
    ]
    .map(str::to_owned)
    .into();
    let all: Vec<u32> = (0..20).collect();
    let laid = Selection::new(source.batch(), all.into()).lay(source.batch(), &columns);
    for (from, to) in [(0, 20), (0, 1), (3, 8), (7, 7), (19, 20)] {
        let some: Vec<u32> = (from as u32..to as u32).collect();
        let slice = laid.slice(from, to);
        for (name, sliced) in columns.iter().zip(&slice.columns) {
            let direct = LaidColumn::of(column(source.batch(), name), &some);
            assert_eq!(sliced.values, direct.values, "{name} {from}..{to}");
        }
        assert_eq!(slice.rows(), to - from);
    }
    let LaidValues::TextList { rows, items } = &laid.columns[1].values else {
        panic!("flags are a list")
    };
    assert_eq!(rows[5..9], [0, 2, 2, 3]);
    assert_eq!(items.data, "no_timeid_conflictspäte Grüße".as_bytes());
    assert_eq!(laid.columns[0].valid[2..5], [1, 0, 1]);
    assert_eq!(laid.clone().pieces(1).len(), 20);
    assert_eq!(laid.clone().pieces(laid.bytes()).len(), 1);
}

#[test]
fn keys_stay_in_their_shards() {
    // Saved states depend on these: they must never change.
    let shards = ["alice", "bob", "", "arn:aws:iam::1:user/x"].map(|key| shard_of("acme", key));
    assert_eq!(shards, [8, 2, 4, 9]);
    assert_ne!(shard_of("a", "bc"), shard_of("ab", "c"));
    let mut used = [0usize; 16];
    (0..16_000).for_each(|number| used[shard_of("acme", &format!("user-{number}"))] += 1);
    assert!(used.iter().all(|count| (800..1200).contains(count)), "{used:?}");
}

#[test]
fn watermarks_hold_only_the_layers_that_are_read() {
    let marks = Watermarks(BTreeMap::from([("cloud".to_owned(), 5), ("gateway".to_owned(), 3)]));
    let of = |layers: &[&str]| marks.of(&layers.iter().map(|layer| (*layer).to_owned()).collect::<Vec<_>>());
    assert_eq!(
        [of(&[]), of(&["cloud"]), of(&["cloud", "gateway"]), of(&["agent"])],
        [Some(3), Some(5), Some(3), None]
    );
}

#[test]
fn what_waited_is_fed_again() {
    let after = |released, waiting| Progress { released, waiting }.refeed_after();
    assert_eq!(after(None, None), None);
    assert_eq!(after(Some(10), None), None);
    assert_eq!(after(Some(10), Some(20)), Some(19));
    assert_eq!(after(Some(10), Some(11)), Some(10));
    assert_eq!(after(None, Some(Micros::MIN)), Some(Micros::MIN));
}

#[test]
fn a_manifest_that_cannot_be_meant_is_refused() {
    let rule = PluginRule {
        id: "one".into(),
        title: "One".into(),
        description: String::new(),
        severity: Severity::Low,
        techniques: Vec::new(),
    };
    let good = PluginManifest {
        id: "some-plugin".into(),
        version: "1.0.0".into(),
        description: String::new(),
        classes: Vec::new(),
        layers: Vec::new(),
        columns: vec!["api_operation".into()],
        key: vec!["actor_user_uid".into()],
        state_version: 1,
        wants_time: false,
        rules: vec![rule.clone()],
        config_schema: String::new(),
    };
    assert_eq!(good.check(), Ok(()));
    type Change = fn(&mut PluginManifest);
    let bad: [(Change, &str); 9] = [
        (
            |manifest| manifest.id = "Some Plugin".into(),
            "plugin id `Some Plugin` is not kebab-case",
        ),
        (
            |manifest| manifest.id = "x".repeat(65),
            "is not kebab-case (a-z, 0-9, `-`) of 1 to 64 bytes",
        ),
        (|manifest| manifest.version.clear(), "its version is empty"),
        (
            |manifest| manifest.columns[0] = "api_operaton".into(),
            "it reads column `api_operaton`, which",
        ),
        (
            |manifest| manifest.columns.push("api_operation".into()),
            "it names a column twice",
        ),
        (
            |manifest| manifest.key[0] = "row_count".into(),
            "its key column `row_count` is not text",
        ),
        (
            |manifest| (manifest.wants_time, manifest.key) = (true, Vec::new()),
            "wants to be told the time but names no key",
        ),
        (
            |manifest| manifest.rules.push(manifest.rules[0].clone()),
            "rule `one` is there twice",
        ),
        (
            |manifest| manifest.rules[0].title = "x".repeat(257),
            "a title of 257 bytes; 256 are allowed",
        ),
    ];
    for (change, reason) in bad {
        let mut manifest = good.clone();
        change(&mut manifest);
        let said = manifest.check().expect_err(reason);
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn the_columns_that_detections_take_exist() {
    assert!(needed_columns().all(|name| EventSchema::get().index_of(name).is_some()));
}
