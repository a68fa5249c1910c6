//! A running engine as its operator sees it: health, metrics, exit codes, how often it speaks.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use sentrail::{config, pipeline};

use crate::support::*;

#[track_caller]
fn until(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !there() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_broker_that_cannot_be_reached_is_a_failure_that_health_names() {
    let scratch = tempfile::tempdir().unwrap();
    let (port, nobody) = (free_port(), free_port());
    let config = format!(
        "[storage]\nurl = \"{0}/data\"\n[plugins]\ndir = \"{0}\"\n[serve]\nhttp = \"127.0.0.1:{port}\"\n[[source]]\nname = \"trail\"\n\
         type = \"kafka\"\nbrokers = \"127.0.0.1:{nobody}\"\ntopics = [\"t\"]\nformat = \"aws_cloudtrail\"\n",
        scratch.path().display()
    );
    std::fs::write(scratch.path().join("broken.wasm"), "no component").unwrap();
    let mut engine = spawn_run(&config, &scratch.path().join("c.toml"), &[]);
    let mut health = String::new();
    until("503 for the source", || {
        health = http_get(port, "/healthz").unwrap_or_default();
        health.starts_with("HTTP/1.1 503") && health.contains("brokers are down")
    });
    let _ = engine.kill();
    let _ = engine.wait();
    let (_, body) = health.split_once("\r\n\r\n").unwrap();
    let health: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(health["status"], "failed");
    assert_eq!(health["store"]["status"], "ok");
    assert_eq!(health["sources"][0]["name"], "trail");
    assert_eq!(health["sources"][0]["status"], "failed");
    let detail = health["sources"][0]["detail"].as_str().unwrap();
    assert!(detail.contains(&nobody.to_string()), "which and why: {detail}");
    assert_eq!(health["plugins"][0]["name"], "broken.wasm");
    assert_eq!(health["plugins"][0]["status"], "degraded");
}

#[test]
fn a_bounded_file_that_breaks_off_is_named_at_the_end_and_the_run_exits_1() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let logs = scratch.path().join("logs");
    let records = simulated(3, 3_000);
    let total: usize = records.values().map(Vec::len).sum();
    write_logs(&logs, &records);
    let path = logs.join("qdrant_audit.ndjson");
    let packed = zstd_of(&std::fs::read(&path).unwrap());
    std::fs::write(&path, &packed[..packed.len() / 2]).unwrap();
    let (data, at) = (scratch.path().join("data"), scratch.path().join("c.toml"));
    let config = file_config(&data, &logs, &plugins, "");
    let mut run = spawn_run(&config, &at, &[]);
    let status = wait(&mut run, PATIENCE).expect("it ends");
    let log = std::fs::read_to_string(at.with_extension("log")).unwrap();
    assert_eq!(status.code(), Some(1), "{log}");
    let end = log.split("not everything could be read").nth(1).expect("it says so");
    assert!(
        end.contains("source qdrant_audit: ") && end.contains("qdrant_audit.ndjson"),
        "{end}"
    );
    let read = count(&data, "events");
    let others = total - records["qdrant_audit"].len();
    assert!(
        (others..total).contains(&read),
        "{read} of {total}, {others} of the others"
    );

    // Put right, the next run reads what was missing and nothing twice.
    std::fs::write(&path, &packed).unwrap();
    run_to_end(&config, &at);
    let cut = count(&data, "rejected");
    assert!(cut <= 2, "the record at the break, and what was left of it: {cut}");
    let after = count(&data, "events");
    assert!((total - 1..=total).contains(&after), "{after} of {total}");
}

fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

#[test]
fn check_shows_neither_tokens_nor_passwords() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let logs = scratch.path().join("logs");
    write_logs(&logs, &simulated(3, 60));
    let forward =
        "[[forward]]\nname = \"soar\"\ntype = \"webhook\"\nurl = \"http://me:pa55@127.0.0.1:9/hook/t0ken?key=t0ken\"\n";
    let at = scratch.path().join("c.toml");
    std::fs::write(&at, file_config(&scratch.path().join("data"), &logs, &plugins, forward)).unwrap();
    let output = std::process::Command::new(SENTRAIL)
        .args(["check", "--config"])
        .arg(&at)
        .env("RUST_LOG", "debug")
        .output()
        .unwrap();
    let all = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        all.contains("FAIL  forward soar") && all.contains("127.0.0.1:9"),
        "{all}"
    );
    assert!(!all.contains("t0ken") && !all.contains("pa55"), "{all}");
}

/// Appends the records in `slices` parts, with `pause` after each.
fn grow(logs: &Path, records: &std::collections::BTreeMap<&'static str, Vec<String>>, slices: usize, pause: Duration) {
    for slice in 0..slices {
        for (format, lines) in records {
            let part = lines.len() * slice / slices..lines.len() * (slice + 1) / slices;
            let path = logs.join(format!("{format}.ndjson"));
            let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
            file.write_all((lines[part].join("\n") + "\n").as_bytes()).unwrap();
        }
        std::thread::sleep(pause);
    }
}

#[test]
fn an_incident_that_only_grows_is_not_told_anew_with_every_batch() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let (logs, data) = (scratch.path().join("logs"), scratch.path().join("data"));
    let records = simulated(7, 3_000);
    write_logs(&logs, &records.keys().map(|format| (*format, Vec::new())).collect());
    let bounded = file_config(&data, &logs, &plugins, "").replacen(
        "[plugins]",
        "flush_interval = \"1h\"\n[correlate]\nsingle_severity = \"low\"\n[plugins]",
        1,
    );
    let followed = bounded.replace("type = \"file\"\n", "type = \"file\"\nfollow = true\n");
    let began = Instant::now();
    let settings = config::parse(&followed, "test.toml", &|_| None).unwrap();
    let running = runtime().block_on(pipeline::start(settings)).unwrap();
    grow(&logs, &records, 20, Duration::from_millis(300));
    let status = running.status();
    until("every record", || status.borrow().records as usize >= 3_000);
    running.stop();
    let status = runtime().block_on(running.join()).unwrap();
    let elapsed = began.elapsed();

    let sql = "SELECT incident_id, revision, status, severity, detection_count FROM incident_revisions";
    let mut revisions: Vec<(String, u64, String)> = rows(&data, sql)
        .iter()
        .map(|row| {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            let standing = format!("{} {}", row["status"], row["severity"]);
            (
                row["incident_id"].to_string(),
                row["revision"].as_u64().unwrap(),
                standing,
            )
        })
        .collect();
    revisions.sort();
    let mut grown = std::collections::BTreeMap::<&str, usize>::new();
    for pair in revisions.windows(2) {
        if pair[0].0 == pair[1].0 && pair[0].2 == pair[1].2 {
            *grown.entry(&pair[0].0).or_default() += 1;
        }
    }
    println!(
        "{} incidents, {} revisions in {elapsed:?}, growth {grown:?}",
        status.incidents["open"],
        revisions.len()
    );
    // One for the end, one for every ten seconds, and one for an incident that took another in.
    let most = 2 + elapsed.as_secs() as usize / 10;
    assert!(
        grown.values().all(|times| *times <= most),
        "{grown:?}, at most {most} expected"
    );
    assert!(!grown.is_empty(), "something grew");

    // What was told last is what the facts say: the same as in one calm run.
    run_to_end(&bounded, &scratch.path().join("c.toml"));
    let calm = scratch.path().join("calm");
    let config = bounded.replace(&data.display().to_string(), &calm.display().to_string());
    run_to_end(&config, &scratch.path().join("calm.toml"));
    assert_same(&outcome(&calm), &outcome(&data), "told in pieces");
}
