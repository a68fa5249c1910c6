//! Panther's correlation rules as sequences. Their language is put into ours by the meaning of its words, without a word about any one
//! rule, and what each of their cases expects is what the sequence must do.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, NaiveDateTime};
use serde_json::Value;

use super::super::*;
use crate::config::parse_sequences;
use crate::model::time::{MINUTE, SECOND};
use crate::model::{EntityRole, EventSchema, RoledEntity, Severity};

const FILE: &str = "../../shared/data/panther/panther_correlation_tests.ndjson";

/// Of a rule that does not say how far it looks back.
const LOOKBACK_MINUTES: u64 = 15;

#[test]
fn panther_correlation_rules_hold_as_sequences() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let Ok(text) = std::fs::read_to_string(path) else {
        eprintln!("skipped: ../shared/data is absent");
        return;
    };
    let mut wrong = Vec::new();
    let mut cases = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let (sequence, fields) = declared(&case);
        let parsed = match parse_sequences(&sequence, "panther.toml") {
            Ok(parsed) => parsed,
            Err(error) => panic!("{}: {error}\n{sequence}", case["rule_id"]),
        };
        let set = SequenceSet {
            sequences: parsed.into_iter().map(|held| (held.name.clone(), held)).collect(),
            digest: String::new(),
        };
        let mut sequences = Sequences::new(set, BTreeMap::new());
        let mut told = sequences.add(&detections(&case, &fields));
        told.extend(sequences.finish());
        cases += 1;
        if Some(!told.is_empty()) != case["expected"].as_bool() {
            wrong.push(format!("{} / {}: {} told", case["rule_id"], case["test"], told.len()));
        }
    }
    assert!(wrong.is_empty() && cases > 0, "of {cases}:\n{}", wrong.join("\n"));
    eprintln!("{cases} cases of Panther's correlation rules, all as expected");
}

/// Per step and field, the place of its value in the key.
type Fields = BTreeMap<(String, String), usize>;

fn texts(value: &Value) -> Vec<&Value> {
    value.as_array().into_iter().flatten().collect()
}

/// The sequence that a rule is, in our language.
fn declared(case: &Value) -> (String, Fields) {
    let rule = &case["detection"][0];
    let ordered = rule.get("Sequence").is_some();
    let mut fields = Fields::new();
    let mut parts = 0;
    for (place, (_, criterion)) in rule["MatchCriteria"].as_object().into_iter().flatten().enumerate() {
        for of_step in texts(criterion) {
            fields.insert((text(&of_step["GroupID"]), text(&of_step["Match"])), place);
        }
        parts = parts.max(place + 1);
    }
    // Time since the step before, by step.
    let mut within: BTreeMap<String, u64> = BTreeMap::new();
    for transition in texts(&rule["Transitions"]) {
        let (from, to) = (text(&transition["From"]), text(&transition["To"]));
        for (place, matching) in texts(&transition["Match"]).into_iter().enumerate() {
            // YAML reads the key `On` as true.
            let both = matching.get("On").or_else(|| matching.get("True"));
            for (step, key) in [(&from, "From"), (&to, "To")] {
                let field = both.unwrap_or(&matching[key]);
                fields.insert((step.clone(), text(field)), place);
            }
            parts = parts.max(place + 1);
        }
        if let Some(minutes) = transition["WithinTimeFrameMinutes"].as_u64() {
            // Of an absent first step it is how far back that is asked for.
            let absent = is_absent(rule, &from) && from == text(&rule["Sequence"][0]["ID"]);
            within.insert(if absent { from } else { to }, minutes);
        }
    }
    let steps = if ordered {
        texts(&rule["Sequence"])
    } else {
        texts(&rule["Group"])
    };
    let lookback = rule["LookbackWindowMinutes"].as_u64().unwrap_or(LOOKBACK_MINUTES);
    let by: Vec<String> = (0..parts).map(|place| format!("{:?}", kind(place))).collect();
    let mut sequence = format!(
        "[[sequence]]\nname = \"s\"\ntitle = \"S\"\nseverity = \"high\"\nby = [{}]\nwithin = \"{lookback}m\"\nordered = {ordered}\n",
        by.join(", ")
    );
    for (number, step) in steps.iter().enumerate() {
        let id = text(&step["ID"]);
        sequence += &format!(
            "[[sequence.step]]\nname = {id:?}\nrules = [{:?}]\n",
            format!("panther/{}", text(&step["RuleID"]))
        );
        if let Some(count) = step["MinMatchCount"].as_u64() {
            sequence += &format!("count = {count}\n");
        }
        let absent = step["Absence"].as_bool().unwrap_or(false);
        if absent {
            sequence += "absent = true\n";
        }
        let is_between = number > 0 && number + 1 < steps.len();
        if let Some(minutes) = within.get(&id).filter(|_| !(absent && is_between)) {
            sequence += &format!("within = \"{minutes}m\"\n");
        }
    }
    (sequence, fields)
}

