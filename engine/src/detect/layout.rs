//! Rows as they cross into a guest: every column contiguous, text as offsets and bytes.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};

use crate::model::Micros;

/// Most text in one laid-out column, in bytes: far beyond any batch, and offsets stay within their 32 bits. Text that would
/// pass it is given as null.
const COLUMN_BYTES_MAX: usize = 1 << 30;

/// Text of several rows: row r is `data[offsets[r]..offsets[r + 1]]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LaidText {
    pub offsets: Vec<u32>,
    pub data: Vec<u8>,
}

impl LaidText {
    /// No column at all.
    pub fn none() -> LaidText {
        LaidText {
            offsets: Vec::new(),
            data: Vec::new(),
        }
    }

    pub fn with_capacity(rows: usize) -> LaidText {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        LaidText {
            offsets,
            data: Vec::new(),
        }
    }

    /// Adds a row; `false` when the text did not fit and the row is empty.
    pub fn push(&mut self, parts: &[&str]) -> bool {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let fits = bytes <= COLUMN_BYTES_MAX - self.data.len();
        if fits {
            parts
                .iter()
                .for_each(|part| self.data.extend_from_slice(part.as_bytes()));
        }
        // Within u32: COLUMN_BYTES_MAX bounds it.
        self.offsets.push(self.data.len() as u32);
        fits
    }

    fn slice(&self, from: usize, to: usize) -> LaidText {
        let base = self.offsets[from];
        LaidText {
            offsets: self.offsets[from..=to].iter().map(|offset| offset - base).collect(),
            data: self.data[base as usize..self.offsets[to] as usize].to_vec(),
        }
    }

    fn bytes(&self) -> usize {
        self.offsets.len() * 4 + self.data.len()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum LaidValues {
    Text(LaidText),
    /// Row r holds items `rows[r]..rows[r + 1]`.
    TextList {
        rows: Vec<u32>,
        items: LaidText,
    },
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    Boolean(Vec<u8>),
    Timestamp(Vec<i64>),
}

/// `valid` is empty when no row is null.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LaidColumn {
    pub values: LaidValues,
    pub valid: Vec<u8>,
}

impl LaidColumn {
    /// The rows `rows` of an event column.
    pub fn of(array: &ArrayRef, rows: &[u32]) -> LaidColumn {
        let mut valid = vec![1u8; rows.len()];
        let mut nulls = false;
        for (slot, row) in valid.iter_mut().zip(rows) {
            if array.is_null(*row as usize) {
                *slot = 0;
                nulls = true;
            }
        }
        let mut cut = |slot: usize| {
            valid[slot] = 0;
            nulls = true;
        };
        let at = |row: &u32| *row as usize;
        let values = match array.data_type() {
            DataType::Utf8View => LaidValues::Text(lay_text(array.as_string_view(), rows, &mut cut)),
            DataType::List(_) => lay_list(array, rows, &mut cut),
            DataType::Int64 => {
                let array = array.as_primitive::<Int64Type>();
                LaidValues::Int64(
                    rows.iter()
                        .map(at)
                        .map(|row| if array.is_null(row) { 0 } else { array.value(row) })
                        .collect(),
                )
            }
            DataType::Float64 => {
                let array = array.as_primitive::<Float64Type>();
                LaidValues::Float64(
                    rows.iter()
                        .map(at)
                        .map(|row| if array.is_null(row) { 0.0 } else { array.value(row) })
                        .collect(),
                )
            }
            DataType::Boolean => {
                let array = array.as_boolean();
                LaidValues::Boolean(
                    rows.iter()
                        .map(at)
                        .map(|row| u8::from(array.is_valid(row) && array.value(row)))
                        .collect(),
                )
            }
            DataType::Timestamp(..) => {
                let array = array.as_primitive::<TimestampMicrosecondType>();
                LaidValues::Timestamp(
                    rows.iter()
                        .map(at)
                        .map(|row| if array.is_null(row) { 0 } else { array.value(row) })
                        .collect(),
                )
            }
            other => unreachable!("{other} is no type of the event schema"),
        };
        LaidColumn {
            values,
            valid: if nulls { valid } else { Vec::new() },
        }
    }

