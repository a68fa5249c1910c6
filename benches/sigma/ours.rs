//! The engine's own normalizer, and the detector as the component that it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use sentrail::config::{PluginSettings, SourceSettings};
use sentrail::detect::{Detectors, PluginStatus};
use sentrail::model::{InputId, InputOffset, Payload, Position, RawBatch};
use sentrail::normalize::{Normalized, Normalizer};
use sentrail_benches::given;
use serde_json::json;

use crate::Match;

/// When the records were read, for the engine: after any time in them.
const INGESTED: i64 = 4_000_000_000_000_000;
/// Records of one batch.
const BATCH: usize = 8192;
/// A busy machine is not the detector's fault.
const CALL_TIME_MAX: Duration = Duration::from_secs(60);

pub struct Engine {
    settings: PluginSettings,
    source: SourceSettings,
    cache: PathBuf,
    /// Titles of the rules that run, by their ids.
    pub rules: BTreeMap<String, String>,
}

pub struct Outcome {
    /// The events that the format reads, by their numbers.
    pub read: Vec<String>,
    pub found: BTreeSet<Match>,
}

pub struct Pass {
    pub decode: f64,
    pub detect: f64,
    pub found: usize,
}

impl Engine {
    /// With the rules of a folder; gives also what the detector says of those that it refuses.
    pub fn new(rules: &Path, format: &str, scratch: &Path) -> Result<(Engine, String)> {
        let plugins = scratch.join("plugins");
        std::fs::create_dir_all(&plugins)?;
        std::fs::copy(
            given("SENTRAIL_BENCH_PLUGINS")?.join("sigma.wasm"),
            plugins.join("sigma.wasm"),
        )?;
        let files = rules.join("**/*.yml").display().to_string();
        let settings = PluginSettings {
            dir: plugins,
            call_time_max: CALL_TIME_MAX,
            config: BTreeMap::from([("sigma".to_owned(), json!({ "rules": [{ "files": files }] }))]),
            ..PluginSettings::default()
        };
        let source = sentrail_benches::source("events", "default", format);
        let mut engine = Engine {
            settings,
            source,
            cache: scratch.join("cache"),
            rules: BTreeMap::new(),
        };
        let detectors = engine.detectors()?;
        let manifest = detectors.manifests().first().context("no detector")?;
        engine.rules = manifest
            .rules
            .iter()
            .map(|rule| (rule.id.clone(), rule.title.clone()))
            .collect();
        Ok((engine, manifest.description.clone()))
    }

    fn detectors(&self) -> Result<Detectors> {
        let detectors = Detectors::load(&self.settings, Some(&self.cache))?;
        if let Some(problem) = detectors.problems().first() {
            anyhow::bail!("{}: {}", problem.path.display(), problem.reason);
        }
        Ok(detectors)
    }

    /// What the rules find in each event by itself: ids that stand twice in the data are no repeats.
    pub fn matches(&self, texts: &[String]) -> Result<Outcome> {
        let mut detectors = self.detectors()?;
        let mut outcome = Outcome {
            read: Vec::new(),
            found: BTreeSet::new(),
        };
        for (row, text) in texts.iter().enumerate() {
            let mut normalizer = Normalizer::new(std::slice::from_ref(&self.source), &[])?;
            let decoded = decode(&mut normalizer, std::slice::from_ref(text), 0);
            if decoded.events.rows() == 0 {
                continue;
            }
            outcome.read.push(text.clone());
            for detection in detectors.detect(&decoded.events).detections {
                outcome.found.insert((row, detection.rule));
            }
        }
        sound(&detectors)?;
        Ok(outcome)
    }

    /// All events in batches, on this thread alone.
    pub fn timed(&self, texts: &[String]) -> Result<Pass> {
        let mut detectors = self.detectors()?;
        let mut normalizer = Normalizer::new(std::slice::from_ref(&self.source), &[])?;
        let mut pass = Pass {
            decode: 0.0,
            detect: 0.0,
            found: 0,
        };
        let mut rows = 0;
        for (number, batch) in texts.chunks(BATCH).enumerate() {
            let began = Instant::now();
            let decoded = decode(&mut normalizer, batch, number * BATCH);
            pass.decode += began.elapsed().as_secs_f64();
            rows += decoded.events.rows();
            let began = Instant::now();
            pass.found += detectors.detect(&decoded.events).detections.len();
            pass.detect += began.elapsed().as_secs_f64();
        }
        ensure!(rows == texts.len(), "{rows} of {} events arrived", texts.len());
        sound(&detectors)?;
        Ok(pass)
    }
}

fn sound(detectors: &Detectors) -> Result<()> {
    for health in detectors.health_now() {
        let unseen = health.counters.rows_skipped + health.counters.rows_unseen;
        ensure!(
            health.status == PluginStatus::Ok && unseen == 0,
            "the detector has not seen all events: {}",
            health.reason
        );
    }
    Ok(())
}

/// As the source of files hands records over: payloads of the block that they were read into.
fn decode(normalizer: &mut Normalizer, texts: &[String], from: usize) -> Normalized {
    let mut block = Vec::with_capacity(texts.iter().map(|text| text.len() + 1).sum());
    for text in texts {
        block.extend_from_slice(text.as_bytes());
        block.push(b'\n');
    }
    let block = Bytes::from(block);
    let path: Arc<str> = "/events.ndjson".into();
    let mut start = 0;
    let payloads = texts.iter().enumerate().map(|(at, text)| {
        let bytes = block.slice(start..start + text.len());
        start += text.len() + 1;
        Payload {
            bytes,
            position: Position::File {
                path: Arc::clone(&path),
                record: (from + at) as u64 + 1,
            },
            truncated: false,
            attributes: None,
        }
    });
    let raw = RawBatch {
        input: InputId::file("events", "/events.ndjson"),
        source: "events".into(),
        payloads: payloads.collect(),
        block: Some(block.clone()),
        next: InputOffset::Kafka { next: 0 },
    };
    normalizer.decode(&raw, INGESTED)
}
