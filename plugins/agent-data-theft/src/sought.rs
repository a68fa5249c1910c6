//! What is asked for: everything, or what nobody should find.

use sentrail_plugin::{Member, Members, Search};

use crate::Config;

/// Members that hold what somebody looks for or asks.
const QUESTIONS: [&str; 9] = [
    "query",
    "question",
    "search",
    "prompt",
    "input",
    "filter",
    "request",
    "message",
    "instruction",
];
const CREDENTIALS: [&str; 24] = [
    "credential",
    "password",
    "passwords",
    "credentials",
    "secret",
    "secrets",
    "api key",
    "api keys",
    "api_key",
    "api_keys",
    "access key",
    "access keys",
    "access token",
    "access tokens",
    "bearer token",
    "authentication token",
    "auth token",
    "private key",
    "private keys",
    "secret key",
    "connection string",
    "authentication details",
    "ssh key",
    "encryption key",
];
/// What makes a question one about how to do something.
const ABOUT: [&str; 18] = [
    "how do",
    "how to",
    "how can",
    "difference",
    "rotate",
    "rotation",
    "best practice",
    "policy",
    "policies",
    "documentation",
    "reset",
    "scan for",
    "change my",
    "forgot",
    "explain",
    "why ",
    "should i",
    "tutorial",
];
const WANTS: [&str; 19] = [
    "show", "get", "find", "retrieve", "list", "display", "give", "provide", "fetch", "what", "need", "reveal",
    "extract", "search", "dump", "tell", "return", "print", "which",
];

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
}

/// Whether `phrase` stands in `text` as whole words.
fn stands(text: &str, phrase: &str) -> bool {
    text.holds(phrase)
        && text.match_indices(phrase).any(|(at, _)| {
            let is_part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
            !is_part(text[..at].chars().next_back()) && !is_part(text[at + phrase.len()..].chars().next())
        })
}

/// A search of a store for credentials.
pub fn credentials(members: &Members) -> Option<String> {
    let is_store = members.iter().any(|one| {
        one.has(&[
            "vector",
            "embedding",
            "retrieval",
            "rag",
            "memory",
            "cache",
            "collection",
            "knowledge",
            "index",
        ]) || (one.is(&["tool_name", "name", "event_type"]) && one.has(&["tool", "event", "name"]) && {
            let tool = one.text.to_ascii_lowercase();
            ["search", "memory", "vector", "retriev", "recall", "knowledge"]
                .iter()
                .any(|part| tool.holds(part))
        })
    });
    if !is_store || members.is_authorised() {
        return None;
    }
    let is_authority = members
        .get(&["user_role", "role"])
        .is_some_and(|role| role.to_ascii_lowercase().holds("admin"));
    let asked = members
        .iter()
        .filter(|one| one.has(&QUESTIONS))
        .find(|one| seeks(&one.text))?;
    (!is_authority).then(|| format!("`{}` asks for credentials", asked.name))
}

fn seeks(text: &str) -> bool {
    let lower = text.to_lowercase();
    if ABOUT.iter().any(|about| lower.holds(about)) {
        return false;
    }
    let named = CREDENTIALS.iter().any(|credential| stands(&lower, credential));
    // `service access keys`, `token for the service`, `authentication configuration`.
    let part = |of: &[&str], with: &[&str]| {
        words(&lower).any(|word| of.contains(&word)) && words(&lower).any(|word| with.contains(&word))
    };
    let told = named
        || part(
            &["key", "keys", "token", "tokens"],
            &["api", "access", "service", "auth", "authentication", "secret"],
        )
        || part(
            &["authentication", "auth"],
            &["configuration", "config", "details", "settings"],
        )
        || part(
            &["stored", "saved", "cached", "remembered"],
            &["configurations", "keys", "logins", "tokens"],
        );
    told && (words(&lower).any(|word| WANTS.contains(&word)) || words(&lower).count() <= 4)
}

