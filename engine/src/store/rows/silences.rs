//! Silences and how often they held.

use arrow::array::RecordBatch;

use super::columns::{Rows, batch, counts, list_at, lists, maybe_texts, maybe_times, text_at, texts, times};
use super::{StoreError, Table};
use crate::model::{Micros, Silence, SilencePart};

/// What is told of silences at `time`, by the clock.
pub fn silences_to_batch(parts: &[SilencePart], time: Micros) -> Result<RecordBatch, StoreError> {
    let of = |get: fn(&Silence) -> &str| texts(parts.iter().map(|part| get(&part.silence)));
    batch(
        Table::SilenceParts,
        vec![
            times(parts.iter().map(|_| time)),
            of(|s| &s.silence),
            of(|s| &s.tenant),
            of(|s| &s.rule),
            lists(parts.iter().map(|p| &p.silence.entities)),
            maybe_texts(parts.iter().map(|p| p.silence.incident_id.as_deref())),
            of(|s| &s.owner),
            of(|s| &s.reason),
            times(parts.iter().map(|p| p.silence.created)),
            times(parts.iter().map(|p| p.silence.expires)),
            counts(parts.iter().map(|p| p.hits)),
            maybe_times(parts.iter().map(|p| p.last_hit)),
            maybe_texts(parts.iter().map(|p| p.removed_by.as_deref())),
        ],
    )
}

/// The silences that rows of the table, or of the SQL name `silences`, are of.
pub fn silences_from_batches(batches: &[RecordBatch]) -> Result<Vec<Silence>, StoreError> {
    let mut silences = Vec::new();
    for batch in batches {
        let rows = Rows {
            table: Table::SilenceParts,
            batch,
        };
        let (silence, tenant, rule) = (rows.texts("silence")?, rows.texts("tenant")?, rows.texts("rule")?);
        let (entities, incident_id) = (rows.lists("entities")?, rows.texts("incident_id")?);
        let (owner, reason) = (rows.texts("owner")?, rows.texts("reason")?);
        let (created, expires) = (rows.times("created")?, rows.times("expires")?);
        for row in 0..batch.num_rows() {
            silences.push(Silence {
                silence: silence.value(row).to_owned(),
                tenant: tenant.value(row).to_owned(),
                rule: rule.value(row).to_owned(),
                entities: list_at(&entities, row),
                incident_id: text_at(&incident_id, row),
                owner: owner.value(row).to_owned(),
                reason: reason.value(row).to_owned(),
                created: created.value(row),
                expires: expires.value(row),
            });
        }
    }
    Ok(silences)
}
