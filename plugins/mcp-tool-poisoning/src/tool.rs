//! Descriptions of tools, wherever a record holds them, and what is remembered of them.

use std::collections::BTreeMap;

use sentrail_plugin::json::Value;
use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{DAY, RecentSet, Search, hash};

/// Members by which an object describes a tool.
const DESCRIBING: [&str; 8] = [
    "description",
    "tool_description",
    "inputSchema",
    "input_schema",
    "annotations",
    "parameters",
    "outputSchema",
    "metadata",
];
/// How long a finding is not told again of the same server.
const TOLD: i64 = DAY;
/// Findings remembered per server.
const TOLD_MAX: usize = 256;
/// Tools remembered per server: servers have dozens.
const TOOLS_MAX: usize = 512;

/// A tool as a server describes it.
pub struct Tool<'a> {
    pub name: &'a str,
    pub object: &'a Value,
}

/// The tools that a document describes: elements of `tools`, and the document itself where it names a tool and describes it.
pub fn described(document: &Value) -> Vec<Tool<'_>> {
    let mut tools = Vec::new();
    collect(document, false, &mut tools);
    tools
}

fn collect<'a>(value: &'a Value, listed: bool, tools: &mut Vec<Tool<'a>>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, listed, tools)),
        Value::Object(members) => {
            let names: &[&str] = if listed { &["name", "tool_name"] } else { &["tool_name"] };
            let name = names.iter().find_map(|name| members.get(*name)?.as_str());
            let describes = |name: &&str| match *name {
                // What a tool is called with is often called so, too.
                "parameters" | "metadata" => members
                    .get(*name)
                    .is_some_and(|member| listed || holds_description(member)),
                name => members.contains_key(name),
            };
            if let Some(name) = name.filter(|_| DESCRIBING.iter().any(describes)) {
                return tools.push(Tool { name, object: value });
            }
            for (name, member) in members {
                collect(member, name == "tools", tools);
            }
        }
        _ => {}
    }
}

fn holds_description(value: &Value) -> bool {
    value.get("description").is_some()
}

impl Tool<'_> {
    /// Every text of it but its name.
    pub fn texts(&self) -> Vec<&str> {
        let mut texts = Vec::new();
        add_texts(self.object, &mut texts);
        texts
    }

    /// What changes when what the tool is said to be does.
    fn digest(&self) -> u64 {
        let parts = ["description", "tool_description", "inputSchema", "input_schema"];
        let parts: Vec<String> = parts
            .iter()
            .filter_map(|name| self.object.get(*name))
            .map(Value::to_string)
            .collect();
        hash(&parts.join("\n"))
    }
}

/// Whether a parameter of this name is filled with what the model holds, and not with what the tool needs.
pub fn asks_for_context(name: &str) -> bool {
    let names = [
        "conversation_history",
        "chat_history",
        "system_prompt",
        "chain_of_thought",
        "environment_variables",
        "tools_list",
        "previous_messages",
        "content_from_reading",
    ];
    names
        .iter()
        .any(|part| name.len() <= 64 && name.to_ascii_lowercase().holds(part))
}

/// Names of parameters are read by the model as well.
fn add_texts<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| add_texts(item, texts)),
        Value::Object(members) => {
            for (name, member) in members {
                texts.push(name);
                add_texts(member, texts);
            }
        }
        _ => {}
    }
}

/// What is remembered of a server: its tools as they were seen last, as hashes of name and description, and what was told of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Known {
    tools: BTreeMap<u64, u64>,
    told: RecentSet,
    /// What is told once and for all.
    named: bool,
}

impl Known {
    /// Whether the rule was not told of what it judged yet on the day.
    pub fn tells(&mut self, rule: &str, judged: u64, time: i64) -> bool {
        let what = format!("{rule}\n{}\n{judged}", time.div_euclid(TOLD));
        self.told.insert(TOLD, TOLD_MAX, time, &what).new
    }

    /// Whether the server's name was not told yet.
    pub fn names(&mut self) -> bool {
        !std::mem::replace(&mut self.named, true)
    }

    /// Whether the tool was known as another.
    pub fn changes(&mut self, tool: &Tool) -> bool {
        let (name, digest) = (hash(tool.name), tool.digest());
        if self.tools.len() >= TOOLS_MAX && !self.tools.contains_key(&name) {
            return false;
        }
        self.tools.insert(name, digest).is_some_and(|before| before != digest)
    }
}
