//! Which plugins and rules there are to run, at a start and from then on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::DetectError;
use super::health::{PluginCounters, PluginHealth, PluginStatus};
use super::load::{PluginProblem, configuration, limits, name_of, open, read_trusted};
use super::order::SHARDS;
use super::reload::Change;
use super::rules::Rules;
use super::wasm::{Host, INSTANCES_MAX};
use super::{Detectors, Plugin, signature};
use crate::config::{self, PluginSettings, RuleSettings};
use crate::watch::{Stamp, Watch};

/// Looks after the plugin directory and the rules' file: what is there becomes plugins that are ready to run.
pub struct Loader {
    host: Host,
    settings: PluginSettings,
    /// Whose detections come from elsewhere: names that the rules' file may use, too.
    others: Vec<String>,
    /// By the name of the plugin that each should hold.
    files: BTreeMap<String, PluginFile>,
    /// Why the directory cannot be read.
    trouble: Option<String>,
    rules: Arc<RuleSettings>,
    rules_watch: Watch<Option<Stamp>>,
    /// Why the newest rules' file is not in force.
    rules_trouble: Option<String>,
    looks: u32,
}

/// Files that settings name are read again with every so many looks: feeds and rule sets are large, and change by the hour.
const LOOKS_TO_READ_SETTINGS: u32 = 15;

fn instances(plugin: &Plugin) -> usize {
    if plugin.ordered.is_some() { SHARDS } else { 1 }
}

/// What a look shows of a plugin: its file and its signature.
type FileStamp = (Option<Stamp>, Option<Stamp>);

struct PluginFile {
    path: PathBuf,
    watch: Watch<FileStamp>,
    /// What runs of it.
    loaded: Option<Loaded>,
    /// Why the file as it is now does not.
    trouble: Option<String>,
}

struct Loaded {
    version: String,
    digest: String,
    signed_by: Option<String>,
    config_digest: String,
    /// Texts of files are in its configuration.
    names_files: bool,
    rules: Vec<String>,
    instances: usize,
}

impl Loaded {
    fn of(plugin: &Plugin, names_files: bool) -> Loaded {
        let manifest = &plugin.runner.manifest;
        Loaded {
            version: manifest.version.clone(),
            digest: plugin.digest.clone(),
            signed_by: plugin.signed_by.clone(),
            config_digest: plugin.config_digest.clone(),
            names_files,
            rules: manifest.rules.iter().map(|rule| rule.id.clone()).collect(),
            instances: instances(plugin),
        }
    }
}

impl Loader {
    /// Loads every plugin of the directory and the rules' file. `others` are the names under which detections come from elsewhere.
    /// For `cache_dir` see [`Detectors::load`].
    pub fn start(
        settings: &PluginSettings,
        cache_dir: Option<&Path>,
        others: Vec<String>,
    ) -> Result<(Loader, Detectors), DetectError> {
        let rules_stamp = settings.rules.as_deref().and_then(Stamp::of);
        let rules = match &settings.rules {
            Some(path) => config::load_rules(path, &settings.config)?,
            None => RuleSettings::default(),
        };
        let mut loader = Loader {
            host: Host::new(limits(settings), cache_dir)?,
            settings: settings.clone(),
            others,
            files: BTreeMap::new(),
            trouble: None,
            rules: Arc::new(rules),
            rules_watch: Watch::new(rules_stamp),
            rules_trouble: None,
            looks: 0,
        };
        let paths = list(&settings.dir).map_err(|error| DetectError::Dir {
            dir: settings.dir.clone(),
            error,
        })?;
        for path in paths {
            let stamp = stamp_of(&path);
            loader.files.insert(name_of(&path), PluginFile::new(path, stamp));
        }
        let mut change = Change::default();
        let names: Vec<String> = loader.files.keys().cloned().collect();
        for name in names {
            loader.open_file(&name, &mut change);
        }
        change.rules = Some(loader.rules.clone());
        change.problems = loader.problems();
        let mut detectors = Detectors::default();
        detectors.apply(change);
        Ok((loader, detectors))
    }

    /// What became other than what runs since the last look. Reads, compiles and configures what is new: takes its time.
    pub fn look(&mut self) -> Option<Change> {
        let before = self.problems();
        self.looks = self.looks.wrapping_add(1);
        let mut change = Change::default();
        self.look_at_rules(&mut change);
        self.look_at_files(&mut change);
        change.problems = self.problems();
        (!change.is_empty() || change.problems != before).then_some(change)
    }

