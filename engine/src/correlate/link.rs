//! Which detections belong together, and through what.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use petgraph::graph::NodeIndex;

use crate::model::Micros;

use super::graph::{HOPS_MAX, Lead, Span, Step, TenantGraph, between, bucket_of};

/// Why two detections belong together: an entity that both name, or relations that lead from an entity of the one to an entity
/// of the other.
#[derive(Clone)]
pub struct Link {
    /// The other detection.
    pub to: Arc<str>,
    /// Relations in walking order; empty for a shared entity.
    pub steps: Vec<Step>,
}

/// All detections that links join to `start`, each with its own links, ordered by id. `None` when `start` is gone.
pub fn component(graph: &TenantGraph, start: &Arc<str>, window: Micros) -> Option<BTreeMap<Arc<str>, Vec<Link>>> {
    graph.member(start)?;
    let mut ways = Ways {
        graph,
        from: HashMap::new(),
    };
    let mut component = BTreeMap::new();
    let mut todo = vec![start.clone()];
    while let Some(id) = todo.pop() {
        if component.contains_key(&id) {
            continue;
        }
        let links = linked(&mut ways, &id, window);
        todo.extend(links.iter().map(|link| link.to.clone()));
        component.insert(id, links);
    }
    Some(component)
}

/// The links of one detection. On each entity within reach only the nearest detection before and after counts: those further
/// away are reached through the nearest.
fn linked(ways: &mut Ways<'_>, id: &Arc<str>, window: Micros) -> Vec<Link> {
    let graph = ways.graph;
    let mut links = Vec::new();
    let Some(member) = graph.member(id) else { return links };
    let time = member.detection.time;
    let own: Vec<NodeIndex> = member
        .anchors
        .iter()
        .copied()
        .filter(|anchor| graph.specific(*anchor, time))
        .collect();
    let mut walk = Walk {
        graph,
        ways,
        id,
        time,
        window,
        own: &own,
    };
    for &anchor in &own {
        let whole = (time.saturating_sub(window), time.saturating_add(window));
        // From the other entities that it names it goes on by itself.
        let mut seen: HashMap<NodeIndex, Vec<Span>> = own.iter().map(|anchor| (*anchor, vec![whole])).collect();
        let mut frontier = vec![(anchor, whole, Vec::new())];
        for _ in 0..=HOPS_MAX {
            let mut next = Vec::new();
            for (node, span, steps) in frontier {
                walk.nearest(node, span, &steps, &mut links);
                if steps.len() < HOPS_MAX {
                    let left = HOPS_MAX - steps.len() - 1;
                    next.extend(
                        walk.onward(node, span, &steps, left)
                            .into_iter()
                            .filter(|(to, span, _)| {
                                let spans = seen.entry(*to).or_default();
                                // A way that opens no other times brings nothing new.
                                let new = !spans.iter().any(|held| held.0 <= span.0 && span.1 <= held.1);
                                if new {
                                    spans.push(*span);
                                }
                                new
                            }),
                    );
                }
            }
            frontier = next;
        }
    }
    links
}

/// The relations that lead on from an entity, looked up once for all findings of a component.
struct Ways<'a> {
    graph: &'a TenantGraph,
    from: HashMap<NodeIndex, Arc<[Step]>>,
}

impl Ways<'_> {
    /// Those that overlap `span`, by the buckets in which they began.
    fn within(&mut self, node: NodeIndex, span: Span) -> impl Iterator<Item = Step> + use<> {
        let graph = self.graph;
        let steps = self.from.entry(node).or_insert_with(|| {
            let all = graph.passable(node, (Micros::MIN, Micros::MAX));
            all.filter(|step| !graph.is_dead_end(step.to, node)).collect()
        });
        let steps = Arc::clone(steps);
        let begin = steps.partition_point(|step| bucket_of(step.first_time) < bucket_of(span.0));
        (begin..steps.len())
            .map(move |at| steps[at].clone())
            .take_while(move |step| bucket_of(step.first_time) <= span.1)
            .filter(move |step| step.first_time <= span.1 && step.last_time >= span.0)
    }
}

