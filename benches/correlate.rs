//! Correlation alone, on one core: facts per second with more and more live entities, what an entity and an edge take, and one identity
//! whose findings come from ever new addresses.

use std::hint::black_box;
use std::sync::LazyLock;
use std::time::Instant;

use sentrail::config::CorrelateSettings;
use sentrail::correlate::Correlator;
use sentrail::model::{Detection, Entity, EntityRole, Micros, Relation, RoledEntity, Severity, time};

/// What the pipeline hands over between two looks at the incidents.
const BATCH: usize = 2_000;
/// Facts that are timed once the graph is full.
const TIMED: usize = 400_000;
/// One fact in so many is a detection.
const DETECTION_EVERY: usize = 50;

fn main() {
    let sizes = [10_000, 100_000, 1_000_000];
    println!("{BATCH} facts per batch, one in {DETECTION_EVERY} a detection");
    for entities in sizes {
        live(entities);
    }
    for findings in [500, 2_000, 8_000] {
        for batch in [1, 100] {
            rotating(findings, batch);
        }
    }
}

/// Facts per second beside so many live entities: people with a key, a session and an address each, hour after hour.
fn live(entities: usize) {
    let people = entities / 4;
    let mut correlator = Correlator::new(CorrelateSettings::default());
    let before = resident();
    for person in 0..people {
        let at = 10 * time::HOUR + (person as Micros * time::HOUR / people as Micros);
        correlator.apply(Vec::new(), day(person, at));
    }
    correlator.changes();
    let size = correlator.size();
    let bytes = resident().saturating_sub(before);
    let mut facts = Vec::with_capacity(TIMED);
    for n in 0..TIMED {
        // A walk over all people that does not follow how they lie in memory.
        let person = (n.wrapping_mul(7_919_993) + n / DETECTION_EVERY) % people;
        let at = 11 * time::HOUR + n as Micros * time::HOUR / TIMED as Micros;
        facts.push(match n % DETECTION_EVERY {
            0 => Fact::Detection(finding(person, n, at)),
            _ => Fact::Relation(day(person, at).swap_remove(n % 4)),
        });
    }
    let mut batches: Vec<(Vec<Detection>, Vec<Relation>)> = Vec::new();
    for (n, fact) in facts.into_iter().enumerate() {
        if n % BATCH == 0 {
            batches.push(Default::default());
        }
        if let Some((detections, relations)) = batches.last_mut() {
            match fact {
                Fact::Detection(detection) => detections.push(detection),
                Fact::Relation(relation) => relations.push(relation),
            }
        }
    }
    let began = spent();
    for (detections, relations) in batches {
        correlator.apply(detections, relations);
        black_box(correlator.changes());
    }
    let seconds = spent() - began;
    println!(
        "{:>9} entities {:>9} edges {:>9.0} facts/s   {:>5} bytes per entity with its edges, {:>4} incidents",
        size.entities,
        size.edges,
        TIMED as f64 / seconds,
        bytes / size.entities.max(1),
        correlator.size().incidents,
    );
}

enum Fact {
    Detection(Detection),
    Relation(Relation),
}

/// What the logs say of a person within an hour.
fn day(person: usize, at: Micros) -> Vec<Relation> {
    let principal = Entity::new("principal", &format!("person-{person}@example.com"));
    let key = Entity::new("gateway_key", &format!("key-{person}"));
    let session = Entity::new("session", &format!("arn:aws:sts::1:assumed-role/dev/{person}"));
    let address = address(person);
    vec![
        relation(&key, "belongs-to", &principal, at),
        relation(&principal, "assumed", &session, at),
        relation(&principal, "used-from", &address, at),
        relation(&session, "used-from", &address, at),
    ]
}

fn address(n: usize) -> Entity {
    Entity::new("address", &format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255))
}

fn finding(person: usize, n: usize, at: Micros) -> Detection {
    let entities = [
        (EntityRole::Actor, Entity::new("gateway_key", &format!("key-{person}"))),
        (EntityRole::Context, address(person)),
    ];
    detection(n, at, &entities)
}

/// One principal whose findings come from ever new keys and addresses; facts in `batch`es.
fn rotating(findings: usize, batch: usize) {
    let mut correlator = Correlator::new(CorrelateSettings::default());
    let principal = Entity::new("principal", "eve@example.com");
    let facts: Vec<(Detection, Vec<Relation>)> = (0..findings)
        .map(|n| {
            let at = n as Micros * 2 * time::HOUR / findings as Micros;
            let key = Entity::new("access_key", &format!("AKIA{n}"));
            let relations = vec![
                relation(&principal, "used-from", &address(n), at),
                relation(&key, "belongs-to", &principal, at),
            ];
            let entities = [(EntityRole::Actor, key), (EntityRole::Context, address(n))];
            (detection(n, at, &entities), relations)
        })
        .collect();
    let began = spent();
    for part in facts.chunks(batch) {
        let (detections, relations): (Vec<_>, Vec<_>) = part.iter().cloned().unzip();
        correlator.apply(detections, relations.concat());
        black_box(correlator.changes());
    }
    println!(
        "{findings:>6} findings from rotating addresses, {batch:>4} at a time: {:>8.3} s, {} incidents",
        spent() - began,
        correlator.size().incidents
    );
}

fn relation(from: &Entity, kind: &str, to: &Entity, at: Micros) -> Relation {
    Relation {
        tenant: "acme".into(),
        from: from.clone(),
        kind: kind.into(),
        to: to.clone(),
        first_time: at,
        last_time: at,
        count: 1,
        event_id: "e".into(),
        layer: "cloud".into(),
    }
}

fn detection(n: usize, at: Micros, entities: &[(EntityRole, Entity)]) -> Detection {
    let roled = entities.iter().map(|(role, entity)| RoledEntity {
        role: *role,
        entity: entity.clone(),
    });
    Detection {
        detection_id: Detection::id_of("acme", "bench", "rule", &[&n.to_string()]).to_string(),
        tenant: "acme".into(),
        time: at,
        plugin: "bench".into(),
        plugin_version: "1".into(),
        rule: "rule".into(),
        severity: Severity::Low,
        title: "A finding".into(),
        message: "of the benchmark".into(),
        techniques: vec!["T1078".into()],
        entities: roled.collect(),
        event_ids: vec![n.to_string()],
        layer: "cloud".into(),
        action: "Do".into(),
        late: false,
    }
}

/// Seconds of this process on a processor, so that who shares the machine does not show; those of the clock where the system does not tell.
fn spent() -> f64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos: Option<f64> = told.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    nanos.map_or_else(|| BEGAN.elapsed().as_secs_f64(), |nanos| nanos / 1e9)
}

/// Resident memory of this process in bytes; 0 where the system does not tell.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kilobytes.unwrap_or(0) * 1024
}
