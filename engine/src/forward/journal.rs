//! The alert journal: gives every incident its revision number and makes it durable before anything leaves.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::record::{
    Cursors, JournalReader, RECORD_BYTES_MAX, Record, frame, holds_record, scan, segment_path, segments,
};
use super::{ForwardError, Result, io_error, sync_dir};
use crate::model::{Id, Incident, Standing};

/// A segment that holds this much is followed by a new one. Small enough that a reader finds its place by skipping from the start,
/// and that what is done with is freed soon.
const SEGMENT_BYTES: u64 = 8 << 20;

/// The newest revision of an incident.
#[derive(Clone, Copy, Debug)]
struct Newest {
    revision: u32,
    content: Id,
    standing: Standing,
}

impl Newest {
    fn of(incident: &Incident, content: Id, before: Option<&Newest>) -> Newest {
        Newest {
            revision: incident.revision,
            content,
            standing: Standing {
                status: incident.status,
                severity: incident.severity,
                told: !incident.case.withheld || before.is_some_and(|before| before.standing.told),
                silenced: incident.case.is_silenced(),
            },
        }
    }
}

/// Every incident ever seen: should the same findings come again, their revision must be known. At most 110 bytes each, so that a
/// million incidents take 110 MB at worst.
#[derive(Debug, Default)]
struct Known {
    newest: HashMap<Id, Newest>,
    /// How many have each status.
    counts: BTreeMap<&'static str, u64>,
}

impl Known {
    fn insert(&mut self, id: Id, newest: Newest) {
        if let Some(before) = self.newest.insert(id, newest)
            && let Some(count) = self.counts.get_mut(before.standing.status.text())
        {
            *count -= 1;
        }
        *self.counts.entry(newest.standing.status.text()).or_default() += 1;
    }
}

/// An append-only log of incident revisions, one writer per directory.
///
/// The law of revisions: an incident whose content is the last journaled one is that revision again, and is not journaled twice;
/// any other content is the next revision. So one pair (incident, revision) never has two contents, whatever is replayed after a crash.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    known: Known,
    segment: File,
    segment_path: PathBuf,
    segment_bytes: u64,
    segment_bytes_max: u64,
    end: watch::Sender<u64>,
    cursors: Cursors,
    /// Set by a failed write; what is on disk is then unknown.
    broken: Option<String>,
    /// Held for its lock.
    _lock: File,
}

impl Journal {
    /// Opens the journal in `dir`, creating it when it is not there. An interrupted write at its end is cut off; damage
    /// with whole records behind it is refused.
    pub fn open(dir: &Path) -> Result<Journal> {
        Journal::open_sized(dir, SEGMENT_BYTES)
    }

