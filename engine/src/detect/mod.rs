//! Events in, detections and relations out: the sandboxed plugins and what keeps them honest.
//!
//! A plugin without state sees every batch at once. A plugin with state sees its rows in the order of (event time, event id):
//! they wait until the watermark of the layers it reads has passed them, and go to one of a fixed number of shards by the hash
//! of tenant and key, so that what it finds depends neither on batch sizes nor on the order of arrival.
//!
//! No failure of a plugin reaches the stream or another plugin: see `runner`.

mod error;
mod findings;
mod health;
mod layout;
mod load;
mod loader;
mod manifest;
mod measure;
mod order;
mod reload;
mod reorder;
mod rules;
mod runner;
mod saved;
mod signature;
mod wasm;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{AsArray, RecordBatch};
use arrow::error::ArrowError;
use bytes::Bytes;

pub use error::DetectError;
pub use health::{PluginCounters, PluginHealth, PluginStatus};
pub use load::{Inspection, PluginProblem, inspect};
pub use loader::Loader;
pub use manifest::{ID_BYTES_MAX, PluginManifest, PluginRule};
pub use measure::{Measured, Pass};
pub use order::{CALL_ROWS_MAX, SHARDS};
pub use reload::{Change, Reloads};
pub use rules::{ExceptionStatus, Rules};
pub use runner::STATE_BYTES_MAX;
pub use wasm::OUTPUT_BYTES_MAX;

use crate::config::PluginSettings;
use crate::model::{Detection, EventBatch, EventSchema, LAYERS, Micros, Relation, Severity};
use layout::{Selection, column};
use order::{Ordered, Progress};
use runner::Runner;
use saved::{SavedState, state_key, time_key};

/// What the plugins found, in no particular order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DetectOutput {
    pub detections: Vec<Detection>,
    /// Not yet merged: the same relation may be there many times.
    pub relations: Vec<Relation>,
}

/// Per layer of the stack, the event time up to which everything has arrived; `Micros::MIN` while a live input has not brought
/// anything. A layer that is absent has no live input: nothing holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watermarks(pub BTreeMap<String, Micros>);

impl Watermarks {
    /// Everything up to `time` has arrived, in every layer.
    pub fn at(time: Micros) -> Watermarks {
        Watermarks(LAYERS.iter().map(|layer| ((*layer).to_owned(), time)).collect())
    }

    /// The least over `layers` (all, when there are none); `None` when nothing holds them.
    fn of(&self, layers: &[String]) -> Option<Micros> {
        let wanted = |layer: &String| layers.is_empty() || layers.contains(layer);
        self.0
            .iter()
            .filter(|(layer, _)| wanted(layer))
            .map(|(_, time)| *time)
            .min()
    }
}

/// One loaded plugin.
struct Plugin {
    runner: Runner,
    /// SHA-256 of its file and of its configuration, in hexadecimal.
    digest: String,
    config_digest: String,
    /// The public key that signed it, where one had to.
    signed_by: Option<String>,
    /// For a plugin that keeps state.
    ordered: Option<Ordered>,
    /// What its health said last.
    told: Option<PluginHealth>,
}

/// A rule of a loaded plugin as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleInForce<'a> {
    pub manifest: &'a PluginManifest,
    pub rule: &'a PluginRule,
    /// SHA-256 of the plugin's file.
    pub digest: &'a str,
    pub signed_by: Option<&'a str>,
    pub enabled: bool,
    pub severity: Severity,
}

/// The stage.
#[derive(Default)]
pub struct Detectors {
    plugins: Vec<Plugin>,
    manifests: Vec<PluginManifest>,
    problems: Vec<PluginProblem>,
    /// Health of files that were refused or are gone, until it has been told.
    once: Vec<PluginHealth>,
    /// Plugins whose file is gone.
    parked: BTreeMap<String, Plugin>,
    rules: Rules,
    /// Names of saved state that nobody will take up again, until that has been saved.
    dropped: Vec<String>,
}

impl Detectors {
    /// Loads every `*.wasm` of the plugin directory, once: see [`Loader`] for more than once. A file that cannot be used does not stop
    /// the others: it is told in `problems` and in the first `health`. `cache_dir` keeps compiled plugins; it must be writable by this
    /// program alone.
    pub fn load(settings: &PluginSettings, cache_dir: Option<&Path>) -> Result<Detectors, DetectError> {
        Ok(Loader::start(settings, cache_dir, Vec::new())?.1)
    }

