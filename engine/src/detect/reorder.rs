//! Rows that wait until the watermark passes them, so that a stateful plugin sees them in the order of (time, event id).

use arrow::array::{AsArray, RecordBatch, StringViewArray, UInt32Array};
use arrow::compute::{concat_batches, interleave_record_batch, take_record_batch};
use arrow::error::ArrowError;

use super::layout::{column, times};
use crate::model::Micros;
use crate::model::event::compact;

/// Most that one plugin's waiting rows may hold, in bytes. At 500 bytes a row this is an hour of 35 events a second, and a
/// full set of 15 stateful plugins stays under a gigabyte. Beyond it the older half is released early, and counted.
pub(super) const WAITING_BYTES_MAX: usize = 64 << 20;

/// Rows merged into one chunk at most: keeps merging cheap, and chunks few.
const CHUNK_ROWS_MAX: usize = 8192;

/// Waiting rows of one arrival, sorted by (time, event id); those before `start` are released.
struct Chunk {
    batch: RecordBatch,
    start: usize,
    bytes: usize,
}

impl Chunk {
    /// Copies the strings, so that no input block is pinned.
    fn new(batch: RecordBatch) -> Result<Chunk, ArrowError> {
        let batch = compact(&take_record_batch(&batch, &UInt32Array::from(order(&batch)))?)?;
        let bytes = batch.get_array_memory_size();
        Ok(Chunk { batch, start: 0, bytes })
    }

    fn rows(&self) -> usize {
        self.batch.num_rows() - self.start
    }

    fn waiting(&self) -> RecordBatch {
        self.batch.slice(self.start, self.rows())
    }
}

/// The buffer of one plugin.
pub(super) struct ReorderBuffer {
    chunks: Vec<Chunk>,
    bytes_max: usize,
}

impl ReorderBuffer {
    pub fn new(bytes_max: usize) -> ReorderBuffer {
        ReorderBuffer {
            chunks: Vec::new(),
            bytes_max,
        }
    }

    /// Takes rows in. All batches of one buffer have the same columns.
    pub fn push(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let mut chunk = Chunk::new(batch)?;
        // Chunks of like size grow together, as in a merge sort: many small arrivals stay few chunks.
        while let Some(last) = self.chunks.last() {
            if last.rows() > 2 * chunk.rows() || last.rows() + chunk.rows() > CHUNK_ROWS_MAX {
                break;
            }
            let merged = concat_batches(&chunk.batch.schema(), [&last.waiting(), &chunk.waiting()])?;
            chunk = Chunk::new(merged)?;
            self.chunks.pop();
        }
        self.chunks.push(chunk);
        Ok(())
    }

    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes).sum()
    }

    pub fn is_full(&self) -> bool {
        self.bytes() > self.bytes_max
    }

    pub fn rows(&self) -> usize {
        self.chunks.iter().map(Chunk::rows).sum()
    }

    pub fn clear(&mut self) {
        self.chunks.clear();
    }

    /// Least time that waits.
    pub fn oldest(&self) -> Option<Micros> {
        self.chunks.iter().map(|chunk| times(&chunk.batch)[chunk.start]).min()
    }

    /// Newest time that waits.
    pub fn newest(&self) -> Option<Micros> {
        self.chunks
            .iter()
            .map(|chunk| times(&chunk.batch)[chunk.batch.num_rows() - 1])
            .max()
    }

    /// The time that parts the older half of the waiting rows from the newer.
    pub fn median(&self) -> Option<Micros> {
        let mut all: Vec<Micros> = self
            .chunks
            .iter()
            .flat_map(|chunk| &times(&chunk.batch)[chunk.start..])
            .copied()
            .collect();
        let middle = all.len() / 2;
        (!all.is_empty()).then(|| *all.select_nth_unstable(middle).1)
    }

    /// Everything with time ≤ `through`, in order, in batches of at most `rows_max`.
    pub fn release(&mut self, through: Micros, rows_max: usize) -> Result<Vec<RecordBatch>, ArrowError> {
        let mut due: Vec<(Micros, &str, usize, usize)> = Vec::new();
        for (index, chunk) in self.chunks.iter().enumerate() {
            let times = times(&chunk.batch);
            let end = times.partition_point(|time| *time <= through);
            let ids = ids(&chunk.batch);
            due.extend((chunk.start..end.max(chunk.start)).map(|row| (times[row], ids.value(row), index, row)));
        }
        if due.is_empty() {
            return Ok(Vec::new());
        }
        due.sort_unstable();
        let batches: Vec<&RecordBatch> = self.chunks.iter().map(|chunk| &chunk.batch).collect();
        let released = due
            .chunks(rows_max)
            .map(|part| {
                let rows: Vec<(usize, usize)> = part.iter().map(|(_, _, chunk, row)| (*chunk, *row)).collect();
                interleave_record_batch(&batches, &rows)
            })
            .collect::<Result<Vec<RecordBatch>, ArrowError>>()?;
        for chunk in &mut self.chunks {
            chunk.start = times(&chunk.batch)
                .partition_point(|time| *time <= through)
                .max(chunk.start);
        }
        self.chunks.retain(|chunk| chunk.rows() > 0);
        for chunk in &mut self.chunks {
            // What is released is let go once it is the greater part.
            if chunk.start > chunk.rows() {
                *chunk = Chunk::new(chunk.waiting())?;
            }
        }
        Ok(released)
    }
}

fn ids(batch: &RecordBatch) -> &StringViewArray {
    column(batch, "event_id").as_string_view()
}

/// Row numbers in the order of (time, event id).
pub(super) fn order(batch: &RecordBatch) -> Vec<u32> {
    let (times, ids) = (times(batch), ids(batch));
    let mut rows: Vec<u32> = (0..batch.num_rows() as u32).collect();
    rows.sort_by(|a, b| {
        let (a, b) = (*a as usize, *b as usize);
        times[a].cmp(&times[b]).then_with(|| ids.value(a).cmp(ids.value(b)))
    });
    rows
}
