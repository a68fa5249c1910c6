//! Inhibitions in a whole run: the same is silenced in whichever order findings come, over a kill, and while rules change.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::serving::receiver;
use crate::support::*;

/// Another tool's finding, an incident by itself, at a minute of a day.
fn append(log: &Path, minute: u32, rule: &str, host: &str) {
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    writeln!(
        log,
        "{{\"hostname\":\"{host}\",\"output\":\"{rule} on {host}\",\"priority\":\"Critical\",\"rule\":\"{rule}\",\"source\":\"syscall\",\
         \"tags\":[],\"time\":\"2026-02-01T10:{minute:02}:00Z\",\"uuid\":\"{host}-{minute}-{rule}\",\
         \"output_fields\":{{\"evt.type\":\"execve\",\"user.name\":\"root\"}}}}"
    )
    .unwrap();
}

const INHIBIT: &str = "[[inhibit]]\nname = \"outage\"\nsource = \"falco/Outage\"\ntarget = \"falco/Sh*\"\nequal = \"tenant\"\n\
                       within = \"10m\"\nowner = \"secops\"\nreason = \"One ticket is enough\"\nexpires = 2100-01-01\n";

fn config_of(dir: &Path, data: &Path, log: &str, follow: bool, more: &str) -> String {
    std::fs::create_dir_all(dir.join("plugins")).unwrap();
    format!(
        "[storage]\nurl = \"{}\"\nflush_interval = \"300ms\"\n[plugins]\ndir = \"{}\"\nrules = \"{}\"\n[sequences]\nshipped = false\n\
         [[source]]\nname = \"tool\"\ntype = \"file\"\npath = \"{}\"\nformat = \"falco\"\nfollow = {follow}\n{more}",
        data.display(),
        dir.join("plugins").display(),
        dir.join("rules.toml").display(),
        dir.join(log).display(),
    )
}

const STAND: &str = "SELECT incident_id, title, inhibited_by FROM incidents";

/// The one incident that an inhibition silences.
#[track_caller]
fn inhibited(data: &Path) -> Value {
    let held = rows(data, "SELECT * FROM incidents WHERE inhibited_by = 'outage'");
    assert_eq!(held.len(), 1, "{:#?}", rows(data, STAND));
    serde_json::from_str(&held[0]).unwrap()
}

/// Somebody takes an incident on while no engine runs.
#[track_caller]
fn assign(id: &str, data: &Path) {
    let update = Command::new(SENTRAIL)
        .args(["incident", "update", id, "--assignee", "bob", "--by", "ann", "--data"])
        .arg(data)
        .output()
        .unwrap();
    assert!(update.status.success(), "{}", String::from_utf8_lossy(&update.stderr));
}

