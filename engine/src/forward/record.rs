//! Records of the alert journal: their form on disk, and reading them in order.
//!
//! A record is its length (4 bytes, little endian), the first 8 bytes of the SHA-256 of its body, and its body: one JSON object, with
//! the number of its format. A segment is a file of records named by the position of its first one. Positions count records from 0
//! over the journal's whole life.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{ForwardError, Result, io_error};
use crate::model::Incident;
use crate::model::id::content_hash;

/// Largest body. Far above any real incident; a length above it is damage, not data, and must not be allocated.
pub(super) const RECORD_BYTES_MAX: usize = 16 << 20;
pub(super) const RECORD_HEAD_BYTES: usize = 12;
const SEGMENT_SUFFIX: &str = ".journal";

/// Version of the body's form. It changes when what an older version wrote can no longer be read as it is.
const FORMAT: u32 = 1;
/// How every body begins.
const BODY_BEGIN: &[u8] = b"{\"format\":";

/// One journaled revision.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    format: u32,
    pub incident_id: String,
    pub revision: u32,
    /// [`Incident::content_id`], as 32 hexadecimal digits. Kept beside the payload because a number read back from JSON may differ
    /// in its last bit from the one that was hashed.
    pub content_id: String,
    pub payload: Incident,
}

impl Record {
    pub(super) fn new(incident: &Incident, content_id: String) -> Record {
        Record {
            format: FORMAT,
            incident_id: incident.incident_id.clone(),
            revision: incident.revision,
            content_id,
            payload: incident.clone(),
        }
    }

    /// Reads a body; an error says in what way it is none that this version writes.
    fn parse(body: &[u8]) -> std::result::Result<Record, String> {
        #[derive(Deserialize)]
        struct Form {
            format: u32,
        }
        match serde_json::from_slice::<Form>(body) {
            Ok(Form { format: FORMAT }) => serde_json::from_slice(body).map_err(|error| error.to_string()),
            Ok(Form { format }) => Err(format!(
                "it is of format {format}, and this version reads format {FORMAT}"
            )),
            Err(error) => Err(format!("it does not say its format: {error}")),
        }
    }
}

/// The bytes of a record with the body `body`, head included.
pub(super) fn frame(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD_HEAD_BYTES + body.len());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&content_hash(body).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// What stands at a place of a segment.
pub(super) enum Found {
    Record(Box<Record>),
    /// The segment ends here, after a whole record.
    End,
    /// Not a whole record, by its length or its hash: a write that was interrupted, or damage.
    Torn,
    /// Written whole, but nothing this version can read, for the reason given.
    Foreign(String),
}

pub(super) fn read_record(from: &mut impl Read) -> io::Result<Found> {
    let mut head = [0u8; RECORD_HEAD_BYTES];
    match fill(from, &mut head)? {
        0 => return Ok(Found::End),
        RECORD_HEAD_BYTES => {}
        _ => return Ok(Found::Torn),
    }
    let (length, hash) = head.split_at(4);
    let length = u32::from_le_bytes(length.try_into().unwrap_or_default()) as usize;
    let hash = i64::from_be_bytes(hash.try_into().unwrap_or_default());
    if length > RECORD_BYTES_MAX {
        return Ok(Found::Torn);
    }
    let mut body = vec![0u8; length];
    if fill(from, &mut body)? < length || content_hash(&body) != hash {
        return Ok(Found::Torn);
    }
    Ok(match Record::parse(&body) {
        Ok(record) => Found::Record(Box::new(record)),
        Err(reason) => Found::Foreign(reason),
    })
}

/// Reads until `buffer` is full or the input ends; gives how much was read.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

pub(super) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}{SEGMENT_SUFFIX}"))
}

