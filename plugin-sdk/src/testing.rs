//! Tests of a detector by fixtures: events in, expected detections out.
//!
//! A fixture is a JSON file in the plugin's `fixtures` folder:
//!
//! ```json
//! {
//!   "about": "Thirty failed calls in a minute are a burst.",
//!   "config": {},
//!   "defaults": { "layer": "gateway", "gateway_key_uid": "k1" },
//!   "events": [
//!     { "id": "fail", "at": 0, "repeat": 30, "every": 2, "status": "Failure", "ai_model_name": "model-{n}" }
//!   ],
//!   "detections": [ { "rule": "failure-burst", "severity": "medium", "events": ["fail.19"] } ]
//! }
//! ```
//!
//! `at` is in seconds from the fixture's beginning. With `repeat`, an event stands for that many, `every` seconds apart, whose
//! ids end in `.0`, `.1`, … and in whose texts `{n}` is that number. Any other name is a column. As the engine does, the
//! harness leaves out events whose layer or class the manifest does not want, puts the rest in the order of (time, id), and
//! derives the routing key. It runs them in batches of 1, of 7 and all at once, and between batches takes the state over into
//! a new instance: the results must be the same each time.

mod fixture;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::{fs, thread};

use serde::Deserialize;

use crate::{Config, Detector, Instance, Manifest, Severity};

pub use fixture::{Event, batch, events};

/// Runs every fixture of a plugin crate as a test named `fixtures`, and checks its manifest in one named `manifest`.
#[macro_export]
macro_rules! test_fixtures {
    ($detector:ty) => {
        #[test]
        fn fixtures() {
            $crate::testing::fixtures::<$detector>(env!("CARGO_MANIFEST_DIR"));
        }

        #[test]
        fn manifest() {
            $crate::testing::manifest::<$detector>();
        }
    };
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    about: String,
    #[serde(default)]
    config: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    defaults: serde_json::Map<String, serde_json::Value>,
    events: Vec<serde_json::Map<String, serde_json::Value>>,
    detections: Vec<Expected>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(deny_unknown_fields)]
struct Expected {
    events: Vec<String>,
    rule: String,
    severity: Severity,
}

/// Runs every fixture in `fixtures` below the crate's folder.
///
/// # Panics
///
/// When a fixture cannot be read, its detections differ from what it expects (the message shows the difference), or a rule
/// has no fixture that expects it.
pub fn fixtures<D: Detector>(crate_dir: &str) {
    let dir = Path::new(crate_dir).join("fixtures");
    let mut paths: Vec<_> = fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} holds no fixture", dir.display());

    let mut report = String::new();
    let mut shown = BTreeSet::new();
    for path in &paths {
        match run::<D>(path) {
            Ok(rules) => shown.extend(rules),
            Err(problem) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let _ = writeln!(report, "\n{name}: {problem}");
            }
        }
    }
    assert!(report.is_empty(), "{report}");
    for rule in D::manifest().rules.iter().filter(|rule| !shown.contains(rule.id)) {
        let _ = writeln!(report, "rule {}: no fixture expects it", rule.id);
    }
    assert!(report.is_empty(), "{report}");
    if !thread::panicking() {
        println!("{} fixtures of {} pass", paths.len(), D::manifest().id);
    }
}

/// Gives the rules that the fixture expects.
fn run<D: Detector>(path: &Path) -> Result<BTreeSet<String>, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let fixture: Fixture = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let manifest = D::manifest();
    let events = fixture::events(&manifest, &fixture.defaults, &fixture.events)?;
    let config = serde_json::to_string(&fixture.config).map_err(|error| error.to_string())?;
    let mut expected = fixture.detections;
    expected.sort();
    for size in [1, 7, events.len().max(1)] {
        let mut found = detect::<D>(&manifest, &events, &config, size)?;
        found.sort();
        if found != expected {
            return Err(format!(
                "{}\n  in batches of {size}:\n{}",
                fixture.about,
                difference(&expected, &found)
            ));
        }
    }
    Ok(expected.into_iter().map(|detection| detection.rule).collect())
}

