//! What lasts: state over releases and absences, event time that passes without rows, quarantines that end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::runner::quarantine::{PAUSE_MAX, PAUSE_MIN};
use super::super::{DetectOutput, Detectors, PluginHealth, PluginStatus, Watermarks};
use super::guests::{Rig, STATEFUL, STATELESS, feed, finish, sorted, watermark};
use super::hostile::long;
use super::{Event, batch, event, shuffled};
use crate::model::{Detection, Micros, time::SECOND};

#[test]
fn state_that_does_not_fit_is_let_go_and_told() {
    let Some(rig) = Rig::new(&[(STATEFUL, "no-restore")]) else {
        return;
    };
    let mut detectors = rig.load();
    detectors.detect(&batch(&[event(1, 10, "ann", "One")]));
    finish(&mut detectors);
    let state = detectors.save();

    let mut again = rig.load();
    again.restore(&state, &again.digests());
    again.detect(&batch(&[event(2, 20, "ann", "Two")]));
    let DetectOutput { detections, .. } = again.advance(&Watermarks::default());
    assert_eq!(detections[0].message, "Two is number 1 after ");
    let health = &again.health()[0];
    assert_eq!((health.counters.states_lost, health.status.text()), (1, "ok"));
    assert!(
        health.reason.contains("begins empty: error: this state is not mine"),
        "{}",
        health.reason
    );
}

fn with_version(state: &BTreeMap<String, Bytes>, version: u32) -> BTreeMap<String, Bytes> {
    let mut other = state.clone();
    for (key, blob) in &mut other {
        if !key.ends_with("/time") {
            *blob = [&version.to_le_bytes()[..], &blob[4..]].concat().into();
        }
    }
    other
}

#[test]
fn state_goes_to_the_plugin_with_its_version() {
    let Some(rig) = Rig::new(&[(STATEFUL, "good")]) else {
        return;
    };
    let mut detectors = rig.load();
    detectors.detect(&batch(&[event(1, 10, "ann", "One")]));
    finish(&mut detectors);
    let state = detectors.save();
    for (version, message, lost) in [
        (1, "Two is number 2 after One", 0),
        (2, "Two is number 2 after One", 0),
        (7, "Two is number 1 after ", 1),
    ] {
        let mut again = rig.load();
        again.restore(&with_version(&state, version), &again.digests());
        again.detect(&batch(&[event(2, 20, "ann", "Two")]));
        assert_eq!(finish(&mut again)[0].message, message, "version {version}");
        let health = &again.health_now()[0];
        assert_eq!(health.counters.states_lost, lost, "{health:?}");
        // What is saved now is of the present version.
        let saved = again.save();
        assert!(
            saved
                .iter()
                .all(|(key, blob)| key.ends_with("/time") || blob[..4] == [2, 0, 0, 0])
        );
    }
}

#[test]
fn who_was_absent_keeps_its_state_but_not_what_waited_and_who_is_gone_loses_both() {
    let Some(rig) = Rig::new(&[(STATEFUL, "good")]) else {
        return;
    };
    let mut detectors = rig.load();
    detectors.detect(&batch(&[event(1, 10, "ann", "One"), event(2, 20, "ann", "Two")]));
    detectors.advance(&watermark(10));
    let (state, ran) = (detectors.save(), detectors.digests());
    assert_eq!(state.len(), 2);

    // Part of the last run: what waited comes again. Absent from it: it does not.
    let absent = BTreeMap::new();
    for (ran, refeed) in [(&ran, Some(19)), (&absent, None)] {
        let mut again = rig.load();
        again.restore(&state, ran);
        assert_eq!(again.refeed_from(), refeed);
        again.detect(&batch(&[event(3, 30, "ann", "Three")]));
        assert_eq!(finish(&mut again)[0].message, "Three is number 2 after One");
    }

    rig.remove("hostile-stateful.wasm");
    let mut without = rig.load();
    without.restore(&state, &ran);
    assert!(without.save().is_empty(), "missing once, it may come back");
    let mut without = rig.load();
    without.restore(&state, &absent);
    let dropped = without.save();
    assert_eq!(dropped.keys().collect::<Vec<_>>(), state.keys().collect::<Vec<_>>());
    assert!(dropped.values().all(Bytes::is_empty));
    assert!(without.save().is_empty(), "dropped once");
}

