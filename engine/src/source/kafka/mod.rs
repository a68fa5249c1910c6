//! Kafka through librdkafka: one consumer group member per source, on a thread of its own.
//!
//! Offsets are committed only for what the pipeline reports durable. A partition begins at the later of the pipeline's own offset and
//! the group's, so that neither a restart nor a move between machines reads a record twice that is durable already. Before
//! partitions are given up the pipeline makes durable what it received of them.

mod attributes;
mod client;
mod group;
mod start;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::outlet::{Offered, Outlet, Progress, Stopped};
use super::{SourceError, SourceEvent};
use crate::config::KafkaSettings;
use crate::model::Offsets;
use client::{Wanted, client_config, refusal};
use group::{Context, Partition, Whole, kafka_offsets};
use start::Starts;

pub(super) use client::check;

/// A batch closes this long after its first message: small against the second within which an event must be queryable.
const BATCH_AGE_MAX: Duration = Duration::from_millis(20);
/// Longest sleep when nothing comes; bounds how late a stop is noticed.
pub(super) const POLL_MAX: Duration = Duration::from_millis(100);
/// After this long with a full channel the partitions are paused, so that the client can go on polling (a member that does not is
/// taken for dead) without receiving.
const PAUSE_AFTER: Duration = Duration::from_secs(1);
/// For one question to a broker beside the stream (end of a partition, whether it is back).
const ASK_WAIT: Duration = Duration::from_secs(1);
const ASK_INTERVAL: Duration = Duration::from_secs(5);
/// A partition whose end lies beyond the last record read is idle only after this long without one: a slow broker or a rebalance
/// must not pass for the end, and what lies between may be no record at all, such as a transaction's marker.
const UNREAD_PATIENCE: Duration = Duration::from_secs(30);

/// One source's member of its consumer group.
pub(super) struct Consumer {
    client: BaseConsumer<Context>,
    idle_timeout: Duration,
    topics: Vec<Wanted>,
}

impl Consumer {
    pub(super) fn new(
        source: &Arc<str>,
        settings: &KafkaSettings,
        resume: &Offsets,
        outlet: Outlet,
        progress: Arc<Progress>,
    ) -> Result<Consumer, SourceError> {
        let starts = Starts {
            start: settings.start,
            group: settings.group.clone(),
        };
        let context = Context::new(source, &settings.brokers, resume, starts, outlet, progress);
        let invalid = |error: KafkaError| SourceError::KafkaSettings {
            source_name: source.to_string(),
            reason: refusal(error),
        };
        let client: BaseConsumer<Context> = client_config(settings).create_with_context(context).map_err(invalid)?;
        let topics: Vec<&str> = settings.topics.iter().map(String::as_str).collect();
        client.subscribe(&topics).map_err(invalid)?;
        let topics = topics.into_iter().map(|topic| Wanted::parse(source, topic));
        Ok(Consumer {
            client,
            idle_timeout: settings.idle_timeout,
            topics: topics.collect::<Result<_, _>>()?,
        })
    }

    /// Commits what is durable, in the background.
    pub(super) fn committed(&self, offsets: &Offsets) {
        let context = self.client.context();
        let mut list = TopicPartitionList::new();
        {
            let mut state = context.lock();
            for (input, next) in kafka_offsets(&context.source, offsets) {
                let before = state.durable.insert(input.clone(), next);
                let assigned = state.partitions.iter().find(|partition| partition.input == input);
                if let Some(assigned) = assigned
                    && before != Some(next)
                    && list
                        .add_partition_offset(&assigned.topic, assigned.partition, Offset::Offset(next))
                        .is_err()
                {
                    tracing::warn!(%input, next, "no offset that can be committed");
                }
            }
        }
        // A commit that fails costs nothing: the next one covers it, and a restart goes by the pipeline's own offsets.
        if list.count() > 0
            && let Err(error) = self.client.commit(&list, CommitMode::Async)
        {
            tracing::debug!(%error, "offsets were not committed");
        }
    }

    pub(super) fn run(&self) -> Result<(), Stopped> {
        let context = self.client.context();
        let mut looked = Instant::now();
        let mut asked = Instant::now();
        let mut asked_whole: Option<Instant> = None;
        loop {
            if context.outlet.stopping() {
                return Err(Stopped);
            }
            let wait = if context.lock().has_pending() {
                BATCH_AGE_MAX / 4
            } else {
                POLL_MAX
            };
            let is_quiet = match self.client.poll(wait) {
                Some(Ok(message)) => {
                    let full = context.accept(&message)?;
                    if let Some(index) = full {
                        self.hand_on(index)?;
                    }
                    false
                }
                Some(Err(error)) => {
                    if let KafkaError::MessageConsumptionFatal(code) = error {
                        return self.fail(code.to_string());
                    }
                    // Everything else was told by `Context::error`, and librdkafka goes on by itself.
                    false
                }
                None => true,
            };
            if is_quiet || looked.elapsed() >= BATCH_AGE_MAX / 4 {
                looked = Instant::now();
                loop {
                    // Not in a `while let`, whose body would run with the lock held.
                    let due = context.lock().due();
                    let Some(index) = due else { break };
                    self.hand_on(index)?;
                }
            }
            if context.lock().whole == Whole::Unasked && (asked_whole.is_none_or(|at| at.elapsed() >= ASK_WAIT)) {
                asked_whole = Some(Instant::now());
                self.look_for_whole()?;
            }
            if is_quiet {
                self.look_for_idle()?;
                if asked.elapsed() >= ASK_INTERVAL {
                    asked = Instant::now();
                    self.look_for_recovery()?;
                }
            }
        }
    }

