//! A plugin over the stored history: what would be found, and which incidents there would be, beside what is stored.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use datafusion::prelude::SessionContext;

use super::PipelineError;
use super::boot::columns;
use super::history::{self, Replayed, Span};
use crate::config::{CorrelateSettings, HIDDEN};
use crate::correlate::Correlator;
use crate::detect::{Detectors, PluginHealth};
use crate::model::{Detection, Incident, IncidentStatus, Micros, Relation};
use crate::query::{self, at};
use crate::store::{self, Table};

/// Detections that are held at once, of what is stored and of what is found: some 500 MiB.
const DETECTIONS_MAX: usize = 200_000;

/// What differs.
#[derive(Clone, Debug, Default)]
pub struct Backtest {
    pub replayed: Replayed,
    /// Versions of the plugin that made what is stored.
    pub stored_versions: Vec<String>,
    /// Detections that are the same.
    pub same_detections: u64,
    /// By (time, id).
    pub detections: Vec<DetectionChange>,
    pub same_incidents: u64,
    /// Worst first.
    pub incidents: Vec<IncidentChange>,
    /// How the plugin fared.
    pub health: Option<PluginHealth>,
}

/// A detection of a rule at certain events, as it is stored and as it would be; never neither.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectionChange {
    pub before: Option<Detection>,
    pub after: Option<Detection>,
}

/// An incident as it follows from what is stored, and as it would be; never neither. Several `before` would be one.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentChange {
    pub before: Vec<Incident>,
    pub after: Option<Incident>,
}

/// Runs the one plugin in `detectors` over the stored events of `span` and compares: detections by rule and events, then the incidents
/// that follow with the others' stored detections and the stored relations. A plugin that keeps state sees `lead` before the span
/// too, so that it does not begin with nothing; what it finds there does not count. Reads only.
///
/// # Errors
/// Besides those of [`history::replay`]: more than 200,000 detections.
pub async fn backtest(
    session: &SessionContext,
    detectors: &mut Detectors,
    span: Span,
    lead: Micros,
    settings: &CorrelateSettings,
) -> Result<Backtest, PipelineError> {
    let Some(manifest) = detectors.manifests().first().cloned() else {
        return Ok(Backtest::default());
    };
    let lead = if manifest.is_stateful() { lead } else { 0 };
    let shown = Span {
        from: span.from.map(|from| from.saturating_sub(lead)),
        ..span
    };
    let mut after: BTreeMap<String, Detection> = BTreeMap::new();
    let replayed = history::replay(session, detectors, shown, |found| {
        let inside = |detection: &Detection| span.from.is_none_or(|from| detection.time >= from);
        let found = found.detections.into_iter().filter(inside);
        after.extend(found.map(|detection| (detection.detection_id.clone(), detection)));
        within("finds", after.len())
    })
    .await?;

    let facts = facts(session, span).await?;
    let is_own = |detection: &Detection| {
        let (from, to) = (span.from, span.to);
        detection.plugin == manifest.id
            && from.is_none_or(|from| detection.time >= from)
            && to.is_none_or(|to| detection.time < to)
    };
    let (own, others): (Vec<Detection>, Vec<Detection>) = facts.into_iter().partition(is_own);
    let relations = relations(session, settings, others.iter().chain(&own).chain(after.values())).await?;

    let mut stored_versions: Vec<String> = own.iter().map(|detection| detection.plugin_version.clone()).collect();
    stored_versions.sort();
    stored_versions.dedup();
    let incidents_of = async |mine: Vec<Detection>| {
        let facts = [others.clone(), mine].concat();
        let first = facts.iter().map(|detection| detection.time).min();
        let mut correlator = Correlator::new(settings.clone());
        if let Some(first) = first {
            history::learn(session, &mut correlator, first, span.from.unwrap_or(first).max(first)).await?;
        }
        correlator.apply(facts, relations.clone());
        let mut incidents = correlator.changes();
        incidents.retain(|incident| incident.status == IncidentStatus::Open);
        Ok::<_, PipelineError>(incidents)
    };
    let (same_incidents, incidents) = compare_incidents(
        incidents_of(own.clone()).await?,
        incidents_of(after.values().cloned().collect()).await?,
    );
    let (same_detections, detections) = compare_detections(own, after);
    Ok(Backtest {
        replayed,
        stored_versions,
        same_detections,
        detections,
        same_incidents,
        incidents,
        health: detectors.health_now().into_iter().next(),
    })
}

