//! What a validated configuration says, in the engine's own types.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::correlate::CorrelateSettings;
use super::target::WebhookUrl;
use crate::model::Micros;

#[derive(Clone, Debug)]
pub struct Settings {
    pub storage: StorageSettings,
    /// The directory of the site's own mapping files, beside those of the build.
    pub formats_dir: Option<PathBuf>,
    pub sources: Vec<SourceSettings>,
    /// In the order in which they are applied.
    pub lookups: Vec<LookupSettings>,
    pub plugins: PluginSettings,
    pub sequences: SequencesSettings,
    pub correlate: CorrelateSettings,
    pub serve: ServeSettings,
    pub forward: Vec<ForwardSettings>,
    /// `None`: personal data is kept and sent as it came.
    pub redact: Option<RedactSettings>,
    /// What is read is history, of which receivers are told nothing. Said by who starts the run, not by the configuration.
    pub backfill: bool,
}

#[derive(Clone, Debug)]
pub struct StorageSettings {
    /// The data directory.
    pub dir: PathBuf,
    /// An epoch becomes durable when it is this old …
    pub flush_interval: Duration,
    /// … or holds this many bytes of records.
    pub flush_bytes: usize,
}

#[derive(Clone, Debug)]
pub struct SourceSettings {
    pub name: String,
    pub tenant: String,
    /// Name of the mapping in schemas/sources.
    pub format: String,
    /// How much later than its newest neighbour an event of one input may come and still be in order. `None`: the mapping's own.
    pub lateness: Option<Micros>,
    /// Of a source that is listened to; one that is read to its end is never silent.
    pub silent_after: SilentAfter,
    pub kind: SourceKind,
}

impl SourceSettings {
    /// Whether there is more to come, for ever.
    pub fn is_live(&self) -> bool {
        !matches!(self.kind, SourceKind::File { follow: false, .. })
    }
}

/// After how long a silence is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SilentAfter {
    /// When it is much longer than the source uses to pause.
    #[default]
    Learned,
    Span(Micros),
    Never,
}

#[derive(Clone, Debug)]
pub enum SourceKind {
    File { glob: String, follow: bool },
    Kafka(KafkaSettings),
    Http(HttpSettings),
    Syslog(SyslogSettings),
}

#[derive(Clone, Debug)]
pub struct HttpSettings {
    pub listen: SocketAddr,
    /// A request must carry one of them. Required when `listen` is beyond loopback.
    pub tokens: Vec<Secret>,
    pub spool: SpoolSettings,
}

#[derive(Clone, Debug)]
pub struct SyslogSettings {
    /// At least one of the two.
    pub tcp: Option<SocketAddr>,
    pub udp: Option<SocketAddr>,
    pub spool: SpoolSettings,
}

