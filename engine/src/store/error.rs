//! What can go wrong between an epoch and the disk.

use std::io;
use std::path::{Path, PathBuf};

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use deltalake::DeltaTableError;
use parquet::errors::ParquetError;

use super::tables::Table;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {action} {path}: {source}; trying again helps once the disk does")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },

    #[error("another engine runs on the data directory {dir}: stop it, or give this one another `[storage] url`")]
    Locked { dir: PathBuf },

    #[error("{dir} holds no Sentrail data: expected a directory that `sentrail run` wrote")]
    NoData { dir: PathBuf },

    #[error(
        "{path} is damaged ({reason}); trying again does not help, restore it or start from an empty data directory"
    )]
    Damaged { path: PathBuf, reason: String },

    #[error(
        "{path} is missing, though table `{}` holds epoch {epoch}: it says where every input goes on; nothing was changed, trying again \
         does not help: restore the file, or the whole data directory, from a backup, or start from an empty data directory",
        .table.name()
    )]
    ManifestMissing { path: PathBuf, table: Table, epoch: u64 },

    #[error("epoch {epoch} is already in {dir}: only one engine may write there, restart to go on from what it holds")]
    EpochExists { epoch: u64, dir: PathBuf },

    #[error(
        "committing epoch {epoch} to {dir} failed half-way; trying again does not help, a restart finishes it or takes it back"
    )]
    Unsettled { epoch: u64, dir: PathBuf },

    #[error("rows for table `{}` do not fit it ({reason}); trying again does not help", .table.name())]
    Rows { table: Table, reason: String },

    #[error(
        "table `{}` on disk has other columns than this version writes ({reason}); use the version that wrote it, or \
         another data directory", .table.name()
    )]
    Schema { table: Table, reason: String },

    #[error(
        "table `{}` cannot be read: {path} is damaged ({reason}); trying again does not help, restore the data directory from a \
         backup or start from an empty one", .table.name()
    )]
    DamagedLog {
        table: Table,
        path: PathBuf,
        reason: String,
    },

    #[error("table `{}`: {reason}", .table.name())]
    Delta { table: Table, reason: String },

    #[error("writing {path}: {source}")]
    Parquet { path: PathBuf, source: ParquetError },

    #[error("reading rows back: {0}")]
    Query(Box<DataFusionError>),

    #[error("the task that wrote files died: {0}")]
    Task(String),
}

impl StoreError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_path_buf();
        move |source| StoreError::Io { action, path, source }
    }

    pub(super) fn damaged(path: &Path, reason: impl ToString) -> StoreError {
        StoreError::Damaged {
            path: path.to_path_buf(),
            reason: reason.to_string(),
        }
    }

    /// With the first line only: what may follow is a trace, which tells people nothing.
    pub(super) fn delta(table: Table) -> impl FnOnce(DeltaTableError) -> StoreError {
        move |error| StoreError::Delta {
            table,
            reason: error.to_string().lines().next().unwrap_or_default().to_owned(),
        }
    }

    pub(super) fn rows(table: Table) -> impl Fn(ArrowError) -> StoreError {
        move |error| StoreError::Rows {
            table,
            reason: error.to_string(),
        }
    }
}

impl From<DataFusionError> for StoreError {
    fn from(error: DataFusionError) -> StoreError {
        StoreError::Query(Box::new(error))
    }
}
