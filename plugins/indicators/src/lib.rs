//! What threat feeds warn of, where it shows in the logs: addresses, hosts and URLs that were called or call, digests of artifacts, leaked
//! keys, and all of these in what is said to and by models.
//!
//! What comes again and again is told when it comes first in an hour, and at its tenth, hundredth, thousandth time. All that a tenant does goes
//! to one shard, so that a feed is held in memory once for each tenant and not in every shard.

use std::collections::BTreeMap;

use sentrail_plugin::{Batch, Detector, Findings, Level, Manifest, Rule, Search, col, config, log};

mod feed;
mod index;
mod observable;
mod repeats;
mod rules;

use index::{Hit, Index};
use observable::{Observable, host, refanged};
use repeats::Repeats;

/// Words of one text that are looked at, so that a long text costs a bounded time.
const WORDS_MAX: usize = 20_000;
/// Longest word that may be a URL, in bytes.
const WORD_BYTES_MAX: usize = 2_048;

/// A class that no event has, which is asked for where there is no feed: so nothing waits to be handed over.
const IDLE: &[&str] = &["none"];
const COLUMNS: &[&str] = &[
    col::ACTOR_USER_UID.name,
    col::ACTOR_USER_NAME.name,
    col::AI_AGENT_UID.name,
    col::SRC_ENDPOINT_IP.name,
    col::SRC_ENDPOINT_NAME.name,
    col::DST_ENDPOINT_IP.name,
    col::DST_ENDPOINT_NAME.name,
    col::HTTP_REQUEST_URL_PATH.name,
    col::GATEWAY_KEY_UID.name,
    col::ACTOR_USER_CREDENTIAL_UID.name,
    col::ARTIFACT_UID.name,
    col::PROCESS_CMD_LINE.name,
    col::AI_PROMPT.name,
    col::AI_RESPONSE.name,
];

config! {
    /// What is looked for.
    pub struct Config {
        /// Feeds by name, each the text of a STIX 2.1 bundle or of CSV: `feeds.NAME = { file = "PATH" }`. None: nothing is looked for.
        pub feeds: BTreeMap<String, String> = BTreeMap::new(),
        /// Indicators of all feeds together. Half a million take 20 MB, which a detector's memory has room for.
        pub max_indicators: usize = 500_000,
        /// Whether prompts, answers and command lines are searched too: it costs most of the detector's time.
        pub mentions: bool = true,
        /// Pairs of an indicator and who met it, remembered for an hour per shard; beyond it the one silent for longest is forgotten.
        pub max_met: usize = 50_000,
    }
}

/// The detector.
pub struct Indicators {
    index: Index,
    mentions: bool,
    max_met: usize,
}

/// Something in an event that a feed names.
struct Match<'a> {
    rule: &'static Rule,
    hit: Hit<'a>,
    /// What it is in the event, in words.
    what: String,
}

impl Detector for Indicators {
    type Config = Config;
    type State = Repeats;

