//! The tables: their names, their columns and how they are partitioned.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::model::EventSchema;
use crate::model::event::timestamp;

/// One Delta table in the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// The event schema, and the derived `date`.
    Events,
    Detections,
    /// Relations as each epoch saw them; the SQL name `relations` merges the parts.
    RelationParts,
    IncidentRevisions,
    IncidentPath,
    /// Which detections belong to which revision, and in which place, from 1; those that share the fold of one belong with it.
    IncidentEvidence,
    Rejected,
    PluginHealth,
    /// All rules that are in force from one moment on; the SQL name `rules` shows the newest.
    RuleSets,
    /// Exceptions as they were told of; the SQL name `exceptions` sums the parts.
    ExceptionParts,
    /// Inhibitions as they were told of; the SQL name `inhibitions` shows the newest.
    InhibitionParts,
    /// Silences as they were told of; the SQL name `silences` sums the parts.
    SilenceParts,
}

impl Table {
    pub const ALL: [Table; 12] = [
        Table::Events,
        Table::Detections,
        Table::RelationParts,
        Table::IncidentRevisions,
        Table::IncidentPath,
        Table::IncidentEvidence,
        Table::Rejected,
        Table::PluginHealth,
        Table::RuleSets,
        Table::ExceptionParts,
        Table::InhibitionParts,
        Table::SilenceParts,
    ];

    /// Name of its directory under `tables/`.
    pub fn name(self) -> &'static str {
        match self {
            Table::Events => "events",
            Table::Detections => "detections",
            Table::RelationParts => "relation_parts",
            Table::IncidentRevisions => "incident_revisions",
            Table::IncidentPath => "incident_path",
            Table::IncidentEvidence => "incident_evidence",
            Table::Rejected => "rejected",
            Table::PluginHealth => "plugin_health",
            Table::RuleSets => "rule_sets",
            Table::ExceptionParts => "exception_parts",
            Table::InhibitionParts => "inhibition_parts",
            Table::SilenceParts => "silence_parts",
        }
    }

    /// The columns of rows that are handed to the store.
    pub fn schema(self) -> &'static SchemaRef {
        match self {
            Table::Events => EventSchema::get().arrow(),
            Table::Detections => &DETECTIONS,
            Table::RelationParts => &RELATION_PARTS,
            Table::IncidentRevisions => &INCIDENT_REVISIONS,
            Table::IncidentPath => &INCIDENT_PATH,
            Table::IncidentEvidence => &INCIDENT_EVIDENCE,
            Table::Rejected => &REJECTED,
            Table::PluginHealth => &PLUGIN_HEALTH,
            Table::RuleSets => &RULE_SETS,
            Table::ExceptionParts => &EXCEPTION_PARTS,
            Table::InhibitionParts => &INHIBITION_PARTS,
            Table::SilenceParts => &SILENCE_PARTS,
        }
    }

    /// The columns of the table: those of its rows, and for events the `date` that is derived from `time`.
    pub fn stored_schema(self) -> &'static SchemaRef {
        match self {
            Table::Events => &STORED_EVENTS,
            other => other.schema(),
        }
    }

    /// Columns that are kept in the file's place in the table instead of in the file.
    pub(super) fn partition_columns(self) -> &'static [&'static str] {
        match self {
            Table::Events => &["class", "date"],
            _ => &[],
        }
    }

    /// Columns whose least and greatest value are kept per file, so that a query need not open files it cannot use.
    pub(super) fn statistics_columns(self) -> &'static [&'static str] {
        match self {
            Table::Events => &["time", "ingested_time", "tenant", "source"],
            Table::Detections => &["time", "tenant"],
            Table::RelationParts => &["bucket", "first_time", "last_time", "tenant"],
            Table::IncidentRevisions => &["incident_id", "first_time", "last_time", "updated_time", "tenant"],
            Table::IncidentPath => &["incident_id", "time"],
            Table::IncidentEvidence => &["incident_id"],
            Table::Rejected => &["ingested_time", "tenant", "source"],
            Table::PluginHealth => &["time", "plugin"],
            Table::RuleSets => &["time"],
            Table::ExceptionParts => &["time", "exception"],
            Table::InhibitionParts => &["time", "rules_time"],
            Table::SilenceParts => &["time", "silence"],
        }
    }

    /// Columns without repeats worth a dictionary.
    pub(super) fn plain_columns(self) -> &'static [&'static str] {
        match self {
            Table::Events => &[
                "event_id",
                "raw",
                "raw_hash",
                "position",
                "api_request_data",
                "api_response_data",
                "ai_prompt",
                "ai_response",
            ],
            Table::Detections => &["detection_id", "message"],
            Table::Rejected => &["raw", "position"],
            _ => &[],
        }
    }
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8View, false)
}

fn maybe_text(name: &str) -> Field {
    Field::new(name, DataType::Utf8View, true)
}

fn time(name: &str) -> Field {
    Field::new(name, timestamp(), false)
}

