//! What a key's requests use.

use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{Burst, DAY, Ewma, HOUR, Hours, MINUTE, Rule, Unusual};

use crate::Config;
use crate::rules::{COST, HEAVY, TOKENS};

/// The window of outsized requests.
const WINDOW: i64 = 10 * MINUTE;
/// A week-old hour weighs a fifth of the last one: baselines follow a team's growth, and no single day makes them.
const HALF_LIFE: i64 = 3 * DAY;

/// From when on an hour of a key is far above its usual one.
pub fn unusual(config: &Config) -> Unusual {
    Unusual {
        half_life: HALF_LIFE,
        warm_up: config.history_hours,
        deviations: config.deviations,
        factor: config.factor,
    }
}
/// Requests from which the usual size of one is known.
const REQUESTS: u64 = 50;

/// What is remembered of a key's tokens and cost.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Volume {
    tokens: Hours,
    request: Ewma,
    heavy: Burst,
    cost: Burst,
}

impl Volume {
    /// Judges a request that used `tokens` and cost `micros` millionths of a US dollar.
    pub fn judge(
        &mut self,
        config: &Config,
        time: i64,
        tokens: u64,
        micros: u64,
        found: &mut Vec<(&'static Rule, String)>,
    ) {
        if tokens > 0 {
            let worth = |sum| sum >= config.tokens_floor;
            let hour = self
                .tokens
                .add(&unusual(config), time, |sum| sum.saturating_add(tokens), worth);
            if let Some((sum, usual)) = hour {
                found.push((&TOKENS, format!("{sum} tokens in this hour, {usual:.0} in a usual one")));
            }
            self.size(config, time, tokens, found);
        }
        let limit = (config.cost_limit_usd.max(0.0) * 1e6) as u64;
        if micros > 0
            && let Some(spent) = self.cost.add(HOUR, time, micros, limit.max(1))
        {
            found.push((&COST, format!("{:.2} USD within an hour", spent as f64 / 1e6)));
        }
    }

    fn size(&mut self, config: &Config, time: i64, tokens: u64, found: &mut Vec<(&'static Rule, String)>) {
        let usual = self.request.mean();
        let outsized = tokens >= config.request_tokens_floor
            && tokens as f64 >= usual * config.factor
            && self
                .request
                .score(REQUESTS, usual / 10.0, tokens as f64)
                .is_some_and(|score| score >= config.deviations);
        if !outsized {
            // What is out of all proportion does not become the usual within the burst that it makes.
            self.request.add(HALF_LIFE, time, tokens as f64);
            return;
        }
        // It becomes so slowly: a new kind of work is told for some days.
        self.request.add(HALF_LIFE, time, usual * config.factor);
        if let Some(requests) = self.heavy.add(WINDOW, time, 1, config.heavy_requests) {
            found.push((
                &HEAVY,
                format!("{requests} requests in ten minutes like this one of {tokens} tokens; {usual:.0} are usual"),
            ));
        }
    }
}
