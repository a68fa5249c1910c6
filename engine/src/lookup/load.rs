//! File → table.

use std::path::Path;

use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest, Sha256};

use super::maxmind::MaxMind;
use super::rows::{RowsReader, place};
use super::table::{BYTES_MAX, Draft, Table};
use super::{Loaded, LookupError};
use crate::config::{LookupFormat, LookupSettings};
use crate::model::Micros;
use crate::watch::{Stamp, read_bounded};

/// Small enough that a batch of long cells stays small.
const PARQUET_ROWS: usize = 1024;

/// Reads the table of a lookup from its file. Blocks, and may take seconds for a large one.
pub fn load(settings: &LookupSettings, path: &Path, format: LookupFormat, now: Micros) -> Result<Loaded, LookupError> {
    let stamp = Stamp::of(path);
    let wrong = |reason: String| LookupError {
        name: settings.name.clone(),
        reason: format!("{}: {reason}", path.display()),
    };
    let bytes = read_bounded(path, BYTES_MAX).map_err(wrong)?;
    let digest = hex::encode(Sha256::digest(&bytes));
    let table = match format {
        LookupFormat::Csv => csv(settings, &bytes, digest),
        LookupFormat::Parquet => parquet(settings, bytes.into(), digest),
        LookupFormat::MaxMind => {
            MaxMind::open(settings, bytes).map(|(maxmind, unseen)| Table::maxmind(maxmind, unseen, digest))
        }
    };
    Ok(Loaded {
        table: table.map_err(wrong)?,
        time: now,
        stamp,
    })
}

/// RFC 4180 in UTF-8, with a header; a byte order mark and any line ending will do.
pub(super) fn csv(settings: &LookupSettings, bytes: &[u8], digest: String) -> Result<Table, String> {
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(format!(
            "line {}: a NUL byte; valid is text in UTF-8",
            line_at(bytes, at as u64)
        ));
    }
    let mut draft = Draft::new(settings)?;
    let mut reader = ::csv::ReaderBuilder::new().from_reader(bytes);
    let headers = reader.headers().map_err(|error| damage(bytes, &error))?.clone();
    let names: Vec<&str> = headers.iter().map(str::trim).collect();
    let (key, taken) = draft.columns();
    let key = place(&names, key)?;
    let taken = taken
        .iter()
        .map(|name| place(&names, name))
        .collect::<Result<Vec<_>, _>>()?;
    let mut record = ::csv::StringRecord::new();
    let mut begin = 0;
    while reader.read_record(&mut record).map_err(|error| damage(bytes, &error))? {
        begin = record.position().map_or(begin, ::csv::Position::byte);
        let cells = taken.iter().map(|place| record.get(*place));
        let pushed = draft.push(record.get(key).unwrap_or_default(), cells);
        pushed.map_err(|reason| format!("line {}: {reason}", line_at(bytes, begin)))?;
    }
    // The reader lets the end of the file close what is open.
    if bytes.iter().filter(|byte| **byte == b'"').count() % 2 == 1 {
        let line = line_at(bytes, begin);
        return Err(format!(
            "a quotation mark is missing; the last row begins in line {line}"
        ));
    }
    Ok(draft.finish(digest))
}

/// The line of the first text at or after `at`: the reader's own count is one short where lines end in CRLF.
fn line_at(bytes: &[u8], at: u64) -> usize {
    let at = usize::try_from(at).map_or(bytes.len(), |at| at.min(bytes.len()));
    let ends = |byte: &&u8| matches!(**byte, b'\r' | b'\n');
    let text = at + bytes[at..].iter().take_while(ends).count();
    1 + bytes[..text].iter().filter(|byte| **byte == b'\n').count()
}

/// Without the text of cells.
fn damage(bytes: &[u8], error: &::csv::Error) -> String {
    let line = |position: &Option<::csv::Position>| line_at(bytes, position.as_ref().map_or(0, ::csv::Position::byte));
    match error.kind() {
        ::csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            format!("line {}: {len} cells, where the header has {expected_len}", line(pos))
        }
        ::csv::ErrorKind::Utf8 { pos, .. } => format!("line {}: no UTF-8", line(pos)),
        _ => format!("cannot read it: {error}"),
    }
}

fn parquet(settings: &LookupSettings, bytes: Bytes, digest: String) -> Result<Table, String> {
    let damaged = |error: &dyn std::fmt::Display| format!("no readable Parquet: {error}");
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| damaged(&error))?;
    // Looks for every column before rows are read.
    RowsReader::new(settings, builder.schema())?;
    let key = settings.key.iter().map(|key| key.column.as_str());
    let names = key.chain(settings.take.values().map(String::as_str));
    let mask = ProjectionMask::columns(builder.parquet_schema(), names);
    let rows = builder.with_projection(mask).with_batch_size(PARQUET_ROWS).build();
    let rows = rows.map_err(|error| damaged(&error))?;
    let mut reader = RowsReader::new(settings, &arrow::array::RecordBatchReader::schema(&rows))?;
    let mut count = 0;
    for batch in rows {
        let batch = batch.map_err(|error| damaged(&error))?;
        let pushed = reader.push(&batch);
        pushed.map_err(|reason| format!("rows {} to {}: {reason}", count + 1, count + batch.num_rows()))?;
        count += batch.num_rows();
    }
    Ok(reader.finish(digest))
}
