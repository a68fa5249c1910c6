//! A detection engineer's verbs: a detector tried on logs and on what is stored, a new version over the history, warm-up.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::*;

fn sentrail(arguments: &[&str]) -> Output {
    Command::new(SENTRAIL).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// The objects of an output of one JSON object per line, whose only field is `kind`, without it.
fn objects(output: &str, kind: &str) -> Vec<serde_json::Value> {
    let lines = output
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter_map(|line| line.get(kind).cloned()).collect()
}

/// The guests of tests/guests, or `None` after saying why the test is skipped.
fn guests() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests");
    let dir = std::env::var_os("SENTRAIL_TEST_GUESTS").map_or_else(default, PathBuf::from);
    if !dir.join("hostile-stateful.wasm").is_file() {
        println!("skipped: there are no guests of tests/guests; `cargo xtask test` builds them");
        return None;
    }
    Some(dir)
}

/// A CloudTrail record.
fn call(number: u32, second: u32, who: &str, operation: &str) -> String {
    format!(
        r#"{{"eventVersion":"1.08","eventTime":"2026-02-01T10:00:{second:02}Z","eventSource":"s3.amazonaws.com","eventName":"{operation}","awsRegion":"us-east-1","sourceIPAddress":"192.0.2.{ip}","userIdentity":{{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/{who}","accountId":"111122223333","userName":"{who}"}},"requestParameters":null,"responseElements":null,"eventID":"00000000-0000-0000-0000-{number:012}","eventType":"AwsApiCall","recipientAccountId":"111122223333"}}"#,
        ip = who.len()
    )
}

/// A data directory, its logs, and the plugins that it is run with.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Site {
        let site = Site {
            dir: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir_all(site.path("plugins")).unwrap();
        std::fs::create_dir_all(site.path("logs")).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn log(&self, name: &str, records: &[String]) {
        std::fs::write(self.path("logs").join(name), records.join("\n") + "\n").unwrap();
    }

    /// The path of the configuration, with `more` in it.
    fn config(&self, name: &str, plugins: &str, more: &str) -> String {
        let config = format!(
            "[storage]\nurl = \"{}\"\n[[source]]\nname = \"cloud\"\ntype = \"file\"\npath = \"{}/*.ndjson\"\n\
             format = \"aws_cloudtrail\"\n[plugins]\ndir = \"{}\"\n{plugins}\n{more}\n",
            self.path("data").display(),
            self.path("logs").display(),
            self.path("plugins").display()
        );
        std::fs::write(self.path(name), config).unwrap();
        self.text(name)
    }

    #[track_caller]
    fn run(&self, plugins: &str, more: &str) {
        let config = self.config("run.toml", plugins, more);
        let config = std::fs::read_to_string(config).unwrap();
        let at = self.path("run.toml");
        let mut child = spawn_run(&config, &at, &[("WORKBENCH_KEY", "0123456789abcdef")]);
        let status = wait(&mut child, PATIENCE).expect("the run did not end in time");
        let log = std::fs::read_to_string(at.with_extension("log")).unwrap_or_default();
        assert!(status.success(), "{status}\n{log}");
    }
}

/// Ann calls thrice and Bob once.
fn calls() -> Vec<String> {
    vec![
        call(1, 1, "ann", "ListBuckets"),
        call(2, 2, "ann", "GetObject"),
        call(3, 3, "robert", "GetObject"),
        call(4, 4, "ann", "PutObject"),
    ]
}

