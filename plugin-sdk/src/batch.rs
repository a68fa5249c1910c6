//! The columnar batch a detector reads. Cells are borrowed from the columns as they crossed the boundary; nothing is copied.

use std::marker::PhantomData;
use std::ops::Range;

use crate::utf8::{string, text};

/// Number of a row within its batch.
pub type Row = usize;

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    TextList,
    Int64,
    Float64,
    Bool,
    Timestamp,
}

/// A text column's type.
#[derive(Clone, Copy, Debug)]
pub enum Text {}
/// Type of a column of lists of text.
#[derive(Clone, Copy, Debug)]
pub enum TextList {}
/// Type of a column of whole numbers.
#[derive(Clone, Copy, Debug)]
pub enum Int64 {}
/// Type of a column of fractions.
#[derive(Clone, Copy, Debug)]
pub enum Float64 {}
/// Type of a truth column.
#[derive(Clone, Copy, Debug)]
pub enum Bool {}
/// Type of a column of times, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug)]
pub enum Timestamp {}

/// Name of a column whose cells are of type `T`.
#[derive(Clone, Copy, Debug)]
pub struct Column<T> {
    /// The column's name in the event schema.
    pub name: &'static str,
    kind: PhantomData<T>,
}

impl<T> Column<T> {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self {
            name,
            kind: PhantomData,
        }
    }
}

/// Bytes of a cell, on average, up to which a column is seen to be UTF-8 as a whole. Longer ones are as they are asked for: many
/// detectors look at few of them.
const SHORT: usize = 64;

/// A column of texts end to end.
#[derive(Clone, Debug, Default)]
pub struct TextColumn {
    /// Row r is from `offsets[r]` to `offsets[r + 1]`.
    pub(crate) offsets: Vec<u32>,
    cells: Cells,
}

#[derive(Clone, Debug)]
enum Cells {
    /// Not looked at yet, or better cell by cell.
    Bytes(Vec<u8>),
    Text(String),
}

impl Default for Cells {
    fn default() -> Self {
        Self::Bytes(Vec::new())
    }
}

impl TextColumn {
    /// Row r is `data[offsets[r]..offsets[r + 1]]`.
    pub fn new(offsets: Vec<u32>, data: Vec<u8>) -> Self {
        Self {
            offsets,
            cells: Cells::Bytes(data),
        }
    }

    /// Appends a row.
    pub fn push(&mut self, text: &str) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        let len = match &mut self.cells {
            Cells::Bytes(cells) => {
                cells.extend_from_slice(text.as_bytes());
                cells.len()
            }
            Cells::Text(cells) => {
                cells.push_str(text);
                cells.len()
            }
        };
        self.offsets.push(u32::try_from(len).unwrap_or(u32::MAX));
    }

    /// Sees once that all of it is text, where cells are short.
    fn check(&mut self) {
        if let Cells::Bytes(cells) = &mut self.cells
            && cells.len() <= SHORT * self.offsets.len()
        {
            self.cells = string(std::mem::take(cells)).map_or_else(Cells::Bytes, Cells::Text);
        }
    }

    // A call costs a guest more than the look does.
    #[inline(always)]
    fn get(&self, row: Row) -> Option<&str> {
        let range = between(&self.offsets, row);
        match &self.cells {
            Cells::Text(cells) => cells.get(range),
            Cells::Bytes(cells) => checked(cells, range),
        }
    }

    #[inline]
    fn bytes(&self, row: Row) -> &[u8] {
        let cells = match &self.cells {
            Cells::Text(cells) => cells.as_bytes(),
            Cells::Bytes(cells) => cells,
        };
        cells.get(between(&self.offsets, row)).unwrap_or_default()
    }
}

#[inline(never)]
fn checked(cells: &[u8], range: Range<usize>) -> Option<&str> {
    text(cells.get(range).unwrap_or_default())
}

#[inline(always)]
fn between(offsets: &[u32], row: Row) -> Range<usize> {
    match (offsets.get(row), offsets.get(row + 1)) {
        (Some(&from), Some(&to)) => from as usize..to as usize,
        _ => 0..0,
    }
}

/// The cells of a column.
#[derive(Clone, Debug)]
pub enum Values {
    Text(TextColumn),
    /// Row r holds items `rows[r]..rows[r + 1]`.
    TextList {
        rows: Vec<u32>,
        items: TextColumn,
    },
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    Bool(Vec<u8>),
    Timestamp(Vec<i64>),
}

/// A column's cells and which of them are there.
#[derive(Clone, Debug)]
pub struct Data {
    pub values: Values,
    /// Empty when no row is null, else one byte a row, 0 for null.
    pub valid: Vec<u8>,
}

/// Rows of one shard, of which the columns that the manifest names are at hand.
#[derive(Clone, Debug)]
pub struct Batch {
    names: &'static [&'static str],
    time: Vec<i64>,
    late: Vec<u8>,
    key: TextColumn,
    columns: Vec<Data>,
}

