//! Calls a plugin, and sees to it that its failures stay its own.
//!
//! After any failure the instance is dropped and rebuilt: restored from its last saved state, and shown again the rows it had
//! digested since then. The failed batch is shown once more, then in halves, until the rows that cannot be digested are found;
//! they are skipped and recorded. Who fails too often is quarantined, see `quarantine`.

pub(super) mod quarantine;

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use bytes::Bytes;

use super::DetectOutput;
use super::error::{CallError, CallFault};
use super::findings::{self, Call};
use super::health::{PluginCounters, PluginStatus};
use super::layout::{LaidBatch, text_at};
use super::manifest::PluginManifest;
use super::saved::SavedState;
use super::wasm::{Guest, Instance};
use crate::config::{HIDDEN, PluginSettings};
use crate::model::Micros;
use quarantine::Quarantine;

/// Failed calls over one batch, after which the plugin is quarantined: finding one bad row of 8,192 takes 15.
const ATTEMPTS_MAX: u32 = 24;
/// Rows that one shard may have to be shown again, in bytes, before a copy of its state is taken instead.
const JOURNAL_BYTES_MAX: usize = 2 << 20;
/// Largest state of one shard, in bytes: it is written again whenever it changed. A shard whose state outgrows it begins empty.
pub const STATE_BYTES_MAX: usize = 16 << 20;
/// An instance that has grown beyond this part of its memory limit is replaced when its state is saved: memory never shrinks.
const RECYCLE_DIVISOR: usize = 2;

/// One shard of a plugin that keeps state; a plugin without state has only one of these, and nothing but `instance` in it.
#[derive(Default)]
pub(super) struct Shard {
    instance: Option<Instance>,
    /// The guest's state before `journal`.
    snapshot: Option<SavedState>,
    /// What it has digested since the snapshot.
    journal: Vec<Digested>,
    journal_bytes: usize,
    /// The snapshot was read from the store and has not been restored yet.
    unproven: bool,
    /// Its state changed since the last save.
    dirty: bool,
    /// Its state is gone: what was saved of it is to go, too.
    emptied: bool,
}

/// What an instance was called with and has digested.
enum Digested {
    Rows(LaidBatch),
    Time(Micros),
}

impl Shard {
    /// Whether it has or had anything to remember.
    fn has_seen(&self) -> bool {
        self.instance.is_some() || self.snapshot.is_some() || !self.journal.is_empty()
    }

    fn forget_journal(&mut self) {
        self.journal.clear();
        self.journal_bytes = 0;
    }
}

pub(super) struct Runner {
    guest: Guest,
    name: Arc<str>,
    config: String,
    memory_bytes_max: usize,
    hide_words: bool,
    shards: Vec<Shard>,
    pub manifest: PluginManifest,
    pub status: PluginStatus,
    /// The last failure, or why it is quarantined.
    pub reason: String,
    pub counters: PluginCounters,
    quarantine: Quarantine,
}

impl Runner {
    /// `config` has been accepted by an instance of `guest` before.
    pub fn new(
        guest: Guest,
        manifest: PluginManifest,
        config: String,
        settings: &PluginSettings,
        shards: usize,
    ) -> Runner {
        Runner {
            guest,
            name: manifest.id.as_str().into(),
            config,
            memory_bytes_max: settings.memory_bytes_max,
            hide_words: settings.hide_words,
            shards: (0..shards).map(|_| Shard::default()).collect(),
            manifest,
            status: PluginStatus::Ok,
            reason: String::new(),
            counters: PluginCounters::default(),
            quarantine: Quarantine::default(),
        }
    }

    pub fn is_running(&self) -> bool {
        self.status == PluginStatus::Ok
    }

    /// Sets the state of a shard, as the store had it.
    pub fn restore(&mut self, shard: usize, state: SavedState) {
        self.shards[shard] = Shard {
            snapshot: Some(state),
            unproven: true,
            ..Shard::default()
        };
    }

    /// Shows `batch`, whose rows are rows of `source`, to a shard and adds what it found to `output`.
    pub fn feed(&mut self, shard: usize, batch: LaidBatch, source: &RecordBatch, output: &mut DetectOutput) {
        if batch.rows() == 0 {
            return;
        }
        if !self.is_running() {
            self.counters.rows_unseen += batch.rows() as u64;
            return;
        }
        let started = Instant::now();
        self.counters.batches += 1;
        self.counters.rows += batch.rows() as u64;
        let mut todo = batch.pieces(self.memory_bytes_max / 4);
        todo.reverse();
        let mut attempts = 0;
        while let Some(piece) = todo.pop() {
            match self.digest(shard, Call::Rows(&piece, source), output) {
                Ok(()) => self.remember(shard, piece),
                Err(error) => {
                    attempts += 1;
                    self.drop_instance(shard);
                    self.failed(&error, attempts, piece, source, &mut todo);
                }
            }
            if !self.is_running() {
                self.counters.rows_unseen += todo.iter().map(|piece| piece.rows() as u64).sum::<u64>();
                break;
            }
        }
        self.counters.time_us += started.elapsed().as_micros() as u64;
    }

