//! `sentrail backtest`

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::plugin::{lines, named, troubles};
use super::{DataDirectory, query, redacted, span};
use crate::detect::PluginManifest;
use crate::model::text::{harmless_json, harmless_line};
use crate::model::{Detection, Incident, Micros, time::to_rfc3339};
use crate::pipeline::{self, Backtest, DetectionChange, IncidentChange};

#[derive(clap::Args)]
pub struct Arguments {
    /// A detector's .wasm file, or the folder or the name of its crate in a clone, which is built first. It is compared with what is
    /// stored of the detector with the same id.
    plugin: PathBuf,
    #[command(flatten)]
    data: DataDirectory,
    #[command(flatten)]
    span: span::Arguments,
    /// How far before --from a detector that keeps state is shown events, so that it does not begin with nothing.
    #[arg(long, value_parser = span::length, default_value = "1d", value_name = "LENGTH")]
    lead: Micros,
    /// A configuration file: the detector runs with its settings and limits, and incidents are made as it says.
    #[arg(long)]
    config: Option<PathBuf>,
    /// One JSON object per line: each difference, and the sum.
    #[arg(long)]
    json: bool,
}

pub async fn backtest(arguments: Arguments) -> anyhow::Result<()> {
    let span = arguments.span.span()?;
    let (settings, correlate) = named::settings(arguments.config.as_deref())?;
    let wasm = named::find(&arguments.plugin)?.wasm;
    let mut detectors = named::load(&wasm, &settings)?;
    let session = query::session(&arguments.data.data).await?;
    let result = pipeline::backtest(&session, &mut detectors, span, arguments.lead, &correlate).await?;
    let Some(manifest) = detectors.manifests().first() else {
        return Ok(());
    };
    super::out(&match arguments.json {
        true => harmless_json(&objects(&result, manifest)),
        false => text(&result, manifest),
    })
}

fn objects(result: &Backtest, manifest: &PluginManifest) -> String {
    let mut text = String::new();
    for DetectionChange { before, after } in &result.detections {
        let kind = detection_kind(before.as_ref(), after.as_ref()).1;
        let object = json!({"detection": {"change": kind, "before": before, "after": after}});
        let _ = writeln!(text, "{object}");
    }
    let incident = |incident: &Incident| -> Value {
        json!({
            "incident_id": incident.incident_id, "tenant": incident.tenant, "severity": incident.severity,
            "score": incident.score, "title": incident.title, "first_time": to_rfc3339(incident.first_time),
            "last_time": to_rfc3339(incident.last_time), "detection_ids": incident.detection_ids,
        })
    };
    for change in &result.incidents {
        let before: Vec<Value> = change.before.iter().map(incident).collect();
        let after = change.after.as_ref().map(incident);
        let object = json!({"incident": {"change": change.kind(), "before": before, "after": after}});
        let _ = writeln!(text, "{object}");
    }
    let summary = json!({"summary": {
        "plugin": manifest.id, "version": manifest.version, "stored_versions": result.stored_versions,
        "events": result.replayed.events, "redacted": result.replayed.redacted,
        "first_time": result.replayed.first.map(to_rfc3339), "last_time": result.replayed.last.map(to_rfc3339),
        "same_detections": result.same_detections, "changed_detections": result.detections.len(),
        "same_incidents": result.same_incidents, "changed_incidents": result.incidents.len(),
        "health": result.health,
    }});
    let _ = writeln!(text, "{summary}");
    text
}

/// A mark and a word.
fn detection_kind(before: Option<&Detection>, after: Option<&Detection>) -> (char, &'static str) {
    match (before, after) {
        (None, _) => ('+', "appears"),
        (_, None) => ('-', "vanishes"),
        _ => ('~', "changes"),
    }
}

