//! Where models and images come from: what registries, and downloads seen on hosts and networks, tell of names, sources, digests and
//! formats, and who publishes and loads what.
//!
//! All that one registry tells goes to one shard, for names tie its records together.

use sentrail_plugin::json::{self, Value};
use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{
    Batch, DAY, Detector, Familiarity, Findings, FirstSeen, Habit, Keyed, Manifest, Rule, Search, Severity, col, config,
};

mod artifact;
mod name;
mod rules;

use artifact::{Action, Artifact};

/// How far back habits reach.
const HABIT: i64 = 30 * DAY;
/// Readers and publishers of one artifact that are remembered: more than any threshold needs.
const MEMBERS: usize = 64;
/// Words of a command line that are looked at.
const WORDS_MAX: usize = 256;

use name::Publishers;

config! {
    /// What is expected of models and images.
    pub struct Config {
        /// Hosts that models and images may come from, with all hosts below them. Add your own; an empty list judges no host.
        pub registries: Vec<String> = [
            "huggingface.co", "hf.co", "docker.io", "docker.com", "ghcr.io", "github.com", "githubusercontent.com", "quay.io", "nvcr.io", "nvidia.com",
            "ollama.ai", "ollama.com", "gcr.io", "pkg.dev", "googleapis.com", "azurecr.io", "mcr.microsoft.com", "windows.net", "amazonaws.com",
            "kaggle.com", "pytorch.org", "tensorflow.org", "modelscope.cn", "pypi.org", "pythonhosted.org",
        ].map(String::from).to_vec(),
        /// Publishers that nobody should imitate, beside the well-known ones: your own.
        pub publishers: Vec<String> = Vec::new(),
        /// Beginnings of the names of repositories in which everything is signed with cosign. Signatures count from when the detector first
        /// sees them pushed.
        pub signed: Vec<String> = Vec::new(),
        /// Days for which an artifact must be known before somebody new with it is told of.
        pub learning_days: i64 = 7,
        /// Downloads from which the readers of an artifact are known.
        pub reads: u64 = 20,
        /// Readers, or publishers, that an artifact has at most for another to be odd: what many use says nothing.
        pub habitual: usize = 6,
        /// Artifacts remembered per shard; beyond it the one silent for longest is forgotten.
        pub max_artifacts: usize = 20_000,
    }
}

/// What is remembered of an artifact.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Known {
    readers: FirstSeen,
    publishers: FirstSeen,
    /// Versions that named their run.
    runs: u32,
}

/// What is remembered.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct State {
    artifacts: Keyed<Known>,
    /// What a version stood for, as a hash.
    versions: Keyed<u64>,
    /// Digests of which a signature was pushed.
    signatures: Keyed<bool>,
    /// What was told, so that every load of a file does not tell it again.
    told: Keyed<bool>,
}

/// The detector.
pub struct ModelSupplyChain {
    config: Config,
    publishers: Publishers,
}

/// One record.
struct Record<'a> {
    time: i64,
    /// Tenant and registry.
    key: &'a str,
    action: Action,
    operation: &'a str,
    actor: Option<&'a str>,
    failed: bool,
    artifact: Option<Artifact<'a>>,
    request: Option<&'a Value>,
    /// Places and files that it names.
    places: Vec<&'a str>,
}

