//! A table in memory, and how it is filled row by row within its bounds.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::compute::take;
use arrow::error::ArrowError;

use super::cells::{CELL_BYTES_MAX, Cells};
use super::index::Index;
use super::maxmind::MaxMind;
use crate::config::LookupSettings;
use crate::model::{ColumnType, EventSchema};

/// Rows of one table.
pub const ROWS_MAX: u32 = 5_000_000;
/// Bytes of a file, and of a table in memory.
pub const BYTES_MAX: u64 = 1 << 30;
/// What a row costs beside its text: places in the columns and in the index.
const ROW_BYTES: u64 = 64;

/// What is in use for a lookup.
pub struct Table {
    kind: Kind,
    told: Told,
}

enum Kind {
    Rows(Rows),
    MaxMind(MaxMind),
}

struct Rows {
    index: Index,
    /// One for each column that is taken.
    columns: Vec<ArrayRef>,
    count: u64,
}

/// What the log says of a table.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Rows whose key came again later: the later one counts.
    pub repeated: u64,
    /// Rows that were left out because they have no key.
    pub keyless: u64,
    /// SHA-256 of the file in hexadecimal; empty for a statement's answer.
    pub digest: String,
    /// Paths that a sample of the records does not have.
    pub unseen: Vec<String>,
}

/// The rows of some values.
pub struct Found {
    /// Of each value its row in the columns.
    pub rows: Vec<Option<u32>>,
    /// One for each column that is taken, in the types of the event columns. They share no memory with the table: a batch must not keep
    /// a table that was replaced, nor be counted with the size of one.
    pub columns: Vec<ArrayRef>,
}

impl Table {
    pub fn rows(&self) -> u64 {
        match &self.kind {
            Kind::Rows(rows) => rows.count,
            Kind::MaxMind(maxmind) => maxmind.nodes(),
        }
    }

    pub fn told(&self) -> &Told {
        &self.told
    }

    pub(super) fn maxmind(maxmind: MaxMind, unseen: Vec<String>, digest: String) -> Table {
        Table {
            kind: Kind::MaxMind(maxmind),
            told: Told {
                unseen,
                digest,
                ..Told::default()
            },
        }
    }

    /// `values`, each once, to what the table says of them.
    pub(super) fn find(&self, values: &[&str]) -> Result<Found, ArrowError> {
        let rows = match &self.kind {
            Kind::Rows(rows) => rows,
            Kind::MaxMind(maxmind) => return Ok(maxmind.find(values)),
        };
        let mut found = Vec::new();
        let of_value = values.iter().map(|value| {
            let row = rows.index.get(value)?;
            found.push(row);
            Some(found.len() as u32 - 1)
        });
        let of_value = of_value.collect();
        let found = UInt32Array::from(found);
        let columns = rows.columns.iter().map(|column| {
            let cells = take(column, &found, None)?;
            Ok(match cells.as_string_view_opt() {
                Some(text) => Arc::new(text.gc()) as ArrayRef,
                None => cells,
            })
        });
        Ok(Found {
            rows: of_value,
            columns: columns.collect::<Result<_, ArrowError>>()?,
        })
    }
}

/// The types of the columns that a lookup fills, in its order.
pub fn kinds(settings: &LookupSettings) -> impl Iterator<Item = ColumnType> {
    let schema = EventSchema::get();
    let kind = |name: &String| {
        let index = schema.index_of(name);
        index.map_or(ColumnType::Utf8, |index| schema.columns()[index].kind)
    };
    settings.take.keys().map(kind)
}

/// A table that is being filled.
pub struct Draft {
    index: Index,
    key: String,
    names: Vec<String>,
    cells: Vec<Cells>,
    rows: u32,
    bytes: u64,
    told: Told,
}

impl Draft {
    pub fn new(settings: &LookupSettings) -> Result<Draft, String> {
        let key = settings.key.as_ref().ok_or("no `key` is configured")?;
        Ok(Draft {
            index: Index::new(key.matching, &settings.on),
            key: key.column.clone(),
            names: settings.take.values().cloned().collect(),
            cells: kinds(settings).map(Cells::new).collect(),
            rows: 0,
            bytes: 0,
            told: Told::default(),
        })
    }

    /// Names of the table's columns: that of the key, and those that are taken.
    pub fn columns(&self) -> (&str, &[String]) {
        (&self.key, &self.names)
    }

    /// Adds a row; the error says which column is wrong and how.
    pub fn push<'c>(&mut self, key: &str, cells: impl Iterator<Item = Option<&'c str>>) -> Result<(), String> {
        if key.len() > CELL_BYTES_MAX {
            return Err(format!("column `{}`: longer than {CELL_BYTES_MAX} bytes", self.key));
        }
        if self.rows == ROWS_MAX {
            return Err(format!("more than {ROWS_MAX} rows"));
        }
        let inserted = self.index.insert(key, self.rows);
        match inserted.map_err(|reason| format!("column `{}`: {reason}", self.key))? {
            None => {
                self.told.keyless += 1;
                return Ok(());
            }
            Some(repeated) => self.told.repeated += u64::from(repeated),
        }
        self.bytes += ROW_BYTES + key.len() as u64;
        for ((column, name), cell) in self.cells.iter_mut().zip(&self.names).zip(cells) {
            column
                .push(cell)
                .map_err(|reason| format!("column `{name}`: {reason}"))?;
            self.bytes += cell.map_or(0, str::len) as u64;
        }
        if self.bytes > BYTES_MAX {
            return Err(format!("more than {} MiB of text up to here", BYTES_MAX >> 20));
        }
        self.rows += 1;
        Ok(())
    }

    pub fn finish(self, digest: String) -> Table {
        Table {
            kind: Kind::Rows(Rows {
                index: self.index,
                columns: self.cells.into_iter().map(Cells::finish).collect(),
                count: u64::from(self.rows),
            }),
            told: Told { digest, ..self.told },
        }
    }
}
