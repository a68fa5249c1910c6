//! One file, read forward: decompression, records, and the offset by which reading goes on after a restart.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use flate2::read::MultiGzDecoder;

use super::frame::{End, Frame, Framer};
use super::outlet::{BATCH_BYTES_MAX, BATCH_PAYLOADS_MAX};
use super::shape::{Framing, Shape};
use crate::model::{InputOffset, Payload, Position, id};

/// Read at a time: large enough that system calls do not count, small enough that many open files fit in memory.
const READ_BYTES: usize = 1 << 20;
/// A file is known by a hash of at most this many of its first bytes: log records differ well before that, by their times.
const HEAD_BYTES: usize = 1024;

/// A hash of a file's first bytes as they are on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub hash: u64,
    /// How many bytes were hashed; 0 knows nothing about the file.
    pub head_bytes: u64,
}

impl Fingerprint {
    fn of(file: &File, head_bytes: usize) -> io::Result<Fingerprint> {
        Ok(Fingerprint::of_bytes(&head(file, head_bytes)?))
    }

    fn of_bytes(head: &[u8]) -> Fingerprint {
        Fingerprint {
            hash: id::content_hash(head).cast_unsigned(),
            head_bytes: head.len() as u64,
        }
    }

    /// Whether it tells a file from any other: a short beginning may be shared by many.
    pub(super) fn is_telling(&self) -> bool {
        self.head_bytes >= HEAD_BYTES as u64
    }

    /// Whether the file at `path` begins with the bytes this was taken from. An empty beginning says nothing, and matches.
    pub(super) fn matches(&self, path: &Path) -> io::Result<bool> {
        self.matches_file(&open_regular(path)?)
    }

    fn matches_file(&self, file: &File) -> io::Result<bool> {
        // The length comes from a stored offset: it is not to be trusted as a size to allocate.
        let head_bytes = usize::try_from(self.head_bytes).unwrap_or(usize::MAX).min(HEAD_BYTES);
        Ok(head_bytes == 0 || Fingerprint::of(file, head_bytes)? == *self)
    }
}

/// What one call of `FileReader::read` gives.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub payloads: Vec<Payload>,
    /// What they stand in, when they fill at least half of it.
    pub block: Option<Bytes>,
    /// Nothing more is there at present.
    pub at_end: bool,
    /// Why the rest of the file cannot be read.
    pub trouble: Option<String>,
}

pub(super) struct FileReader {
    pub path: PathBuf,
    pub print: Fingerprint,
    /// Bytes after decompression, up to the end of the last record handed on.
    pub bytes: u64,
    pub records: u64,
    framer: Framer,
    stream: Option<Stream>,
    /// Payloads that must wait for the end of a record that is being dropped.
    held: Vec<Payload>,
}

struct Stream {
    handle: File,
    source: Box<dyn Read + Send>,
    compressed: bool,
    /// Bytes read but not yet handed on.
    block: BytesMut,
    /// Bytes to be read before the first that is wanted.
    before: u64,
    /// A compressed stream has ended or broken: reading on gives nothing.
    ended: bool,
    broken: Option<String>,
}

impl FileReader {
    pub(super) fn new(path: PathBuf, resume: Option<&InputOffset>, framing: &Framing) -> FileReader {
        let (bytes, records, print, depth) = match resume {
            Some(InputOffset::File {
                bytes,
                records,
                fingerprint,
                head_bytes,
                depth,
            }) => (
                *bytes,
                *records,
                Fingerprint {
                    hash: *fingerprint,
                    head_bytes: *head_bytes,
                },
                *depth,
            ),
            _ => (0, 0, Fingerprint::default(), 0),
        };
        FileReader {
            path,
            print,
            bytes,
            records,
            framer: Framer::new(framing, depth),
            stream: None,
            held: Vec::new(),
        }
    }

    /// One for the file at `path`, from its beginning.
    pub(super) fn anew(&self, path: PathBuf) -> FileReader {
        FileReader::new(path, None, self.framer.framing())
    }

