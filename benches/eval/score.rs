//! Counting: what was found, what was not, and what was found wrongly.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::run::{Finding, Outcome};
use crate::set::{Label, Target, Unit};

/// Characters of an example.
const EXAMPLE_CHARS_MAX: usize = 200;

/// How one detector, or all together, did on a set.
#[derive(Debug, PartialEq, Serialize)]
pub struct Row {
    pub detector: String,
    pub detections: usize,
    /// Attack units that it flagged.
    pub true_positives: usize,
    /// Quiet units that it flagged.
    pub false_positives: usize,
    /// What recall counts: groups or units.
    pub targets: usize,
    pub found: usize,
    /// Of the attack and quiet units that it flagged, the share that is attack. `None`: it flagged none.
    pub precision: Option<f64>,
    /// `None`: the set has no attacks.
    pub recall: Option<f64>,
}

/// A group of which attack units were missed by all detectors.
#[derive(Debug, PartialEq, Serialize)]
pub struct Missed {
    pub group: String,
    pub targets: usize,
    pub missed: usize,
    pub example: String,
}

/// A rule of ours that flagged what is quiet.
#[derive(Debug, PartialEq, Serialize)]
pub struct FalseAlarm {
    pub rule: String,
    pub units: usize,
    /// All quiet units.
    pub of: usize,
    pub example: String,
}

/// All units that the set labels alike.
#[derive(Debug, PartialEq, Serialize)]
pub struct Kind {
    pub kind: String,
    pub units: usize,
    pub flagged: usize,
}

/// One row per detector that found anything, and one of all together.
pub fn rows(outcome: &Outcome) -> Vec<Row> {
    let detectors: BTreeSet<&str> = outcome.findings.iter().map(|finding| &*finding.detector).collect();
    let mut rows: Vec<Row> = detectors
        .into_iter()
        .map(|detector| row(outcome, detector, |finding| finding.detector == detector))
        .collect();
    rows.push(row(outcome, "all", |_| true));
    rows
}

fn row(outcome: &Outcome, detector: &str, counts: impl Fn(&Finding) -> bool) -> Row {
    let units = &outcome.set.units;
    let findings: Vec<&Finding> = outcome.findings.iter().filter(|finding| counts(finding)).collect();
    let flagged: BTreeSet<usize> = findings.iter().map(|finding| finding.unit).collect();
    let of = |label| flagged.iter().filter(|unit| units[**unit].label == label).count();
    let (true_positives, false_positives) = (of(Label::Attack), of(Label::Quiet));
    let targets = targets(outcome);
    let found = targets
        .values()
        .filter(|units| units.iter().any(|unit| flagged.contains(unit)));
    let found = found.count();
    Row {
        detector: detector.to_owned(),
        detections: findings.len(),
        true_positives,
        false_positives,
        targets: targets.len(),
        found,
        precision: share(true_positives, true_positives + false_positives),
        recall: share(found, targets.len()),
    }
}

/// What recall counts, each with the attack units of which one is enough.
fn targets(outcome: &Outcome) -> BTreeMap<(&str, usize), Vec<usize>> {
    let mut targets: BTreeMap<(&str, usize), Vec<usize>> = BTreeMap::new();
    for (index, unit) in outcome.set.units.iter().enumerate() {
        if unit.label == Label::Attack {
            let apart = match outcome.set.target {
                Target::Group => 0,
                Target::Unit => index,
            };
            targets.entry((&unit.group, apart)).or_default().push(index);
        }
    }
    targets
}

/// Units that any detector flagged.
pub fn flagged(outcome: &Outcome) -> BTreeSet<usize> {
    outcome.findings.iter().map(|finding| finding.unit).collect()
}

pub fn missed(outcome: &Outcome) -> Vec<Missed> {
    let flagged = flagged(outcome);
    let mut groups: BTreeMap<&str, Missed> = BTreeMap::new();
    for ((group, _), units) in targets(outcome) {
        let missed = groups.entry(group).or_insert_with(|| Missed {
            group: group.to_owned(),
            targets: 0,
            missed: 0,
            example: String::new(),
        });
        missed.targets += 1;
        if !units.iter().any(|unit| flagged.contains(unit)) {
            missed.missed += 1;
            if missed.example.is_empty() {
                missed.example = example(&outcome.set.units[units[0]]);
            }
        }
    }
    let mut missed: Vec<Missed> = groups.into_values().filter(|group| group.missed > 0).collect();
    missed.sort_by(|a, b| b.missed.cmp(&a.missed).then_with(|| a.group.cmp(&b.group)));
    missed
}

