//! OTLP in protobuf. The messages are few and known, and only looked through once: fields are taken from the bytes as they stand.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use super::Records;
use super::fields::{Fault, Field, Kind, RESOURCE, Room, SCOPE, float, put};
use crate::source::http::refusal::Refusal;

/// A field as it is on the wire.
enum Raw<'a> {
    Varint(u64),
    Eight([u8; 8]),
    Bytes(&'a [u8]),
    Four([u8; 4]),
}

/// The fields of a message, in the order of the bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn field(&mut self) -> Option<(u32, Raw<'a>)> {
        let key = self.varint()?;
        let raw = match key & 7 {
            0 => Raw::Varint(self.varint()?),
            1 => Raw::Eight(self.array()?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Raw::Bytes(bytes)
            }
            5 => Raw::Four(self.array()?),
            _ => return None,
        };
        Some((u32::try_from(key >> 3).ok()?, raw))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Raw<'a>), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| Fault::Malformed("the bytes are no protobuf message".into())))
    }
}

/// The messages in field `wanted`.
fn messages(bytes: &[u8], wanted: u32) -> impl Iterator<Item = Result<&[u8], Fault>> {
    Fields(bytes).filter_map(move |field| match field {
        Ok((number, Raw::Bytes(message))) if number == wanted => Some(Ok(message)),
        Ok((number, _)) if number == wanted => Some(Err(wrong_type(wanted))),
        Ok(_) => None,
        Err(fault) => Some(Err(fault)),
    })
}

fn wrong_type(number: u32) -> Fault {
    Fault::Malformed(format!("field {number} is not of OTLP's type"))
}

/// The records of an export request. Logs and traces are built alike: groups by resource in field 1, in each the resource in field 1
/// and groups by scope in field 2, in each the scope in field 1 and the records in field 2.
pub(super) fn request(bytes: &[u8], record: &'static [Field], records: &mut Records) -> Result<(), Refusal> {
    for group in messages(bytes, 1) {
        let group = group.map_err(refuse)?;
        let resource = match last(group, RESOURCE) {
            Ok(mut resource) => resource.remove("attributes").unwrap_or_else(|| Map::new().into()),
            Err(fault) => return Err(refuse(fault)),
        };
        let resource = resource.to_string();
        for scopes in messages(group, 2) {
            let scopes = scopes.map_err(refuse)?;
            let scope = Value::Object(last(scopes, SCOPE).map_err(refuse)?).to_string();
            for bytes in messages(scopes, 2) {
                match message(record, bytes.map_err(refuse)?, &mut Room::new(), 0) {
                    Ok(found) => records.add(&resource, &scope, &found)?,
                    Err(Fault::TooMuch(what)) => records.reject(what),
                    Err(fault) => return Err(refuse(fault)),
                }
            }
        }
    }
    Ok(())
}

/// The message in field 1, the last one if there are several.
fn last(bytes: &[u8], fields: &'static [Field]) -> Result<Map<String, Value>, Fault> {
    let mut found = Map::new();
    for bytes in messages(bytes, 1) {
        found = message(fields, bytes?, &mut Room::new(), 0)?;
    }
    Ok(found)
}

fn refuse(fault: Fault) -> Refusal {
    match fault {
        Fault::Malformed(what) => Refusal::Malformed(what),
        Fault::TooMuch(what) => Refusal::Malformed(format!("a resource or scope has {what}")),
    }
}

fn message(fields: &'static [Field], bytes: &[u8], room: &mut Room, depth: usize) -> Result<Map<String, Value>, Fault> {
    let mut map = Map::new();
    for found in Fields(bytes) {
        let (number, raw) = found?;
        let Some(field) = fields.iter().find(|field| field.number == number) else {
            continue;
        };
        room.take(depth)?;
        let value = match (field.kind, raw) {
            (Kind::Text, Raw::Bytes(text)) => text_of(text),
            (Kind::Id, Raw::Bytes(id)) => Value::String(hex::encode(id)),
            (Kind::Time, Raw::Eight(time)) => Value::String(u64::from_le_bytes(time).to_string()),
            (Kind::Number, Raw::Varint(number)) => Value::from(number.cast_signed()),
            (Kind::Number, Raw::Four(number)) => Value::from(u32::from_le_bytes(number)),
            (Kind::Any, Raw::Bytes(bytes)) => any(bytes, room, depth + 1)?,
            (Kind::Message(fields), Raw::Bytes(bytes)) => message(fields, bytes, room, depth + 1)?.into(),
            (Kind::List(fields), Raw::Bytes(bytes)) => {
                let element = message(fields, bytes, room, depth + 1)?.into();
                if let Value::Array(list) = map.entry(field.name).or_insert_with(|| Value::Array(Vec::new())) {
                    list.push(element);
                }
                continue;
            }
            (Kind::Attributes, Raw::Bytes(bytes)) => {
                let (key, value) = key_value(bytes, room, depth + 1)?;
                if let Value::Object(attributes) = map.entry(field.name).or_insert_with(|| Map::new().into()) {
                    attributes.insert(key, value);
                }
                continue;
            }
            _ => return Err(wrong_type(number)),
        };
        put(&mut map, field.name, value);
    }
    Ok(map)
}

fn key_value(bytes: &[u8], room: &mut Room, depth: usize) -> Result<(String, Value), Fault> {
    let (mut key, mut value) = (String::new(), Value::Null);
    for found in Fields(bytes) {
        match found? {
            (1, Raw::Bytes(text)) => key = String::from_utf8_lossy(text).into_owned(),
            (2, Raw::Bytes(bytes)) => value = any(bytes, room, depth)?,
            _ => {}
        }
    }
    Ok((key, value))
}

/// An `AnyValue` as a plain value; of several in one, the last counts.
fn any(bytes: &[u8], room: &mut Room, depth: usize) -> Result<Value, Fault> {
    room.take(depth)?;
    let mut value = Value::Null;
    for found in Fields(bytes) {
        value = match found? {
            (1, Raw::Bytes(text)) => text_of(text),
            (2, Raw::Varint(flag)) => Value::Bool(flag != 0),
            (3, Raw::Varint(number)) => Value::from(number.cast_signed()),
            (4, Raw::Eight(number)) => float(f64::from_le_bytes(number)),
            (5, Raw::Bytes(list)) => {
                let values = messages(list, 1).map(|value| any(value?, room, depth + 1));
                Value::Array(values.collect::<Result<_, _>>()?)
            }
            (6, Raw::Bytes(list)) => {
                let values = messages(list, 1).map(|pair| key_value(pair?, room, depth + 1));
                Value::Object(values.collect::<Result<_, _>>()?)
            }
            (7, Raw::Bytes(bytes)) => Value::String(BASE64.encode(bytes)),
            _ => value,
        };
    }
    Ok(value)
}

/// Protobuf wants UTF-8; what is not is shown with replacement characters rather than lost.
fn text_of(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}

pub(super) fn write_number(out: &mut Vec<u8>, field: u8, number: u64) {
    out.push(field << 3);
    write_varint(out, number);
}

pub(super) fn write_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push((field << 3) | 2);
    write_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn write_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number as u8) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
