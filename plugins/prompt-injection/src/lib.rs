//! Prompt injection, jailbreak and requests for harm in the traffic of AI gateways.
//!
//! A prompt is read as a model reads it (`fold`), its words are put into classes (`words`), classes near one another make
//! signals (`phrases`), a linear model (`model`, over `features`) says what the whole reads like, and signals of several
//! families add up (`score`). One detection a request, of the family that weighs most; what tools gave back (`retrieved`) and the
//! answer (`answer`) have rules of their own. What a turn of a conversation was told for is not told again with the next (`told`).

use answer::{Answers, Danger};
use sentrail_plugin::{Batch, Detector, Findings, Keyed, Manifest, RecentSet, Row, Rule, Severity, col, config, hash};

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
mod told;
mod words;

pub use features::{BUCKETS, Extractor, Features};
pub use fold::fold;
pub use model::{HEAD_BYTES, HEADS, Head, Model, norm};
pub use retrieved::{most_telling, sentences};
pub use score::{Score, Scorer};
use told::Conversation;

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
        /// Conversations remembered per shard of which something was told; beyond it the one silent for longest is forgotten.
        pub max_conversations: usize = 5_000,
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
    /// What was told of each conversation.
    type State = Keyed<RecentSet>;

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
            key: &[
                col::MESSAGE_CONTEXT_UID.name,
                col::GATEWAY_KEY_UID.name,
                col::ACTOR_USER_UID.name,
                col::SRC_ENDPOINT_IP.name,
            ],
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, told: &mut Keyed<RecentSet>, batch: &Batch, out: &mut Findings) {
        let prompts = batch.text(col::AI_PROMPT);
        let responses = batch.text(col::AI_RESPONSE);
        let tools = batch.texts(col::AI_TOOL_NAMES);
        let results = batch.texts(col::AI_TOOL_RESULTS);
        for row in batch.rows() {
            let mut conversation = Conversation {
                told: &mut *told,
                key: batch.key(row),
                time: batch.time(row),
                max_conversations: self.config.max_conversations,
            };
            let injected = self.retrieved(results.get(row).take(MOST_RESULTS), &mut conversation, row, out);
            let prompt = prompts.get(row);
            let signs = match injected {
                // What a tool gave back is part of the prompt and told already.
                Some(injected) if injected.new => {
                    if let Some(prompt) = prompt {
                        conversation.tell_prompt(conversation.history(prompt).whole);
                    }
                    Some(injected)
                }
                _ => {
                    let asked = prompt.and_then(|prompt| self.asked(prompt, &mut conversation, row, out));
                    match asked {
                        Some(asked) if asked.new => Some(asked),
                        asked => injected.or(asked),
                    }
                }
            };
            let answer = responses.get(row);
            if let Some(signs) = signs {
                for (rule, message) in consequences(&signs.signals, tools.get(row).collect(), answer) {
                    if conversation.is_new(rule, signs.piece) {
                        conversation.tell(rule, signs.piece);
                        out.detect(rule, row).message(message);
                    }
                }
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

/// What in a request is an injection.
struct Signs {
    signals: String,
    /// The text that holds them.
    piece: u64,
    /// Whether this request is the first of its conversation that has them.
    new: bool,
}

impl PromptInjection {
    /// Reports a prompt, unless what speaks for an injection was told with an earlier turn of the conversation.
    fn asked(&self, prompt: &str, conversation: &mut Conversation, row: Row, out: &mut Findings) -> Option<Signs> {
        let mut score = self.scorer.score(prompt);
        if score.total() < self.config.threshold {
            return None;
        }
        let history = conversation.history(prompt);
        if let Some(piece) = history.told {
            let signals = score.signals();
            score = self.scorer.score(history.rest);
            if score.total() < self.config.threshold {
                return Some(Signs {
                    signals,
                    piece,
                    new: false,
                });
            }
        }
        conversation.tell_prompt(history.whole);
        let total = score.total();
        let severity = if total >= self.config.high {
            Severity::High
        } else {
            Severity::Medium
        };
        let signals = score.signals();
        out.detect(rules::of(score.leader()), row)
            .severity(severity)
            .message(format!("score {total}: the prompt {signals}"));
        Some(Signs {
            signals,
            piece: history.whole,
            new: true,
        })
    }

    /// Reports the gravest of what tools gave back and was not told yet. Gives what would be reported in a prompt, too.
    fn retrieved<'a>(
        &self,
        results: impl Iterator<Item = &'a str>,
        conversation: &mut Conversation,
        row: Row,
        out: &mut Findings,
    ) -> Option<Signs> {
        let mut gravest: Option<(Severity, String)> = None;
        let mut injected: Option<Signs> = None;
        let mut pieces = Vec::new();
        for text in results {
            let Some((severity, signals, manipulates)) = self.speaks(text) else {
                continue;
            };
            let piece = hash(text);
            let new = conversation.is_new(&rules::INDIRECT, piece);
            if new {
                pieces.push(piece);
                if gravest.as_ref().is_none_or(|(most, _)| severity >= *most) {
                    gravest = Some((severity, signals.clone()));
                }
            }
            if manipulates && injected.as_ref().is_none_or(|before| new >= before.new) {
                injected = Some(Signs { signals, piece, new });
            }
        }
        for piece in pieces {
            conversation.tell(&rules::INDIRECT, piece);
        }
        if let Some((severity, signals)) = gravest {
            out.detect(&rules::INDIRECT, row)
                .severity(severity)
                .message(format!("what a tool gave back {signals}"));
        }
        injected
    }

    /// How gravely what a tool gave back speaks to the model, in which way, and whether it would be reported in a prompt.
    fn speaks(&self, text: &str) -> Option<(Severity, String, bool)> {
        let score = self.scorer.score(text);
        if score.total() >= self.config.threshold {
            return Some((Severity::High, score.signals(), true));
        }
        let margin = self.scorer.told(text);
        (self.config.instructions && margin >= 0.0).then(|| {
            let severity = if margin >= CERTAIN {
                Severity::Medium
            } else {
                Severity::Low
            };
            (severity, "tells the model what to do".into(), false)
        })
    }
}

/// What the answer to an injected request does.
fn consequences(signals: &str, called: Vec<&str>, answer: Option<&str>) -> Vec<(&'static Rule, String)> {
    let mut found = Vec::new();
    if !called.is_empty() {
        let called = called.join(", ");
        found.push((
            &rules::TOOL_CALL,
            format!("the answer calls {called} while the prompt {signals}"),
        ));
    }
    if answer.is_some_and(answer::carries_data) {
        let message = format!("the answer holds a link that carries data while the prompt {signals}");
        found.push((&rules::RENDERED, message));
    }
    found
}

sentrail_plugin::export!(PromptInjection);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::PromptInjection);
}
