//! What readers see: an immutable picture of all tables, the rows that are not yet on disk included.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use deltalake::DeltaTable;

use super::tables::Table;

/// All tables at one moment. Whoever holds it sees the same rows however often it looks.
#[derive(Clone)]
pub struct View {
    /// The newest epoch that is on disk.
    pub epoch: u64,
    pub tables: BTreeMap<Table, TableView>,
}

#[derive(Clone)]
pub struct TableView {
    /// The table on disk, at a version that does not move.
    pub(super) delta: DeltaTable,
    /// Rows that are in no file yet, in the table's row schema.
    pub tail: Vec<RecordBatch>,
}

impl std::fmt::Debug for Views {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Views(epoch {})", self.current().epoch)
    }
}

impl View {
    pub(super) fn new(epoch: u64, deltas: &BTreeMap<Table, DeltaTable>, tails: &Tails) -> View {
        let tables = deltas
            .iter()
            .map(|(table, delta)| {
                let tail = tails
                    .values()
                    .filter_map(|part| part.get(table))
                    .flatten()
                    .cloned()
                    .collect();
                (
                    *table,
                    TableView {
                        delta: delta.clone(),
                        tail,
                    },
                )
            })
            .collect();
        View { epoch, tables }
    }
}

/// Unflushed rows by the epoch they belong to.
pub(super) type Tails = BTreeMap<u64, BTreeMap<Table, Vec<RecordBatch>>>;

/// The newest view, to publish to and to read from. Clones share it.
#[derive(Clone)]
pub struct Views(Arc<Mutex<Published>>);

struct Published {
    deltas: BTreeMap<Table, DeltaTable>,
    tails: Tails,
    view: Arc<View>,
}

impl Views {
    pub(super) fn new(epoch: u64, deltas: BTreeMap<Table, DeltaTable>) -> Views {
        let view = Arc::new(View::new(epoch, &deltas, &Tails::new()));
        Views(Arc::new(Mutex::new(Published {
            deltas,
            tails: Tails::new(),
            view,
        })))
    }

    /// For a process that only reads: a view that stays until [`Views::follow`] brings another.
    pub fn fixed(view: Arc<View>) -> Views {
        Views(Arc::new(Mutex::new(Published {
            deltas: BTreeMap::new(),
            tails: Tails::new(),
            view,
        })))
    }

    /// The newest view.
    pub fn current(&self) -> Arc<View> {
        self.with(|published| published.view.clone())
    }

    /// Replaces the rows of `epoch` that are not on disk yet. Ignored once the epoch is: its rows are in the files then.
    pub fn publish_tail(&self, epoch: u64, tables: BTreeMap<Table, Vec<RecordBatch>>) {
        self.with(|published| {
            if epoch > published.view.epoch {
                published.tails.insert(epoch, tables);
                published.view = Arc::new(View::new(published.view.epoch, &published.deltas, &published.tails));
            }
        });
    }

    /// Moves to the tables with `epoch` in their files; in the same step its rows leave the tail.
    pub(super) fn commit(&self, epoch: u64, deltas: BTreeMap<Table, DeltaTable>) {
        self.with(|published| {
            published.deltas = deltas;
            published.tails.retain(|held, _| *held > epoch);
            published.view = Arc::new(View::new(epoch, &published.deltas, &published.tails));
        });
    }

    /// Shows `view` from now on; for views that follow another process's.
    pub fn follow(&self, view: View) {
        self.with(|published| published.view = Arc::new(view));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Published) -> T) -> T {
        // Every change is a handful of assignments after which the picture is whole, so a panic elsewhere leaves it whole too.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
