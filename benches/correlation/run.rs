//! Lines in the order of their arrival through the engine's own normalizer, detectors and correlator.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use arrow::compute::concat_batches;
use sentrail::config::{CorrelateSettings, PluginSettings, SourceSettings};
use sentrail::correlate::{Correlator, Examined};
use sentrail::detect::{Detectors, PluginStatus, Watermarks};
use sentrail::model::{Detection, EventBatch, EventSchema, Incident, IncidentStatus, LAYERS, Micros};
use sentrail::normalize::Normalizer;
use sentrail_benches::{record, source};

use super::scene::{FORMATS, Line};

/// When the records were read, for the engine: after any time in them.
const INGESTED: i64 = 4_000_000_000_000_000;
const TENANT: &str = "default";
/// Lines between two looks at what changed.
const BATCH: usize = 2_000;

pub struct Outcome {
    /// Each with the campaign and the step of its decisive event.
    pub detections: Vec<(Detection, Option<(usize, usize)>)>,
    /// Open in the end.
    pub incidents: Vec<Incident>,
    pub rejected: usize,
    pub examined: Examined,
}

/// `lines` as they arrive, none later than `lateness` behind the newest.
pub fn run(
    lines: &[Line],
    lateness: Micros,
    settings: &CorrelateSettings,
    plugins: &Path,
    cache: &Path,
) -> Result<Outcome> {
    let plugins = PluginSettings {
        dir: plugins.to_owned(),
        // A busy machine is not the detector's fault.
        call_time_max: Duration::from_secs(60),
        ..PluginSettings::default()
    };
    let mut detectors = Detectors::load(&plugins, Some(cache))?;
    if let Some(problem) = detectors.problems().first() {
        anyhow::bail!("{}: {}", problem.path.display(), problem.reason);
    }
    let sources: Vec<SourceSettings> = FORMATS.iter().map(|format| source(format, TENANT, format)).collect();
    let mut normalizer = Normalizer::new(&sources, &[])?;
    let mut correlator = Correlator::new(settings.clone());

    let mut campaign_of: HashMap<String, (usize, usize)> = HashMap::new();
    let mut detections: BTreeMap<String, Detection> = BTreeMap::new();
    let mut open: BTreeMap<String, Incident> = BTreeMap::new();
    let (mut rejected, mut newest) = (0, Micros::MIN);
    for (number, batch) in lines.chunks(BATCH).enumerate() {
        let (mut events, mut relations) = (Vec::new(), Vec::new());
        for (index, line) in batch.iter().enumerate() {
            let decoded = normalizer.decode(&record(line.format, number * BATCH + index, &line.text), INGESTED);
            rejected += decoded.rejected.len();
            if let Some(campaign) = line.campaign {
                let ids = decoded.events.text("event_id");
                campaign_of.extend(ids.iter().flatten().map(|id| (id.to_owned(), campaign)));
            }
            newest = newest.max(line.time);
            events.push(decoded.events.batch().clone());
            relations.extend(decoded.relations);
        }
        let events = EventBatch::new(concat_batches(EventSchema::get().arrow(), &events)?);
        let complete = newest - lateness;
        let watermarks = Watermarks(LAYERS.iter().map(|layer| ((*layer).to_owned(), complete)).collect());
        let mut found = detectors.detect(&events);
        let late = detectors.advance(&watermarks);
        found.detections.extend(late.detections);
        relations.extend(found.relations);
        relations.extend(late.relations);
        detections.extend(
            found
                .detections
                .iter()
                .map(|found| (found.detection_id.clone(), found.clone())),
        );
        correlator.apply(found.detections, relations);
        take(&mut open, correlator.changes());
    }
    // Nothing more comes: what waits is released.
    let last = detectors.advance(&Watermarks::default());
    detections.extend(
        last.detections
            .iter()
            .map(|found| (found.detection_id.clone(), found.clone())),
    );
    correlator.apply(last.detections, last.relations);
    take(&mut open, correlator.changes());
    for health in detectors.health_now() {
        let unseen = health.counters.rows_skipped + health.counters.rows_unseen;
        ensure!(
            health.status == PluginStatus::Ok && unseen == 0,
            "{} has not seen all events: {}",
            health.plugin,
            health.reason
        );
    }
    let of = |detection: Detection| {
        let decisive = detection.event_ids.last().context("a detection without events")?;
        let campaign = campaign_of.get(decisive).copied();
        Ok((detection, campaign))
    };
    Ok(Outcome {
        detections: detections.into_values().map(of).collect::<Result<_>>()?,
        incidents: open.into_values().collect(),
        rejected,
        examined: correlator.examined(),
    })
}

fn take(open: &mut BTreeMap<String, Incident>, changes: Vec<Incident>) {
    for incident in changes {
        match incident.status {
            IncidentStatus::Open => open.insert(incident.incident_id.clone(), incident),
            IncidentStatus::Merged | IncidentStatus::Dissolved => open.remove(&incident.incident_id),
        };
    }
}
