//! Relations: facts that join entities across systems, aggregated before they travel.

use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;
use serde::{Deserialize, Serialize};

use super::entity::Entity;
use super::time::{HOUR, Micros};

/// Width of the event-time buckets in which relations are aggregated.
pub const RELATION_BUCKET: Micros = HOUR;

/// What a relation may say: `Relation::kind`. Mappings, detectors and the graph speak of these and no others.
pub const RELATION_KINDS: [&str; 9] = [
    "assumed",
    "issued",
    "used-from",
    "belongs-to",
    "called",
    "read",
    "wrote",
    "spawned",
    "same-as",
];

/// How a relation leads from one entity to another. A `Flow` hands an identity on: what happens on its far side because of it
/// happens after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    Flow,
    Bond,
}

/// The relations that lead; all others say what an identity did, and join nothing.
pub const LEADS: [(&str, Lead); 6] = [
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
    assert!(LEADS.iter().all(|(kind, _)| RELATION_KINDS.contains(kind)));
}

/// `from` did `kind` to `to`, `count` times within one bucket of event time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    pub tenant: Arc<str>,
    pub from: Entity,
    /// One of `RELATION_KINDS`.
    pub kind: Arc<str>,
    pub to: Entity,
    pub first_time: Micros,
    pub last_time: Micros,
    pub count: u64,
    /// The event that showed it first: least (time, event id).
    pub event_id: Arc<str>,
    pub layer: Arc<str>,
}

type Key = (Arc<str>, Entity, Arc<str>, Entity, Micros);

impl Relation {
    /// Start of the bucket that the relation falls in.
    pub fn bucket(&self) -> Micros {
        self.first_time.div_euclid(RELATION_BUCKET) * RELATION_BUCKET
    }
}

/// Relations merged per (tenant, from, kind, to, bucket). Merging is commutative and associative: any order gives the same set.
#[derive(Clone, Debug, Default)]
pub struct RelationSet(HashMap<Key, Relation, RandomState>);

impl RelationSet {
    pub fn add(&mut self, relation: Relation) {
        let key = (
            relation.tenant.clone(),
            relation.from.clone(),
            relation.kind.clone(),
            relation.to.clone(),
            relation.bucket(),
        );
        match self.0.get_mut(&key) {
            Some(held) => {
                if (relation.first_time, &relation.event_id) < (held.first_time, &held.event_id) {
                    held.event_id = relation.event_id;
                    held.layer = relation.layer;
                }
                held.first_time = held.first_time.min(relation.first_time);
                held.last_time = held.last_time.max(relation.last_time);
                held.count += relation.count;
            }
            None => {
                self.0.insert(key, relation);
            }
        }
    }

    pub fn extend(&mut self, relations: impl IntoIterator<Item = Relation>) {
        relations.into_iter().for_each(|relation| self.add(relation));
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything, in a fixed order, leaving the set empty.
    pub fn drain_sorted(&mut self) -> Vec<Relation> {
        let mut entries: Vec<(Key, Relation)> = self.0.drain().collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        entries.into_iter().map(|(_, relation)| relation).collect()
    }
}
