//! Which detections belong together.
//!
//! Two detections are linked directly when both name a specific entity and are at most a window apart, or when up to [`HOPS_MAX`]
//! relations lead from an entity of the one to an entity of the other. What is joined are not pairs but the detections that
//! are found at an entity: those that name it make a chain in time, and so do those that one relation leads to it. A relation in the
//! middle of three then joins the chains of its two ends. A fact so costs as much as the relations within its reach, once per
//! twelfth of a window, and not the number of detections that it joins.
//!
//! Over relations, time counts in twelfths of the window ("slots"), rounded so that what they join is never further apart than the
//! window. Everything only ever joins, in whatever order facts come; what must come apart is forgotten and added anew.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;

use ahash::RandomState;
use petgraph::graph::{EdgeIndex, NodeIndex};

use crate::model::Micros;

use super::graph::{Lead, Member, Step, TenantGraph};
use super::sets::Sets;

/// How many relations may lie between the entities of two detections that are joined.
pub const HOPS_MAX: usize = 3;

/// Into so many slots a window is divided.
const SLOTS: i64 = 12;
/// Slots this far apart hold only times that are at most a window apart.
const REACH: i64 = SLOTS - 1;

/// The detections of one slot that name an entity.
struct Named {
    first: Micros,
    last: Micros,
    member: Member,
}

/// What is found at one entity. Each entry stands for the set of one of its detections.
#[derive(Default)]
struct Found {
    /// By slot: detections that name the entity.
    named: BTreeMap<i64, Named>,
    /// By slot: detections on entities beside it.
    beside: BTreeMap<i64, Member>,
    /// By slot, time of the relation and whence: detections on an entity that handed an identity on to this one. They meet only what is
    /// not before that time.
    handed: BTreeMap<(i64, Micros, NodeIndex), Member>,
}

/// How a set is found at an entity from which one goes on.
#[derive(Clone, Copy)]
enum As {
    /// Its newest detection in the slot is of this time.
    Named(Micros),
    Beside,
    /// Since when.
    Handed(Micros),
}

/// How time is counted over relations.
#[derive(Clone, Copy)]
pub struct Slots(Micros);

impl Slots {
    pub fn new(window: Micros) -> Slots {
        Slots((window / SLOTS).max(1))
    }

    pub fn of(self, time: Micros) -> i64 {
        time.div_euclid(self.0)
    }

    /// The times of relations that are within reach of a slot.
    pub fn span(self, slot: i64) -> (Micros, Micros) {
        let from = slot.saturating_sub(REACH).saturating_mul(self.0);
        let end = slot.saturating_add(REACH + 1).saturating_mul(self.0);
        (from, end.saturating_sub(1))
    }

    /// The slots that a relation reaches.
    pub fn reach(self, step: &Step) -> (i64, i64) {
        let (first, last) = (self.of(step.first_time), self.of(step.last_time));
        (first.saturating_sub(REACH), last.saturating_add(REACH))
    }
}

/// The sets of linked detections.
pub struct Links {
    window: Micros,
    slots: Slots,
    found: HashMap<NodeIndex, Found, RandomState>,
    sets: Sets,
    /// Detections whose sets are other than they were when they were last taken.
    touched: Vec<Member>,
    /// Detections beside relations that are new: what is told of them may be other, though they are joined as they were.
    brushed: Vec<Member>,
    /// Links that were looked at so far for the detection that is being added.
    looked: u64,
    examined: Examined,
}

/// How many links were looked at for each detection, by the power of two that is not below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Examined(pub [u64; 32]);

impl Examined {
    /// So many or fewer links were looked at for this part of the detections; `None`: there were none.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        let all: u64 = self.0.iter().sum();
        let mut left = (all as f64 * part).ceil() as u64;
        for (power, count) in self.0.iter().enumerate() {
            if *count > 0 && left <= *count {
                return Some(1 << power);
            }
            left -= count;
        }
        None
    }
}

impl Links {
    pub fn new(window: Micros) -> Links {
        Links {
            window,
            slots: Slots::new(window),
            found: HashMap::default(),
            sets: Sets::default(),
            touched: Vec::new(),
            brushed: Vec::new(),
            looked: 0,
            examined: Examined::default(),
        }
    }

