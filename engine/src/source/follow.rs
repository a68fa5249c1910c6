//! Followed files: appended data, new files, rotation (rename and create anew) and truncation, found by looking again and again.
//!
//! A file is known by the fingerprint of its first bytes, so that it goes on under its new name after a rotation, also after one that
//! happened while nothing ran.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::files::{OPEN_FILES_MAX, expand, name_of};
use super::outlet::{Outlet, Stopped};
use super::reader::{Chunk, FileReader, Fingerprint};
use super::shape::Framing;
use super::{Harm, SourceEvent, offsets_of};
use crate::model::{InputId, InputOffset, Offsets, RawBatch};

/// How often the files are looked at: a quarter of the freshness that is promised.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// A file that was read to its end and did not grow for this long leaves the watermark.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// After a rename the writer may still hold the old file: it counts as complete when it has been without a name and silent this long.
/// A log rotation tells the writer to let go only when it has been through all its files.
pub(super) const ROTATION_GRACE: Duration = Duration::from_secs(60);
/// A file without a name that was read to its end and did not grow for this long leaves the watermark: most are never written again.
const PARTED_IDLE: Duration = Duration::from_millis(500);
/// Longer than a disk or a share is unmounted for a repair. What comes back later is read from its beginning.
const FORGET_AFTER: Duration = Duration::from_secs(3600);

pub(super) struct Followed {
    source: Arc<str>,
    pattern: String,
    framing: Framing,
    /// Offsets that no file has, of the last run and of files that went away, and since when: a file may come back.
    resume: BTreeMap<InputId, (InputOffset, Instant)>,
    tails: Vec<Tail>,
    /// Files that no path names any more, at most `OPEN_FILES_MAX`.
    parted: Vec<Parted>,
    grace: Duration,
    /// What was complained about already.
    told: HashSet<PathBuf>,
}

/// One path that is followed.
struct Tail {
    input: InputId,
    name: Arc<str>,
    path: PathBuf,
    reader: FileReader,
    /// Length and modification time when last looked at.
    seen: Option<(u64, Option<SystemTime>)>,
    /// The path does not name the file being read any more: that file was renamed, replaced or truncated.
    is_lost: bool,
    at_end: bool,
    last_growth: Instant,
    is_idle: bool,
}

/// A file that was read to its end and that no path of the pattern names any more. What its writer still appends is read.
struct Parted {
    input: InputId,
    name: Arc<str>,
    reader: FileReader,
    /// Length when last read.
    length: Option<u64>,
    /// When it lost its name, or last grew.
    since: Instant,
    is_idle: bool,
}

impl Tail {
    fn new(source: &str, path: PathBuf, reader: FileReader) -> Tail {
        let name = name_of(&path);
        Tail {
            input: InputId::file(source, &name),
            name,
            path,
            reader,
            seen: None,
            is_lost: false,
            at_end: false,
            last_growth: Instant::now(),
            is_idle: false,
        }
    }

    /// Compares the path with what is being read.
    fn look(&mut self) {
        let found = fs::metadata(&self.path).ok();
        let stamp = found.as_ref().map(|found| (found.len(), found.modified().ok()));
        if stamp.is_some() && stamp == self.seen {
            return;
        }
        self.seen = stamp;
        self.at_end = false;
        let print = self.reader.print;
        let begins_alike = found.is_some() && print.matches(&self.path).unwrap_or(false);
        // The same beginning under another inode is the same file, written anew by an editor or a copy, if the beginning is long.
        let is_open_one = self
            .reader
            .identity()
            .is_none_or(|open| found.is_some_and(|f| open == (f.dev(), f.ino())));
        let names_it = begins_alike && (is_open_one || print.is_telling());
        let was_truncated = is_open_one && self.reader.was_truncated().unwrap_or(false);
        self.is_lost = !names_it || was_truncated;
        if was_truncated {
            // What was not read is gone, and the open file holds other records now.
            self.reader = self.reader.anew(self.path.clone());
        } else if names_it && (self.reader.must_reopen() || !is_open_one) {
            self.reader.close();
        }
    }