#[test]
fn a_detector_is_tried_on_files_and_nothing_is_stored() {
    let Some(guests) = guests() else { return };
    let site = Site::new();
    site.log("b.ndjson", &calls()[2..]);
    site.log("a.ndjson", &calls()[..2]);
    let guest = guests.join("hostile-stateful.wasm");
    let guest = guest.to_str().unwrap();
    // The files may be given in any order: events go in the order of their times.
    let (a, b) = (site.text("logs/a.ndjson"), site.text("logs/b.ndjson"));
    let shown = succeeded(&sentrail(&["plugin", "run", guest, &b, &a]));
    let lines: Vec<&str> = shown.lines().collect();
    let golden = [
        "2026-02-01T10:00:01.000Z  Low            seen: ListBuckets is number 1 after ",
        "2026-02-01T10:00:02.000Z  Low            seen: GetObject is number 2 after ListBuckets",
        "2026-02-01T10:00:03.000Z  Low            seen: GetObject is number 1 after ",
        "2026-02-01T10:00:04.000Z  Low            seen: PutObject is number 3 after GetObject",
    ];
    let mut found: Vec<&str> = lines.iter().copied().filter(|line| line.contains("  seen: ")).collect();
    found.sort();
    assert_eq!(found, golden, "{shown}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("  events ")).count(), 4);
    let sum = &lines[lines.iter().position(|line| line.starts_with("rule")).unwrap()..];
    assert_eq!(
        sum[..6],
        [
            "rule  severity       detections",
            "seen  Low            4",
            "loud  High           0",
            "",
            "4 events, 0 rejected, 0 duplicates; 4 were shown to hostile-stateful 1.0.0",
            "4 detections, 0 relations",
        ],
        "{shown}"
    );
    assert!(sum[6].contains(" rows/s in the detector, "), "{shown}");
    let files: Vec<_> = std::fs::read_dir(site.dir.path()).unwrap().flatten().collect();
    assert_eq!(files.len(), 2, "nothing is written");

    let config = site.config("first.toml", "[plugins.config.hostile-stateful]\nmode = \"first\"", "");
    let json = succeeded(&sentrail(&[
        "plugin", "run", guest, &a, &b, "--json", "--config", &config,
    ]));
    assert_eq!(objects(&json, "detection").len(), 2, "{json}");
    let summary = &objects(&json, "summary")[0];
    assert_eq!(summary["rules"], serde_json::json!({"seen": 2, "loud": 0}));
    assert_eq!((&summary["events"], &summary["rows"]), (&4.into(), &4.into()));

    // What is wrong is told in one line.
    let missing = site.text("logs/none.ndjson");
    for (arguments, word) in [
        (vec!["plugin", "run", guest, missing.as_str()], "none.ndjson"),
        (
            vec!["plugin", "run", "nothing.wasm", a.as_str()],
            "there is no nothing.wasm",
        ),
        (vec!["plugin", "run", a.as_str(), a.as_str()], "no WebAssembly"),
        (
            vec!["plugin", "run", guest, a.as_str(), "--from", "2026-02-01"],
            "--data",
        ),
        (
            vec!["plugin", "run", guest, a.as_str(), "--from", "then"],
            "such as 2026-01-02",
        ),
    ] {
        let output = sentrail(&arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(
            text(&output.stderr).contains(word),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
    }
    // What can be read is still shown.
    let output = sentrail(&["plugin", "run", guest, &a, &missing, "--json"]);
    assert_eq!(objects(&text(&output.stdout), "detection").len(), 2);
}

/// Detections as a set of what does not depend on when they were found.
fn ids(detections: &[serde_json::Value]) -> Vec<String> {
    let mut ids: Vec<String> = detections
        .iter()
        .map(|found| found["detection_id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids
}

#[test]
fn what_is_stored_shows_the_detectors_what_the_run_showed_them() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let (logs, data) = (scratch.path().join("logs"), scratch.path().join("data"));
    write_logs(&logs, &simulated(7, 3000));
    run_to_end(&file_config(&data, &logs, &plugins, ""), &scratch.path().join("c.toml"));
    // As an engine that runs would hold it.
    let lock = std::fs::File::options().write(true).open(data.join("lock")).unwrap();
    lock.try_lock().unwrap();
    let dir = data.to_str().unwrap();
    let mut found = 0;
    for entry in std::fs::read_dir(&plugins).unwrap().flatten() {
        let path = entry.path();
        let wasm = path.to_str().unwrap();
        if !wasm.ends_with(".wasm") {
            continue;
        }
        let id = path.file_stem().unwrap().to_str().unwrap();
        let stored = rows(
            &data,
            &format!("SELECT detection_id FROM detections WHERE plugin = '{id}'"),
        );
        let stored: Vec<serde_json::Value> = stored.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
        let output = succeeded(&sentrail(&["plugin", "run", wasm, "--data", dir, "--json"]));
        assert_eq!(ids(&objects(&output, "detection")), ids(&stored), "{id}");
        found += stored.len();

        let files: Vec<String> = FORMATS
            .map(|format| format!("{}/{format}.ndjson", logs.display()))
            .to_vec();
        let arguments = ["plugin", "run", wasm, "--json"]
            .into_iter()
            .chain(files.iter().map(String::as_str));
        let output = succeeded(&sentrail(&arguments.collect::<Vec<_>>()));
        assert_eq!(objects(&output, "detection").len(), stored.len(), "{id}");

        // The version that made what is stored changes nothing.
        let output = succeeded(&sentrail(&["backtest", wasm, "--data", dir, "--json"]));
        let summary = &objects(&output, "summary")[0];
        assert_eq!(summary["same_detections"], stored.len(), "{id}: {output}");
        assert_eq!(summary["changed_detections"], 0, "{id}: {output}");
        assert_eq!(summary["changed_incidents"], 0, "{id}: {output}");
    }
    assert!(found > 0, "the simulated attack is found");
}

#[test]
fn a_backtest_shows_what_appears_vanishes_and_changes() {
    let Some(guests) = guests() else { return };
    let site = Site::new();
    site.log("a.ndjson", &calls());
    let guest = guests.join("hostile-stateful.wasm");
    std::fs::copy(&guest, site.path("plugins/hostile-stateful.wasm")).unwrap();
    // One rule's findings alone are otherwise no incident.
    let correlate = "[correlate]\nchance = 100";
    site.run("", correlate);
    let (guest, data) = (guest.to_str().unwrap(), site.text("data"));
    let usual = site.config("usual.toml", "", correlate);
    let first = site.config(
        "first.toml",
        "[plugins.config.hostile-stateful]\nmode = \"first\"",
        correlate,
    );

    let same = succeeded(&sentrail(&["backtest", guest, "--data", &data, "--config", &usual]));
    let golden = "hostile-stateful 1.0.0 over 4 stored events, from 2026-02-01T10:00:01.000Z to 2026-02-01T10:00:04.000Z; stored is what \
                  version 1.0.0 found\n\ndetections: 4 the same\n\nincidents: 1 the same\n";
    assert_eq!(same, golden);

    // Only the first call of each: two of Ann's are gone, and with them her incident.
    let less = succeeded(&sentrail(&["backtest", guest, "--data", &data, "--config", &first]));
    assert!(less.contains("detections: 2 the same, 2 vanish\n"), "{less}");
    assert!(
        less.contains("- 2026-02-01T10:00:02.000Z  Low            seen: GetObject is number 2 after ListBuckets\n"),
        "{less}"
    );
    assert!(less.contains("incidents: 0 the same, 1 vanishes\nvanishes  "), "{less}");
    let json = succeeded(&sentrail(&[
        "backtest", guest, "--data", &data, "--config", &first, "--json",
    ]));
    let incident = &objects(&json, "incident")[0];
    assert_eq!(
        (&incident["change"], &incident["after"]),
        (&"vanishes".into(), &serde_json::Value::Null)
    );
    assert_eq!(incident["before"][0]["detection_ids"].as_array().unwrap().len(), 3);
    let stored = rows(
        Path::new(&data),
        "SELECT incident_id FROM incidents WHERE status = 'open'",
    );
    assert!(stored[0].contains(incident["before"][0]["incident_id"].as_str().unwrap()));

    // From the middle: what came before is not judged, but remembered, unless the lead says otherwise.
    let from = ["--from", "2026-02-01T10:00:02Z", "--to", "2026-02-01T10:00:04Z"];
    let middle = |more: &[&str]| {
        let all = ["backtest", guest, "--data", &data, "--config", &usual]
            .into_iter()
            .chain(from)
            .chain(more.iter().copied());
        succeeded(&sentrail(&all.collect::<Vec<_>>()))
    };
    let led = middle(&[]);
    assert!(
        led.contains("detections: 2 the same\n") && led.contains("incidents: 1 the same\n"),
        "{led}"
    );
    let alone = middle(&["--lead", "0"]);
    assert!(alone.contains("detections: 1 the same, 1 changes\n"), "{alone}");
    assert!(
        alone.contains("+ 2026-02-01T10:00:02.000Z  Low            seen: GetObject is number 1 after \n"),
        "{alone}"
    );

    // Nothing was written.
    assert_eq!(count(Path::new(&data), "detections"), 4);
}

#[test]
fn redacted_history_says_so() {
    let Some(guests) = guests() else { return };
    let site = Site::new();
    site.log("a.ndjson", &calls());
    let guest = guests.join("hostile-stateful.wasm");
    std::fs::copy(&guest, site.path("plugins/hostile-stateful.wasm")).unwrap();
    site.run("", "[redact]\nmode = \"hmac\"\nkey_env = \"WORKBENCH_KEY\"");
    let (guest, data) = (guest.to_str().unwrap(), site.text("data"));
    for verb in [&["backtest"][..], &["plugin", "run"]] {
        let arguments = verb.iter().copied().chain([guest, "--data", &data]);
        let output = succeeded(&sentrail(&arguments.collect::<Vec<_>>()));
        assert!(
            output.contains("4 of 4 events were redacted before they were stored: ")
                && output.contains("actor_user_uid"),
            "{output}"
        );
    }
    // Stand-ins are the same wherever the value is, and hidden words are not compared.
    let output = succeeded(&sentrail(&["backtest", guest, "--data", &data]));
    assert!(output.contains("detections: 4 the same\n"), "{output}");
}

#[test]
fn a_new_detector_knows_what_is_stored_when_it_is_warmed_up() {
    let Some(guests) = guests() else { return };
    let first = "[plugins.config.hostile-stateful]\nmode = \"first\"";
    let after = [call(5, 30, "ann", "GetObject"), call(6, 31, "caroline", "GetObject")];
    for (warm_up, expected) in [
        // Ann is known, and only Caroline is new.
        ("warm_up = \"30d\"", vec!["2026-02-01T10:00:31.000000Z"]),
        // Without it, everybody is.
        ("", vec!["2026-02-01T10:00:30.000000Z", "2026-02-01T10:00:31.000000Z"]),
    ] {
        let site = Site::new();
        site.log("a.ndjson", &calls());
        site.run("", "");
        let guest = guests.join("hostile-stateful.wasm");
        std::fs::copy(&guest, site.path("plugins/hostile-stateful.wasm")).unwrap();
        site.log("b.ndjson", &after);
        site.run(&format!("{warm_up}\n{first}"), "");
        let times = || {
            let rows = rows(&site.path("data"), "SELECT time FROM detections WHERE rule = 'seen'");
            let time = |row: &String| {
                serde_json::from_str::<serde_json::Value>(row).unwrap()["time"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            };
            rows.iter().map(time).collect::<Vec<String>>()
        };
        assert_eq!(times(), expected, "{warm_up}");
        let told = rows(
            &site.path("data"),
            "SELECT DISTINCT reason FROM plugin_health WHERE reason LIKE 'warmed up with 4 stored events%'",
        );
        assert_eq!(told.len(), usize::from(!warm_up.is_empty()), "{told:?}");

        // Once: then it has a state of its own.
        site.log(
            "c.ndjson",
            &[call(7, 40, "ann", "GetObject"), call(8, 41, "dominique", "GetObject")],
        );
        site.run(&format!("{warm_up}\n{first}"), "");
        assert_eq!(times().len(), expected.len() + 1);
        let log = std::fs::read_to_string(site.path("run.log")).unwrap();
        let warmings = log.matches("new plugins are shown what is stored").count();
        assert_eq!(warmings, usize::from(!warm_up.is_empty()), "{log}");
    }
    let site = Site::new();
    let redact = "[redact]\nkey_env = \"WORKBENCH_KEY\"";
    let config = site.config("c.toml", "warm_up = \"1d\"", redact);
    let output = Command::new(SENTRAIL)
        .args(["check", "--config", &config])
        .env("WORKBENCH_KEY", "0123456789abcdef")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("warm_up cannot be used with [redact]"),
        "{}",
        text(&output.stderr)
    );
}
