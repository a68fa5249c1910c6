//! Other plugins and rules while the engine runs. They are made ready beside the stream and put in between two epochs.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};

use super::health::{PluginHealth, PluginStatus};
use super::load::PluginProblem;
use super::loader::Loader;
use super::order::SHARDS;
use super::saved::{state_key, time_key};
use super::{DetectOutput, Detectors, Plugin};
use crate::config::RuleSettings;
use crate::watch::POLL;

/// Plugins that are gone and may come back with what they remembered; the first by name is let go for one more.
const PARKED_MAX: usize = 8;

/// What is to run from now on.
#[derive(Default)]
pub struct Change {
    /// New plugins, and others in the places of those with the same id.
    pub(super) ready: Vec<Plugin>,
    /// Ids of those whose file is gone.
    pub(super) gone: Vec<String>,
    /// To be told once.
    pub(super) once: Vec<PluginHealth>,
    pub(super) rules: Option<Arc<RuleSettings>>,
    /// All there are now.
    pub(super) problems: Vec<PluginProblem>,
}

impl Change {
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.gone.is_empty() && self.once.is_empty() && self.rules.is_none()
    }
}

/// The task that looks for changes. Ends with this.
pub struct Reloads {
    changes: mpsc::Receiver<Change>,
    _task: JoinSet<()>,
}

impl Reloads {
    pub fn start(loader: Loader) -> Reloads {
        // The next look waits until what the one before found has been put in.
        let (sender, changes) = mpsc::channel(1);
        let mut task = JoinSet::new();
        task.spawn(follow(loader, sender));
        Reloads { changes, _task: task }
    }

    /// What is ready to be put in, if anything is.
    pub fn take(&mut self) -> Option<Change> {
        self.changes.try_recv().ok()
    }
}

async fn follow(mut loader: Loader, changes: mpsc::Sender<Change>) {
    loop {
        tokio::time::sleep(POLL).await;
        let looked = spawn_blocking(move || {
            let change = loader.look();
            (loader, change)
        });
        let change = match looked.await {
            Ok((kept, change)) => {
                loader = kept;
                change
            }
            // A defect of the sandbox.
            Err(error) => {
                tracing::error!("plugins and rules are not watched any more: {error}; a restart watches them again");
                return;
            }
        };
        if let Some(change) = change
            && changes.send(change).await.is_err()
        {
            return;
        }
    }
}

impl Detectors {
    /// Shows rows that wait to plugins which are about to be replaced by one that needs more columns of them than were kept: else nobody
    /// would see these. They come before the watermark, and are counted as early. Called before the epoch is sealed after which
    /// `change` is put in: what the old plugins find belongs to it.
    pub fn release_before(&mut self, change: &Change) -> DetectOutput {
        let mut output = DetectOutput::default();
        for plugin in &mut self.plugins {
            let successor = change.ready.iter().find(|ready| ready.id() == plugin.id());
            if successor.is_some_and(|successor| !successor.takes_waiting_of(plugin))
                && let Some(waiting) = &mut plugin.ordered
                && let Err(error) = waiting.release_all(&mut plugin.runner, &mut output)
            {
                plugin.broken(&error);
            }
        }
        output
    }

    /// Puts in what is new. A plugin in the place of another takes over what that one remembers, in the form that it has, the rows that
    /// wait for it, and its figures. Called between two epochs, after `save`.
    pub fn apply(&mut self, change: Change) {
        for id in change.gone {
            if let Some(place) = self.plugins.iter().position(|plugin| plugin.id() == id) {
                self.park(place);
            }
        }
        for mut plugin in change.ready {
            let place = self.plugins.iter().position(|held| held.id() == plugin.id());
            let before = match place {
                Some(place) => Some(self.plugins.swap_remove(place)),
                None => self.parked.remove(plugin.id()),
            };
            if let Some(before) = before {
                tracing::info!(
                    plugin = plugin.id(),
                    version = plugin.runner.manifest.version,
                    sha256 = plugin.digest,
                    "a plugin takes over from version {} (SHA-256 {})",
                    before.runner.manifest.version,
                    before.digest
                );
                if before.ordered.is_some() && plugin.ordered.is_none() {
                    self.dropped.extend(state_keys(plugin.id()));
                }
                plugin.succeed(before);
            }
            self.plugins.push(plugin);
        }
        self.plugins.sort_by(|a, b| a.id().cmp(b.id()));
        self.manifests = self
            .plugins
            .iter()
            .map(|plugin| plugin.runner.manifest.clone())
            .collect();
        // The same ones too are told anew: what the tables say of exceptions names the time at which rules were told.
        self.rules.replace(change.rules.unwrap_or_else(|| self.rules.shared()));
        self.once.extend(change.once);
        self.problems = change.problems;
    }

    fn park(&mut self, place: usize) {
        let mut plugin = self.plugins.swap_remove(place);
        tracing::warn!(plugin = plugin.id(), "its file is gone: it does not run any more");
        if let Some(ordered) = &mut plugin.ordered {
            ordered.abandon(&mut plugin.runner);
        }
        plugin.runner.rest();
        self.once.push(PluginHealth {
            status: PluginStatus::Removed,
            reason: "its file is gone".into(),
            ..plugin.health()
        });
        self.parked.insert(plugin.id().to_owned(), plugin);
        if self.parked.len() > PARKED_MAX
            && let Some((id, _)) = self.parked.pop_first()
        {
            self.dropped.extend(state_keys(&id));
        }
    }
}

fn state_keys(id: &str) -> impl Iterator<Item = String> {
    let shards = (0..SHARDS).map(|shard| state_key(id, shard));
    shards.chain([time_key(id)])
}

impl Plugin {
    /// Whether the rows that wait for `before` have all that this one needs of them, and are those that it wants.
    fn takes_waiting_of(&self, before: &Plugin) -> bool {
        let (own, old) = (&self.runner.manifest, &before.runner.manifest);
        match (&self.ordered, &before.ordered) {
            (Some(ordered), Some(waiting)) => {
                (&own.classes, &own.layers) == (&old.classes, &old.layers) && ordered.needs_no_more_than(waiting)
            }
            _ => false,
        }
    }

    fn succeed(&mut self, mut before: Plugin) {
        let takes = self.takes_waiting_of(&before);
        if let (Some(ordered), Some(waiting)) = (&mut self.ordered, before.ordered.take()) {
            match takes {
                true => *ordered = waiting,
                false => ordered.go_on_from(&waiting),
            }
        }
        self.runner.succeed(before.runner);
    }
}