impl Batch {
    /// `columns` stand in the order of `names`; `time` has one entry a row, `late` one or none at all.
    pub fn new(
        names: &'static [&'static str],
        time: Vec<i64>,
        late: Vec<u8>,
        mut key: TextColumn,
        mut columns: Vec<Data>,
    ) -> Result<Self, String> {
        if columns.len() != names.len() {
            return Err(format!(
                "{} columns were given where the manifest names {}",
                columns.len(),
                names.len()
            ));
        }
        key.check();
        for column in &mut columns {
            match &mut column.values {
                Values::Text(texts) | Values::TextList { items: texts, .. } => texts.check(),
                _ => {}
            }
        }
        Ok(Self {
            names,
            time,
            late,
            key,
            columns,
        })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.time.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.time.is_empty()
    }

    /// The rows, in the order in which they are to be looked at.
    pub fn rows(&self) -> Range<Row> {
        0..self.len()
    }

    /// Event time of a row, microseconds.
    pub fn time(&self, row: Row) -> i64 {
        self.time[row]
    }

    /// Whether the row came later than the reorder bound allows, so that rows after it in time were seen before it.
    pub fn is_late(&self, row: Row) -> bool {
        self.late.get(row).is_some_and(|&late| late != 0)
    }

    /// Routing key of a row: scoped to its tenant, so equal keys of two tenants differ. `None` where the plugin declares no key.
    pub fn key(&self, row: Row) -> Option<&str> {
        self.key.get(row).filter(|key| !key.is_empty())
    }

    /// A text column.
    ///
    /// # Panics
    ///
    /// Like every typed access here, when the manifest does not name the column: the first test shows it.
    pub fn text(&self, column: Column<Text>) -> Texts<'_> {
        let data = self.data(column.name);
        match &data.values {
            Values::Text(cells) => Texts {
                cells,
                valid: &data.valid,
            },
            _ => wrong_type(column.name),
        }
    }

    /// A column of lists of text.
    pub fn texts(&self, column: Column<TextList>) -> TextLists<'_> {
        let data = self.data(column.name);
        match &data.values {
            Values::TextList { rows, items } => TextLists {
                rows,
                items,
                valid: &data.valid,
            },
            _ => wrong_type(column.name),
        }
    }

    /// A column of whole numbers.
    pub fn int64(&self, column: Column<Int64>) -> Numbers<'_, i64> {
        let data = self.data(column.name);
        match &data.values {
            Values::Int64(cells) => Numbers {
                cells,
                valid: &data.valid,
            },
            _ => wrong_type(column.name),
        }
    }

    /// A column of fractions.
    pub fn float64(&self, column: Column<Float64>) -> Numbers<'_, f64> {
        let data = self.data(column.name);
        match &data.values {
            Values::Float64(cells) => Numbers {
                cells,
                valid: &data.valid,
            },
            _ => wrong_type(column.name),
        }
    }

    /// A truth column: 0 is false.
    pub fn boolean(&self, column: Column<Bool>) -> Numbers<'_, u8> {
        let data = self.data(column.name);
        match &data.values {
            Values::Bool(cells) => Numbers {
                cells,
                valid: &data.valid,
            },
            _ => wrong_type(column.name),
        }
    }

    /// A column of times, microseconds.
    pub fn timestamp(&self, column: Column<Timestamp>) -> Numbers<'_, i64> {
        let data = self.data(column.name);
        match &data.values {
            Values::Timestamp(cells) => Numbers {
                cells,
                valid: &data.valid,
            },
            _ => wrong_type(column.name),
        }
    }

    fn data(&self, name: &'static str) -> &Data {
        // Nearly always both are the same constant.
        let same = self.names.iter().position(|named| std::ptr::eq(*named, name));
        let at = same.or_else(|| self.names.iter().position(|named| *named == name));
        match at.and_then(|at| self.columns.get(at)) {
            Some(data) => data,
            None => panic!("column {name} is read but the manifest does not name it"),
        }
    }
}

fn wrong_type(name: &str) -> ! {
    panic!("column {name} came with another type than the schema gives it")
}

#[inline(always)]
fn is_null(valid: &[u8], row: Row) -> bool {
    valid.get(row) == Some(&0)
}

/// A text column.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    cells: &'a TextColumn,
    valid: &'a [u8],
}

impl<'a> Texts<'a> {
    /// The row's text; `None` for null.
    #[inline(always)]
    pub fn get(&self, row: Row) -> Option<&'a str> {
        if is_null(self.valid, row) {
            return None;
        }
        self.cells.get(row)
    }

    /// The row's text as bytes, which saves the check that they are UTF-8.
    #[inline]
    pub fn bytes(&self, row: Row) -> Option<&'a [u8]> {
        (!is_null(self.valid, row)).then(|| self.cells.bytes(row))
    }
}

/// A column of lists of text.
#[derive(Clone, Copy, Debug)]
pub struct TextLists<'a> {
    rows: &'a [u32],
    items: &'a TextColumn,
    valid: &'a [u8],
}

impl<'a> TextLists<'a> {
    /// The row's texts; none for null.
    pub fn get(&self, row: Row) -> impl Iterator<Item = &'a str> + use<'a> {
        let range = if is_null(self.valid, row) {
            0..0
        } else {
            between(self.rows, row)
        };
        let items = self.items;
        range.filter_map(move |item| items.get(item))
    }
}

/// A column of numbers.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a, T> {
    cells: &'a [T],
    valid: &'a [u8],
}

impl<T: Copy> Numbers<'_, T> {
    /// The row's number; `None` for null.
    #[inline]
    pub fn get(&self, row: Row) -> Option<T> {
        if is_null(self.valid, row) {
            None
        } else {
            self.cells.get(row).copied()
        }
    }
}
