//! Credentials and personal data in what is sent to models and tools and what comes back. Messages say whose a credential is and how it
//! ends, never what it is; where its use is logged, the detection names it as an entity, so that the leak and the use are joined.

use std::collections::BTreeSet;

use sentrail_plugin::{
    Batch, Detection, Detector, Findings, HOUR, Keyed, Manifest, RecentSet, Rule, Severity, col, config,
};

mod checks;
mod people;
mod rules;
mod secrets;

use people::Held;
use secrets::{Secret, Secrets};

/// What is told of in one message.
const TOLD_MAX: usize = 5;
/// Entities that one detection is given.
const ENTITIES_MAX: usize = 16;
/// Values of one caller that are remembered as told.
const MEMBERS: usize = 256;

config! {
    /// What counts as sensitive, and when it is told again.
    pub struct Config {
        /// Least entropy of a credential, bits a character. Words have less than 3, generated tokens more than 3.5.
        pub entropy: f64 = 3.0,
        /// Different payment cards in one text. One real card number is one too many.
        pub cards: usize = 1,
        /// Different bank accounts in one text. Letters and invoices carry one or two.
        pub accounts: usize = 3,
        /// Different national identity numbers in one text.
        pub identities: usize = 1,
        /// Different e-mail addresses or telephone numbers in one answer. A page of contacts has fewer.
        pub contacts: usize = 25,
        /// From how many cards, accounts or identities on a finding is one step graver: a copy rather than a case.
        pub many: usize = 10,
        /// Hours before the same value is told of the same caller again: a conversation repeats what was said before.
        pub repeat_hours: i64 = 24,
        /// Callers remembered per shard; beyond it the one silent for longest is forgotten.
        pub max_callers: usize = 5_000,
    }
}

/// The detector.
pub struct SensitiveData {
    config: Config,
    secrets: Secrets,
}

/// One text of an event.
struct Passage<'a> {
    text: &'a str,
    out: bool,
}

impl Detector for SensitiveData {
    type Config = Config;
    /// Per caller, what was told of.
    type State = Keyed<RecentSet>;

    fn new(config: Config) -> Result<Self, String> {
        if config.repeat_hours < 1 {
            return Err(format!("repeat_hours = {}: valid is 1 and more", config.repeat_hours));
        }
        let secrets = Secrets::new(config.entropy)?;
        Ok(Self { config, secrets })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "sensitive-data",
            version: env!("CARGO_PKG_VERSION"),
            description: "Credentials, payment cards, bank accounts, national ids and lists of contacts in prompts, answers and tool results.",
            layers: &["gateway", "agent"],
            columns: &[col::AI_PROMPT.name, col::AI_RESPONSE.name],
            key: &[
                col::GATEWAY_KEY_UID.name,
                col::ACTOR_USER_UID.name,
                col::AI_AGENT_UID.name,
                col::SRC_ENDPOINT_IP.name,
            ],
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, callers: &mut Keyed<RecentSet>, batch: &Batch, out: &mut Findings) {
        let prompts = batch.text(col::AI_PROMPT);
        let responses = batch.text(col::AI_RESPONSE);
        let repeat = self.config.repeat_hours.saturating_mul(HOUR);
        for row in batch.rows() {
            let time = batch.time(row);
            // What a person gave and the answer repeats did not come from the model.
            let passages = [(prompts.get(row), false), (responses.get(row), true)];
            for (text, out_of_model) in passages {
                let Some(text) = text.filter(|text| !text.is_empty()) else {
                    continue;
                };
                let mut new = |value: &str| match batch.key(row) {
                    Some(key) => {
                        let told = callers.at(key, time, self.config.max_callers, repeat);
                        told.insert(repeat, MEMBERS, time, value).new
                    }
                    None => true,
                };
                let passage = Passage {
                    text,
                    out: out_of_model,
                };
                let found = self.credentials(&passage, time, &mut new);
                if let Some((rule, severity, message, entities)) = found {
                    let detection = out.detect(rule, row).severity(severity).message(message);
                    name(detection, entities);
                }
                for (rule, severity, message) in self.people(&passage, &mut new) {
                    out.detect(rule, row).severity(severity).message(message);
                }
            }
        }
    }
}

fn name(detection: &mut Detection, entities: Vec<(&'static str, String)>) {
    for (kind, value) in entities.into_iter().take(ENTITIES_MAX) {
        detection.entity(kind, value);
    }
}

type Credentials = (&'static Rule, Severity, String, Vec<(&'static str, String)>);

impl SensitiveData {
    fn credentials(&self, passage: &Passage, time: i64, new: &mut impl FnMut(&str) -> bool) -> Option<Credentials> {
        let mut found = self.secrets.find(passage.text, time);
        found.retain(|secret| new(secret.text));
        // Where half of a credential stands beside a whole one, the whole one decides.
        let whole = found.iter().any(|secret| !secret.half);
        let rule = if passage.out {
            &rules::SECRET_OUT
        } else {
            &rules::SECRET_IN
        };
        let severity = if whole { rule.severity } else { Severity::Low };
        let told: Vec<String> = found.iter().map(Secret::told).collect();
        let place = if passage.out { "the answer" } else { "the request" };
        (!found.is_empty()).then(|| {
            let message = format!("{place} holds {}", listed(&told));
            (
                rule,
                severity,
                message,
                found.into_iter().filter_map(|secret| secret.entity).collect(),
            )
        })
    }

    fn people(&self, passage: &Passage, new: &mut impl FnMut(&str) -> bool) -> Vec<(&'static Rule, Severity, String)> {
        let mut found = Vec::new();
        let sorts: [(&'static Rule, usize, _); 3] = [
            (&rules::CARDS, self.config.cards, people::cards(passage.text)),
            (&rules::ACCOUNTS, self.config.accounts, people::accounts(passage.text)),
            (
                &rules::IDENTITY,
                self.config.identities,
                people::identities(passage.text),
            ),
        ];
        for (rule, threshold, held) in sorts {
            // Counted first: what is too few to be told of stays untold.
            if held.len() < threshold.max(1) {
                continue;
            }
            let fresh: Vec<&Held> = held.iter().filter(|held| new(&held.value)).collect();
            if fresh.is_empty() {
                continue;
            }
            let told: BTreeSet<&str> = fresh.iter().map(|held| held.told.as_str()).collect();
            let told: Vec<String> = told.into_iter().map(str::to_owned).collect();
            // What a person types in is often the person's own.
            let severity = if passage.out {
                rule.severity
            } else {
                rule.severity.lower()
            };
            let severity = if held.len() >= self.config.many {
                graver(severity)
            } else {
                severity
            };
            found.push((rule, severity, format!("{} in one text: {}", held.len(), listed(&told))));
        }
        if passage.out {
            let (addresses, telephones) = people::contacts(passage.text);
            if addresses.max(telephones) >= self.config.contacts && new("contacts") {
                let message =
                    format!("the answer holds {addresses} e-mail addresses and {telephones} telephone numbers");
                found.push((&rules::CONTACTS, rules::CONTACTS.severity, message));
            }
        }
        found
    }
}

fn graver(severity: Severity) -> Severity {
    match severity {
        Severity::Informational => Severity::Low,
        Severity::Low => Severity::Medium,
        Severity::Medium => Severity::High,
        Severity::High | Severity::Critical => Severity::Critical,
    }
}

/// The first few, and how many more there are.
fn listed(told: &[String]) -> String {
    let more = told.len().saturating_sub(TOLD_MAX);
    let mut text = told[..told.len() - more].join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    text
}

sentrail_plugin::export!(SensitiveData);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::SensitiveData);
}
