//! What a guest handed back becomes detections and relations, or the reason why it cannot be believed.

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

use arrow::array::{Array, AsArray, RecordBatch};

use super::DetectOutput;
use super::error::cut;
use super::layout::{LaidBatch, column, text_at};
use super::manifest::PluginManifest;
use super::wasm::{Findings, FoundDetection, FoundEntity, severity};
use crate::model::{ColumnType, Detection, Entity, EntityRole, EventSchema, RELATION_KINDS, Relation, RoledEntity};

/// Detections and relations of one call, per row and in all: several rules may fire on every row, but not without end.
const DETECTIONS_PER_ROW_MAX: usize = 8;
const RELATIONS_PER_ROW_MAX: usize = 16;
/// Rows that one detection keeps as evidence; beyond it the newest, which are named last, stay.
const ROWS_PER_DETECTION_MAX: usize = 256;
/// Entities that one detection keeps: those of the decisive row and the guest's own first.
const ENTITIES_PER_DETECTION_MAX: usize = 64;
/// Longest message, in bytes; a longer one is cut.
const MESSAGE_BYTES_MAX: usize = 1024;

/// An event column that names an entity.
struct EntityColumn {
    name: String,
    kind: String,
    role: EntityRole,
    list: bool,
}

static ENTITY_COLUMNS: LazyLock<Vec<EntityColumn>> = LazyLock::new(|| {
    let columns = EventSchema::get().columns().iter();
    columns
        .filter_map(|column| {
            let (kind, role) = (column.entity.clone()?, column.role.unwrap_or(EntityRole::Context));
            Some(EntityColumn {
                name: column.name.clone(),
                kind,
                role,
                list: column.kind == ColumnType::ListUtf8,
            })
        })
        .collect()
});

/// Kinds of entities that a guest may name.
static ENTITY_KINDS: LazyLock<BTreeSet<&str>> = LazyLock::new(|| EventSchema::get().entity_kinds());

/// Event columns that building a detection takes, beyond those that the plugin reads.
pub(super) fn needed_columns() -> impl Iterator<Item = &'static str> {
    ["event_id", "time", "tenant", "layer", "api_operation"]
        .into_iter()
        .chain(ENTITY_COLUMNS.iter().map(|column| column.name.as_str()))
}

/// Checks what a call with `batch` gave, and builds it out of the rows of `source`. Errors say what the guest did wrong.
pub(super) fn build(
    manifest: &PluginManifest,
    findings: Findings,
    batch: &LaidBatch,
    source: &RecordBatch,
) -> Result<DetectOutput, String> {
    let detections_max = batch.rows() * DETECTIONS_PER_ROW_MAX;
    let relations_max = batch.rows() * RELATIONS_PER_ROW_MAX;
    if findings.detections.len() > detections_max {
        let count = findings.detections.len();
        return Err(format!(
            "{count} detections for {} rows; at most {detections_max} are allowed",
            batch.rows()
        ));
    }
    if findings.relations.len() > relations_max {
        let count = findings.relations.len();
        return Err(format!(
            "{count} relations for {} rows; at most {relations_max} are allowed",
            batch.rows()
        ));
    }
    let mut output = DetectOutput::default();
    for found in findings.detections {
        output.detections.push(detection(manifest, found, batch, source)?);
    }
    for found in findings.relations {
        let row = row_of(found.row, batch)?;
        if !RELATION_KINDS.contains(&found.kind.as_str()) {
            let kind = cut(&found.kind, 64);
            return Err(format!(
                "a relation of kind `{kind}`; valid are {}",
                RELATION_KINDS.join(", ")
            ));
        }
        let (from, to) = (entity(&found.source)?, entity(&found.target)?);
        // A value that names nothing, such as `-`, comes from the data and is no fault of the guest.
        let (Some(from), Some(to)) = (from, to) else { continue };
        let at = batch.source[row] as usize;
        output.relations.push(Relation {
            tenant: text_at(source, "tenant", at).unwrap_or_default().into(),
            from,
            kind: found.kind.into(),
            to,
            first_time: batch.time[row],
            last_time: batch.time[row],
            count: 1,
            event_id: text_at(source, "event_id", at).unwrap_or_default().into(),
            layer: text_at(source, "layer", at).unwrap_or_default().into(),
        });
    }
    Ok(output)
}

