//! Killed at any moment and started again: nothing lost, nothing doubled.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sentrail::config;
use sentrail::pipeline;
use sentrail::source::mock::{MockBroker, Producer};

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

/// Kills a run once; `true` when it was killed, `false` when it ended before.
fn kill_once(config: &str, at: &Path, data: &Path, kill: &Kill) -> bool {
    let before = epochs(data);
    let killed = match kill {
        Kill::At(point, nth) => {
            let mut child = spawn_run(config, at, &[("SENTRAIL_FAILPOINT", &format!("{point}:{nth}"))]);
            !wait(&mut child, PATIENCE).expect("neither killed nor ended").success()
        }
        Kill::After(delay) => {
            let mut child = spawn_run(config, at, &[]);
            let ended = {
                let deadline = Instant::now() + *delay;
                loop {
                    match child.try_wait().unwrap() {
                        Some(_) => break true,
                        None if Instant::now() >= deadline => break false,
                        None => std::thread::sleep(Duration::from_millis(2)),
                    }
                }
            };
            let _ = child.kill();
            let _ = child.wait();
            !ended
        }
    };
    let name = match kill {
        Kill::At(point, nth) => format!("{point} (time {nth})"),
        Kill::After(delay) => format!("after {} ms", delay.as_millis()),
    };
    let (after, events) = (epochs(data), if epochs(data) > 0 { count(data, "events") } else { 0 });
    let end = if killed { "killed" } else { "ended before" };
    println!("  {name:<34} {end:<13} epochs {before:>3} → {after:>3}, {events:>5} events durable");
    killed
}

/// The newest durable epoch, by its manifest's name.
fn epochs(data: &Path) -> u64 {
    let Ok(files) = std::fs::read_dir(data.join("epochs")) else {
        return 0;
    };
    files
        .flatten()
        .filter_map(|file| file.file_name().to_str()?.strip_suffix(".json")?.parse::<u64>().ok())
        .max()
        .unwrap_or(0)
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
        let random = Kill::After(Duration::from_millis(rng.random_range(50..1_500)));
        for kill in [Kill::At(point, rng.random_range(1..=2)), random] {
            kills += usize::from(kill_once(&config(&data), &at, &data, &kill));
        }
        run_to_end(&config(&data), &at);
        assert_same(&expected, &outcome(&data), &format!("files, round {round}"));
    }
    println!("{kills} kills survived");
    assert!(kills >= 10, "only {kills} kills struck: the runs were over too soon");
}

fn kafka_config(data: &Path, plugins: &Path, brokers: &str, prefix: &str, group: &str) -> String {
    let mut config = format!(
        "[storage]\nurl = \"{}\"\n{STORAGE}[plugins]\ndir = \"{}\"\n",
        data.display(),
        plugins.display()
    );
    for format in FORMATS {
        config.push_str(&format!(
            "[[source]]\nname = \"{format}\"\ntype = \"kafka\"\nbrokers = \"{brokers}\"\ntopics = [\"{prefix}{format}\"]\n\
             group = \"{group}\"\nformat = \"{format}\"\nidle_timeout = \"1s\"\n\
             properties = {{ \"session.timeout.ms\" = \"6000\" }}\n"
        ));
    }
    config
}

/// Runs in this process until every input is read to its end, then stops.
fn run_until_caught_up(config: &str, data: &Path, expected: usize) {
    runtime().block_on(async {
        let settings = config::parse(config, "test.toml", &|_| None).unwrap();
        let running = pipeline::start(settings).await.unwrap();
        let mut status = running.status();
        let caught_up = async {
            loop {
                let now = status.borrow_and_update().clone();
                let durable = if epochs(data) > 0 { count_async(data).await } else { 0 };
                if now.caught_up && (durable >= expected || now.records as usize >= expected) {
                    break;
                }
                let _ = tokio::time::timeout(Duration::from_millis(200), status.changed()).await;
            }
        };
        tokio::time::timeout(PATIENCE, caught_up)
            .await
            .expect("not caught up in time");
        running.stop();
        running.join().await.unwrap();
    });
}

async fn count_async(data: &Path) -> usize {
    let view = sentrail::store::open_readonly(data).await.unwrap();
    let views = sentrail::store::Views::fixed(std::sync::Arc::new(view));
    let session = sentrail::query::session(views, None).await.unwrap();
    let mut rows = 0;
    for table in ["events", "rejected"] {
        rows += session.table(table).await.unwrap().count().await.unwrap();
    }
    rows
}

fn kafka_survives_kills(brokers: &str, prefix: &str, records: &BTreeMap<&'static str, Vec<String>>, plugins: &Path) {
    let scratch = tempfile::tempdir().unwrap();
    let total: usize = records.values().map(Vec::len).sum();
    let calm = scratch.path().join("calm");
    let config = kafka_config(&calm, plugins, brokers, prefix, &format!("{prefix}calm"));
    run_until_caught_up(&config, &calm, total);
    let expected = outcome(&calm);
    assert_eq!(expected["events"].len(), total);

    let data = scratch.path().join("data");
    let config = kafka_config(&data, plugins, brokers, prefix, &format!("{prefix}killed"));
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut kills = 0;
    for kill in plan(&mut rng, 3) {
        // A group's join takes seconds, so a random kill waits a little longer; a fail point may not be reached any more.
        let kill = match kill {
            Kill::After(delay) => Kill::After(delay + Duration::from_secs(3)),
            other => other,
        };
        let reachable = epochs(&data) == 0 || expected_left(&data, total);
        if matches!(kill, Kill::At(..)) && !reachable {
            continue;
        }
        kills += usize::from(kill_once(&config, &scratch.path().join("killed.toml"), &data, &kill));
    }
    run_until_caught_up(&config, &data, total);
    assert_same(&expected, &outcome(&data), "kafka");
    println!("{kills} kills survived");
    assert!(kills >= 3, "only {kills} kills struck");
}

/// Whether enough is left to read that three more epochs will come.
fn expected_left(data: &Path, total: usize) -> bool {
    count(data, "events") + 800 < total
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

pub fn produce(brokers: &str, prefix: &str, records: &BTreeMap<&'static str, Vec<String>>) {
    let producer = Producer::new(brokers).unwrap();
    for (format, lines) in records {
        for line in lines {
            producer
                .produce(&format!("{prefix}{format}"), None, line.as_bytes())
                .unwrap();
        }
    }
    producer.flush(PATIENCE).unwrap();
}
