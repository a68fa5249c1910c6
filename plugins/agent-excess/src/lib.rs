//! Agents that do too much: bursts, destruction, loops, payments, other agents' work, and servers and tools they never used before.
//!
//! A record is judged by its names and numbers, and each call against what the agent did before.

use sentrail_plugin::{Batch, DAY, Detector, Findings, Keyed, MINUTE, Manifest, Members, col, config};

mod habit;
mod record;
mod rules;

use habit::{Agent, Call, Session};

config! {
    /// What is too much, and when an agent is known.
    pub struct Config {
        /// Days of event time after which an agent is known and what it never used is new. A week holds what it does on every weekday.
        pub learning_days: i64 = 7,
        /// Days for which a server or tool counts as used. What happens once a month stays known.
        pub remember_days: i64 = 45,
        /// Minutes that bursts and loops are of.
        pub window_minutes: i64 = 5,
        /// Distinct tools within the window. A task takes a handful; agents with dozens at hand use some ten.
        pub tools: u64 = 20,
        /// Destructive calls within the window. Cleaning up after a task takes a few.
        pub destructive: u64 = 8,
        /// The same call with the same arguments in a row within the window. Polling for a result is slower or ends sooner.
        pub repeats: u64 = 15,
        /// Calls a minute that a record counts. People and agents that wait for answers make some tens.
        pub calls_per_minute: u64 = 100,
        /// Iterations, hops or retries that a record counts. Frameworks stop at 10 to 25 by themselves.
        pub depth: u64 = 30,
        /// Consents that a record counts: one asks for a handful in a session.
        pub consents: u64 = 10,
        /// Amount that an agent moves without an approval being named, in the record's currency.
        pub payment: u64 = 5_000,
        /// Agents remembered per shard; beyond it the one silent for longest is forgotten.
        pub max_agents: usize = 5_000,
        /// Sessions remembered per shard, for the window; beyond it the one silent for longest is forgotten.
        pub max_sessions: usize = 10_000,
    }
}

/// The detector.
pub struct AgentExcess {
    config: Config,
}

impl Detector for AgentExcess {
    type Config = Config;
    type State = (Keyed<Agent>, Keyed<Session>);

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self { config })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "agent-excess",
            version: env!("CARGO_PKG_VERSION"),
            description: "Agents that do too much: bursts, destruction, loops, payments, abuse of other agents, and servers and tools that are new to them.",
            layers: &["agent"],
            columns: &[
                col::API_REQUEST_DATA.name,
                col::FORMAT.name,
                col::RAW.name,
                col::AI_TOOL_NAMES.name,
                col::MCP_SERVER_UID.name,
                col::STATUS.name,
                col::MESSAGE_CONTEXT_UID.name,
                col::ACTOR_USER_UID.name,
            ],
            state_version: 2,
            key: &[
                col::AI_AGENT_UID.name,
                col::MESSAGE_CONTEXT_UID.name,
                col::ACTOR_USER_UID.name,
            ],
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, (agents, sessions): &mut Self::State, batch: &Batch, out: &mut Findings) {
        let tools = batch.texts(col::AI_TOOL_NAMES);
        let servers = batch.text(col::MCP_SERVER_UID);
        let statuses = batch.text(col::STATUS);
        let contexts = batch.text(col::MESSAGE_CONTEXT_UID);
        let users = batch.text(col::ACTOR_USER_UID);
        let requests = batch.text(col::API_REQUEST_DATA);
        for row in batch.rows() {
            let members = Members::of(batch, row);
            let flood = record::flooded(&members, &self.config);
            let (loops, floods) = match flood {
                Some((true, why)) => (Some(why), None),
                Some((false, why)) => (None, Some(why)),
                None => (None, None),
            };
            let findings = [
                (&rules::DESTROYED, record::destroyed(&members)),
                (&rules::LOOP, loops),
                (&rules::FLOOD, floods),
                (&rules::FATIGUE, record::fatigued(&members, &self.config)),
                (&rules::PAID, record::paid(&members, &self.config)),
                (&rules::ABUSED, record::abused(&members)),
            ];
            let failed = statuses.get(row) == Some("Failure");
            for (rule, why) in findings {
                if let Some(why) = why {
                    let severity = if failed { rule.severity.lower() } else { rule.severity };
                    out.detect(rule, row).severity(severity).message(why);
                }
            }
            let (Some(key), Some(tool)) = (batch.key(row), tools.get(row).next()) else {
                continue;
            };
            let call = Call {
                time: batch.time(row),
                server: servers.get(row),
                tool,
                arguments: requests.get(row),
                failed,
                late: batch.is_late(row),
            };
            let idle = self.config.remember_days.saturating_mul(DAY);
            let agent = agents.at(key, call.time, self.config.max_agents, idle);
            let habits = agent.judge(&self.config, &call);
            let of = contexts.get(row).or(users.get(row)).unwrap_or_default();
            let window = self.config.window_minutes.saturating_mul(MINUTE);
            let session = sessions.at(&format!("{key}\n{of}"), call.time, self.config.max_sessions, window);
            for (rule, why) in habits.into_iter().chain(session.judge(&self.config, &call)) {
                out.detect(rule, row).message(why);
            }
        }
    }
}

sentrail_plugin::export!(AgentExcess);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::AgentExcess);
}
