//! Detections and relations → incidents. A graph of entities per tenant; synchronous, no I/O, and time is an argument.
//!
//! The law: incidents are a pure function of the set of detections and relations inside the retention. What joins detections is
//! added to as facts come, in a way that the order cannot show (link.rs); where a fact takes links away, or facts are let go of, what
//! they held together is joined anew from those that are left.

mod chance;
mod cut;
mod divide;
mod graph;
mod incident;
mod index;
mod link;
mod name;
mod placed;
mod reason;
mod score;
mod sets;
mod sharing;
mod split;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use ahash::RandomState;

use crate::config::CorrelateSettings;
use crate::model::detection::FOLD;
use crate::model::relation::RELATION_BUCKET;
use crate::model::{Case, Detection, Id, Incident, IncidentStatus, Micros, Relation, Split, time};

use chance::Usual;
use divide::{Group, divide};
use graph::{Member, TenantGraph};
pub use link::Examined;
use link::Links;
pub use score::progress;

pub use incident::findings;

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
    /// Where facts were last let go of for want of memory.
    cut: Micros,
    /// How many of them so far.
    evicted: u64,
}

struct Tenant {
    graph: TenantGraph,
    links: Links,
    usual: Usual,
    /// Newest state of every incident that can still change.
    incidents: BTreeMap<Arc<str>, Incident>,
    /// Which of them a finding with its repeats belongs to.
    member_of: HashMap<Id, Owner, RandomState>,
    /// Those of whose path relations tell.
    led: HashSet<Arc<str>, RandomState>,
    /// Linked detections that fell into several groups: another link may hold what this one does not.
    parted: HashSet<Member, RandomState>,
    /// Counts the recomputations.
    round: u64,
    /// What the newest recomputation parted.
    splits: Vec<Split>,
}

/// The incident that a detection belongs to, since which recomputation at least.
struct Owner {
    incident: Arc<str>,
    round: u64,
}

/// What the graph holds, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GraphSize {
    pub entities: usize,
    pub edges: usize,
    pub detections: usize,
    /// Those of the detections that only repeat another.
    pub repeats: usize,
    pub incidents: usize,
    /// Findings that say how usual others are, each rule and identity once an hour; longer than the findings themselves.
    pub firings: usize,
    /// Facts that were let go of too early, for want of memory: what came later could not be linked to them.
    pub evicted: u64,
}

/// What a fact takes in memory on average, with the texts in it, the tables that find it and what links go through it.
const ENTITY_BYTES: usize = 600;
const EDGE_BYTES: usize = 300;
const DETECTION_BYTES: usize = 2_000;
const REPEAT_BYTES: usize = 64;
const FIRING_BYTES: usize = 250;

impl GraphSize {
    /// What the graph takes in memory, roughly.
    pub fn bytes(&self) -> usize {
        self.entities * ENTITY_BYTES
            + self.edges * EDGE_BYTES
            + (self.detections - self.repeats) * DETECTION_BYTES
            + self.repeats * REPEAT_BYTES
            + self.firings * FIRING_BYTES
    }
}

impl Correlator {
    pub fn new(settings: CorrelateSettings) -> Correlator {
        Correlator {
            settings,
            tenants: BTreeMap::new(),
            horizon: Micros::MIN,
            cut: Micros::MIN,
            evicted: 0,
        }
    }

    /// Adds facts. A detection or relation that is there already changes nothing.
    pub fn apply(&mut self, detections: Vec<Detection>, relations: Vec<Relation>) {
        for relations in relations.chunk_by(|a, b| a.tenant == b.tenant) {
            let tenant = self.tenants.entry(relations[0].tenant.clone());
            let tenant = tenant.or_insert_with(|| Tenant::new(&self.settings));
            tenant.graph.add_relations(relations, &self.settings);
        }
        for detection in detections {
            let tenant = self.tenants.entry(detection.tenant.as_str().into());
            let tenant = tenant.or_insert_with(|| Tenant::new(&self.settings));
            tenant.usual.learn(&detection);
            tenant.graph.add_detection(detection, &self.settings);
        }
    }