fn within(what: &str, count: usize) -> Result<(), PipelineError> {
    if count > DETECTIONS_MAX {
        return Err(PipelineError::Backtest(format!(
            "it {what} more than {DETECTIONS_MAX} detections in this span, which are not compared; choose a shorter one with --from and \
             --to"
        )));
    }
    Ok(())
}

/// The stored detections of the span, and those that the incidents which reach into it are made of.
async fn facts(session: &SessionContext, span: Span) -> Result<Vec<Detection>, PipelineError> {
    let mut reach = vec!["status = 'open'".to_owned()];
    reach.extend(span.from.map(|from| format!("last_time >= {}", at(from))));
    reach.extend(span.to.map(|to| format!("first_time < {}", at(to))));
    let sql = format!(
        "SELECT {} FROM stored.detections WHERE ({}) OR detection_id IN (SELECT e.detection_id FROM incident_evidence e \
         JOIN incidents i ON e.incident_id = i.incident_id WHERE {}) LIMIT {}",
        columns(Table::Detections),
        span.over("time"),
        reach.join(" AND "),
        DETECTIONS_MAX + 1
    );
    let facts = store::detections_from_batches(&query::sql(session, &sql).await?)?;
    within("would be compared with", facts.len())?;
    Ok(facts)
}

/// The stored relations that can link these detections.
async fn relations(
    session: &SessionContext,
    settings: &CorrelateSettings,
    detections: impl Iterator<Item = &Detection>,
) -> Result<Vec<Relation>, PipelineError> {
    let (mut first, mut last) = (Micros::MAX, Micros::MIN);
    for detection in detections {
        (first, last) = (first.min(detection.time), last.max(detection.time));
    }
    if first > last {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT {} FROM stored.relation_parts WHERE bucket >= {} AND bucket <= {}",
        columns(Table::RelationParts),
        at(Correlator::relations_start(settings, first)),
        at(last.saturating_add(settings.window))
    );
    Ok(store::relations_from_batches(&query::sql(session, &sql).await?)?)
}

/// How many are the same, and the others.
fn compare_detections(before: Vec<Detection>, mut after: BTreeMap<String, Detection>) -> (u64, Vec<DetectionChange>) {
    let mut same = 0;
    let mut changes = Vec::new();
    for before in before {
        let after = after.remove(&before.detection_id);
        match &after {
            Some(after) if says_the_same(&before, after) => same += 1,
            _ => changes.push(DetectionChange {
                before: Some(before),
                after,
            }),
        }
    }
    changes.extend(after.into_values().map(|after| DetectionChange {
        before: None,
        after: Some(after),
    }));
    changes.sort_by(|a, b| a.place().cmp(&b.place()));
    (same, changes)
}

impl DetectionChange {
    fn place(&self) -> Option<(Micros, &str)> {
        let either = self.after.as_ref().or(self.before.as_ref());
        either.map(|detection| (detection.time, detection.detection_id.as_str()))
    }
}

/// Whether it was late is left out: here nothing is. So is the version, and words that redaction hid.
fn says_the_same(before: &Detection, after: &Detection) -> bool {
    let words = before.message == after.message && before.entities == after.entities;
    before.severity == after.severity
        && before.title == after.title
        && before.techniques == after.techniques
        && (words || before.message == HIDDEN)
}

