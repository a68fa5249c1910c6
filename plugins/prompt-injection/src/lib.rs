//! Prompt injection, jailbreak and requests for harm in the traffic of AI gateways.
//!
//! A prompt is read as a model reads it (`fold`), its words are put into classes (`words`), classes near one another make
//! signals (`phrases`), a linear model (`model`, over `features`) says what the whole reads like, and signals of several
//! families add up (`score`). One detection a request, of the family that weighs most; what tools gave back (`retrieved`) and the
//! answer (`answer`) have rules of their own.

use answer::{Answers, Danger};
use sentrail_plugin::{Batch, Detector, Findings, Manifest, Row, Severity, col, config};

mod answer;
mod encoded;
mod features;
mod fold;
mod harm;
mod model;
mod phrases;
mod retrieved;
mod rules;
mod score;
mod task;
mod words;

pub use features::{BUCKETS, Extractor, Features};
pub use fold::fold;
pub use model::{HEAD_BYTES, HEADS, Head, Model, norm};
pub use retrieved::{most_telling, sentences};
pub use score::{Score, Scorer};

config! {
    /// When a score becomes a detection.
    pub struct Config {
        /// Score from which a prompt is reported. One unmistakable signal gives 10; two or three ambiguous ones do together.
        pub threshold: u32 = 10,
        /// Score from which it is reported as high: several kinds of signal agree.
        pub high: u32 = 20,
        /// Whether it is reported that what a tool gave back tells the model what to do, however harmless that is. Manuals and code do
        /// so as well.
        pub instructions: bool = true,
    }
}

/// The detector.
pub struct PromptInjection {
    scorer: Scorer,
    answers: Answers,
    config: Config,
}

/// Results of tools beyond this many in one request are not looked at for themselves.
const MOST_RESULTS: usize = 64;
/// The margin from which a tool's result that tells the model what to do is reported as medium.
const CERTAIN: f32 = 0.5;

impl Detector for PromptInjection {
    type Config = Config;
    type State = ();

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self {
            scorer: Scorer::default(),
            answers: Answers::default(),
            config,
        })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "prompt-injection",
            version: env!("CARGO_PKG_VERSION"),
            description: "Prompt injection, jailbreak, system prompt extraction and requests for harm, instructions in what tools give back, \
                          and answers that do harm where they are rendered or run.",
            layers: &["gateway"],
            columns: &[
                col::AI_PROMPT.name,
                col::AI_RESPONSE.name,
                col::AI_TOOL_NAMES.name,
                col::AI_TOOL_RESULTS.name,
            ],
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, (): &mut (), batch: &Batch, out: &mut Findings) {
        let prompts = batch.text(col::AI_PROMPT);
        let responses = batch.text(col::AI_RESPONSE);
        let tools = batch.texts(col::AI_TOOL_NAMES);
        let results = batch.texts(col::AI_TOOL_RESULTS);
        for row in batch.rows() {
            let retrieved = self.worst(results.get(row).take(MOST_RESULTS));
            if let Some(found) = &retrieved {
                out.detect(&rules::INDIRECT, row)
                    .severity(found.severity)
                    .message(format!("what a tool gave back {}", found.signals));
            }
            // What a tool gave back is part of the prompt and told already.
            let asked = match retrieved {
                Some(found) if found.manipulates => Some(found.signals),
                _ => prompts.get(row).and_then(|prompt| self.asked(prompt, row, out)),
            };
            let answer = responses.get(row);
            if let Some(signals) = asked {
                self.consequences(&signals, tools.get(row).collect(), answer, row, out);
            }
            for (danger, what) in answer.map(|answer| self.answers.dangers(answer)).unwrap_or_default() {
                let rule = match danger {
                    Danger::Markup => &rules::UNSAFE_MARKUP,
                    Danger::Command => &rules::UNSAFE_COMMAND,
                };
                out.detect(rule, row).message(format!("the answer holds {what}"));
            }
        }
    }
}

/// What was found in a tool's result.
struct Retrieved {
    severity: Severity,
    signals: String,
    /// Whether it would be reported in a prompt, too.
    manipulates: bool,
}

impl PromptInjection {
    /// Reports a prompt; what was seen of it, if it was reported.
    fn asked(&self, prompt: &str, row: Row, out: &mut Findings) -> Option<String> {
        let score = self.scorer.score(prompt);
        let total = score.total();
        if total < self.config.threshold {
            return None;
        }
        let severity = if total >= self.config.high {
            Severity::High
        } else {
            Severity::Medium
        };
        let signals = score.signals();
        out.detect(rules::of(score.leader()), row)
            .severity(severity)
            .message(format!("score {total}: the prompt {signals}"));
        Some(signals)
    }

    /// The gravest of what tools gave back.
    fn worst<'a>(&self, results: impl Iterator<Item = &'a str>) -> Option<Retrieved> {
        let judged = results.filter_map(|text| {
            let score = self.scorer.score(text);
            if score.total() >= self.config.threshold {
                return Some(Retrieved {
                    severity: Severity::High,
                    signals: score.signals(),
                    manipulates: true,
                });
            }
            let margin = self.scorer.told(text);
            (self.config.instructions && margin >= 0.0).then(|| Retrieved {
                severity: if margin >= CERTAIN {
                    Severity::Medium
                } else {
                    Severity::Low
                },
                signals: "tells the model what to do".into(),
                manipulates: false,
            })
        });
        judged.max_by_key(|found| found.severity)
    }

    /// What the answer to a reported prompt does.
    fn consequences(&self, signals: &str, called: Vec<&str>, answer: Option<&str>, row: Row, out: &mut Findings) {
        if !called.is_empty() {
            out.detect(&rules::TOOL_CALL, row).message(format!(
                "the answer calls {} while the prompt {signals}",
                called.join(", ")
            ));
        }
        if answer.is_some_and(answer::carries_data) {
            out.detect(&rules::RENDERED, row).message(format!(
                "the answer holds a link that carries data while the prompt {signals}"
            ));
        }
    }
}

sentrail_plugin::export!(PromptInjection);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::PromptInjection);
}
