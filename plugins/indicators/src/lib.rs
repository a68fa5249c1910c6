//! What threat feeds warn of, where it shows in the logs: addresses, hosts and URLs that were called or call, digests of artifacts, leaked
//! keys, and all of these in what is said to and by models.
//!
//! It keeps nothing of what it sees: so there is one instance of it, and a feed is held in memory once.

use std::collections::BTreeMap;

use sentrail_plugin::{Batch, Detector, Findings, Level, Manifest, Rule, Search, col, config, log};

mod feed;
mod index;
mod observable;
mod rules;

use index::{Index, Told};
use observable::{Observable, host, refanged};

/// Words of one text that are looked at, so that a long text costs a bounded time.
const WORDS_MAX: usize = 20_000;
/// Longest word that may be a URL, in bytes.
const WORD_BYTES_MAX: usize = 2_048;

/// What is handed over where there is no feed: as little as a plugin can ask for.
const IDLE: &[&str] = &[col::SRC_ENDPOINT_IP.name];
const COLUMNS: &[&str] = &[
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
    }
}

/// The detector.
pub struct Indicators {
    index: Index,
    mentions: bool,
}

/// Something in an event that a feed names.
struct Match<'a> {
    rule: &'static Rule,
    told: &'a Told,
    /// What it is in the event, in words.
    what: String,
}

impl Detector for Indicators {
    type Config = Config;
    type State = ();

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
        })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "indicators",
            version: env!("CARGO_PKG_VERSION"),
            description: "Addresses, hosts, URLs, digests and keys that threat feeds name.",
            columns: if self.index.is_empty() { IDLE } else { COLUMNS },
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, (): &mut (), batch: &Batch, out: &mut Findings) {
        if self.index.is_empty() {
            return;
        }
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
            let mut add = |rule: &'static Rule, told: Option<_>, what: String| {
                if let Some(told) = told
                    && !found.iter().any(|known| known.rule.id == rule.id)
                {
                    found.push(Match { rule, told, what });
                }
            };
            for (column, says) in &addresses {
                let Some(text) = column.get(row) else { continue };
                let observable = Observable::network(text).or_else(|| Observable::domain(host(text)));
                let told = observable.and_then(|observable| self.index.find(&observable, time));
                add(&rules::CONTACT, told, format!("{says} {text}"));
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
                let told = column
                    .get(row)
                    .and_then(|key| self.index.find(&Observable::Key(key.to_owned()), time));
                add(&rules::KEY, told, (*says).to_owned());
            }
            if let Some(artifact) = artifacts.get(row) {
                let digest = artifact.rsplit_once('@').map_or(artifact, |(_, digest)| digest);
                let told = Observable::digest(digest).and_then(|digest| self.index.find(&digest, time));
                add(&rules::ARTIFACT, told, artifact.to_owned());
            }
            if self.mentions {
                for (column, says) in &texts {
                    let text = column.get(row).unwrap_or_default();
                    if let Some((word, told)) = self.first_mention(text, time) {
                        add(&rules::MENTION, Some(told), format!("{says} {word}"));
                    }
                }
            }
            for Match { rule, told, what } in found {
                let feed = self.index.feed(told);
                let name = if told.name.is_empty() {
                    String::new()
                } else {
                    format!(" as {:?}", &*told.name)
                };
                let sure = told
                    .confidence
                    .map_or_else(String::new, |percent| format!(", confidence {percent}"));
                out.detect(rule, row)
                    .severity(feed::severity(rule.severity, told.confidence))
                    .message(format!("{what}: the feed {feed} has it{name}{sure}"));
            }
        }
    }
}

impl Indicators {
    fn first_mention<'t>(&self, text: &'t str, time: i64) -> Option<(&'t str, &Told)> {
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
    fn word(&self, word: &str, time: i64) -> Option<&Told> {
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
