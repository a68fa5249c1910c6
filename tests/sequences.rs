//! Declared sequences in a whole run: told over a kill as in one go, changed while the engine runs, under redaction.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use sentrail::config;

use crate::support::*;

/// Another tool's finding at a minute of a day.
fn append(log: &Path, minute: u32, rule: &str, host: &str) {
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    writeln!(
        log,
        "{{\"hostname\":\"{host}\",\"output\":\"{rule} on {host}\",\"priority\":\"Warning\",\"rule\":\"{rule}\",\"source\":\"syscall\",\
         \"tags\":[\"T1059\"],\"time\":\"2026-02-01T10:{minute:02}:00Z\",\"uuid\":\"{host}-{minute}-{rule}\",\
         \"output_fields\":{{\"evt.type\":\"execve\",\"user.name\":\"root\"}}}}"
    )
    .unwrap();
}

fn sequence(name: &str, second: &str) -> String {
    format!(
        "[[sequence]]\nname = \"{name}\"\ntitle = \"A shell, then {second}\"\nseverity = \"critical\"\nby = \"host\"\nwithin = \"10m\"\n\
         [[sequence.step]]\nname = \"shell\"\nrules = [\"falco/Shell\"]\n\
         [[sequence.step]]\nname = \"{second}\"\nrules = [\"falco/{second}\"]\n"
    )
}

fn config_of(dir: &Path, data: &Path, follow: bool, more: &str) -> String {
    let declared = dir.join("sequences");
    std::fs::create_dir_all(dir.join("plugins")).unwrap();
    std::fs::create_dir_all(&declared).unwrap();
    format!(
        "[storage]\nurl = \"{}\"\nflush_interval = \"300ms\"\n[plugins]\ndir = \"{}\"\nrules = \"{}\"\n[sequences]\ndir = \"{}\"\n\
         [[source]]\nname = \"tool\"\ntype = \"file\"\npath = \"{}\"\nformat = \"falco\"\nfollow = {follow}\n{more}",
        data.display(),
        dir.join("plugins").display(),
        dir.join("rules.toml").display(),
        declared.display(),
        dir.join("log.ndjson").display(),
    )
}

const TOLD: &str = "SELECT detection_id, time, rule, severity, title, message, techniques, entities, event_ids, layer, late \
                    FROM detections WHERE plugin = 'sequence'";

fn told(data: &Path) -> Vec<String> {
    if epochs(data) == 0 {
        Vec::new()
    } else {
        rows(data, TOLD)
    }
}

