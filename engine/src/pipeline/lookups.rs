//! Lookups of a run: files are read before the data directory is opened, statements are asked over its tables.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::PipelineError;
use super::boot::now;
use crate::config::{LookupFrom, LookupSettings};
use crate::lookup::{self, Loaded, LookupError, Lookups, RowsReader, Slot, Table};
use crate::query;
use crate::store::Views;

/// Of a lookup's statement, however large the tables have become.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// The tables of lookups in files; `None` for the others.
pub async fn read(lookups: &[LookupSettings]) -> Result<Vec<Option<Loaded>>, PipelineError> {
    let mut tables = Vec::new();
    for settings in lookups {
        tables.push(match settings.from.clone() {
            LookupFrom::File { path, format } => {
                let of_task = settings.clone();
                let loaded = spawn_blocking(move || lookup::load(&of_task, &path, format, now())).await;
                // A defect of a reader.
                let loaded = loaded.map_err(|error| failed(settings, error.to_string()))?;
                Some(loaded?)
            }
            LookupFrom::Sql { .. } => None,
        });
    }
    Ok(tables)
}

/// Asks the statements for the first time, and keeps all tables new from now on.
pub async fn start(
    tables: Vec<Option<Loaded>>,
    lookups: &[LookupSettings],
    views: &Views,
) -> Result<Lookups, PipelineError> {
    let mut all = Lookups::default();
    for (settings, table) in lookups.iter().zip(tables) {
        let loaded = match table {
            Some(loaded) => loaded,
            None => Loaded {
                table: ask(settings, views).await?,
                time: now(),
                stamp: None,
            },
        };
        let settings = Arc::new(settings.clone());
        let slot = all.add(settings.clone(), loaded);
        if let LookupFrom::Sql { refresh, .. } = settings.from {
            all.spawn(ask_again(settings, refresh, slot, views.clone()));
        }
    }
    Ok(all)
}

async fn ask_again(settings: Arc<LookupSettings>, refresh: Duration, slot: Arc<Slot>, views: Views) {
    loop {
        tokio::time::sleep(refresh).await;
        match ask(&settings, &views).await {
            Ok(table) => slot.put(table, now()),
            Err(error) => slot.failed(error.reason),
        }
    }
}

/// The table that a lookup's statement gives over the newest view. The statement is the site's own, so it is answered in this process,
/// within the memory that every statement has.
pub async fn ask(settings: &LookupSettings, views: &Views) -> Result<Table, LookupError> {
    let answer = timeout(ANSWER_TIME_MAX, answer(settings, views)).await;
    let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER_TIME_MAX.as_secs())));
    answer.map_err(|reason| failed(settings, format!("sql: {reason}")))
}

async fn answer(settings: &LookupSettings, views: &Views) -> Result<Table, String> {
    let LookupFrom::Sql { statement, .. } = &settings.from else {
        return Err("there is no statement".into());
    };
    let wrong = |error: query::QueryError| error.to_string();
    let session = query::session(views.clone(), None, None).await.map_err(wrong)?;
    let frame = session.sql_with_options(statement, query::read_only()).await;
    let frame = frame.map_err(|error| wrong(error.into()))?;
    let mut reader = RowsReader::new(settings, frame.schema().as_arrow())?;
    let mut batches = frame.execute_stream().await.map_err(|error| wrong(error.into()))?;
    while let Some(batch) = batches.next().await {
        reader.push(&batch.map_err(|error| wrong(error.into()))?)?;
    }
    Ok(reader.finish(String::new()))
}

fn failed(settings: &LookupSettings, reason: String) -> LookupError {
    LookupError {
        name: settings.name.clone(),
        reason,
    }
}
