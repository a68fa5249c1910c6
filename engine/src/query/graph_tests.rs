use std::collections::BTreeMap;

use arrow::array::RecordBatch;

use super::*;
use crate::model::{Entity, Incident, IncidentStatus, Micros, Relation};
use crate::store::tests::{START, epoch, incident};
use crate::store::{Store, Table, rows};

const MINUTE: Micros = 60_000_000;

/// `from` did `kind` to `to`, from one minute after the start to another.
fn relation(tenant: &str, from: &str, kind: &str, to: &str, minutes: (i64, i64)) -> Relation {
    let entity = |text: &str| Entity::parse(text).unwrap();
    Relation {
        tenant: tenant.into(),
        from: entity(from),
        kind: kind.into(),
        to: entity(to),
        first_time: START + minutes.0 * MINUTE,
        last_time: START + minutes.1 * MINUTE,
        count: 2,
        event_id: "e".into(),
        layer: "cloud".into(),
    }
}

/// A session over relations of which all but the last are on disk.
async fn over(mut relations: Vec<Relation>) -> (tempfile::TempDir, SessionContext) {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(dir.path()).await.unwrap();
    let last = relations.split_off(relations.len() - 1);
    let batch = rows::relations_to_batch(&relations).unwrap();
    store.commit(epoch(1, [(Table::RelationParts, batch)])).await.unwrap();
    let tail = vec![rows::relations_to_batch(&last).unwrap()];
    store
        .views()
        .publish_tail(2, BTreeMap::from([(Table::RelationParts, tail)]));
    let session = session(store.views(), None, None).await.unwrap();
    (dir, session)
}

