//! What people do to incidents: closing, silencing, and what becomes of it under kills, restarts and new evidence.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::serving::receiver;
use crate::support::*;

fn told(arguments: &[&str], data: &Path) -> Output {
    let mut command = Command::new(SENTRAIL);
    command.args(arguments).arg("--data").arg(data);
    command.env_remove("USER").env_remove("LOGNAME").output().unwrap()
}

/// What the command says; it must succeed.
#[track_caller]
fn done(arguments: &[&str], data: &Path) -> String {
    let output = told(arguments, data);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Why the command does nothing.
#[track_caller]
fn refused(arguments: &[&str], data: &Path) -> String {
    let output = told(arguments, data);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn objects(data: &Path, sql: &str) -> Vec<Value> {
    rows(data, sql)
        .iter()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect()
}

fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().unwrap_or_default()
}

const UPDATES: &str =
    "SELECT incident_id, revision, updated_by, workflow_status, assignee, verdict, note FROM incident_updates";

#[test]
fn a_decision_is_durable_seen_and_undone_with_an_engine_and_without() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let (logs, data) = (scratch.path().join("logs"), scratch.path().join("data"));
    write_logs(&logs, &simulated(7, 3_000));
    run_to_end(&file_config(&data, &logs, &plugins, ""), &scratch.path().join("c.toml"));
    let worst = "SELECT incident_id FROM incidents WHERE status = 'open' ORDER BY detection_count DESC LIMIT 1";
    let worst = objects(&data, worst).remove(0);
    let id = text(&worst, "incident_id");

    // No engine runs: the command writes an epoch of its own.
    let epoch = epochs(&data);
    let said = done(
        &[
            "incident",
            "update",
            &id[..10],
            "--status",
            "in-progress",
            "--assignee",
            "bob",
            "--note",
            "looking",
            "--by",
            "ann",
        ],
        &data,
    );
    assert!(said.contains("In Progress, assigned to bob"), "{said}");
    assert_eq!(epochs(&data), epoch + 1);
    let updates = objects(&data, UPDATES);
    assert_eq!(updates.len(), 1);
    for (column, value) in [
        ("incident_id", id),
        ("updated_by", "ann"),
        ("workflow_status", "In Progress"),
        ("note", "looking"),
    ] {
        assert_eq!(text(&updates[0], column), value, "{column}");
    }
    let show = done(&["incident", "show", id], &data);
    assert!(show.contains("In Progress  assigned to bob"), "{show}");
    for (wrong, why) in [
        (&["incident", "update", id, "--status", "done", "--by", "ann"][..], None),
        (&["incident", "update", id, "--by", "ann"], Some("changes nothing")),
        (&["incident", "update", id, "--status", "closed"], Some("--by NAME")),
        (
            &["incident", "update", id, "--status", "closed", "--by", "sentrail"],
            Some("engine itself"),
        ),
        (
            &[
                "incident",
                "update",
                &"0".repeat(32),
                "--status",
                "closed",
                "--by",
                "ann",
            ],
            Some("there is no incident"),
        ),
        (
            &[
                "silence",
                "add",
                "--until",
                "2030-01-01",
                "--reason",
                "x",
                "--by",
                "ann",
            ],
            Some("everything"),
        ),
        (
            &[
                "silence", "add", "--rule", "p", "--until", "soon", "--reason", "x", "--by", "ann",
            ],
            Some("2026-12-31"),
        ),
        (&["silence", "remove", "ff", "--by", "ann"], Some("no silence")),
    ] {
        match why {
            Some(why) => {
                let said = refused(wrong, &data);
                assert!(said.contains(why), "{wrong:?}: {said}");
            }
            None => assert_eq!(told(wrong, &data).status.code(), Some(2), "{wrong:?}"),
        }
    }
    assert!(
        !refused(
            &["silence", "remove", "ff", "--by", "ann"],
            &scratch.path().join("none")
        )
        .is_empty()
    );
    assert!(!scratch.path().join("none").exists(), "asking makes no data directory");

    // Killed after the decision was journaled and before it was in the tables: it is there after the next start, with what it taught.
    let benign = [
        "incident",
        "update",
        id,
        "--verdict",
        "benign",
        "--status",
        "closed",
        "--note",
        "a test of ours",
        "--by",
        "ann",
    ];
    let killed = Command::new(SENTRAIL)
        .args(benign)
        .arg("--data")
        .arg(&data)
        .env("SENTRAIL_FAILPOINT", "store.before_manifest:1")
        .output()
        .unwrap();
    assert!(!killed.status.success());
    assert_eq!((count(&data, "incident_updates"), count(&data, "silences")), (1, 0));
    let port = free_port();
    let (hook, http) = (free_port(), free_port());
    let received = receiver(hook);
    let more = format!(
        "[serve]\npostgres = \"127.0.0.1:{port}\"\nhttp = \"127.0.0.1:{http}\"\n\
         [[forward]]\nname = \"soar\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:{hook}/\"\n"
    );
    let config =
        file_config(&data, &logs, &plugins, &more).replace("type = \"file\"\n", "type = \"file\"\nfollow = true\n");
    let mut engine = Engine(spawn_run(&config, &scratch.path().join("f.toml"), &[]));
    let deadline = Instant::now() + PATIENCE;
    while count(&data, "silences") == 0 {
        assert!(
            Instant::now() < deadline,
            "what was journaled does not come into the tables"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    let taught = count(&data, "silences");
    assert_eq!(count(&data, "incident_updates"), 2);

    // An engine runs: the command goes through it, and what it says is in the tables when it says so.
    assert!(
        told(&["incident", "update", id, "--status", "on hold", "--by", "bob"], &data)
            .status
            .success()
    );
    let updates = objects(&data, &format!("{UPDATES} ORDER BY revision"));
    let last = updates
        .iter()
        .find(|row| text(row, "updated_by") == "bob")
        .expect("bob's");
    assert_eq!(
        (text(last, "workflow_status"), text(last, "verdict")),
        ("On Hold", "Benign")
    );
    let said = done(
        &[
            "silence",
            "add",
            "--entity",
            "principal:Eve@Example.com",
            "--until",
            "2100-01-01",
            "--reason",
            "x",
            "--by",
            "ann",
        ],
        &data,
    );
    let silence = said.split_whitespace().nth(1).unwrap().to_owned();
    engine.0.kill().unwrap();
    engine.0.wait().unwrap();
    let held = objects(&data, &format!("SELECT * FROM silences WHERE silence = '{silence}'")).remove(0);
    assert_eq!(held["entities"], serde_json::json!(["principal:eve@example.com"]));
    assert_eq!((held["active"].as_bool(), text(&held, "owner")), (Some(true), "ann"));
    // The engine that was killed left its socket.
    done(&["silence", "remove", &silence[..8], "--by", "bob"], &data);
    let held = objects(&data, &format!("SELECT * FROM silences WHERE silence = '{silence}'")).remove(0);
    assert_eq!(
        (held["active"].as_bool(), text(&held, "removed_by")),
        (Some(false), "bob")
    );
    assert_eq!(count(&data, "silences"), taught + 1);
    let list = done(&["silence", "list"], &data);
    assert!(list.contains("a test of ours"), "{list}");

    // Whoever reaches the port changes nothing, and receivers heard of what was decided.
    let _engine = Engine(spawn_run(&config, &scratch.path().join("f.toml"), &[]));
    let mut closings: BTreeMap<String, Value> = BTreeMap::new();
    let deadline = Instant::now() + PATIENCE;
    while !closings
        .values()
        .any(|finding| finding["comment"] == "ann: a test of ours")
    {
        let left = deadline.saturating_duration_since(Instant::now());
        let (_, body) = received.recv_timeout(left).expect("what was decided is sent");
        let finding: Value = serde_json::from_slice(&body).unwrap();
        if finding["metadata"]["correlation_uid"] == id {
            closings.insert(text(&finding["metadata"], "uid").to_owned(), finding);
        }
    }
    let closing = closings
        .values()
        .find(|finding| finding["comment"] == "ann: a test of ours")
        .unwrap();
    assert_eq!(
        (text(closing, "status"), text(closing, "verdict")),
        ("Closed", "Benign")
    );
    while http_get(http, "/healthz").is_none() {
        assert!(Instant::now() < deadline, "no answer");
        std::thread::sleep(Duration::from_millis(100));
    }
    let answer = http_get(http, "/v1/triage").unwrap();
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
}

#[test]
fn history_is_told_to_nobody_and_what_was_closed_reopens_for_new_findings() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let (logs, data, at) = (
        scratch.path().join("logs"),
        scratch.path().join("data"),
        scratch.path().join("c.toml"),
    );
    let records = simulated(7, 3_000);
    let hook = free_port();
    let received = receiver(hook);
    let more = format!("[[forward]]\nname = \"soar\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:{hook}/\"\n");
    let config = file_config(&data, &logs, &plugins, &more);
    let mut history = BTreeMap::new();
    const PARTS: usize = 6;
    for part in 1..=PARTS {
        let so_far = records
            .iter()
            .map(|(format, lines)| (*format, lines[..lines.len() * part / PARTS].to_vec()))
            .collect();
        write_logs(&logs, &so_far);
        let open = || {
            objects(
                &data,
                "SELECT incident_id, revision FROM incidents WHERE status = 'open' AND workflow_status = 'New'",
            )
        };
        if part > PARTS / 2 {
            run_to_end(&config, &at);
            continue;
        }
        std::fs::write(&at, &config).unwrap();
        let run = Command::new(SENTRAIL)
            .args(["run", "--backfill", "--config"])
            .arg(&at)
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        if part == PARTS / 2 {
            history = open()
                .iter()
                .map(|row| (text(row, "incident_id").to_owned(), row["revision"].clone()))
                .collect();
            assert!(!history.is_empty(), "the attack begins in the first half");
            assert_eq!(
                rows(&data, "SELECT DISTINCT forwarded FROM incident_revisions"),
                [r#"{"forwarded":false}"#]
            );
            assert!(received.try_recv().is_err(), "history was sent");
            for id in history.keys() {
                done(
                    &["incident", "update", id, "--status", "resolved", "--by", "ann"],
                    &data,
                );
            }
        }
    }
    let reopened = objects(
        &data,
        &format!("{UPDATES} WHERE updated_by = 'sentrail' AND note LIKE '%reopened: %Resolved'"),
    );
    let reopened: Vec<&Value> = reopened
        .iter()
        .filter(|row| history.contains_key(text(row, "incident_id")))
        .collect();
    assert!(!reopened.is_empty(), "no incident of the history grew");
    let mut sent: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    while let Ok((_, body)) = received.recv_timeout(Duration::from_secs(1)) {
        let finding: Value = serde_json::from_slice(&body).unwrap();
        let incident = text(&finding["metadata"], "correlation_uid").to_owned();
        sent.entry(incident).or_default().push(finding);
    }
    for row in reopened {
        let (id, note) = (text(row, "incident_id"), text(row, "note"));
        assert_eq!((text(row, "workflow_status"), text(row, "verdict")), ("New", ""));
        let first = &sent[id][0];
        assert_eq!(
            (text(first, "activity_name"), text(first, "status_detail")),
            ("Create", note),
            "{first}"
        );
    }
    // What nothing was added to stays resolved, and nobody heard of it.
    for row in objects(
        &data,
        "SELECT incident_id, workflow_status, forwarded FROM incidents WHERE status = 'open'",
    ) {
        let heard = sent.contains_key(text(&row, "incident_id"));
        assert_eq!(row["forwarded"].as_bool(), Some(heard), "{row}");
        assert!(heard || text(&row, "workflow_status") == "Resolved", "{row}");
    }
}
