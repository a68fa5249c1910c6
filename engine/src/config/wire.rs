//! The configuration as it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use glob::Pattern;
use minisign_verify::PublicKey;
use serde::Deserialize;
use serde::de::{IgnoredAny, IntoDeserializer};

use super::correlate::{CRITICALITY_MAX, CorrelateSettings, Criticality, IDENTITIES_MAX, is_pattern};
use super::document::{Fault, Place, Types};
use super::lookup::Lookup;
use super::settings::*;
use super::source::{Source, Texts};
use super::target::{WebhookUrl, syslog_address};
use crate::model::{EventSchema, Severity, time};

/// An epoch is small enough that little is read again after a crash and large enough that tables have few files.
const FLUSH_INTERVAL: Duration = Duration::from_secs(10);
const FLUSH_BYTES: usize = 32 << 20;
/// A detector that needs more keeps too much: the first-party ones stay under 8 MiB.
const PLUGIN_MEMORY_MB: usize = 64;
/// A batch of 8,192 rows takes a first-party detector about 10 ms; this leaves room for a loaded machine.
const PLUGIN_CALL_TIME: Duration = Duration::from_secs(2);
/// Nobody reads the same alert again sooner because it has grown; what changes what to do comes at once.
const FORWARD_INTERVAL: Duration = Duration::from_secs(30);
/// Beyond guessing, where it is random; a passphrase should be longer.
const REDACT_KEY_BYTES_MIN: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    storage: Storage,
    #[serde(default)]
    formats: Formats,
    /// Read by [`super::document::Document::entries`].
    #[serde(default, rename = "source")]
    _source: Vec<IgnoredAny>,
    #[serde(default)]
    lookup: Vec<Lookup>,
    #[serde(default)]
    plugins: Plugins,
    #[serde(default)]
    sequences: Sequences,
    #[serde(default)]
    correlate: Correlate,
    #[serde(default)]
    serve: Serve,
    #[serde(default, rename = "forward")]
    _forward: Vec<IgnoredAny>,
    redact: Option<Redact>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Storage {
    url: String,
    flush_interval: Option<Pause>,
    flush_bytes: Option<NonZeroUsize>,
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
    memory_mb: Option<NonZeroUsize>,
    call_time: Option<Pause>,
    warm_up: Option<Pause>,
    #[serde(default)]
    config: BTreeMap<String, serde_json::Value>,
    rules: Option<String>,
    signed_by: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Sequences {
    dir: Option<String>,
    shipped: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Correlate {
    window: Option<Pause>,
    single_severity: Option<Severity>,
    span: Option<Pause>,
    members: Option<NonZeroUsize>,
    memory_mb: Option<NonZeroUsize>,
    chance: Option<f64>,
    #[serde(default)]
    identities_max: BTreeMap<String, usize>,
    #[serde(default)]
    stop_values: Vec<String>,
    #[serde(default)]
    specific_values: Vec<String>,
    #[serde(default)]
    criticality: Vec<Critical>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    entity: String,
    weight: f64,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Serve {
    http: Option<SocketAddr>,
    token_env: Option<Texts>,
    postgres: Option<SocketAddr>,
    postgres_user: Option<String>,
    postgres_password_env: Option<String>,
}

pub(super) enum Forward {
    Webhook(Webhook),
    Syslog(Syslog),
}

pub(super) const FORWARD_TYPES: Types<Forward> = &[
    ("webhook", |entry| Webhook::deserialize(entry).map(Forward::Webhook)),
    ("syslog", |entry| Syslog::deserialize(entry).map(Forward::Syslog)),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redact {
    #[serde(default)]
    mode: RedactMode,
    key_env: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Webhook {
    name: String,
    interval: Option<Span>,
    url: String,
    secret_env: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Syslog {
    name: String,
    interval: Option<Span>,
    address: String,
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

/// One that is not nothing: waiting no time, or giving no time, would be another thing than a short one.
#[derive(Clone, Copy)]
pub(super) struct Pause(pub(super) Duration);

impl<'de> Deserialize<'de> for Pause {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Pause, D::Error> {
        match Span::deserialize(deserializer)? {
            Span(Duration::ZERO) => Err(serde::de::Error::custom(
                "0 makes no sense here; valid is a length of time such as \"10s\"",
            )),
            Span(span) => Ok(Pause(span)),
        }
    }
}

/// A length of time that is not nothing, or `never`.
#[derive(Clone, Copy)]
pub(super) struct Silent(pub(super) SilentAfter);

impl<'de> Deserialize<'de> for Silent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Silent, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "never" {
            return Ok(Silent(SilentAfter::Never));
        }
        let span: Result<Pause, D::Error> = Pause::deserialize(text.as_str().into_deserializer());
        match span {
            Ok(Pause(span)) => Ok(Silent(SilentAfter::Span(Span(span).micros()))),
            Err(error) => Err(serde::de::Error::custom(format!("{error}, or \"never\""))),
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
    pub(super) fn validate(self, sources: Vec<Source>, forward: Vec<Forward>, env: Env) -> Result<Settings, Fault> {
        if sources.is_empty() {
            let message = "no [[source]] is configured; at least one of type \"file\", \"kafka\", \"http\" or \"syslog\" is needed";
            return Err(Fault::new(Place::Whole, "source", message));
        }
        let sources = sources
            .into_iter()
            .enumerate()
            .map(|(index, source)| source.validate(Place::Entry("source", index), env))
            .collect::<Result<Vec<_>, _>>()?;
        unique("source", sources.iter().map(|source| source.name.as_str()))?;
        let lookups = self
            .lookup
            .into_iter()
            .enumerate()
            .map(|(index, lookup)| lookup.validate(Place::Entry("lookup", index), &sources))
            .collect::<Result<Vec<_>, _>>()?;
        unique("lookup", lookups.iter().map(|lookup| lookup.name.as_str()))?;
        let forward = forward
            .into_iter()
            .enumerate()
            .map(|(index, forward)| forward.validate(Place::Entry("forward", index), env))
            .collect::<Result<Vec<_>, _>>()?;
        unique("forward", forward.iter().map(|forward| forward.name.as_str()))?;
        let redact = self.redact.map(|redact| redact.validate(env)).transpose()?;
        if redact.is_some() && self.plugins.warm_up.is_some() {
            let message = "warm_up cannot be used with [redact]: the tables hold stand-ins where detectors see clear text, so that they would \
                           learn what never comes again; leave one of the two out";
            return Err(Fault::new(Place::Table("plugins"), "warm_up", message));
        }
        Ok(Settings {
            storage: self.storage.validate()?,
            formats_dir: self.formats.dir.map(Into::into),
            sources,
            lookups,
            plugins: PluginSettings {
                hide_words: redact.is_some(),
                ..self.plugins.validate()?
            },
            sequences: SequencesSettings {
                dir: self.sequences.dir.map(Into::into),
                shipped: self.sequences.shipped.unwrap_or(true),
            },
            correlate: self.correlate.validate(redact.is_some())?,
            serve: self.serve.validate(env)?,
            forward,
            redact,
            backfill: false,
        })
    }
}

fn unique<'a>(what: &'static str, names: impl Iterator<Item = &'a str>) -> Result<(), Fault> {
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        let fault = |message: String| Err(Fault::new(Place::Entry(what, index), "name", message));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(plain) || name.starts_with('.') {
            return fault("valid are letters, digits, `-`, `_` and `.`, not starting with `.`".into());
        }
        if !seen.insert(name) {
            return fault(format!("this name stands twice; every {what} needs its own"));
        }
    }
    Ok(())
}

impl Correlate {
    fn validate(self, redacted: bool) -> Result<CorrelateSettings, Fault> {
        let usual = CorrelateSettings::default();
        let micros = |span: Option<Pause>, usual| span.map_or(usual, |span| Span(span.0).micros());
        let fault = |key: &'static str, message: String| Fault::new(Place::Table("correlate"), key, message);
        let window = micros(self.window, usual.window);
        if window < time::SECOND {
            let message = format!("window = \"{} ms\": valid is \"1s\" and more", window / 1000);
            return Err(fault("window", message));
        }
        let span_max = micros(self.span, usual.span_max);
        if span_max < window {
            let message = format!(
                "span = \"{} s\": an incident lasts at least as long as `window`, {} s",
                span_max / time::SECOND,
                window / time::SECOND
            );
            return Err(fault("span", message));
        }
        let members_max = self.members.map_or(usual.members_max, NonZeroUsize::get);
        if members_max < 2 {
            return Err(fault("members", "members = 1: an incident joins 2 and more".to_owned()));
        }
        let chance_max = self.chance.unwrap_or(usual.chance_max);
        if !(chance_max > 0.0 && chance_max.is_finite()) {
            let message = format!("chance = {chance_max}: valid is a number of incidents a day above 0");
            return Err(fault("chance", message));
        }
        let mut identities_max = usual.identities_max;
        for (kind, most) in self.identities_max {
            let Some(held) = identities_max.get_mut(&kind) else {
                let kinds: Vec<&str> = IDENTITIES_MAX.iter().map(|(kind, _)| *kind).collect();
                let message = format!("`{kind}` links nothing; valid are {}", kinds.join(", "));
                return Err(fault("identities_max", message));
            };
            *held = most;
        }
        let patterns = |key: &'static str, texts: Vec<String>| -> Result<Vec<Pattern>, Fault> {
            let read = |text: String| {
                entity_pattern(&text, redacted).map_err(|message| fault(key, format!("{key}: {message}")))
            };
            texts.into_iter().map(read).collect()
        };
        let mut criticality = Vec::new();
        for Critical { entity, weight } in self.criticality {
            if !(0.0..=CRITICALITY_MAX).contains(&weight) {
                let message = format!("weight = {weight} of \"{entity}\": valid is 0 to {CRITICALITY_MAX}");
                return Err(fault("criticality", message));
            }
            let entity = entity_pattern(&entity, redacted).map_err(|message| fault("criticality", message))?;
            criticality.push(Criticality { entity, weight });
        }
        Ok(CorrelateSettings {
            window,
            single_severity: self.single_severity.unwrap_or(usual.single_severity),
            span_max,
            members_max,
            memory_bytes_max: self
                .memory_mb
                .map_or(usual.memory_bytes_max, |memory| memory.get().saturating_mul(1 << 20)),
            chance_max,
            identities_max,
            stop_values: patterns("stop_values", self.stop_values)?,
            specific_values: patterns("specific_values", self.specific_values)?,
            criticality,
        })
    }
}

/// `kind:value`, in which `*` stands for any text and `?` for a character. `redacted`: a personal value is known whole or not at all.
fn entity_pattern(text: &str, redacted: bool) -> Result<Pattern, String> {
    let Some((kind, value)) = text.split_once(':') else {
        return Err(format!(
            "\"{text}\": an entity is written kind:value, as \"address:10.0.0.*\""
        ));
    };
    let pattern = Pattern::new(text).map_err(|error| format!("\"{text}\": {error}"))?;
    let kinds = Pattern::new(kind).map_err(|error| format!("\"{text}\": {error}"))?;
    let personal = EventSchema::get().personal_kinds();
    let hidden = personal.into_iter().find(|kind| redacted && kinds.matches(kind));
    if let Some(hidden) = hidden.filter(|_| value != "*" && (is_pattern(kind) || is_pattern(value))) {
        return Err(format!(
            "\"{text}\": with [redact] an entity of kind {hidden} is known by an HMAC of its whole value; valid are \"{hidden}:VALUE\" \
             with all of the value, and \"{hidden}:*\" for all of them"
        ));
    }
    Ok(pattern)
}

impl Plugins {
    fn validate(self) -> Result<PluginSettings, Fault> {
        let wrong = |message: String| Fault::new(Place::Table("plugins"), "signed_by", message);
        if self.signed_by.as_ref().is_some_and(Vec::is_empty) {
            let message = "signed_by is empty: nothing could be signed so; valid is a list of minisign public keys";
            return Err(wrong(message.into()));
        }
        let signer = |text: String| match PublicKey::from_base64(text.trim()) {
            Ok(key) => Ok(Signer {
                text: text.trim().to_owned(),
                key,
            }),
            Err(_) => Err(wrong(format!(
                "signed_by: \"{text}\" is no minisign public key; valid is the second line of a minisign.pub, which begins with RW"
            ))),
        };
        let signed_by = self.signed_by.into_iter().flatten().map(signer);
        Ok(PluginSettings {
            warm_up: self.warm_up.map(|span| Span(span.0).micros()),
            config: self.config,
            rules: self.rules.map(Into::into),
            signed_by: signed_by.collect::<Result<_, _>>()?,
            ..plugin_defaults(self.dir, self.memory_mb, self.call_time)
        })
    }
}

fn plugin_defaults(dir: Option<String>, memory_mb: Option<NonZeroUsize>, call_time: Option<Pause>) -> PluginSettings {
    PluginSettings {
        dir: dir.unwrap_or_else(|| "target/plugins".into()).into(),
        memory_bytes_max: memory_mb.map_or(PLUGIN_MEMORY_MB, NonZeroUsize::get) << 20,
        call_time_max: call_time.map_or(PLUGIN_CALL_TIME, |span| span.0),
        hide_words: false,
        warm_up: None,
        config: BTreeMap::new(),
        rules: None,
        signed_by: Vec::new(),
    }
}

impl Default for PluginSettings {
    /// What holds where nothing is configured.
    fn default() -> PluginSettings {
        plugin_defaults(None, None, None)
    }
}

impl Storage {
    fn validate(self) -> Result<StorageSettings, Fault> {
        let dir = match self.url.split_once("://") {
            None if !self.url.is_empty() => self.url.as_str(),
            Some(("file", path)) if !path.is_empty() => path,
            _ => {
                let message = format!("url = \"{}\": valid are a directory or a file:// URL of one", self.url);
                return Err(Fault::new(Place::Table("storage"), "url", message));
            }
        };
        Ok(StorageSettings {
            dir: dir.into(),
            flush_interval: self.flush_interval.map_or(FLUSH_INTERVAL, |span| span.0),
            flush_bytes: self.flush_bytes.map_or(FLUSH_BYTES, NonZeroUsize::get),
        })
    }
}

/// The value of an environment variable that `key` names.
pub(super) fn secret(
    env: Env,
    place: Place,
    key: &'static str,
    variable: Option<String>,
) -> Result<Option<Secret>, Fault> {
    let Some(variable) = variable else { return Ok(None) };
    match env(&variable) {
        Some(value) if !value.is_empty() => Ok(Some(Secret::new(value))),
        _ => {
            let message = format!("{key} = \"{variable}\": that environment variable is not set or empty");
            Err(Fault::new(place, key, message))
        }
    }
}

impl Serve {
    fn validate(self, env: Env) -> Result<ServeSettings, Fault> {
        let place = Place::Table("serve");
        let postgres_password = secret(env, place, "postgres_password_env", self.postgres_password_env)?;
        if let Some(address) = self.postgres
            && !address.ip().is_loopback()
            && postgres_password.is_none()
        {
            let message = format!(
                "postgres = \"{address}\" listens beyond loopback: set postgres_password_env to the name of an environment \
                 variable that holds a password, or listen on 127.0.0.1"
            );
            return Err(Fault::new(place, "postgres", message));
        }
        let variables = self.token_env.map_or_else(Vec::new, Texts::into_vec);
        let tokens = variables
            .into_iter()
            .filter_map(|variable| secret(env, place, "token_env", Some(variable)).transpose())
            .collect::<Result<Vec<Secret>, Fault>>()?;
        Ok(ServeSettings {
            http: self.http,
            tokens,
            postgres: self.postgres,
            postgres_user: self.postgres_user.unwrap_or_else(|| "sentrail".into()),
            postgres_password,
        })
    }
}

impl Redact {
    fn validate(self, env: Env) -> Result<RedactSettings, Fault> {
        let place = Place::Table("redact");
        let variable = self.key_env.clone();
        match secret(env, place, "key_env", Some(self.key_env))? {
            Some(key) if key.reveal().len() >= REDACT_KEY_BYTES_MIN => Ok(RedactSettings { mode: self.mode, key }),
            _ => {
                let message = format!(
                    "the key in the environment variable {variable} is shorter than {REDACT_KEY_BYTES_MIN} bytes; `openssl rand -hex 32` \
                     makes a good one"
                );
                Err(Fault::new(place, "key_env", message))
            }
        }
    }
}

impl Forward {
    fn validate(self, place: Place, env: Env) -> Result<ForwardSettings, Fault> {
        let wrong = |key: &'static str, reason: String| Fault::new(place, key, format!("{key}: {reason}"));
        Ok(match self {
            Forward::Webhook(Webhook {
                name,
                interval,
                url,
                secret_env,
            }) => {
                let url = WebhookUrl::parse(&url).map_err(|reason| wrong("url", reason))?;
                let secret = secret(env, place, "secret_env", secret_env)?;
                ForwardSettings {
                    name,
                    interval: forward_interval(interval),
                    kind: ForwardKind::Webhook { url, secret },
                }
            }
            Forward::Syslog(Syslog {
                name,
                interval,
                address,
            }) => {
                let address = syslog_address(address).map_err(|reason| wrong("address", reason))?;
                ForwardSettings {
                    name,
                    interval: forward_interval(interval),
                    kind: ForwardKind::Syslog { address },
                }
            }
        })
    }
}

fn forward_interval(written: Option<Span>) -> Duration {
    written.map_or(FORWARD_INTERVAL, |span| span.0)
}