/// How what is accepted waits for the pipeline.
#[derive(Clone, Copy, Debug)]
pub struct SpoolSettings {
    /// Bytes on disk at which senders are told to wait.
    pub bytes_max: u64,
    /// A source that nobody sends to this long leaves the watermark.
    pub idle_timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct KafkaSettings {
    pub brokers: String,
    pub topics: Vec<String>,
    pub group: String,
    /// Where a partition begins that neither the data directory nor the group has an offset for.
    pub start: KafkaStart,
    /// A partition that is read to its end and stays silent this long leaves the watermark.
    pub idle_timeout: Duration,
    /// librdkafka settings passed through as they are. Some hold passwords, so none is shown.
    pub properties: BTreeMap<String, Secret>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KafkaStart {
    #[default]
    Earliest,
    Latest,
    /// At the first record that the broker dates at or after this time.
    Time(Micros),
    /// Nowhere: the group must have an offset, else the source fails.
    Committed,
}

/// A table that fills columns of events.
#[derive(Clone, Debug)]
pub struct LookupSettings {
    pub name: String,
    /// Whose events are looked up; `None`: everybody's.
    pub tenant: Option<String>,
    pub from: LookupFrom,
    /// The event column whose value is looked up.
    pub on: String,
    /// How the table is searched; `None` where its format says so itself.
    pub key: Option<LookupKey>,
    /// Event column ← column of the table, or path in its records.
    pub take: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub enum LookupFrom {
    File {
        path: PathBuf,
        format: LookupFormat,
    },
    /// A statement over the engine's own tables, asked anew after each `refresh`.
    Sql {
        statement: String,
        refresh: Duration,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupFormat {
    Csv,
    Parquet,
    MaxMind,
}

#[derive(Clone, Debug)]
pub struct LookupKey {
    /// The column of the table that is compared with the event's.
    pub column: String,
    pub matching: LookupMatch,
}

/// When a row of the table belongs to a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LookupMatch {
    /// Its key is the same.
    #[default]
    Exact,
    /// Its key is the smallest network that holds the address.
    Cidr,
}

/// Stands where words were that may hold anything: a detector's message, a guest's error.
pub const HIDDEN: &str = "(hidden by [redact])";

/// What becomes of personal data before it is kept or sent.
#[derive(Clone, Debug)]
pub struct RedactSettings {
    pub mode: RedactMode,
    /// Of the stand-ins, and of what is sealed.
    pub key: Secret,
}

/// What stands in a column that can hold personal data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedactMode {
    /// A stand-in that is the same wherever the value is the same.
    #[default]
    Hmac,
    /// That there was a value.
    Mask,
    /// Nothing.
    Drop,
}

#[derive(Clone, Debug)]
pub struct PluginSettings {
    pub dir: PathBuf,
    /// Linear memory of one instance, in bytes.
    pub memory_bytes_max: usize,
    /// Wall time of one call.
    pub call_time_max: Duration,
    /// A plugin's own words are neither logged nor kept: they may hold what it saw.
    pub hide_words: bool,
    /// How far back stored events are shown to a plugin that is new and keeps state. `None`: it begins with nothing.
    pub warm_up: Option<Micros>,
    /// JSON configuration per plugin id.
    pub config: BTreeMap<String, serde_json::Value>,
    /// The file of what may change while the engine runs: see [`super::RuleSettings`].
    pub rules: Option<PathBuf>,
    /// Who may sign plugins; where there is anybody, what nobody of them signed is refused.
    pub signed_by: Vec<Signer>,
}

/// Where sequences come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequencesSettings {
    /// The directory of the site's own.
    pub dir: Option<PathBuf>,
    /// Whether those of the build count.
    pub shipped: bool,
}

/// A minisign public key.
#[derive(Clone, Debug)]
pub struct Signer {
    /// As it is configured: 56 characters of Base64.
    pub text: String,
    pub key: minisign_verify::PublicKey,
}

#[derive(Clone, Debug, Default)]
pub struct ServeSettings {
    pub http: Option<SocketAddr>,
    /// Who has one of them may change incidents over HTTP; without any, nobody may.
    pub tokens: Vec<Secret>,
    pub postgres: Option<SocketAddr>,
    pub postgres_user: String,
    /// Required when `postgres` listens beyond loopback.
    pub postgres_password: Option<Secret>,
}

#[derive(Clone, Debug)]
pub struct ForwardSettings {
    pub name: String,
    /// An incident that only grows is sent at most once in so long; zero: each of its revisions is.
    pub interval: Duration,
    pub kind: ForwardKind,
}

#[derive(Clone, Debug)]
pub enum ForwardKind {
    /// JSON over HTTP POST; with a secret, signed by HMAC-SHA256.
    Webhook { url: WebhookUrl, secret: Option<Secret> },
    /// RFC 5424 over TCP, octet-counted (RFC 6587), to `HOST:PORT`.
    Syslog { address: String },
}

/// A value that never shows itself in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: String) -> Secret {
        Secret(value)
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Secret {
        Secret(value.to_owned())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}
