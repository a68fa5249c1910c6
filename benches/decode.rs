//! Bytes → columns on one core, beside what else reads JSON: the bare parse of sonic-rs and simd-json, and the readers of arrow-json,
//! DuckDB and Polars with the fields that the mapping reads. `cargo xtask bench decode [RECORDS] [--input FILE [--format NAME]]`

#[path = "decode/kubernetes.rs"]
mod kubernetes;
#[path = "decode/selection.rs"]
mod selection;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use arrow::json::ReaderBuilder;
use bytes::Bytes;
use sentrail::config::{SourceKind, SourceSettings};
use sentrail::model::{InputId, InputOffset, Payload, Position, RawBatch};
use sentrail::normalize::{Normalized, Normalizer};
use sentrail::simulate::Simulation;
use sentrail_benches::Scratch;

use selection::Selection;

const SEED: u64 = 1;
/// Rows of a batch, the engine's as the others'.
const BATCH_ROWS: usize = 8192;
/// Every reader goes over the records this often, in turn with the others; its fastest pass counts.
const PASSES: usize = 7;
/// The formats that are generated.
const FORMATS: [&str; 3] = ["aws_cloudtrail", "litellm", "kubernetes_audit"];
/// When the records were read, for the engine: after any time in them.
const INGESTED: i64 = 4_000_000_000_000_000;

const USAGE: &str = "usage: cargo xtask bench decode [RECORDS] [--input FILE [--format NAME]]";

struct Arguments {
    records: usize,
    input: Option<PathBuf>,
    format: Option<String>,
}

impl Arguments {
    fn read() -> Result<Arguments> {
        let mut read = Arguments {
            records: 10 * BATCH_ROWS,
            input: None,
            format: None,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--input" => read.input = Some(words.next().context(USAGE)?.into()),
                "--format" => read.format = Some(words.next().context(USAGE)?),
                number => read.records = number.replace('_', "").parse().context(USAGE)?,
            }
        }
        Ok(read)
    }
}

/// One log, as lines of one block.
struct Log {
    format: String,
    text: Bytes,
    lines: Vec<std::ops::Range<usize>>,
}

impl Log {
    fn new(format: &str, text: Vec<u8>) -> Log {
        let mut lines = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let end = start + line.trim_ascii_end().len();
            if end > start {
                lines.push(start..end);
            }
            start += line.len();
        }
        Log {
            format: format.to_owned(),
            text: text.into(),
            lines,
        }
    }

    /// As the file source hands it on.
    fn batches(&self) -> Vec<RawBatch> {
        let path: Arc<str> = format!("/var/log/{}.ndjson", self.format).into();
        let mut record = 0;
        let mut payload = |range: &std::ops::Range<usize>| {
            record += 1;
            Payload {
                bytes: self.text.slice(range.clone()),
                position: Position::File {
                    path: Arc::clone(&path),
                    record,
                },
                truncated: false,
                attributes: None,
            }
        };
        let batch = |lines: &[std::ops::Range<usize>]| RawBatch {
            source: "bench".into(),
            input: InputId::file("bench", &path),
            payloads: lines.iter().map(&mut payload).collect(),
            block: Some(self.text.clone()),
            next: InputOffset::Kafka { next: 0 },
        };
        self.lines.chunks(BATCH_ROWS).map(batch).collect()
    }
}

/// The log that is measured: the simulator's, or of our own making where it has none.
fn generated(format: &str, records: usize) -> Result<Log> {
    let mut text = Vec::new();
    if format == "kubernetes_audit" {
        kubernetes::records(SEED, records, &mut text);
        return Ok(Log::new(format, text));
    }
    // A simulation is of several logs; it is asked for as many records as it takes to have enough of this one.
    let mut found = 0;
    for record in Simulation::new(SEED, records as u64 * 40).filter(|record| record.format == format) {
        text.extend_from_slice(record.line.as_bytes());
        text.push(b'\n');
        found += 1;
        if found == records {
            break;
        }
    }
    ensure!(found == records, "the simulation has {found} records of {format}");
    Ok(Log::new(format, text))
}

