//! Events of a fixture, and batches made of them.

use serde_json::{Map, Value, json};

use crate::{Batch, Data, Kind, Manifest, SECOND, TextColumn, Values, col};

/// 2026-01-01T00:00:00Z, where fixtures begin.
const BEGINNING: i64 = 1_767_225_600 * SECOND;
/// Names in a fixture's event that are no columns.
const OWN: [&str; 4] = ["id", "at", "repeat", "every"];

/// An event as the engine would route it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its `event_id`.
    pub id: String,
    /// Event time, microseconds.
    pub time: i64,
    /// The columns that are not null.
    pub columns: Map<String, Value>,
}

/// The events that the plugin gets to see, in order.
pub fn events(
    manifest: &Manifest,
    defaults: &Map<String, Value>,
    written: &[Map<String, Value>],
) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    for (number, event) in written.iter().enumerate() {
        let fallback = format!("event-{number}");
        let id = event.get("id").and_then(Value::as_str).unwrap_or(&fallback);
        let second = |name: &str| event.get(name).and_then(Value::as_f64).unwrap_or_default();
        let repeat = event.get("repeat").and_then(Value::as_u64);
        let mut columns = defaults.clone();
        columns.extend(event.iter().map(|(name, value)| (name.clone(), value.clone())));
        columns.retain(|name, value| !OWN.contains(&name.as_str()) && !value.is_null());
        if let Some(name) = columns
            .keys()
            .find(|name| !col::ALL.iter().any(|(known, _)| known == name))
        {
            return Err(format!("{id}: the schema has no column {name}"));
        }
        let wanted = |list: &[&str], column: &str| {
            list.is_empty()
                || columns
                    .get(column)
                    .and_then(Value::as_str)
                    .is_some_and(|value| list.contains(&value))
        };
        if !wanted(manifest.layers, "layer") || !wanted(manifest.classes, "class") {
            continue;
        }
        for n in 0..repeat.unwrap_or(1) {
            let seconds = second("at") + second("every") * n as f64;
            let time = BEGINNING + (seconds * SECOND as f64) as i64;
            let id = if repeat.is_some() {
                format!("{id}.{n}")
            } else {
                id.to_owned()
            };
            let own = [(col::EVENT_ID.name, json!(id)), (col::TIME.name, json!(time))];
            events.push(Event {
                columns: columns
                    .iter()
                    .map(|(name, value)| (name.clone(), numbered(value, n)))
                    .chain(own.map(|(name, value)| (name.to_owned(), value)))
                    .collect(),
                id,
                time,
            });
        }
    }
    events.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
    Ok(events)
}

fn numbered(value: &Value, n: u64) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("{n}", &n.to_string())),
        // JSON written as JSON, for the columns that hold JSON text.
        Value::Object(_) => Value::String(value.to_string().replace("{n}", &n.to_string())),
        other => other.clone(),
    }
}

/// What a batch is made of: times, keys and columns.
pub type Parts = (Vec<i64>, TextColumn, Vec<Data>);

/// A batch of the columns that the manifest names.
pub fn batch(manifest: &Manifest, rows: &[Event]) -> Result<Batch, String> {
    let (time, key, columns) = parts(manifest, rows)?;
    Batch::new(manifest.columns, time, Vec::new(), key, columns)
}

/// The same before it is looked at.
pub fn parts(manifest: &Manifest, rows: &[Event]) -> Result<Parts, String> {
    let time = rows.iter().map(|event| event.time).collect();
    let mut key = TextColumn::default();
    for event in rows {
        key.push(&route(manifest, event));
    }
    let columns = manifest
        .columns
        .iter()
        .map(|name| column(name, rows))
        .collect::<Result<_, _>>()?;
    Ok((time, key, columns))
}

fn route(manifest: &Manifest, event: &Event) -> String {
    let text = |name: &str| event.columns.get(name).and_then(Value::as_str);
    match manifest.key.iter().find_map(|name| text(name)) {
        Some(value) => format!("{}\0{value}", text("tenant").unwrap_or("default")),
        None => String::new(),
    }
}

fn column(name: &str, rows: &[Event]) -> Result<Data, String> {
    let Some((_, kind)) = col::ALL.iter().find(|(known, _)| *known == name) else {
        return Err(format!("the schema has no column {name}"));
    };
    let cells = || rows.iter().map(|event| event.columns.get(name));
    let wrong = |value: &Value| format!("column {name} is {kind:?}, not {value}");
    let int = |cell: Option<&Value>| cell.map_or(Ok(0), |value| value.as_i64().ok_or_else(|| wrong(value)));
    let values = match kind {
        Kind::Text => {
            let mut texts = TextColumn::default();
            for cell in cells() {
                texts.push(cell.map_or(Ok(""), |value| value.as_str().ok_or_else(|| wrong(value)))?);
            }
            Values::Text(texts)
        }
        Kind::TextList => {
            let (mut starts, mut items) = (vec![0], TextColumn::default());
            for cell in cells() {
                for item in cell.and_then(Value::as_array).into_iter().flatten() {
                    items.push(item.as_str().ok_or_else(|| wrong(item))?);
                }
                starts.push(items.offsets.len().saturating_sub(1) as u32);
            }
            Values::TextList { rows: starts, items }
        }
        Kind::Int64 => Values::Int64(cells().map(int).collect::<Result<_, _>>()?),
        Kind::Timestamp => Values::Timestamp(cells().map(int).collect::<Result<_, _>>()?),
        Kind::Float64 => Values::Float64(
            cells()
                .map(|cell| cell.and_then(Value::as_f64).unwrap_or_default())
                .collect(),
        ),
        Kind::Bool => Values::Bool(
            cells()
                .map(|cell| u8::from(cell.and_then(Value::as_bool).unwrap_or_default()))
                .collect(),
        ),
    };
    Ok(Data {
        values,
        valid: cells().map(|cell| u8::from(cell.is_some())).collect(),
    })
}