    pub(super) fn offset(&self) -> InputOffset {
        InputOffset::File {
            bytes: self.bytes,
            records: self.records,
            fingerprint: self.print.hash,
            head_bytes: self.print.head_bytes,
            depth: self.framer.depth(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// Gives the file handle back; the next `open` goes on at the same record.
    pub(super) fn close(&mut self) {
        if !self.framer.skipping() {
            self.framer = self.framer.again(self.framer.shape());
            self.stream = None;
        }
    }

    /// Opens the file at the offset. A file that was replaced (another beginning) or cut shorter is read from its first byte.
    pub(super) fn open(&mut self) -> io::Result<()> {
        if self.stream.is_some() {
            return Ok(());
        }
        let handle = open_regular(&self.path)?;
        if !self.print.matches_file(&handle)? {
            self.restart();
        }
        if !is_compressed(&handle)? && handle.metadata()?.len() < self.bytes {
            self.restart();
        }
        if self.bytes > 0 && self.framer.shape().is_none() {
            self.framer = self.framer.again(shape_of(&handle, self.framer.framing())?);
        }
        self.print = Fingerprint::of(&handle, HEAD_BYTES)?;
        self.stream = Some(Stream::open(handle, self.bytes)?);
        Ok(())
    }

    fn restart(&mut self) {
        *self = self.anew(self.path.clone());
    }

    /// Whether the opened file (whatever its name is by now) has become shorter than what was read of it.
    pub(super) fn was_truncated(&self) -> io::Result<bool> {
        match &self.stream {
            Some(stream) if !stream.compressed => {
                let begins_alike = self.print.matches_file(&stream.handle)?;
                Ok(!begins_alike || stream.handle.metadata()?.len() < self.bytes)
            }
            _ => Ok(false),
        }
    }

    /// Whether what was read came from the file that was opened: one that is truncated in place and written anew holds other records
    /// under the same handle. To be asked after every read of a file that others write; the fingerprint grows with the file.
    pub(super) fn confirm(&mut self) -> bool {
        let Some(stream) = &self.stream else { return true };
        let Ok(head) = head(&stream.handle, HEAD_BYTES) else {
            return true;
        };
        let known = usize::try_from(self.print.head_bytes).unwrap_or(usize::MAX);
        let is_same = head
            .get(..known)
            .is_some_and(|begin| Fingerprint::of_bytes(begin) == self.print || known == 0);
        if is_same {
            self.print = Fingerprint::of_bytes(&head);
        }
        is_same
    }

    /// Device and inode of the opened file.
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        let found = self.stream.as_ref()?.handle.metadata().ok()?;
        Some((found.dev(), found.ino()))
    }

    /// How long the opened file is now.
    pub(super) fn length(&self) -> Option<u64> {
        Some(self.stream.as_ref()?.handle.metadata().ok()?.len())
    }

    /// Whether `path` names the file that was read, renamed or copied. A beginning that others may share does not tell: then it must be
    /// the very file that is open.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        let is_open_one = |open| std::fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == open);
        self.print.head_bytes > 0
            && self.print.matches(path).unwrap_or(false)
            && (self.print.is_telling() || self.identity().is_none_or(is_open_one))
    }

    /// Whether growth of the file needs it to be opened again: a compressed stream does not go on by itself, and a file that had no
    /// beginning yet has not shown what it is.
    pub(super) fn must_reopen(&self) -> bool {
        self.stream
            .as_ref()
            .is_some_and(|stream| stream.compressed || self.bytes == 0)
    }

    /// The records of about one block, which may be none: whoever reads looks in between whether to stop. `finish`: nothing will be
    /// appended, so that an unfinished last record is a record; otherwise it waits. `name` is how the file is called in positions.
    pub(super) fn read(&mut self, name: &Arc<str>, finish: bool) -> Chunk {
        let mut chunk = Chunk {
            payloads: std::mem::take(&mut self.held),
            ..Chunk::default()
        };
        let mut has_filled = false;
        loop {
            let Some(stream) = &mut self.stream else {
                chunk.at_end = true;
                return chunk;
            };
            // A compressed stream that ended cleanly is complete, whoever may append to the file.
            let is_complete = stream.ended && (finish || (stream.compressed && stream.broken.is_none()));
            let end = match is_complete {
                true if stream.broken.is_some() => End::Broken,
                true => End::Clean,
                false => End::Open,
            };
            self.take_records(name, end, &mut chunk);
            if !chunk.payloads.is_empty() && !self.framer.skipping() {
                return chunk;
            }
            let Some(stream) = &mut self.stream else { continue };
            if stream.ended {
                // Only a stream that can grow may be read again.
                stream.ended = stream.compressed;
                chunk.trouble = stream.broken.take();
                chunk.at_end = true;
                if self.framer.skipping() && !is_complete {
                    self.held = std::mem::take(&mut chunk.payloads);
                }
                return chunk;
            }
            if has_filled {
                self.held = std::mem::take(&mut chunk.payloads);
                return chunk;
            }
            stream.fill();
            has_filled = true;
        }
    }

    /// Moves what is whole in the block to the chunk, up to a batch.
    fn take_records(&mut self, name: &Arc<str>, end: End, chunk: &mut Chunk) {
        let Some(stream) = &mut self.stream else { return };
        let (mut used, mut taken, mut found) = (0, 0, Vec::new());
        while self.framer.skipping()
            || (chunk.payloads.len() + found.len() < BATCH_PAYLOADS_MAX && taken < BATCH_BYTES_MAX)
        {
            match self.framer.next(&stream.block[used..], end) {
                Frame::More => break,
                Frame::Skip { next } => used += next,
                Frame::Record { end, next, truncated } => {
                    found.push((used..used + end, truncated));
                    used += next;
                    taken += end;
                }
            }
        }
        let block = stream.block.split_to(used).freeze();
        self.bytes += used as u64;
        chunk.block = (2 * taken >= READ_BYTES).then(|| block.clone());
        for (range, truncated) in found {
            self.records += 1;
            chunk.payloads.push(Payload {
                bytes: block.slice(range),
                position: Position::File {
                    path: Arc::clone(name),
                    record: self.records,
                },
                truncated,
                attributes: None,
            });
        }
    }
}

impl Stream {
    /// Bytes of the file from `from` on. A compressed one is decompressed up to there, as it is read.
    fn open(mut handle: File, from: u64) -> io::Result<Stream> {
        let compressed = is_compressed(&handle)?;
        handle.seek(SeekFrom::Start(if compressed { 0 } else { from }))?;
        let input = handle.try_clone()?;
        let source: Box<dyn Read + Send> = match head(&handle, 4)?[..] {
            [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(BufReader::with_capacity(READ_BYTES, input))),
            [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::stream::read::Decoder::new(input)?),
            _ => Box::new(input),
        };
        Ok(Stream {
            handle,
            source,
            compressed,
            block: BytesMut::new(),
            before: if compressed { from } else { 0 },
            ended: false,
            broken: None,
        })
    }

