//! The servers of a run, and what they show of it.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Float64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};
use tokio::sync::{mpsc, watch};

use super::PipelineError;
use super::sql::{Login, SqlProcess, Start};
use crate::config::ServeSettings;
use crate::query::SearchFn;
use crate::search::{HITS_MAX, Searcher};
use crate::serve::{self, Ask, Asks, Part, ServeError, ServeState, Server};
use crate::store::Views;

/// A port stays taken for a moment after an engine that was killed.
const BIND_TRIES: u32 = 40;
const BIND_PAUSE: Duration = Duration::from_millis(50);

/// Commands that wait for the pipeline; more wait with who gives them.
const ASKS_WAITING_MAX: usize = 16;

/// What a run serves; ends with the run.
pub struct Servers {
    pub state: Arc<ServeState>,
    /// What people want done to incidents.
    pub asked: mpsc::Receiver<Ask>,
    stop: watch::Sender<bool>,
    http: Option<Server>,
    sql: Option<SqlProcess>,
}

/// Binds what is configured; a port that is taken is an error before anything is read.
pub async fn start(settings: &ServeSettings, dir: &Path, views: &Views) -> Result<Servers, PipelineError> {
    let state = ServeState::new();
    let (stop, stopped) = watch::channel(false);
    let (asks, asked) = mpsc::channel(ASKS_WAITING_MAX);
    // Everything but changing incidents works without it.
    if let Err(error) = serve::serve_locally(dir, asks.clone(), stopped.clone()).await {
        tracing::warn!(%error, dir = %dir.display(), "incidents cannot be updated on this machine while the engine runs");
    }
    let http = match settings.http {
        Some(address) => {
            let server = serve::serve(
                address,
                state.clone(),
                Asks::with_tokens(asks, &settings.tokens),
                stopped,
            )
            .await?;
            tracing::info!(address = %server.address, "serving health and metrics over HTTP");
            Some(server)
        }
        None => None,
    };
    let sql = match settings.postgres {
        Some(address) => {
            let failed = |source| ServeError::Postgres { address, source };
            let listener = bind(address).await.map_err(failed)?;
            let login = settings.postgres_password.as_ref().map(|password| Login {
                user: settings.postgres_user.clone(),
                password: password.reveal().to_owned(),
            });
            let address = listener.local_addr().map_err(failed)?;
            tracing::info!(%address, password = login.is_some(), "serving SQL to PostgreSQL clients");
            let start = Start {
                dir: dir.to_owned(),
                login,
            };
            Some(SqlProcess::start(listener, start, views.clone(), state.clone()).map_err(failed)?)
        }
        None => None,
    };
    Ok(Servers {
        state,
        asked,
        stop,
        http,
        sql,
    })
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let mut tries = 1;
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && tries < BIND_TRIES => tries += 1,
            result => return result,
        }
        tokio::time::sleep(BIND_PAUSE).await;
    }
}

impl Servers {
    pub fn sql_health(&self) -> Option<Part> {
        self.sql.as_ref().map(SqlProcess::health)
    }

    /// Ends what is served, after everything else has ended: health can be asked for while a run drains.
    pub async fn end(self) {
        let _ = self.stop.send(true);
        if let Some(sql) = self.sql {
            sql.end();
        }
        if let Some(http) = self.http {
            http.ended().await;
        }
    }
}

/// `search('…')` for SQL over an index.
pub fn search_function(searcher: Searcher) -> SearchFn {
    Arc::new(move |text| {
        let hits = searcher.search(text, HITS_MAX).map_err(|error| error.to_string())?;
        let schema = Schema::new(vec![
            Field::new("incident_id", DataType::Utf8View, false),
            Field::new("score", DataType::Float64, false),
            Field::new("snippet", DataType::Utf8View, true),
        ]);
        let columns: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(StringViewArray::from_iter_values(
                hits.iter().map(|hit| &hit.incident_id),
            )),
            Arc::new(Float64Array::from_iter_values(
                hits.iter().map(|hit| f64::from(hit.score)),
            )),
            Arc::new(StringViewArray::from_iter_values(hits.iter().map(|hit| &hit.snippet))),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).map_err(|error| error.to_string())
    })
}