fn maybe_time(name: &str) -> Field {
    Field::new(name, timestamp(), true)
}

fn number(name: &str) -> Field {
    Field::new(name, DataType::Int64, false)
}

/// Of a column that tables of an older version lack.
fn maybe_number(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

fn texts(name: &str) -> Field {
    Field::new(
        name,
        DataType::List(Arc::new(Field::new("item", DataType::Utf8View, true))),
        false,
    )
}

fn schema(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

static STORED_EVENTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let mut fields = EventSchema::get().arrow().fields().to_vec();
    fields.push(Arc::new(Field::new("date", DataType::Date32, false)));
    Arc::new(Schema::new(fields))
});

static DETECTIONS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(vec![
        text("detection_id"),
        text("tenant"),
        time("time"),
        text("plugin"),
        text("plugin_version"),
        text("rule"),
        text("severity"),
        Field::new("severity_id", DataType::Int32, false),
        text("title"),
        text("message"),
        texts("techniques"),
        texts("entities"),
        texts("entity_roles"),
        texts("event_ids"),
        text("layer"),
        text("action"),
        Field::new("late", DataType::Boolean, false),
        // What it has in common with its repeats; a table of an older version lacks it.
        maybe_text("fold"),
    ])
});

static RELATION_PARTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(vec![
        text("tenant"),
        text("from_entity"),
        text("kind"),
        text("to_entity"),
        time("bucket"),
        time("first_time"),
        time("last_time"),
        number("count"),
        text("event_id"),
        text("layer"),
    ])
});

static INCIDENT_REVISIONS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(vec![
        text("incident_id"),
        text("tenant"),
        number("revision"),
        text("status"),
        text("severity"),
        Field::new("severity_id", DataType::Int32, false),
        Field::new("score", DataType::Float64, false),
        text("title"),
        time("first_time"),
        time("last_time"),
        texts("techniques"),
        texts("entities"),
        texts("layers"),
        number("detection_count"),
        maybe_text("merged_into"),
        text("score_parts"),
        time("updated_time"),
        text("content_id"),
        maybe_text("workflow_status"),
        maybe_text("assignee"),
        maybe_text("verdict"),
        maybe_text("silenced_by"),
        Field::new("forwarded", DataType::Boolean, true),
        maybe_text("updated_by"),
        maybe_text("note"),
        maybe_text("inhibited_by"),
    ])
});

static INCIDENT_PATH: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(vec![
        text("incident_id"),
        number("revision"),
        number("step"),
        time("time"),
        text("from_entity"),
        text("to_entity"),
        text("action"),
        maybe_text("technique"),
        maybe_text("detection_id"),
        text("why"),
    ])
});

static INCIDENT_EVIDENCE: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(vec![
        text("incident_id"),
        number("revision"),
        number("position"),
        text("detection_id"),
        maybe_text("fold"),
    ])
});

static REJECTED: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(vec![
        text("source"),
        text("tenant"),
        text("position"),
        text("reason"),
        Field::new("raw", DataType::Binary, false),
        time("ingested_time"),
    ])
});

static RULE_SETS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(vec![
        time("time"),
        text("plugin"),
        text("version"),
        text("digest"),
        text("rule"),
        text("title"),
        text("severity"),
        text("severity_shipped"),
        texts("techniques"),
        Field::new("enabled", DataType::Boolean, false),
        maybe_text("signed_by"),
        maybe_text("description"),
    ])
});

static EXCEPTION_PARTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(vec![
        time("time"),
        time("rules_time"),
        text("exception"),
        text("rule"),
        text("matches"),
        text("owner"),
        text("reason"),
        maybe_time("created"),
        time("expires"),
        number("hits"),
        maybe_time("last_hit"),
        Field::new("active", DataType::Boolean, false),
    ])
});

static INHIBITION_PARTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(vec![
        time("time"),
        time("rules_time"),
        text("inhibition"),
        texts("source"),
        texts("target"),
        text("equal"),
        number("within_seconds"),
        text("owner"),
        text("reason"),
        time("expires"),
        Field::new("active", DataType::Boolean, false),
    ])
});

static SILENCE_PARTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(vec![
        time("time"),
        text("silence"),
        text("tenant"),
        text("rule"),
        texts("entities"),
        maybe_text("incident_id"),
        text("owner"),
        text("reason"),
        time("created"),
        time("expires"),
        number("hits"),
        maybe_time("last_hit"),
        maybe_text("removed_by"),
    ])
});

static PLUGIN_HEALTH: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(vec![
        text("plugin"),
        text("version"),
        text("digest"),
        time("time"),
        text("status"),
        maybe_text("reason"),
        number("batches"),
        number("rows"),
        number("detections"),
        number("relations"),
        number("traps"),
        maybe_number("rows_skipped"),
        maybe_number("rows_unseen"),
        maybe_number("rows_late"),
        maybe_number("rows_early"),
        maybe_number("states_lost"),
        maybe_number("log_dropped"),
        maybe_number("retries"),
        maybe_number("keys_evicted"),
    ])
});