#[test]
fn a_sequence_is_told_over_a_kill_as_in_one_go() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let (log, data, calm) = (dir.join("log.ndjson"), dir.join("data"), dir.join("calm"));
    let config = config_of(dir, &data, true, "");
    std::fs::write(dir.join("rules.toml"), "").unwrap();
    std::fs::write(dir.join("sequences/own.toml"), sequence("own", "Outbound")).unwrap();
    append(&log, 0, "Shell", "node-1");
    append(&log, 1, "Outbound", "node-2");
    let mut engine = Engine(spawn_run(&config, &dir.join("c.toml"), &[]));
    until("the first records", || durable(&data) == 2);
    engine.0.kill().unwrap();
    engine.0.wait().unwrap();
    append(&log, 4, "Outbound", "node-1");
    append(&log, 30, "Shell", "node-3");
    append(&log, 41, "Outbound", "node-3");
    let _engine = Engine(spawn_run(&config, &dir.join("c.toml"), &[]));
    until("what the sequence tells", || {
        !told(&data).is_empty() && durable(&data) == 5
    });
    drop(_engine);

    let config = config_of(dir, &calm, false, "");
    run_to_end(&config, &dir.join("calm.toml"));
    let (found, expected) = (told(&data), told(&calm));
    assert_eq!(found, expected);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains("host:node-1") && found[0].contains("Within 4 min 0 s"),
        "{found:#?}"
    );
    let joined = rows(
        &calm,
        "SELECT count(DISTINCT incident_id) AS incidents, count(*) AS detections FROM detections \
         WHERE incident_id = (SELECT incident_id FROM detections WHERE plugin = 'sequence')",
    );
    assert_eq!(joined, [r#"{"incidents":1,"detections":3}"#], "its steps and itself");
    let rules = rows(
        &calm,
        "SELECT severity, enabled FROM rules WHERE plugin = 'sequence' AND rule = 'own'",
    );
    assert_eq!(rules, [r#"{"severity":"Critical","enabled":true}"#]);
    let health = rows(
        &calm,
        "SELECT DISTINCT plugin, status FROM plugin_health WHERE detections = 1",
    );
    assert_eq!(health, [r#"{"plugin":"sequence","status":"ok"}"#]);
}

#[test]
fn sequences_change_while_the_engine_runs_and_a_bad_file_changes_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let (log, data, http) = (dir.join("log.ndjson"), dir.join("data"), free_port());
    let config = config_of(dir, &data, true, &format!("[serve]\nhttp = \"127.0.0.1:{http}\"\n"));
    let own = dir.join("sequences/own.toml");
    std::fs::write(
        dir.join("rules.toml"),
        "[[rule]]\nname = \"sequence/own\"\nseverity = \"low\"\n",
    )
    .unwrap();
    std::fs::write(&own, sequence("own", "Outbound")).unwrap();
    append(&log, 0, "Shell", "node-1");
    let engine = Engine(spawn_run(&config, &dir.join("c.toml"), &[]));
    until("the first record", || durable(&data) == 1);
    let health = || http_get(http, "/healthz").unwrap_or_default();
    std::fs::write(&own, sequence("own", "Outbound").replace("10m", "soon")).unwrap();
    until("the refusal", || {
        health().contains("own.toml:6:10") && health().contains("degraded")
    });
    append(&log, 1, "Outbound", "node-1");
    until("what the old one tells", || told(&data).len() == 1);
    std::fs::write(&own, sequence("own", "Outbound") + &sequence("new", "Download")).unwrap();
    let in_force = "SELECT rule FROM rules WHERE plugin = 'sequence' AND rule IN ('own', 'new')";
    until("the new one", || {
        rows(&data, in_force).len() == 2 && !health().contains("own.toml")
    });
    append(&log, 2, "Shell", "node-4");
    append(&log, 3, "Download", "node-4");
    until("what the new one tells", || told(&data).len() == 2);
    assert!(
        Command::new("kill")
            .args(["-INT", &engine.0.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let found = told(&data);
    let of = |rule: &str| {
        found
            .iter()
            .find(|row| row.contains(&format!("\"rule\":\"{rule}\"")))
            .unwrap()
    };
    assert!(of("own").contains("\"severity\":\"Low\""), "{found:#?}");
    assert!(of("new").contains("\"severity\":\"Critical\""), "{found:#?}");
    // The manifests name what ran.
    let manifest = std::fs::read_to_string(data.join(format!("epochs/{:020}.json", epochs(&data))));
    let manifest = manifest.unwrap_or_else(|_| {
        let files = std::fs::read_dir(data.join("epochs")).unwrap().flatten();
        let newest = files.map(|file| file.path()).max().unwrap();
        std::fs::read_to_string(newest).unwrap()
    });
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["sequences"].as_str().map(str::len), Some(64));
}

#[test]
fn sequences_see_clear_text_and_what_they_tell_is_redacted() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let (log, data) = (dir.join("log.ndjson"), dir.join("data"));
    let text = config_of(dir, &data, false, "[redact]\nkey_env = \"KEY\"\n");
    std::fs::write(dir.join("rules.toml"), "").unwrap();
    let own = sequence("own", "Outbound").replace("\"host\"", "\"actor/principal\"")
        + "match = { principal = \"root@node-*\" }\n";
    std::fs::write(dir.join("sequences/own.toml"), own).unwrap();
    append(&log, 0, "Shell", "node-1");
    append(&log, 4, "Outbound", "node-1");
    let settings = config::parse(&text, "c.toml", &|_| Some("0123456789abcdef0123456789abcdef".into())).unwrap();
    let running = runtime().block_on(sentrail::pipeline::start(settings)).unwrap();
    runtime().block_on(running.join()).unwrap();
    let found = told(&data);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].contains("principal:hmac:") && !found[0].contains("root@node-1"),
        "{found:#?}"
    );
}
