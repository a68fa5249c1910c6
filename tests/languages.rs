//! Detectors in other languages than Rust, through the same contract.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::support::*;

/// The component built of the example in `language`, alone in a plugin directory below `dir`.
fn plugins(dir: &Path, language: &str) -> Option<PathBuf> {
    let Some(component) = std::env::var_os(format!("SENTRAIL_TEST_{language}")) else {
        let why = std::env::var(format!("SENTRAIL_TEST_NO_{language}"));
        println!(
            "skipped: {}",
            why.as_deref().unwrap_or("not run through `cargo xtask test`")
        );
        return None;
    };
    let component = Path::new(&component);
    let plugins = dir.join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::fs::copy(component, plugins.join(component.file_name().unwrap())).unwrap();
    Some(plugins)
}

/// Appends a CloudTrail record of the call with this number.
fn append(log: &Path, number: usize, who: &str, error: &str) {
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    writeln!(
        log,
        "{{\"eventVersion\":\"1.08\",\"userIdentity\":{{\"type\":\"{who}\",\"principalId\":\"P\",\
         \"arn\":\"arn:aws:iam::111122223333:{who}\",\"accountId\":\"111122223333\"}},\
         \"eventTime\":\"2026-03-01T10:00:{number:02}Z\",\"eventSource\":\"iam.amazonaws.com\",\"eventName\":\"CreateUser\",\
         \"awsRegion\":\"eu-west-1\",\"sourceIPAddress\":\"198.51.100.7\"{error},\"eventID\":\"e-{number}\",\
         \"eventType\":\"AwsApiCall\",\"recipientAccountId\":\"111122223333\"}}"
    )
    .unwrap();
}

fn config(data: &Path, log: &Path, plugins: &Path) -> String {
    format!(
        "[storage]\nurl = \"{}\"\n[plugins]\ndir = \"{}\"\n[[source]]\nname = \"cloud\"\ntype = \"file\"\npath = \"{}\"\n\
         format = \"aws_cloudtrail\"\n",
        data.display(),
        plugins.display(),
        log.display()
    )
}

#[test]
fn a_detector_in_javascript_finds() {
    let dir = tempfile::tempdir().unwrap();
    let Some(plugins) = plugins(dir.path(), "JAVASCRIPT") else {
        return;
    };
    let (data, log) = (dir.path().join("data"), dir.path().join("log.ndjson"));
    append(&log, 1, "IAMUser", "");
    append(&log, 2, "Root", "");
    run_to_end(&config(&data, &log, &plugins), &dir.path().join("run.toml"));
    assert_eq!(
        rows(&data, "SELECT rule, message FROM detections"),
        [r#"{"rule":"root-use","message":"the root user called CreateUser"}"#]
    );
}

#[test]
fn a_detector_in_python_keeps_its_state_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let Some(plugins) = plugins(dir.path(), "PYTHON") else {
        return;
    };
    let (data, log) = (dir.path().join("data"), dir.path().join("log.ndjson"));
    let config = config(&data, &log, &plugins);
    let at = dir.path().join("run.toml");
    let denied = ",\"errorCode\":\"AccessDenied\"";
    (0..4).for_each(|number| append(&log, number, "IAMUser", denied));
    run_to_end(&config, &at);
    assert_eq!(count(&data, "detections"), 0);
    append(&log, 4, "IAMUser", denied);
    run_to_end(&config, &at);
    assert_eq!(
        rows(&data, "SELECT rule, message FROM detections"),
        [r#"{"rule":"failed-calls","message":"5 calls failed within 5 minutes"}"#]
    );
}
