//! What sequences tell, in whichever order and pieces detections arrive, and over restarts.

mod panther;

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::fixture;
use super::judge::{Hit, judge};
use super::plan::Plan;
use super::*;
use crate::config::{load_sequences, parse_sequences};
use crate::model::time::{MINUTE, SECOND};
use crate::model::{EntityRole, RoledEntity, Severity};

fn set(text: &str) -> SequenceSet {
    let sequences = parse_sequences(text, "s.toml").expect("valid").into_iter();
    SequenceSet {
        sequences: sequences.map(|sequence| (sequence.name.clone(), sequence)).collect(),
        digest: "d".into(),
    }
}

/// A detection of `PLUGIN/RULE` at a second, of the principal `who`.
fn found(at: i64, rule: &str, who: &str) -> Detection {
    let (plugin, rule) = rule.split_once('/').expect("PLUGIN/RULE");
    let event = format!("{at} {rule} {who}");
    Detection {
        detection_id: Detection::id_of("default", plugin, rule, &[&event]).to_string(),
        tenant: "default".into(),
        time: at * SECOND,
        plugin: plugin.into(),
        plugin_version: "1".into(),
        rule: rule.into(),
        severity: Severity::Medium,
        title: rule.into(),
        message: "secret words".into(),
        techniques: vec!["T1078.004".into()],
        entities: vec![RoledEntity {
            role: EntityRole::Actor,
            entity: Entity::new("principal", who),
        }],
        event_ids: vec![format!("first of {event}"), event],
        layer: "gateway".into(),
        action: "Op".into(),
        late: false,
    }
}

const HEAD: &str = "[[sequence]]\nname = \"s\"\ntitle = \"S\"\nseverity = \"high\"\nby = \"principal\"\n";

fn steps(head: &str, steps: &[&str]) -> String {
    let steps = steps.iter().map(|step| format!("[[sequence.step]]\n{step}\n"));
    format!("{HEAD}{head}\n{}", steps.collect::<String>())
}

/// Times in seconds of what is told of detections of one principal, each written `SECONDS RULE`.
fn told(text: &str, detections: &[(i64, &str)]) -> Vec<i64> {
    let mut sequences = Sequences::new(set(text), BTreeMap::new());
    let detections: Vec<Detection> = detections.iter().map(|(at, rule)| found(*at, rule, "ann")).collect();
    sequences.add(&detections);
    sequences.finish().iter().map(|told| told.time / SECOND).collect()
}

const NONE: [i64; 0] = [];

const A: &str = "name = \"a\"\nrules = [\"p/a\"]";
const B: &str = "name = \"b\"\nrules = [\"p/b\"]";
const C: &str = "name = \"c\"\nrules = [\"p/c\"]";

#[test]
fn shipped_sequences_are_valid_and_tell_what_their_cases_say() {
    let shipped = load_sequences(None, true).expect("valid");
    assert!(shipped.sequences.len() >= 8, "{}", shipped.sequences.len());
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/sequences");
    let read = |path: &std::path::Path| std::fs::read_to_string(path).expect("readable");
    let coverage = read(&dir.join("../../plugins/COVERAGE.md"));
    let known: BTreeSet<String> = coverage
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            (cells.len() > 4).then(|| format!("{}/{}", cells[2], cells[3]))
        })
        .collect();
    let plugins: BTreeSet<&str> = known.iter().filter_map(|rule| rule.split('/').next()).collect();
    let mut quiet = BTreeSet::new();
    let mut tells = BTreeSet::new();
    for entry in std::fs::read_dir(dir.join("fixtures")).expect("readable").flatten() {
        let file = dir.join(entry.file_name());
        let set = set(&read(&file));
        for case in fixture::parse(&read(&entry.path())).expect("valid") {
            if let Err(reason) = fixture::run(&case, &set) {
                panic!("{}: {}: {reason}", entry.path().display(), case.name);
            }
            match case.told().next().is_some() {
                true => tells.extend(case.told().map(str::to_owned)),
                false => quiet.extend(set.sequences.keys().cloned()),
            }
        }
    }
    for (name, sequence) in &shipped.sequences {
        assert!(tells.contains(name), "no case tells {name}");
        assert!(quiet.contains(name), "no case of the file of {name} is quiet");
        for rule in sequence.steps.iter().flat_map(|step| &step.rules) {
            let is_there = match (rule.contains('*'), rule.contains('/')) {
                (true, _) => known.iter().any(|known| crate::config::is_like(known, rule)),
                (false, true) => known.contains(rule),
                (false, false) => plugins.contains(rule.as_str()),
            };
            assert!(is_there, "{name} names {rule}, which no detector has");
        }
    }
}

