//! Why a detection belongs to an incident: the most telling way from it to another of the incident's, an earlier one if there is one.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use ahash::RandomState;
use petgraph::graph::NodeIndex;

use crate::model::detection::FOLD;
use crate::model::relation::RELATION_BUCKET;
use crate::model::{Entity, Micros, time};

use super::graph::{Lead, Member, Step, TenantGraph};
use super::link::{HOPS_MAX, Slots};
use super::name::NAME;

/// Relations that are looked at for one reason; a busier neighbourhood is told without its relations.
const STEPS_MAX: usize = 20_000;

/// Finds reasons within one incident. What it says follows from the facts, never from the order in which they came.
pub struct Reasons<'a> {
    graph: &'a TenantGraph,
    window: Micros,
    members: HashSet<Member, RandomState>,
    /// Relations by entity, in a fixed order.
    ways: HashMap<NodeIndex, Rc<[Step]>, RandomState>,
}

/// What joins a detection to `other`.
pub struct Reason {
    pub words: String,
    /// Relations in walking order; empty for a shared entity.
    pub steps: Vec<Step>,
    /// Relations, or the lack of them, made it what it is.
    pub is_led: bool,
}

/// A detection as one looks from it.
#[derive(Clone, Copy)]
struct From<'a> {
    time: Micros,
    /// Of its last repeat.
    last: Micros,
    id: &'a str,
    anchors: &'a [NodeIndex],
    /// Looks for what came before it, else for what came after.
    is_back: bool,
}

