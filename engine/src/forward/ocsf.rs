//! Incident → OCSF 1.8.0 Incident Finding, class 2005 (<https://schema.ocsf.io/1.8.0/classes/incident_finding>).
//!
//! A pure function of the incident: what is sent again after a crash is what was sent before.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::model::time::to_rfc3339;
use crate::model::{Entity, Incident, IncidentStatus, Micros, PathStep};

const OCSF_VERSION: &str = "1.8.0";

/// Longest lists of findings, observables and path steps in one message; what is cut is said in `metadata.is_truncated`, and the
/// incident's tables hold all of it. Keeps a message below 64 KiB unless names are very long; syslog receivers can be set to accept that.
const FINDINGS_MAX: usize = 64;
const OBSERVABLES_MAX: usize = 128;
const PATH_STEPS_MAX: usize = 64;

/// The incident as an OCSF Incident Finding. `metadata.uid` names the pair (incident, revision) by which a receiver knows a repeat;
/// `metadata.correlation_uid` is the incident, the same in all its revisions.
pub fn incident_finding(incident: &Incident) -> Value {
    let closed = incident.status != IncidentStatus::Open;
    let (activity, activity_id) = match (closed, incident.revision) {
        (true, _) => ("Close", 3),
        (false, 0 | 1) => ("Create", 1),
        (false, _) => ("Update", 2),
    };
    let (status, status_id) = if closed { ("Closed", 5) } else { ("New", 1) };
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
        "count": incident.detection_ids.len(),
        // The class has no risk score; this is its only attribute on the same scale, 0 to 100. The exact score is in `unmapped`.
        "impact_score": incident.score.round() as i64,
        "desc": incident.title,
        "message": story(incident),
        "attacks": incident.techniques.iter().map(|id| attack(id)).collect::<Vec<_>>(),
        "finding_info_list": findings(incident),
        "observables": observables(incident),
        // OCSF requires an assignee or a group; nobody has taken the incident yet.
        "assignee_group": { "name": "unassigned" },
        "metadata": metadata(incident),
        "unmapped": unmapped(incident),
    });
    let detail = match (&incident.merged_into, incident.status) {
        (Some(into), _) => Some(format!("merged into incident {into}")),
        (None, IncidentStatus::Dissolved) => {
            Some("dissolved: what linked its findings turned out to be shared by many".into())
        }
        _ => None,
    };
    if let (Some(detail), Some(fields)) = (detail, finding.as_object_mut()) {
        fields.insert("status_detail".into(), json!(detail));
        if incident.merged_into.is_some() {
            fields.insert("verdict_id".into(), json!(10));
            fields.insert("verdict".into(), json!("Duplicate"));
        }
    }
    finding
}

fn metadata(incident: &Incident) -> Value {
    json!({
        "version": OCSF_VERSION,
        "uid": delivery_id(incident),
        "correlation_uid": incident.incident_id,
        "sequence": incident.revision,
        "tenant_uid": incident.tenant,
        "product": product(),
        "is_truncated": incident.detection_ids.len() > FINDINGS_MAX
            || incident.entities.len() > OBSERVABLES_MAX
            || incident.path.len() > PATH_STEPS_MAX,
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

/// One finding per member detection; those that are steps of the path first when not all fit.
fn findings(incident: &Incident) -> Vec<Value> {
    let steps: HashMap<&str, &PathStep> = incident
        .path
        .iter()
        .filter_map(|step| Some((step.detection_id.as_deref()?, step)))
        .collect();
    let mut ids: Vec<&str> = incident.detection_ids.iter().map(String::as_str).collect();
    if ids.len() > FINDINGS_MAX {
        ids.sort_by_key(|id| !steps.contains_key(id));
        ids.truncate(FINDINGS_MAX);
    }
    ids.into_iter()
        .map(|id| match steps.get(id) {
            Some(step) => {
                let techniques = step.technique.iter().flat_map(|list| list.split(", "));
                json!({
                    "uid": id,
                    "title": step.action,
                    "desc": step.why,
                    "created_time": milliseconds(step.time),
                    "attacks": techniques.map(attack).collect::<Vec<_>>(),
                    "product": product(),
                })
            }
            None => json!({ "uid": id, "product": product() }),
        })
        .collect()
}

fn observables(incident: &Incident) -> Vec<Value> {
    let entities = incident
        .entities
        .iter()
        .take(OBSERVABLES_MAX)
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

fn unmapped(incident: &Incident) -> Value {
    json!({
        "risk_score": incident.score,
        "score_parts": incident.score_parts,
        "layers": incident.layers,
        "entities": incident.entities.iter().take(OBSERVABLES_MAX).collect::<Vec<_>>(),
        "merged_into": incident.merged_into,
        "path": incident.path.iter().take(PATH_STEPS_MAX).map(|step| json!({
            "step": step.step,
            "time": milliseconds(step.time),
            "from_entity": step.from_entity,
            "to_entity": step.to_entity,
            "action": step.action,
            "technique": step.technique,
            "detection_id": step.detection_id,
            "why": step.why,
        })).collect::<Vec<_>>(),
    })
}

/// The incident in plain words, one line per step.
fn story(incident: &Incident) -> String {
    let mut text = format!(
        "{} incident: {}. {} detections between {} and {} across {}.",
        incident.severity,
        incident.title.trim_end_matches('.'),
        incident.detection_ids.len(),
        to_rfc3339(incident.first_time),
        to_rfc3339(incident.last_time),
        incident.layers.join(", "),
    );
    if let Some(into) = &incident.merged_into {
        let _ = write!(text, " Its detections now belong to incident {into}.");
    }
    for step in incident.path.iter().take(PATH_STEPS_MAX) {
        let _ = write!(text, "\n{}. {} {}", step.step, to_rfc3339(step.time), step.action);
        match (step.from_entity.is_empty(), step.to_entity.is_empty()) {
            (false, false) => drop(write!(text, ": {} -> {}", step.from_entity, step.to_entity)),
            (false, true) => drop(write!(text, ": {}", step.from_entity)),
            (true, false) => drop(write!(text, ": {}", step.to_entity)),
            (true, true) => {}
        }
        if let Some(technique) = &step.technique {
            let _ = write!(text, " [{technique}]");
        }
        let _ = write!(text, " ({})", step.why);
    }
    text
}
