//! Splunk's HTTP event collector, so that forwarders that speak it can be pointed here; without indexer acknowledgement, for 200 says
//! already that the data is on disk.
//!
//! An event's payload is the text of its `event`: an object as it is, a string without its quotes. What the envelope says beside it
//! becomes the attributes `hec.time`, `hec.host`, `hec.source`, `hec.sourcetype`, `hec.index` and `hec.field.NAME`. A request is taken whole or
//! not at all.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::refusal::Refusal;
use super::{Intake, json, lines, push};
use crate::source::spool::Block;

/// Fields of one event's `fields`, and attributes of one raw request: metadata, not data.
const FIELDS_MAX: usize = 64;

pub(super) fn routes() -> Router<Arc<Intake>> {
    Router::new()
        .route("/services/collector", post(event))
        .route("/services/collector/event", post(event))
        .route("/services/collector/event/1.0", post(event))
        .route("/services/collector/raw", post(raw))
        .route("/services/collector/raw/1.0", post(raw))
        .route("/services/collector/health", get(health))
        .route("/services/collector/health/1.0", get(health))
        .route("/services/collector/ack", post(ack))
}

/// What a forwarder is told: Splunk's codes, and their texts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Code {
    Success,
    NoData,
    /// With the number of the event, counted from 0.
    InvalidData(usize, String),
    EventMissing(usize),
    EventBlank(usize),
    AckDisabled,
    Healthy,
    QueuesFull,
    Refused(Refusal),
}

impl Code {
    fn answer(self) -> Response {
        let (status, code, text) = match &self {
            Code::Success => (StatusCode::OK, 0, "Success".into()),
            Code::NoData => (StatusCode::BAD_REQUEST, 5, "No data".into()),
            Code::InvalidData(_, why) => (StatusCode::BAD_REQUEST, 6, format!("Invalid data format: {why}")),
            Code::EventMissing(_) => (StatusCode::BAD_REQUEST, 12, "Event field is required".into()),
            Code::EventBlank(_) => (StatusCode::BAD_REQUEST, 13, "Event field cannot be blank".into()),
            Code::AckDisabled => (StatusCode::BAD_REQUEST, 14, "ACK is disabled".into()),
            Code::Healthy => (StatusCode::OK, 17, "HEC is healthy".into()),
            Code::QueuesFull => (
                StatusCode::SERVICE_UNAVAILABLE,
                18,
                "HEC is unhealthy, queues are full".into(),
            ),
            Code::Refused(refusal) => match refusal {
                Refusal::NoToken => (StatusCode::UNAUTHORIZED, 2, "Token is required".into()),
                Refusal::WrongToken => (StatusCode::FORBIDDEN, 4, "Invalid token".into()),
                Refusal::Busy(_) => (refusal.status(), 9, "Server is busy".into()),
                Refusal::Unavailable(_) => (
                    refusal.status(),
                    8,
                    format!("Internal server error: {}", refusal.message()),
                ),
                _ => (
                    refusal.status(),
                    6,
                    format!("Invalid data format: {}", refusal.message()),
                ),
            },
        };
        let mut answer = serde_json::json!({ "text": text, "code": code });
        if let Code::InvalidData(number, _) | Code::EventMissing(number) | Code::EventBlank(number) = &self {
            answer["invalid-event-number"] = (*number).into();
        }
        let mut response = (status, json(&answer)).into_response();
        if let Code::Refused(refusal) = &self {
            refusal.mark(&mut response);
        }
        response
    }
}

async fn event(State(intake): State<Arc<Intake>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let taken = intake.take(&parts.headers, body, |bytes| {
        Ok(match events(bytes) {
            Ok(block) => (block, Code::Success),
            Err(code) => (Block::default(), code),
        })
    });
    taken.await.unwrap_or_else(Code::Refused).answer()
}

