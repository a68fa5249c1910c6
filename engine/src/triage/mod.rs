//! Incidents as the graph has them → incidents as they stand, with what people decided and which of them nobody wants told.
//!
//! Everything here follows from the revisions that were journaled before, the silences, and the facts; the time is an argument. So after a
//! crash the same comes out again.

mod inhibits;
mod silences;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::model::case::ENGINE;
use crate::model::{
    Case, Change, Detection, Id, Incident, IncidentStatus, IncidentUpdate, Micros, Split, Standing, Verdict,
    WorkflowStatus, time,
};

pub use inhibits::Inhibits;
pub use silences::{SILENCES_MAX, Silences};

/// Silences and inhibitions that a revision names; those beyond hold its findings back as well.
const NAMED_MAX: usize = 64;

/// How long what a verdict teaches holds, in seconds of event time, where nothing else is said.
pub const SILENCE_SECONDS: u32 = 30 * 24 * 3600;

/// A detection of a tenant by its id, where it is known.
pub type Find<'a> = &'a dyn Fn(&str, &str) -> Option<&'a Detection>;

/// What judging incidents needs to know.
pub struct Facts<'a> {
    pub find: Find<'a>,
    /// What an incident's newest revision says; `None` before its first.
    pub standing: &'a dyn Fn(&str) -> Option<Standing>,
    /// History is read, of which receivers are told nothing.
    pub backfill: bool,
    /// By the clock.
    pub now: Micros,
}

/// Decisions, silences and inhibitions that are in force.
#[derive(Default)]
pub struct Triage {
    /// Of incidents of which anything was decided.
    cases: HashMap<Id, Kept>,
    pub silences: Silences,
    pub inhibits: Inhibits,
}

/// A decision's outcome.
pub struct Updated {
    /// As it is to be journaled.
    pub incident: Incident,
    /// Ids of the silences that it taught.
    pub taught: Vec<String>,
    /// Kinds of findings that it could not silence.
    pub left_out: usize,
}

#[derive(Default)]
struct Kept {
    case: Case,
    /// The folds of the findings that it had since nobody works on it any more; what left it meanwhile is among them. One more repeat is no
    /// news.
    known: HashSet<Id>,
}

impl Triage {
    /// With the inhibitions in force.
    pub fn new(inhibits: Inhibits) -> Triage {
        Triage {
            inhibits,
            ..Triage::default()
        }
    }