fn is_absent(rule: &Value, id: &str) -> bool {
    let steps = texts(&rule["Sequence"]);
    steps.iter().any(|step| step["ID"] == id && step["Absence"] == true)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A kind of entity for each place in a key; which one does not matter.
fn kind(place: usize) -> String {
    let kinds = EventSchema::get().entity_kinds();
    kinds.into_iter().nth(place).expect("as many kinds").to_owned()
}

/// The detections of a case.
fn detections(case: &Value, fields: &Fields) -> Vec<Detection> {
    let mut detections = Vec::new();
    let rule = &case["detection"][0];
    let steps: Vec<&Value> = texts(&rule["Sequence"])
        .into_iter()
        .chain(texts(&rule["Group"]))
        .collect();
    for output in texts(&case["rule_outputs"]) {
        let id = text(&output["ID"]);
        let step = steps.iter().find(|step| step["ID"] == *id).expect("a step of the rule");
        // What has several values has them at the same time.
        let mut at: BTreeMap<(Micros, usize), Vec<(usize, String)>> = BTreeMap::new();
        let mut number = 0;
        let matches = output["Matches"].as_object().into_iter().flatten();
        let matches: Vec<(&String, &Value)> = matches.collect();
        for (field, values) in &matches {
            let place = fields.get(&(id.clone(), (*field).clone())).copied();
            // Of what is matched nowhere only the time counts.
            if place.is_none() && !fields.is_empty() {
                continue;
            }
            for (value, times) in values.as_object().into_iter().flatten() {
                for time in texts(times) {
                    number += 1;
                    let own = if matches.len() == 1 { number } else { 0 };
                    at.entry((time_of(time), own))
                        .or_default()
                        .extend(place.map(|place| (place, value.clone())));
                }
            }
        }
        for ((time, own), values) in at {
            let entity = |(place, value): &(usize, String)| RoledEntity {
                role: EntityRole::Context,
                entity: Entity::new(&kind(*place), value),
            };
            let rule = text(&step["RuleID"]);
            let event = format!("{id} {time} {own}");
            detections.push(Detection {
                detection_id: Detection::id_of("default", "panther", &rule, &[&event]).to_string(),
                tenant: "default".into(),
                time,
                plugin: "panther".into(),
                plugin_version: String::new(),
                rule,
                severity: Severity::Medium,
                title: String::new(),
                message: String::new(),
                techniques: Vec::new(),
                entities: values.iter().map(entity).collect(),
                event_ids: vec![event],
                layer: "cloud".into(),
                action: String::new(),
                late: false,
            });
        }
    }
    detections
}

/// Minutes, or a moment.
fn time_of(value: &Value) -> Micros {
    match value {
        Value::String(text) => match DateTime::parse_from_rfc3339(text) {
            Ok(moment) => moment.timestamp_micros(),
            // Without a zone it is UTC.
            Err(_) => {
                let moment = text.replace(' ', "T").parse::<NaiveDateTime>();
                moment.expect("a time").and_utc().timestamp_micros()
            }
        },
        minutes => (minutes.as_f64().expect("minutes") * (MINUTE / SECOND) as f64) as Micros * SECOND,
    }
}
