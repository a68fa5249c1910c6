//! `sentrail decode`

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value, json};

use crate::config::{self, SourceKind, SourceSettings};
use crate::model::{InputId, InputOffset, Payload, Position, RawBatch, time};
use crate::normalize::{Normalized, Normalizer};
use crate::query::{self, harmless};

/// A file is read whole; a longer one is cut into parts before it is looked at by eye.
const FILE_BYTES_MAX: u64 = 512 << 20;

#[derive(clap::Args)]
pub struct Arguments {
    /// A log file: records one per line, JSON documents or arrays; plain, gzip or zstd.
    file: PathBuf,
    /// A format of `sentrail formats`, or auto: each record's own is found.
    #[arg(long, default_value = "auto")]
    format: String,
    /// table, or json (one object per record).
    #[arg(long, default_value = "table", value_parser = ["table", "json"])]
    format_out: String,
    /// A directory of mappings of your own, beside those of the build.
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub fn decode(arguments: &Arguments) -> anyhow::Result<()> {
    let path = &arguments.file;
    let bytes = read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let source = SourceSettings {
        name: "decode".into(),
        tenant: "default".into(),
        format: arguments.format.clone(),
        lateness: None,
        silent_after: Default::default(),
        kind: SourceKind::File {
            glob: path.display().to_string(),
            follow: false,
        },
    };
    let mut normalizer = Normalizer::new(&[source], &config::read_formats(arguments.dir.as_deref())?)?;
    let decoded = decoded(&mut normalizer, "decode", path, bytes)?;
    let events = events(&normalizer, &decoded)?;
    super::out(&match arguments.format_out.as_str() {
        "json" => lines(&decoded, &events),
        _ => harmless(&table(&decoded, &events)),
    })
}

/// What a file's bytes become as those of a source.
pub fn decoded(normalizer: &mut Normalizer, source: &str, path: &Path, bytes: Vec<u8>) -> anyhow::Result<Normalized> {
    let name = path.display().to_string();
    let raw = RawBatch {
        source: source.into(),
        input: InputId::file(source, &name),
        payloads: vec![Payload {
            bytes: bytes.into(),
            position: Position::File {
                path: name.as_str().into(),
                record: 1,
            },
            truncated: false,
            attributes: None,
        }],
        block: None,
        next: InputOffset::Kafka { next: 0 },
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(normalizer.decode(&raw, now.as_micros() as i64))
}

/// A file's bytes, unpacked.
pub fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    let mut clear = Vec::new();
    match bytes.as_slice() {
        [0x1f, 0x8b, ..] => flate2::read::MultiGzDecoder::new(bytes.as_slice())
            .take(FILE_BYTES_MAX)
            .read_to_end(&mut clear)?,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => zstd::Decoder::new(bytes.as_slice())?
            .take(FILE_BYTES_MAX)
            .read_to_end(&mut clear)?,
        _ => return Ok(bytes),
    };
    Ok(clear)
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
    let mut formats: BTreeMap<&str, usize> = BTreeMap::new();
    for event in events {
        *formats.entry(&event.format).or_default() += 1;
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
    let formats: Vec<String> = formats
        .iter()
        .map(|(format, count)| format!("{count} {format}"))
        .collect();
    let _ = writeln!(
        text,
        "{} records = {} events + {} rejected + {} duplicates; {}",
        decoded.records,
        events.len(),
        decoded.rejected.len(),
        decoded.duplicates,
        formats.join(", ")
    );
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