    fn slice(&self, from: usize, to: usize) -> LaidColumn {
        let values = match &self.values {
            LaidValues::Text(text) => LaidValues::Text(text.slice(from, to)),
            LaidValues::TextList { rows, items } => {
                let base = rows[from];
                LaidValues::TextList {
                    rows: rows[from..=to].iter().map(|row| row - base).collect(),
                    items: items.slice(base as usize, rows[to] as usize),
                }
            }
            LaidValues::Int64(values) => LaidValues::Int64(values[from..to].to_vec()),
            LaidValues::Float64(values) => LaidValues::Float64(values[from..to].to_vec()),
            LaidValues::Boolean(values) => LaidValues::Boolean(values[from..to].to_vec()),
            LaidValues::Timestamp(values) => LaidValues::Timestamp(values[from..to].to_vec()),
        };
        let valid = if self.valid.is_empty() {
            Vec::new()
        } else {
            self.valid[from..to].to_vec()
        };
        LaidColumn { values, valid }
    }

    fn bytes(&self) -> usize {
        self.valid.len()
            + match &self.values {
                LaidValues::Text(text) => text.bytes(),
                LaidValues::TextList { rows, items } => rows.len() * 4 + items.bytes(),
                LaidValues::Int64(values) | LaidValues::Timestamp(values) => values.len() * 8,
                LaidValues::Float64(values) => values.len() * 8,
                LaidValues::Boolean(values) => values.len(),
            }
    }
}

fn lay_text(array: &StringViewArray, rows: &[u32], cut: &mut impl FnMut(usize)) -> LaidText {
    let mut text = LaidText::with_capacity(rows.len());
    // The low half of a view is its length. Text that grows bit by bit would be copied over and over.
    let bytes: usize = rows
        .iter()
        .map(|row| array.views()[*row as usize] as u32 as usize)
        .sum();
    text.data.reserve_exact(bytes.min(COLUMN_BYTES_MAX));
    for (slot, row) in rows.iter().enumerate() {
        let row = *row as usize;
        if !text.push(&[if array.is_null(row) { "" } else { array.value(row) }]) {
            cut(slot);
        }
    }
    text
}

fn lay_list(array: &ArrayRef, rows: &[u32], cut: &mut impl FnMut(usize)) -> LaidValues {
    let list = array.as_list::<i32>();
    let values = list.values().as_string_view();
    let mut ends = Vec::with_capacity(rows.len() + 1);
    ends.push(0u32);
    let mut items = LaidText::with_capacity(rows.len());
    for (slot, row) in rows.iter().enumerate() {
        let row = *row as usize;
        if list.is_valid(row) {
            for item in list.value_offsets()[row]..list.value_offsets()[row + 1] {
                let item = item as usize;
                if values.is_valid(item) && !items.push(&[values.value(item)]) {
                    cut(slot);
                }
            }
        }
        ends.push((items.offsets.len() - 1) as u32);
    }
    LaidValues::TextList { rows: ends, items }
}

/// The rows of one call. Columns are shared: a column is laid out once however many plugins read it.
#[derive(Clone, Debug)]
pub(super) struct LaidBatch {
    /// Which row of the source batch each row is.
    pub source: Arc<[u32]>,
    pub time: Arc<[i64]>,
    /// Empty when none is late.
    pub late: Vec<u8>,
    pub key: LaidText,
    pub columns: Vec<Arc<LaidColumn>>,
}

impl LaidBatch {
    pub fn rows(&self) -> usize {
        self.source.len()
    }

    pub fn is_late(&self, row: usize) -> bool {
        self.late.get(row).is_some_and(|late| *late != 0)
    }

    /// Rows `from..to`, copied.
    pub fn slice(&self, from: usize, to: usize) -> LaidBatch {
        LaidBatch {
            source: self.source[from..to].into(),
            time: self.time[from..to].into(),
            late: if self.late.is_empty() {
                Vec::new()
            } else {
                self.late[from..to].to_vec()
            },
            key: if self.key.offsets.is_empty() {
                LaidText::none()
            } else {
                self.key.slice(from, to)
            },
            columns: self
                .columns
                .iter()
                .map(|column| Arc::new(column.slice(from, to)))
                .collect(),
        }
    }

