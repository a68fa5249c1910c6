//! The rules' file at work: which rules are off, how severe they are here, and which detections an exception takes away.
//!
//! All detections pass here, those of the engine itself and of other tools too. Everything is decided by the detection alone, its event
//! time included, so that the same telemetry under the same file gives the same.

use std::sync::Arc;

use crate::config::{ExceptionSettings, RuleOverride, RuleSettings};
use crate::model::{Detection, Micros, Severity};

/// How an exception fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExceptionStatus {
    /// Its place in the file.
    pub index: usize,
    /// Event time has not passed its end.
    pub active: bool,
    /// Detections that it took away since this was told last.
    pub hits: u64,
    /// Greatest event time of those.
    pub last_hit: Option<Micros>,
}

/// The changes in force.
#[derive(Default)]
pub struct Rules {
    settings: Arc<RuleSettings>,
    /// Per exception, what is to be told; `None`: nothing.
    untold: Vec<Option<ExceptionStatus>>,
    /// What was told last of each being active.
    active: Vec<bool>,
    /// Event time has passed up to this.
    passed: Option<Micros>,
}

impl Rules {
    pub(super) fn new(settings: Arc<RuleSettings>, passed: Option<Micros>) -> Rules {
        let active = |exception: &ExceptionSettings| passed.is_none_or(|passed| passed < exception.expires);
        let active: Vec<bool> = settings.exceptions.iter().map(active).collect();
        let told_first = |(index, active): (usize, &bool)| {
            Some(ExceptionStatus {
                index,
                active: *active,
                hits: 0,
                last_hit: None,
            })
        };
        Rules {
            untold: active.iter().enumerate().map(told_first).collect(),
            settings,
            active,
            passed,
        }
    }

    /// Another file from now on. What was not told yet of the old one must have been.
    pub(super) fn replace(&mut self, settings: Arc<RuleSettings>) {
        *self = Rules::new(settings, self.passed);
    }

    pub(super) fn shared(&self) -> Arc<RuleSettings> {
        self.settings.clone()
    }

    pub fn settings(&self) -> &RuleSettings {
        &self.settings
    }

    /// Whether a rule is on, and how severe its findings are where that is not for the plugin to say.
    pub fn of(&self, plugin: &str, rule: &str) -> (bool, Option<Severity>) {
        let get = |name: &str| self.settings.rules.get(name).copied().unwrap_or_default();
        if self.settings.rules.is_empty() {
            return (true, None);
        }
        let (own, all): (RuleOverride, RuleOverride) = (get(&format!("{plugin}/{rule}")), get(plugin));
        (
            own.enabled.or(all.enabled).unwrap_or(true),
            own.severity.or(all.severity),
        )
    }

    /// The detections that are wanted, as severe as they are here; `taken` is told the name of the exception that took one away.
    pub fn judge(&mut self, mut detections: Vec<Detection>, mut taken: impl FnMut(&str)) -> Vec<Detection> {
        detections.retain_mut(|detection| {
            let (enabled, severity) = self.of(&detection.plugin, &detection.rule);
            detection.severity = severity.unwrap_or(detection.severity);
            let hit = || {
                self.settings
                    .exceptions
                    .iter()
                    .position(|exception| exception.holds(detection))
            };
            match enabled.then(hit) {
                None => false,
                Some(None) => true,
                Some(Some(index)) => {
                    taken(&self.settings.exceptions[index].name);
                    self.count(index, detection.time);
                    false
                }
            }
        });
        detections
    }

    fn count(&mut self, index: usize, time: Micros) {
        let status = self.untold[index].get_or_insert(ExceptionStatus {
            index,
            active: self.active[index],
            hits: 0,
            last_hit: None,
        });
        status.hits += 1;
        status.last_hit = status.last_hit.max(Some(time));
    }

    /// What changed of the exceptions since the last call; at first, and after another file came into force, all. `passed`: event
    /// time up to which everything has arrived.
    pub fn changes(&mut self, passed: Option<Micros>) -> Vec<ExceptionStatus> {
        self.passed = self.passed.max(passed);
        for (index, exception) in self.settings.exceptions.iter().enumerate() {
            let active = self.passed.is_none_or(|passed| passed < exception.expires);
            if self.active[index] != active {
                self.active[index] = active;
                self.untold[index].get_or_insert(ExceptionStatus {
                    index,
                    active,
                    hits: 0,
                    last_hit: None,
                });
            }
            if let Some(status) = &mut self.untold[index] {
                status.active = active;
            }
        }
        self.untold.iter_mut().filter_map(Option::take).collect()
    }

