//! Sequences of a run: their files, others while it runs, and what the tables say of them.

use std::collections::BTreeMap;
use std::fs;

use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};

use crate::config::{self, ConfigError, SequenceSet, SequenceSettings, SequencesSettings};
use crate::detect::{Detectors, PluginCounters, PluginHealth, PluginStatus, Rules};
use crate::model::Id;
use crate::model::detection::SEQUENCE;
use crate::sequence::Sequences;
use crate::store::RuleState;
use crate::watch::{POLL, Stamp, Watch};

/// What a look at the directory gives.
enum Looked {
    Changed(Box<SequenceSet>),
    Refused(String),
    /// What was refused is gone, and what is there is in force.
    Mended,
}

/// The task that looks at the directory of sequences. Ends with this.
pub struct SequenceReloads {
    looked: Option<mpsc::Receiver<Looked>>,
    /// Why the newest files are not in force.
    trouble: Option<String>,
    _task: JoinSet<()>,
}

impl SequenceReloads {
    /// The sequences that `settings` name, and the task that looks for others.
    pub fn load(settings: &SequencesSettings) -> Result<(SequenceSet, SequenceReloads), ConfigError> {
        let stamp = stamp(settings);
        let set = config::load_sequences(settings.dir.as_deref(), settings.shipped)?;
        let mut reloads = SequenceReloads {
            looked: None,
            trouble: None,
            _task: JoinSet::new(),
        };
        if settings.dir.is_some() {
            // The next look waits until what the one before found has been put in.
            let (sender, receiver) = mpsc::channel(1);
            reloads.looked = Some(receiver);
            reloads
                ._task
                .spawn(follow(settings.clone(), Watch::new(stamp), set.digest.clone(), sender));
        }
        Ok((set, reloads))
    }

    /// What is ready to be put in, if anything is.
    pub fn take(&mut self) -> Option<SequenceSet> {
        match self.looked.as_mut()?.try_recv().ok()? {
            Looked::Changed(set) => {
                self.trouble = None;
                tracing::info!(count = set.sequences.len(), "other sequences come into force");
                Some(*set)
            }
            Looked::Refused(reason) => {
                tracing::error!("the sequences in force stay: {reason}");
                self.trouble = Some(reason);
                None
            }
            Looked::Mended => {
                self.trouble = None;
                None
            }
        }
    }

    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}

/// What changes when a file of the directory does; `None` where it cannot be read.
fn stamp(settings: &SequencesSettings) -> Option<Id> {
    let mut files: Vec<String> = Vec::new();
    for entry in fs::read_dir(settings.dir.as_ref()?).ok()? {
        let path = entry.ok()?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(format!("{} {:?}", path.display(), Stamp::of(&path)));
        }
    }
    files.sort();
    let parts: Vec<&[u8]> = files.iter().map(String::as_bytes).collect();
    Some(Id::of(&parts))
}

async fn follow(
    settings: SequencesSettings,
    mut watch: Watch<Option<Id>>,
    mut digest: String,
    sender: mpsc::Sender<Looked>,
) {
    let mut refused: Option<String> = None;
    loop {
        tokio::time::sleep(POLL).await;
        let of_task = settings.clone();
        let looked = spawn_blocking(move || {
            let stamp = stamp(&of_task);
            let read = watch.is_due(stamp).then(|| {
                let read = config::load_sequences(of_task.dir.as_deref(), of_task.shipped);
                read.map_err(|error| error.to_string())
            });
            // What was written while it was read is neither the old nor the new: the next look sees a change.
            let read = read.filter(|_| self::stamp(&of_task) == stamp);
            match &read {
                Some(Ok(_)) => watch.was_read(stamp),
                Some(Err(_)) => watch.failed(stamp),
                None => {}
            }
            (watch, read)
        });
        let read = match looked.await {
            Ok((kept, read)) => {
                watch = kept;
                read
            }
            Err(error) => {
                let reason = format!("sequences are not watched any more: {error}; a restart watches them again");
                let _ = sender.send(Looked::Refused(reason)).await;
                return;
            }
        };
        let told = match read {
            Some(Ok(set)) if set.digest != digest => {
                refused = None;
                digest.clone_from(&set.digest);
                Some(Looked::Changed(Box::new(set)))
            }
            Some(Ok(_)) => refused.take().map(|_| Looked::Mended),
            Some(Err(reason)) if refused.as_ref() != Some(&reason) => {
                refused = Some(reason.clone());
                Some(Looked::Refused(reason))
            }
            _ => None,
        };
        if let Some(told) = told
            && sender.send(told).await.is_err()
        {
            return;
        }
    }
}

/// Per loaded plugin the layers that it reads.
pub fn heard(detectors: &Detectors) -> BTreeMap<String, Vec<String>> {
    let of = |manifest: &crate::detect::PluginManifest| (manifest.id.clone(), manifest.layers.clone());
    detectors.manifests().iter().map(of).collect()
}

/// Rows of the table of rules.
pub fn rule_states(set: &SequenceSet, rules: &Rules) -> impl Iterator<Item = RuleState> {
    set.sequences.values().map(|sequence: &SequenceSettings| {
        let (enabled, severity) = rules.of(SEQUENCE, &sequence.name);
        RuleState {
            plugin: SEQUENCE.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            digest: String::new(),
            rule: sequence.name.clone(),
            title: sequence.title.clone(),
            severity: severity.unwrap_or(sequence.severity).text(),
            severity_shipped: sequence.severity.text(),
            techniques: sequence.techniques.clone(),
            enabled,
            signed_by: None,
            description: (!sequence.description.is_empty()).then(|| sequence.description.clone()),
        }
    })
}

/// How sequences fare, as a detector among the others.
pub fn health(sequences: &Sequences) -> PluginHealth {
    let figures = sequences.figures();
    PluginHealth {
        plugin: SEQUENCE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        digest: sequences.set().digest.clone(),
        status: PluginStatus::Ok,
        reason: String::new(),
        counters: PluginCounters {
            rows: figures.seen,
            detections: figures.told,
            rows_late: figures.late,
            states_lost: figures.lost,
            keys_evicted: figures.evicted,
            ..PluginCounters::default()
        },
    }
}
