//! Stolen, shared and misused AI gateway keys: each key is compared with its own past.

use sentrail_plugin::{Batch, Detector, Findings, Keyed, Manifest, col, config, network};

mod key;
mod rules;

use key::{HABIT, Key, Use};

config! {
    /// When a key's use becomes a detection. Windows are ten minutes of event time.
    pub struct Config {
        /// Calls after which a key's networks count as known: with fewer, everything is new.
        pub learning_calls: u64 = 50,
        /// Networks that a settled key has at most. A key used from more roams by nature, and a further network says nothing.
        pub habitual_networks: usize = 8,
        /// Networks or users within the window that make a key shared. Offices and clusters leave through two or three networks.
        pub shared_by: u64 = 5,
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
}

impl Detector for GatewayKeyAbuse {
    type Config = Config;
    type State = Keyed<Key>;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self { config })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "gateway-key-abuse",
            version: env!("CARGO_PKG_VERSION"),
            description: "Gateway keys used from new networks, by many at once, with bursts of failures or spending, or to try models.",
            layers: &["gateway"],
            columns: &[
                col::SRC_ENDPOINT_IP.name,
                col::ACTOR_USER_UID.name,
                col::AI_MODEL_NAME.name,
                col::STATUS.name,
                col::AI_COST_USD.name,
            ],
            key: &[col::GATEWAY_KEY_UID.name],
            state_version: 2,
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, keys: &mut Keyed<Key>, batch: &Batch, out: &mut Findings) {
        let addresses = batch.text(col::SRC_ENDPOINT_IP);
        let users = batch.text(col::ACTOR_USER_UID);
        let models = batch.text(col::AI_MODEL_NAME);
        let statuses = batch.text(col::STATUS);
        let costs = batch.float64(col::AI_COST_USD);
        for row in batch.rows() {
            let Some(key) = batch.key(row) else { continue };
            let call = Use {
                time: batch.time(row),
                network: addresses.get(row).and_then(network),
                user: users.get(row).filter(|user| !user.is_empty()),
                model: models.get(row).filter(|model| !model.is_empty()),
                failed: statuses.get(row) == Some("Failure"),
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
