//! `[[inhibit]]` of the rules' file: findings that nobody is told of while another is there that says as much.

use serde::{Deserialize, Serialize};

use super::document::{Fault, Place};
use super::matching::is_rule;
use super::rules::{Moment, check_lines, check_name};
use super::source::Texts;
use super::wire::{Pause, Span};
use crate::model::{Detection, Micros, time};

/// Most inhibitions: every detection is held against each.
pub(super) const INHIBITS_MAX: usize = 256;
/// Most patterns of rules on either side.
const RULES_MAX: usize = 64;
/// Longest time: sources are remembered for that long behind what can still be part of an incident.
const WITHIN_MAX: Micros = 7 * 24 * time::HOUR;

/// Findings of the targets, while a source is there, are told to nobody. Somebody answers for it.
#[derive(Clone, Debug, PartialEq)]
pub struct InhibitSettings {
    pub name: String,
    /// `PLUGIN/RULE` or `PLUGIN`, in which `*` stands for any text; one of them is enough.
    pub source: Vec<String>,
    pub target: Vec<String>,
    /// What source and target have in common.
    pub equal: Equal,
    /// A source counts for targets from its event time until this much later, in whole seconds.
    pub within: Micros,
    pub owner: String,
    pub reason: String,
    /// Event time from which on targets are told again.
    pub expires: Micros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Equal {
    /// Somebody who acts in the target, where nobody does anything that it names, is named by the source.
    Entity,
    Tenant,
}

impl Equal {
    pub const ALL: [Equal; 2] = [Equal::Entity, Equal::Tenant];

    pub fn text(self) -> &'static str {
        match self {
            Equal::Entity => "entity",
            Equal::Tenant => "tenant",
        }
    }
}

impl InhibitSettings {
    pub fn is_source(&self, detection: &Detection) -> bool {
        self.source.iter().any(|pattern| is_rule(pattern, detection))
    }

    pub fn is_target(&self, detection: &Detection) -> bool {
        self.target.iter().any(|pattern| is_rule(pattern, detection))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Inhibit {
    pub(super) name: String,
    source: Texts,
    target: Texts,
    equal: Equal,
    within: Pause,
    owner: String,
    reason: String,
    expires: Moment,
}

impl Inhibit {
    pub(super) fn validate(self, place: Place) -> Result<InhibitSettings, Fault> {
        let lines = [
            ("name", self.name.as_str()),
            ("owner", &self.owner),
            ("reason", &self.reason),
        ];
        check_lines(place, &lines)?;
        // It stands in lists that are written so.
        if self.name.contains(',') {
            return Err(Fault::new(place, "name", "name: valid is one line without commas"));
        }
        let rules = |key: &'static str, texts: Texts| -> Result<Vec<String>, Fault> {
            let wrong = |message: String| Fault::new(place, key, format!("{key}: {message}"));
            let rules = texts.into_vec();
            if rules.is_empty() || rules.len() > RULES_MAX {
                return Err(wrong(format!(
                    "valid is a pattern of rules, or a list of 1 to {RULES_MAX}"
                )));
            }
            for rule in &rules {
                check_name(rule).map_err(wrong)?;
            }
            Ok(rules)
        };
        let within = Span(self.within.0).micros() / time::SECOND * time::SECOND;
        if !(time::SECOND..=WITHIN_MAX).contains(&within) {
            let message = format!("within: valid is 1s to {}d", WITHIN_MAX / (24 * time::HOUR));
            return Err(Fault::new(place, "within", message));
        }
        Ok(InhibitSettings {
            source: rules("source", self.source)?,
            target: rules("target", self.target)?,
            name: self.name,
            equal: self.equal,
            within,
            owner: self.owner,
            reason: self.reason,
            expires: self.expires.0,
        })
    }
}

/// The rules that are named without a pattern, each with the key it stands under.
pub(super) fn named(inhibit: &InhibitSettings) -> impl Iterator<Item = (&'static str, &String)> {
    let sources = inhibit.source.iter().map(|rule| ("source", rule));
    let all = sources.chain(inhibit.target.iter().map(|rule| ("target", rule)));
    all.filter(|(_, rule)| !rule.contains('*'))
}

#[cfg(test)]
mod tests {
    use super::super::parse_rules;
    use super::*;

    const EXAMPLE: &str = r#"
[[inhibit]]
name = "stolen key"
source = "gateway-key-abuse/stolen"
target = ["gateway-key-abuse/new-*", "agent-excess"]
equal = "entity"
within = "2h"
owner = "secops"
reason = "One ticket is enough"
expires = 2026-03-01
"#;

    #[test]
    fn an_example_is_understood() {
        let settings = parse_rules(EXAMPLE, "r.toml").expect("valid");
        let inhibit = &settings.inhibits[0];
        assert_eq!(
            (inhibit.equal, inhibit.within, inhibit.expires),
            (Equal::Entity, 7_200_000_000, 1_772_323_200_000_000)
        );
        assert_eq!((inhibit.source.len(), inhibit.target.len()), (1, 2));
        // Patterns may be of rules that are not there yet.
        let names: Vec<&str> = settings.names.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["gateway-key-abuse/stolen", "agent-excess"]);
        assert!(
            settings.names[0].1.starts_with("r.toml:4:10: [[inhibit]]"),
            "{:?}",
            settings.names
        );
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (from, to, words) in [
            ("\"entity\"", "\"person\"", ["r.toml:6:9:", "tenant"]),
            ("\"2h\"", "\"8d\"", ["r.toml:7:10:", "7d"]),
            ("\"2h\"", "\"10ms\"", ["r.toml:7:10:", "1s"]),
            ("\"stolen key\"", "\"a, b\"", ["r.toml:3:8:", "commas"]),
            ("\"secops\"", "\"\"", ["r.toml:8:9:", "owner"]),
            ("\"agent-excess\"", "\"/x\"", ["r.toml:5:10:", "PLUGIN/RULE"]),
            ("\"gateway-key-abuse/stolen\"", "[]", ["r.toml:4:10:", "source"]),
            ("expires = 2026-03-01\n", "", ["stolen key", "expires"]),
        ] {
            assert!(EXAMPLE.contains(from), "{from}");
            let message = parse_rules(&EXAMPLE.replacen(from, to, 1), "r.toml").expect_err("refused");
            let message = message.to_string();
            for word in words {
                assert!(message.contains(word), "`{word}` is not in: {message}");
            }
        }
        let twice = parse_rules(&format!("{EXAMPLE}{EXAMPLE}"), "r.toml").expect_err("refused");
        assert!(twice.to_string().contains("twice"), "{twice}");
    }
}
