//! Sentrail: a streaming threat-correlation engine for AI infrastructure.
//!
//! Data travels one way: `source` → `normalize` → `lookup` → `detect` → `correlate` → `store`, and from there to `query`, `search` and
//! `forward`. Only `pipeline` wires them together. ARCHITECTURE.md has the map.

/// The C library's allocator keeps what its many arenas once held: twice the memory over a long run.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod model;

pub mod config;
mod listener;
pub mod redact;
pub mod source;
mod watch;

pub mod normalize;

pub mod lookup;

pub mod detect;

pub mod correlate;

pub mod triage;

pub mod store;

pub mod search;

pub mod query;

pub mod forward;

pub mod serve;

pub mod source_health;

pub mod sequence;

pub mod simulate;

pub mod pipeline;

pub mod cli;