    fn fill(&mut self) {
        let begun = self.block.len();
        self.block.resize(begun + READ_BYTES, 0);
        let read = loop {
            match self.source.read(&mut self.block[begun..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.block.truncate(begun + *read.as_ref().unwrap_or(&0));
        // Nothing is in the block before what is wanted has come.
        let unwanted = usize::try_from(self.before).unwrap_or(usize::MAX).min(self.block.len());
        self.block.advance(unwanted);
        self.before -= unwanted as u64;
        match read {
            Ok(0) => self.ended = true,
            Ok(_) => {}
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.ended = true;
        let kind = if self.compressed {
            "compressed data is corrupt or breaks off"
        } else {
            "cannot be read on"
        };
        self.broken = Some(format!("{kind}: {error}"));
    }
}

/// Opens what can be read to its end. To open a named pipe would wait for somebody who writes to it.
fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file, but a directory, a pipe, a socket or a device",
        )),
    }
}

/// A file's first bytes, fewer where it is shorter; the position for reading stays where it is.
fn head(file: &File, len: usize) -> io::Result<Vec<u8>> {
    let mut head = vec![0; len];
    let mut filled = 0;
    while filled < head.len() {
        match file.read_at(&mut head[filled..], filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    head.truncate(filled);
    Ok(head)
}

/// By its first bytes, whatever its name says: gzip (RFC 1952) or Zstandard (RFC 8878).
fn is_compressed(file: &File) -> io::Result<bool> {
    Ok(matches!(
        head(file, 4)?[..],
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd]
    ))
}

/// The shape of a file that is to be read on from its middle.
fn shape_of(file: &File, framing: &Framing) -> io::Result<Option<Shape>> {
    let mut stream = Stream::open(file.try_clone()?, 0)?;
    let mut framer = Framer::new(framing, 0);
    while framer.shape().is_none() && !stream.ended {
        stream.fill();
        while let Frame::Skip { next } = framer.next(&stream.block, End::Open)
            && framer.shape().is_none()
        {
            stream.block.advance(next);
        }
    }
    Ok(framer.shape())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_without_records_are_passed_over_one_by_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("blanks");
        let blanks = 5 * READ_BYTES;
        let mut text = vec![b'\n'; blanks];
        text.extend_from_slice(b"{\n\"a\":1\n}\n");
        std::fs::write(&path, &text).expect("written");
        let mut reader = FileReader::new(path, None, &Framing::default());
        reader.open().expect("opened");
        let name: Arc<str> = "blanks".into();
        for block in 1..=5 {
            let chunk = reader.read(&name, false);
            assert!(chunk.payloads.is_empty() && !chunk.at_end);
            assert_eq!(
                reader.bytes,
                block * READ_BYTES as u64,
                "none is kept to be looked at again"
            );
        }
        // Opened again among the blanks, it is still what its first record shows.
        reader.close();
        reader.open().expect("opened");
        let chunk = reader.read(&name, false);
        assert_eq!(&chunk.payloads[0].bytes[..], b"{\n\"a\":1\n}");
    }
}
