//! What a source hands on: payloads as they came, where each stood, and how far the input is read with them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::offsets::{InputId, InputOffset};

/// Where a payload stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// Written `topic/partition/offset`.
    Kafka {
        topic: Arc<str>,
        partition: i32,
        offset: i64,
    },
    /// Written `path:record`, records counted from 1.
    File { path: Arc<str>, record: u64 },
    /// Written `spool/record`: the record's number in its source's spool, counted from 0.
    Spool { record: u64 },
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::Kafka {
                topic,
                partition,
                offset,
            } => write!(f, "{topic}/{partition}/{offset}"),
            Position::File { path, record } => write!(f, "{path}:{record}"),
            Position::Spool { record } => write!(f, "spool/{record}"),
        }
    }
}

/// One message of Kafka or syslog, one record that came over HTTP, one line of a file, or one whole document: holds one record or, in
/// an array or a wrapper, several.
#[derive(Clone, Debug)]
pub struct Payload {
    pub bytes: Bytes,
    pub position: Position,
    /// Only the beginning of a record that is longer than its source's limit or breaks off: nothing to decode, only to reject.
    pub truncated: bool,
    /// What the carrier said beside the payload; `None` when it said nothing.
    pub attributes: Option<Arc<Attributes>>,
}

/// What a carrier says beside a payload, by name: `kafka.key` and `kafka.header.NAME`; `syslog.NAME`, the fields of the header;
/// `hec.NAME`, the envelope's metadata, and `hec.field.NAME`. Mappings read them where they name them.
pub type Attributes = BTreeMap<Box<str>, Bytes>;

/// Payloads of one input in its order. `next` is where the input goes on after the last of them, durable with what they become.
#[derive(Clone, Debug)]
pub struct RawBatch {
    /// Name of the configured source.
    pub source: Arc<str>,
    pub input: InputId,
    pub payloads: Vec<Payload>,
    /// What payloads stand in one behind the other, where little else stands in it: text columns point into it, and keep it in memory.
    /// Payloads that stand elsewhere are copied.
    pub block: Option<Bytes>,
    pub next: InputOffset,
}
