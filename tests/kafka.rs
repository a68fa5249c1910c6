//! Kafka end to end: the whole path from a topic to incidents.

use std::time::Duration;

use sentrail::config;
use sentrail::pipeline::{self, Status};
use sentrail::source::mock::MockBroker;

use crate::support::*;

fn three_topics(brokers: &str, prefix: &str) {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let records = simulated(5, 1_500);
    let total: usize = records.values().map(Vec::len).sum();
    produce(brokers, prefix, &records);

    let files = scratch.path().join("files");
    let logs = scratch.path().join("logs");
    write_logs(&logs, &records);
    run_to_end(
        &file_config(&files, &logs, &plugins, ""),
        &scratch.path().join("files.toml"),
    );

    let data = scratch.path().join("kafka");
    let config = kafka_config(&data, &plugins, brokers, prefix, &format!("{prefix}g"), "");
    let status = run_until_caught_up(&config, &data, total);
    assert_eq!(status.records, status.events + status.rejected + status.duplicates);
    let (by_file, by_kafka) = (outcome(&files), outcome(&data));
    // Ids of records without an id of their own come from where they stood, and so differ; how many there are does not.
    for table in ["events", "detections", "incidents"] {
        assert_eq!(by_file[table].len(), by_kafka[table].len(), "{table}");
    }
    // What is committed is not read again.
    let again = run_for(&config, Duration::from_secs(5));
    assert_eq!(again.records, 0, "read again: {again:?}");
}

/// Runs until every input is at its end, or for `patience` when there is nothing to read.
fn run_for(config: &str, patience: Duration) -> Status {
    runtime().block_on(async {
        let settings = config::parse(config, "test.toml", &|_| None).unwrap();
        let running = pipeline::start(settings).await.unwrap();
        let mut status = running.status();
        drop(tokio::time::timeout(patience, status.wait_for(|now| now.records > 0)).await);
        running.stop();
        running.join().await.unwrap()
    })
}

#[test]
fn three_topics_on_the_mock_broker() {
    let broker = MockBroker::start(&FORMATS.map(|format| (format, 2))).unwrap();
    three_topics(broker.brokers(), "");
}

#[test]
fn three_topics_on_a_real_broker() {
    let Some(brokers) = real_kafka() else { return };
    three_topics(&brokers, &format!("three{}-", std::process::id()));
}
