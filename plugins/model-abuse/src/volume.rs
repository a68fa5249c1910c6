//! What a key's requests use.

use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{Alarm, Burst, DAY, Ewma, HOUR, MINUTE, Rule};

use crate::Config;
use crate::rules::{COST, HEAVY, TOKENS};

/// The window of outsized requests.
const WINDOW: i64 = 10 * MINUTE;
/// A week-old hour weighs a fifth of the last one: baselines follow a team's growth, and no single day makes them.
const HALF_LIFE: i64 = 3 * DAY;
/// Requests from which the usual size of one is known.
const REQUESTS: u64 = 50;

/// Amounts by hour of event time, each hour compared with those before it.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Hours {
    /// Start of the hour that runs, and what it has brought.
    now: Option<(i64, u64)>,
    past: Ewma,
    alarm: Alarm,
}

impl Hours {
    /// Sets the running hour to `count` of what it had; gives the hour's amount and the usual one, where it is far above the usual and
    /// worth a word. What comes late for an hour that is over is left out.
    pub fn add(
        &mut self,
        config: &Config,
        time: i64,
        worth: impl FnOnce(u64) -> bool,
        count: impl FnOnce(u64) -> u64,
    ) -> Option<(u64, f64)> {
        let hour = time.div_euclid(HOUR) * HOUR;
        let before = match self.now {
            Some((running, amount)) if running == hour => amount,
            Some((running, _)) if running > hour => return None,
            Some((running, amount)) => {
                self.past.add(HALF_LIFE, running, amount as f64);
                self.alarm = Alarm::default();
                0
            }
            None => 0,
        };
        let amount = count(before);
        self.now = Some((hour, amount));
        let usual = self.past.mean();
        // A tenth of the usual is the least that hours differ by.
        let score = self.past.score(config.history_hours, usual / 10.0, amount as f64)?;
        let far = score >= config.deviations && amount as f64 >= usual * config.factor;
        (far && worth(amount) && self.alarm.rises(amount, 1)).then_some((amount, usual))
    }

    /// Whether the usual hour is known.
    pub fn known(&self, config: &Config) -> bool {
        self.past.score(config.history_hours, 1.0, 0.0).is_some()
    }
}

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
            let hour = self.tokens.add(
                config,
                time,
                |sum| sum >= config.tokens_floor,
                |sum| sum.saturating_add(tokens),
            );
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
