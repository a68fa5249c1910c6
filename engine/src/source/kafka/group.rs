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
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use super::client::log;
use super::{BATCH_AGE_MAX, POLL_MAX};
use crate::model::{InputId, InputOffset, Offsets, Payload, Position, RawBatch};
use crate::source::outlet::{BATCH_BYTES_MAX, BATCH_PAYLOADS_MAX, Outlet, Stopped};
use crate::source::{SourceEvent, offsets_of};

/// How long the pipeline has to make revoked partitions durable; well below the five minutes a group waits for a member.
const REVOKE_WAIT: Duration = Duration::from_secs(60);
/// For the group's committed offsets, when partitions are assigned.
const COMMITTED_WAIT: Duration = Duration::from_secs(10);

/// What librdkafka's callbacks, which run inside `poll`, share with the loop around it.
pub(super) struct Context {
    pub source: Arc<str>,
    pub outlet: Outlet,
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
    found: Vec<(Range<usize>, i64)>,
    pub since: Option<Instant>,
}

impl Pending {
    fn is_full(&self) -> bool {
        self.found.len() >= BATCH_PAYLOADS_MAX || self.block.len() >= BATCH_BYTES_MAX
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
        let (_, last) = pending.found.last()?;
        let next = InputOffset::Kafka { next: last + 1 };
        let block = pending.block.freeze();
        let payload = |(range, offset): (Range<usize>, i64)| Payload {
            bytes: block.slice(range),
            position: Position::Kafka {
                topic: Arc::clone(&partition.topic),
                partition: partition.partition,
                offset,
            },
            truncated: false,
            attributes: None,
        };
        let payloads = pending.found.into_iter().map(payload).collect();
        let batch = RawBatch {
            source: Arc::clone(source),
            input: partition.input.clone(),
            payloads,
            next,
        };
        Some((batch, partition.assignment))
    }
}

impl Context {
    pub(super) fn new(source: &Arc<str>, resume: &Offsets, outlet: Outlet) -> Context {
        let state = State {
            durable: kafka_offsets(source, resume).collect(),
            ..State::default()
        };
        Context {
            source: Arc::clone(source),
            outlet,
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
        pending.found.push((begin..pending.block.len(), offset));
        pending.since.get_or_insert(partition.quiet_since);
        let full = pending.is_full().then_some(index);
        let input = partition.input.clone();
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
        self.outlet.send(SourceEvent::Trouble {
            source: Arc::clone(&self.source),
            message,
        })
    }

    /// The later of our own and the group's offset for each partition; where neither exists the broker's reset policy decides.
    fn starts(&self, client: &BaseConsumer<Context>, assigned: &TopicPartitionList) -> Vec<(String, i32, Option<i64>)> {
        let group = match client.committed_offsets(assigned.clone(), COMMITTED_WAIT) {
            Ok(group) => group.to_topic_map(),
            Err(error) => {
                tracing::warn!(%error, "the group's offsets cannot be read: going by our own");
                Default::default()
            }
        };
        let state = self.lock();
        let elements = assigned.elements();
        let start = elements.iter().map(|element| {
            let (topic, partition) = (element.topic().to_owned(), element.partition());
            let own = state
                .durable
                .get(&InputId::kafka(&self.source, &topic, partition))
                .copied();
            let group = match group.get(&(topic.clone(), partition)) {
                Some(Offset::Offset(next)) => Some(*next),
                _ => None,
            };
            if let (Some(own), Some(group)) = (own, group)
                && own < group
            {
                tracing::warn!(
                    topic,
                    partition,
                    "records {own} to {group} were taken by another member of the group, or this data directory is an older copy: \
                     they are not in its tables"
                );
            }
            (topic, partition, own.max(group))
        });
        start.collect()
    }

    fn assign(&self, client: &BaseConsumer<Context>, assigned: &TopicPartitionList) -> Result<(), Stopped> {
        let starts = self.starts(client, assigned);
        let mut list = TopicPartitionList::new();
        for (topic, partition, start) in &starts {
            match start {
                Some(next) => {
                    if let Err(error) = list.add_partition_offset(topic, *partition, Offset::Offset(*next)) {
                        self.trouble(format!(
                            "{topic}/{partition}: offset {next} cannot be resumed from: {error}"
                        ))?;
                    }
                }
                None => drop(list.add_partition(topic, *partition)),
            }
        }
        let done = match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_assign(&list),
            _ => client.assign(&list),
        };
        if let Err(error) = done {
            return self.trouble(format!("an assignment of partitions could not be taken up: {error}"));
        }
        for (topic, number, start) in starts {
            let input = InputId::kafka(&self.source, &topic, number);
            let mut state = self.lock();
            state.assignments += 1;
            let assignment = state.assignments;
            state.partitions.push(Partition {
                topic: topic.into(),
                partition: number,
                input: input.clone(),
                assignment,
                next: start,
                has_received: false,
                pending: Pending::default(),
                quiet_since: Instant::now(),
                is_idle: false,
                end_seen: None,
            });
            drop(state);
            self.outlet.send(SourceEvent::Opened(input, Arc::clone(&self.source)))?;
        }
        self.lock().whole = Whole::Unasked;
        Ok(())
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

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        // One connection of several, or an idle one: only all of them together are trouble.
        let is_new = code != RDKafkaErrorCode::BrokerTransportFailure && self.lock().note(code);
        if !is_new {
            tracing::debug!(source = %self.source, %error, "librdkafka: {reason}");
            return;
        }
        // Stopped: nobody is left to be told.
        let _ = self.trouble(format!("Kafka: {reason}; retried until it passes"));
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
