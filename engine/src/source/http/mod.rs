//! Telemetry over HTTP: OTLP logs and traces, NDJSON, and Splunk's HTTP event collector.
//!
//! | request | body | one payload is |
//! |---|---|---|
//! | `POST /v1/logs`, `/v1/traces` | OTLP, protobuf or JSON | a log record or a span, as [`otlp`] says |
//! | `POST /v1/bulk` | NDJSON | a line |
//! | `POST /services/collector[/event]` | concatenated HEC events | an event; its metadata are attributes |
//! | `POST /services/collector/raw` | text | a line |
//! | `GET /services/collector/health` | | |
//!
//! 200 means that everything in the request is on disk. What is on disk is read by the pipeline exactly once; a sender that does not
//! get the answer sends again, so what it sent may be there twice.

mod body;
mod hec;
mod otlp;
mod refusal;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use self::body::{Held, Memory};
pub(super) use self::otlp::request as otlp_request;
use self::refusal::Refusal;
use super::spool::{Block, Spool};
use crate::config::Secret;
use crate::listener::{BoundedListener, HEAD_MAX, Patience};

/// Connections at once; more wait in the operating system's queue. A collector keeps a few open, a fleet of agents one each.
const CONNECTIONS_MAX: usize = 1024;
/// A connection that sends nothing for this long is closed: longer than exporters pause between batches.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// Records of one request, of whatever protocol: several batches of any exporter. However short, each costs a row, and what a small
/// compressed body could expand to would keep the pipeline busy for minutes.
const RECORDS_MAX: u64 = 100_000;
/// After a stop, requests under way get this long.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);
/// Bodies decoded at once, beside the threads that receive them.
const DECODING_MAX: usize = 2;

/// What the handlers share.
pub(super) struct Intake {
    spool: Arc<Spool>,
    /// SHA-256 of each token: of one length, whatever the tokens are. Empty: nobody is asked for one.
    tokens: Vec<[u8; 32]>,
    memory: Memory,
}

impl Intake {
    pub(super) fn new(spool: Arc<Spool>, tokens: &[Secret]) -> Intake {
        Intake {
            spool,
            tokens: tokens.iter().map(|token| digest(token.reveal())).collect(),
            memory: Memory::new(),
        }
    }

    /// Whether the request carries a token of this source. Every token is compared, in constant time.
    fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.tokens.is_empty() {
            return Ok(());
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, token) = given.and_then(|value| value.split_once(' ')).ok_or(Refusal::NoToken)?;
        if !scheme.eq_ignore_ascii_case("bearer") && !scheme.eq_ignore_ascii_case("splunk") {
            return Err(Refusal::NoToken);
        }
        let given = digest(token.trim());
        let known = self.tokens.iter().map(|token| token.ct_eq(&given));
        let is_known = known.fold(subtle::Choice::from(0), |any, this| any | this);
        if bool::from(is_known) {
            Ok(())
        } else {
            Err(Refusal::WrongToken)
        }
    }

    async fn receive(&self, headers: &HeaderMap, body: Body) -> Result<(Vec<u8>, Held), Refusal> {
        self.admit(headers)?;
        if self.spool.is_full() {
            // Before the body is read: it would be for nothing.
            return Err(Refusal::busy("the spool is full"));
        }
        body::read(headers, body, self.memory.hold()).await
    }

    /// Receives a body, makes records of it and returns when they are on disk.
    async fn take<T: Send + 'static>(
        &self,
        headers: &HeaderMap,
        body: Body,
        decode: impl FnOnce(&[u8]) -> Result<(Block, T), Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (bytes, mut held) = self.receive(headers, body).await?;
        let received = bytes.len();
        let decoding = tokio::task::spawn_blocking(move || decode(&bytes));
        let (block, told) = decoding
            .await
            .map_err(|error| Refusal::Unavailable(format!("decoding failed: {error}")))??;
        held.grow_to(received + block.bytes().len())?;
        self.spool.append(Arc::new(block)).await?;
        Ok(told)
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Serves on `listener` until `stopping` says so. For a thread of its own.
pub(super) fn run(
    listener: TcpListener,
    intake: Intake,
    stopping: impl Fn() -> bool + Send + 'static,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(DECODING_MAX)
        .thread_name("http in")
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let patience = Patience {
            silence: SILENCE_MAX,
            head: HEAD_MAX,
        };
        let listener = BoundedListener::new(listener, CONNECTIONS_MAX, patience);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut graceful = stopped.clone();
        let serve = axum::serve(listener, router(Arc::new(intake)))
            .with_graceful_shutdown(async move { drop(graceful.wait_for(|stop| *stop).await) });
        let watch = async move {
            while !stopping() {
                tokio::time::sleep(super::STOP_INTERVAL).await;
            }
            let _ = stop.send(true);
            tokio::time::sleep(SHUTDOWN_PATIENCE).await;
        };
        tokio::select! {
            served = async { serve.await } => served,
            () = watch => Ok(()),
        }
    });
    runtime.shutdown_timeout(SHUTDOWN_PATIENCE);
    served
}

fn router(intake: Arc<Intake>) -> Router {
    Router::new()
        .route("/v1/logs", post(otlp::logs))
        .route("/v1/traces", post(otlp::traces))
        .route("/v1/bulk", post(bulk))
        .merge(hec::routes())
        .fallback(get(unknown).post(unknown))
        .with_state(intake)
}

async fn unknown() -> Response {
    let valid = "valid are /v1/logs, /v1/traces, /v1/bulk and /services/collector";
    (StatusCode::NOT_FOUND, json(&serde_json::json!({ "error": valid }))).into_response()
}

fn json(value: &serde_json::Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// NDJSON: every line that is not blank is a record.
async fn bulk(State(intake): State<Arc<Intake>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let taken = intake.take(&parts.headers, body, |bytes| {
        let block = lines(bytes, &[])?;
        let records = block.records();
        Ok((block, records))
    });
    match taken.await {
        Ok(records) => json(&serde_json::json!({ "accepted": records })),
        Err(refusal) => {
            let answer = json(&serde_json::json!({ "error": refusal.message() }));
            let mut response = (refusal.status(), answer).into_response();
            refusal.mark(&mut response);
            response
        }
    }
}

fn lines(bytes: &[u8], attributes: &[(&str, &[u8])]) -> Result<Block, Refusal> {
    let mut block = Block::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        if !line.iter().all(u8::is_ascii_whitespace) {
            push(&mut block, line.strip_suffix(b"\r").unwrap_or(line), attributes)?;
        }
    }
    Ok(block)
}

/// Adds a record of a request to what goes into the spool.
fn push(block: &mut Block, payload: &[u8], attributes: &[(&str, &[u8])]) -> Result<(), Refusal> {
    if block.records() == RECORDS_MAX {
        return Err(Refusal::TooLong(format!(
            "the request has more than {RECORDS_MAX} records; send smaller batches"
        )));
    }
    block.push(payload, attributes, false);
    Ok(())
}

#[cfg(test)]
mod tests;