    /// Takes in what revisions say; of one incident in their order.
    pub fn learn<'a>(&mut self, revisions: impl IntoIterator<Item = &'a Incident>) {
        for incident in revisions {
            let id = Id::of_text(&incident.incident_id);
            if !incident.case.is_kept() {
                self.cases.remove(&id);
                continue;
            }
            let mut known = match self.cases.remove(&id) {
                Some(kept) if incident.case.status.is_done() => kept.known,
                _ => HashSet::new(),
            };
            if incident.case.status.is_done() {
                known.extend(&incident.folds);
            }
            let case = Case {
                change: None,
                ..incident.case.clone()
            };
            self.cases.insert(id, Kept { case, known });
        }
    }

    /// Whether nobody works on the incident any more, so that what is new of it has to be told at once.
    pub fn is_done(&self, incident_id: &str) -> bool {
        self.kept(incident_id).is_some_and(|kept| kept.case.status.is_done())
    }

    fn kept(&self, incident_id: &str) -> Option<&Kept> {
        self.cases.get(&Id::of_text(incident_id))
    }

    /// Incidents as they are to be journaled: with what holds of their cases, reopened where something is new, and with the splits that
    /// they come from on record.
    pub fn judge(&self, incidents: Vec<Incident>, splits: &[Split], facts: &Facts<'_>) -> Vec<Incident> {
        let mut came_from: HashMap<String, Vec<String>> = HashMap::new();
        let merged = incidents
            .iter()
            .filter_map(|incident| Some((incident.merged_into.clone()?, incident.incident_id.clone())));
        let split = splits
            .iter()
            .filter_map(|split| Some((split.into.clone()?, split.from.clone())));
        for (into, from) in merged.chain(split) {
            came_from.entry(into).or_default().push(from);
        }
        let judged = incidents.into_iter().map(|mut incident| {
            let id = incident.incident_id.as_str();
            let from = came_from.get(id).map_or(&[][..], Vec::as_slice);
            let standing = (facts.standing)(id);
            let mut notes = Vec::new();
            let mut case = self.kept(id).map(|kept| kept.case.clone()).unwrap_or_default();
            // One that was merged away and parts again begins anew, too.
            if standing.is_none_or(|standing| standing.status != IncidentStatus::Open)
                && !case.is_kept()
                && let Some((from, kept)) = from.iter().find_map(|from| Some((from, self.kept(from)?)))
            {
                case = kept.case.clone();
                notes.push(format!("goes on with what was decided of incident {from}"));
            }
            notes.extend(splits.iter().filter_map(|split| split_note(split, id)));
            let mut uncovered = None;
            (case.silences, case.inhibited) = self.holding_back(&incident, facts.find);
            if incident.status == IncidentStatus::Open && case.status.is_done() {
                uncovered = Some(self.news(&incident, from, facts.find)).filter(|news| *news > 0);
            }
            if let Some(news) = uncovered {
                notes.push(format!(
                    "reopened: {news} {} that it did not have when it was {}",
                    findings(news),
                    case.status.text()
                ));
                case.status = WorkflowStatus::New;
                case.verdict = None;
            }
            case.change = (!notes.is_empty()).then(|| Change {
                by: ENGINE.to_owned(),
                at: facts.now,
                note: Some(notes.join("; ")),
                silences_until: None,
            });
            incident.case = case;
            settle(incident, standing, facts.backfill)
        });
        judged.collect()
    }

    /// The silences and the inhibitions that hold all findings of an open incident back; none where one finding is not held back, or not
    /// known.
    fn holding_back(&self, incident: &Incident, find: Find<'_>) -> (Vec<String>, Vec<String>) {
        let mut held_back = (BTreeSet::new(), BTreeSet::new());
        if incident.status != IncidentStatus::Open {
            return Default::default();
        }
        for id in &incident.detection_ids {
            let Some(detection) = find(&incident.tenant, id) else {
                return Default::default();
            };
            let (named, name) = if let Some(silence) = self.silences.holding(detection) {
                (&mut held_back.0, silence.silence.as_str())
            } else if let Some(inhibition) = self.inhibits.holding(detection) {
                (&mut held_back.1, inhibition)
            } else {
                return Default::default();
            };
            if named.len() < NAMED_MAX && !named.contains(name) {
                named.insert(name.to_owned());
            }
        }
        (held_back.0.into_iter().collect(), held_back.1.into_iter().collect())
    }

    /// Findings that were not known when work on the incident, or on one that it came from, ended, and that no silence covers. One that is
    /// inhibited counts: its source may come before it or behind it.
    fn news(&self, incident: &Incident, from: &[String], find: Find<'_>) -> usize {
        let mut done: Vec<&Kept> = std::iter::once(&incident.incident_id)
            .chain(from)
            .filter_map(|id| self.kept(id))
            .filter(|kept| kept.case.status.is_done())
            .collect();
        let mut news = incident.folds.clone();
        news.retain(|fold| !done.iter().any(|kept| kept.known.contains(fold)));
        if !news.is_empty() {
            // One that it goes on from may have lost its findings before.
            let of = |kept: &&Kept| kept.case.status.is_done() && news.iter().any(|fold| kept.known.contains(fold));
            let knew = |kept: &&Kept| done.iter().any(|done| !done.known.is_disjoint(&kept.known));
            let others: Vec<&Kept> = self.cases.values().filter(of).filter(knew).collect();
            done.extend(others);
        }
        let is_new = |(id, fold): &(&String, &Id)| {
            !done.iter().any(|kept| kept.known.contains(fold))
                && find(&incident.tenant, id).is_none_or(|detection| self.silences.holding(detection).is_none())
        };
        incident
            .detection_ids
            .iter()
            .zip(&incident.folds)
            .filter(is_new)
            .count()
    }

    /// What a person's decision makes of `incident`. `newest`: the newest event time that is known; `horizon`: one that no finding can
    /// have any more.
    pub fn update(
        &mut self,
        mut incident: Incident,
        update: &IncidentUpdate,
        (newest, horizon): (Micros, Micros),
        facts: &Facts<'_>,
    ) -> Updated {
        let mut case = self
            .kept(&incident.incident_id)
            .map(|kept| kept.case.clone())
            .unwrap_or_default();
        case.status = update.status.unwrap_or(case.status);
        case.verdict = update.verdict.or(case.verdict);
        if let Some(assignee) = &update.assignee {
            case.assignee = Some(assignee.clone()).filter(|name| !name.is_empty());
        }
        let seconds = update.silence_seconds.unwrap_or(SILENCE_SECONDS);
        // A time that is still to come may be forged.
        let until = incident.last_time.min(facts.now).max(newest);
        let until = until.saturating_add(i64::from(seconds) * time::SECOND);
        let change = Change {
            by: update.by.clone(),
            at: facts.now,
            note: update.note.clone(),
            silences_until: (update.verdict == Some(Verdict::Benign)).then_some(until),
        };
        let (taught, left_out) = self.silences.teach(&incident, &change, facts.find, horizon);
        case.change = Some(change);
        (case.silences, case.inhibited) = self.holding_back(&incident, facts.find);
        let standing = (facts.standing)(&incident.incident_id);
        incident.case = case;
        Updated {
            incident: settle(incident, standing, facts.backfill),
            taught,
            left_out,
        }
    }

    /// Whether silences came or went, or sources of inhibitions came, that change whether the incident is silenced.
    pub fn is_stale(&self, incident: &Incident, facts: &Facts<'_>) -> bool {
        let standing = (facts.standing)(&incident.incident_id);
        // After a crash the journal knows incidents whose findings are still being found again.
        let find = |id: &String| (facts.find)(&incident.tenant, id).is_some();
        standing.is_some_and(|standing| {
            let (silences, inhibited) = self.holding_back(incident, facts.find);
            standing.status == IncidentStatus::Open
                && standing.silenced == (silences.is_empty() && inhibited.is_empty())
                && incident.detection_ids.iter().all(find)
        })
    }
}

