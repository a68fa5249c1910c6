//! The graph of one tenant: entities as nodes, relations and detections as timed edges.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use petgraph::stable_graph::{EdgeIndex, NodeIndex, StableDiGraph};

use crate::model::relation::RELATION_BUCKET;
use crate::model::{Detection, Entity, EntityRole, Micros, Relation};

/// An address that more identities than this used within the window says nothing about who is behind it: it is an office, a VPN
/// or a proxy. An attacker's own address seldom carries more.
pub const ADDRESS_IDENTITIES_MAX: usize = 8;

/// How many relations may lie between the entities of two detections that are joined.
pub const HOPS_MAX: usize = 3;

/// Findings and relations of an entity that are looked through to see whether it leads anywhere; with more of them it is taken to.
const DEAD_END_MAX: usize = 16;

pub struct EntityNode {
    pub entity: Entity,
    /// It is of a kind that links.
    links: bool,
    /// Detections that name the entity, by (time, id).
    pub detections: BTreeSet<(Micros, Arc<str>)>,
    /// For an address: the identities that used it, per bucket of event time; each list stops growing past the maximum.
    identities: BTreeMap<Micros, Vec<Entity>>,
    /// The buckets in which too many identities share it.
    shared: BTreeSet<Micros>,
    /// The relations at the entity, by bucket, so that a walk looks only at the hours that matter to it.
    relations: Vec<(Micros, EdgeIndex)>,
    /// How many of them lead to an entity that a detection names: a walk need not go where there is none.
    findings_beside: usize,
}

pub enum TimedEdge {
    /// One bucket of a relation.
    Relation {
        kind: &'static str,
        lead: Lead,
        first_time: Micros,
        last_time: Micros,
    },
    /// From who did it to what it was done to.
    Detection,
}

/// A detection and the nodes through which it can be linked.
pub struct Member {
    pub detection: Detection,
    pub anchors: Vec<NodeIndex>,
    edges: Vec<EdgeIndex>,
}

type RelationKey = (NodeIndex, &'static str, NodeIndex, Micros);

#[derive(Default)]
pub struct TenantGraph {
    graph: StableDiGraph<EntityNode, TimedEdge>,
    nodes: HashMap<Entity, NodeIndex>,
    relations: HashMap<RelationKey, EdgeIndex>,
    members: HashMap<Arc<str>, Member>,
    /// Time of the newest detection.
    newest: Option<Micros>,
    /// Relations that may join detections otherwise than before, and the times of those detections.
    changed: HashMap<EdgeIndex, Span>,
}

/// From and until, both included.
pub type Span = (Micros, Micros);

/// Whether sharing an entity of this kind can join two detections. Models, tools, roles, accounts, buckets and collections are
/// used by everybody: sharing one says nothing.
pub fn links(entity: &Entity) -> bool {
    match &*entity.kind {
        "access_key" | "gateway_key" | "session" | "conversation" | "address" | "log_source" => true,
        // The provider's own services act for everybody.
        "principal" => !entity.value.ends_with(".amazonaws.com"),
        _ => false,
    }
}

/// How a relation leads from one entity to another. A `Flow` hands an identity on: what happens on its far side because of it
/// happens after it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lead {
    Flow,
    Bond,
}

/// The relations that lead; all others say what an identity did, and join nothing.
const LEADS: [(&str, Lead); 6] = [
    ("issued", Lead::Flow),
    ("assumed", Lead::Flow),
    ("spawned", Lead::Flow),
    ("used-from", Lead::Bond),
    ("belongs-to", Lead::Bond),
    ("same-as", Lead::Bond),
];

#[cfg(test)]
#[test]
fn what_leads_is_a_relation() {
    use crate::model::RELATION_KINDS;
    assert!(LEADS.iter().all(|(kind, _)| RELATION_KINDS.contains(kind)));
}

pub fn bucket_of(time: Micros) -> Micros {
    time.div_euclid(RELATION_BUCKET).saturating_mul(RELATION_BUCKET)
}

fn is_identity(entity: &Entity) -> bool {
    matches!(&*entity.kind, "principal" | "session" | "gateway_key")
}