    /// What a guest must take in, in bytes.
    pub fn bytes(&self) -> usize {
        self.time.len() * 8
            + self.late.len()
            + self.key.bytes()
            + self.columns.iter().map(|column| column.bytes()).sum::<usize>()
    }

    /// Copies all that a guest must take in, each cell once: the least that handing it over can take.
    pub fn copy_into(&self, copy: &mut Copied) {
        copy.bytes.clear();
        copy.words.clear();
        copy.longs.clear();
        copy.fractions.clear();
        copy.longs.extend_from_slice(&self.time);
        copy.bytes.extend_from_slice(&self.late);
        copy.text(&self.key);
        for column in &self.columns {
            copy.bytes.extend_from_slice(&column.valid);
            match &column.values {
                LaidValues::Text(text) => copy.text(text),
                LaidValues::TextList { rows, items } => {
                    copy.words.extend_from_slice(rows);
                    copy.text(items);
                }
                LaidValues::Int64(values) | LaidValues::Timestamp(values) => copy.longs.extend_from_slice(values),
                LaidValues::Float64(values) => copy.fractions.extend_from_slice(values),
                LaidValues::Boolean(values) => copy.bytes.extend_from_slice(values),
            }
        }
    }

    /// The batch in pieces of at most `bytes_max`, except that a piece holds at least one row.
    pub fn pieces(self, bytes_max: usize) -> Vec<LaidBatch> {
        let mut todo = vec![self];
        let mut pieces = Vec::new();
        while let Some(batch) = todo.pop() {
            let rows = batch.rows();
            if rows <= 1 || batch.bytes() <= bytes_max {
                pieces.push(batch);
            } else {
                todo.push(batch.slice(rows / 2, rows));
                todo.push(batch.slice(0, rows / 2));
            }
        }
        pieces
    }
}

/// Where a batch is copied to. Kept from batch to batch, so that no memory is asked for anew.
#[derive(Default)]
pub(super) struct Copied {
    bytes: Vec<u8>,
    words: Vec<u32>,
    longs: Vec<i64>,
    fractions: Vec<f64>,
}

impl Copied {
    fn text(&mut self, text: &LaidText) {
        self.words.extend_from_slice(&text.offsets);
        self.bytes.extend_from_slice(&text.data);
    }
}

/// Rows of one source batch that pass one filter, and their columns as far as some plugin asked for them.
pub(super) struct Selection {
    pub rows: Arc<[u32]>,
    time: Arc<[i64]>,
    columns: HashMap<String, Arc<LaidColumn>>,
}

impl Selection {
    pub fn new(batch: &RecordBatch, rows: Arc<[u32]>) -> Selection {
        let time = times(batch);
        let time = rows.iter().map(|row| time[*row as usize]).collect();
        Selection {
            rows,
            time,
            columns: HashMap::new(),
        }
    }

    /// A call's batch with the named columns of `batch`, without key.
    pub fn lay(&mut self, batch: &RecordBatch, columns: &[String]) -> LaidBatch {
        let columns = columns
            .iter()
            .map(|name| {
                if let Some(laid) = self.columns.get(name) {
                    return laid.clone();
                }
                let laid = Arc::new(LaidColumn::of(column(batch, name), &self.rows));
                self.columns.insert(name.clone(), laid.clone());
                laid
            })
            .collect();
        LaidBatch {
            source: self.rows.clone(),
            time: self.time.clone(),
            late: Vec::new(),
            key: LaidText::none(),
            columns,
        }
    }
}

/// The column `name`, which the manifest's check has found to exist.
pub(super) fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    batch
        .column_by_name(name)
        .unwrap_or_else(|| panic!("`{name}` is no column of this batch"))
}

pub(super) fn text_at<'a>(batch: &'a RecordBatch, name: &str, row: usize) -> Option<&'a str> {
    let array = column(batch, name).as_string_view();
    array.is_valid(row).then(|| array.value(row))
}

/// The event times of a batch, which are never null.
pub(super) fn times(batch: &RecordBatch) -> &[Micros] {
    column(batch, "time")
        .as_primitive::<TimestampMicrosecondType>()
        .values()
}
