//! What a detector says of events, and what could not become an event.

use serde::{Deserialize, Serialize};

use super::entity::{EntityRole, RoledEntity};
use super::id::Id;
use super::severity::Severity;
use super::time::{self, Micros};

/// `plugin` of what the engine itself finds of its sources. No plugin's id has a dot. Its messages hold names of the configuration, counts
/// and times, and nothing of a record.
pub const SOURCE_HEALTH: &str = "sentrail.source-health";

/// `plugin` of what a declared sequence of detections tells; no plugin may have this id.
pub const SEQUENCE: &str = "sequence";

/// Entities that one detection keeps: those of the decisive row and the guest's own first.
pub const ENTITIES_PER_DETECTION_MAX: usize = 64;

/// Findings that differ in nothing but when and in which words are repeats of one, within a piece of event time so long.
pub const FOLD: Micros = 10 * time::MINUTE;

/// One finding of one rule. Immutable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Hash of tenant, plugin, rule and the ids of the events that show it.
    pub detection_id: String,
    pub tenant: String,
    /// Event time of the decisive event.
    pub time: Micros,
    pub plugin: String,
    pub plugin_version: String,
    pub rule: String,
    pub severity: Severity,
    pub title: String,
    /// What was seen, for an analyst.
    pub message: String,
    /// ATT&CK and ATLAS technique ids.
    pub techniques: Vec<String>,
    /// Sorted, without repeats.
    pub entities: Vec<RoledEntity>,
    /// Ids of the events that show it, the decisive one last.
    pub event_ids: Vec<String>,
    /// Layer of the decisive event.
    pub layer: String,
    /// `api_operation` of the decisive event.
    pub action: String,
    /// The decisive event came later than the plugin's reorder bound.
    pub late: bool,
}

impl Detection {
    pub fn id_of(tenant: &str, plugin: &str, rule: &str, event_ids: &[&str]) -> Id {
        let mut parts: Vec<&[u8]> = vec![b"detection", tenant.as_bytes(), plugin.as_bytes(), rule.as_bytes()];
        parts.extend(event_ids.iter().map(|id| id.as_bytes()));
        Id::of(&parts)
    }

    /// What it has in common with its repeats and with nothing else. Incidents are made of folds: a scan that trips a rule ten thousand times
    /// in a few minutes is one step of an attack.
    pub fn fold(&self) -> Id {
        let cell = self.time.div_euclid(FOLD).to_be_bytes();
        let severity = self.severity.id().to_be_bytes();
        let mut parts: Vec<&[u8]> = vec![
            b"fold",
            self.tenant.as_bytes(),
            &cell,
            self.plugin.as_bytes(),
            self.rule.as_bytes(),
            &severity,
            self.layer.as_bytes(),
            self.action.as_bytes(),
        ];
        for roled in &self.entities {
            let role: &[u8] = match roled.role {
                EntityRole::Actor => b"actor",
                EntityRole::Target => b"target",
                EntityRole::Context => b"context",
            };
            parts.extend([role, roled.entity.kind.as_bytes(), roled.entity.value.as_bytes()]);
        }
        parts.extend(self.techniques.iter().map(|technique| technique.as_bytes()));
        Id::of(&parts)
    }
}

/// A record that could not be decoded: kept with its bytes, its place and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub tenant: String,
    pub source: String,
    pub position: String,
    pub reason: String,
    /// The bytes as they came, cut to a named limit.
    pub raw: Vec<u8>,
    pub ingested_time: Micros,
    /// Newest event time before it in its batch that can be believed. Not stored.
    pub newest_before: Option<Micros>,
}
