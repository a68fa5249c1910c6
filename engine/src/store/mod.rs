//! The store: one epoch's results become durable together or not at all.
//!
//! A Delta log is atomic for one table only, so an epoch is made in three steps. Its rows are written as Parquet files that no log
//! names yet, its state as a file. Then one manifest appears, whole and never over another, and with it the epoch exists. Then the
//! manifest's add actions are applied to every Delta log, each with the epoch as its application transaction. A start applies what
//! the manifests hold and a log lacks, and removes files that came to nothing; it never goes back.
//!
//! ```text
//! DIR/lock                    held by the one engine that writes
//! DIR/epochs/EPOCH.json       manifests, the newest few
//! DIR/state/EPOCH.bin         plugin and graph state
//! DIR/tables/TABLE/           a Delta table
//! ```

mod delta;
mod disk;
pub mod error;
pub mod failpoint;
mod manifest;
mod mend;
mod mirror;
mod parts;
mod provider;
pub mod rows;
pub mod tables;
pub mod view;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::RecordBatch;
use bytes::Bytes;
use datafusion::prelude::SessionContext;
use deltalake::DeltaTable;

use crate::model::Offsets;

pub use error::StoreError;
pub use failpoint::failpoint;
pub use mirror::{ViewReceiver, ViewSender};
pub use rows::{
    ExceptionPart, PluginHealth, RuleState, detections_from_batches, detections_to_batch, exceptions_to_batch,
    incidents_from_batches, incidents_to_batches, inhibitions_from_batches, inhibitions_to_batch,
    plugin_health_to_batch, rejected_to_batch, relations_from_batches, relations_to_batch, rules_to_batch,
    silences_from_batches, silences_to_batch,
};
pub use tables::Table;
pub use view::{TableView, View, Views};

use manifest::Manifest;
use view::Tails;

/// How often a reader looks again when an engine commits while it opens the tables …
const READ_TRIES: u32 = 40;
/// … and how long it waits in between: together longer than an epoch's commit takes.
const READ_PAUSE: Duration = Duration::from_millis(50);

/// What one epoch brings.
#[derive(Clone, Debug, Default)]
pub struct EpochData {
    /// Greater than every epoch before it.
    pub epoch: u64,
    /// Rows in the tables' row schemas.
    pub tables: BTreeMap<Table, Vec<RecordBatch>>,
    /// Where every input goes on: all of them, not only those that moved.
    pub offsets: Offsets,
    /// State that changed. An empty value takes a piece away.
    pub state: BTreeMap<String, Bytes>,
    /// Plugin id to the digest of the file that ran.
    pub plugins: BTreeMap<String, String>,
    /// Plugin id to the digest of its configuration.
    pub plugin_configs: BTreeMap<String, String>,
    /// Digest of the rules' file; empty where there is none.
    pub rules: String,
    /// Digest of the sequences; empty where there are none.
    pub sequences: String,
}

/// What the last run left.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The newest epoch; 0 when there is none yet.
    pub epoch: u64,
    pub offsets: Offsets,
    pub state: BTreeMap<String, Bytes>,
    pub plugins: BTreeMap<String, String>,
}

/// The data directory, open for writing.
pub struct Store {
    dir: PathBuf,
    newest: Manifest,
    deltas: BTreeMap<Table, DeltaTable>,
    views: Views,
    /// An epoch whose commit began and did not end well: its manifest may hold what a log lacks.
    unsettled: Option<u64>,
    /// Released when the process ends, however it ends.
    _lock: File,
}