    /// Takes back what an earlier run made durable: the facts inside the retention and the newest revision of each incident. An
    /// incident may be ahead of the facts: the journal is durable sooner, and the facts are found again.
    pub fn resume(&mut self, detections: Vec<Detection>, relations: Vec<Relation>, incidents: Vec<Incident>) {
        self.apply(detections, relations);
        for mut incident in incidents {
            // What people decided does not follow from facts.
            incident.case = Case::default();
            let tenant = self.tenants.entry(incident.tenant.as_str().into());
            let tenant = tenant.or_insert_with(|| Tenant::new(&self.settings));
            // The tables have them in the detections.
            if incident.findings.is_empty() {
                let members = incident.detection_ids.iter();
                let members: Vec<&Detection> = members.filter_map(|id| tenant.graph.detection(id)).collect();
                incident.findings = incident::findings(&members, &incident.path);
            }
            let id: Arc<str> = incident.incident_id.as_str().into();
            if let Some(before) = tenant.incidents.remove(&id) {
                tenant.round += 1;
                tenant.disown(&before);
            }
            if incident.status == IncidentStatus::Open {
                tenant.own(&id, &incident);
                tenant.led.insert(id.clone());
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
    /// `watermark`, unless they belong to an incident that is younger. Where memory is short, of the oldest that are left, too.
    pub fn expire(&mut self, watermark: Micros) {
        let horizon = Correlator::retention_start(&self.settings, watermark);
        let window = self.settings.window;
        if horizon >= self.horizon.saturating_add(EXPIRE_STEP) {
            self.horizon = horizon;
            self.let_go(horizon, window);
        }
        while self.size().bytes() > self.settings.memory_bytes_max {
            // Relations are kept a window longer than findings.
            let cut = self.cut.max(horizon.saturating_sub(window)).saturating_add(EXPIRE_STEP);
            if cut > watermark {
                break;
            }
            self.cut = cut;
            let gone = self.let_go(cut, 0);
            self.evicted = self.evicted.saturating_add(gone as u64);
        }
    }

    /// Lets go of findings from before `horizon`, and of relations that are older than it by more than `reach`. Gives how many.
    fn let_go(&mut self, horizon: Micros, reach: Micros) -> usize {
        let window = self.settings.window;
        let gone = self
            .tenants
            .values_mut()
            .map(|tenant| tenant.expire(horizon, reach, window));
        let gone = gone.sum();
        self.tenants
            .retain(|_, tenant| !tenant.graph.is_empty() || !tenant.incidents.is_empty() || !tenant.usual.is_empty());
        gone
    }

    /// Where facts must be read from to resume at `watermark`.
    pub fn retention_start(settings: &CorrelateSettings, watermark: Micros) -> Micros {
        let start = watermark
            .saturating_sub(settings.window)
            .saturating_sub(RETENTION_SLACK);
        // Repeats come back with what they repeat.
        start.div_euclid(FOLD).saturating_mul(FOLD)
    }

    /// Where relations must be read from when the oldest finding is of `oldest`: they link a window away, and how shared an entity
    /// is at that moment is counted over another.
    pub fn relations_start(settings: &CorrelateSettings, oldest: Micros) -> Micros {
        graph::identities_start(oldest, settings.window)
    }

    /// Where findings must be read from to know what was usual when the oldest finding, which is of `oldest`, was made.
    pub fn history_start(oldest: Micros) -> Micros {
        chance::history_start(oldest)
    }

    /// Counts a finding that links to nothing any more among those that say what is usual.
    pub fn learn(&mut self, past: &Detection) {
        let tenant = self.tenants.entry(past.tenant.as_str().into());
        let tenant = tenant.or_insert_with(|| Tenant::new(&self.settings));
        tenant.usual.learn(past);
    }

    /// How many links were looked at for each detection.
    pub fn examined(&self) -> Examined {
        let mut all = Examined::default();
        for tenant in self.tenants.values() {
            for (all, count) in all.0.iter_mut().zip(tenant.links.examined().0) {
                *all += count;
            }
        }
        all
    }

    pub fn size(&self) -> GraphSize {
        let mut size = GraphSize {
            evicted: self.evicted,
            ..GraphSize::default()
        };
        for tenant in self.tenants.values() {
            size.entities += tenant.graph.entities();
            size.edges += tenant.graph.edges();
            size.detections += tenant.graph.detections();
            size.repeats += tenant.graph.repeats();
            size.incidents += tenant.incidents.len();
            size.firings += tenant.usual.firings();
        }
        size
    }
}

impl Tenant {
    fn new(settings: &CorrelateSettings) -> Tenant {
        Tenant {
            graph: TenantGraph::default(),
            links: Links::new(settings.window),
            usual: Usual::default(),
            incidents: BTreeMap::new(),
            member_of: HashMap::default(),
            led: HashSet::default(),
            parted: HashSet::default(),
            round: 0,
            splits: Vec::new(),
        }
    }

    /// Takes what is new in the graph into the links.
    fn settle(&mut self) {
        let news = self.graph.take_news();
        let shared: HashSet<Member> = news.shared.iter().flat_map(|node| self.links.found_at(*node)).collect();
        let torn = self.links.forget(&self.graph, shared);
        for member in news.repeated {
            self.links.touch(member);
        }
        for relation in news.relations {
            self.links.relate(&self.graph, relation);
        }
        for member in torn.into_iter().chain(news.detections) {
            self.links.add(&self.graph, member);
        }
    }

    fn changes(&mut self, name: &str, settings: &CorrelateSettings) -> Vec<Incident> {
        self.settle();
        let mut todo = self.links.take_touched();
        let brushed = self.links.take_brushed();
        let brushed = brushed.into_iter();
        todo.extend(brushed.filter(|member| self.parted.contains(member) || self.is_led(*member)));
        let changed = self.usual.take_changed();
        if !changed.is_empty() {
            let judged = self.graph.members();
            let judged = judged.filter(|(_, placed)| changed.contains(&chance::hour_of(placed.detection.time)));
            todo.extend(judged.map(|(member, _)| member));
        }
        let mut seen: HashSet<Member> = HashSet::new();
        // Incidents that may change: those of every detection that is in a set that changed.
        let mut touched: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut found: BTreeMap<Arc<str>, Incident> = BTreeMap::new();
        while let Some(member) = todo.pop() {
            let Some(label) = self.links.sets().label(member) else {
                continue;
            };
            if !seen.insert(label) {
                continue;
            }
            let members = self.graph.by_time(self.links.sets().members(label));
            let mut held: HashMap<&Arc<str>, usize, RandomState> = HashMap::default();
            for member in &members {
                if let Some(placed) = self.graph.placed(*member)
                    && let Some(owner) = self.member_of.get(&placed.fold)
                {
                    *held.entry(&owner.incident).or_default() += 1;
                }
            }
            for (id, count) in held {
                if touched.insert(id.clone())
                    && let Some(incident) = self.incidents.get(id)
                    && incident.folds.len() > count
                {
                    let others = incident.folds.iter();
                    todo.extend(others.filter_map(|fold| self.graph.folded(*fold)));
                }
            }
            let parts = cut::cut(&self.graph, members, settings).into_iter();
            let groups = parts.flat_map(|part| divide(&self.graph, part, &mut self.usual, settings));
            let groups: Vec<Group> = groups.collect();
            for member in groups.iter().flat_map(|group| &group.members) {
                match groups.len() {
                    1 => self.parted.remove(member),
                    _ => self.parted.insert(*member),
                };
            }
            for group in groups {
                if let Some(made) = incident::assemble(name, &self.graph, &group, settings) {
                    let id: Arc<str> = made.incident.incident_id.as_str().into();
                    if made.is_led {
                        self.led.insert(id.clone());
                    } else {
                        self.led.remove(&id);
                    }
                    found.insert(id, made.incident);
                }
            }
        }
        self.replace(touched, found)
    }

    /// Whether relations may change what is told of the incident that a detection belongs to.
    fn is_led(&self, member: Member) -> bool {
        let placed = self.graph.placed(member);
        let owner = placed.and_then(|placed| self.member_of.get(&placed.fold));
        owner.is_some_and(|owner| self.led.contains(&owner.incident))
    }

    /// Puts `found` in the place of `touched`; what is no longer there was merged or dissolved. Returns what differs.
    fn replace(&mut self, touched: BTreeSet<Arc<str>>, found: BTreeMap<Arc<str>, Incident>) -> Vec<Incident> {
        self.round += 1;
        let mut old: BTreeMap<Arc<str>, Incident> = BTreeMap::new();
        for id in touched {
            if let Some(incident) = self.incidents.remove(&id) {
                old.insert(id, incident);
            }
        }
        for (id, incident) in &found {
            self.own(id, incident);
        }
        for incident in old.values() {
            self.disown(incident);
        }
        self.splits = self.splits(&old, &found);
        let mut changes = Vec::new();
        for (id, incident) in found {
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
            self.led.remove(&id);
            // The seed's incident, or that of the next member: a seed that only the journal remembers may not be found again.
            let into = before
                .folds
                .iter()
                .find_map(|fold| Some(self.member_of.get(fold)?.incident.clone()));
            let there = before.folds.iter().filter_map(|fold| self.graph.folded(*fold));
            let there = there.filter_map(|member| self.graph.placed(member));
            let there: usize = there.map(placed::Placed::count).sum();
            if into.is_none() && (there as u64) < before.detection_count {
                // Journaled before a crash, and what it is made of is still being found again: too early to judge.
                self.own(&id, &before);
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

    /// Says of its findings that they belong to the incident.
    fn own(&mut self, id: &Arc<str>, incident: &Incident) {
        for fold in &incident.folds {
            match self.member_of.get_mut(fold) {
                Some(owner) => {
                    owner.round = self.round;
                    if owner.incident != *id {
                        owner.incident = id.clone();
                    }
                }
                None => {
                    let owner = Owner {
                        incident: id.clone(),
                        round: self.round,
                    };
                    self.member_of.insert(*fold, owner);
                }
            }
        }
    }

    /// Takes its findings from an incident, but for those that were given away in this round.
    fn disown(&mut self, incident: &Incident) {
        for fold in &incident.folds {
            let owner = self.member_of.get(fold);
            if owner.is_some_and(|owner| owner.round < self.round && *owner.incident == *incident.incident_id) {
                self.member_of.remove(fold);
            }
        }
    }

    /// Gives how many facts it let go of.
    fn expire(&mut self, horizon: Micros, reach: Micros, window: Micros) -> usize {
        self.settle();
        let settled: Vec<Arc<str>> = self
            .incidents
            .iter()
            .filter(|(_, incident)| incident.last_time < horizon)
            .map(|(id, _)| id.clone())
            .collect();
        for id in settled {
            self.led.remove(&id);
            if let Some(incident) = self.incidents.remove(&id) {
                self.round += 1;
                self.disown(&incident);
            }
        }
        let gone: Vec<Member> = self
            .graph
            .members()
            .filter(|(_, placed)| placed.last_time() < horizon)
            .filter(|(_, placed)| !self.member_of.contains_key(&placed.fold))
            .map(|(member, _)| member)
            .collect();
        // What stays of a set is joined anew: without those that are gone it may be several.
        let torn = self.links.forget(&self.graph, gone.iter().copied());
        let counts = gone.iter().filter_map(|member| self.graph.placed(*member));
        let count: usize = counts.map(placed::Placed::count).sum();
        for member in gone {
            self.parted.remove(&member);
            self.graph.remove_detection(member);
        }
        for member in torn {
            self.links.add(&self.graph, member);
        }
        let oldest = self.graph.members().map(|(_, placed)| placed.detection.time).min();
        self.usual
            .forget_before(oldest.map_or(horizon, |oldest| oldest.min(horizon)));
        count + self.graph.expire(horizon, reach, window, |node| self.links.holds(node))
    }
}
