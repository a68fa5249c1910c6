//! What is stored, for those who were not there: events, shown to detectors again as a run would have shown them, in the order of event time;
//! and findings, which say what is usual.

use arrow::array::{ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::datatypes::Date32Type;
use datafusion::prelude::SessionContext;
use futures::StreamExt;

use super::PipelineError;
use super::boot::{arrow_error, cast, columns, newest_time, stream};
use crate::correlate::Correlator;
use crate::detect::{DetectOutput, Detectors, Watermarks};
use crate::model::event::is_future;
use crate::model::{EventBatch, EventSchema, Micros, time, time::to_rfc3339};
use crate::query::{self, QueryError, at};
use crate::store::{self, Table};

/// A span of event time: from the first up to, but not with, the second; `None`: without a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub from: Option<Micros>,
    pub to: Option<Micros>,
}

impl Span {
    /// As a condition of SQL over the column `time`.
    pub(super) fn over(&self, time: &str) -> String {
        let from = self.from.map(|from| format!("{time} >= {}", at(from)));
        let to = self.to.map(|to| format!("{time} < {}", at(to)));
        let parts: Vec<String> = from.into_iter().chain(to).collect();
        if parts.is_empty() {
            "true".to_owned()
        } else {
            parts.join(" AND ")
        }
    }
}

/// What was shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    pub events: u64,
    /// Of these, how many hold stand-ins or nothing where personal data was, because they were redacted before they were stored.
    pub redacted: u64,
    /// Event times of the first and the last.
    pub first: Option<Micros>,
    pub last: Option<Micros>,
}

/// Shows the stored events of `span` to `detectors` in the order of (event time, event id), with event time passing as it does in a
/// run, and hands what they find to `found`. Memory is bounded by what a query may take: a day's events are put in order at a time.
///
/// # Errors
/// A table cannot be read, or a day's events cannot be put in order within a query's bounds; or an error of `found`.
pub async fn replay<E: From<PipelineError>>(
    session: &SessionContext,
    detectors: &mut Detectors,
    span: Span,
    mut found: impl FnMut(DetectOutput) -> Result<(), E>,
) -> Result<Replayed, E> {
    let schema = EventSchema::get();
    let mut columns = detectors.columns();
    // An event without them is none.
    let required = schema
        .columns()
        .iter()
        .enumerate()
        .filter(|(_, column)| column.required);
    columns.extend(required.map(|(index, _)| index));
    let columns: Vec<usize> = columns.into_iter().collect();
    let names: Vec<&str> = columns
        .iter()
        .map(|index| schema.columns()[*index].name.as_str())
        .collect();
    let mut replayed = Replayed::default();
    for day in days(session, span).await? {
        tracing::debug!(
            from = day.from.map(to_rfc3339),
            "stored events of a day are shown again"
        );
        let sql = format!(
            "SELECT {}, raw = '' AS redacted FROM events WHERE {} AND {} ORDER BY time, event_id",
            names.join(", "),
            day.over("time"),
            span.over("time")
        );
        let mut batches = stream(session, &sql).await?;
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(|error| PipelineError::from(QueryError::from(error)))?;
            replayed.redacted += batch.column(names.len()).as_boolean().true_count() as u64;
            let events = whole(&columns, &batch)?;
            replayed.events += events.rows() as u64;
            let times = events.time().values();
            replayed.first = replayed.first.or(times.first().copied());
            replayed.last = times.last().copied().or(replayed.last);
            let seen = detectors.detect(&events);
            found(detectors.judge(seen))?;
            if let Some(complete) = believable(&events) {
                // Another event of the same time may follow.
                let seen = detectors.advance(&Watermarks::at(complete - 1));
                found(detectors.judge(seen))?;
            }
        }
    }
    // Time that has passed after the last event counts only where it is known to have passed.
    let newest = newest_time(session).await?;
    let end = match span.to.zip(newest) {
        Some((to, newest)) if newest >= to => Watermarks::at(to - 1),
        _ => Watermarks::default(),
    };
    let seen = detectors.advance(&end);
    found(detectors.judge(seen))?;
    Ok(replayed)
}

/// Tells what is usual when the oldest finding that can still be linked was made, from those before it and up to `until`.
pub(super) async fn learn(
    session: &SessionContext,
    correlator: &mut Correlator,
    oldest: Micros,
    until: Micros,
) -> Result<(), PipelineError> {
    let past = format!(
        "SELECT {} FROM stored.detections WHERE time >= {} AND time <= {}",
        columns(Table::Detections),
        at(Correlator::history_start(oldest)),
        at(until)
    );
    let mut batches = stream(session, &past).await?;
    while let Some(batch) = batches.next().await {
        for detection in store::detections_from_batches(&[batch.map_err(QueryError::from)?])? {
            correlator.learn(&detection);
        }
    }
    Ok(())
}

/// The days that have events, in order: each from its first moment up to that of the next.
async fn days(session: &SessionContext, span: Span) -> Result<Vec<Span>, PipelineError> {
    const DAY: Micros = 24 * time::HOUR;
    let sql = format!(
        "SELECT DISTINCT date FROM events WHERE {} ORDER BY date",
        span.over("time")
    );
    let mut days = Vec::new();
    for batch in query::sql(session, &sql).await? {
        let dates = batch.column(0).as_primitive::<Date32Type>();
        days.extend(dates.values().iter().map(|date| {
            let from = Micros::from(*date).saturating_mul(DAY);
            Span {
                from: Some(from),
                to: Some(from.saturating_add(DAY)),
            }
        }));
    }
    Ok(days)
}

/// Events with `columns` from the rows of a query, and null in all others.
fn whole(columns: &[usize], batch: &RecordBatch) -> Result<EventBatch, PipelineError> {
    let schema = EventSchema::get().arrow();
    let mut whole: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| new_null_array(field.data_type(), batch.num_rows()))
        .collect();
    for (column, index) in batch.columns().iter().zip(columns) {
        whole[*index] = cast(column, schema.field(*index).data_type())?;
    }
    let batch = RecordBatch::try_new(schema.clone(), whole).map_err(arrow_error)?;
    Ok(EventBatch::new(batch))
}

/// The newest time that is not flagged as one of the future.
fn believable(events: &EventBatch) -> Option<Micros> {
    let times = events.time().values();
    let is_future = is_future(events.batch());
    (0..events.rows())
        .rev()
        .find(|row| !is_future(*row))
        .map(|row| times[row])
}
