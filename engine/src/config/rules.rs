//! The rules' file: what an operator may change of detectors while the engine runs, and which of their detections are not wanted. A file
//! of its own, because it is read again when it changes, and because other people write it than the rest of the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use chrono::{DateTime, NaiveDate, NaiveTime};
use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};
use sha2::{Digest, Sha256};

use super::ConfigError;
use super::document::{Document, Fault, Place};
use super::inhibits::{self, INHIBITS_MAX, Inhibit, InhibitSettings};
use super::matching::{ExceptionSettings, TEXT_BYTES_MAX, condition};
use super::source::Texts;
use crate::model::{Micros, Severity};
use crate::watch::read_bounded;

/// Largest file, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Most exceptions: every detection is held against those of its plugin.
const EXCEPTIONS_MAX: usize = 1024;

/// What the rules' file says, validated as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleSettings {
    /// Changes to rules, by `PLUGIN/RULE`; under `PLUGIN` those to all rules of a plugin that are not named themselves.
    pub rules: BTreeMap<String, RuleOverride>,
    /// In the order in which they are tried.
    pub exceptions: Vec<ExceptionSettings>,
    /// In the order in which they are tried.
    pub inhibits: Vec<InhibitSettings>,
    /// JSON configuration per plugin id.
    pub config: BTreeMap<String, serde_json::Value>,
    /// SHA-256 of the file in hexadecimal; empty where there is none.
    pub digest: String,
    /// Where each name of a plugin or a rule stands, as the beginning of a message.
    pub names: Vec<(String, String)>,
}

/// What is other than the plugin has it; `None`: as it has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleOverride {
    pub enabled: Option<bool>,
    pub severity: Option<Severity>,
}

/// Reads and validates the rules' file at `path`. `taken`: plugins that the main configuration configures.
pub fn load_rules(path: &Path, taken: &BTreeMap<String, serde_json::Value>) -> Result<RuleSettings, ConfigError> {
    let file = path.display().to_string();
    let unreadable = |reason: String| ConfigError(format!("{file}: cannot read the rules: {reason}"));
    let bytes = read_bounded(path, FILE_BYTES_MAX).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|error| unreadable(error.to_string()))?;
    let settings = parse_rules(&text, &file)?;
    match settings.config.keys().find(|name| taken.contains_key(*name)) {
        None => Ok(settings),
        Some(name) => {
            let place = settings.names.iter().rev().find(|(named, _)| named == name);
            let place = place.map_or("", |(_, place)| place);
            Err(ConfigError(format!(
                "{place}{name} is configured in the main configuration too ([plugins.config.{name}]); valid is one of the two"
            )))
        }
    }
}

/// Validates the text of a rules' file; `file` names it in errors.
pub fn parse_rules(text: &str, file: &str) -> Result<RuleSettings, ConfigError> {
    let document = Document::parse(text, file)?;
    let rules: Rules = document.read()?;
    let mut settings = rules.validate(&document).map_err(|fault| document.fault(&fault))?;
    settings.digest = hex::encode(Sha256::digest(text));
    Ok(settings)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    #[serde(default)]
    rule: Vec<Rule>,
    #[serde(default)]
    exception: Vec<Exception>,
    #[serde(default)]
    inhibit: Vec<Inhibit>,
    #[serde(default)]
    config: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    name: String,
    enabled: Option<bool>,
    severity: Option<Severity>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    name: String,
    rule: String,
    #[serde(rename = "match")]
    matching: BTreeMap<String, Texts>,
    owner: String,
    reason: String,
    created: Option<Moment>,
    expires: Moment,
}

/// A date, which means its beginning in UTC, or a time with its offset; as a text or as TOML's own.
#[derive(Clone, Copy)]
pub(super) struct Moment(pub(super) Micros);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
        deserializer.deserialize_any(MomentVisitor)
    }
}

struct MomentVisitor;

