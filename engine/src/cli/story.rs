//! An incident in plain words: what happened, who, from where, what was reached, step by step, what may come next, what to do, and what is not
//! known. Worked out of facts alone, so that the same facts tell the same story.

mod beside;
pub mod facts;
pub mod page;
#[cfg(test)]
pub mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::correlate::progress;
use crate::model::phase::{PHASE_NAMES, phases_of};
use crate::model::technique::{mitigations, technique_name};
use crate::model::{Detection, EntityRole, Incident, IncidentStatus, Micros, PathStep, time::to_rfc3339};

use beside::Beside;
pub use facts::Facts;

/// A list of entities shows so many; the incident has them all.
const NAMED_MAX: usize = 8;

#[derive(Debug, Serialize)]
pub struct Story {
    pub what_happened: String,
    /// Who acted, those that most findings name first.
    pub who: Vec<Named>,
    /// Addresses.
    pub from_where: Vec<Named>,
    /// What was acted on.
    pub reached: Vec<Named>,
    pub steps: Vec<Step>,
    /// Phases of an attack that findings show, in their order.
    pub phases_seen: Vec<&'static str>,
    /// Phases later in an attack than the furthest that was seen, and not seen.
    pub phases_next: Vec<&'static str>,
    pub advice: Vec<Advice>,
    pub mitigations: Vec<Mitigation>,
    /// What nothing links to it and may be part of the same attack, the likeliest first.
    pub beside: Vec<Beside>,
    /// Why this may not be all.
    pub not_known: Vec<String>,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Named {
    pub entity: String,
    /// How many findings name it.
    pub findings: usize,
    /// What the logs and the lookups say of it.
    pub notes: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Step {
    pub step: u32,
    pub time: String,
    pub from_entity: String,
    pub to_entity: String,
    pub action: String,
    /// Empty for a relation.
    pub title: String,
    pub message: String,
    pub techniques: Vec<Technique>,
    /// What joins it to the rest.
    pub why: String,
}

#[derive(Debug, Serialize)]
pub struct Technique {
    pub id: String,
    pub name: Option<&'static str>,
}

/// What a rule says of its findings and of what to do.
#[derive(Debug, Serialize)]
pub struct Advice {
    pub rule: String,
    pub title: String,
    pub text: String,
}

/// What MITRE ATLAS has against techniques of the incident.
#[derive(Debug, Serialize)]
pub struct Mitigation {
    pub id: &'static str,
    pub name: &'static str,
    pub what_to_do: &'static str,
    pub techniques: Vec<String>,
}

impl Story {
    pub fn of(facts: &Facts) -> Story {
        let incident = &facts.incident;
        let members: Vec<&Detection> = facts.detections.iter().collect();
        let row = progress(&members);
        let (phases_seen, phases_next) = phases(&row, &incident.techniques);
        let who = named(facts, |role, kind| role == EntityRole::Actor && kind != "address");
        Story {
            what_happened: what_happened(facts, &who, row.last().copied()),
            from_where: named(facts, |_, kind| kind == "address"),
            reached: named(facts, |role, kind| role == EntityRole::Target && kind != "address"),
            who,
            steps: steps(facts),
            phases_seen,
            phases_next,
            advice: advice(facts),
            mitigations: mitigations(&incident.techniques)
                .into_iter()
                .map(|(mitigation, of)| Mitigation {
                    id: mitigation.id,
                    name: mitigation.name,
                    what_to_do: mitigation.what_to_do,
                    techniques: of.into_iter().map(str::to_owned).collect(),
                })
                .collect(),
            beside: facts.beside.clone(),
            not_known: not_known(facts),
        }
    }
}

fn what_happened(facts: &Facts, who: &[Named], furthest: Option<usize>) -> String {
    let Incident {
        first_time, last_time, ..
    } = facts.incident;
    let count = match facts.incident.detection_count {
        1 => "One finding".to_owned(),
        more => format!("{more} findings"),
    };
    let when = match last_time - first_time {
        0 => format!(" at {} UTC", clock(first_time)),
        length => {
            let (first, last) = (clock(first_time), clock(last_time));
            let is_one_day = first.get(..10) == last.get(..10);
            let last = last.get(11..).filter(|_| is_one_day).unwrap_or(&last);
            format!(" within {}, from {first} to {last} UTC", duration(length))
        }
    };
    let mut text = count + &when;
    if !facts.incident.layers.is_empty() {
        text.push_str(&format!(", in {}", list(&facts.incident.layers)));
    }
    if let Some(first) = who.first() {
        let most = if who.len() > 1 { "; most name" } else { "; by" };
        text.push_str(&format!("{most} {}", first.entity));
    }
    text.push('.');
    let worst = facts.detections.iter().max_by(|a, b| {
        let first = (b.time, &b.detection_id).cmp(&(a.time, &a.detection_id));
        a.severity.cmp(&b.severity).then(first)
    });
    if let (Some(first), Some(worst)) = (facts.detections.first(), worst) {
        text.push_str(&format!(" It began with \"{}\"", first.title));
        if worst.title != first.title {
            text.push_str(&format!("; the worst is \"{}\"", worst.title));
        }
        if let Some(name) = furthest.and_then(phase_name) {
            text.push_str(&format!("; it came as far as {name}"));
        }
        text.push('.');
    }
    text
}

/// The entities that findings name in some role, those of most findings first.
fn named(facts: &Facts, is_wanted: fn(EntityRole, &str) -> bool) -> Vec<Named> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for detection in &facts.detections {
        let wanted = detection.entities.iter();
        let wanted = wanted.filter(|roled| is_wanted(roled.role, &roled.entity.kind));
        let entities: BTreeSet<String> = wanted.map(|roled| roled.entity.to_string()).collect();
        for entity in entities {
            *counts.entry(entity).or_default() += facts.count(detection);
        }
    }
    let mut named: Vec<Named> = counts
        .into_iter()
        .map(|(entity, findings)| {
            let notes = facts.notes.get(&entity).into_iter().flatten();
            Named {
                findings,
                notes: notes.cloned().collect(),
                entity,
            }
        })
        .collect();
    named.sort_by_key(|named| std::cmp::Reverse(named.findings));
    named
}

fn steps(facts: &Facts) -> Vec<Step> {
    let detections: HashMap<&str, &Detection> = facts
        .detections
        .iter()
        .map(|detection| (detection.detection_id.as_str(), detection))
        .collect();
    let step = |step: &PathStep| {
        let detection = step.detection_id.as_deref().and_then(|id| detections.get(id));
        // The path tells what was found and why it belongs there in one text.
        let told = detection.map_or(String::new(), |found| format!("{}: {}; ", found.title, found.message));
        let ids = step.technique.as_deref().unwrap_or_default();
        Step {
            step: step.step,
            time: to_rfc3339(step.time),
            from_entity: step.from_entity.clone(),
            to_entity: step.to_entity.clone(),
            action: step.action.clone(),
            title: detection.map_or(String::new(), |found| found.title.clone()),
            message: detection.map_or(String::new(), |found| found.message.clone()),
            techniques: ids
                .split(", ")
                .filter(|id| !id.is_empty())
                .map(|id| Technique {
                    id: id.to_owned(),
                    name: technique_name(id),
                })
                .collect(),
            why: step.why.strip_prefix(&told).unwrap_or(&step.why).to_owned(),
        }
    };
    facts.incident.path.iter().map(step).collect()
}

/// Which phases were seen, and which later ones were not. `row` is how findings went on; a technique that serves one phase alone shows
/// that phase, wherever it came.
fn phases(row: &[usize], techniques: &[String]) -> (Vec<&'static str>, Vec<&'static str>) {
    let mut seen: BTreeSet<usize> = row.iter().copied().collect();
    for technique in techniques {
        if let [phase] = phases_of(technique) {
            seen.insert(*phase);
        }
    }
    let Some(furthest) = row.last() else {
        return (Vec::new(), Vec::new());
    };
    let next = (furthest + 1..=PHASE_NAMES.len()).filter(|phase| !seen.contains(phase));
    let next = next.filter_map(phase_name).collect();
    (seen.iter().copied().filter_map(phase_name).collect(), next)
}

fn phase_name(phase: usize) -> Option<&'static str> {
    PHASE_NAMES.get(phase.checked_sub(1)?).copied()
}

