//! SQL over the store's views.
//!
//! A session knows the tables by name only. When a statement is analysed to be run, `pin` takes the newest view once and puts its
//! tables in the places of all names, so that every statement, prepared long ago or not, sees one immutable picture with the newest
//! rows in it.

mod bridges;
mod graph;
mod names;
mod pin;
pub mod postgres;
mod reach;
pub mod render;
mod search;

#[cfg(test)]
mod graph_tests;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};

use crate::model::Micros;
use crate::store::Views;

pub use render::{Format, harmless, render};
pub use search::SearchFn;

/// Memory that all queries of a session share; what needs more goes to temporary files or fails with a clear message.
pub const QUERY_MEMORY_BYTES: usize = 256 << 20;

/// Temporary files of queries that outgrow memory, together.
pub const QUERY_SPILL_BYTES: u64 = 4 << 30;

/// Name of the one database that clients see.
pub const DATABASE: &str = "sentrail";

#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("{}", first_line(.0))]
    Sql(Box<DataFusionError>),

    #[error("cannot show the rows: {0}")]
    Render(#[from] arrow::error::ArrowError),

    #[error("cannot write the rows: {0}")]
    Write(#[from] std::io::Error),
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> QueryError {
        QueryError::Sql(Box::new(error))
    }
}

/// The message without the backtrace that may follow it.
fn first_line(error: &DataFusionError) -> String {
    error.strip_backtrace()
}

/// A session whose statements each see the newest view; over [`Views::fixed`], always the same.
/// Temporary files go to `spill`, else to where the system keeps such.
pub async fn session(
    views: Views,
    search: Option<SearchFn>,
    spill: Option<&Path>,
) -> Result<SessionContext, QueryError> {
    let disk = DiskManagerBuilder::default();
    let disk = match spill {
        Some(dir) => disk.with_mode(DiskManagerMode::Directories(vec![dir.to_owned()])),
        None => disk,
    };
    let runtime = RuntimeEnvBuilder::new()
        .with_disk_manager_builder(disk)
        .with_memory_pool(Arc::new(FairSpillPool::new(QUERY_MEMORY_BYTES)))
        .with_max_temp_directory_size(QUERY_SPILL_BYTES)
        .build_arc()?;
    let config = SessionConfig::new()
        .with_default_catalog_and_schema(DATABASE, "public")
        .with_information_schema(true);
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_analyzer_rule(Arc::new(pin::PinView::new(views.clone())))
        .build();
    let session = SessionContext::new_with_state(state);
    names::register(&session, &views).await?;
    graph::register(&session, &views).await?;
    if let Some(search) = search {
        session.register_udtf("search", Arc::new(search::SearchFunction::new(search)));
    }
    Ok(session)
}

/// A time, as SQL.
pub fn at(time: Micros) -> String {
    format!("arrow_cast({time}, 'Timestamp(Microsecond, Some(\"UTC\"))')")
}

/// What a session lets people do: ask.
pub fn read_only() -> SQLOptions {
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
}

/// Answers one statement.
pub async fn sql(session: &SessionContext, statement: &str) -> Result<Vec<RecordBatch>, QueryError> {
    let rows = session.sql_with_options(statement, read_only()).await?;
    let empty = RecordBatch::new_empty(Arc::new(rows.schema().as_arrow().clone()));
    let batches = rows.collect().await?;
    // No rows still have columns, whose names a reader wants to see.
    Ok(if batches.is_empty() { vec![empty] } else { batches })
}
