//! Incident → OCSF 1.8.0 Incident Finding, class 2005 (<https://schema.ocsf.io/1.8.0/classes/incident_finding>).
//!
//! A pure function of the incident: what is sent again after a crash is what was sent before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::model::case::ENGINE;
use crate::model::text::cut;
use crate::model::time::to_rfc3339;
use crate::model::{
    Change, Entity, Finding, Incident, IncidentStatus, Micros, PathStep, Verdict, WorkflowStatus, shorten_hashes,
};

const OCSF_VERSION: &str = "1.8.0";

/// A finding's longest text in bytes: with the syslog header around it, it fits the 64 KiB that receivers can be set to accept.
pub(super) const FINDING_BYTES_MAX: usize = 60 << 10;

/// Longest lists of findings, path steps and techniques in one message; of observables, twice as many. A message that is still too
/// long has lists half as long, and so on. What is cut is said in `metadata.is_truncated`, and the incident's tables hold all of it.
const LIST_MAX: usize = 64;

/// Longest free text in one message.
const TEXT_BYTES_MAX: usize = 512;

/// The incident as an OCSF Incident Finding. `metadata.uid` names the pair (incident, revision) by which a receiver knows a repeat;
/// `metadata.correlation_uid` is the incident, the same in all its revisions.
pub fn incident_finding(incident: &Incident) -> Value {
    let mut most = LIST_MAX;
    loop {
        let finding = limited(incident, most);
        if most == 1 || finding.to_string().len() <= FINDING_BYTES_MAX {
            return finding;
        }
        most /= 2;
    }
}

/// With lists of at most `most`.
fn limited(incident: &Incident, most: usize) -> Value {
    let case = &incident.case;
    let (status, status_id) = match incident.status {
        // OCSF has no word for it here.
        IncidentStatus::Open if case.is_silenced() && !case.status.is_done() => ("Silenced", 99),
        IncidentStatus::Open => (case.status.text(), case.status.id()),
        _ => (WorkflowStatus::Closed.text(), WorkflowStatus::Closed.id()),
    };
    let is_first = incident.revision <= 1 || case.first_sent;
    let (activity, activity_id) = match status_id == WorkflowStatus::Closed.id() {
        true => ("Close", 3),
        false if is_first => ("Create", 1),
        false => ("Update", 2),
    };
    let mut finding = json!({
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": 2005,
        "class_name": "Incident Finding",
        "activity_id": activity_id,
        "activity_name": activity,
        "type_uid": 200_500 + activity_id,
        "type_name": format!("Incident Finding: {activity}"),
        "severity_id": incident.severity.id(),
        "severity": incident.severity.text(),
        "status_id": status_id,
        "status": status,
        "time": milliseconds(incident.last_time),
        "start_time": milliseconds(incident.first_time),
        "end_time": milliseconds(incident.last_time),
        "count": incident.detection_count,
        // The class has no risk score; this is its only attribute on the same scale, 0 to 100. The exact score is in `unmapped`.
        "impact_score": incident.score.round() as i64,
        "desc": cut(&incident.title, TEXT_BYTES_MAX),
        "message": story(incident, most),
        "attacks": attacks(&incident.techniques, most),
        "finding_info_list": findings(incident, most),
        "observables": observables(incident, most),
        "metadata": metadata(incident, most),
        "unmapped": unmapped(incident, most),
    });
    let change = case.change.as_ref();
    let note = |change: &Change| change.note.clone();
    let detail = match (&incident.merged_into, incident.status) {
        (Some(into), _) => Some(format!("merged into incident {into}")),
        (None, IncidentStatus::Dissolved) => Some(
            "dissolved: what linked its findings turned out to be shared by many, or what they show to be usual".into(),
        ),
        _ => {
            let note = change.filter(|change| change.by == ENGINE).and_then(note);
            let inhibited = (!case.inhibited.is_empty()).then(|| format!("inhibited by {}", case.inhibited.join(", ")));
            let details: Vec<String> = note.into_iter().chain(inhibited).collect();
            (!details.is_empty()).then(|| details.join("; "))
        }
    };
    let verdict = match incident.merged_into {
        Some(_) => Some(Verdict::Duplicate),
        None => case.verdict,
    };
    let by_person = change.filter(|change| change.by != ENGINE);
    let comment = by_person.and_then(|change| Some(format!("{}: {}", change.by, note(change)?)));
    if let Some(fields) = finding.as_object_mut() {
        // OCSF requires an assignee or a group.
        match &case.assignee {
            Some(name) => fields.insert("assignee".into(), json!({ "name": cut(name, TEXT_BYTES_MAX) })),
            None => fields.insert("assignee_group".into(), json!({ "name": "unassigned" })),
        };
        for (name, text) in [("status_detail", detail), ("comment", comment)] {
            if let Some(text) = text {
                fields.insert(name.into(), json!(cut(&text, TEXT_BYTES_MAX)));
            }
        }
        if let Some(verdict) = verdict {
            fields.insert("verdict_id".into(), json!(verdict.id()));
            fields.insert("verdict".into(), json!(verdict.text()));
        }
    }
    finding
}

