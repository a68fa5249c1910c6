//! The fields of a log that its mapping reads, with the types they have in the records: what the other readers are asked for.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::json::reader::infer_json_schema;
use serde_json::{Value, json};

use super::{Log, normalizer};

/// Types are those of this many records; later ones hold no other fields that matter.
const RECORDS_INFERRED: usize = 20_000;

pub struct Selection(Fields);

impl Selection {
    pub fn of(format: &str, log: &Log) -> Result<Selection> {
        let normalizer = normalizer(format)?;
        let formats = normalizer.formats();
        let found = formats.into_iter().find(|known| known.name == format);
        let paths = found.with_context(|| format!("{format} is no format"))?.paths;
        let end = log.lines[..log.lines.len().min(RECORDS_INFERRED)]
            .last()
            .map_or(0, |line| line.end);
        let (schema, _) = infer_json_schema(&log.text[..end], None).context("its types cannot be inferred")?;
        let paths: Vec<&[String]> = paths.iter().map(Vec::as_slice).collect();
        Ok(Selection(selected(schema.fields(), &paths)))
    }

    pub fn schema(&self) -> Schema {
        Schema::new(self.0.clone())
    }

    /// Field → its type: a name, a list with its items' type in it, or an object for a structure.
    pub fn to_json(&self) -> Value {
        object(&self.0)
    }
}

/// The fields that a path leads to; a path that ends at a structure takes all of it.
fn selected(fields: &Fields, paths: &[&[String]]) -> Fields {
    let mut kept = Vec::new();
    for field in fields {
        let below: BTreeSet<&[String]> = paths
            .iter()
            .filter(|path| path.first() == Some(field.name()))
            .map(|path| &path[1..])
            .collect();
        if below.is_empty() {
            continue;
        }
        let below: Vec<&[String]> = below.into_iter().collect();
        let whole = below.iter().any(|path| path.is_empty());
        match field.data_type() {
            DataType::Null => {}
            DataType::Struct(members) if !whole => {
                let members = selected(members, &below);
                if !members.is_empty() {
                    kept.push(Field::new(field.name(), DataType::Struct(members), true));
                }
            }
            other => kept.extend(typed(other).map(|kind| Field::new(field.name(), kind, true))),
        }
    }
    kept.into()
}

/// Without members that are always null, of which a reader would have to guess the type.
fn typed(kind: &DataType) -> Option<DataType> {
    match kind {
        DataType::Null => None,
        DataType::List(item) => {
            let item = typed(item.data_type())?;
            Some(DataType::List(Field::new("item", item, true).into()))
        }
        DataType::Struct(members) => {
            let members: Vec<Field> = members
                .iter()
                .filter_map(|member| Some(Field::new(member.name(), typed(member.data_type())?, true)))
                .collect();
            (!members.is_empty()).then(|| DataType::Struct(members.into()))
        }
        other => Some(other.clone()),
    }
}

fn object(fields: &Fields) -> Value {
    let members = fields
        .iter()
        .map(|field| (field.name().clone(), name(field.data_type())));
    Value::Object(members.collect())
}

fn name(kind: &DataType) -> Value {
    match kind {
        DataType::Struct(members) => object(members),
        DataType::List(item) => json!([name(item.data_type())]),
        DataType::Boolean => json!("bool"),
        DataType::Int64 => json!("int"),
        DataType::Float64 => json!("float"),
        _ => json!("text"),
    }
}
