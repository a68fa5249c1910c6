//! The servers of a run, and what they show of it.

use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::PipelineError;
use crate::config::ServeSettings;
use crate::query::{self, SearchFn, postgres};
use crate::search::{HITS_MAX, Index, Searcher};
use crate::serve::{self, ServeError, ServeState, Server};
use crate::store::Views;

/// What a run serves; ends with the run.
pub struct Servers {
    pub state: Arc<ServeState>,
    stop: watch::Sender<bool>,
    http: Option<Server>,
    postgres: Option<tokio::task::JoinHandle<()>>,
}

/// Binds what is configured; a port that is taken is an error before anything is read.
pub async fn start(settings: &ServeSettings, views: &Views, index: &Index) -> Result<Servers, PipelineError> {
    let state = ServeState::new();
    let (stop, stopped) = watch::channel(false);
    let http = match settings.http {
        Some(address) => {
            let server = serve::serve(address, state.clone(), stopped).await?;
            tracing::info!(address = %server.address, "serving health and metrics over HTTP");
            Some(server)
        }
        None => None,
    };
    let postgres = match settings.postgres {
        Some(address) => {
            let listener = TcpListener::bind(address)
                .await
                .map_err(|source| ServeError::Postgres { address, source })?;
            let session = query::session(views.clone(), Some(search_function(index.searcher()))).await?;
            let credentials = settings
                .postgres_password
                .clone()
                .map(|password| postgres::Credentials {
                    user: settings.postgres_user.clone(),
                    password,
                });
            tracing::info!(%address, password = credentials.is_some(), "serving SQL to PostgreSQL clients");
            Some(tokio::spawn(async move {
                if let Err(error) = postgres::serve(listener, session, credentials).await {
                    tracing::error!(%error, "the PostgreSQL server ended");
                }
            }))
        }
        None => None,
    };
    Ok(Servers {
        state,
        stop,
        http,
        postgres,
    })
}

impl Servers {
    /// Ends what is served, after everything else has ended: health can be asked for while a run drains.
    pub async fn end(self) {
        let _ = self.stop.send(true);
        if let Some(postgres) = self.postgres {
            postgres.abort();
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