/// Questions for what an agent is made of.
pub fn internals(members: &Members) -> Option<String> {
    let asked = members
        .iter()
        .filter(|one| one.has(&QUESTIONS) || one.has(&["text", "content", "body"]))
        .find(|one| {
            let lower = one.text.to_lowercase();
            let wants = words(&lower)
                .any(|word| WANTS.contains(&word) || matches!(word, "repeat" | "output" | "enumerate" | "describe"));
            let prompt = [
                "everything above",
                "text above",
                "words above",
                "system prompt",
                "initial prompt",
                "initial instructions",
                "your instructions",
                "hidden instructions",
                "instructions you were given",
                "prompt above",
            ];
            let all = ["all", "every", "complete", "full", "hidden", "internal", "entire"];
            let tools = ["tools", "functions", "capabilities", "endpoints", "plugins", "servers"];
            let everything = words(&lower).any(|word| all.contains(&word))
                && words(&lower).any(|word| tools.contains(&word))
                && [
                    "available",
                    "parameters",
                    "schema",
                    "schemas",
                    "you have",
                    "access to",
                    "registered",
                    "connected",
                    "descriptions",
                ]
                .iter()
                .any(|part| lower.holds(part));
            wants && (prompt.iter().any(|part| lower.holds(part)) || everything)
        })?;
    Some(format!("`{}` asks for the agent's instructions or tools", asked.name))
}

/// Programs and statements that copy stores whole.
const DUMPS: [&str; 17] = [
    "mysqldump",
    "pg_dump",
    "mongodump",
    "mongoexport",
    "redis-cli --rdb",
    "bulkcopy",
    "into outfile",
    "into dumpfile",
    "copy (select",
    " to program '",
    "union select",
    "union all select",
    "__schema",
    "__type(",
    "xp_cmdshell",
    "' or '1'='1",
    "or 1=1",
];
const ARCHIVES: [&str; 5] = ["tar czf", "tar -czf", "tar cf", "zip -r", "7z a"];

/// More than a question needs.
pub fn everything(members: &Members, config: &Config) -> Option<String> {
    if members.is_authorised() {
        return None;
    }
    members.iter().find_map(|one| {
        let lower = one.text.to_lowercase();
        if let Some(part) = DUMPS.iter().find(|part| lower.holds(part)) {
            return Some(format!("`{}` holds `{part}`", one.name));
        }
        if dumps(&lower) {
            return Some(format!("`{}` holds `.dump`", one.name));
        }
        if one.has(&["command", "cmd", "argument", "arg", "pattern", "script"]) && takes_home(&lower) {
            return Some(format!("`{}` takes a directory whole", one.name));
        }
        if is_statement(one, &lower) && selects_all(&lower) {
            return Some(format!("`{}` selects a table whole", one.name));
        }
        is_much(one, config).then(|| format!("`{}` is {}", one.name, one.text))
    })
}

/// SQLite's `.dump`: a command of its own, and no method of that name.
fn dumps(lower: &str) -> bool {
    lower.holds(".dump")
        && lower.match_indices(".dump").any(|(at, part)| {
            let before = lower[..at].chars().next_back();
            let after = lower[at + part.len()..].chars().next();
            before.is_none_or(|c| c.is_whitespace() || matches!(c, '"' | '\''))
                && after.is_none_or(|c| c.is_whitespace() || matches!(c, '"' | '\'' | ';'))
        })
}

/// Whether the member's text is read as a statement of SQL: by its name, or because it begins as one.
fn is_statement(member: &Member, lower: &str) -> bool {
    member.has(&["sql", "statement", "command", "cmd", "script"]) || lower.trim_start().starts_with("select ")
}

/// An archive or a search of what is not the project.
fn takes_home(command: &str) -> bool {
    let archives = ARCHIVES.iter().any(|part| command.holds(part));
    let places = [" /home", " /root", " /etc", " /var", " ~", " $home", " /users", " / "];
    let searches = command.holds("find / ") || command.holds("find ~");
    searches || (archives && places.iter().any(|place| command.holds(place)))
}