    pub(super) fn open_sized(dir: &Path, segment_bytes_max: u64) -> Result<Journal> {
        std::fs::create_dir_all(dir).map_err(io_error("create", dir))?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_dir(parent)?;
        }
        let lock = lock(dir)?;
        let mut firsts = segments(dir)?;
        if firsts.is_empty() {
            create_segment(dir, 0)?;
            firsts.push(0);
        }
        let mut known = Known::default();
        let mut position = firsts[0];
        let (mut path, mut whole) = (PathBuf::new(), 0);
        for (index, first) in firsts.iter().enumerate() {
            path = segment_path(dir, *first);
            if *first != position {
                return Err(ForwardError::Missing {
                    path: segment_path(dir, position),
                    position,
                });
            }
            let (bytes, torn) = scan(&path, |record| {
                position += 1;
                let (id, content) = (Id::of_text(&record.incident_id), Id::of_text(&record.content_id));
                let newest = Newest::of(&record.payload, content, known.newest.get(&id));
                known.insert(id, newest);
            })?;
            // An interrupted write leaves nothing whole behind it.
            if torn && (index + 1 < firsts.len() || holds_record(&path, bytes)?) {
                return Err(ForwardError::Damaged { path, offset: bytes });
            }
            whole = bytes;
        }
        let segment = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(io_error("open", &path))?;
        let length = segment.metadata().map_err(io_error("read", &path))?.len();
        if length > whole {
            tracing::warn!(file = %path.display(), bytes = length - whole, "alert journal: cut off an interrupted write");
            segment.set_len(whole).map_err(io_error("truncate", &path))?;
        }
        // What a killed process wrote but had not yet synced was read above and is sent from now on: it has to be durable first.
        segment.sync_all().map_err(io_error("sync", &path))?;
        sync_dir(dir)?;
        Ok(Journal {
            dir: dir.to_owned(),
            known,
            segment,
            segment_path: path,
            segment_bytes: whole,
            segment_bytes_max,
            end: watch::Sender::new(position),
            cursors: Arc::new(Mutex::new(None)),
            broken: None,
            _lock: lock,
        })
    }

    /// Tells the journal of a revision that the tables hold, before the first append: segments with older revisions may be gone. The
    /// greater revision wins; what was sent before either was sent.
    pub fn remember(&mut self, incident_id: &str, revision: u32, content_id: &str, standing: Standing) {
        let id = Id::of_text(incident_id);
        match self.known.newest.get_mut(&id) {
            Some(held) if held.revision >= revision => held.standing.told |= standing.told,
            _ => {
                let newest = Newest {
                    revision,
                    content: Id::of_text(content_id),
                    standing,
                };
                self.known.insert(id, newest);
            }
        }
    }

    /// What the incident's newest revision says; `None` before its first.
    pub fn standing(&self, incident_id: &str) -> Option<Standing> {
        let newest = self.known.newest.get(&Id::of_text(incident_id));
        newest.map(|newest| newest.standing)
    }

    /// How many incidents have each status in their newest revision; a status that none ever had is absent.
    pub fn by_status(&self) -> &BTreeMap<&'static str, u64> {
        &self.known.counts
    }

    /// Gives each incident its revision, makes those with new content durable, and returns them. On return sinks may send them.
    ///
    /// An error leaves nothing appended that a sink could see, and the journal refuses to go on until it is opened again.
    pub fn append(&mut self, incidents: Vec<Incident>) -> Result<Vec<Incident>> {
        if let Some(reason) = &self.broken {
            return Err(ForwardError::Broken { reason: reason.clone() });
        }
        let mut newest: HashMap<Id, Newest> = HashMap::new();
        let mut fresh = Vec::new();
        let mut bytes = Vec::new();
        for mut incident in incidents {
            let (id, content) = (Id::of_text(&incident.incident_id), incident.content_id());
            let before = newest.get(&id).or_else(|| self.known.newest.get(&id)).copied();
            if before.is_some_and(|before| before.content == content) {
                continue;
            }
            incident.revision = before.map_or(0, |before| before.revision) + 1;
            match encode(&incident, content) {
                Ok(record) => bytes.extend_from_slice(&record),
                // One incident that cannot be written must not stop the stream.
                Err(error @ ForwardError::Unwritable { .. }) => {
                    tracing::error!(%error, "an incident was not journaled");
                    continue;
                }
                Err(error) => return Err(error),
            }
            newest.insert(id, Newest::of(&incident, content, before.as_ref()));
            fresh.push(incident);
        }
        if !fresh.is_empty() {
            if let Err(error) = self.write(&bytes) {
                self.broken = Some(error.to_string());
                return Err(error);
            }
            newest
                .into_iter()
                .for_each(|(id, newest)| self.known.insert(id, newest));
            self.end.send_modify(|end| *end += fresh.len() as u64);
        }
        Ok(fresh)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.segment_bytes >= self.segment_bytes_max {
            let first = self.position();
            self.segment = create_segment(&self.dir, first)?;
            self.segment_path = segment_path(&self.dir, first);
            self.segment_bytes = 0;
        }
        self.segment
            .write_all(bytes)
            .map_err(io_error("write to", &self.segment_path))?;
        self.segment.sync_data().map_err(io_error("sync", &self.segment_path))?;
        self.segment_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Position after the newest record. Captured when an epoch is sealed, it says which records that epoch holds.
    pub fn position(&self) -> u64 {
        *self.end.borrow()
    }

    /// The incidents before `up_to` are in a committed epoch: segments that every sink has passed too are deleted. Until a forwarder
    /// has been started on this journal nothing is, because it is not known who still has to read it.
    pub fn committed(&mut self, up_to: u64) -> Result<()> {
        let passed = match &*self.cursors.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(cursors) => cursors.iter().copied().min().unwrap_or(u64::MAX),
            None => return Ok(()),
        };
        let free = passed.min(up_to);
        let firsts = segments(&self.dir)?;
        let mut removed = false;
        // A segment ends where the next one starts; the newest stays, it keeps the count.
        for pair in firsts.windows(2) {
            if pair[1] > free {
                break;
            }
            let path = segment_path(&self.dir, pair[0]);
            std::fs::remove_file(&path).map_err(io_error("remove", &path))?;
            removed = true;
        }
        if removed {
            sync_dir(&self.dir)?;
        }
        Ok(())
    }

    /// The retained revisions for which `stored` (asked with incident id and revision) says no: journaled, perhaps sent, but lost to
    /// the tables by a crash before their epoch. They belong in the first epoch after the start.
    pub fn unstored(&self, stored: impl Fn(&str, u32) -> bool) -> Result<Vec<Incident>> {
        let mut reader = self.reader()?;
        let mut unstored = Vec::new();
        while let Some(record) = reader.read()? {
            if !stored(&record.incident_id, record.revision) {
                unstored.push(record.payload);
            }
        }
        Ok(unstored)
    }

    /// Reads from the oldest retained record on.
    pub fn reader(&self) -> Result<JournalReader> {
        Ok(JournalReader {
            dir: self.dir.clone(),
            end: self.end.subscribe(),
            cursors: self.cursors.clone(),
            position: segments(&self.dir)?.first().copied().unwrap_or(0),
            open: None,
        })
    }
}

fn encode(incident: &Incident, content_id: Id) -> Result<Vec<u8>> {
    let unwritable = |reason| ForwardError::Unwritable {
        incident_id: incident.incident_id.clone(),
        reason,
    };
    // JSON has no NaN; serde writes null, which would read as damage later.
    if !incident.score.is_finite() || incident.score_parts.iter().any(|part| !part.points.is_finite()) {
        return Err(unwritable("its score is not a finite number".to_owned()));
    }
    let record = Record::new(incident, content_id.to_string());
    let body = serde_json::to_vec(&record).map_err(|error| unwritable(error.to_string()))?;
    if body.len() > RECORD_BYTES_MAX {
        return Err(unwritable(format!(
            "it has {} bytes, more than {RECORD_BYTES_MAX}",
            body.len()
        )));
    }
    Ok(frame(&body))
}

/// A new, durable, empty segment.
fn create_segment(dir: &Path, first: u64) -> Result<File> {
    let path = segment_path(dir, first);
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .map_err(io_error("create", &path))?;
    file.sync_all().map_err(io_error("sync", &path))?;
    sync_dir(dir)?;
    Ok(file)
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("journal.lock");
    let file = File::create(&path).map_err(io_error("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ForwardError::InUse { path }),
        Err(TryLockError::Error(source)) => Err(ForwardError::Io {
            action: "lock",
            path,
            source,
        }),
    }
}
