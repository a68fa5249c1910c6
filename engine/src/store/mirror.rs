//! A view in another process: what it holds that is on disk is named, what is not is sent.
//!
//! A message is a length and a JSON header (the epoch, and of every table its Delta version, which rows of the message before it
//! still stand, and how many batches follow), then each of these batches as a length and an Arrow IPC stream. Lengths are 8 bytes,
//! little-endian. Both ends are the same program, so the form has no version.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use deltalake::DeltaTable;
use serde::{Deserialize, Serialize};

use crate::model::event::compact;

use super::delta;
use super::error::StoreError;
use super::tables::Table;
use super::view::{TableView, View};

#[derive(Serialize, Deserialize)]
struct Header {
    epoch: u64,
    tables: BTreeMap<Table, Change>,
}

#[derive(Serialize, Deserialize)]
struct Change {
    /// Of the Delta table.
    version: u64,
    /// Which of the batches that were there stay, by their places.
    kept: Vec<usize>,
    added: usize,
}

/// The sending end.
#[derive(Default)]
pub struct ViewSender {
    sent: BTreeMap<Table, Vec<RecordBatch>>,
}

impl ViewSender {
    /// Writes what changed since the view before.
    pub fn send(&mut self, view: &View, out: &mut impl Write) -> io::Result<()> {
        let mut tables = BTreeMap::new();
        let mut batches = Vec::new();
        for (table, held) in &view.tables {
            let sent = self.sent.entry(*table).or_default();
            let (kept, added) = difference(sent, &held.tail);
            let version = held.delta.version().unwrap_or_default();
            let change = Change {
                version,
                kept,
                added: added.len(),
            };
            sent.clone_from(&held.tail);
            batches.extend(added);
            tables.insert(*table, change);
        }
        let header = Header {
            epoch: view.epoch,
            tables,
        };
        write_part(out, &serde_json::to_vec(&header)?)?;
        for batch in batches {
            write_part(out, &to_ipc(&batch).map_err(io::Error::other)?)?;
        }
        out.flush()
    }
}

/// Places of the batches in `before` that `now` begins with, and what follows them in `now`. Old rows leave when their epoch is on
/// disk, new ones come at the end.
fn difference(before: &[RecordBatch], now: &[RecordBatch]) -> (Vec<usize>, Vec<RecordBatch>) {
    let same = |a: &RecordBatch, b: &RecordBatch| {
        a.num_rows() == b.num_rows() && a.columns().iter().zip(b.columns()).all(|(a, b)| Arc::ptr_eq(a, b))
    };
    let (mut kept, mut added, mut from) = (Vec::new(), Vec::new(), 0);
    for batch in now {
        let mut places = if added.is_empty() { from..before.len() } else { 0..0 };
        match places.find(|place| same(&before[*place], batch)) {
            Some(place) => {
                kept.push(place);
                from = place + 1;
            }
            None => added.push(batch.clone()),
        }
    }
    (kept, added)
}

fn to_ipc(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    // Views into a block of input would take the whole block along.
    let batch = compact(batch)?;
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref())?;
    writer.write(&batch)?;
    writer.into_inner()
}

fn write_part(out: &mut impl Write, part: &[u8]) -> io::Result<()> {
    out.write_all(&(part.len() as u64).to_le_bytes())?;
    out.write_all(part)
}

/// The receiving end: keeps [`Views`] as the sender's are.
pub struct ViewReceiver {
    dir: PathBuf,
    deltas: BTreeMap<Table, DeltaTable>,
    tails: BTreeMap<Table, Vec<RecordBatch>>,
}

/// What [`ViewReceiver::read`] took in.
pub struct Received(Header);

impl ViewReceiver {
    /// Of the data directory `dir`.
    pub fn new(dir: &Path) -> ViewReceiver {
        ViewReceiver {
            dir: dir.to_owned(),
            deltas: BTreeMap::new(),
            tails: BTreeMap::new(),
        }
    }

    /// Waits for the next message; `None` when the sender is gone.
    pub fn read(&mut self, from: &mut impl Read) -> io::Result<Option<Received>> {
        let Some(header) = read_part(from)? else {
            return Ok(None);
        };
        let header: Header = serde_json::from_slice(&header)?;
        for (table, change) in &header.tables {
            let before = self.tails.remove(table).unwrap_or_default();
            let kept = change.kept.iter().filter_map(|place| before.get(*place));
            let mut tail: Vec<RecordBatch> = kept.cloned().collect();
            for _ in 0..change.added {
                let part = read_part(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
                let batches =
                    StreamReader::try_new(part.as_slice(), None).and_then(Iterator::collect::<Result<Vec<_>, _>>);
                tail.extend(batches.map_err(io::Error::other)?);
            }
            self.tails.insert(*table, tail);
        }
        Ok(Some(Received(header)))
    }

    /// The view that was received, once its files are looked up.
    pub async fn view(&mut self, received: Received) -> Result<View, StoreError> {
        let Received(header) = received;
        let mut tables = BTreeMap::new();
        for (table, change) in header.tables {
            let delta = match self.deltas.entry(table) {
                std::collections::btree_map::Entry::Occupied(held) => held.into_mut(),
                std::collections::btree_map::Entry::Vacant(none) => none.insert(delta::handle(&self.dir, table)?),
            };
            delta::go_to(table, delta, change.version).await?;
            let tail = self.tails.get(&table).cloned().unwrap_or_default();
            tables.insert(
                table,
                TableView {
                    delta: delta.clone(),
                    tail,
                },
            );
        }
        Ok(View {
            epoch: header.epoch,
            tables,
        })
    }
}

fn read_part(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 8];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let length = u64::from_le_bytes(length);
    let mut part = Vec::new();
    from.take(length).read_to_end(&mut part)?;
    if part.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(part))
}
