//! Lookups: event columns filled from tables that stand beside the logs, such as inventories, directories, networks and geography.
//!
//! The join is in memory. Files are read, and read again when they change, by tasks of their own; a batch sees one table from its first
//! row to its last. A column is filled only where the log left it null.

mod cells;
mod index;
mod join;
mod load;
mod maxmind;
mod reload;
mod rows;
mod table;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use arrow::error::ArrowError;
use tokio::task::JoinSet;

use crate::config::{LookupFrom, LookupSettings};
use crate::model::{EventBatch, Micros};
use crate::watch::Stamp;

pub use load::load;
pub use rows::RowsReader;
pub use table::Table;

/// A table cannot be made of what the configuration names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[[lookup]] name = \"{name}\": {reason}")]
pub struct LookupError {
    pub name: String,
    /// Where and what: never a cell's text, which may be a person's.
    pub reason: String,
}

/// How a lookup stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupStatus {
    pub name: String,
    /// Of the table in use: rows, or nodes of the search tree of a MaxMind DB.
    pub rows: u64,
    /// When it was read.
    pub loaded: Micros,
    /// Tables that were read since the start.
    pub loads: u64,
    /// Attempts that gave no table.
    pub failures: u64,
    /// Why the newest could not be read: the table in use is an older one.
    pub trouble: Option<String>,
}

/// All lookups of a run. Their tasks end with this.
#[derive(Default)]
pub struct Lookups {
    lookups: Vec<Lookup>,
    tasks: JoinSet<()>,
}

struct Lookup {
    settings: Arc<LookupSettings>,
    slot: Arc<Slot>,
}

impl Lookups {
    /// Adds a lookup behind those that are there. A file is read again when it changes; the slot is for whoever asks a statement anew.
    pub fn add(&mut self, settings: Arc<LookupSettings>, loaded: Loaded) -> Arc<Slot> {
        let slot = Arc::new(Slot::new(&settings.name, loaded.table, loaded.time));
        if let LookupFrom::File { path, .. } = &settings.from {
            let follow = reload::follow(path.clone(), settings.clone(), slot.clone(), loaded.stamp);
            self.tasks.spawn(follow);
        }
        self.lookups.push(Lookup {
            settings,
            slot: slot.clone(),
        });
        slot
    }

    /// Runs a task until this goes.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// The events with what the tables say of them.
    pub fn apply(&self, events: EventBatch) -> Result<EventBatch, ArrowError> {
        self.lookups.iter().try_fold(events, |events, lookup| {
            join::join(events, &lookup.settings, &lookup.slot.table())
        })
    }

    pub fn status(&self) -> Vec<LookupStatus> {
        let status = |lookup: &Lookup| lookup.slot.with(|held| held.status.clone());
        self.lookups.iter().map(status).collect()
    }
}

/// A table, and what is known of where it came from.
pub struct Loaded {
    pub table: Table,
    pub time: Micros,
    /// Of the file, from before it was read.
    pub stamp: Option<Stamp>,
}

/// The table of one lookup: read by the pipeline, replaced by a task.
pub struct Slot(Mutex<Held>);

struct Held {
    table: Arc<Table>,
    status: LookupStatus,
}

impl Slot {
    fn new(name: &str, table: Table, loaded: Micros) -> Slot {
        let status = LookupStatus {
            name: name.to_owned(),
            rows: table.rows(),
            loaded,
            loads: 1,
            failures: 0,
            trouble: None,
        };
        tell(name, &table);
        Slot(Mutex::new(Held {
            table: Arc::new(table),
            status,
        }))
    }

    fn table(&self) -> Arc<Table> {
        self.with(|held| held.table.clone())
    }

    /// The next batch sees `table`.
    pub fn put(&self, table: Table, now: Micros) {
        let table = Arc::new(table);
        let old = self.with(|held| {
            held.status.rows = table.rows();
            held.status.loaded = now;
            held.status.loads += 1;
            held.status.trouble = None;
            tell(&held.status.name, &table);
            std::mem::replace(&mut held.table, table)
        });
        // Millions of rows are not freed while the pipeline waits.
        drop(old);
    }

    /// The table stays, and health says why.
    pub fn failed(&self, reason: String) {
        self.with(|held| {
            held.status.failures += 1;
            if held.status.trouble.as_deref() != Some(&reason) {
                tracing::warn!(lookup = held.status.name, "the table in use stays: {reason}");
                held.status.trouble = Some(reason);
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Held) -> T) -> T {
        // Every change is a handful of assignments.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn tell(name: &str, table: &Table) {
    let (told, rows) = (table.told(), table.rows());
    let (repeated, keyless) = (told.repeated, told.keyless);
    match told.digest.as_str() {
        // Statements are asked time and again.
        "" => tracing::debug!(lookup = name, rows, repeated, keyless, "lookup statement answered"),
        sha256 => tracing::info!(lookup = name, rows, repeated, keyless, sha256, "lookup table read"),
    }
    for path in &told.unseen {
        tracing::warn!(lookup = name, "none of the first records has `{path}`");
    }
}
