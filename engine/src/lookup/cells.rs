//! One column of a table, built cell by cell from text.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, StringViewBuilder};

use crate::model::ColumnType;

/// Longest cell, in bytes: a name, a list of teams; more is a file of another kind.
pub const CELL_BYTES_MAX: usize = 4096;

pub enum Cells {
    Text(StringViewBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
}

impl Cells {
    /// For an event column of type `kind`. Of the types that configurations let through only these four are filled; any other would be a
    /// text column.
    pub fn new(kind: ColumnType) -> Cells {
        match kind {
            ColumnType::Int64 => Cells::Int(Int64Builder::new()),
            ColumnType::Float64 => Cells::Float(Float64Builder::new()),
            ColumnType::Bool => Cells::Bool(BooleanBuilder::new()),
            _ => Cells::Text(StringViewBuilder::new()),
        }
    }

    /// Adds a cell; empty text is none. The error says what would be valid, and nothing is added.
    pub fn push(&mut self, cell: Option<&str>) -> Result<(), String> {
        let cell = cell.filter(|cell| !cell.is_empty());
        if cell.is_some_and(|cell| cell.len() > CELL_BYTES_MAX) {
            return Err(format!("longer than {CELL_BYTES_MAX} bytes"));
        }
        let plain = cell.map(str::trim);
        match self {
            Cells::Text(cells) => cells.append_option(cell),
            Cells::Int(cells) => match plain.map(str::parse).transpose() {
                Ok(number) => cells.append_option(number),
                Err(_) => return Err("no whole number".into()),
            },
            Cells::Float(cells) => match plain.map(str::parse::<f64>).transpose() {
                Ok(number) if number.is_none_or(f64::is_finite) => cells.append_option(number),
                _ => return Err("no number".into()),
            },
            Cells::Bool(cells) => match plain.map(str::to_ascii_lowercase).as_deref() {
                None => cells.append_null(),
                Some("true" | "1") => cells.append_value(true),
                Some("false" | "0") => cells.append_value(false),
                Some(_) => return Err("neither `true` nor `false`".into()),
            },
        }
        Ok(())
    }

    pub fn finish(mut self) -> ArrayRef {
        match &mut self {
            Cells::Text(cells) => Arc::new(cells.finish()),
            Cells::Int(cells) => Arc::new(cells.finish()),
            Cells::Float(cells) => Arc::new(cells.finish()),
            Cells::Bool(cells) => Arc::new(cells.finish()),
        }
    }
}
