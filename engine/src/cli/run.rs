//! `sentrail run`

use std::path::Path;
use std::time::Instant;

use crate::config;
use crate::pipeline::{self, Status};

pub async fn run(config: &Path) -> anyhow::Result<()> {
    let settings = config::load(config)?;
    let began = Instant::now();
    let running = pipeline::start(settings).await?;
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
            join.await?
        }
    };
    super::out(&summary(&status, began.elapsed().as_secs_f64()))
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
