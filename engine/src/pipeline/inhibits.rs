//! Inhibitions: which sources there are follows from the stored detections, those that a run finds, and the rules in force.

use datafusion::prelude::SessionContext;
use futures::StreamExt;

use super::PipelineError;
use super::boot::{columns, incidents, newest_time, now, stream};
use super::run::Engine;
use crate::config::{CorrelateSettings, InhibitSettings};
use crate::correlate::Correlator;
use crate::model::{Incident, Micros};
use crate::query::{self, QueryError, at};
use crate::store::{self, StoreError, Table};
use crate::triage::Inhibits;

/// The oldest finding of an incident that can still change, where event time has come to `complete`.
pub(super) fn oldest(settings: &CorrelateSettings, complete: Micros) -> Micros {
    Correlator::retention_start(settings, complete).saturating_sub(settings.span_max)
}

/// Adds the stored sources by which findings from `oldest` to `newest` are inhibited.
pub(super) async fn add_stored(
    session: &SessionContext,
    inhibits: &mut Inhibits,
    (oldest, newest): (Micros, Micros),
) -> Result<(), PipelineError> {
    if inhibits.settings().is_empty() {
        return Ok(());
    }
    let sql = format!(
        "SELECT {} FROM stored.detections WHERE time >= {} AND time <= {}",
        columns(Table::Detections),
        at(oldest.saturating_sub(inhibits.reach())),
        at(newest)
    );
    let mut batches = stream(session, &sql).await?;
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(QueryError::from)?;
        inhibits.add(&store::detections_from_batches(&[batch])?);
    }
    Ok(())
}

/// Takes up what the tables say is held back, but for `unstored`, which are newer. A crash can have kept the source from the tables and not what
/// it held back: it is found again. Other inhibitions than were in force judge for themselves.
pub(super) async fn remember_stored(
    session: &SessionContext,
    inhibits: &mut Inhibits,
    unstored: &[Incident],
    oldest: Micros,
) -> Result<(), PipelineError> {
    let before = stored(session).await?;
    if !before.iter().all(|was| inhibits.settings().contains(was)) {
        return Ok(());
    }
    let held = format!(
        "status = 'open' AND inhibited_by IS NOT NULL AND last_time >= {}",
        at(oldest)
    );
    for incident in incidents(session, &held).await? {
        if unstored.iter().all(|newer| newer.incident_id != incident.incident_id) {
            inhibits.remember(&incident);
        }
    }
    Ok(())
}

/// The inhibitions that were in force last.
pub(super) async fn stored(session: &SessionContext) -> Result<Vec<InhibitSettings>, PipelineError> {
    const IN_FORCE: &str = "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY inhibition ORDER BY time DESC) AS age \
                            FROM stored.inhibition_parts WHERE rules_time = (SELECT max(time) FROM stored.rule_sets)) \
                            WHERE age = 1 ORDER BY inhibition";
    let rows = query::sql(session, IN_FORCE).await?;
    Ok(store::inhibitions_from_batches(&rows)?)
}

impl Engine {
    /// Puts the inhibitions of other rules into force, with the sources that were found before.
    pub(super) async fn replace_inhibits(&mut self) -> Result<(), PipelineError> {
        let parts = &mut self.parts;
        let wanted = &parts.detectors.rules().settings().inhibits;
        if parts.triage.inhibits.settings() == wanted.as_slice() {
            return Ok(());
        }
        parts.triage.inhibits.replace(wanted.clone());
        let session = query::session(parts.views.clone(), None, None).await?;
        let complete = match parts.times.overall().filter(|complete| *complete > Micros::MIN) {
            Some(complete) => complete,
            None => newest_time(&session).await?.unwrap_or(Micros::MIN),
        };
        let oldest = oldest(&parts.settings.correlate, complete);
        add_stored(&session, &mut parts.triage.inhibits, (oldest, Micros::MAX)).await?;
        self.review()
    }

    /// Rows of the inhibitions, when others came into force or event time passed the end of one.
    pub(super) fn tell_inhibits(&mut self, rules_time: Micros) -> Result<(), StoreError> {
        let parts = &mut self.parts;
        let passed = parts.times.overall();
        let inhibits = &parts.detectors.rules().settings().inhibits;
        let active: Vec<bool> = inhibits
            .iter()
            .map(|inhibit| passed.is_none_or(|passed| passed < inhibit.expires))
            .collect();
        let told = (rules_time, active);
        if self.inhibits_told.as_ref() != Some(&told) {
            let rows = store::inhibitions_to_batch(inhibits, &told.1, now(), rules_time)?;
            parts.epoch.add(Table::InhibitionParts, rows);
            self.inhibits_told = Some(told);
        }
        Ok(())
    }
}
