//! Where a partition begins when it is assigned.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::config::KafkaStart;
use crate::model::InputId;
use crate::source::SourceError;

/// For one question to the brokers, when partitions are assigned.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// A source's rule for it.
pub(super) struct Starts {
    pub start: KafkaStart,
    pub group: String,
}

/// Where one partition begins.
pub(super) struct PartitionStart {
    pub topic: String,
    pub partition: i32,
    /// `None`: the broker's reset policy decides, by default for the earliest record.
    pub next: Option<i64>,
    /// The place would be another one if it were asked for again.
    pub keep: bool,
}

impl Starts {
    /// The later of our own and the group's offset for each partition; where neither exists, the configured start. `held` are the
    /// topics of which partitions are read already.
    pub(super) fn of<C: ConsumerContext>(
        &self,
        client: &BaseConsumer<C>,
        source: &str,
        assigned: &TopicPartitionList,
        durable: &BTreeMap<InputId, i64>,
        held: &[Arc<str>],
    ) -> Result<Vec<PartitionStart>, SourceError> {
        let committed = client.committed_offsets(assigned.clone(), ANSWER_WAIT);
        // Without the group's word nothing may be skipped: rather twice than never.
        let is_known = committed.is_ok();
        let group = committed.map(|group| group.to_topic_map()).unwrap_or_else(|error| {
            tracing::warn!(%error, "the group's offsets cannot be read: going by our own");
            Default::default()
        });
        let mut starts = Vec::new();
        for element in assigned.elements() {
            let (topic, partition) = (element.topic().to_owned(), element.partition());
            let own = durable.get(&InputId::kafka(source, &topic, partition)).copied();
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
            starts.push(PartitionStart {
                topic,
                partition,
                next: own.max(group),
                keep: false,
            });
        }
        if is_known {
            self.begin(client, source, &mut starts, held)?;
        }
        Ok(starts)
    }

    /// Finds the place of those that have none yet.
    fn begin<C: ConsumerContext>(
        &self,
        client: &BaseConsumer<C>,
        source: &str,
        starts: &mut [PartitionStart],
        held: &[Arc<str>],
    ) -> Result<(), SourceError> {
        if self.start == KafkaStart::Committed {
            // A topic that the group knows may get new partitions: those begin at their first record.
            let is_known = |topic: &str| {
                held.iter().any(|held| **held == *topic)
                    || starts.iter().any(|start| start.topic == topic && start.next.is_some())
            };
            return match starts.iter().find(|start| !is_known(&start.topic)) {
                Some(unknown) => Err(SourceError::NoCommitted {
                    source_name: source.to_owned(),
                    group: self.group.clone(),
                    topic: unknown.topic.clone(),
                }),
                None => Ok(()),
            };
        }
        for start in starts.iter_mut().filter(|start| start.next.is_none()) {
            let found = match self.start {
                KafkaStart::Latest => client
                    .fetch_watermarks(&start.topic, start.partition, ANSWER_WAIT)
                    .map(|(_, high)| high),
                KafkaStart::Time(time) => at_time(client, start, time.div_euclid(1000)),
                KafkaStart::Earliest | KafkaStart::Committed => continue,
            };
            match found {
                Ok(next) => {
                    start.next = Some(next);
                    start.keep = self.start == KafkaStart::Latest;
                }
                Err(error) => tracing::warn!(
                    topic = start.topic,
                    partition = start.partition,
                    %error,
                    "where to start cannot be found out: starting at the earliest record"
                ),
            }
        }
        Ok(())
    }
}

/// The first record at or after a time in milliseconds; the end where there is none.
fn at_time<C: ConsumerContext>(client: &BaseConsumer<C>, start: &PartitionStart, millis: i64) -> KafkaResult<i64> {
    let mut asked = TopicPartitionList::new();
    asked.add_partition_offset(&start.topic, start.partition, Offset::Offset(millis))?;
    let found = client.offsets_for_times(asked, ANSWER_WAIT)?;
    match found.elements().first().map(|element| element.offset()) {
        Some(Offset::Offset(next)) => Ok(next),
        _ => Ok(client.fetch_watermarks(&start.topic, start.partition, ANSWER_WAIT)?.1),
    }
}
