//! Detections and relations → incidents. A graph of entities per tenant; synchronous, no I/O, and time is an argument.
//!
//! The law: incidents are a pure function of the set of detections and relations inside the retention. `changes` recomputes
//! the components that new facts touched, from the facts, so the order of arrival cannot show.

mod graph;
mod incident;
mod link;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::CorrelateSettings;
use crate::model::relation::RELATION_BUCKET;
use crate::model::{Detection, Incident, IncidentStatus, Micros, Relation, time};

use graph::TenantGraph;

/// Facts are kept this much longer than the window reaches, so that an event within any source's lateness finds what it links to.
const RETENTION_SLACK: Micros = time::HOUR;

/// Letting go goes through everything that is held, and relations go by the bucket: once per bucket of event time.
const EXPIRE_STEP: Micros = RELATION_BUCKET;

/// Joins detections of all tenants into incidents; tenants never mix.
pub struct Correlator {
    settings: CorrelateSettings,
    tenants: BTreeMap<Arc<str>, Tenant>,
    /// Where facts were last let go of.
    horizon: Micros,
}

#[derive(Default)]
struct Tenant {
    graph: TenantGraph,
    /// Newest state of every incident that can still change.
    incidents: BTreeMap<Arc<str>, Incident>,
    /// Which of them a detection belongs to.
    member_of: BTreeMap<Arc<str>, Arc<str>>,
    /// Detections whose links may have changed since the last recomputation.
    dirty: BTreeSet<Arc<str>>,
}

/// What the graph holds, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GraphSize {
    pub entities: usize,
    pub edges: usize,
    pub detections: usize,
    pub incidents: usize,
}

impl Correlator {
    pub fn new(settings: CorrelateSettings) -> Correlator {
        Correlator {
            settings,
            tenants: BTreeMap::new(),
            horizon: Micros::MIN,
        }
    }

    /// Adds facts. A detection or relation that is there already changes nothing.
    pub fn apply(&mut self, detections: Vec<Detection>, relations: Vec<Relation>) {
        let window = self.settings.window;
        for relation in relations {
            let tenant = self.tenants.entry(relation.tenant.clone()).or_default();
            tenant.graph.add_relation(&relation, window, &mut tenant.dirty);
        }
        for detection in detections {
            let tenant = self.tenants.entry(detection.tenant.as_str().into()).or_default();
            tenant.graph.add_detection(detection, &mut tenant.dirty);
        }
    }

    /// Takes back what an earlier run made durable: the facts inside the retention and the newest revision of each incident. An
    /// incident may be ahead of the facts: the journal is durable sooner, and the facts are found again.
    pub fn resume(&mut self, detections: Vec<Detection>, relations: Vec<Relation>, incidents: Vec<Incident>) {
        self.apply(detections, relations);
        for mut incident in incidents {
            let tenant = self.tenants.entry(incident.tenant.as_str().into()).or_default();
            // The tables have them in the detections.
            if incident.findings.is_empty() {
                let members = incident.detection_ids.iter();
                let members: Vec<&Detection> = members
                    .filter_map(|id| Some(&tenant.graph.member(id)?.detection))
                    .collect();
                incident.findings = incident::findings(&members, &incident.path);
            }
            let id: Arc<str> = incident.incident_id.as_str().into();
            if let Some(before) = tenant.incidents.remove(&id) {
                for detection in &before.detection_ids {
                    tenant.member_of.remove(detection.as_str());
                }
            }
            if incident.status == IncidentStatus::Open {
                for detection in &incident.detection_ids {
                    tenant.member_of.insert(detection.as_str().into(), id.clone());
                }
                tenant.incidents.insert(id, incident);
            }
        }
    }

    /// The incidents that are new or other than when they were last returned, `revision` not yet given; ordered by tenant and id.
    pub fn changes(&mut self) -> Vec<Incident> {
        let mut changes = Vec::new();
        for (name, tenant) in &mut self.tenants {
            changes.extend(tenant.changes(name, &self.settings));
        }
        changes
    }

    /// Lets go of what no event within the lateness can link to any more: facts older than the window and the slack before
    /// `watermark`, unless they belong to an incident that is younger.
    pub fn expire(&mut self, watermark: Micros) {
        let horizon = Correlator::retention_start(&self.settings, watermark);
        if horizon < self.horizon.saturating_add(EXPIRE_STEP) {
            return;
        }
        self.horizon = horizon;
        for tenant in self.tenants.values_mut() {
            tenant.expire(horizon, self.settings.window);
        }
        self.tenants
            .retain(|_, tenant| !tenant.graph.is_empty() || !tenant.incidents.is_empty());
    }