    /// Goes on with `reader`, which holds the file the path names now.
    fn renew(&mut self, mut reader: FileReader) {
        reader.path.clone_from(&self.path);
        self.reader = reader;
        self.seen = None;
        self.is_lost = false;
        self.at_end = false;
        self.last_growth = Instant::now();
    }
}

impl Followed {
    /// `grace` is how long a file that was renamed out of the pattern or deleted is listened to: [`ROTATION_GRACE`].
    pub(super) fn new(
        source: &Arc<str>,
        pattern: &str,
        resume: &Offsets,
        framing: &Framing,
        grace: Duration,
    ) -> Followed {
        Followed {
            framing: framing.clone(),
            source: Arc::clone(source),
            pattern: pattern.to_owned(),
            resume: offsets_of(source, resume)
                .into_iter()
                .map(|(input, offset)| (input, (offset, Instant::now())))
                .collect(),
            tails: Vec::new(),
            parted: Vec::new(),
            grace,
            told: HashSet::new(),
        }
    }

    pub(super) fn run(mut self, outlet: &Outlet) -> Result<(), Stopped> {
        let mut looked: Option<Instant> = None;
        loop {
            if outlet.stopping() {
                return Err(Stopped);
            }
            if looked.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL) {
                self.tails.iter_mut().for_each(Tail::look);
                self.take_up(outlet)?;
                if looked.replace(Instant::now()).is_none() {
                    outlet.send(SourceEvent::Whole(Arc::clone(&self.source)))?;
                }
            }
            let mut is_busy = false;
            for index in 0..self.tails.len() {
                is_busy |= self.read(index, outlet)?;
            }
            self.part_lost(outlet)?;
            self.read_parted(outlet)?;
            for input in self.forget(Instant::now()) {
                outlet.send(SourceEvent::Forgotten(input))?;
            }
            self.close_silent();
            if !is_busy {
                std::thread::sleep(LOOK_INTERVAL / 5);
            }
        }
    }

    /// Finds new paths, and files that go on under another path.
    fn take_up(&mut self, outlet: &Outlet) -> Result<(), Stopped> {
        // The pattern was valid at the start.
        let paths = expand(&self.source, &self.pattern)
            .map(|found| found.files)
            .unwrap_or_default();
        let mut moved: Vec<(PathBuf, FileReader)> = Vec::new();
        let mut left = Vec::new();
        for path in &paths {
            let known = self.tails.iter().position(|tail| tail.path == *path);
            if known.is_some_and(|index| !self.tails[index].is_lost) {
                continue;
            }
            let gone_on = |tail: &&mut Tail| tail.is_lost && tail.path != *path && tail.reader.is_of(path);
            if let Some(donor) = self.tails.iter_mut().find(gone_on) {
                let fresh = donor.reader.anew(donor.path.clone());
                moved.push((path.clone(), std::mem::replace(&mut donor.reader, fresh)));
            } else if let Some(back) = self.parted.iter().position(|parted| parted.reader.is_of(path)) {
                let back = self.parted.remove(back);
                left.push((back.input, back.reader.anew(PathBuf::new()).offset()));
                moved.push((path.clone(), back.reader));
            } else if known.is_none() && !self.was_just_renamed(path) {
                let resume = self.resume_of(path);
                let reader = FileReader::new(path.clone(), resume.as_ref(), &self.framing);
                moved.push((path.clone(), reader));
            }
        }
        for (path, reader) in moved {
            let index = match self.tails.iter().position(|tail| tail.path == path) {
                Some(index) => {
                    self.read_out(index, outlet)?;
                    self.part(index);
                    self.tails[index].renew(reader);
                    index
                }
                None => {
                    let mut tail = Tail::new(&self.source, path, reader.anew(PathBuf::new()));
                    tail.renew(reader);
                    outlet.send(SourceEvent::Opened(tail.input.clone(), Arc::clone(&self.source)))?;
                    self.tails.push(tail);
                    self.tails.len() - 1
                }
            };
            if self.tails[index].reader.bytes > 0 {
                // Nothing may follow in this file for long: its offset must be known under this name all the same.
                self.send(index, Chunk::default(), outlet)?;
            }
        }
        for (input, offset) in left {
            self.end_unnamed(input, offset, outlet)?;
        }
        Ok(())
    }

    /// Whether a new path holds a file that is being read under a name it had a moment ago; the next look will show it lost.
    fn was_just_renamed(&self, path: &Path) -> bool {
        self.tails.iter().any(|tail| {
            let print = &tail.reader.print;
            continues(print, path) && !print.matches(&tail.path).unwrap_or(false)
        })
    }

    /// Where to go on in a file seen for the first time since the start: at its own offset, or at that of the path it had before.
    fn resume_of(&mut self, path: &Path) -> Option<InputOffset> {
        let own = InputId::file(&self.source, &name_of(path));
        if let Some((offset, _)) = self.resume.get(&own)
            && print_of(offset).matches(path).unwrap_or(false)
        {
            return self.take(&own);
        }
        let prefix = format!("{}|", self.source);
        let before = self.resume.iter().find(|(input, (offset, _))| {
            let print = print_of(offset);
            let former = input.0.strip_prefix(&prefix).map(Path::new);
            continues(&print, path) && !former.is_some_and(|former| print.matches(former).unwrap_or(false))
        });
        let before = before.map(|(input, _)| input.clone())?;
        self.take(&before)
    }

    fn take(&mut self, input: &InputId) -> Option<InputOffset> {
        self.resume.remove(input).map(|(offset, _)| offset)
    }

    /// Lets go of the offsets that no file has taken up for long; gives the inputs that are there no more.
    fn forget(&mut self, now: Instant) -> Vec<InputId> {
        let is_old = |since: Instant| now.saturating_duration_since(since) >= FORGET_AFTER;
        let old = self.resume.iter().filter(|(_, (_, since))| is_old(*since));
        let old: Vec<InputId> = old.map(|(input, _)| input.clone()).collect();
        for input in &old {
            self.resume.remove(input);
        }
        // A new file under the old name has an offset of its own by now.
        let is_gone = |input: &InputId| !self.tails.iter().any(|tail| tail.input == *input);
        old.into_iter().filter(is_gone).collect()
    }

    /// Hands on the next batch of one file; true when there may be more at once.
    fn read(&mut self, index: usize, outlet: &Outlet) -> Result<bool, Stopped> {
        let tail = &mut self.tails[index];
        if tail.at_end || (tail.is_lost && !tail.reader.is_open()) {
            if tail.at_end && !tail.is_idle && !tail.is_lost && tail.last_growth.elapsed() >= IDLE_TIMEOUT {
                tail.is_idle = true;
                outlet.send(SourceEvent::Idle(tail.input.clone()))?;
            }
            return Ok(false);
        }
        if let Err(error) = tail.reader.open() {
            tail.at_end = true;
            let message = format!("{}: cannot be opened, tried again when it changes: {error}", tail.name);
            let path = tail.path.clone();
            self.complain(path, message, outlet)?;
            return Ok(false);
        }
        let mut chunk = tail.reader.read(&tail.name, false);
        if !tail.reader.confirm() {
            // Truncated and written anew since the last look: what was read stands somewhere in the middle of other records.
            tail.renew(tail.reader.anew(tail.path.clone()));
            return Ok(true);
        }
        tail.at_end = chunk.at_end;
        let (has_grown, at_end) = (!chunk.payloads.is_empty(), chunk.at_end);
        if let Some(reason) = chunk.trouble.take() {
            let (path, message) = (
                tail.path.clone(),
                format!("{}: {reason}; tried again when it grows", tail.name),
            );
            self.complain(path, message, outlet)?;
        }
        if has_grown {
            self.send(index, chunk, outlet)?;
        }
        Ok(has_grown || !at_end)
    }

    fn send(&mut self, index: usize, chunk: Chunk, outlet: &Outlet) -> Result<(), Stopped> {
        let tail = &mut self.tails[index];
        if !chunk.payloads.is_empty() {
            tail.last_growth = Instant::now();
            tail.is_idle = false;
            self.told.remove(&tail.path);
        }
        outlet.send(SourceEvent::Batch(RawBatch {
            source: Arc::clone(&self.source),
            input: tail.input.clone(),
            payloads: chunk.payloads,
            block: chunk.block,
            next: tail.reader.offset(),
        }))
    }

    /// Sets the files aside that have no name any more and were read to their ends; their paths start anew, or go.
    fn part_lost(&mut self, outlet: &Outlet) -> Result<(), Stopped> {
        let mut index = 0;
        while index < self.tails.len() {
            let tail = &self.tails[index];
            let is_read = tail.at_end || !tail.reader.is_open();
            if !tail.is_lost || !is_read {
                index += 1;
                continue;
            }
            let was_open = self.part(index);
            let tail = &mut self.tails[index];
            if tail.path.is_file() {
                tail.renew(tail.reader.anew(tail.path.clone()));
                index += 1;
            } else {
                let gone = self.tails.swap_remove(index);
                self.told.remove(&gone.path);
                if !was_open {
                    self.end_unnamed(gone.input, gone.reader.offset(), outlet)?;
                }
            }
        }
        Ok(())
    }

    /// Goes on listening to the file that a path named so far; false where it is not open, and nothing can come of it.
    fn part(&mut self, index: usize) -> bool {
        let tail = &mut self.tails[index];
        if !tail.reader.is_open() {
            return false;
        }
        let fresh = tail.reader.anew(tail.path.clone());
        let reader = std::mem::replace(&mut tail.reader, fresh);
        self.parted.push(Parted {
            input: tail.input.clone(),
            name: Arc::clone(&tail.name),
            length: reader.length(),
            reader,
            since: Instant::now(),
            is_idle: tail.is_idle,
        });
        true
    }

    /// Hands on what was appended to files that have no name any more. One that is silent for long is complete, and so is the one
    /// that is silent longest where there are too many.
    fn read_parted(&mut self, outlet: &Outlet) -> Result<(), Stopped> {
        let mut surplus = self.parted.len().saturating_sub(OPEN_FILES_MAX);
        self.parted.sort_by_key(|parted| parted.since);
        let mut index = 0;
        while index < self.parted.len() {
            let parted = &mut self.parted[index];
            let is_over = surplus > 0 || parted.since.elapsed() >= self.grace;
            let length = parted.reader.length();
            if parted.length != length || is_over {
                parted.length = length;
                self.read_one_parted(index, is_over, outlet)?;
            }
            if is_over {
                surplus = surplus.saturating_sub(1);
                let gone = self.parted.remove(index);
                self.end_unnamed(gone.input, gone.reader.offset(), outlet)?;
                continue;
            }
            let parted = &mut self.parted[index];
            let has_heir = self.tails.iter().any(|tail| tail.input == parted.input);
            if !has_heir && !parted.is_idle && parted.since.elapsed() >= PARTED_IDLE {
                parted.is_idle = true;
                outlet.send(SourceEvent::Idle(parted.input.clone()))?;
            }
            index += 1;
        }
        Ok(())
    }

    /// `finish`: the last line too, if it has no end.
    fn read_one_parted(&mut self, index: usize, finish: bool, outlet: &Outlet) -> Result<(), Stopped> {
        loop {
            if outlet.stopping() {
                return Err(Stopped);
            }
            let parted = &mut self.parted[index];
            let chunk = parted.reader.read(&parted.name, finish);
            if !parted.reader.confirm() {
                // Truncated and written anew, which is nobody's log any more.
                parted.reader.close();
                return Ok(());
            }
            if !chunk.payloads.is_empty() {
                parted.since = Instant::now();
                parted.is_idle = false;
                // Once another file has the name, a start goes on there.
                let heir = self.tails.iter().find(|tail| tail.input == parted.input);
                let next = heir.map_or(&parted.reader, |tail| &tail.reader).offset();
                outlet.send(SourceEvent::Batch(RawBatch {
                    source: Arc::clone(&self.source),
                    input: parted.input.clone(),
                    payloads: chunk.payloads,
                    block: chunk.block,
                    next,
                }))?;
            }
            if chunk.at_end {
                return Ok(());
            }
        }
    }

    /// The input is no more, unless another file has its name; it may come back for a while.
    fn end_unnamed(&mut self, input: InputId, offset: InputOffset, outlet: &Outlet) -> Result<(), Stopped> {
        let is_named = self.tails.iter().any(|tail| tail.input == input);
        if !is_named && !self.parted.iter().any(|parted| parted.input == input) {
            outlet.send(SourceEvent::Ended(input.clone()))?;
            self.resume.insert(input, (offset, Instant::now()));
        }
        Ok(())
    }

    /// Reads what is there of an open file by now.
    fn read_out(&mut self, index: usize, outlet: &Outlet) -> Result<(), Stopped> {
        loop {
            let tail = &mut self.tails[index];
            if !tail.reader.is_open() {
                return Ok(());
            }
            if outlet.stopping() {
                return Err(Stopped);
            }
            let chunk = tail.reader.read(&tail.name, false);
            let at_end = chunk.at_end;
            if !chunk.payloads.is_empty() {
                self.send(index, chunk, outlet)?;
            }
            if at_end {
                return Ok(());
            }
        }
    }

    /// Gives back the handles of the files that have been silent longest, where more are open than may be.
    fn close_silent(&mut self) {
        let mut open: Vec<&mut Tail> = self
            .tails
            .iter_mut()
            .filter(|tail| tail.reader.is_open() && !tail.is_lost)
            .collect();
        let surplus = open.len().saturating_sub(OPEN_FILES_MAX);
        open.sort_by_key(|tail| (!tail.at_end, tail.last_growth));
        open.into_iter().take(surplus).for_each(|tail| tail.reader.close());
    }

    fn complain(&mut self, path: PathBuf, message: String, outlet: &Outlet) -> Result<(), Stopped> {
        if !self.told.insert(path) {
            return Ok(());
        }
        outlet.send(SourceEvent::Trouble {
            source: Arc::clone(&self.source),
            message,
            harm: Harm::Partial,
        })
    }
}

