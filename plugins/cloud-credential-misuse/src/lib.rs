//! Stolen and misused cloud credentials, seen in CloudTrail: ways back in, grants of privilege, tampering with logs, sharing
//! with outsiders, reading of secrets, and abuse of hosted models. `single` holds what one call decides, `bursts` what an
//! actor's recent calls do. User agents are not read: they say what the caller wants them to say.

use sentrail_plugin::{Batch, Detector, Findings, Keyed, Manifest, Rule, col, config};

mod bursts;
mod call;
mod policy;
mod rules;
mod single;

use bursts::Actor;
use call::{Call, unversioned};

config! {
    /// When bursts become detections. All windows are ten minutes of event time.
    pub struct Config {
        /// Secrets read by one identity. Applications read a handful when they start.
        pub secrets: u64 = 10,
        /// Model calls by one identity: one every three seconds for ten minutes.
        pub model_calls: u64 = 200,
        /// Models one identity tries. Applications use one or two.
        pub models: u64 = 6,
        /// Failed model calls by one identity.
        pub model_refusals: u64 = 5,
        /// Different operations that one identity is refused. A misconfigured application is refused the same one again and again.
        pub denied_operations: u64 = 8,
        /// Actors remembered per shard; beyond it the one silent for longest is forgotten.
        pub max_actors: usize = 10_000,
    }
}

/// The detector.
pub struct CloudCredentialMisuse {
    config: Config,
}

impl Detector for CloudCredentialMisuse {
    type Config = Config;
    type State = Keyed<Actor>;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self { config })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "cloud-credential-misuse",
            version: env!("CARGO_PKG_VERSION"),
            description: "Creation and misuse of cloud credentials, privilege grants, log tampering, exposure, and abuse of hosted models.",
            layers: &["cloud"],
            columns: &[
                col::API_OPERATION.name,
                col::API_SERVICE_NAME.name,
                col::STATUS.name,
                col::STATUS_CODE.name,
                col::ACTOR_USER_UID.name,
                col::ACTOR_USER_TYPE.name,
                col::ACTOR_SESSION_IS_MFA.name,
                col::SRC_ENDPOINT_IP.name,
                col::CLOUD_ACCOUNT_UID.name,
                col::TARGET_USER_UID.name,
                col::API_REQUEST_DATA.name,
            ],
            key: &[col::ACTOR_USER_UID.name, col::SRC_ENDPOINT_IP.name],
            state_version: 2,
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, actors: &mut Keyed<Actor>, batch: &Batch, out: &mut Findings) {
        let operations = batch.text(col::API_OPERATION);
        let services = batch.text(col::API_SERVICE_NAME);
        let statuses = batch.text(col::STATUS);
        let codes = batch.text(col::STATUS_CODE);
        let who = batch.text(col::ACTOR_USER_UID);
        let types = batch.text(col::ACTOR_USER_TYPE);
        let mfa = batch.boolean(col::ACTOR_SESSION_IS_MFA);
        let addresses = batch.text(col::SRC_ENDPOINT_IP);
        let accounts = batch.text(col::CLOUD_ACCOUNT_UID);
        let targets = batch.text(col::TARGET_USER_UID);
        let requests = batch.text(col::API_REQUEST_DATA);
        let mut found: Vec<(&'static Rule, String)> = Vec::new();
        for row in batch.rows() {
            let (Some(operation), Some(key)) = (operations.get(row), batch.key(row)) else {
                continue;
            };
            let actor_type = types.get(row).unwrap_or_default();
            // The provider's own services act on behalf of nobody.
            if actor_type == "AWSService" {
                continue;
            }
            let call = Call {
                operation: unversioned(operation),
                service: services.get(row).unwrap_or_default(),
                failed: statuses.get(row) == Some("Failure"),
                code: codes.get(row).unwrap_or_default(),
                actor: who.get(row).unwrap_or("somebody"),
                actor_type,
                account: accounts.get(row).unwrap_or_default(),
                address: addresses.get(row).unwrap_or_default(),
                mfa: mfa.get(row).map(|mfa| mfa != 0),
                target: targets.get(row).unwrap_or_default(),
                ..Call::new(requests.get(row).unwrap_or_default())
            };
            if let Some(hit) = single::judge(&call) {
                out.detect(hit.rule, row).severity(hit.severity).message(hit.message);
            }
            if !bursts::concern(&call) {
                continue;
            }
            let actor = actors.at(key, batch.time(row), self.config.max_actors, bursts::LONGEST);
            actor.judge(&self.config, &call, batch.time(row), &mut found);
            for (rule, message) in found.drain(..) {
                let severity = if call.failed && !rules::SHOWN_BY_FAILURE.contains(&rule.id) {
                    rule.severity.lower()
                } else {
                    rule.severity
                };
                out.detect(rule, row).severity(severity).message(message);
            }
        }
    }
}

sentrail_plugin::export!(CloudCredentialMisuse);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::CloudCredentialMisuse);
}