/// Rows as lines of values, without the header.
pub(super) async fn ask(session: &SessionContext, statement: &str) -> Vec<String> {
    let rows = sql(session, statement)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
    let mut out = Vec::new();
    render(&rows, Format::Csv, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    text.lines().skip(1).map(str::to_owned).collect()
}

fn minute(minutes: i64) -> String {
    crate::model::time::to_rfc3339(START + minutes * MINUTE)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_goes_where_an_identity_was_handed_on_and_not_back_in_time() {
    let (_dir, session) = over(vec![
        relation("a", "access_key:K", "belongs-to", "principal:P", (0, 1)),
        relation("a", "principal:P", "assumed", "session:S", (10, 11)),
        // Before S was handed on, by hours; and again after it.
        relation("a", "session:S", "assumed", "session:OLD", (-300, -299)),
        relation("a", "session:S", "assumed", "session:NEW", (20, 21)),
        relation("a", "session:S", "read", "resource:BUCKET", (30, 30)),
        // What was read hands nothing on, and nobody who assumed P is reached from it.
        relation("a", "resource:BUCKET", "called", "tool:T", (40, 40)),
        relation("a", "principal:ROOT", "assumed", "principal:P", (5, 5)),
        relation("a", "session:NEW", "called", "model:M", (50, 50)),
    ])
    .await;
    let rows = ask(
        &session,
        "SELECT hops, entity, via_entity, kind, direction, path, cut FROM blast_radius('access_key:K', 3)",
    )
    .await;
    assert_eq!(
        rows,
        [
            "0,access_key:K,,,,access_key:K,",
            "1,principal:P,access_key:K,belongs-to,out,access_key:K -belongs-to-> principal:P,",
            "2,session:S,principal:P,assumed,out,access_key:K -belongs-to-> principal:P -assumed-> session:S,",
            "3,session:NEW,session:S,assumed,out,access_key:K -belongs-to-> principal:P -assumed-> session:S -assumed-> \
             session:NEW,",
            "3,resource:BUCKET,session:S,read,out,access_key:K -belongs-to-> principal:P -assumed-> session:S -read-> \
             resource:BUCKET,",
        ]
    );
    let times = ask(
        &session,
        "SELECT entity, first_time FROM blast_radius('access_key:K', 4) WHERE hops > 2 ORDER BY 2",
    )
    .await;
    let times: Vec<&str> = times.iter().map(String::as_str).collect();
    let expected = [
        format!("session:NEW,{}", minute(20)),
        format!("resource:BUCKET,{}", minute(30)),
        format!("model:M,{}", minute(50)),
    ];
    let close = |(row, expected): (&&str, &String)| row.starts_with(&expected[..expected.len() - 5]);
    assert!(times.len() == 3 && times.iter().zip(&expected).all(close), "{times:?}");
    // Bonds lead both ways: of the principal, the key.
    let back = ask(
        &session,
        "SELECT entity, direction FROM blast_radius('principal:P', 1) WHERE hops = 1",
    )
    .await;
    assert_eq!(back, ["access_key:K,in", "session:S,out"]);
    assert_eq!(
        ask(&session, "SELECT * FROM blast_radius('tool:none', 6)").await,
        Vec::<String>::new()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_that_epochs_cut_into_parts_is_one() {
    // P is reached at minute 10. In that hour S was handed on before and after it, which is told in one part or in two.
    let of = |parts: &[(i64, i64)]| {
        let mut relations = vec![relation("a", "principal:Q", "assumed", "principal:P", (10, 10))];
        relations.extend(
            parts
                .iter()
                .map(|part| relation("a", "principal:P", "assumed", "session:S", *part)),
        );
        relations
    };
    let statement = "SELECT entity, first_time FROM blast_radius('principal:Q', 2)";
    let (_dir, whole) = over(of(&[(5, 15)])).await;
    let (_dir2, parts) = over(of(&[(15, 15), (5, 5)])).await;
    let (whole, parts) = (ask(&whole, statement).await, ask(&parts, statement).await);
    assert_eq!(whole.len(), 3);
    assert_eq!(whole, parts);
    let (_dir, before) = over(of(&[(5, 5)])).await;
    assert_eq!(ask(&before, statement).await.len(), 2, "it ended before P was reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_way_that_is_sooner_goes_on() {
    // Directly R is reached at minute 60, over Q at minute 2; what R did at minute 30 is reached only so.
    let (_dir, session) = over(vec![
        relation("a", "principal:P", "assumed", "session:R", (60, 60)),
        relation("a", "principal:P", "assumed", "session:Q", (1, 1)),
        relation("a", "session:Q", "assumed", "session:R", (2, 2)),
        relation("a", "session:R", "read", "resource:B", (-200, -200)),
        relation("a", "session:R", "assumed", "session:Z", (30, 30)),
    ])
    .await;
    let rows = ask(
        &session,
        "SELECT hops, entity, path FROM blast_radius('principal:P', 3)",
    )
    .await;
    assert_eq!(
        rows,
        [
            "0,principal:P,principal:P",
            "1,session:Q,principal:P -assumed-> session:Q",
            "1,session:R,principal:P -assumed-> session:R",
            "3,session:Z,principal:P -assumed-> session:Q -assumed-> session:R -assumed-> session:Z",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_have_walks_of_their_own() {
    let (_dir, session) = over(vec![
        relation("a", "principal:P", "assumed", "session:A", (0, 0)),
        relation("b", "principal:P", "assumed", "session:B", (0, 0)),
        relation("b", "session:A", "assumed", "session:C", (9, 9)),
        relation("a", "session:B", "assumed", "session:D", (9, 9)),
    ])
    .await;
    let rows = ask(
        &session,
        "SELECT tenant, hops, entity FROM blast_radius('principal:P', 6)",
    )
    .await;
    assert_eq!(
        rows,
        ["a,0,principal:P", "a,1,session:A", "b,0,principal:P", "b,1,session:B"]
    );
    let rows = ask(
        &session,
        "SELECT tenant, entity FROM related('principal:P', '2000-01-01') ORDER BY 1",
    )
    .await;
    assert_eq!(rows, ["a,session:A", "b,session:B"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_followed_is_said_and_is_the_same_each_time() {
    let key = |number: usize| format!("access_key:{number:05}");
    let mut relations = Vec::new();
    for number in 0..25 {
        relations.push(relation("a", &key(number), "used-from", "address:10.0.0.1", (0, 0)));
    }
    for number in 0..300 {
        let session = format!("session:{number:05}");
        relations.push(relation(
            "a",
            "principal:P",
            "assumed",
            &session,
            (400 - number, 400 - number),
        ));
    }
    relations.push(relation("a", "access_key:00000", "belongs-to", "principal:P", (0, 0)));
    let (_dir, session) = over(relations).await;
    // The address of a company joins nobody on the way, and everybody when it is asked of.
    let rows = ask(
        &session,
        "SELECT entity, cut FROM blast_radius('access_key:00000', 2) WHERE hops = 1 ORDER BY 1",
    )
    .await;
    assert_eq!(
        rows,
        [
            "address:10.0.0.1,more than 20 used it: none of them is followed",
            "principal:P,the first 200 of its relations are followed",
        ]
    );
    let reached = ask(
        &session,
        "SELECT min(entity), max(entity), count(*) FROM blast_radius('access_key:00000', 2) WHERE hops = 2",
    )
    .await;
    // The first in time are the last by name, and one of the 200 relations leads back to the key.
    assert_eq!(reached, ["session:00101,session:00299,199"]);
    let users = ask(
        &session,
        "SELECT count(*) FROM blast_radius('address:10.0.0.1', 1) WHERE hops = 1",
    )
    .await;
    assert_eq!(users, ["25"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_ends_at_its_bound_of_rows() {
    let mut relations = Vec::new();
    for one in 0..40 {
        relations.push(relation(
            "a",
            "principal:P",
            "issued",
            &format!("session:{one}"),
            (0, 0),
        ));
        for two in 0..150 {
            relations.push(relation(
                "a",
                &format!("session:{one}"),
                "issued",
                &format!("session:{one}-{two}"),
                (1, 1),
            ));
        }
    }
    let (_dir, session) = over(relations).await;
    let rows = ask(
        &session,
        "SELECT count(*), count(cut) > 0, min(cut) FROM blast_radius('principal:P', 6)",
    )
    .await;
    assert_eq!(rows, ["5000,true,5000 entities are reached: more are not followed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn related_says_what_in_which_direction_how_often_and_when() {
    let (_dir, session) = over(vec![
        relation("a", "access_key:K", "used-from", "address:10.0.0.1", (0, 1)),
        relation("a", "access_key:K", "used-from", "address:10.0.0.1", (120, 121)),
        relation("a", "principal:P", "issued", "access_key:K", (-1_000, -1_000)),
        relation("a", "principal:P", "issued", "access_key:OTHER", (5, 5)),
        relation("a", "access_key:K", "called", "tool:t", (7, 7)),
    ])
    .await;
    let all = ask(
        &session,
        "SELECT entity, kind, direction, count FROM related('access_key:K', '2000-01-01T00:00:00Z') ORDER BY 1",
    )
    .await;
    assert_eq!(
        all,
        [
            "address:10.0.0.1,used-from,out,4",
            "principal:P,issued,in,2",
            "tool:t,called,out,2"
        ]
    );
    let since = minute(100);
    let later = ask(
        &session,
        &format!("SELECT entity, count FROM related('access_key:K', TIMESTAMP '{since}')"),
    )
    .await;
    assert_eq!(later, ["address:10.0.0.1,2"]);
    let none = ask(
        &session,
        "SELECT entity FROM related('access_key:K', now() - INTERVAL '1 minute')",
    )
    .await;
    assert_eq!(none, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_path_of_what_was_merged_away_is_that_of_the_survivor() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(dir.path()).await.unwrap();
    let into = |id: &str, into: &str| Incident {
        status: IncidentStatus::Merged,
        merged_into: Some(into.into()),
        ..incident(id, 2, &[])
    };
    let first = [
        incident("i1", 1, &["d1"]),
        incident("i2", 1, &["d2"]),
        incident("i3", 1, &["d3"]),
    ];
    let second = [
        into("i1", "i2"),
        into("i2", "i3"),
        incident("i3", 3, &["d3", "d1", "d2"]),
    ];
    for (number, incidents) in [(1, first), (2, second)] {
        let tables: Vec<(Table, RecordBatch)> = rows::incidents_to_batches(&incidents, START)
            .unwrap()
            .into_iter()
            .collect();
        store.commit(epoch(number, tables)).await.unwrap();
    }
    let session = session(store.views(), None, None).await.unwrap();
    for id in ["i1", "i2", "i3"] {
        let rows = ask(
            &session,
            &format!("SELECT tenant, incident_id, step, from_entity, kind, technique, detection_id, why FROM attack_path('{id}')"),
        )
        .await;
        assert_eq!(
            rows,
            [
                "acme,i3,1,gateway_key:k1,chat,T1078,d3,same key",
                "acme,i3,2,gateway_key:k1,chat,,d3,same key",
                "acme,i3,3,gateway_key:k1,chat,,d3,same key",
            ],
            "{id}"
        );
    }
    assert_eq!(
        ask(&session, "SELECT * FROM attack_path('none')").await,
        Vec::<String>::new()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_are_wrong_are_told_what_would_be_right() {
    let (_dir, session) = over(vec![
        relation("a", "principal:P", "assumed", "session:A", (0, 0)),
        relation("a", "principal:P", "assumed", "session:B", (0, 0)),
    ])
    .await;
    for (call, told) in [
        ("attack_path()", "takes the id"),
        ("attack_path('')", "takes the id"),
        ("attack_path(7)", "takes the id"),
        ("attack_path(NULL)", "takes the id"),
        ("blast_radius('principal:P')", "takes an entity and a depth"),
        ("blast_radius('principal:P', 'deep')", "takes an entity and a depth"),
        ("blast_radius('principal:P', 1.5)", "takes an entity and a depth"),
        ("blast_radius('principal:P', NULL)", "takes an entity and a depth"),
        ("blast_radius('principal:P', 0)", "1 to 6 relations far, not 0"),
        ("blast_radius('principal:P', -1)", "1 to 6 relations far, not -1"),
        ("blast_radius('principal:P', 7)", "1 to 6 relations far, not 7"),
        ("blast_radius('P', 1)", "`P` is no entity"),
        ("blast_radius('principal:', 1)", "is no entity"),
        ("blast_radius('pirncipal:P', 1)", "one of access_key, "),
        ("blast_radius(NULL, 1)", "takes an entity and a depth"),
        ("related('principal:P')", "the time since when"),
        ("related('P', '2026-01-01')", "`P` is no entity"),
        ("related('principal:P', 'yesterday')", "`yesterday` is no time"),
        ("related('principal:P', 5)", "`5` is no time"),
        ("related('principal:P', NULL)", "is no time"),
    ] {
        let error = sql(&session, &format!("SELECT * FROM {call}")).await;
        let error = error.expect_err(call).to_string();
        assert!(error.contains(told) && !error.contains("panick"), "{call}: {error}");
    }
    // Text of a statement stays text.
    let quoted = ask(
        &session,
        "SELECT * FROM related('principal:'' OR 1=1 --', '2000-01-01')",
    )
    .await;
    assert_eq!(quoted, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_joins_tables_in_the_view_of_its_statement() {
    let (_dir, session) = over(vec![
        relation("a", "principal:P", "assumed", "session:A", (0, 0)),
        relation("a", "session:A", "called", "tool:t", (1, 1)),
    ])
    .await;
    let rows = ask(
        &session,
        "SELECT b.entity, e.kind, e.count FROM blast_radius('principal:P', 2) b JOIN entities e ON e.entity = b.entity \
         AND e.tenant = b.tenant WHERE b.hops > 0 ORDER BY 1",
    )
    .await;
    assert_eq!(rows, ["session:A,session,4", "tool:t,tool,2"]);
    assert_eq!(
        ask(&session, "SELECT 1 FROM blast_radius('principal:P', 1)").await,
        ["1", "1"]
    );
}
