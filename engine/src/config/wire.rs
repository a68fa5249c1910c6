//! The configuration as it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::settings::*;
use super::source::Source;
use super::target::{WebhookUrl, syslog_address};
use crate::model::{Severity, time};

/// An epoch is small enough that little is read again after a crash and large enough that tables have few files.
const FLUSH_INTERVAL: Duration = Duration::from_secs(10);
const FLUSH_BYTES: usize = 32 << 20;
/// A detector that needs more keeps too much: the first-party ones stay under 8 MiB.
const PLUGIN_MEMORY_MB: usize = 64;
/// A batch of 8,192 rows takes a first-party detector about 10 ms; this leaves room for a loaded machine.
const PLUGIN_CALL_TIME: Duration = Duration::from_secs(2);
/// Beyond guessing, where it is random; a passphrase should be longer.
const REDACT_KEY_BYTES_MIN: usize = 16;
/// Most multi-stage intrusions move within hours; longer windows join what merely shares an identity.
const CORRELATE_WINDOW: Duration = Duration::from_secs(6 * 3600);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    storage: Storage,
    #[serde(default)]
    formats: Formats,
    #[serde(default)]
    source: Vec<Source>,
    #[serde(default)]
    plugins: Plugins,
    #[serde(default)]
    correlate: Correlate,
    #[serde(default)]
    serve: Serve,
    #[serde(default)]
    forward: Vec<Forward>,
    redact: Option<Redact>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Storage {
    url: String,
    flush_interval: Option<Span>,
    flush_bytes: Option<usize>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Formats {
    dir: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Plugins {
    dir: Option<String>,
    memory_mb: Option<usize>,
    call_time: Option<Span>,
    #[serde(default)]
    config: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Correlate {
    window: Option<Span>,
    single_severity: Option<Severity>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Serve {
    http: Option<SocketAddr>,
    postgres: Option<SocketAddr>,
    postgres_user: Option<String>,
    postgres_password_env: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redact {
    #[serde(default)]
    mode: RedactMode,
    key_env: String,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum Forward {
    Webhook {
        name: String,
        url: String,
        secret_env: Option<String>,
    },
    Syslog {
        name: String,
        address: String,
    },
}

/// A length of time such as `250ms`, `10s`, `15m`, `6h`.
#[derive(Clone, Copy)]
pub(super) struct Span(pub(super) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let millis = match &text[digits..] {
            "ms" => Some(1),
            "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            "d" => Some(86_400_000),
            _ => None,
        };
        let span = text[..digits]
            .parse::<u64>()
            .ok()
            .zip(millis)
            .and_then(|(count, unit)| count.checked_mul(unit));
        // A hundred years: more is a slip, and would not fit event time.
        match span.filter(|millis| *millis <= 36_500 * 86_400_000) {
            Some(millis) => Ok(Span(Duration::from_millis(millis))),
            None => Err(serde::de::Error::custom(format!(
                "`{text}` is no length of time; valid are a whole number and ms, s, m, h or d, such as \"10s\""
            ))),
        }
    }
}

impl Span {
    pub(super) fn micros(self) -> i64 {
        self.0.as_micros() as i64
    }
}

pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    pub fn validate(self, env: Env) -> Result<Settings, String> {
        if self.source.is_empty() {
            return Err("no [[source]] is configured; at least one of type \"file\", \"kafka\", \"http\" or \"syslog\" is needed".into());
        }
        let sources = self
            .source
            .into_iter()
            .map(|source| source.validate(env))
            .collect::<Result<Vec<_>, _>>()?;
        unique("source", sources.iter().map(|source| source.name.as_str()))?;
        let forward = self
            .forward
            .into_iter()
            .map(|forward| forward.validate(env))
            .collect::<Result<Vec<_>, _>>()?;
        unique("forward", forward.iter().map(|forward| forward.name.as_str()))?;
        let redact = self.redact.map(|redact| redact.validate(env)).transpose()?;
        Ok(Settings {
            storage: self.storage.validate()?,
            formats_dir: self.formats.dir.map(Into::into),
            sources,
            plugins: PluginSettings {
                hide_words: redact.is_some(),
                ..self.plugins.validate()
            },
            correlate: CorrelateSettings {
                window: self
                    .correlate
                    .window
                    .unwrap_or(Span(CORRELATE_WINDOW))
                    .micros()
                    .max(time::SECOND),
                single_severity: self.correlate.single_severity.unwrap_or(Severity::Critical),
            },
            serve: self.serve.validate(env)?,
            forward,
            redact,
        })
    }
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for name in names {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(plain) || name.starts_with('.') {
            return Err(format!(
                "[[{what}]] name = \"{name}\": valid are letters, digits, `-`, `_` and `.`, not starting with `.`"
            ));
        }
        if !seen.insert(name) {
            return Err(format!(
                "[[{what}]] name = \"{name}\" stands twice; every {what} needs its own name"
            ));
        }
    }
    Ok(())
}

impl Plugins {
    fn validate(self) -> PluginSettings {
        PluginSettings {
            dir: self.dir.unwrap_or_else(|| "target/plugins".into()).into(),
            memory_bytes_max: self.memory_mb.unwrap_or(PLUGIN_MEMORY_MB).max(1) << 20,
            call_time_max: self.call_time.map_or(PLUGIN_CALL_TIME, |span| span.0),
            hide_words: false,
            config: self.config,
        }
    }
}

impl Default for PluginSettings {
    /// What holds where nothing is configured.
    fn default() -> PluginSettings {
        Plugins::default().validate()
    }
}

impl Storage {
    fn validate(self) -> Result<StorageSettings, String> {
        let dir = match self.url.split_once("://") {
            None if !self.url.is_empty() => self.url.as_str(),
            Some(("file", path)) if !path.is_empty() => path,
            _ => {
                return Err(format!(
                    "[storage] url = \"{}\": valid are a directory or a file:// URL of one",
                    self.url
                ));
            }
        };
        Ok(StorageSettings {
            dir: dir.into(),
            flush_interval: self.flush_interval.map_or(FLUSH_INTERVAL, |span| span.0),
            flush_bytes: self.flush_bytes.unwrap_or(FLUSH_BYTES),
        })
    }
}

pub(super) fn secret(env: Env, key: &str, variable: Option<String>) -> Result<Option<Secret>, String> {
    let Some(variable) = variable else { return Ok(None) };
    match env(&variable) {
        Some(value) if !value.is_empty() => Ok(Some(Secret::new(value))),
        _ => Err(format!(
            "{key} = \"{variable}\": that environment variable is not set or empty"
        )),
    }
}

impl Serve {
    fn validate(self, env: Env) -> Result<ServeSettings, String> {
        let postgres_password = secret(env, "[serve] postgres_password_env", self.postgres_password_env)?;
        if let Some(address) = self.postgres
            && !address.ip().is_loopback()
            && postgres_password.is_none()
        {
            return Err(format!(
                "[serve] postgres = \"{address}\" listens beyond loopback: set postgres_password_env to the name of an \
                 environment variable that holds a password, or listen on 127.0.0.1"
            ));
        }
        Ok(ServeSettings {
            http: self.http,
            postgres: self.postgres,
            postgres_user: self.postgres_user.unwrap_or_else(|| "sentrail".into()),
            postgres_password,
        })
    }
}

impl Redact {
    fn validate(self, env: Env) -> Result<RedactSettings, String> {
        let variable = self.key_env.clone();
        match secret(env, "[redact] key_env", Some(self.key_env))? {
            Some(key) if key.reveal().len() >= REDACT_KEY_BYTES_MIN => Ok(RedactSettings { mode: self.mode, key }),
            _ => Err(format!(
                "[redact] key_env = \"{variable}\": the key in that environment variable is shorter than {REDACT_KEY_BYTES_MIN} \
                 bytes; `openssl rand -hex 32` makes a good one"
            )),
        }
    }
}

impl Forward {
    fn validate(self, env: Env) -> Result<ForwardSettings, String> {
        let wrong = |name: &str, key: &str, reason: String| format!("[[forward]] name = \"{name}\": {key}: {reason}");
        Ok(match self {
            Forward::Webhook { name, url, secret_env } => {
                let url = WebhookUrl::parse(&url).map_err(|reason| wrong(&name, "url", reason))?;
                let secret = secret(env, "[[forward]] secret_env", secret_env)?;
                ForwardSettings {
                    name,
                    kind: ForwardKind::Webhook { url, secret },
                }
            }
            Forward::Syslog { name, address } => {
                let address = syslog_address(address).map_err(|reason| wrong(&name, "address", reason))?;
                ForwardSettings {
                    name,
                    kind: ForwardKind::Syslog { address },
                }
            }
        })
    }
}