/// First positions of the segments in `dir`, in order.
pub(super) fn segments(dir: &Path) -> Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io_error("list", dir))? {
        let name = entry.map_err(io_error("list", dir))?.file_name();
        let first: Option<u64> = name
            .to_str()
            .and_then(|name| name.strip_suffix(SEGMENT_SUFFIX))
            .and_then(|digits| digits.parse().ok());
        firsts.extend(first);
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// How far each sink's durable cursor is; `None` until the forwarder has said which sinks there are.
pub(super) type Cursors = Arc<Mutex<Option<Vec<u64>>>>;

/// Reads what is durable in the journal, in order. Every sink has one of its own.
#[derive(Debug)]
pub struct JournalReader {
    pub(super) dir: PathBuf,
    /// Position after the newest durable record. Nothing at or beyond it is read: it may yet vanish in a crash.
    pub(super) end: watch::Receiver<u64>,
    pub(super) cursors: Cursors,
    pub(super) position: u64,
    pub(super) open: Option<(PathBuf, BufReader<File>)>,
}

impl Clone for JournalReader {
    fn clone(&self) -> JournalReader {
        JournalReader {
            dir: self.dir.clone(),
            end: self.end.clone(),
            cursors: self.cursors.clone(),
            position: self.position,
            open: None,
        }
    }
}

impl JournalReader {
    /// Position of the record that `read` gives next.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Position after the newest durable record.
    pub fn end(&self) -> u64 {
        *self.end.borrow()
    }

    /// Position of the oldest record that is still there.
    pub fn start(&self) -> Result<u64> {
        Ok(segments(&self.dir)?.first().copied().unwrap_or(0))
    }

    pub fn seek(&mut self, position: u64) {
        self.position = position;
        self.open = None;
    }

    /// Waits until the journal holds more than has been read; `false` when it never will, because the journal was closed.
    pub async fn more(&mut self) -> bool {
        let position = self.position;
        self.end.wait_for(|end| *end > position).await.is_ok()
    }

    /// The next durable record, `None` when there is none yet.
    pub fn read(&mut self) -> Result<Option<Record>> {
        while self.position < self.end() {
            let (path, mut file) = match self.open.take() {
                Some(open) => open,
                None => self.open_at_position()?,
            };
            let offset = file.stream_position().map_err(io_error("read", &path))?;
            match read_record(&mut file).map_err(io_error("read", &path))? {
                Found::Record(record) => {
                    self.position += 1;
                    self.open = Some((path, file));
                    return Ok(Some(*record));
                }
                // The next segment starts where this one ends; were that this very file, it would hold the record.
                Found::End if segment_path(&self.dir, self.position) != path => {}
                Found::End | Found::Torn => return Err(ForwardError::Damaged { path, offset }),
                Found::Foreign(reason) => return Err(ForwardError::Foreign { path, offset, reason }),
            }
        }
        Ok(None)
    }

    fn open_at_position(&self) -> Result<(PathBuf, BufReader<File>)> {
        let first = segments(&self.dir)?.into_iter().rfind(|first| *first <= self.position);
        let Some(first) = first else {
            let path = segment_path(&self.dir, self.position);
            return Err(ForwardError::Missing {
                path,
                position: self.position,
            });
        };
        let path = segment_path(&self.dir, first);
        let mut file = BufReader::new(File::open(&path).map_err(io_error("open", &path))?);
        for _ in first..self.position {
            skip_record(&mut file).map_err(io_error("read", &path))?;
        }
        Ok((path, file))
    }

    /// Says how far the sinks' durable cursors are, which is what lets segments be deleted.
    pub(super) fn report(&self, update: impl FnOnce(&mut Option<Vec<u64>>)) {
        update(&mut self.cursors.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn skip_record(file: &mut BufReader<File>) -> io::Result<()> {
    let mut head = [0u8; RECORD_HEAD_BYTES];
    file.read_exact(&mut head)?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    file.seek_relative(i64::from(length))?;
    Ok(())
}

/// Whether a whole record stands anywhere from `offset` on. Every body begins with its format, which no text within one can look like.
pub(super) fn holds_record(path: &Path, offset: u64) -> Result<bool> {
    let mut file = File::open(path).map_err(io_error("open", path))?;
    file.seek(SeekFrom::Start(offset)).map_err(io_error("read", path))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io_error("read", path))?;
    let begins = |at: &usize| bytes[at + RECORD_HEAD_BYTES..].starts_with(BODY_BEGIN);
    let last = bytes.len().saturating_sub(RECORD_HEAD_BYTES);
    for at in (0..last).filter(begins) {
        if let Found::Record(_) | Found::Foreign(_) = read_record(&mut &bytes[at..]).map_err(io_error("read", path))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Bytes of the whole records at the start of the segment at `path`, and whether anything follows them. A whole record that cannot
/// be read is an error: what is in it may not have been sent.
pub(super) fn scan(path: &Path, mut each: impl FnMut(Record)) -> Result<(u64, bool)> {
    let mut file = BufReader::new(File::open(path).map_err(io_error("open", path))?);
    let mut whole = 0;
    loop {
        match read_record(&mut file).map_err(io_error("read", path))? {
            Found::Record(record) => each(*record),
            Found::End => return Ok((whole, false)),
            Found::Torn => return Ok((whole, true)),
            Found::Foreign(reason) => {
                return Err(ForwardError::Foreign {
                    path: path.to_owned(),
                    offset: whole,
                    reason,
                });
            }
        }
        whole = file.stream_position().map_err(io_error("read", path))?;
    }
}
