//! `[correlate]`: what joins findings into incidents, how far, and what an incident weighs.

use std::collections::BTreeMap;

use glob::Pattern;

use crate::model::{Micros, Severity, time};

#[derive(Clone, Debug)]
pub struct CorrelateSettings {
    /// Two detections further apart than this in event time are never linked directly.
    pub window: Micros,
    /// A single detection at or above this severity is an incident.
    pub single_severity: Severity,
    /// From its first to its last finding an incident lasts at most this long; what follows is another incident.
    pub span_max: Micros,
    /// An incident has at most so many findings; what follows is another incident.
    pub members_max: usize,
    /// What the graph may take in memory, as it is estimated; beyond it the oldest facts are let go of.
    pub memory_bytes_max: usize,
    /// Findings that chance brings together more often than this, in incidents a day and tenant, make none. It is so for findings of
    /// medium severity; high ones are believed three times as readily, low ones a third as readily.
    pub chance_max: f64,
    /// By kind of entity: one that more identities use within the window links nobody. A kind that is not named has no bound.
    pub identities_max: BTreeMap<String, usize>,
    /// Entities as `kind:value` that never link.
    pub stop_values: Vec<Pattern>,
    /// Entities as `kind:value` that link however many use them; a stop value does not.
    pub specific_values: Vec<Pattern>,
    /// What entities are worth; the first that matches counts.
    pub criticality: Vec<Criticality>,
}

/// Points that an incident gets when it reaches an entity.
#[derive(Clone, Debug)]
pub struct Criticality {
    /// Of `kind:value`.
    pub entity: Pattern,
    /// 0 to [`CRITICALITY_MAX`].
    pub weight: f64,
}

/// Whether any character of a pattern stands for others.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// As many points as make a finding of medium severity one of high.
pub const CRITICALITY_MAX: f64 = 30.0;

/// Kinds that link, and how many identities may use one of them. An address with more of them is an office, a VPN or a proxy, and an
/// attacker's own seldom carries more; a conversation or session with more has an id that is no id; a principal or key with very many is
/// a service that acts for everybody; of a host, findings tell who uses it; a name that many go by is that of a function.
pub const IDENTITIES_MAX: [(&str, usize); 8] = [
    ("address", 8),
    ("host", 8),
    ("name", 16),
    ("conversation", 8),
    ("session", 8),
    ("access_key", 8),
    ("gateway_key", 64),
    ("principal", 64),
];

impl Default for CorrelateSettings {
    fn default() -> CorrelateSettings {
        CorrelateSettings {
            // Most multi-stage intrusions move within hours; longer windows join what merely shares an identity.
            window: 6 * time::HOUR,
            single_severity: Severity::Critical,
            span_max: 7 * 24 * time::HOUR,
            members_max: 10_000,
            memory_bytes_max: 1 << 30,
            // Once a month: on one that is, most are not.
            chance_max: 0.03,
            identities_max: IDENTITIES_MAX.map(|(kind, most)| (kind.to_owned(), most)).into(),
            stop_values: Vec::new(),
            specific_values: Vec::new(),
            criticality: Vec::new(),
        }
    }
}
