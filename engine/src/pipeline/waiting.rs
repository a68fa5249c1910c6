//! Events that wait in reorder buffers, kept in clear for the next start where the tables do not: with redaction, each epoch's state
//! holds those of its events that wait, sealed, until they have passed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch, StringViewArray, new_null_array};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;

use super::PipelineError;
use crate::model::event::compact;
use crate::model::{EventBatch, EventSchema, Micros};

/// Begins the names of state that holds such events; an epoch follows.
const NAME: &str = "waiting/";
/// State that says that the tables do not hold what the events were.
pub const MARK: &str = "redacted";

/// Fast: it is written with every epoch.
const ZSTD_LEVEL: i32 = 1;

#[derive(Default)]
pub struct Waiting {
    /// Events since the last epoch was sealed.
    fresh: Vec<EventBatch>,
    /// Epochs whose state holds some, and the newest time of these.
    kept: BTreeMap<String, Micros>,
}

impl Waiting {
    pub fn add(&mut self, events: &EventBatch) {
        if events.rows() > 0 {
            self.fresh.push(events.clone());
        }
    }

    /// Takes up what the last run kept; gives the events.
    pub fn restore(&mut self, state: &BTreeMap<String, Bytes>) -> Result<Vec<EventBatch>, PipelineError> {
        let mut events = Vec::new();
        for (name, text) in state.iter().filter(|(name, _)| name.starts_with(NAME)) {
            let batch = read(text).map_err(|error| PipelineError::Sealed {
                name: name.clone(),
                reason: error.to_string(),
            })?;
            self.kept.insert(name.clone(), newest(&batch));
            events.push(EventBatch::new(batch));
        }
        Ok(events)
    }

    /// What of an epoch's events must be kept, by name, and an empty value for what need not be kept any more. Those newer than
    /// `after` wait; `columns` are all that is needed of them.
    pub fn save(
        &mut self,
        epoch: u64,
        after: Option<Micros>,
        columns: &BTreeSet<usize>,
    ) -> Result<BTreeMap<String, Bytes>, ArrowError> {
        let mut saved = BTreeMap::new();
        self.kept.retain(|name, newest| {
            let waits = after.is_some_and(|after| *newest > after);
            if !waits {
                saved.insert(name.clone(), Bytes::new());
            }
            waits
        });
        let fresh = std::mem::take(&mut self.fresh);
        if let Some(after) = after {
            let rows = fresh.iter().map(|events| newer(events.batch(), after, columns));
            let rows = concat_batches(EventSchema::get().arrow(), &rows.collect::<Result<Vec<_>, _>>()?)?;
            if rows.num_rows() > 0 {
                let name = format!("{NAME}{epoch:020}");
                saved.insert(name.clone(), write(&rows)?);
                self.kept.insert(name, newest(&rows));
            }
        }
        Ok(saved)
    }
}

/// The rows after `after`, with `columns` and what every event must have in them.
fn newer(batch: &RecordBatch, after: Micros, columns: &BTreeSet<usize>) -> Result<RecordBatch, ArrowError> {
    let times = batch
        .column_by_name("time")
        .map(|times| times.as_primitive::<TimestampMicrosecondType>());
    let is_newer = times.map_or_else(Vec::new, |times| {
        times.values().iter().map(|time| *time > after).collect()
    });
    let rows = filter_record_batch(batch, &BooleanArray::from(is_newer))?;
    let kept = rows.columns().iter().enumerate().map(|(index, column)| {
        let field = EventSchema::get().arrow().field(index);
        match field.name().as_str() {
            _ if columns.contains(&index) => column.clone(),
            // Which rows a detector is shown is decided by them.
            "flags" => column.clone(),
            "raw" => Arc::new(StringViewArray::from_iter_values(vec![""; column.len()])),
            _ if !field.is_nullable() => column.clone(),
            _ => new_null_array(field.data_type(), column.len()),
        }
    });
    compact(&RecordBatch::try_new(rows.schema(), kept.collect())?)
}

fn newest(batch: &RecordBatch) -> Micros {
    let times = batch
        .column_by_name("time")
        .map(|times| times.as_primitive::<TimestampMicrosecondType>());
    times.and_then(arrow::compute::max).unwrap_or(Micros::MIN)
}

fn write(batch: &RecordBatch) -> Result<Bytes, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref())?;
    writer.write(batch)?;
    let stream = writer.into_inner()?;
    Ok(zstd::encode_all(stream.as_slice(), ZSTD_LEVEL)?.into())
}

fn read(text: &[u8]) -> Result<RecordBatch, ArrowError> {
    let reader = StreamReader::try_new(zstd::Decoder::new(text)?, None)?;
    let batches = reader.map(|batch| fitted(&batch?)).collect::<Result<Vec<_>, _>>()?;
    concat_batches(EventSchema::get().arrow(), &batches)
}

/// In the schema of this build: columns that are new since are null, as they are in the tables.
fn fitted(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = EventSchema::get().arrow();
    let other = || ArrowError::from(io::Error::other("its columns are those of another version"));
    let held = batch.schema();
    if held.fields().iter().any(|field| schema.index_of(field.name()).is_err()) {
        return Err(other());
    }
    let columns = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
            None if field.is_nullable() => Ok(new_null_array(field.data_type(), batch.num_rows())),
            _ => Err(other()),
        });
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_an_older_version_kept_lack_only_columns() {
        let empty = EventBatch::empty();
        let places = |without: &'static str| {
            let fields = EventSchema::get().arrow().fields().iter().enumerate();
            let kept = fields.filter(move |(_, field)| field.name() != without);
            kept.map(|(place, _)| place).collect::<Vec<_>>()
        };
        let without = |name| write(&empty.batch().project(&places(name)).expect("places")).expect("written");
        let read_again = read(&without("src_endpoint_zone")).expect("an older version's");
        assert_eq!(read_again.schema_ref(), EventSchema::get().arrow());
        assert!(read(&without("event_id")).is_err());
    }
}
