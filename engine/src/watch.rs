//! When a file is to be read again: for all who read files while the engine runs.

use std::fs::{Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// How often a file is looked at.
pub const POLL: Duration = Duration::from_secs(2);

/// How often a file that could not be used is tried again although nothing about it changed: what was wrong may lie around it.
const POLLS_TO_RETRY: u32 = 30;

/// What changes when a file does: it is another one, has another length, or was written or changed at another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// `None` where there is no file.
    pub fn of(path: &Path) -> Option<Stamp> {
        let of = |metadata: Metadata| Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        std::fs::metadata(path).ok().map(of)
    }
}

/// The content of a regular file of `bytes_max` bytes at most; the error says what it is instead, for a person.
pub fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot read it: {error}");
    // To open a named pipe would wait for somebody who writes to it.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(cannot)?;
    let held = file.metadata().map_err(cannot)?;
    if !held.is_file() {
        return Err("it is no regular file".into());
    }
    let mut bytes = Vec::new();
    if held.len() <= bytes_max {
        file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(cannot)?;
    }
    // It may have grown meanwhile.
    let length = held.len().max(bytes.len() as u64);
    if length > bytes_max {
        return Err(format!("it has {length} bytes; {bytes_max} are allowed"));
    }
    Ok(bytes)
}

/// A file, or files that belong together, looked at time and again; `S` is what a look shows of them.
pub struct Watch<S> {
    /// As it was when it was read last.
    read: S,
    /// As it was at the last look.
    seen: S,
    retry_in: Option<u32>,
}

impl<S: Copy + PartialEq> Watch<S> {
    pub fn new(read: S) -> Watch<S> {
        Watch {
            read,
            seen: read,
            retry_in: None,
        }
    }

    /// Whether to read it: it is another than was read, and was the same at the last look, so that nobody is writing it.
    pub fn is_due(&mut self, now: S) -> bool {
        let is_quiet = std::mem::replace(&mut self.seen, now) == now;
        if let Some(polls) = &mut self.retry_in {
            *polls = polls.saturating_sub(1);
        }
        is_quiet && (self.read != now || self.retry_in == Some(0))
    }

    pub fn was_read(&mut self, stamp: S) {
        self.read = stamp;
        self.retry_in = None;
    }

    pub fn failed(&mut self, stamp: S) {
        self.read = stamp;
        self.retry_in = Some(POLLS_TO_RETRY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(length: u64) -> Option<Stamp> {
        Some(Stamp {
            device: 1,
            inode: 1,
            length,
            written: (1, 0),
            changed: (1, 0),
        })
    }

    #[test]
    fn a_file_is_read_when_it_is_quiet_and_once() {
        let mut watch = Watch::new(stamp(1));
        assert!(!watch.is_due(stamp(1)));
        assert!(!watch.is_due(stamp(2)), "somebody is writing");
        assert!(!watch.is_due(stamp(3)), "still");
        assert!(watch.is_due(stamp(3)));
        watch.was_read(stamp(3));
        assert!(!watch.is_due(stamp(3)));
        assert!(!watch.is_due(None), "a rename may be under way");
        assert!(watch.is_due(None));
    }

    #[test]
    fn what_failed_is_tried_again_after_a_while() {
        let mut watch = Watch::new(stamp(1));
        watch.failed(stamp(1));
        let polls = (1..).find(|_| watch.is_due(stamp(1)));
        assert_eq!(polls, Some(POLLS_TO_RETRY));
        watch.was_read(stamp(1));
        assert!((0..100).all(|_| !watch.is_due(stamp(1))));
    }
}