impl TenantGraph {
    pub fn entities(&self) -> usize {
        self.graph.node_count()
    }

    pub fn edges(&self) -> usize {
        self.graph.edge_count()
    }

    pub fn detections(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.graph.node_count() == 0
    }

    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    pub fn node(&self, index: NodeIndex) -> &EntityNode {
        &self.graph[index]
    }

    fn intern(&mut self, entity: &Entity) -> NodeIndex {
        if let Some(&index) = self.nodes.get(entity) {
            return index;
        }
        let node = EntityNode {
            entity: entity.clone(),
            links: links(entity),
            detections: BTreeSet::new(),
            identities: BTreeMap::new(),
            shared: BTreeSet::new(),
            relations: Vec::new(),
            findings_beside: 0,
        };
        let index = self.graph.add_node(node);
        self.nodes.insert(entity.clone(), index);
        index
    }

    pub fn add_detection(&mut self, detection: Detection, dirty: &mut BTreeSet<Arc<str>>) {
        let id: Arc<str> = detection.detection_id.as_str().into();
        if self.members.contains_key(&id) {
            return;
        }
        let mut anchors = Vec::new();
        for roled in &detection.entities {
            if links(&roled.entity) {
                let node = self.intern(&roled.entity);
                if !anchors.contains(&node) {
                    if self.graph[node].detections.is_empty() {
                        self.tell_beside(node);
                    }
                    self.graph[node].detections.insert((detection.time, id.clone()));
                    anchors.push(node);
                }
            }
        }
        let (from, to) = ends(&detection);
        let mut edges = Vec::new();
        if let Some(from) = from.or(to) {
            let (from, to) = (self.intern(from), self.intern(to.unwrap_or(from)));
            edges.push(self.graph.add_edge(from, to, TimedEdge::Detection));
        }
        dirty.insert(id.clone());
        self.newest = self.newest.max(Some(detection.time));
        self.members.insert(
            id,
            Member {
                detection,
                anchors,
                edges,
            },
        );
    }

    /// Adds one bucket of a relation, or widens it. `settle` then marks the detections whose links that may change.
    pub fn add_relation(&mut self, relation: &Relation, window: Micros, dirty: &mut BTreeSet<Arc<str>>) {
        let Some(&(kind, lead)) = LEADS.iter().find(|(kind, _)| *kind == &*relation.kind) else {
            return;
        };
        let bucket = relation.bucket();
        let (from, to) = (self.intern(&relation.from), self.intern(&relation.to));
        let key = (from, kind, to, bucket);
        let (first_time, last_time) = (relation.first_time, relation.last_time);
        let (edge, span) = match self.relations.get(&key) {
            Some(&edge) => (edge, self.widen(edge, first_time, last_time, window)),
            None => {
                let weight = TimedEdge::Relation {
                    kind,
                    lead,
                    first_time,
                    last_time,
                };
                let edge = self.graph.add_edge(from, to, weight);
                self.relations.insert(key, edge);
                for (node, other) in [(from, to), (to, from)] {
                    let found = !self.graph[other].detections.is_empty();
                    let node = &mut self.graph[node];
                    node.findings_beside += usize::from(found);
                    // Time mostly goes forward: nearly always at the end.
                    let at = node.relations.partition_point(|(other, _)| *other <= bucket);
                    node.relations.insert(at, (bucket, edge));
                }
                self.count_identity(from, to, bucket, window, dirty);
                (edge, Some((first_time, last_time)))
            }
        };
        if let Some((from_time, until)) = span
            && !self.members.is_empty()
        {
            let span = (from_time.saturating_sub(window), until.saturating_add(window));
            self.changed.insert(edge, span);
        }
    }

    /// The entity gets its first detection: tells those beside it.
    fn tell_beside(&mut self, node: NodeIndex) {
        for index in 0..self.graph[node].relations.len() {
            let (_, edge) = self.graph[node].relations[index];
            if let Some((source, target)) = self.graph.edge_endpoints(edge) {
                let other = if source == node { target } else { source };
                self.graph[other].findings_beside += 1;
            }
        }
    }

