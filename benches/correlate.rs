//! Correlation alone, on one core: facts per second with more and more live entities, what an entity and an edge take, the same findings in
//! another engine, and one identity whose findings come from ever new addresses.
//!
//! The other engine is rsigma's, with rules that group findings by principal, key, session and address. That is what there is to compare
//! with, and less than what the graph does: it has no relations, so two findings meet only where both name the same key or session; it
//! never joins over a third; what it tells is a group that is full, four times for one person, and no incident. So the graph is timed
//! with the same findings alone, each of which names all four, and with what it is made for: few findings that name little, among the
//! relations that lead from one to another.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cpu_time::ProcessTime;
use sentrail::config::CorrelateSettings;
use sentrail::correlate::{Correlator, GraphSize};
use sentrail::model::{Detection, Entity, EntityRole, Micros, Relation, RoledEntity, Severity, time};
use sentrail_benches::given;

use facts::Finding;

#[path = "correlate/facts.rs"]
mod facts;

/// What the pipeline hands over between two looks at the incidents.
const BATCH: usize = 2_000;
/// Findings and relations that are timed once the graph is filled.
const TIMED: usize = 400_000;
/// Of them, for each entity of a size, where that is the same for all sizes.
const PER_ENTITY: f64 = 0.4;
/// One of them in so many is a finding.
const FINDING_EVERY: usize = 50;
/// Each measurement is repeated this often and the fastest counts.
const PASSES: usize = 3;

fn main() -> Result<()> {
    memory(1_000_000);
    println!(
        "facts a second, one core, fastest of {PASSES}; no seed: benches/correlate/facts.rs makes the findings by their numbers"
    );
    println!("findings and relations, one in {FINDING_EVERY} a finding, in batches of {BATCH};");
    let sizes = [10_000, 100_000, 1_000_000];
    println!("as many for each entity ({PER_ENTITY}) whatever the size, and most of them new:");
    let mut even = Vec::new();
    for entities in sizes {
        let timed = fastest(|| Ok(evenly(entities)))?;
        println!("  {timed}");
        even.push(timed.rate);
    }
    let slowest = even.iter().copied().fold(f64::MAX, f64::min);
    let ratio = even.iter().copied().fold(0.0, f64::max) / slowest;
    println!(
        "  fastest to slowest size {ratio:.2}, goal 1.5 at most; slowest {slowest:.0} facts/s, goal 200000 at least"
    );
    println!("{TIMED} whatever the size, most of them told before where entities are few:");
    let mut mixed = Vec::new();
    for entities in sizes {
        let timed = fastest(|| Ok(live(entities / 4, TIMED)))?;
        println!("  {timed}");
        mixed.push(timed.rate);
    }
    println!(
        "{} findings that name principal, key, session and address:",
        facts::TIMED
    );
    let mut alone = Vec::new();
    for entities in sizes {
        let timed = fastest(|| Ok(findings(entities / 4)))?;
        println!("  {timed}");
        alone.push(timed.rate);
    }
    println!(
        "the same findings in rsigma-eval 0.23, grouped by each of the four within the same window, detections given: no relations, no \
         joins over a third, no incidents"
    );
    match given("SENTRAIL_BENCH_GROUPING") {
        Err(error) => {
            let why = std::env::var("SENTRAIL_BENCH_NO_GROUPING").unwrap_or_else(|_| error.to_string());
            println!("  skipped: {why}");
        }
        Ok(program) => {
            for kind in ["temporal", "event_count"] {
                for ((entities, mixed), alone) in sizes.iter().zip(&mixed).zip(&alone) {
                    let theirs = fastest(|| grouping(&program, kind, entities / 4))?.rate;
                    println!(
                        "  {kind:<11} {entities:>9} groups   {theirs:>9.0} findings/s   sentrail to that: findings alone {:.2}, with \
                         relations {:.2}",
                        alone / theirs,
                        mixed / theirs
                    );
                }
            }
        }
    }
    for findings in [500, 2_000, 8_000] {
        for batch in [1, 100] {
            rotating(findings, batch);
        }
    }
    Ok(())
}

/// What a pass came to.
#[derive(Default)]
struct Timed {
    /// Facts a second.
    rate: f64,
    size: GraphSize,
}

impl std::fmt::Display for Timed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let GraphSize {
            entities,
            edges,
            incidents,
            ..
        } = self.size;
        write!(
            f,
            "{entities:>9} entities {edges:>9} edges {:>9.0} facts/s, {incidents:>6} incidents",
            self.rate
        )
    }
}

fn fastest(mut pass: impl FnMut() -> Result<Timed>) -> Result<Timed> {
    let mut best = Timed::default();
    for _ in 0..PASSES {
        let timed = pass()?;
        if timed.rate > best.rate {
            best = timed;
        }
    }
    Ok(best)
}

/// What an entity takes; to be measured before this process has had memory for anything else.
fn memory(entities: usize) {
    let before = resident();
    let size = filled(entities / 4).size();
    println!(
        "{} entities, {} edges: {} bytes per entity with its edge",
        size.entities,
        size.edges,
        resident().saturating_sub(before) / size.entities.max(1)
    );
}

/// The graph of so many people, who have a key, a session and an address each.
fn filled(people: usize) -> Correlator {
    let mut correlator = Correlator::new(CorrelateSettings::default());
    for person in 0..people {
        let at = 10 * time::HOUR + (person as Micros * time::HOUR / people as Micros);
        correlator.apply(Vec::new(), day(person, at));
    }
    correlator.changes();
    correlator
}

