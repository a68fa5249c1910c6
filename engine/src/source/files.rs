//! Bounded files: read to their ends, all file sources together, in the order of event time.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outlet::{Outlet, Progress, Stopped};
use super::reader::FileReader;
use super::shape::Framing;
use super::{Harm, SourceError, SourceEvent};
use crate::model::{InputId, Offsets, RawBatch};

/// Files open at once, well below the usual limit of 1,024 descriptors. The others wait, and hold the watermark meanwhile.
pub(super) const OPEN_FILES_MAX: usize = 64;
/// Batches of one file that the pipeline has not decoded yet: one in work and one waiting. More would mean reading on without knowing
/// whether another file has fallen behind.
const AHEAD_MAX: u64 = 2;
const PROGRESS_WAIT: Duration = Duration::from_millis(5);
/// How long the pipeline may hold batches without having decoded them before reading goes on regardless.
const STALL_MAX: Duration = Duration::from_millis(200);

/// One file to be read to its end.
pub(super) struct BoundedFile {
    source: Arc<str>,
    input: InputId,
    name: Arc<str>,
    reader: FileReader,
    sent: u64,
}

impl BoundedFile {
    pub(super) fn new(source: &Arc<str>, path: PathBuf, resume: &Offsets, framing: &Framing) -> BoundedFile {
        let name = name_of(&path);
        let input = InputId::file(source, &name);
        let reader = FileReader::new(path, resume.get(&input), framing);
        BoundedFile {
            source: Arc::clone(source),
            input,
            name,
            reader,
            sent: 0,
        }
    }
}

pub(super) fn name_of(path: &std::path::Path) -> Arc<str> {
    path.to_string_lossy().into()
}

/// What a pattern matches.
pub(super) struct Expanded {
    /// In the order of their names.
    pub files: Vec<PathBuf>,
    /// Directories that could not be looked into, and why.
    pub unlisted: Vec<String>,
}

pub(super) fn expand(source: &str, pattern: &str) -> Result<Expanded, SourceError> {
    let paths = glob::glob(pattern).map_err(|error| SourceError::Pattern {
        source_name: source.to_owned(),
        pattern: pattern.to_owned(),
        reason: error.to_string(),
    })?;
    let (mut files, mut unlisted) = (Vec::new(), Vec::new());
    for path in paths {
        match path {
            Ok(path) if path.is_file() => files.push(path),
            Ok(_) => {}
            Err(error) => unlisted.push(format!(
                "{}: cannot be listed, what is in it is missing: {}",
                error.path().display(),
                error.error()
            )),
        }
    }
    files.sort();
    Ok(Expanded { files, unlisted })
}

/// Reads `files`, given per source, until all are at their ends; then every source has finished. `unlisted` tells, with the name of its
/// source, where files may be that were not found.
pub(super) fn run(
    files: Vec<Vec<BoundedFile>>,
    unlisted: Vec<(Arc<str>, String)>,
    outlet: &Outlet,
    progress: &Progress,
) -> Result<(), Stopped> {
    for (source, message) in unlisted {
        outlet.send(SourceEvent::Trouble {
            source,
            message,
            harm: Harm::Lasting,
        })?;
    }
    for file in files.iter().flatten() {
        outlet.send(SourceEvent::Opened(file.input.clone(), Arc::clone(&file.source)))?;
    }
    for file in files.iter().filter_map(|files| files.first()) {
        outlet.send(SourceEvent::Whole(Arc::clone(&file.source)))?;
    }
    let mut unfinished: Vec<(Arc<str>, usize)> = files
        .iter()
        .filter_map(|files| files.first().map(|file| (Arc::clone(&file.source), files.len())))
        .collect();
    let mut waiting = interleave(files);
    let mut open: Vec<BoundedFile> = Vec::new();
    let mut took_all = Instant::now();
    loop {
        while open.len() < OPEN_FILES_MAX
            && let Some(file) = waiting.pop_front()
        {
            open.push(file);
        }
        if open.is_empty() {
            return Ok(());
        }
        // A pipeline that took everything and reports nothing does not stop the reading for ever.
        if !outlet.is_empty() {
            took_all = Instant::now();
        }
        // Not every read gives records to send.
        if outlet.stopping() {
            return Err(Stopped);
        }
        let Some(index) = choose(&open, progress, took_all.elapsed() >= STALL_MAX) else {
            progress.wait(PROGRESS_WAIT);
            continue;
        };
        took_all = Instant::now();
        if read(&mut open[index], outlet)? {
            let file = open.remove(index);
            outlet.send(SourceEvent::Ended(file.input))?;
            for (source, left) in &mut unfinished {
                if *source == file.source {
                    *left -= 1;
                    if *left == 0 {
                        outlet.send(SourceEvent::Finished(Arc::clone(source)))?;
                    }
                }
            }
        }
    }
}

