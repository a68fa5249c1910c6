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
//! harness leaves out events whose layer or class the manifest does not want and derives the routing key. It runs the rest in
//! batches of 1, of 7 and all at once, as written and shuffled within a minute: for a detector that keeps state through a reorder
//! buffer, for one that does not as they come. Between batches event time passes and the state goes over into a new instance.
//! The results must be the same each time.

mod bench;
mod fixture;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::{fs, thread};

use serde::Deserialize;

use crate::{Config, Detector, Evidence, Findings, Instance, MINUTE, Manifest, Severity, hash};

pub use bench::{Native, New, bench};
pub use fixture::{Event, batch, events};

/// How much later than its time an event arrives at most when the harness shuffles, microseconds.
const REORDER_BOUND: i64 = MINUTE;
/// The orders of arrival that are tried: as written, and shuffled in two ways.
const SHUFFLES: [Option<u64>; 3] = [None, Some(1), Some(2)];

/// Runs every fixture of a plugin crate as a test named `fixtures`, and checks in one named `manifest` what it says of itself under
/// each fixture's configuration.
#[macro_export]
macro_rules! test_fixtures {
    ($detector:ty) => {
        #[test]
        fn fixtures() {
            $crate::testing::fixtures::<$detector>(env!("CARGO_MANIFEST_DIR"));
        }

        #[test]
        fn manifest() {
            $crate::testing::manifest::<$detector>(env!("CARGO_MANIFEST_DIR"));
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

/// The fixtures below the crate's folder, by file name.
fn read(crate_dir: &str) -> Vec<(String, Fixture)> {
    let dir = Path::new(crate_dir).join("fixtures");
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut fixtures: Vec<(String, Fixture)> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).map_err(|error| error.to_string());
            let fixture = text.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()));
            let fixture = fixture.unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, fixture)
        })
        .collect();
    assert!(!fixtures.is_empty(), "{} holds no fixture", dir.display());
    fixtures.sort_by(|a, b| a.0.cmp(&b.0));
    fixtures
}

impl Fixture {
    fn instance<D: Detector>(&self) -> Result<Instance<D>, String> {
        Instance::new(&serde_json::to_string(&self.config).map_err(|error| error.to_string())?)
    }
}

/// Runs every fixture in `fixtures` below the crate's folder.
///
/// # Panics
///
/// When a fixture cannot be read, its detections differ from what it expects (the message shows the difference), or a rule
/// has no fixture that expects it.
pub fn fixtures<D: Detector>(crate_dir: &str) {
    let fixtures = read(crate_dir);
    let mut report = String::new();
    let (mut rules, mut shown) = (BTreeSet::new(), BTreeSet::new());
    for (name, fixture) in &fixtures {
        shown.extend(fixture.detections.iter().map(|detection| detection.rule.as_str()));
        match run::<D>(fixture) {
            Ok(manifest) => rules.extend(manifest.rules.iter().map(|rule| rule.id)),
            Err(problem) => {
                let _ = writeln!(report, "\n{name}: {problem}");
            }
        }
    }
    assert!(report.is_empty(), "{report}");
    for rule in rules.difference(&shown) {
        let _ = writeln!(report, "rule {rule}: no fixture expects it");
    }
    assert!(report.is_empty(), "{report}");
    if !thread::panicking() {
        println!("{} fixtures pass", fixtures.len());
    }
}

/// Runs one fixture in every way, and gives what the detector says of itself under its configuration.
fn run<D: Detector>(fixture: &Fixture) -> Result<Manifest, String> {
    let manifest = fixture.instance::<D>()?.manifest().clone();
    let events = fixture::events(&manifest, &fixture.defaults, &fixture.events)?;
    let mut expected = fixture.detections.clone();
    expected.sort();
    for shuffle in SHUFFLES {
        for size in [1, 7, events.len().max(1)] {
            let mut found = detect::<D>(fixture, &manifest, &deliveries(&manifest, &events, size, shuffle))?;
            found.sort();
            if found != expected {
                let order = shuffle.map_or("as written", |_| "shuffled");
                let about = &fixture.about;
                let difference = difference(&expected, &found);
                return Err(format!("{about}\n  {order}, in batches of {size}:\n{difference}"));
            }
        }
    }
    Ok(manifest)
}

/// Rows of one call, and the event time up to which everything has been delivered after it.
struct Delivery {
    rows: Vec<Event>,
    complete: i64,
}