    /// Places in the file that name a rule which a loaded plugin does not have, and those that name neither a loaded plugin nor one of
    /// `others`.
    pub(super) fn misnamed<'a>(
        settings: &RuleSettings,
        rules_of: impl Fn(&str) -> Option<Vec<&'a str>>,
        others: &[String],
    ) -> (Vec<String>, Vec<String>) {
        let (mut no_rule, mut no_plugin) = (Vec::new(), Vec::new());
        for (name, place) in &settings.names {
            let (plugin, rule) = name
                .split_once('/')
                .map_or((name.as_str(), None), |(plugin, rule)| (plugin, Some(rule)));
            match (rules_of(plugin), rule) {
                (Some(rules), Some(rule)) if !rules.contains(&rule) => {
                    let shown: Vec<&str> = rules.into_iter().take(RULES_SHOWN_MAX).collect();
                    no_rule.push(format!(
                        "{place}{plugin} has no rule `{rule}`; valid are {}",
                        shown.join(", ")
                    ));
                }
                (None, _) if !others.iter().any(|other| other == plugin) => {
                    no_plugin.push(format!("{place}no plugin `{plugin}` is loaded"));
                }
                _ => {}
            }
        }
        (no_rule, no_plugin)
    }
}

/// Rules that an error names; a collection has thousands.
const RULES_SHOWN_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_rules;

    fn detection(rule: &str, time: Micros) -> Detection {
        Detection {
            detection_id: String::new(),
            tenant: "default".into(),
            time,
            plugin: "p".into(),
            plugin_version: "1".into(),
            rule: rule.into(),
            severity: Severity::Medium,
            title: String::new(),
            message: String::new(),
            techniques: Vec::new(),
            entities: Vec::new(),
            event_ids: Vec::new(),
            layer: "cloud".into(),
            action: "Op".into(),
            late: false,
        }
    }

    fn rules(text: &str) -> Arc<RuleSettings> {
        Arc::new(parse_rules(text, "r.toml").expect("valid"))
    }

    const EXCEPTION: &str = "[[exception]]\nname = \"x\"\nrule = \"p/a\"\nmatch = {}\nowner = \"o\"\nreason = \"r\"\n\
                             expires = 1970-01-02\n";
    const DAY: Micros = 86_400_000_000;

    #[test]
    fn rules_are_off_and_severities_are_what_the_file_says() {
        let text = "[[rule]]\nname = \"p/a\"\nseverity = \"critical\"\n[[rule]]\nname = \"p\"\nenabled = false\nseverity = \"low\"\n\
                    [[rule]]\nname = \"p/b\"\nenabled = true\n";
        let mut rules = Rules::new(rules(text), None);
        assert_eq!(rules.of("p", "a"), (false, Some(Severity::Critical)));
        let found = ["a", "b", "c"].map(|rule| detection(rule, 0));
        let found = rules.judge(found.into(), |_| panic!("no exception"));
        let found: Vec<(&str, Severity)> = found
            .iter()
            .map(|found| (found.rule.as_str(), found.severity))
            .collect();
        assert_eq!(found, [("b", Severity::Low)]);
        let other = Detection {
            plugin: "q".into(),
            ..detection("a", 0)
        };
        assert_eq!(rules.judge(vec![other.clone()], |_| {}), [other]);
    }

    #[test]
    fn what_an_exception_takes_away_is_counted_until_its_event_time_is_over() {
        let mut rules = Rules::new(rules(EXCEPTION), None);
        let fresh = rules.changes(None);
        assert_eq!((fresh[0].active, fresh[0].hits), (true, 0));
        assert_eq!(rules.changes(None), []);
        let mut names = Vec::new();
        let found = ["a", "a", "b"].map(|rule| detection(rule, 5)).to_vec();
        let found = rules.judge(found, |name| names.push(name.to_owned()));
        assert_eq!(
            (found.len(), names.as_slice()),
            (1, ["x".to_owned(), "x".to_owned()].as_slice())
        );
        assert_eq!(
            rules.judge(vec![detection("a", DAY)], |_| {}).len(),
            1,
            "the first that it does not hold for"
        );
        let told = rules.changes(Some(DAY - 1));
        assert_eq!((told[0].active, told[0].hits, told[0].last_hit), (true, 2, Some(5)));
        let told = rules.changes(Some(DAY));
        assert_eq!((told[0].active, told[0].hits), (false, 0));
        assert_eq!(rules.changes(Some(0)), [], "event time never goes back");
    }

    #[test]
    fn names_of_nothing_are_told_with_their_place() {
        let text = format!(
            "[[rule]]\nname = \"p/b\"\nenabled = false\n[[rule]]\nname = \"falco/any\"\nenabled = false\n[config.q]\n{EXCEPTION}"
        );
        let settings = rules(&text);
        let rules_of = |plugin: &str| (plugin == "p").then(|| vec!["a"]);
        let (no_rule, no_plugin) = Rules::misnamed(&settings, rules_of, &["falco".into()]);
        assert_eq!(
            no_rule,
            ["r.toml:2:8: [[rule]] name = \"p/b\": p has no rule `b`; valid are a"]
        );
        assert_eq!(no_plugin.len(), 1, "{no_plugin:?}");
        assert!(no_plugin[0].contains("no plugin `q` is loaded"), "{no_plugin:?}");
    }
}
