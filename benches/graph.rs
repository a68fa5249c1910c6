//! How long the functions of the graph take over a million stored relations. `cargo xtask bench graph [RELATIONS]`

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use sentrail::model::{Entity, Micros, Relation, time};
use sentrail::query;
use sentrail::store::{EpochData, Store, Table, rows};
use sentrail_benches::{Scratch, number};

const RELATIONS_PER_EPOCH: u64 = 50_000;
/// Relations of one person in an hour: a key and a session with an address, and what the session called and read.
const PER_PERSON: u64 = 8;
const PASSES: usize = 5;

#[tokio::main]
async fn main() -> Result<()> {
    let relations = number(1_000_000)?;
    let scratch = Scratch::new("graph")?;
    let (mut store, _) = Store::open(&scratch.path().join("data")).await?;
    let mut told = 0;
    for epoch in 1.. {
        let people = (told / PER_PERSON)..((told + RELATIONS_PER_EPOCH).min(relations) / PER_PERSON);
        if people.is_empty() {
            break;
        }
        let part: Vec<Relation> = people.flat_map(person).collect();
        told += part.len() as u64;
        store
            .commit(EpochData {
                epoch,
                tables: BTreeMap::from([(Table::RelationParts, vec![rows::relations_to_batch(&part)?])]),
                ..EpochData::default()
            })
            .await?;
    }
    let session = query::session(store.views(), None, None).await?;
    println!("{told} relations; median of {PASSES}");
    for call in [
        "related('principal:p77@example.com', '2000-01-01')",
        "blast_radius('principal:p77@example.com', 1)",
        "blast_radius('principal:p77@example.com', 3)",
        "blast_radius('principal:p77@example.com', 6)",
        "blast_radius('address:10.0.1.7', 3)",
    ] {
        let mut times: Vec<Duration> = Vec::new();
        let mut found = 0;
        for _ in 0..PASSES {
            let began = Instant::now();
            let rows = query::sql(&session, &format!("SELECT * FROM {call}")).await?;
            times.push(began.elapsed());
            found = rows.iter().map(|rows| rows.num_rows()).sum();
        }
        times.sort();
        println!("{call}: {:.0} ms, {found} rows", times[PASSES / 2].as_secs_f64() * 1e3);
    }
    Ok(())
}

/// What one of 5,000 people did in one hour: hour after hour they go on, with keys of their own, sessions of each hour, and an address that
/// eight of them share.
fn person(number: u64) -> Vec<Relation> {
    let (hour, person) = (number / 5_000, number % 5_000);
    let at = hour as Micros * time::HOUR + 1_770_000_000_000_000;
    let entity = |kind: &str, value: String| Entity::new(kind, &value);
    let principal = entity("principal", format!("p{person}@example.com"));
    let key = entity("gateway_key", format!("{:064x}", person + 1));
    let session = entity(
        "session",
        format!("arn:aws:sts::111122223333:assumed-role/data/p{person}-{hour}"),
    );
    let address = entity("address", format!("10.0.{}.{}", person / 8 / 250, person / 8 % 250));
    let relation = |from: &Entity, kind: &str, to: Entity, second: Micros| Relation {
        tenant: "default".into(),
        from: from.clone(),
        kind: kind.into(),
        to,
        first_time: at + second * time::SECOND,
        last_time: at + (second + 60) * time::SECOND,
        count: 3,
        event_id: format!("{number:032x}").into(),
        layer: "cloud".into(),
    };
    vec![
        relation(&key, "belongs-to", principal.clone(), 1),
        relation(&key, "used-from", address.clone(), 2),
        relation(&principal, "assumed", session.clone(), 3),
        relation(&session, "used-from", address, 4),
        relation(&key, "called", entity("model", format!("m{}", person % 20)), 5),
        relation(
            &session,
            "read",
            entity("resource", format!("arn:aws:s3:::data-{}", person % 300)),
            6,
        ),
        relation(&session, "read", entity("collection", format!("c{}", person % 100)), 7),
        relation(&session, "called", entity("tool", format!("t{}", person % 40)), 8),
    ]
}