/// How the engine would deliver `events`, which are in the order of (time, id), when `size` of them arrive at once.
fn deliveries(manifest: &Manifest, events: &[Event], size: usize, shuffle: Option<u64>) -> Vec<Delivery> {
    let Some(seed) = shuffle else {
        let chunks = events.chunks(size).enumerate();
        return chunks
            .map(|(number, rows)| Delivery {
                rows: rows.to_vec(),
                // A row of the same time may still come, until nothing comes any more.
                complete: match (events.get((number + 1) * size), rows.last()) {
                    (Some(next), _) => next.time - 1,
                    (None, last) => last.map_or(i64::MIN, |last| last.time),
                },
            })
            .collect();
    };
    let delay = |event: &Event| (hash(&format!("{seed} {}", event.id)) % REORDER_BOUND as u64) as i64;
    let mut arrivals: Vec<&Event> = events.iter().collect();
    arrivals.sort_by_key(|event| event.time + delay(event));
    let mut deliveries = Vec::new();
    let (mut waiting, mut arrived, mut newest) = (Vec::new(), 0, i64::MIN);
    for part in arrivals.chunks(size) {
        waiting.extend(part.iter().map(|event| (*event).clone()));
        newest = part.iter().fold(newest, |newest, event| newest.max(event.time));
        arrived += part.len();
        let complete = if arrived == events.len() {
            newest
        } else {
            newest - REORDER_BOUND
        };
        let due = if manifest.key.is_empty() {
            std::mem::take(&mut waiting)
        } else {
            waiting.sort_by(|a: &Event, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
            waiting
                .extract_if(.., |event: &mut Event| event.time <= complete)
                .collect()
        };
        deliveries.push(Delivery { rows: due, complete });
    }
    deliveries
}

/// Every batch goes to a new instance that is given the state of the one before.
fn detect<D: Detector>(
    fixture: &Fixture,
    manifest: &Manifest,
    deliveries: &[Delivery],
) -> Result<Vec<Expected>, String> {
    let mut found = Vec::new();
    let mut state = Vec::new();
    for Delivery { rows, complete } in deliveries {
        let mut instance = fixture.instance::<D>()?;
        instance.restore(manifest.state_version, &state)?;
        expected(manifest, rows, instance.detect(&batch(manifest, rows)?), &mut found)?;
        if manifest.wants_time {
            expected(manifest, &[], instance.advance(*complete), &mut found)?;
        }
        state = instance.save();
    }
    Ok(found)
}

/// Adds what was found to `all` in the words of a fixture.
fn expected(manifest: &Manifest, rows: &[Event], found: Findings, all: &mut Vec<Expected>) -> Result<(), String> {
    for detection in found.detections {
        let rule = detection.rule;
        if !manifest.rules.iter().any(|known| known.id == rule.id) {
            return Err(format!("rule {} is not in the manifest", rule.id));
        }
        let events = match detection.shown_by {
            Evidence::Rows(named) => {
                let id = |row: &usize| rows.get(*row).map(|event| event.id.clone());
                let ids: Option<Vec<String>> = named.iter().map(id).collect();
                ids.ok_or_else(|| format!("rule {}: a detection names a row that the batch does not have", rule.id))?
            }
            Evidence::Elapsed { .. } if !manifest.wants_time => {
                return Err(format!(
                    "rule {}: time elapsed, but the manifest does not say wants_time",
                    rule.id
                ));
            }
            Evidence::Elapsed { events, .. } => events,
        };
        all.push(Expected {
            rule: rule.id.to_owned(),
            severity: detection.severity.unwrap_or(rule.severity),
            events,
        });
    }
    Ok(())
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

/// Checks what the detector promises of itself under the configuration of each fixture.
///
/// # Panics
///
/// When an id is not kebab-case or stands twice, a rule says nothing, a technique id has no such form, or a column is unknown.
pub fn manifest<D: Detector>(crate_dir: &str) {
    for (name, fixture) in read(crate_dir) {
        let instance = fixture
            .instance::<D>()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        check::<D>(instance.manifest());
    }
    let schema = D::Config::schema();
    assert!(
        schema.is_empty() || serde_json::from_str::<serde_json::Value>(&schema).is_ok(),
        "the schema is no JSON"
    );
}

fn check<D: Detector>(manifest: &Manifest) {
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
    assert!(
        !(manifest.wants_time && stateless),
        "only a detector that keeps state can want time"
    );
}

#[cfg(test)]
mod tests;
