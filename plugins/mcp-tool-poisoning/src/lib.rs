//! Tools and data that steer an agent: instructions where none belong, hidden characters, names that deceive, tools that change, and
//! servers that nobody vouches for.
//!
//! A text is judged by itself. What a server's tools are is remembered per server, so that one that changes is told.

use sentrail_plugin::json::{self, Value};
use sentrail_plugin::{
    Batch, DAY, Detector, Findings, Keyed, Manifest, Member, Members, Rule, Severity, col, config, hash,
};

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

/// One finding: the rule, how severe it is here, a hash of what was judged, and why.
struct Finding {
    rule: &'static Rule,
    severity: Severity,
    judged: u64,
    message: String,
}

/// What one record shows, at most one finding a rule and a text.
#[derive(Default)]
struct Found(Vec<Finding>);

impl Found {
    fn add(&mut self, rule: &'static Rule, judged: &str, message: impl Into<String>) {
        self.add_as(rule.severity, rule, judged, message);
    }

    fn add_as(&mut self, severity: Severity, rule: &'static Rule, judged: &str, message: impl Into<String>) {
        let judged = hash(judged);
        if !self.0.iter().any(|one| one.rule.id == rule.id && one.judged == judged) {
            self.0.push(Finding {
                rule,
                severity,
                judged,
                message: message.into(),
            });
        }
    }
}

/// Members that name what is called by its name.
const NAMES: [&str; 11] = [
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
    "agent_name",
];
/// Members that only show a name, or a name among other things.
const SHOWN: [&str; 2] = ["image", "display_name"];
/// Those of [`NAMES`] that are trusted for who they say they are.
const MAKERS: [&str; 7] = [
    "server_name",
    "server_id",
    "server",
    "mcp_server",
    "package_name",
    "package",
    "publisher",
];
/// Characters without width of one text that no program left there by chance.
const WIDTHLESS_MIN: usize = 3;
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
    if let Some(what) = hidden(tool.name) {
        found.add(&rules::HIDDEN, tool.name, format!("the name of `{name}` holds {what}"));
    }
    if let Some(why) = look::deceptive(tool.name).or_else(|| look::padded(tool.name)) {
        found.add(&rules::NAME, tool.name, why);
    }
    for text in tool.texts() {
        if tool::asks_for_context(text) {
            let why = format!("`{name}` has a parameter for `{}`", look::clipped(text));
            found.add(&rules::DESCRIPTION, text, why);
        }
        if let Some(what) = hidden(text) {
            found.add(
                &rules::HIDDEN,
                text,
                format!("the description of `{name}` holds {what}"),
            );
        }
        if let Some(why) = instruction::found(text, true) {
            found.add(&rules::DESCRIPTION, text, format!("the description of `{name}` {why}"));
        }
    }
}

/// What is hidden in a text that a server's maker wrote for models.
fn hidden(text: &str) -> Option<&'static str> {
    look::hidden(text).or_else(|| (look::widthless(text) > 0).then_some(WIDTHLESS))
}

const WIDTHLESS: &str = "characters without width";

/// Why the name that a member holds deceives.
fn misnamed(member: &Member) -> Option<String> {
    let name = member.text.as_str();
    if member.is(&SHOWN) {
        return look::deceptive(name);
    }
    if !member.is(&NAMES) {
        return None;
    }
    let of_maker = || member.is(&MAKERS).then(|| look::imitates(name)).flatten();
    look::deceptive(name).or_else(|| look::padded(name)).or_else(of_maker)
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
        let text = member.text.as_str();
        let described = member.has(&["description", "schema", "annotation", "metadata"]);
        let unseen = if described { hidden(text) } else { look::hidden(text) };
        if let Some(what) = unseen {
            found.add(&rules::HIDDEN, text, format!("`{}` holds {what}", member.name));
        } else if look::widthless(text) >= WIDTHLESS_MIN {
            // Pages and documents hold them for the sake of line breaks, too.
            let severity = if is_memory {
                rules::HIDDEN.severity
            } else {
                Severity::Low
            };
            let why = format!("`{}` holds {WIDTHLESS}", member.name);
            found.add_as(severity, &rules::HIDDEN, text, why);
        }
        if let Some(why) = misnamed(member) {
            found.add(&rules::NAME, text, why);
        }
        if member.has(&["command", "cmd", "line"])
            && let Some(why) = look::deceptive_package(text)
        {
            found.add(&rules::NAME, text, why);
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
                text,
                format!("`{}` is {}", member.name, look::clipped(&member.text)),
            );
        }
        if let Some(why) = instruction::found(text, described) {
            let rule = match (described, is_memory, is_message) {
                (_, true, _) => &rules::MEMORY,
                (true, ..) => &rules::DESCRIPTION,
                (_, _, true) => &rules::MESSAGE,
                _ => &rules::DATA,
            };
            found.add(rule, text, format!("`{}` {why}", member.name));
        }
    }
    if let Some(what) = trust::lacks(members) {
        found.add(&rules::UNVERIFIED, &what, what.as_str());
    }
    if let Some(what) = trust::differs(members) {
        found.add(&rules::DEFINITION, &what, what.as_str());
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
            state_version: 2,
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, servers: &mut Keyed<tool::Known>, batch: &Batch, out: &mut Findings) {
        let answers = batch.text(col::API_RESPONSE_DATA);
        let names = batch.text(col::MCP_SERVER_UID);
        let idle = self.config.remember_days.saturating_mul(DAY);
        for row in batch.rows() {
            let mut found = Found::default();
            let time = batch.time(row);
            let mut known = batch
                .key(row)
                .map(|key| servers.at(key, time, self.config.max_servers, idle));
            let document = |text: &str| json::from_str::<Value>(text).ok();
            let asked = Members::text(batch, row).and_then(document);
            let answer = answers.get(row).and_then(document);
            let mut told: Vec<&str> = Vec::new();
            let mut described = false;
            for tool in [&answer, &asked].into_iter().flatten().flat_map(tool::described) {
                described = true;
                describe(&tool, &mut found);
                // A late row is of a state that was left since.
                if let Some(known) = known.as_mut().filter(|_| !batch.is_late(row))
                    && known.changes(&tool)
                    && !told.contains(&rules::CHANGED.id)
                {
                    told.push(rules::CHANGED.id);
                    let name = look::clipped(tool.name);
                    let why = format!("`{name}` has another description than before");
                    out.detect(&rules::CHANGED, row).message(why);
                }
            }
            if let Some(why) = names.get(row).and_then(look::imitates)
                && known.as_mut().is_none_or(|known| known.names())
            {
                told.push(rules::NAME.id);
                out.detect(&rules::NAME, row).message(why);
            }
            for document in [asked, answer.filter(|_| !described)].into_iter().flatten() {
                read(&Members::of_value(&document), &mut found);
            }
            for one in found.0 {
                // A rule is told once of a record, of the first text that was not told before.
                if told.contains(&one.rule.id)
                    || !known
                        .as_mut()
                        .is_none_or(|known| known.tells(one.rule.id, one.judged, time))
                {
                    continue;
                }
                told.push(one.rule.id);
                out.detect(one.rule, row).severity(one.severity).message(one.message);
            }
        }
    }
}

sentrail_plugin::export!(McpToolPoisoning);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::McpToolPoisoning);
}
