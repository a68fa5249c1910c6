//! How often a receiver is sent the same incident.
//!
//! That an incident is new, graver, over, or changed by somebody is sent at once. That it has only grown is sent at most once per
//! interval, as its newest revision then; those in between are not sent. Nothing here is kept: after a restart all that the receiver has
//! not passed is looked at again, so that a revision may be repeated and none that is due is missed.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Incident, IncidentStatus, Severity, WorkflowStatus};

/// Incidents whose sending is remembered, and revisions that are held back, at most; beyond that they are sent at once.
const INCIDENTS_MAX: usize = 4_096;

pub(super) struct Pace {
    interval: Duration,
    sent: HashMap<String, Sent>,
    held: BTreeMap<String, Held>,
}

/// What was last sent of an incident.
struct Sent {
    at: Instant,
    status: IncidentStatus,
    workflow: WorkflowStatus,
    severity: Severity,
    silenced: bool,
}

/// The newest revision of an incident that waits.
struct Held {
    position: u64,
    due: Instant,
}

impl Pace {
    pub fn new(interval: Duration) -> Pace {
        Pace {
            interval,
            sent: HashMap::new(),
            held: BTreeMap::new(),
        }
    }

    /// Whether the revision at `position` of the journal is to be sent now; else it is held back, in the place of an older one.
    pub fn admits(&mut self, incident: &Incident, position: u64, now: Instant) -> bool {
        let held_back = self.sent.get(&incident.incident_id).filter(|sent| {
            now < sent.at + self.interval
                && incident.severity <= sent.severity
                && incident.status == sent.status
                && incident.case.status == sent.workflow
                && incident.case.is_silenced() == sent.silenced
                && incident.case.change.is_none()
        });
        let due = held_back.map(|sent| sent.at + self.interval);
        match due {
            Some(due) if self.held.len() < INCIDENTS_MAX || self.held.contains_key(&incident.incident_id) => {
                self.held.insert(incident.incident_id.clone(), Held { position, due });
                false
            }
            _ => true,
        }
    }

    /// The revision was sent; what was held back of the incident before it is not sent any more.
    pub fn sent(&mut self, incident: &Incident, now: Instant) {
        self.held.remove(&incident.incident_id);
        if self.interval.is_zero() {
            return;
        }
        if self.sent.len() >= INCIDENTS_MAX {
            self.sent.retain(|_, sent| now < sent.at + self.interval);
        }
        if self.sent.len() < INCIDENTS_MAX {
            let sent = Sent {
                at: now,
                status: incident.status,
                workflow: incident.case.status,
                severity: incident.severity,
                silenced: incident.case.is_silenced(),
            };
            self.sent.insert(incident.incident_id.clone(), sent);
        }
    }

    /// Where the revision stands that has waited long enough; with `all`, any that waits.
    pub fn due(&self, all: bool, now: Instant) -> Option<u64> {
        let waited = self.held.values().filter(|held| all || held.due <= now);
        waited.map(|held| held.position).min()
    }

    /// When the next one will have waited long enough.
    pub fn next_due(&self) -> Option<Instant> {
        self.held.values().map(|held| held.due).min()
    }

    /// Where the oldest revision stands that waits: the receiver has not passed it.
    pub fn oldest(&self) -> Option<u64> {
        self.held.values().map(|held| held.position).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::tests::titled;
    use crate::model::{Case, Change};

    const INTERVAL: Duration = Duration::from_secs(30);

    #[test]
    fn growth_waits_for_its_interval_and_the_newest_is_sent() {
        let (mut pace, start) = (Pace::new(INTERVAL), Instant::now());
        let grown = titled("a", "grown");
        assert!(pace.admits(&grown, 0, start), "the first");
        pace.sent(&grown, start);
        assert!(!pace.admits(&grown, 1, start) && !pace.admits(&grown, 2, start + INTERVAL / 2));
        assert!(
            pace.admits(&titled("b", "other"), 3, start),
            "each incident has its own"
        );
        assert_eq!((pace.oldest(), pace.next_due()), (Some(2), Some(start + INTERVAL)));
        assert_eq!((pace.due(false, start), pace.due(true, start)), (None, Some(2)));
        assert_eq!(pace.due(false, start + INTERVAL), Some(2));
        pace.sent(&grown, start + INTERVAL);
        assert_eq!((pace.oldest(), pace.due(true, start + INTERVAL)), (None, None));
        assert!(!pace.admits(&grown, 4, start + INTERVAL));
        assert!(pace.admits(&grown, 5, start + 2 * INTERVAL));
    }

    #[test]
    fn what_changes_what_to_do_is_sent_at_once_and_what_waited_with_it() {
        let start = Instant::now();
        let change = Change {
            by: "ann".into(),
            at: 0,
            note: None,
            silences_until: None,
        };
        let case = Case {
            change: Some(change),
            ..Case::default()
        };
        let graver = Incident {
            severity: Severity::Critical,
            ..titled("a", "graver")
        };
        let over = Incident {
            status: IncidentStatus::Merged,
            ..titled("a", "over")
        };
        let changed = Incident {
            case,
            ..titled("a", "changed")
        };
        let silenced = Case {
            silences: vec!["s".into()],
            ..Case::default()
        };
        let silenced = Incident {
            case: silenced,
            ..titled("a", "silenced")
        };
        for pressing in [graver, over, changed, silenced] {
            let mut pace = Pace::new(INTERVAL);
            pace.sent(&titled("a", "1"), start);
            assert!(!pace.admits(&titled("a", "2"), 1, start));
            assert!(pace.admits(&pressing, 2, start), "{}", pressing.title);
            pace.sent(&pressing, start);
            assert_eq!(pace.oldest(), None, "{}", pressing.title);
        }
        let mut always = Pace::new(Duration::ZERO);
        always.sent(&titled("a", "1"), start);
        assert!(always.admits(&titled("a", "2"), 1, start));
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut pace, now) = (Pace::new(INTERVAL), Instant::now());
        for number in 0..2 * INCIDENTS_MAX {
            let incident = titled(&format!("i{number}"), "1");
            assert!(pace.admits(&incident, number as u64, now));
            pace.sent(&incident, now);
            pace.admits(&incident, number as u64, now);
        }
        assert!(pace.sent.len() <= INCIDENTS_MAX && pace.held.len() <= INCIDENTS_MAX);
    }
}