    /// Merges new times into the bucket that is there. The whole bucket when links may change by it: reasons name when a relation
    /// began; a later end matters only to findings that come a window after it was.
    fn widen(&mut self, edge: EdgeIndex, first: Micros, last: Micros, window: Micros) -> Option<Span> {
        let newest = self.newest;
        let TimedEdge::Relation {
            first_time, last_time, ..
        } = &mut self.graph[edge]
        else {
            return None;
        };
        let began_sooner = first < *first_time;
        let reaches_further = last > *last_time && newest > Some(last_time.saturating_add(window));
        *first_time = first.min(*first_time);
        *last_time = last.max(*last_time);
        (began_sooner || reaches_further).then_some((*first_time, *last_time))
    }

    /// Counts an identity that used an address, and marks what the address held together when it turns out to be shared.
    fn count_identity(
        &mut self,
        from: NodeIndex,
        to: NodeIndex,
        bucket: Micros,
        window: Micros,
        dirty: &mut BTreeSet<Arc<str>>,
    ) {
        if &*self.graph[to].entity.kind != "address" || !is_identity(&self.graph[from].entity) {
            return;
        }
        let identity = self.graph[from].entity.clone();
        let users = self.graph[to].identities.get(&bucket);
        if users.is_some_and(|users| users.len() > ADDRESS_IDENTITIES_MAX || users.contains(&identity)) {
            return;
        }
        let until = bucket.saturating_add(window);
        let held = &self.graph[to];
        let is_shared = |at: Micros| {
            let mut near: HashSet<&Entity> = HashSet::from([&identity]);
            let users = held.identities.range(at.saturating_sub(window)..=at);
            near.extend(users.flat_map(|(_, users)| users));
            near.len() > ADDRESS_IDENTITIES_MAX
        };
        let mut shared = Vec::new();
        let mut at = bucket;
        while at <= until {
            if !held.shared.contains(&at) && is_shared(at) {
                shared.push(at);
            }
            at = at.saturating_add(RELATION_BUCKET);
        }
        if let (Some(first), Some(last)) = (shared.first(), shared.last())
            && !self.members.is_empty()
        {
            // Before they count as shared: links may still pass.
            let end = last.saturating_add(RELATION_BUCKET).saturating_add(window);
            let span = (first.saturating_sub(window), end);
            self.mark_near(to, span, window, dirty);
        }
        let node = &mut self.graph[to];
        node.shared.extend(shared);
        node.identities.entry(bucket).or_default().push(identity);
    }

    /// Marks the detections whose links the relations since the last call may change: those on both sides of one, together no
    /// further away than links reach.
    pub fn settle(&mut self, window: Micros, dirty: &mut BTreeSet<Arc<str>>) {
        for (edge, span) in std::mem::take(&mut self.changed) {
            let Some((from, to)) = self.graph.edge_endpoints(edge) else {
                continue;
            };
            let degree = |node: NodeIndex| self.graph[node].relations.len();
            let (few, many) = if degree(from) <= degree(to) {
                (from, to)
            } else {
                (to, from)
            };
            // Such a relation joins nothing that is not joined without it.
            if self.is_dead_end(few, many) {
                continue;
            }
            let reach = reach_of(span, window);
            let found = self.found_from(few, many, HOPS_MAX - 1, reach);
            let Some((nearest, _)) = found.first() else { continue };
            let beyond = self.found_from(many, few, HOPS_MAX - 1 - nearest, reach);
            if !beyond.is_empty() {
                self.mark(found.iter().chain(&beyond), span, dirty);
            }
        }
    }

    /// The entities with detections that at most `hops` relations lead to from `start`, not through `without`; nearest first.
    fn found_from(&self, start: NodeIndex, without: NodeIndex, hops: usize, reach: Span) -> Vec<(usize, NodeIndex)> {
        let mut seen = HashSet::from([start, without]);
        let mut frontier = vec![start];
        let mut found = Vec::new();
        for hop in 0..=hops {
            let mut next = Vec::new();
            for node in frontier {
                if !self.graph[node].detections.is_empty() {
                    found.push((hop, node));
                }
                let leads_somewhere = |step: &Step| self.leads_somewhere(step.to, hops - hop - 1);
                if hop < hops && self.leads_somewhere(node, hops - hop) {
                    let onward = self.passable(node, reach).filter(leads_somewhere);
                    let onward = onward.map(|step| step.to).filter(|to| !self.is_dead_end(*to, node));
                    next.extend(onward.filter(|to| seen.insert(*to)));
                }
            }
            frontier = next;
        }
        found
    }