#[test]
fn steps_come_in_their_order_and_in_time() {
    let text = steps("within = \"100s\"", &[A, B]);
    assert_eq!(told(&text, &[(0, "p/a"), (100, "p/b")]), [100]);
    assert_eq!(told(&text, &[(0, "p/a"), (101, "p/b")]), NONE);
    assert_eq!(told(&text, &[(0, "p/b"), (1, "p/a")]), NONE);
    assert_eq!(
        told(&text, &[(5, "p/b"), (5, "p/a")]),
        [5],
        "order within one time is not known"
    );
    assert_eq!(
        told(&text, &[(0, "p/a"), (1, "p/b"), (2, "p/b"), (101, "p/a"), (102, "p/b")]),
        [1, 102]
    );
    let any = steps("within = \"100s\"\nordered = false", &[A, B]);
    assert_eq!(told(&any, &[(0, "p/b"), (1, "p/a")]), [1]);
    assert_eq!(told(&any, &[(0, "p/b"), (101, "p/a")]), NONE);
    assert_eq!(told(&any, &[(0, "p/b"), (1, "p/b")]), NONE);
}

#[test]
fn time_between_steps_has_a_least_and_a_most() {
    let b = format!("{B}\nafter = \"10s\"\nwithin = \"20s\"");
    let text = steps("within = \"100s\"", &[A, &b, C]);
    assert_eq!(told(&text, &[(0, "p/a"), (9, "p/b"), (30, "p/c")]), NONE);
    assert_eq!(told(&text, &[(0, "p/a"), (10, "p/b"), (30, "p/c")]), [30]);
    assert_eq!(told(&text, &[(0, "p/a"), (21, "p/b"), (30, "p/c")]), NONE);
    // The first of the first steps is too far from the second, the last too near: the one between them is right.
    assert_eq!(
        told(&text, &[(0, "p/a"), (15, "p/a"), (24, "p/a"), (26, "p/b"), (30, "p/c")]),
        [30]
    );
}

#[test]
fn absence_is_before_between_or_after_the_steps() {
    let absent = format!("{B}\nabsent = true");
    let between = steps("within = \"100s\"", &[A, &absent, C]);
    assert_eq!(told(&between, &[(0, "p/a"), (5, "p/c")]), [5]);
    assert_eq!(told(&between, &[(0, "p/a"), (3, "p/b"), (5, "p/c")]), NONE);
    assert_eq!(
        told(&between, &[(0, "p/a"), (3, "p/b"), (4, "p/a"), (5, "p/c")]),
        [5],
        "the later chain is clear"
    );
    let limited = format!("{absent}\nwithin = \"50s\"");
    let before = steps("within = \"100s\"", &[&limited, C]);
    assert_eq!(told(&before, &[(5, "p/c")]), [5]);
    assert_eq!(told(&before, &[(0, "p/b"), (50, "p/c")]), NONE);
    assert_eq!(told(&before, &[(0, "p/b"), (51, "p/c")]), [51]);
    let after = steps("within = \"100s\"", &[A, &limited]);
    assert_eq!(told(&after, &[(0, "p/a"), (50, "p/b")]), NONE);
    assert_eq!(told(&after, &[(0, "p/a"), (51, "p/b")]), [0]);
    let around = steps("within = \"100s\"\nordered = false", &[&absent, A]);
    assert_eq!(told(&around, &[(0, "p/a"), (100, "p/b")]), NONE);
    assert_eq!(told(&around, &[(0, "p/b"), (100, "p/a")]), NONE);
    assert_eq!(told(&around, &[(0, "p/a"), (101, "p/b")]), [0]);
}

#[test]
fn absence_behind_a_step_is_told_when_its_time_has_passed_and_not_before() {
    let absent = format!("{B}\nabsent = true\nwithin = \"50s\"");
    let mut sequences = Sequences::new(set(&steps("within = \"100s\"", &[A, &absent])), BTreeMap::new());
    sequences.add(&[found(0, "p/a", "ann")]);
    let at = |second: i64| BTreeMap::from([("gateway".to_owned(), second * SECOND)]);
    assert_eq!(sequences.advance(&at(49), None), []);
    assert_eq!(
        sequences.advance(&BTreeMap::new(), Some(49 * SECOND)),
        [],
        "nobody knows of what comes"
    );
    assert_eq!(sequences.advance(&at(50), None).len(), 1);
    assert_eq!(sequences.advance(&at(60), None), [], "once");
}