impl<'de> Visitor<'de> for MomentVisitor {
    type Value = Moment;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a date such as 2026-12-31 or a time such as 2026-12-31T18:00:00Z")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Moment, E> {
        let date = || {
            text.parse::<NaiveDate>()
                .ok()
                .map(|date| date.and_time(NaiveTime::MIN).and_utc())
        };
        let time = DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
        match time.or_else(date) {
            Some(time) => Ok(Moment(time.timestamp_micros())),
            None => Err(E::custom(format!(
                "`{text}` is no date such as 2026-12-31 and no time with its offset such as 2026-12-31T18:00:00Z"
            ))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Moment, A::Error> {
        let own = toml::value::Datetime::deserialize(de::value::MapAccessDeserializer::new(map))?;
        self.visit_str(&own.to_string())
    }
}

impl Rules {
    fn validate(self, document: &Document<'_>) -> Result<RuleSettings, Fault> {
        let mut rules = BTreeMap::new();
        let mut names = Vec::new();
        for (index, rule) in self.rule.into_iter().enumerate() {
            let place = Place::Entry("rule", index);
            let wrong = |message: String| Fault::new(place, "name", message);
            check_name(&rule.name).map_err(wrong)?;
            names.push((rule.name.clone(), document.at(place, "name")));
            let change = RuleOverride {
                enabled: rule.enabled,
                severity: rule.severity,
            };
            if change == RuleOverride::default() {
                return Err(wrong("it changes nothing; valid are `enabled` and `severity`".into()));
            }
            if rules.insert(rule.name, change).is_some() {
                return Err(wrong("this name stands twice".into()));
            }
        }
        if self.exception.len() > EXCEPTIONS_MAX {
            let message = format!("{} exceptions; {EXCEPTIONS_MAX} are allowed", self.exception.len());
            return Err(Fault::new(Place::Whole, "exception", message));
        }
        let mut seen = BTreeSet::new();
        let mut exceptions = Vec::new();
        for (index, exception) in self.exception.into_iter().enumerate() {
            let place = Place::Entry("exception", index);
            if !seen.insert(exception.name.clone()) {
                let message = "this name stands twice; every exception needs its own";
                return Err(Fault::new(place, "name", message));
            }
            names.push((exception.rule.clone(), document.at(place, "rule")));
            exceptions.push(exception.validate(place)?);
        }
        if self.inhibit.len() > INHIBITS_MAX {
            let message = format!("{} inhibitions; {INHIBITS_MAX} are allowed", self.inhibit.len());
            return Err(Fault::new(Place::Whole, "inhibit", message));
        }
        let mut seen = BTreeSet::new();
        let mut inhibits = Vec::new();
        for (index, inhibit) in self.inhibit.into_iter().enumerate() {
            let place = Place::Entry("inhibit", index);
            if !seen.insert(inhibit.name.clone()) {
                let message = "this name stands twice; every inhibition needs its own";
                return Err(Fault::new(place, "name", message));
            }
            let inhibit = inhibit.validate(place)?;
            names.extend(inhibits::named(&inhibit).map(|(key, rule)| (rule.clone(), document.at(place, key))));
            inhibits.push(inhibit);
        }
        let configured = self.config.keys();
        names.extend(configured.map(|name| (name.clone(), document.at(Place::Table("config"), name))));
        Ok(RuleSettings {
            rules,
            exceptions,
            inhibits,
            config: self.config,
            digest: String::new(),
            names,
        })
    }
}

impl Exception {
    fn validate(self, place: Place) -> Result<ExceptionSettings, Fault> {
        let lines = [
            ("name", self.name.as_str()),
            ("owner", &self.owner),
            ("reason", &self.reason),
        ];
        check_lines(place, &lines)?;
        check_name(&self.rule).map_err(|message| Fault::new(place, "rule", message))?;
        let created = self.created.map(|created| created.0);
        if created.is_some_and(|created| created >= self.expires.0) {
            return Err(Fault::new(place, "expires", "expires: it lies before `created`"));
        }
        let conditions = self.matching.into_iter().map(|(of, values)| condition(of, values));
        let conditions: Result<_, String> = conditions.collect();
        Ok(ExceptionSettings {
            name: self.name,
            rule: self.rule,
            conditions: conditions.map_err(|message| Fault::new(place, "match", format!("match: {message}")))?,
            owner: self.owner,
            reason: self.reason,
            created,
            expires: self.expires.0,
        })
    }
}

/// Texts of people, each under its key.
pub(super) fn check_lines(place: Place, lines: &[(&'static str, &str)]) -> Result<(), Fault> {
    for (key, text) in lines {
        if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
            let message = format!("{key}: valid is one line of 1 to {TEXT_BYTES_MAX} bytes");
            return Err(Fault::new(place, key, message));
        }
    }
    Ok(())
}

pub(super) fn check_name(name: &str) -> Result<(), String> {
    let (plugin, rule) = name.split_once('/').unwrap_or((name, "all"));
    if plugin.is_empty() || rule.is_empty() || name.len() > TEXT_BYTES_MAX {
        return Err(format!(
            "\"{name}\": valid is PLUGIN/RULE, such as \"gateway-key-abuse/new-address\", or PLUGIN for all of its rules"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Detection, Entity, EntityRole, RoledEntity};

    const EXAMPLE: &str = r#"
[[rule]]
name = "gateway-key-abuse/new-address"
severity = "low"
[[rule]]
name = "vector-bulk-access"
enabled = false
[[exception]]
name = "backup"
rule = "cloud-credential-misuse/mass-read"
match = { principal = ["Ann@Example.com", "svc-*"], address = "10.1.2.3/8" }
owner = "secops"
reason = "Nightly copy"
created = 2026-02-01
expires = "2026-03-01T12:00:00+02:00"
[config.prompt-injection]
threshold = 4
"#;

    fn detection(entities: &[(EntityRole, &str)]) -> Detection {
        let entity = |(role, text): &(EntityRole, &str)| RoledEntity {
            role: *role,
            entity: Entity::parse(text).expect("an entity"),
        };
        Detection {
            detection_id: "d".into(),
            tenant: "default".into(),
            time: 0,
            plugin: "cloud-credential-misuse".into(),
            plugin_version: "1".into(),
            rule: "mass-read".into(),
            severity: Severity::High,
            title: String::new(),
            message: String::new(),
            techniques: Vec::new(),
            entities: entities.iter().map(entity).collect(),
            event_ids: vec!["e".into()],
            layer: "cloud".into(),
            action: "GetObject".into(),
            late: false,
        }
    }

    #[test]
    fn an_example_is_understood() {
        let settings = parse_rules(EXAMPLE, "r.toml").expect("valid");
        let changed = settings.rules["gateway-key-abuse/new-address"];
        assert_eq!((changed.enabled, changed.severity), (None, Some(Severity::Low)));
        assert_eq!(settings.rules["vector-bulk-access"].enabled, Some(false));
        let backup = &settings.exceptions[0];
        assert_eq!(backup.created, Some(1_769_904_000_000_000));
        assert_eq!(backup.expires, 1_772_359_200_000_000);
        let matches: Vec<String> = backup.conditions.iter().map(ToString::to_string).collect();
        assert_eq!(
            matches,
            ["address = 10.0.0.0/8", "principal = ann@example.com or svc-*"]
        );
        assert_eq!(settings.config["prompt-injection"]["threshold"], 4);
        assert_eq!(settings.digest.len(), 64);
        let places: Vec<&str> = settings.names.iter().map(|(_, place)| place.as_str()).collect();
        assert_eq!(
            places[0],
            "r.toml:3:8: [[rule]] name = \"gateway-key-abuse/new-address\": "
        );
        assert!(
            places[2].starts_with("r.toml:10:8: [[exception]] name = \"backup\""),
            "{places:?}"
        );
        assert!(places[3].starts_with("r.toml:1"), "{places:?}");
        assert_eq!(parse_rules("", "r.toml").expect("nothing is changed").exceptions, []);
    }

    #[test]
    fn an_exception_holds_for_what_it_names_alone() {
        use EntityRole::{Actor, Context, Target};
        let exception = parse_rules(EXAMPLE, "r.toml").expect("valid").exceptions.remove(0);
        let ann = (Actor, "principal:ann@example.com");
        let inside = (Context, "address:10.9.9.9");
        let holds = |entities: &[(EntityRole, &str)]| exception.holds(&detection(entities));
        assert!(holds(&[ann, inside]));
        assert!(holds(&[(Actor, "principal:svc-copy"), inside]));
        assert!(holds(&[ann, (Target, "principal:eve"), inside]), "she acted");
        assert!(!holds(&[ann, (Actor, "principal:eve"), inside]), "somebody else, too");
        assert!(!holds(&[ann]), "no address");
        assert!(
            !holds(&[ann, inside, (Context, "address:203.0.113.7")]),
            "another address, too"
        );
        assert!(!holds(&[ann, (Context, "address:nowhere")]));
        assert!(!holds(&[(Actor, "principal:eve"), inside]));

        let mut other = detection(&[ann, inside]);
        other.time = exception.expires - 1;
        assert!(exception.holds(&other));
        other.time += 1;
        assert!(!exception.holds(&other), "it has expired");
        other.time = 0;
        other.rule = "mass-write".into();
        assert!(!exception.holds(&other));
        let of_plugin = ExceptionSettings {
            rule: "cloud-credential-misuse".into(),
            ..exception
        };
        assert!(of_plugin.holds(&other));
        other.plugin = "cloud-credential-misuse-2".into();
        assert!(!of_plugin.holds(&other));
    }

    #[track_caller]
    fn refused(from: &str, to: &str, words: &[&str]) {
        assert!(EXAMPLE.contains(from), "the example has no {from}");
        let message = parse_rules(&EXAMPLE.replacen(from, to, 1), "r.toml").expect_err("refused");
        let message = message.to_string();
        assert_eq!(message.lines().count(), 1, "{message}");
        for word in words {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        refused("\"low\"", "\"lowest\"", &["r.toml:4:12:", "lowest", "informational"]);
        refused(
            "enabled = false",
            "enable = false",
            &["r.toml:7:1:", "enable", "enabled"],
        );
        refused("enabled = false\n", "", &["r.toml:6:8:", "changes nothing"]);
        refused(
            "\"vector-bulk-access\"",
            "\"gateway-key-abuse/new-address\"",
            &["r.toml:6:8:", "twice"],
        );
        refused("\"vector-bulk-access\"", "\"/x\"", &["r.toml:6:8:", "PLUGIN/RULE"]);
        refused(
            "principal =",
            "person =",
            &["r.toml:11:9:", "`person`", "principal", "tenant"],
        );
        refused(
            "10.1.2.3/8",
            "10.1.2.300",
            &["r.toml:11:9:", "10.1.2.300", "10.0.0.0/8"],
        );
        refused("\"svc-*\"", "\"\"", &["r.toml:11:9:", "principal", "512"]);
        refused(
            "\"svc-*\"",
            "\"arn:aws:sts::111122223333:assumed-role/a/b\"",
            &["r.toml:11:9:", "valid is session ="],
        );
        refused("owner = \"secops\"\n", "", &["backup", "owner"]);
        refused("\"Nightly copy\"", "\" \"", &["r.toml:13:10:", "reason"]);
        refused(
            "\"2026-03-01T12:00:00+02:00\"",
            "\"soon\"",
            &["r.toml:15:11:", "soon", "2026-12-31"],
        );
        refused(
            "\"2026-03-01T12:00:00+02:00\"",
            "2026-03-01T12:00:00",
            &["r.toml:15:", "offset"],
        );
        refused(
            "\"2026-03-01T12:00:00+02:00\"",
            "2026-01-01",
            &["r.toml:15:11:", "before"],
        );
        refused("match = ", "# ", &["match"]);
        refused(
            "[config.prompt-injection]",
            "[conf.prompt-injection]",
            &["conf", "config"],
        );
    }
}