    fn look_at_rules(&mut self, change: &mut Change) {
        let Some(path) = self.settings.rules.clone() else {
            return;
        };
        let stamp = Stamp::of(&path);
        if !self.rules_watch.is_due(stamp) {
            return;
        }
        let read = self.read_rules(&path);
        // What was written while it was read is neither the old nor the new: the next look sees a change.
        if Stamp::of(&path) != stamp {
            return;
        }
        match read {
            Ok((rules, ready)) => {
                self.rules_watch.was_read(stamp);
                self.rules_trouble = None;
                if rules.digest != self.rules.digest {
                    self.rules = Arc::new(rules);
                    change.rules = Some(self.rules.clone());
                }
                for (plugin, names_files) in ready {
                    if let Some(file) = self.files.get_mut(&plugin.runner.manifest.id) {
                        file.loaded = Some(Loaded::of(&plugin, names_files));
                    }
                    change.ready.push(plugin);
                }
            }
            Err(reason) => {
                self.rules_watch.failed(stamp);
                if self.rules_trouble.as_ref() != Some(&reason) {
                    tracing::error!("the rules in force stay: {reason}");
                }
                self.rules_trouble = Some(reason);
            }
        }
    }

    /// The rules' file as it is now, and the plugins that are configured otherwise under it, each with whether files are named there.
    fn read_rules(&self, path: &Path) -> Result<(RuleSettings, Vec<(Plugin, bool)>), String> {
        let rules = config::load_rules(path, &self.settings.config).map_err(|error| error.to_string())?;
        let mut ready = Vec::new();
        for (name, file) in &self.files {
            if file.loaded.is_none() || rules.config.get(name) == self.rules.config.get(name) {
                continue;
            }
            // As the file is now: a release and the settings that it needs may come together.
            let trusted = read_trusted(&file.path, &self.settings)?;
            let place = rules
                .names
                .iter()
                .find(|(named, place)| named == name && place.contains("[config]"));
            let place = place.map_or("", |(_, place)| place);
            let plugin = configuration(&self.settings, &rules, name).and_then(|configuration| {
                let names_files = configuration.names_files;
                let plugin = open(&self.host, &self.settings, &file.path, trusted, configuration)?;
                self.check_room(name, &plugin)?;
                Ok((plugin, names_files))
            });
            ready.push(plugin.map_err(|reason| format!("{place}{reason}"))?);
        }
        let (misnamed, _) = self.misnamed(&rules, &ready);
        match misnamed.first() {
            None => Ok((rules, ready)),
            Some(reason) => Err(reason.clone()),
        }
    }

    fn misnamed(&self, rules: &RuleSettings, ready: &[(Plugin, bool)]) -> (Vec<String>, Vec<String>) {
        let rules_of = |name: &str| -> Option<Vec<&str>> {
            if let Some((plugin, _)) = ready.iter().find(|(plugin, _)| plugin.runner.manifest.id == name) {
                return Some(
                    plugin
                        .runner
                        .manifest
                        .rules
                        .iter()
                        .map(|rule| rule.id.as_str())
                        .collect(),
                );
            }
            let loaded = self.files.get(name)?.loaded.as_ref()?;
            Some(loaded.rules.iter().map(String::as_str).collect())
        };
        Rules::misnamed(rules, rules_of, &self.others)
    }

    fn look_at_files(&mut self, change: &mut Change) {
        let paths = match list(&self.settings.dir) {
            Ok(paths) => paths,
            // A directory that is not there for a moment is no wish to have no plugins.
            Err(error) => {
                self.trouble = Some(format!(
                    "it cannot be read: {error}; the plugins that are loaded run on"
                ));
                return;
            }
        };
        self.trouble = None;
        for path in paths {
            let name = name_of(&path);
            self.files
                .entry(name)
                .or_insert_with(|| PluginFile::new(path, (None, None)));
        }
        let names: Vec<String> = self.files.keys().cloned().collect();
        for name in names {
            let Some(file) = self.files.get_mut(&name) else {
                continue;
            };
            let stamp = stamp_of(&file.path);
            // A new configuration may be what a file was refused for.
            let mut again = change.rules.is_some() && file.trouble.is_some();
            let named = file.loaded.as_ref().is_some_and(|loaded| loaded.names_files);
            again |= named && self.looks.is_multiple_of(LOOKS_TO_READ_SETTINGS);
            let is_there = stamp.0.is_some();
            let due = file.watch.is_due(stamp) || again && is_there;
            if !due {
                continue;
            }
            if !is_there {
                if file.loaded.is_some() {
                    change.gone.push(name.clone());
                }
                self.files.remove(&name);
                continue;
            }
            self.open_file(&name, change);
        }
    }