    /// The changes to the rules, and the exceptions from them.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    pub fn rules_mut(&mut self) -> &mut Rules {
        &mut self.rules
    }

    /// The rules of all loaded plugins.
    pub fn rules_in_force(&self) -> impl Iterator<Item = RuleInForce<'_>> {
        self.plugins.iter().flat_map(|plugin| {
            let manifest = &plugin.runner.manifest;
            manifest.rules.iter().map(|rule| {
                let (enabled, severity) = self.rules.of(&manifest.id, &rule.id);
                RuleInForce {
                    manifest,
                    rule,
                    digest: &plugin.digest,
                    signed_by: plugin.signed_by.as_deref(),
                    enabled,
                    severity: severity.unwrap_or(rule.severity),
                }
            })
        })
    }

    /// One plugin alone; the error is why it is refused.
    pub fn of_file(path: &Path, settings: &PluginSettings) -> Result<Detectors, String> {
        load::load_file(path, settings)
    }

    /// Those of the findings that the rules in force want, as severe as they say.
    pub fn judge(&mut self, found: DetectOutput) -> DetectOutput {
        DetectOutput {
            detections: self.rules.judge(found.detections, |_| {}),
            ..found
        }
    }

    /// Files and settings that could not be used, and why.
    pub fn problems(&self) -> &[PluginProblem] {
        &self.problems
    }

    /// The loaded plugins, by id.
    pub fn manifests(&self) -> &[PluginManifest] {
        &self.manifests
    }

    /// Event columns, by their places in the schema, that choosing rows for the plugins, showing them and building their findings take.
    pub fn columns(&self) -> BTreeSet<usize> {
        let own = ["class", "layer", "flags"]
            .into_iter()
            .chain(findings::needed_columns());
        let manifests = self.manifests.iter();
        let named = manifests.flat_map(|manifest| manifest.columns.iter().chain(&manifest.key));
        let place = |name: &str| EventSchema::get().index_of(name);
        own.filter_map(place)
            .chain(named.filter_map(|name| place(name)))
            .collect()
    }

    /// SHA-256 of each loaded plugin's file, in hexadecimal, by plugin id.
    pub fn digests(&self) -> BTreeMap<String, String> {
        self.plugins
            .iter()
            .map(|plugin| (plugin.runner.manifest.id.clone(), plugin.digest.clone()))
            .collect()
    }

    /// SHA-256 of each loaded plugin's configuration, in hexadecimal, by plugin id.
    pub fn config_digests(&self) -> BTreeMap<String, String> {
        let digest = |plugin: &Plugin| (plugin.id().to_owned(), plugin.config_digest.clone());
        self.plugins.iter().map(digest).collect()
    }

    /// Takes up what `save` gave before the last stop; `ran` are the plugins of that run, by id. State of a plugin that was not
    /// part of it and is not here now either is let go: missing once, it may come back. Called once, before any events.
    pub fn restore(&mut self, state: &BTreeMap<String, Bytes>, ran: &BTreeMap<String, String>) {
        self.drop_abandoned(state, ran);
        for plugin in &mut self.plugins {
            let Some(ordered) = &mut plugin.ordered else { continue };
            let id = plugin.runner.manifest.id.clone();
            if let Some(progress) = state.get(&time_key(&id)) {
                let refeed = ran.contains_key(&id);
                match serde_json::from_slice::<Progress>(progress) {
                    Ok(progress) => {
                        ordered.restore(progress, refeed);
                        if !refeed {
                            tracing::warn!(
                                plugin = id,
                                "was not part of the last run: it keeps its state and does not see the events since then"
                            );
                        }
                    }
                    Err(error) => {
                        tracing::warn!(plugin = id, "its saved progress is unreadable, it begins anew: {error}")
                    }
                }
            }
            for shard in 0..SHARDS {
                let Some(blob) = state.get(&state_key(&id, shard)) else {
                    continue;
                };
                match SavedState::of_blob(blob) {
                    Some(saved) => plugin.runner.restore(shard, saved),
                    None => tracing::warn!(plugin = id, shard, "its saved state is unreadable, it begins anew"),
                }
            }
        }
    }

    /// Takes out the plugins that keep state, were not part of the run that left `state`, and have nothing in it: they are to be shown
    /// what is stored, and then put back. Called once, before any events.
    pub fn take_new(&mut self, state: &BTreeMap<String, Bytes>, ran: &BTreeMap<String, String>) -> Detectors {
        let is_new = |plugin: &mut Plugin| {
            let id = &plugin.runner.manifest.id;
            plugin.ordered.is_some() && !ran.contains_key(id) && !saved::knows(state, id)
        };
        let plugins: Vec<Plugin> = self.plugins.extract_if(.., is_new).collect();
        Detectors {
            manifests: plugins.iter().map(|plugin| plugin.runner.manifest.clone()).collect(),
            plugins,
            ..Detectors::default()
        }
    }

    /// Puts back what `take_new` took. What the plugins counted meanwhile counts no longer; `note` stands in their health as long as
    /// nothing worse does.
    pub fn put_back(&mut self, warmed: Detectors, note: &str) {
        for mut plugin in warmed.plugins {
            plugin.runner.counters = PluginCounters::default();
            if plugin.runner.is_running() {
                plugin.runner.reason = note.to_owned();
            }
            self.plugins.push(plugin);
        }
        self.plugins
            .sort_by(|a, b| a.runner.manifest.id.cmp(&b.runner.manifest.id));
    }

    fn drop_abandoned(&mut self, state: &BTreeMap<String, Bytes>, ran: &BTreeMap<String, String>) {
        let is_here = |id: &str| self.manifests.iter().any(|manifest| manifest.id == id);
        let stateful = self.manifests.iter().filter(|manifest| manifest.is_stateful());
        let missing_once = ran.keys().map(String::as_str).filter(|id| !is_here(id));
        let kept: BTreeSet<&str> = stateful
            .map(|manifest| manifest.id.as_str())
            .chain(missing_once)
            .collect();
        for (plugin, keys) in saved::abandoned(state, &kept) {
            tracing::warn!(plugin, "is gone: what it remembered is let go");
            self.dropped.extend(keys);
        }
    }

    /// State that changed since the last call, by name; empty where it is to be removed. Called when an epoch is sealed.
    pub fn save(&mut self) -> BTreeMap<String, Bytes> {
        let dropped = std::mem::take(&mut self.dropped).into_iter();
        let mut saved: BTreeMap<String, Bytes> = dropped.map(|key| (key, Bytes::new())).collect();
        for plugin in &mut self.plugins {
            let Some(ordered) = &mut plugin.ordered else { continue };
            let id = plugin.runner.manifest.id.clone();
            for (shard, blob) in plugin.runner.save() {
                saved.insert(state_key(&id, shard), blob);
            }
            if let Some(progress) = ordered.save() {
                let text = serde_json::to_vec(&progress).unwrap_or_default();
                saved.insert(time_key(&id), text.into());
            }
        }
        saved
    }

    /// After `restore`: events newer than this waited in reorder buffers when the state was saved, and must be given to
    /// `refeed`. `None`: none.
    pub fn refeed_from(&self) -> Option<Micros> {
        self.plugins
            .iter()
            .filter_map(|plugin| plugin.ordered.as_ref()?.refeed_after)
            .min()
    }

    /// Events newer than this wait now, and would have to be fed again after a start from here. `None`: none.
    pub fn waiting_after(&self) -> Option<Micros> {
        let waiting = self.plugins.iter().filter_map(|plugin| plugin.ordered.as_ref());
        waiting.filter_map(|ordered| ordered.progress().refeed_after()).min()
    }

    /// Event columns, by their places in the schema, that are needed of events that wait.
    pub fn columns_of_waiting(&self) -> BTreeSet<usize> {
        let waiting = self.plugins.iter().filter_map(|plugin| plugin.ordered.as_ref());
        waiting.flat_map(|ordered| ordered.columns().to_vec()).collect()
    }

    /// Puts stored events back into the reorder buffers of those plugins that had not seen them. Nothing is detected yet, and
    /// plugins without state do not see them.
    pub fn refeed(&mut self, events: &EventBatch) {
        let batch = events.batch();
        for plugin in &mut self.plugins {
            let Some(ordered) = &mut plugin.ordered else { continue };
            let rows = select(batch, &plugin.runner.manifest);
            if let Err(error) = ordered.refeed(&mut plugin.runner, batch, &rows) {
                plugin.broken(&error);
            }
        }
    }

    /// Events enter: plugins without state see them now, the others when the watermark of their layers passes.
    pub fn detect(&mut self, events: &EventBatch) -> DetectOutput {
        let mut output = DetectOutput::default();
        let all = events.batch();
        let mut from = 0;
        while from < all.num_rows() {
            let batch = all.slice(from, CALL_ROWS_MAX.min(all.num_rows() - from));
            self.detect_batch(&batch, &mut output);
            from += batch.num_rows();
        }
        output
    }

    fn detect_batch(&mut self, batch: &RecordBatch, output: &mut DetectOutput) {
        let mut selections: HashMap<(Vec<String>, Vec<String>), Selection> = HashMap::new();
        for plugin in &mut self.plugins {
            let manifest = &plugin.runner.manifest;
            let filter = (manifest.classes.clone(), manifest.layers.clone());
            let selection = selections
                .entry(filter)
                .or_insert_with(|| Selection::new(batch, select(batch, manifest)));
            if selection.rows.is_empty() {
                continue;
            }
            if !plugin.runner.is_running() {
                plugin.runner.counters.rows_unseen += selection.rows.len() as u64;
                continue;
            }
            match &mut plugin.ordered {
                None => {
                    let laid = selection.lay(batch, &plugin.runner.manifest.columns);
                    plugin.runner.feed(0, laid, batch, output);
                }
                Some(ordered) => {
                    if let Err(error) = ordered.arrive(&mut plugin.runner, batch, &selection.rows, output) {
                        plugin.broken(&error);
                    }
                    plugin.settle();
                }
            }
        }
    }

    /// Releases to plugins with state what the watermarks have passed; to those that no live input feeds, everything. Must not be
    /// called between `refeed` and the first of the inputs being open: rows that were fed again would leave too early.
    pub fn advance(&mut self, watermarks: &Watermarks) -> DetectOutput {
        let mut output = DetectOutput::default();
        for plugin in self.plugins.iter_mut().filter(|plugin| plugin.runner.is_running()) {
            let Some(ordered) = &mut plugin.ordered else { continue };
            let watermark = watermarks.of(&plugin.runner.manifest.layers);
            if let Err(error) = ordered.advance(&mut plugin.runner, watermark, &mut output) {
                plugin.broken(&error);
            }
            plugin.settle();
        }
        output
    }

    /// Tries quarantined plugins again whose pause is over. `now` is the wall clock, of which the stage has none of its own; called
    /// every now and then.
    pub fn retry(&mut self, now: Instant) {
        self.plugins.iter_mut().for_each(|plugin| plugin.runner.retry(now));
    }

    /// The health of each plugin whose status changed since it was told last: at first, of all.
    pub fn health(&mut self) -> Vec<PluginHealth> {
        self.tell(|last, now| last.status != now.status)
    }

    /// The health of each plugin of which anything changed since it was told last, but for the time it took and its memory: those never
    /// stand still.
    pub fn health_changes(&mut self) -> Vec<PluginHealth> {
        self.tell(|last, now| last.steady() != now.steady())
    }

    fn tell(&mut self, changed: impl Fn(&PluginHealth, &PluginHealth) -> bool) -> Vec<PluginHealth> {
        let mut told = std::mem::take(&mut self.once);
        for plugin in &mut self.plugins {
            let now = plugin.health();
            if plugin.told.as_ref().is_none_or(|last| changed(last, &now)) {
                plugin.told = Some(now.clone());
                told.push(now);
            }
        }
        told
    }

    /// The health of every loaded plugin as it is now, for metrics.
    pub fn health_now(&self) -> Vec<PluginHealth> {
        self.plugins.iter().map(Plugin::health).collect()
    }
}

