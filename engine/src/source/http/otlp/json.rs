//! OTLP in JSON.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Records;
use super::fields::{Fault, Field, Kind, RESOURCE, Room, SCOPE, float, put};
use crate::source::http::refusal::Refusal;

/// Groups and records of a request: an exporter's batch has at most some ten thousand; this bounds what empty ones can occupy.
const ELEMENTS_MAX: usize = 200_000;

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow, default, alias = "resourceLogs", alias = "resourceSpans")]
    groups: Bounded<Group<'a>>,
}

#[derive(Deserialize)]
struct Group<'a> {
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "scopeLogs", alias = "scopeSpans")]
    scopes: Bounded<Scope<'a>>,
}

#[derive(Deserialize)]
struct Scope<'a> {
    #[serde(borrow)]
    scope: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "logRecords", alias = "spans")]
    records: Bounded<&'a RawValue>,
}

/// An array of at most `ELEMENTS_MAX` elements; null is an empty one, as in all of protobuf's JSON.
struct Bounded<T>(Vec<T>);

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Bounded(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
            type Value = Bounded<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of at most {ELEMENTS_MAX} elements")
            }

            fn visit_unit<E>(self) -> Result<Bounded<T>, E> {
                Ok(Bounded::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Bounded<T>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = array.next_element()? {
                    if elements.len() >= ELEMENTS_MAX {
                        return Err(serde::de::Error::invalid_length(elements.len() + 1, &self));
                    }
                    elements.push(element);
                }
                Ok(Bounded(elements))
            }
        }
        deserializer.deserialize_any(Elements(PhantomData))
    }
}

/// The records of an export request.
pub(super) fn request(bytes: &[u8], record: &'static [Field], records: &mut Records) -> Result<(), Refusal> {
    let request: Request<'_> = serde_json::from_slice(bytes).map_err(malformed)?;
    for group in request.groups.0 {
        let mut resource = part(group.resource, RESOURCE)?;
        let resource = resource.remove("attributes").unwrap_or_else(|| Map::new().into());
        let resource = resource.to_string();
        for scopes in group.scopes.0 {
            let scope = Value::Object(part(scopes.scope, SCOPE)?).to_string();
            for text in scopes.records.0 {
                match parsed(text).and_then(|value| message(record, value, &mut Room::new(), 0)) {
                    Ok(found) => records.add(&resource, &scope, &found)?,
                    Err(Fault::TooMuch(what)) => records.reject(what),
                    Err(Fault::Malformed(what)) => records.reject(&what),
                }
            }
        }
    }
    Ok(())
}

fn malformed(error: serde_json::Error) -> Refusal {
    Refusal::Malformed(format!("the body is no OTLP/JSON: {error}"))
}

fn parsed(text: &RawValue) -> Result<Value, Fault> {
    serde_json::from_str(text.get()).map_err(|error| Fault::Malformed(error.to_string()))
}

fn part(text: Option<&RawValue>, fields: &'static [Field]) -> Result<Map<String, Value>, Refusal> {
    let Some(text) = text else { return Ok(Map::new()) };
    let found = parsed(text).and_then(|value| message(fields, value, &mut Room::new(), 0));
    found.map_err(|fault| match fault {
        Fault::Malformed(what) => Refusal::Malformed(format!("a resource or scope is no OTLP: {what}")),
        Fault::TooMuch(what) => Refusal::Malformed(format!("a resource or scope has {what}")),
    })
}

fn message(fields: &'static [Field], value: Value, room: &mut Room, depth: usize) -> Result<Map<String, Value>, Fault> {
    let Value::Object(mut given) = value else {
        return Err(Fault::Malformed("a JSON object is expected".into()));
    };
    let mut map = Map::new();
    for field in fields {
        let Some(value) = given.remove(field.name).filter(|value| !value.is_null()) else {
            continue;
        };
        room.take(depth)?;
        let wrong = || Fault::Malformed(format!("`{}` is not of OTLP's type", field.name));
        let value = match (field.kind, value) {
            (Kind::Text, text @ Value::String(_)) => text,
            (Kind::Id, Value::String(id)) => Value::String(id.to_ascii_lowercase()),
            (Kind::Time, Value::Number(time)) => Value::String(time.to_string()),
            (Kind::Time, time @ Value::String(_)) => time,
            (Kind::Number, number) => number_of(&number).ok_or_else(wrong)?,
            (Kind::Any, value) => any(value, room, depth + 1)?,
            (Kind::Message(fields), value) => message(fields, value, room, depth + 1)?.into(),
            (Kind::List(fields), Value::Array(list)) => {
                let list = list
                    .into_iter()
                    .map(|value| message(fields, value, room, depth + 1).map(Value::from));
                list.collect::<Result<Vec<_>, _>>()?.into()
            }
            (Kind::Attributes, Value::Array(list)) => key_values(list, room, depth + 1)?,
            _ => return Err(wrong()),
        };
        put(&mut map, field.name, value);
    }
    Ok(map)
}

/// A number, which protobuf's JSON may write as text.
fn number_of(value: &Value) -> Option<Value> {
    match value {
        Value::Number(_) => Some(value.clone()),
        Value::String(text) => text.parse::<i64>().ok().map(Value::from),
        _ => None,
    }
}

fn key_values(list: Vec<Value>, room: &mut Room, depth: usize) -> Result<Value, Fault> {
    let mut attributes = Map::new();
    for pair in list {
        let Value::Object(mut pair) = pair else {
            return Err(Fault::Malformed("an attribute is no key and value".into()));
        };
        let Some(Value::String(key)) = pair.remove("key") else {
            return Err(Fault::Malformed("an attribute has no key".into()));
        };
        let value = any(pair.remove("value").unwrap_or_default(), room, depth)?;
        attributes.insert(key, value);
    }
    Ok(attributes.into())
}

/// An `AnyValue` as a plain value.
fn any(value: Value, room: &mut Room, depth: usize) -> Result<Value, Fault> {
    room.take(depth)?;
    let wrong = || Fault::Malformed("a value is no AnyValue of OTLP".into());
    let (kind, value) = match value {
        Value::Null => return Ok(Value::Null),
        Value::Object(object) => match object.into_iter().next() {
            Some(found) => found,
            None => return Ok(Value::Null),
        },
        _ => return Err(wrong()),
    };
    match (kind.as_str(), value) {
        ("stringValue" | "bytesValue", text @ Value::String(_)) => Ok(text),
        ("boolValue", flag @ Value::Bool(_)) => Ok(flag),
        ("intValue", number) => number_of(&number).ok_or_else(wrong),
        ("doubleValue", number @ Value::Number(_)) => Ok(number),
        ("doubleValue", Value::String(text)) => text.parse().map(float).map_err(|_| wrong()),
        ("arrayValue", Value::Object(mut array)) => match array.remove("values").unwrap_or_default() {
            Value::Array(list) => list.into_iter().map(|value| any(value, room, depth + 1)).collect(),
            Value::Null => Ok(Value::Array(Vec::new())),
            _ => Err(wrong()),
        },
        ("kvlistValue", Value::Object(mut list)) => match list.remove("values").unwrap_or_default() {
            Value::Array(list) => key_values(list, room, depth + 1),
            Value::Null => Ok(Map::new().into()),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}