/// An hour in which everybody does the same, however many they are: what differs between sizes is size alone. Small graphs are filled
/// and timed often enough to come to as many facts.
fn evenly(entities: usize) -> Timed {
    let facts = (entities as f64 * PER_ENTITY) as usize;
    let rounds: Vec<Timed> = (0..TIMED.div_ceil(facts)).map(|_| live(entities / 4, facts)).collect();
    let seconds: f64 = rounds.iter().map(|round| 1.0 / round.rate).sum();
    Timed {
        rate: rounds.len() as f64 / seconds,
        size: rounds.first().map_or(GraphSize::default(), |round| round.size),
    }
}

/// Facts per second beside the live entities of so many people, of whom the next hour tells the same.
fn live(people: usize, timed: usize) -> Timed {
    let fact = |n: usize, (detections, relations): &mut Facts| {
        let person = facts::walk(n, people);
        let at = 11 * time::HOUR + n as Micros * time::HOUR / timed as Micros;
        match n % FINDING_EVERY {
            0 => {
                let entities = [(EntityRole::Actor, key(person)), (EntityRole::Context, address(person))];
                detections.push(detection(n, n / FINDING_EVERY % facts::RULES, at, &entities));
            }
            _ => relations.push(day(person, at).swap_remove(n % 4)),
        }
    };
    run(filled(people), timed, fact)
}

/// The findings that the other engine is shown, and nothing else.
fn findings(people: usize) -> Timed {
    let make = |finding: Finding| {
        let entities = [
            (EntityRole::Actor, principal(finding.person)),
            (EntityRole::Actor, key(finding.person)),
            (EntityRole::Context, session(finding.person)),
            (EntityRole::Context, address(finding.person)),
        ];
        detection(finding.number, finding.rule, finding.time, &entities)
    };
    let mut correlator = Correlator::new(CorrelateSettings::default());
    let first: Vec<Detection> = facts::first(people).map(make).collect();
    for batch in first.chunks(BATCH) {
        correlator.apply(batch.to_vec(), Vec::new());
        correlator.changes();
    }
    drop(first);
    let mut timed = facts::timed(people).map(make);
    run(correlator, facts::TIMED, |_, (detections, _)| {
        detections.extend(timed.next())
    })
}

type Facts = (Vec<Detection>, Vec<Relation>);

/// Each batch is made just before it is handed over, as the detectors do; making it is not timed.
fn run(mut correlator: Correlator, facts: usize, mut fact: impl FnMut(usize, &mut Facts)) -> Timed {
    let before = correlator.size();
    let mut seconds = 0.0;
    for start in (0..facts).step_by(BATCH) {
        let mut batch = Facts::default();
        (start..facts.min(start + BATCH)).for_each(|n| fact(n, &mut batch));
        let began = ProcessTime::now();
        correlator.apply(batch.0, batch.1);
        black_box(correlator.changes());
        seconds += began.elapsed().as_secs_f64();
    }
    let size = GraphSize {
        incidents: correlator.size().incidents,
        ..before
    };
    Timed {
        rate: facts as f64 / seconds,
        size,
    }
}

/// Findings per second of rsigma's correlation engine.
fn grouping(program: &Path, kind: &str, people: usize) -> Result<Timed> {
    let output = Command::new(program)
        .args([kind, &people.to_string()])
        .output()
        .with_context(|| format!("{} cannot be started", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let said: Vec<f64> = said
        .split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect();
    let [groups, seconds, alerts] = said[..] else {
        anyhow::bail!("the other engine failed: {}", String::from_utf8_lossy(&output.stderr));
    };
    ensure!(
        groups as usize == 4 * people,
        "it holds {groups} groups for {people} people"
    );
    ensure!(alerts > 0.0, "it found nothing");
    let rate = facts::TIMED as f64 / seconds;
    Ok(Timed {
        rate,
        ..Timed::default()
    })
}

fn principal(person: usize) -> Entity {
    Entity::new("principal", &facts::principal(person))
}

fn key(person: usize) -> Entity {
    Entity::new("gateway_key", &facts::key(person))
}

fn session(person: usize) -> Entity {
    Entity::new("session", &facts::session(person))
}

fn address(person: usize) -> Entity {
    Entity::new("address", &facts::address(person))
}

/// What the logs say of a person within an hour.
fn day(person: usize, at: Micros) -> Vec<Relation> {
    let (principal, key, session, address) = (principal(person), key(person), session(person), address(person));
    vec![
        relation(&key, "belongs-to", &principal, at),
        relation(&principal, "assumed", &session, at),
        relation(&principal, "used-from", &address, at),
        relation(&session, "used-from", &address, at),
    ]
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
            (detection(n, 0, at, &entities), relations)
        })
        .collect();
    let began = ProcessTime::now();
    for part in facts.chunks(batch) {
        let (detections, relations): (Vec<_>, Vec<_>) = part.iter().cloned().unzip();
        correlator.apply(detections, relations.concat());
        black_box(correlator.changes());
    }
    println!(
        "{findings:>6} findings from rotating addresses, {batch:>4} at a time: {:>8.3} s, {} incidents",
        began.elapsed().as_secs_f64(),
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

fn detection(n: usize, rule: usize, at: Micros, entities: &[(EntityRole, Entity)]) -> Detection {
    let roled = entities.iter().map(|(role, entity)| RoledEntity {
        role: *role,
        entity: entity.clone(),
    });
    let rule = format!("rule-{rule}");
    Detection {
        detection_id: Detection::id_of("acme", "bench", &rule, &[&n.to_string()]).to_string(),
        tenant: "acme".into(),
        time: at,
        plugin: "bench".into(),
        plugin_version: "1".into(),
        rule,
        severity: Severity::Medium,
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

/// Resident memory of this process in bytes; 0 where the system does not tell.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kilobytes.unwrap_or(0) * 1024
}