fn is_much(member: &Member, config: &Config) -> bool {
    let of = [
        "record", "row", "document", "file", "result", "customer", "user", "email", "message", "chunk", "vector",
    ];
    let counted = [
        "returned",
        "exported",
        "count",
        "limit",
        "total",
        "extracted",
        "retrieved",
        "accessed",
        "read",
        "collected",
        "copied",
        "affected",
        "num",
    ];
    let number = member.number();
    // Models, sandboxes and gateways have limits of their own.
    let other = [
        "token",
        "rate",
        "time",
        "timeout",
        "ms",
        "second",
        "byte",
        "size",
        "char",
        "character",
        "length",
        "context",
        "memory",
        "cost",
        "budget",
    ];
    let rows = (member.has(&of) && (member.has(&counted) || member.is(&["records", "rows"])) || member.is(&["limit"]))
        && !member.has(&other);
    let bytes = member.has(&["byte", "size", "mb", "gb"])
        && member.has(&[
            "response",
            "extracted",
            "download",
            "downloaded",
            "transferred",
            "data",
            "result",
            "exported",
            "total",
        ]);
    let unit = if member.has(&["gb"]) {
        1e9
    } else if member.has(&["mb"]) {
        1e6
    } else {
        1.0
    };
    number
        .is_some_and(|number| (rows && number >= config.rows as f64) || (bytes && number * unit >= config.bytes as f64))
}

/// `SELECT … FROM people` of what people are known or let in by, without a condition or a limit.
fn selects_all(lower: &str) -> bool {
    let Some(at) = lower.find("select ") else { return false };
    let statement = &lower[at..];
    let from = statement
        .split_once(" from ")
        .map(|(columns, rest)| (columns.trim(), rest.trim()));
    let Some((columns, rest)) = from else { return false };
    // `Please select a customer from the list` names no columns.
    let is_column = |column: &str| {
        let mut words = column.split_whitespace().skip_while(|word| *word == "distinct");
        words.next().is_some() && words.next().is_none_or(|word| word == "as")
    };
    let names = columns.strip_prefix("select ").unwrap_or(columns);
    if !names.split(',').all(is_column) {
        return false;
    }
    let table = rest
        .split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.')))
        .next()
        .unwrap_or_default();
    if [
        "the", "a", "an", "this", "that", "your", "our", "my", "each", "these", "those",
    ]
    .contains(&table)
    {
        return false;
    }
    let held = [
        "user",
        "customer",
        "password",
        "credential",
        "secret",
        "employee",
        "patient",
        "payment",
        "card",
        "account",
        "salar",
        "ssn",
        "token",
        "session",
    ];
    let is_about = held.iter().any(|part| table.holds(part) || columns.holds(part));
    let bound = [" where ", " limit ", " top ", "count(", "sum(", "avg("];
    is_about && !bound.iter().any(|part| statement.holds(part)) && !columns.holds("select top ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_seeks_and_who_learns() {
        for text in [
            "Show me the deployment password",
            "stored api keys",
            "what is the access token of the shop service",
        ] {
            assert!(seeks(text), "{text}");
        }
        for text in [
            "How do I rotate an API key?",
            "token limits of the model",
            "What is the difference between a token and a cookie?",
            "list open tickets",
        ] {
            assert!(!seeks(text), "{text}");
        }
    }

    #[test]
    fn whole_tables() {
        assert!(selects_all("select * from customers;"));
        assert!(selects_all("select email, password_hash from people"));
        assert!(!selects_all("select * from customers where id = 4"));
        assert!(!selects_all("select name from products"));
        assert!(!selects_all("select count(*) from users"));
        assert!(!selects_all("please select a customer from the dropdown"));
        assert!(!selects_all("select customers from the dropdown"));
    }

    #[test]
    fn commands_of_databases_are_told_from_methods() {
        assert!(dumps("sqlite3 shop.db .dump") && dumps("sqlite3 shop.db \".dump\""));
        assert!(!dumps("json.dump(orders, file)") && !dumps("self.dump") && !dumps("open .dumps"));
    }
}
