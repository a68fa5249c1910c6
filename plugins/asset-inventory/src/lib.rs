//! What AI there is in the company: models, providers, keys, agents, MCP servers, collections and the programs that call them. What is seen
//! for the first time after a while of learning is told once, and what an allow-list does not name too.
//!
//! All that a tenant does goes to one shard: whether something is new is a question to the whole company.

use std::borrow::Cow;
use std::collections::HashSet;

use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{
    Batch, DAY, Detector, Findings, Keyed, Manifest, Row, Rule, Severity, Texts, col, config, network,
};

mod client;
mod rules;

/// How long an asset is remembered that nobody uses.
const KEEP: i64 = 90 * DAY;

config! {
    /// What is known, and what may be used.
    pub struct Config {
        /// Days of learning, from the first event of a kind, in which nothing is new. A week has all that is used at weekends and at
        /// the week's beginning.
        pub learning_days: i64 = 7,
        /// Models that may be called; `*` at the end stands for any rest. Empty: no list.
        pub allowed_models: Vec<String> = Vec::new(),
        /// Providers that may be called.
        pub allowed_providers: Vec<String> = Vec::new(),
        /// MCP servers that may be used.
        pub allowed_mcp_servers: Vec<String> = Vec::new(),
        /// Agents that may act.
        pub allowed_agents: Vec<String> = Vec::new(),
        /// Assets remembered per shard; beyond it the one unused for longest is forgotten, and would be new again.
        pub max_assets: usize = 50_000,
    }
}

/// What is remembered.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct State {
    /// Whether an asset was seen. Used to the day: what is new must not depend on how events come in pieces.
    assets: Keyed<bool>,
    /// When a kind of asset was first seen at a tenant.
    began: Keyed<Option<i64>>,
}

/// The detector.
pub struct AssetInventory {
    config: Config,
}

/// A kind of asset.
struct Kind<'a> {
    name: &'static str,
    rule: &'static Rule,
    column: Texts<'a>,
    /// What may be used; empty: no list.
    allowed: &'a [String],
}

/// An asset of an event.
struct Asset<'a> {
    kind: &'static str,
    rule: &'static Rule,
    value: &'a str,
    /// From where it is used, if that is part of what is asked whether it is new; else empty.
    place: Cow<'a, str>,
    allowed: bool,
    severity: Severity,
}

impl Detector for AssetInventory {
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<Self, String> {
        if config.learning_days < 0 {
            return Err(format!("learning_days = {}: valid is 0 and more", config.learning_days));
        }
        Ok(Self { config })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "asset-inventory",
            version: env!("CARGO_PKG_VERSION"),
            description: "Models, providers, keys, agents, MCP servers, collections and programs that are new or not allowed, and calls past the gateway.",
            layers: &["gateway", "agent", "vector_db", "cloud", "network"],
            columns: &[
                col::TENANT.name,
                col::LAYER.name,
                col::STATUS.name,
                col::AI_MODEL_NAME.name,
                col::AI_MODEL_AI_PROVIDER.name,
                col::GATEWAY_KEY_UID.name,
                col::AI_AGENT_UID.name,
                col::MCP_SERVER_UID.name,
                col::COLLECTION_UID.name,
                col::HTTP_REQUEST_USER_AGENT.name,
                col::SRC_ENDPOINT_IP.name,
                col::DST_ENDPOINT_NAME.name,
                col::DST_ENDPOINT_PORT.name,
            ],
            key: &[col::TENANT.name],
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, state: &mut State, batch: &Batch, out: &mut Findings) {
        let tenants = batch.text(col::TENANT);
        let statuses = batch.text(col::STATUS);
        let kinds = self.kinds(batch);
        let clients = Clients::of(batch);
        // The same few assets stand in most rows: each is asked for once a day and batch.
        let mut asked: HashSet<(&str, &str, &str, Cow<str>)> = HashSet::new();
        let mut asked_day = i64::MIN;
        for row in batch.rows() {
            // What does not exist can be asked for, too.
            if statuses.get(row) == Some("Failure") {
                continue;
            }
            let (tenant, time) = (tenants.get(row).unwrap_or_default(), batch.time(row));
            if asked_day != time.div_euclid(DAY) {
                asked_day = time.div_euclid(DAY);
                asked.clear();
            }
            let named = kinds.iter().filter_map(|kind| kind.asset(row));
            for asset in named.chain(clients.asset(row)).chain(clients.direct(row)) {
                if !asked.insert((tenant, asset.kind, asset.value, asset.place.clone())) {
                    continue;
                }
                if let Some((rule, severity, message)) = self.judge(state, tenant, time, asset) {
                    out.detect(rule, row).severity(severity).message(message);
                }
            }
        }
    }
}

