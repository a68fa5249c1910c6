//! The Delta logs.

use std::path::{Path, PathBuf};

use arrow::datatypes::DataType;
use deltalake::kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, StructField, StructType, Transaction};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError, TableProperty, ensure_table_uri};

use super::error::StoreError;
use super::tables::Table;
use super::{disk, mend};

/// Name under which a log keeps the newest epoch that was applied to it.
const APP_ID: &str = "sentrail";

/// Commits between two checkpoints of a log: a reader replays at most this many small files on top of one.
const CHECKPOINT_EVERY: u64 = 50;

/// How long log entries that a checkpoint covers are kept, for readers that hold an older version.
const LOG_RETENTION: &str = "interval 1 days";

pub(super) fn table_dir(dir: &Path, table: Table) -> PathBuf {
    dir.join("tables").join(table.name())
}

/// The table at its newest version; `None` when there is none.
pub(super) async fn load(dir: &Path, table: Table) -> Result<Option<DeltaTable>, StoreError> {
    if !table_dir(dir, table).join("_delta_log").is_dir() {
        return Ok(None);
    }
    let mut delta = handle(dir, table)?;
    if !delta
        .verify_deltatable_existence()
        .await
        .map_err(StoreError::delta(table))?
    {
        return Ok(None);
    }
    match delta.load().await {
        Ok(()) => match mend::emptied(dir, table)? {
            Some(damage) => Err(damage),
            None => Ok(Some(delta)),
        },
        Err(error) => Err(mend::damage(dir, table)?.unwrap_or_else(|| StoreError::delta(table)(error))),
    }
}

/// For a reader, which cannot bring a table up to date.
pub(super) fn check(table: Table, delta: &DeltaTable) -> Result<(), StoreError> {
    match missing_columns(table, delta)?.first() {
        None => Ok(()),
        Some(field) => Err(StoreError::Schema {
            table,
            reason: format!(
                "`{}` is missing on disk; the engine adds it when it next runs there",
                field.name()
            ),
        }),
    }
}

pub(super) async fn load_or_create(dir: &Path, table: Table) -> Result<DeltaTable, StoreError> {
    disk::create_dir(&table_dir(dir, table))?;
    match load(dir, table).await? {
        Some(delta) => add_columns(table, delta).await,
        None => create(handle(dir, table)?, table)
            .await
            .map_err(StoreError::delta(table)),
    }
}

pub(super) fn handle(dir: &Path, table: Table) -> Result<DeltaTable, StoreError> {
    let path = table_dir(dir, table);
    let located = ensure_table_uri(path.to_string_lossy()).and_then(DeltaTableBuilder::from_url);
    located
        .and_then(DeltaTableBuilder::build)
        .map_err(StoreError::delta(table))
}

async fn create(delta: DeltaTable, table: Table) -> Result<DeltaTable, DeltaTableError> {
    let columns: StructType = table.stored_schema().as_ref().try_into_kernel()?;
    CreateBuilder::new()
        .with_log_store(delta.log_store())
        .with_table_name(table.name())
        .with_columns(columns.fields().cloned())
        .with_partition_columns(table.partition_columns().iter().copied())
        .with_configuration_property(TableProperty::CheckpointInterval, Some(CHECKPOINT_EVERY.to_string()))
        .with_configuration_property(TableProperty::LogRetentionDuration, Some(LOG_RETENTION))
        .await
}

/// Brings a table of an older version up to date: columns that are new since, null in the rows that are there.
async fn add_columns(table: Table, delta: DeltaTable) -> Result<DeltaTable, StoreError> {
    let missing = missing_columns(table, &delta)?;
    if missing.is_empty() {
        return Ok(delta);
    }
    if let Some(field) = missing.iter().find(|field| !field.is_nullable()) {
        return Err(StoreError::Schema {
            table,
            reason: format!("`{}` is missing on disk and cannot be null", field.name()),
        });
    }
    let names: Vec<&String> = missing.iter().map(StructField::name).collect();
    tracing::info!(table = table.name(), columns = ?names, "adding columns that are new in this version");
    let added = delta.add_columns().with_fields(missing).await;
    added.map_err(StoreError::delta(table))
}

