//! Other plugins, signatures and rules while the stage works.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::{Change, Detectors, Loader, PluginStatus};
use super::guests::{Rig, STATEFUL, STATELESS, finish, sorted, watermark};
use super::{batch, event};
use crate::model::Detection;

/// Looks until something has changed: a change counts when it is the same twice.
fn look(loader: &mut Loader) -> Option<Change> {
    (0..2).find_map(|_| loader.look())
}

#[track_caller]
fn put(loader: &mut Loader, detectors: &mut Detectors) -> Vec<Detection> {
    let change = look(loader).expect("something changed");
    let found = detectors.release_before(&change).detections;
    detectors.save();
    detectors.apply(change);
    found
}

/// Another build of the same plugin: a component may have sections that mean nothing.
fn rebuild(path: &Path, word: &str) {
    let mut bytes = fs::read(path).expect("there");
    let length = u8::try_from(word.len()).expect("short");
    bytes.extend([0, length + 1, length]);
    bytes.extend(word.as_bytes());
    replace(path, &bytes);
}

fn replace(path: &Path, bytes: &[u8]) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, bytes).expect("written");
    fs::rename(fresh, path).expect("renamed");
}

fn messages(found: Vec<Detection>) -> Vec<String> {
    sorted(found).into_iter().map(|found| found.message).collect()
}

struct Watched {
    rig: Rig,
    rules: PathBuf,
    loader: Loader,
    detectors: Detectors,
}

impl Watched {
    fn new(plugins: &[&str], rules: &str) -> Option<Watched> {
        let modes: Vec<(&str, &str)> = plugins.iter().map(|name| (*name, "good")).collect();
        let mut rig = Rig::new(&modes)?;
        let path = rig.path("rules.toml");
        fs::write(&path, rules).expect("written");
        let settings = rig.settings_mut();
        settings.rules = Some(path.clone());
        settings.config.clear();
        let (loader, detectors) = rig.start();
        Some(Watched {
            rig,
            rules: path,
            loader,
            detectors,
        })
    }

    fn problems(&self) -> String {
        let problems: Vec<String> = self.detectors.problems().iter().map(ToString::to_string).collect();
        problems.join("\n")
    }
}

#[test]
fn another_build_takes_over_state_figures_and_rows_that_wait() {
    let Some(mut watched) = Watched::new(&[STATEFUL], "") else {
        return;
    };
    let (loader, detectors) = (&mut watched.loader, &mut watched.detectors);
    assert!(look(loader).is_none(), "nothing changed");
    detectors.detect(&batch(&[event(1, 10, "ann", "One"), event(2, 20, "ann", "Two")]));
    assert_eq!(
        messages(detectors.advance(&watermark(10)).detections),
        ["One is number 1 after "]
    );
    let before = detectors.digests();
    rebuild(&watched.rig.path("hostile-stateful.wasm"), "two");
    assert_eq!(put(loader, detectors), [], "what waits goes on waiting");
    assert_ne!(detectors.digests(), before);
    detectors.detect(&batch(&[event(3, 30, "ann", "Three")]));
    assert_eq!(
        messages(finish(detectors)),
        ["Two is number 2 after One", "Three is number 3 after Two"]
    );
    let health = &detectors.health_now()[0];
    assert_eq!((health.counters.rows, health.counters.detections), (3, 3), "{health:?}");
    assert_eq!((health.counters.rows_late, health.counters.rows_early), (0, 0));
    assert!(look(loader).is_none());
}

#[test]
fn a_release_that_reads_more_gets_the_state_in_its_form_and_no_row_twice() {
    let Some(mut watched) = Watched::new(&[STATEFUL], "") else {
        return;
    };
    let (loader, detectors) = (&mut watched.loader, &mut watched.detectors);
    detectors.detect(&batch(&[event(1, 10, "ann", "One"), event(2, 20, "ann", "Two")]));
    detectors.advance(&watermark(10));
    let config = detectors.config_digests();
    fs::write(&watched.rules, "[config.hostile-stateful]\nmode = \"next\"\n").expect("written");
    // Of the row that waits the new column is not there: the one that goes sees it.
    assert_eq!(messages(put(loader, detectors)), ["Two is number 2 after One"]);
    assert_ne!(detectors.config_digests(), config);
    detectors.detect(&batch(&[event(3, 30, "ann", "Three")]));
    assert_eq!(messages(finish(detectors)), ["Three is number 3 after Two (migrated)"]);
    let health = &detectors.health_now()[0];
    assert_eq!(
        (
            health.counters.rows,
            health.counters.rows_early,
            health.counters.states_lost
        ),
        (3, 1, 0)
    );
    // What is saved is of the new form, and a start takes it up.
    let state = detectors.save();
    assert!(
        state
            .iter()
            .any(|(key, blob)| !key.ends_with("/time") && blob[..4] == [3, 0, 0, 0])
    );
}