#[test]
fn counts_are_of_detections_or_of_values() {
    let five = format!("{A}\ncount = 3");
    let text = steps("within = \"100s\"", &[&five, B]);
    assert_eq!(told(&text, &[(0, "p/a"), (1, "p/a"), (2, "p/b"), (3, "p/a")]), NONE);
    assert_eq!(told(&text, &[(0, "p/a"), (1, "p/a"), (3, "p/a"), (4, "p/b")]), [4]);
    assert_eq!(told(&text, &[(0, "p/a"), (50, "p/a"), (60, "p/a"), (101, "p/b")]), NONE);
    let text = HEAD.replace("\"principal\"", "[]")
        + "within = \"100s\"\n[[sequence.step]]\nname = \"a\"\nrules = [\"p/a\"]\ndistinct = \"principal\"\ncount = 3\n";
    let mut sequences = Sequences::new(set(&text), BTreeMap::new());
    let tries = [(0, "ann"), (1, "bob"), (2, "ann"), (3, "bob"), (4, "eve")];
    sequences.add(&tries.map(|(at, who)| found(at, "p/a", who)));
    let told = sequences.finish();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].time, 4 * SECOND);
    let told_of: Vec<String> = told[0]
        .entities
        .iter()
        .map(|held| held.entity.value.to_string())
        .collect();
    assert_eq!(told_of, ["ann", "bob", "eve"]);
    assert_eq!(told[0].event_ids.len(), 3, "the shortest run: {:?}", told[0].event_ids);
}

#[test]
fn what_is_told_says_what_it_was_found_by() {
    let mut sequences = Sequences::new(set(&steps("within = \"10m\"", &[A, B])), BTreeMap::new());
    let mut last = found(70, "p/b", "ann");
    last.late = true;
    last.layer = "cloud".into();
    sequences.add(&[found(0, "p/a", "ann"), last]);
    let told = sequences.finish().pop().expect("told");
    assert_eq!(
        (told.plugin.as_str(), told.rule.as_str(), told.severity),
        ("sequence", "s", Severity::High)
    );
    assert_eq!(
        (told.layer.as_str(), told.action.as_str(), told.late),
        ("cloud", "Op", true)
    );
    assert_eq!(told.event_ids, ["0 a ann", "70 b ann"]);
    assert_eq!(told.techniques, ["T1078.004"]);
    assert_eq!(
        told.message,
        "Within 1 min 10 s, same principal ann: a (p/a) at 1970-01-01T00:00:00.000Z, then b (p/b) at 1970-01-01T00:01:10.000Z"
    );
}

#[test]
fn a_late_detection_completes_what_was_judged_without_it_and_is_told_once() {
    let mut sequences = Sequences::new(set(&steps("within = \"100s\"", &[A, B])), BTreeMap::new());
    sequences.add(&[found(50, "p/b", "ann"), found(60, "p/b", "ann")]);
    let at = BTreeMap::from([("gateway".to_owned(), 90 * SECOND)]);
    assert_eq!(sequences.advance(&at, None), []);
    let told = sequences.add(&[found(10, "p/a", "ann")]);
    assert_eq!(told.iter().map(|told| told.time / SECOND).collect::<Vec<_>>(), [50]);
    assert_eq!(sequences.add(&[found(10, "p/a", "ann"), found(11, "p/a", "ann")]), []);
    assert_eq!(sequences.figures().late, 3);
    assert_eq!(sequences.finish(), []);
}