    /// Whether what the entity holds together never comes apart: an address may turn out to be shared by many.
    pub fn is_lasting(&self, node: NodeIndex) -> bool {
        let node = &self.graph[node];
        node.links && &*node.entity.kind != "address"
    }

    /// Whether going on from `from` to `node` brings nothing that `from` itself does not: every finding there names `from`, too, and
    /// no relation leads elsewhere. An identity that is used from ever new addresses has very many such neighbours.
    pub fn is_dead_end(&self, node: NodeIndex, from: NodeIndex) -> bool {
        if !self.is_lasting(from) {
            return false;
        }
        let held = &self.graph[node];
        held.relations.len() <= DEAD_END_MAX
            && held.detections.len() <= DEAD_END_MAX
            && held.relations.iter().all(|(_, edge)| {
                let ends = self.graph.edge_endpoints(*edge);
                ends.is_some_and(|(a, b)| a == from || b == from)
            })
            && held.detections.iter().all(|(_, id)| {
                let member = self.members.get(id);
                member.is_some_and(|member| member.anchors.contains(&from))
            })
    }

    /// Whether an entity with detections may be at most `hops` relations away.
    pub fn leads_somewhere(&self, node: NodeIndex, hops: usize) -> bool {
        let node = &self.graph[node];
        !node.detections.is_empty() || (hops > 0 && node.findings_beside > 0) || hops > 1
    }

    /// Marks the detections within `span` on entities that a path through `start` can reach.
    fn mark_near(&self, start: NodeIndex, span: Span, window: Micros, dirty: &mut BTreeSet<Arc<str>>) {
        let found = self.found_from(start, start, HOPS_MAX - 1, reach_of(span, window));
        self.mark(found.iter(), span, dirty);
    }

    fn mark<'a>(
        &self,
        found: impl Iterator<Item = &'a (usize, NodeIndex)>,
        span: Span,
        dirty: &mut BTreeSet<Arc<str>>,
    ) {
        for (_, node) in found {
            dirty.extend(between(&self.graph[*node].detections, span.0, span.1).map(|(_, id)| id.clone()));
        }
    }

    /// Whether links may pass through the entity at `time`: it is of a kind that links, and is not shared by too many within the
    /// window before, counted in whole buckets.
    pub fn specific(&self, node: NodeIndex, time: Micros) -> bool {
        let held = &self.graph[node];
        held.links && !held.shared.contains(&bucket_of(time))
    }

    /// The relations at `node`, in either direction, that overlap `span` and that links may lead over: both ends are specific when
    /// the relation began.
    pub fn passable(&self, node: NodeIndex, span: Span) -> impl Iterator<Item = Step> + '_ {
        let relations = &self.graph[node].relations;
        let begin = relations.partition_point(|(bucket, _)| *bucket < bucket_of(span.0));
        relations[begin..]
            .iter()
            .take_while(move |(bucket, _)| *bucket <= span.1)
            .filter(move |(bucket, _)| self.specific(node, *bucket))
            .filter_map(move |(bucket, edge)| {
                let step = self.step(node, *edge)?;
                let overlaps = step.first_time <= span.1 && step.last_time >= span.0;
                (overlaps && self.specific(step.to, *bucket)).then_some(step)
            })
    }

    fn step(&self, node: NodeIndex, edge: EdgeIndex) -> Option<Step> {
        let (source, target) = self.graph.edge_endpoints(edge)?;
        let TimedEdge::Relation {
            kind,
            lead,
            first_time,
            last_time,
        } = self.graph[edge]
        else {
            return None;
        };
        let forward = source == node;
        Some(Step {
            from: node,
            to: if forward { target } else { source },
            kind,
            lead,
            forward,
            first_time,
            last_time,
        })
    }

    /// Removes detections older than `horizon` that `keep` does not claim, relations that cannot link any that is left, and entities
    /// that nothing names any more. To be called settled.
    pub fn expire(&mut self, horizon: Micros, window: Micros, keep: impl Fn(&str) -> bool) {
        let graph = &mut self.graph;
        self.members.retain(|id, member| {
            let live = member.detection.time >= horizon || keep(id);
            if !live {
                for node in &member.anchors {
                    graph[*node].detections.remove(&(member.detection.time, id.clone()));
                }
                for edge in &member.edges {
                    graph.remove_edge(*edge);
                }
            }
            live
        });
        let oldest = self.members.values().map(|member| member.detection.time).min();
        let oldest = oldest.map_or(horizon, |oldest| oldest.min(horizon));
        let (relations_from, identities_from) = (
            bucket_of(oldest.saturating_sub(window)),
            identities_start(oldest, window),
        );
        self.relations.retain(|(.., bucket), edge| {
            let live = *bucket >= relations_from;
            if !live {
                graph.remove_edge(*edge);
            }
            live
        });
        let nodes = &mut self.nodes;
        graph.retain_nodes(|mut graph, index| {
            let used = graph.neighbors_undirected(index).next().is_some();
            let node = &mut graph[index];
            let gone = node.relations.partition_point(|(bucket, _)| *bucket < relations_from);
            node.relations.drain(..gone);
            node.identities = node.identities.split_off(&identities_from);
            node.shared = node.shared.split_off(&relations_from);
            node.findings_beside = 0;
            let live = used || !node.detections.is_empty();
            if !live {
                nodes.remove(&node.entity);
            }
            live
        });
        let told: Vec<NodeIndex> = self
            .graph
            .node_indices()
            .filter(|node| !self.graph[*node].detections.is_empty())
            .collect();
        told.into_iter().for_each(|node| self.tell_beside(node));
    }
}

