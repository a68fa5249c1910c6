//! `sentrail sql` and `sentrail search`

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use datafusion::prelude::SessionContext;

use super::DataDirectory;
use crate::pipeline::search_function;
use crate::query::{self, Format, SearchFn};
use crate::search::Searcher;
use crate::store::{self, Views};

#[derive(Args)]
pub struct SqlArguments {
    #[command(flatten)]
    data: DataDirectory,
    /// The query, for example "SELECT * FROM incidents ORDER BY score DESC".
    query: String,
    /// table, json (one object per line) or csv.
    #[arg(long, default_value = "table")]
    format: Format,
}

#[derive(Args)]
pub struct SearchArguments {
    #[command(flatten)]
    data: DataDirectory,
    /// Words, or FIELD:WORD with title, entity, technique, severity, status, layer, text, incident_id.
    query: String,
    /// table, json (one object per line) or csv.
    #[arg(long, default_value = "table")]
    format: Format,
    /// Most incidents to show.
    #[arg(long, default_value_t = 20)]
    limit: usize,
}

pub async fn sql(arguments: SqlArguments) -> anyhow::Result<()> {
    let session = session(&arguments.data.data).await?;
    print(&session, &arguments.query, arguments.format).await
}

pub async fn search(arguments: SearchArguments) -> anyhow::Result<()> {
    let session = session(&arguments.data.data).await?;
    let found = format!(
        "SELECT s.incident_id, s.score AS relevance, i.severity, i.status, i.title, s.snippet FROM search('{}') s \
         JOIN incidents i ON i.incident_id = s.incident_id ORDER BY s.score DESC, s.incident_id LIMIT {}",
        arguments.query.replace('\'', "''"),
        arguments.limit
    );
    print(&session, &found, arguments.format).await
}

pub async fn print(session: &SessionContext, sql: &str, format: Format) -> anyhow::Result<()> {
    let batches = query::sql(session, sql).await?;
    match query::render(&batches, format, &mut std::io::stdout().lock()) {
        // Whoever reads has enough.
        Err(query::QueryError::Write(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// The tables of a data directory as they stand, with `search('…')` over its index.
pub async fn session(data: &Path) -> anyhow::Result<SessionContext> {
    let views = Views::fixed(Arc::new(store::open_readonly(data).await?));
    // The index is derived: without it everything but searching works.
    let search: SearchFn = match Searcher::open(&data.join("index")) {
        Ok(searcher) => search_function(searcher),
        Err(error) => {
            let reason = format!("the index of {}: {error}", data.display());
            Arc::new(move |_| Err(reason.clone()))
        }
    };
    Ok(query::session(views, Some(search), None).await?)
}
