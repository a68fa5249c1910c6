//! Order, lateness, restarts: with a guest that counts rows per key.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::super::{Detectors, Loader, Measured, Watermarks};
use super::{Event, batch, event, events, shuffled};
use crate::config::PluginSettings;
use crate::model::{Detection, Micros};

pub(super) const STATEFUL: &str = "hostile-stateful";
pub(super) const STATELESS: &str = "hostile";

/// Where the guests of tests/guests are built to.
fn guests() -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/guests");
    let dir = std::env::var_os("SENTRAIL_TEST_GUESTS").map_or_else(default, PathBuf::from);
    if !dir.join("hostile.wasm").is_file() || !dir.join("hostile-stateful.wasm").is_file() {
        println!("skipped: {} has no hostile guests", dir.display());
        return None;
    }
    Some(dir)
}

/// A plugin directory with the named guests, and their configured modes.
pub(super) struct Rig {
    dir: TempDir,
    guests: PathBuf,
    settings: PluginSettings,
}

impl Rig {
    pub fn new(plugins: &[(&str, &str)]) -> Option<Rig> {
        let guests = guests()?;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut settings = PluginSettings {
            dir: dir.path().to_owned(),
            memory_bytes_max: 64 << 20,
            call_time_max: Duration::from_millis(300),
            hide_words: false,
            warm_up: None,
            config: Default::default(),
            rules: None,
            signed_by: Vec::new(),
        };
        for (name, mode) in plugins {
            fs::copy(
                guests.join(format!("{name}.wasm")),
                dir.path().join(format!("{name}.wasm")),
            )
            .expect("copied");
            settings
                .config
                .insert((*name).to_owned(), serde_json::json!({ "mode": mode }));
        }
        Some(Rig { dir, guests, settings })
    }

    /// With time enough for calls that move much.
    pub fn patient(mut self) -> Rig {
        self.settings.call_time_max = Duration::from_secs(10);
        self
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.dir.path().join(name), bytes).expect("written");
    }

    pub fn copy(&self, from: &str, to: &str) {
        fs::copy(self.dir.path().join(from), self.dir.path().join(to)).expect("copied");
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.dir.path().join(name)).expect("removed");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The file that a guest was copied from.
    pub fn guest(&self, name: &str) -> PathBuf {
        self.guests.join(format!("{name}.wasm"))
    }

    pub fn settings_mut(&mut self) -> &mut PluginSettings {
        &mut self.settings
    }

    pub fn start(&self) -> (Loader, Detectors) {
        Loader::start(&self.settings, Some(&self.guests.join("cache")), Vec::new()).expect("the sandbox starts")
    }

    pub fn load(&self) -> Detectors {
        Detectors::load(&self.settings, Some(&self.guests.join("cache"))).expect("the sandbox starts")
    }
}

pub(super) fn watermark(time: Micros) -> Watermarks {
    Watermarks([("cloud".to_owned(), time)].into())
}

pub(super) fn sorted(mut detections: Vec<Detection>) -> Vec<Detection> {
    detections.sort_by(|a, b| (a.time, &a.detection_id).cmp(&(b.time, &b.detection_id)));
    detections
}

/// Feeds `arrivals` in batches of `size`; the watermark stays `bound` behind the newest.
pub(super) fn feed(detectors: &mut Detectors, arrivals: &[Event], size: usize, bound: Micros) -> Vec<Detection> {
    let mut found = Vec::new();
    let mut newest = Micros::MIN;
    for part in arrivals.chunks(size) {
        found.extend(detectors.detect(&batch(part)).detections);
        newest = part.iter().map(|event| event.time).fold(newest, Micros::max);
        found.extend(detectors.advance(&watermark(newest - bound)).detections);
    }
    found
}

pub(super) fn finish(detectors: &mut Detectors) -> Vec<Detection> {
    detectors.advance(&Watermarks::default()).detections
}

#[test]
fn a_measured_pass_finds_what_a_run_finds() {
    let Some(rig) = Rig::new(&[(STATEFUL, "good")]) else {
        return;
    };
    let all = batch(&events(100));
    let mut detectors = rig.load();
    let mut found = detectors.detect(&all).detections;
    found.extend(finish(&mut detectors));
    let path = rig.dir.path().join("hostile-stateful.wasm");
    let mut measured = Measured::new(&path, &rig.settings, all.batch()).expect("it loads");
    let pass = measured.pass().expect("it comes through");
    assert_eq!((measured.rows(), pass.detections), (100, found.len() as u64));
    assert_eq!(
        measured.pass().map(|pass| pass.detections),
        Ok(pass.detections),
        "each pass begins anew"
    );
    assert!(measured.bytes() > 100 && pass.nanos > 0 && pass.memory_bytes > 0);
}

/// Shuffling by 30 rows moves an event by less than this.
const BOUND: Micros = 11_000;

