//! Raw payloads → events, relations and rejected records. Synchronous, without I/O and without a clock.
//!
//! A payload holds one record, an array of them, a document that wraps such an array, or several lines. Every record becomes an
//! event, a repeat that is counted (`duplicates`), or a `Rejected` row with its bytes: records = events + rejected + duplicates.
//! How a format's fields become columns is said in schemas/sources.

mod columns;
mod decode;
mod dedupe;
mod json;
mod mapping;
mod plan;
mod relate;
mod row;
mod text;
mod time;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub use dedupe::DEDUPE_IDS_MAX;
pub use json::NESTING_MAX;
pub use mapping::MappingError;
pub use row::FIELD_BYTES_MAX;

use crate::config::{MappingText, SourceSettings};
use crate::model::time::MINUTE;
use crate::model::{EventBatch, Id, Micros, RawBatch, Rejected, Relation};
use dedupe::Dedupe;
use plan::{Plan, Recogniser, Trie};

/// Longest record, in bytes. A gateway record with an image in it has a few million; longer ones are rejected.
pub const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest payload, in bytes: places in it count in 32 bits.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Bytes of a rejected record that are kept.
pub const REJECTED_BYTES_MAX: usize = 64 * 1024;

/// Records rejected one by one per payload; after that the rest of the payload is rejected as one, so that a payload of junk
/// elements does not grow a hundredfold on its way in.
pub const REJECTED_PER_PAYLOAD_MAX: u32 = 1000;

/// A time further ahead of the ingest time than this is flagged `future_time` and does not move the watermark.
pub const FUTURE_MAX: Micros = 10 * MINUTE;

/// The format name that leaves the choice to the mappings' recognisers, record by record.
pub const AUTO: &str = "auto";

/// Compiled mappings and what is remembered of the logs' own ids.
pub struct Normalizer {
    plans: Vec<Plan>,
    auto: (Trie, Vec<Recogniser>),
    sources: HashMap<String, Source>,
    dedupe: Dedupe,
}

struct Source {
    name: Arc<str>,
    tenant: Arc<str>,
    /// `None`: the recognisers choose.
    plan: Option<usize>,
    lateness: Micros,
}

/// What became of a batch of payloads.
pub struct Normalized {
    pub events: EventBatch,
    pub relations: Vec<Relation>,
    pub rejected: Vec<Rejected>,
    /// Records found: events + rejected + duplicates.
    pub records: u64,
    pub duplicates: u64,
    /// Bytes of all payloads.
    pub bytes: u64,
    /// Newest event time that is the log's own and not ahead of the ingest time by more than `FUTURE_MAX`.
    pub newest_time: Option<Micros>,
}

/// A mapping as a person sees it in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    pub name: String,
    pub title: String,
    pub layer: String,
    /// How much later than its neighbours an event may be delivered, and why.
    pub lateness: Micros,
    pub lateness_reason: String,
}

impl Normalizer {
    /// Compiles the mappings of the build and the site's own, and finds each source's. A site's own mapping replaces the one of
    /// the build that has the same format name.
    ///
    /// # Errors
    /// A mapping file with a fault (file, line, column), or a source whose format no mapping has.
    pub fn new(sources: &[SourceSettings], own: &[MappingText]) -> Result<Normalizer, MappingError> {
        let mappings = mapping::all(own)?;
        let plans = mappings.iter().map(Plan::compile).collect::<Result<Vec<Plan>, _>>()?;
        let mut known = HashMap::new();
        for source in sources {
            let plan = plans.iter().position(|plan| *plan.format == *source.format);
            if plan.is_none() && source.format != AUTO {
                let valid: Vec<&str> = plans.iter().map(|plan| &*plan.format).collect();
                return Err(MappingError::UnknownFormat {
                    source_name: source.name.clone(),
                    format: source.format.clone(),
                    valid: valid.join(", "),
                });
            }
            let slowest = plans.iter().map(|plan| plan.lateness).max().unwrap_or(0);
            let lateness = source
                .lateness
                .unwrap_or(plan.map_or(slowest, |index| plans[index].lateness));
            let name: Arc<str> = source.name.as_str().into();
            let tenant = source.tenant.as_str().into();
            known.insert(
                source.name.clone(),
                Source {
                    name,
                    tenant,
                    plan,
                    lateness,
                },
            );
        }
        Ok(Normalizer {
            plans,
            auto: plan::recognisers(&mappings)?,
            sources: known,
            dedupe: Dedupe::new(DEDUPE_IDS_MAX),
        })
    }

    /// The formats of this build, by name.
    pub fn formats(&self) -> Vec<Format> {
        let format = |plan: &Plan| Format {
            name: plan.format.to_string(),
            title: plan.title.to_string(),
            layer: plan.layer.to_string(),
            lateness: plan.lateness,
            lateness_reason: plan.lateness_reason.to_string(),
        };
        self.plans.iter().map(format).collect()
    }

    /// Decodes the payloads of one input. `ingested` is when they were read. What cannot be decoded is in `rejected`.
    pub fn decode(&mut self, raw: &RawBatch, ingested: Micros) -> Normalized {
        decode::decode(self, raw, ingested)
    }

    /// Takes an event into the memory of ids, as when it had been decoded here: refills it after a restart. An `event_id` that is no
    /// id of ours is passed over.
    pub fn remember(&mut self, event_id: &str, raw_hash: i64, time: Micros) {
        if let Some(id) = Id::parse(event_id) {
            self.dedupe.check(id, raw_hash, time);
        }
    }

    /// How much later than its newest neighbour an event of the source may come and still be in order: the configuration's, else
    /// the mapping's; 0 for an unknown source.
    pub fn lateness(&self, source: &str) -> Micros {
        self.sources.get(source).map_or(0, |source| source.lateness)
    }

    /// Layers of the stack that the source's events can belong to.
    pub fn layers(&self, source: &str) -> BTreeSet<Arc<str>> {
        let plans = match self.sources.get(source).map(|source| source.plan) {
            Some(Some(plan)) => &self.plans[plan..=plan],
            Some(None) => &self.plans[..],
            None => &[],
        };
        plans.iter().map(|plan| Arc::from(&*plan.layer)).collect()
    }
}
