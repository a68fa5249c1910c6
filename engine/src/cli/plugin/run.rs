//! `sentrail plugin run`

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::json;

use super::named;
use crate::cli::logs::{self, Logs};
use crate::cli::{query, redacted, span};
use crate::detect::{DetectOutput, Detectors, PluginHealth, PluginManifest, PluginStatus, Watermarks};
use crate::model::text::{cut, harmless_json, harmless_line};
use crate::model::{Detection, shorten_hashes, time::to_rfc3339};
use crate::pipeline::{self, Replayed};

#[derive(clap::Args)]
pub struct Arguments {
    /// A detector's .wasm file, or the folder or the name of its crate in a clone, which is built first.
    plugin: PathBuf,
    #[command(flatten)]
    logs: logs::Arguments,
    /// Instead of files: the stored events of this data directory, whose engine may be running.
    #[arg(long, conflicts_with = "files", required_unless_present = "files")]
    data: Option<PathBuf>,
    #[command(flatten)]
    span: span::Arguments,
    /// A configuration file: the detector runs with its settings and limits there.
    #[arg(long)]
    config: Option<PathBuf>,
    /// One JSON object per line: each detection, and the sum.
    #[arg(long)]
    json: bool,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let span = arguments.span.span()?;
    let settings = named::settings(arguments.config.as_deref())?.0;
    let wasm = named::find(&arguments.plugin)?.wasm;
    let mut detectors = named::load(&wasm, &settings)?;
    let mut sum = Sum::default();
    let json = arguments.json;
    let mut end = Ok(());
    match &arguments.data {
        Some(data) => {
            let session = query::session(data).await?;
            let found = |found| sum.show(found, json);
            sum.stored = Some(pipeline::replay(&session, &mut detectors, span, found).await?);
        }
        None => {
            anyhow::ensure!(
                span == Default::default(),
                "--from and --to choose stored events: they go with --data"
            );
            let mut logs = Logs::open(&arguments.logs)?;
            read(&mut logs, &mut detectors, &mut sum, json)?;
            end = logs.end(arguments.logs.files.len());
        }
    }
    let health = detectors.health_now().pop();
    if let Some((health, manifest)) = health.zip(detectors.manifests().first()) {
        super::out(&match json {
            true => harmless_json(&format!("{}\n", sum.object(&health, manifest))),
            false => sum.text(&health, manifest),
        })?;
        anyhow::ensure!(
            health.status == PluginStatus::Ok && health.counters.failures == 0,
            "{} did not come through without a failure: {}",
            health.plugin,
            health.reason
        );
    }
    end
}

fn read(logs: &mut Logs, detectors: &mut Detectors, sum: &mut Sum, json: bool) -> anyhow::Result<()> {
    while let Some(decoded) = logs.read() {
        sum.events += decoded.events.rows() as u64;
        sum.rejected += decoded.rejected.len() as u64;
        sum.duplicates += decoded.duplicates;
        let seen = detectors.detect(&decoded.events);
        sum.show(detectors.judge(seen), json)?;
        if let Some(complete) = logs.complete() {
            let seen = detectors.advance(&Watermarks::at(complete));
            sum.show(detectors.judge(seen), json)?;
        }
    }
    // Nothing comes any more.
    let seen = detectors.advance(&Watermarks::default());
    sum.show(detectors.judge(seen), json)
}

/// What was read and found.
#[derive(Default)]
struct Sum {
    events: u64,
    rejected: u64,
    duplicates: u64,
    /// What was read of a data directory.
    stored: Option<Replayed>,
    rules: BTreeMap<String, u64>,
    relations: u64,
}

impl Sum {
    /// Counts and prints.
    fn show(&mut self, found: DetectOutput, json: bool) -> anyhow::Result<()> {
        self.relations += found.relations.len() as u64;
        let mut text = String::new();
        for detection in &found.detections {
            match self.rules.get_mut(&detection.rule) {
                Some(count) => *count += 1,
                None => drop(self.rules.insert(detection.rule.clone(), 1)),
            }
            // Writing to a string cannot fail.
            let _ = match json {
                true => writeln!(text, "{}", json!({"detection": detection})),
                false => write!(text, "{}", lines(detection)),
            };
        }
        super::out(&if json { harmless_json(&text) } else { text })
    }

    fn detections(&self) -> u64 {
        self.rules.values().sum()
    }

