//! From files to plugins that are ready to run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::DetectError;
use super::health::{PluginCounters, PluginHealth, PluginStatus};
use super::manifest::PluginManifest;
use super::order::{Ordered, SHARDS};
use super::runner::Runner;
use super::wasm::{Guest, Host, INSTANCES_MAX, Limits};
use super::{Detectors, Plugin};
use crate::config::{PluginSettings, insert_files};

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
    let host = Host::new(limits(settings), cache_dir)?;

    let mut detectors = Detectors {
        plugins: Vec::new(),
        manifests: Vec::new(),
        problems: Vec::new(),
        refused: Vec::new(),
        dropped: Vec::new(),
    };
    let mut instances = 0;
    let mut names = BTreeSet::new();
    for path in files {
        let mut digest = String::new();
        names.insert(name_of(&path));
        let loaded = open(&host, settings, &path, &mut digest).and_then(|plugin| {
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
                detectors.refused.push(PluginHealth {
                    plugin: name_of(&path),
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

    for name in settings.config.keys().filter(|name| !names.contains(*name)) {
        let valid: Vec<&str> = names.iter().map(String::as_str).collect();
        let reason = format!(
            "there is configuration [plugins.config.{name}] but no file {name}.wasm; there are: {}",
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
    let bytes = read(path)?;
    *digest = hex::encode(Sha256::digest(&bytes));
    let name = name_of(path);
    let (guest, manifest, config) = configure(host, settings, &name, &bytes)?;
    // What it describes may depend on its configuration, so the file's name says which configuration that is.
    if manifest.id != name {
        let id = &manifest.id;
        return Err(format!(
            "it is plugin `{id}`, and a file is named after the plugin in it: {id}.wasm"
        ));
    }
    let ordered = manifest.is_stateful().then(|| Ordered::new(&manifest));
    let shards = if ordered.is_some() { SHARDS } else { 1 };
    let runner = Runner::new(guest, manifest, config, settings, shards);
    Ok(Plugin {
        runner,
        digest: digest.clone(),
        ordered,
        told: None,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error| format!("it cannot be read: {error}");
    let metadata = fs::metadata(path).map_err(unreadable)?;
    // A pipe would be waited for, and a device has no end.
    if !metadata.is_file() {
        return Err("it is no regular file".into());
    }
    let size = metadata.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("it has {size} bytes; {FILE_BYTES_MAX} are allowed"));
    }
    fs::read(path).map_err(unreadable)
}

/// Compiles a plugin and gives it the configuration that stands under `name`; what it says of itself under that is checked.
fn configure(
    host: &Host,
    settings: &PluginSettings,
    name: &str,
    bytes: &[u8],
) -> Result<(Guest, PluginManifest, String), String> {
    if !bytes.starts_with(b"\0asm") {
        return Err("it is no WebAssembly file; `cargo xtask plugins` makes them".into());
    }
    let guest = host.load(bytes)?;
    let mut instance = guest.instantiate(name.into()).map_err(|error| error.to_string())?;
    let config = match settings.config.get(name) {
        Some(value) => insert_files(value)
            .map_err(|reason| format!("its configuration [plugins.config.{name}] {reason}"))?
            .to_string(),
        None => "{}".to_owned(),
    };
    let manifest = instance
        .configure(&config)
        .map_err(|error| format!("it does not accept its configuration [plugins.config.{name}]: {error}"))?;
    manifest
        .check()
        .map_err(|reason| format!("its manifest is invalid: {reason}"))?;
    Ok((guest, manifest, config))
}

/// The plugin that a file should hold.
fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// What one plugin file is.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What it says of itself under its configuration.
    pub manifest: PluginManifest,
    pub bytes: usize,
    /// SHA-256 in hexadecimal.
    pub digest: String,
    /// Names of what it takes from the host.
    pub imports: Vec<String>,
}

/// Looks at the plugin in `path` as it would run under `settings`; the error is why it would be refused.
pub fn inspect(path: &Path, settings: &PluginSettings) -> Result<Inspection, String> {
    let bytes = read(path)?;
    let host = Host::new(limits(settings), None).map_err(|error| error.to_string())?;
    let (guest, manifest, _) = configure(&host, settings, &name_of(path), &bytes)?;
    Ok(Inspection {
        manifest,
        bytes: bytes.len(),
        digest: hex::encode(Sha256::digest(&bytes)),
        imports: guest.imports,
    })
}

fn limits(settings: &PluginSettings) -> Limits {
    Limits {
        memory_bytes_max: settings.memory_bytes_max,
        call_time_max: settings.call_time_max,
        hide_words: settings.hide_words,
    }
}
