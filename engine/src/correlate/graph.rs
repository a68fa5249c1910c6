//! The graph of one tenant: entities as nodes, relations and detections as timed edges.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use petgraph::Direction;
use petgraph::stable_graph::{EdgeIndex, NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;

use crate::model::relation::RELATION_BUCKET;
use crate::model::{Detection, Entity, EntityRole, Micros, Relation};

/// An address that more identities than this used within the window says nothing about who is behind it: it is an office, a VPN
/// or a proxy. An attacker's own address seldom carries more.
pub const ADDRESS_IDENTITIES_MAX: usize = 8;

/// How many relations may lie between the entities of two detections that are joined.
pub const HOPS_MAX: usize = 3;

pub struct EntityNode {
    pub entity: Entity,
    /// Detections that name the entity, by (time, id).
    pub detections: BTreeSet<(Micros, Arc<str>)>,
    /// For an address: the identities that used it, per bucket of event time; each set stops growing past the maximum.
    identities: BTreeMap<Micros, HashSet<Entity>>,
}

pub enum TimedEdge {
    /// One bucket of a relation.
    Relation {
        kind: Arc<str>,
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

type RelationKey = (NodeIndex, Arc<str>, NodeIndex, Micros);

#[derive(Default)]
pub struct TenantGraph {
    graph: StableDiGraph<EntityNode, TimedEdge>,
    nodes: HashMap<Entity, NodeIndex>,
    relations: HashMap<RelationKey, EdgeIndex>,
    members: HashMap<Arc<str>, Member>,
}

/// Whether sharing an entity of this kind can join two detections. Models, tools, roles, accounts, buckets and collections are
/// used by everybody: sharing one says nothing.
pub fn links(entity: &Entity) -> bool {
    match &*entity.kind {
        "access_key" | "gateway_key" | "session" | "conversation" | "address" => true,
        // The provider's own services act for everybody.
        "principal" => !entity.value.ends_with(".amazonaws.com"),
        _ => false,
    }
}

/// How a relation leads from one entity to another, if it does. A `Flow` hands an identity on: what happens on its far side
/// because of it happens after it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lead {
    Flow,
    Bond,
}

pub fn lead(kind: &str) -> Option<Lead> {
    match kind {
        "issued" | "assumed" | "spawned" => Some(Lead::Flow),
        "used-from" | "belongs-to" | "same-as" => Some(Lead::Bond),
        _ => None,
    }
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
            detections: BTreeSet::new(),
            identities: BTreeMap::new(),
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
        self.members.insert(
            id,
            Member {
                detection,
                anchors,
                edges,
            },
        );
    }

    /// Adds one bucket of a relation, or widens it, and marks the detections whose links that may change.
    pub fn add_relation(&mut self, relation: &Relation, window: Micros, dirty: &mut BTreeSet<Arc<str>>) {
        let (from, to) = (self.intern(&relation.from), self.intern(&relation.to));
        let key = (from, relation.kind.clone(), to, relation.bucket());
        let (edge, wider) = match self.relations.get(&key) {
            Some(&edge) => (edge, self.widen(edge, relation)),
            None => {
                let kind = relation.kind.clone();
                let (first_time, last_time) = (relation.first_time, relation.last_time);
                let edge = self.graph.add_edge(
                    from,
                    to,
                    TimedEdge::Relation {
                        kind,
                        first_time,
                        last_time,
                    },
                );
                self.relations.insert(key, edge);
                self.count_identity(from, to, relation.bucket(), window, dirty);
                (edge, true)
            }
        };
        if wider
            && lead(&relation.kind).is_some()
            && !self.members.is_empty()
            && let TimedEdge::Relation {
                first_time, last_time, ..
            } = self.graph[edge]
        {
            // All that the whole bucket can join, not only what its new part can: reasons name when a relation began.
            let span = (first_time.saturating_sub(window), last_time.saturating_add(window));
            self.mark_near([from, to], span, window, dirty);
        }
    }

    /// Merges `relation` into the bucket that is there; whether that made it longer.
    fn widen(&mut self, edge: EdgeIndex, relation: &Relation) -> bool {
        let TimedEdge::Relation {
            first_time, last_time, ..
        } = &mut self.graph[edge]
        else {
            return false;
        };
        let before = (*first_time, *last_time);
        *first_time = relation.first_time.min(*first_time);
        *last_time = relation.last_time.max(*last_time);
        before != (*first_time, *last_time)
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
        let reach = (
            bucket.saturating_sub(window),
            bucket.saturating_add(window).saturating_add(RELATION_BUCKET),
        );
        let near: HashSet<&Entity> = self.graph[to]
            .identities
            .range(reach.0..=reach.1)
            .flat_map(|(_, users)| users)
            .collect();
        let counted = self.graph[to]
            .identities
            .get(&bucket)
            .is_some_and(|users| users.contains(&identity));
        let more = usize::from(!near.contains(&identity));
        if !counted && near.len() + more > ADDRESS_IDENTITIES_MAX {
            // Before it is counted: links may still pass.
            let span = (reach.0.saturating_sub(window), reach.1.saturating_add(window));
            self.mark_near([to, to], span, window, dirty);
        }
        let identities = self.graph[to].identities.entry(bucket).or_default();
        if identities.len() <= ADDRESS_IDENTITIES_MAX {
            identities.insert(identity);
        }
    }

    /// Marks the detections within `span` on entities that a path through one of `starts` can reach.
    fn mark_near(
        &self,
        starts: [NodeIndex; 2],
        span: (Micros, Micros),
        window: Micros,
        dirty: &mut BTreeSet<Arc<str>>,
    ) {
        let mut seen: HashSet<NodeIndex> = starts.into();
        let mut frontier = starts.to_vec();
        for hop in 0..HOPS_MAX {
            let mut next = Vec::new();
            for node in frontier {
                dirty.extend(between(&self.graph[node].detections, span.0, span.1).map(|(_, id)| id.clone()));
                if hop + 1 < HOPS_MAX {
                    let passable = self.leads(node).filter(|step| self.passable(step, window));
                    next.extend(passable.map(|step| step.to).filter(|to| seen.insert(*to)));
                }
            }
            frontier = next;
        }
    }

    /// Whether links may lead over a relation: both its ends are specific when it began.
    pub fn passable(&self, step: &Step, window: Micros) -> bool {
        self.specific(step.from, step.first_time, window) && self.specific(step.to, step.first_time, window)
    }

    /// Whether links may pass through the entity at `time`: it is of a kind that links, and is not shared by too many.
    pub fn specific(&self, node: NodeIndex, time: Micros, window: Micros) -> bool {
        let held = &self.graph[node];
        if !links(&held.entity) {
            return false;
        }
        let mut identities: HashSet<&Entity> = HashSet::new();
        let from = (time.saturating_sub(window)).div_euclid(RELATION_BUCKET) * RELATION_BUCKET;
        for (_, users) in held.identities.range(from..=time.max(from)) {
            identities.extend(users);
            if identities.len() > ADDRESS_IDENTITIES_MAX {
                return false;
            }
        }
        true
    }

    /// The relations that lead away from `node`, in either direction.
    pub fn leads(&self, node: NodeIndex) -> impl Iterator<Item = Step> + '_ {
        let outward = self
            .graph
            .edges_directed(node, Direction::Outgoing)
            .map(|edge| (edge, true));
        let inward = self
            .graph
            .edges_directed(node, Direction::Incoming)
            .map(|edge| (edge, false));
        outward
            .chain(inward)
            .filter_map(move |(edge, forward)| match edge.weight() {
                TimedEdge::Relation {
                    kind,
                    first_time,
                    last_time,
                } => Some(Step {
                    from: node,
                    to: if forward { edge.target() } else { edge.source() },
                    kind: kind.clone(),
                    lead: lead(kind)?,
                    forward,
                    first_time: *first_time,
                    last_time: *last_time,
                }),
                TimedEdge::Detection => None,
            })
    }

    /// Removes detections older than `horizon` that `keep` does not claim, relations that cannot link any that is left, and entities
    /// that nothing names any more.
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
        let (relations_from, identities_from) = (oldest.saturating_sub(window), identities_start(oldest, window));
        self.relations.retain(|_, edge| {
            let live = match &graph[*edge] {
                TimedEdge::Relation { last_time, .. } => *last_time >= relations_from,
                TimedEdge::Detection => true,
            };
            if !live {
                graph.remove_edge(*edge);
            }
            live
        });
        let lonely: Vec<NodeIndex> = graph
            .node_indices()
            .filter(|&node| graph.neighbors_undirected(node).next().is_none())
            .collect();
        for node in lonely {
            if graph[node].detections.is_empty()
                && let Some(gone) = graph.remove_node(node)
            {
                self.nodes.remove(&gone.entity);
            }
        }
        for node in graph.node_weights_mut() {
            node.identities.retain(|bucket, _| *bucket >= identities_from);
        }
    }
}

/// Start of the oldest bucket that says how shared an address is where relations of a finding at `oldest` reach.
pub fn identities_start(oldest: Micros, window: Micros) -> Micros {
    let reach = oldest.saturating_sub(window).saturating_sub(window);
    reach.div_euclid(RELATION_BUCKET).saturating_mul(RELATION_BUCKET)
}

/// One relation, walked from `from` to `to`; `forward` when that is the relation's own direction.
#[derive(Clone)]
pub struct Step {
    pub from: NodeIndex,
    pub to: NodeIndex,
    pub kind: Arc<str>,
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
