//! The detector that a command line names: a .wasm file, or a crate that is built first.

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::{cargo_quietly, existing, is_clone};
use crate::config::{self, CorrelateSettings, PluginSettings};
use crate::detect::Detectors;
use crate::model::Severity;
use crate::redact::Redactor;

pub struct Named {
    pub wasm: PathBuf,
    /// Where it was built here.
    pub source: Option<Source>,
}

/// A detector's crate in a clone: `ROOT/plugins/NAME`.
pub struct Source {
    pub root: PathBuf,
    pub name: String,
}

/// Where what is tried is built to: never where an engine may be running what was built before.
const BUILT: &str = "target/try";

/// Finds the detector, and builds it where `plugin` is a crate's folder or the name of one.
pub fn find(plugin: &Path) -> anyhow::Result<Named> {
    if plugin.is_file() {
        return Ok(Named {
            wasm: plugin.to_owned(),
            source: None,
        });
    }
    let source = source(plugin)?;
    cargo_quietly(&source.root, &["xtask", "plugins", "--out", BUILT, &source.name])?;
    Ok(Named {
        wasm: source.root.join(BUILT).join(format!("{}.wasm", source.name)),
        source: Some(source),
    })
}

fn source(plugin: &Path) -> anyhow::Result<Source> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if plugin.join("Cargo.toml").is_file() {
        let dir = plugin.canonicalize()?;
        if let Some(plugins) = dir.parent().filter(|plugins| name(plugins) == "plugins")
            && let Some(root) = plugins.parent().filter(|root| is_clone(root))
        {
            return Ok(Source {
                root: root.to_owned(),
                name: name(&dir),
            });
        }
        bail!(
            "{} is not in the folder plugins of a clone of Sentrail, where detectors are built; build it there, or give its .wasm file",
            plugin.display()
        );
    }
    if plugin.components().count() == 1 && plugin.extension().is_none() {
        let name = name(plugin);
        return Ok(Source {
            root: existing(&name)?,
            name,
        });
    }
    bail!(
        "there is no {}; valid are a detector's .wasm file, and the folder or the name of a detector's crate in a clone",
        plugin.display()
    );
}

/// What a configuration says of plugins, and of correlation as it is compared with what is stored; without one, what holds where nothing is configured.
pub fn settings(config: Option<&Path>) -> anyhow::Result<(PluginSettings, CorrelateSettings)> {
    Ok(match config {
        Some(config) => {
            let settings = config::load(config)?;
            let correlate = Redactor::new(settings.redact.as_ref()).correlate(&settings.correlate);
            (settings.plugins, correlate)
        }
        None => Default::default(),
    })
}

/// The detector, ready to run.
pub fn load(wasm: &Path, settings: &PluginSettings) -> anyhow::Result<Detectors> {
    Detectors::of_file(wasm, &unsigned(settings)).map_err(|reason| anyhow::anyhow!("{}: {reason}", wasm.display()))
}

/// `High`, as wide as the longest.
pub fn padded(severity: Severity) -> String {
    format!("{:13}", severity.text())
}

/// The settings with which a detector is tried: what is tried needs no signature yet.
pub fn unsigned(settings: &PluginSettings) -> PluginSettings {
    PluginSettings {
        signed_by: Vec::new(),
        ..settings.clone()
    }
}