    pub fn examined(&self) -> Examined {
        self.examined
    }

    pub fn sets(&self) -> &Sets {
        &self.sets
    }

    pub fn take_touched(&mut self) -> Vec<Member> {
        std::mem::take(&mut self.touched)
    }

    pub fn take_brushed(&mut self) -> Vec<Member> {
        std::mem::take(&mut self.brushed)
    }

    /// Whether links go through the entity.
    pub fn holds(&self, node: NodeIndex) -> bool {
        self.found.contains_key(&node)
    }

    /// Says of a finding that it is told otherwise, though it is joined as it was.
    pub fn touch(&mut self, member: Member) {
        self.touched.push(member);
    }

    fn join(&mut self, a: Member, b: Member) {
        self.looked += 1;
        if self.sets.join(a, b) {
            self.touched.push(a);
        }
    }

    /// Adds a finding of `graph`, or what it was sooner or later than was known.
    pub fn add(&mut self, graph: &TenantGraph, member: Member) {
        let Some(placed) = graph.placed(member) else { return };
        self.sets.add(member);
        self.touched.push(member);
        self.looked = 0;
        for &node in &placed.anchors {
            // Whether an entity is shared is counted by longer times than repeats lie apart.
            if !graph.specific(node, placed.detection.time) {
                continue;
            }
            for span in &placed.spans {
                self.name(graph, node, member, span.first);
                if span.last > span.first {
                    self.name(graph, node, member, span.last);
                }
            }
        }
        let power = self.looked.max(1).next_power_of_two().trailing_zeros() as usize;
        if let Some(count) = self.examined.0.get_mut(power) {
            *count += 1;
        }
    }

    /// Takes in a relation of `graph` that is new, or that began sooner or lasted longer than was known.
    pub fn relate(&mut self, graph: &TenantGraph, edge: EdgeIndex) {
        let Some(ways) = graph.both_ways(edge) else { return };
        if !ways.iter().any(|step| self.holds(step.from)) || !graph.is_passable(&ways[0]) {
            return;
        }
        for step in ways {
            let Some(found) = self.found.get(&step.from) else {
                continue;
            };
            let slots = self.slots.reach(&step);
            let named = found.named.range(slots.0..=slots.1);
            let mut there: Vec<(i64, As, Member)> = named
                .map(|(slot, named)| (*slot, As::Named(named.last), named.member))
                .collect();
            let beside = found.beside.range(slots.0..=slots.1);
            there.extend(beside.map(|(slot, member)| (*slot, As::Beside, *member)));
            let handed = found.handed.iter();
            there.extend(
                handed
                    .filter(|((slot, ..), _)| (slots.0..=slots.1).contains(slot))
                    .map(|((slot, since, _), member)| (*slot, As::Handed(*since), *member)),
            );
            for (slot, how, member) in there {
                self.brushed.push(member);
                self.cross(graph, &step, slot, how, member);
            }
        }
    }

    fn name(&mut self, graph: &TenantGraph, node: NodeIndex, member: Member, time: Micros) {
        let slot = self.slots.of(time);
        let found = self.found.entry(node).or_default();
        let mut joined = Vec::new();
        let mut before = None;
        let named = found.named.entry(slot).and_modify(|named| {
            before = Some((named.first, named.last));
            joined.push(named.member);
            named.first = named.first.min(time);
            named.last = named.last.max(time);
        });
        let named = named.or_insert(Named {
            first: time,
            last: time,
            member,
        });
        let (first, last) = (named.first, named.last);
        // Those that name it in other slots: exactly a window at most.
        let sooner = found.named.range(..slot).next_back();
        let later = found.named.range((Bound::Excluded(slot), Bound::Unbounded)).next();
        let sooner = sooner.filter(|(_, sooner)| first.saturating_sub(sooner.last) <= self.window);
        let later = later.filter(|(_, later)| later.first.saturating_sub(last) <= self.window);
        joined.extend(sooner.into_iter().chain(later).map(|(_, named)| named.member));
        if before.is_none() {
            joined.extend(around(&found.beside, slot, i64::MIN));
        }
        for other in joined {
            self.join(member, other);
        }
        match before {
            None => self.spread(graph, node, slot, As::Named(last), member),
            // A relation that began since the newest so far may have handed on what this one used.
            Some((_, newest)) if newest < last => {
                let steps: Vec<Step> = graph.inflows(node, newest, last).collect();
                for step in steps {
                    self.cross(graph, &step, slot, As::Named(last), member);
                }
            }
            Some(_) => {}
        }
    }