#[test]
fn neither_order_nor_batch_size_changes_what_is_found() {
    let Some(rig) = Rig::new(&[(STATEFUL, "good")]) else {
        return;
    };
    let events = events(600);
    let mut expected = None;
    for (seed, size) in [(0, 600), (1, 600), (2, 1), (3, 7), (4, 100)] {
        let mut detectors = rig.load();
        let arrivals = if seed == 0 {
            events.clone()
        } else {
            shuffled(&events, 30, seed)
        };
        let mut found = feed(&mut detectors, &arrivals, size, BOUND);
        found.extend(finish(&mut detectors));
        let found = sorted(found);
        assert_eq!(found.len(), 600);
        assert!(found.iter().all(|detection| !detection.late));
        match &expected {
            None => expected = Some(found),
            Some(expected) => {
                let differ = found.iter().zip(expected).find(|(found, expected)| found != expected);
                assert!(differ.is_none(), "seed {seed}, batches of {size}: {differ:#?}");
            }
        }
    }
    // User 3's rows are 3, 20, 37, …: its third follows its second.
    let third = expected
        .iter()
        .flatten()
        .find(|detection| detection.action == "Op37")
        .expect("found");
    assert_eq!(third.message, "Op37 is number 3 after Op20");
    assert_eq!(
        (third.event_ids.as_slice(), third.layer.as_str()),
        (["event-00037".to_owned()].as_slice(), "cloud")
    );
    let entities: Vec<String> = third.entities.iter().map(|entity| entity.entity.to_string()).collect();
    assert_eq!(entities, ["principal:user-3"]);
}

#[test]
fn late_rows_are_seen_and_flagged() {
    let Some(rig) = Rig::new(&[(STATEFUL, "good")]) else {
        return;
    };
    let mut detectors = rig.load();
    detectors.detect(&batch(&[event(1, 10, "ann", "One"), event(3, 30, "ann", "Three")]));
    let found = detectors.advance(&watermark(20)).detections;
    assert_eq!(found.len(), 1);
    let mut future = event(4, 1 << 60, "ann", "Future");
    future.flags = vec!["future_time"];
    let found = sorted(
        detectors
            .detect(&batch(&[event(2, 20, "ann", "Two"), future]))
            .detections,
    );
    let said: Vec<(&str, bool)> = found.iter().map(|found| (found.message.as_str(), found.late)).collect();
    assert_eq!(
        said,
        [
            ("Two is number 2 after One, late", true),
            ("Future is number 3 after Two, late", true)
        ]
    );
    let found = finish(&mut detectors);
    assert_eq!(
        (found[0].message.as_str(), found[0].late),
        ("Three is number 4 after Future", false)
    );
    assert_eq!(detectors.health_now()[0].counters.rows_late, 2);
}

#[test]
fn tenants_and_rows_without_key_do_not_mix() {
    let Some(rig) = Rig::new(&[(STATEFUL, "good")]) else {
        return;
    };
    let mut detectors = rig.load();
    let mut other = event(2, 20, "ann", "B");
    other.tenant = "umbrella";
    let mut keyless = event(3, 30, "ann", "C");
    keyless.user = None;
    let mut unread = event(4, 40, "ann", "D");
    unread.layer = "kubernetes";
    detectors.detect(&batch(&[event(1, 10, "ann", "A"), other, keyless, unread]));
    let found = sorted(finish(&mut detectors));
    let said: Vec<(&str, &str)> = found
        .iter()
        .map(|found| (found.tenant.as_str(), found.message.as_str()))
        .collect();
    let expected = [
        ("acme", "A is number 1 after "),
        ("umbrella", "B is number 1 after "),
        ("acme", "C is number 1 after "),
    ];
    assert_eq!(said, expected);
}

#[test]
fn a_restart_changes_nothing() {
    let Some(rig) = Rig::new(&[(STATEFUL, "good"), (STATELESS, "good")]) else {
        return;
    };
    let arrivals = shuffled(&events(600), 30, 9);
    let mut undisturbed = rig.load();
    let mut expected = feed(&mut undisturbed, &arrivals, 50, BOUND);
    expected.extend(finish(&mut undisturbed));

    let mut state = std::collections::BTreeMap::new();
    let mut found = Vec::new();
    let mut stored = 0;
    for stop in [50, 200, 450, 600] {
        let mut detectors = rig.load();
        detectors.restore(&state, &detectors.digests());
        match detectors.refeed_from() {
            Some(after) => {
                let again: Vec<Event> = arrivals[..stored]
                    .iter()
                    .filter(|event| event.time > after)
                    .cloned()
                    .collect();
                assert!(
                    !again.is_empty() && again.len() <= 60,
                    "{} rows after {after}",
                    again.len()
                );
                detectors.refeed(&batch(&again));
            }
            None => assert_eq!(stored, 0),
        }
        // The watermark goes on from the newest of what is stored.
        found.extend(feed(&mut detectors, &arrivals[stored..stop], 50, BOUND));
        stored = stop;
        state.extend(detectors.save());
        assert!(detectors.save().is_empty(), "nothing has changed since");
        // What comes after the last save is lost with the process, and comes again.
        detectors.detect(&batch(&[event(9999, 1, "user-1", "Lost")]));
        if stop == 600 {
            let mut last = rig.load();
            last.restore(&state, &last.digests());
            let after = last.refeed_from().expect("rows wait");
            last.refeed(&batch(
                &arrivals
                    .iter()
                    .filter(|event| event.time > after)
                    .cloned()
                    .collect::<Vec<_>>(),
            ));
            found.extend(finish(&mut last));
        }
    }
    assert_eq!(found.len(), 1200);
    // A plugin without key is not asked for state: what it counts by itself does not survive.
    let without_counts = |mut found: Vec<Detection>| {
        found
            .iter_mut()
            .filter(|found| found.plugin == STATELESS)
            .for_each(|found| found.message.clear());
        sorted(found)
    };
    let (found, expected) = (without_counts(found), without_counts(expected));
    let differ = found.iter().zip(&expected).find(|(found, expected)| found != expected);
    assert!(differ.is_none(), "{differ:#?}");
    assert_eq!(state.keys().filter(|key| key.ends_with("/time")).count(), 1);
}
