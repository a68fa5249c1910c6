//! The loop: what sources deliver goes through the stages; on a beat, incidents are journaled and readers see the newest rows;
//! when an epoch is due it is sealed and made durable in the background.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::block_in_place;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::boot::{WATERMARK, arrow_error, now};
use super::commit::{Committer, Durable, Sealed};
use super::epoch::EpochRows;
use super::growth::Growth;
use super::inhibits;
use super::report::REPORT_INTERVAL;
use super::sequences::{self, SequenceReloads};
use super::servers::Servers;
use super::waiting::{self, Waiting};
use super::watermark::InputTimes;
use super::{PipelineError, Status};
use crate::config::{Settings, SourceKind};
use crate::correlate::Correlator;
use crate::detect::{DetectOutput, Detectors, PluginHealth, PluginManifest, PluginProblem, Reloads, Watermarks};
use crate::forward::{Forwarder, Journal};
use crate::lookup::Lookups;
use crate::model::{Detection, Incident, Micros, Offsets, RawBatch};
use crate::normalize::Normalizer;
use crate::redact::{Redactor, Sealer};
use crate::search::{Index, Searcher};
use crate::sequence::Sequences;
use crate::source::{Harm, Progress, SourceEvent, Sources};
use crate::source_health::{Arrived, Hearing, SourceHealth};
use crate::store::{self, EpochData, Views};
use crate::triage::{Facts, Triage};

/// How often incidents are journaled and new rows become visible: well under the second in which an event must be queryable.
const BEAT: Duration = Duration::from_millis(200);
/// Sources that are not whole by then will not be soon: a consumer group's join takes seconds, and longer when members were killed and
/// the broker has yet to notice, but other members may hold partitions for good.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long the end of a run waits for receivers; what is left goes out after the next start.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// What a record counts as at least towards the size of an epoch: a row costs memory however few bytes it came from.
const RECORD_BYTES_MIN: u64 = 256;

/// Everything a run is made of.
pub struct Parts {
    pub settings: Settings,
    pub normalizer: Normalizer,
    pub detectors: Detectors,
    pub reloads: Reloads,
    pub correlator: Correlator,
    pub journal: Journal,
    pub index: Index,
    pub epoch: EpochRows,
    pub views: Views,
    pub forwarder: Forwarder,
    pub sources: Sources,
    pub events: mpsc::Receiver<SourceEvent>,
    pub progress: Arc<Progress>,
    pub times: InputTimes,
    pub source_health: SourceHealth,
    pub sequences: Sequences,
    pub sequence_reloads: SequenceReloads,
    pub committer: Committer,
    pub stopped: watch::Receiver<bool>,
    pub recovered_epoch: u64,
    /// Where every input goes on.
    pub offsets: Offsets,
    pub serve: Servers,
    pub redactor: Redactor,
    /// With redaction: what is kept in clear is sealed with it …
    pub sealer: Option<Arc<Sealer>>,
    /// … and these are.
    pub waiting: Waiting,
    pub lookups: Lookups,
    pub triage: Triage,
}

pub struct Engine {
    pub(super) parts: Parts,
    pub(super) status: watch::Sender<Status>,
    /// Per source, what keeps it from reading.
    pub(super) troubles: HashMap<Arc<str>, (Harm, String)>,
    /// Per source, what it could not read and will not, each with its reason; at most one for each of its files.
    pub(super) missing: BTreeMap<Arc<str>, Vec<String>>,
    growth: Growth,
    /// Sources that have not finished.
    running: usize,
    /// When the epochs were sealed that the committer has not answered for.
    pub(super) in_flight: VecDeque<Instant>,
    /// Up to where the correlator let go, when that moved since the last epoch.
    expired_at: Option<Micros>,
    /// Detectors or the correlator may have something new to say.
    moved: bool,
    /// When the rules that are in force came so, by the clock; `None` until they are in the tables.
    pub(super) rules_time: Option<Micros>,
    /// Of which rules, by their time, inhibitions were told last, and which of them were active.
    pub(super) inhibits_told: Option<(Micros, Vec<bool>)>,
    /// What the health of sequences said last.
    pub(super) sequences_told: Option<PluginHealth>,
}

