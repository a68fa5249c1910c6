//! The bytes of a spool's files.
//!
//! A segment is named by the number of its first record (`00000000000000000042.seg`) and holds records one after the other: length
//! and CRC-32 of the body, 4 bytes each; then the body: one byte of flags, the number of attributes (4 bytes), for each of them the
//! lengths of its name and value (4 bytes each), name and value; the rest is the payload. Numbers are little-endian. With
//! redaction configured, a body is sealed.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::model::Attributes;
use crate::redact::{Sealer, seal};

/// Longest body: above what any listening source accepts as one record. A greater length is damage.
const BODY_BYTES_MAX: usize = 128 << 20;
const HEADER_BYTES: usize = 8;
const TRUNCATED: u8 = 1;
const READ_BYTES: usize = 256 << 10;
/// What a sealed body is.
const SEALED_AS: &str = "spool";
/// Checksummed at most in search of whole records behind damage: about a second's work.
const CHECKED_BYTES_MAX: usize = 1 << 30;

/// Records on their way into the spool.
#[derive(Debug, Default)]
pub(in crate::source) struct Block {
    bytes: Vec<u8>,
    records: u64,
}

impl Block {
    /// Adds a record: its payload, what was said beside it, and whether the payload is only its beginning.
    pub(in crate::source) fn push(&mut self, payload: &[u8], attributes: &[(&str, &[u8])], truncated: bool) {
        let begin = self.begin();
        self.bytes.push(if truncated { TRUNCATED } else { 0 });
        self.bytes.extend_from_slice(&length(attributes.len()));
        for (name, value) in attributes {
            self.bytes.extend_from_slice(&length(name.len()));
            self.bytes.extend_from_slice(&length(value.len()));
            self.bytes.extend_from_slice(name.as_bytes());
            self.bytes.extend_from_slice(value);
        }
        self.bytes.extend_from_slice(payload);
        self.end(begin);
    }

    /// The same records, each of them sealed.
    pub(super) fn sealed(&self, sealer: &Sealer) -> Block {
        let mut sealed = Block::default();
        let mut rest = self.bytes.as_slice();
        while let Some((header, after)) = rest.split_first_chunk::<HEADER_BYTES>() {
            let [a, b, c, d, ..] = *header;
            let (body, after) = after.split_at(u32::from_le_bytes([a, b, c, d]) as usize);
            let begin = sealed.begin();
            sealed.bytes.extend_from_slice(&sealer.seal(SEALED_AS, body));
            sealed.end(begin);
            rest = after;
        }
        sealed
    }

    /// Leaves room for a header; gives its place.
    fn begin(&mut self) -> usize {
        self.bytes.extend_from_slice(&[0; HEADER_BYTES]);
        self.bytes.len() - HEADER_BYTES
    }

    /// Writes the header of the body that ends here.
    fn end(&mut self, begin: usize) {
        let body = begin + HEADER_BYTES;
        let sum = crc32fast::hash(&self.bytes[body..]);
        let header = [length(self.bytes.len() - body), sum.to_le_bytes()].concat();
        self.bytes[begin..body].copy_from_slice(&header);
        self.records += 1;
    }

    pub(in crate::source) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(in crate::source) fn records(&self) -> u64 {
        self.records
    }

    pub(in crate::source) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The records again, as they will be read.
    pub(in crate::source) fn read(self) -> Vec<Record> {
        let mut bytes = Bytes::from(self.bytes);
        let mut records = Vec::new();
        while let Ok(length) = bytes.try_get_u32_le() {
            bytes.advance(HEADER_BYTES - size_of::<u32>());
            records.extend(Record::parse(bytes.split_to(length as usize)));
        }
        records
    }
}

/// What is longer than four bytes can say would be taken for damage when it is read; no source accepts that much.
fn length(count: usize) -> [u8; 4] {
    u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes()
}

/// A record as it was accepted.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::source) struct Record {
    pub payload: Bytes,
    pub attributes: Option<Arc<Attributes>>,
    pub truncated: bool,
}

impl Record {
    fn parse(mut body: Bytes) -> Option<Record> {
        let flags = body.try_get_u8().ok()?;
        let mut attributes = Attributes::new();
        for _ in 0..body.try_get_u32_le().ok()? {
            let (name, value) = (
                body.try_get_u32_le().ok()? as usize,
                body.try_get_u32_le().ok()? as usize,
            );
            if name.checked_add(value)? > body.len() {
                return None;
            }
            let name = String::from_utf8(body.split_to(name).into()).ok()?;
            attributes.insert(name.into(), body.split_to(value));
        }
        Some(Record {
            payload: body,
            attributes: (!attributes.is_empty()).then(|| Arc::new(attributes)),
            truncated: flags & TRUNCATED != 0,
        })
    }
}

