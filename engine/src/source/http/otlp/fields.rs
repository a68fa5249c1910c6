//! What OTLP's messages hold (opentelemetry-proto 1.x), for both encodings.

use serde_json::{Map, Value};

/// Nesting of values. Real attributes have two or three levels; what is deeper is not telemetry.
pub(super) const DEPTH_MAX: usize = 32;
/// Values in one record, its resource or its scope. A conversation with tools has some thousands; this bounds what a few bytes of
/// input can expand to.
pub(super) const VALUES_MAX: usize = 200_000;

pub(super) struct Field {
    pub number: u32,
    /// As in OTLP/JSON.
    pub name: &'static str,
    pub kind: Kind,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// Bytes, shown in hex.
    Id,
    /// Eight bytes, shown as decimal text.
    Time,
    /// A number of any size.
    Number,
    /// `KeyValue`s, gathered to a map.
    Attributes,
    /// `AnyValue`.
    Any,
    Message(&'static [Field]),
    List(&'static [Field]),
}

const fn field(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind }
}

pub(super) const RESOURCE: &[Field] = &[field(1, "attributes", Kind::Attributes)];

pub(super) const SCOPE: &[Field] = &[
    field(1, "name", Kind::Text),
    field(2, "version", Kind::Text),
    field(3, "attributes", Kind::Attributes),
    field(4, "droppedAttributesCount", Kind::Number),
];

pub(super) const LOG: &[Field] = &[
    field(1, "timeUnixNano", Kind::Time),
    field(2, "severityNumber", Kind::Number),
    field(3, "severityText", Kind::Text),
    field(5, "body", Kind::Any),
    field(6, "attributes", Kind::Attributes),
    field(7, "droppedAttributesCount", Kind::Number),
    field(8, "flags", Kind::Number),
    field(9, "traceId", Kind::Id),
    field(10, "spanId", Kind::Id),
    field(11, "observedTimeUnixNano", Kind::Time),
    field(12, "eventName", Kind::Text),
];

pub(super) const SPAN: &[Field] = &[
    field(1, "traceId", Kind::Id),
    field(2, "spanId", Kind::Id),
    field(3, "traceState", Kind::Text),
    field(4, "parentSpanId", Kind::Id),
    field(5, "name", Kind::Text),
    field(6, "kind", Kind::Number),
    field(7, "startTimeUnixNano", Kind::Time),
    field(8, "endTimeUnixNano", Kind::Time),
    field(9, "attributes", Kind::Attributes),
    field(10, "droppedAttributesCount", Kind::Number),
    field(11, "events", Kind::List(EVENT)),
    field(12, "droppedEventsCount", Kind::Number),
    field(13, "links", Kind::List(LINK)),
    field(14, "droppedLinksCount", Kind::Number),
    field(15, "status", Kind::Message(STATUS)),
    field(16, "flags", Kind::Number),
];

const EVENT: &[Field] = &[
    field(1, "timeUnixNano", Kind::Time),
    field(2, "name", Kind::Text),
    field(3, "attributes", Kind::Attributes),
    field(4, "droppedAttributesCount", Kind::Number),
];

const LINK: &[Field] = &[
    field(1, "traceId", Kind::Id),
    field(2, "spanId", Kind::Id),
    field(3, "traceState", Kind::Text),
    field(4, "attributes", Kind::Attributes),
    field(5, "droppedAttributesCount", Kind::Number),
    field(6, "flags", Kind::Number),
];

const STATUS: &[Field] = &[field(2, "message", Kind::Text), field(3, "code", Kind::Number)];

/// Why a message cannot be put into words.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The bytes are no OTLP: nothing after them can be trusted.
    Malformed(String),
    /// This record alone is too much.
    TooMuch(&'static str),
}

/// What one record may still take.
pub(super) struct Room {
    values: usize,
}

impl Room {
    pub(super) fn new() -> Room {
        Room { values: VALUES_MAX }
    }

    /// One value more, at `depth`.
    pub(super) fn take(&mut self, depth: usize) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return Err(Fault::TooMuch("values nested more than 32 deep"));
        }
        match self.values.checked_sub(1) {
            Some(left) => self.values = left,
            None => return Err(Fault::TooMuch("more than 200,000 values")),
        }
        Ok(())
    }
}

/// Adds a field's value unless it says nothing, as protobuf does with defaults.
pub(super) fn put(map: &mut Map<String, Value>, name: &str, value: Value) {
    let is_default = match &value {
        Value::Null => true,
        Value::String(text) => text.is_empty() || (text == "0" && name.ends_with("UnixNano")),
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    };
    if !is_default {
        map.insert(name.to_owned(), value);
    }
}

/// A floating-point number; JSON has no word for those that are none.
pub(super) fn float(number: f64) -> Value {
    match serde_json::Number::from_f64(number) {
        Some(number) => Value::Number(number),
        None => Value::String(number.to_string()),
    }
}