/// The sources' files in turn, so that no source waits for another one's last file.
fn interleave(files: Vec<Vec<BoundedFile>>) -> VecDeque<BoundedFile> {
    let mut queues: Vec<_> = files.into_iter().map(Vec::into_iter).collect();
    let mut order = VecDeque::new();
    loop {
        let before = order.len();
        order.extend(queues.iter_mut().filter_map(Iterator::next));
        if order.len() == before {
            return order;
        }
    }
}

/// The file that is least advanced in event time, if the pipeline keeps up with it.
fn choose(open: &[BoundedFile], progress: &Progress, is_stalled: bool) -> Option<usize> {
    let decoded = open.iter().map(|file| progress.of(&file.input));
    let candidates = decoded.zip(open).enumerate();
    let (_, sent, index, batches) = candidates
        .map(|(index, (decoded, file))| (decoded.newest, file.sent, index, decoded.batches))
        .min()?;
    (is_stalled || sent < batches + AHEAD_MAX).then_some(index)
}

/// One file outside of a run, batch by batch, in bounded memory. What cannot be read of it is the last item.
///
/// # Errors
/// The file cannot be opened.
pub fn batches(
    source: &str,
    path: &Path,
    framing: &Framing,
) -> io::Result<impl Iterator<Item = io::Result<RawBatch>> + use<>> {
    let mut file = BoundedFile::new(&source.into(), path.to_path_buf(), &Offsets::new(), framing);
    file.reader.open()?;
    let mut is_done = false;
    let mut trouble: Option<String> = None;
    Ok(std::iter::from_fn(move || {
        loop {
            if let Some(reason) = trouble.take() {
                return Some(Err(io::Error::other(reason)));
            }
            if is_done {
                return None;
            }
            let chunk = file.reader.read(&file.name, true);
            (is_done, trouble) = (chunk.at_end, chunk.trouble);
            if !chunk.payloads.is_empty() {
                return Some(Ok(RawBatch {
                    source: Arc::clone(&file.source),
                    input: file.input.clone(),
                    payloads: chunk.payloads,
                    block: chunk.block,
                    next: file.reader.offset(),
                }));
            }
        }
    }))
}

/// Hands on the file's next batch; true when the file is done.
fn read(file: &mut BoundedFile, outlet: &Outlet) -> Result<bool, Stopped> {
    if let Err(error) = file.reader.open() {
        let message = format!("{}: cannot be opened, what it holds is missing: {error}", file.name);
        missing(file, message, outlet)?;
        return Ok(true);
    }
    let chunk = file.reader.read(&file.name, true);
    if !chunk.payloads.is_empty() {
        file.sent += 1;
        outlet.send(SourceEvent::Batch(RawBatch {
            source: Arc::clone(&file.source),
            input: file.input.clone(),
            payloads: chunk.payloads,
            block: chunk.block,
            next: file.reader.offset(),
        }))?;
    }
    if let Some(reason) = chunk.trouble {
        let message = format!("{}: {reason}; {} records were read", file.name, file.reader.records);
        missing(file, message, outlet)?;
    }
    Ok(chunk.at_end)
}

fn missing(file: &BoundedFile, message: String, outlet: &Outlet) -> Result<(), Stopped> {
    outlet.send(SourceEvent::Trouble {
        source: Arc::clone(&file.source),
        message,
        harm: Harm::Lasting,
    })
}