    /// Goes on from `node` over all relations within reach of `slot`.
    fn spread(&mut self, graph: &TenantGraph, node: NodeIndex, slot: i64, how: As, member: Member) {
        let (from, until) = self.slots.span(slot);
        for step in graph.passable(node, from, until) {
            self.cross(graph, &step, slot, how, member);
        }
    }

    /// Goes over one relation.
    fn cross(&mut self, graph: &TenantGraph, step: &Step, slot: i64, how: As, member: Member) {
        self.looked += 1;
        let is_flow = step.lead == Lead::Flow;
        match how {
            As::Named(_) if is_flow && step.forward => self.hand(graph, step, slot, member),
            // What was handed on cannot have been used before.
            As::Named(last) if is_flow && last < step.first_time => {}
            As::Named(_) => self.arrive(graph, step.to, slot, member),
            As::Beside if is_flow && !step.forward && slot < self.slots.of(step.first_time) => {}
            As::Beside => {
                let floor = if is_flow && step.forward {
                    self.slots.of(step.first_time)
                } else {
                    i64::MIN
                };
                self.meet(step, slot, floor, member);
                if !is_flow || !step.forward {
                    self.meet_handed(step.to, slot, Some(step), member);
                }
            }
            As::Handed(_) if is_flow && !step.forward => {}
            As::Handed(since) if step.last_time < since => {}
            As::Handed(since) => {
                let since = if is_flow { since.max(step.first_time) } else { since };
                self.meet(step, slot, self.slots.of(since), member);
            }
        }
    }

    /// Joins with what is beside the far end of a relation in the middle.
    fn meet(&mut self, step: &Step, slot: i64, floor: i64, member: Member) {
        let (from, until) = self.slots.reach(step);
        let Some(found) = self.found.get(&step.to) else { return };
        let others: Vec<Member> = around_within(&found.beside, slot, floor.max(from), until).collect();
        for other in others {
            self.join(member, other);
        }
    }

    /// Joins what is beside `node`, or leads to it `over` one more relation, with what was handed on to it before.
    fn meet_handed(&mut self, node: NodeIndex, slot: i64, over: Option<&Step>, member: Member) {
        let Some(found) = self.found.get(&node) else { return };
        if found.handed.is_empty() {
            return;
        }
        let near = slot.saturating_sub(REACH)..=slot.saturating_add(REACH);
        let reaches = |step: &Step, at: i64, since: Micros| {
            let (from, until) = self.slots.reach(step);
            (from..=until).contains(&at) && since <= step.last_time
        };
        let others: Vec<Member> = found
            .handed
            .iter()
            .filter(|((at, since, _), _)| near.contains(at) && self.slots.of(*since) <= slot)
            .filter(|((at, since, _), _)| over.is_none_or(|step| reaches(step, *at, *since)))
            .map(|(_, member)| *member)
            .collect();
        for other in others {
            self.join(member, other);
        }
    }

    /// A set on an entity beside `node` is found at it.
    fn arrive(&mut self, graph: &TenantGraph, node: NodeIndex, slot: i64, member: Member) {
        let found = self.found.entry(node).or_default();
        if let Some(&there) = found.beside.get(&slot) {
            self.join(member, there);
            return;
        }
        let mut others: Vec<Member> = around(&found.beside, slot, i64::MIN).collect();
        found.beside.insert(slot, member);
        let sooner = found.named.range(slot.saturating_sub(REACH)..=slot).next_back();
        let later = found.named.range(slot..=slot.saturating_add(REACH)).next();
        others.extend(sooner.into_iter().chain(later).map(|(_, named)| named.member));
        for other in others {
            self.join(member, other);
        }
        self.meet_handed(node, slot, None, member);
        self.spread(graph, node, slot, As::Beside, member);
    }