/// However late it comes and however much was told behind it.
#[test]
fn what_was_told_is_not_repeated_by_what_comes_late() {
    let set = set(&steps("within = \"100s\"\nrepeat_after = \"20s\"", &[A, B]));
    let mut sequences = Sequences::new(set.clone(), BTreeMap::new());
    sequences.add(&[found(0, "p/a", "ann"), found(5, "p/b", "ann"), found(60, "p/b", "ann")]);
    let at = BTreeMap::from([("gateway".to_owned(), 90 * SECOND)]);
    let seconds = |told: Vec<Detection>| told.iter().map(|told| told.time / SECOND).collect::<Vec<_>>();
    assert_eq!(seconds(sequences.advance(&at, None)), [5, 60]);
    assert_eq!(
        seconds(sequences.add(&[found(10, "p/b", "ann"), found(24, "p/b", "ann")])),
        NONE
    );
    let state = sequences.save();
    let mut sequences = Sequences::new(set, BTreeMap::new());
    sequences.restore(&state);
    assert_eq!(seconds(sequences.add(&[found(41, "p/b", "ann")])), NONE);
    assert_eq!(seconds(sequences.add(&[found(30, "p/b", "ann")])), [30]);
    assert_eq!(
        seconds(sequences.add(&[
            found(12, "p/b", "ann"),
            found(31, "p/b", "ann"),
            found(30, "p/b", "eve")
        ])),
        NONE
    );
    // Both ends of the time count: from there on it is told again.
    assert_eq!(seconds(sequences.add(&[found(80, "p/b", "ann")])), [80]);
}

#[test]
fn a_sequence_waits_for_the_layers_of_its_detectors_alone() {
    let heard = BTreeMap::from([("p".to_owned(), vec!["gateway".to_owned()])]);
    let mut sequences = Sequences::new(set(&steps("within = \"100s\"", &[A, B])), heard);
    sequences.add(&[found(0, "p/a", "ann"), found(1, "p/b", "ann")]);
    let mut watermarks = BTreeMap::from([("cloud".to_owned(), Micros::MIN), ("gateway".to_owned(), 0)]);
    assert_eq!(sequences.advance(&watermarks, None), []);
    watermarks.insert("gateway".to_owned(), SECOND);
    assert_eq!(sequences.advance(&watermarks, None).len(), 1);
    // One that no plugin of this name is loaded for may come from anywhere.
    let mut sequences = Sequences::new(set(&steps("within = \"100s\"", &[A, B])), BTreeMap::new());
    sequences.add(&[found(0, "p/a", "ann"), found(1, "p/b", "ann")]);
    assert_eq!(sequences.advance(&watermarks, None), []);
}

/// Nothing of the order of arrival, the sizes of batches or restarts shows.
#[test]
fn arrival_batches_and_restarts_do_not_show() {
    let absent = format!("{C}\nabsent = true\nwithin = \"30s\"");
    let three = format!("{A}\ncount = 2");
    let second = |text: String| text.replace("name = \"s\"", "name = \"t\"");
    let third = |text: String| text.replace("name = \"s\"", "name = \"u\"");
    let text = steps("within = \"60s\"\nrepeat_after = \"5s\"", &[&three, B, &absent])
        + &second(steps("within = \"40s\"\nordered = false", &[A, B, C]))
        + &third(steps("within = \"90s\"\nrepeat_after = \"1s\"", &[C, A, B]));
    let set = set(&text);
    for seed in 0..40 {
        let mut random = StdRng::seed_from_u64(seed);
        let detections: Vec<Detection> = (0..150)
            .map(|_| {
                let rule = ["p/a", "p/b", "p/c"][random.random_range(0..3)];
                let who = ["ann", "bob", "eve"][random.random_range(0..3)];
                found(random.random_range(0..600), rule, who)
            })
            .collect();
        let mut usual: Option<Vec<Detection>> = None;
        for way in 0..4 {
            let mut arriving = detections.clone();
            // Out of order by less than the lateness.
            let lateness = 20 * SECOND;
            let mut order: Vec<(Micros, Detection)> = arriving
                .drain(..)
                .map(|detection| (detection.time + random.random_range(0..lateness), detection))
                .collect();
            order.shuffle(&mut random);
            order.sort_by_key(|(arrival, _)| *arrival);
            let arriving: Vec<Detection> = order.into_iter().map(|(_, detection)| detection).collect();
            let mut sequences = Sequences::new(set.clone(), BTreeMap::new());
            let mut state = BTreeMap::new();
            let mut told = Vec::new();
            let mut rest = arriving.as_slice();
            let mut newest = Micros::MIN;
            while !rest.is_empty() {
                let (batch, behind) = rest.split_at(random.random_range(1..=rest.len().min(40)));
                rest = behind;
                told.extend(sequences.add(batch));
                newest = batch
                    .iter()
                    .map(|detection| detection.time)
                    .max()
                    .unwrap_or(newest)
                    .max(newest);
                let watermark = BTreeMap::from([("gateway".to_owned(), newest - lateness)]);
                told.extend(sequences.advance(&watermark, None));
                if way > 1 {
                    for (name, text) in sequences.save() {
                        state.insert(name, text);
                    }
                    state.retain(|_, text: &mut Bytes| !text.is_empty());
                    sequences = Sequences::new(set.clone(), BTreeMap::new());
                    sequences.restore(&state);
                }
            }
            told.extend(sequences.finish());
            told.sort_by(|a, b| a.detection_id.cmp(&b.detection_id));
            let ids: BTreeSet<&String> = told.iter().map(|told| &told.detection_id).collect();
            assert_eq!(ids.len(), told.len(), "one is told twice");
            match &usual {
                None => usual = Some(told),
                Some(usual) => assert_eq!(&told, usual, "seed {seed}, way {way}"),
            }
        }
        assert!(usual.is_some_and(|told| told.len() > 5), "the case shows nothing");
    }
}