fn normalizer(format: &str) -> Result<Normalizer> {
    let source = SourceSettings {
        name: "bench".into(),
        tenant: "default".into(),
        format: format.into(),
        lateness: None,
        silent_after: Default::default(),
        kind: SourceKind::File {
            glob: "*".into(),
            follow: false,
        },
    };
    Ok(Normalizer::new(&[source], &[])?)
}

/// The format that most records of a file have.
fn recognised(log: &Log) -> Result<String> {
    let mut counts = std::collections::BTreeMap::new();
    let mut normalizer = normalizer("auto")?;
    for batch in log.batches().iter().take(1) {
        for format in normalizer
            .decode(batch, INGESTED)
            .events
            .text("format")
            .iter()
            .flatten()
        {
            *counts.entry(format.to_owned()).or_insert(0) += 1;
        }
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    Ok(most
        .context("no record of the file is recognised; say --format NAME")?
        .0)
}

/// A reader that is measured.
struct Reader<'a> {
    name: &'static str,
    pass: Box<dyn FnMut() -> Result<Duration> + 'a>,
    best: Duration,
    /// Why it cannot read this.
    skipped: Option<String>,
}

impl<'a> Reader<'a> {
    fn new(name: &'static str, pass: impl FnMut() -> Result<Duration> + 'a) -> Reader<'a> {
        Reader {
            name,
            pass: Box::new(pass),
            best: Duration::MAX,
            skipped: None,
        }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::read()?;
    let logs = match &arguments.input {
        None => FORMATS
            .iter()
            .map(|format| generated(format, arguments.records))
            .collect::<Result<Vec<_>>>()?,
        Some(file) => {
            let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            let mut log = Log::new("auto", text);
            log.lines.truncate(arguments.records);
            log.format = match arguments.format {
                Some(format) => format,
                None => recognised(&log)?,
            };
            vec![log]
        }
    };
    let scratch = Scratch::new("decode")?;
    println!(
        "{:<18} {:<32} {:>8} {:>12} {:>16}",
        "log", "reader, one core", "MB/s", "records/s", "sentrail is"
    );
    for log in &logs {
        measure(log, scratch.path())?;
    }
    Ok(())
}

fn measure(log: &Log, scratch: &Path) -> Result<()> {
    let batches = log.batches();
    let first = normalizer(&log.format)?.decode(&batches[0], INGESTED);
    check(&first, log)?;
    let selection = Selection::of(&log.format, log)?;
    let bytes: usize = log.lines.iter().map(|line| line.len() + 1).sum();
    let mut readers = vec![
        Reader::new("sentrail, to event columns", || decode(log, &batches)),
        Reader::new("arrow-json, the same fields", || arrow_json(log, &selection)),
    ];
    for _ in 0..PASSES {
        for reader in readers.iter_mut().filter(|reader| reader.skipped.is_none()) {
            match (reader.pass)() {
                Ok(spent) => reader.best = reader.best.min(spent),
                Err(error) => reader.skipped = Some(format!("{error:#}")),
            }
        }
    }
    let mut rows: Vec<(&str, Result<Duration, String>)> = readers
        .into_iter()
        .map(|reader| (reader.name, reader.skipped.map_or(Ok(reader.best), Err)))
        .collect();
    rows.extend(others(log, &selection, scratch)?);
    let ours = match &rows[0].1 {
        Ok(spent) => spent.as_secs_f64(),
        Err(error) => bail!("{error}"),
    };
    for (index, (name, row)) in rows.iter().enumerate() {
        let label = if index == 0 { log.format.as_str() } else { "" };
        match row {
            Ok(spent) => {
                let seconds = spent.as_secs_f64();
                let ratio = match index {
                    0 => String::new(),
                    _ => format!("{:.2} x as fast", seconds / ours),
                };
                println!(
                    "{label:<18} {name:<32} {:>8.0} {:>12.0} {ratio:>16}",
                    bytes as f64 / 1e6 / seconds,
                    log.lines.len() as f64 / seconds
                );
            }
            Err(why) => println!("{label:<18} {name:<32} skipped: {why}"),
        }
    }
    Ok(())
}

