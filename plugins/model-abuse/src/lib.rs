//! Abuse of models through the gateway: extraction and distillation, probing for training data, and spending without bound. `queries`
//! holds what the requests ask, `volume` what they use.

use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{Batch, DAY, Detector, Findings, Keyed, Manifest, Rule, col, config};

mod queries;
mod rules;
mod volume;

use queries::{Parameters, Queries};
use volume::Volume;

/// How long a silent key's baselines are kept.
const REMEMBERED: i64 = 14 * DAY;

config! {
    /// When the use of models becomes a detection.
    pub struct Config {
        /// Different prompts in an hour from which extraction is thought of. Teaching sets have thousands; a busy team asks hundreds.
        pub distinct_prompts: u64 = 500,
        /// Different prompts within 24 hours that do for a key whose usual hour is not known yet.
        pub distinct_prompts_day: u64 = 5_000,
        /// Part of the requests, 0 to 1, that begins alike: questions made by a program have one form.
        pub one_form: f64 = 0.5,
        /// Hours of use from which "usual" is known.
        pub history_hours: u64 = 12,
        /// Standard deviations above the usual hour or request. Daily ups and downs stay within three.
        pub deviations: f64 = 6.0,
        /// How many times the usual hour or request it must be as well: steady keys deviate little, and a little more of it is nothing.
        pub factor: f64 = 5.0,
        /// Different token biases, asked with log-probabilities within ten minutes. Classifiers use one or two.
        pub biases: u64 = 20,
        /// Nearly equal prompts in one session, asked with log-probabilities. Fewer are somebody who tunes a prompt.
        pub variants: u64 = 20,
        /// Part of the words, 0 to 1, that nearly equal prompts share.
        pub nearly_equal: f64 = 0.75,
        /// Tokens in an hour below which volume is not looked at: a few US dollars.
        pub tokens_floor: u64 = 1_000_000,
        /// Tokens of one request below which its size is not looked at.
        pub request_tokens_floor: u64 = 20_000,
        /// Outsized requests within ten minutes. One is a long document.
        pub heavy_requests: u64 = 5,
        /// US dollars that one key may cost in an hour, whatever it usually does. Set it to what nobody here needs.
        pub cost_limit_usd: f64 = 100.0,
        /// Keys remembered per shard; beyond it the one silent for longest is forgotten.
        pub max_keys: usize = 2_000,
    }
}

/// What is remembered of a key.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Key {
    queries: Queries,
    volume: Volume,
}

/// The detector.
pub struct ModelAbuse {
    config: Config,
}

impl Detector for ModelAbuse {
    type Config = Config;
    type State = Keyed<Key>;

    fn new(config: Config) -> Result<Self, String> {
        for (name, value) in [("one_form", config.one_form), ("nearly_equal", config.nearly_equal)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!("{name} is {value}; it is a part, from 0 to 1"));
            }
        }
        Ok(Self { config })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "model-abuse",
            version: env!("CARGO_PKG_VERSION"),
            description: "Extraction and distillation of models, probing for training data, and denial of wallet.",
            layers: &["gateway"],
            columns: &[
                col::AI_MODEL_NAME.name,
                col::AI_PROMPT.name,
                col::API_REQUEST_DATA.name,
                col::STATUS.name,
                col::MESSAGE_CONTEXT_PROMPT_TOKENS.name,
                col::MESSAGE_CONTEXT_COMPLETION_TOKENS.name,
                col::MESSAGE_CONTEXT_TOTAL_TOKENS.name,
                col::AI_COST_USD.name,
            ],
            key: &[
                col::GATEWAY_KEY_UID.name,
                col::ACTOR_USER_UID.name,
                col::SRC_ENDPOINT_IP.name,
            ],
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, keys: &mut Keyed<Key>, batch: &Batch, out: &mut Findings) {
        let models = batch.text(col::AI_MODEL_NAME);
        let prompts = batch.text(col::AI_PROMPT);
        let parameters = batch.text(col::API_REQUEST_DATA);
        let statuses = batch.text(col::STATUS);
        let parts = [
            col::MESSAGE_CONTEXT_PROMPT_TOKENS,
            col::MESSAGE_CONTEXT_COMPLETION_TOKENS,
        ]
        .map(|part| batch.int64(part));
        let totals = batch.int64(col::MESSAGE_CONTEXT_TOTAL_TOKENS);
        let costs = batch.float64(col::AI_COST_USD);
        let mut found: Vec<(&'static Rule, String)> = Vec::new();
        for row in batch.rows() {
            let (Some(key), Some(_)) = (batch.key(row), models.get(row)) else {
                continue;
            };
            // A refused request gives nothing away and costs nothing.
            if statuses.get(row) == Some("Failure") {
                continue;
            }
            let time = batch.time(row);
            let key = keys.at(key, time, self.config.max_keys, REMEMBERED);
            if let Some(prompt) = prompts.get(row).filter(|prompt| !prompt.is_empty()) {
                let parameters = Parameters::of(parameters.get(row).unwrap_or_default());
                key.queries.judge(&self.config, time, prompt, &parameters, &mut found);
            }
            let sum = || {
                parts
                    .iter()
                    .filter_map(|part| part.get(row))
                    .fold(0_i64, i64::saturating_add)
            };
            let tokens = totals.get(row).unwrap_or_else(sum);
            let micros = costs.get(row).map_or(0, |dollars| (dollars * 1e6).round() as u64);
            key.volume.judge(
                &self.config,
                time,
                u64::try_from(tokens).unwrap_or(0),
                micros,
                &mut found,
            );
            for (rule, message) in found.drain(..) {
                out.detect(rule, row).message(message);
            }
        }
    }
}

sentrail_plugin::export!(ModelAbuse);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::ModelAbuse);
}