/// Against the definition: whether there is any choice of detections at all.
#[test]
fn a_chain_is_found_exactly_where_there_is_one() {
    let b = format!("{B}\nafter = \"2s\"\nwithin = \"6s\"");
    let absent = "name = \"x\"\nrules = [\"p/x\"]\nabsent = true";
    let text = steps("within = \"12s\"", &[A, &b, absent, C]);
    let sequence = parse_sequences(&text, "s.toml").expect("valid").remove(0);
    let plan = Plan::new(&sequence);
    let mut found_some = 0;
    for seed in 0..400 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut hits: Vec<Hit> = (0..12)
            .map(|number| {
                let place = random.random_range(0..4);
                let rule = ["p/a", "p/b", "p/x", "p/c"][place];
                Hit {
                    detection: Arc::new(found(random.random_range(0..20), rule, &number.to_string())),
                    steps: 1 << place,
                }
            })
            .collect();
        hits.sort_by(|a, b| a.order().cmp(&b.order()));
        let second = |hit: &Hit| hit.time() / SECOND;
        for at in 0..hits.len() {
            let of = |bit: u32| hits.iter().filter(move |hit| hit.steps == 1 << bit).map(second);
            let end = second(&hits[at]);
            let exists = hits[at].steps == 1 << 3
                && of(0).any(|a| {
                    of(1).any(|b| {
                        a >= end - 12
                            && (a + 2..=a + 6).contains(&b)
                            && b <= end
                            && !of(2).any(|x| (b..=end).contains(&x))
                    })
                });
            let found = judge(&plan, &hits, at);
            assert_eq!(found.is_some(), exists, "seed {seed}, at {at}");
            found_some += usize::from(exists);
        }
    }
    assert!(found_some > 50, "{found_some}");
}

#[test]
fn what_is_kept_is_bounded_and_what_is_let_go_is_counted() {
    let mut sequences = Sequences::new(set(&steps("within = \"1h\"", &[A, B])), BTreeMap::new());
    for batch in 0..40 {
        let batch: Vec<Detection> = (0..1_000)
            .map(|number| found(batch, "p/a", &format!("{batch}-{number}")))
            .collect();
        sequences.add(&batch);
    }
    let tenant = &sequences.tenants["default"];
    assert!(
        tenant.bytes <= TENANT_BYTES_MAX && tenant.kept.len() < 40_000,
        "{}",
        tenant.bytes
    );
    assert_eq!(sequences.figures().evicted as usize + tenant.kept.len(), 40_000);
    assert_eq!(
        tenant.hits.len(),
        tenant.kept.len(),
        "nothing is left of those that went"
    );
    assert_eq!(tenant.due[&0].len(), tenant.kept.len());
    let many: Vec<Detection> = (0..3_000)
        .map(|number| Detection {
            detection_id: format!("{number:05}"),
            ..found(50, "p/a", "ann")
        })
        .collect();
    sequences.add(&many);
    let of_ann = &sequences.tenants["default"].hits[&(0, vec!["ann".into()])];
    assert_eq!(of_ann.len(), HITS_MAX);
    // When all time has passed nothing is held, in memory or in the state.
    sequences.save();
    sequences.finish();
    assert!(sequences.tenants["default"].kept.is_empty() && sequences.tenants["default"].hits.is_empty());
    assert!(
        sequences
            .save()
            .iter()
            .all(|(name, text)| name == PROGRESS || text.is_empty())
    );
}