impl Store {
    /// Opens the data directory, or makes one, and brings it to the state of its newest epoch.
    pub async fn open(dir: &Path) -> Result<(Store, Recovered), StoreError> {
        for part in [
            dir.to_path_buf(),
            dir.join("epochs"),
            dir.join("state"),
            dir.join("tables"),
        ] {
            disk::create_dir(&part)?;
        }
        disk::sync_dir(dir)?;
        let lock = wait_for_lock(dir).await?;
        mend::mend(dir).await?;
        let mut deltas = BTreeMap::new();
        for table in Table::ALL {
            deltas.insert(table, delta::load_or_create(dir, table).await?);
        }
        let manifests = Manifest::load_all(dir)?;
        roll_forward(dir, &manifests, &mut deltas).await?;
        let newest = manifests.into_iter().next_back().unwrap_or_else(Manifest::zero);
        refuse_lost_manifest(dir, newest.epoch, &deltas).await?;
        remove_unborn_files(dir, newest.epoch)?;
        Manifest::collect_garbage(dir)?;
        let recovered = Recovered {
            epoch: newest.epoch,
            offsets: newest.offsets.clone(),
            state: newest.read_state(dir)?,
            plugins: newest.plugins.clone(),
        };
        let views = Views::new(newest.epoch, deltas.clone());
        Ok((
            Store {
                dir: dir.to_path_buf(),
                newest,
                deltas,
                views,
                unsettled: None,
                _lock: lock,
            },
            recovered,
        ))
    }

    /// The newest view, for the pipeline to publish unflushed rows to and for readers.
    pub fn views(&self) -> Views {
        self.views.clone()
    }

    /// The newest epoch that is durable.
    pub fn epoch(&self) -> u64 {
        self.newest.epoch
    }

    /// Makes an epoch durable; gives the bytes of Parquet that it wrote. When this fails the epoch may or may not exist, and the store takes no other: open it again to know.
    pub async fn commit(&mut self, data: EpochData) -> Result<u64, StoreError> {
        if let Some(epoch) = self.unsettled {
            return Err(StoreError::Unsettled {
                epoch,
                dir: self.dir.clone(),
            });
        }
        if data.epoch <= self.newest.epoch {
            return Err(StoreError::EpochExists {
                epoch: data.epoch,
                dir: self.dir.clone(),
            });
        }
        self.unsettled = Some(data.epoch);
        self.write(data).await?;
        self.unsettled = None;
        let files = self.newest.tables.values().flatten();
        Ok(files.map(|file| u64::try_from(file.size).unwrap_or(0)).sum())
    }

    /// Makes an epoch durable that holds only these rows: everything else goes on as the epoch before left it.
    pub async fn commit_rows(&mut self, tables: BTreeMap<Table, Vec<RecordBatch>>) -> Result<u64, StoreError> {
        self.commit(EpochData {
            epoch: self.newest.epoch + 1,
            tables,
            offsets: self.newest.offsets.clone(),
            state: BTreeMap::new(),
            plugins: self.newest.plugins.clone(),
            plugin_configs: self.newest.plugin_configs.clone(),
            rules: self.newest.rules.clone(),
            sequences: self.newest.sequences.clone(),
        })
        .await
    }

    async fn write(&mut self, data: EpochData) -> Result<(), StoreError> {
        let (dir, before) = (self.dir.clone(), self.newest.clone());
        // Encoding and flushing files keeps a core and the disk busy: not on the threads that serve queries.
        let prepared = tokio::task::spawn_blocking(move || prepare(&dir, &before, data)).await;
        self.newest = prepared.map_err(|error| StoreError::Task(error.to_string()))??;
        for (table, adds) in self.newest.tables.clone() {
            if let Some(delta) = self.deltas.get_mut(&table) {
                failpoint("store.between_logs");
                delta::apply(&self.dir, table, delta, self.newest.epoch, adds).await?;
            }
        }
        failpoint("store.after_logs");
        self.views.commit(self.newest.epoch, self.deltas.clone());
        Manifest::collect_garbage(&self.dir)
    }

    /// Rows of a table in the newest view; see [`scan`].
    pub async fn scan(&self, table: Table, filter: Option<&str>) -> Result<Vec<RecordBatch>, StoreError> {
        scan(&self.views.current(), table, filter).await
    }
}

