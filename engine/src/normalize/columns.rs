//! The columns of the batch that is being built. Text longer than a view holds inline is not copied: it is a view on the block that
//! the record's payload stands in.

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, RecordBatch, StringViewBuilder,
    TimestampMicrosecondBuilder, new_null_array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::Field;
use std::sync::Arc;

use super::row::{Cell, FLAGS, Record, Row};
use crate::model::{ColumnType, EventBatch, EventSchema, Micros, RawBatch};

/// A payload at least this long is used where it lies, and so is one in the batch's block; other ones are laid one behind the other into
/// a common block first, because every block costs each column that points into it.
const OWN_BLOCK_BYTES_MIN: usize = 64 * 1024;

/// A common block holds no more than this; views count in 32 bits.
const COMMON_BLOCK_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Text up to this length is held in the view itself.
const INLINE_BYTES_MAX: usize = 12;

/// Where a payload's bytes stand.
#[derive(Clone, Copy)]
pub struct Place {
    block: u32,
    offset: usize,
}

/// The blocks that a batch's views point into.
pub struct Blocks(Vec<Buffer>);

impl Blocks {
    pub fn of(raw: &RawBatch) -> (Blocks, Vec<Place>) {
        let block = raw.block.as_ref().filter(|block| u32::try_from(block.len()).is_ok());
        let mut buffers: Vec<Buffer> = block.cloned().into_iter().map(Buffer::from).collect();
        let mut places = Vec::with_capacity(raw.payloads.len());
        let mut common = Vec::new();
        let mut waiting = Vec::new();
        for (index, payload) in raw.payloads.iter().enumerate() {
            if let Some(offset) = block.and_then(|block| offset_in(block, &payload.bytes)) {
                places.push(Place { block: 0, offset });
                continue;
            }
            places.push(Place { block: 0, offset: 0 });
            if payload.bytes.len() >= OWN_BLOCK_BYTES_MIN {
                places[index].block = buffers.len() as u32;
                buffers.push(Buffer::from(payload.bytes.clone()));
                continue;
            }
            if common.len() + payload.bytes.len() > COMMON_BLOCK_BYTES_MAX {
                close(&mut common, &mut waiting, &mut buffers, &mut places);
            }
            waiting.push(index);
            places[index].offset = common.len();
            common.extend_from_slice(&payload.bytes);
        }
        close(&mut common, &mut waiting, &mut buffers, &mut places);
        (Blocks(buffers), places)
    }
}

/// Where `part` stands in `block`, if it does.
fn offset_in(block: &[u8], part: &[u8]) -> Option<usize> {
    let offset = part.as_ptr().addr().checked_sub(block.as_ptr().addr())?;
    (offset + part.len() <= block.len()).then_some(offset)
}

fn close(common: &mut Vec<u8>, waiting: &mut Vec<usize>, buffers: &mut Vec<Buffer>, places: &mut [Place]) {
    for index in waiting.drain(..) {
        places[index].block = buffers.len() as u32;
    }
    buffers.push(Buffer::from_vec(std::mem::take(common)));
}

struct TextColumn {
    builder: StringViewBuilder,
    /// The block used last and its number in the builder.
    block: Option<(u32, u32)>,
    /// The value of the newest rows and how many they are: what every record of a mapping has is kept once.
    run: String,
    repeats: usize,
}

impl TextColumn {
    fn view(&mut self, blocks: &Blocks, place: Place, start: u32, text: &str) {
        self.end_run();
        let buffer = blocks.0.get(place.block as usize);
        let (Some(buffer), true) = (buffer, text.len() > INLINE_BYTES_MAX) else {
            return self.builder.append_value(text);
        };
        let local = match self.block {
            Some((block, local)) if block == place.block => local,
            _ => {
                let local = self.builder.append_block(buffer.clone());
                self.block = Some((place.block, local));
                local
            }
        };
        let offset = place.offset as u32 + start;
        if self.builder.try_append_view(local, offset, text.len() as u32).is_err() {
            self.builder.append_value(text);
        }
    }

    fn copy(&mut self, text: &str) {
        if self.repeats == 0 || self.run != text {
            self.end_run();
            self.run.clear();
            self.run.push_str(text);
        }
        self.repeats += 1;
    }

    fn end_run(&mut self) {
        // Only a text of 4 GiB is refused; a cell counts its bytes in 32 bits and is cut far below that.
        if self.builder.try_append_value_n(&self.run, self.repeats).is_err() {
            for _ in 0..self.repeats {
                self.builder.append_null();
            }
        }
        self.repeats = 0;
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
            ColumnType::Utf8 => Values::Text(TextColumn {
                builder: StringViewBuilder::with_capacity(0),
                block: None,
                run: String::new(),
                repeats: 0,
            }),
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

    /// The values, of which the next is that of `row`; `None` when it is there already.
    fn at(&mut self, row: usize) -> Option<&mut Values> {
        if self.rows > row {
            return None;
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
            Values::Text(mut column) => {
                column.end_run();
                Arc::new(column.builder.finish())
            }
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
            Values::Text(column) => {
                column.end_run();
                for _ in 0..count {
                    column.builder.append_null();
                }
            }
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
    time: usize,
    ingested: usize,
    raw_hash: usize,
    flags: usize,
}

impl Columns {
    pub fn new() -> Columns {
        let schema = EventSchema::get();
        let index = |name: &str| schema.index_of(name).unwrap_or(usize::MAX);
        Columns {
            columns: schema
                .columns()
                .iter()
                .map(|declared| Column::new(declared.kind))
                .collect(),
            rows: 0,
            time: index("time"),
            ingested: index("ingested_time"),
            raw_hash: index("raw_hash"),
            flags: index("flags"),
        }
    }

    pub fn push(&mut self, row: &Row, record: Record<'_>, blocks: &Blocks, place: Place, stamp: &Stamp) {
        let place = Place {
            offset: place.offset + record.start,
            ..place
        };
        let number = self.rows;
        self.rows += 1;
        let columns = &mut self.columns;
        for &column in &row.filled {
            let cell = row.cells[column];
            let Some(text) = row.text(cell, record) else { continue };
            match next(columns, column, number) {
                Some(Values::Text(column)) => match cell {
                    Cell::Record(start, _) => column.view(blocks, place, start, text),
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
            if let Some(Values::Time(builder)) = next(columns, column, number) {
                builder.append_value(time);
            }
        }
        if let Some(Values::Int(builder)) = next(columns, self.raw_hash, number) {
            builder.append_value(stamp.raw_hash);
        }
        for items in row.items.chunk_by(|one, other| one.0 == other.0) {
            if let Some(Values::List(builder)) = next(columns, items[0].0, number) {
                for (_, cell) in items {
                    builder.values().append_option(row.text(*cell, record));
                }
                builder.append(true);
            }
        }
        if row.flags != 0
            && let Some(Values::List(builder)) = next(columns, self.flags, number)
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

/// Where the value of `row` goes; `None` when it is there already, or there is no such column.
fn next(columns: &mut [Column], column: usize, row: usize) -> Option<&mut Values> {
    columns.get_mut(column)?.at(row)
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
