//! The facts of one tenant: entities as nodes, relations as timed edges, and the detections that name the entities.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hint::black_box;
use std::sync::Arc;

use ahash::RandomState;
use petgraph::stable_graph::{EdgeIndex, NodeIndex, StableDiGraph};

use crate::config::CorrelateSettings;
pub use crate::model::relation::Lead;
use crate::model::relation::{LEADS, RELATION_BUCKET};
use crate::model::{Detection, Entity, EntityRole, Id, Micros, Relation};

use super::index::Index;
use super::link::Slots;
use super::name::{NAME, name_of};
use super::placed::Placed;
use super::sharing::{Sharing, hash_of, is_identity};

/// A finding in the graph, with its repeats; the number of one that was let go of is given again.
pub type Member = u32;

pub struct EntityNode {
    pub entity: Entity,
    /// It is of a kind that links.
    links: bool,
    /// Of an identity: what it counts as where it uses something.
    user: Option<u64>,
    /// The name it goes by, as a hash.
    name: Option<u64>,
    /// It is among those who go by that name.
    is_named: bool,
    /// More identities than this make it shared; `u32::MAX`: none do.
    identities_max: u32,
    /// Findings that name the entity, by the time of their first detections.
    pub detections: BTreeSet<(Micros, Member)>,
    sharing: Sharing,
    /// The relations at the entity, by bucket, so that a walk looks only at the hours that matter to it.
    relations: Vec<(Micros, EdgeIndex)>,
    /// Those that handed an identity on to it.
    inflows: Vec<EdgeIndex>,
}

/// One bucket of a relation.
pub struct RelationEdge {
    kind: Kind,
    first_time: Micros,
    last_time: Micros,
}

/// A relation's place in [`LEADS`].
type Kind = u8;

/// Relations for which memory is read before the first of them is added. What they need of a large graph lies far apart in memory: asked for
/// at once it comes at once, asked for one by one each waits for the one before.
const AHEAD: usize = 128;

type RelationKey = (NodeIndex, Kind, NodeIndex, Micros);

#[derive(Default)]
pub struct TenantGraph {
    graph: StableDiGraph<EntityNode, RelationEdge>,
    nodes: Index<NodeIndex>,
    /// The kinds that entities are of: a few texts that millions of entities share, though each that comes brings its own.
    kinds: HashSet<Arc<str>, RandomState>,
    relations: Index<EdgeIndex>,
    /// By name, as a hash: the identities of relations that go by it.
    named: HashMap<u64, Vec<NodeIndex>, RandomState>,
    members: Vec<Option<Placed>>,
    free: Vec<Member>,
    /// By detection.
    ids: HashMap<Id, Member, RandomState>,
    folds: HashMap<Id, Member, RandomState>,
    /// What is new since the last call of [`TenantGraph::take_news`].
    news: News,
}

/// Facts that may join detections otherwise than before.
#[derive(Default)]
pub struct News {
    /// Findings that are new, or of which a repeat was sooner or later than was known.
    pub detections: Vec<Member>,
    /// Findings that have only more repeats.
    pub repeated: Vec<Member>,
    /// Relations that are new or that began sooner or lasted longer than was known.
    pub relations: Vec<EdgeIndex>,
    /// Entities that turned out to be shared by many.
    pub shared: Vec<NodeIndex>,
}

/// Whether sharing an entity of this kind can join two detections. Models, tools, roles, accounts, buckets and collections are
/// used by everybody: sharing one says nothing.
fn links(entity: &Entity) -> bool {
    match &*entity.kind {
        "access_key" | "gateway_key" | "session" | "conversation" | "address" | "host" | "log_source" | NAME => true,
        // The provider's own services act for everybody.
        "principal" => !entity.value.ends_with(".amazonaws.com"),
        _ => false,
    }
}

pub fn bucket_of(time: Micros) -> Micros {
    time.div_euclid(RELATION_BUCKET).saturating_mul(RELATION_BUCKET)
}

impl TenantGraph {
    pub fn entities(&self) -> usize {
        self.graph.node_count()
    }

    pub fn edges(&self) -> usize {
        self.graph.edge_count()
    }

    pub fn detections(&self) -> usize {
        self.ids.len()
    }

    /// Those of the detections that are repeats.
    pub fn repeats(&self) -> usize {
        self.ids.len() - self.folds.len()
    }

    pub fn is_empty(&self) -> bool {
        self.graph.node_count() == 0 && self.ids.is_empty()
    }

