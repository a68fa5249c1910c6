//! What listening sources have accepted and the pipeline has not made durable yet: an append-only log in the data directory.
//!
//! A sender is told "accepted" only when its records are on disk. Appends that wait for the disk at the same time share one
//! synchronisation (group commit). The pipeline reads the spool like any other input, by record number, and only what is on disk; a
//! segment is deleted once every record in it is durable in an epoch. The spool has a size limit: at it, senders are told to wait.
//! A failed write loses nothing that was accepted: the segment is left behind and the next append begins a new one.

mod reader;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::redact::Sealer;

pub(super) use reader::run;
pub(super) use segment::Block;

/// A segment that holds this much is followed by a new one: small enough that space is freed soon, large enough that a busy source
/// makes a file every few seconds and not hundreds.
const SEGMENT_BYTES: u64 = 16 << 20;
/// The smallest limit that the configuration allows: segments are freed as a whole, and one is always open.
#[cfg(test)]
pub(super) const SPOOL_BYTES_MIN: u64 = 4 * SEGMENT_BYTES;

/// Why records were not accepted. The sender keeps them and tries again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The spool holds as much as it may: the pipeline has to catch up first.
    Full,
    /// The disk does not take them.
    Disk(String),
    /// The engine is stopping.
    Stopping,
}

pub(super) struct Spool {
    dir: PathBuf,
    bytes_max: u64,
    segment_bytes_max: u64,
    sealer: Option<Arc<Sealer>>,
    state: Mutex<State>,
    /// Something waits to be written, or nothing ever will.
    queued: Condvar,
    /// Something was written.
    grown: Condvar,
}

#[derive(Default)]
struct State {
    /// Oldest first.
    segments: VecDeque<Segment>,
    /// The number of the next record, counted from 0: all before it are on disk.
    end: u64,
    /// Records before this one are durable in an epoch.
    committed: u64,
    queue: Vec<Waiting>,
    queued_bytes: u64,
    closed: bool,
    /// What keeps records from being accepted, as a person should read it.
    trouble: Option<String>,
    /// Records that were accepted and are lost, as a person should read it; told once.
    lost: Option<String>,
}

/// Records to be written, and who wants to know of it.
type Waiting = (Arc<Block>, oneshot::Sender<Result<(), Refused>>);

#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Number of its first record.
    first: u64,
    bytes: u64,
}

impl State {
    fn bytes(&self) -> u64 {
        self.queued_bytes + self.segments.iter().map(|segment| segment.bytes).sum::<u64>()
    }
}

impl Spool {
    /// Opens the spool in `dir`, creating it when it is not there. `resume` is the first record that the pipeline still needs.
    /// With a sealer, records are kept sealed.
    pub(super) fn open(dir: &Path, resume: u64, bytes_max: u64, sealer: Option<Arc<Sealer>>) -> io::Result<Spool> {
        Spool::open_sized(dir, resume, bytes_max, SEGMENT_BYTES, sealer)
    }

    fn open_sized(
        dir: &Path,
        resume: u64,
        bytes_max: u64,
        segment_bytes_max: u64,
        sealer: Option<Arc<Sealer>>,
    ) -> io::Result<Spool> {
        fs::create_dir_all(dir)?;
        let mut segments = VecDeque::new();
        for first in segment::firsts(dir)? {
            let bytes = fs::metadata(segment::path(dir, first))?.len();
            segments.push_back(Segment { first, bytes });
        }
        let mut end = resume;
        let mut lost = None;
        if let Some(last) = segments.back().copied() {
            let path = segment::path(dir, last.first);
            let segment::Contents { records, damage } = segment::contents(&path, sealer.as_ref())?;
            // A killed process may have written what the disk does not hold yet.
            File::open(&path)?.sync_all()?;
            let next = last.first + records;
            // What an epoch holds already is no loss.
            let damage = damage.filter(|damage| next + damage.records > resume);
            if let Some(segment::Damage { bytes, .. }) = &damage {
                let path = path.display();
                lost = Some(format!(
                    "{path}: damaged behind record {next} of the spool: {bytes} bytes of records that were accepted cannot be read and \
                     are lost"
                ));
            }
            if records == 0 {
                // The next segment gets this name.
                match damage {
                    Some(_) => fs::rename(&path, path.with_extension("damaged"))?,
                    None => fs::remove_file(&path)?,
                }
                segments.pop_back();
            }
            end = end.max(next);
        }
        sync_dir(dir)?;
        let spool = Spool {
            dir: dir.to_owned(),
            bytes_max,
            segment_bytes_max,
            sealer,
            state: Mutex::new(State {
                segments,
                end,
                lost,
                ..State::default()
            }),
            queued: Condvar::new(),
            grown: Condvar::new(),
        };
        spool.committed(resume);
        Ok(spool)
    }

