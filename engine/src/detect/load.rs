//! From files to plugins that are ready to run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::DetectError;
use super::health::{PluginCounters, PluginHealth, PluginStatus};
use super::order::{Ordered, SHARDS};
use super::runner::Runner;
use super::wasm::{Host, INSTANCES_MAX, Limits};
use super::{Detectors, Plugin};
use crate::config::PluginSettings;

/// Largest plugin file, in bytes: a JavaScript or Python guest carries its interpreter.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Something about the plugins that does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginProblem {
    /// The file, or the directory where no one file is at fault.
    pub path: PathBuf,
    pub reason: String,
}

impl std::fmt::Display for PluginProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

pub(super) fn load(settings: &PluginSettings, cache_dir: Option<&Path>) -> Result<Detectors, DetectError> {
    let unreadable = |error| DetectError::Dir {
        dir: settings.dir.clone(),
        error,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(&settings.dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            files.push(path);
        }
    }
    files.sort();
    let limits = Limits {
        memory_bytes_max: settings.memory_bytes_max,
        call_time_max: settings.call_time_max,
    };
    let host = Host::new(limits, cache_dir)?;

    let mut detectors = Detectors {
        plugins: Vec::new(),
        manifests: Vec::new(),
        problems: Vec::new(),
        refused: Vec::new(),
    };
    let mut instances = 0;
    for path in files {
        let mut digest = String::new();
        let loaded = open(&host, settings, &path, &mut digest).and_then(|plugin| {
            let id = &plugin.runner.manifest.id;
            if detectors.plugins.iter().any(|other| other.runner.manifest.id == *id) {
                return Err(format!("another file holds a plugin `{id}`, too; ids must be unique"));
            }
            let wanted = if plugin.ordered.is_some() { SHARDS } else { 1 };
            if instances + wanted > INSTANCES_MAX {
                return Err(format!("the plugins before it take up all {INSTANCES_MAX} instances"));
            }
            instances += wanted;
            Ok(plugin)
        });
        match loaded {
            Ok(plugin) => detectors.plugins.push(plugin),
            Err(reason) => {
                tracing::error!("plugin {} is refused: {reason}", path.display());
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                detectors.refused.push(PluginHealth {
                    plugin: name,
                    version: String::new(),
                    digest,
                    status: PluginStatus::Refused,
                    reason: reason.clone(),
                    counters: PluginCounters::default(),
                });
                detectors.problems.push(PluginProblem { path, reason });
            }
        }
    }
    detectors
        .plugins
        .sort_by(|a, b| a.runner.manifest.id.cmp(&b.runner.manifest.id));
    detectors.manifests = detectors
        .plugins
        .iter()
        .map(|plugin| plugin.runner.manifest.clone())
        .collect();

    let ids: BTreeSet<&str> = detectors
        .manifests
        .iter()
        .map(|manifest| manifest.id.as_str())
        .collect();
    for id in settings.config.keys().filter(|id| !ids.contains(id.as_str())) {
        let valid: Vec<&str> = ids.iter().copied().collect();
        let reason = format!(
            "there is configuration for plugin `{id}`, which is not loaded; loaded are: {}",
            valid.join(", ")
        );
        detectors.problems.push(PluginProblem {
            path: settings.dir.clone(),
            reason,
        });
    }
    Ok(detectors)
}

fn open(host: &Host, settings: &PluginSettings, path: &Path, digest: &mut String) -> Result<Plugin, String> {
    let unreadable = |error| format!("it cannot be read: {error}");
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("it has {size} bytes; {FILE_BYTES_MAX} are allowed"));
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    *digest = hex::encode(Sha256::digest(&bytes));
    let guest = host.load(&bytes)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut instance = guest
        .instantiate(name.as_ref().into())
        .map_err(|error| error.to_string())?;
    let manifest = instance
        .describe()
        .map_err(|error| format!("it does not describe itself: {error}"))?;
    manifest
        .check()
        .map_err(|reason| format!("its manifest is invalid: {reason}"))?;
    let config = settings
        .config
        .get(&manifest.id)
        .map_or_else(|| "{}".to_owned(), |value| value.to_string());
    instance.configure(&config).map_err(|error| {
        format!(
            "it does not accept its configuration [plugins.config.{}]: {error}",
            manifest.id
        )
    })?;
    let ordered = manifest.is_stateful().then(|| Ordered::new(&manifest));
    let shards = if ordered.is_some() { SHARDS } else { 1 };
    let runner = Runner::new(guest, manifest, config, settings.memory_bytes_max, shards);
    Ok(Plugin {
        runner,
        digest: digest.clone(),
        ordered,
        told: None,
    })
}
