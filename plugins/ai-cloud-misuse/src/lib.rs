//! Misuse of hosted AI in cloud accounts of AWS, Azure and Google: endpoints opened to everybody, logs and guardrails taken away, keys
//! collected, capacity stolen. `single` holds what one call decides, `capacity` what an account's calls do. What concerns credentials
//! and privileges in AWS is told by `cloud-credential-misuse`.

use std::cell::OnceCell;

use sentrail_plugin::{Batch, Detector, Findings, Keyed, Manifest, col, config};

mod call;
mod capacity;
mod rules;
mod single;

use call::Call;
use capacity::{Account, HABIT};
use single::Hit;

config! {
    /// When an account's calls become a detection.
    pub struct Config {
        /// Machines with accelerators within an hour. A training job of one team takes a few.
        pub accelerators: u64 = 8,
        /// Regions within an hour in which accelerators are asked for, with or without success. Looking for capacity goes through two.
        pub regions: u64 = 3,
        /// Days from its first change on in which an account's regions are being learnt, and who reads keys.
        pub learning_days: i64 = 7,
        /// Changes from which its regions are known as well.
        pub learning_calls: u64 = 100,
        /// Accounts remembered per shard; beyond it the one silent for longest is forgotten.
        pub max_accounts: usize = 2_000,
    }
}

/// The detector.
pub struct AiCloudMisuse {
    config: Config,
}

impl Detector for AiCloudMisuse {
    type Config = Config;
    type State = Keyed<Account>;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self { config })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "ai-cloud-misuse",
            version: env!("CARGO_PKG_VERSION"),
            description: "Exposed models and notebooks, weakened guardrails and logs, collected keys, and stolen capacity in cloud accounts.",
            layers: &["cloud"],
            columns: &[
                col::API_OPERATION.name,
                col::API_SERVICE_NAME.name,
                col::ACTIVITY_NAME.name,
                col::STATUS.name,
                col::ACTOR_USER_UID.name,
                col::ACTOR_USER_TYPE.name,
                col::CLOUD_REGION.name,
                col::RESOURCE_UID.name,
                col::API_REQUEST_DATA.name,
            ],
            key: &[col::CLOUD_ACCOUNT_UID.name],
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, accounts: &mut Keyed<Account>, batch: &Batch, out: &mut Findings) {
        let operations = batch.text(col::API_OPERATION);
        let services = batch.text(col::API_SERVICE_NAME);
        let activities = batch.text(col::ACTIVITY_NAME);
        let statuses = batch.text(col::STATUS);
        let who = batch.text(col::ACTOR_USER_UID);
        let types = batch.text(col::ACTOR_USER_TYPE);
        let regions = batch.text(col::CLOUD_REGION);
        let resources = batch.text(col::RESOURCE_UID);
        let requests = batch.text(col::API_REQUEST_DATA);
        let mut found: Vec<Hit> = Vec::new();
        for row in batch.rows() {
            let (Some(key), Some(operation)) = (batch.key(row), operations.get(row)) else {
                continue;
            };
            // The provider's own services act on behalf of nobody.
            if types.get(row) == Some("AWSService") {
                continue;
            }
            let call = Call {
                time: batch.time(row),
                operation: operation.to_ascii_lowercase(),
                service: services.get(row).unwrap_or_default().to_ascii_lowercase(),
                failed: statuses.get(row) == Some("Failure"),
                reads: activities.get(row) == Some("Read"),
                actor: who.get(row).unwrap_or("somebody"),
                region: regions.get(row).unwrap_or_default(),
                resource: resources.get(row).unwrap_or_default(),
                request_text: requests.get(row).unwrap_or_default(),
                request: OnceCell::new(),
            };
            let account = accounts.at(key, call.time, self.config.max_accounts, HABIT);
            account.judge(&self.config, &call, &mut found);
            for (rule, severity, message) in found.drain(..) {
                out.detect(rule, row).severity(severity).message(message);
            }
        }
    }
}

sentrail_plugin::export!(AiCloudMisuse);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::AiCloudMisuse);
}
