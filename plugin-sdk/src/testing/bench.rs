//! The native side of `sentrail plugin bench`: the same detector, on the same batches, without a sandbox around it.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::fixture::{Event, Parts, events, parts};
use super::read;
use crate::{Batch, DAY, Detector, Evidence, Findings, Instance, Manifest, col};

/// Rows of one call, as in the engine.
const CALL_ROWS_MAX: usize = 8192;

/// A configured detector of any type.
pub trait Native {
    /// What it says of itself.
    fn manifest(&self) -> &Manifest;
    /// Looks at a batch.
    fn detect(&mut self, batch: &Batch) -> Findings;
}

impl<D: Detector> Native for Instance<D> {
    fn manifest(&self) -> &Manifest {
        Instance::manifest(self)
    }

    fn detect(&mut self, batch: &Batch) -> Findings {
        Instance::detect(self, batch)
    }
}

/// Makes a detector of its configuration, which is JSON text.
pub type New = fn(&str) -> Result<Box<dyn Native>, String>;

/// The program that `sentrail plugin bench` builds around a detector's crate. Arguments: a file that holds a configuration as JSON, and
///
/// - `fixtures ROWS`: prints the events of the crate's fixtures, over and over until there are as many, one JSON object a line;
/// - `measure FILE`: for each line of standard input, a pass over the events in FILE by a fresh instance, and a line
///   `{"nanos":…,"detections":…}` of what it took.
///
/// # Errors
/// What is wrong, for people.
pub fn bench(new: New, crate_dir: &str) -> Result<(), String> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let config = words.first().map(std::fs::read_to_string).transpose();
    let config = config
        .map_err(|error| format!("the configuration cannot be read: {error}"))?
        .unwrap_or_default();
    match words[..] {
        [_, "fixtures", rows] => {
            let rows = rows.parse().map_err(|error| format!("`{rows}`: {error}"))?;
            expand(new(&config)?.manifest(), crate_dir, rows).map_err(|error| error.to_string())
        }
        [_, "measure", file] => measure(new, &config, file),
        _ => Err("this program is run by `sentrail plugin bench`".into()),
    }
}

/// Prints the fixtures' events until there are `wanted`, each repetition days after the one before it.
fn expand(manifest: &Manifest, crate_dir: &str, wanted: usize) -> io::Result<()> {
    let mut all = Vec::new();
    for (name, fixture) in read(crate_dir) {
        let events = events(manifest, &fixture.defaults, &fixture.events);
        all.extend(events.map_err(|error| io::Error::other(format!("{name}: {error}")))?);
    }
    all.sort_by_key(|event| event.time);
    let span = match (all.first(), all.last()) {
        (Some(first), Some(last)) => ((last.time - first.time) / DAY + 1) * DAY,
        _ => return Ok(()),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    for number in 0..wanted {
        let round = number / all.len();
        let event = &all[number % all.len()];
        let mut columns = event.columns.clone();
        columns.insert(col::EVENT_ID.name.into(), json!(format!("{}-{round}", event.id)));
        columns.insert(col::TIME.name.into(), json!(event.time + span * round as i64));
        columns.entry(col::TENANT.name).or_insert_with(|| json!("default"));
        serde_json::to_writer(&mut out, &columns)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

fn measure(new: New, config: &str, file: &str) -> Result<(), String> {
    let unreadable = |error: io::Error| format!("{file}: {error}");
    let mut rows = Vec::new();
    for line in BufReader::new(File::open(file).map_err(unreadable)?).lines() {
        let columns: Map<String, Value> =
            serde_json::from_str(&line.map_err(unreadable)?).map_err(|error| format!("{file}: {error}"))?;
        let text = |name: &str| columns.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        rows.push(Event {
            id: text(col::EVENT_ID.name),
            time: columns.get(col::TIME.name).and_then(Value::as_i64).unwrap_or_default(),
            columns,
        });
    }
    let manifest = new(config)?.manifest().clone();
    let batches: Vec<Parts> = rows
        .chunks(CALL_ROWS_MAX)
        .map(|rows| parts(&manifest, rows))
        .collect::<Result<_, _>>()?;
    drop(rows);
    for line in io::stdin().lines() {
        line.map_err(|error| error.to_string())?;
        let mut instance = new(config)?;
        let (mut nanos, mut detections) = (0, 0);
        for batch in &batches {
            // A guest, too, is given lists that are its own, and looks whether they hold text.
            let (time, key, columns) = batch.clone();
            let began = Instant::now();
            let batch = Batch::new(manifest.columns, time, Vec::new(), key, columns)?;
            let found = instance.detect(&batch);
            nanos += began.elapsed().as_nanos() as u64;
            let shown = found.detections.iter();
            detections += shown
                .filter(|found| matches!(found.shown_by, Evidence::Rows(_)))
                .count();
        }
        println!("{}", json!({"nanos": nanos, "detections": detections}));
    }
    Ok(())
}