    /// Returns when the block is on disk, or will not be.
    pub(super) async fn append(&self, block: Arc<Block>) -> Result<(), Refused> {
        if block.is_empty() {
            return Ok(());
        }
        let block = match &self.sealer {
            Some(sealer) => Arc::new(block.sealed(sealer)),
            None => block,
        };
        match self.enqueue(block)?.await {
            Ok(answer) => answer,
            Err(_) => Err(Refused::Stopping),
        }
    }

    fn enqueue(&self, block: Arc<Block>) -> Result<oneshot::Receiver<Result<(), Refused>>, Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Stopping);
        }
        let bytes = block.bytes().len() as u64;
        if state.bytes() + bytes > self.bytes_max {
            let mib = self.bytes_max >> 20;
            state.trouble = Some(format!(
                "the spool holds its {mib} MiB: senders are told to wait until the pipeline has caught up"
            ));
            return Err(Refused::Full);
        }
        state.queued_bytes += bytes;
        let (answer, answered) = oneshot::channel();
        state.queue.push((block, answer));
        self.queued.notify_one();
        Ok(answered)
    }

    /// Whether nothing can be accepted now.
    pub(super) fn is_full(&self) -> bool {
        let state = self.lock();
        state.closed || state.bytes() >= self.bytes_max
    }

    /// Writes what is appended, until the spool is closed and everything is written. For a thread of its own.
    pub(super) fn write(&self) {
        let mut active: Option<File> = None;
        loop {
            let (group, first, length) = {
                let mut state = self.lock();
                while state.queue.is_empty() {
                    if state.closed {
                        return;
                    }
                    state = self.queued.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                let last = state.segments.back().map_or(0, |segment| segment.bytes);
                (std::mem::take(&mut state.queue), state.end, last)
            };
            if length >= self.segment_bytes_max {
                active = None;
            }
            let begins = active.is_none();
            let written = self.write_group(&mut active, first, &group);
            let mut state = self.lock();
            let bytes: u64 = group.iter().map(|(block, _)| block.bytes().len() as u64).sum();
            state.queued_bytes -= bytes;
            let answer = match written {
                Ok(()) => {
                    match state.segments.back_mut() {
                        Some(last) if !begins => last.bytes += bytes,
                        _ => state.segments.push_back(Segment { first, bytes }),
                    }
                    state.end += group.iter().map(|(block, _)| block.records()).sum::<u64>();
                    state.trouble = None;
                    Ok(())
                }
                Err(error) => {
                    // What the file holds beyond the last answer is unknown: it is left behind, and never read.
                    active = None;
                    let reason = format!("the spool in {} cannot be written: {error}", self.dir.display());
                    state.trouble = Some(format!("{reason}; senders are told to try again"));
                    Err(Refused::Disk(reason))
                }
            };
            self.grown.notify_all();
            drop(state);
            if begins {
                self.prune();
            }
            for (_, sender) in group {
                // A sender that has gone away does not hear it.
                let _ = sender.send(answer.clone());
            }
        }
    }

    fn write_group(&self, active: &mut Option<File>, first: u64, group: &[Waiting]) -> io::Result<()> {
        let file = match active {
            Some(file) => file,
            None => {
                let path = segment::path(&self.dir, first);
                let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
                sync_dir(&self.dir)?;
                active.insert(file)
            }
        };
        for (block, _) in group {
            file.write_all(block.bytes())?;
        }
        file.sync_data()
    }

    /// Nothing more is appended; what waits is still written.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.queued.notify_all();
        self.grown.notify_all();
    }

    /// Records before `next` are durable in an epoch.
    pub(super) fn committed(&self, next: u64) {
        {
            let mut state = self.lock();
            state.committed = state.committed.max(next);
        }
        self.prune();
    }

    /// Deletes the segments whose records are all durable in an epoch; the newest stays.
    fn prune(&self) {
        let mut gone = Vec::new();
        {
            let mut state = self.lock();
            while state
                .segments
                .get(1)
                .is_some_and(|second| second.first <= state.committed)
            {
                gone.extend(state.segments.pop_front());
            }
        }
        for Segment { first, .. } in gone {
            let path = segment::path(&self.dir, first);
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(file = %path.display(), %error, "a segment of the spool that is done with cannot be deleted");
            }
        }
    }

    fn wait(&self, after: u64, timeout: Duration) {
        let state = self.lock();
        if state.end <= after && !state.closed {
            drop(self.grown.wait_timeout(state, timeout));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
