//! The embedded broker for the demo and for tests, and a small producer.
//!
//! librdkafka's mock cluster serves real consumer groups from inside the process, but keeps only about 5 MB per partition and silently
//! drops what is older. So nothing that needs retention runs on it, and whoever produces to it goes at the consumer's pace: see
//! [`Paced`]. A group's first join takes it 3 s, and while a group is joining it refuses commits, which a real broker takes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ProducerContext, ThreadedProducer};

use super::SourceError;

/// Bytes produced but not yet consumed: all of it may lie in one partition, which keeps 5 MB.
const OUTSTANDING_BYTES_MAX: usize = 2 << 20;
/// How long a record may wait for its broker.
const DELIVERY_TIMEOUT: &str = "30000";
const RETRY_INTERVAL: Duration = Duration::from_millis(2);

/// A broker inside this process; it and what it holds go when this is dropped.
pub struct MockBroker {
    host: ThreadedProducer<DefaultProducerContext>,
    brokers: String,
}

impl MockBroker {
    /// Starts a broker with the given topics and their numbers of partitions.
    pub fn start(topics: &[(&str, i32)]) -> Result<MockBroker, SourceError> {
        let failed = |error: KafkaError| SourceError::Mock(error.to_string());
        let mut config = ClientConfig::new();
        config
            .set("test.mock.num.brokers", "1")
            .set_log_level(RDKafkaLogLevel::Error);
        let host: ThreadedProducer<DefaultProducerContext> = config.create().map_err(failed)?;
        let Some(cluster) = host.client().mock_cluster() else {
            return Err(SourceError::Mock("librdkafka made no mock cluster".to_owned()));
        };
        for (topic, partitions) in topics {
            cluster.create_topic(topic, *partitions, 1).map_err(failed)?;
        }
        let brokers = cluster.bootstrap_servers();
        drop(cluster);
        Ok(MockBroker { host, brokers })
    }

    /// What a client's `bootstrap.servers` must say.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Takes the broker off the network, or brings it back.
    pub fn set_reachable(&self, is_reachable: bool) -> Result<(), SourceError> {
        let Some(cluster) = self.host.client().mock_cluster() else {
            return Ok(());
        };
        let done = if is_reachable {
            cluster.broker_up(1)
        } else {
            cluster.broker_down(1)
        };
        done.map_err(|error| SourceError::Mock(error.to_string()))
    }
}

/// Sends records to any Kafka.
pub struct Producer {
    client: ThreadedProducer<Deliveries>,
}

#[derive(Default)]
struct Deliveries {
    delivered: AtomicU64,
    failed: AtomicU64,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let count = if result.is_ok() { &self.delivered } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Producer {
    pub fn new(brokers: &str) -> Result<Producer, SourceError> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("linger.ms", "5")
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", DELIVERY_TIMEOUT);
        let client = config.create_with_context(Deliveries::default());
        Ok(Producer {
            client: client.map_err(|error| failed("a producer", &error))?,
        })
    }

    /// Queues a record, waiting while the queue is full. `None` as key leaves the partition to the client.
    pub fn produce(&self, topic: &str, key: Option<&str>, payload: &[u8]) -> Result<(), SourceError> {
        let mut record = BaseRecord::<str, [u8]>::to(topic).payload(payload);
        record.key = key;
        loop {
            record = match self.client.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => back,
                Err((error, _)) => return Err(failed(topic, &error)),
            };
            std::thread::sleep(RETRY_INTERVAL);
        }
    }

    /// Waits until everything queued has arrived; gives the number of records delivered so far.
    pub fn flush(&self, timeout: Duration) -> Result<u64, SourceError> {
        self.client
            .flush(timeout)
            .map_err(|error| failed("what was queued", &error))?;
        let deliveries = self.client.context();
        match deliveries.failed.load(Ordering::Relaxed) {
            0 => Ok(deliveries.delivered.load(Ordering::Relaxed)),
            lost => Err(SourceError::Mock(format!("{lost} records could not be delivered"))),
        }
    }
}

fn failed(what: &str, error: &KafkaError) -> SourceError {
    SourceError::Mock(format!("{what} could not be produced: {error}"))
}

/// A producer that never runs further ahead of the consumer than the embedded broker can remember.
pub struct Paced {
    producer: Producer,
    /// Number of records consumed so far, counted from the first one sent here.
    consumed: Arc<AtomicU64>,
    /// Sizes of the records that were not consumed yet, oldest first.
    outstanding: VecDeque<usize>,
    outstanding_bytes: usize,
    sent: u64,
}

impl Paced {
    /// `consumed` is counted up by whoever receives the batches.
    pub fn new(producer: Producer, consumed: Arc<AtomicU64>) -> Paced {
        Paced {
            producer,
            consumed,
            outstanding: VecDeque::new(),
            outstanding_bytes: 0,
            sent: 0,
        }
    }

    /// Sends one record, first waiting until the consumer is near; an error when it does not move for `patience`.
    pub fn send(
        &mut self,
        topic: &str,
        key: Option<&str>,
        payload: &[u8],
        patience: Duration,
    ) -> Result<(), SourceError> {
        let (mut before, mut moved) = (self.settle(), Instant::now());
        while self.outstanding_bytes > OUTSTANDING_BYTES_MAX {
            std::thread::sleep(RETRY_INTERVAL);
            let now = self.settle();
            if now != before {
                (before, moved) = (now, Instant::now());
            } else if moved.elapsed() >= patience {
                let seconds = patience.as_secs();
                return Err(SourceError::Mock(format!(
                    "nothing was consumed for {seconds} s, at {now} of {}",
                    self.sent
                )));
            }
        }
        self.producer.produce(topic, key, payload)?;
        self.sent += 1;
        self.outstanding.push_back(payload.len());
        self.outstanding_bytes += payload.len();
        Ok(())
    }

    /// Records sent so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// See [`Producer::flush`].
    pub fn flush(&self, timeout: Duration) -> Result<u64, SourceError> {
        self.producer.flush(timeout)
    }

    fn settle(&mut self) -> u64 {
        let consumed = self.consumed.load(Ordering::Relaxed);
        while self.outstanding.len() as u64 > self.sent.saturating_sub(consumed) {
            self.outstanding_bytes -= self.outstanding.pop_front().unwrap_or(0);
        }
        consumed
    }
}