fn detection(
    manifest: &PluginManifest,
    found: FoundDetection,
    batch: &LaidBatch,
    source: &RecordBatch,
) -> Result<Detection, String> {
    let Some(rule) = manifest.rule(&found.rule) else {
        return Err(format!(
            "a detection of rule `{}`, which its manifest does not have",
            cut(&found.rule, 64)
        ));
    };
    let rows = evidence(&found.rows, batch).map_err(|reason| format!("rule `{}`: {reason}", rule.id))?;
    let Some(last) = rows.last().copied() else {
        return Err(format!("rule `{}`: a detection without rows", rule.id));
    };
    let at = |row: usize| batch.source[row] as usize;
    let text = |name: &str, row: usize| text_at(source, name, at(row)).unwrap_or_default();
    let tenant = text("tenant", last);
    if rows.iter().any(|row| text("tenant", *row) != tenant) {
        return Err(format!("rule `{}`: a detection over rows of several tenants", rule.id));
    }
    let mut entities = BTreeSet::new();
    row_entities(source, at(last), &mut entities);
    for named in &found.entities {
        if let Some(entity) = entity(named).map_err(|reason| format!("rule `{}`: {reason}", rule.id))? {
            let known = entities.iter().any(|held: &RoledEntity| held.entity == entity);
            if !known && entities.len() < ENTITIES_PER_DETECTION_MAX {
                entities.insert(RoledEntity {
                    role: EntityRole::Context,
                    entity,
                });
            }
        }
    }
    rows.iter()
        .rev()
        .skip(1)
        .for_each(|row| row_entities(source, at(*row), &mut entities));
    let event_ids: Vec<&str> = rows.iter().map(|row| text("event_id", *row)).collect();
    Ok(Detection {
        detection_id: Detection::id_of(tenant, &manifest.id, &rule.id, &event_ids).to_string(),
        tenant: tenant.to_owned(),
        time: batch.time[last],
        plugin: manifest.id.clone(),
        plugin_version: manifest.version.clone(),
        rule: rule.id.clone(),
        severity: found.severity.map_or(rule.severity, severity),
        title: rule.title.clone(),
        message: cut(&found.message, MESSAGE_BYTES_MAX).to_owned(),
        techniques: rule.techniques.clone(),
        entities: entities.into_iter().collect(),
        event_ids: event_ids.into_iter().map(str::to_owned).collect(),
        layer: text("layer", last).to_owned(),
        action: text("api_operation", last).to_owned(),
        late: batch.is_late(last),
    })
}

/// The rows that a detection names, each once and in the guest's order, the newest as far as they fit.
fn evidence(found: &[u32], batch: &LaidBatch) -> Result<Vec<usize>, String> {
    let mut seen = HashSet::new();
    let mut rows = Vec::new();
    for row in found.iter().rev() {
        let row = row_of(*row, batch)?;
        if rows.len() < ROWS_PER_DETECTION_MAX && seen.insert(row) {
            rows.push(row);
        }
    }
    rows.reverse();
    Ok(rows)
}

fn row_of(row: u32, batch: &LaidBatch) -> Result<usize, String> {
    let found = row as usize;
    if found < batch.rows() {
        Ok(found)
    } else {
        Err(format!("it names row {row} of a batch of {} rows", batch.rows()))
    }
}

fn entity(found: &FoundEntity) -> Result<Option<Entity>, String> {
    if !ENTITY_KINDS.contains(found.kind.as_str()) {
        let valid: Vec<&str> = ENTITY_KINDS.iter().copied().collect();
        return Err(format!(
            "an entity of kind `{}`; valid are {}",
            cut(&found.kind, 64),
            valid.join(", ")
        ));
    }
    Ok(Entity::canonical(&found.kind, &found.value))
}

/// Adds the entities that the row's own columns name, as far as they fit.
fn row_entities(source: &RecordBatch, row: usize, entities: &mut BTreeSet<RoledEntity>) {
    for named in ENTITY_COLUMNS.iter() {
        let array = column(source, &named.name);
        if array.is_null(row) {
            continue;
        }
        let mut add = |value: &str| {
            if let Some(entity) = Entity::canonical(&named.kind, value)
                && entities.len() < ENTITIES_PER_DETECTION_MAX
            {
                entities.insert(RoledEntity {
                    role: named.role,
                    entity,
                });
            }
        };
        if named.list {
            let items = array.as_list::<i32>().value(row);
            items.as_string_view().iter().flatten().for_each(&mut add);
        } else {
            add(array.as_string_view().value(row));
        }
    }
}
