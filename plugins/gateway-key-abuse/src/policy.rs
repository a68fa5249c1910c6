//! Requests that a filter blocked, and the one that then passes.

use std::collections::VecDeque;

use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{MINUTE, Patterns, Resemblance, Rule, Session, asked};

use crate::Config;
use crate::rules::EVASION;

/// A longer silence ends an attempt.
const GAP: i64 = 30 * MINUTE;
/// Blocked requests that are remembered.
const REMEMBERED: usize = 8;

/// How the reason of a failure says that a filter, and not a lack of rights or of capacity, stopped the request.
const REASONS: [&str; 16] = [
    "guardrail_intervened",
    "guardrail intervened",
    "guardrailraisedexception",
    "guardrail policy",
    "by guardrail",
    "guardrail blocked",
    "content_filter",
    "content filter",
    "contentpolicyviolation",
    "content policy",
    "content_policy",
    "content management policy",
    "responsibleaipolicyviolation",
    "prompt_blocked",
    "moderation",
    "jailbreak",
];
/// How a call that did not fail says that what came back is the filter's word.
const MARKS: [&str; 4] = [
    "\"guardrail_action\":\"intervened",
    "\"stop_reason\":\"guardrail_intervened",
    "\"stop_reason\":\"content_filtered",
    "\"dlp_action\":\"block",
];

/// Tells requests that a filter stopped.
pub struct Filter {
    reasons: Patterns<()>,
    marks: Patterns<()>,
}

impl Filter {
    pub fn new() -> Result<Self, String> {
        let phrases = |all: &'static [&'static str]| Patterns::new(all.iter().map(|phrase| (*phrase, ())));
        Ok(Self {
            reasons: phrases(&REASONS)?,
            marks: phrases(&MARKS)?,
        })
    }

    /// `reasons` are the log's words for a failure, `unmapped` what it says beside its columns.
    pub fn stopped<'a>(&self, failed: bool, reasons: impl IntoIterator<Item = &'a str>, unmapped: &str) -> bool {
        (failed && reasons.into_iter().any(|reason| self.reasons.is_match(reason))) || self.marks.is_match(unmapped)
    }
}

/// Blocked requests of one key, until it is silent.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Attempts(Session<VecDeque<Resemblance>>);

impl Attempts {
    /// Judges a request by what was asked last in it.
    pub fn judge(
        &mut self,
        config: &Config,
        time: i64,
        prompt: &str,
        blocked: bool,
        failed: bool,
    ) -> Option<(&'static Rule, String)> {
        let before = self.0.at(GAP, time);
        // A failure without a block says nothing of the policy, and nothing was answered.
        if !blocked && (failed || before.is_empty()) {
            return None;
        }
        let request = Resemblance::of(asked(prompt));
        if blocked {
            // The same words again are a retry and no rephrasing.
            if !before.contains(&request) {
                before.push_back(request);
            }
            if before.len() > REMEMBERED {
                before.pop_front();
            }
            return None;
        }
        let alike = before
            .iter()
            .filter(|other| **other != request && request.to(other) >= config.rephrased)
            .count() as u64;
        if alike < config.blocked_before || before.contains(&request) {
            return None;
        }
        before.clear();
        Some((
            &EVASION,
            format!("a request was answered that resembles {alike} blocked ones of this key in the same session"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::Filter;

    #[test]
    fn blocks_are_told_from_other_failures() {
        let filter = Filter::new().expect("the phrases are valid");
        for reason in [
            "ContentPolicyViolationError",
            "The prompt triggered Azure OpenAI's content management policy",
            "GuardrailRaisedException: pii",
        ] {
            assert!(filter.stopped(true, [reason], ""), "{reason}");
            assert!(!filter.stopped(false, [reason], ""), "{reason}");
        }
        assert!(filter.stopped(false, [], r#"{"guardrail_action":"INTERVENED"}"#));
        for reason in ["RateLimitError: too many requests", "key not allowed to access model"] {
            assert!(
                !filter.stopped(true, [reason], r#"{"guardrail_action":"NONE"}"#),
                "{reason}"
            );
        }
    }
}