    fn object(&self, health: &PluginHealth, manifest: &PluginManifest) -> serde_json::Value {
        let rules = manifest.rules.iter();
        let rules: BTreeMap<&str, u64> = rules.map(|rule| (rule.id.as_str(), self.count(&rule.id))).collect();
        let events = self.stored.as_ref().map_or(self.events, |stored| stored.events);
        json!({"summary": {
            "plugin": health.plugin, "version": health.version, "status": health.status.text(), "reason": health.reason,
            "events": events, "rejected": self.rejected, "duplicates": self.duplicates,
            "redacted": self.stored.as_ref().map_or(0, |stored| stored.redacted),
            "rows": health.counters.rows, "rows_per_second": rate(health).round(),
            "detections": self.detections(), "relations": self.relations, "rules": rules,
            "counters": health.counters,
        }})
    }

    fn count(&self, rule: &str) -> u64 {
        self.rules.get(rule).copied().unwrap_or_default()
    }

    fn text(&self, health: &PluginHealth, manifest: &PluginManifest) -> String {
        let mut text = String::new();
        if self.detections() > 0 {
            text.push('\n');
        }
        let width = manifest
            .rules
            .iter()
            .map(|rule| rule.id.len())
            .max()
            .unwrap_or_default();
        let width = width.max("rule".len());
        let _ = writeln!(text, "{:width$}  {:13}  detections", "rule", "severity");
        for rule in &manifest.rules {
            let severity = named::padded(rule.severity);
            let _ = writeln!(text, "{:width$}  {severity}  {}", rule.id, self.count(&rule.id));
        }
        let read = match &self.stored {
            None => format!(
                "{} events, {} rejected, {} duplicates",
                self.events, self.rejected, self.duplicates
            ),
            Some(stored) => format!("{} stored events", stored.events),
        };
        let counters = &health.counters;
        let _ = writeln!(
            text,
            "\n{read}; {} were shown to {} {}\n{} detections, {} relations",
            counters.rows,
            health.plugin,
            health.version,
            self.detections(),
            self.relations
        );
        if let Some(stored) = &self.stored {
            text += &redacted::note(stored, manifest);
        }
        text += &troubles(health);
        let _ = writeln!(
            text,
            "{:.0} rows/s in the detector, {:.1} MiB of memory at most in one instance",
            rate(health),
            counters.memory_bytes as f64 / f64::from(1 << 20)
        );
        text
    }
}

/// Rows per second of wall time in the guest.
fn rate(health: &PluginHealth) -> f64 {
    health.counters.rows as f64 / (health.counters.time_us as f64 / 1e6).max(1e-6)
}

/// What of the rows was not as it should be.
pub fn troubles(health: &PluginHealth) -> String {
    let counters = &health.counters;
    let told = [
        (counters.failures, "batches failed at first"),
        (counters.rows_skipped, "rows were skipped, on which it fails"),
        (counters.rows_unseen, "rows were not shown: it is quarantined"),
        (
            counters.rows_early,
            "rows were shown early and may be out of order: too many waited",
        ),
        (counters.rows_late, "rows were late: later ones were shown before"),
        (
            counters.keys_evicted,
            "keys were forgotten early: it remembers too many",
        ),
        (counters.states_lost, "states were lost"),
    ];
    let mut text = String::new();
    for (count, what) in told.iter().filter(|(count, _)| *count > 0) {
        let _ = writeln!(text, "{count} {what}");
    }
    if !health.reason.is_empty() {
        let _ = writeln!(text, "{}", harmless_line(&health.reason));
    }
    text
}

/// Longest message shown, in bytes: JSON has it whole.
const MESSAGE_SHOWN_MAX: usize = 200;
/// Events that are named at most; the decisive one is the last.
const EVENTS_SHOWN_MAX: usize = 3;

/// One detection, for people.
pub fn lines(detection: &Detection) -> String {
    let ids = &detection.event_ids;
    let shown = &ids[ids.len().saturating_sub(EVENTS_SHOWN_MAX)..];
    let more = if shown.len() < ids.len() { "… " } else { "" };
    let message = if detection.message.is_empty() {
        &detection.title
    } else {
        &detection.message
    };
    let line = |text: &str| shorten_hashes(&harmless_line(text));
    format!(
        "{}  {}  {}: {}\n  events {more}{}\n",
        to_rfc3339(detection.time),
        named::padded(detection.severity),
        detection.rule,
        cut(&line(message), MESSAGE_SHOWN_MAX),
        line(&shown.join(" ")),
    )
}