impl AssetInventory {
    fn kinds<'a>(&'a self, batch: &'a Batch) -> [Kind<'a>; 6] {
        let kind = |name, rule: &'static Rule, column, allowed: &'a [String]| Kind {
            name,
            rule,
            column: batch.text(column),
            allowed,
        };
        let config = &self.config;
        [
            kind("model", &rules::MODEL, col::AI_MODEL_NAME, &config.allowed_models),
            kind(
                "provider",
                &rules::PROVIDER,
                col::AI_MODEL_AI_PROVIDER,
                &config.allowed_providers,
            ),
            kind("gateway key", &rules::KEY, col::GATEWAY_KEY_UID, &[]),
            kind("agent", &rules::AGENT, col::AI_AGENT_UID, &config.allowed_agents),
            kind(
                "MCP server",
                &rules::SERVER,
                col::MCP_SERVER_UID,
                &config.allowed_mcp_servers,
            ),
            kind("collection", &rules::COLLECTION, col::COLLECTION_UID, &[]),
        ]
    }

    fn judge(
        &self,
        state: &mut State,
        tenant: &str,
        time: i64,
        asset: Asset,
    ) -> Option<(&'static Rule, Severity, String)> {
        let day = time.div_euclid(DAY) * DAY;
        let began = state.began.at(
            &format!("{tenant}\0{}", asset.kind),
            day,
            self.config.max_assets,
            i64::MAX / 2,
        );
        let began = *began.get_or_insert(time);
        let Asset { kind, value, place, .. } = &asset;
        let key = format!("{tenant}\0{kind}\0{value}\0{place}");
        let known = state.assets.at(&key, day, self.config.max_assets, KEEP);
        if std::mem::replace(known, true) {
            return None;
        }
        if !asset.allowed {
            let message = format!("the {kind} {value} is not on the list");
            return Some((&rules::UNLISTED, rules::UNLISTED.severity, message));
        }
        let learnt = time.saturating_sub(began) >= self.config.learning_days.saturating_mul(DAY);
        let message = || match place.as_ref() {
            "" => format!("first use of the {kind} {value}"),
            place => format!("first use of {value} from {place}"),
        };
        learnt.then(|| (asset.rule, asset.severity, message()))
    }
}

impl<'a> Kind<'a> {
    fn asset(&self, row: Row) -> Option<Asset<'a>> {
        let value = self
            .column
            .get(row)
            .filter(|value| !value.is_empty() && *value != "-")?;
        Some(Asset {
            kind: self.name,
            rule: self.rule,
            value,
            place: Cow::Borrowed(""),
            allowed: self.allowed.is_empty() || is_listed(value, self.allowed),
            severity: self.rule.severity,
        })
    }
}

fn is_listed(value: &str, list: &[String]) -> bool {
    list.iter().any(|allowed| match allowed.strip_suffix('*') {
        Some(beginning) => value.starts_with(beginning),
        None => value == allowed,
    })
}

/// The columns that tell of programs.
struct Clients<'a> {
    layers: Texts<'a>,
    models: Texts<'a>,
    agents: Texts<'a>,
    addresses: Texts<'a>,
    hosts: Texts<'a>,
    ports: sentrail_plugin::Numbers<'a, i64>,
}

impl<'a> Clients<'a> {
    fn of(batch: &'a Batch) -> Clients<'a> {
        Clients {
            layers: batch.text(col::LAYER),
            models: batch.text(col::AI_MODEL_NAME),
            agents: batch.text(col::HTTP_REQUEST_USER_AGENT),
            addresses: batch.text(col::SRC_ENDPOINT_IP),
            hosts: batch.text(col::DST_ENDPOINT_NAME),
            ports: batch.int64(col::DST_ENDPOINT_PORT),
        }
    }

    /// The program that calls a model, with the network from which it does.
    fn asset(&self, row: Row) -> Option<Asset<'a>> {
        let calls = matches!(self.layers.get(row), Some("gateway" | "agent")) || self.models.get(row).is_some();
        let agent = self.agents.get(row).filter(|_| calls)?;
        let program = client::program(agent)?;
        let place = self.addresses.get(row).and_then(network)?;
        let severity = if client::by_hand(program) {
            Severity::Low
        } else {
            rules::CLIENT.severity
        };
        Some(Asset {
            kind: "program",
            rule: &rules::CLIENT,
            value: program,
            place: place.into(),
            allowed: true,
            severity,
        })
    }

    /// A connection past the gateway.
    fn direct(&self, row: Row) -> Option<Asset<'a>> {
        self.layers.get(row).filter(|layer| *layer == "network")?;
        let provider = client::provider(self.hosts.get(row), self.ports.get(row))?;
        let from = self.addresses.get(row)?;
        Some(Asset {
            kind: "direct call",
            rule: &rules::DIRECT,
            value: provider,
            place: from.into(),
            allowed: true,
            severity: rules::DIRECT.severity,
        })
    }
}

sentrail_plugin::export!(AssetInventory);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::AssetInventory);
}
