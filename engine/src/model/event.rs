//! The event schema, read from schemas/events.toml, and a batch of events in it.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use serde::Deserialize;

use super::entity::EntityRole;

/// Parts of the AI stack, and what stands under and around it: what the column `layer` can say.
pub const LAYERS: [&str; 9] = [
    "gateway",
    "cloud",
    "vector_db",
    "agent",
    "registry",
    "kubernetes",
    "identity",
    "host",
    "network",
];

/// The declaration, as it stands in the project.
pub const EVENTS_TOML: &str = include_str!("../../../schemas/events.toml");

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    Utf8,
    Int64,
    Float64,
    Bool,
    Timestamp,
    ListUtf8,
}

impl ColumnType {
    pub fn arrow(self) -> DataType {
        match self {
            ColumnType::Utf8 => DataType::Utf8View,
            ColumnType::Int64 => DataType::Int64,
            ColumnType::Float64 => DataType::Float64,
            ColumnType::Bool => DataType::Boolean,
            ColumnType::Timestamp => timestamp(),
            ColumnType::ListUtf8 => DataType::List(Arc::new(Field::new("item", DataType::Utf8View, true))),
        }
    }
}

/// timestamp[us, UTC]
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// One column of the event schema.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventColumn {
    #[serde(skip)]
    pub name: String,
    #[serde(rename = "type")]
    pub kind: ColumnType,
    #[serde(default)]
    pub required: bool,
    /// The attribute path in OCSF 1.8; empty where OCSF has none.
    pub ocsf: String,
    pub meaning: String,
    #[serde(default)]
    pub personal: bool,
    /// The kind of entity that the value names.
    pub entity: Option<String>,
    pub role: Option<EntityRole>,
}

/// All event columns, in the file's order.
pub struct EventSchema {
    columns: Vec<EventColumn>,
    arrow: SchemaRef,
}

static EVENT_SCHEMA: LazyLock<EventSchema> = LazyLock::new(|| {
    EventSchema::parse(EVENTS_TOML).unwrap_or_else(|error| panic!("schemas/events.toml is part of the build: {error}"))
});

impl EventSchema {
    /// The schema of this build.
    pub fn get() -> &'static EventSchema {
        &EVENT_SCHEMA
    }

    fn parse(text: &str) -> Result<EventSchema, toml::de::Error> {
        let table: toml::Table = toml::from_str(text)?;
        let mut columns = Vec::with_capacity(table.len());
        for (name, value) in table {
            let column: EventColumn = value.try_into()?;
            columns.push(EventColumn { name, ..column });
        }
        let fields: Vec<Field> = columns
            .iter()
            .map(|column| Field::new(&column.name, column.kind.arrow(), !column.required))
            .collect();
        Ok(EventSchema {
            columns,
            arrow: Arc::new(Schema::new(fields)),
        })
    }

    pub fn columns(&self) -> &[EventColumn] {
        &self.columns
    }

    pub fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    /// Kinds of entities that an event can name: those of the columns, and sessions, which ARNs of principals turn out to be.
    pub fn entity_kinds(&self) -> BTreeSet<&str> {
        let declared = self.columns.iter().filter_map(|column| column.entity.as_deref());
        declared.chain(["session"]).collect()
    }

    /// Kinds of entities that can be persons.
    pub fn personal_kinds(&self) -> BTreeSet<&str> {
        let columns = self.columns.iter().filter(|column| column.personal);
        let mut kinds: BTreeSet<&str> = columns.filter_map(|column| column.entity.as_deref()).collect();
        // What a principal's ARN of an assumed role is: its name is often a person's.
        if kinds.contains("principal") {
            kinds.insert("session");
        }
        kinds
    }

    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

/// Events in the event schema. Strings are views that may point into the block the events were decoded from; what outlives its
/// epoch calls [`compact`] first.
#[derive(Clone, Debug)]
pub struct EventBatch(RecordBatch);

impl EventBatch {
    /// Wraps a batch that has the event schema; anything else is a defect of the caller.
    pub fn new(batch: RecordBatch) -> EventBatch {
        assert_eq!(
            batch.schema_ref().fields(),
            EventSchema::get().arrow().fields(),
            "not the event schema"
        );
        EventBatch(batch)
    }

    pub fn empty() -> EventBatch {
        EventBatch(RecordBatch::new_empty(EventSchema::get().arrow().clone()))
    }

    pub fn rows(&self) -> usize {
        self.0.num_rows()
    }

    pub fn batch(&self) -> &RecordBatch {
        &self.0
    }

    pub fn column(&self, name: &str) -> &ArrayRef {
        self.0
            .column_by_name(name)
            .unwrap_or_else(|| panic!("`{name}` is no event column"))
    }

    pub fn text(&self, name: &str) -> &StringViewArray {
        self.column(name).as_string_view()
    }

    /// Event times in microseconds.
    pub fn time(&self) -> &TimestampMicrosecondArray {
        self.column("time").as_primitive()
    }

    /// The text at `row`, `None` when null.
    pub fn text_at(&self, name: &str, row: usize) -> Option<&str> {
        let column = self.text(name);
        column.is_valid(row).then(|| column.value(row))
    }
}

/// Says of each row of events whether its time is flagged as one of the future, which says nothing of how far time has come.
pub fn is_future(events: &RecordBatch) -> impl Fn(usize) -> bool {
    let flags = events.column_by_name("flags");
    let flags = flags.and_then(|flags| flags.as_list_opt::<i32>());
    move |row| {
        let Some(flags) = flags.filter(|flags| flags.is_valid(row)) else {
            return false;
        };
        let mut items = flags.value_offsets()[row] as usize..flags.value_offsets()[row + 1] as usize;
        let texts: &StringViewArray = flags.values().as_string_view();
        items.any(|item| texts.is_valid(item) && texts.value(item) == "future_time")
    }
}

/// The batch with its strings in buffers of their own.
pub fn compact(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch
        .columns()
        .iter()
        .map(|array| -> Result<ArrayRef, ArrowError> {
            if let Some(text) = array.as_string_view_opt() {
                return Ok(Arc::new(text.gc()));
            }
            let Some(list) = array.as_list_opt::<i32>() else {
                return Ok(array.clone());
            };
            let (DataType::List(field), Some(items)) = (list.data_type(), list.values().as_string_view_opt()) else {
                return Ok(array.clone());
            };
            let items = Arc::new(items.gc());
            Ok(Arc::new(ListArray::try_new(
                field.clone(),
                list.offsets().clone(),
                items,
                list.nulls().cloned(),
            )?))
        })
        .collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
    RecordBatch::try_new(batch.schema(), columns)
}