    /// A set on an entity that handed an identity on is found where it was handed on to.
    fn hand(&mut self, graph: &TenantGraph, step: &Step, slot: i64, member: Member) {
        let since = step.first_time;
        let floor = self.slots.of(since);
        let found = self.found.entry(step.to).or_default();
        if let Some(&there) = found.handed.get(&(slot, since, step.from)) {
            self.join(member, there);
            return;
        }
        found.handed.insert((slot, since, step.from), member);
        let others: Vec<Member> = around(&found.beside, slot, floor).collect();
        for other in others {
            self.join(member, other);
        }
        self.spread(graph, step.to, slot, As::Handed(since), member);
    }

    /// Takes out the sets of `members`, and gives all that were in them.
    pub fn forget(&mut self, graph: &TenantGraph, members: impl IntoIterator<Item = Member>) -> Vec<Member> {
        let labels: HashSet<Member> = members
            .into_iter()
            .filter_map(|member| self.sets.label(member))
            .collect();
        let mut forgotten = Vec::new();
        for label in labels {
            for at in 0..self.sets.members(label).len() {
                let member = self.sets.members(label)[at];
                self.take_away(graph, member, label);
            }
            forgotten.extend(self.sets.remove(label));
        }
        forgotten
    }

    /// Takes away where a detection of the set `label` is found.
    fn take_away(&mut self, graph: &TenantGraph, member: Member, label: Member) {
        let Some(placed) = graph.placed(member) else { return };
        for span in &placed.spans {
            let slot = self.slots.of(span.first);
            for &node in &placed.anchors {
                self.take_from(graph, node, slot, label);
            }
        }
    }

    /// Takes away what the set `label` is found by at `node`, and from there beside it, in a slot.
    fn take_from(&mut self, graph: &TenantGraph, node: NodeIndex, slot: i64, label: Member) {
        let (from, until) = self.slots.span(slot);
        let is_ours = |sets: &Sets, member: Member| sets.label(member) == Some(label);
        let mut nodes = vec![node];
        // The first of the slot has done it for all.
        if let Some(found) = self.found.get_mut(&node)
            && found
                .named
                .get(&slot)
                .is_some_and(|named| is_ours(&self.sets, named.member))
        {
            found.named.remove(&slot);
            nodes.extend(graph.steps(node, from, until).map(|step| step.to));
        }
        for beside in nodes {
            let Some(found) = self.found.get_mut(&beside) else {
                continue;
            };
            if beside != node {
                if found.beside.get(&slot).is_some_and(|there| is_ours(&self.sets, *there)) {
                    found.beside.remove(&slot);
                }
                found
                    .handed
                    .retain(|(at, _, whence), there| *at != slot || *whence != node || !is_ours(&self.sets, *there));
            }
            if found.named.is_empty() && found.beside.is_empty() && found.handed.is_empty() {
                self.found.remove(&beside);
            }
        }
    }

    /// A detection of every set that is found at `node`.
    pub fn found_at(&self, node: NodeIndex) -> impl Iterator<Item = Member> + '_ {
        self.found.get(&node).into_iter().flat_map(|found| {
            let named = found.named.values().map(|named| named.member);
            named
                .chain(found.beside.values().copied())
                .chain(found.handed.values().copied())
        })
    }
}

/// The nearest entries before or in `slot` and after or in it, within reach and not below `floor`. Those further away are joined to them.
fn around(entries: &BTreeMap<i64, Member>, slot: i64, floor: i64) -> impl Iterator<Item = Member> + '_ {
    around_within(entries, slot, floor, i64::MAX)
}

fn around_within(
    entries: &BTreeMap<i64, Member>,
    slot: i64,
    from: i64,
    until: i64,
) -> impl Iterator<Item = Member> + '_ {
    let (from, until) = (
        from.max(slot.saturating_sub(REACH)),
        until.min(slot.saturating_add(REACH)),
    );
    let between = move |from: i64, until: i64| entries.range(from.min(until.saturating_add(1))..=until);
    let sooner = (from <= slot.min(until)).then(|| between(from, slot.min(until)).next_back());
    let later = (slot.max(from) <= until).then(|| between(slot.max(from), until).next());
    sooner
        .flatten()
        .into_iter()
        .chain(later.flatten())
        .map(|(_, member)| *member)
}
