//! Events and a table → events with more in them.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::error::ArrowError;

use super::table::{Found, Table};
use crate::config::LookupSettings;
use crate::model::EventBatch;

/// Each value is looked up once, however many rows hold it.
pub fn join(events: EventBatch, settings: &LookupSettings, table: &Table) -> Result<EventBatch, ArrowError> {
    let tenants = settings.tenant.as_deref().map(|tenant| (events.text("tenant"), tenant));
    let is_ours = |row| tenants.is_none_or(|(tenants, ours)| tenants.value(row) == ours);
    let on = events.text(&settings.on);
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut values = Vec::new();
    let of_row: Vec<Option<usize>> = (0..events.rows())
        .map(|row| {
            let value = (on.is_valid(row) && is_ours(row)).then(|| on.value(row))?;
            Some(*places.entry(value).or_insert_with(|| {
                values.push(value);
                values.len() - 1
            }))
        })
        .collect();
    if values.is_empty() {
        return Ok(events);
    }
    let Found { rows, columns } = table.find(&values)?;
    if rows.iter().all(Option::is_none) {
        return Ok(events);
    }
    let of_row: Vec<Option<u32>> = of_row.into_iter().map(|place| rows[place?]).collect();
    let schema = events.batch().schema();
    let mut filled = events.batch().columns().to_vec();
    for (name, found) in settings.take.keys().zip(&columns) {
        let index = schema.index_of(name)?;
        filled[index] = fill(&filled[index], found, &of_row)?;
    }
    Ok(EventBatch::new(RecordBatch::try_new(schema, filled)?))
}

/// `held`, with what was found where it has nothing.
fn fill(held: &ArrayRef, found: &ArrayRef, of_row: &[Option<u32>]) -> Result<ArrayRef, ArrowError> {
    if held.null_count() == held.len() {
        return take(found, &UInt32Array::from_iter(of_row.iter().copied()), None);
    }
    let choice = of_row.iter().enumerate().map(|(row, place)| match place {
        Some(place) if held.is_null(row) => (1, *place as usize),
        _ => (0, row),
    });
    interleave(&[held, found], &choice.collect::<Vec<_>>())
}
