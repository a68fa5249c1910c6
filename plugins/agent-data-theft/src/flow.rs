//! Data on its way: what reads what is sensitive, and what sends outward.

use sentrail_plugin::{Members, Search};

/// Words of tools and operations that take data out.
const SENDS: [&str; 17] = [
    "send",
    "post",
    "upload",
    "email",
    "mail",
    "publish",
    "webhook",
    "share",
    "push",
    "forward",
    "transmit",
    "export",
    "tweet",
    "sms",
    "exfiltrate",
    "outbound",
    "curl",
];
/// Words of tools that read.
const READS: [&str; 18] = [
    "read", "get", "list", "query", "search", "fetch", "load", "open", "download", "retrieve", "select", "cat",
    "extract", "scan", "dump", "lookup", "access", "collect",
];
/// Words of what only few may see.
const SECRET: [&str; 22] = [
    "secret",
    "credential",
    "password",
    "apikey",
    "vault",
    "keychain",
    "private",
    "confidential",
    "patient",
    "payroll",
    "salary",
    "salarie",
    "pii",
    "ssn",
    "phi",
    "medical",
    "restricted",
    "sensitive",
    "classified",
    "hr",
    "env",
    "ssh",
];
/// Words of what is worth taking, where a record names both ends of a chain.
const WORTH: [&str; 14] = [
    "token",
    "customer",
    "employee",
    "payment",
    "card",
    "invoice",
    "contract",
    "crm",
    "finance",
    "financial",
    "internal",
    "legal",
    "database",
    "backup",
];

fn is_worth(text: &str) -> bool {
    has(text, &SECRET) || has(text, &WORTH)
}

fn has(text: &str, words: &[&str]) -> bool {
    let mut before_lower = false;
    let mut split = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_uppercase() && before_lower {
            split.push(' ');
        }
        before_lower = c.is_lowercase();
        split.extend(c.to_lowercase());
    }
    split
        .split(|c: char| !c.is_alphanumeric())
        .any(|word| words.contains(&word) || word.strip_suffix('s').is_some_and(|one| words.contains(&one)))
}

/// Whether a tool of this name sends.
pub fn sends(tool: &str) -> bool {
    has(tool, &SENDS)
}

/// Whether what was asked is to read something sensitive: a store of it, a resource of that name, a path.
pub fn reads_sensitive(tool: &str, members: &Members, resource: Option<&str>) -> bool {
    let what = |text: &str| text.len() <= 512 && has(text, &SECRET);
    let named = members
        .iter()
        .filter(|one| {
            one.has(&[
                "path",
                "file",
                "uri",
                "resource",
                "table",
                "collection",
                "key",
                "name",
                "bucket",
                "database",
                "label",
                "classification",
                "sensitivity",
            ])
        })
        .any(|one| what(&one.text));
    (has(tool, &READS) && (what(tool) || named)) || resource.is_some_and(what)
}

/// A record that itself names both ends of a chain: a tool that reads what is sensitive, and one that sends.
pub fn passed(members: &Members) -> Option<String> {
    if members.is_authorised() {
        return None;
    }
    let source = members.get(&[
        "source_tool",
        "from_tool",
        "origin_tool",
        "source_server",
        "source_tool_name",
    ]);
    let target = members.get(&[
        "target_tool",
        "to_tool",
        "destination_tool",
        "target_server",
        "destination",
        "target_tool_name",
    ]);
    let about = members.iter().any(|one| {
        let told = one.has(&[
            "data",
            "classification",
            "sensitivity",
            "content",
            "payload",
            "type",
            "resource",
        ]);
        told && one.text.len() <= 2_048 && is_worth(&one.text)
    });
    if let (Some(source), Some(target)) = (source, target)
        && (is_worth(source) || about)
        && (sends(target) || target.holds("://"))
    {
        return Some("a tool that reads what is sensitive handed on to one that sends".to_owned());
    }
    let chain: Vec<&str> = members
        .iter()
        .filter(|one| one.has(&["chain", "sequence", "step", "tool", "call"]) && !one.has(&["id", "time", "count"]))
        .map(|one| one.text.as_str())
        .filter(|text| text.len() <= 256)
        .collect();
    let read = chain.iter().position(|tool| has(tool, &READS) && is_worth(tool))?;
    let is_chain = members.iter().any(|one| one.has(&["chain", "sequence"]));
    (is_chain && chain[read + 1..].iter().any(|tool| sends(tool)))
        .then(|| "a chain of tools reads what is sensitive and then sends".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_names() {
        assert!(sends("send_mail") && sends("chat.postMessage") && !sends("sender_list") && !sends("resend"));
        assert!(reads_sensitive(
            "read_file",
            &Members::read(r#"{"path":"hr/salaries-private.csv"}"#),
            None
        ));
        assert!(!reads_sensitive(
            "read_file",
            &Members::read(r#"{"path":"src/token_parser.rs"}"#),
            None
        ));
        assert!(!reads_sensitive(
            "read_file",
            &Members::read(r#"{"path":"docs/guide.md"}"#),
            None
        ));
    }
}