fn metadata(incident: &Incident, most: usize) -> Value {
    let findings = &incident.findings;
    let mut texts = findings
        .iter()
        .flat_map(|finding| [&finding.title, &finding.message])
        .chain(incident.path.iter().map(|step| &step.why))
        .chain([&incident.title]);
    let longest = [
        incident.detection_ids.len(),
        incident.path.len(),
        incident.techniques.len(),
        incident.entities.len().div_ceil(2),
        findings
            .iter()
            .map(|finding| finding.techniques.len())
            .max()
            .unwrap_or(0),
    ];
    json!({
        "version": OCSF_VERSION,
        // What the class consists of, says its description.
        "profiles": ["incident"],
        "uid": delivery_id(incident),
        "correlation_uid": incident.incident_id,
        "sequence": incident.revision,
        "tenant_uid": incident.tenant,
        "product": product(),
        "is_truncated": longest.into_iter().any(|count| count > most) || texts.any(|text| text.len() > TEXT_BYTES_MAX),
    })
}

fn product() -> Value {
    json!({ "name": "Sentrail", "vendor_name": "Sentrail", "version": env!("CARGO_PKG_VERSION") })
}

/// The pair by which receivers know a repeat: `INCIDENT/REVISION`.
pub(super) fn delivery_id(incident: &Incident) -> String {
    format!("{}/{}", incident.incident_id, incident.revision)
}

fn milliseconds(time: Micros) -> i64 {
    time.div_euclid(1000)
}

/// One technique of ATT&CK (`T1078`, `T1078.004`) or of ATLAS (`AML.T0051`, `AML.T0051.000`).
fn attack(id: &str) -> Value {
    let number = id.strip_prefix("AML.").unwrap_or(id);
    let parent = number
        .split_once('.')
        .map(|(parent, _)| &id[..id.len() - number.len() + parent.len()]);
    let technique = |uid: &str| json!({ "uid": uid, "src_url": technique_url(uid) });
    match parent {
        Some(parent) => json!({ "technique": technique(parent), "sub_technique": technique(id) }),
        None => json!({ "technique": technique(id) }),
    }
}

fn technique_url(id: &str) -> String {
    match id.starts_with("AML.") {
        true => format!("https://atlas.mitre.org/techniques/{id}"),
        false => format!("https://attack.mitre.org/techniques/{}", id.replace('.', "/")),
    }
}

fn attacks(techniques: &[String], most: usize) -> Vec<Value> {
    techniques.iter().take(most).map(|id| attack(id)).collect()
}

/// One finding per member detection; the first of them carries the incident's path. Should they not all fit, those of the path do.
fn findings(incident: &Incident, most: usize) -> Vec<Value> {
    let told: BTreeMap<&str, &Finding> = incident
        .findings
        .iter()
        .map(|finding| (&*finding.detection_id, finding))
        .collect();
    let steps: BTreeSet<&str> = incident
        .path
        .iter()
        .filter_map(|step| step.detection_id.as_deref())
        .collect();
    let mut ids: Vec<&str> = incident.detection_ids.iter().map(String::as_str).collect();
    ids.sort_by_key(|id| (!steps.contains(id), !told.contains_key(id)));
    ids.truncate(most);
    let shown: BTreeSet<&str> = ids.into_iter().collect();
    let shown = incident.detection_ids.iter().filter(|id| shown.contains(id.as_str()));
    let mut findings: Vec<Value> = shown
        .map(|id| finding_info(id, told.get(id.as_str()).copied(), most))
        .collect();
    if let Some(first) = findings.first_mut()
        && !incident.path.is_empty()
    {
        first["attack_graph"] = attack_graph(incident, most);
    }
    findings
}

/// Of a detection that nothing is told of, only that it is one: a run that ended between an incident and what it is made of leaves such.
fn finding_info(id: &str, finding: Option<&Finding>, most: usize) -> Value {
    let Some(finding) = finding else {
        return json!({ "uid": id, "product": product() });
    };
    let mut analytic = json!({
        "uid": format!("{}/{}", finding.plugin, finding.rule),
        "name": finding.rule,
        "category": finding.plugin,
        "type_id": 1,
        "type": "Rule",
    });
    // Other tools do not tell theirs.
    if !finding.plugin_version.is_empty() {
        analytic["version"] = json!(finding.plugin_version);
    }
    let layer = Some(&finding.layer).filter(|layer| !layer.is_empty()).into_iter();
    json!({
        "uid": id,
        "title": cut(&finding.title, TEXT_BYTES_MAX),
        "desc": cut(&finding.message, TEXT_BYTES_MAX),
        "created_time": milliseconds(finding.time),
        "analytic": analytic,
        "attacks": attacks(&finding.techniques, most),
        "data_sources": layer.collect::<Vec<_>>(),
        // The object has no severity of its own.
        "tags": [{ "name": "severity", "value": finding.severity.text() }],
        "product": product(),
    })
}

