//! The facts a batch's records state, counted while they are still borrowed text and made into relations once per batch.

use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;

use super::plan::Plan;
use crate::model::relation::RELATION_BUCKET;
use crate::model::{Entity, EventSchema, Id, Micros, Relation, RelationSet};

/// (mapping, relation of that mapping, from, to, bucket of event time); texts are numbers of `Facts::texts`.
type Key = (u16, u16, u32, u32, i64);

struct Fact {
    first_time: Micros,
    last_time: Micros,
    count: u64,
    event: Id,
    /// Layer of that event.
    layer: u32,
}

#[derive(Default)]
pub struct Facts {
    numbers: HashMap<Arc<str>, u32, RandomState>,
    texts: Vec<Arc<str>>,
    held: HashMap<Key, Fact, RandomState>,
}

impl Facts {
    /// The number of `text` in this batch.
    pub fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let (text, number): (Arc<str>, u32) = (text.into(), self.texts.len() as u32);
        self.texts.push(text.clone());
        self.numbers.insert(text, number);
        number
    }

    /// The relation of that number in that mapping, stated by an event of a layer (a number, as `from` and `to` are).
    pub fn add(
        &mut self,
        (plan, relation): (usize, usize),
        from: u32,
        to: u32,
        layer: u32,
        (time, event): (Micros, Id),
    ) {
        let key = (plan as u16, relation as u16, from, to, time.div_euclid(RELATION_BUCKET));
        let fact = self.held.entry(key).or_insert(Fact {
            first_time: time,
            last_time: time,
            count: 0,
            event,
            layer,
        });
        if (time, event) < (fact.first_time, fact.event) {
            fact.event = event;
            fact.layer = layer;
        }
        fact.first_time = fact.first_time.min(time);
        fact.last_time = fact.last_time.max(time);
        fact.count += 1;
    }

    /// As relations, in a fixed order.
    pub fn into_relations(self, plans: &[Plan], tenant: &Arc<str>) -> Vec<Relation> {
        let columns = EventSchema::get().columns();
        // By column and text: an entity is an end of many relations.
        let mut entities: HashMap<(usize, u32), Option<Entity>, RandomState> = HashMap::default();
        let mut entity = |column: usize, text: u32| {
            let canonical = || {
                let kind = columns.get(column)?.entity.as_deref()?;
                Entity::canonical(kind, self.texts.get(text as usize)?)
            };
            entities.entry((column, text)).or_insert_with(canonical).clone()
        };
        let mut set = RelationSet::default();
        for ((plan, relation, from, to, _), fact) in &self.held {
            let plan = &plans[usize::from(*plan)];
            let relation = &plan.relations[usize::from(*relation)];
            let (Some(from), Some(to)) = (entity(relation.from, *from), entity(relation.to, *to)) else {
                continue;
            };
            if from == to {
                continue;
            }
            set.add(Relation {
                tenant: tenant.clone(),
                from,
                kind: Arc::clone(&relation.kind),
                to,
                first_time: fact.first_time,
                last_time: fact.last_time,
                count: fact.count,
                event_id: fact.event.to_string().into(),
                layer: self.texts.get(fact.layer as usize).cloned().unwrap_or_default(),
            });
        }
        set.drain_sorted()
    }
}