struct Found(&'static Rule, Severity, String);

fn found(rule: &'static Rule, message: String) -> Found {
    Found(rule, rule.severity, message)
}

impl Detector for ModelSupplyChain {
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<Self, String> {
        if config.learning_days < 0 {
            return Err(format!("learning_days = {}: valid is 0 and more", config.learning_days));
        }
        let publishers = Publishers::new(&config.publishers);
        Ok(Self { config, publishers })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "model-supply-chain",
            version: env!("CARGO_PKG_VERSION"),
            description: "Models and images with unsafe formats, unknown sources, imitated names, exchanged or unsigned content, and new hands on them.",
            layers: &["registry", "host", "network"],
            columns: &[
                col::ACTIVITY_NAME.name,
                col::API_OPERATION.name,
                col::STATUS.name,
                col::ACTOR_USER_UID.name,
                col::ARTIFACT_UID.name,
                col::RESOURCE_UID.name,
                col::API_REQUEST_DATA.name,
                col::DST_ENDPOINT_NAME.name,
                col::HTTP_REQUEST_URL_PATH.name,
                col::PROCESS_CMD_LINE.name,
            ],
            key: &[col::API_SERVICE_NAME.name, col::DEVICE_HOSTNAME.name],
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, state: &mut State, batch: &Batch, out: &mut Findings) {
        let activities = batch.text(col::ACTIVITY_NAME);
        let operations = batch.text(col::API_OPERATION);
        let statuses = batch.text(col::STATUS);
        let actors = batch.text(col::ACTOR_USER_UID);
        let artifacts = batch.text(col::ARTIFACT_UID);
        let resources = batch.text(col::RESOURCE_UID);
        let requests = batch.text(col::API_REQUEST_DATA);
        let hosts = batch.text(col::DST_ENDPOINT_NAME);
        let paths = batch.text(col::HTTP_REQUEST_URL_PATH);
        let commands = batch.text(col::PROCESS_CMD_LINE);
        for row in batch.rows() {
            let uid = artifacts.get(row).filter(|uid| !uid.is_empty());
            let command = commands.get(row).filter(|command| fetches(command));
            let path = paths.get(row).filter(|path| artifact::is_model(path));
            if uid.is_none() && command.is_none() && path.is_none() {
                continue;
            }
            let request = requests
                .get(row)
                .filter(|_| uid.is_some())
                .and_then(|text| json::from_str::<Value>(text).ok());
            let artifact = uid.map(|uid| Artifact::read(uid, resources.get(row), request.as_ref()));
            let url = path.map(|path| match hosts.get(row) {
                Some(host) if !path.holds("://") => format!("http://{host}{path}"),
                _ => path.to_owned(),
            });
            let mut places: Vec<&str> = artifact
                .iter()
                .flat_map(|artifact| artifact.source.into_iter().chain([artifact.name]))
                .collect();
            places.extend(url.as_deref());
            places.extend(command.into_iter().flat_map(str::split_whitespace).take(WORDS_MAX));
            let record = Record {
                time: batch.time(row),
                key: batch.key(row).unwrap_or_default(),
                action: match activities.get(row) {
                    Some("Read") => Action::Read,
                    Some("Create" | "Update") => Action::Write,
                    _ => Action::Other,
                },
                operation: operations.get(row).unwrap_or_default(),
                actor: actors.get(row).filter(|actor| !actor.is_empty()),
                failed: statuses.get(row) == Some("Failure"),
                artifact,
                request: request.as_ref(),
                places,
            };
            for Found(rule, severity, message) in self.judge(state, &record) {
                out.detect(rule, row).severity(severity).message(message);
            }
        }
    }
}

/// Whether a command line loads something from a registry.
fn fetches(command: &str) -> bool {
    const COMMANDS: [&str; 10] = [
        "huggingface-cli",
        "hf download",
        "ollama pull",
        "ollama run",
        "docker pull",
        "git clone",
        "git lfs",
        "wget ",
        "curl ",
        "snapshot_download",
    ];
    COMMANDS.iter().any(|known| command.holds(known))
}

impl ModelSupplyChain {
    fn judge(&self, state: &mut State, record: &Record) -> Vec<Found> {
        let mut all = self.places(record);
        if let Some(artifact) = &record.artifact
            && !record.failed
        {
            all.extend(self.content(state, record, artifact));
            all.extend(self.hands(state, record, artifact));
        }
        // A refused load of an imitation still tells that somebody asked for it.
        all.retain(|Found(rule, _, message)| {
            let key = format!("{}\0{}\0{message}", record.key, rule.id);
            let told = state.told.at(&key, record.time, self.config.max_artifacts, HABIT);
            !std::mem::replace(told, true)
        });
        all
    }

    /// What the names and places in a record tell by themselves.
    fn places(&self, record: &Record) -> Vec<Found> {
        let mut all = Vec::new();
        for place in &record.places {
            if let Some((what, severity)) = artifact::unsafe_format(place) {
                all.push(Found(&rules::UNSAFE, severity, format!("{place} is {what}")));
            }
            let host = artifact::host(place).filter(|_| record.artifact.is_some() || artifact::is_model(place));
            if let Some(host) = host
                && !self.config.registries.is_empty()
                && !artifact::is_known(host, &self.config.registries)
            {
                // Who runs a registry gives it a name.
                let bare = host.parse::<std::net::IpAddr>().is_ok();
                let severity = if bare { Severity::High } else { rules::REGISTRY.severity };
                all.push(Found(
                    &rules::REGISTRY,
                    severity,
                    format!("{place} is on {host}, which is no known registry"),
                ));
            }
            let bare = place
                .split_once("://")
                .map_or(*place, |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
            let publisher = bare.split_once('/').map(|(publisher, _)| publisher);
            let imitated = publisher.and_then(|publisher| Some((publisher, self.publishers.imitated(publisher)?)));
            if let Some((publisher, whom)) = imitated {
                all.push(found(
                    &rules::SQUAT,
                    format!("{publisher} looks like {whom}, in {bare}"),
                ));
            }
        }
        all
    }

    /// Whether a version still is what it was, and is signed.
    fn content(&self, state: &mut State, record: &Record, artifact: &Artifact) -> Vec<Found> {
        let mut all = Vec::new();
        let name = artifact.name;
        let max = self.config.max_artifacts;
        // A signature's own tag names the digest that it signs.
        if let Some(signed) = artifact.version.and_then(|tag| tag.strip_suffix(".sig")) {
            let key = format!("{}\0{name}\0{}", record.key, signed.replacen('-', ":", 1));
            *state.signatures.at(&key, record.time, max, HABIT) = true;
            return all;
        }
        let content = artifact.digest.or(artifact.source);
        if let (Some(version), Some(content)) = (artifact.version, content)
            && let Some(severity) = artifact::promises(version)
            && record.action != Action::Other
        {
            let key = format!("{}\0{name}\0{version}", record.key);
            let seen = state.versions.at(&key, record.time, max, HABIT);
            let now = sentrail_plugin::hash(content).max(1);
            let before = std::mem::replace(seen, now);
            if before != 0 && before != now {
                let message = format!("{name}, version {version}, now is {content} and was another before");
                all.push(Found(&rules::DRIFT, severity, message));
            }
        }
        all.extend(moved_tags(record).map(|tag| {
            found(
                &rules::DRIFT,
                format!("{name}: the tag {tag} was moved to another commit"),
            )
        }));
        let must = self
            .config
            .signed
            .iter()
            .any(|beginning| name.starts_with(beginning.as_str()));
        if let Some(digest) = artifact.digest.filter(|_| must && record.action == Action::Read) {
            let key = format!("{}\0{name}\0{digest}", record.key);
            if !*state.signatures.at(&key, record.time, max, HABIT) {
                all.push(found(
                    &rules::UNSIGNED,
                    format!("{name}@{digest} was loaded and has no signature"),
                ));
            }
        }
        all
    }

    /// Who publishes and loads.
    fn hands(&self, state: &mut State, record: &Record, artifact: &Artifact) -> Vec<Found> {
        let mut all = Vec::new();
        let (name, time) = (artifact.name, record.time);
        let key = format!("{}\0{name}", record.key);
        let known = state.artifacts.at(&key, time, self.config.max_artifacts, HABIT);
        let habit = |sightings| Habit {
            learning: self.config.learning_days.saturating_mul(DAY),
            sightings,
            keep: HABIT,
            max: MEMBERS,
        };
        let (hands, sightings, rule, did) = match record.action {
            Action::Write => (&mut known.publishers, 1, &rules::WRITER, "published"),
            Action::Read => (&mut known.readers, self.config.reads, &rules::READER, "loaded"),
            Action::Other => return all,
        };
        if let Some(actor) = record.actor {
            let others = hands.len();
            let new = hands.see(&habit(sightings), time, actor) == Familiarity::New;
            if new && (1..=self.config.habitual).contains(&others) {
                all.push(found(
                    rule,
                    format!("{actor} {did} {name}, which {others} others did before"),
                ));
            }
        }
        let makes_version = record.action == Action::Write && record.operation.to_ascii_lowercase().holds("version");
        if let Some(request) = record.request.filter(|_| makes_version && artifact.version.is_some()) {
            let run = request
                .get("run_id")
                .and_then(Value::as_str)
                .filter(|run| !run.is_empty());
            match run {
                Some(_) => known.runs = known.runs.saturating_add(1),
                None if known.runs >= 2 && request.get("source").is_some() => {
                    let version = artifact.version.unwrap_or_default();
                    all.push(found(
                        &rules::LINEAGE,
                        format!(
                            "{name}, version {version}, names no run; {} versions before did",
                            known.runs
                        ),
                    ));
                }
                None => {}
            }
        }
        all
    }
}

/// Tags of a repository that a push moved: tags are made once.
fn moved_tags<'a>(record: &Record<'a>) -> impl Iterator<Item = &'a str> {
    let refs = record.request.and_then(Value::as_array);
    refs.into_iter().flatten().filter_map(|moved| {
        let text = |name: &str| moved.get(name).and_then(Value::as_str);
        let tag = text("ref")?.strip_prefix("refs/tags/")?;
        let (old, new) = (text("oldSha")?, text("newSha")?);
        // A tag that is made, or taken away, has no commit on one side.
        let real = |sha: &str| sha.bytes().any(|byte| byte != b'0');
        (real(old) && real(new) && old != new).then_some(tag)
    })
}

sentrail_plugin::export!(ModelSupplyChain);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::ModelSupplyChain);
}