#[test]
fn a_target_is_silenced_whether_its_source_came_before_it_or_behind_it_and_over_a_kill() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let at = dir.join("c.toml");
    std::fs::write(dir.join("rules.toml"), INHIBIT).unwrap();
    let targets = |log: &str| {
        append(&dir.join(log), 5, "Shell", "node-2");
        append(&dir.join(log), 30, "Shell", "node-3");
    };
    let source = |log: &str| append(&dir.join(log), 0, "Outage", "node-1");

    let calm = dir.join("calm");
    source("calm.ndjson");
    targets("calm.ndjson");
    let hook = free_port();
    let received = receiver(hook);
    let forward = format!("[[forward]]\nname = \"soar\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:{hook}/\"\n");
    run_to_end(&config_of(dir, &calm, "calm.ndjson", false, &forward), &at);
    assert_eq!(rows(&calm, STAND).len(), 3);
    let held = inhibited(&calm);
    let id = held["incident_id"].as_str().unwrap();
    assert_eq!(
        (&held["forwarded"], &held["silenced_by"]),
        (&Value::Bool(false), &Value::Null)
    );
    assert_eq!(count(&calm, "detections"), 3);
    let mut sent: BTreeSet<String> = BTreeSet::new();
    while let Ok((_, body)) = received.recv_timeout(Duration::from_secs(2)) {
        let finding: Value = serde_json::from_slice(&body).unwrap();
        sent.insert(finding["metadata"]["correlation_uid"].as_str().unwrap().to_owned());
    }
    assert!(sent.len() == 2 && !sent.contains(id), "{sent:#?}");
    let told = "SELECT inhibition, source, target, equal, within_seconds, owner, incidents, active FROM inhibitions";
    assert_eq!(
        rows(&calm, told),
        [
            r#"{"inhibition":"outage","source":["falco/Outage"],"target":["falco/Sh*"],"equal":"tenant","within_seconds":600,"owner":"secops","incidents":1,"active":true}"#
        ]
    );
    // Who decides something beside the engine changes nothing of it.
    assign(id, &calm);
    assert_eq!(inhibited(&calm)["assignee"], "bob");
    let show = Command::new(SENTRAIL)
        .args(["incident", "show", id, "--data"])
        .arg(&calm)
        .output()
        .unwrap();
    let show = String::from_utf8_lossy(&show.stdout).into_owned();
    assert!(show.contains("inhibited by outage"), "{show}");

    // The source comes later, and what was journaled of it is kept from the tables.
    let late = dir.join("late");
    let config = config_of(dir, &late, "late.ndjson", false, "");
    targets("late.ndjson");
    run_to_end(&config, &at);
    assert!(
        rows(&late, STAND)
            .iter()
            .all(|row| row.contains("\"inhibited_by\":null"))
    );
    source("late.ndjson");
    let mut killed = spawn_run(&config, &at, &[("SENTRAIL_FAILPOINT", "store.before_manifest:1")]);
    assert!(!wait(&mut killed, PATIENCE).expect("it ends").success());
    run_to_end(&config, &at);
    run_to_end(&config, &at);
    assert_eq!(rows(&late, STAND), rows(&calm, STAND));
    let held = inhibited(&late);
    assert_eq!((&held["revision"], &held["forwarded"]), (&2.into(), &Value::Bool(true)));

    // As before, but somebody decides something before the source is found again.
    let torn = dir.join("torn");
    let config = config_of(dir, &torn, "torn.ndjson", false, "");
    targets("torn.ndjson");
    run_to_end(&config, &at);
    source("torn.ndjson");
    let mut killed = spawn_run(&config, &at, &[("SENTRAIL_FAILPOINT", "store.before_manifest:1")]);
    assert!(!wait(&mut killed, PATIENCE).expect("it ends").success());
    assign(id, &torn);
    run_to_end(&config, &at);
    let revisions =
        format!("SELECT revision, assignee, inhibited_by FROM incident_revisions WHERE incident_id = '{id}'");
    assert_eq!(
        rows(&torn, &revisions),
        [
            r#"{"revision":1,"assignee":null,"inhibited_by":null}"#,
            r#"{"revision":2,"assignee":null,"inhibited_by":"outage"}"#,
            r#"{"revision":3,"assignee":"bob","inhibited_by":"outage"}"#,
        ]
    );
}

#[test]
fn rules_that_inhibit_are_put_in_and_taken_out_while_the_engine_runs() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let (data, rules) = (dir.join("data"), dir.join("rules.toml"));
    let fresh = |text: &str| {
        std::fs::write(dir.join("fresh"), text).unwrap();
        std::fs::rename(dir.join("fresh"), &rules).unwrap();
    };
    fresh("");
    append(&dir.join("log.ndjson"), 0, "Outage", "node-1");
    append(&dir.join("log.ndjson"), 5, "Shell", "node-2");
    let _engine = Engine(spawn_run(
        &config_of(dir, &data, "log.ndjson", true, ""),
        &dir.join("c.toml"),
        &[],
    ));
    let silenced = || match epochs(&data) {
        0 => 0,
        _ => count(&data, "incidents WHERE inhibited_by = 'outage'"),
    };
    until("the findings", || epochs(&data) > 0 && count(&data, "incidents") == 2);
    assert_eq!(silenced(), 0);
    fresh(INHIBIT);
    until("the inhibition", || silenced() == 1);
    fresh(&INHIBIT.replace("2100-01-01", "2026-02-01"));
    until("its end", || silenced() == 0);
    assert_eq!(count(&data, "inhibitions WHERE active"), 0);
    fresh(&INHIBIT.replace("10m", "2m"));
    until("its time", || {
        count(&data, "inhibitions WHERE active AND within_seconds = 120") == 1
    });
    assert_eq!(silenced(), 0);
}
