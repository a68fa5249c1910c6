use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use crate::model::{Detection, IncidentStatus, Silence, SilencePart};
use crate::store::tests::{START, detection, epoch, events, incident, relation};
use crate::store::{Store, Table, Views, rows};

async fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).await.unwrap();
    (dir, store)
}

async fn csv(session: &SessionContext, statement: &str) -> String {
    let rows = sql(session, statement).await.unwrap();
    let mut out = Vec::new();
    render(&rows, Format::Csv, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_mean_the_newest_revision() {
    let (_dir, mut store) = store().await;
    let first = [incident("i1", 1, &["d1"]), incident("i2", 1, &["d2"])];
    let mut tables: Vec<(Table, RecordBatch)> =
        rows::incidents_to_batches(&first, START).unwrap().into_iter().collect();
    let detections = [detection("d1"), detection("d2"), detection("d3")];
    tables.push((Table::Detections, rows::detections_to_batch(&detections).unwrap()));
    tables.push((
        Table::RelationParts,
        rows::relations_to_batch(&[relation("e2", START + 5, 2)]).unwrap(),
    ));
    store.commit(epoch(1, tables)).await.unwrap();
    // The second epoch is not on disk yet: i2 joins i1.
    let mut merged = incident("i2", 2, &[]);
    merged.status = IncidentStatus::Merged;
    merged.merged_into = Some("i1".to_string());
    let second = [incident("i1", 2, &["d1", "d2"]), merged];
    let mut tail: BTreeMap<Table, Vec<RecordBatch>> = rows::incidents_to_batches(&second, START)
        .unwrap()
        .into_iter()
        .map(|(table, rows)| (table, vec![rows]))
        .collect();
    tail.insert(
        Table::RelationParts,
        vec![rows::relations_to_batch(&[relation("e1", START, 3)]).unwrap()],
    );
    store.views().publish_tail(2, tail);

    let session = session(store.views(), None, None).await.unwrap();
    assert_eq!(
        csv(
            &session,
            "SELECT incident_id, revision, status, title, merged_into FROM incidents ORDER BY 1"
        )
        .await,
        "incident_id,revision,status,title,merged_into\ni1,2,open,Revision 2,\ni2,2,merged,Revision 2,i1\n"
    );
    assert_eq!(
        csv(&session, "SELECT count(*) AS n FROM incident_revisions").await,
        "n\n4\n"
    );
    assert_eq!(
        csv(
            &session,
            "SELECT step, action, technique FROM incident_path WHERE incident_id = 'i1' ORDER BY step"
        )
        .await,
        "step,action,technique\n1,chat,T1078\n2,chat,\n"
    );
    assert_eq!(
        csv(
            &session,
            "SELECT detection_id, incident_id, techniques FROM detections ORDER BY 1"
        )
        .await,
        "detection_id,incident_id,techniques\nd1,i1,\"[\"\"AML.T0051\"\"]\"\nd2,i1,\"[\"\"AML.T0051\"\"]\"\n\
         d3,,\"[\"\"AML.T0051\"\"]\"\n"
    );
    assert_eq!(
        csv(
            &session,
            "SELECT kind, count, event_id, first_time, last_time FROM relations"
        )
        .await,
        "kind,count,event_id,first_time,last_time\n\
         assumed,5,e1,2026-02-02T02:40:00.000000Z,2026-02-02T02:40:00.000015Z\n"
    );
    assert_eq!(
        csv(
            &session,
            "SELECT kind, value, count FROM entities WHERE kind <> 'role' ORDER BY 1"
        )
        .await,
        "kind,value,count\naddress,2001:db8::1,3\ngateway_key,k1,3\nsession,arn:aws:sts::1:assumed-role/a/b,5\n"
    );
    assert_eq!(
        csv(&session, "SELECT incident_id FROM incidents WHERE incident_id = 'none'").await,
        "incident_id\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_ends_with_the_event_time_of_its_own_tenant() {
    let (_dir, mut store) = store().await;
    let part = |tenant: &str| SilencePart {
        silence: Silence {
            silence: tenant.to_owned(),
            tenant: tenant.to_owned(),
            rule: "p".into(),
            entities: Vec::new(),
            incident_id: None,
            owner: "ann".into(),
            reason: "x".into(),
            created: 0,
            expires: START + 10,
        },
        hits: 0,
        last_hit: None,
        removed_by: None,
    };
    let silences = rows::silences_to_batch(&["acme", "late", "new"].map(part), START).unwrap();
    let found = |tenant: &str, time| Detection {
        tenant: tenant.into(),
        time,
        ..detection(tenant)
    };
    let detections = [found("acme", START + 9), found("late", START + 10)];
    let detections = rows::detections_to_batch(&detections).unwrap();
    let tables = [(Table::SilenceParts, silences), (Table::Detections, detections)];
    store.commit(epoch(1, tables)).await.unwrap();
    let session = session(store.views(), None, None).await.unwrap();
    assert_eq!(
        csv(&session, "SELECT tenant, active FROM silences ORDER BY tenant").await,
        "tenant,active\nacme,true\nlate,false\nnew,true\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_sees_the_newest_view_whenever_it_was_planned() {
    let (_dir, mut store) = store().await;
    let session = session(store.views(), None, None).await.unwrap();
    let counted = "SELECT (SELECT count(*) FROM events) AS a, (SELECT count(*) FROM events e JOIN events f USING (event_id)) AS b";
    let prepared = session.state().create_logical_plan(counted).await.unwrap();
    let run = || async {
        let rows = session
            .execute_logical_plan(prepared.clone())
            .await
            .unwrap()
            .collect()
            .await
            .unwrap();
        let mut out = Vec::new();
        render(&rows, Format::Csv, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(run().await, "a,b\n0,0\n");
    store
        .views()
        .publish_tail(1, BTreeMap::from([(Table::Events, vec![events(&["a", "b"])])]));
    assert_eq!(run().await, "a,b\n2,2\n");
    store
        .commit(epoch(1, [(Table::Events, events(&["a", "b"]))]))
        .await
        .unwrap();
    assert_eq!(run().await, "a,b\n2,2\n");
    // Planned now, run after the next rows came: what was optimised is pinned.
    let optimised = session.state().optimize(&prepared).unwrap();
    store
        .views()
        .publish_tail(2, BTreeMap::from([(Table::Events, vec![events(&["c"])])]));
    let rows = session
        .execute_logical_plan(optimised)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let mut out = Vec::new();
    render(&rows, Format::Csv, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "a,b\n2,2\n");
    assert_eq!(run().await, "a,b\n3,3\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_view_answers_and_nothing_can_be_written() {
    let (dir, mut store) = store().await;
    store
        .commit(epoch(1, [(Table::Events, events(&["a", "b"]))]))
        .await
        .unwrap();
    drop(store);
    let view = crate::store::open_readonly(dir.path()).await.unwrap();
    let session = session(Views::fixed(Arc::new(view)), None, None).await.unwrap();
    assert_eq!(
        csv(
            &session,
            "SELECT event_id, class, date FROM events WHERE time > '2026-02-03T00:00:00Z'"
        )
        .await,
        "event_id,class,date\nb,api_activity,2026-02-03\n"
    );
    for statement in [
        "DROP TABLE events",
        "INSERT INTO rejected SELECT * FROM rejected",
        "CREATE TABLE t AS SELECT 1",
        "COPY events TO '/tmp/x.parquet'",
        "SET datafusion.execution.batch_size = 1",
        "SELECT * INTO t FROM events",
        "EXPLAIN ANALYZE INSERT INTO rejected SELECT * FROM rejected",
    ] {
        assert!(sql(&session, statement).await.is_err(), "{statement}");
    }
    let error = sql(&session, "SELECT nothing FROM events")
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("nothing"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn search_is_a_table() {
    let (_dir, store) = store().await;
    let search: SearchFn = Arc::new(|query: &str| {
        if query.is_empty() {
            return Err("an empty query finds nothing".to_string());
        }
        let schema = Schema::new(vec![
            Field::new("incident_id", DataType::Utf8, false),
            Field::new("score", DataType::Float64, false),
            Field::new("snippet", DataType::Utf8, false),
        ]);
        let ids = StringArray::from(vec!["i1", "i2"]);
        let snippets = StringArray::from(vec![format!("<b>{query}</b>"), "other".to_string()]);
        RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(ids),
                Arc::new(Float64Array::from(vec![2.5, 1.0])),
                Arc::new(snippets),
            ],
        )
        .map_err(|error| error.to_string())
    });
    let session = session(store.views(), Some(search), None).await.unwrap();
    assert_eq!(
        csv(
            &session,
            "SELECT snippet, incident_id FROM search('stolen key') WHERE score > 2"
        )
        .await,
        "snippet,incident_id\n<b>stolen key</b>,i1\n"
    );
    assert!(sql(&session, "SELECT * FROM search('')").await.is_err());
    let error = sql(&session, "SELECT * FROM search(1)")
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("one text in quotes"), "{error}");
}

#[test]
fn what_is_shown_cannot_steer_the_terminal() {
    let texts = StringArray::from(vec!["a\u{1b}[2Jb", "x\u{202e}y"]);
    let batch = RecordBatch::try_from_iter([("text", Arc::new(texts) as _)]).unwrap();
    let mut out = Vec::new();
    render(std::slice::from_ref(&batch), Format::Table, &mut out).unwrap();
    let shown = String::from_utf8(out).unwrap();
    assert!(
        shown.contains(r"a\u{1b}[2Jb") && shown.contains(r"x\u{202e}y"),
        "{shown}"
    );
    let mut out = Vec::new();
    render(&[batch], Format::Json, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap().lines().count(), 2);
}

#[test]
fn bytes_are_shown_as_hexadecimal_digits() {
    let rejected = crate::model::Rejected {
        tenant: "acme".to_string(),
        source: "cloud".to_string(),
        position: "a:1".to_string(),
        reason: "no JSON".to_string(),
        raw: vec![0, 255],
        ingested_time: START,
        newest_before: None,
    };
    let batch = rows::rejected_to_batch(&[rejected]).unwrap();
    for format in ["table", "json", "csv"] {
        let mut out = Vec::new();
        render(std::slice::from_ref(&batch), format.parse().unwrap(), &mut out).unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert!(
            shown.contains("00ff") && shown.contains("2026-02-02T02:40:00.000000Z"),
            "{shown}"
        );
    }
}

#[test]
fn json_is_one_object_per_line_with_nulls_and_times() {
    let mut batch = rows::incidents_to_batches(&[incident("i1", 1, &["d1"])], START).unwrap();
    let mut out = Vec::new();
    render(
        &[batch.remove(&Table::IncidentRevisions).unwrap()],
        Format::Json,
        &mut out,
    )
    .unwrap();
    let row: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(row["first_time"], "2026-02-02T02:40:00.000000Z");
    assert_eq!(row["merged_into"], serde_json::Value::Null);
    assert_eq!(row["layers"], serde_json::json!(["cloud", "gateway"]));
}

async fn serve(
    credentials: Option<postgres::Credentials>,
) -> (tempfile::TempDir, Store, u16, tokio::task::JoinHandle<()>) {
    let (dir, mut store) = store().await;
    store
        .commit(epoch(1, [(Table::Events, events(&["a", "b"]))]))
        .await
        .unwrap();
    let session = session(store.views(), None, None).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let _ = postgres::serve(listener, session, credentials, postgres::Watchdog::default()).await;
    });
    (dir, store, port, server)
}

async fn connect(port: u16, login: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let target = format!("host=127.0.0.1 port={port} dbname=sentrail {login}");
    let (client, connection) = tokio_postgres::connect(&target, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_statement_sees_rows_that_came_later() {
    let (_dir, store, port, server) = serve(None).await;
    let client = connect(port, "user=analyst").await.unwrap();
    let statement = client
        .prepare("SELECT event_id, time FROM events WHERE event_id >= $1 ORDER BY 1")
        .await
        .unwrap();
    let ids = |rows: Vec<tokio_postgres::Row>| rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>();
    assert_eq!(ids(client.query(&statement, &[&"b"]).await.unwrap()), ["b"]);
    store
        .views()
        .publish_tail(2, BTreeMap::from([(Table::Events, vec![events(&["c"])])]));
    assert_eq!(ids(client.query(&statement, &[&"b"]).await.unwrap()), ["b", "c"]);
    let simple = client.simple_query("SELECT count(*) FROM events").await.unwrap();
    let count = simple.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_string),
        _ => None,
    });
    assert_eq!(count.as_deref(), Some("3"));
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_can_only_ask() {
    let (_dir, _store, port, server) = serve(None).await;
    let client = connect(port, "user=analyst").await.unwrap();
    for statement in [
        "CREATE TABLE t AS SELECT 1 AS a",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "DROP TABLE events",
        "INSERT INTO rejected SELECT * FROM rejected",
        "SELECT * INTO t FROM events",
        "COPY events TO '/tmp/x.csv'",
        "SET datafusion.execution.batch_size = 1",
        "DELETE FROM events",
    ] {
        assert!(client.simple_query(statement).await.is_err(), "simple: {statement}");
        assert!(client.query(statement, &[]).await.is_err(), "extended: {statement}");
    }
    for harmless in [
        "SET timezone = 'UTC'",
        "SET application_name = 'x'",
        "BEGIN",
        "COMMIT",
        "SHOW search_path",
    ] {
        client
            .simple_query(harmless)
            .await
            .unwrap_or_else(|error| panic!("{harmless}: {error}"));
    }
    assert_eq!(client.query("SELECT 1", &[]).await.unwrap().len(), 1);
    // Functions of the graph are tables for clients, too.
    for function in [
        "attack_path('i')",
        "related('principal:p', now() - INTERVAL '1 day')",
        "blast_radius('principal:p', 3)",
    ] {
        let statement = format!("SELECT * FROM {function}");
        assert!(client.query(&statement, &[]).await.unwrap().is_empty(), "{function}");
        client.simple_query(&statement).await.unwrap();
    }
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_asked_for() {
    let password = crate::config::Secret::new("correct horse".to_string());
    let credentials = postgres::Credentials {
        user: "soc".to_string(),
        password,
    };
    let (_dir, _store, port, server) = serve(Some(credentials)).await;
    assert!(connect(port, "user=soc").await.is_err());
    assert!(connect(port, "user=soc password=wrong").await.is_err());
    assert!(connect(port, "user=other password='correct horse'").await.is_err());
    let client = connect(port, "user=soc password='correct horse'").await.unwrap();
    assert_eq!(client.query("SELECT * FROM events", &[]).await.unwrap().len(), 2);
    server.abort();
}
