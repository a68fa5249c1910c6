//! CloudTrail: staged attacks among administration (invictus), detonations alone (stratus), calls without a label (traildiscover).

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::set::{Label, Record, Set, Target, Unit, lines, text_of};

const FORMAT: &str = "aws_cloudtrail";

/// One account's log in which everything stands together.
pub fn invictus(text: &str) -> Result<Set> {
    let mut set = Set::new("invictus", FORMAT, Target::Group);
    for (index, case) in lines(text)?.iter().enumerate() {
        let kind = text_of(case, "label").with_context(|| format!("line {}", index + 1))?;
        let label = match kind {
            "attack" => Label::Attack,
            "background" => Label::Quiet,
            _ => Label::Apart,
        };
        set.units.push(unit(case, label, kind));
        set.records.push(record(&case["event"], index, 0));
    }
    Ok(set)
}

/// Every technique is a log of its own.
pub fn stratus(text: &str) -> Result<Set> {
    let mut set = Set::new("stratus", FORMAT, Target::Group);
    let mut tenants = BTreeMap::new();
    for (index, case) in lines(text)?.iter().enumerate() {
        let technique = text_of(case, "technique").with_context(|| format!("line {}", index + 1))?;
        let next = tenants.len();
        let tenant = *tenants.entry(technique.to_owned()).or_insert(next);
        set.units.push(unit(case, Label::Attack, "detonation"));
        set.records.push(record(&case["event"], index, tenant));
    }
    Ok(set)
}

pub fn traildiscover(text: &str) -> Result<Set> {
    let mut set = Set::new("traildiscover", FORMAT, Target::Unit);
    for case in lines(text)? {
        let index = set.units.len();
        set.units.push(unit(&case, Label::Apart, "call without a label"));
        set.records.push(record(&case["event"], index, index));
    }
    Ok(set)
}

fn unit(case: &Value, label: Label, kind: &str) -> Unit {
    let event = &case["event"];
    let of = |name: &str| event[name].as_str().unwrap_or_default();
    Unit {
        id: of("eventID").to_owned(),
        label,
        kind: kind.to_owned(),
        group: case["technique"].as_str().unwrap_or(kind).to_owned(),
        says: format!("{} {}", of("eventSource"), of("eventName")),
    }
}

fn record(event: &Value, unit: usize, tenant: usize) -> Record {
    Record {
        unit,
        tenant,
        text: without_tool(event),
    }
}

/// The event without what only names the tool that staged the attacks: user agents, of all events, because one that lacks it would be
/// as telling, and the tool's name in names.
fn without_tool(event: &Value) -> String {
    let mut event = event.clone();
    if let Some(members) = event.as_object_mut() {
        members.remove("userAgent");
    }
    let text = event.to_string();
    ["stratus-red-team", "stratus", "Stratus"]
        .iter()
        .fold(text, |text, name| text.replace(name, "project"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"{"label":"attack","technique":"aws.leave","event":{"eventID":"a","eventName":"LeaveOrganization","userAgent":"stratus-red-team_1"}}
{"label":"background","technique":null,"event":{"eventID":"b","eventName":"AssumeRole","requestParameters":{"roleArn":"stratus-red-team-role"}}}
{"label":"stratus_setup","technique":"aws.leave","event":{"eventID":"c","eventName":"CreateRole"}}"#;

    #[test]
    fn labels_are_the_sets_own_and_the_tool_is_not_named() {
        let set = invictus(LOG).expect("valid");
        let labels: Vec<Label> = set.units.iter().map(|unit| unit.label).collect();
        assert_eq!(labels, [Label::Attack, Label::Quiet, Label::Apart]);
        assert_eq!(
            (set.units[0].group.as_str(), set.units[2].kind.as_str()),
            ("aws.leave", "stratus_setup")
        );
        for record in &set.records {
            assert!(
                !record.text.contains("stratus") && !record.text.contains("userAgent"),
                "{}",
                record.text
            );
        }
        assert!(set.records[1].text.contains("project-role"));
        let wrong = invictus("{\"event\":{}}")
            .err()
            .expect("no label")
            .root_cause()
            .to_string();
        assert!(wrong.contains("no text `label`"), "{wrong}");
    }

    #[test]
    fn each_detonation_is_a_log_of_its_own() {
        let text = r#"{"technique":"x","event":{}}
{"technique":"y","event":{}}
{"technique":"x","event":{}}"#;
        let tenants: Vec<usize> = stratus(text)
            .expect("valid")
            .records
            .iter()
            .map(|record| record.tenant)
            .collect();
        assert_eq!(tenants, [0, 1, 0]);
    }
}
