use super::page::page;
use super::*;
use crate::cli::terminal::Look;
use std::collections::HashMap;

use crate::model::{Entity, IncidentStatus, RoledEntity, ScorePart, Severity};

const PLAIN: Look = Look {
    width: None,
    colour: false,
};

/// What a log may hold for those who read terminals.
pub fn hostile() -> &'static str {
    "x\n  incident    forged\r\u{1b}[2J\u{7}\u{9b}\u{202e}\"\\"
}

const DAY: Micros = 86_400_000_000;
/// 2026-03-02T08:42:04Z
const START: Micros = 1_772_440_924_000_000;

fn detection(id: &str, time: Micros, severity: Severity, technique: &str, text: &str) -> Detection {
    let roled = |role, kind: &str| RoledEntity {
        role,
        entity: Entity::new(kind, text),
    };
    Detection {
        detection_id: id.into(),
        tenant: "acme".into(),
        time,
        plugin: "p".into(),
        plugin_version: "1".into(),
        rule: format!("r-{id}"),
        severity,
        title: format!("{id} {text}"),
        message: text.into(),
        techniques: vec![technique.into()],
        entities: vec![
            roled(EntityRole::Actor, "principal"),
            roled(EntityRole::Target, "model"),
            roled(EntityRole::Context, "address"),
        ],
        event_ids: vec!["e".into()],
        layer: "gateway".into(),
        action: text.into(),
        late: false,
    }
}

/// Two findings and what joins them; every text that comes from logs is `text`.
pub fn facts(text: &str) -> Facts {
    let detections = vec![
        detection("d1", START, Severity::Low, "AML.T0040", text),
        detection("d2", START + 95_000_000, Severity::High, "AML.T0051.000", text),
    ];
    let step = |step: u32, detection: Option<&Detection>, why: &str| PathStep {
        step,
        time: START + i64::from(step - 1) * 47_000_000,
        from_entity: format!("principal:{text}"),
        to_entity: format!("model:{text}"),
        action: detection.map_or("issued".into(), |found| found.action.clone()),
        technique: detection.map(|found| found.techniques.join(", ")),
        detection_id: detection.map(|found| found.detection_id.clone()),
        why: match detection {
            Some(found) => format!("{}: {}; {why}", found.title, found.message),
            None => why.to_owned(),
        },
    };
    let path = vec![
        step(1, detections.first(), "the first finding"),
        step(2, None, "joins \"d2\" to the rest"),
        step(3, detections.last(), &format!("same address:{text} as \"d1\"")),
    ];
    let note = BTreeSet::from([text.to_owned()]);
    Facts {
        incident: Incident {
            tenant: "acme".into(),
            revision: 2,
            score: 62.0,
            score_parts: vec![ScorePart {
                name: "severity".into(),
                points: 50.0,
                why: text.into(),
            }],
            title: text.into(),
            first_time: START,
            last_time: START + 95_000_000,
            techniques: vec!["AML.T0040".into(), "AML.T0051.000".into()],
            layers: vec!["gateway".into()],
            path,
            ..Incident::bare("0123", &["d1", "d2"])
        },
        notes: BTreeMap::from([(format!("address:{text}"), note)]),
        advice: BTreeMap::from([("p/r-d2".to_owned(), format!("Revoke it. {text}"))]),
        doubts: vec![text.into()],
        counts: HashMap::new(),
        beside: Vec::new(),
        detections,
    }
}

fn told(facts: &Facts, look: Look) -> String {
    page(&facts.incident, &Story::of(facts), look)
}