/// Rows of a table that meet `filter`, a SQL condition over its columns.
pub async fn scan(view: &View, table: Table, filter: Option<&str>) -> Result<Vec<RecordBatch>, StoreError> {
    let session = SessionContext::new();
    session.register_table(table.name(), view.provider(table)?)?;
    let mut rows = session.table(table.name()).await?;
    if let Some(filter) = filter {
        let condition = rows.parse_sql_expr(filter)?;
        rows = rows.filter(condition)?;
    }
    Ok(rows.collect().await?)
}

/// Everything up to and with the manifest.
fn prepare(dir: &Path, before: &Manifest, data: EpochData) -> Result<Manifest, StoreError> {
    failpoint("store.before_parquet");
    let mut tables = BTreeMap::new();
    for (table, batches) in data.tables {
        let adds = parts::write_table(&delta::table_dir(dir, table), table, data.epoch, &batches)?;
        if !adds.is_empty() {
            tables.insert(table, adds);
        }
    }
    failpoint("store.after_parquet");
    let state = before.write_state(dir, data.epoch, data.state)?;
    failpoint("store.after_state");
    let manifest = Manifest {
        epoch: data.epoch,
        offsets: data.offsets,
        state,
        plugins: data.plugins,
        plugin_configs: data.plugin_configs,
        rules: data.rules,
        sequences: data.sequences,
        tables,
        ..Manifest::zero()
    };
    failpoint("store.before_manifest");
    manifest.publish(dir)?;
    failpoint("store.after_manifest");
    Ok(manifest)
}

/// Applies what the manifests hold and a log lacks.
async fn roll_forward(
    dir: &Path,
    manifests: &[Manifest],
    deltas: &mut BTreeMap<Table, DeltaTable>,
) -> Result<(), StoreError> {
    for (table, delta) in deltas {
        let applied = delta::applied_epoch(*table, delta).await?;
        for manifest in manifests.iter().filter(|manifest| manifest.epoch > applied) {
            if let Some(adds) = manifest.tables.get(table) {
                tracing::info!(
                    table = table.name(),
                    epoch = manifest.epoch,
                    "rolling the table's log forward"
                );
                delta::apply(dir, *table, delta, manifest.epoch, adds.clone()).await?;
            }
        }
    }
    Ok(())
}

/// A log never has an epoch before its manifest appears. Where one has, the manifest was lost, and with it where every input goes on:
/// what looks as if it had come to nothing is data.
async fn refuse_lost_manifest(dir: &Path, newest: u64, deltas: &BTreeMap<Table, DeltaTable>) -> Result<(), StoreError> {
    for (table, delta) in deltas {
        let applied = delta::applied_epoch(*table, delta).await?;
        if applied > newest {
            return Err(StoreError::ManifestMissing {
                path: Manifest::path(dir, applied),
                table: *table,
                epoch: applied,
            });
        }
    }
    Ok(())
}

/// Removes Parquet files of epochs whose manifest never came to be.
fn remove_unborn_files(dir: &Path, newest: u64) -> Result<(), StoreError> {
    for path in disk::files_below(&dir.join("tables"))? {
        if parts::epoch_of(&path).is_some_and(|epoch| epoch > newest) {
            tracing::info!(path = %path.display(), "removing a file of an epoch that did not come to be");
            disk::remove(&path)?;
        }
    }
    Ok(())
}

/// Whether an engine could open the data directory now, and what it would find there. Makes nothing.
pub fn check(dir: &Path) -> Result<&'static str, StoreError> {
    let path = dir.join("lock");
    match path.try_exists() {
        Ok(true) => match lock(dir)? {
            Some(_) => Ok("no other engine runs on it"),
            None => Err(StoreError::Locked { dir: dir.to_path_buf() }),
        },
        Ok(false) if dir.exists() => Ok("no engine has run on it yet"),
        Ok(false) => Ok("an engine will make it"),
        Err(source) => Err(StoreError::io("look for", &path)(source)),
    }
}

