//! Tools and data that steer an agent: instructions where none belong, hidden characters, names that deceive, tools that change, and
//! servers that nobody vouches for.
//!
//! A text is judged by itself. What a server's tools are is remembered per server, so that one that changes is told.

use sentrail_plugin::json::{self, Value};
use sentrail_plugin::{Batch, DAY, Detector, Findings, Keyed, Manifest, Members, Rule, col, config};

mod instruction;
mod look;
mod rules;
mod tool;
mod trust;

config! {
    /// What is remembered of servers.
    pub struct Config {
        /// Days for which a server's tools are remembered after it was seen last. A server that is back after a quarter is another one.
        pub remember_days: i64 = 90,
        /// Servers remembered per shard; beyond it the one silent for longest is forgotten.
        pub max_servers: usize = 2_000,
    }
}

/// The detector.
pub struct McpToolPoisoning {
    config: Config,
}

/// What one record shows, at most one finding a rule.
#[derive(Default)]
struct Found(Vec<(&'static Rule, String)>);

impl Found {
    fn add(&mut self, rule: &'static Rule, message: impl Into<String>) {
        if !self.0.iter().any(|(found, _)| found.id == rule.id) {
            self.0.push((rule, message.into()));
        }
    }
}

/// Members that name who or what is trusted by its name.
const NAMES: [&str; 13] = [
    "tool_name",
    "tool",
    "tool_id",
    "server_name",
    "server_id",
    "server",
    "mcp_server",
    "package_name",
    "package",
    "publisher",
    "image",
    "agent_name",
    "display_name",
];
/// Parts of names of tools and members that keep what agents look up later.
const MEMORIES: [&str; 9] = [
    "memory",
    "memorie",
    "embedding",
    "knowledge",
    "vector",
    "remember",
    "upsert",
    "rag",
    "training",
];
/// Members by which a record is of what agents say to one another.
const AGENTS: [&str; 8] = [
    "source_agent",
    "target_agent",
    "sender_agent",
    "receiver_agent",
    "from_agent",
    "to_agent",
    "source_agent_id",
    "target_agent_id",
];

fn describe(tool: &tool::Tool, found: &mut Found) {
    let name = look::clipped(tool.name);
    if let Some(what) = look::hidden(tool.name) {
        found.add(&rules::HIDDEN, format!("the name of `{name}` holds {what}"));
    }
    if let Some(why) = look::deceptive(tool.name) {
        found.add(&rules::NAME, why);
    }
    for text in tool.texts() {
        if tool::asks_for_context(text) {
            let why = format!("`{name}` has a parameter for `{}`", look::clipped(text));
            found.add(&rules::DESCRIPTION, why);
        }
        if let Some(what) = look::hidden(text) {
            found.add(&rules::HIDDEN, format!("the description of `{name}` holds {what}"));
        }
        if let Some(why) = instruction::found(text, true) {
            found.add(&rules::DESCRIPTION, format!("the description of `{name}` {why}"));
        }
    }
}

fn read(members: &Members, found: &mut Found) {
    let keeps = |text: &str| {
        let text = text.to_ascii_lowercase();
        MEMORIES
            .iter()
            .any(|part| text.split(['_', '-', '.', '/', ' ']).any(|word| word == *part))
    };
    let is_memory = members.iter().any(|one| {
        one.has(&MEMORIES) || (one.is(&["name", "tool_name", "operation", "event_type"]) && keeps(&one.text))
    });
    let is_message = members.iter().any(|one| one.is(&AGENTS));
    for member in members.iter() {
        if let Some(what) = look::hidden(&member.text) {
            found.add(&rules::HIDDEN, format!("`{}` holds {what}", member.name));
        }
        if member.is(&NAMES)
            && let Some(why) = look::deceptive(&member.text)
        {
            found.add(&rules::NAME, why);
        }
        if member.has(&["command", "cmd", "line"])
            && let Some(why) = look::deceptive_package(&member.text)
        {
            found.add(&rules::NAME, why);
        }
        let collides = member.is(&[
            "duplicate_of",
            "conflicts_with",
            "collides_with",
            "shadows",
            "name_conflict",
        ]) || member.has(&["collision", "shadowed", "shadowing"]);
        if collides && !matches!(&*member.text.to_ascii_lowercase(), "" | "false" | "none" | "no" | "0") {
            found.add(
                &rules::NAME,
                format!("`{}` is {}", member.name, look::clipped(&member.text)),
            );
        }
        let described = member.has(&["description", "schema", "annotation", "metadata"]);
        if let Some(why) = instruction::found(&member.text, described) {
            let rule = match (described, is_memory, is_message) {
                (_, true, _) => &rules::MEMORY,
                (true, ..) => &rules::DESCRIPTION,
                (_, _, true) => &rules::MESSAGE,
                _ => &rules::DATA,
            };
            found.add(rule, format!("`{}` {why}", member.name));
        }
    }
    if let Some(what) = trust::lacks(members) {
        found.add(&rules::UNVERIFIED, what);
    }
    if let Some(what) = trust::differs(members) {
        found.add(&rules::DEFINITION, what);
    }
}

impl Detector for McpToolPoisoning {
    type Config = Config;
    type State = Keyed<tool::Known>;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self { config })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "mcp-tool-poisoning",
            version: env!("CARGO_PKG_VERSION"),
            description: "Tools and data that steer an agent: instructions, hidden characters, deceptive names, changed tools, unverified servers.",
            layers: &["agent"],
            columns: &[
                col::API_REQUEST_DATA.name,
                col::API_RESPONSE_DATA.name,
                col::MCP_SERVER_UID.name,
                col::FORMAT.name,
                col::RAW.name,
            ],
            key: &[col::MCP_SERVER_UID.name],
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, servers: &mut Keyed<tool::Known>, batch: &Batch, out: &mut Findings) {
        let answers = batch.text(col::API_RESPONSE_DATA);
        let requests = batch.text(col::API_REQUEST_DATA);
        let raws = batch.text(col::RAW);
        let names = batch.text(col::MCP_SERVER_UID);
        for row in batch.rows() {
            let mut found = Found::default();
            let asked = Members::of(batch, row);
            let answer = answers.get(row).unwrap_or_default();
            let asked_text = requests.get(row).or(raws.get(row)).filter(|_| !asked.is_empty());
            let documents = [Some(answer), asked_text];
            let documents = documents
                .into_iter()
                .flatten()
                .filter_map(|text| json::from_str::<Value>(text).ok());
            let mut described = false;
            for document in documents {
                for tool in tool::described(&document) {
                    described = true;
                    describe(&tool, &mut found);
                    // A late row is of a state that was left since.
                    if let Some(key) = batch.key(row).filter(|_| !batch.is_late(row)) {
                        let idle = self.config.remember_days.saturating_mul(DAY);
                        let known = servers.at(key, batch.time(row), self.config.max_servers, idle);
                        if known.changes(&tool) {
                            let name = look::clipped(tool.name);
                            found.add(&rules::CHANGED, format!("`{name}` has another description than before"));
                        }
                    }
                }
            }
            if let Some(why) = names.get(row).and_then(look::deceptive) {
                found.add(&rules::NAME, why);
            }
            read(&asked, &mut found);
            if !described {
                read(&Members::read(answer), &mut found);
            }
            for (rule, message) in found.0 {
                out.detect(rule, row).message(message);
            }
        }
    }
}

sentrail_plugin::export!(McpToolPoisoning);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::McpToolPoisoning);
}