#[test]
fn a_story_says_who_did_what_why_it_belongs_and_what_to_do() {
    let text = told(&facts("a"), PLAIN);
    for line in [
        "High, 62 of 100",
        "incident 0123, revision 2, open",
        "  2 findings within 1 min, from 2026-03-02 08:42:04 to 08:43:39 UTC, in gateway; by principal:a. It began with \
         \"d1 a\"; the worst is \"d2 a\"; it came as far as execution.",
        "  principal:a (2 findings)",
        "  address:a (2 findings): a",
        "  model:a (2 findings)",
        "  2026-03-02",
        "    1 08:42:04 d1 a",
        "               principal:a → model:a by a",
        "               AI Model Inference API Access (AML.T0040)",
        "               why: the first finding",
        "    2 08:42:51 issued",
        "               why: joins \"d2\" to the rest",
        "               why: same address:a as \"d1\"",
        "Why so severe",
        "   +50 a",
        "  Seen: AI model access and execution.",
        "  - d2 a: Revoke it. a",
        "  - a",
    ] {
        assert!(text.lines().any(|held| held == line), "`{line}` is not in\n{text}");
    }
    assert!(
        text.contains("Later in an attack, and not seen: persistence, "),
        "{text}"
    );
    assert!(
        text.contains("AML.M0020 Generative AI Guardrails, for AML.T0051.000"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn what_came_from_logs_forges_no_lines_and_steers_nobody() {
    let colour = Look {
        width: None,
        colour: true,
    };
    for look in [PLAIN, colour] {
        let text = told(&facts(hostile()), look);
        assert_eq!(text.lines().count(), told(&facts("x"), look).lines().count(), "{text}");
        let painted = ["\u{1b}[1m", "\u{1b}[1;31m", "\u{1b}[0m"];
        let own = painted.iter().fold(text, |text, code| text.replace(code, ""));
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!own.contains(steers), "{own:?}");
    }
}

#[test]
fn lines_are_as_wide_as_the_terminal_and_lose_no_word() {
    let facts = facts("several words that do not fit into one line of a narrow terminal, whatever stands before them");
    let narrow = Look {
        width: Some(60),
        colour: false,
    };
    let text = told(&facts, narrow);
    // The title and the id stand as they are.
    let long = text.lines().skip(1).find(|line| line.chars().count() > 60);
    assert_eq!(long, None, "{text}");
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&text), words(&told(&facts, PLAIN)));
}

#[test]
fn a_long_path_shows_its_beginning_and_its_end() {
    let mut facts = facts("a");
    let step = facts.incident.path[1].clone();
    facts.incident.path = (1..=200)
        .map(|number| PathStep {
            step: number,
            time: START + i64::from(number) * DAY,
            ..step.clone()
        })
        .collect();
    facts.incident.path[199].why = "a; 17 more steps are not shown".into();
    let text = told(&facts, PLAIN);
    for shown in [
        "   20 08:42:04 issued",
        "  191 08:42:04 issued",
        "     … 170 steps more: SELECT * FROM attack_path('0123')",
        "  2026-03-03",
        "  - The path is cut: 17 more steps are not shown; `incident_evidence` has every finding.",
    ] {
        assert!(text.lines().any(|line| line == shown), "{shown}\n{text}");
    }
    assert!(!text.contains("\n   21 ") && !text.contains("\n  190 "), "{text}");
}

#[test]
fn what_is_not_known_is_said() {
    let mut facts = facts("a");
    facts.doubts.clear();
    assert!(Story::of(&facts).not_known.is_empty());
    facts.detections[0].late = true;
    facts.incident.status = IncidentStatus::Merged;
    facts.incident.merged_into = Some("4567".into());
    let doubts = Story::of(&facts).not_known;
    assert_eq!(doubts.len(), 2, "{doubts:?}");
    assert!(doubts[0].contains("4567") && doubts[1].contains("late"), "{doubts:?}");
    assert!(told(&facts, PLAIN).contains("merged into 4567\n"));
}

#[test]
fn phases_that_follow_are_those_behind_the_furthest_that_were_not_seen() {
    // A technique of one phase shows it, wherever it came; one of several does not.
    let (seen, next) = phases(&[3, 10], &["AML.T0024".into(), "AML.T0012".into()]);
    assert_eq!(seen, ["initial access", "credential access", "exfiltration"]);
    assert_eq!(next.first(), Some(&"discovery"));
    assert_eq!(next.last(), Some(&"impact"));
    assert!(!next.contains(&"exfiltration"));
    assert_eq!(phases(&[17], &[]).1, Vec::<&str>::new());
    assert_eq!(phases(&[], &[]), (Vec::new(), Vec::new()));
}

#[test]
fn durations_are_said_in_what_matters() {
    for (micros, said) in [
        (1, "a second"),
        (59_999_999, "59 s"),
        (3_599_000_000, "59 min"),
        (3_661_000_000, "1 h 1 min"),
        (2 * DAY + 3_600_000_000, "2 d 1 h"),
    ] {
        assert_eq!(duration(micros), said);
    }
}
