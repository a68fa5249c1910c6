//! Which changes of incidents are journaled at once, and which wait for others.
//!
//! A large incident changes with almost every batch, and each of its revisions holds all of it. What a person acts on, that it exists,
//! how severe it is, what became of it, is told on the next beat; that it has grown waits until its epoch is sealed, and not longer than
//! [`GROWTH_WAIT`]. Every epoch so holds its incidents as they follow from its facts, and nothing is lost with what waits: after a crash
//! it follows from the facts again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::model::{Incident, IncidentStatus, Severity};

/// Growth waits at most this long, however long epochs are.
const GROWTH_WAIT: Duration = Duration::from_secs(10);

/// Incidents as they stand, by id, whose newest revision says less.
#[derive(Default)]
pub struct Growth {
    waiting: BTreeMap<String, Incident>,
    since: Option<Instant>,
}

impl Growth {
    /// Adds `changes` and takes out what is to be journaled now. `standing` is what an incident's newest revision says of status and
    /// severity; `all`: nothing may wait.
    pub fn due(
        &mut self,
        changes: Vec<Incident>,
        standing: impl Fn(&str) -> Option<(IncidentStatus, Severity)>,
        all: bool,
        now: Instant,
    ) -> Vec<Incident> {
        for incident in changes {
            self.waiting.insert(incident.incident_id.clone(), incident);
        }
        let since = *self.since.get_or_insert(now);
        if all || now.saturating_duration_since(since) >= GROWTH_WAIT {
            self.since = None;
            return std::mem::take(&mut self.waiting).into_values().collect();
        }
        // An incident that took another in is told with it: else its members would belong to nobody for a while.
        let heirs: BTreeSet<String> = self.waiting.values().filter_map(|i| i.merged_into.clone()).collect();
        let (due, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(id, incident)| {
                heirs.contains(id) || standing(id) != Some((incident.status, incident.severity))
            });
        self.waiting = waiting;
        if self.waiting.is_empty() {
            self.since = None;
        }
        due.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(id: &str, severity: Severity, members: usize) -> Incident {
        Incident {
            severity,
            detection_ids: (0..members).map(|n| format!("d{n}")).collect(),
            detection_count: members as u64,
            ..Incident::bare(id, &[])
        }
    }

    /// What was journaled, as (id, members).
    fn told(due: &[Incident]) -> Vec<(&str, usize)> {
        due.iter().map(|i| (&*i.incident_id, i.detection_ids.len())).collect()
    }

    #[test]
    fn growth_waits_and_the_newest_is_told() {
        let (mut growth, start) = (Growth::default(), Instant::now());
        let low = |_: &str| Some((IncidentStatus::Open, Severity::Low));
        for members in 2..5 {
            let due = growth.due(vec![incident("a", Severity::Low, members)], low, false, start);
            assert!(due.is_empty());
        }
        let almost = start + GROWTH_WAIT - Duration::from_millis(1);
        assert!(growth.due(Vec::new(), low, false, almost).is_empty());
        assert_eq!(
            told(&growth.due(Vec::new(), low, false, start + GROWTH_WAIT)),
            [("a", 4)]
        );
        // The next one waits its own time.
        let grown = vec![incident("a", Severity::Low, 5)];
        assert!(growth.due(grown, low, false, start + GROWTH_WAIT).is_empty());
        assert_eq!(
            told(&growth.due(Vec::new(), low, true, start + GROWTH_WAIT)),
            [("a", 5)]
        );
        assert!(growth.due(Vec::new(), low, true, start + GROWTH_WAIT).is_empty());
    }

    #[test]
    fn what_is_new_worse_or_over_is_told_at_once_with_all_there_is() {
        let (mut growth, now) = (Growth::default(), Instant::now());
        let known = |id: &str| (id != "new").then_some((IncidentStatus::Open, Severity::Low));
        let grown = vec![incident("a", Severity::Low, 2), incident("b", Severity::Low, 2)];
        assert!(growth.due(grown, known, false, now).is_empty());
        let changes = vec![incident("a", Severity::High, 3), incident("new", Severity::Low, 1)];
        assert_eq!(told(&growth.due(changes, known, false, now)), [("a", 3), ("new", 1)]);
        let merged = Incident {
            status: IncidentStatus::Merged,
            merged_into: Some("b".into()),
            ..incident("c", Severity::Low, 1)
        };
        assert_eq!(
            told(&growth.due(vec![merged], known, false, now)),
            [("b", 2), ("c", 1)],
            "the one that waited takes the other in"
        );
    }
}
