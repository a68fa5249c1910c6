//! Incidents: linked detections, the path through them, and why.

use serde::{Deserialize, Serialize};

use super::case::{Case, ENGINE};
use super::id::Id;
use super::severity::Severity;
use super::time::Micros;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentStatus {
    Open,
    /// Its detections belong to the incident named by `merged_into`.
    Merged,
    /// New evidence took it apart: what held it together turned out to be shared by many, or what it shows to be usual.
    Dissolved,
}

impl IncidentStatus {
    pub const ALL: [IncidentStatus; 3] = [IncidentStatus::Open, IncidentStatus::Merged, IncidentStatus::Dissolved];

    pub fn text(self) -> &'static str {
        match self {
            IncidentStatus::Open => "open",
            IncidentStatus::Merged => "merged",
            IncidentStatus::Dissolved => "dissolved",
        }
    }

    /// Reads what `text` gives.
    pub fn parse(text: &str) -> Option<IncidentStatus> {
        IncidentStatus::ALL.into_iter().find(|status| status.text() == text)
    }
}

/// One revision of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Hash of tenant and seed; the seed is the member with the least (time, detection id).
    pub incident_id: String,
    pub tenant: String,
    /// Counts from 1. Given by the alert journal, which is the record of what each revision held; 0 until then.
    pub revision: u32,
    pub status: IncidentStatus,
    pub severity: Severity,
    /// 0 to 100: the sum of `score_parts`, capped.
    pub score: f64,
    pub score_parts: Vec<ScorePart>,
    pub title: String,
    pub first_time: Micros,
    pub last_time: Micros,
    /// Technique ids in the order in which they were first seen.
    pub techniques: Vec<String>,
    /// `kind:value`, sorted.
    pub entities: Vec<String>,
    /// Layers of the stack it touched, sorted.
    pub layers: Vec<String>,
    /// Ids of the member detections, ordered by (time, id); of a detection and its repeats the first.
    pub detection_ids: Vec<String>,
    /// What each of them has in common with its repeats: [`Detection::fold`](super::Detection::fold).
    #[serde(default)]
    pub folds: Vec<Id>,
    /// How many detections they are with their repeats.
    #[serde(default)]
    pub detection_count: u64,
    pub merged_into: Option<String>,
    pub path: Vec<PathStep>,
    /// What an alert tells of the members, ordered as they are: of at most [`FINDINGS_MAX`], the path's first. Not in the tables, which hold
    /// every detection whole.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// What was decided of it.
    #[serde(default, skip_serializing_if = "Case::is_plain")]
    pub case: Case,
}

/// Members that left an incident because new evidence parted them from the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The incident that they belonged to …
    pub from: String,
    /// … and the one that they belong to now, if any.
    pub into: Option<String>,
    pub findings: usize,
}

/// So many findings are enough to judge an alert by, and an incident of thousands is still journaled in no time.
pub const FINDINGS_MAX: usize = 64;

/// What an alert tells of one member detection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub detection_id: String,
    pub time: Micros,
    pub plugin: String,
    pub plugin_version: String,
    pub rule: String,
    pub severity: Severity,
    pub title: String,
    pub message: String,
    pub techniques: Vec<String>,
    pub layer: String,
}

impl Incident {
    pub fn id_of(tenant: &str, seed_detection: &str) -> Id {
        Id::of(&[b"incident", tenant.as_bytes(), seed_detection.as_bytes()])
    }

    /// Hash of everything but the revision number and what was sent: two revisions with the same content are the same revision.
    pub fn content_id(&self) -> Id {
        let mut content = self.clone();
        content.revision = 0;
        content.case.withheld = false;
        content.case.first_sent = false;
        // What the engine notes of itself it notes again after a crash, of another moment.
        content.case.change = content.case.change.filter(|change| change.by != ENGINE);
        Id::of(&[&serde_json::to_vec(&content).unwrap_or_default()])
    }
}

#[cfg(test)]
impl Incident {
    /// An open one of tenant `t` that says nothing but what it is made of.
    pub fn bare(id: &str, members: &[&str]) -> Incident {
        Incident {
            incident_id: id.to_owned(),
            tenant: "t".to_owned(),
            revision: 0,
            status: IncidentStatus::Open,
            severity: Severity::High,
            score: 1.0,
            score_parts: Vec::new(),
            title: String::new(),
            first_time: 10,
            last_time: 10,
            techniques: Vec::new(),
            entities: Vec::new(),
            layers: Vec::new(),
            detection_ids: members.iter().map(|id| (*id).to_owned()).collect(),
            folds: members.iter().map(|id| Id::of_text(id)).collect(),
            detection_count: members.len() as u64,
            merged_into: None,
            path: Vec::new(),
            findings: Vec::new(),
            case: Case::default(),
        }
    }
}

/// One contribution to the score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScorePart {
    pub name: String,
    pub points: f64,
    pub why: String,
}

/// One step of the attack path: a detection (folded with its repeats) or a relation that led from one entity to the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathStep {
    /// Counts from 1.
    pub step: u32,
    pub time: Micros,
    /// `kind:value`; empty when there is none.
    pub from_entity: String,
    pub to_entity: String,
    /// What was done: an operation, or a relation's kind.
    pub action: String,
    /// Technique ids, joined by `, `.
    pub technique: Option<String>,
    pub detection_id: Option<String>,
    /// Why this step belongs to the incident.
    pub why: String,
}
