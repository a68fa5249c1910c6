//! `sentrail run`

use std::path::Path;
use std::time::Instant;

use anyhow::Context;

use crate::config;
use crate::pipeline::{self, Status};

pub async fn run(config: &Path, backfill: bool) -> anyhow::Result<()> {
    let mut settings = config::load(config)?;
    settings.backfill = backfill;
    let began = Instant::now();
    let started = pipeline::start(settings).await;
    let running = started.with_context(|| config.display().to_string())?;
    for problem in running.problems() {
        tracing::error!("plugin file not used: {problem}");
    }
    for plugin in running.plugins() {
        tracing::info!(
            plugin = plugin.id,
            version = plugin.version,
            rules = plugin.rules.len(),
            "plugin loaded"
        );
    }
    let stop = running.stopper();
    let join = running.join();
    tokio::pin!(join);
    let status = tokio::select! {
        status = &mut join => status?,
        () = super::interrupted() => {
            tracing::info!("stopping: draining and making the last epoch durable");
            let _ = stop.send(true);
            tokio::select! {
                status = &mut join => status?,
                () = super::interrupted() => anyhow::bail!(
                    "interrupted again: ended without draining; a later run goes on where the last durable epoch ended"
                ),
            }
        }
    };
    super::out(&summary(&status, began.elapsed().as_secs_f64()))?;
    match Incomplete::of(status.missing) {
        None => Ok(()),
        Some(incomplete) => Err(incomplete.into()),
    }
}

/// Missing inputs that are named at the end of a run; each was logged when it was met.
const MISSING_SHOWN_MAX: usize = 20;

/// The run ended well, but without all that it should have read.
#[derive(Debug, thiserror::Error)]
#[error("not everything could be read; mend it and run again, which reads what is missing:{}", self.lines())]
struct Incomplete(Vec<String>);

impl Incomplete {
    fn of(missing: Vec<String>) -> Option<Incomplete> {
        (!missing.is_empty()).then_some(Incomplete(missing))
    }

    fn lines(&self) -> String {
        let shown = self.0.iter().take(MISSING_SHOWN_MAX);
        let mut lines: String = shown.map(|message| format!("\n  {message}")).collect();
        if let Some(more) = self.0.len().checked_sub(MISSING_SHOWN_MAX + 1) {
            lines += &format!("\n  and {} more, in the log", more + 1);
        }
        lines
    }
}

/// What a run did, for people and for scripts: one `name value` per line.
pub fn summary(status: &Status, seconds: f64) -> String {
    let Status {
        records,
        events,
        rejected,
        duplicates,
        bytes,
        detections,
        incidents,
        epoch,
        seconds: stages,
        ..
    } = status;
    let balance = if *records == events + rejected + duplicates {
        "="
    } else {
        "≠"
    };
    let by_status = match incidents.is_empty() {
        true => "0".to_owned(),
        false => incidents
            .iter()
            .map(|(status, count)| format!("{count} {status}"))
            .collect::<Vec<_>>()
            .join(", "),
    };
    let rate = *records as f64 / seconds.max(1e-9);
    let megabytes = *bytes as f64 / 1e6 / seconds.max(1e-9);
    format!(
        "records    {records} {balance} {events} events + {rejected} rejected + {duplicates} duplicates\n\
         detections {detections}\n\
         incidents  {by_status}\n\
         epochs     {epoch}\n\
         seconds    {seconds:.2} ({rate:.0} records/s, {megabytes:.1} MB/s)\n\
         stages     decode {:.2}, detect {:.2}, guest {:.2}, correlate {:.2}, publish {:.2}; write {:.2} beside them\n",
        stages.decode, stages.detect, stages.guest, stages.correlate, stages.publish, stages.write
    )
}