/// Every batch goes to a new instance that is given the state of the one before.
fn detect<D: Detector>(
    manifest: &Manifest,
    events: &[Event],
    config: &str,
    size: usize,
) -> Result<Vec<Expected>, String> {
    let mut found = Vec::new();
    let mut state: Option<Vec<u8>> = None;
    for rows in events.chunks(size) {
        let mut instance = Instance::<D>::new(config)?;
        if let Some(state) = &state {
            instance.restore(state)?;
        }
        for detection in instance.detect(&batch(manifest, rows)?).detections {
            if !manifest.rules.iter().any(|rule| rule.id == detection.rule.id) {
                return Err(format!("rule {} is not in the manifest", detection.rule.id));
            }
            let ids = detection
                .rows
                .iter()
                .map(|row| rows.get(*row).map(|event| event.id.clone()));
            found.push(Expected {
                rule: detection.rule.id.to_owned(),
                severity: detection.severity.unwrap_or(detection.rule.severity),
                events: ids
                    .collect::<Option<_>>()
                    .ok_or("a detection names a row that the batch does not have")?,
            });
        }
        state = Some(instance.save());
    }
    Ok(found)
}

/// Both lists are sorted.
fn difference(expected: &[Expected], found: &[Expected]) -> String {
    let mut text = String::new();
    let mut line = |mark: &str, detection: &Expected| {
        let Expected { rule, severity, events } = detection;
        let _ = writeln!(text, "    {mark} {rule} ({severity:?}) at {}", events.join(", "));
    };
    let mut left = found.to_vec();
    for wanted in expected {
        match left.iter().position(|got| got == wanted) {
            Some(at) => line("  ", &left.remove(at)),
            None => line("- missing:   ", wanted),
        }
    }
    for surplus in &left {
        line("+ unexpected:", surplus);
    }
    text
}

/// Checks what a manifest promises.
///
/// # Panics
///
/// When an id is not kebab-case or stands twice, a rule says nothing, a technique id has no such form, or a column is unknown.
pub fn manifest<D: Detector>() {
    let manifest = D::manifest();
    let kebab = |id: &str| {
        !id.is_empty()
            && id
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let technique = |id: &str| {
        id.strip_prefix("AML.T")
            .or_else(|| id.strip_prefix('T'))
            .is_some_and(|number| {
                let (main, sub) = number.split_once('.').unwrap_or((number, "000"));
                main.len() == 4 && sub.len() == 3 && (main.bytes().chain(sub.bytes())).all(|b| b.is_ascii_digit())
            })
    };
    assert!(kebab(manifest.id), "plugin id {:?} is not kebab-case", manifest.id);
    for column in manifest.columns.iter().chain(manifest.key) {
        assert!(
            crate::col::ALL.iter().any(|(name, _)| name == column),
            "the schema has no column {column}"
        );
    }
    assert!(!manifest.rules.is_empty(), "there is no rule");
    for (at, rule) in manifest.rules.iter().enumerate() {
        assert!(kebab(rule.id), "rule id {:?} is not kebab-case", rule.id);
        assert!(
            manifest.rules[..at].iter().all(|other| other.id != rule.id),
            "two rules are called {}",
            rule.id
        );
        assert!(
            !rule.title.is_empty() && rule.description.len() > 40,
            "rule {} explains nothing",
            rule.id
        );
        assert!(!rule.techniques.is_empty(), "rule {} names no technique", rule.id);
        for id in rule.techniques {
            assert!(technique(id), "rule {}: {id} is no technique id", rule.id);
        }
    }
    let stateless = size_of::<D::State>() == 0;
    assert_eq!(
        stateless,
        manifest.key.is_empty(),
        "a detector declares a key if and only if it keeps state"
    );
    let schema = D::Config::schema();
    assert!(
        schema.is_empty() || serde_json::from_str::<serde_json::Value>(&schema).is_ok(),
        "the schema is no JSON"
    );
}
