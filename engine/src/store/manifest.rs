//! The manifest: the one file whose appearance makes an epoch exist.
//!
//! `epochs/EPOCH.json` holds the offsets to go on from, where each piece of state lies, the plugins' digests, and the add actions
//! for every table's Delta log. `state/EPOCH.bin` holds the state that changed in an epoch, one piece after the other; what did not
//! change is carried forward by reference.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use deltalake::kernel::Add;
use serde::{Deserialize, Serialize};

use crate::model::Offsets;
use crate::model::id::content_hash;

use super::disk;
use super::error::StoreError;
use super::tables::Table;

/// Version of the manifest's layout.
const FORMAT: u32 = 1;

/// Manifests that are kept: the newest, and a few before it for whoever looks into what happened. Until a Delta log's entries are
/// flushed to the device, these are also what a start rolls forward from after a power cut.
pub(super) const MANIFESTS_KEPT: usize = 8;

/// State files that references may spread over. Beyond it, the pieces in the oldest move on to the newest, so that pieces that
/// rarely change do not keep many old files alive.
const STATE_FILES_MAX: usize = 32;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub format: u32,
    pub epoch: u64,
    pub offsets: Offsets,
    pub state: BTreeMap<String, StateRef>,
    /// What ran: digests of plugins, of their configurations, of the rules' file, and of the sequences. The latter are of no use but to look them up.
    pub plugins: BTreeMap<String, String>,
    #[serde(default)]
    pub plugin_configs: BTreeMap<String, String>,
    #[serde(default)]
    pub rules: String,
    #[serde(default)]
    pub sequences: String,
    pub tables: BTreeMap<Table, Vec<Add>>,
}

/// Where a piece of state lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StateRef {
    /// Name of the file in `state/`.
    pub file: String,
    /// Bytes.
    pub offset: u64,
    pub length: u64,
    pub hash: i64,
}

impl Manifest {
    /// Before the first epoch.
    pub fn zero() -> Manifest {
        Manifest {
            format: FORMAT,
            epoch: 0,
            offsets: Offsets::new(),
            state: BTreeMap::new(),
            plugins: BTreeMap::new(),
            plugin_configs: BTreeMap::new(),
            rules: String::new(),
            sequences: String::new(),
            tables: BTreeMap::new(),
        }
    }

    pub fn path(dir: &Path, epoch: u64) -> PathBuf {
        dir.join("epochs").join(format!("{epoch:020}.json"))
    }

    /// Makes the epoch exist. Fails if another engine was first.
    pub fn publish(&self, dir: &Path) -> Result<(), StoreError> {
        let path = Manifest::path(dir, self.epoch);
        let text = serde_json::to_vec(self).map_err(|error| StoreError::damaged(&path, error))?;
        if !disk::put_if_absent(&path, &text)? {
            return Err(StoreError::EpochExists {
                epoch: self.epoch,
                dir: dir.to_path_buf(),
            });
        }
        Ok(())
    }

    /// The manifests that are kept, oldest first.
    pub fn load_all(dir: &Path) -> Result<Vec<Manifest>, StoreError> {
        Manifest::epochs(dir)?
            .into_iter()
            .map(|epoch| Manifest::load(dir, epoch))
            .collect()
    }

    /// The newest manifest, if there is any.
    pub fn load_newest(dir: &Path) -> Result<Option<Manifest>, StoreError> {
        Manifest::epochs(dir)?
            .pop()
            .map(|epoch| Manifest::load(dir, epoch))
            .transpose()
    }

    fn epochs(dir: &Path) -> Result<Vec<u64>, StoreError> {
        let names = disk::file_names(&dir.join("epochs"))?;
        Ok(names
            .iter()
            .filter_map(|name| name.strip_suffix(".json")?.parse().ok())
            .collect())
    }

