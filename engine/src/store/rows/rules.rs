//! The rules that are in force, and the exceptions from them.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};

use super::columns::{batch, counts, lists, maybe_texts, maybe_times, texts, times};
use super::{StoreError, Table};
use crate::model::Micros;

/// One rule as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleState {
    pub plugin: String,
    pub version: String,
    /// SHA-256 of the plugin's file, in hexadecimal digits; empty for the engine's own.
    pub digest: String,
    pub rule: String,
    pub title: String,
    pub severity: &'static str,
    /// As the plugin has it.
    pub severity_shipped: &'static str,
    pub techniques: Vec<String>,
    pub enabled: bool,
    /// The public key.
    pub signed_by: Option<String>,
    /// What it means and what to do about it.
    pub description: Option<String>,
}

/// An exception, and what it took away since it was told of last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExceptionPart {
    pub exception: String,
    pub rule: String,
    pub matches: String,
    pub owner: String,
    pub reason: String,
    pub created: Option<Micros>,
    /// Event time.
    pub expires: Micros,
    pub hits: u64,
    /// Event time.
    pub last_hit: Option<Micros>,
    pub active: bool,
}

/// All rules in force from `time` on, by the clock.
pub fn rules_to_batch(rules: &[RuleState], time: Micros) -> Result<RecordBatch, StoreError> {
    let of = |get: fn(&RuleState) -> &str| texts(rules.iter().map(get));
    batch(
        Table::RuleSets,
        vec![
            times(rules.iter().map(|_| time)),
            of(|r| &r.plugin),
            of(|r| &r.version),
            of(|r| &r.digest),
            of(|r| &r.rule),
            of(|r| &r.title),
            of(|r| r.severity),
            of(|r| r.severity_shipped),
            lists(rules.iter().map(|r| &r.techniques)),
            Arc::new(BooleanArray::from_iter(rules.iter().map(|r| Some(r.enabled)))),
            maybe_texts(rules.iter().map(|r| r.signed_by.as_deref())),
            maybe_texts(rules.iter().map(|r| r.description.as_deref())),
        ],
    )
}

/// What is told at `time` of exceptions that came into force with the rules of `rules_time`.
pub fn exceptions_to_batch(
    parts: &[ExceptionPart],
    time: Micros,
    rules_time: Micros,
) -> Result<RecordBatch, StoreError> {
    let of = |get: fn(&ExceptionPart) -> &str| texts(parts.iter().map(get));
    batch(
        Table::ExceptionParts,
        vec![
            times(parts.iter().map(|_| time)),
            times(parts.iter().map(|_| rules_time)),
            of(|p| &p.exception),
            of(|p| &p.rule),
            of(|p| &p.matches),
            of(|p| &p.owner),
            of(|p| &p.reason),
            maybe_times(parts.iter().map(|p| p.created)),
            times(parts.iter().map(|p| p.expires)),
            counts(parts.iter().map(|p| p.hits)),
            maybe_times(parts.iter().map(|p| p.last_hit)),
            Arc::new(BooleanArray::from_iter(parts.iter().map(|p| Some(p.active)))),
        ],
    )
}
