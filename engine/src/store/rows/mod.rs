//! Model values to rows and back. The way back is how the correlator is rebuilt at a start.

mod columns;
mod incidents;
mod inhibitions;
mod rules;
mod silences;

use std::sync::Arc;

use arrow::array::{BinaryArray, BooleanArray, Int32Array, RecordBatch};

use crate::model::{Detection, Micros, Rejected, Relation, RoledEntity};

use super::error::StoreError;
use super::tables::Table;

pub use incidents::{incidents_from_batches, incidents_to_batches};
pub use inhibitions::{inhibitions_from_batches, inhibitions_to_batch};
pub use rules::{ExceptionPart, RuleState, exceptions_to_batch, rules_to_batch};
pub use silences::{silences_from_batches, silences_to_batch};

use columns::{Rows, batch, counts, list_at, lists, maybe_texts, role_text, texts, times};

/// How a plugin fares, from one moment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginHealth {
    pub plugin: String,
    pub version: String,
    /// SHA-256 of the plugin's file, in hexadecimal digits.
    pub digest: String,
    pub time: Micros,
    /// ok, quarantined, refused or removed.
    pub status: String,
    pub reason: Option<String>,
    /// Counts since the engine started.
    pub batches: u64,
    pub rows: u64,
    pub detections: u64,
    pub relations: u64,
    /// Batches that it failed on: trap, time, memory, error, invalid output.
    pub traps: u64,
    pub rows_skipped: u64,
    pub rows_unseen: u64,
    pub rows_late: u64,
    pub rows_early: u64,
    pub states_lost: u64,
    pub log_dropped: u64,
    /// How often it was tried again after a quarantine.
    pub retries: u64,
    /// Keys that it forgot before their time, to stay within a bound.
    pub keys_evicted: u64,
}

pub fn detections_to_batch(detections: &[Detection]) -> Result<RecordBatch, StoreError> {
    let of = |get: fn(&Detection) -> &str| texts(detections.iter().map(get));
    let entities: Vec<Vec<String>> = detections
        .iter()
        .map(|d| d.entities.iter().map(|roled| roled.entity.to_string()).collect())
        .collect();
    let roles: Vec<Vec<&str>> = detections
        .iter()
        .map(|d| d.entities.iter().map(|roled| role_text(roled.role)).collect())
        .collect();
    batch(
        Table::Detections,
        vec![
            of(|d| &d.detection_id),
            of(|d| &d.tenant),
            times(detections.iter().map(|d| d.time)),
            of(|d| &d.plugin),
            of(|d| &d.plugin_version),
            of(|d| &d.rule),
            of(|d| d.severity.text()),
            Arc::new(Int32Array::from_iter_values(detections.iter().map(|d| d.severity.id()))),
            of(|d| &d.title),
            of(|d| &d.message),
            lists(detections.iter().map(|d| &d.techniques)),
            lists(entities.iter()),
            lists(roles.iter()),
            lists(detections.iter().map(|d| &d.event_ids)),
            of(|d| &d.layer),
            of(|d| &d.action),
            Arc::new(BooleanArray::from_iter(detections.iter().map(|d| Some(d.late)))),
            texts(detections.iter().map(|d| d.fold().to_string())),
        ],
    )
}

pub fn detections_from_batches(batches: &[RecordBatch]) -> Result<Vec<Detection>, StoreError> {
    let mut detections = Vec::new();
    for batch in batches {
        let rows = Rows {
            table: Table::Detections,
            batch,
        };
        let (detection_id, tenant, time) = (rows.texts("detection_id")?, rows.texts("tenant")?, rows.times("time")?);
        let (plugin, plugin_version, rule) = (
            rows.texts("plugin")?,
            rows.texts("plugin_version")?,
            rows.texts("rule")?,
        );
        let (severity, title, message) = (rows.texts("severity")?, rows.texts("title")?, rows.texts("message")?);
        let (techniques, entities) = (rows.lists("techniques")?, rows.lists("entities")?);
        let (roles, event_ids) = (rows.lists("entity_roles")?, rows.lists("event_ids")?);
        let (layer, action, late) = (rows.texts("layer")?, rows.texts("action")?, rows.bools("late")?);
        for row in 0..batch.num_rows() {
            let roles = list_at(&roles, row);
            let entities = list_at(&entities, row);
            if roles.len() != entities.len() {
                return Err(rows.bad("entity_roles", "as many roles as entities"));
            }
            let entities = entities
                .iter()
                .zip(&roles)
                .map(|(entity, role)| {
                    Ok(RoledEntity {
                        role: rows.role(role)?,
                        entity: rows.entity(entity)?,
                    })
                })
                .collect::<Result<_, StoreError>>()?;
            detections.push(Detection {
                detection_id: detection_id.value(row).to_string(),
                tenant: tenant.value(row).to_string(),
                time: time.value(row),
                plugin: plugin.value(row).to_string(),
                plugin_version: plugin_version.value(row).to_string(),
                rule: rule.value(row).to_string(),
                severity: severity
                    .value(row)
                    .parse()
                    .map_err(|error: String| rows.bad("severity", error))?,
                title: title.value(row).to_string(),
                message: message.value(row).to_string(),
                techniques: list_at(&techniques, row),
                entities,
                event_ids: list_at(&event_ids, row),
                layer: layer.value(row).to_string(),
                action: action.value(row).to_string(),
                late: late.value(row),
            });
        }
    }
    Ok(detections)
}

