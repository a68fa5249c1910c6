//! What a guest handed back becomes detections and relations, or the reason why it cannot be believed.

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

use arrow::array::{Array, AsArray, RecordBatch};

use super::DetectOutput;
use super::error::cut;
use super::layout::{LaidBatch, column, text_at};
use super::manifest::{ID_BYTES_MAX, PluginManifest};
use super::order::{KEY_SEPARATOR, shard_of};
use super::wasm::{Elapsed, Evidence, Findings, FoundDetection, FoundEntity, severity};
use crate::model::detection::ENTITIES_PER_DETECTION_MAX;
use crate::model::{
    ColumnType, Detection, Entity, EntityRole, EventSchema, Micros, RELATION_KINDS, Relation, RoledEntity,
};

/// Detections and relations of one call, per row and in all: several rules may fire on every row, but not without end.
const DETECTIONS_PER_ROW_MAX: usize = 8;
const RELATIONS_PER_ROW_MAX: usize = 16;
/// Detections of one call that time decided: every key of a shard may fall silent at once.
const ELAPSED_MAX: usize = 1 << 16;
/// Longest event id that a guest may hand back, in bytes: those that the engine makes are hashes of half that.
const EVENT_ID_BYTES_MAX: usize = 64;
/// Rows that one detection keeps as evidence; beyond it the newest, which are named last, stay.
const ROWS_PER_DETECTION_MAX: usize = 256;
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

/// What a guest was called with.
#[derive(Clone, Copy)]
pub(super) enum Call<'a> {
    /// Rows, which are rows of the batch beside them.
    Rows(&'a LaidBatch, &'a RecordBatch),
    /// Event time has passed up to this.
    Time(Micros),
}

/// Checks what `call` on a shard gave, and builds it. Errors say what the guest did wrong.
pub(super) fn build(
    manifest: &PluginManifest,
    findings: Findings,
    shard: usize,
    call: Call,
) -> Result<DetectOutput, String> {
    let rows = match call {
        Call::Rows(batch, _) => batch.rows(),
        Call::Time(_) => 0,
    };
    let elapsed = |found: &&FoundDetection| matches!(found.shown_by, Evidence::Elapsed(_));
    let elapsed = findings.detections.iter().filter(elapsed).count();
    for (what, count, max) in [
        (
            "detections",
            findings.detections.len() - elapsed,
            rows * DETECTIONS_PER_ROW_MAX,
        ),
        ("relations", findings.relations.len(), rows * RELATIONS_PER_ROW_MAX),
    ] {
        if count > max {
            return Err(format!("{count} {what} for {rows} rows; at most {max} are allowed"));
        }
    }
    if elapsed > ELAPSED_MAX {
        return Err(format!(
            "{elapsed} detections that time decided; at most {ELAPSED_MAX} a call are allowed"
        ));
    }
    let mut output = DetectOutput::default();
    for found in findings.detections {
        output.detections.push(detection(manifest, found, shard, call)?);
    }
    let Call::Rows(batch, source) = call else {
        return Ok(output);
    };
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

/// What the evidence says of a detection.
struct Shown<'a> {
    tenant: &'a str,
    time: Micros,
    /// Of the rows' own columns.
    entities: BTreeSet<RoledEntity>,
    event_ids: Vec<&'a str>,
    layer: &'a str,
    action: &'a str,
    late: bool,
}

