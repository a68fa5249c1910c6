//! Personal data: what is kept and sent with `[redact]`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::support::*;

fn followed(data: &Path, logs: &Path, plugins: &Path, more: &str) -> String {
    file_config(data, logs, plugins, more).replace("type = \"file\"\n", "type = \"file\"\nfollow = true\n")
}

#[track_caller]
fn wait_until_durable(data: &Path, records: usize) {
    let deadline = Instant::now() + PATIENCE;
    while durable(data) < records {
        assert!(Instant::now() < deadline, "{} of {records} records", durable(data));
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn interrupt(engine: &mut Child) {
    let told = Command::new("kill").args(["-INT", &engine.id().to_string()]).status();
    assert!(told.unwrap().success());
    assert!(wait(engine, PATIENCE).unwrap().success());
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] })
        .collect()
}

#[test]
fn redacted_runs_find_the_same_and_keep_no_person() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let logs = scratch.path().join("logs");
    write_logs(&logs, &simulated(11, 3_000));
    let run = |name: &str, more: &str| {
        let data = scratch.path().join(name);
        let config = file_config(&data, &logs, &plugins, more);
        let at = scratch.path().join(format!("{name}.toml"));
        let mut child = spawn_run(&config, &at, &[("REDACT", "a key that nobody guesses")]);
        let status = wait(&mut child, PATIENCE).expect("the run did not end in time");
        let log = std::fs::read_to_string(at.with_extension("log")).unwrap();
        assert!(status.success(), "{log}");
        (data, log)
    };
    let (clear, _) = run("clear", "");
    let figures = |data: &Path| {
        (
            rows(data, "SELECT plugin, rule, severity, time, event_ids FROM detections"),
            rows(
                data,
                "SELECT severity, score, detection_count, first_time, last_time, techniques FROM incidents WHERE status = 'open'",
            ),
            rows(
                data,
                "SELECT p.time, p.action, p.technique FROM incident_path p JOIN incidents i ON i.incident_id = p.incident_id WHERE i.status = 'open'",
            ),
            rows(
                data,
                "SELECT kind, count(*) AS n, sum(count) AS times FROM relations GROUP BY kind",
            ),
        )
    };
    let persons = "SELECT DISTINCT actor_user_uid AS v FROM events WHERE actor_user_uid IS NOT NULL \
                   UNION SELECT DISTINCT src_endpoint_ip FROM events WHERE src_endpoint_ip IS NOT NULL \
                   UNION SELECT DISTINCT substr(ai_prompt, 1, 40) FROM events WHERE length(ai_prompt) > 40";
    let persons: Vec<String> = rows(&clear, persons)
        .iter()
        .map(|row| {
            serde_json::from_str::<serde_json::Value>(row).unwrap()["v"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .filter(|person| person.len() > 6 && !person.ends_with(".amazonaws.com"))
        .collect();
    assert!(persons.len() > 50, "{persons:?}");
    // Nobody has that address: what is found stays the same.
    let somebody = persons
        .iter()
        .find(|person| person.contains('@') || person.starts_with("arn:aws:iam"));
    let rules = scratch.path().join("rules.toml");
    let exception = format!(
        "[[exception]]\nname = \"x\"\nrule = \"gateway-key-abuse\"\nmatch = {{ principal = '{}', address = \"0.0.0.0\" }}\n\
         owner = \"o\"\nreason = \"r\"\nexpires = 2100-01-01\n",
        somebody.expect("a person")
    );
    std::fs::write(&rules, exception).unwrap();
    for mode in ["hmac", "mask", "drop"] {
        let (data, log) = run(
            mode,
            &format!(
                "rules = \"{}\"\n[redact]\nmode = \"{mode}\"\nkey_env = \"REDACT\"",
                rules.display()
            ),
        );
        let matches = rows(&data, "SELECT matches FROM exceptions");
        assert_eq!(
            matches,
            [r#"{"matches":"address = (hidden by [redact]) and principal = (hidden by [redact])"}"#]
        );
        assert_eq!(figures(&data), figures(&clear), "{mode}");
        let tables = [
            "events",
            "detections",
            "relations",
            "entities",
            "incident_revisions",
            "incident_path",
            "rejected",
            "plugin_health",
            "rules",
            "exceptions",
            "silences",
            "inhibitions",
            "incident_updates",
        ];
        let mut kept: Vec<(String, Vec<u8>)> = vec![("the log".into(), log.into_bytes())];
        kept.extend(tables.map(|table| {
            (
                table.to_owned(),
                rows(&data, &format!("SELECT * FROM {table}")).join("\n").into_bytes(),
            )
        }));
        // What is compiled was so before any record came.
        kept.extend(
            files_below(&data)
                .into_iter()
                .filter(|path| !path.starts_with(data.join("cache")))
                .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())),
        );
        for (place, bytes) in &kept {
            let text = String::from_utf8_lossy(bytes).to_lowercase();
            let found = persons.iter().find(|person| text.contains(&person.to_lowercase()));
            // Who runs the engine may be told where it reads.
            assert_eq!(found, None, "{mode}: {place}");
        }
    }
    // Another key does not open what was sealed.
    let config = file_config(
        &scratch.path().join("hmac"),
        &logs,
        &plugins,
        "[redact]\nkey_env = \"REDACT\"",
    );
    let at = scratch.path().join("other.toml");
    let mut child = spawn_run(&config, &at, &[("REDACT", "another key, quite wrong")]);
    assert_eq!(wait(&mut child, PATIENCE).unwrap().code(), Some(1));
    let log = std::fs::read_to_string(at.with_extension("log")).unwrap();
    assert!(log.contains("sealed with another key"), "{log}");
}

#[test]
fn a_restart_of_a_redacted_run_finds_what_an_undisturbed_one_does() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let records = simulated(12, 3_000);
    let redact = "[redact]\nkey_env = \"REDACT\"";
    let environment = [("REDACT", "a key that nobody guesses")];
    let whole = scratch.path().join("whole");
    write_logs(&whole, &records);
    let undisturbed = scratch.path().join("undisturbed");
    let config = followed(&undisturbed, &whole, &plugins, redact);
    let mut engine = spawn_run(&config, &scratch.path().join("a.toml"), &environment);
    wait_until_durable(&undisturbed, 3_000);
    interrupt(&mut engine);
    // The same in thirds, each read by a run of its own: rows wait in reorder buffers over the stops.
    let (disturbed, parts) = (scratch.path().join("disturbed"), scratch.path().join("parts"));
    for third in 1..=3 {
        let so_far = records
            .iter()
            .map(|(format, lines)| (*format, lines[..lines.len() * third / 3].to_vec()))
            .collect();
        write_logs(&parts, &so_far);
        let expected = so_far.values().map(Vec::len).sum();
        let config = followed(&disturbed, &parts, &plugins, redact);
        let mut engine = spawn_run(&config, &scratch.path().join(format!("b{third}.toml")), &environment);
        wait_until_durable(&disturbed, expected);
        match third {
            2 => drop((engine.kill(), engine.wait())),
            _ => interrupt(&mut engine),
        }
    }
    let found = |data: &Path| {
        (
            rows(data, "SELECT plugin, rule, time, late, entities FROM detections"),
            rows(
                data,
                "SELECT severity, score, detection_count, entities FROM incidents WHERE status = 'open'",
            ),
        )
    };
    assert_eq!(found(&disturbed), found(&undisturbed));
}
