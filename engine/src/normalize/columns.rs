//! The columns of the batch that is being built. Text longer than a view holds inline is not copied: it is a view on the block that
//! the record's payload stands in.

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, RecordBatch, StringViewBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::buffer::Buffer;
use arrow::datatypes::Field;
use std::sync::Arc;

use super::row::{Cell, FLAGS, Record, Row};
use crate::model::{ColumnType, EventBatch, EventSchema, Micros, Payload};

/// A payload at least this long is used where it lies; shorter ones are laid one behind the other into a common block first,
/// because every block costs each column that points into it.
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
    pub fn of(payloads: &[Payload]) -> (Blocks, Vec<Place>) {
        let small = |payload: &Payload| payload.bytes.len() < OWN_BLOCK_BYTES_MIN;
        let total: usize = payloads
            .iter()
            .filter(|payload| small(payload))
            .map(|payload| payload.bytes.len())
            .sum();
        let mut buffers = Vec::new();
        let mut places = Vec::with_capacity(payloads.len());
        let mut common = Vec::with_capacity(total.min(COMMON_BLOCK_BYTES_MAX));
        let mut waiting = Vec::new();
        for (index, payload) in payloads.iter().enumerate() {
            places.push(Place { block: 0, offset: 0 });
            if !small(payload) {
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
}

impl TextColumn {
    fn view(&mut self, blocks: &Blocks, place: Place, start: u32, text: &str) {
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
}

enum Column {
    Text(TextColumn),
    Int(Int64Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
    List(ListBuilder<StringViewBuilder>),
}

/// What the engine itself says of an event.
pub struct Stamp {
    pub time: Micros,
    pub ingested: Micros,
    pub raw_hash: i64,
}

pub struct Columns {
    columns: Vec<Column>,
    time: usize,
    ingested: usize,
    raw_hash: usize,
    flags: usize,
}

impl Columns {
    pub fn new() -> Columns {
        let schema = EventSchema::get();
        let column = |kind: ColumnType| match kind {
            ColumnType::Utf8 => Column::Text(TextColumn {
                builder: StringViewBuilder::with_capacity(0),
                block: None,
            }),
            ColumnType::Int64 => Column::Int(Int64Builder::with_capacity(0)),
            ColumnType::Float64 => Column::Float(Float64Builder::with_capacity(0)),
            ColumnType::Bool => Column::Bool(BooleanBuilder::with_capacity(0)),
            ColumnType::Timestamp => {
                Column::Time(TimestampMicrosecondBuilder::with_capacity(0).with_data_type(kind.arrow()))
            }
            ColumnType::ListUtf8 => {
                let items = ListBuilder::new(StringViewBuilder::with_capacity(0));
                Column::List(items.with_field(Arc::new(Field::new("item", ColumnType::Utf8.arrow(), true))))
            }
        };
        let index = |name: &str| schema.index_of(name).unwrap_or(usize::MAX);
        Columns {
            columns: schema.columns().iter().map(|declared| column(declared.kind)).collect(),
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
        for (index, column) in self.columns.iter_mut().enumerate() {
            let cell = row.cells[index];
            let text = row.text(cell, record);
            match column {
                Column::Text(column) => match (text, cell) {
                    (Some(text), Cell::Record(start, _)) => column.view(blocks, place, start, text),
                    (Some(text), _) => column.builder.append_value(text),
                    (None, _) => column.builder.append_null(),
                },
                Column::Int(builder) if index == self.raw_hash => builder.append_value(stamp.raw_hash),
                Column::Int(builder) => builder.append_option(text.and_then(integer)),
                Column::Float(builder) => {
                    builder.append_option(
                        text.and_then(|text| text.parse().ok())
                            .filter(|value: &f64| value.is_finite()),
                    );
                }
                Column::Bool(builder) => builder.append_option(text.and_then(truth)),
                Column::Time(builder) if index == self.time => builder.append_value(stamp.time),
                Column::Time(builder) if index == self.ingested => builder.append_value(stamp.ingested),
                Column::Time(builder) => {
                    let held = row.times.iter().find(|(column, _)| *column == index);
                    builder.append_option(held.map(|(_, time)| *time));
                }
                Column::List(builder) if index == self.flags => {
                    for (_, name) in FLAGS.iter().enumerate().filter(|(bit, _)| row.flags & (1 << bit) != 0) {
                        builder.values().append_value(name);
                    }
                    builder.append(row.flags != 0);
                }
                Column::List(builder) => {
                    let mut any = false;
                    for (_, cell) in row.items.iter().filter(|(column, _)| *column == index) {
                        builder.values().append_option(row.text(*cell, record));
                        any = true;
                    }
                    builder.append(any);
                }
            }
        }
    }

    pub fn finish(self) -> EventBatch {
        let arrays: Vec<ArrayRef> = self
            .columns
            .into_iter()
            .map(|column| -> ArrayRef {
                match column {
                    Column::Text(mut column) => Arc::new(column.builder.finish()),
                    Column::Int(mut builder) => Arc::new(builder.finish()),
                    Column::Float(mut builder) => Arc::new(builder.finish()),
                    Column::Bool(mut builder) => Arc::new(builder.finish()),
                    Column::Time(mut builder) => Arc::new(builder.finish()),
                    Column::List(mut builder) => Arc::new(builder.finish()),
                }
            })
            .collect();
        match RecordBatch::try_new(EventSchema::get().arrow().clone(), arrays) {
            Ok(batch) => EventBatch::new(batch),
            // Each row is pushed to every column and required cells are always set; anything else is a defect here.
            Err(error) => panic!("the columns do not make a batch: {error}"),
        }
    }
}

/// A whole number, also when written as one with a fraction of zero.
fn integer(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().or_else(|| {
        let value = text.parse::<f64>().ok()?;
        (value.fract() == 0.0 && value.abs() < 9.0e15).then_some(value as i64)
    })
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" => Some(true),
        "false" | "False" => Some(false),
        _ => None,
    }
}
