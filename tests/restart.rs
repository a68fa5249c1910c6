//! Killed at any moment and started again: nothing lost, nothing doubled.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sentrail::source::mock::MockBroker;

use crate::support::*;

/// Every step of making an epoch durable.
const FAIL_POINTS: [&str; 7] = [
    "store.before_parquet",
    "store.after_parquet",
    "store.after_state",
    "store.before_manifest",
    "store.after_manifest",
    "store.between_logs",
    "store.after_logs",
];
/// Small epochs, so that a short run has many.
const STORAGE: &str = "flush_interval = \"300ms\"\nflush_bytes = 150000\n";
const EVENTS: u64 = 3_000;
/// Files are read in batches of thousands of lines: enough of them that there are several.
const FILE_EVENTS: u64 = 12_000;
const SEED: u64 = 11;

enum Kill {
    At(&'static str, u32),
    After(Duration),
}

/// Kills a run once; `true` when it was killed, `false` when it ended or had read all `total` records before.
fn kill_once(config: &str, at: &Path, data: &Path, kill: &Kill, total: usize) -> bool {
    let before = epochs(data);
    let (environment, deadline) = match kill {
        Kill::At(point, nth) => (
            vec![("SENTRAIL_FAILPOINT", format!("{point}:{nth}"))],
            Instant::now() + PATIENCE,
        ),
        Kill::After(delay) => (vec![], Instant::now() + *delay),
    };
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mut child = spawn_run(config, at, &environment);
    let mut looked = Instant::now();
    let killed = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break !status.success();
        }
        if Instant::now() >= deadline {
            break matches!(kill, Kill::After(_));
        }
        // A fail point that counts more epochs than are left is never reached.
        if looked.elapsed() >= Duration::from_secs(1) {
            looked = Instant::now();
            if durable(data) >= total {
                break false;
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let _ = child.kill();
    let _ = child.wait();
    let name = match kill {
        Kill::At(point, nth) => format!("{point} (time {nth})"),
        Kill::After(delay) => format!("after {} ms", delay.as_millis()),
    };
    let (after, events) = (epochs(data), durable(data));
    let end = if killed { "killed" } else { "ended before" };
    println!("  {name:<34} {end:<13} epochs {before:>3} → {after:>3}, {events:>5} events durable");
    killed
}

fn plan(rng: &mut ChaCha8Rng, rounds: usize) -> Vec<Kill> {
    let mut plan: Vec<Kill> = FAIL_POINTS
        .iter()
        .map(|point| Kill::At(point, rng.random_range(1..=3)))
        .collect();
    plan.extend((0..rounds).map(|_| Kill::After(Duration::from_millis(rng.random_range(100..2_500)))));
    plan
}

#[test]
fn files_survive_kills() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let logs = scratch.path().join("logs");
    let mut records = simulated(SEED, FILE_EVENTS);
    records.get_mut("litellm").unwrap().insert(40, "{\"id\": broken".into());
    write_logs(&logs, &records);
    let config =
        |data: &Path| file_config(data, &logs, &plugins, "").replacen("[plugins]", &format!("{STORAGE}[plugins]"), 1);

    let calm = scratch.path().join("calm");
    run_to_end(&config(&calm), &scratch.path().join("calm.toml"));
    let expected = outcome(&calm);
    assert_eq!(
        expected["events"].len() + expected["rejected"].len(),
        FILE_EVENTS as usize + 1
    );
    assert!(!expected["incidents"].is_empty());

    let mut kills = 0;
    for (round, point) in FAIL_POINTS.iter().enumerate() {
        let mut rng = ChaCha8Rng::seed_from_u64(SEED + round as u64);
        let data = scratch.path().join(format!("data{round}"));
        let at = scratch.path().join(format!("round{round}.toml"));
        println!("files, round {round}");
        let mut plan = vec![Kill::At(point, rng.random_range(1..=2))];
        plan.extend((0..3).map(|_| Kill::After(Duration::from_millis(rng.random_range(50..600)))));
        for kill in plan {
            kills += usize::from(kill_once(&config(&data), &at, &data, &kill, usize::MAX));
        }
        run_to_end(&config(&data), &at);
        assert_same(&expected, &outcome(&data), &format!("files, round {round}"));
    }
    println!("{kills} kills survived");
    assert!(kills >= 20, "only {kills} kills struck: the runs were over too soon");
}

fn kafka_survives_kills(brokers: &str, prefix: &str, records: &BTreeMap<&'static str, Vec<String>>, plugins: &Path) {
    let scratch = tempfile::tempdir().unwrap();
    let total: usize = records.values().map(Vec::len).sum();
    let calm = scratch.path().join("calm");
    let config = kafka_config(&calm, plugins, brokers, prefix, &format!("{prefix}calm"), STORAGE);
    run_until_caught_up(&config, &calm, total);
    let expected = outcome(&calm);
    assert_eq!(expected["events"].len(), total);

    let data = scratch.path().join("data");
    let config = kafka_config(&data, plugins, brokers, prefix, &format!("{prefix}killed"), STORAGE);
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut kills = 0;
    for kill in plan(&mut rng, 3) {
        // A group's join takes seconds, so a random kill waits a little longer.
        let kill = match kill {
            Kill::After(delay) => Kill::After(delay + Duration::from_secs(3)),
            other => other,
        };
        let at = scratch.path().join("killed.toml");
        kills += usize::from(kill_once(&config, &at, &data, &kill, total));
    }
    run_until_caught_up(&config, &data, total);
    assert_same(&expected, &outcome(&data), "kafka");
    println!("{kills} kills survived");
    assert!(kills >= 3, "only {kills} kills struck");
}

#[test]
fn the_mock_broker_survives_kills() {
    let Some(plugins) = plugins() else { return };
    let records = simulated(SEED, EVENTS);
    let broker = MockBroker::start(&FORMATS.map(|format| (format, 2))).unwrap();
    produce(broker.brokers(), "", &records);
    println!("mock broker");
    kafka_survives_kills(broker.brokers(), "", &records, &plugins);
}

#[test]
fn real_kafka_survives_kills() {
    let (Some(plugins), Some(brokers)) = (plugins(), real_kafka()) else {
        return;
    };
    let records = simulated(SEED, EVENTS);
    let prefix = format!("restart{}-", std::process::id());
    produce(&brokers, &prefix, &records);
    println!("real broker");
    kafka_survives_kills(&brokers, &prefix, &records, &plugins);
}