impl Plugin {
    fn id(&self) -> &str {
        &self.runner.manifest.id
    }

    fn health(&self) -> PluginHealth {
        PluginHealth {
            plugin: self.runner.manifest.id.clone(),
            version: self.runner.manifest.version.clone(),
            digest: self.digest.clone(),
            status: self.runner.status,
            reason: self.runner.explanation(),
            counters: self.runner.counters,
        }
    }

    /// The columns themselves could not be handled.
    fn broken(&mut self, error: &ArrowError) {
        self.runner
            .quarantine(format!("its rows could not be put in order: {error}"));
    }

    /// A plugin that has been quarantined meanwhile lets go of what waits for it.
    fn settle(&mut self) {
        if !self.runner.is_running()
            && let Some(ordered) = &mut self.ordered
        {
            ordered.abandon(&mut self.runner);
        }
    }
}

/// The rows of the classes and layers that a plugin wants to see.
fn select(batch: &RecordBatch, manifest: &PluginManifest) -> Arc<[u32]> {
    let (class, layer) = (
        column(batch, "class").as_string_view(),
        column(batch, "layer").as_string_view(),
    );
    let wanted = |list: &[String], value: &str| list.is_empty() || list.iter().any(|item| item == value);
    (0..batch.num_rows() as u32)
        .filter(|row| {
            let row = *row as usize;
            wanted(&manifest.classes, class.value(row)) && wanted(&manifest.layers, layer.value(row))
        })
        .collect()
}
