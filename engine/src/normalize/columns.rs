//! The columns of the batch that is being built. Text longer than a view holds inline is not copied: it is a view on the block that
//! the record's payload stands in.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::builder::{NullBufferBuilder, make_view};
use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, RecordBatch, StringViewArray,
    StringViewBuilder, TimestampMicrosecondBuilder, new_null_array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::Field;
use bytes::Bytes;

use super::row::{Cell, FLAGS, Record, Row};
use crate::model::{ColumnType, EventBatch, EventSchema, Micros, Payload, RawBatch};

/// A payload at least this long is used where it lies, and so is one in the batch's block; other ones are laid one behind the other into
/// a common block first, because every block costs each column that points into it.
const OWN_BLOCK_BYTES_MIN: usize = 64 * 1024;

/// A common block holds no more than this; views count in 32 bits.
const COMMON_BLOCK_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Text up to this length is held in the view itself.
const INLINE_BYTES_MAX: usize = 12;

/// Blocks of text that a column copies are as large as what is in the blocks before, from the first bound to the second.
const COPIED_BYTES_MIN: usize = 8 * 1024;
const COPIED_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The blocks that a batch's views point into.
pub struct Blocks(Vec<Buffer>);

impl Blocks {
    /// The blocks, and the payloads as they stand in them, each with the number of its block.
    pub fn of(raw: &RawBatch) -> (Blocks, Vec<(u32, Cow<'_, Payload>)>) {
        let block = raw.block.as_ref().filter(|block| u32::try_from(block.len()).is_ok());
        let mut buffers: Vec<Buffer> = block.cloned().into_iter().map(Buffer::from).collect();
        let mut placed: Vec<(u32, Cow<'_, Payload>)> = Vec::with_capacity(raw.payloads.len());
        let mut waiting = Vec::new();
        let mut bytes = 0;
        for (index, payload) in raw.payloads.iter().enumerate() {
            let stands = block.is_some_and(|block| offset_in(block, &payload.bytes).is_some());
            if !stands && payload.bytes.len() < OWN_BLOCK_BYTES_MIN {
                if bytes + payload.bytes.len() > COMMON_BLOCK_BYTES_MAX {
                    lay(&mut waiting, bytes, &mut buffers, &mut placed);
                    bytes = 0;
                }
                waiting.push(index);
                bytes += payload.bytes.len();
            } else if !stands {
                buffers.push(Buffer::from(payload.bytes.clone()));
            }
            let number = if stands { 0 } else { buffers.len().saturating_sub(1) };
            placed.push((number as u32, Cow::Borrowed(payload)));
        }
        lay(&mut waiting, bytes, &mut buffers, &mut placed);
        (Blocks(buffers), placed)
    }
}

/// Where `part` stands in `block`, if it does.
fn offset_in(block: &[u8], part: &[u8]) -> Option<usize> {
    let offset = part.as_ptr().addr().checked_sub(block.as_ptr().addr())?;
    (offset + part.len() <= block.len()).then_some(offset)
}

/// Lays the payloads that wait, of so many bytes together, into a block.
fn lay(waiting: &mut Vec<usize>, bytes: usize, buffers: &mut Vec<Buffer>, placed: &mut [(u32, Cow<'_, Payload>)]) {
    if waiting.is_empty() {
        return;
    }
    let mut common = Vec::with_capacity(bytes);
    for index in waiting.iter() {
        common.extend_from_slice(&placed[*index].1.bytes);
    }
    let common = Bytes::from(common);
    let mut at = 0;
    for index in waiting.drain(..) {
        let (number, payload) = &mut placed[index];
        let bytes = common.slice(at..at + payload.bytes.len());
        at += bytes.len();
        *number = buffers.len() as u32;
        payload.to_mut().bytes = bytes;
    }
    buffers.push(Buffer::from(common));
}

/// A column of text: views on the batch's blocks, and on blocks of its own for what does not stand there.
struct TextColumn {
    views: Vec<u128>,
    nulls: NullBufferBuilder,
    buffers: Vec<Buffer>,
    /// The batch's block used last and its number in `buffers`.
    block: Option<(u32, u32)>,
    /// The block of its own that is being filled, and its number in `buffers`, where its place is kept.
    copied: Vec<u8>,
    copied_number: Option<u32>,
    copied_bytes: usize,
    /// Where the text that was copied last begins in `copied`, and its view: what every record of a mapping has is kept once.
    last: Option<(usize, u128)>,
}

impl TextColumn {
    fn new() -> TextColumn {
        TextColumn {
            views: Vec::new(),
            nulls: NullBufferBuilder::new(0),
            buffers: Vec::new(),
            block: None,
            copied: Vec::new(),
            copied_number: None,
            copied_bytes: 0,
            last: None,
        }
    }

    fn push(&mut self, view: u128) {
        self.views.push(view);
        self.nulls.append_non_null();
    }

    fn append_nulls(&mut self, count: usize) {
        self.views.resize(self.views.len() + count, 0);
        self.nulls.append_n_nulls(count);
    }

    /// Adds a text that stands in a block of the batch.
    fn view(&mut self, blocks: &Blocks, number: u32, text: &str) {
        if text.len() <= INLINE_BYTES_MAX {
            return self.push(make_view(text.as_bytes(), 0, 0));
        }
        let stands = blocks
            .0
            .get(number as usize)
            .and_then(|block| Some((block, u32::try_from(offset_in(block, text.as_bytes())?).ok()?)));
        let Some((block, offset)) = stands else {
            return self.copy(text);
        };
        let local = match self.block {
            Some((held, local)) if held == number => local,
            _ => {
                let local = self.buffers.len() as u32;
                self.buffers.push(block.clone());
                self.block = Some((number, local));
                local
            }
        };
        self.push(make_view(text.as_bytes(), local, offset));
    }

    /// Adds a text that stands elsewhere.
    fn copy(&mut self, text: &str) {
        if text.len() <= INLINE_BYTES_MAX {
            return self.push(make_view(text.as_bytes(), 0, 0));
        }
        if let Some((start, view)) = self.last
            && self.copied.get(start..) == Some(text.as_bytes())
        {
            return self.push(view);
        }
        if self.copied.capacity() - self.copied.len() < text.len() {
            self.close();
            let room = self.copied_bytes.clamp(COPIED_BYTES_MIN, COPIED_BYTES_MAX);
            self.copied.reserve_exact(room.max(text.len()));
        }
        let number = *self.copied_number.get_or_insert_with(|| {
            self.buffers.push(Buffer::default());
            self.buffers.len() as u32 - 1
        });
        let start = self.copied.len();
        self.copied.extend_from_slice(text.as_bytes());
        self.copied_bytes += text.len();
        // A cell counts its bytes in 32 bits, and so does a block that begins with one.
        let view = make_view(text.as_bytes(), number, start as u32);
        self.last = Some((start, view));
        self.push(view);
    }

    /// Puts the block that is being filled where its views expect it.
    fn close(&mut self) {
        let copied = std::mem::take(&mut self.copied);
        if let Some(number) = self.copied_number.take() {
            self.buffers[number as usize] = Buffer::from_vec(copied);
        }
        self.last = None;
    }

    #[allow(unsafe_code)] // the safe one checks each text's UTF-8 once more
    fn finish(mut self) -> StringViewArray {
        self.close();
        // SAFETY: a view holds a `&str` itself, or says where one stands: in the block of the batch within whose bounds it was found by
        // its address, or in `copied`, into which it was appended whole right before, and whose place in `buffers` `close` fills. Buffers
        // do not change. `push` and `append_nulls` add to `views` and `nulls` alike.
        unsafe { StringViewArray::new_unchecked(self.views.into(), self.buffers, self.nulls.build()) }
    }
}

enum Values {
    Text(TextColumn),
    Int(Int64Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
    List(ListBuilder<StringViewBuilder>),
}

/// A column as far as it has been filled: nulls behind its newest value are added when the next one comes.
struct Column {
    values: Values,
    rows: usize,
}

impl Column {
    fn new(kind: ColumnType) -> Column {
        let values = match kind {
            ColumnType::Utf8 => Values::Text(TextColumn::new()),
            ColumnType::Int64 => Values::Int(Int64Builder::with_capacity(0)),
            ColumnType::Float64 => Values::Float(Float64Builder::with_capacity(0)),
            ColumnType::Bool => Values::Bool(BooleanBuilder::with_capacity(0)),
            ColumnType::Timestamp => {
                Values::Time(TimestampMicrosecondBuilder::with_capacity(0).with_data_type(kind.arrow()))
            }
            ColumnType::ListUtf8 => {
                let items = ListBuilder::new(StringViewBuilder::with_capacity(0));
                Values::List(items.with_field(Arc::new(Field::new("item", ColumnType::Utf8.arrow(), true))))
            }
        };
        Column { values, rows: 0 }
    }

    /// The values, of which the next is that of `row`; `None` when it is there already. `expected`: how many there will probably be.
    fn at(&mut self, row: usize, expected: usize) -> Option<&mut Values> {
        if self.rows > row {
            return None;
        }
        if let (0, Values::Text(column)) = (self.rows, &mut self.values) {
            column.views.reserve(expected);
        }
        let missing = row - self.rows;
        self.rows = row + 1;
        if missing > 0 {
            self.values.append_nulls(missing);
        }
        Some(&mut self.values)
    }

    /// Most columns have no value in most batches: those share `nulls`, by type.
    fn finish(mut self, kind: ColumnType, rows: usize, nulls: &mut Vec<(ColumnType, ArrayRef)>) -> ArrayRef {
        if self.rows == 0 {
            if let Some((_, held)) = nulls.iter().find(|(held, _)| *held == kind) {
                return Arc::clone(held);
            }
            let made = new_null_array(&kind.arrow(), rows);
            nulls.push((kind, Arc::clone(&made)));
            return made;
        }
        if rows > self.rows {
            self.values.append_nulls(rows - self.rows);
        }
        match self.values {
            Values::Text(column) => Arc::new(column.finish()),
            Values::Int(mut builder) => Arc::new(builder.finish()),
            Values::Float(mut builder) => Arc::new(builder.finish()),
            Values::Bool(mut builder) => Arc::new(builder.finish()),
            Values::Time(mut builder) => Arc::new(builder.finish()),
            Values::List(mut builder) => Arc::new(builder.finish()),
        }
    }
}

impl Values {
    fn append_nulls(&mut self, count: usize) {
        match self {
            Values::Text(column) => column.append_nulls(count),
            Values::Int(builder) => builder.append_nulls(count),
            Values::Float(builder) => builder.append_nulls(count),
            Values::Bool(builder) => builder.append_nulls(count),
            Values::Time(builder) => builder.append_nulls(count),
            Values::List(builder) => builder.append_nulls(count),
        }
    }
}

/// What the engine itself says of an event.
pub struct Stamp {
    pub time: Micros,
    pub ingested: Micros,
    pub raw_hash: i64,
}

pub struct Columns {
    columns: Vec<Column>,
    rows: usize,
    /// How many rows there will probably be.
    expected: usize,
    time: usize,
    ingested: usize,
    raw_hash: usize,
    flags: usize,
}

impl Columns {
    pub fn new(expected: usize) -> Columns {
        let schema = EventSchema::get();
        let index = |name: &str| schema.index_of(name).unwrap_or(usize::MAX);
        Columns {
            columns: schema
                .columns()
                .iter()
                .map(|declared| Column::new(declared.kind))
                .collect(),
            rows: 0,
            expected,
            time: index("time"),
            ingested: index("ingested_time"),
            raw_hash: index("raw_hash"),
            flags: index("flags"),
        }
    }

    pub fn push(&mut self, row: &Row, record: Record<'_>, blocks: &Blocks, block: u32, stamp: &Stamp) {
        let number = self.rows;
        self.rows += 1;
        let at = (number, self.expected);
        let columns = &mut self.columns;
        for &column in &row.filled {
            let cell = row.cells[column];
            let Some(text) = row.text(cell, record) else { continue };
            match next(columns, column, at) {
                Some(Values::Text(column)) => match cell {
                    Cell::Record(..) => column.view(blocks, block, text),
                    _ => column.copy(text),
                },
                Some(Values::Int(builder)) => builder.append_option(integer(text)),
                Some(Values::Float(builder)) => {
                    let value = text.parse().ok().filter(|value: &f64| value.is_finite());
                    builder.append_option(value);
                }
                Some(Values::Bool(builder)) => builder.append_option(truth(text)),
                // Those have cells of their own; behind the columns stand the parts of a detection.
                Some(Values::Time(_) | Values::List(_)) | None => {}
            }
        }
        let own = [(self.time, stamp.time), (self.ingested, stamp.ingested)];
        for (column, time) in row.times.iter().copied().chain(own) {
            if let Some(Values::Time(builder)) = next(columns, column, at) {
                builder.append_value(time);
            }
        }
        if let Some(Values::Int(builder)) = next(columns, self.raw_hash, at) {
            builder.append_value(stamp.raw_hash);
        }
        for items in row.items.chunk_by(|one, other| one.0 == other.0) {
            if let Some(Values::List(builder)) = next(columns, items[0].0, at) {
                for (_, cell) in items {
                    builder.values().append_option(row.text(*cell, record));
                }
                builder.append(true);
            }
        }
        if row.flags != 0
            && let Some(Values::List(builder)) = next(columns, self.flags, at)
        {
            for (_, name) in FLAGS.iter().enumerate().filter(|(bit, _)| row.flags & (1 << bit) != 0) {
                builder.values().append_value(name);
            }
            builder.append(true);
        }
    }

    pub fn finish(self) -> EventBatch {
        let rows = self.rows;
        let mut nulls = Vec::new();
        let declared = EventSchema::get().columns().iter();
        let columns = self.columns.into_iter().zip(declared);
        let arrays: Vec<ArrayRef> = columns
            .map(|(column, declared)| column.finish(declared.kind, rows, &mut nulls))
            .collect();
        match RecordBatch::try_new(EventSchema::get().arrow().clone(), arrays) {
            Ok(batch) => EventBatch::new(batch),
            // Each row is pushed to every column and required cells are always set; anything else is a defect here.
            Err(error) => panic!("the columns do not make a batch: {error}"),
        }
    }
}

/// Where the value of a row goes, of so many that are expected; `None` when it is there already, or there is no such column.
fn next(columns: &mut [Column], column: usize, (row, expected): (usize, usize)) -> Option<&mut Values> {
    columns.get_mut(column)?.at(row, expected)
}

/// A whole number, also when written as one with a fraction of zero.
fn integer(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().or_else(|| {
        let value = text.parse::<f64>().ok()?;
        (value.fract() == 0.0 && value.abs() < 9.0e15).then_some(value as i64)
    })
}

/// As JSON and the cloud's logs write it.
fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "Yes" => Some(true),
        "false" | "False" | "No" => Some(false),
        _ => None,
    }
}
