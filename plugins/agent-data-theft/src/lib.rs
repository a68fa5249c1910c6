//! Data that agents are made to collect and send out, as the traffic and the audit logs of agents tell it.
//!
//! A call is judged by itself; and of each session it is remembered when it read what is sensitive, so that what it sends next is told.

use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{Batch, Detector, Findings, Keyed, MINUTE, Manifest, Members, Severity, col, config};

mod flow;
mod outward;
mod rules;
mod sought;

config! {
    /// What is too much, and for how long a session is remembered.
    pub struct Config {
        /// Rows, records or files in one answer. An agent's context holds hundreds; ten thousand are for no reader.
        pub rows: u64 = 10_000,
        /// Bytes in one answer: 50 MB are no text for a model.
        pub bytes: u64 = 50_000_000,
        /// Minutes from a read of something sensitive in which a tool that sends is a sequence. An agent goes from step to step in
        /// seconds; a quarter of an hour leaves time for a person to answer.
        pub sequence_minutes: i64 = 15,
        /// Sessions remembered per shard; beyond it the one silent for longest is forgotten.
        pub max_sessions: usize = 20_000,
    }
}

/// The detector.
pub struct AgentDataTheft {
    config: Config,
}

/// What a session read last of what is sensitive, by event time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Session {
    read: Option<i64>,
}

impl Detector for AgentDataTheft {
    type Config = Config;
    type State = Keyed<Session>;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self { config })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "agent-data-theft",
            version: env!("CARGO_PKG_VERSION"),
            description: "Data that agents are made to collect and send out: drops, encoded parameters, whole stores, credentials, reads and then sends.",
            layers: &["agent"],
            columns: &[
                col::API_REQUEST_DATA.name,
                col::FORMAT.name,
                col::RAW.name,
                col::AI_TOOL_NAMES.name,
                col::RESOURCE_UID.name,
                col::STATUS.name,
            ],
            key: &[
                col::MESSAGE_CONTEXT_UID.name,
                col::AI_AGENT_UID.name,
                col::ACTOR_USER_UID.name,
            ],
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, sessions: &mut Keyed<Session>, batch: &Batch, out: &mut Findings) {
        let tools = batch.texts(col::AI_TOOL_NAMES);
        let resources = batch.text(col::RESOURCE_UID);
        let statuses = batch.text(col::STATUS);
        for row in batch.rows() {
            let members = Members::of(batch, row);
            let findings = [
                (&rules::OUTWARD, outward::sent(&members)),
                (&rules::CALLBACK, outward::callback(&members)),
                (&rules::ENCODED, outward::encoded(&members)),
                (&rules::CONTEXT, outward::context(&members)),
                (&rules::PASSED, flow::passed(&members)),
                (&rules::DUMP, sought::everything(&members, &self.config)),
                (&rules::SOUGHT, sought::credentials(&members)),
                (&rules::DISCLOSED, sought::internals(&members)),
            ];
            for (rule, why) in findings {
                if let Some(why) = why {
                    out.detect(rule, row).message(why);
                }
            }
            if let Some((secret, why)) = outward::copied(&members) {
                // Companies archive their mail so.
                let severity = if secret { rules::OUTWARD.severity } else { Severity::Low };
                out.detect(&rules::OUTWARD, row).severity(severity).message(why);
            }
            let (Some(key), Some(tool)) = (batch.key(row), tools.get(row).next()) else {
                continue;
            };
            if statuses.get(row) == Some("Failure") {
                continue;
            }
            let (time, window) = (batch.time(row), self.config.sequence_minutes.saturating_mul(MINUTE));
            let session = sessions.at(key, time, self.config.max_sessions, window);
            if flow::reads_sensitive(tool, &members, resources.get(row)) {
                session.read = session.read.max(Some(time));
            } else if flow::sends(tool)
                && let Some(read) = session.read.filter(|read| *read <= time && time - *read <= window)
            {
                session.read = None;
                let seconds = (time - read) / sentrail_plugin::SECOND;
                let message = format!(
                    "{} was called {seconds} s after a read of what is sensitive",
                    outward::clipped(tool)
                );
                out.detect(&rules::SEQUENCE, row).message(message);
            }
        }
    }
}

sentrail_plugin::export!(AgentDataTheft);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::AgentDataTheft);
}