/// The figures are of records that are all decoded.
fn check(decoded: &Normalized, log: &Log) -> Result<()> {
    if let Some(rejected) = decoded.rejected.first() {
        bail!(
            "{} of {} records are rejected, the first because: {}",
            decoded.rejected.len(),
            decoded.records,
            rejected.reason
        );
    }
    ensure!(decoded.events.rows() > 0, "{}: no record was decoded", log.format);
    Ok(())
}

fn decode(log: &Log, batches: &[RawBatch]) -> Result<Duration> {
    // What it remembers of ids is of this pass alone: a second one would find repeats.
    let mut normalizer = normalizer(&log.format)?;
    let began = Instant::now();
    for batch in batches {
        std::hint::black_box(normalizer.decode(batch, INGESTED));
    }
    Ok(began.elapsed())
}

fn arrow_json(log: &Log, selection: &Selection) -> Result<Duration> {
    let schema = Arc::new(selection.schema());
    let mut decoder = ReaderBuilder::new(schema)
        .with_batch_size(BATCH_ROWS)
        .with_coerce_primitive(true)
        .build_decoder()?;
    let mut rows = 0;
    let began = Instant::now();
    let mut rest: &[u8] = &log.text[..log.lines.last().map_or(0, |line| line.end)];
    loop {
        let used = decoder.decode(rest)?;
        rest = &rest[used..];
        match decoder.flush()? {
            Some(batch) => rows += std::hint::black_box(batch).num_rows(),
            None => break,
        }
    }
    let spent = began.elapsed();
    ensure!(rows == log.lines.len(), "it read {rows} of {} rows", log.lines.len());
    Ok(spent)
}

/// What runs in a process of its own: the bare parsers and the script of DuckDB and Polars.
fn others(log: &Log, selection: &Selection, scratch: &Path) -> Result<Vec<(&'static str, Result<Duration, String>)>> {
    let file = scratch.join(format!("{}.ndjson", log.format));
    let end = log.lines.last().map_or(0, |line| line.end);
    std::fs::write(&file, &log.text[..end])?;
    let fields = scratch.join(format!("{}.fields.json", log.format));
    std::fs::write(&fields, selection.to_json().to_string())?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/decode/readers.py");
    let mut rows = Vec::new();
    for (name, needs, before) in [
        ("simd-json, tape", "BARE", &["simd-json"][..]),
        ("sonic-rs, validation", "BARE", &["sonic-rs"]),
        ("DuckDB, the same fields", "PYTHON", &[script, "duckdb"]),
        ("Polars, the same fields", "PYTHON", &[script, "polars"]),
    ] {
        let Some(program) = std::env::var_os(format!("SENTRAIL_BENCH_{needs}")) else {
            let why = std::env::var(format!("SENTRAIL_BENCH_NO_{needs}"));
            rows.push((
                name,
                Err(why.unwrap_or_else(|_| "not run through `cargo xtask bench`".to_owned())),
            ));
            continue;
        };
        let output = Command::new(program)
            .args(before)
            .args([PASSES.to_string(), log.lines.len().to_string()])
            .arg(&file)
            .args(Some(&fields).filter(|_| needs == "PYTHON"))
            .env("POLARS_MAX_THREADS", "1")
            .output()
            .with_context(|| format!("{name} cannot be started"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let seconds = said.trim().parse::<f64>().map_err(|_| {
            let error = String::from_utf8_lossy(&output.stderr);
            let last = error
                .lines()
                .rfind(|line| !line.is_empty())
                .unwrap_or("it said nothing");
            last.chars().take(160).collect()
        });
        rows.push((name, seconds.map(Duration::from_secs_f64)));
    }
    Ok(rows)
}