pub fn relations_to_batch(relations: &[Relation]) -> Result<RecordBatch, StoreError> {
    let from: Vec<String> = relations.iter().map(|relation| relation.from.to_string()).collect();
    let to: Vec<String> = relations.iter().map(|relation| relation.to.to_string()).collect();
    batch(
        Table::RelationParts,
        vec![
            texts(relations.iter().map(|r| &r.tenant)),
            texts(from.iter()),
            texts(relations.iter().map(|r| &r.kind)),
            texts(to.iter()),
            times(relations.iter().map(Relation::bucket)),
            times(relations.iter().map(|r| r.first_time)),
            times(relations.iter().map(|r| r.last_time)),
            counts(relations.iter().map(|r| r.count)),
            texts(relations.iter().map(|r| &r.event_id)),
            texts(relations.iter().map(|r| &r.layer)),
        ],
    )
}

pub fn relations_from_batches(batches: &[RecordBatch]) -> Result<Vec<Relation>, StoreError> {
    let mut relations = Vec::new();
    for batch in batches {
        let rows = Rows {
            table: Table::RelationParts,
            batch,
        };
        let (tenant, from, kind) = (rows.texts("tenant")?, rows.texts("from_entity")?, rows.texts("kind")?);
        let (to, first_time, last_time) = (
            rows.texts("to_entity")?,
            rows.times("first_time")?,
            rows.times("last_time")?,
        );
        let (count, event_id, layer) = (rows.numbers("count")?, rows.texts("event_id")?, rows.texts("layer")?);
        for row in 0..batch.num_rows() {
            relations.push(Relation {
                tenant: tenant.value(row).into(),
                from: rows.entity(from.value(row))?,
                kind: kind.value(row).into(),
                to: rows.entity(to.value(row))?,
                first_time: first_time.value(row),
                last_time: last_time.value(row),
                count: rows.count("count", count.value(row))?,
                event_id: event_id.value(row).into(),
                layer: layer.value(row).into(),
            });
        }
    }
    Ok(relations)
}

pub fn rejected_to_batch(rejected: &[Rejected]) -> Result<RecordBatch, StoreError> {
    batch(
        Table::Rejected,
        vec![
            texts(rejected.iter().map(|r| &r.source)),
            texts(rejected.iter().map(|r| &r.tenant)),
            texts(rejected.iter().map(|r| &r.position)),
            texts(rejected.iter().map(|r| &r.reason)),
            Arc::new(BinaryArray::from_iter_values(rejected.iter().map(|r| &r.raw))),
            times(rejected.iter().map(|r| r.ingested_time)),
        ],
    )
}

pub fn plugin_health_to_batch(health: &[PluginHealth]) -> Result<RecordBatch, StoreError> {
    batch(
        Table::PluginHealth,
        vec![
            texts(health.iter().map(|h| &h.plugin)),
            texts(health.iter().map(|h| &h.version)),
            texts(health.iter().map(|h| &h.digest)),
            times(health.iter().map(|h| h.time)),
            texts(health.iter().map(|h| &h.status)),
            maybe_texts(health.iter().map(|h| h.reason.as_deref())),
            counts(health.iter().map(|h| h.batches)),
            counts(health.iter().map(|h| h.rows)),
            counts(health.iter().map(|h| h.detections)),
            counts(health.iter().map(|h| h.relations)),
            counts(health.iter().map(|h| h.traps)),
            counts(health.iter().map(|h| h.rows_skipped)),
            counts(health.iter().map(|h| h.rows_unseen)),
            counts(health.iter().map(|h| h.rows_late)),
            counts(health.iter().map(|h| h.rows_early)),
            counts(health.iter().map(|h| h.states_lost)),
            counts(health.iter().map(|h| h.log_dropped)),
            counts(health.iter().map(|h| h.retries)),
            counts(health.iter().map(|h| h.keys_evicted)),
        ],
    )
}
