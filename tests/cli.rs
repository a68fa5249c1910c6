//! The command line as scripts see it: exit codes, formats, one-line errors.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::*;

fn sentrail(arguments: &[&str]) -> Output {
    // Whoever runs the tests may have a terminal of some width.
    let mut command = Command::new(SENTRAIL);
    command.args(arguments).env_remove("COLUMNS").output().unwrap()
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
    let told = fields.as_object_mut().unwrap().remove("story").unwrap();
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
    // The story: who, from where, step by step with names of techniques, the rules' advice and what comes later in an attack.
    let story = text(&sentrail(&["incident", "show", id, "--data", data]).stdout);
    let long = story.split(|c: char| !c.is_alphanumeric()).find(|word| word.len() > 32);
    assert_eq!(long, None, "{story}");
    for head in [
        "What happened",
        "Who",
        "From where",
        "What was reached",
        "Step by step",
        "What may come next",
        "What to do",
    ] {
        assert!(story.lines().any(|line| line == head), "{head}: {story}");
    }
    assert_eq!(
        told["steps"].as_array().unwrap().len(),
        shown["path"].as_array().unwrap().len()
    );
    assert!(
        story.contains("Account Manipulation: Additional Cloud Credentials (T1098.001)"),
        "{story}"
    );
    let advice = told["advice"][0]["text"].as_str().unwrap();
    assert!(story.contains(advice), "{advice} is not in {story}");
    assert!(story.contains("AML.M00"), "{story}");
    let mut narrow = Command::new(SENTRAIL);
    narrow
        .args(["incident", "show", id, "--data", data])
        .env("COLUMNS", "72");
    let narrow = text(&narrow.output().unwrap().stdout);
    // Below the title lines are as wide as that, but for names that are longer.
    let mut wide = narrow.lines().skip(1).filter(|line| line.chars().count() > 72);
    assert!(wide.all(|line| line.split_whitespace().count() == 1), "{narrow}");

    // The same path as edges; and what the stolen key and its address lead to, in one view.
    let count = |query: &str| sql(query, "csv").trim().rsplit('\n').next().unwrap().to_owned();
    assert_eq!(
        count(&format!("SELECT count(*) FROM attack_path('{id}')")),
        told["steps"].as_array().unwrap().len().to_string()
    );
    let address = told["from_where"][0]["entity"].as_str().unwrap();
    let users = count(&format!(
        "SELECT count(*) FROM related('{address}', '2000-01-01') WHERE direction = 'in'"
    ));
    assert!(users.parse::<u32>().unwrap() >= 2, "{users} used {address}");
    let actor = told["who"][0]["entity"].as_str().unwrap();
    assert_eq!(
        count(&format!(
            "SELECT count(*) FROM blast_radius('{actor}', 6) WHERE entity = '{address}' AND cut IS NULL"
        )),
        "1",
        "{actor} was at {address}"
    );
    let wrong = sentrail(&["sql", "--data", data, "SELECT * FROM blast_radius('nobody', 3)"]);
    assert!(
        !wrong.status.success() && text(&wrong.stderr).contains("KIND:VALUE"),
        "{}",
        text(&wrong.stderr)
    );
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

/// Runs it with an output that nobody reads.
fn unread(arguments: &[&str], both: bool) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(SENTRAIL);
    command.args(arguments).env("RUST_LOG", "debug");
    if both {
        command.stderr(writer.try_clone().unwrap());
    } else {
        command.stderr(std::process::Stdio::piped());
    }
    command.stdout(writer).spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn output_that_nobody_reads_is_no_failure() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(data) = ran(scratch.path()) else { return };
    let (data, config) = (data.to_str().unwrap(), scratch.path().join("c.toml"));
    let (config, out) = (config.to_str().unwrap(), scratch.path().join("out"));
    let log = scratch.path().join("logs/litellm.ndjson");
    for arguments in [
        &["check", "--config", config][..],
        &["run", "--config", config],
        &["sql", "--data", data, "SELECT * FROM events"],
        &["search", "--data", data, "a OR b"],
        &["incident", "list", "--data", data],
        &[
            "simulate",
            "--seed",
            "1",
            "--events",
            "100",
            "--out",
            out.to_str().unwrap(),
        ],
        &["formats"],
        &["decode", "--format", "litellm", log.to_str().unwrap()],
        &["--help"],
    ] {
        let output = unread(arguments, false);
        let error = text(&output.stderr);
        assert!(!error.contains("panicked"), "{arguments:?}: {error}");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
        assert_eq!(unread(arguments, true).status.code(), Some(0), "{arguments:?}");
    }
    // What went wrong is still in the exit code.
    for arguments in [
        &["run", "--config", "none.toml"][..],
        &["check", "--config", "none.toml"],
    ] {
        assert_eq!(unread(arguments, true).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn check_says_when_another_engine_holds_the_data_directory() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let (logs, data, path) = (
        scratch.path().join("logs"),
        scratch.path().join("data"),
        scratch.path().join("c.toml"),
    );
    write_logs(&logs, &simulated(3, 60));
    std::fs::write(&path, file_config(&data, &logs, &plugins, "")).unwrap();
    let check = || {
        let output = sentrail(&["check", "--config", path.to_str().unwrap()]);
        (output.status.code(), text(&output.stdout))
    };
    let (code, told) = check();
    assert!(code == Some(0) && told.contains("an engine will make it"), "{told}");
    assert!(!data.exists(), "it only looks");
    std::fs::create_dir(&data).unwrap();
    let lock = std::fs::File::create(data.join("lock")).unwrap();
    assert_eq!(check().0, Some(0));
    lock.lock().unwrap();
    let (code, told) = check();
    assert_eq!(code, Some(2), "{told}");
    assert!(
        told.contains("FAIL  storage") && told.contains("another engine runs on"),
        "{told}"
    );
}

/// Damages an entry of a table's log in all ways; gives what two commands then say, each with its exit code.
fn damaged(path: &Path, data: &Path, config: &Path) -> Vec<(String, Option<i32>, String)> {
    let whole = std::fs::read(path).unwrap();
    let mut said = Vec::new();
    for (what, damaged) in [
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("garbage", b"\x00\xff not JSON \n{".to_vec()),
        ("emptied", Vec::new()),
    ] {
        for arguments in [
            &[
                "sql",
                "--format",
                "csv",
                "--data",
                data.to_str().unwrap(),
                "SELECT count(*) AS n FROM events",
            ][..],
            &["run", "--config", config.to_str().unwrap()],
        ] {
            std::fs::write(path, &damaged).unwrap();
            let mut command = Command::new(SENTRAIL);
            command
                .args(arguments)
                .envs([("RUST_BACKTRACE", "1"), ("RUST_LOG", "off")]);
            let output = command.output().unwrap();
            let all = text(&output.stdout) + &text(&output.stderr);
            said.push((format!("{what}, {}", arguments[0]), output.status.code(), all));
        }
    }
    std::fs::write(path, &whole).unwrap();
    said
}

#[test]
fn a_damaged_log_of_a_table_is_made_again_or_named_in_one_line() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(data) = ran(scratch.path()) else { return };
    let config = scratch.path().join("c.toml");
    // More epochs, so that an entry is neither the first nor the last.
    let log = scratch.path().join("logs/litellm.ndjson");
    for _ in 0..2 {
        let mut file = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
        std::io::Write::write_all(&mut file, b"{}\n").unwrap();
        run_to_end(&std::fs::read_to_string(&config).unwrap(), &config);
    }
    let entries = |table: &str| {
        let log = std::fs::read_dir(data.join("tables").join(table).join("_delta_log")).unwrap();
        let mut entries: Vec<_> = log.map(|entry| entry.unwrap().path()).collect();
        entries.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        entries.sort();
        entries
    };
    // The newest entry is made again: the manifests hold what was in it.
    for table in ["events", "rejected"] {
        let last = entries(table).pop().unwrap();
        for (how, code, said) in damaged(&last, &data, &config) {
            assert_eq!(code, Some(0), "{table}, {how}: {said}");
            assert!(how.ends_with("run") || said == "n\n3000\n", "{table}, {how}: {said}");
            assert_eq!(count(&data, "rejected"), 2, "{table}, {how}");
        }
    }
    // Any other is named.
    let rejected = entries("rejected");
    for path in [&entries("events")[0], &rejected[0], &rejected[1]] {
        for (how, code, said) in damaged(path, &data, &config) {
            assert_eq!((code, said.lines().count()), (Some(1), 1), "{how}: {said}");
            let (table, name) = (path.components().rev().nth(2).unwrap(), path.file_name().unwrap());
            for part in [table.as_os_str(), name] {
                assert!(said.contains(part.to_str().unwrap()), "{how}: {said}");
            }
            assert!(said.contains("backup"), "{how}: {said}");
        }
    }
    // So is the newest when no manifest holds what was in it.
    let last = entries("rejected").pop().unwrap();
    for manifest in std::fs::read_dir(data.join("epochs")).unwrap() {
        let path = manifest.unwrap().path();
        if std::fs::read_to_string(&path).unwrap().contains("\"rejected\":[") {
            std::fs::remove_file(&path).unwrap();
        }
    }
    std::fs::write(&last, "").unwrap();
    let output = sentrail(&["sql", "--data", data.to_str().unwrap(), "SELECT 1"]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("`rejected`") && error.contains("it is empty"), "{error}");
    assert_eq!(std::fs::metadata(&last).unwrap().len(), 0, "it is as it was");
}
