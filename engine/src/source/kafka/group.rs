//! What a member of a consumer group holds, and what happens when partitions are assigned and revoked.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use super::attributes::attributes;
use super::client::log;
use super::start::Starts;
use super::{BATCH_AGE_MAX, POLL_MAX};
use crate::model::{Attributes, InputId, InputOffset, Offsets, Payload, Position, RawBatch};
use crate::source::outlet::{BATCH_BYTES_MAX, BATCH_PAYLOADS_MAX, Outlet, Progress, Stopped};
use crate::source::{Harm, SourceEvent, offsets_of};

/// How long the pipeline has to make revoked partitions durable; well below the five minutes a group waits for a member.
const REVOKE_WAIT: Duration = Duration::from_secs(60);
/// Received and not handed on, of all partitions together: at it the largest batch is handed on, however young, and while the
/// pipeline does not take it the partitions are paused. With what waits in the channel (64 MiB) and in librdkafka
/// (`queued.max.messages.kbytes`, 8 MiB) this bounds a consumer.
pub(super) const PENDING_BYTES_MAX: usize = 32 << 20;

/// What librdkafka's callbacks, which run inside `poll`, share with the loop around it.
pub(super) struct Context {
    pub source: Arc<str>,
    brokers: String,
    pub outlet: Outlet,
    progress: Arc<Progress>,
    pub starts: Starts,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub partitions: Vec<Partition>,
    /// Where the last message's partition stands in `partitions`: messages come in runs of one partition.
    latest: usize,
    /// Per input, the next offset after what is durable.
    pub durable: BTreeMap<InputId, i64>,
    /// Troubles that were told and have not passed.
    pub told: Vec<RDKafkaErrorCode>,
    /// What librdkafka said last of a single broker.
    unreachable: String,
    /// Tells one assignment of a partition from the next.
    assignments: u64,
    pub whole: Whole,
}

/// Whether all partitions of the topics are assigned to this member.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Whole {
    /// To be found out: the assignment changed.
    #[default]
    Unasked,
    No,
    Yes,
}

pub(super) struct Partition {
    pub topic: Arc<str>,
    pub partition: i32,
    pub input: InputId,
    pub assignment: u64,
    /// The next offset to receive, once it is known.
    pub next: Option<i64>,
    has_received: bool,
    pending: Pending,
    /// When the last message came, or it was last asked whether more is there.
    pub quiet_since: Instant,
    pub is_idle: bool,
    /// The end of the partition while it is not reached, and since when it has been there.
    pub end_seen: Option<(i64, Instant)>,
}

/// Messages not yet handed on; copied once, out of librdkafka's buffers, into one block.
#[derive(Default)]
pub(super) struct Pending {
    block: BytesMut,
    found: Vec<(Range<usize>, i64, Option<Arc<Attributes>>)>,
    /// Payloads and attributes.
    bytes: usize,
    pub since: Option<Instant>,
}

impl Pending {
    fn is_full(&self) -> bool {
        self.found.len() >= BATCH_PAYLOADS_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    fn is_due(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= BATCH_AGE_MAX)
    }
}

pub(super) fn kafka_offsets(source: &str, offsets: &Offsets) -> impl Iterator<Item = (InputId, i64)> {
    offsets_of(source, offsets)
        .into_iter()
        .filter_map(|(input, offset)| match offset {
            InputOffset::Kafka { next } => Some((input, next)),
            InputOffset::File { .. } | InputOffset::Spool { .. } => None,
        })
}

impl State {
    pub(super) fn has_pending(&self) -> bool {
        self.partitions
            .iter()
            .any(|partition| partition.pending.since.is_some())
    }

    pub(super) fn due(&self) -> Option<usize> {
        self.partitions.iter().position(|partition| partition.pending.is_due())
    }

    /// The partition with the most to hand on, when all together have too much.
    fn largest(&self) -> Option<usize> {
        let held = self.partitions.iter().map(|partition| partition.pending.bytes);
        if held.clone().sum::<usize>() < PENDING_BYTES_MAX {
            return None;
        }
        held.enumerate().max_by_key(|(_, bytes)| *bytes).map(|(index, _)| index)
    }

