//! Rows as text, for people and for scripts.

use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::writer::LineDelimited;
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;

use super::QueryError;
pub use crate::model::harmless;

/// RFC 3339, in UTC.
const TIME: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With lines around it, for a terminal.
    Table,
    /// One object per line.
    Json,
    /// RFC 4180, with a line of column names.
    Csv,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        match text {
            "table" => Ok(Format::Table),
            "json" => Ok(Format::Json),
            "csv" => Ok(Format::Csv),
            other => Err(format!("`{other}` is no format; valid are table, json, csv")),
        }
    }
}

/// Writes rows of one schema.
pub fn render(batches: &[RecordBatch], format: Format, out: &mut dyn Write) -> Result<(), QueryError> {
    match format {
        Format::Table => render_table(batches, out),
        Format::Json => render_json(batches, out),
        Format::Csv => render_csv(batches, out),
    }
}

fn render_table(batches: &[RecordBatch], out: &mut dyn Write) -> Result<(), QueryError> {
    let options = FormatOptions::default()
        .with_timestamp_format(Some(TIME))
        .with_timestamp_tz_format(Some(TIME));
    let text = pretty_format_batches_with_options(batches, &options)?.to_string();
    writeln!(out, "{}", harmless(&text))?;
    Ok(())
}

fn render_json(batches: &[RecordBatch], out: &mut dyn Write) -> Result<(), QueryError> {
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_timestamp_format(TIME.to_string())
        .with_timestamp_tz_format(TIME.to_string())
        .build::<_, LineDelimited>(out);
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        writer.write(batch)?;
    }
    writer.finish()?;
    Ok(())
}

fn render_csv(batches: &[RecordBatch], out: &mut dyn Write) -> Result<(), QueryError> {
    let mut writer = arrow::csv::WriterBuilder::new()
        .with_header(true)
        .with_timestamp_format(TIME.to_string())
        .with_timestamp_tz_format(TIME.to_string())
        .build(out);
    for batch in batches {
        writer.write(&flat(batch)?)?;
    }
    Ok(())
}

/// CSV has no lists: they become JSON texts.
fn flat(batch: &RecordBatch) -> Result<RecordBatch, QueryError> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        match column.data_type() {
            DataType::List(_) => {
                fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
                columns.push(Arc::new(list_texts(column)?));
            }
            _ => {
                fields.push(field.clone());
                columns.push(column.clone());
            }
        }
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn list_texts(column: &ArrayRef) -> Result<StringArray, QueryError> {
    let lists = column.as_list::<i32>();
    let mut texts = Vec::with_capacity(lists.len());
    for row in 0..lists.len() {
        if lists.is_null(row) {
            texts.push(None);
            continue;
        }
        let values = cast(&lists.value(row), &DataType::Utf8)?;
        let values: Vec<Option<&str>> = values.as_string::<i32>().iter().collect();
        texts.push(Some(serde_json::to_string(&values).unwrap_or_default()));
    }
    Ok(StringArray::from(texts))
}
