//! What a Sentrail detector is written against.
//!
//! A detector is a crate that implements [`Detector`] and names it in [`export!`]. `cargo xtask plugins` makes a sandboxed
//! WebAssembly component of it; on every other target the same crate is an ordinary library, so that its tests and
//! benchmarks run natively.
//!
//! ```
//! use sentrail_plugin::{Batch, Detector, Findings, Manifest, Rule, Severity, col};
//!
//! const ROOT: Rule = Rule {
//!     id: "root-use",
//!     title: "The root user acted",
//!     description: "Root has no limits. Find out who used it and why; lock its credentials away.",
//!     severity: Severity::High,
//!     techniques: &["T1078.004"],
//! };
//!
//! struct RootUse;
//!
//! impl Detector for RootUse {
//!     type Config = ();
//!     type State = ();
//!
//!     fn new((): ()) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!     fn manifest(&self) -> Manifest {
//!         Manifest {
//!             id: "root-use",
//!             version: env!("CARGO_PKG_VERSION"),
//!             description: "Use of a cloud account's root user.",
//!             layers: &["cloud"],
//!             columns: &[col::ACTOR_USER_TYPE.name],
//!             rules: &[&ROOT],
//!             ..Manifest::EMPTY
//!         }
//!     }
//!     fn detect(&self, _state: &mut (), batch: &Batch, out: &mut Findings) {
//!         let kind = batch.text(col::ACTOR_USER_TYPE);
//!         for row in batch.rows() {
//!             if kind.get(row) == Some("Root") {
//!                 out.detect(&ROOT, row).message("the root user made a call");
//!             }
//!         }
//!     }
//! }
//! sentrail_plugin::export!(RootUse);
//! ```
//!
//! Two rules keep results the same however the stream is cut into batches. What must be remembered from row to row lives in
//! [`Detector::State`], whose parts run on event time and are bounded: [`Keyed`] holds one of them per key, [`SlidingSum`],
//! [`RecentSet`], [`DistinctCount`] and [`HeavyHitters`] count, [`FirstSeen`], [`Places`], [`Ewma`] and [`Hours`] know what is usual,
//! [`Resemblance`] compares texts, [`Session`] ends with a silence, and [`Alarm`] (in [`Burst`] and [`Spread`] with what it watches) says
//! when a number is worth a word;
//! [`Detector::detect`] takes `&self` so that nothing else can remember. And a detection refers to rows of its own batch, so
//! a rule that needed many rows to decide names the deciding row alone.

#[cfg(test)]
extern crate self as sentrail_plugin;

mod batch;
mod config;
mod detector;
mod digest;
mod findings;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
mod host;
mod login;
mod manifest;
mod matcher;
mod members;
mod network;
mod prompt;
mod search;
mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod utf8;

pub use batch::{
    Batch, Bool, Column, Data, Float64, Int64, Kind, Numbers, Row, Text, TextColumn, TextList, TextLists, Texts,
    Timestamp, Values,
};
pub use config::Config;
#[doc(hidden)]
pub use config::schema_of;
pub use detector::{Detector, Instance};
pub use digest::sha256;
pub use findings::{Detection, Entity, Evidence, Findings, Relation};
pub use host::{Level, log};
pub use login::Login;
pub use manifest::{Manifest, Rule, Severity};
pub use matcher::Patterns;
pub use members::{Difference, Member, Members};
pub use network::network;
pub use prompt::asked;
pub use search::Search;
/// For reading the JSON text of columns such as `api_request_data`.
pub use serde_json as json;
pub use state::{
    Alarm, Burst, DistinctCount, Ewma, Familiarity, FirstSeen, Frequency, Habit, HeavyHitters, Hours, Inserted,
    KEYED_BYTES_MAX, Keyed, Places, RecentSet, Resemblance, Session, SlidingSum, Spread, Unusual, hash, read_state,
};
pub use {aho_corasick, serde};

/// The event columns by name, each with its type.
pub mod col {
    use crate::batch::{Bool, Column, Float64, Int64, Kind, Text, TextList, Timestamp};
    include!(concat!(env!("OUT_DIR"), "/columns.rs"));
}

/// The kinds of entity that detections and relations may name.
pub mod entity {
    include!(concat!(env!("OUT_DIR"), "/entities.rs"));
}

/// Microseconds in a second, the unit of every time here.
pub const SECOND: i64 = 1_000_000;
/// Microseconds in a minute.
pub const MINUTE: i64 = 60 * SECOND;
/// Microseconds in an hour.
pub const HOUR: i64 = 60 * MINUTE;
/// Microseconds in a day.
pub const DAY: i64 = 24 * HOUR;