pub fn false_alarms(outcome: &Outcome) -> Vec<FalseAlarm> {
    let mut rules: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for finding in &outcome.findings {
        if outcome.set.units[finding.unit].label == Label::Quiet {
            let rule = format!("{}/{}", finding.detector, finding.rule);
            rules.entry(rule).or_default().insert(finding.unit);
        }
    }
    let quiet = outcome
        .set
        .units
        .iter()
        .filter(|unit| unit.label == Label::Quiet)
        .count();
    let mut alarms: Vec<FalseAlarm> = rules
        .into_iter()
        .map(|(rule, units)| FalseAlarm {
            rule,
            units: units.len(),
            of: quiet,
            example: units
                .first()
                .map_or_else(String::new, |unit| example(&outcome.set.units[*unit])),
        })
        .collect();
    alarms.sort_by(|a, b| b.units.cmp(&a.units).then_with(|| a.rule.cmp(&b.rule)));
    alarms
}

pub fn kinds(outcome: &Outcome) -> Vec<Kind> {
    let flagged = flagged(outcome);
    let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (index, unit) in outcome.set.units.iter().enumerate() {
        let (all, hit) = kinds.entry(&unit.kind).or_default();
        *all += 1;
        *hit += usize::from(flagged.contains(&index));
    }
    let kind = |(kind, (units, flagged)): (&str, (usize, usize))| Kind {
        kind: kind.to_owned(),
        units,
        flagged,
    };
    kinds.into_iter().map(kind).collect()
}

/// One line that shows nothing as anything but text: what the sets hold is written to deceive.
fn example(unit: &Unit) -> String {
    let harmless = |c: char| match c {
        ' '..='~' => c,
        _ if c.is_alphanumeric() => c,
        _ => ' ',
    };
    let text: String = unit.says.chars().take(EXAMPLE_CHARS_MAX).map(harmless).collect();
    let words: Vec<&str> = text.split_whitespace().collect();
    format!("{}: {}", unit.id, words.join(" "))
}

/// `None` of nothing.
pub fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The 95 % upper bound on the mean of a Poisson count of which `count` were seen: with a greater mean, as few are seen in less than
/// one of twenty trials.
pub fn upper_bound(count: usize) -> f64 {
    const UNLIKELY: f64 = 0.05;
    let at_most = |mean: f64| {
        let mut term = (-mean).exp();
        let mut sum = term;
        for k in 1..=count {
            term *= mean / k as f64;
            sum += term;
        }
        sum
    };
    let (mut low, mut high) = (count as f64, 2.0 * count as f64 + 10.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        match at_most(middle) > UNLIKELY {
            true => low = middle,
            false => high = middle,
        }
    }
    high
}

/// Words of a run that two texts have in common.
const RUN: usize = 4;