    pub(super) fn index_of(&self, topic: &str, number: i32) -> Option<usize> {
        let is_it = |partition: &Partition| partition.partition == number && &*partition.topic == topic;
        match self.partitions.get(self.latest) {
            Some(latest) if is_it(latest) => Some(self.latest),
            _ => self.partitions.iter().position(is_it),
        }
    }

    /// Remembers a trouble; true when it is not going on already.
    fn note(&mut self, code: RDKafkaErrorCode) -> bool {
        let is_new = !self.told.contains(&code);
        if is_new {
            self.told.push(code);
        }
        is_new
    }

    /// To be called when a broker has answered; true when none did before.
    pub(super) fn has_recovered(&mut self) -> bool {
        let before = self.told.len();
        self.told.retain(|code| *code != RDKafkaErrorCode::AllBrokersDown);
        self.told.len() < before
    }

    pub(super) fn take_batch(&mut self, index: usize, source: &Arc<str>) -> Option<(RawBatch, u64)> {
        let partition = self.partitions.get_mut(index)?;
        let pending = std::mem::take(&mut partition.pending);
        let (_, last, _) = pending.found.last()?;
        let next = InputOffset::Kafka { next: last + 1 };
        // Grown by doubling, it may be half empty; below that it is not worth keeping.
        let is_full = 2 * pending.block.len() >= pending.block.capacity();
        let block = pending.block.freeze();
        let payload = |(range, offset, attributes): (Range<usize>, i64, Option<Arc<Attributes>>)| Payload {
            bytes: block.slice(range),
            position: Position::Kafka {
                topic: Arc::clone(&partition.topic),
                partition: partition.partition,
                offset,
            },
            truncated: false,
            attributes,
        };
        let payloads = pending.found.into_iter().map(payload).collect();
        let batch = RawBatch {
            source: Arc::clone(source),
            input: partition.input.clone(),
            payloads,
            block: is_full.then_some(block),
            next,
        };
        Some((batch, partition.assignment))
    }
}

