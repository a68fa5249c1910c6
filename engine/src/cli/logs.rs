//! Log files that a command reads as a run would, without a run around it.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::{self, SourceKind, SourceSettings};
use crate::model::{Micros, RawBatch};
use crate::normalize::{Normalized, Normalizer};
use crate::source::{self, Framing};

/// What decodes records of `format` as of the source `name`; `dir` holds mappings beside those of the build.
pub fn normalizer(name: &str, format: &str, dir: Option<&Path>) -> anyhow::Result<(Normalizer, Framing)> {
    let settings = SourceSettings {
        name: name.into(),
        tenant: "default".into(),
        format: format.to_owned(),
        lateness: None,
        silent_after: Default::default(),
        kind: SourceKind::File {
            glob: String::new(),
            follow: false,
        },
    };
    let normalizer = Normalizer::new(&[settings], &config::read_formats(dir)?)?;
    let framing = Framing {
        wrappers: normalizer.wrappers(name),
        row_fields: normalizer.row_fields(name),
    };
    Ok((normalizer, framing))
}

/// Which logs a command reads.
#[derive(clap::Args)]
#[group(skip)]
pub struct Arguments {
    /// Log files: records one per line, JSON documents or arrays, rows of comma-separated values; plain, gzip or zstd.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A format of `sentrail formats`, or auto: each record's own is found.
    #[arg(long, default_value = "auto")]
    pub format: String,
    /// A directory of mappings of your own, beside those of the build.
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// The files, read side by side: always the one that is furthest behind in event time, so that what belongs together arrives
/// together, whatever the order of the files.
pub struct Logs {
    normalizer: Normalizer,
    lateness: Micros,
    open: Vec<Open>,
    /// Files that could not be read, or not to their ends.
    pub unread: usize,
}

struct Open {
    path: PathBuf,
    batches: Box<dyn Iterator<Item = std::io::Result<RawBatch>>>,
    newest: Option<Micros>,
}

/// Name of the source that the files are.
const SOURCE: &str = "files";

impl Logs {
    pub fn open(arguments: &Arguments) -> anyhow::Result<Logs> {
        let (normalizer, framing) = normalizer(SOURCE, &arguments.format, arguments.dir.as_deref())?;
        let mut logs = Logs {
            lateness: normalizer.lateness(SOURCE),
            normalizer,
            open: Vec::new(),
            unread: 0,
        };
        for path in &arguments.files {
            match source::batches(SOURCE, path, &framing) {
                Ok(batches) => logs.open.push(Open {
                    path: path.clone(),
                    batches: Box::new(batches),
                    newest: None,
                }),
                Err(error) => logs.cannot(path, &error),
            }
        }
        Ok(logs)
    }

    fn cannot(&mut self, path: &Path, error: &std::io::Error) {
        self.unread += 1;
        super::complain(&format!("cannot read {}: {error}", path.display()));
    }

    /// The next batch; `None` at the end of all.
    pub fn read(&mut self) -> Option<Normalized> {
        loop {
            let behind = (0..self.open.len()).min_by_key(|index| self.open[*index].newest)?;
            match self.open[behind].batches.next() {
                Some(Ok(raw)) => {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                    let decoded = self.normalizer.decode(&raw, now.as_micros() as Micros);
                    let newest = &mut self.open[behind].newest;
                    // One whose records have no time must not be taken for the furthest behind for ever.
                    *newest = Some(
                        newest
                            .or(Some(Micros::MIN))
                            .max(decoded.newest_time)
                            .unwrap_or(Micros::MIN),
                    );
                    return Some(decoded);
                }
                Some(Err(error)) => {
                    let file = self.open.swap_remove(behind);
                    self.cannot(&file.path, &error);
                }
                None => drop(self.open.swap_remove(behind)),
            }
        }
    }

    /// Event time up to which no file has more, as far as the format's lateness tells; `None` while that is not known.
    pub fn complete(&self) -> Option<Micros> {
        let least = self.open.iter().map(|file| file.newest).min()??;
        (least > Micros::MIN).then(|| least.saturating_sub(self.lateness))
    }

    /// # Errors
    /// Not all files could be read.
    pub fn end(&self, files: usize) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.unread == 0,
            "{} of {files} files could not be read, or not to the end",
            self.unread
        );
        Ok(())
    }
}