#[test]
fn a_state_that_the_new_one_does_not_take_begins_empty_and_is_told() {
    let Some(mut watched) = Watched::new(&[STATEFUL], "") else {
        return;
    };
    let (loader, detectors) = (&mut watched.loader, &mut watched.detectors);
    detectors.detect(&batch(&[event(1, 10, "ann", "One")]));
    detectors.advance(&watermark(10));
    fs::write(&watched.rules, "[config.hostile-stateful]\nmode = \"no-restore\"\n").expect("written");
    put(loader, detectors);
    detectors.detect(&batch(&[event(2, 20, "ann", "Two")]));
    assert_eq!(messages(finish(detectors)), ["Two is number 1 after "]);
    assert_eq!(detectors.health_now()[0].counters.states_lost, 1);
}

#[test]
fn what_is_new_is_added_and_what_is_gone_may_come_back_with_its_state() {
    let Some(mut watched) = Watched::new(&[STATEFUL], "") else {
        return;
    };
    let (loader, detectors) = (&mut watched.loader, &mut watched.detectors);
    let kept = watched.rig.path("kept");
    fs::copy(watched.rig.guest(STATELESS), watched.rig.path("hostile.wasm")).expect("copied");
    put(loader, detectors);
    assert_eq!(detectors.digests().len(), 2);
    assert_eq!(
        detectors.detect(&batch(&[event(1, 10, "ann", "One")])).detections.len(),
        1
    );
    detectors.advance(&watermark(10));
    detectors.health();

    fs::rename(watched.rig.path("hostile-stateful.wasm"), &kept).expect("renamed");
    put(loader, detectors);
    assert_eq!(
        detectors.manifests().iter().map(|m| m.id.as_str()).collect::<Vec<_>>(),
        ["hostile"]
    );
    let told = detectors.health();
    assert_eq!(
        (told[0].plugin.as_str(), told[0].status),
        (STATEFUL, PluginStatus::Removed)
    );
    fs::rename(&kept, watched.rig.path("hostile-stateful.wasm")).expect("renamed");
    put(loader, detectors);
    detectors.detect(&batch(&[event(2, 20, "ann", "Two")]));
    let found = messages(finish(detectors));
    assert_eq!(found, ["Two is number 2 after One"]);
}

#[test]
fn a_bad_file_is_refused_with_the_reason_and_the_old_one_runs_on() {
    let Some(mut watched) = Watched::new(&[STATEFUL], "") else {
        return;
    };
    let path = watched.rig.path("hostile-stateful.wasm");
    let good = fs::read(&path).expect("there");
    let digests = watched.detectors.digests();
    watched.detectors.health();
    for (bytes, reason) in [
        (&b"\0asm but nothing else"[..], "no usable WebAssembly component"),
        (b"text", "no WebAssembly file"),
    ] {
        replace(&path, bytes);
        put(&mut watched.loader, &mut watched.detectors);
        let problems = watched.problems();
        assert!(
            problems.contains(reason) && problems.contains("version 1.0.0"),
            "{problems}"
        );
        assert!(problems.contains("runs on"), "{problems}");
        let told = watched.detectors.health();
        assert_eq!(
            (told.len(), told[0].status, told[0].plugin.as_str()),
            (1, PluginStatus::Refused, STATEFUL)
        );
        assert_eq!(watched.detectors.digests(), digests);
    }
    watched.detectors.detect(&batch(&[event(1, 10, "ann", "One")]));
    assert_eq!(finish(&mut watched.detectors).len(), 1);
    replace(&path, &good);
    put(&mut watched.loader, &mut watched.detectors);
    assert_eq!(watched.problems(), "");
}

#[test]
fn a_bad_rules_file_changes_nothing() {
    let Some(mut watched) = Watched::new(
        &[STATEFUL],
        "[[rule]]\nname = \"hostile-stateful/seen\"\nseverity = \"high\"\n",
    ) else {
        return;
    };
    let severity = |detectors: &Detectors| detectors.rules().of(STATEFUL, "seen").1.map(|severity| severity.text());
    assert_eq!(severity(&watched.detectors), Some("High"));
    for (text, words) in [
        (
            "[[rule]]\nname = \"hostile-stateful/seen\"\nseverity = \"loud\"\n",
            "rules.toml:3:12:",
        ),
        (
            "\n[[rule]]\nname = \"hostile-stateful/sen\"\nenabled = false\n",
            "rules.toml:3:8: [[rule]]",
        ),
        (
            "[config.hostile-stateful]\nmode = \"refuse\"\n",
            ": [config] it does not accept its configuration [config.hostile-stateful]",
        ),
    ] {
        fs::write(&watched.rules, text).expect("written");
        put(&mut watched.loader, &mut watched.detectors);
        let problems = watched.problems();
        assert!(
            problems.contains(words) && problems.contains("the rules in force stay"),
            "{problems}"
        );
        assert_eq!(severity(&watched.detectors), Some("High"));
    }
    fs::write(&watched.rules, "[[rule]]\nname = \"nobody/seen\"\nenabled = false\n").expect("written");
    put(&mut watched.loader, &mut watched.detectors);
    assert!(watched.problems().contains("rules.toml:2:8:") && watched.problems().contains("no plugin `nobody`"));
    assert_eq!(severity(&watched.detectors), None, "a plugin may come later");
}
