//! How far each input has been read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One partition, one file or the spool of a source, written `source|topic/partition`, `source|path` or `source|spool`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InputId(pub Arc<str>);

impl InputId {
    pub fn kafka(source: &str, topic: &str, partition: i32) -> InputId {
        InputId(format!("{source}|{topic}/{partition}").into())
    }

    pub fn file(source: &str, path: &str) -> InputId {
        InputId(format!("{source}|{path}").into())
    }

    /// What a listening source has accepted: one input, whoever sent it.
    pub fn spool(source: &str) -> InputId {
        InputId(format!("{source}|spool").into())
    }
}

impl fmt::Display for InputId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an input goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputOffset {
    /// The next offset to read: last + 1.
    Kafka { next: i64 },
    /// The number of the next record in the source's spool; they are counted from 0 and never used twice.
    Spool { next: u64 },
    /// Bytes (after decompression) and records already read. `fingerprint` is a hash of the file's first bytes (`head_bytes` of
    /// them), by which a file is known again after it was renamed or replaced.
    File {
        bytes: u64,
        records: u64,
        fingerprint: u64,
        head_bytes: u64,
        /// Brackets that are open there, when the elements of a document's array are records: 1 in an array, 2 in an array in an
        /// object; 0 between records.
        #[serde(default)]
        depth: u8,
    },
}

/// All inputs' offsets: becomes durable with the epoch they belong to.
pub type Offsets = BTreeMap<InputId, InputOffset>;
