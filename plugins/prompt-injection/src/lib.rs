//! Prompt injection and jailbreak in the traffic of AI gateways.
//!
//! A prompt is read as a model reads it (`fold`), its words are put into classes (`words`), classes near one another make
//! signals (`phrases`), and signals of several families add up (`score`). One detection a request, of the family that
//! weighs most.

use sentrail_plugin::{Batch, Detector, Findings, Manifest, Severity, col, config};

mod encoded;
mod fold;
mod phrases;
mod rules;
mod score;
mod words;

pub use score::{Score, Scorer};

config! {
    /// When a score becomes a detection.
    pub struct Config {
        /// Score from which a prompt is reported. One unmistakable signal gives 10; two or three ambiguous ones do together.
        pub threshold: u32 = 10,
        /// Score from which it is reported as high: several kinds of signal agree.
        pub high: u32 = 20,
    }
}

/// The detector.
pub struct PromptInjection {
    scorer: Scorer,
    config: Config,
}

impl Detector for PromptInjection {
    type Config = Config;
    type State = ();

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self {
            scorer: Scorer::default(),
            config,
        })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "prompt-injection",
            version: env!("CARGO_PKG_VERSION"),
            description: "Prompt injection, jailbreak and system prompt extraction in requests to models, and tool calls that follow.",
            layers: &["gateway"],
            columns: &[col::AI_PROMPT.name, col::AI_RESPONSE.name, col::AI_TOOL_NAMES.name],
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, (): &mut (), batch: &Batch, out: &mut Findings) {
        let prompts = batch.text(col::AI_PROMPT);
        let responses = batch.text(col::AI_RESPONSE);
        let tools = batch.texts(col::AI_TOOL_NAMES);
        for row in batch.rows() {
            let Some(prompt) = prompts.get(row) else {
                continue;
            };
            let score = self.scorer.score(prompt);
            let total = score.total();
            if total < self.config.threshold {
                continue;
            }
            let severity = if total >= self.config.high {
                Severity::High
            } else {
                Severity::Medium
            };
            out.detect(rules::of(score.leader()), row)
                .severity(severity)
                .message(format!("score {total}: the prompt {}", score.signals()));

            let called: Vec<&str> = tools.get(row).collect();
            if !called.is_empty() {
                out.detect(&rules::TOOL_CALL, row).message(format!(
                    "the answer calls {} while the prompt {}",
                    called.join(", "),
                    score.signals()
                ));
            }
            if responses.get(row).is_some_and(carries_data) {
                out.detect(&rules::RENDERED, row).message(format!(
                    "the answer holds a link that carries data while the prompt {}",
                    score.signals()
                ));
            }
        }
    }
}

/// Whether a Markdown image or link in the text has a query with a value long enough to hold something.
fn carries_data(text: &str) -> bool {
    const SHORTEST_VALUE: usize = 8;
    text.match_indices("](http").any(|(at, _)| {
        let address = text[at + 2..].split([')', ' ', '\n']).next().unwrap_or_default();
        address.split_once('?').is_some_and(|(_, query)| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .any(|(_, value)| value.len() >= SHORTEST_VALUE)
        })
    })
}

sentrail_plugin::export!(PromptInjection);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::PromptInjection);
}
