//! What the stage keeps over a restart, under which names: `plugin/ID/SHARD` holds the version of a state's form (4 bytes, little
//! endian) and the state; `plugin/ID/time` how far the plugin has come.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

/// The state of one shard, as the plugin gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SavedState {
    /// The `state_version` of the plugin that saved it.
    pub version: u32,
    pub bytes: Bytes,
}

impl SavedState {
    pub fn to_blob(&self) -> Bytes {
        [&self.version.to_le_bytes()[..], &self.bytes].concat().into()
    }

    /// `None` for what `to_blob` never gave.
    pub fn of_blob(blob: &Bytes) -> Option<SavedState> {
        let version = u32::from_le_bytes(*blob.first_chunk()?);
        Some(SavedState {
            version,
            bytes: blob.slice(4..),
        })
    }
}

pub(super) fn state_key(id: &str, shard: usize) -> String {
    format!("plugin/{id}/{shard}")
}

pub(super) fn time_key(id: &str) -> String {
    format!("plugin/{id}/time")
}

/// Whether `state` holds anything of the plugin.
pub(super) fn knows(state: &BTreeMap<String, Bytes>, id: &str) -> bool {
    let of = |key: &String| Some(key.strip_prefix("plugin/")?.split_once('/')?.0 == id);
    state.keys().any(|key| of(key).unwrap_or(false))
}

/// The names in `state` that belong to none of the plugins `kept`, by plugin.
pub(super) fn abandoned(state: &BTreeMap<String, Bytes>, kept: &BTreeSet<&str>) -> BTreeMap<String, Vec<String>> {
    let mut gone: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for key in state.keys() {
        let plugin = key.strip_prefix("plugin/").and_then(|rest| rest.split_once('/'));
        if let Some((id, _)) = plugin.filter(|(id, _)| !kept.contains(id)) {
            gone.entry(id.to_owned()).or_default().push(key.clone());
        }
    }
    gone
}
