//! What one epoch holds until it is durable.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;

use crate::model::{Detection, EventBatch, Incident, Micros, Rejected, Relation, RelationSet};
use crate::store::{self, StoreError, Table};

/// Rows of the epoch that is being collected.
pub struct EpochRows {
    pub number: u64,
    tables: BTreeMap<Table, Vec<RecordBatch>>,
    /// All relations of the epoch, merged: what becomes durable.
    relations: RelationSet,
    /// Relations since they were last shown, as readers see them before the epoch is durable.
    fresh_relations: RelationSet,
    shown_relations: Vec<RecordBatch>,
    /// An input moved: the epoch is worth making durable even without rows.
    pub moved: bool,
    pub bytes: usize,
    began: Instant,
    /// Rows were added since the tail was last published.
    pub unpublished: bool,
}

impl EpochRows {
    pub fn new(number: u64) -> EpochRows {
        EpochRows {
            number,
            tables: BTreeMap::new(),
            relations: RelationSet::default(),
            fresh_relations: RelationSet::default(),
            shown_relations: Vec::new(),
            moved: false,
            bytes: 0,
            began: Instant::now(),
            unpublished: false,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.relations.is_empty() && self.fresh_relations.is_empty() && !self.moved
    }

    /// Whether it is time to make the epoch durable.
    pub fn is_due(&self, interval: Duration, bytes: usize) -> bool {
        !self.is_empty() && (self.bytes >= bytes || self.is_old(interval))
    }

    /// Whether it was begun so long ago that it would be due, had it anything to hold.
    pub fn is_old(&self, interval: Duration) -> bool {
        self.began.elapsed() >= interval
    }

    pub fn add(&mut self, table: Table, batch: RecordBatch) {
        if batch.num_rows() > 0 {
            self.tables.entry(table).or_default().push(batch);
            self.unpublished = true;
        }
    }

    pub fn add_events(&mut self, events: &EventBatch) {
        self.add(Table::Events, events.batch().clone());
    }

    pub fn add_rejected(&mut self, rejected: &[Rejected]) -> Result<(), StoreError> {
        if !rejected.is_empty() {
            self.add(Table::Rejected, store::rejected_to_batch(rejected)?);
        }
        Ok(())
    }

    pub fn add_detections(&mut self, detections: &[Detection]) -> Result<(), StoreError> {
        if !detections.is_empty() {
            self.add(Table::Detections, store::detections_to_batch(detections)?);
        }
        Ok(())
    }

    pub fn add_relations(&mut self, relations: &[Relation]) {
        self.fresh_relations.extend(relations.iter().cloned());
        self.unpublished |= !relations.is_empty();
    }

    pub fn add_incidents(&mut self, incidents: &[Incident], now: Micros) -> Result<(), StoreError> {
        if incidents.is_empty() {
            return Ok(());
        }
        for (table, batch) in store::incidents_to_batches(incidents, now)? {
            self.add(table, batch);
        }
        Ok(())
    }

    /// The rows as readers may see them now.
    pub fn tail(&mut self) -> Result<BTreeMap<Table, Vec<RecordBatch>>, StoreError> {
        self.unpublished = false;
        let fresh = self.fresh_relations.drain_sorted();
        if !fresh.is_empty() {
            self.shown_relations.push(store::relations_to_batch(&fresh)?);
            self.relations.extend(fresh);
        }
        let mut tables = self.tables.clone();
        if !self.shown_relations.is_empty() {
            tables.insert(Table::RelationParts, self.shown_relations.clone());
        }
        Ok(tables)
    }

    /// The rows as they become durable.
    pub fn seal(mut self) -> Result<BTreeMap<Table, Vec<RecordBatch>>, StoreError> {
        let fresh = self.fresh_relations.drain_sorted();
        self.relations.extend(fresh);
        let relations = self.relations.drain_sorted();
        if !relations.is_empty() {
            self.tables
                .insert(Table::RelationParts, vec![store::relations_to_batch(&relations)?]);
        }
        Ok(self.tables)
    }
}
