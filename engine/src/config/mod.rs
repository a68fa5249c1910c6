//! The configuration: TOML text → wire structs → validated `Settings`. Pure but for the file itself, the files that detectors'
//! settings name, and the environment variables that hold secrets: nothing is connected here.

mod correlate;
mod document;
mod inhibits;
mod inserted;
mod lookup;
mod matching;
mod rules;
mod sequences;
mod settings;
mod source;
mod target;
#[cfg(test)]
mod tests;
mod wire;

use std::path::{Path, PathBuf};

pub use correlate::{CorrelateSettings, Criticality, is_pattern};
use document::Document;
pub use inhibits::{Equal, InhibitSettings};
pub use inserted::insert_files;
pub use matching::{Condition, ExceptionSettings, is_like, is_rule};
pub use rules::*;
pub use sequences::{
    COUNT_MAX as SEQUENCE_COUNT_MAX, KeyPart, SequenceSet, SequenceSettings, StepSettings, load_sequences,
    parse_sequences,
};
pub use settings::*;
pub use target::WebhookUrl;

/// What is wrong with a configuration, as one line: file, place, what was found, what is valid.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// Reads and validates the configuration file at `path`.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("{}: cannot read the configuration: {error}", path.display())))?;
    parse(&text, &path.display().to_string(), &|name| std::env::var(name).ok())
}

/// Validates configuration text; `file` names it in errors, `env` looks up the variables that hold secrets.
pub fn parse(text: &str, file: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Settings, ConfigError> {
    let document = Document::parse(text, file)?;
    let config: wire::Config = document.read()?;
    let sources = document.entries("source", source::TYPES)?;
    let forward = document.entries("forward", wire::FORWARD_TYPES)?;
    config
        .validate(sources, forward, env)
        .map_err(|fault| document.fault(&fault))
}

/// A mapping file: the place that errors name, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingText {
    pub file: String,
    pub text: String,
}

/// Reads the `*.toml` files of `[formats] dir`, in the order of their names.
pub fn read_formats(dir: Option<&Path>) -> Result<Vec<MappingText>, ConfigError> {
    let Some(dir) = dir else { return Ok(Vec::new()) };
    let unreadable = |path: &Path, error: std::io::Error| {
        ConfigError(format!("[formats] dir: {}: cannot read it: {error}", path.display()))
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|error| unreadable(dir, error))? {
        let path = entry.map_err(|error| unreadable(dir, error))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
        let file = path.display().to_string();
        Ok(MappingText { file, text })
    };
    paths.into_iter().map(read).collect()
}