fn print_of(offset: &InputOffset) -> Fingerprint {
    match offset {
        InputOffset::File {
            fingerprint,
            head_bytes,
            ..
        } => Fingerprint {
            hash: *fingerprint,
            head_bytes: *head_bytes,
        },
        InputOffset::Kafka { .. } | InputOffset::Spool { .. } => Fingerprint::default(),
    }
}

/// Whether the file at `path` is the one the fingerprint was taken of; an empty beginning says nothing.
fn continues(print: &Fingerprint, path: &Path) -> bool {
    print.head_bytes > 0 && print.matches(path).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_without_a_file_is_forgotten_after_a_while_unless_the_name_is_in_use() {
        let source: Arc<str> = "s".into();
        let offset = FileReader::new(PathBuf::new(), None, &Framing::default()).offset();
        let ids = ["gone", "back"].map(|path| InputId::file(&source, path));
        let resume = ids.iter().map(|id| (id.clone(), offset.clone())).collect();
        let mut followed = Followed::new(&source, "*", &resume, &Framing::default(), ROTATION_GRACE);
        let reader = FileReader::new("back".into(), None, &Framing::default());
        followed.tails.push(Tail::new(&source, "back".into(), reader));
        let now = Instant::now();
        assert!(followed.forget(now + FORGET_AFTER / 2).is_empty());
        assert_eq!(followed.resume.len(), 2);
        assert_eq!(followed.forget(now + FORGET_AFTER), ids[..1]);
        assert!(followed.resume.is_empty());
    }
}
