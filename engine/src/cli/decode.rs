//! `sentrail decode`

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::logs;
use crate::model::time;
use crate::normalize::{Fills, Normalized, Normalizer};
use crate::query::{self, harmless};
use crate::source;

/// Name of the source that the files are.
const SOURCE: &str = "decode";

#[derive(clap::Args)]
pub struct Arguments {
    /// Log files: records one per line, JSON documents or arrays, rows of comma-separated values; plain, gzip or zstd.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A format of `sentrail formats`, or auto: each record's own is found.
    #[arg(long, default_value = "auto")]
    format: String,
    /// table, or json (one object per record).
    #[arg(long, default_value = "table", value_parser = ["table", "json"])]
    format_out: String,
    /// Instead of the records, how many of each format say when, who, what, from where, and whether it worked.
    #[arg(long, conflicts_with = "format_out")]
    fill: bool,
    /// A directory of mappings of your own, beside those of the build.
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub fn decode(arguments: &Arguments) -> anyhow::Result<()> {
    let (mut normalizer, framing) = logs::normalizer(SOURCE, &arguments.format, arguments.dir.as_deref())?;
    let mut sum = Sum::default();
    let mut unread = 0;
    let mut cannot = |path: &Path, error: std::io::Error| {
        unread += 1;
        eprintln!("cannot read {}: {error}", path.display());
    };
    for path in &arguments.files {
        let batches = match source::batches(SOURCE, path, &framing) {
            Ok(batches) => batches,
            Err(error) => {
                cannot(path, error);
                continue;
            }
        };
        for raw in batches {
            let raw = match raw {
                Ok(raw) => raw,
                Err(error) => {
                    cannot(path, error);
                    break;
                }
            };
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
            let decoded = normalizer.decode(&raw, now.as_micros() as i64);
            sum.add(&decoded);
            if arguments.fill {
                continue;
            }
            let events = events(&normalizer, &decoded)?;
            super::out(&match arguments.format_out.as_str() {
                "json" => lines(&decoded, &events),
                _ => harmless(&table(&decoded, &events)),
            })?;
        }
    }
    if arguments.fill {
        super::out(&harmless(&sum.fills.to_string()))?;
    }
    if arguments.fill || arguments.format_out != "json" {
        super::out(&harmless(&sum.to_string()))?;
    }
    let files = arguments.files.len();
    anyhow::ensure!(
        unread == 0,
        "{unread} of {files} files could not be read, or not to the end"
    );
    Ok(())
}

/// What all files became.
#[derive(Default)]
struct Sum {
    records: u64,
    rejected: u64,
    duplicates: u64,
    formats: BTreeMap<String, u64>,
    fills: Fills,
}

impl Sum {
    fn add(&mut self, decoded: &Normalized) {
        self.records += decoded.records;
        self.rejected += decoded.rejected.len() as u64;
        self.duplicates += decoded.duplicates;
        for format in decoded.events.text("format").iter().flatten() {
            match self.formats.get_mut(format) {
                Some(count) => *count += 1,
                None => drop(self.formats.insert(format.to_owned(), 1)),
            }
        }
        self.fills.add(&decoded.events);
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let formats = self.formats.iter().map(|(format, count)| format!("{count} {format}"));
        let formats: Vec<String> = formats.collect();
        writeln!(
            f,
            "{} records = {} events + {} rejected + {} duplicates{}{}",
            self.records,
            self.formats.values().sum::<u64>(),
            self.rejected,
            self.duplicates,
            if formats.is_empty() { "" } else { "; " },
            formats.join(", ")
        )
    }
}

/// One decoded event, for people.
struct Event {
    format: String,
    /// Columns that have a value, without those that say where it was read.
    columns: Map<String, Value>,
    untaken: Vec<String>,
}

fn events(normalizer: &Normalizer, decoded: &Normalized) -> anyhow::Result<Vec<Event>> {
    let mut text = Vec::new();
    query::render(&[decoded.events.batch().clone()], query::Format::Json, &mut text)?;
    let mut events = Vec::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mut columns: Map<String, Value> = serde_json::from_slice(line)?;
        columns.retain(|_, value| !value.is_null());
        let raw = columns.remove("raw").unwrap_or_default();
        let format = columns
            .remove("format")
            .unwrap_or_default()
            .as_str()
            .unwrap_or_default()
            .to_owned();
        for own in ["tenant", "source", "ingested_time", "raw_hash"] {
            columns.remove(own);
        }
        events.push(Event {
            untaken: normalizer.untaken(&format, raw.as_str().unwrap_or_default()),
            format,
            columns,
        });
    }
    Ok(events)
}

fn lines(decoded: &Normalized, events: &[Event]) -> String {
    let mut text = String::new();
    for event in events {
        let object = json!({"format": event.format, "columns": event.columns, "untaken": event.untaken});
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{object}");
    }
    for detection in &decoded.detections {
        let _ = writeln!(text, "{}", json!({"detection": detection}));
    }
    for rejected in &decoded.rejected {
        let raw = String::from_utf8_lossy(&rejected.raw);
        let _ = writeln!(
            text,
            "{}",
            json!({"rejected": rejected.reason, "position": rejected.position, "raw": raw})
        );
    }
    text
}

fn table(decoded: &Normalized, events: &[Event]) -> String {
    let mut text = String::new();
    for event in events {
        let position = event
            .columns
            .get("position")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let _ = writeln!(text, "{position}  {}", event.format);
        for (name, value) in event
            .columns
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "position" | "event_id"))
        {
            let value = match value {
                Value::String(value) => value.clone(),
                other => other.to_string(),
            };
            let _ = writeln!(text, "  {name:32} {}", short(&value));
        }
        if !event.untaken.is_empty() {
            let _ = writeln!(text, "  {:32} {}", "(no column)", event.untaken.join(", "));
        }
    }
    for detection in &decoded.detections {
        let _ = writeln!(
            text,
            "finding  {} {} {}: {}",
            time::to_rfc3339(detection.time),
            detection.severity,
            detection.rule,
            short(&detection.message)
        );
    }
    for rejected in &decoded.rejected {
        let _ = writeln!(text, "{}  rejected: {}", rejected.position, rejected.reason);
        let _ = writeln!(text, "  {}", short(&String::from_utf8_lossy(&rejected.raw)));
    }
    text
}

/// One line of it.
fn short(text: &str) -> String {
    const CHARS_MAX: usize = 160;
    let line: String = text
        .chars()
        .take(CHARS_MAX)
        .map(|c| if c == '\n' { '⏎' } else { c })
        .collect();
    if line.len() < text.len() && text.chars().nth(CHARS_MAX).is_some() {
        line + "…"
    } else {
        line
    }
}