    /// Where facts must be read from to resume at `watermark`.
    pub fn retention_start(settings: &CorrelateSettings, watermark: Micros) -> Micros {
        watermark
            .saturating_sub(settings.window)
            .saturating_sub(RETENTION_SLACK)
    }

    /// Where relations must be read from when the oldest finding is of `oldest`: they link a window away, and how shared an address
    /// is at that moment is counted over another.
    pub fn relations_start(settings: &CorrelateSettings, oldest: Micros) -> Micros {
        graph::identities_start(oldest, settings.window)
    }

    pub fn size(&self) -> GraphSize {
        let mut size = GraphSize::default();
        for tenant in self.tenants.values() {
            size.entities += tenant.graph.entities();
            size.edges += tenant.graph.edges();
            size.detections += tenant.graph.detections();
            size.incidents += tenant.incidents.len();
        }
        size
    }
}

impl Tenant {
    fn changes(&mut self, name: &str, settings: &CorrelateSettings) -> Vec<Incident> {
        self.graph.settle(settings.window, &mut self.dirty);
        let mut todo: Vec<Arc<str>> = std::mem::take(&mut self.dirty).into_iter().collect();
        // Incidents that may change: those of every detection that a recomputed component reaches.
        let mut touched: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut placed: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut found: BTreeMap<Arc<str>, Incident> = BTreeMap::new();
        while let Some(start) = todo.pop() {
            if placed.contains(&start) {
                continue;
            }
            let Some(component) = link::component(&self.graph, &start, settings.window) else {
                continue;
            };
            for member in component.keys() {
                placed.insert(member.clone());
                if let Some(incident) = self.member_of.get(member)
                    && touched.insert(incident.clone())
                    && let Some(held) = self.incidents.get(incident)
                {
                    todo.extend(held.detection_ids.iter().map(|id| Arc::from(id.as_str())));
                }
            }
            if let Some(incident) = incident::assemble(name, &self.graph, &component, settings) {
                found.insert(incident.incident_id.as_str().into(), incident);
            }
        }
        self.replace(touched, found)
    }

    /// Puts `found` in the place of `touched`; what is no longer there was merged or dissolved. Returns what differs.
    fn replace(&mut self, touched: BTreeSet<Arc<str>>, found: BTreeMap<Arc<str>, Incident>) -> Vec<Incident> {
        let mut old: BTreeMap<Arc<str>, Incident> = BTreeMap::new();
        for id in touched {
            if let Some(incident) = self.incidents.remove(&id) {
                for detection in &incident.detection_ids {
                    self.member_of.remove(detection.as_str());
                }
                old.insert(id, incident);
            }
        }
        let mut changes = Vec::new();
        for (id, incident) in found {
            for detection in &incident.detection_ids {
                self.member_of.insert(detection.as_str().into(), id.clone());
            }
            // What was taken back from the tables carries the revision it had.
            let same = old
                .remove(&id)
                .is_some_and(|before| Incident { revision: 0, ..before } == incident);
            if !same {
                changes.push(incident.clone());
            }
            self.incidents.insert(id, incident);
        }
        for (id, before) in old {
            // The seed's incident, or that of the next member: a seed that only the journal remembers may not be found again.
            let into = before
                .detection_ids
                .iter()
                .find_map(|member| self.member_of.get(member.as_str()))
                .cloned();
            if into.is_none()
                && before
                    .detection_ids
                    .iter()
                    .any(|member| self.graph.member(member).is_none())
            {
                // Journaled before a crash, and what it is made of is still being found again: too early to judge.
                for member in &before.detection_ids {
                    self.member_of
                        .entry(member.as_str().into())
                        .or_insert_with(|| id.clone());
                }
                self.incidents.insert(id, before);
                continue;
            }
            let status = if into.is_some() {
                IncidentStatus::Merged
            } else {
                IncidentStatus::Dissolved
            };
            changes.push(Incident {
                status,
                merged_into: into.map(|id| id.to_string()),
                revision: 0,
                ..before
            });
        }
        changes
    }

    fn expire(&mut self, horizon: Micros, window: Micros) {
        self.graph.settle(window, &mut self.dirty);
        let settled: Vec<Arc<str>> = self
            .incidents
            .iter()
            .filter(|(_, incident)| incident.last_time < horizon)
            .map(|(id, _)| id.clone())
            .collect();
        for id in settled {
            if let Some(incident) = self.incidents.remove(&id) {
                for detection in &incident.detection_ids {
                    self.member_of.remove(detection.as_str());
                }
            }
        }
        let member_of = &self.member_of;
        self.graph
            .expire(horizon, window, |detection| member_of.contains_key(detection));
    }
}