impl<'a> Reasons<'a> {
    pub fn new(graph: &'a TenantGraph, window: Micros, members: &[Member]) -> Reasons<'a> {
        Reasons {
            graph,
            window,
            members: members.iter().copied().collect(),
            ways: HashMap::default(),
        }
    }

    /// Why `member` belongs to the incident.
    pub fn of(&mut self, member: Member) -> Reason {
        let graph = self.graph;
        let mut found = None;
        if let Some(placed) = graph.placed(member) {
            let (time, id) = (placed.detection.time, placed.detection.detection_id.as_str());
            let mut anchors: Vec<NodeIndex> = placed.anchors.clone();
            anchors.retain(|anchor| graph.specific(*anchor, time));
            anchors.sort_by_key(|anchor| &graph.node(*anchor).entity);
            for is_back in [true, false] {
                let from = From {
                    time,
                    last: placed.last_time(),
                    id,
                    anchors: &anchors,
                    is_back,
                };
                found = found.or_else(|| self.look(from));
            }
        }
        found.unwrap_or_else(|| Reason {
            words: "joined by what other findings and relations beside it have in common".to_owned(),
            steps: Vec::new(),
            is_led: true,
        })
    }

    /// The most telling first: an identity in common, one that was handed on, a common address, host or name, everything else.
    fn look(&mut self, from: From<'_>) -> Option<Reason> {
        let same = |reasons: &Reasons, wanted: bool| {
            let mut anchors = from.anchors.iter();
            anchors.find_map(|anchor| {
                let entity = &reasons.graph.node(*anchor).entity;
                let other = (is_place(entity) == wanted).then(|| reasons.nearest(from, *anchor, Micros::MIN))??;
                Some(Reason {
                    words: format!("same {entity} as \"{}\"", reasons.title(other)),
                    steps: Vec::new(),
                    is_led: wanted,
                })
            })
        };
        same(self, false)
            .or_else(|| self.led(from, 1, |step| step.lead == Lead::Flow))
            .or_else(|| same(self, true))
            .or_else(|| self.led(from, HOPS_MAX, |_| true))
    }

    /// The shortest way over relations, then the one that began first.
    fn led(&mut self, from: From<'_>, hops: usize, may: fn(&Step) -> bool) -> Option<Reason> {
        let mut seen: HashSet<NodeIndex> = from.anchors.iter().copied().collect();
        let mut frontier: Vec<(NodeIndex, Micros, Vec<Step>)> = from
            .anchors
            .iter()
            .map(|anchor| (*anchor, Micros::MIN, Vec::new()))
            .collect();
        let mut looked = 0;
        let slots = Slots::new(self.window);
        let (earliest, latest) = slots.span(slots.of(from.time));
        for hop in 1..=hops {
            let mut next = Vec::new();
            for (node, since, walked) in frontier {
                let ways = self.ways(node);
                let begin = ways.partition_point(|step| {
                    // The oldest that can overlap: relations last no longer than their bucket.
                    step.first_time < earliest.saturating_sub(RELATION_BUCKET)
                });
                for step in &ways[begin..] {
                    if step.first_time > latest {
                        break;
                    }
                    looked += 1;
                    if looked > STEPS_MAX {
                        return None;
                    }
                    let is_flow = step.lead == Lead::Flow;
                    let overlaps = step.last_time >= earliest;
                    // What was handed on cannot have been used before.
                    let is_too_soon = is_flow && !step.forward && from.time < step.first_time;
                    if !overlaps || is_too_soon || !may(step) || seen.contains(&step.to) {
                        continue;
                    }
                    let since = if is_flow && step.forward {
                        since.max(step.first_time)
                    } else {
                        since
                    };
                    let mut steps = walked.clone();
                    steps.push(step.clone());
                    let other = self.nearest(from, step.to, since).filter(|other| {
                        // The last relation must be within reach of the other, too.
                        let (first, last) = slots.reach(step);
                        let placed = self.graph.placed(*other);
                        placed.is_some_and(|placed| (first..=last).contains(&slots.of(placed.detection.time)))
                    });
                    if let Some(other) = other {
                        let words = format!("joined to \"{}\" because {}", self.title(other), self.words(&steps));
                        return Some(Reason {
                            words,
                            steps,
                            is_led: true,
                        });
                    }
                    // A flow in again later may reach what this one does not: only bonds are gone once.
                    if !is_flow {
                        seen.insert(step.to);
                    }
                    if hop < hops {
                        next.push((step.to, since, steps));
                    }
                }
            }
            frontier = next;
        }
        None
    }

    fn ways(&mut self, node: NodeIndex) -> Rc<[Step]> {
        let graph = self.graph;
        let ways = self.ways.entry(node).or_insert_with(|| {
            let mut steps: Vec<Step> = graph.passable(node, Micros::MIN, Micros::MAX).collect();
            let entity = |step: &Step| &graph.node(step.to).entity;
            steps.sort_by(|a, b| (a.first_time, a.kind, entity(a)).cmp(&(b.first_time, b.kind, entity(b))));
            steps.into()
        });
        Rc::clone(ways)
    }

    /// The incident's detection on `node`, not before `since`, that is nearest to `from` on the side where it looks.
    fn nearest(&self, from: From<'_>, node: NodeIndex, since: Micros) -> Option<Member> {
        let detections = &self.graph.node(node).detections;
        let own = (from.time, from.id);
        let key = |member: Member| {
            let detection = &self.graph.placed(member)?.detection;
            Some((detection.time, detection.detection_id.as_str()))
        };
        let fits = |time: Micros, member: Member| {
            self.members.contains(&member) && self.graph.specific(node, time) && key(member) != Some(own)
        };
        let (begin, end) = if from.is_back {
            (from.time.saturating_sub(self.window).max(since), from.time)
        } else {
            (from.time.max(since), from.last.saturating_add(self.window))
        };
        if begin > end {
            return None;
        }
        // One that has repeats lasts beyond its time.
        let reaches = |member: Member| {
            self.graph
                .placed(member)
                .is_some_and(|placed| placed.last_time() >= begin)
        };
        let range = detections.range((begin.saturating_sub(FOLD), Member::MIN)..=(end, Member::MAX));
        // Of those of one time the id decides.
        let mut best: Option<(Micros, &str, Member)> = None;
        let mut take = |&(time, member): &(Micros, Member)| {
            if best.is_some_and(|(held, ..)| held != time) {
                return false;
            }
            if let Some((_, id)) = key(member).filter(|_| fits(time, member) && reaches(member)) {
                let is_on_side = ((time, id) < own) == from.is_back;
                let is_better = best.is_none_or(|(_, held, _)| (id > held) == from.is_back);
                if is_on_side && is_better {
                    best = Some((time, id, member));
                }
            }
            true
        };
        if from.is_back {
            range.rev().all(&mut take);
        } else {
            let mut range = range;
            range.all(&mut take);
        }
        best.map(|(.., member)| member)
    }

    fn title(&self, member: Member) -> &'a str {
        let placed = self.graph.placed(member);
        placed.map_or("", |placed| placed.detection.title.as_str())
    }

    fn words(&self, steps: &[Step]) -> String {
        let say = |step: &Step| {
            let (from, to) = if step.forward {
                (step.from, step.to)
            } else {
                (step.to, step.from)
            };
            let (from, to) = (&self.graph.node(from).entity, &self.graph.node(to).entity);
            format!("{from} {} {to} at {}", step.kind, time::to_rfc3339(step.first_time))
        };
        steps.iter().map(say).collect::<Vec<_>>().join(", ")
    }
}

/// What several may have in common.
fn is_place(entity: &Entity) -> bool {
    matches!(&*entity.kind, "address" | "host" | NAME)
}
