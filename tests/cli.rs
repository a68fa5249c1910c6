//! The command line as scripts see it: exit codes, formats, one-line errors.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::*;

fn sentrail(arguments: &[&str]) -> Output {
    Command::new(SENTRAIL).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn mistakes_in_the_configuration_are_one_line_and_exit_2() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("c.toml");
    let cases = [
        ("[storage]\nurl = \"data\"\nurll = 1\n", "urll"),
        ("[storage]\nurl = 1\n", "string"),
        ("[storage]\nurl = \"data\"\n", "[[source]]"),
        (
            "[storage]\nurl = \"data\"\n[[source]]\nname = \"a\"\ntype = \"file\"\npath = \"none/*.json\"\nformat = \"nope\"\n",
            "aws_cloudtrail",
        ),
        (
            "[storage]\nurl = \"data\"\n[[source]]\nname = \"a\"\ntype = \"file\"\npath = \"*\"\nformat = \"auto\"\n\
             [[forward]]\nname = \"soar\"\ntype = \"webhook\"\nurl = \"http://\"\n",
            "soar",
        ),
        (
            "[storage]\nurl = \"data\"\n[[source]]\nname = \"a\"\ntype = \"file\"\npath = \"*\"\nformat = \"auto\"\n\
             [[forward]]\nname = \"siem\"\ntype = \"syslog\"\naddress = \"siem:0\"\n",
            "siem:0",
        ),
    ];
    for command in ["run", "check"] {
        for (config, word) in &cases {
            std::fs::write(&path, config).unwrap();
            let output = sentrail(&[command, "--config", path.to_str().unwrap()]);
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{command}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
        let output = sentrail(&[command, "--config", "/does/not/exist.toml"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("/does/not/exist.toml"));
    }
}

#[test]
fn a_missing_input_file_is_named() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("c.toml");
    std::fs::write(
        &path,
        file_config(&scratch.path().join("d"), &scratch.path().join("none"), &plugins, ""),
    )
    .unwrap();
    let output = sentrail(&["run", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("none/aws_cloudtrail.ndjson"),
        "{}",
        text(&output.stderr)
    );
}

/// A run over simulated logs whose attack is known.
fn ran(scratch: &Path) -> Option<std::path::PathBuf> {
    let plugins = plugins()?;
    let logs = scratch.join("logs");
    let out = sentrail(&[
        "simulate",
        "--seed",
        "7",
        "--events",
        "3000",
        "--out",
        logs.to_str().unwrap(),
    ]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let data = scratch.join("data");
    // Servers do not keep a run over bounded files alive.
    let serve = "[serve]\nhttp = \"127.0.0.1:0\"\npostgres = \"127.0.0.1:0\"";
    run_to_end(&file_config(&data, &logs, &plugins, serve), &scratch.join("c.toml"));
    let log = std::fs::read_to_string(scratch.join("c.log")).unwrap();
    assert!(
        log.contains("records    3000 = 3000 events + 0 rejected + 0 duplicates"),
        "{log}"
    );
    Some(data)
}

#[test]
fn an_attack_is_one_incident_that_sql_search_and_show_agree_on() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(data) = ran(scratch.path()) else { return };
    let data = data.to_str().unwrap();
    let sql = |query: &str, format: &str| {
        let output = sentrail(&["sql", "--data", data, query, "--format", format]);
        assert!(output.status.success(), "{query}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let worst = sql(
        "SELECT incident_id, severity, detection_count, layers FROM incidents WHERE status = 'open' \
         ORDER BY severity_id DESC, score DESC LIMIT 1",
        "json",
    );
    assert_eq!(worst.lines().count(), 1);
    let worst: serde_json::Value = serde_json::from_str(&worst).unwrap();
    assert_eq!(worst["severity"], "Critical");
    assert_eq!(worst["layers"], serde_json::json!(["cloud", "gateway", "vector_db"]));
    let id = worst["incident_id"].as_str().unwrap();

    // Every stage of the attack that a detector saw is in that one incident.
    let elsewhere = sql(
        "SELECT count(*) AS n FROM incidents WHERE status = 'open' AND severity_id >= 4",
        "csv",
    );
    assert_eq!(elsewhere.trim(), "n\n1", "another severe incident");

    let shown = sentrail(&["incident", "show", &id[..8], "--data", data, "--format", "json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["incident_id"], id);
    assert_eq!(
        shown["path"].as_array().unwrap().len().to_string(),
        sql(
            &format!("SELECT count(*) AS n FROM incident_path WHERE incident_id = '{id}'"),
            "csv",
        )
        .trim()
        .rsplit('\n')
        .next()
        .unwrap()
    );
    // The list says the same of it, without path and evidence.
    let listed = text(&sentrail(&["incident", "list", "--data", data, "--format", "json"]).stdout);
    let listed: Vec<serde_json::Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let same = listed.iter().find(|incident| incident["incident_id"] == id).unwrap();
    let mut fields = shown.clone();
    let evidence = fields.as_object_mut().unwrap().remove("evidence").unwrap();
    fields.as_object_mut().unwrap().remove("path").unwrap();
    assert_eq!(fields, *same);
    assert!(
        same["score_parts"][0]["why"].is_string() && same["first_time"].is_string(),
        "{same}"
    );
    let evidence = evidence.as_array().unwrap();
    assert_eq!(evidence.len(), shown["detection_count"].as_u64().unwrap() as usize);
    assert!(
        evidence
            .iter()
            .all(|detection| detection["title"].is_string() && detection["event_ids"][0].is_string())
    );
    let story = text(&sentrail(&["incident", "show", id, "--data", data]).stdout);
    let long = story.split(|c: char| !c.is_alphanumeric()).find(|word| word.len() > 32);
    assert_eq!(long, None, "{story}");
    let dot = text(&sentrail(&["incident", "show", id, "--data", data, "--format", "dot"]).stdout);
    assert!(dot.starts_with("digraph") && dot.contains(" -> "));
    assert!(text(&sentrail(&["incident", "list", "--data", data]).stdout).contains(&id[..8]));

    let entity = shown["entities"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|e| e.as_str()?.strip_prefix("address:"))
        .unwrap();
    let found = sentrail(&["search", "--data", data, entity, "--format", "json"]);
    assert!(
        text(&found.stdout).contains(id),
        "{}{}",
        text(&found.stdout),
        text(&found.stderr)
    );
    let joined = sql(
        &format!("SELECT i.incident_id FROM search('{entity}') s JOIN incidents i ON i.incident_id = s.incident_id"),
        "csv",
    );
    assert!(joined.contains(id));
    let detections = sql(
        &format!("SELECT count(*) AS n FROM detections WHERE incident_id = '{id}'"),
        "csv",
    );
    assert_eq!(
        detections.trim().rsplit('\n').next().unwrap(),
        worst["detection_count"].to_string()
    );
}

#[test]
fn a_bad_query_says_what_is_wrong_and_exits_1() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(data) = ran(scratch.path()) else { return };
    let data = data.to_str().unwrap();
    for (query, word) in [
        ("SELECT nope FROM events", "nope"),
        ("SELEC 1", "SELEC"),
        ("DROP TABLE events", "not supported"),
        ("SELECT * FROM nope", "nope"),
    ] {
        let output = sentrail(&["sql", "--data", data, query]);
        assert_eq!(output.status.code(), Some(1), "{query}");
        assert!(text(&output.stderr).contains(word), "{query}: {}", text(&output.stderr));
    }
    for (query, word) in [
        ("severity:urgent", "informational, low, medium, high, critical"),
        ("sevrity:high", "no field `sevrity`"),
    ] {
        let found = sentrail(&["search", "--data", data, query]);
        let joined = sentrail(&["sql", "--data", data, &format!("SELECT * FROM search('{query}')")]);
        for output in [found, joined] {
            assert_eq!(output.status.code(), Some(1), "{query}");
            assert!(text(&output.stderr).contains(word), "{query}: {}", text(&output.stderr));
        }
    }
    // What the documentation asks first.
    let found = sentrail(&["search", "--data", data, "severity:critical", "--format", "json"]);
    assert!(text(&found.stdout).contains("\"Critical\""), "{}", text(&found.stderr));
    let output = sentrail(&["sql", "--data", "/does/not/exist", "SELECT 1"]);
    assert!(!output.status.success() && text(&output.stderr).contains("/does/not/exist"));
}

#[test]
fn an_error_says_its_cause_once() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let logs = scratch.path().join("logs");
    write_logs(&logs, &simulated(3, 60));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let serve = format!("[serve]\nhttp = \"{}\"\n", taken.local_addr().unwrap());
    let path = scratch.path().join("c.toml");
    std::fs::write(&path, file_config(&scratch.path().join("d"), &logs, &plugins, &serve)).unwrap();
    let output = sentrail(&["run", "--config", path.to_str().unwrap()]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.matches("already in use").count(), 1, "{error}");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let scratch = tempfile::tempdir().unwrap();
    let run = |name: &str| {
        let out = scratch.path().join(name);
        assert!(
            sentrail(&[
                "simulate",
                "--seed",
                "9",
                "--events",
                "400",
                "--out",
                out.to_str().unwrap()
            ])
            .status
            .success()
        );
        [
            "aws_cloudtrail.ndjson",
            "litellm.ndjson",
            "qdrant_audit.ndjson",
            "truth.json",
        ]
        .map(|file| std::fs::read(out.join(file)).unwrap())
    };
    assert_eq!(run("a"), run("b"));
}