fn text(result: &Backtest, manifest: &PluginManifest) -> String {
    let mut text = String::new();
    let replayed = &result.replayed;
    let stored = match result.stored_versions.is_empty() {
        true => "nothing is stored of it".to_owned(),
        false => format!("stored is what version {} found", result.stored_versions.join(", ")),
    };
    let span = match replayed.first.zip(replayed.last) {
        Some((first, last)) => format!(", from {} to {}", to_rfc3339(first), to_rfc3339(last)),
        None => String::new(),
    };
    let _ = writeln!(
        text,
        "{} {} over {} stored events{span}; {stored}",
        manifest.id, manifest.version, replayed.events
    );
    text += &redacted::note(replayed, manifest);
    if let Some(health) = &result.health {
        text += &troubles(health);
    }
    let _ = writeln!(
        text,
        "\ndetections: {} the same{}",
        result.same_detections,
        counts(
            result
                .detections
                .iter()
                .map(|change| { detection_kind(change.before.as_ref(), change.after.as_ref()).1 })
        )
    );
    for DetectionChange { before, after } in &result.detections {
        let (mark, _) = detection_kind(before.as_ref(), after.as_ref());
        if let Some(before) = before.as_ref().filter(|_| after.is_some()) {
            text += &marked('-', &lines(before));
        }
        let shown = after.as_ref().or(before.as_ref());
        let mark = if mark == '~' { '+' } else { mark };
        text += &shown
            .map(|detection| marked(mark, &lines(detection)))
            .unwrap_or_default();
    }
    let kinds = result.incidents.iter().map(IncidentChange::kind);
    let _ = writeln!(text, "\nincidents: {} the same{}", result.same_incidents, counts(kinds));
    for change in &result.incidents {
        let _ = writeln!(text, "{:9} {}", change.kind(), incident_line(change));
    }
    text
}

/// `, 2 appear, 1 vanishes`
fn counts<'a>(kinds: impl Iterator<Item = &'a str>) -> String {
    let mut counts: std::collections::BTreeMap<&str, u64> = Default::default();
    kinds.for_each(|kind| *counts.entry(kind).or_default() += 1);
    let count = |(kind, count): (&str, u64)| match count {
        1 => format!(", 1 {kind}"),
        _ if kind == "vanishes" => format!(", {count} vanish"),
        _ => format!(", {count} {}", kind.strip_suffix('s').unwrap_or(kind)),
    };
    counts.into_iter().map(count).collect()
}

fn marked(mark: char, lines: &str) -> String {
    let mut marked = String::new();
    for (number, line) in lines.lines().enumerate() {
        let mark = if number == 0 { mark } else { ' ' };
        let _ = writeln!(marked, "{mark} {line}");
    }
    marked
}

fn incident_line(change: &IncidentChange) -> String {
    // What people type at `sentrail incident show`.
    let short = |incident: &Incident| incident.incident_id.chars().take(12).collect::<String>();
    let state = |incident: &Incident| format!("{} {:.0}", incident.severity.text(), incident.score);
    let was: Vec<String> = change.before.iter().map(state).collect();
    let (was, is) = (was.join(" + "), change.after.as_ref().map(state));
    let states = match (was.is_empty(), is) {
        (true, Some(is)) => is,
        (false, Some(is)) => format!("{was} → {is}"),
        (_, None) => was,
    };
    let members = |incident: &Incident| incident.detection_ids.len();
    let was: usize = change.before.iter().map(members).sum();
    let detections = match (was, change.after.as_ref().map(members)) {
        (0, Some(is)) => is.to_string(),
        (was, Some(is)) => format!("{was} → {is}"),
        (was, None) => was.to_string(),
    };
    let mut ids: Vec<String> = change.before.iter().map(short).collect();
    let now = change.after.as_ref().map(short).filter(|id| !ids.contains(id));
    ids.extend(now.filter(|_| change.before.is_empty()));
    let title = change.after.as_ref().or(change.before.first());
    let title = title.map(|incident| harmless_line(&incident.title)).unwrap_or_default();
    format!("{}  {states}, {detections} detections: {title}", ids.join(" + "))
}