/// The lock, for an engine. A reader that finishes a dead engine's epoch has it for a moment.
async fn wait_for_lock(dir: &Path) -> Result<File, StoreError> {
    for _ in 0..READ_TRIES {
        if let Some(lock) = lock(dir)? {
            return Ok(lock);
        }
        tokio::time::sleep(READ_PAUSE).await;
    }
    Err(StoreError::Locked { dir: dir.to_path_buf() })
}

/// The lock that one engine holds; `None` when another has it.
fn lock(dir: &Path) -> Result<Option<File>, StoreError> {
    let path = dir.join("lock");
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(StoreError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(StoreError::io("lock", &path)(source)),
    }
}

/// The tables as of the newest epoch, for a process that only reads, whether or not an engine runs.
pub async fn open_readonly(dir: &Path) -> Result<View, StoreError> {
    if Manifest::load_newest(dir)?.is_none() && !dir.join("tables").is_dir() {
        return Err(StoreError::NoData { dir: dir.to_path_buf() });
    }
    if mend::is_needed(dir)?
        && let Ok(Some(_lock)) = lock(dir)
    {
        mend::mend(dir).await?;
    }
    let mut tries = 0;
    loop {
        let before = newest_epoch(dir)?;
        let mut deltas = load_all(dir).await?;
        let manifest = Manifest::load_newest(dir)?.unwrap_or_else(Manifest::zero);
        let settled = manifest.epoch == before && lagging(&manifest, &deltas).await?.is_none();
        if !settled {
            // Either an engine is at it and will be done in a moment, or one died before it was: then nobody holds the lock, and
            // what it left undone is done here.
            if let Ok(Some(_lock)) = lock(dir) {
                // As they are now: an engine may have gone on since, and died.
                deltas = load_all(dir).await?;
                roll_forward(dir, &Manifest::load_all(dir)?, &mut deltas).await?;
                return Ok(View::new(newest_epoch(dir)?, &deltas, &Tails::new()));
            }
            tries += 1;
            if tries < READ_TRIES {
                tokio::time::sleep(READ_PAUSE).await;
                continue;
            }
            tracing::warn!(dir = %dir.display(), "the engine commits all the time; tables may be an epoch apart");
        }
        return Ok(View::new(manifest.epoch, &deltas, &Tails::new()));
    }
}

fn newest_epoch(dir: &Path) -> Result<u64, StoreError> {
    Ok(Manifest::load_newest(dir)?.map_or(0, |manifest| manifest.epoch))
}

async fn load_all(dir: &Path) -> Result<BTreeMap<Table, DeltaTable>, StoreError> {
    let mut deltas = BTreeMap::new();
    for table in Table::ALL {
        let delta = delta::load(dir, table).await?.ok_or_else(|| match has_tables(dir) {
            true => StoreError::Schema {
                table,
                reason: "it is missing on disk; the engine adds it when it next runs there".into(),
            },
            false => StoreError::NoData { dir: dir.to_path_buf() },
        })?;
        delta::check(table, &delta)?;
        deltas.insert(table, delta);
    }
    Ok(deltas)
}

/// Whether there are tables at all, of which some are new since.
fn has_tables(dir: &Path) -> bool {
    delta::table_dir(dir, Table::Events).join("_delta_log").is_dir()
}

/// A table whose log does not have the manifest's epoch yet.
async fn lagging(manifest: &Manifest, deltas: &BTreeMap<Table, DeltaTable>) -> Result<Option<Table>, StoreError> {
    for table in manifest.tables.keys() {
        if let Some(delta) = deltas.get(table)
            && delta::applied_epoch(*table, delta).await? < manifest.epoch
        {
            return Ok(Some(*table));
        }
    }
    Ok(None)
}
