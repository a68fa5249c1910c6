//! What is remembered of a gateway key.

use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{Alarm, DAY, MINUTE, RecentSet, Rule, SlidingSum};

use crate::Config;
use crate::rules::{FAILURES, MODELS, NEW_NETWORK, SHARED, SPEND};

/// The window of every burst.
const WINDOW: i64 = 10 * MINUTE;
/// How long a network is remembered as the key's own.
pub const HABIT: i64 = 30 * DAY;
/// How far back a key's usual spending reaches.
const PAST: i64 = DAY;
/// Members that a set remembers: more than any threshold needs.
const MEMBERS: usize = 64;

/// One call with the key.
pub struct Use<'a> {
    pub time: i64,
    pub network: Option<String>,
    pub user: Option<&'a str>,
    pub model: Option<&'a str>,
    pub failed: bool,
    /// Millionths of a US dollar.
    pub cost: u64,
}

/// What is remembered.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Key {
    calls: u64,
    habits: RecentSet,
    networks: RecentSet,
    users: RecentSet,
    shared: Alarm,
    failures: SlidingSum,
    failing: Alarm,
    models: RecentSet,
    enumerating: Alarm,
    spent: SlidingSum,
    spending: Alarm,
}

impl Key {
    /// The rules that this use, on top of those before it, breaks, each with what to say.
    pub fn judge(&mut self, config: &Config, call: &Use) -> Vec<(&'static Rule, String)> {
        let mut found = Vec::new();
        let learnt = self.calls >= config.learning_calls;
        self.calls = self.calls.saturating_add(1);
        if let Some(network) = &call.network {
            // A key that roams by nature has no habit to break.
            let settled = self.habits.len() <= config.habitual_networks;
            let known = self.habits.len();
            if self.habits.insert(HABIT, MEMBERS, call.time, network).new && learnt && settled && known > 0 {
                found.push((
                    &NEW_NETWORK,
                    format!("first use from {network}; {known} networks were known"),
                ));
            }
            self.networks.insert(WINDOW, MEMBERS, call.time, network);
        }
        if let Some(user) = call.user {
            self.users.insert(WINDOW, MEMBERS, call.time, user);
        }
        let most = self.networks.len().max(self.users.len()) as u64;
        if self.shared.rises(most, config.shared_by) {
            let (networks, users) = (self.networks.len(), self.users.len());
            found.push((&SHARED, format!("{networks} networks and {users} users in ten minutes")));
        }
        if call.failed {
            let failures = self.failures.add(WINDOW, MINUTE / 6, call.time, 1);
            if self.failing.rises(failures, config.failures) {
                found.push((&FAILURES, format!("{failures} failed calls in ten minutes")));
            }
        }
        if let Some(model) = call.model {
            let models = self.models.insert(WINDOW, MEMBERS, call.time, model).len as u64;
            if self.enumerating.rises(models, config.models) {
                found.push((&MODELS, format!("{models} models in ten minutes")));
            }
        }
        found.extend(self.spend(config, call));
        found
    }

    /// Compares the last ten minutes with the mean of the ten-minute steps of the past day in which the key was used.
    fn spend(&mut self, config: &Config, call: &Use) -> Option<(&'static Rule, String)> {
        if call.cost == 0 {
            return None;
        }
        self.spent.add(PAST, WINDOW, call.time, call.cost);
        let step = call.time.div_euclid(WINDOW) * WINDOW;
        let recent = self.spent.sum_from(step - WINDOW);
        let (steps, past) = self.spent.past(step - WINDOW);
        if (steps as u64) < config.spend_history {
            return None;
        }
        let usual = past / steps.max(1) as u64;
        let least = (config.spend_floor_usd * 1e6) as u64;
        let threshold = usual.saturating_mul(config.spend_factor).max(least);
        self.spending.rises(recent, threshold).then(|| {
            let dollars = |micros: u64| micros as f64 / 1e6;
            (
                &SPEND,
                format!(
                    "{:.2} USD now, {:.2} USD usually in ten minutes",
                    dollars(recent),
                    dollars(usual)
                ),
            )
        })
    }
}