    /// Decides what becomes of a piece that failed: shown again, halved, or skipped.
    fn failed(
        &mut self,
        error: &CallError,
        attempts: u32,
        piece: LaidBatch,
        source: &RecordBatch,
        todo: &mut Vec<LaidBatch>,
    ) {
        self.reason = error.to_string();
        if attempts == 1 {
            self.count_failure();
        }
        if attempts >= ATTEMPTS_MAX {
            self.counters.rows_unseen += piece.rows() as u64;
            self.quarantine(format!("{attempts} failed calls over one batch, the last: {error}"));
        } else if !self.is_running() {
            self.counters.rows_unseen += piece.rows() as u64;
        } else if attempts == 1 {
            // Once more as it is: a busy machine can make a call run out of time.
            todo.push(piece);
        } else if error.fault == CallFault::Start {
            self.counters.rows_unseen += piece.rows() as u64;
            self.quarantine(format!("it cannot be rebuilt: {error}"));
        } else if piece.rows() > 1 {
            let middle = piece.rows() / 2;
            todo.push(piece.slice(middle, piece.rows()));
            todo.push(piece.slice(0, middle));
        } else {
            self.counters.rows_skipped += 1;
            let event = text_at(source, "event_id", piece.source[0] as usize).unwrap_or_default();
            self.reason = format!("event {event} was skipped: {error}");
            tracing::warn!(
                plugin = &*self.name,
                event,
                "a plugin cannot digest this event, which it does not see: {error}"
            );
        }
    }

    /// Tells the shards that event time has passed up to `time`.
    pub fn tick(&mut self, time: Micros, output: &mut DetectOutput) {
        let started = Instant::now();
        // A shard that has seen nothing has nothing that time could end.
        for shard in (0..self.shards.len())
            .filter(|shard| self.shards[*shard].has_seen())
            .collect::<Vec<_>>()
        {
            let before = output.detections.len();
            let mut result = Ok(());
            // Twice: a busy machine can make a call run out of time.
            for attempt in 0..2 {
                if !self.is_running() {
                    return;
                }
                result = self.digest(shard, Call::Time(time), output);
                let Err(error) = &result else { break };
                self.drop_instance(shard);
                self.reason = error.to_string();
                if attempt == 0 {
                    self.count_failure();
                } else if error.fault == CallFault::Start {
                    self.quarantine(format!("it cannot be rebuilt: {error}"));
                }
            }
            if result.is_ok() {
                let shard = &mut self.shards[shard];
                shard.dirty |= output.detections.len() > before;
                if let Some(Digested::Time(last)) = shard.journal.last_mut() {
                    *last = time;
                } else {
                    shard.journal.push(Digested::Time(time));
                }
            }
        }
        self.counters.time_us += started.elapsed().as_micros() as u64;
    }

    fn digest(&mut self, shard: usize, call: Call, output: &mut DetectOutput) -> Result<(), CallError> {
        self.ensure_instance(shard)?;
        let Some(instance) = self.shards[shard].instance.as_mut() else {
            unreachable!("ensured above")
        };
        let found = match call {
            Call::Rows(piece, _) => instance.detect(piece),
            Call::Time(time) => instance.advance(time),
        };
        self.counters.memory_bytes = self.counters.memory_bytes.max(instance.memory_bytes() as u64);
        self.counters.log_dropped += instance.take_log_dropped();
        let found = found?;
        let evicted = found.keys_evicted;
        let found = findings::build(&self.manifest, found, shard, call).map_err(|reason| CallError {
            fault: CallFault::Output,
            reason: if self.hide_words { HIDDEN.into() } else { reason },
        })?;
        if evicted > 0 && self.counters.keys_evicted == 0 {
            tracing::warn!(
                plugin = &*self.name,
                "more keys than it may remember: those silent for longest are forgotten, and counted"
            );
        }
        self.counters.keys_evicted = self.counters.keys_evicted.saturating_add(evicted);
        self.counters.detections += found.detections.len() as u64;
        self.counters.relations += found.relations.len() as u64;
        output.detections.extend(found.detections);
        output.relations.extend(found.relations);
        Ok(())
    }

    /// Makes the instance that the shard should have, with all it has seen. Every failure here is one of starting.
    fn ensure_instance(&mut self, index: usize) -> Result<(), CallError> {
        let shard = &mut self.shards[index];
        if shard.instance.is_some() {
            return Ok(());
        }
        let start = |error: CallError| CallError {
            fault: CallFault::Start,
            reason: error.to_string(),
        };
        let fresh = || -> Result<Instance, CallError> {
            let mut instance = self.guest.instantiate(self.name.clone())?;
            if instance.configure(&self.config).map_err(start)? != self.manifest {
                return Err(CallError {
                    fault: CallFault::Start,
                    reason: "it describes itself otherwise than when it was loaded, with the same configuration".into(),
                });
            }
            Ok(instance)
        };
        let mut instance = fresh()?;
        if let Some(snapshot) = &shard.snapshot
            && let Err(error) = instance.restore(snapshot)
        {
            if !shard.unproven || error.fault == CallFault::Time {
                return Err(start(error));
            }
            // A plugin may have changed the form of its state without saying so. Better to begin anew than not at all.
            self.counters.states_lost += 1;
            self.reason = format!("the saved state of shard {index} was not restored, it begins empty: {error}");
            tracing::warn!(
                plugin = &*self.name,
                shard = index,
                "saved state was not restored, begins empty: {error}"
            );
            shard.snapshot = None;
            instance = fresh()?;
        }
        shard.unproven = false;
        for digested in &shard.journal {
            match digested {
                Digested::Rows(batch) => instance.detect(batch),
                Digested::Time(time) => instance.advance(*time),
            }
            .map_err(start)?;
        }
        shard.instance = Some(instance);
        Ok(())
    }