    /// The finding that a detection is, or repeats.
    pub fn find(&self, detection_id: &str) -> Option<Member> {
        self.ids.get(&Id::of_text(detection_id)).copied()
    }

    pub fn folded(&self, fold: Id) -> Option<Member> {
        self.folds.get(&fold).copied()
    }

    pub fn placed(&self, member: Member) -> Option<&Placed> {
        self.members.get(member as usize)?.as_ref()
    }

    /// What stands for the detection and its repeats.
    pub fn detection(&self, id: &str) -> Option<&Detection> {
        Some(&self.placed(self.find(id)?)?.detection)
    }

    pub fn node(&self, index: NodeIndex) -> &EntityNode {
        &self.graph[index]
    }

    pub fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    fn intern(&mut self, entity: &Entity, settings: &CorrelateSettings) -> NodeIndex {
        self.intern_hashed(entity, self.nodes.hash(entity), settings)
    }

    fn intern_hashed(&mut self, entity: &Entity, hash: u64, settings: &CorrelateSettings) -> NodeIndex {
        if let Some(index) = self.nodes.find(hash, |node| self.graph[node].entity == *entity) {
            return index;
        }
        let links = links(entity);
        let has_patterns = !settings.stop_values.is_empty() || !settings.specific_values.is_empty();
        let text = (links && has_patterns).then(|| entity.to_string());
        let is_in = |patterns: &[glob::Pattern]| {
            let mut patterns = patterns.iter();
            text.as_ref()
                .is_some_and(|text| patterns.any(|pattern| pattern.matches(text)))
        };
        let most = settings.identities_max.get(&*entity.kind);
        let most = most.filter(|_| !is_in(&settings.specific_values));
        let entity = Entity {
            kind: self.kind(&entity.kind),
            value: entity.value.clone(),
        };
        let node = EntityNode {
            links: links && !is_in(&settings.stop_values),
            user: is_identity(&entity).then(|| hash_of(&entity)),
            name: name_of(&entity).map(|name| hash_of(&name)),
            entity,
            is_named: false,
            identities_max: most.map_or(u32::MAX, |most| u32::try_from(*most).unwrap_or(u32::MAX)),
            detections: BTreeSet::new(),
            sharing: Sharing::default(),
            relations: Vec::new(),
            inflows: Vec::new(),
        };
        let index = self.graph.add_node(node);
        self.nodes.insert(hash, index);
        index
    }

    fn kind(&mut self, kind: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.kinds.get(kind) {
            return known.clone();
        }
        self.kinds.insert(kind.clone());
        kind.clone()
    }

    /// Adds a detection, unless it is there.
    pub fn add_detection(&mut self, detection: Detection, settings: &CorrelateSettings) {
        let id = Id::of_text(&detection.detection_id);
        if self.ids.contains_key(&id) {
            return;
        }
        let fold = detection.fold();
        if let Some(&member) = self.folds.get(&fold) {
            self.ids.insert(id, member);
            self.repeat(member, id, detection, Slots::new(settings.window));
            return;
        }
        let member = self.free.pop().unwrap_or_else(|| {
            self.members.push(None);
            (self.members.len() - 1) as Member
        });
        let mut anchors = Vec::new();
        let mut place = |graph: &mut TenantGraph, entity: &Entity| {
            let node = graph.intern(entity, settings);
            if !anchors.contains(&node) {
                graph.graph[node].detections.insert((detection.time, member));
                anchors.push(node);
            }
            node
        };
        for roled in &detection.entities {
            let entity = &roled.entity;
            if !links(entity) {
                continue;
            }
            let node = place(self, entity);
            if let Some(name) = name_of(entity) {
                let node = place(self, &name);
                self.count_user(node, hash_of(entity), bucket_of(detection.time), settings);
            }
            // No log says who uses a host, the sensor of a network is one, nor who calls an address: findings do.
            let is_called = &*entity.kind == "address" && roled.role == EntityRole::Target;
            if &*entity.kind == "host" || is_called {
                let others = detection.entities.iter();
                let others = others.filter(|other| !is_called || other.role != EntityRole::Target);
                let others = others.map(|other| &other.entity);
                for other in others.filter(|other| is_identity(other) || &*other.kind == "address") {
                    self.count_user(node, hash_of(other), bucket_of(detection.time), settings);
                }
            }
        }
        self.ids.insert(id, member);
        self.folds.insert(fold, member);
        self.members[member as usize] = Some(Placed::new(id, fold, detection, anchors));
        self.news.detections.push(member);
    }

