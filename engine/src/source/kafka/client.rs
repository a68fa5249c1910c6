//! The librdkafka client: its settings, its log, and a look whether it could work.

use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use regex::Regex;

use crate::config::KafkaSettings;
use crate::source::SourceError;

/// For a connectivity check.
const CHECK_WAIT: Duration = Duration::from_secs(5);
/// Topics named in an error message.
const TOPICS_SHOWN_MAX: usize = 20;

/// Settings that fit an engine of this kind; the configuration may override them.
const DEFAULTS: [(&str, &str); 9] = [
    ("client.id", "sentrail"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("auto.offset.reset", "earliest"),
    // A member that was killed holds its partitions only this long.
    ("session.timeout.ms", "10000"),
    // Fetched ahead by the whole consumer; the batches in the channel are the larger buffer.
    ("queued.max.messages.kbytes", "8192"),
    ("fetch.queue.backoff.ms", "20"),
    // New topics and partitions are found this soon.
    ("topic.metadata.refresh.interval.ms", "10000"),
    ("reconnect.backoff.max.ms", "2000"),
    // How often the partitions' lag is known anew.
    ("statistics.interval.ms", "5000"),
];

/// What exactly-once rests on: not to be overridden.
const FIXED: [(&str, &str); 2] = [("enable.auto.commit", "false"), ("enable.auto.offset.store", "false")];

pub(super) fn client_config(settings: &KafkaSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (key, value) in DEFAULTS {
        config.set(key, value);
    }
    for (key, value) in &settings.properties {
        config.set(key, value.reveal());
    }
    for (key, value) in FIXED {
        config.set(key, value);
    }
    config
        .set("bootstrap.servers", &settings.brokers)
        .set("group.id", &settings.group);
    config.set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// Why there is no client, without the setting's value, which may be a secret.
pub(super) fn refusal(error: KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, reason, key, _) => format!("`{key}`: {reason}"),
        other => other.to_string(),
    }
}

/// One entry of a source's `topics`.
pub(super) enum Wanted {
    Name(String),
    /// librdkafka's `^…`.
    Pattern(Regex),
}

impl Wanted {
    pub(super) fn parse(source: &str, topic: &str) -> Result<Wanted, SourceError> {
        if !topic.starts_with('^') {
            return Ok(Wanted::Name(topic.to_owned()));
        }
        let pattern = Regex::new(topic).map_err(|error| SourceError::KafkaSettings {
            source_name: source.to_owned(),
            reason: format!("topic pattern {topic:?}: {error}"),
        })?;
        Ok(Wanted::Pattern(pattern))
    }

    pub(super) fn matches(&self, topic: &str) -> bool {
        match self {
            Wanted::Name(name) => name == topic,
            Wanted::Pattern(pattern) => pattern.is_match(topic),
        }
    }
}

/// Fetches the brokers' metadata and looks for the topics.
pub(in crate::source) fn check(source: &str, settings: &KafkaSettings) -> Result<String, SourceError> {
    let consumer: BaseConsumer<Quiet> =
        client_config(settings)
            .create_with_context(Quiet)
            .map_err(|error| SourceError::KafkaSettings {
                source_name: source.to_owned(),
                reason: refusal(error),
            })?;
    let metadata = consumer
        .fetch_metadata(None, CHECK_WAIT)
        .map_err(|error| SourceError::Unreachable {
            source_name: source.to_owned(),
            brokers: settings.brokers.clone(),
            seconds: CHECK_WAIT.as_secs(),
            reason: error.to_string(),
        })?;
    let mut found = Vec::new();
    for topic in &settings.topics {
        // A pattern (librdkafka's `^…`) may match topics that are yet to come.
        let known = metadata.topics().iter().find(|known| known.name() == topic);
        match known {
            Some(known) => found.push(format!("{topic} ({} partitions)", known.partitions().len())),
            None if topic.starts_with('^') => found.push(topic.clone()),
            None => {
                let names = metadata
                    .topics()
                    .iter()
                    .map(|topic| topic.name())
                    .filter(|name| !name.starts_with("__"));
                let existing: Vec<&str> = names.take(TOPICS_SHOWN_MAX).collect();
                return Err(SourceError::NoTopic {
                    source_name: source.to_owned(),
                    topic: topic.clone(),
                    brokers: settings.brokers.clone(),
                    existing: if existing.is_empty() {
                        "none".to_owned()
                    } else {
                        existing.join(", ")
                    },
                });
            }
        }
    }
    Ok(format!(
        "{} brokers answer; topics {}",
        metadata.brokers().len(),
        found.join(", ")
    ))
}

/// librdkafka's own log lines go where the engine's go.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(facility, "librdkafka: {line}");
        }
        _ => tracing::debug!(facility, "librdkafka: {line}"),
    }
}

/// For a check, whose result says everything.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(facility, "librdkafka: {line}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "librdkafka: {reason}");
    }
}

impl ConsumerContext for Quiet {}