    fn new(config: Config) -> Result<Self, String> {
        let (index, unknown) = Index::read(config.feeds, config.max_indicators)?;
        if unknown > 0 {
            log(
                Level::Warn,
                &format!("{unknown} entries of the feeds are of no form that is looked for"),
            );
        }
        Ok(Self {
            index,
            mentions: config.mentions,
            max_met: config.max_met,
        })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "indicators",
            version: env!("CARGO_PKG_VERSION"),
            description: "Addresses, hosts, URLs, digests and keys that threat feeds name.",
            classes: if self.index.is_empty() { IDLE } else { &[] },
            columns: COLUMNS,
            key: &[col::TENANT.name],
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, repeats: &mut Repeats, batch: &Batch, out: &mut Findings) {
        if self.index.is_empty() {
            return;
        }
        let identities = [
            col::ACTOR_USER_UID,
            col::ACTOR_USER_NAME,
            col::GATEWAY_KEY_UID,
            col::ACTOR_USER_CREDENTIAL_UID,
            col::AI_AGENT_UID,
            col::SRC_ENDPOINT_IP,
        ]
        .map(|column| batch.text(column));
        let addresses = [
            (batch.text(col::SRC_ENDPOINT_IP), "the call came from"),
            (batch.text(col::SRC_ENDPOINT_NAME), "the call came from"),
            (batch.text(col::DST_ENDPOINT_IP), "the call went to"),
            (batch.text(col::DST_ENDPOINT_NAME), "the call went to"),
        ];
        let paths = batch.text(col::HTTP_REQUEST_URL_PATH);
        let keys = [
            (batch.text(col::GATEWAY_KEY_UID), "the gateway key of the call"),
            (batch.text(col::ACTOR_USER_CREDENTIAL_UID), "the access key of the call"),
        ];
        let artifacts = batch.text(col::ARTIFACT_UID);
        let texts = [
            (batch.text(col::AI_PROMPT), "the request names"),
            (batch.text(col::AI_RESPONSE), "the answer names"),
            (batch.text(col::PROCESS_CMD_LINE), "the command line names"),
        ];
        for row in batch.rows() {
            let time = batch.time(row);
            let mut found: Vec<Match> = Vec::new();
            let mut add = |rule: &'static Rule, hit: Option<_>, what: String| {
                if let Some(hit) = hit
                    && !found.iter().any(|known| known.rule.id == rule.id)
                {
                    found.push(Match { rule, hit, what });
                }
            };
            for (column, says) in &addresses {
                let Some(text) = column.get(row) else { continue };
                let observable = Observable::network(text).or_else(|| Observable::domain(host(text)));
                let hit = observable.and_then(|observable| self.index.find(&observable, time));
                add(&rules::CONTACT, hit, format!("{says} {text}"));
            }
            if let Some(path) = paths.get(row) {
                let url = match addresses[3].0.get(row) {
                    Some(name) if !path.holds("://") => format!("http://{name}{path}"),
                    _ => path.to_owned(),
                };
                add(
                    &rules::CONTACT,
                    self.word(&url, time),
                    format!("the call went to {url}"),
                );
            }
            for (column, says) in &keys {
                let hit = column
                    .get(row)
                    .and_then(|key| self.index.find(&Observable::Key(key.to_owned()), time));
                add(&rules::KEY, hit, (*says).to_owned());
            }
            if let Some(artifact) = artifacts.get(row) {
                let digest = artifact.rsplit_once('@').map_or(artifact, |(_, digest)| digest);
                let hit = Observable::digest(digest).and_then(|digest| self.index.find(&digest, time));
                add(&rules::ARTIFACT, hit, artifact.to_owned());
            }
            if self.mentions {
                for (column, says) in &texts {
                    let text = column.get(row).unwrap_or_default();
                    if let Some((word, hit)) = self.first_mention(text, time) {
                        add(&rules::MENTION, Some(hit), format!("{says} {word}"));
                    }
                }
            }
            for Match { rule, hit, what } in found {
                let identity = identities.iter().find_map(|column| column.get(row)).unwrap_or_default();
                let key = format!(
                    "{}\0{}\0{}\0{identity}",
                    batch.key(row).unwrap_or_default(),
                    rule.id,
                    hit.indicator
                );
                let Some(times) = repeats.worth_telling(&key, time, batch.is_late(row), self.max_met) else {
                    continue;
                };
                let told = hit.told;
                let feed = self.index.feed(told);
                let name = if told.name.is_empty() {
                    String::new()
                } else {
                    format!(" as {:?}", &*told.name)
                };
                let sure = told
                    .confidence
                    .map_or_else(String::new, |percent| format!(", confidence {percent}"));
                let often = match times {
                    1 => String::new(),
                    times => format!("; {times} times in this hour"),
                };
                out.detect(rule, row)
                    .severity(feed::severity(rule.severity, told.confidence))
                    .message(format!("{what}: the feed {feed} has it{name}{sure}{often}"));
            }
        }
    }
}

impl Indicators {
    fn first_mention<'t>(&self, text: &'t str, time: i64) -> Option<(&'t str, Hit<'_>)> {
        let parts = |c: char| {
            c.is_whitespace()
                || matches!(
                    c,
                    '<' | '>' | '(' | ')' | '"' | '\'' | '`' | '{' | '}' | '|' | ',' | ';' | '\\'
                )
        };
        text.split(parts)
            .map(|word| word.trim_matches(['.', '!', '?', '*', '=']))
            .filter(|word| (4..=WORD_BYTES_MAX).contains(&word.len()))
            .take(WORDS_MAX)
            .find_map(|word| Some((word, self.word(word, time)?)))
    }

    /// What feeds say of a URL, a host, an address or a digest; of a URL that none names, what they say of its host.
    fn word(&self, word: &str, time: i64) -> Option<Hit<'_>> {
        let digest = matches!(word.len(), 32 | 40 | 64 | 128);
        if !digest && !word.bytes().any(|byte| matches!(byte, b'.' | b':')) {
            return None;
        }
        let word = refanged(word);
        if let Some(Observable::Url(url)) = Observable::url(&word).or_else(|| {
            let bare = !word.holds("://") && word.contains('/') && !word.starts_with('/');
            bare.then(|| Observable::url(&format!("http://{word}"))).flatten()
        }) {
            let host = host(&url);
            let host = Observable::network(host).or_else(|| Observable::domain(host));
            let whole = self.index.find(&Observable::Url(url), time);
            return whole.or_else(|| self.index.find(&host?, time));
        }
        let observable = Observable::any(&word).or_else(|| Observable::domain(host(&word)))?;
        self.index.find(&observable, time)
    }
}

sentrail_plugin::export!(Indicators);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::Indicators);
}