/// Metadata of a raw request, in its query: `host`, `source`, `sourcetype`, `index`, `time`.
async fn raw(State(intake): State<Arc<Intake>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let taken = intake.take(&parts.headers, body, move |bytes| {
        let known = |name: &str| ["time", "host", "source", "sourcetype", "index"].contains(&name);
        let named: BTreeMap<String, Cow<'_, str>> = form_urlencoded::parse(query.as_bytes())
            .filter(|(name, _)| known(name))
            .map(|(name, value)| (format!("hec.{name}"), value))
            .collect();
        let attributes: Vec<(&str, &[u8])> = named
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        let block = lines(bytes, &attributes)?;
        let code = if block.is_empty() { Code::NoData } else { Code::Success };
        Ok((block, code))
    });
    taken.await.unwrap_or_else(Code::Refused).answer()
}

async fn health(State(intake): State<Arc<Intake>>) -> Response {
    let code = if intake.spool.is_full() {
        Code::QueuesFull
    } else {
        Code::Healthy
    };
    code.answer()
}

async fn ack() -> Response {
    Code::AckDisabled.answer()
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    host: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    sourcetype: Option<&'a RawValue>,
    #[serde(borrow)]
    index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    fields: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

/// The events of a body: JSON objects one after the other, with or without space between them.
fn events(bytes: &[u8]) -> Result<Block, Code> {
    let mut block = Block::default();
    let envelopes = serde_json::Deserializer::from_slice(bytes).into_iter::<Envelope<'_>>();
    for (number, envelope) in envelopes.enumerate() {
        let envelope = envelope.map_err(|error| Code::InvalidData(number, error.to_string()))?;
        if envelope.fields.len() > FIELDS_MAX {
            let why = format!("more than {FIELDS_MAX} fields");
            return Err(Code::InvalidData(number, why));
        }
        let event = envelope.event.map(plain).ok_or(Code::EventMissing(number))?;
        if event.trim().is_empty() {
            return Err(Code::EventBlank(number));
        }
        let metadata = [
            ("hec.time", envelope.time),
            ("hec.host", envelope.host),
            ("hec.source", envelope.source),
            ("hec.sourcetype", envelope.sourcetype),
            ("hec.index", envelope.index),
        ];
        let metadata = metadata
            .into_iter()
            .filter_map(|(name, value)| Some((Cow::Borrowed(name), plain(value?))));
        let fields = envelope.fields.iter();
        let fields = fields.map(|(name, value)| (Cow::Owned(format!("hec.field.{name}")), plain(value)));
        let attributes: Vec<(Cow<'_, str>, Cow<'_, str>)> = metadata.chain(fields).collect();
        let attributes: Vec<(&str, &[u8])> = attributes
            .iter()
            .map(|(name, value)| (&**name, value.as_bytes()))
            .collect();
        push(&mut block, event.as_bytes(), &attributes).map_err(Code::Refused)?;
    }
    if block.is_empty() { Err(Code::NoData) } else { Ok(block) }
}

/// A value's JSON text; of a string what it says.
fn plain(value: &RawValue) -> Cow<'_, str> {
    let text = value.get();
    if !text.starts_with('"') {
        return Cow::Borrowed(text);
    }
    serde_json::from_str(text).map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_have_splunks_codes_and_name_the_event() {
        let wrong = |body: &str| events(body.as_bytes()).err();
        assert_eq!(wrong(" \n"), Some(Code::NoData));
        assert_eq!(wrong(r#"{"event":1}{"host":"h"}"#), Some(Code::EventMissing(1)));
        assert_eq!(wrong(r#"{"event":null}"#), Some(Code::EventMissing(0)));
        assert_eq!(wrong(r#"{"event":" "}"#), Some(Code::EventBlank(0)));
        assert!(matches!(
            wrong(r#"{"event":1} {"event":"#),
            Some(Code::InvalidData(1, _))
        ));
        assert!(matches!(wrong("plain"), Some(Code::InvalidData(0, _))));
    }
}