/// What the rules say, that of the worst finding first.
fn advice(facts: &Facts) -> Vec<Advice> {
    let mut detections: Vec<&Detection> = facts.detections.iter().collect();
    detections.sort_by_key(|detection| std::cmp::Reverse(detection.severity));
    let mut told = BTreeSet::new();
    let mut advice = Vec::new();
    for detection in detections {
        let rule = format!("{}/{}", detection.plugin, detection.rule);
        if let Some(text) = facts.advice.get(&rule)
            && told.insert(rule.clone())
        {
            advice.push(Advice {
                rule,
                title: detection.title.clone(),
                text: text.clone(),
            });
        }
    }
    advice
}

fn not_known(facts: &Facts) -> Vec<String> {
    let incident = &facts.incident;
    let mut doubts = Vec::new();
    match (incident.status, &incident.merged_into) {
        (IncidentStatus::Merged, Some(into)) => {
            doubts.push(format!("Its findings belong to incident {into} now: what came later stands there."));
        }
        (IncidentStatus::Dissolved, _) => doubts.push(
            "What held it together turned out to be shared by many, or what it shows to be usual: its findings need not have anything to do with \
             each other."
                .to_owned(),
        ),
        _ => {}
    }
    let more = incident.path.last().and_then(|step| step.why.rsplit_once("; "));
    if let Some((_, more)) = more.filter(|(_, more)| more.ends_with(" more steps are not shown")) {
        doubts.push(format!(
            "The path is cut: {more}; `incident_evidence` has every finding."
        ));
    }
    let late = facts.detections.iter().filter(|detection| detection.late).count();
    if late > 0 {
        doubts.push(format!(
            "Of the findings {late} rest on events that came late: what its detector would have seen together with them it may have missed."
        ));
    }
    doubts.extend(facts.doubts.iter().cloned());
    doubts
}

/// `2026-03-02 08:42:04`
fn clock(time: Micros) -> String {
    let text = to_rfc3339(time);
    text.get(..19).map_or(text.clone(), |text| text.replacen('T', " ", 1))
}

/// In the two largest units that matter.
fn duration(micros: Micros) -> String {
    let seconds = micros / 1_000_000;
    match seconds {
        86_400.. => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
        3_600.. => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        60.. => format!("{} min", seconds / 60),
        1.. => format!("{seconds} s"),
        _ => "a second".to_owned(),
    }
}

/// `a, b and c`
fn list<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match items.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}
