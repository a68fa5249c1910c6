//! A data set through the engine's own normalizer and detectors.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use arrow::compute::concat_batches;
use sentrail::config::{PluginSettings, SourceSettings};
use sentrail::detect::{Detectors, PluginStatus, Watermarks};
use sentrail::model::{EventBatch, EventSchema};
use sentrail::normalize::Normalizer;
use sentrail_benches::source;

use crate::set::Set;

/// When the records were read, for the engine: after any time in them.
const INGESTED: i64 = 4_000_000_000_000_000;
const CALL_TIME_MAX: Duration = Duration::from_secs(60);

/// A detection, by the unit of its decisive event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub unit: usize,
    pub detector: String,
    pub rule: String,
}

pub struct Outcome {
    pub set: Set,
    /// Events that the detectors saw.
    pub events: usize,
    /// Records that no format knew, or that could not be decoded. What they show is missed.
    pub rejected: usize,
    pub findings: Vec<Finding>,
}

/// Decodes all records, shows the events to all detectors at once, and lets event time pass the end.
///
/// # Errors
/// A plugin that does not load or does not come through without a failure: the figures would be of less than it is.
pub fn run(set: Set, plugins: &Path, cache: &Path) -> Result<Outcome> {
    let settings = PluginSettings {
        dir: plugins.to_owned(),
        // A busy machine is not the detector's fault.
        call_time_max: CALL_TIME_MAX,
        config: set.config.clone(),
        ..PluginSettings::default()
    };
    let mut detectors = Detectors::load(&settings, Some(cache))?;
    if let Some(problem) = detectors.problems().first() {
        anyhow::bail!("{}: {}", problem.path.display(), problem.reason);
    }
    let tenants: BTreeSet<usize> = set.records.iter().map(|record| record.tenant).collect();
    let sources: Vec<SourceSettings> = tenants
        .iter()
        .map(|tenant| source(&name(*tenant), &name(*tenant), set.format))
        .collect();
    let mut normalizer = Normalizer::new(&sources, &[])?;

    let mut rejected = 0;
    let mut batches = Vec::new();
    let mut unit_of: HashMap<String, usize> = HashMap::new();
    for (index, record) in set.records.iter().enumerate() {
        let raw = sentrail_benches::record(&name(record.tenant), index, &record.text);
        let decoded = normalizer.decode(&raw, INGESTED);
        rejected += decoded.rejected.len();
        for id in decoded.events.text("event_id").iter().flatten() {
            unit_of.insert(id.to_owned(), record.unit);
        }
        batches.push(decoded.events.batch().clone());
    }
    let events = EventBatch::new(concat_batches(EventSchema::get().arrow(), &batches)?);
    let mut found = detectors.detect(&events).detections;
    // No input is live any more: everything that waits is released.
    found.extend(detectors.advance(&Watermarks::default()).detections);
    for health in detectors.health_now() {
        let counters = health.counters;
        ensure!(
            health.status == PluginStatus::Ok && counters.rows_skipped + counters.rows_unseen == 0,
            "{} has not seen all events: {}",
            health.plugin,
            health.reason
        );
    }

    let mut findings = Vec::with_capacity(found.len());
    for detection in found {
        let decisive = detection.event_ids.last().context("a detection without events")?;
        let unit = *unit_of
            .get(decisive)
            .context("a detection of an event that was not shown")?;
        findings.push(Finding {
            unit,
            detector: detection.plugin,
            rule: detection.rule,
        });
    }
    findings.sort_by(|a, b| (a.unit, &a.rule).cmp(&(b.unit, &b.rule)));
    Ok(Outcome {
        set,
        events: events.rows(),
        rejected,
        findings,
    })
}

fn name(tenant: usize) -> String {
    format!("tenant-{tenant}")
}
