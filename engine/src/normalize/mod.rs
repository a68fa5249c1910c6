//! Raw payloads → events, relations and rejected records. Synchronous, without I/O and without a clock.
//!
//! A payload holds one record, an array of them, a document that wraps such an array, or several lines. Every record becomes an
//! event, a repeat that is counted (`duplicates`), or a `Rejected` row with its bytes: records = events + rejected + duplicates.
//! How a format's fields become columns is said in schemas/sources.

mod address;
mod captures;
mod columns;
mod compile;
mod decode;
mod dedupe;
mod draft;
mod fill;
mod finding;
mod json;
mod lines;
mod mapping;
mod path;
mod pattern;
mod plan;
mod recognise;
mod record;
mod relate;
mod row;
mod text;
mod time;
mod trie;
mod untaken;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub use dedupe::DEDUPE_IDS_MAX;
pub use draft::draft;
pub use fill::Fills;
pub use json::NESTING_MAX;
use mapping::Mapping;
pub use mapping::MappingError;
pub use row::FIELD_BYTES_MAX;

use crate::config::{MappingText, SourceKind, SourceSettings};
use crate::model::time::MINUTE;
use crate::model::{Detection, EventBatch, EventSchema, Id, Micros, RawBatch, Rejected, Relation};
use dedupe::Dedupe;
use plan::{Known, Plan};
use trie::Trie;

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

/// What a source of format `auto` waits for at most, unless its configuration says otherwise: the logs that are delivered hours late
/// must not hold back all others that might come from it.
pub const AUTO_LATENESS_MAX: Micros = 15 * MINUTE;

/// The format name that leaves the choice to the mappings' recognisers, record by record.
pub const AUTO: &str = "auto";

/// Compiled mappings and what is remembered of the logs' own ids.
pub struct Normalizer {
    plans: Vec<Plan>,
    /// Where a source is `auto`.
    auto: Option<Auto>,
    sources: HashMap<String, Source>,
    dedupe: Dedupe,
}

/// What records are recognised by.
struct Auto {
    /// What every format is known by.
    any: Known,
    /// The same together with all paths of one format, for each.
    expecting: Vec<Known>,
}

impl Auto {
    fn new(mappings: &[Mapping], plans: &[Plan]) -> Result<Auto, MappingError> {
        let expecting = plans.iter().map(|plan| plan::known(mappings, plan.trie.clone()));
        Ok(Auto {
            any: plan::known(mappings, Trie::default())?,
            expecting: expecting.collect::<Result<_, _>>()?,
        })
    }
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
    /// Findings of other tools that the records state.
    pub detections: Vec<Detection>,
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
    pub layers: Vec<String>,
    /// How much later than its neighbours an event may be delivered, and why.
    pub lateness: Micros,
    pub lateness_reason: String,
    /// What a record is known by; one of these is enough.
    pub known_by: Vec<String>,
    /// Records are lines of another layout than JSON.
    pub lines: bool,
    /// The log has an id of its own for a record.
    pub own_id: bool,
    /// Event columns that it can fill.
    pub columns: Vec<String>,
    /// Relations that a record can state: `COLUMN kind COLUMN`.
    pub relations: Vec<String>,
    /// Records can be findings, which become detections.
    pub findings: bool,
    /// Where in a record it looks: the keys that lead to each value, down to the first array.
    pub paths: Vec<Vec<String>>,
}

impl Format {
    fn of(plan: &Plan) -> Format {
        let schema = EventSchema::get();
        let name = |index: usize| schema.columns().get(index).map(|column| column.name.clone());
        let mut columns: Vec<usize> = plan.columns.iter().map(|column| column.column).collect();
        columns.sort_unstable();
        let mut relations: Vec<String> = Vec::new();
        for relation in &plan.relations {
            let ends = name(relation.from).zip(name(relation.to));
            let text = ends.map(|(from, to)| format!("{from} {} {to}", relation.kind));
            relations.extend(text.filter(|text| !relations.contains(text)));
        }
        Format {
            name: plan.format.to_string(),
            title: plan.title.to_string(),
            layers: plan.layers.iter().map(ToString::to_string).collect(),
            lateness: plan.lateness,
            lateness_reason: plan.lateness_reason.to_string(),
            known_by: plan.recogniser.describe(),
            lines: plan.line.is_some(),
            own_id: !plan.id.is_empty(),
            columns: columns.into_iter().filter_map(name).collect(),
            relations,
            findings: plan.detection.is_some(),
            paths: plan.trie.paths(),
        }
    }
}

