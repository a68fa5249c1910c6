//! From a file to a plugin that is ready to run.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::manifest::PluginManifest;
use super::order::{Ordered, SHARDS};
use super::rules::Rules;
use super::runner::Runner;
use super::wasm::{Guest, Host, Limits};
use super::{Detectors, Plugin, signature};
use crate::config::{self, PluginSettings, RuleSettings, insert_files};
use crate::watch::read_bounded;

/// Largest plugin file, in bytes: a JavaScript or Python guest carries its interpreter.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Something about the plugins or their rules that does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginProblem {
    /// The file, or the directory where no one file is at fault.
    pub path: PathBuf,
    pub reason: String,
}

impl std::fmt::Display for PluginProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.path.display().to_string();
        // What is wrong inside a file names its place itself.
        match self.reason.starts_with(&path) {
            true => f.write_str(&self.reason),
            false => write!(f, "{path}: {}", self.reason),
        }
    }
}

/// A plugin file that was read: what it holds may be looked at.
pub(super) struct Trusted {
    bytes: Vec<u8>,
    pub digest: String,
    pub signed_by: Option<String>,
}

/// The file's bytes, once it is known who made them.
pub(super) fn read_trusted(path: &Path, settings: &PluginSettings) -> Result<Trusted, String> {
    let bytes = read_bounded(path, FILE_BYTES_MAX)?;
    let signed_by = signature::verify(path, &bytes, &settings.signed_by)?;
    Ok(Trusted {
        digest: hex::encode(Sha256::digest(&bytes)),
        bytes,
        signed_by,
    })
}

/// What a plugin is configured with.
pub(super) struct Configuration {
    /// JSON.
    pub text: String,
    /// SHA-256 of the text in hexadecimal.
    pub digest: String,
    /// Texts of files are in it.
    pub names_files: bool,
    /// Where it stands.
    section: &'static str,
}

/// The configuration of the plugin `name`: of the rules' file, else of the main configuration.
pub(super) fn configuration(
    settings: &PluginSettings,
    rules: &RuleSettings,
    name: &str,
) -> Result<Configuration, String> {
    let (section, value) = match rules.config.get(name) {
        Some(value) => ("config", Some(value)),
        None => ("plugins.config", settings.config.get(name)),
    };
    let inserted = value.map(insert_files).transpose();
    let inserted = inserted.map_err(|reason| format!("its configuration [{section}.{name}] {reason}"))?;
    let text = inserted.as_ref().map_or_else(|| "{}".to_owned(), ToString::to_string);
    Ok(Configuration {
        digest: hex::encode(Sha256::digest(&text)),
        text,
        names_files: inserted.as_ref() != value,
        section,
    })
}

/// The plugin in a file that was read, ready to run.
pub(super) fn open(
    host: &Host,
    settings: &PluginSettings,
    path: &Path,
    trusted: Trusted,
    configuration: Configuration,
) -> Result<Plugin, String> {
    let name = name_of(path);
    let (guest, manifest) = configure(host, &configuration, &name, &trusted.bytes)?;
    // What it describes may depend on its configuration, so the file's name says which configuration that is.
    if manifest.id != name {
        let id = &manifest.id;
        return Err(format!(
            "it is plugin `{id}`, and a file is named after the plugin in it: {id}.wasm"
        ));
    }
    let ordered = manifest.is_stateful().then(|| Ordered::new(&manifest));
    let shards = if ordered.is_some() { SHARDS } else { 1 };
    Ok(Plugin {
        runner: Runner::new(guest, manifest, configuration.text, settings, shards),
        config_digest: configuration.digest,
        digest: trusted.digest,
        signed_by: trusted.signed_by,
        ordered,
        told: None,
    })
}

/// Compiles a plugin and configures it; what it says of itself under that is checked.
fn configure(
    host: &Host,
    configuration: &Configuration,
    name: &str,
    bytes: &[u8],
) -> Result<(Guest, PluginManifest), String> {
    if !bytes.starts_with(b"\0asm") {
        return Err("it is no WebAssembly file; `cargo xtask plugins` makes them".into());
    }
    let guest = host.load(bytes)?;
    let mut instance = guest.instantiate(name.into()).map_err(|error| error.to_string())?;
    let manifest = instance.configure(&configuration.text).map_err(|error| {
        let section = configuration.section;
        format!("it does not accept its configuration [{section}.{name}]: {error}")
    })?;
    manifest
        .check()
        .map_err(|reason| format!("its manifest is invalid: {reason}"))?;
    Ok((guest, manifest))
}

/// The plugin that a file should hold.
pub(super) fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// One plugin alone, under the rules in force.
pub(super) fn load_file(path: &Path, settings: &PluginSettings) -> Result<Detectors, String> {
    let trusted = read_trusted(path, settings)?;
    let rules = rules(settings)?;
    let host = Host::new(limits(settings), None).map_err(|error| error.to_string())?;
    let configuration = configuration(settings, &rules, &name_of(path))?;
    let plugin = open(&host, settings, path, trusted, configuration)?;
    Ok(Detectors {
        manifests: vec![plugin.runner.manifest.clone()],
        plugins: vec![plugin],
        rules: Rules::new(rules.into(), None),
        ..Detectors::default()
    })
}

/// The plugin in `path`, compiled and configured once to know what it says of itself; the error is why it would be refused.
pub(super) fn look_into(path: &Path, settings: &PluginSettings) -> Result<LookedInto, String> {
    let trusted = read_trusted(path, settings)?;
    let host = Host::new(limits(settings), None).map_err(|error| error.to_string())?;
    let name = name_of(path);
    let configuration = configuration(settings, &rules(settings)?, &name)?;
    let (guest, manifest) = configure(&host, &configuration, &name, &trusted.bytes)?;
    Ok(LookedInto {
        trusted,
        config: configuration.text,
        guest,
        manifest,
    })
}

pub(super) struct LookedInto {
    trusted: Trusted,
    /// JSON.
    pub config: String,
    pub guest: Guest,
    pub manifest: PluginManifest,
}

fn rules(settings: &PluginSettings) -> Result<RuleSettings, String> {
    match &settings.rules {
        Some(rules) => config::load_rules(rules, &settings.config).map_err(|error| error.to_string()),
        None => Ok(RuleSettings::default()),
    }
}

/// What one plugin file is.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What it says of itself under its configuration.
    pub manifest: PluginManifest,
    /// That configuration as it is given it: JSON, with the texts of files in it.
    pub config: String,
    pub bytes: usize,
    /// SHA-256 in hexadecimal.
    pub digest: String,
    /// The public key whose signature was asked for and found; `None`: none was asked for.
    pub signed_by: Option<String>,
    /// Names of what it takes from the host.
    pub imports: Vec<String>,
}

/// Looks at the plugin in `path` as it would run under `settings`; the error is why it would be refused.
pub fn inspect(path: &Path, settings: &PluginSettings) -> Result<Inspection, String> {
    let LookedInto {
        trusted,
        config,
        guest,
        manifest,
    } = look_into(path, settings)?;
    Ok(Inspection {
        manifest,
        config,
        bytes: trusted.bytes.len(),
        digest: trusted.digest,
        signed_by: trusted.signed_by,
        imports: guest.imports,
    })
}

pub(super) fn limits(settings: &PluginSettings) -> Limits {
    Limits {
        memory_bytes_max: settings.memory_bytes_max,
        call_time_max: settings.call_time_max,
        hide_words: settings.hide_words,
    }
}