    fn repeat(&mut self, member: Member, id: Id, detection: Detection, slots: Slots) {
        let Some(placed) = self.members.get_mut(member as usize).and_then(Option::as_mut) else {
            return;
        };
        match placed.repeat(id, detection.time, slots) {
            true => self.news.repeated.push(member),
            false => self.news.detections.push(member),
        }
        let key = |detection: &Detection| (detection.time, detection.detection_id.clone());
        if key(&detection) >= key(&placed.detection) {
            return;
        }
        for node in &placed.anchors {
            let named = &mut self.graph[*node].detections;
            named.remove(&(placed.detection.time, member));
            named.insert((detection.time, member));
        }
        placed.detection = detection;
    }

    /// Adds relations, each one bucket, or widens those that are there.
    pub fn add_relations(&mut self, relations: &[Relation], settings: &CorrelateSettings) {
        for relations in relations.chunks(AHEAD) {
            let hashes: Vec<[u64; 2]> = relations
                .iter()
                .map(|relation| [&relation.from, &relation.to].map(|end| self.nodes.hash(end)))
                .collect();
            self.fetch_nodes(&hashes);
            let keys: Vec<Option<(RelationKey, u64)>> = relations
                .iter()
                .zip(hashes)
                .map(|(relation, hashes)| self.key(relation, hashes, settings))
                .collect();
            self.fetch_relations(&keys);
            for (relation, key) in relations.iter().zip(keys) {
                if let Some((key, hash)) = key {
                    self.add_relation(relation, key, hash, settings);
                }
            }
        }
    }

    /// Of a relation of a kind that links, with its hash.
    fn key(
        &mut self,
        relation: &Relation,
        hashes: [u64; 2],
        settings: &CorrelateSettings,
    ) -> Option<(RelationKey, u64)> {
        let kind = LEADS.iter().position(|(kind, _)| *kind == &*relation.kind)?;
        let from = self.intern_hashed(&relation.from, hashes[0], settings);
        let to = self.intern_hashed(&relation.to, hashes[1], settings);
        let key = (from, kind as Kind, to, relation.bucket());
        Some((key, self.relations.hash(&key)))
    }

    /// Reads what adding relations will read of their ends: first what each needs by itself, then what that leads to.
    fn fetch_nodes(&self, hashes: &[[u64; 2]]) {
        let ends = hashes.iter().flatten();
        let ends: Vec<NodeIndex> = ends.filter_map(|hash| self.nodes.find(*hash, |_| true)).collect();
        let mut read = 0;
        for node in &ends {
            let held = &self.graph[*node];
            read ^= held.relations.len() ^ held.detections.len() ^ usize::from(held.sharing.is_empty());
        }
        for node in ends {
            let held = &self.graph[node];
            let newest = held.relations.last().map_or(0, |(_, edge)| edge.index());
            let first = held.entity.value.as_bytes().first().copied().unwrap_or_default();
            let named = held.name.and_then(|name| self.named.get(&name)).map_or(0, Vec::len);
            read ^= newest ^ usize::from(first) ^ named ^ held.sharing.newest() as usize;
        }
        black_box(read);
    }

    /// Reads where relations are, or where they will be.
    fn fetch_relations(&self, keys: &[Option<(RelationKey, u64)>]) {
        let hashes = keys.iter().flatten().map(|(_, hash)| hash);
        let there = hashes.filter_map(|hash| self.relations.find(*hash, |_| true));
        black_box(there.fold(0, |read, edge| {
            read ^ self.graph.edge_weight(edge).map_or(0, |held| held.last_time)
        }));
    }

    fn add_relation(&mut self, relation: &Relation, key: RelationKey, hash: u64, settings: &CorrelateSettings) {
        let (from, kind, to, bucket) = key;
        let (first_time, last_time) = (relation.first_time, relation.last_time);
        if let Some(edge) = self.relations.find(hash, |edge| self.key_of(edge) == Some(key)) {
            let held = &mut self.graph[edge];
            if first_time < held.first_time || last_time > held.last_time {
                held.first_time = held.first_time.min(first_time);
                held.last_time = held.last_time.max(last_time);
                self.news.relations.push(edge);
            }
            return;
        }
        let weight = RelationEdge {
            kind,
            first_time,
            last_time,
        };
        let edge = self.graph.add_edge(from, to, weight);
        self.relations.insert(hash, edge);
        self.news.relations.push(edge);
        if LEADS[usize::from(kind)].1 == Lead::Flow {
            self.graph[to].inflows.push(edge);
        }
        for (node, user) in [(from, to), (to, from)] {
            let held = &mut self.graph[node];
            // Time mostly goes forward: nearly always at the end.
            let at = held.relations.partition_point(|(other, _)| *other <= bucket);
            held.relations.insert(at, (bucket, edge));
            if let Some(by) = self.graph[user].user.filter(|_| node != user) {
                self.count_user(node, by, bucket, settings);
            }
        }
        for identity in [from, to] {
            self.count_name(identity, bucket, settings);
        }
    }

