//! How each plugin fares.

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginStatus {
    Ok,
    /// It failed too often: it sees no rows until it is tried again, after a pause.
    Quarantined,
    /// Its file could not be used at all.
    Refused,
    /// Its file is gone.
    Removed,
}

impl PluginStatus {
    pub fn text(self) -> &'static str {
        match self {
            PluginStatus::Ok => "ok",
            PluginStatus::Quarantined => "quarantined",
            PluginStatus::Refused => "refused",
            PluginStatus::Removed => "removed",
        }
    }
}

impl fmt::Display for PluginStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// What a plugin did and suffered since the engine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginCounters {
    /// Batches that it was called with.
    pub batches: u64,
    pub rows: u64,
    pub detections: u64,
    pub relations: u64,
    /// Batches that it failed on at least once: trap, time, memory, error, invalid output.
    pub failures: u64,
    /// Rows that it could not be shown without failing.
    pub rows_skipped: u64,
    /// Rows that passed while it was quarantined.
    pub rows_unseen: u64,
    /// Rows that came later than the watermark.
    pub rows_late: u64,
    /// Rows that left the reorder buffer before the watermark because the buffer was full: order is not sure for them.
    pub rows_early: u64,
    /// States of shards that could not be restored or outgrew their limit, so that the shard began empty or went back to what
    /// was saved last.
    pub states_lost: u64,
    /// Keys that the plugin itself let go before their time, to stay within a bound.
    pub keys_evicted: u64,
    /// How often it was tried again after a quarantine.
    pub retries: u64,
    /// Lines beyond its allowance of log.
    pub log_dropped: u64,
    /// Wall time in the guest, in microseconds.
    pub time_us: u64,
    /// Most linear memory that one instance had, in bytes.
    pub memory_bytes: u64,
}

/// The state of one plugin at one moment. The moment itself is the caller's to add: the stage has no clock of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginHealth {
    /// The plugin's id, or its file's name while that is all that is known of it.
    pub plugin: String,
    pub version: String,
    /// SHA-256 of the file in hexadecimal; empty when it could not be read.
    pub digest: String,
    pub status: PluginStatus,
    /// Why it is refused or quarantined, else its last failure; empty when there was none.
    pub reason: String,
    pub counters: PluginCounters,
}

impl PluginHealth {
    /// Without what changes with every call.
    pub(super) fn steady(&self) -> PluginHealth {
        PluginHealth {
            counters: PluginCounters {
                time_us: 0,
                memory_bytes: 0,
                ..self.counters
            },
            ..self.clone()
        }
    }
}