#[test]
fn other_sequences_take_over_what_they_need_and_are_judged_from_there_on() {
    let mut sequences = Sequences::new(set(&steps("within = \"100s\"", &[A, B])), BTreeMap::new());
    sequences.add(&[found(0, "p/a", "ann"), found(1, "p/b", "bob"), found(2, "p/c", "ann")]);
    let at = |second: i64| BTreeMap::from([("gateway".to_owned(), second * SECOND)]);
    assert_eq!(sequences.advance(&at(5), None), []);
    let longer = steps("within = \"200s\"", &[A, C]).replace("name = \"s\"", "name = \"new\"");
    sequences.replace(set(&longer));
    assert_eq!(
        sequences.tenants["default"].kept.len(),
        1,
        "what nobody wants is let go of"
    );
    sequences.add(&[found(150, "p/c", "ann")]);
    let told = sequences.advance(&at(150), None);
    assert_eq!(told.iter().map(|told| told.rule.as_str()).collect::<Vec<_>>(), ["new"]);
    sequences.replace(SequenceSet::default());
    sequences.add(&[found(160, "p/c", "ann")]);
    assert!(sequences.tenants["default"].kept.is_empty());
}

#[test]
fn state_that_cannot_be_read_is_counted_and_what_sequences_tell_is_not_read_by_them() {
    let mut sequences = Sequences::new(set(&steps("within = \"100s\"", &[A, B])), BTreeMap::new());
    let state = BTreeMap::from([(PROGRESS.to_owned(), "no".into()), (format!("{HOURS}1"), "[{}]".into())]);
    sequences.restore(&state);
    assert_eq!(sequences.figures().lost, 2);
    let mut own = found(0, "p/a", "ann");
    own.plugin = SEQUENCE.into();
    assert_eq!(sequences.add(&[own]), []);
    assert_eq!(sequences.figures().seen, 0);
}

#[test]
fn what_other_sequences_do_not_need_after_a_start_goes_from_the_state_too() {
    let text = |within: &str| set(&steps(&format!("within = \"{within}\""), &[A, B]));
    let mut sequences = Sequences::new(text("100s"), BTreeMap::new());
    sequences.add(&[found(0, "p/a", "ann")]);
    sequences.advance(&BTreeMap::from([("gateway".to_owned(), 90 * SECOND)]), None);
    let state = sequences.save();
    let hour = format!("{HOURS}0");
    assert!(!state[&hour].is_empty());
    let mut shorter = Sequences::new(text("10s"), BTreeMap::new());
    shorter.restore(&state);
    assert!(shorter.save()[&hour].is_empty());
    let mut same = Sequences::new(text("100s"), BTreeMap::new());
    same.restore(&state);
    assert_eq!(same.save().get(&hour), None);
    same.add(&[found(95, "p/b", "ann")]);
    assert_eq!(same.finish().len(), 1);
}

/// The kinds of correlation that Sigma has.
#[test]
fn sigma_correlations_can_be_said() {
    let five = format!("{A}\ncount = 3");
    let event_count = steps("within = \"5m\"", &[&five]);
    assert_eq!(told(&event_count, &[(0, "p/a"), (1, "p/a"), (2, "p/a")]), [2]);
    assert_eq!(told(&event_count, &[(0, "p/a"), (1, "p/a"), (400, "p/a")]), NONE);
    let temporal = steps("within = \"5m\"\nordered = false", &[A, B, C]);
    assert_eq!(told(&temporal, &[(0, "p/c"), (1, "p/a"), (2, "p/b")]), [2]);
    let temporal_ordered = steps("within = \"5m\"", &[A, B, C]);
    assert_eq!(told(&temporal_ordered, &[(0, "p/c"), (1, "p/a"), (2, "p/b")]), NONE);
    assert_eq!(told(&temporal_ordered, &[(0, "p/a"), (1, "p/b"), (2, "p/c")]), [2]);
    assert_eq!(5 * MINUTE, Plan::new(&set(&temporal).sequences["s"]).within);
}

