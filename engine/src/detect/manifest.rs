//! What a plugin says of itself, checked before anything else is believed.

use std::collections::BTreeSet;

use crate::model::detection::SEQUENCE;
use crate::model::{ColumnType, EventSchema, Severity};

/// Longest id of a plugin or a rule, in bytes: they stand in every detection.
pub const ID_BYTES_MAX: usize = 64;
/// Longest title of a rule, in bytes: one line on a screen.
pub const TITLE_BYTES_MAX: usize = 256;
/// Longest description, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 8 << 10;
/// Most rules of one plugin; a Sigma collection holds some thousands.
pub const RULES_MAX: usize = 8192;
/// Most techniques of one rule.
pub const TECHNIQUES_MAX: usize = 32;

/// One rule of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginRule {
    pub id: String,
    pub title: String,
    /// What it means and what to do about it.
    pub description: String,
    pub severity: Severity,
    /// ATT&CK and ATLAS technique ids.
    pub techniques: Vec<String>,
}

/// A plugin's description of itself, as schemas/wit/plugin.wit has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginManifest {
    pub id: String,
    pub version: String,
    pub description: String,
    /// Values of column `class` that it wants to see; empty: all.
    pub classes: Vec<String>,
    /// Values of column `layer` that it wants to see; empty: all.
    pub layers: Vec<String>,
    /// Event columns it reads.
    pub columns: Vec<String>,
    /// The columns of which the first that is not null routes a row. Empty: the plugin keeps no state.
    pub key: Vec<String>,
    pub state_version: u32,
    /// It is told when event time passes.
    pub wants_time: bool,
    pub rules: Vec<PluginRule>,
    /// JSON Schema of the configuration; empty: takes none.
    pub config_schema: String,
}

impl PluginManifest {
    pub fn rule(&self, id: &str) -> Option<&PluginRule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    pub fn is_stateful(&self) -> bool {
        !self.key.is_empty()
    }

    /// The first thing that is wrong with it, in words.
    pub(super) fn check(&self) -> Result<(), String> {
        check_id("plugin", &self.id)?;
        if self.id == SEQUENCE {
            return Err(format!(
                "plugin id `{SEQUENCE}` is the engine's own; valid is any other"
            ));
        }
        check_text("version", &self.version, ID_BYTES_MAX)?;
        if self.version.is_empty() {
            return Err("its version is empty".into());
        }
        check_text("description", &self.description, DESCRIPTION_BYTES_MAX)?;
        let schema = EventSchema::get();
        for name in self.columns.iter().chain(&self.key) {
            if schema.index_of(name).is_none() {
                return Err(format!(
                    "it reads column `{name}`, which schemas/events.toml does not declare"
                ));
            }
        }
        let unique: BTreeSet<&String> = self.columns.iter().collect();
        if unique.len() < self.columns.len() {
            return Err("it names a column twice".into());
        }
        for name in &self.key {
            let is_text = schema
                .columns()
                .iter()
                .any(|column| column.name == *name && column.kind == ColumnType::Utf8);
            if !is_text {
                return Err(format!("its key column `{name}` is not text (utf8)"));
            }
        }
        if self.wants_time && !self.is_stateful() {
            return Err("it wants to be told the time but names no key; only a plugin that keeps state can".into());
        }
        if self.rules.len() > RULES_MAX {
            return Err(format!("it has {} rules; {RULES_MAX} are allowed", self.rules.len()));
        }
        let mut ids = BTreeSet::new();
        for rule in &self.rules {
            check_id("rule", &rule.id)?;
            check_text("title", &rule.title, TITLE_BYTES_MAX)?;
            check_text("description", &rule.description, DESCRIPTION_BYTES_MAX)?;
            if rule.techniques.len() > TECHNIQUES_MAX || rule.techniques.iter().any(|id| id.len() > ID_BYTES_MAX) {
                return Err(format!("rule `{}` names too many or too long techniques", rule.id));
            }
            if !ids.insert(&rule.id) {
                return Err(format!("rule `{}` is there twice", rule.id));
            }
        }
        Ok(())
    }
}

fn check_id(what: &str, id: &str) -> Result<(), String> {
    let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if id.is_empty() || id.len() > ID_BYTES_MAX || !id.chars().all(kebab) {
        let shown: String = id.chars().take(ID_BYTES_MAX).collect();
        return Err(format!(
            "{what} id `{shown}` is not kebab-case (a-z, 0-9, `-`) of 1 to {ID_BYTES_MAX} bytes"
        ));
    }
    Ok(())
}

fn check_text(what: &str, text: &str, bytes_max: usize) -> Result<(), String> {
    if text.len() > bytes_max {
        return Err(format!("a {what} of {} bytes; {bytes_max} are allowed", text.len()));
    }
    Ok(())
}
