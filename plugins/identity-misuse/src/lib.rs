//! Guessed, phished and misused identities, in the logs of identity providers and code hosts. `account` holds what
//! an account's sign-ins show, `change` what single administrative calls do. Attacks on many accounts at once are told by
//! `password-spray`.

use sentrail_plugin::{Batch, Detector, Findings, Keyed, Login, Manifest, Search, col, config, network};

mod account;
mod change;
mod rules;

use account::{Account, Found, HABIT, SignIn};

config! {
    /// When the sign-ins of an account become a detection.
    pub struct Config {
        /// Wrong passwords in ten minutes. People mistype a few times and then reset; scripts do not stop.
        pub wrong_passwords: u64 = 10,
        /// Second factors refused in a row, no more than half an hour apart. One or two are a phone out of reach.
        pub refused_factors: u64 = 5,
        /// Refused ones before one that is accepted.
        pub refused_before: u64 = 3,
        /// Minutes between two countries, one of them new to the account, that are too few: a flight takes longer.
        pub travel_minutes: i64 = 120,
        /// Days from its first sign-in on in which an account's networks and countries are being learnt: a working week and a weekend.
        pub learning_days: i64 = 7,
        /// Sign-ins from which they are known as well.
        pub learning_logins: u64 = 10,
        /// Parts of an account's name that make it an administrator's. One that grants rights or changes policies is taken for one too.
        pub administrators: Vec<String> = ["admin", "root", "breakglass", "break-glass", "emergency"].map(String::from).to_vec(),
        /// Accounts remembered per shard; beyond it the one silent for longest is forgotten.
        pub max_accounts: usize = 10_000,
    }
}

/// The detector.
pub struct IdentityMisuse {
    config: Config,
}

impl IdentityMisuse {
    fn account<'a>(&self, accounts: &'a mut Keyed<Account>, key: &str, time: i64) -> &'a mut Account {
        accounts.at(key, time, self.config.max_accounts, HABIT)
    }

    fn is_admin(&self, user: &str, kind: &str) -> bool {
        let user = user.to_lowercase();
        kind == "Root" || self.config.administrators.iter().any(|part| user.holds(part.as_str()))
    }
}

/// Says in what is kept beside the columns that the provider sees a risk.
fn is_risky(unmapped: &str) -> bool {
    unmapped.holds("\"risk_level\":\"high\"") || unmapped.holds("\"risk_state\":\"confirmedCompromised\"")
}

impl Detector for IdentityMisuse {
    type Config = Config;
    type State = Keyed<Account>;

    fn new(mut config: Config) -> Result<Self, String> {
        if config.administrators.iter().any(String::is_empty) {
            return Err("administrators holds an empty text, which is part of every name; leave it out".into());
        }
        for part in &mut config.administrators {
            *part = part.to_lowercase();
        }
        Ok(Self { config })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "identity-misuse",
            version: env!("CARGO_PKG_VERSION"),
            description: "Guessed passwords, second factors that are pestered, removed or planted, impossible travel, far-reaching consent, and weakened sign-in policies.",
            layers: &["identity", "registry"],
            columns: &[
                col::CLASS.name,
                col::API_OPERATION.name,
                col::API_REQUEST_DATA.name,
                col::STATUS.name,
                col::STATUS_CODE.name,
                col::ACTOR_USER_UID.name,
                col::ACTOR_USER_TYPE.name,
                col::TARGET_USER_UID.name,
                col::SRC_ENDPOINT_IP.name,
                col::SRC_ENDPOINT_LOCATION_COUNTRY.name,
                col::UNMAPPED.name,
            ],
            key: &[col::ACTOR_USER_UID.name],
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, accounts: &mut Keyed<Account>, batch: &Batch, out: &mut Findings) {
        let classes = batch.text(col::CLASS);
        let operations = batch.text(col::API_OPERATION);
        let data = batch.text(col::API_REQUEST_DATA);
        let statuses = batch.text(col::STATUS);
        let codes = batch.text(col::STATUS_CODE);
        let users = batch.text(col::ACTOR_USER_UID);
        let kinds = batch.text(col::ACTOR_USER_TYPE);
        let targets = batch.text(col::TARGET_USER_UID);
        let addresses = batch.text(col::SRC_ENDPOINT_IP);
        let countries = batch.text(col::SRC_ENDPOINT_LOCATION_COUNTRY);
        let unmapped = batch.text(col::UNMAPPED);
        let mut found = Found::new();
        for row in batch.rows() {
            let (Some(key), Some(operation)) = (batch.key(row), operations.get(row)) else {
                continue;
            };
            let time = batch.time(row);
            let (user, status) = (
                users.get(row).unwrap_or_default(),
                statuses.get(row).unwrap_or_default(),
            );
            let login = (classes.get(row) == Some("authentication"))
                .then(|| Login::of(operation, status, codes.get(row).unwrap_or_default()))
                .flatten();
            if let Some(login) = login {
                let network = addresses.get(row).and_then(network);
                let sign_in = SignIn {
                    time,
                    login,
                    network: network.as_deref(),
                    country: countries.get(row).filter(|country| !country.is_empty()),
                    admin: self.is_admin(user, kinds.get(row).unwrap_or_default()),
                };
                self.account(accounts, key, time)
                    .sign_in(&self.config, &sign_in, &mut found);
                if login == Login::Accepted && unmapped.get(row).is_some_and(is_risky) {
                    found.push((&rules::RISKY, rules::RISKY.severity, "and it was accepted".to_owned()));
                }
            }
            if status != "Failure" {
                if change::enrols(operation) {
                    self.account(accounts, key, time).enrolled(time, &mut found);
                }
                if let Some(change) = change::of(operation, data.get(row).unwrap_or_default()) {
                    let own = [&rules::FACTOR_REMOVED.id, &rules::RISKY.id, &rules::CONSENT.id];
                    if !own.contains(&&change.rule.id) {
                        self.account(accounts, key, time).changed();
                    }
                    let about = targets
                        .get(row)
                        .map(|target| format!(", about {target}"))
                        .unwrap_or_default();
                    found.push((
                        change.rule,
                        change.severity,
                        format!("{} by {user}{about}", change.what),
                    ));
                }
            }
            for (rule, severity, message) in found.drain(..) {
                out.detect(rule, row).severity(severity).message(message);
            }
        }
    }
}

sentrail_plugin::export!(IdentityMisuse);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::IdentityMisuse);
}