    /// Makes a plugin of a file that is new or another, or notes why there is none.
    fn open_file(&mut self, name: &str, change: &mut Change) {
        let Some(file) = self.files.get(name) else { return };
        let stamp = stamp_of(&file.path);
        let mut digest = String::new();
        let opened = read_trusted(&file.path, &self.settings).and_then(|trusted| {
            digest = trusted.digest.clone();
            let configuration = configuration(&self.settings, &self.rules, name)?;
            let same = |loaded: &Loaded| {
                (&loaded.digest, &loaded.signed_by, &loaded.config_digest)
                    == (&trusted.digest, &trusted.signed_by, &configuration.digest)
            };
            if file.loaded.as_ref().is_some_and(same) {
                return Ok(None);
            }
            let names_files = configuration.names_files;
            let plugin = open(&self.host, &self.settings, &file.path, trusted, configuration)?;
            self.check_room(name, &plugin)?;
            Ok(Some((plugin, names_files)))
        });
        let Some(file) = self.files.get_mut(name) else { return };
        if stamp_of(&file.path) != stamp {
            return;
        }
        match opened {
            Ok(plugin) => {
                file.watch.was_read(stamp);
                file.trouble = None;
                if let Some((plugin, names_files)) = plugin {
                    file.loaded = Some(Loaded::of(&plugin, names_files));
                    change.ready.push(plugin);
                }
            }
            Err(reason) => {
                file.watch.failed(stamp);
                let reason = match &file.loaded {
                    Some(loaded) => format!(
                        "{reason}; version {} (SHA-256 {}) runs on",
                        loaded.version, loaded.digest
                    ),
                    None => reason,
                };
                if file.trouble.as_ref() == Some(&reason) {
                    return;
                }
                tracing::error!("plugin {} is refused: {reason}", file.path.display());
                change.once.push(PluginHealth {
                    plugin: name.to_owned(),
                    version: String::new(),
                    digest,
                    status: PluginStatus::Refused,
                    reason: reason.clone(),
                    counters: PluginCounters::default(),
                });
                file.trouble = Some(reason);
            }
        }
    }

    fn check_room(&self, name: &str, plugin: &Plugin) -> Result<(), String> {
        let others = self.files.iter().filter(|(other, _)| *other != name);
        let taken: usize = others
            .filter_map(|(_, file)| Some(file.loaded.as_ref()?.instances))
            .sum();
        if taken + instances(plugin) > INSTANCES_MAX {
            return Err(format!("the other plugins take up all {INSTANCES_MAX} instances"));
        }
        Ok(())
    }

    /// All that does not work as things stand.
    fn problems(&self) -> Vec<PluginProblem> {
        let problem = |path: &Path, reason: String| PluginProblem {
            path: path.to_owned(),
            reason,
        };
        let files = self.files.values();
        let mut problems: Vec<PluginProblem> = files
            .filter_map(|file| Some(problem(&file.path, file.trouble.clone()?)))
            .collect();
        problems.extend(self.trouble.clone().map(|reason| problem(&self.settings.dir, reason)));
        for name in self
            .settings
            .config
            .keys()
            .filter(|name| !self.files.contains_key(*name))
        {
            let valid: Vec<&str> = self.files.keys().map(String::as_str).collect();
            let reason = format!(
                "there is configuration [plugins.config.{name}] but no file {name}.wasm; there are: {}",
                valid.join(", ")
            );
            problems.push(problem(&self.settings.dir, reason));
        }
        if let Some(path) = &self.settings.rules {
            let refused = self.rules_trouble.clone();
            let refused = refused.map(|reason| format!("{reason}; the rules in force stay"));
            let (no_rule, no_plugin) = self.misnamed(&self.rules, &[]);
            let reasons = refused.into_iter().chain(no_rule).chain(no_plugin);
            problems.extend(reasons.map(|reason| problem(path, reason)));
        }
        problems
    }
}

impl PluginFile {
    fn new(path: PathBuf, stamp: FileStamp) -> PluginFile {
        PluginFile {
            path,
            watch: Watch::new(stamp),
            loaded: None,
            trouble: None,
        }
    }
}

/// The plugin files of a directory, sorted.
fn list(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn stamp_of(path: &Path) -> FileStamp {
    (Stamp::of(path), Stamp::of(&signature::path_of(path)))
}
