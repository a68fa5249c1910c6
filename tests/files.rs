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

/// Runs over one file with such a source and gives the data directory.
fn ran_over(scratch: &Path, name: &str, format: &str, text: &[u8]) -> Option<std::path::PathBuf> {
    let plugins = plugins()?;
    let (data, log) = (scratch.join(format!("{name}-data")), scratch.join(name));
    std::fs::write(&log, text).unwrap();
    let source = format!(
        "[[source]]\nname = \"s\"\ntype = \"file\"\npath = \"{}\"\nformat = \"{format}\"\n",
        log.display()
    );
    let config = format!(
        "[storage]\nurl = \"{}\"\n[plugins]\ndir = \"{}\"\n{source}",
        data.display(),
        plugins.display(),
    );
    run_to_end(&config, &scratch.join(format!("{name}.toml")));
    Some(data)
}

#[test]
fn a_first_line_that_opens_a_bracket_costs_itself_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let lines = simulated(3, 300).remove("litellm").unwrap();
    let firsts = [
        "{\"x\": [",
        "[",
        "{\"Records\": [",
        "{\"a\": {\"b\":",
        "{\"a\": \"",
        "[[[[",
    ];
    for (index, first) in firsts.iter().enumerate() {
        let (name, text) = (format!("broken{index}"), format!("{first}\n{}\n", lines.join("\n")));
        let Some(data) = ran_over(scratch.path(), &name, "litellm", text.as_bytes()) else {
            return;
        };
        assert_eq!(count(&data, "events"), lines.len(), "{first}");
        assert_eq!(count(&data, "rejected"), 1, "{first}");
    }
}

#[test]
fn a_database_log_may_have_statements_of_several_lines() {
    let scratch = tempfile::tempdir().unwrap();
    let row = |line: usize, statement: &str| {
        format!(
            "2026-02-01 10:00:{:02}.123 UTC,\"svc_rag\",\"vectors\",4711,\"192.0.2.7:51000\",69800000.1267,{line},\"SELECT\",\
             2026-02-01 09:59:00 UTC,3/12,0,LOG,00000,\"AUDIT: SESSION,1,1,READ,SELECT,TABLE,public.embeddings,\"\"{statement}\"\",\
             <not logged>\",,,,,,,,,\"rag\",\"client backend\",,0",
            line % 60
        )
    };
    let statements = [
        "select 1",
        "select id\nfrom embeddings\n\norder by v\nlimit 10",
        "select '{\n[\n'",
        "select 2",
    ];
    let log: Vec<String> = (0..40).map(|line| row(line, statements[line % 4])).collect();
    let torn = &row(40, "select 3")[..70];
    let text = format!("{}\n{torn}\n{}\n", log[..20].join("\n"), log[20..].join("\r\n"));
    let mut expected = statements.map(|text| serde_json::json!({ "api_request_data": text }).to_string());
    expected.sort();
    for format in ["pgaudit", "auto"] {
        let name = format!("postgresql-{format}.csv");
        let Some(data) = ran_over(scratch.path(), &name, format, text.as_bytes()) else {
            return;
        };
        assert_eq!(count(&data, "events"), 40, "{format}");
        assert_eq!(count(&data, "rejected"), 1, "{format}: the torn one");
        let kept = rows(&data, "SELECT DISTINCT api_request_data FROM events");
        assert_eq!(kept, expected, "{format}");
        let decoded = decoded(&["--format", format, scratch.path().join(&name).to_str().unwrap()]);
        assert!(decoded.contains("select id⏎from embeddings⏎⏎order by v"), "{decoded}");
        let sum = "41 records = 40 events + 1 rejected + 0 duplicates; 40 pgaudit\n";
        assert!(decoded.ends_with(sum), "{decoded}");
    }
}

/// What `sentrail decode` says.
#[track_caller]
fn decoded(arguments: &[&str]) -> String {
    let output = std::process::Command::new(SENTRAIL)
        .arg("decode")
        .args(arguments)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn decode_reads_files_whole_and_counts_what_they_say() {
    let scratch = tempfile::tempdir().unwrap();
    // More than one batch of them.
    let lines = simulated(3, 20_000).remove("litellm").unwrap();
    assert!(lines.len() > 4_096, "{}", lines.len());
    let (one, two) = (scratch.path().join("one.ndjson"), scratch.path().join("two.ndjson.zst"));
    std::fs::write(&one, lines.join("\n")).unwrap();
    let broken = zstd::encode_all(&b"{\"id\": broken\n"[..], 3).unwrap();
    std::fs::write(&two, broken).unwrap();
    let files = [one.to_str().unwrap(), two.to_str().unwrap()];
    let count = lines.len();
    let sum = format!(
        "{} records = {count} events + 1 rejected + 0 duplicates; {count} litellm\n",
        count + 1
    );
    let table = decoded(&files);
    assert!(table.ends_with(&sum), "{}", &table[table.len() - 500..]);
    assert!(table.contains(&format!("one.ndjson:{count}  litellm")));
    let fill = decoded(&["--fill", files[0], files[1]]);
    let of: Vec<&str> = fill.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        (of[0], of[1]),
        ("litellm", format!("{count}/{count}").as_str()),
        "{fill}"
    );
    assert!(fill.ends_with(&sum), "{fill}");

    let packed = std::fs::read(&one).unwrap();
    let packed = zstd::encode_all(packed.as_slice(), 3).unwrap();
    std::fs::write(&two, &packed[..packed.len() / 2]).unwrap();
    let cut = std::process::Command::new(SENTRAIL)
        .args(["decode", "--fill", files[1]])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&cut.stderr);
    assert!(!cut.status.success() && error.contains("two.ndjson.zst"), "{error}");
}
