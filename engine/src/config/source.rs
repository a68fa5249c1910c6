//! `[[source]]` as it is written.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::document::{Fault, Place, Types};
use super::settings::*;
use super::wire::{Env, Pause, Silent, Span, secret};

/// Longer than a broker's usual pauses, short enough that a quiet topic does not hold stateful detectors back for long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Minutes of a busy source: enough for a restart or a slow disk, little enough that nobody has to plan for it.
const SPOOL_MB: u64 = 1024;
/// A spool is freed in pieces of 16 MiB, and one is always open.
const SPOOL_MB_MIN: u64 = 64;
pub(super) const TENANT_DEFAULT: &str = "default";

pub(super) enum Source {
    File(File),
    Kafka(Kafka),
    Http(Http),
    Syslog(Syslog),
}

pub(super) const TYPES: Types<Source> = &[
    ("file", |entry| File::deserialize(entry).map(Source::File)),
    ("kafka", |entry| Kafka::deserialize(entry).map(Source::Kafka)),
    ("http", |entry| Http::deserialize(entry).map(Source::Http)),
    ("syslog", |entry| Syslog::deserialize(entry).map(Source::Syslog)),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    name: String,
    path: String,
    format: String,
    tenant: Option<String>,
    lateness: Option<Span>,
    silent_after: Option<Silent>,
    #[serde(default)]
    follow: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kafka {
    name: String,
    brokers: Texts,
    topics: Texts,
    group: Option<String>,
    format: String,
    tenant: Option<String>,
    lateness: Option<Span>,
    silent_after: Option<Silent>,
    idle_timeout: Option<Pause>,
    start: Option<String>,
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    name: String,
    listen: SocketAddr,
    token_env: Option<Texts>,
    format: String,
    tenant: Option<String>,
    lateness: Option<Span>,
    silent_after: Option<Silent>,
    idle_timeout: Option<Pause>,
    spool_mb: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Syslog {
    name: String,
    tcp: Option<SocketAddr>,
    udp: Option<SocketAddr>,
    format: String,
    tenant: Option<String>,
    lateness: Option<Span>,
    silent_after: Option<Silent>,
    idle_timeout: Option<Pause>,
    spool_mb: Option<u64>,
}

/// One text, or a list of them.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a text, or a list of texts")]
pub(super) enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    pub(super) fn into_vec(self) -> Vec<String> {
        match self {
            Texts::One(one) => vec![one],
            Texts::Many(many) => many,
        }
    }
}

impl Source {
    pub(super) fn validate(self, place: Place, env: Env) -> Result<SourceSettings, Fault> {
        match self {
            Source::File(file) => {
                if file.silent_after.is_some() && !file.follow {
                    let message = "silent_after is of sources that are listened to: set follow = true, or leave it out, for files that are \
                                   read to their ends";
                    return Err(Fault::new(place, "silent_after", message));
                }
                let kind = SourceKind::File {
                    glob: file.path,
                    follow: file.follow,
                };
                Ok(settings(
                    file.name,
                    file.format,
                    file.tenant,
                    file.lateness,
                    file.silent_after,
                    kind,
                ))
            }
            Source::Kafka(kafka) => {
                let brokers = kafka.brokers.into_vec().join(",");
                let topics = kafka.topics.into_vec();
                for (key, is_empty) in [
                    ("brokers", brokers.is_empty()),
                    ("topics", topics.is_empty() || topics.iter().any(String::is_empty)),
                ] {
                    if is_empty {
                        return Err(Fault::new(
                            place,
                            key,
                            format!("`{key}` is empty; at least one is needed"),
                        ));
                    }
                }
                let kind = SourceKind::Kafka(KafkaSettings {
                    brokers,
                    topics,
                    group: kafka.group.unwrap_or_else(|| "sentrail".into()),
                    start: kafka_start(place, kafka.start.as_deref())?,
                    idle_timeout: idle_timeout(kafka.idle_timeout),
                    properties: kafka_properties(env, place, kafka.properties)?,
                });
                Ok(settings(
                    kafka.name,
                    kafka.format,
                    kafka.tenant,
                    kafka.lateness,
                    kafka.silent_after,
                    kind,
                ))
            }
            Source::Http(http) => {
                let listen = http.listen;
                let variables = http.token_env.map_or_else(Vec::new, Texts::into_vec);
                let tokens = variables
                    .into_iter()
                    .filter_map(|variable| secret(env, place, "token_env", Some(variable)).transpose())
                    .collect::<Result<Vec<Secret>, Fault>>()?;
                if tokens.is_empty() && !listen.ip().is_loopback() {
                    let message = format!(
                        "listen = \"{listen}\" listens beyond loopback: set token_env to the name of an environment variable \
                         that holds a token, or listen on 127.0.0.1"
                    );
                    return Err(Fault::new(place, "listen", message));
                }
                let kind = SourceKind::Http(HttpSettings {
                    listen,
                    tokens,
                    spool: spool(place, http.idle_timeout, http.spool_mb)?,
                });
                Ok(settings(
                    http.name,
                    http.format,
                    http.tenant,
                    http.lateness,
                    http.silent_after,
                    kind,
                ))
            }
            Source::Syslog(syslog) => {
                let Syslog { tcp, udp, .. } = syslog;
                if tcp.is_none() && udp.is_none() {
                    let message = "a syslog source needs `tcp`, `udp` or both: an address to listen on, such as \"127.0.0.1:5514\"";
                    return Err(Fault::new(place, "tcp", message));
                }
                let kind = SourceKind::Syslog(SyslogSettings {
                    tcp,
                    udp,
                    spool: spool(place, syslog.idle_timeout, syslog.spool_mb)?,
                });
                Ok(settings(
                    syslog.name,
                    syslog.format,
                    syslog.tenant,
                    syslog.lateness,
                    syslog.silent_after,
                    kind,
                ))
            }
        }
    }
}

fn idle_timeout(written: Option<Pause>) -> Duration {
    written.map_or(IDLE_TIMEOUT, |pause| pause.0)
}

fn settings(
    name: String,
    format: String,
    tenant: Option<String>,
    lateness: Option<Span>,
    silent_after: Option<Silent>,
    kind: SourceKind,
) -> SourceSettings {
    SourceSettings {
        name,
        tenant: tenant.unwrap_or_else(|| TENANT_DEFAULT.into()),
        format,
        lateness: lateness.map(Span::micros),
        silent_after: silent_after.map_or_else(SilentAfter::default, |silent| silent.0),
        kind,
    }
}

/// librdkafka's settings that are secrets.
const KAFKA_SECRETS: [&str; 6] = [
    "sasl.password",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
];

/// A key that ends in `_env`, as none of librdkafka's does, names the environment variable that holds the value.
fn kafka_properties(
    env: Env,
    place: Place,
    written: BTreeMap<String, String>,
) -> Result<BTreeMap<String, Secret>, Fault> {
    let fault = |message: String| Fault::new(place, "properties", format!("properties: {message}"));
    let mut properties = BTreeMap::new();
    for (key, value) in written {
        let (key, value) = match key.strip_suffix("_env") {
            Some(plain) => match env(&value).filter(|secret| !secret.is_empty()) {
                Some(secret) => (plain.to_owned(), secret),
                None => {
                    return Err(fault(format!(
                        "\"{key}\" = \"{value}\": that environment variable is not set or empty"
                    )));
                }
            },
            None if KAFKA_SECRETS.contains(&key.as_str()) => {
                return Err(fault(format!(
                    "\"{key}\" is a secret, which does not belong in a file: set \"{key}_env\" to the name of an environment \
                     variable that holds it"
                )));
            }
            None => (key, value),
        };
        if properties.insert(key.clone(), Secret::new(value)).is_some() {
            return Err(fault(format!("\"{key}\" and \"{key}_env\" cannot both be set")));
        }
    }
    Ok(properties)
}

fn kafka_start(place: Place, start: Option<&str>) -> Result<KafkaStart, Fault> {
    match start {
        None => Ok(KafkaStart::default()),
        Some("earliest") => Ok(KafkaStart::Earliest),
        Some("latest") => Ok(KafkaStart::Latest),
        Some("committed") => Ok(KafkaStart::Committed),
        Some(time) => match chrono::DateTime::parse_from_rfc3339(time) {
            Ok(time) => Ok(KafkaStart::Time(time.timestamp_micros())),
            Err(_) => {
                let message = format!(
                    "start = \"{time}\": valid are \"earliest\", \"latest\", \"committed\" and a time such as \
                     \"2026-01-02T03:04:05Z\""
                );
                Err(Fault::new(place, "start", message))
            }
        },
    }
}

fn spool(place: Place, idle: Option<Pause>, spool_mb: Option<u64>) -> Result<SpoolSettings, Fault> {
    let mb = spool_mb.unwrap_or(SPOOL_MB);
    let bytes_max = mb.checked_mul(1 << 20).filter(|_| mb >= SPOOL_MB_MIN);
    let message = || format!("spool_mb = {mb}: valid are {SPOOL_MB_MIN} MiB and more");
    Ok(SpoolSettings {
        bytes_max: bytes_max.ok_or_else(|| Fault::new(place, "spool_mb", message()))?,
        idle_timeout: idle_timeout(idle),
    })
}
