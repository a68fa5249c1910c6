//! Tokens of agents and MCP servers that give more, to others or for longer than they should, as authorization servers, gateways and
//! servers log them.
//!
//! A record is judged by its members' names and values, for there is no common form of such logs; and a token by where it was seen.

use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{
    Alarm, Batch, DAY, Detector, Findings, Keyed, MINUTE, Manifest, Member, Members, RecentSet, Rule, col, config,
    network,
};

mod rules;
mod scope;
mod token;

/// A judgement of one record: the rule, and why it holds.
type Judge = fn(&Members) -> Option<String>;
const JUDGES: [(&Rule, Judge); 9] = [
    (&rules::SCOPE, scope::excessive),
    (&rules::ESCALATED, scope::escalated),
    (&rules::MISMATCH, token::mismatch),
    (&rules::FAILED, token::failed),
    (&rules::FLOW, token::weak),
    (&rules::REDIRECT, token::redirect),
    (&rules::STALE, token::stale),
    (&rules::SHARED, token::spread),
    (&rules::OPEN, token::open),
];
/// A judgement of records is told once of a token, session or agent in this time: what lasts is told on each day.
const TOLD: i64 = DAY;
/// Members kept of one set of a token.
const SET_MAX: usize = 64;

config! {
    /// When the use of one token is shared use.
    pub struct Config {
        /// Minutes within which uses are taken together. A laptop changes its network in that time once.
        pub window_minutes: i64 = 10,
        /// Networks within the window. Offices and mobile clients leave through two.
        pub networks: u64 = 3,
        /// Users, agents or servers within the window. A token is issued to one.
        pub identities: u64 = 2,
        /// Tokens, and sessions and agents of which something was told, remembered per shard; beyond it the one silent for longest is
        /// forgotten.
        pub max_tokens: usize = 10_000,
    }
}

/// The detector.
pub struct McpAuthorization {
    config: Config,
}

/// Where one token was seen, and what was told of it; of records that name no token, what was told of their session or agent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Token {
    networks: RecentSet,
    identities: RecentSet,
    alarms: [Alarm; 2],
    told: RecentSet,
}

impl Detector for McpAuthorization {
    type Config = Config;
    type State = Keyed<Token>;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self { config })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "mcp-authorization",
            version: env!("CARGO_PKG_VERSION"),
            description: "Tokens of agents and MCP servers that give more, to others or for longer than they should.",
            layers: &["agent"],
            columns: &[
                col::API_REQUEST_DATA.name,
                col::FORMAT.name,
                col::RAW.name,
                col::SRC_ENDPOINT_IP.name,
                col::ACTOR_USER_UID.name,
                col::ACTOR_USER_CREDENTIAL_UID.name,
            ],
            key: &[
                col::ACTOR_USER_CREDENTIAL_UID.name,
                col::MESSAGE_CONTEXT_UID.name,
                col::AI_AGENT_UID.name,
                col::ACTOR_USER_UID.name,
            ],
            state_version: 2,
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, tokens: &mut Keyed<Token>, batch: &Batch, out: &mut Findings) {
        let addresses = batch.text(col::SRC_ENDPOINT_IP);
        let users = batch.text(col::ACTOR_USER_UID);
        let credentials = batch.text(col::ACTOR_USER_CREDENTIAL_UID);
        for row in batch.rows() {
            let members = Members::of(batch, row);
            // A key of an application is used from wherever it runs; tokens are one holder's.
            let is_token = credentials.get(row).is_some_and(|credential| {
                let is_key = |one: &Member| one.is(&["api_key", "api_key_id"]) && one.text == credential;
                !members.iter().any(is_key)
            });
            let judgements = JUDGES.map(|(rule, judge)| judge(&members).map(|why| (rule, why)));
            let mut judgements = judgements.into_iter().flatten().peekable();
            // Sessions of which there is nothing to tell take no token's place.
            let key = batch.key(row).filter(|_| is_token || judgements.peek().is_some());
            let (time, window) = (batch.time(row), self.config.window_minutes.saturating_mul(MINUTE));
            let mut token = key.map(|key| tokens.at(key, time, self.config.max_tokens, window.max(TOLD)));
            for (rule, why) in judgements {
                let is_new = token.as_mut().is_none_or(|token| {
                    // Many users may be behind one agent.
                    let user = users.get(row).unwrap_or_default();
                    let judged = format!("{}\n{}\n{user}\n{why}", rule.id, time.div_euclid(TOLD));
                    token.told.insert(TOLD, SET_MAX, time, &judged).new
                });
                if is_new {
                    out.detect(rule, row).message(why);
                }
            }
            let Some(token) = token.filter(|_| is_token) else {
                continue;
            };
            let [by_network, by_identity] = &mut token.alarms;
            if let Some(network) = addresses.get(row).and_then(network) {
                let seen = token.networks.insert(window, SET_MAX, time, &network).len as u64;
                if by_network.rises(seen, self.config.networks) {
                    out.detect(&rules::SHARED, row)
                        .message(format!("a token was used from {seen} networks"));
                }
            }
            if let Some(user) = users.get(row) {
                let seen = token.identities.insert(window, SET_MAX, time, user).len as u64;
                if by_identity.rises(seen, self.config.identities) {
                    out.detect(&rules::SHARED, row)
                        .message(format!("a token was used by {seen} identities"));
                }
            }
        }
    }
}

sentrail_plugin::export!(McpAuthorization);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::McpAuthorization);
}