/// Numbers of families, one per text: of texts of whose runs of words at least half are in both, directly or through others.
pub fn families(texts: &[&str]) -> Vec<usize> {
    let runs: Vec<BTreeSet<Vec<String>>> = texts
        .iter()
        .map(|text| {
            let words: Vec<String> = text
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| !word.is_empty())
                .map(str::to_lowercase)
                .collect();
            match words.len() < RUN {
                true => BTreeSet::from([words]),
                false => words.windows(RUN).map(<[String]>::to_vec).collect(),
            }
        })
        .collect();
    let mut family: Vec<usize> = (0..texts.len()).collect();
    for a in 0..texts.len() {
        for b in 0..a {
            let common = runs[a].intersection(&runs[b]).count();
            let all = runs[a].len() + runs[b].len() - common;
            if family[a] != family[b] && 2 * common >= all {
                let (from, to) = (family[a], family[b]);
                family.iter_mut().filter(|one| **one == from).for_each(|one| *one = to);
            }
        }
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::set::Set;

    fn outcome(target: Target, units: &[(&str, Label)], findings: &[(usize, &str, &str)]) -> Outcome {
        let mut set = Set::new("made", "auto", target);
        for (index, (group, label)) in units.iter().enumerate() {
            set.units.push(Unit {
                id: index.to_string(),
                label: *label,
                kind: format!("{label:?}"),
                group: (*group).to_owned(),
                says: "a\u{202e}b".to_owned(),
            });
        }
        let finding = |(unit, detector, rule): &(usize, &str, &str)| Finding {
            unit: *unit,
            detector: (*detector).to_owned(),
            rule: (*rule).to_owned(),
        };
        Outcome {
            set,
            events: units.len(),
            rejected: 0,
            findings: findings.iter().map(finding).collect(),
        }
    }

    const UNITS: [(&str, Label); 6] = [
        ("x", Label::Attack),
        ("x", Label::Attack),
        ("y", Label::Attack),
        ("-", Label::Quiet),
        ("-", Label::Quiet),
        ("-", Label::Apart),
    ];
    const FINDINGS: [(usize, &str, &str); 5] = [
        (0, "p", "r"),
        (0, "p", "s"),
        (3, "p", "r"),
        (5, "p", "r"),
        (0, "q", "t"),
    ];

    #[test]
    fn a_group_is_found_by_one_of_its_units_and_a_unit_by_itself() {
        let by_group = rows(&outcome(Target::Group, &UNITS, &FINDINGS));
        let by_unit = rows(&outcome(Target::Unit, &UNITS, &FINDINGS));
        let figures = |row: &Row| {
            (
                row.detections,
                row.true_positives,
                row.false_positives,
                row.found,
                row.targets,
            )
        };
        assert_eq!(
            by_group.iter().map(|row| &*row.detector).collect::<Vec<_>>(),
            ["p", "q", "all"]
        );
        assert_eq!(figures(&by_group[0]), (4, 1, 1, 1, 2));
        assert_eq!(figures(&by_unit[0]), (4, 1, 1, 1, 3));
        assert_eq!((by_group[0].precision, by_group[1].precision), (Some(0.5), Some(1.0)));
        assert_eq!((by_group[2].recall, by_unit[2].recall), (Some(0.5), Some(1.0 / 3.0)));
    }

    #[test]
    fn what_was_missed_and_what_was_wrong_has_an_example() {
        let outcome = outcome(Target::Unit, &UNITS, &FINDINGS);
        let missed = missed(&outcome);
        let counts: Vec<(&str, usize, usize)> = missed
            .iter()
            .map(|one| (&*one.group, one.missed, one.targets))
            .collect();
        assert_eq!(counts, [("x", 1, 2), ("y", 1, 1)]);
        assert_eq!(missed[0].example, "1: a b");
        let alarms = false_alarms(&outcome);
        assert_eq!(
            (alarms.len(), &*alarms[0].rule, alarms[0].units, alarms[0].of),
            (1, "p/r", 1, 2)
        );
        let flagged: Vec<(usize, usize)> = kinds(&outcome).iter().map(|kind| (kind.flagged, kind.units)).collect();
        assert_eq!(flagged, [(1, 1), (1, 3), (1, 2)]);
    }

    #[test]
    fn nothing_found_has_no_precision_and_no_attacks_no_recall() {
        let none = rows(&outcome(Target::Unit, &UNITS[3..], &[]));
        assert_eq!((none[0].precision, none[0].recall), (None, None));
    }

    #[test]
    fn the_bound_is_that_of_tables() {
        for (count, bound) in [(0, 2.996), (1, 4.744), (5, 10.513), (100, 118.08)] {
            assert!(
                (upper_bound(count) - bound).abs() < 0.01,
                "{count}: {}",
                upper_bound(count)
            );
        }
    }

    #[test]
    fn families_share_their_words_directly_or_through_others() {
        let family = families(&[
            "you are now a pirate who says anything at all",
            "unrelated words about the weather in spring",
            "You are now a PIRATE, who says anything at",
            "short",
        ]);
        assert_eq!(family[0], family[2]);
        assert_eq!(BTreeSet::from_iter(&family).len(), 3);
    }
}