/// The columns that this version writes and the table lacks. Those it has must have the types that this version knows.
fn missing_columns(table: Table, delta: &DeltaTable) -> Result<Vec<StructField>, StoreError> {
    let on_disk = delta.snapshot().map_err(StoreError::delta(table))?.schema();
    let wanted: StructType =
        table
            .stored_schema()
            .as_ref()
            .try_into_kernel()
            .map_err(|error: arrow::error::ArrowError| StoreError::Schema {
                table,
                reason: error.to_string(),
            })?;
    let mut missing = Vec::new();
    for field in wanted.fields() {
        match on_disk.field(field.name()) {
            Some(held) if held.data_type() == field.data_type() => {}
            Some(held) => {
                let shown: Result<DataType, _> = held.data_type().try_into_arrow();
                let reason = format!("`{}` is {shown:?} on disk", field.name());
                return Err(StoreError::Schema { table, reason });
            }
            None => missing.push(field.clone()),
        }
    }
    match on_disk.fields().find(|field| wanted.field(field.name()).is_none()) {
        Some(extra) => Err(StoreError::Schema {
            table,
            reason: format!("`{}` on disk is of a newer version", extra.name()),
        }),
        None => Ok(missing),
    }
}

/// Loads the table as it was at `version`, or goes on to it.
pub(super) async fn go_to(table: Table, delta: &mut DeltaTable, version: u64) -> Result<(), StoreError> {
    if delta.version() == Some(version) {
        return Ok(());
    }
    delta.load_version(version).await.map_err(StoreError::delta(table))
}

/// The newest epoch that was applied to the log; 0 before the first.
pub(super) async fn applied_epoch(table: Table, delta: &DeltaTable) -> Result<u64, StoreError> {
    let snapshot = delta.snapshot().map_err(StoreError::delta(table))?;
    let version = snapshot
        .transaction_version(&delta.log_store(), APP_ID)
        .await
        .map_err(StoreError::delta(table))?;
    Ok(version.and_then(|epoch| u64::try_from(epoch).ok()).unwrap_or(0))
}

/// Adds an epoch's files to the log, with the epoch as the application's transaction, and flushes the new entry to the device.
pub(super) async fn apply(
    dir: &Path,
    table: Table,
    delta: &mut DeltaTable,
    epoch: u64,
    adds: Vec<Add>,
) -> Result<(), StoreError> {
    let version = append(table, delta, epoch, adds)
        .await
        .map_err(StoreError::delta(table))?;
    let log = table_dir(dir, table).join("_delta_log");
    disk::sync_file(&log.join(format!("{version:020}.json")))?;
    disk::sync_dir(&log)
}

async fn append(table: Table, delta: &mut DeltaTable, epoch: u64, adds: Vec<Add>) -> Result<u64, DeltaTableError> {
    let state = delta.snapshot()?.clone();
    let next = state.version() + 1;
    let properties = CommitProperties::default()
        .with_application_transaction(Transaction::new(APP_ID, epoch as i64))
        .with_create_checkpoint(true)
        // Listing the log is only worth it when a checkpoint has just covered part of it.
        .with_cleanup_expired_logs(Some((next + 1).is_multiple_of(CHECKPOINT_EVERY)));
    let partitions = table.partition_columns();
    let operation = DeltaOperation::Write {
        mode: SaveMode::Append,
        partition_by: (!partitions.is_empty()).then(|| partitions.iter().map(|name| name.to_string()).collect()),
        predicate: None,
    };
    let committed = CommitBuilder::from(properties)
        .with_actions(adds.into_iter().map(Action::Add).collect())
        .build(Some(&state), delta.log_store(), operation)
        .await?;
    delta.state = Some(committed.snapshot());
    Ok(committed.version())
}