impl Context {
    pub(super) fn new(
        source: &Arc<str>,
        brokers: &str,
        resume: &Offsets,
        starts: Starts,
        outlet: Outlet,
        progress: Arc<Progress>,
    ) -> Context {
        let state = State {
            durable: kafka_offsets(source, resume).collect(),
            ..State::default()
        };
        Context {
            source: Arc::clone(source),
            brokers: brokers.to_owned(),
            outlet,
            progress,
            starts,
            state: Mutex::new(state),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a message; the index of its partition when a batch is full. A message without a value (a tombstone) is kept as an empty
    /// payload, so that every offset is accounted for.
    pub(super) fn accept(&self, message: &BorrowedMessage<'_>) -> Result<Option<usize>, Stopped> {
        let mut state = self.lock();
        // A message that was on its way when its partition was revoked belongs to the next owner.
        let Some(index) = state.index_of(message.topic(), message.partition()) else {
            return Ok(None);
        };
        state.latest = index;
        let was_down = state.has_recovered();
        let partition = &mut state.partitions[index];
        let offset = message.offset();
        let gap = match partition.next {
            Some(next) if !partition.has_received && offset > next => Some(next),
            _ => None,
        };
        partition.next = Some(offset + 1);
        partition.has_received = true;
        partition.quiet_since = Instant::now();
        partition.is_idle = false;
        partition.end_seen = None;
        let pending = &mut partition.pending;
        let begin = pending.block.len();
        pending.block.extend_from_slice(message.payload().unwrap_or_default());
        let (attributes, attribute_bytes) = attributes(message);
        let range = begin..pending.block.len();
        pending.bytes += range.len() + attribute_bytes;
        pending.found.push((range, offset, attributes));
        pending.since.get_or_insert(partition.quiet_since);
        let full = pending.is_full().then_some(index);
        let input = partition.input.clone();
        let full = full.or_else(|| state.largest());
        drop(state);
        if was_down {
            self.recovered()?;
        }
        if let Some(next) = gap {
            self.trouble(format!(
                "{input}: reading should go on at offset {next}, but the first record there is at {offset}: what was between \
                 them has been deleted from the topic (or was no record)"
            ))?;
        }
        Ok(full)
    }

    pub(super) fn recovered(&self) -> Result<(), Stopped> {
        self.outlet.send(SourceEvent::Recovered {
            source: Arc::clone(&self.source),
            message: "the brokers can be reached again".to_owned(),
        })
    }

    pub(super) fn trouble(&self, message: String) -> Result<(), Stopped> {
        self.tell(message, Harm::Partial)
    }

    fn tell(&self, message: String, harm: Harm) -> Result<(), Stopped> {
        self.outlet.send(SourceEvent::Trouble {
            source: Arc::clone(&self.source),
            message,
            harm,
        })
    }

    fn assign(&self, client: &BaseConsumer<Context>, assigned: &TopicPartitionList) -> Result<(), Stopped> {
        let (durable, held) = {
            let state = self.lock();
            let held: Vec<Arc<str>> = state.partitions.iter().map(|held| Arc::clone(&held.topic)).collect();
            (state.durable.clone(), held)
        };
        let starts = match self.starts.of(client, &self.source, assigned, &durable, &held) {
            Ok(starts) => starts,
            Err(error) => {
                let source = Arc::clone(&self.source);
                return self.outlet.send(SourceEvent::Failed { source, error });
            }
        };
        let mut list = TopicPartitionList::new();
        for start in &starts {
            let (topic, partition) = (&start.topic, start.partition);
            match start.next {
                Some(next) => {
                    if let Err(error) = list.add_partition_offset(topic, partition, Offset::Offset(next)) {
                        self.trouble(format!(
                            "{topic}/{partition}: offset {next} cannot be resumed from: {error}"
                        ))?;
                    }
                }
                None => drop(list.add_partition(topic, partition)),
            }
        }
        let done = match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_assign(&list),
            _ => client.assign(&list),
        };
        if let Err(error) = done {
            return self.trouble(format!("an assignment of partitions could not be taken up: {error}"));
        }
        for start in starts {
            let (topic, number) = (start.topic, start.partition);
            let input = InputId::kafka(&self.source, &topic, number);
            let mut state = self.lock();
            state.assignments += 1;
            let assignment = state.assignments;
            state.partitions.push(Partition {
                topic: topic.into(),
                partition: number,
                input: input.clone(),
                assignment,
                next: start.next,
                has_received: false,
                pending: Pending::default(),
                quiet_since: Instant::now(),
                is_idle: false,
                end_seen: None,
            });
            drop(state);
            let source = Arc::clone(&self.source);
            self.outlet
                .send(SourceEvent::Opened(input.clone(), Arc::clone(&source)))?;
            if let (true, Some(next)) = (start.keep, start.next) {
                // Durable with the next epoch: a restart before the first record must not begin later than this one.
                self.outlet.send(SourceEvent::Batch(RawBatch {
                    source,
                    input,
                    payloads: Vec::new(),
                    block: None,
                    next: InputOffset::Kafka { next },
                }))?;
            }
        }
        let was_in_trouble = {
            let mut state = self.lock();
            state.whole = Whole::Unasked;
            !std::mem::take(&mut state.told).is_empty()
        };
        if was_in_trouble { self.recovered() } else { Ok(()) }
    }

    fn revoke(&self, client: &BaseConsumer<Context>, revoked: &TopicPartitionList) -> Result<(), Stopped> {
        let inputs: Vec<InputId> = {
            let mut state = self.lock();
            let gone = revoked.to_topic_map();
            let is_gone = |p: &Partition| gone.contains_key(&(p.topic.to_string(), p.partition));
            // What was not handed on yet is the next owner's.
            let mut inputs = Vec::new();
            for partition in state.partitions.iter_mut().filter(|partition| is_gone(partition)) {
                partition.pending = Pending::default();
                inputs.push(partition.input.clone());
            }
            inputs
        };
        let told = self.tell_revoking(&inputs);
        let done = match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_unassign(revoked),
            _ => client.unassign(),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "partitions could not be given up");
        }
        {
            let mut state = self.lock();
            state.partitions.retain(|partition| !inputs.contains(&partition.input));
            state.latest = 0;
        }
        told?;
        for input in inputs {
            self.progress.set_lag(&input, None);
            self.outlet.send(SourceEvent::Ended(input))?;
        }
        Ok(())
    }

    /// Lets the pipeline make durable what it has of these partitions, and waits for that.
    fn tell_revoking(&self, inputs: &[InputId]) -> Result<(), Stopped> {
        if inputs.is_empty() {
            return Ok(());
        }
        let (done, answer) = sync_channel(1);
        self.lock().whole = Whole::Unasked;
        self.outlet.send(SourceEvent::Revoking {
            source: Arc::clone(&self.source),
            inputs: inputs.to_vec(),
            done,
        })?;
        let begun = Instant::now();
        while answer.recv_timeout(POLL_MAX).is_err() {
            if self.outlet.stopping() {
                return Err(Stopped);
            }
            if begun.elapsed() >= REVOKE_WAIT {
                return self.trouble(format!(
                    "partitions were given up after {} s before everything read of them was durable: their next owner may read \
                     records twice",
                    REVOKE_WAIT.as_secs()
                ));
            }
        }
        Ok(())
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn stats(&self, statistics: Statistics) {
        for partition in &self.lock().partitions {
            let topic = statistics.topics.get(&*partition.topic);
            let known = topic.and_then(|topic| topic.partitions.get(&partition.partition));
            // Negative while the broker has not been asked.
            let Some(end) = known.map(|known| known.hi_offset).filter(|end| *end >= 0) else {
                continue;
            };
            if let Ok(lag) = u64::try_from(end.saturating_sub(partition.next.unwrap_or(end)).max(0)) {
                self.progress.set_lag(&partition.input, Some(lag));
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        // One connection of several, or an idle one: only all of them together are trouble.
        let (is_new, unreachable) = {
            let mut state = self.lock();
            if code != RDKafkaErrorCode::AllBrokersDown {
                state.unreachable = reason.to_owned();
            }
            let is_new = code != RDKafkaErrorCode::BrokerTransportFailure && state.note(code);
            (is_new, state.unreachable.clone())
        };
        if !is_new {
            tracing::debug!(source = %self.source, %error, "librdkafka: {reason}");
            return;
        }
        let (why, harm) = match code {
            // It says only how many there are; why may not be known yet.
            RDKafkaErrorCode::AllBrokersDown => (format!("{reason} ({}) {unreachable}", self.brokers), Harm::Total),
            RDKafkaErrorCode::GroupAuthorizationFailed => (reason.to_owned(), Harm::Total),
            _ => (reason.to_owned(), Harm::Partial),
        };
        // Stopped: nobody is left to be told.
        let _ = self.tell(format!("Kafka: {why}; retried until it passes"), harm);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, client: &BaseConsumer<Context>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        // Stopped is noticed again by the loop around `poll`.
        let _ = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(client, partitions),
            _ => self.revoke(client, partitions),
        };
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(source = %self.source, %error, "offsets were not committed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_partitions_together_hold_no_more_than_the_bound() {
        let partition = |number: i32, bytes: usize| Partition {
            topic: "t".into(),
            partition: number,
            input: InputId::kafka("s", "t", number),
            assignment: 0,
            next: None,
            has_received: true,
            pending: Pending {
                bytes,
                ..Pending::default()
            },
            quiet_since: Instant::now(),
            is_idle: false,
            end_seen: None,
        };
        let mut state = State {
            partitions: (0..40)
                .map(|number| partition(number, PENDING_BYTES_MAX / 64))
                .collect(),
            ..State::default()
        };
        assert_eq!(state.largest(), None, "none is full, and there is room");
        state
            .partitions
            .extend((40..64).map(|number| partition(number, PENDING_BYTES_MAX / 64)));
        state.partitions[50].pending.bytes += 1;
        assert_eq!(state.largest(), Some(50));
    }
}
