//! What the benchmarks share. `cargo xtask bench NAME` builds everything in release, tells them where the plugins and the binary
//! are, and runs one.

pub mod engine;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bytes::Bytes;
use sentrail::config::{SourceKind, SourceSettings};
use sentrail::model::{InputId, InputOffset, Payload, Position, RawBatch};
use sentrail::simulate::Simulation;

/// A file source, to be decoded record by record.
pub fn source(name: &str, tenant: &str, format: &str) -> SourceSettings {
    SourceSettings {
        name: name.to_owned(),
        tenant: tenant.to_owned(),
        format: format.to_owned(),
        lateness: None,
        silent_after: Default::default(),
        kind: SourceKind::File {
            glob: "*".into(),
            follow: false,
        },
    }
}

/// The record `number`, from 0, of such a source.
pub fn record(source: &str, number: usize, text: &str) -> RawBatch {
    let path = format!("/{source}.ndjson");
    let payload = Payload {
        bytes: Bytes::copy_from_slice(text.as_bytes()),
        position: Position::File {
            path: path.as_str().into(),
            record: number as u64 + 1,
        },
        truncated: false,
        attributes: None,
    };
    RawBatch {
        input: InputId::file(source, &path),
        source: source.into(),
        payloads: vec![payload],
        block: None,
        next: InputOffset::Kafka { next: 0 },
    }
}

/// A directory that is removed in the end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Result<Scratch> {
        let dir = std::env::temp_dir().join(format!("sentrail-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Scratch(dir))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Writes `DIR/FORMAT.ndjson`; gives the files and the number of bytes.
pub fn write_simulation(dir: &Path, seed: u64, events: u64) -> Result<(Vec<PathBuf>, u64)> {
    std::fs::create_dir_all(dir)?;
    let mut files: BTreeMap<&'static str, BufWriter<File>> = BTreeMap::new();
    let mut bytes = 0;
    for record in Simulation::new(seed, events) {
        let file = match files.entry(record.format) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(BufWriter::new(File::create(
                dir.join(format!("{}.ndjson", record.format)),
            )?)),
        };
        file.write_all(record.line.as_bytes())?;
        file.write_all(b"\n")?;
        bytes += record.line.len() as u64 + 1;
    }
    let mut paths = Vec::new();
    for (format, mut file) in files {
        file.flush()?;
        paths.push(dir.join(format!("{format}.ndjson")));
    }
    Ok((paths, bytes))
}

/// A configuration with one file source per simulated log, plus `more`.
pub fn configuration(data: &Path, logs: &[PathBuf], source_more: &str, more: &str) -> Result<String> {
    let mut config = format!(
        "[storage]\nurl = \"{}\"\n[plugins]\ndir = \"{}\"\n{more}\n",
        data.display(),
        given("SENTRAIL_BENCH_PLUGINS")?.display()
    );
    for path in logs {
        let format = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .context("a log without a name")?;
        config.push_str(&format!(
            "[[source]]\nname = \"{format}\"\ntype = \"file\"\npath = \"{}\"\nformat = \"{format}\"\n{source_more}\n",
            path.display()
        ));
    }
    Ok(config)
}

/// A path that `cargo xtask bench` hands over in an environment variable.
pub fn given(variable: &str) -> Result<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    path.with_context(|| format!("{variable} is not set; run this through `cargo xtask bench` or `cargo xtask eval`"))
}

/// The one number that may stand on the command line.
pub fn number(default: u64) -> Result<u64> {
    match std::env::args().nth(1) {
        None => Ok(default),
        Some(text) => text
            .replace('_', "")
            .parse()
            .with_context(|| format!("`{text}` is no number")),
    }
}
