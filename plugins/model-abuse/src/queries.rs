//! What a key's requests ask.

use std::collections::VecDeque;

use sentrail_plugin::json::{self, Value};
use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{
    Alarm, DAY, DistinctCount, HOUR, HeavyHitters, Hours, MINUTE, Resemblance, Rule, Search, Session, Spread, asked,
};

use crate::Config;
use crate::rules::{EXTRACTION, MEMBERSHIP, SWEEP};
use crate::volume::unusual;

/// The window of a sweep of biases.
const WINDOW: i64 = 10 * MINUTE;
/// A longer silence ends a probing session.
const GAP: i64 = 10 * MINUTE;
/// A day is counted in parts, which merge.
const PART: i64 = 4 * HOUR;
const DAY_PARTS: usize = 6;
/// Forms of prompts that are told apart: whatever makes up more than a sixteenth of an hour's requests is among them.
const FORMS: usize = 16;
/// Words in which a form shows.
const FORM_WORDS: usize = 4;
/// Prompts of a session with which a new one is compared.
const RECENT: usize = 8;

/// What a request asks for beside an answer.
#[derive(Default)]
pub struct Parameters {
    pub probabilities: bool,
    /// The token biases, as JSON text.
    pub bias: Option<String>,
}

impl Parameters {
    /// Reads the request's parameters from JSON text; what cannot be read asks for nothing.
    pub fn of(text: &str) -> Self {
        // Most requests name neither, and are not parsed.
        if !text.holds("logprobs") && !text.holds("logit_bias") {
            return Self::default();
        }
        let Ok(read) = json::from_str::<Value>(text) else {
            return Self::default();
        };
        let is_set = |name: &str| match read.get(name) {
            Some(Value::Bool(set)) => *set,
            Some(Value::Number(number)) => number.as_i64().is_some_and(|number| number > 0),
            _ => false,
        };
        let bias = read.get("logit_bias").filter(|bias| match bias {
            Value::Object(tokens) => !tokens.is_empty(),
            _ => false,
        });
        Self {
            probabilities: ["logprobs", "top_logprobs", "prompt_logprobs"].into_iter().any(is_set),
            bias: bias.map(Value::to_string),
        }
    }
}

/// Prompts that were nearly equal to another one of the session.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
struct Probing {
    recent: VecDeque<Resemblance>,
    variants: u64,
    told: Alarm,
}

/// The prompts of a span of event time.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
struct Part {
    start: i64,
    prompts: DistinctCount,
}

impl Part {
    fn at(start: i64) -> Self {
        Self {
            start,
            prompts: DistinctCount::default(),
        }
    }
}

/// What is remembered of a key's prompts.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Queries {
    hour: Part,
    /// The last 24 hours, by time.
    day: VecDeque<Part>,
    /// Forms of this hour's prompts.
    forms: HeavyHitters,
    usual: Hours,
    day_told: Alarm,
    biases: Spread,
    probing: Session<Probing>,
}

impl Queries {
    /// Judges an answered prompt.
    pub fn judge(
        &mut self,
        config: &Config,
        time: i64,
        prompt: &str,
        parameters: &Parameters,
        found: &mut Vec<(&'static Rule, String)>,
    ) {
        self.extraction(config, time, prompt, found);
        if !parameters.probabilities {
            return;
        }
        if let Some(bias) = &parameters.bias
            && let Some(biases) = self.biases.insert(WINDOW, time, bias, config.biases)
        {
            found.push((
                &SWEEP,
                format!("{biases} different token biases with log-probabilities in ten minutes"),
            ));
        }
        let session = self.probing.at(GAP, time);
        let question = Resemblance::of(asked(prompt));
        if session
            .recent
            .iter()
            .any(|other| *other != question && other.to(&question) >= config.nearly_equal)
        {
            session.variants += 1;
            if session.told.rises(session.variants, config.variants) {
                let variants = session.variants;
                found.push((
                    &MEMBERSHIP,
                    format!("{variants} nearly equal prompts with log-probabilities in one session"),
                ));
            }
        }
        session.recent.push_back(question);
        if session.recent.len() > RECENT {
            session.recent.pop_front();
        }
    }

    fn extraction(&mut self, config: &Config, time: i64, prompt: &str, found: &mut Vec<(&'static Rule, String)>) {
        let start = time.div_euclid(HOUR) * HOUR;
        if start < self.hour.start {
            return;
        }
        if start > self.hour.start {
            self.hour = Part::at(start);
            self.forms = HeavyHitters::default();
        }
        let start = time.div_euclid(PART) * PART;
        if self.day.back().is_none_or(|part| part.start < start) {
            self.day.push_back(Part::at(start));
        }
        while self.day.len() > DAY_PARTS || self.day.front().is_some_and(|part| part.start <= start - DAY) {
            self.day.pop_front();
        }
        self.hour.prompts.insert(prompt);
        if let Some(part) = self.day.back_mut() {
            part.prompts.insert(prompt);
        }
        let prompts = self.hour.prompts.count();
        let form = self.forms.add(FORMS, &form(asked(prompt)));
        let one_form = form.at_least() as f64 >= config.one_form * self.forms.total() as f64;
        let unusual = unusual(config);
        let many = |prompts| one_form && prompts >= config.distinct_prompts;
        if let Some((prompts, usual)) = self.usual.add(&unusual, time, |_| prompts, many) {
            found.push((
                &EXTRACTION,
                format!("about {prompts} different prompts of one form in this hour, {usual:.0} in a usual one"),
            ));
        }
        if one_form && many_hours(config, prompts) && !self.usual.known(&unusual) {
            let mut day = DistinctCount::default();
            self.day.iter().for_each(|part| day.merge(&part.prompts));
            let day = day.count();
            if self.day_told.rises(day, config.distinct_prompts_day) {
                found.push((
                    &EXTRACTION,
                    format!("about {day} different prompts within 24 hours, this hour's of one form; what is usual is not known yet"),
                ));
            }
        }
    }
}

/// Whether days full of such hours bring the prompts of a day.
fn many_hours(config: &Config, prompts: u64) -> bool {
    prompts.saturating_mul(24) >= config.distinct_prompts_day
}

/// How a question begins: its first words, with numbers as one.
fn form(question: &str) -> String {
    let words = question
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty());
    let mut form = String::new();
    for word in words.take(FORM_WORDS) {
        if word.bytes().all(|letter| letter.is_ascii_digit()) {
            form.push('0');
        } else {
            form.push_str(&word.to_lowercase());
        }
        form.push(' ');
    }
    form
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_providers_write_them() {
        for text in [
            r#"{"logprobs":true}"#,
            r#"{"logprobs":5}"#,
            r#"{"prompt_logprobs":1,"x":[]}"#,
        ] {
            assert!(Parameters::of(text).probabilities, "{text}");
        }
        for text in [
            "",
            r#"{"logprobs":false}"#,
            r#"{"logprobs":null}"#,
            r#"{"logprobs":0}"#,
            "{\"logprobs\":",
        ] {
            assert!(!Parameters::of(text).probabilities, "{text}");
        }
        let swept = Parameters::of(r#"{"logprobs":true,"logit_bias":{"50256":-100}}"#);
        assert_eq!(swept.bias.as_deref(), Some(r#"{"50256":-100}"#));
        assert_eq!(Parameters::of(r#"{"logit_bias":{}}"#).bias, None);
    }

    #[test]
    fn questions_made_by_a_program_have_one_form() {
        assert_eq!(form("Question 17: who wrote Faust?"), form("question 4: who wrote it"));
        assert_ne!(form("Who wrote Faust?"), form("Translate this, please"));
    }
}
