//! Real CloudTrail from files and through a real Kafka topic: the same tables.

use std::path::Path;

use crate::support::*;

fn config(data: &Path, plugins: &Path, source: &str) -> String {
    format!(
        "[storage]\nurl = \"{}\"\n[plugins]\ndir = \"{}\"\n[[source]]\nname = \"cloudtrail\"\nformat = \"aws_cloudtrail\"\n{source}\n",
        data.display(),
        plugins.display()
    )
}

#[test]
fn a_staged_attack_in_real_cloudtrail_gives_the_same_from_files_and_from_kafka() {
    let (Some(plugins), Some(invictus)) = (plugins(), shared_data("invictus")) else {
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let files = scratch.path().join("files");
    let source = format!("type = \"file\"\npath = \"{}/CloudTrail/*.json\"", invictus.display());
    run_to_end(&config(&files, &plugins, &source), &scratch.path().join("files.toml"));
    let from_files = outcome(&files);
    assert_eq!(from_files["events"].len(), 2_900);
    assert!(from_files["rejected"].is_empty());
    assert!(!from_files["incidents"].is_empty() && !from_files["detections"].is_empty());

    let Some(brokers) = real_kafka() else { return };
    // One message per record, as a forwarder that unpacks the delivered files sends them.
    let topic = format!("invictus{}", std::process::id());
    let producer = sentrail::source::mock::Producer::new(&brokers).unwrap();
    for file in std::fs::read_dir(invictus.join("CloudTrail")).unwrap().flatten() {
        let document: serde_json::Value = serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
        for record in document["Records"].as_array().unwrap() {
            producer.produce(&topic, None, record.to_string().as_bytes()).unwrap();
        }
    }
    producer.flush(PATIENCE).unwrap();
    let kafka = scratch.path().join("kafka");
    let source = format!(
        "type = \"kafka\"\nbrokers = \"{brokers}\"\ntopics = [\"{topic}\"]\ngroup = \"{topic}\"\nidle_timeout = \"1s\""
    );
    run_until_caught_up(&config(&kafka, &plugins, &source), &kafka, 2_900);
    let from_kafka = outcome(&kafka);
    // The position and the exact bytes of a record differ by how it travelled; what it says does not.
    let said = |data: &Path| {
        rows(
            data,
            "SELECT event_id, time, class, layer, actor_user_uid, api_operation, status, src_endpoint_ip, resource_uid FROM events",
        )
    };
    assert_eq!(said(&files), said(&kafka));
    for table in ["detections", "relations", "incidents", "incident_path"] {
        assert_eq!(from_files[table], from_kafka[table], "{table}");
    }
}

#[test]
fn bad_lines_are_rejected_with_their_place_and_do_not_stop_the_rest() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let logs = scratch.path().join("logs");
    let mut records = simulated(3, 300);
    let good: usize = records.values().map(Vec::len).sum();
    let lines = records.get_mut("qdrant_audit").unwrap();
    for bad in ["not json", "{\"timestamp\": ", "[1, 2", "\u{0}", "{}"] {
        lines.insert(lines.len() / 2, bad.into());
    }
    let again = lines[0].clone();
    lines.push(again);
    write_logs(&logs, &records);
    let data = scratch.path().join("data");
    run_to_end(&file_config(&data, &logs, &plugins, ""), &scratch.path().join("c.toml"));
    // Qdrant's lines carry no id, so a repeated line is another event.
    assert_eq!(count(&data, "events"), good + 1);
    let rejected = rows(
        &data,
        "SELECT position, reason, arrow_cast(raw, 'Utf8') AS raw FROM rejected",
    );
    // The broken array is three: its two elements and what is left of it.
    assert_eq!(rejected.len(), 7, "{rejected:#?}");
    assert!(
        rejected.iter().all(|row| row.contains("qdrant_audit.ndjson:")),
        "{rejected:#?}"
    );
}

#[test]
fn a_data_directory_may_be_relative() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let logs = scratch.path().join("logs");
    write_logs(&logs, &simulated(3, 300));
    let config = file_config(std::path::Path::new("data"), &logs, &plugins, "");
    std::fs::write(scratch.path().join("c.toml"), config).unwrap();
    let status = std::process::Command::new(SENTRAIL)
        .args(["run", "--config", "c.toml"])
        .current_dir(scratch.path())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(count(&scratch.path().join("data"), "events"), 300);
}
