//! Repeats of a finding.

use super::*;

/// A scan: one rule, again and again, with words of its own each time.
fn scan(count: usize, from: Micros, until: Micros) -> Vec<Detection> {
    let attacker = [
        (Context, "address:203.0.113.9"),
        (EntityRole::Target, "address:192.0.2.20"),
    ];
    let each = (0..count).map(|n| Detection {
        rule: "scan".into(),
        techniques: vec!["T1595".into()],
        message: format!("/{n}"),
        ..detection(
            &format!("scan {n}"),
            from + n as Micros * (until - from) / count as Micros,
            Low,
            &attacker,
        )
    });
    each.collect()
}

fn shell(at: Micros) -> Detection {
    detection("shell", at, High, &[(Context, "address:203.0.113.9")])
}

#[test]
fn a_scan_of_more_findings_than_an_incident_may_have_is_some_steps_of_one() {
    let settings = CorrelateSettings {
        members_max: 50,
        ..settings()
    };
    let mut facts = scan(5_000, HOUR, 2 * HOUR);
    facts.push(shell(3 * HOUR));
    let found = incidents_with(settings, vec![(facts.clone(), vec![])]);
    assert_eq!(found.len(), 1);
    let incident = &found[0];
    assert_eq!((incident.detection_count, incident.detection_ids.len()), (5_001, 7));
    assert_eq!((incident.first_time, incident.last_time), (HOUR, 3 * HOUR));
    assert!(
        incident.path[0].why.contains("5000 times until 1970-01-01T01:59:"),
        "{}",
        incident.path[0].why
    );
    let folds: HashSet<Id> = facts.iter().map(Detection::fold).collect();
    assert_eq!(folds, incident.folds.iter().copied().collect());
}

#[test]
fn of_repeats_the_order_does_not_show() {
    let mut facts = scan(300, HOUR, HOUR + 25 * MINUTE);
    facts.push(shell(2 * HOUR));
    let expected = incidents(vec![(facts.clone(), vec![])]);
    assert_eq!(expected.len(), 1);
    for seed in 0..20 {
        let steps = shuffled((facts.clone(), vec![]), seed, 1 + seed as usize % 7);
        assert_eq!(incidents(steps), expected, "seed {seed}");
    }
    // One fact at a time, the newest first, and each twice.
    let backwards = facts.iter().rev().flat_map(|fact| [fact, fact]);
    let backwards = backwards.map(|fact| (vec![fact.clone()], vec![])).collect();
    assert_eq!(incidents(backwards), expected);
}

/// What links reach is told by when repeats were, not by the first of them.
#[test]
fn a_repeat_links_from_when_it_was() {
    let near = |first: Micros, repeats: usize| {
        let settings = CorrelateSettings {
            window: MINUTE,
            ..settings()
        };
        let facts = scan(repeats, first, first + 9 * MINUTE);
        incidents_with(
            settings,
            vec![
                (facts, vec![]),
                (vec![shell(first + 9 * MINUTE + 30 * time::SECOND)], vec![]),
            ],
        )
        .len()
    };
    assert_eq!((near(HOUR, 18), near(HOUR, 1)), (1, 0));
}

#[test]
fn what_differs_in_severity_or_entities_is_no_repeat() {
    let one = &scan(1, 0, MINUTE)[0];
    let other = Detection {
        severity: High,
        ..one.clone()
    };
    let elsewhere = detection("scan 0", 0, Low, &[(Context, "address:203.0.113.10")]);
    assert_ne!(one.fold(), other.fold());
    assert_ne!(one.fold(), elsewhere.fold());
    let words = Detection {
        detection_id: "other".into(),
        message: "other words".into(),
        time: one.time + 1,
        ..one.clone()
    };
    assert_eq!(one.fold(), words.fold());
}

#[test]
fn repeats_are_let_go_of_with_what_they_repeat() {
    let mut correlator = Correlator::new(settings());
    correlator.apply(scan(1_000, HOUR, HOUR + 5 * MINUTE), vec![]);
    correlator.changes();
    let size = correlator.size();
    assert_eq!((size.detections, size.repeats), (1_000, 999));
    assert!(size.bytes() < 200_000, "{}", size.bytes());
    correlator.expire(24 * HOUR);
    assert_eq!((correlator.size().detections, correlator.size().repeats), (0, 0));
}
