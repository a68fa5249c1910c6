//! Guests that misbehave: the stream loses nothing but the row at fault, and the other plugin does not notice.

use super::super::{Detectors, PluginHealth, PluginStatus, Watermarks};
use super::guests::{Rig, STATEFUL, STATELESS, feed, sorted};
use super::{Event, batch, event, events};
use crate::model::Detection;

/// 60 events of which number 40 is poison.
fn poisoned() -> Vec<Event> {
    let mut events = events(60);
    events[40].operation = "poison".into();
    events
}

/// Runs both guests, `bad` in `mode`, over the poisoned events.
fn run(bad: &str, mode: &str) -> Option<(Detectors, Vec<Detection>)> {
    let good = if bad == STATEFUL { STATELESS } else { STATEFUL };
    let rig = Rig::new(&[(bad, mode), (good, "good")])?;
    // Only an endless call has to run out of time; on a busy machine a large answer must not.
    let rig = if mode == "loop" { rig } else { rig.patient() };
    let mut detectors = rig.load();
    assert_eq!(detectors.problems(), []);
    let mut found = feed(&mut detectors, &poisoned(), 20, 5000);
    found.extend(detectors.advance(&Watermarks::default()).detections);
    assert_eq!(
        found.iter().filter(|found| found.plugin == good).count(),
        60,
        "the other plugin does not notice"
    );
    let found = found.into_iter().filter(|found| found.plugin == bad).collect();
    Some((detectors, sorted(found)))
}

fn health(detectors: &Detectors, plugin: &str) -> PluginHealth {
    detectors
        .health_now()
        .into_iter()
        .find(|health| health.plugin == plugin)
        .expect("loaded")
}

#[test]
fn one_bad_row_is_found_and_skipped() {
    let expected = [
        ("trap", "trap: wasm `unreachable` instruction executed"),
        ("error", "error: poison"),
        ("loop", "time limit: it ran longer than its 300 ms a call"),
        ("bomb", "memory limit: it wanted more than its 67108864 bytes of memory"),
        ("overflow", "trap: out of bounds memory access"),
        ("giant", "invalid output: more than 33554432 bytes in one call"),
        ("flood", "invalid output: 100001 detections for 1 rows"),
        (
            "row",
            "invalid output: rule `seen`: it names row 1 of a batch of 1 rows",
        ),
        ("no-row", "invalid output: rule `seen`: a detection without rows"),
        (
            "rule",
            "invalid output: a detection of rule `unheard-of`, which its manifest does not have",
        ),
        (
            "kind",
            "invalid output: a relation of kind `dreams-of`; valid are assumed, ",
        ),
    ];
    for plugin in [STATELESS, STATEFUL] {
        for (mode, reason) in expected {
            let Some((detectors, found)) = run(plugin, mode) else {
                return;
            };
            let health = health(&detectors, plugin);
            assert_eq!(found.len(), 59, "{plugin} {mode}: {health:?}");
            assert!(found.iter().all(|found| found.action != "poison"));
            assert_eq!(health.status, PluginStatus::Ok, "{health:?}");
            assert_eq!(
                (health.counters.rows_skipped, health.counters.failures),
                (1, 1),
                "{health:?}"
            );
            let start = format!("event event-00040 was skipped: {reason}");
            assert!(health.reason.starts_with(&start), "{plugin} {mode}: {}", health.reason);
            // User 40 % 17 = 6 has rows 6, 23, (40), 57: what it knew is still there, the skipped row is not.
            let last = found.iter().find(|found| found.action == "Op57").expect("found");
            if plugin == STATEFUL {
                assert_eq!(last.message, "Op57 is number 3 after Op23", "{mode}");
            }
        }
    }
}

#[test]
fn a_trap_loses_neither_rows_nor_state() {
    let Some((detectors, found)) = run(STATELESS, "third-call") else {
        return;
    };
    assert_eq!(found.len(), 60);
    let health = health(&detectors, STATELESS);
    assert_eq!(
        (health.counters.failures, health.counters.rows_skipped),
        (1, 0),
        "{health:?}"
    );
}

#[test]
fn relations_are_built_from_their_row() {
    let Some(rig) = Rig::new(&[(STATELESS, "relation")]) else {
        return;
    };
    let mut detectors = rig.load();
    let output = detectors.detect(&batch(&poisoned()));
    let [relation] = output.relations.as_slice() else {
        panic!("{:?}", output.relations)
    };
    assert_eq!(
        (relation.from.to_string(), relation.to.to_string()),
        ("principal:ann@example.com".into(), "model:m".into())
    );
    assert_eq!(
        (&*relation.event_id, relation.first_time, relation.count),
        ("event-00040", 13_000, 1)
    );
}

#[test]
fn who_always_fails_is_quarantined() {
    for plugin in [STATELESS, STATEFUL] {
        let Some((mut detectors, found)) = run(plugin, "always") else {
            return;
        };
        assert!(found.is_empty());
        let health = health(&detectors, plugin);
        assert_eq!(health.status, PluginStatus::Quarantined);
        let counters = health.counters;
        assert_eq!(counters.rows_skipped + counters.rows_unseen, 60, "{health:?}");
        assert!(health.reason.contains("trap: wasm `unreachable`"), "{}", health.reason);
        assert!(
            detectors
                .health()
                .iter()
                .any(|told| told.status == PluginStatus::Quarantined),
            "told"
        );
        assert!(detectors.health().is_empty(), "told once");
        detectors.save();
    }
}