/// Says whether receivers are sent the revision. An incident that they never heard of is told when live evidence makes it, it is open, and
/// somebody wants it; of one that they know, what becomes of it, what people decide, and all that is live and not silenced.
fn settle(mut incident: Incident, standing: Option<Standing>, backfill: bool) -> Incident {
    let is_open = incident.status == IncidentStatus::Open;
    let silenced = incident.case.is_silenced();
    let by_person = incident.case.change.as_ref().is_some_and(|change| change.by != ENGINE);
    incident.case.withheld = match standing.filter(|standing| standing.told) {
        None => backfill || silenced || !is_open || by_person,
        Some(_) if !is_open || by_person => false,
        Some(standing) => backfill || (silenced && standing.silenced),
    };
    incident.case.first_sent = standing.is_some_and(|standing| !standing.told);
    incident
}

fn split_note(split: &Split, id: &str) -> Option<String> {
    const WHY: &str = "what joined them is shared by many or usual by now, or the incident outgrew its bounds";
    let count = format!("{} {}", split.findings, findings(split.findings));
    match &split.into {
        Some(into) if split.from == id => Some(format!("split: {count} left for incident {into}: {WHY}")),
        None if split.from == id => Some(format!("split: {count} left and belong to no incident: {WHY}")),
        Some(into) if into == id => Some(format!("split: {count} came from incident {}: {WHY}", split.from)),
        _ => None,
    }
}

fn findings(count: usize) -> &'static str {
    if count == 1 { "finding" } else { "findings" }
}
