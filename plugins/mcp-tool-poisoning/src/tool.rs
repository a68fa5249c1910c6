//! Descriptions of tools, wherever a record holds them, and what is remembered of them.

use std::collections::BTreeMap;

use sentrail_plugin::hash;
use sentrail_plugin::json::Value;
use sentrail_plugin::serde::{Deserialize, Serialize};

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
        .any(|part| name.len() <= 64 && name.to_ascii_lowercase().contains(part))
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

/// The tools of a server as they were seen last: hashes of name and description.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Known(BTreeMap<u64, u64>);

impl Known {
    /// Whether the tool was known as another.
    pub fn changes(&mut self, tool: &Tool) -> bool {
        let (name, digest) = (hash(tool.name), tool.digest());
        if self.0.len() >= TOOLS_MAX && !self.0.contains_key(&name) {
            return false;
        }
        self.0.insert(name, digest).is_some_and(|before| before != digest)
    }
}
