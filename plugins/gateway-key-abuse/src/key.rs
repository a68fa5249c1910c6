//! What is remembered of a gateway key.

use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{
    Alarm, Burst, DAY, Familiarity, FirstSeen, HOUR, Habit, MINUTE, Places, RecentSet, Rule, SlidingSum, Spread,
};

use crate::Config;
use crate::policy::Attempts;
use crate::rules::{FAILURES, HIJACKED, MODELS, NEW_NETWORK, SHARED, SPEND, TRAVEL};

/// The window of every burst.
const WINDOW: i64 = 10 * MINUTE;
/// How long a network, a country or a model is remembered as the key's own.
pub const HABIT: i64 = 30 * DAY;
/// How far back a key's usual spending reaches.
const PAST: i64 = DAY;
/// How long a network that broke the habit counts as a stranger.
const STRANGER: i64 = HOUR;
/// Members that a set remembers: more than any threshold needs.
const MEMBERS: usize = 64;

/// One call with the key.
pub struct Use<'a> {
    pub time: i64,
    pub network: Option<String>,
    pub country: Option<&'a str>,
    pub user: Option<&'a str>,
    pub model: Option<&'a str>,
    pub prompt: &'a str,
    pub failed: bool,
    /// A filter stopped the request or its answer.
    pub blocked: bool,
    /// Millionths of a US dollar.
    pub cost: u64,
}

/// What is remembered.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Key {
    habits: FirstSeen,
    places: Places,
    /// Networks that broke the habit within [`STRANGER`].
    strangers: RecentSet,
    own_models: FirstSeen,
    foreign_models: Spread,
    networks: RecentSet,
    users: RecentSet,
    shared: Alarm,
    failures: Burst,
    models: Spread,
    spent: SlidingSum,
    spending: Alarm,
    attempts: Attempts,
}

impl Key {
    /// The rules that this use, on top of those before it, breaks, each with what to say.
    pub fn judge(&mut self, config: &Config, call: &Use) -> Vec<(&'static Rule, String)> {
        let mut found = Vec::new();
        let habit = Habit {
            learning: config.learning_minutes * MINUTE,
            sightings: config.learning_calls,
            keep: HABIT,
            max: MEMBERS,
        };
        let stranger = self.moved(config, &habit, call, &mut found);
        self.shared(config, call, &mut found);
        if call.failed
            && let Some(failures) = self.failures.add(WINDOW, call.time, 1, config.failures)
        {
            found.push((&FAILURES, format!("{failures} failed calls in ten minutes")));
        }
        if let Some(model) = call.model {
            if let Some(models) = self.models.insert(WINDOW, call.time, model, config.models) {
                found.push((&MODELS, format!("{models} models in ten minutes")));
            }
            let new = self.own_models.see(&habit, call.time, model) == Familiarity::New;
            if new
                && stranger
                && let Some(models) = self
                    .foreign_models
                    .insert(STRANGER, call.time, model, config.foreign_models)
            {
                found.push((
                    &HIJACKED,
                    format!("{models} models that the key never called, from a network that is new to it"),
                ));
            }
        }
        found.extend(self.spend(config, call));
        found.extend(
            self.attempts
                .judge(config, call.time, call.prompt, call.blocked, call.failed),
        );
        found
    }

    /// Says whether the call comes from a network that is new to the key, now or within the last hour.
    fn moved(&mut self, config: &Config, habit: &Habit, call: &Use, found: &mut Vec<(&'static Rule, String)>) -> bool {
        if let Some(country) = call.country
            && let Some(ago) = self
                .places
                .see(habit, config.travel_minutes * MINUTE, call.time, country)
        {
            let minutes = ago / MINUTE;
            found.push((
                &TRAVEL,
                format!("used in {country} {minutes} min after another country; one of them is new to the key"),
            ));
        }
        let Some(network) = &call.network else { return false };
        let known = self.habits.len();
        // A key that roams by nature has no habit to break.
        let settled = known <= config.habitual_networks;
        let new = self.habits.see(habit, call.time, network) == Familiarity::New;
        if new && settled {
            self.strangers.insert(STRANGER, MEMBERS, call.time, network);
            found.push((
                &NEW_NETWORK,
                format!("first use from {network}; {known} networks were known"),
            ));
        }
        self.strangers.contains(STRANGER, call.time, network)
    }

    fn shared(&mut self, config: &Config, call: &Use, found: &mut Vec<(&'static Rule, String)>) {
        if let Some(network) = &call.network {
            self.networks.insert(WINDOW, MEMBERS, call.time, network);
        }
        if let Some(user) = call.user {
            self.users.insert(WINDOW, MEMBERS, call.time, user);
        }
        let (networks, users) = (self.networks.len(), self.users.len());
        if self.shared.rises(networks.max(users) as u64, config.shared_by) {
            found.push((&SHARED, format!("{networks} networks and {users} users in ten minutes")));
        }
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