    fn fail(&self, reason: String) -> Result<(), Stopped> {
        let source = Arc::clone(&self.client.context().source);
        let error = SourceError::KafkaFatal {
            source_name: source.to_string(),
            reason,
        };
        self.client.context().outlet.send(SourceEvent::Failed { source, error })
    }

    /// Sends a partition's pending messages. While the channel is full the group membership is kept alive.
    fn hand_on(&self, index: usize) -> Result<(), Stopped> {
        let context = self.client.context();
        let Some((batch, assignment)) = context.lock().take_batch(index, &context.source) else {
            return Ok(());
        };
        let input = batch.input.clone();
        let mut event = SourceEvent::Batch(batch);
        let begun = Instant::now();
        let mut is_paused = false;
        loop {
            match context.outlet.offer(event)? {
                Offered::Sent => break,
                Offered::Full(back) => event = *back,
            }
            if begun.elapsed() < PAUSE_AFTER {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            }
            if !is_paused {
                is_paused = true;
                self.pause(true);
            }
            if let Some(Ok(message)) = self.client.poll(BATCH_AGE_MAX) {
                // Of a partition that was assigned just now; what waits is handed on in its turn.
                context.accept(&message)?;
                self.pause(true);
            }
            let is_ours = |partition: &Partition| partition.input == input && partition.assignment == assignment;
            if !context.lock().partitions.iter().any(is_ours) {
                // Given up meanwhile: whoever has the partition now reads these messages.
                break;
            }
        }
        if is_paused {
            self.pause(false);
        }
        Ok(())
    }

    fn pause(&self, is_paused: bool) {
        let done = self.client.assignment().and_then(|assigned| match is_paused {
            true => self.client.pause(&assigned),
            false => self.client.resume(&assigned),
        });
        if let Err(error) = done {
            tracing::warn!(%error, is_paused, "partitions could not be paused or resumed");
        }
    }

    /// A partition that has been silent for the idle timeout is idle if the broker says that there is nothing more: its end is reached,
    /// or has not moved for long.
    fn look_for_idle(&self) -> Result<(), Stopped> {
        let context = self.client.context();
        let silent: Vec<(Arc<str>, i32)> = {
            let state = context.lock();
            let silent = |p: &&Partition| !p.is_idle && p.quiet_since.elapsed() >= self.idle_timeout;
            state
                .partitions
                .iter()
                .filter(silent)
                .map(|p| (Arc::clone(&p.topic), p.partition))
                .collect()
        };
        for (topic, number) in silent {
            let watermarks = self.client.fetch_watermarks(&topic, number, ASK_WAIT);
            let mut state = context.lock();
            let Some(index) = state.index_of(&topic, number) else {
                continue;
            };
            let partition = &mut state.partitions[index];
            partition.quiet_since = Instant::now();
            let Ok((low, high)) = watermarks else {
                // Not known while the broker is gone: the others would have to wait just as long.
                break;
            };
            let is_read = high <= partition.next.unwrap_or(low);
            if !is_read {
                let (seen, since) = *partition.end_seen.get_or_insert((high, Instant::now()));
                if seen != high {
                    partition.end_seen = Some((high, Instant::now()));
                }
                if seen != high || since.elapsed() < UNREAD_PATIENCE {
                    continue;
                }
            }
            partition.is_idle = true;
            let input = partition.input.clone();
            drop(state);
            context.outlet.send(SourceEvent::Idle(input))?;
        }
        Ok(())
    }

    /// Compares the assignment with all partitions that the topics have, and tells when this member holds them all.
    fn look_for_whole(&self) -> Result<(), Stopped> {
        let context = self.client.context();
        // Not known while the broker is gone: asked again.
        let Ok(metadata) = self.client.fetch_metadata(None, ASK_WAIT) else {
            return Ok(());
        };
        let is_whole = {
            let mut state = context.lock();
            let read = |topic: &&MetadataTopic| self.topics.iter().any(|wanted| wanted.matches(topic.name()));
            let is_whole = metadata.topics().iter().filter(read).all(|topic| {
                let held = |partition: &MetadataPartition| state.index_of(topic.name(), partition.id()).is_some();
                topic.partitions().iter().all(held)
            });
            // Topics that are yet to come are waited for like those of other members.
            let is_whole = is_whole && !state.partitions.is_empty();
            state.whole = if is_whole { Whole::Yes } else { Whole::No };
            is_whole
        };
        match is_whole {
            true => context.outlet.send(SourceEvent::Whole(Arc::clone(&context.source))),
            false => Ok(()),
        }
    }

    /// After a trouble was told: asks whether it has passed.
    fn look_for_recovery(&self) -> Result<(), Stopped> {
        let context = self.client.context();
        let is_well = context.lock().told.is_empty();
        if is_well || self.client.fetch_metadata(None, ASK_WAIT).is_err() {
            return Ok(());
        }
        let was_down = context.lock().has_recovered();
        // A topic that is missing still is; librdkafka tells it again.
        context.lock().told.clear();
        if was_down { context.recovered() } else { Ok(()) }
    }
}