#[test]
fn what_comes_again_is_bounded_and_the_rest_is_counted() {
    let Some(rig) = Rig::new(&[(STATEFUL, "good")]) else {
        return;
    };
    let mut detectors = rig.patient().load();
    // Everything waited: far more than the buffer could have held.
    let progress = Bytes::from_static(br#"{"released":null,"waiting":0}"#);
    let state = BTreeMap::from([(format!("plugin/{STATEFUL}/time"), progress)]);
    detectors.restore(&state, &detectors.digests());
    assert_eq!(detectors.refeed_from(), Some(-1));
    let rows = long(1600);
    rows.chunks(100).for_each(|part| detectors.refeed(&batch(part)));
    let unseen = detectors.health_now()[0].counters.rows_unseen;
    assert!((100..500).contains(&unseen), "{unseen}");
    assert_eq!(finish(&mut detectors).len() as u64, 1600 - unseen);
}

/// Rows of a few users, each of whom falls silent for longer than the guest bears now and then.
fn broken_silences() -> Vec<Event> {
    let time = |number: usize| (number as Micros * 7 + (number as Micros / 10) * 25) * SECOND;
    (0..80)
        .map(|number| {
            event(
                number,
                time(number),
                &format!("user-{}", number * number % 7),
                &format!("Op{number}"),
            )
        })
        .collect()
}

fn silences(found: Vec<Detection>) -> Vec<Detection> {
    sorted(found.into_iter().filter(|found| found.rule == "silent").collect())
}

#[test]
fn what_time_decides_depends_neither_on_delivery_nor_on_restarts() {
    let Some(rig) = Rig::new(&[(STATEFUL, "time")]) else {
        return;
    };
    let events = broken_silences();
    let mut expected = None;
    for (seed, size) in [(0, 80), (1, 1), (2, 7), (3, 13)] {
        let arrivals = if seed == 0 {
            events.clone()
        } else {
            shuffled(&events, 5, seed)
        };
        let mut detectors = rig.load();
        let mut found = feed(&mut detectors, &arrivals, size, 60 * SECOND);
        found.extend(finish(&mut detectors));
        let found = silences(found);
        assert!(found.len() > 20, "{}", found.len());
        let expected = expected.get_or_insert_with(|| found.clone());
        assert_eq!(&found, expected, "seed {seed}, batches of {size}");
    }
    let expected = expected.unwrap_or_default();
    let first = &expected[0];
    assert_eq!(
        (first.time, first.tenant.as_str(), first.layer.as_str()),
        (10 * SECOND, "acme", "cloud")
    );
    assert_eq!(
        (first.event_ids.as_slice(), first.message.as_str()),
        (["event-00000".to_owned()].as_slice(), "silent after 1 rows")
    );

    // A restart after every few rows, and each time a moment in which only time passes.
    let (mut state, mut found, mut stored) = (BTreeMap::new(), Vec::new(), 0);
    for stop in [11, 40, 41, 80] {
        let mut detectors = rig.load();
        detectors.restore(&state, &detectors.digests());
        assert_eq!(detectors.refeed_from(), None);
        found.extend(feed(&mut detectors, &events[stored..stop], 4, 0));
        found.extend(
            detectors
                .advance(&watermark(events[stop - 1].time + 2 * SECOND))
                .detections,
        );
        stored = stop;
        state.extend(detectors.save());
        assert!(detectors.save().is_empty());
    }
    let end = events[79].time;
    let within = |found: &[Detection]| {
        found
            .iter()
            .filter(|found| found.time <= end)
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(within(&silences(found)), within(&expected));
}

#[test]
fn time_alone_is_enough() {
    let Some(rig) = Rig::new(&[(STATEFUL, "time")]) else {
        return;
    };
    let mut detectors = rig.load();
    detectors.detect(&batch(&[event(1, 5 * SECOND, "ann", "One")]));
    assert_eq!(
        detectors.advance(&watermark(14 * SECOND)).detections.len(),
        1,
        "the row itself"
    );
    let DetectOutput { detections, .. } = detectors.advance(&watermark(15 * SECOND));
    let [silent] = detections.as_slice() else {
        panic!("{detections:?}")
    };
    assert_eq!(
        (silent.rule.as_str(), silent.time, silent.late),
        ("silent", 15 * SECOND, false)
    );
    assert_eq!(silent.entities[0].entity.to_string(), "model:m");
    assert!(
        detectors.advance(&watermark(99 * SECOND)).detections.is_empty(),
        "told once"
    );
}

#[test]
fn what_time_decides_is_checked() {
    for (mode, reason) in [
        ("time-key", "rule `silent`: key `nobody` is none that it was given"),
        (
            "time-ahead",
            "rule `silent`: it came true at 20000001, but time has passed up to 20000000 only",
        ),
        ("time-layer", "rule `silent`: layer `sky`; valid are cloud, gateway"),
        ("time-event", "rule `silent`: it names no event, or what is no event id"),
        ("time-row", "1 detections for 0 rows; at most 0 are allowed"),
        ("time-trap", "trap: wasm `unreachable`"),
    ] {
        let Some(rig) = Rig::new(&[(STATEFUL, mode)]) else {
            return;
        };
        let mut detectors = rig.load();
        detectors.detect(&batch(&[event(1, 5 * SECOND, "ann", "One")]));
        detectors.advance(&watermark(6 * SECOND));
        let found = detectors.advance(&watermark(20 * SECOND)).detections;
        let health = &detectors.health_now()[0];
        assert!(found.is_empty(), "{found:?}");
        assert!(health.reason.contains(reason), "{mode}: {}", health.reason);
        assert!(health.counters.failures > 0, "{health:?}");
        // Its rows are not at fault.
        detectors.detect(&batch(&[event(2, 21 * SECOND, "bob", "Two")]));
        assert!(
            finish(&mut detectors)
                .iter()
                .any(|found| found.message == "Two is number 1 after "),
            "{mode}"
        );
    }
}

#[test]
fn who_fails_whenever_time_passes_is_quarantined() {
    let Some(rig) = Rig::new(&[(STATEFUL, "time-trap")]) else {
        return;
    };
    let mut detectors = rig.load();
    detectors.detect(&batch(&[event(1, SECOND, "ann", "One")]));
    (2..9).for_each(|second| {
        detectors.advance(&watermark(second * SECOND));
    });
    assert_eq!(detectors.health_now()[0].status, PluginStatus::Quarantined);
}

#[test]
fn state_that_outgrows_its_limit_is_let_go_and_the_plugin_runs_on() {
    let Some(rig) = Rig::new(&[(STATEFUL, "bloat")]) else {
        return;
    };
    let mut detectors = rig.patient().load();
    let mut see = |number: usize| {
        detectors.detect(&batch(&[event(number, number as Micros * SECOND, "ann", "Op")]));
        let message = finish(&mut detectors)[0].message.clone();
        (message, detectors.save(), detectors.health_now().remove(0))
    };
    for number in 1..8 {
        let (message, saved, health) = see(number);
        assert_eq!(message, "Op is number 1 after ", "it began empty");
        assert!(
            saved
                .iter()
                .any(|(key, blob)| !key.ends_with("/time") && blob.is_empty()),
            "{saved:?} {health:?}"
        );
        assert_eq!(
            (health.status, health.counters.states_lost),
            (PluginStatus::Ok, number as u64)
        );
        assert!(
            health
                .reason
                .contains("its state had 17825792 bytes, 16777216 are allowed"),
            "{}",
            health.reason
        );
    }
}

#[test]
fn keys_that_a_plugin_forgets_are_counted() {
    let Some(rig) = Rig::new(&[(STATELESS, "evict")]) else {
        return;
    };
    let mut detectors = rig.load();
    detectors.detect(&batch(&[event(1, 1, "ann", "One")]));
    detectors.detect(&batch(&[event(2, 2, "ann", "Two")]));
    assert_eq!(detectors.health_now()[0].counters.keys_evicted, 6);
}

#[test]
fn changed_figures_are_told_once() {
    let Some(rig) = Rig::new(&[(STATELESS, "evict")]) else {
        return;
    };
    let mut detectors = rig.load();
    assert_eq!(detectors.health().len(), 1, "at first, of all");
    assert!(detectors.health_changes().is_empty());
    detectors.detect(&batch(&[event(1, 1, "ann", "One")]));
    assert!(detectors.health().is_empty(), "the status is what it was");
    let told = detectors.health_changes();
    assert_eq!((told.len(), told[0].counters.rows), (1, 1));
    assert!(detectors.health_changes().is_empty(), "who is idle has nothing to tell");
}

fn health(detectors: &Detectors, plugin: &str) -> PluginHealth {
    let mut all = detectors.health_now().into_iter();
    all.find(|health| health.plugin == plugin).expect("loaded")
}

/// Six calls that each hold a row which the guest does not bear: one more than it may fail on.
fn poison(detectors: &mut Detectors, from: usize) -> Vec<Detection> {
    let mut found = Vec::new();
    for number in from..from + 6 {
        let mut events = [
            event(2 * number, number as Micros, "ann", "poison"),
            event(2 * number + 1, number as Micros, "bob", "Op"),
        ];
        events[0].user = Some(format!("poisoner-{number}"));
        found.extend(detectors.detect(&batch(&events)).detections);
        found.extend(detectors.advance(&Watermarks::default()).detections);
    }
    found
}

#[test]
fn a_quarantine_ends_and_the_plugin_goes_on_with_what_it_knew() {
    for plugin in [STATEFUL, STATELESS] {
        let other = if plugin == STATEFUL { STATELESS } else { STATEFUL };
        let Some(rig) = Rig::new(&[(plugin, "trap"), (other, "good")]) else {
            return;
        };
        let mut detectors = rig.load();
        let mut now = Instant::now();
        let mut pause = PAUSE_MIN;
        let mut seen = 0;
        for round in 0..8 {
            let found = poison(&mut detectors, round * 10);
            assert_eq!(
                found.iter().filter(|found| found.plugin == other).count(),
                12,
                "the other loses nothing"
            );
            seen += found.iter().filter(|found| found.plugin == plugin).count();
            detectors.retry(now);
            let ill = health(&detectors, plugin);
            assert_eq!(ill.status, PluginStatus::Quarantined, "{ill:?}");
            let again = format!("; it is tried again after {} min", pause.as_secs() / 60);
            assert!(ill.reason.ends_with(&again), "{} {again}", ill.reason);
            assert!(
                detectors
                    .health()
                    .iter()
                    .any(|told| told.status == PluginStatus::Quarantined)
            );

            now += pause - Duration::from_secs(1);
            detectors.retry(now);
            assert_eq!(health(&detectors, plugin).counters.retries, round as u64, "not yet");
            now += Duration::from_secs(1);
            detectors.retry(now);
            let well = health(&detectors, plugin);
            assert_eq!(
                (well.status, well.counters.retries),
                (PluginStatus::Ok, round as u64 + 1),
                "{well:?}"
            );
            assert!(
                well.reason
                    .starts_with("it runs again; it was quarantined: 5 of its last 200"),
                "{}",
                well.reason
            );
            assert!(detectors.health().iter().any(|told| told.status == PluginStatus::Ok));
            pause = (pause * 2).min(PAUSE_MAX);
        }
        // Bob's row of each batch that was shown is remembered, and nothing else.
        detectors.detect(&batch(&[event(9_999, 9_999, "bob", "Last")]));
        let last = finish(&mut detectors).into_iter().find(|found| found.plugin == plugin);
        if plugin == STATEFUL {
            assert_eq!(
                last.expect("seen").message,
                format!("Last is number {} after Op", seen + 1)
            );
        }
        // Who behaves for long begins with the shortest pause again.
        detectors.retry(now + PAUSE_MAX);
        poison(&mut detectors, 1_000);
        detectors.retry(now + PAUSE_MAX);
        assert!(health(&detectors, plugin).reason.ends_with("after 1 min"));
    }
}
