//! One source that tries passwords on many accounts, and the account that gives in. What one account sees of it is too little to tell:
//! so everything is kept per address here, and per account in `identity-misuse`.

use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{Alarm, Batch, Detector, Findings, HOUR, Keyed, Login, Manifest, RecentSet, Rule, col, config};

sentrail_plugin::rules! {
    SPRAY "password-spray" High ["T1110.003", "T1110.004"]
        "One source tries passwords on many accounts"
        "Wrong passwords for account after account, and hardly anyone who gets in: common or stolen passwords are tried. Block the source, and look at every account that it got into."
    SUCCESS "spray-success" High ["T1110.003", "T1078.004"]
        "A source that tries many accounts got into one"
        "An account was opened from an address that was just refused for many others. End its sessions, reset its password and second factor, and look at what it did since."
}

/// The window of a spray.
const WINDOW: i64 = HOUR;
/// Accounts that are remembered of a source: more than any threshold needs.
const MEMBERS: usize = 256;

config! {
    /// When refused sign-ins of one source become a detection.
    pub struct Config {
        /// Accounts with wrong passwords within an hour. A large office reaches it on a Monday, with many who get in beside them.
        pub accounts: u64 = 10,
        /// How many accounts are refused for one that gets in. In an office most people get in.
        pub refused_for_one: u64 = 3,
        /// Sources remembered per shard; beyond it the one silent for longest is forgotten.
        pub max_sources: usize = 10_000,
    }
}

/// What is remembered of an address.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Source {
    refused: RecentSet,
    accepted: RecentSet,
    told: Alarm,
}

/// The detector.
pub struct PasswordSpray {
    config: Config,
}

impl PasswordSpray {
    fn judge(&self, source: &mut Source, login: Login, time: i64, user: &str) -> Option<(&'static Rule, String)> {
        source.refused.expire(WINDOW, time);
        source.accepted.expire(WINDOW, time);
        let new = match login {
            Login::WrongCredentials => source.refused.insert(WINDOW, MEMBERS, time, user).new,
            Login::Accepted => source.accepted.insert(WINDOW, MEMBERS, time, user).new,
            Login::FactorRefused | Login::Interrupted => return None,
        };
        let (refused, accepted) = (source.refused.len() as u64, source.accepted.len() as u64);
        let few_get_in = accepted.saturating_mul(self.config.refused_for_one) <= refused;
        let sprays = few_get_in && refused >= self.config.accounts;
        if login == Login::Accepted {
            return (sprays && new).then(|| {
                (
                    &SUCCESS,
                    format!("after {refused} accounts were refused within an hour"),
                )
            });
        }
        let value = if few_get_in { refused } else { 0 };
        source
            .told
            .rises(value, self.config.accounts)
            .then(|| (&SPRAY, format!("wrong passwords for {refused} accounts within an hour")))
    }
}

impl Detector for PasswordSpray {
    type Config = Config;
    type State = Keyed<Source>;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self { config })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "password-spray",
            version: env!("CARGO_PKG_VERSION"),
            description: "Sources that try passwords on many accounts, and the accounts that they get into.",
            classes: &["authentication"],
            columns: &[
                col::API_OPERATION.name,
                col::STATUS.name,
                col::STATUS_CODE.name,
                col::ACTOR_USER_UID.name,
            ],
            key: &[col::SRC_ENDPOINT_IP.name],
            rules: ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, sources: &mut Keyed<Source>, batch: &Batch, out: &mut Findings) {
        let operations = batch.text(col::API_OPERATION);
        let statuses = batch.text(col::STATUS);
        let codes = batch.text(col::STATUS_CODE);
        let users = batch.text(col::ACTOR_USER_UID);
        for row in batch.rows() {
            let (Some(key), Some(user), Some(operation)) = (batch.key(row), users.get(row), operations.get(row)) else {
                continue;
            };
            let login = Login::of(
                operation,
                statuses.get(row).unwrap_or_default(),
                codes.get(row).unwrap_or_default(),
            );
            let Some(login) = login else { continue };
            let time = batch.time(row);
            let source = sources.at(key, time, self.config.max_sources, WINDOW);
            if let Some((rule, message)) = self.judge(source, login, time, user) {
                out.detect(rule, row).message(message);
            }
        }
    }
}

sentrail_plugin::export!(PasswordSpray);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::PasswordSpray);
}