/// How many are the same, and the others. An incident goes on in the one that holds most of its detections.
fn compare_incidents(before: Vec<Incident>, after: Vec<Incident>) -> (u64, Vec<IncidentChange>) {
    let mut holder: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, incident) in after.iter().enumerate() {
        holder.extend(incident.detection_ids.iter().map(|id| (id.as_str(), index)));
    }
    let mut heirs: BTreeMap<usize, Vec<Incident>> = BTreeMap::new();
    let mut changes = Vec::new();
    for incident in before {
        let mut shares: BTreeMap<usize, usize> = BTreeMap::new();
        for heir in incident.detection_ids.iter().filter_map(|id| holder.get(id.as_str())) {
            *shares.entry(*heir).or_default() += 1;
        }
        match shares
            .into_iter()
            .max_by_key(|(heir, share)| (*share, usize::MAX - heir))
        {
            Some((heir, _)) => heirs.entry(heir).or_default().push(incident),
            None => changes.push(IncidentChange {
                before: vec![incident],
                after: None,
            }),
        }
    }
    let mut same = 0;
    for (index, after) in after.into_iter().enumerate() {
        let before = heirs.remove(&index).unwrap_or_default();
        let is_same = |before: &Incident| {
            before.detection_ids == after.detection_ids
                && before.severity == after.severity
                && before.score == after.score
                && before.title == after.title
        };
        if before.len() == 1 && before.iter().all(is_same) {
            same += 1;
        } else {
            changes.push(IncidentChange {
                before,
                after: Some(after),
            });
        }
    }
    changes.sort_by_key(|change| Reverse(change.weight()));
    (same, changes)
}

impl IncidentChange {
    /// In a word.
    pub fn kind(&self) -> &'static str {
        let Some(after) = &self.after else { return "vanishes" };
        if self.before.is_empty() {
            return "appears";
        }
        let held = |incident: &Incident| -> BTreeSet<String> { incident.detection_ids.iter().cloned().collect() };
        let before: BTreeSet<String> = self.before.iter().flat_map(held).collect();
        let after = held(after);
        let (gained, lost) = (!after.is_subset(&before), !before.is_subset(&after));
        match (gained, lost) {
            _ if self.before.len() > 1 => "merges",
            (true, false) => "grows",
            (false, true) => "shrinks",
            _ => "changes",
        }
    }

    fn weight(&self) -> impl Ord + use<> {
        let all = || self.after.iter().chain(&self.before);
        let severity = all().map(|incident| incident.severity).max();
        // Of equals the earlier first, and always in the same order.
        let first = all()
            .map(|incident| (incident.first_time, incident.incident_id.clone()))
            .min();
        (severity, Reverse(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Severity;

    fn incident(members: &[&str], severity: Severity) -> Incident {
        Incident {
            severity,
            ..Incident::bare(members[0], members)
        }
    }

    #[test]
    fn an_incident_goes_on_where_most_of_its_detections_are() {
        let of = |members: &[&str]| incident(members, Severity::High);
        let before = vec![
            of(&["a", "b"]),
            of(&["c", "d", "e"]),
            of(&["f"]),
            of(&["g"]),
            of(&["h", "i"]),
        ];
        let after = vec![
            of(&["a", "b"]),
            of(&["c", "x"]),
            of(&["d", "e", "g"]),
            of(&["h"]),
            of(&["y"]),
        ];
        let (same, changes) = compare_incidents(before, after);
        assert_eq!(same, 1);
        let mut told: Vec<(&str, Vec<&str>, Option<&str>)> = changes
            .iter()
            .map(|change| {
                let before = change.before.iter().map(|incident| incident.incident_id.as_str());
                let after = change.after.as_ref().map(|incident| incident.incident_id.as_str());
                (change.kind(), before.collect(), after)
            })
            .collect();
        told.sort();
        assert_eq!(
            told,
            [
                ("appears", vec![], Some("c")),
                ("appears", vec![], Some("y")),
                ("merges", vec!["c", "g"], Some("d")),
                ("shrinks", vec!["h"], Some("h")),
                ("vanishes", vec!["f"], None),
            ]
        );
        let graver = compare_incidents(vec![of(&["a"])], vec![incident(&["a"], Severity::Critical)]);
        assert_eq!((graver.0, graver.1[0].kind()), (0, "changes"));
        let grown = compare_incidents(vec![of(&["a"])], vec![of(&["a", "b"])]);
        assert_eq!(grown.1[0].kind(), "grows");
    }
}