#[test]
fn state_that_cannot_be_saved_quarantines() {
    let Some(rig) = Rig::new(&[(STATEFUL, "save-trap")]) else {
        return;
    };
    let mut detectors = rig.load();
    detectors.detect(&batch(&[event(1, 10, "ann", "One")]));
    assert_eq!(detectors.advance(&Watermarks::default()).detections.len(), 1);
    let saved = detectors.save();
    assert!(saved.keys().all(|key| key.ends_with("/time")), "{saved:?}");
    let health = health(&detectors, STATEFUL);
    assert!(
        health.reason.starts_with("its state cannot be saved: trap"),
        "{}",
        health.reason
    );
}

#[test]
fn chatter_is_cut() {
    let Some((detectors, found)) = run(STATELESS, "chatter") else {
        return;
    };
    assert_eq!(found.len(), 60);
    assert_eq!(health(&detectors, STATELESS).counters.log_dropped, 3 * (10_000 - 16));
}

#[test]
fn bad_files_are_refused_and_the_others_run() {
    let Some(rig) = Rig::new(&[(STATELESS, "good"), (STATEFUL, "refuse")]) else {
        return;
    };
    rig.write("broken.wasm", b"\0asm and then nothing");
    rig.write("readme.txt", b"no plugin");
    rig.copy("hostile.wasm", "twice.wasm");
    let mut detectors = rig.load();
    assert_eq!(detectors.detect(&batch(&poisoned())).detections.len(), 60);
    let health = detectors.health();
    let reason = |plugin: &str| {
        let health = health
            .iter()
            .find(|health| health.plugin == plugin && health.status == PluginStatus::Refused);
        health.map(|health| health.reason.clone()).unwrap_or_default()
    };
    assert!(
        reason("broken").starts_with("it is no usable WebAssembly component"),
        "{}",
        reason("broken")
    );
    assert!(
        reason("hostile-stateful").contains("mode `refuse` is refused"),
        "{}",
        reason("hostile-stateful")
    );
    assert_eq!(
        reason("twice"),
        "it is plugin `hostile`, and a file is named after the plugin in it: hostile.wasm"
    );
    assert_eq!(detectors.problems().len(), 3, "{:?}", detectors.problems());
    assert_eq!(detectors.digests().len(), 1);
}

/// One key's rows of 100 KB each, far more than is kept to be shown again.
pub(super) fn long(count: usize) -> Vec<Event> {
    (0..count)
        .map(|number| {
            event(
                number,
                number as i64 * 1000,
                "ann",
                &format!("{number} {}", "x".repeat(100_000)),
            )
        })
        .collect()
}

#[test]
fn a_trap_after_much_history_loses_no_state() {
    let Some(rig) = Rig::new(&[(STATEFUL, "trap")]) else {
        return;
    };
    let mut detectors = rig.load();
    let mut events = long(60);
    events[50].operation = "poison".into();
    let mut found = feed(&mut detectors, &events, 5, 0);
    found.extend(detectors.advance(&Watermarks::default()).detections);
    let found = sorted(found);
    assert_eq!(found.len(), 59);
    assert!(found[58].message.starts_with("59 xxx"), "{}", &found[58].message[..20]);
    let restored = detectors.save();
    let mut again = rig.load();
    again.restore(&restored, &again.digests());
    again.detect(&batch(&[event(99, 99_000, "ann", "Last")]));
    let found = again.advance(&Watermarks::default()).detections;
    assert!(
        found[0].message.starts_with("Last is number 60 after 59 xxx"),
        "{}",
        &found[0].message[..40]
    );
}

#[test]
fn a_full_buffer_releases_its_older_half_and_counts_it() {
    let Some(rig) = Rig::new(&[(STATEFUL, "good")]) else {
        return;
    };
    let mut detectors = rig.load();
    let mut found = Vec::new();
    for part in long(700).chunks(100) {
        found.extend(detectors.detect(&batch(part)).detections);
    }
    let early = health(&detectors, STATEFUL).counters.rows_early;
    assert_eq!(found.len() as u64, early);
    assert!((300..450).contains(&early), "{early}");
    found.extend(detectors.advance(&Watermarks::default()).detections);
    assert_eq!(found.len(), 700);
    assert!(found.iter().all(|found| !found.late));
    assert_eq!(health(&detectors, STATEFUL).counters.rows_unseen, 0);
}

#[test]
fn a_component_that_wants_more_than_the_contract_is_refused() {
    let Some(rig) = Rig::new(&[]) else { return };
    // (component (import "wasi:cli/environment@0.2.0" (instance (export "f" (func)))))
    let name = b"wasi:cli/environment@0.2.0";
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    bytes.extend([7, 14, 1, 0x42, 2, 1, 0x40, 0, 1, 0, 4, 0, 1, b'f', 1, 0]);
    bytes.extend([10, name.len() as u8 + 5, 1, 0, name.len() as u8]);
    bytes.extend(name);
    bytes.extend([5, 0]);
    rig.write("wide.wasm", &bytes);
    let detectors = rig.load();
    let reason = &detectors.problems()[0].reason;
    assert!(
        reason.starts_with("it imports `wasi:cli/environment@0.2.0`; a plugin may import"),
        "{reason}"
    );
}
