//! The inhibitions that are in force.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};

use super::columns::{Rows, batch, list_at, lists, numbers, texts, times};
use super::{StoreError, Table};
use crate::config::{Equal, InhibitSettings};
use crate::model::{Micros, time::SECOND};

/// All inhibitions of the rules that came into force at `rules_time`, as told at `time`, both by the clock; `active`: event time has not
/// passed its end.
pub fn inhibitions_to_batch(
    inhibits: &[InhibitSettings],
    active: &[bool],
    time: Micros,
    rules_time: Micros,
) -> Result<RecordBatch, StoreError> {
    let of = |get: fn(&InhibitSettings) -> &str| texts(inhibits.iter().map(get));
    batch(
        Table::InhibitionParts,
        vec![
            times(inhibits.iter().map(|_| time)),
            times(inhibits.iter().map(|_| rules_time)),
            of(|i| &i.name),
            lists(inhibits.iter().map(|i| &i.source)),
            lists(inhibits.iter().map(|i| &i.target)),
            of(|i| i.equal.text()),
            numbers(inhibits.iter().map(|i| i.within / SECOND)),
            of(|i| &i.owner),
            of(|i| &i.reason),
            times(inhibits.iter().map(|i| i.expires)),
            Arc::new(BooleanArray::from_iter(active.iter().map(|active| Some(*active)))),
        ],
    )
}

pub fn inhibitions_from_batches(batches: &[RecordBatch]) -> Result<Vec<InhibitSettings>, StoreError> {
    let mut inhibits = Vec::new();
    for batch in batches {
        let rows = Rows {
            table: Table::InhibitionParts,
            batch,
        };
        let (name, source, target) = (rows.texts("inhibition")?, rows.lists("source")?, rows.lists("target")?);
        let (equal, within) = (rows.texts("equal")?, rows.numbers("within_seconds")?);
        let (owner, reason, expires) = (rows.texts("owner")?, rows.texts("reason")?, rows.times("expires")?);
        for row in 0..batch.num_rows() {
            let text = equal.value(row);
            let equal = Equal::ALL.into_iter().find(|equal| equal.text() == text);
            inhibits.push(InhibitSettings {
                name: name.value(row).to_owned(),
                source: list_at(&source, row),
                target: list_at(&target, row),
                equal: equal.ok_or_else(|| rows.bad("equal", format!("`{text}` is neither entity nor tenant")))?,
                within: within.value(row).saturating_mul(SECOND),
                owner: owner.value(row).to_owned(),
                reason: reason.value(row).to_owned(),
                expires: expires.value(row),
            });
        }
    }
    Ok(inhibits)
}
