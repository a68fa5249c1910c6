//! rsigma's command line over the same events.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::Match;

/// What its rules find in the events, which carry their numbers.
pub fn matches(
    rsigma: &Path,
    rules: &Path,
    format: &str,
    events: &[String],
    scratch: &Path,
) -> Result<BTreeSet<Match>> {
    let file = scratch.join("events.ndjson");
    std::fs::write(&file, events.join("\n") + "\n")?;
    let mut command = eval(rsigma, rules, &file);
    command.arg("--include-event");
    if let Some(pipeline) = pipeline(format, scratch)? {
        command.arg("--pipeline").arg(pipeline);
    }
    let output = command.output().context("rsigma cannot be started")?;
    ensure!(
        output.status.success(),
        "rsigma: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut found = BTreeSet::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let line: Value = serde_json::from_str(line)?;
        let row = line["event"]["sentrail_row"]
            .as_u64()
            .context("a match without its event")?;
        let id = line["rule_id"].as_str().context("a rule without an id")?;
        found.insert((row as usize, id.to_owned()));
    }
    Ok(found)
}

/// Seconds that it takes for a file of events.
pub fn timed(rsigma: &Path, rules: &Path, events: &Path) -> Result<f64> {
    let began = Instant::now();
    let status = eval(rsigma, rules, events)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("rsigma cannot be started")?;
    ensure!(status.success(), "rsigma ended with {status}");
    Ok(began.elapsed().as_secs_f64())
}

fn eval(rsigma: &Path, rules: &Path, events: &Path) -> Command {
    let mut command = Command::new(rsigma);
    command
        .args(["engine", "eval", "--input-format", "json", "--rules"])
        .arg(rules)
        .arg("--event")
        .arg(format!("@{}", events.display()));
    command
}

/// The names that schemas/sigma.toml gives fields, in rsigma's own form; `None` where it gives none.
fn pipeline(format: &str, scratch: &Path) -> Result<Option<PathBuf>> {
    let declared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/sigma.toml");
    let declared: toml::Table = std::fs::read_to_string(&declared)?.parse()?;
    let (mut names, mut prefixes) = (String::new(), String::new());
    for entry in declared["logsource"].as_array().into_iter().flatten() {
        let formats = entry
            .get("formats")
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten();
        if !formats.into_iter().any(|known| known.as_str() == Some(format)) {
            continue;
        }
        for (name, path) in entry
            .get("fields")
            .and_then(toml::Value::as_table)
            .into_iter()
            .flatten()
        {
            let into = if name.ends_with('.') { &mut prefixes } else { &mut names };
            let path = path.as_str().context("a path that is no text")?;
            let line = format!("      {name:?}: {path:?}\n");
            if !into.contains(&line) {
                into.push_str(&line);
            }
        }
        // Other log sources of the format have names of their own, which the rules at hand do not use.
        break;
    }
    let mut text = String::from("name: names\npriority: 10\ntransformations:\n");
    for (kind, mapping) in [("field_name_mapping", &names), ("field_name_prefix_mapping", &prefixes)] {
        if !mapping.is_empty() {
            write!(text, "  - id: {kind}\n    type: {kind}\n    mapping:\n{mapping}")?;
        }
    }
    if names.is_empty() && prefixes.is_empty() {
        return Ok(None);
    }
    let file = scratch.join("names.yml");
    std::fs::write(&file, text)?;
    Ok(Some(file))
}
