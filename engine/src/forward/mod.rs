//! Alerts on their way to a SIEM: incidents → alert journal → OCSF 1.8.0 Incident Findings → webhook, syslog.
//!
//! The journal ([`Journal`]) is the record of what every revision of an incident held: a revision number is given there, and it is on
//! disk before anything leaves. Each sink has a durable cursor into the journal and a task of its own ([`Forwarder`]), so that a
//! receiver that is down costs nothing but delay and never holds up another.
//!
//! What receivers may rely on: a pair (incident, revision) may arrive twice, never with two contents, and none is missed. The one
//! exception is a record that the receiver itself refuses (HTTP 4xx, but for those that speak of the URL or the secret): it is kept in
//! `NAME.dead.ndjson`, logged and counted.

mod journal;
mod ocsf;
mod pace;
mod record;
mod sink;
mod syslog;
mod webhook;
mod worker;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

pub use journal::Journal;
pub use ocsf::incident_finding;
pub use record::{JournalReader, Record};
pub use sink::check;
pub use worker::{Forwarder, SinkStatus};

#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Whether retrying helps depends on the cause: a full disk yes, a missing permission no.
    #[error("alert journal: cannot {action} {path}: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },

    #[error(
        "alert journal: {path} is damaged at byte {offset}, and what was durable lies behind it, so no interrupted write explains it. \
         Restore the file, or move it aside and accept that alerts in it that were not sent yet are lost"
    )]
    Damaged { path: PathBuf, offset: u64 },

    #[error(
        "alert journal: the record at byte {offset} of {path} was written whole but cannot be read: {reason}. Nothing was changed. Run \
         the version that wrote it until every receiver has its alerts, or move the journal aside and accept that alerts in it that \
         were not sent yet are lost. Retrying does not help"
    )]
    Foreign { path: PathBuf, offset: u64, reason: String },

    #[error(
        "alert journal: segment {path} is missing, yet a sink has not passed record {position}. Restore it, or remove the sink's cursor"
    )]
    Missing { path: PathBuf, position: u64 },

    #[error("alert journal: {path} is in use by another process; one engine at a time can write to a data directory")]
    InUse { path: PathBuf },

    #[error("alert journal: incident {incident_id} cannot be written: {reason}. Retrying does not help")]
    Unwritable { incident_id: String, reason: String },

    #[error(
        "alert journal: an earlier write failed, so what is on disk is unknown until the journal is opened again: {reason}"
    )]
    Broken { reason: String },

    /// Not the configuration's fault: that was checked when it was read. Retrying does not help.
    #[error("forward `{name}`: no HTTP client can be set up on this machine: {reason}")]
    Client { name: String, reason: String },

    /// Retrying helps once the receiver is up.
    #[error("forward `{name}`: cannot reach {target}: {reason}")]
    Unreachable {
        name: String,
        target: String,
        reason: String,
    },
}

pub type Result<T> = std::result::Result<T, ForwardError>;

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ForwardError {
    move |source| ForwardError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Makes what was created, renamed or removed in `dir` durable: a file's own fsync does not cover its name.
fn sync_dir(dir: &Path) -> Result<()> {
    std::fs::File::open(dir)
        .and_then(|file| file.sync_all())
        .map_err(io_error("sync the directory", dir))
}