/// A segment, read forward.
pub(super) struct Records {
    input: BufReader<File>,
    sealer: Option<Arc<Sealer>>,
}

impl Records {
    pub(super) fn open(path: &Path, sealer: Option<&Arc<Sealer>>) -> io::Result<Records> {
        Ok(Records {
            input: BufReader::with_capacity(READ_BYTES, File::open(path)?),
            sealer: sealer.cloned(),
        })
    }

    /// The next record; `None` where no whole one follows.
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        match self.body()? {
            Some(body) => self.record(body),
            None => Ok(None),
        }
    }

    fn record(&self, body: Bytes) -> io::Result<Option<Record>> {
        let opened = seal::open(self.sealer.as_deref(), SEALED_AS, body).map_err(io::Error::other)?;
        Ok(Record::parse(opened))
    }

    fn body(&mut self) -> io::Result<Option<Bytes>> {
        let mut header = [0; HEADER_BYTES];
        if !fill(&mut self.input, &mut header)? {
            return Ok(None);
        }
        let [a, b, c, d, sum @ ..] = header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length == 0 || length > BODY_BYTES_MAX {
            return Ok(None);
        }
        let mut body = Vec::new();
        // Not allocated at once: the length may be damage.
        (&mut self.input).take(length as u64).read_to_end(&mut body)?;
        let is_whole = body.len() == length && crc32fast::hash(&body) == u32::from_le_bytes(sum);
        Ok(is_whole.then(|| body.into()))
    }
}

/// False where the bytes end before `buffer` is full.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buffer) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}

/// What a segment holds.
pub(super) struct Contents {
    /// Whole records that it begins with.
    pub records: u64,
    pub damage: Option<Damage>,
}

/// Records that were on disk and are so no more. A write that was cut off, which nobody was told of, leaves nothing whole behind it.
pub(super) struct Damage {
    /// Bytes from the first damaged record on.
    pub bytes: u64,
    /// How many records these were, at least.
    pub records: u64,
}

pub(super) fn contents(path: &Path, sealer: Option<&Arc<Sealer>>) -> io::Result<Contents> {
    let mut reader = Records::open(path, sealer)?;
    let (mut records, mut whole) = (0, 0);
    while let Some(body) = reader.body()? {
        let bytes = HEADER_BYTES + body.len();
        if reader.record(body)?.is_none() {
            break;
        }
        records += 1;
        whole += bytes as u64;
    }
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(whole))?;
    let mut rest = Vec::new();
    file.read_to_end(&mut rest)?;
    Ok(Contents {
        records,
        damage: damage(&rest),
    })
}

/// What is wrong with bytes that do not begin with a whole record.
fn damage(rest: &[u8]) -> Option<Damage> {
    let bytes = rest.len() as u64;
    // Looking for a record among bytes that were made to look like many takes a while: enough is enough.
    let mut to_check = CHECKED_BYTES_MAX;
    let (mut at, mut found) = (1, 0);
    while at < rest.len() && to_check > 0 {
        let candidate = plausible(&rest[at..]);
        to_check = to_check.saturating_sub(candidate.map_or(0, |(_, body)| body.len()));
        match candidate {
            Some((sum, body)) if crc32fast::hash(body) == sum => {
                found += 1;
                at += HEADER_BYTES + body.len();
            }
            _ => at += 1,
        }
    }
    // One that has all its bytes, to a last one that is not a blank of the file system, was not cut off either.
    let has_all_bytes = plausible(rest).is_some_and(|(_, body)| body.last().is_some_and(|last| *last != 0));
    (found > 0 || to_check == 0 || has_all_bytes).then_some(Damage {
        bytes,
        records: 1 + found,
    })
}

/// Checksum and body of what could be a record by its form.
fn plausible(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut header = bytes;
    let (length, sum) = (header.try_get_u32_le().ok()? as usize, header.try_get_u32_le().ok()?);
    let body = header.get(..length)?;
    if seal::is_sealed(body) {
        return Some((sum, body));
    }
    let mut form = body;
    let (flags, attributes) = (form.try_get_u8().ok()?, form.try_get_u32_le().ok()? as usize);
    (flags <= TRUNCATED && attributes <= form.len() / HEADER_BYTES).then_some((sum, body))
}

pub(super) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.seg"))
}

/// The numbers by which a directory's segments are named, in order.
pub(super) fn firsts(dir: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".seg"));
        firsts.extend(first.and_then(|first| first.parse::<u64>().ok()));
    }
    firsts.sort_unstable();
    Ok(firsts)
}