    fn key_of(&self, edge: EdgeIndex) -> Option<RelationKey> {
        let (from, to) = self.graph.edge_endpoints(edge)?;
        let held = self.graph.edge_weight(edge)?;
        Some((from, held.kind, to, bucket_of(held.first_time)))
    }

    /// Counts an identity that uses an entity.
    fn count_user(&mut self, node: NodeIndex, user: u64, bucket: Micros, settings: &CorrelateSettings) {
        let held = &mut self.graph[node];
        if held.identities_max == u32::MAX || !held.links {
            return;
        }
        let most = held.identities_max as usize;
        if held.sharing.count(user, bucket, settings.window, most) {
            self.news.shared.push(node);
        }
    }

    /// Counts an identity that goes by a name. Most names are those of a few, of which nothing has to be known but that.
    fn count_name(&mut self, identity: NodeIndex, bucket: Micros, settings: &CorrelateSettings) {
        let Some(name) = self.graph[identity].name else {
            return;
        };
        let most = settings.identities_max.get(NAME).copied().unwrap_or(usize::MAX);
        let named = self.named.entry(name).or_default();
        let is_new = !std::mem::replace(&mut self.graph[identity].is_named, true);
        if is_new {
            named.push(identity);
        }
        if named.len() <= most {
            return;
        }
        let all = (is_new && named.len() == most + 1).then(|| named.clone());
        let Some(name) = name_of(&self.graph[identity].entity) else {
            return;
        };
        let node = self.intern(&name, settings);
        let uses: Vec<(NodeIndex, Micros)> = if let Some(named) = all {
            let buckets = |identity: NodeIndex| {
                self.graph[identity]
                    .relations
                    .iter()
                    .map(move |(bucket, _)| (identity, *bucket))
            };
            named.into_iter().flat_map(buckets).collect()
        } else {
            vec![(identity, bucket)]
        };
        for (identity, bucket) in uses {
            let user = hash_of(&self.graph[identity].entity);
            self.count_user(node, user, bucket, settings);
        }
    }

    /// Whether links may pass through the entity at `time`: it is of a kind that links, no stop value, and not shared by too many within
    /// the window before, counted in whole buckets.
    pub fn specific(&self, node: NodeIndex, time: Micros) -> bool {
        let held = &self.graph[node];
        held.links && !held.sharing.is_shared(bucket_of(time))
    }