    /// Keeps what a shard has digested, so that it can be shown again.
    fn remember(&mut self, index: usize, piece: LaidBatch) {
        if !self.manifest.is_stateful() {
            // Without state there is nothing to rebuild, and a grown instance is best replaced at once.
            let grown = |instance: &Instance| instance.memory_bytes() > self.memory_bytes_max / RECYCLE_DIVISOR;
            if self.shards[index].instance.as_ref().is_some_and(grown) {
                self.drop_instance(index);
            }
            return;
        }
        let shard = &mut self.shards[index];
        shard.dirty = true;
        shard.journal_bytes += piece.bytes();
        shard.journal.push(Digested::Rows(piece));
        if shard.journal_bytes > JOURNAL_BYTES_MAX {
            self.snapshot(index);
        }
    }

    /// Takes a copy of the shard's state, so that its journal can be let go. A plugin that cannot give it is quarantined: what
    /// it knows could not be made durable. A state that is too large is let go instead: to begin empty is better than to be blind.
    fn snapshot(&mut self, index: usize) {
        for attempt in 0..2 {
            let saved = self
                .ensure_instance(index)
                .and_then(|()| match self.shards[index].instance.as_mut() {
                    Some(instance) => instance.save(),
                    None => unreachable!("ensured above"),
                });
            let error = match saved {
                Ok(state) if state.len() <= STATE_BYTES_MAX => {
                    let shard = &mut self.shards[index];
                    shard.snapshot = Some(SavedState {
                        version: self.manifest.state_version,
                        bytes: state.into(),
                    });
                    shard.emptied = false;
                    shard.forget_journal();
                    let grown = |instance: &Instance| instance.memory_bytes() > self.memory_bytes_max / RECYCLE_DIVISOR;
                    if shard.instance.as_ref().is_some_and(grown) {
                        shard.instance = None;
                    }
                    return;
                }
                Ok(state) => {
                    self.counters.states_lost += 1;
                    self.reason = format!(
                        "shard {index} begins empty: its state had {} bytes, {STATE_BYTES_MAX} are allowed",
                        state.len()
                    );
                    tracing::warn!(plugin = &*self.name, "{}", self.reason);
                    self.shards[index] = Shard {
                        dirty: true,
                        emptied: true,
                        ..Shard::default()
                    };
                    return;
                }
                Err(error) => error.to_string(),
            };
            self.drop_instance(index);
            if attempt == 1 {
                self.quarantine(format!("its state cannot be saved: {error}"));
            }
        }
    }

    /// The states of the shards that changed since the last call, by shard; empty where what was saved is to go.
    pub fn save(&mut self) -> Vec<(usize, Bytes)> {
        let mut saved = Vec::new();
        for index in 0..self.shards.len() {
            if !self.shards[index].dirty {
                continue;
            }
            // A quarantined plugin's state is good, too: it holds what was digested.
            if !self.shards[index].journal.is_empty() {
                self.snapshot(index);
            }
            let shard = &mut self.shards[index];
            shard.dirty = false;
            match &shard.snapshot {
                Some(state) => saved.push((index, state.to_blob())),
                None if std::mem::take(&mut shard.emptied) => saved.push((index, Bytes::new())),
                None => {}
            }
        }
        saved
    }

    /// Lets the instances go; what they remember stays, as bytes.
    pub fn rest(&mut self) {
        for index in 0..self.shards.len() {
            if !self.shards[index].journal.is_empty() {
                self.snapshot(index);
            }
            if !self.shards[index].journal.is_empty() {
                self.counters.states_lost += 1;
                tracing::warn!(
                    plugin = &*self.name,
                    shard = index,
                    "what it learned since its state was saved last is lost: {}",
                    self.reason
                );
                self.shards[index].forget_journal();
            }
            self.drop_instance(index);
        }
    }

    /// Takes over what an earlier release remembers, or this one under another configuration, and its figures. What cannot be brought
    /// to the present form begins empty, as after a restart.
    pub fn succeed(&mut self, mut before: Runner) {
        before.rest();
        self.counters = before.counters;
        if !self.manifest.is_stateful() {
            return;
        }
        for (own, old) in self.shards.iter_mut().zip(before.shards) {
            *own = Shard {
                unproven: old.snapshot.is_some(),
                snapshot: old.snapshot,
                dirty: old.dirty,
                emptied: old.emptied,
                ..Shard::default()
            };
        }
    }

    fn drop_instance(&mut self, shard: usize) {
        self.shards[shard].instance = None;
    }
}
