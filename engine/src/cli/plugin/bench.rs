//! `sentrail plugin bench`

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{cast, concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::json;

use super::named::{self, Named};
use super::native::{Native, Passing};
use crate::cli::logs::{self, Logs};
use crate::detect::{self, CALL_ROWS_MAX, Measured};
use crate::model::EventSchema;

#[derive(clap::Args)]
pub struct Arguments {
    /// The folder or the name of a detector's crate in a clone, which is built as a guest and natively; or a .wasm file, which has
    /// nothing to be compared with.
    plugin: PathBuf,
    /// Instead of the detector's fixtures, over and over: log files, as for `plugin run`.
    #[command(flatten)]
    logs: logs::Arguments,
    /// A configuration file: the detector runs with its settings and limits there.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Passes over all events, of which the median counts.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1000))]
    passes: u32,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Events of the fixtures, repeated: enough for a handful of whole batches.
const FIXTURE_ROWS: usize = 5 * CALL_ROWS_MAX;
/// Events of files that are held in memory at once; what comes after them is left out.
const FILE_ROWS_MAX: usize = 32 * CALL_ROWS_MAX;

pub fn bench(arguments: &Arguments) -> anyhow::Result<()> {
    let settings = named::unsigned(&named::settings(arguments.config.as_deref())?.0);
    let Named { wasm, source } = named::find(&arguments.plugin)?;
    let id = wasm.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let refused = |reason: String| anyhow::anyhow!("{}: {reason}", wasm.display());
    let config = detect::inspect(&wasm, &settings).map_err(refused)?.config;
    let native = source
        .as_ref()
        .map(|source| Native::build(source, &config))
        .transpose()?;

    let events_file = source.map(|source| source.root.join("target/try").join(format!("{id}.events.ndjson")));
    let events_file = events_file.map(Passing);
    let (events, left_out) = match (&native, &events_file) {
        _ if !arguments.logs.files.is_empty() => read_logs(&arguments.logs)?,
        (Some(native), Some(file)) => {
            native.fixtures(FIXTURE_ROWS, &file.0)?;
            (read_events(&file.0)?, false)
        }
        _ => bail!(
            "{} is a .wasm file, which has no fixtures; give log files too, or the folder of its crate",
            wasm.display()
        ),
    };
    let mut guest = Measured::new(&wasm, &settings, &events).map_err(refused)?;
    anyhow::ensure!(
        guest.rows() > 0,
        "none of the {} events is of a layer and class that {id} wants to see",
        events.num_rows()
    );
    let mut native = match (native, events_file) {
        (Some(native), Some(file)) => {
            write_events(&guest.wanted(&events)?, &file.0)?;
            // The files are there for as long as the program is.
            Some((native.passes(&file.0)?, native, file))
        }
        _ => None,
    };
    let mut report = Report {
        id,
        version: guest.manifest().version.clone(),
        rows: guest.rows(),
        bytes: guest.bytes(),
        left_out,
        ..Report::default()
    };
    // In turn, so that what else the machine does meets both.
    for _ in 0..arguments.passes {
        let pass = guest.pass().map_err(anyhow::Error::msg)?;
        report.wasm.push(pass.nanos);
        report.copy.push(guest.copy());
        (report.detections, report.memory_bytes) = (pass.detections, pass.memory_bytes);
        if let Some((passes, ..)) = &mut native {
            let pass = passes.pass()?;
            report.native.push(pass.nanos);
            anyhow::ensure!(
                pass.detections == report.detections,
                "the guest found {} and the native code {}: they are not the same code",
                report.detections,
                pass.detections
            );
        }
    }
    crate::cli::out(&match arguments.json {
        true => report.object(),
        false => report.text(),
    })
}

#[derive(Default)]
struct Report {
    id: String,
    version: String,
    rows: u64,
    /// What the guest takes in.
    bytes: u64,
    left_out: bool,
    detections: u64,
    memory_bytes: u64,
    /// Nanoseconds of each pass.
    wasm: Vec<u64>,
    native: Vec<u64>,
    copy: Vec<u64>,
}

impl Report {
    /// Nanoseconds per event: the median of the passes, and the least.
    fn per_event(&self, passes: &[u64]) -> Option<(f64, f64)> {
        let mut sorted = passes.to_vec();
        sorted.sort_unstable();
        let of = |nanos: u64| nanos as f64 / self.rows.max(1) as f64;
        Some((of(*sorted.get(sorted.len() / 2)?), of(*sorted.first()?)))
    }

    fn ratio(&self) -> Option<f64> {
        let (wasm, native) = (self.per_event(&self.wasm)?, self.per_event(&self.native)?);
        Some(wasm.0 / native.0.max(f64::MIN_POSITIVE))
    }

    fn object(&self) -> String {
        let of = |passes| {
            self.per_event(passes)
                .map(|(median, least)| json!({"median": median, "least": least}))
        };
        let object = json!({
            "plugin": self.id, "version": self.version, "rows": self.rows, "bytes": self.bytes,
            "detections": self.detections, "memory_bytes": self.memory_bytes, "passes": self.wasm.len(),
            "wasm_ns": of(&self.wasm), "native_ns": of(&self.native), "copy_ns": of(&self.copy), "ratio": self.ratio(),
        });
        format!("{object}\n")
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let Report {
            id,
            version,
            rows,
            detections,
            ..
        } = self;
        let _ = writeln!(
            text,
            "{id} {version}: {rows} events in batches of {CALL_ROWS_MAX}, {detections} detections, {} passes",
            self.wasm.len()
        );
        if self.left_out {
            let _ = writeln!(
                text,
                "of the files, what comes after {FILE_ROWS_MAX} events is left out"
            );
        }
        let _ = writeln!(text, "\n{:12}  median ns/event   least", "");
        for (name, passes) in [
            ("WebAssembly", &self.wasm),
            ("native", &self.native),
            ("one copy", &self.copy),
        ] {
            if let Some((median, least)) = self.per_event(passes) {
                let _ = writeln!(text, "{name:12}  {median:15.1}  {least:6.1}");
            }
        }
        if let Some(ratio) = self.ratio() {
            let _ = writeln!(text, "\nratio {ratio:.2} (WebAssembly to native, medians)");
        }
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let _ = writeln!(
            text,
            "{:.1} MiB go in, {:.1} MiB of memory",
            mib(self.bytes),
            mib(self.memory_bytes)
        );
        text
    }
}

/// The events of log files in the order of (time, id), and whether there are more than are held.
fn read_logs(arguments: &logs::Arguments) -> anyhow::Result<(RecordBatch, bool)> {
    let mut logs = Logs::open(arguments)?;
    let schema = EventSchema::get().arrow();
    let (mut batches, mut rows) = (Vec::new(), 0);
    while rows < FILE_ROWS_MAX
        && let Some(decoded) = logs.read()
    {
        rows += decoded.events.rows();
        batches.push(decoded.events.batch().clone());
    }
    logs.end(arguments.files.len())?;
    let all = concat_batches(schema, &batches)?;
    let left_out = rows > FILE_ROWS_MAX || logs.read().is_some();
    let all = all.slice(0, all.num_rows().min(FILE_ROWS_MAX));
    // Stable enough: events of one second are in no order anyway.
    let time = all.column_by_name("time").context("events have times")?;
    Ok((take_record_batch(&all, &sort_to_indices(time, None, None)?)?, left_out))
}

/// The event schema with every column nullable: fixtures name only what matters.
fn lenient() -> SchemaRef {
    let fields = EventSchema::get().arrow().fields().iter();
    let fields: Vec<Field> = fields.map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Arc::new(Schema::new(fields))
}

fn read_events(file: &Path) -> anyhow::Result<RecordBatch> {
    let schema = lenient();
    let open = File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let reader = arrow::json::ReaderBuilder::new(schema.clone())
        .with_batch_size(FIXTURE_ROWS)
        .build(BufReader::new(open))?;
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    Ok(concat_batches(&schema, &batches)?)
}

/// One JSON object a line, with times in microseconds and without what is null.
fn write_events(events: &RecordBatch, file: &Path) -> anyhow::Result<()> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in events.schema().fields().iter().zip(events.columns()) {
        let number = matches!(field.data_type(), DataType::Timestamp(..));
        let kind = if number {
            DataType::Int64
        } else {
            field.data_type().clone()
        };
        columns.push(cast(column, &kind)?);
        fields.push(Field::new(field.name(), kind, true));
    }
    let events = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    let out = File::create(file).with_context(|| format!("{} cannot be written", file.display()))?;
    let mut writer = arrow::json::LineDelimitedWriter::new(BufWriter::new(out));
    writer.write(&events)?;
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_counts() {
        let report = Report {
            id: "d".into(),
            rows: 10,
            wasm: vec![900, 300, 100],
            native: vec![200, 100, 400],
            copy: vec![10, 10, 10],
            ..Report::default()
        };
        assert_eq!(report.per_event(&report.wasm), Some((30.0, 10.0)));
        assert_eq!(report.ratio(), Some(1.5));
        let text = report.text();
        assert!(text.contains("WebAssembly              30.0    10.0"), "{text}");
        assert!(text.contains("ratio 1.50"), "{text}");
    }

    #[test]
    fn events_are_written_and_read_as_they_are() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("events.ndjson");
        let line = r#"{"event_id":"e","time":1767225600000001,"layer":"gateway","row_count":3,"flags":["cut"],"api_operation":"a\"b"}"#;
        fs::write(&file, format!("{line}\n")).expect("written");
        let events = read_events(&file).expect("read");
        assert_eq!(events.num_rows(), 1);
        let again = dir.path().join("again.ndjson");
        write_events(&events, &again).expect("written");
        let object = |path: &Path| -> serde_json::Value {
            serde_json::from_str(&fs::read_to_string(path).expect("there")).expect("JSON")
        };
        assert_eq!(object(&again), object(&file));
    }
}
