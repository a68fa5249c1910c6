//! Entries of the Delta logs that are empty or torn, as a power cut may leave the newest one: found, and made again from the manifests
//! where these hold what was in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::manifest::Manifest;
use super::tables::Table;
use super::{delta, disk, parts, roll_forward};

/// Whether the newest entry of a table's log cannot be read.
pub(super) fn is_needed(dir: &Path) -> Result<bool, StoreError> {
    for table in Table::ALL {
        if torn(dir, table)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes such entries again. To be called by whoever holds the lock.
pub(super) async fn mend(dir: &Path) -> Result<(), StoreError> {
    for table in Table::ALL {
        let Some((path, reason)) = torn(dir, table)? else {
            continue;
        };
        let aside = path.with_extension("torn");
        std::fs::rename(&path, &aside).map_err(StoreError::io("set aside", &path))?;
        if let Ok(true) = again(dir, table).await {
            tracing::warn!(table = table.name(), entry = %path.display(), reason, "made an entry of the log again");
            disk::remove(&aside)?;
        } else {
            // As it was: a person has to look.
            std::fs::rename(&aside, &path).map_err(StoreError::io("put back", &path))?;
            return Err(StoreError::DamagedLog { table, path, reason });
        }
    }
    Ok(())
}

/// Applies what the log lacks without its newest entry; false where that is in no manifest any more.
async fn again(dir: &Path, table: Table) -> Result<bool, StoreError> {
    let Some(delta) = delta::load(dir, table).await? else {
        return Ok(false);
    };
    let applied = delta::applied_epoch(table, &delta).await?;
    let manifests = Manifest::load_all(dir)?;
    let newest = manifests.last().map_or(u64::MAX, |manifest| manifest.epoch);
    let is_lost = |epoch: u64| {
        let is_held = manifests.iter().any(|manifest| manifest.epoch == epoch);
        epoch > applied && epoch <= newest && !is_held
    };
    let files = disk::files_below(&delta::table_dir(dir, table))?;
    if files.iter().filter_map(|path| parts::epoch_of(path)).any(is_lost) {
        return Ok(false);
    }
    roll_forward(dir, &manifests, &mut BTreeMap::from([(table, delta)])).await?;
    Ok(true)
}

/// The newest entry of a log and what is wrong with it. Not the first: no manifest says what makes a table.
fn torn(dir: &Path, table: Table) -> Result<Option<(PathBuf, String)>, StoreError> {
    match entries(dir, table)?.pop() {
        Some((1.., path)) => Ok(fault(&path)?.map(|reason| (path, reason))),
        _ => Ok(None),
    }
}

/// The first entry that keeps a log from being read, as an error: the library does not say which file it is.
pub(super) fn damage(dir: &Path, table: Table) -> Result<Option<StoreError>, StoreError> {
    let mut expected = None;
    for (version, path) in entries(dir, table)? {
        if let Some(expected) = expected.filter(|expected| *expected < version) {
            let (path, reason) = (
                path.with_file_name(format!("{expected:020}.json")),
                "it is missing".into(),
            );
            return Ok(Some(StoreError::DamagedLog { table, path, reason }));
        }
        expected = Some(version + 1);
        if let Some(reason) = fault(&path)? {
            return Ok(Some(StoreError::DamagedLog { table, path, reason }));
        }
    }
    Ok(None)
}

/// The first entry of a log that holds nothing: the library takes it for one without actions, and what it held would be missing.
pub(super) fn emptied(dir: &Path, table: Table) -> Result<Option<StoreError>, StoreError> {
    for (_, path) in entries(dir, table)? {
        if std::fs::metadata(&path).is_ok_and(|found| found.len() == 0) {
            let reason = "it is empty".to_owned();
            return Ok(Some(StoreError::DamagedLog { table, path, reason }));
        }
    }
    Ok(None)
}

/// The entries that are read on top of the newest checkpoint, oldest first, with their versions.
fn entries(dir: &Path, table: Table) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let log = delta::table_dir(dir, table).join("_delta_log");
    let names = disk::file_names(&log)?;
    let checkpoints = names.iter().filter(|name| name.contains(".checkpoint."));
    let covered = checkpoints.filter_map(|name| name.get(..20)?.parse::<u64>().ok()).max();
    let versions = names
        .iter()
        .filter_map(|name| Some((name.strip_suffix(".json")?.parse::<u64>().ok()?, log.join(name))));
    Ok(versions
        .filter(|(version, _)| covered.is_none_or(|covered| *version > covered))
        .collect())
}

/// Why an entry cannot be read: it holds one JSON object per line, and at least one.
fn fault(path: &Path) -> Result<Option<String>, StoreError> {
    let text = std::fs::read(path).map_err(StoreError::io("read", path))?;
    let lines = text.split(|byte| *byte == b'\n');
    let mut actions = lines
        .filter(|line| !line.trim_ascii().is_empty())
        .enumerate()
        .peekable();
    if actions.peek().is_none() {
        return Ok(Some("it is empty".to_owned()));
    }
    Ok(actions.find_map(|(index, action)| {
        let error = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(action).err()?;
        Some(format!("action {}: {error}", index + 1))
    }))
}