struct Walk<'a, 'g> {
    graph: &'g TenantGraph,
    ways: &'a mut Ways<'g>,
    id: &'a Arc<str>,
    time: Micros,
    window: Micros,
    /// The entities that it names and that tell something of it.
    own: &'a [NodeIndex],
}

impl Walk<'_, '_> {
    /// Links to the nearest detections on `node` before and after, within `span`.
    fn nearest(&self, node: NodeIndex, span: Span, steps: &[Step], links: &mut Vec<Link>) {
        let detections = &self.graph.node(node).detections;
        let own = (self.time, self.id.clone());
        // The entity must be specific for the other too, or it would matter from which side one looks.
        let fits = |other: &&(Micros, Arc<str>)| self.graph.specific(node, other.0);
        let before = between(detections, span.0, span.1.min(self.time))
            .rev()
            .filter(|other| **other < own)
            .find(fits);
        let after = between(detections, span.0.max(self.time), span.1)
            .filter(|other| **other > own)
            .find(fits);
        // What names an identity in common is joined by that, through those in between; no relation says more.
        let in_common = |other: &&(Micros, Arc<str>)| {
            let named = self.graph.member(&other.1).map_or(&[][..], |member| &member.anchors);
            let both = |anchor: &NodeIndex| self.own.contains(anchor) && self.graph.is_lasting(*anchor);
            !steps.is_empty() && named.iter().any(both)
        };
        for (_, to) in before.into_iter().chain(after).filter(|other| !in_common(other)) {
            links.push(Link {
                to: to.clone(),
                steps: steps.to_vec(),
            });
        }
    }

    /// The entities that relations lead to from `node` and from which `left` more may lead to a detection, each with the times at which a detection there can be linked. In a fixed
    /// order: by time of the relation, then by entity. Every condition holds for both ends alike, so that a link found from one
    /// side is found from the other.
    fn onward(
        &mut self,
        node: NodeIndex,
        span: Span,
        steps: &[Step],
        left: usize,
    ) -> Vec<(NodeIndex, Span, Vec<Step>)> {
        let near = (
            self.time.saturating_sub(self.window),
            self.time.saturating_add(self.window),
        );
        let usable = self
            .ways
            .within(node, near)
            .filter(|step| self.graph.leads_somewhere(step.to, left))
            // What was handed on cannot have been used before: not on the far side, nor by us when we are the far side.
            .filter(|step| step.lead != Lead::Flow || step.forward || self.time >= step.first_time);
        // The buckets of a bond as one: each reaches to where this detection is, so together they reach without a gap. Those of a flow
        // do not: each begins anew.
        let mut leads: Vec<Step> = Vec::new();
        let mut bonds: HashMap<(NodeIndex, &str, bool), usize> = HashMap::new();
        for step in usable {
            if step.lead == Lead::Bond {
                let place = *bonds.entry((step.to, step.kind, step.forward)).or_insert(leads.len());
                if let Some(held) = leads.get_mut(place) {
                    held.first_time = held.first_time.min(step.first_time);
                    held.last_time = held.last_time.max(step.last_time);
                    continue;
                }
            }
            leads.push(step);
        }
        leads.sort_by(|a, b| {
            let entity = |step: &Step| &self.graph.node(step.to).entity;
            (a.first_time, a.kind, entity(a)).cmp(&(b.first_time, b.kind, entity(b)))
        });
        leads
            .into_iter()
            .map(|step| {
                let mut earliest = step.first_time.saturating_sub(self.window);
                let latest = step.last_time.saturating_add(self.window);
                if step.lead == Lead::Flow && step.forward {
                    earliest = earliest.max(step.first_time);
                }
                let mut walked = steps.to_vec();
                walked.push(step.clone());
                (step.to, (span.0.max(earliest), span.1.min(latest)), walked)
            })
            .filter(|(_, span, _)| span.0 <= span.1)
            .collect()
    }
}
