//! Detections and the rules' file, and what the tables say of rules and exceptions.

use super::boot::now;
use super::run::Engine;
use crate::detect::{ExceptionStatus, RuleInForce};
use crate::model::Detection;
use crate::model::detection::{SEQUENCE, SOURCE_HEALTH};
use crate::normalize::Normalizer;
use crate::source_health;
use crate::store::{self, ExceptionPart, RuleState, StoreError, Table};

/// Whose detections come from no plugin: the engine itself, and formats whose records are findings.
pub fn others(normalizer: &Normalizer) -> Vec<String> {
    let formats = normalizer.formats().into_iter().filter(|format| format.findings);
    let formats = formats.map(|format| format.name.to_owned());
    formats.chain([SOURCE_HEALTH.to_owned(), SEQUENCE.to_owned()]).collect()
}

impl Engine {
    /// Rows of silences that came, went or held.
    pub(super) fn tell_silences(&mut self) -> Result<(), StoreError> {
        let told = self.parts.triage.silences.changes();
        if !told.is_empty() {
            let rows = store::silences_to_batch(&told, now())?;
            self.parts.epoch.add(Table::SilenceParts, rows);
        }
        Ok(())
    }

    /// The detections that are wanted, as severe as they are here.
    pub(super) fn judge(&mut self, detections: Vec<Detection>) -> Vec<Detection> {
        let metrics = &self.parts.serve.state.metrics;
        let taken = |name: &str| {
            metrics.exception_hits(name).inc();
        };
        self.parts.detectors.rules_mut().judge(detections, taken)
    }

    /// Rows of the rules, when others came into force, and of exceptions of which something changed.
    pub(super) fn tell_rules(&mut self) -> Result<(), StoreError> {
        let now = now();
        let parts = &mut self.parts;
        let passed = parts.times.overall();
        let changed = parts.detectors.rules_mut().changes(passed);
        if self.rules_time.is_none() {
            let rules = parts.detectors.rules();
            let own = source_health::rules().map(|(rule, title, shipped, techniques)| {
                let (enabled, severity) = rules.of(SOURCE_HEALTH, rule);
                RuleState {
                    plugin: SOURCE_HEALTH.to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    digest: String::new(),
                    rule: rule.to_owned(),
                    title: title.to_owned(),
                    severity: severity.unwrap_or(shipped).text(),
                    severity_shipped: shipped.text(),
                    techniques: techniques.iter().map(ToString::to_string).collect(),
                    enabled,
                    signed_by: None,
                    description: None,
                }
            });
            let declared = super::sequences::rule_states(parts.sequences.set(), rules);
            let states = parts.detectors.rules_in_force().map(state).chain(own);
            let states: Vec<RuleState> = states.chain(declared).collect();
            parts.epoch.add(Table::RuleSets, store::rules_to_batch(&states, now)?);
        }
        let rules_time = *self.rules_time.get_or_insert(now);
        if !changed.is_empty() {
            let redactor = &parts.redactor;
            let exceptions = &parts.detectors.rules().settings().exceptions;
            let part = |status: ExceptionStatus| {
                let exception = &exceptions[status.index];
                let matches = exception
                    .conditions
                    .iter()
                    .map(|condition| match redactor.hides(&condition.of) {
                        true => format!("{} = {}", condition.of, crate::config::HIDDEN),
                        false => condition.to_string(),
                    });
                ExceptionPart {
                    exception: exception.name.clone(),
                    rule: exception.rule.clone(),
                    matches: matches.collect::<Vec<_>>().join(" and "),
                    owner: exception.owner.clone(),
                    reason: exception.reason.clone(),
                    created: exception.created,
                    expires: exception.expires,
                    hits: status.hits,
                    last_hit: status.last_hit,
                    active: status.active,
                }
            };
            for status in &changed {
                // A series is there from 0 on: a rise can be seen only so.
                parts.serve.state.metrics.exception_hits(&exceptions[status.index].name);
            }
            let rows: Vec<ExceptionPart> = changed.into_iter().map(part).collect();
            let batch = store::exceptions_to_batch(&rows, now, rules_time)?;
            parts.epoch.add(Table::ExceptionParts, batch);
        }
        self.tell_inhibits(rules_time)
    }
}

fn state(rule: RuleInForce<'_>) -> RuleState {
    RuleState {
        plugin: rule.manifest.id.clone(),
        version: rule.manifest.version.clone(),
        digest: rule.digest.to_owned(),
        rule: rule.rule.id.clone(),
        title: rule.rule.title.clone(),
        severity: rule.severity.text(),
        severity_shipped: rule.rule.severity.text(),
        techniques: rule.rule.techniques.clone(),
        enabled: rule.enabled,
        signed_by: rule.signed_by.map(str::to_owned),
        description: (!rule.rule.description.is_empty()).then(|| rule.rule.description.clone()),
    }
}
