//! `[[source]]` as it is written.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::settings::*;
use super::wire::{Env, Span, secret};

/// Longer than a broker's usual pauses, short enough that a quiet topic does not hold stateful detectors back for long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Minutes of a busy source: enough for a restart or a slow disk, little enough that nobody has to plan for it.
const SPOOL_MB: u64 = 1024;
/// A spool is freed in pieces of 16 MiB, and one is always open.
const SPOOL_MB_MIN: u64 = 64;
const TENANT_DEFAULT: &str = "default";

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Source {
    File {
        name: String,
        path: String,
        format: String,
        tenant: Option<String>,
        lateness: Option<Span>,
        #[serde(default)]
        follow: bool,
    },
    Kafka {
        name: String,
        brokers: Texts,
        topics: Vec<String>,
        group: Option<String>,
        format: String,
        tenant: Option<String>,
        lateness: Option<Span>,
        idle_timeout: Option<Span>,
        start: Option<String>,
        #[serde(default)]
        properties: BTreeMap<String, String>,
    },
    Http {
        name: String,
        listen: SocketAddr,
        token_env: Option<Texts>,
        format: String,
        tenant: Option<String>,
        lateness: Option<Span>,
        idle_timeout: Option<Span>,
        spool_mb: Option<u64>,
    },
    Syslog {
        name: String,
        tcp: Option<SocketAddr>,
        udp: Option<SocketAddr>,
        format: String,
        tenant: Option<String>,
        lateness: Option<Span>,
        idle_timeout: Option<Span>,
        spool_mb: Option<u64>,
    },
}

/// One text, or a list of them.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a text, or a list of texts")]
pub(super) enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    fn into_vec(self) -> Vec<String> {
        match self {
            Texts::One(one) => vec![one],
            Texts::Many(many) => many,
        }
    }
}

impl Source {
    pub(super) fn validate(self, env: Env) -> Result<SourceSettings, String> {
        match self {
            Source::File {
                name,
                path,
                format,
                tenant,
                lateness,
                follow,
            } => {
                let kind = SourceKind::File { glob: path, follow };
                Ok(settings(name, format, tenant, lateness, kind))
            }
            Source::Kafka {
                name,
                brokers,
                topics,
                group,
                format,
                tenant,
                lateness,
                idle_timeout,
                start,
                properties,
            } => {
                let brokers = brokers.into_vec().join(",");
                if brokers.is_empty() || topics.is_empty() {
                    return Err(format!(
                        "[[source]] name = \"{name}\": a kafka source needs at least one of `brokers` and one of `topics`"
                    ));
                }
                let kind = SourceKind::Kafka(KafkaSettings {
                    brokers,
                    topics,
                    group: group.unwrap_or_else(|| "sentrail".into()),
                    start: kafka_start(&name, start.as_deref())?,
                    idle_timeout: idle_timeout.map_or(IDLE_TIMEOUT, |span| span.0),
                    properties: kafka_properties(env, &name, properties)?,
                });
                Ok(settings(name, format, tenant, lateness, kind))
            }
            Source::Http {
                name,
                listen,
                token_env,
                format,
                tenant,
                lateness,
                idle_timeout,
                spool_mb,
            } => {
                let variables = token_env.map_or_else(Vec::new, Texts::into_vec);
                let key = format!("[[source]] name = \"{name}\": token_env");
                let tokens = variables
                    .into_iter()
                    .filter_map(|variable| secret(env, &key, Some(variable)).transpose())
                    .collect::<Result<Vec<Secret>, String>>()?;
                if tokens.is_empty() && !listen.ip().is_loopback() {
                    return Err(format!(
                        "[[source]] name = \"{name}\": listen = \"{listen}\" listens beyond loopback: set token_env to the name \
                         of an environment variable that holds a token, or listen on 127.0.0.1"
                    ));
                }
                let kind = SourceKind::Http(HttpSettings {
                    listen,
                    tokens,
                    spool: spool(&name, idle_timeout, spool_mb)?,
                });
                Ok(settings(name, format, tenant, lateness, kind))
            }
            Source::Syslog {
                name,
                tcp,
                udp,
                format,
                tenant,
                lateness,
                idle_timeout,
                spool_mb,
            } => {
                if tcp.is_none() && udp.is_none() {
                    return Err(format!(
                        "[[source]] name = \"{name}\": a syslog source needs `tcp`, `udp` or both: an address to listen on, such \
                         as \"127.0.0.1:5514\""
                    ));
                }
                let kind = SourceKind::Syslog(SyslogSettings {
                    tcp,
                    udp,
                    spool: spool(&name, idle_timeout, spool_mb)?,
                });
                Ok(settings(name, format, tenant, lateness, kind))
            }
        }
    }
}

fn settings(
    name: String,
    format: String,
    tenant: Option<String>,
    lateness: Option<Span>,
    kind: SourceKind,
) -> SourceSettings {
    SourceSettings {
        name,
        tenant: tenant.unwrap_or_else(|| TENANT_DEFAULT.into()),
        format,
        lateness: lateness.map(Span::micros),
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
    name: &str,
    written: BTreeMap<String, String>,
) -> Result<BTreeMap<String, Secret>, String> {
    let mut properties = BTreeMap::new();
    for (key, value) in written {
        let place = format!("[[source]] name = \"{name}\": properties");
        let (key, value) = match key.strip_suffix("_env") {
            Some(plain) => (
                plain.to_owned(),
                secret(env, &format!("{place}: \"{key}\""), Some(value))?,
            ),
            None if KAFKA_SECRETS.contains(&key.as_str()) => {
                return Err(format!(
                    "{place}: \"{key}\" is a secret, which does not belong in a file: set \"{key}_env\" to the name of an \
                     environment variable that holds it"
                ));
            }
            None => (key, Some(Secret::new(value))),
        };
        if let Some(value) = value
            && properties.insert(key.clone(), value).is_some()
        {
            return Err(format!("{place}: \"{key}\" and \"{key}_env\" cannot both be set"));
        }
    }
    Ok(properties)
}

fn kafka_start(name: &str, start: Option<&str>) -> Result<KafkaStart, String> {
    match start {
        None => Ok(KafkaStart::default()),
        Some("earliest") => Ok(KafkaStart::Earliest),
        Some("latest") => Ok(KafkaStart::Latest),
        Some("committed") => Ok(KafkaStart::Committed),
        Some(time) => match chrono::DateTime::parse_from_rfc3339(time) {
            Ok(time) => Ok(KafkaStart::Time(time.timestamp_micros())),
            Err(_) => Err(format!(
                "[[source]] name = \"{name}\": start = \"{time}\": valid are \"earliest\", \"latest\", \"committed\" and a time such as \
                 \"2026-01-02T03:04:05Z\""
            )),
        },
    }
}

fn spool(name: &str, idle_timeout: Option<Span>, spool_mb: Option<u64>) -> Result<SpoolSettings, String> {
    let mb = spool_mb.unwrap_or(SPOOL_MB);
    let bytes_max = mb.checked_mul(1 << 20).filter(|_| mb >= SPOOL_MB_MIN);
    Ok(SpoolSettings {
        bytes_max: bytes_max.ok_or_else(|| {
            format!("[[source]] name = \"{name}\": spool_mb = {mb}: valid are {SPOOL_MB_MIN} MiB and more")
        })?,
        idle_timeout: idle_timeout.map_or(IDLE_TIMEOUT, |span| span.0),
    })
}