/// The path as OCSF's graph: an edge for each step, of a detection or of a relation, in their order; the nodes are the entities.
fn attack_graph(incident: &Incident, most: usize) -> Value {
    let mut nodes: BTreeMap<&str, Value> = BTreeMap::new();
    let mut edges = Vec::new();
    for step in incident.path.iter().take(most) {
        let (source, target) = ends(step);
        for uid in [source, target] {
            nodes.entry(uid).or_insert_with(|| match Entity::parse(uid) {
                Some(entity) => json!({ "uid": uid, "name": &*entity.value, "type": &*entity.kind }),
                None => json!({ "uid": uid, "name": uid, "type": "finding" }),
            });
        }
        edges.push(json!({
            "uid": step.step.to_string(),
            "name": step.action,
            "relation": if step.detection_id.is_some() { "detection" } else { "relation" },
            "source": source,
            "target": target,
            "is_directed": true,
            "data": {
                "step": step.step,
                "time": milliseconds(step.time),
                "technique": step.technique,
                "detection_id": step.detection_id,
                "why": cut(&step.why, TEXT_BYTES_MAX),
            },
        }));
    }
    json!({
        "uid": incident.incident_id,
        "name": "attack path",
        "is_directed": true,
        "nodes": nodes.into_values().collect::<Vec<_>>(),
        "edges": edges,
    })
}

/// Where a step leads from and to. One that names a single entity stays at it, and one that names none at its detection.
fn ends(step: &PathStep) -> (&str, &str) {
    match (step.from_entity.as_str(), step.to_entity.as_str()) {
        ("", "") => {
            let own = step.detection_id.as_deref().unwrap_or_default();
            (own, own)
        }
        (one, "") | ("", one) => (one, one),
        both => both,
    }
}

fn observables(incident: &Incident, most: usize) -> Vec<Value> {
    let entities = incident
        .entities
        .iter()
        .take(2 * most)
        .filter_map(|text| Entity::parse(text));
    entities
        .map(|entity| {
            let (type_id, kind) = observable_type(&entity);
            // `name` points to the attribute of this message that the value is taken from.
            json!({ "name": "unmapped.entities", "type_id": type_id, "type": kind, "value": &*entity.value })
        })
        .collect()
}

/// OCSF `observable.type_id` and its caption; kinds that OCSF has no name for keep their own.
fn observable_type(entity: &Entity) -> (i32, &str) {
    match &*entity.kind {
        "address" if entity.value.parse::<IpAddr>().is_ok() => (2, "IP Address"),
        "principal" if entity.value.contains('@') && !entity.value.starts_with("arn:") => (5, "Email Address"),
        "principal" => (31, "User Object: uid"),
        "access_key" | "gateway_key" => (19, "User Credential ID"),
        "account" => (35, "Account Object: uid"),
        "role" | "session" | "resource" | "collection" => (10, "Resource UID"),
        kind => (99, kind),
    }
}

fn unmapped(incident: &Incident, most: usize) -> Value {
    json!({
        "risk_score": incident.score,
        "score_parts": incident.score_parts.iter().map(|part| json!({
            "name": part.name,
            "points": part.points,
            "why": cut(&part.why, TEXT_BYTES_MAX),
        })).collect::<Vec<_>>(),
        "layers": incident.layers,
        "entities": incident.entities.iter().take(2 * most).collect::<Vec<_>>(),
        "merged_into": incident.merged_into,
    })
}

/// The incident in plain words, one line per step. Why a step belongs to the rest is said in the graph.
fn story(incident: &Incident, most: usize) -> String {
    let mut text = format!(
        "{} incident: {}. {} detections between {} and {} across {}.",
        incident.severity,
        cut(incident.title.trim_end_matches('.'), TEXT_BYTES_MAX),
        incident.detection_count,
        to_rfc3339(incident.first_time),
        to_rfc3339(incident.last_time),
        incident.layers.join(", "),
    );
    if let Some(into) = &incident.merged_into {
        let _ = write!(text, " Its detections now belong to incident {into}.");
    }
    let titles: BTreeMap<&str, &str> = incident
        .findings
        .iter()
        .map(|finding| (&*finding.detection_id, &*finding.title))
        .collect();
    for step in incident.path.iter().take(most) {
        let _ = write!(text, "\n{}. {} {}", step.step, to_rfc3339(step.time), step.action);
        let (from, to) = (shorten_hashes(&step.from_entity), shorten_hashes(&step.to_entity));
        match (from.as_str(), to.as_str()) {
            ("", "") => {}
            ("", one) | (one, "") => drop(write!(text, ": {one}")),
            (from, to) => drop(write!(text, ": {from} -> {to}")),
        }
        if let Some(technique) = &step.technique {
            let _ = write!(text, " [{technique}]");
        }
        if let Some(title) = step.detection_id.as_deref().and_then(|id| titles.get(id)) {
            let _ = write!(text, " ({})", cut(title, TEXT_BYTES_MAX));
        }
    }
    text
}