    fn load(dir: &Path, epoch: u64) -> Result<Manifest, StoreError> {
        let path = Manifest::path(dir, epoch);
        let text = std::fs::read(&path).map_err(StoreError::io("read", &path))?;
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| StoreError::damaged(&path, error))?;
        if manifest.format != FORMAT || manifest.epoch != epoch {
            let reason = format!(
                "it says format {} and epoch {}, expected format {FORMAT} and epoch {epoch}",
                manifest.format, manifest.epoch
            );
            return Err(StoreError::damaged(&path, reason));
        }
        Ok(manifest)
    }

    /// Writes what changed and returns where all state lies now. An empty value takes the piece away.
    pub fn write_state(
        &self,
        dir: &Path,
        epoch: u64,
        changed: BTreeMap<String, Bytes>,
    ) -> Result<BTreeMap<String, StateRef>, StoreError> {
        let mut state = self.state.clone();
        let mut pieces = self.pieces_to_move(dir, &changed)?;
        for (key, value) in changed {
            state.remove(&key);
            if !value.is_empty() {
                pieces.insert(key, value);
            }
        }
        if pieces.is_empty() {
            return Ok(state);
        }
        let file = format!("{epoch:020}.bin");
        let mut bytes = Vec::with_capacity(pieces.values().map(Bytes::len).sum());
        for (key, value) in pieces {
            let reference = StateRef {
                file: file.clone(),
                offset: bytes.len() as u64,
                length: value.len() as u64,
                hash: content_hash(&value),
            };
            state.insert(key, reference);
            bytes.extend_from_slice(&value);
        }
        let state_dir = dir.join("state");
        disk::write(&state_dir.join(&file), &bytes)?;
        disk::sync_dir(&state_dir)?;
        Ok(state)
    }

    /// The unchanged pieces in the oldest state file, when references spread over too many files.
    fn pieces_to_move(
        &self,
        dir: &Path,
        changed: &BTreeMap<String, Bytes>,
    ) -> Result<BTreeMap<String, Bytes>, StoreError> {
        let files: BTreeSet<&String> = self.state.values().map(|reference| &reference.file).collect();
        if files.len() < STATE_FILES_MAX {
            return Ok(BTreeMap::new());
        }
        let Some(oldest) = files.first() else {
            return Ok(BTreeMap::new());
        };
        let moved = |(key, reference): &(&String, &StateRef)| &&reference.file == oldest && !changed.contains_key(*key);
        read_state(dir, self.state.iter().filter(moved))
    }

    /// All state, read and checked.
    pub fn read_state(&self, dir: &Path) -> Result<BTreeMap<String, Bytes>, StoreError> {
        read_state(dir, self.state.iter())
    }

    /// Removes manifests beyond the newest few, and state files that none of the rest names.
    pub fn collect_garbage(dir: &Path) -> Result<(), StoreError> {
        let epochs = Manifest::epochs(dir)?;
        for epoch in &epochs[..epochs.len().saturating_sub(MANIFESTS_KEPT)] {
            disk::remove(&Manifest::path(dir, *epoch))?;
        }
        let kept = Manifest::load_all(dir)?;
        let named: BTreeSet<&String> = kept
            .iter()
            .flat_map(|m| m.state.values().map(|state| &state.file))
            .collect();
        let state_dir = dir.join("state");
        for name in disk::file_names(&state_dir)? {
            if !named.contains(&name) {
                disk::remove(&state_dir.join(&name))?;
            }
        }
        for name in disk::file_names(&dir.join("epochs"))? {
            if name.ends_with(".tmp") {
                disk::remove(&dir.join("epochs").join(&name))?;
            }
        }
        Ok(())
    }
}

fn read_state<'a>(
    dir: &Path,
    references: impl Iterator<Item = (&'a String, &'a StateRef)>,
) -> Result<BTreeMap<String, Bytes>, StoreError> {
    let mut files: BTreeMap<&str, Bytes> = BTreeMap::new();
    let mut state = BTreeMap::new();
    for (key, reference) in references {
        let path = dir.join("state").join(&reference.file);
        let file = match files.get(reference.file.as_str()) {
            Some(file) => file.clone(),
            None => {
                let file = Bytes::from(std::fs::read(&path).map_err(StoreError::io("read", &path))?);
                files.insert(&reference.file, file.clone());
                file
            }
        };
        let end = reference
            .offset
            .checked_add(reference.length)
            .filter(|end| *end <= file.len() as u64);
        let Some(end) = end else {
            return Err(StoreError::damaged(
                &path,
                format!("it ends before the state `{key}` does"),
            ));
        };
        let value = file.slice(reference.offset as usize..end as usize);
        if content_hash(&value) != reference.hash {
            return Err(StoreError::damaged(
                &path,
                format!("the state `{key}` is not what was written"),
            ));
        }
        state.insert(key.clone(), value);
    }
    Ok(state)
}