    /// The relations at `node`, in either direction, that overlap `from ..= until`, by the buckets in which they began.
    pub fn steps(&self, node: NodeIndex, from: Micros, until: Micros) -> impl Iterator<Item = Step> + '_ {
        let relations = &self.graph[node].relations;
        let begin = relations.partition_point(|(bucket, _)| *bucket < bucket_of(from));
        relations[begin..]
            .iter()
            .take_while(move |(bucket, _)| *bucket <= until)
            .filter_map(move |(_, edge)| self.step(node, *edge))
            .filter(move |step| step.first_time <= until && step.last_time >= from)
    }

    /// Those of [`TenantGraph::steps`] that links may lead over: both ends are specific when the relation began.
    pub fn passable(&self, node: NodeIndex, from: Micros, until: Micros) -> impl Iterator<Item = Step> + '_ {
        self.steps(node, from, until).filter(|step| self.is_passable(step))
    }

    pub fn is_passable(&self, step: &Step) -> bool {
        self.specific(step.from, step.first_time) && self.specific(step.to, step.first_time)
    }

    /// The relations that handed an identity on to `node` within `after ..= until` (the first excluded), walked from `node`.
    pub fn inflows(&self, node: NodeIndex, after: Micros, until: Micros) -> impl Iterator<Item = Step> + '_ {
        let inflows = self.graph[node].inflows.iter();
        inflows
            .filter_map(move |edge| self.step(node, *edge))
            .filter(move |step| step.first_time > after && step.first_time <= until && self.is_passable(step))
    }

    /// A relation, walked from either end; nothing when it is gone.
    pub fn both_ways(&self, edge: EdgeIndex) -> Option<[Step; 2]> {
        let (from, to) = self.graph.edge_endpoints(edge)?;
        let step = self.step(from, edge)?;
        let back = Step {
            from: to,
            to: from,
            forward: false,
            ..step.clone()
        };
        Some([step, back])
    }

    fn step(&self, node: NodeIndex, edge: EdgeIndex) -> Option<Step> {
        let (source, target) = self.graph.edge_endpoints(edge)?;
        let relation = &self.graph[edge];
        let forward = source == node;
        let (kind, lead) = *LEADS.get(relation.kind as usize)?;
        Some(Step {
            from: node,
            to: if forward { target } else { source },
            kind,
            lead,
            forward,
            first_time: relation.first_time,
            last_time: relation.last_time,
        })
    }

    /// Detections, ordered by (time, id).
    pub fn by_time(&self, members: &[Member]) -> Vec<Member> {
        let key = |member: &Member| {
            let detection = &self.placed(*member)?.detection;
            Some((detection.time, detection.detection_id.as_str(), *member))
        };
        let mut ordered: Vec<(Micros, &str, Member)> = members.iter().filter_map(key).collect();
        ordered.sort_unstable();
        ordered.into_iter().map(|(.., member)| member).collect()
    }

    /// Every detection that is there.
    pub fn members(&self) -> impl Iterator<Item = (Member, &Placed)> {
        let members = self.members.iter().enumerate();
        members.filter_map(|(member, placed)| Some((member as Member, placed.as_ref()?)))
    }

    /// Removes a detection; it must be linked no more.
    pub fn remove_detection(&mut self, member: Member) {
        let Some(placed) = self.members.get_mut(member as usize).and_then(Option::take) else {
            return;
        };
        for node in &placed.anchors {
            self.graph[*node].detections.remove(&(placed.detection.time, member));
        }
        for id in placed.ids() {
            self.ids.remove(id);
        }
        self.folds.remove(&placed.fold);
        self.free.push(member);
    }

    /// Removes relations from before `horizon` less `reach`, but for those at entities of which `holds` says that links go through
    /// them, which stay as long as they can link the oldest detection; and entities that nothing names any more. Gives how many
    /// relations it removed.
    pub fn expire(
        &mut self,
        horizon: Micros,
        reach: Micros,
        window: Micros,
        holds: impl Fn(NodeIndex) -> bool,
    ) -> usize {
        let oldest = self.members().map(|(_, placed)| placed.detection.time).min();
        let oldest = oldest.map_or(horizon, |oldest| oldest.min(horizon));
        let from = bucket_of(horizon.saturating_sub(reach));
        // What was found at an entity through a relation is remembered there, and found again by the relation when it is let go of.
        let held_from = bucket_of(oldest.saturating_sub(window));
        let is_gone = |edge: &EdgeIndex| {
            self.key_of(*edge).is_some_and(|(source, _, target, bucket)| {
                bucket < from && (bucket < held_from || !(holds(source) || holds(target)))
            })
        };
        let gone: HashSet<EdgeIndex, RandomState> = self.graph.edge_indices().filter(is_gone).collect();
        self.relations.retain(|edge| !gone.contains(&edge));
        let nodes = &mut self.nodes;
        // Not one by one: that takes as long for each relation as its entities have others.
        self.graph = std::mem::take(&mut self.graph).filter_map_owned(
            |index, mut node| {
                if !gone.is_empty() && !node.relations.is_empty() {
                    node.relations.retain(|(_, edge)| !gone.contains(edge));
                    node.relations.shrink_to_fit();
                    node.inflows.retain(|edge| !gone.contains(edge));
                }
                let since = if holds(index) { oldest } else { horizon };
                node.sharing.forget_before(identities_start(since, window));
                // Of a name nothing else says that many go by it.
                let is_known = &*node.entity.kind == NAME && !node.sharing.is_empty();
                let is_live = !node.relations.is_empty() || is_known || !node.detections.is_empty();
                if !is_live {
                    nodes.remove(nodes.hash(&node.entity), index);
                }
                is_live.then_some(node)
            },
            |edge, relation| (!gone.contains(&edge)).then_some(relation),
        );
        let graph = &self.graph;
        self.named.retain(|_, named| {
            named.retain(|identity| graph.contains_node(*identity));
            !named.is_empty()
        });
        gone.len()
    }
}

/// Start of the oldest bucket that says how shared an entity is where relations of a finding at `oldest` reach.
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

/// Who did it and what it was done to, for the path.
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
