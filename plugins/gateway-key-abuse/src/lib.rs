//! Stolen, shared and misused AI gateway keys: each key is compared with its own past. Where a log names no key, the identity that
//! called stands for it.

use sentrail_plugin::{Batch, Detector, Findings, Keyed, Manifest, col, config, network};

mod key;
mod policy;
mod rules;

use key::{HABIT, Key, Use};
use policy::Filter;

config! {
    /// When a key's use becomes a detection. Windows are ten minutes of event time.
    pub struct Config {
        /// Calls after which a key's networks count as known: with fewer, everything is new.
        pub learning_calls: u64 = 50,
        /// Minutes from its first call on in which a key's networks, countries and models are being learnt as well: the calls may all
        /// come in the first minute.
        pub learning_minutes: i64 = 30,
        /// Networks that a settled key has at most. A key used from more roams by nature, and a further network says nothing.
        pub habitual_networks: usize = 8,
        /// Networks or users within the window that make a key shared. Offices and clusters leave through two or three networks.
        pub shared_by: u64 = 5,
        /// Minutes between two countries, one of them new to the key, that are too few: a flight takes longer.
        pub travel_minutes: i64 = 120,
        /// Models new to a settled key that it calls from a new network within an hour. One may be a release that everybody tries.
        pub foreign_models: u64 = 2,
        /// Blocked versions of a request, all within one session, before one that passes is evasion. Two are somebody who explains.
        pub blocked_before: u64 = 3,
        /// Part of the words, 0 to 1, that a version shares with another one.
        pub rephrased: f64 = 0.3,
        /// Failed calls within the window. Applications back off; probing does not.
        pub failures: u64 = 15,
        /// Models within the window.
        pub models: u64 = 6,
        /// How many times its usual spending a key may reach.
        pub spend_factor: u64 = 5,
        /// US dollars within the window below which spending is not looked at, so that small keys do not alarm.
        pub spend_floor_usd: f64 = 1.0,
        /// Ten-minute steps of past use from which "usual" is known.
        pub spend_history: u64 = 6,
        /// Keys remembered per shard; beyond it the one silent for longest is forgotten.
        pub max_keys: usize = 10_000,
    }
}

/// The detector.
pub struct GatewayKeyAbuse {
    config: Config,
    filter: Filter,
}

impl Detector for GatewayKeyAbuse {
    type Config = Config;
    type State = Keyed<Key>;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self {
            config,
            filter: Filter::new()?,
        })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "gateway-key-abuse",
            version: env!("CARGO_PKG_VERSION"),
            description: "Gateway keys used from new networks or countries, by many at once, with bursts of failures or spending, to try models, or to get around a policy.",
            layers: &["gateway"],
            columns: &[
                col::GATEWAY_KEY_UID.name,
                col::SRC_ENDPOINT_IP.name,
                col::SRC_ENDPOINT_LOCATION_COUNTRY.name,
                col::ACTOR_USER_UID.name,
                col::AI_MODEL_NAME.name,
                col::AI_PROMPT.name,
                col::STATUS.name,
                col::STATUS_CODE.name,
                col::STATUS_DETAIL.name,
                col::UNMAPPED.name,
                col::AI_COST_USD.name,
            ],
            key: &[col::GATEWAY_KEY_UID.name, col::ACTOR_USER_UID.name],
            state_version: 3,
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, keys: &mut Keyed<Key>, batch: &Batch, out: &mut Findings) {
        let addresses = batch.text(col::SRC_ENDPOINT_IP);
        let countries = batch.text(col::SRC_ENDPOINT_LOCATION_COUNTRY);
        let prompts = batch.text(col::AI_PROMPT);
        let reasons = [col::STATUS_CODE, col::STATUS_DETAIL].map(|column| batch.text(column));
        let unmapped = batch.text(col::UNMAPPED);
        let ids = batch.text(col::GATEWAY_KEY_UID);
        let users = batch.text(col::ACTOR_USER_UID);
        let models = batch.text(col::AI_MODEL_NAME);
        let statuses = batch.text(col::STATUS);
        let costs = batch.float64(col::AI_COST_USD);
        for row in batch.rows() {
            let Some(key) = batch.key(row) else { continue };
            let model = models.get(row).filter(|model| !model.is_empty());
            // Without a key, only calls of models concern the gateway: the rest is administration.
            if ids.get(row).is_none() && model.is_none() {
                continue;
            }
            let failed = statuses.get(row) == Some("Failure");
            let call = Use {
                time: batch.time(row),
                network: addresses.get(row).and_then(network),
                country: countries.get(row).filter(|country| !country.is_empty()),
                user: users.get(row).filter(|user| !user.is_empty()),
                model,
                prompt: prompts.get(row).unwrap_or_default(),
                blocked: self.filter.stopped(
                    failed,
                    reasons.iter().filter_map(|reason| reason.get(row)),
                    unmapped.get(row).unwrap_or_default(),
                ),
                failed,
                cost: costs.get(row).map_or(0, |dollars| (dollars * 1e6).round() as u64),
            };
            for (rule, message) in keys
                .at(key, call.time, self.config.max_keys, HABIT)
                .judge(&self.config, &call)
            {
                out.detect(rule, row).message(message);
            }
        }
    }
}

sentrail_plugin::export!(GatewayKeyAbuse);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::GatewayKeyAbuse);
}
