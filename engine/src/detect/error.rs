//! What can go wrong in this stage.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use crate::config::ConfigError;

/// Why the stage cannot start at all. What is wrong with one plugin is told in its health instead.
#[derive(Debug, Error)]
pub enum DetectError {
    #[error("[plugins] dir `{}` cannot be read: {error}; it must be a directory that holds the plugins' .wasm files", dir.display())]
    Dir { dir: PathBuf, error: std::io::Error },
    #[error(transparent)]
    Rules(#[from] ConfigError),
    #[error("the plugin sandbox does not start: {reason}")]
    Engine { reason: String },
}

/// In what way a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallFault {
    /// No instance could be made.
    Start,
    Trap,
    Time,
    Memory,
    /// The guest returned an error.
    Refused,
    /// It handed back what the contract does not allow.
    Output,
}

/// Why one call failed; the instance is gone with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallError {
    pub fault: CallFault,
    pub reason: String,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault {
            CallFault::Start => "start",
            CallFault::Trap => "trap",
            CallFault::Time => "time limit",
            CallFault::Memory => "memory limit",
            CallFault::Refused => "error",
            CallFault::Output => "invalid output",
        };
        write!(f, "{fault}: {}", self.reason)
    }
}

/// `text`, cut at a character's edge to at most `bytes_max` bytes.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
