//! OTLP over HTTP (OpenTelemetry protocol 1.x): log records and spans, protobuf or JSON.
//!
//! Every record becomes one JSON object:
//!
//! ```json
//! {
//!   "resource": { "service.name": "assistant" },
//!   "scope": { "name": "openai", "version": "1.0", "attributes": {} },
//!   "attributes": { "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 12 },
//!   "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "chat gpt-4o", "kind": 3,
//!   "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000001000000000",
//!   "events": [ { "timeUnixNano": "…", "name": "…", "attributes": {} } ], "status": { "code": 2, "message": "…" }
//! }
//! ```
//!
//! `resource` and every `attributes` are plain maps from name to value, a value being text, number, boolean, list or map as it is, and
//! bytes as base64. `resource` holds the resource's attributes themselves. Everything else has the names and forms of OTLP/JSON: ids
//! in lower-case hex, times as decimal text of nanoseconds since 1970, enumerations as numbers. Beside the fields above a span may have
//! `traceState`, `parentSpanId`, `flags`, `links`; a log record has `timeUnixNano`, `observedTimeUnixNano`, `severityNumber`,
//! `severityText`, `body` (a plain value), `eventName`, `traceId`, `spanId`, `flags`. Fields without a value are absent; fields that OTLP
//! does not know are left out, as it demands.
//!
//! A record that cannot be put so (nested too deeply, too many values, not JSON) is left out and reported in the answer's
//! `partial_success`; a request that is no OTLP is refused whole.

mod fields;
mod json;
mod wire;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use self::fields::{Field, LOG, SPAN};
use super::body::too_long;
use super::refusal::Refusal;
use super::{Intake, push};
use crate::source::spool::Block;

/// Longest that a request's records may become: every record repeats its resource and scope.
const BLOCK_BYTES_MAX: usize = 64 << 20;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// Records of a request that were left out, and why the first one was.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rejected {
    pub records: u64,
    pub reason: String,
}

#[derive(Clone, Copy)]
struct Signal {
    record: &'static [Field],
    /// How the answer calls the number of records left out.
    rejected: &'static str,
}

const LOGS: Signal = Signal {
    record: LOG,
    rejected: "rejectedLogRecords",
};
const TRACES: Signal = Signal {
    record: SPAN,
    rejected: "rejectedSpans",
};

pub(super) async fn logs(State(intake): State<Arc<Intake>>, request: Request) -> Response {
    export(&intake, request, LOGS).await
}

pub(super) async fn traces(State(intake): State<Arc<Intake>>, request: Request) -> Response {
    export(&intake, request, TRACES).await
}

async fn export(intake: &Intake, request: Request, signal: Signal) -> Response {
    let (parts, body) = request.into_parts();
    let Some(is_json) = is_json(&parts.headers) else {
        let refusal = Refusal::Unsupported(format!(
            "the content type is not known; valid are {PROTOBUF} and {JSON}"
        ));
        return refuse(&refusal, true);
    };
    let taken = intake.take(&parts.headers, body, move |bytes| read(bytes, signal, is_json));
    match taken.await {
        Ok(rejected) => accept(&rejected, signal, is_json),
        Err(refusal) => refuse(&refusal, is_json),
    }
}

fn read(bytes: &[u8], signal: Signal, is_json: bool) -> Result<(Block, Rejected), Refusal> {
    let mut records = Records::default();
    match is_json {
        true => json::request(bytes, signal.record, &mut records)?,
        false => wire::request(bytes, signal.record, &mut records)?,
    }
    Ok((records.block, records.rejected))
}

/// What a request becomes; `None` when it is refused.
pub(in crate::source) fn request(bytes: &[u8], traces: bool, is_json: bool) -> Option<Block> {
    let signal = if traces { TRACES } else { LOGS };
    read(bytes, signal, is_json).ok().map(|(block, _)| block)
}

fn is_json(headers: &HeaderMap) -> Option<bool> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    match value.split(';').next()?.trim() {
        PROTOBUF => Some(false),
        JSON => Some(true),
        _ => None,
    }
}

fn accept(rejected: &Rejected, signal: Signal, is_json: bool) -> Response {
    if is_json {
        let partial = serde_json::json!({
            "partialSuccess": { signal.rejected: rejected.records.to_string(), "errorMessage": rejected.reason }
        });
        let answer = if rejected.records == 0 {
            Value::Object(Default::default())
        } else {
            partial
        };
        return ([(header::CONTENT_TYPE, JSON)], answer.to_string()).into_response();
    }
    let mut answer = Vec::new();
    if rejected.records > 0 {
        let mut partial = Vec::new();
        wire::write_number(&mut partial, 1, rejected.records);
        wire::write_bytes(&mut partial, 2, rejected.reason.as_bytes());
        wire::write_bytes(&mut answer, 1, &partial);
    }
    ([(header::CONTENT_TYPE, PROTOBUF)], answer).into_response()
}

/// A `google.rpc.Status`, in the encoding of the request.
fn refuse(refusal: &Refusal, is_json: bool) -> Response {
    // The gRPC codes that belong to the HTTP ones.
    let code: u64 = match refusal {
        Refusal::NoToken | Refusal::WrongToken => 16,
        Refusal::Busy(_) => 8,
        Refusal::Unavailable(_) | Refusal::Slow(_) => 14,
        Refusal::Malformed(_) | Refusal::Unsupported(_) | Refusal::TooLong(_) => 3,
    };
    let message = refusal.message();
    let mut response = if is_json {
        let answer = serde_json::json!({ "code": code, "message": message }).to_string();
        (refusal.status(), [(header::CONTENT_TYPE, JSON)], answer).into_response()
    } else {
        let mut answer = Vec::new();
        wire::write_number(&mut answer, 1, code);
        wire::write_bytes(&mut answer, 2, message.as_bytes());
        (refusal.status(), [(header::CONTENT_TYPE, PROTOBUF)], answer).into_response()
    };
    refusal.mark(&mut response);
    response
}

/// The records of a request, as they are put together.
#[derive(Default)]
struct Records {
    block: Block,
    rejected: Rejected,
}

impl Records {
    fn reject(&mut self, reason: &str) {
        if self.rejected.records == 0 {
            self.rejected.reason = format!("the first record left out: {reason}");
        }
        self.rejected.records += 1;
    }

    /// Adds a record with its resource and scope, which are JSON text.
    fn add(&mut self, resource: &str, scope: &str, record: &serde_json::Map<String, Value>) -> Result<(), Refusal> {
        let mut text = format!("{{\"resource\":{resource},\"scope\":{scope}").into_bytes();
        let own = serde_json::to_vec(record).map_err(|error| Refusal::Malformed(error.to_string()))?;
        if own.len() > 2 {
            text.push(b',');
        }
        text.extend_from_slice(own.get(1..).unwrap_or(b"}"));
        if self.block.bytes().len() + text.len() > BLOCK_BYTES_MAX {
            return Err(too_long(
                "the batch, with each record's resource and scope,",
                BLOCK_BYTES_MAX,
            ));
        }
        push(&mut self.block, &text, &[])
    }
}
