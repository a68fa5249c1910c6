//! The nouns every stage speaks: events, detections, relations, entities, incidents, offsets. No I/O, no clock.

pub mod case;
pub mod detection;
pub mod entity;
pub mod event;
pub mod id;
pub mod incident;
pub mod offsets;
pub mod phase;
pub mod raw;
pub mod relation;
pub mod severity;
pub mod silence;
pub mod technique;
pub mod text;
pub mod time;

pub use case::{Answer, Case, Change, Command, IncidentUpdate, NewSilence, Refusal, Standing, Verdict, WorkflowStatus};
pub use detection::{Detection, Rejected};
pub use entity::{Entity, EntityRole, RoledEntity};
pub use event::{ColumnType, EventBatch, EventColumn, EventSchema, LAYERS};
pub use id::Id;
pub use incident::{Finding, Incident, IncidentStatus, PathStep, ScorePart, Split};
pub use offsets::{InputId, InputOffset, Offsets};
pub use raw::{Attributes, Payload, Position, RawBatch};
pub use relation::{RELATION_KINDS, Relation, RelationSet};
pub use severity::Severity;
pub use silence::{About, Silence, SilencePart};
pub use text::{harmless, one_line, shorten_hashes};
pub use time::Micros;
