//! The only place that wires the stages together: sources → normalize → lookup → detect → correlate → store, and from there to the
//! index, the journal and its sinks, and the servers.

mod backtest;
mod boot;
mod commit;
mod desk;
mod epoch;
mod growth;
mod history;
mod inhibits;
mod lookups;
mod report;
mod rules;
mod run;
mod sequences;
mod servers;
mod sql;
mod waiting;
mod watermark;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use backtest::{Backtest, DetectionChange, IncidentChange, backtest};
pub use boot::incidents;
pub use desk::carry_out;
pub use history::{Replayed, Span, replay};
pub use lookups::ask;
pub use rules::others;
pub use servers::search_function;
pub use sql::{VERB as SERVE_SQL, serve_sql};

use crate::config::{ConfigError, Settings};
use crate::detect::{DetectError, PluginManifest, PluginProblem};
use crate::forward::ForwardError;
use crate::lookup::LookupError;
use crate::normalize::MappingError;
use crate::query::QueryError;
use crate::search::SearchError;
use crate::serve::ServeError;
use crate::source::SourceError;
use crate::store::{StoreError, Views};

/// Why a run could not start or had to stop. Nothing that was acknowledged is lost: a later run goes on where the last durable
/// epoch ended.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// A source cannot be started.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A source failed while it was read.
    #[error("{0}")]
    Reading(SourceError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Mapping(#[from] MappingError),
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Detect(#[from] DetectError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Search(#[from] SearchError),
    #[error(transparent)]
    Forward(#[from] ForwardError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Of the data directory's own: the state of detectors.
    #[error("the state `{name}` cannot be used: {reason}; restore the key, or start from an empty data directory")]
    Sealed { name: String, reason: String },
    /// A backtest that would not end well.
    #[error("{0}")]
    Backtest(String),
    #[error("a part of the engine stopped unexpectedly: {0}; starting again resumes from the last durable epoch")]
    Stopped(String),
}

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    pub records: u64,
    pub events: u64,
    pub rejected: u64,
    pub duplicates: u64,
    /// Bytes of the records.
    pub bytes: u64,
    pub detections: u64,
    /// Incidents that the data directory holds, by the status of their newest revision.
    pub incidents: BTreeMap<&'static str, u64>,
    /// The newest durable epoch.
    pub epoch: u64,
    /// Where the time went.
    pub seconds: StageSeconds,
    /// Every input is read to its present end, and nothing waits for a watermark.
    pub caught_up: bool,
    /// What this run should have read and could not: files, and why.
    pub missing: Vec<String>,
}

/// Seconds spent per stage. Writing happens beside the others.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StageSeconds {
    pub decode: f64,
    /// Laying columns out for the guests, copying them in, checking what comes back.
    pub detect: f64,
    /// Inside the guests.
    pub guest: f64,
    pub correlate: f64,
    /// Journal, index, and showing readers the newest rows.
    pub publish: f64,
    /// Making epochs durable, in the background.
    pub write: f64,
}

/// A run that is under way.
pub struct Running {
    status: watch::Receiver<Status>,
    views: Views,
    search: crate::search::Searcher,
    plugins: Arc<[PluginManifest]>,
    problems: Arc<[PluginProblem]>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<Status, PipelineError>>,
}

/// Starts everything that `settings` names and takes up where the data directory's last durable epoch ended.
pub async fn start(settings: Settings) -> Result<Running, PipelineError> {
    let (stop, stopped) = watch::channel(false);
    let engine = boot::boot(settings, stopped).await?;
    Ok(Running {
        status: engine.status_receiver(),
        views: engine.views(),
        search: engine.searcher(),
        plugins: engine.manifests().into(),
        problems: engine.problems().into(),
        stop,
        task: tokio::spawn(engine.run()),
    })
}

impl Running {
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    pub fn views(&self) -> &Views {
        &self.views
    }

    pub fn searcher(&self) -> &crate::search::Searcher {
        &self.search
    }

    pub fn plugins(&self) -> &[PluginManifest] {
        &self.plugins
    }

    /// Plugin files that could not be used, and why.
    pub fn problems(&self) -> &[PluginProblem] {
        &self.problems
    }

    /// Asks the run to drain, make everything durable and end.
    pub fn stop(&self) {
        let _ = self.stop.send(true);
    }

    /// Waits for the end: by `stop`, or by itself when every source is bounded and read.
    pub async fn join(self) -> Result<Status, PipelineError> {
        self.task
            .await
            .map_err(|error| PipelineError::Stopped(error.to_string()))?
    }

    /// What stops the run after it was given away to `join`.
    pub fn stopper(&self) -> watch::Sender<bool> {
        self.stop.clone()
    }

    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}