impl Engine {
    pub fn new(parts: Parts) -> Engine {
        let running = parts.settings.sources.len();
        let status = watch::Sender::new(Status {
            epoch: parts.recovered_epoch,
            incidents: parts.journal.by_status().clone(),
            ..Status::default()
        });
        Engine {
            parts,
            status,
            troubles: HashMap::new(),
            missing: BTreeMap::new(),
            growth: Growth::default(),
            running,
            in_flight: VecDeque::new(),
            expired_at: None,
            moved: false,
            rules_time: None,
            inhibits_told: None,
            sequences_told: None,
        }
    }

    pub fn status_receiver(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub fn views(&self) -> Views {
        self.parts.views.clone()
    }

    pub fn searcher(&self) -> Searcher {
        self.parts.index.searcher()
    }

    pub fn manifests(&self) -> Vec<PluginManifest> {
        self.parts.detectors.manifests().to_vec()
    }

    pub fn problems(&self) -> Vec<PluginProblem> {
        self.parts.detectors.problems().to_vec()
    }

    /// Runs until every source has finished or a stop is asked for, then drains and makes everything durable.
    pub async fn run(mut self) -> Result<Status, PipelineError> {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopped = self.parts.stopped.clone();
        let mut last_beat = Instant::now();
        let mut last_report = Instant::now();
        let mut waiting_since = Instant::now();
        self.tell_rules()?;
        // Silences may have come or gone while no engine ran.
        self.review()?;
        self.report();
        while self.running > 0 {
            tokio::select! {
                biased;
                () = told_to_stop(&mut stopped) => break,
                durable = self.parts.committer.durable.recv() => self.became_durable(durable)?,
                Some(ask) = self.parts.serve.asked.recv() => self.answer(ask).await?,
                event = self.parts.events.recv() => match event {
                    Some(event) => self.take(event).await?,
                    None => break,
                },
                _ = beat.tick() => {}
            }
            if last_beat.elapsed() >= BEAT {
                self.beat().await?;
                last_beat = Instant::now();
            }
            if last_report.elapsed() >= REPORT_INTERVAL {
                block_in_place(|| self.listen())?;
                self.report();
                last_report = Instant::now();
                if !self.parts.times.waiting() {
                    waiting_since = Instant::now();
                } else if waiting_since.elapsed() >= START_PATIENCE && self.parts.times.stop_waiting() {
                    block_in_place(|| self.advance())?;
                }
            }
        }
        self.finish().await
    }

    async fn take(&mut self, event: SourceEvent) -> Result<(), PipelineError> {
        match event {
            SourceEvent::Opened(input, source) => self.parts.times.opened(input, source),
            SourceEvent::Whole(source) => {
                self.parts.times.whole(&source);
                block_in_place(|| self.advance())?;
            }
            SourceEvent::Batch(raw) => {
                block_in_place(|| self.process(&raw))?;
                if self.parts.epoch.bytes >= self.parts.settings.storage.flush_bytes {
                    self.beat().await?;
                }
            }
            SourceEvent::Idle(input) => {
                self.parts.times.idle(&input);
                block_in_place(|| self.advance())?;
            }
            SourceEvent::Ended(input) => {
                self.parts.times.ended(&input);
                self.parts.progress.ended(&input);
                self.parts.source_health.ended(&input);
                block_in_place(|| self.advance())?;
            }
            SourceEvent::Revoking { source, done, .. } => {
                self.parts.times.torn(source);
                self.beat().await?;
                self.seal().await?;
                self.settle().await?;
                let _ = done.send(());
            }
            SourceEvent::Forgotten(input) => {
                self.parts.offsets.remove(&input);
            }
            SourceEvent::Trouble { source, message, harm } => {
                tracing::warn!(%source, "{message}");
                if harm == Harm::Lasting {
                    self.missing.entry(source).or_default().push(message);
                } else if self.troubles.get(&source).is_none_or(|(held, _)| *held <= harm) {
                    self.troubles.insert(source, (harm, message));
                }
            }
            SourceEvent::Recovered { source, message } => {
                tracing::info!(%source, "{message}");
                self.troubles.remove(&source);
            }
            SourceEvent::Finished(source) => {
                tracing::info!(%source, "source read to its end");
                self.running = self.running.saturating_sub(1);
            }
            SourceEvent::Failed { error, .. } => return Err(PipelineError::Reading(error)),
        }
        Ok(())
    }

    /// One raw batch through all stages.
    fn process(&mut self, raw: &RawBatch) -> Result<(), PipelineError> {
        let began = Instant::now();
        let parts = &mut self.parts;
        let mut decoded = parts.normalizer.decode(raw, now());
        decoded.events = parts.lookups.apply(decoded.events).map_err(arrow_error)?;
        let decode = began.elapsed();
        decoded.relations = parts.redactor.relations(decoded.relations);
        parts.times.read(&raw.input, &raw.source, decoded.newest_time);
        parts.progress.decoded(&raw.input, decoded.newest_time);
        let arrived = Arrived {
            source: &raw.source,
            input: &raw.input,
            events: &decoded.events,
            rejected: &decoded.rejected,
            records: decoded.records,
            newest: decoded.newest_time,
        };
        parts.source_health.arrived(&arrived, now());
        parts.offsets.insert(raw.input.clone(), raw.next.clone());
        parts.epoch.moved = true;
        parts.epoch.bytes += decoded.bytes.max(decoded.records * RECORD_BYTES_MIN) as usize;
        parts.epoch.add_events(&parts.redactor.events(&decoded.events));
        parts.epoch.add_rejected(&parts.redactor.rejected(&decoded.rejected))?;
        if parts.redactor.is_on() {
            parts.waiting.add(&decoded.events);
        }
        parts.epoch.add_relations(&decoded.relations);
        let began = Instant::now();
        let found = parts.detectors.detect(&decoded.events);
        let detect = began.elapsed();
        // Records that were on their way when everything stopped say nothing about what comes.
        if self
            .troubles
            .get(&raw.source)
            .is_some_and(|(harm, _)| *harm == Harm::Partial)
        {
            self.troubles.remove(&raw.source);
        }
        self.count_batch(raw, &decoded);
        self.status.send_modify(|status| {
            status.records += decoded.records;
            status.events += decoded.events.rows() as u64;
            status.rejected += decoded.rejected.len() as u64;
            status.duplicates += decoded.duplicates;
            status.bytes += decoded.bytes;
            status.caught_up = false;
            status.seconds.decode += decode.as_secs_f64();
            status.seconds.detect += detect.as_secs_f64();
        });
        let began = Instant::now();
        self.parts.correlator.apply(Vec::new(), decoded.relations);
        self.status
            .send_modify(|status| status.seconds.correlate += began.elapsed().as_secs_f64());
        // What other tools found counts like what a plugin found.
        self.found(DetectOutput {
            detections: decoded.detections,
            relations: Vec::new(),
        })?;
        self.found(found)?;
        self.advance()
    }

    /// Lets event time pass as far as the inputs allow.
    fn advance(&mut self) -> Result<(), PipelineError> {
        let began = Instant::now();
        let watermarks = Watermarks(self.parts.times.by_layer());
        let mut found = self.parts.detectors.advance(&watermarks);
        found.detections.extend(self.parts.source_health.advance(&watermarks.0));
        self.status
            .send_modify(|status| status.seconds.detect += began.elapsed().as_secs_f64());
        self.found(found)?;
        // After what was found up to the same watermarks.
        let parts = &mut self.parts;
        let detections = parts.sequences.advance(&watermarks.0, parts.times.newest());
        self.told(detections)
    }

    /// What sequences tell goes the way of all detections.
    fn told(&mut self, detections: Vec<Detection>) -> Result<(), PipelineError> {
        if detections.is_empty() {
            return Ok(());
        }
        self.found(DetectOutput {
            detections,
            relations: Vec::new(),
        })
    }

    /// Tells of sources that have been silent for too long.
    fn listen(&mut self) -> Result<(), PipelineError> {
        let parts = &mut self.parts;
        let detections = parts.source_health.look(now(), |name| {
            let is_troubled = self.troubles.contains_key(name);
            let mut sources = parts.settings.sources.iter();
            // The other members of a consumer group may hold all partitions.
            let may_have_none =
                sources.any(|source| source.name == name && matches!(source.kind, SourceKind::Kafka(_)));
            Hearing {
                is_deaf: may_have_none && !is_troubled && !parts.times.has_inputs(name),
                is_troubled,
            }
        });
        if detections.is_empty() {
            return Ok(());
        }
        self.found(DetectOutput {
            detections,
            relations: Vec::new(),
        })
    }

    fn found(&mut self, found: DetectOutput) -> Result<(), PipelineError> {
        self.moved = true;
        // Exceptions name what stands in the logs, and so do sequences.
        let detections = self.judge(found.detections);
        let told = self.parts.sequences.add(&detections);
        let redactor = &self.parts.redactor;
        let found = DetectOutput {
            detections: redactor.detections(detections),
            relations: redactor.relations(found.relations),
        };
        self.count_detections(&found.detections);
        let parts = &mut self.parts;
        parts.triage.silences.count(&found.detections);
        parts.triage.inhibits.add(&found.detections);
        parts.epoch.add_detections(&found.detections)?;
        parts.epoch.add_relations(&found.relations);
        self.status
            .send_modify(|status| status.detections += found.detections.len() as u64);
        parts.correlator.apply(found.detections, found.relations);
        self.told(told)
    }

    /// Journals what changed, shows readers the newest rows, and seals the epoch when it is due.
    async fn beat(&mut self) -> Result<(), PipelineError> {
        if let Some(change) = self.parts.reloads.take() {
            let found = block_in_place(|| self.parts.detectors.release_before(&change));
            self.found(found)?;
            self.seal().await?;
            block_in_place(|| self.parts.detectors.apply(change));
            self.parts.sequences.hear(sequences::heard(&self.parts.detectors));
            self.rules_time = None;
            self.tell_rules()?;
            self.replace_inhibits().await?;
        }
        if let Some(set) = self.parts.sequence_reloads.take() {
            self.seal().await?;
            self.parts.sequences.replace(set);
            self.rules_time = None;
            self.tell_rules()?;
        }
        let caught_up = self.parts.times.quiet() && self.parts.events.is_empty();
        let (interval, bytes) = {
            let storage = &self.parts.settings.storage;
            (storage.flush_interval, storage.flush_bytes)
        };
        // Figures change after the last record too, when the watermark lets waiting rows go: they are worth an epoch of their own.
        if self.parts.epoch.is_old(interval) {
            self.tell_plugin_health(true)?;
            self.tell_rules()?;
            self.tell_silences()?;
        }
        match self.parts.epoch.is_due(interval, bytes) {
            true => self.seal().await?,
            false => block_in_place(|| self.publish(caught_up))?,
        }
        self.status
            .send_if_modified(|status| std::mem::replace(&mut status.caught_up, caught_up) != caught_up);
        Ok(())
    }

    /// `all`: incidents that have only grown are journaled too.
    fn publish(&mut self, all: bool) -> Result<(), PipelineError> {
        let parts = &mut self.parts;
        let began = Instant::now();
        let moved = std::mem::take(&mut self.moved);
        let changes = if moved { parts.correlator.changes() } else { Vec::new() };
        let splits = if moved {
            parts.correlator.take_splits()
        } else {
            Vec::new()
        };
        let correlate = began.elapsed();
        let parted = |id: &str| {
            splits
                .iter()
                .any(|split| split.from == id || split.into.as_deref() == Some(id))
        };
        let standing = |id: &str| {
            // What parts an incident, and what is new of one that nobody works on any more, is told at once.
            let standing = parts.journal.standing(id);
            let standing = standing.filter(|_| !parted(id) && !parts.triage.is_done(id));
            standing.map(|standing| (standing.status, standing.severity))
        };
        let due = self.growth.due(changes, standing, all, began.into_std());
        let facts = Facts {
            find: &|tenant, id| parts.correlator.detection(tenant, id),
            standing: &|id| parts.journal.standing(id),
            backfill: parts.settings.backfill,
            now: now(),
        };
        let due = parts.triage.judge(due, &splits, &facts);
        self.journal(due)?;
        // A source may be found behind what it holds back.
        if self.parts.triage.inhibits.take_moved() {
            self.review()?;
        }
        let parts = &mut self.parts;
        if moved && let Some(watermark) = parts.times.overall() {
            parts.correlator.expire(watermark);
            let oldest = inhibits::oldest(&parts.settings.correlate, watermark);
            parts.triage.inhibits.forget_before(oldest);
            self.expired_at = Some(watermark);
        }
        self.parts.detectors.retry(began.into_std());
        self.tell_plugin_health(false)?;
        let parts = &mut self.parts;
        if parts.epoch.unpublished {
            let tail = parts.epoch.tail()?;
            parts.views.publish_tail(parts.epoch.number, tail);
        }
        let publish = began.elapsed().saturating_sub(correlate);
        self.status.send_modify(|status| {
            status.seconds.correlate += correlate.as_secs_f64();
            status.seconds.publish += publish.as_secs_f64();
        });
        Ok(())
    }

    /// Gives incidents their revisions and makes them known. Gives those that say something new.
    pub(super) fn journal(&mut self, due: Vec<Incident>) -> Result<Vec<Incident>, PipelineError> {
        if due.is_empty() {
            return Ok(due);
        }
        let parts = &mut self.parts;
        let fresh = parts.journal.append(due)?;
        parts.triage.learn(&fresh);
        parts.epoch.add_incidents(&fresh, now())?;
        parts.index.apply(&fresh)?;
        parts.index.commit(parts.epoch.number.saturating_sub(1))?;
        parts.serve.state.metrics.revisions.inc_by(fresh.len() as u64);
        let by_status = parts.journal.by_status().clone();
        self.status.send_modify(|status| status.incidents = by_status);
        Ok(fresh)
    }

    /// Hands the epoch to the committer, with its incidents as they are now, and begins the next one.
    pub(super) async fn seal(&mut self) -> Result<(), PipelineError> {
        self.tell_plugin_health(true)?;
        self.tell_rules()?;
        self.tell_silences()?;
        block_in_place(|| self.publish(true))?;
        if self.parts.epoch.is_empty() {
            return Ok(());
        }
        let sealed = block_in_place(|| -> Result<Sealed, PipelineError> {
            let mut state = self.parts.detectors.save();
            state.extend(self.parts.source_health.save());
            state.extend(self.parts.sequences.save());
            // A plugin may fail at that too.
            self.tell_plugin_health(true)?;
            let parts = &mut self.parts;
            let next = EpochRows::new(parts.epoch.number + 1);
            let epoch = std::mem::replace(&mut parts.epoch, next);
            let number = epoch.number;
            let tables = epoch.seal()?;
            let offsets = parts.offsets.clone();
            let (plugins, plugin_configs) = (parts.detectors.digests(), parts.detectors.config_digests());
            let rules = parts.detectors.rules().settings().digest.clone();
            let sequences = parts.sequences.set().digest.clone();
            if let Some(watermark) = self.expired_at.take() {
                state.insert(WATERMARK.to_owned(), watermark.to_le_bytes().to_vec().into());
            }
            if let Some(sealer) = &parts.sealer {
                let (after, columns) = (parts.detectors.waiting_after(), parts.detectors.columns_of_waiting());
                let kept = parts.waiting.save(number, after, &columns).map_err(arrow_error)?;
                state.extend(kept);
                state.insert(waiting::MARK.to_owned(), vec![1].into());
                for (name, value) in state.iter_mut().filter(|(_, value)| !value.is_empty()) {
                    *value = sealer.seal(name, value).into();
                }
            }
            let data = EpochData {
                epoch: number,
                tables,
                offsets,
                state,
                plugins,
                plugin_configs,
                rules,
                sequences,
            };
            Ok(Sealed {
                data,
                journal_position: parts.journal.position(),
            })
        })?;
        self.in_flight.push_back(Instant::now());
        if self.parts.committer.sealed.send(sealed).await.is_err() {
            // It ends only after it has told why.
            self.settle().await?;
            return Err(PipelineError::Stopped("the committer".into()));
        }
        Ok(())
    }

    /// Waits until every sealed epoch is durable.
    pub(super) async fn settle(&mut self) -> Result<(), PipelineError> {
        while !self.in_flight.is_empty() {
            let durable = self.parts.committer.durable.recv().await;
            self.became_durable(durable)?;
        }
        Ok(())
    }

    fn became_durable(&mut self, durable: Option<Result<Durable, store::StoreError>>) -> Result<(), PipelineError> {
        let Durable {
            epoch,
            offsets,
            journal_position,
            seconds,
            bytes,
        } = durable.ok_or_else(|| PipelineError::Stopped("the committer".into()))??;
        self.in_flight.pop_front();
        tracing::debug!(epoch, seconds, "epoch durable");
        let metrics = &self.parts.serve.state.metrics;
        metrics.epochs.inc();
        metrics.epoch_seconds.observe(seconds);
        metrics.stored_bytes.inc_by(bytes);
        self.parts.sources.committed(&offsets);
        self.parts.journal.committed(journal_position)?;
        self.status.send_modify(|status| {
            status.epoch = epoch;
            status.seconds.write += seconds;
        });
        Ok(())
    }

    async fn finish(mut self) -> Result<Status, PipelineError> {
        // Sources that were told to stop may have batches on their way; they are read again after the next start.
        self.parts.sources.stop();
        // Who asks for something now is told that the engine stops.
        self.parts.serve.asked.close();
        while self.parts.serve.asked.try_recv().is_ok() {}
        if self.running == 0 {
            let mut found = self.parts.detectors.advance(&Watermarks(BTreeMap::new()));
            found.detections.extend(self.parts.source_health.finish());
            self.found(found)?;
            let parts = &mut self.parts;
            let told = parts.sequences.advance(&BTreeMap::new(), parts.times.newest());
            self.told(told)?;
        }
        self.seal().await?;
        self.settle().await?;
        let epoch = self.status.borrow().epoch;
        self.parts.index.commit(epoch)?;
        let guest: u64 = self
            .parts
            .detectors
            .health_now()
            .iter()
            .map(|health| health.counters.time_us)
            .sum();
        let guest = guest as f64 / 1e6;
        let missing = |(source, messages): (&Arc<str>, &Vec<String>)| -> Vec<String> {
            messages
                .iter()
                .map(|message| format!("source {source}: {message}"))
                .collect()
        };
        let missing = self.missing.iter().flat_map(missing).collect();
        self.status.send_modify(|status| {
            status.caught_up = true;
            status.missing = missing;
            status.seconds.guest = guest;
            status.seconds.detect = (status.seconds.detect - guest).max(0.0);
        });
        let status = self.status.borrow().clone();
        let Parts {
            forwarder,
            sources,
            events,
            serve,
            ..
        } = self.parts;
        drop(events);
        sources.join().await;
        forwarder.drain(DRAIN_PATIENCE).await;
        serve.end().await;
        Ok(status)
    }
}

async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    // The sender going away means the same: nobody is left to say it.
    let _ = stopped.wait_for(|stop| *stop).await;
}