/// Where the relations on a path between detections within `span` are: each lies within the window around either of them.
fn reach_of(span: Span, window: Micros) -> Span {
    (span.0.saturating_sub(window), span.1.saturating_add(window))
}

/// Start of the oldest bucket that says how shared an address is where relations of a finding at `oldest` reach.
pub fn identities_start(oldest: Micros, window: Micros) -> Micros {
    bucket_of(oldest.saturating_sub(window)).saturating_sub(window)
}

/// One relation, walked from `from` to `to`; `forward` when that is the relation's own direction.
#[derive(Clone)]
pub struct Step {
    pub from: NodeIndex,
    pub to: NodeIndex,
    pub kind: &'static str,
    pub lead: Lead,
    pub forward: bool,
    pub first_time: Micros,
    pub last_time: Micros,
}

/// Who did it and what it was done to, for the path and for the detection's edge.
pub fn ends(detection: &Detection) -> (Option<&Entity>, Option<&Entity>) {
    let first = |role: EntityRole| {
        let of_role = detection
            .entities
            .iter()
            .filter(|roled| roled.role == role)
            .map(|roled| &roled.entity);
        of_role.min_by_key(|entity| rank(entity))
    };
    let from = first(EntityRole::Actor).or_else(|| first(EntityRole::Context));
    (from, first(EntityRole::Target))
}

/// The most telling kind first.
fn rank(entity: &Entity) -> usize {
    const ORDER: [&str; 11] = [
        "session",
        "principal",
        "gateway_key",
        "access_key",
        "collection",
        "resource",
        "role",
        "tool",
        "model",
        "conversation",
        "address",
    ];
    ORDER
        .iter()
        .position(|kind| *kind == &*entity.kind)
        .unwrap_or(ORDER.len())
}

/// The detections with a time in `from ..= until`, by (time, id).
pub fn between(
    detections: &BTreeSet<(Micros, Arc<str>)>,
    from: Micros,
    until: Micros,
) -> impl DoubleEndedIterator<Item = &(Micros, Arc<str>)> {
    let empty: Arc<str> = Arc::from("");
    let end = until.max(from).saturating_add(1);
    detections.range((from, empty.clone())..(end, empty))
}