#[test]
fn own_files_replace_what_is_shipped_and_names_are_unique_among_them() {
    let dir = tempfile::tempdir().expect("scratch");
    let own = steps("within = \"1h\"", &[A, B]).replace("name = \"s\"", "name = \"persistent-jailbreak\"");
    std::fs::write(dir.path().join("a.toml"), &own).expect("written");
    let shipped = load_sequences(None, true).expect("valid");
    let both = load_sequences(Some(dir.path()), true).expect("valid");
    assert_eq!(both.sequences.len(), shipped.sequences.len());
    assert_eq!(both.sequences["persistent-jailbreak"].title, "S");
    assert_ne!(both.digest, shipped.digest);
    assert_eq!(
        load_sequences(Some(dir.path()), false).expect("valid").sequences.len(),
        1
    );
    assert_eq!(load_sequences(None, false).expect("valid"), SequenceSet::default());
    std::fs::write(dir.path().join("b.toml"), &own).expect("written");
    let error = load_sequences(Some(dir.path()), true).expect_err("twice").to_string();
    assert!(
        error.contains("b.toml") && error.contains("a.toml") && error.contains("its own name"),
        "{error}"
    );
    let error = load_sequences(Some(&dir.path().join("none")), true)
        .expect_err("none")
        .to_string();
    assert!(error.starts_with("[sequences] dir:"), "{error}");
}

#[test]
fn mistakes_name_their_place_and_what_would_be_valid() {
    let cases: &[(String, &str)] = &[
        (steps("within = \"8d\"", &[A]), "within: 8 days; valid is up to 7"),
        (
            steps("within = \"1h\"", &["name = \"a\""]),
            "it is every detection; valid is at least one of `rules`",
        ),
        (
            steps("within = \"1h\"", &[&format!("{A}\nby = \"nobody\"")]),
            "`nobody` is no kind of entity; valid are",
        ),
        (
            steps("within = \"1h\"", &[&format!("{A}\nby = \"owner/principal\"")]),
            "`owner` is no role; valid are actor",
        ),
        (
            steps("within = \"1h\"", &[&format!("{A}\nby = [\"principal\", \"address\"]")]),
            "by: 2 of it, and 1",
        ),
        (
            steps("within = \"1h\"", &[&format!("{A}\ncount = 0")]),
            "count = 0: valid are 1 to 1000",
        ),
        (
            steps("within = \"1h\"", &[&format!("{A}\nabsent = true")]),
            "all steps are absent",
        ),
        (
            steps("within = \"1h\"", &[A, &format!("{B}\nabsent = true\ncount = 2")]),
            "what is not there has no `count`",
        ),
        (
            steps("within = \"1h\"", &[&format!("{A}\nafter = \"1s\"")]),
            "after: no step that is there comes before it",
        ),
        (
            steps(
                "within = \"1h\"",
                &[A, &format!("{B}\nafter = \"2s\"\nwithin = \"1s\"")],
            ),
            "shorter than `after`",
        ),
        (
            steps(
                "within = \"1h\"",
                &[A, &format!("{B}\nabsent = true\nwithin = \"1s\""), C],
            ),
            "from the step before to",
        ),
        (
            steps(
                "within = \"1h\"\nordered = false",
                &[A, &format!("{B}\nwithin = \"1s\"")],
            ),
            "steps in any order",
        ),
        (
            steps("within = \"1h\"", &["name = \"a\"\nrules = [\"sequence/x\"]"]),
            "is what sequences tell",
        ),
        (
            steps("within = \"1h\"", &[&format!("{A}\nlayers = [\"moon\"]")]),
            "`moon` is no layer; valid are gateway",
        ),
        (
            steps("within = \"1h\"", &[&format!("{A}\nmatch = {{ message = \"x\" }}")]),
            "messages are not compared",
        ),
        (steps("within = \"1h\"", &[]), "step"),
        (steps("within = \"soon\"", &[A]), "`soon` is no length of time"),
        (steps("within = \"1h\"\nwindow = 1", &[A]), "window"),
        (
            steps("within = \"1h\"", &[A]) + &steps("within = \"1h\"", &[A]),
            "this name stands twice",
        ),
    ];
    for (text, expected) in cases {
        let error = parse_sequences(text, "s.toml").expect_err(text).to_string();
        assert!(
            error.starts_with("s.toml") && error.contains(expected),
            "{error}\nexpected: {expected}"
        );
    }
    let text = steps("within = \"1h\"", &[A, &format!("{B}\ncount = 0")]);
    let error = parse_sequences(&text, "s.toml").expect_err("wrong").to_string();
    assert_eq!(
        error,
        "s.toml:13:9: [[sequence]] name = \"s\": [[sequence.step]] name = \"b\": count = 0: valid are 1 to 1000"
    );
}
