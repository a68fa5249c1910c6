//! The HTTP side: `GET /healthz` (200 or 503, JSON) and `GET /metrics` (OpenMetrics text), and what people do to incidents, see
//! [`triage`].
//!
//! Neither of the first shows telemetry, so neither asks who is there; the address is loopback unless configured otherwise. At most
//! [`CONNECTIONS_MAX`] connections are served at once, and one that stays silent or dawdles over a request is closed.

mod health;
mod metrics;
mod triage;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::extract::State as AxumState;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::listener::{BoundedListener, HEAD_MAX, Patience};

pub use health::{Health, Part, STALE_AFTER, State};
pub use metrics::{LABELS_MAX, LookupFigures, Metrics, PluginFigures, PluginMetrics, SinkFigures, SourceMetrics};
pub use triage::{Ask, Asks, PATH, serve_locally, socket};

/// Connections at once; more wait in the operating system's queue. Scrapers, health checks and a few people need no more, and each
/// costs a task and its buffers.
pub const CONNECTIONS_MAX: usize = 64;

/// A connection that sends nothing for this long is closed, so that idle ones cannot hold all the places. Longer than a usual scrape
/// interval, which keeps a scraper's connection alive.
pub const SILENCE_MAX: Duration = Duration::from_secs(75);

/// After the stop signal, requests under way get this long.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Retrying helps when another process leaves the port.
    #[error("[serve] http: cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    /// Retrying helps when another process leaves the port.
    #[error("[serve] postgres: cannot listen on {address}: {source}")]
    Postgres { address: SocketAddr, source: io::Error },
    #[error("serving SQL to PostgreSQL clients: {source}")]
    Sql { source: io::Error },
}

/// What the endpoints show: counters, and the pipeline's last report.
#[derive(Default)]
pub struct ServeState {
    pub metrics: Metrics,
    health: RwLock<(Health, Option<Instant>)>,
}

impl ServeState {
    pub fn new() -> Arc<ServeState> {
        Arc::new(ServeState::default())
    }

    /// The pipeline's report; due at least every few seconds, for [`STALE_AFTER`] without one is a failure.
    pub fn report(&self, health: Health) {
        *self.health.write().unwrap_or_else(PoisonError::into_inner) = (health, Some(Instant::now()));
    }
}

/// A server at work.
pub struct Server {
    /// Where it listens; the port that was chosen when port 0 was asked for.
    pub address: SocketAddr,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Waits until the server has ended, which it does after the stop signal; cuts off what takes too long.
    pub async fn ended(self) {
        match self.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the HTTP server ended"),
            Err(error) => tracing::error!(%error, "the HTTP server ended abnormally"),
        }
    }
}

/// Listens on `address` and serves until `stop` holds `true` or its sender is gone.
pub async fn serve(
    address: SocketAddr,
    state: Arc<ServeState>,
    asks: Asks,
    mut stop: watch::Receiver<bool>,
) -> Result<Server, ServeError> {
    let listen = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let patience = Patience {
        silence: SILENCE_MAX,
        head: HEAD_MAX,
    };
    let listener = BoundedListener::new(listener, CONNECTIONS_MAX, patience);
    let mut also_stop = stop.clone();
    let task = tokio::spawn(async move {
        let graceful = async move { drop(stop.wait_for(|stop| *stop).await) };
        let served = axum::serve(listener, router(state, asks)).with_graceful_shutdown(graceful);
        tokio::select! {
            ended = async { served.await } => ended,
            () = async {
                drop(also_stop.wait_for(|stop| *stop).await);
                tokio::time::sleep(SHUTDOWN_PATIENCE).await;
            } => Ok(()),
        }
    });
    Ok(Server { address, task })
}

fn router(state: Arc<ServeState>, asks: Asks) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .with_state(state)
        .merge(triage::router(asks))
}

async fn metrics(AxumState(state): AxumState<Arc<ServeState>>) -> Response {
    ([(header::CONTENT_TYPE, OPENMETRICS)], state.metrics.text()).into_response()
}

async fn healthz(AxumState(state): AxumState<Arc<ServeState>>) -> Response {
    let guard = state.health.read().unwrap_or_else(PoisonError::into_inner);
    let (health, reported) = &*guard;
    let (status, detail, good) = health::judge(health, *reported, Instant::now());
    let code = if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let answer = health::Answer {
        status,
        detail,
        version: env!("CARGO_PKG_VERSION"),
        health,
    };
    (code, [(header::CACHE_CONTROL, "no-store")], Json(&answer)).into_response()
}