fn detection(manifest: &PluginManifest, found: FoundDetection, shard: usize, call: Call) -> Result<Detection, String> {
    let Some(rule) = manifest.rule(&found.rule) else {
        return Err(format!(
            "a detection of rule `{}`, which its manifest does not have",
            cut(&found.rule, 64)
        ));
    };
    let of_rule = |reason: String| format!("rule `{}`: {reason}", rule.id);
    let (mut shown, elapsed) = match (&found.shown_by, call) {
        (Evidence::Rows(rows), Call::Rows(batch, source)) => (by_rows(rows, batch, source).map_err(of_rule)?, None),
        (Evidence::Rows(_), Call::Time(_)) => return Err(of_rule("it names rows where there are none".into())),
        (Evidence::Elapsed(elapsed), call) => {
            let shown = by_time(manifest, elapsed, shard, call).map_err(of_rule)?;
            (shown, Some(elapsed.time.to_string()))
        }
    };
    for named in &found.entities {
        if let Some(entity) = entity(named).map_err(of_rule)? {
            let known = shown.entities.iter().any(|held| held.entity == entity);
            if !known && shown.entities.len() < ENTITIES_PER_DETECTION_MAX {
                shown.entities.insert(RoledEntity {
                    role: EntityRole::Context,
                    entity,
                });
            }
        }
    }
    if let (Evidence::Rows(rows), Call::Rows(batch, source)) = (&found.shown_by, call) {
        // The decisive row's own and the guest's come first; what the other rows name is added as far as it fits.
        for row in evidence(rows, batch).map_err(of_rule)?.iter().rev().skip(1) {
            row_entities(source, batch.source[*row] as usize, &mut shown.entities);
        }
    }
    // The same events may show again later that something has not happened yet.
    let mut named = shown.event_ids.clone();
    named.extend(elapsed.as_deref());
    Ok(Detection {
        detection_id: Detection::id_of(shown.tenant, &manifest.id, &rule.id, &named).to_string(),
        tenant: shown.tenant.to_owned(),
        time: shown.time,
        plugin: manifest.id.clone(),
        plugin_version: manifest.version.clone(),
        rule: rule.id.clone(),
        severity: found.severity.map_or(rule.severity, severity),
        title: rule.title.clone(),
        message: cut(&found.message, MESSAGE_BYTES_MAX).to_owned(),
        techniques: rule.techniques.clone(),
        entities: shown.entities.into_iter().collect(),
        event_ids: shown.event_ids.into_iter().map(str::to_owned).collect(),
        layer: shown.layer.to_owned(),
        action: shown.action.to_owned(),
        late: shown.late,
    })
}

fn by_rows<'a>(named: &[u32], batch: &'a LaidBatch, source: &'a RecordBatch) -> Result<Shown<'a>, String> {
    let rows = evidence(named, batch)?;
    let Some(last) = rows.last().copied() else {
        return Err("a detection without rows".into());
    };
    let text = |name: &str, row: usize| text_at(source, name, batch.source[row] as usize).unwrap_or_default();
    let tenant = text("tenant", last);
    if rows.iter().any(|row| text("tenant", *row) != tenant) {
        return Err("a detection over rows of several tenants".into());
    }
    let mut entities = BTreeSet::new();
    row_entities(source, batch.source[last] as usize, &mut entities);
    Ok(Shown {
        tenant,
        time: batch.time[last],
        entities,
        event_ids: rows.iter().map(|row| text("event_id", *row)).collect(),
        layer: text("layer", last),
        action: text("api_operation", last),
        late: batch.is_late(last),
    })
}

fn by_time<'a>(manifest: &PluginManifest, elapsed: &'a Elapsed, shard: usize, call: Call) -> Result<Shown<'a>, String> {
    if !manifest.wants_time {
        return Err("time decided it, but the manifest does not say that it wants time".into());
    }
    let Some((tenant, _)) = elapsed
        .key
        .split_once(KEY_SEPARATOR)
        .filter(|(tenant, value)| shard_of(tenant, value) == shard)
    else {
        return Err(format!("key `{}` is none that it was given", cut(&elapsed.key, 64)));
    };
    let passed = match call {
        Call::Rows(batch, _) => batch.time.iter().copied().max().unwrap_or(Micros::MIN),
        Call::Time(time) => time,
    };
    if elapsed.time > passed {
        return Err(format!(
            "it came true at {}, but time has passed up to {passed} only",
            elapsed.time
        ));
    }
    let layers = &manifest.layers;
    if elapsed.layer.len() > ID_BYTES_MAX || !(layers.is_empty() || layers.contains(&elapsed.layer)) {
        let layer = cut(&elapsed.layer, 64);
        return Err(format!("layer `{layer}`; valid are {}", layers.join(", ")));
    }
    let events = &elapsed.events;
    if events.is_empty() || events.iter().any(|id| id.is_empty() || id.len() > EVENT_ID_BYTES_MAX) {
        return Err("it names no event, or what is no event id".into());
    }
    Ok(Shown {
        tenant,
        time: elapsed.time,
        entities: BTreeSet::new(),
        event_ids: events[events.len().saturating_sub(ROWS_PER_DETECTION_MAX)..]
            .iter()
            .map(String::as_str)
            .collect(),
        layer: &elapsed.layer,
        action: "",
        late: false,
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