impl Normalizer {
    /// Compiles the mappings of the build and the site's own, and finds each source's. A site's own mapping replaces the one of
    /// the build that has the same format name.
    ///
    /// # Errors
    /// A mapping file with a fault (file, line, column), or a source whose format no mapping has.
    pub fn new(sources: &[SourceSettings], own: &[MappingText]) -> Result<Normalizer, MappingError> {
        Normalizer::with(mapping::all(own)?, sources)
    }

    /// One mapping without those of the build, and one source, which has the name of its format: for trying a mapping.
    ///
    /// # Errors
    /// A fault in the mapping (file, line, column).
    pub fn alone(own: &MappingText) -> Result<Normalizer, MappingError> {
        let mapping = Mapping::parse(&own.file, &own.text)?;
        let source = SourceSettings {
            name: mapping.content.format.clone(),
            tenant: "default".to_owned(),
            format: mapping.content.format.clone(),
            lateness: None,
            silent_after: Default::default(),
            kind: SourceKind::File {
                glob: own.file.clone(),
                follow: false,
            },
        };
        Normalizer::with(vec![mapping], &[source])
    }

    fn with(mappings: Vec<Mapping>, sources: &[SourceSettings]) -> Result<Normalizer, MappingError> {
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
            let slowest = slowest.min(AUTO_LATENESS_MAX);
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
        let auto = match sources.iter().any(|source| source.format == AUTO) {
            true => Some(Auto::new(&mappings, &plans)?),
            false => None,
        };
        Ok(Normalizer {
            plans,
            auto,
            sources: known,
            dedupe: Dedupe::new(DEDUPE_IDS_MAX),
        })
    }

    /// All formats, by name.
    pub fn formats(&self) -> Vec<Format> {
        self.plans.iter().map(Format::of).collect()
    }

    /// Paths in `raw`, an event's record of that format, that no column takes.
    pub fn untaken(&self, format: &str, raw: &str) -> Vec<String> {
        let plan = self.plans.iter().find(|plan| *plan.format == *format);
        plan.map(|plan| untaken::untaken(plan, raw)).unwrap_or_default()
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

    /// Keys under which a document of the source may hold its records in an array.
    pub fn wrappers(&self, source: &str) -> Arc<[Box<str>]> {
        let plans = match self.sources.get(source).map(|source| source.plan) {
            Some(Some(plan)) => &self.plans[plan..=plan],
            Some(None) => &self.plans[..],
            None => &[],
        };
        plans.iter().filter_map(|plan| plan.unwrap.clone()).collect()
    }

    /// From how many comma-separated values on a line can be a record of the source that goes on behind its line feed: 0 where all
    /// records are such values, `None` where none is.
    pub fn row_fields(&self, source: &str) -> Option<usize> {
        match self.sources.get(source)?.plan {
            Some(plan) => self.plans[plan].row_fields().map(|_| 0),
            None => self.plans.iter().filter_map(Plan::row_fields).min(),
        }
    }

    /// Layers of the stack that the source's events can belong to.
    pub fn layers(&self, source: &str) -> BTreeSet<Arc<str>> {
        let plans = match self.sources.get(source).map(|source| source.plan) {
            Some(Some(plan)) => &self.plans[plan..=plan],
            Some(None) => &self.plans[..],
            None => &[],
        };
        let layers = plans.iter().flat_map(|plan| &plan.layers);
        layers.map(|layer| Arc::from(&**layer)).collect()
    }
}
