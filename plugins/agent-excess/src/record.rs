//! What one record says of how much is done, by its names and numbers.

use sentrail_plugin::{Member, Members, Search};

use crate::Config;

/// Calls that cannot be taken back, as tools are called.
const DESTROYS: [&str; 14] = [
    "delete",
    "destroy",
    "drop",
    "truncate",
    "wipe",
    "purge",
    "erase",
    "terminate",
    "shred",
    "uninstall",
    "overwrite",
    "rm",
    "rmdir",
    "deprovision",
];
/// What makes it more than one thing.
const ALL_OF: [&str; 15] = [
    "all",
    "bulk",
    "everything",
    "database",
    "db",
    "table",
    "bucket",
    "backup",
    "backups",
    "volume",
    "cluster",
    "recursive",
    "production",
    "prod",
    "tables",
];
const STATEMENTS: [&str; 11] = [
    "drop table",
    "drop database",
    "drop schema",
    "drop collection",
    "truncate table",
    "deletemany({})",
    "mkfs",
    "dd if=/dev/zero",
    "terraform destroy",
    "vssadmin delete",
    "format c:",
];

pub fn words(text: &str) -> Vec<String> {
    let mut split = String::with_capacity(text.len() + 8);
    let mut after_small = false;
    for c in text.chars().take(512) {
        if c.is_uppercase() && after_small {
            split.push(' ');
        }
        after_small = c.is_lowercase();
        split.extend(c.to_lowercase());
    }
    split
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn says(words: &[String], of: &[&str]) -> bool {
    words.iter().any(|word| of.contains(&word.as_str()))
}

/// Whether a tool of this name takes something away.
pub fn is_destructive(tool: &str) -> bool {
    says(&words(tool), &DESTROYS)
}

/// `rm -rf` of what is not a project's own: build directories are removed all day.
fn wipes(lower: &str) -> bool {
    let rest = ["rm -rf ", "rm -fr ", "rm -r -f "]
        .iter()
        .find_map(|command| lower.split_once(command));
    rest.is_some_and(|(_, rest)| {
        let target = rest
            .split_whitespace()
            .find(|word| !word.starts_with('-'))
            .unwrap_or_default();
        let roots = [
            "/etc", "/home", "/var", "/usr", "/root", "/opt", "/boot", "/lib", "/srv", "/data", "/mnt", "/bin", "~",
            "$home", "c:",
        ];
        matches!(target, "/" | "/*" | "*" | "." | ".." | ".git" | "./*")
            || roots.iter().any(|root| target.starts_with(root))
    })
}

/// Destruction of more than one thing.
pub fn destroyed(members: &Members) -> Option<String> {
    if members.is_authorised() {
        return None;
    }
    for one in members.iter() {
        let lower = one.text.to_lowercase();
        if let Some(part) = STATEMENTS.iter().find(|part| lower.holds(part)) {
            return Some(format!("`{}` holds `{part}`", one.name));
        }
        if wipes(&lower) {
            return Some(format!("`{}` deletes more than a project's own", one.name));
        }
        if let Some((_, rest)) = lower.split_once("delete from ")
            && !rest.holds("where")
            && rest.len() < 128
        {
            return Some(format!("`{}` deletes from a table without a condition", one.name));
        }
        let acts = one.is(&[
            "tool_name",
            "name",
            "operation",
            "action",
            "command",
            "method",
            "api_endpoint",
            "operation_type",
            "event_type",
            "endpoint",
        ]);
        let named = words(&one.text);
        if acts && one.text.len() <= 128 && says(&named, &DESTROYS) && says(&named, &ALL_OF) {
            return Some(format!("`{}` is {}", one.name, clipped(&one.text)));
        }
    }
    // The operation in one member, how much of it in another.
    let acts = members.iter().any(|one| {
        one.is(&["tool_name", "operation", "action", "operation_type"]) && says(&words(&one.text), &DESTROYS)
    });
    let much = members.iter().find(|one| {
        let counted = one.has(&["count", "affected", "deleted", "total"])
            && !one.has(&["time"])
            && one.number().is_some_and(|number| number >= 100.0);
        let all =
            one.is(&["recursive", "force", "purge", "delete_all", "skip_backup", "no_backup"]) && one.text == "true";
        let wild = one.has(&["path", "pattern", "filter", "where", "target", "resource", "scope"])
            && matches!(one.text.trim(), "*" | "/" | "/*" | "**" | "**/*" | "all" | "{}");
        counted || all || wild
    });
    much.filter(|_| acts)
        .map(|one| format!("what is deleted: `{}` is {}", one.name, clipped(&one.text)))
}

/// Fewest calls that are a rate: a few within a second are one step of a task.
const COUNT_MIN: f64 = 20.0;

/// A count over a span, or the depth of a chain.
pub fn flooded(members: &Members, config: &Config) -> Option<(bool, String)> {
    if members.is_authorised() {
        return None;
    }
    let deep = members.iter().find(|one| {
        let chain = one.has(&[
            "depth",
            "iteration",
            "recursion",
            "loop",
            "hop",
            "cycle",
            "retry",
            "retrie",
        ]);
        chain
            && !one.has(&["max", "limit", "time", "id", "allowed", "ms"])
            && one.number().is_some_and(|number| number >= config.depth as f64)
    });
    if let Some(deep) = deep {
        return Some((true, format!("`{}` is {}", deep.name, deep.text)));
    }
    let per_minute = |one: &&Member| {
        let number = one.number()?;
        let rate = if one.has(&["minute", "rpm", "qpm"]) {
            number
        } else if one.has(&["rps", "qps"]) || (one.has(&["per"]) && one.has(&["second", "sec"])) {
            number * 60.0
        } else {
            let counted = one.has(&[
                "call",
                "request",
                "invocation",
                "query",
                "querie",
                "message",
                "attempt",
                "execution",
                "connection",
                "operation",
            ]) && one.has(&["count", "total", "number", "num", "frequency", "volume"]);
            let counted = counted || one.is(&["calls", "requests", "invocations", "queries", "attempts", "call_count"]);
            if !counted || number < COUNT_MIN {
                return None;
            }
            number / span_minutes(members)?
        };
        (rate >= config.calls_per_minute as f64
            && !one.has(&[
                "limit", "max", "allowed", "quota", "baseline", "average", "time", "window",
            ]))
        .then_some(rate)
    };
    let (one, rate) = members.iter().find_map(|one| Some((one, per_minute(&one)?)))?;
    Some((false, format!("`{}` is {}: {rate:.0} a minute", one.name, one.text)))
}

/// The span that a record's counts are of: `60s`, `5m`, `time_window_seconds: 45`. How long a call took is none.
fn span_minutes(members: &Members) -> Option<f64> {
    let span = members.iter().find(|one| {
        one.has(&["window", "period", "interval", "timespan", "timeframe"]) && !one.has(&["context", "average"])
    })?;
    let text = span.text.trim().to_ascii_lowercase();
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim();
    let minutes = if unit.starts_with("ms") || span.has(&["ms", "millisecond"]) {
        1.0 / 60_000.0
    } else if unit.starts_with('h') || span.has(&["hour"]) {
        60.0
    } else if unit.starts_with('d') || span.has(&["day"]) {
        1_440.0
    } else if unit.starts_with('m') || span.has(&["minute"]) {
        1.0
    } else if unit.starts_with('s') || span.has(&["second"]) {
        1.0 / 60.0
    } else {
        return None;
    };
    Some(number * minutes).filter(|minutes| *minutes >= 1.0 / 60.0)
}

/// People asked too often, or answering too fast.
pub fn fatigued(members: &Members, config: &Config) -> Option<String> {
    let asks = |one: &&Member| one.has(&["consent", "approval", "permission", "confirmation", "approve"]);
    let often = members.iter().filter(asks).find(|one| {
        let counted = one.has(&["count", "request", "number", "total", "frequency", "prompts"])
            && !one.has(&["token", "time", "char", "length", "max", "limit"]);
        counted && one.number().is_some_and(|number| number >= config.consents as f64)
    });
    let fast = members
        .iter()
        .filter(asks)
        .filter(|one| one.has(&["consent", "dialog", "user", "human", "click"]))
        .find(|one| {
            let unit = if one.has(&["ms", "millisecond"]) {
                0.001
            } else if one.has(&["second", "sec"]) {
                1.0
            } else {
                return false;
            };
            let answers = one.has(&["time", "response", "latency", "duration", "delay", "decision", "after"])
                && !one.has(&["window"]);
            answers && one.number().is_some_and(|number| number > 0.0 && number * unit < 1.0)
        });
    let one = often.filter(|_| span_minutes(members).is_some()).or(fast)?;
    Some(format!("`{}` is {}", one.name, one.text))
}

/// Money that moves.
pub fn paid(members: &Members, config: &Config) -> Option<String> {
    const PAYS: [&str; 14] = [
        "transfer", "payment", "pay", "wire", "withdraw", "payout", "refund", "purchase", "swap", "bridge", "trade",
        "mint", "checkout", "remit",
    ];
    const HIDES: [&str; 9] = [
        "mixer",
        "tumbler",
        "tornado",
        "monero",
        "coinjoin",
        "peel",
        "layering",
        "cross-chain",
        "privacy_coin",
    ];
    let acts = members.iter().any(|one| {
        one.is(&[
            "tool_name",
            "name",
            "operation",
            "action",
            "operation_type",
            "transaction_type",
            "type",
            "event_type",
            "method",
        ]) && one.text.len() <= 64
            && says(&words(&one.text), &PAYS)
    });
    let amount = members
        .iter()
        .filter(|one| one.has(&["amount", "value", "total"]))
        .find_map(|one| one.number().filter(|_| one.has(&["amount", "usd", "eur", "value"])));
    // Much is checked out, transferred and merged that is no money.
    let is_money = members.iter().any(|one| {
        one.has(&[
            "amount", "currency", "price", "usd", "eur", "gbp", "btc", "eth", "usdc", "usdt",
        ])
    });
    if !acts || !is_money || members.is_authorised() {
        return None;
    }
    let hidden = members.iter().find(|one| {
        let lower = one.text.to_ascii_lowercase();
        one.text.len() <= 128 && HIDES.iter().any(|word| lower.holds(word))
    });
    if let Some(hidden) = hidden {
        return Some(format!("`{}` is {}", hidden.name, clipped(&hidden.text)));
    }
    let bridged = members
        .iter()
        .filter(|one| one.has(&["bridge", "chain", "dex", "hop"]))
        .map(|one| one.text.to_ascii_lowercase())
        .collect::<std::collections::BTreeSet<_>>();
    if bridged.len() > 2 {
        return Some(format!("the value goes through {} chains or exchanges", bridged.len()));
    }
    let unasked = members.iter().find(|one| {
        one.has(&[
            "approval",
            "approved",
            "confirmation",
            "confirmed",
            "consent",
            "authorized",
            "mfa",
            "verified",
            "known",
            "new",
        ]) && (matches!(one.text.trim(), "false" | "none" | "missing" | "bypassed" | "skipped") && !one.has(&["new"])
            || one.has(&["new"]) && one.text == "true")
    });
    if let Some(unasked) = unasked {
        return Some(format!("`{}` is {}", unasked.name, clipped(&unasked.text)));
    }
    let amount = amount.filter(|amount| *amount >= config.payment as f64)?;
    Some(format!("{amount} were moved and nobody is said to have approved it"))
}

/// An agent acting as, through or for another.
pub fn abused(members: &Members) -> Option<String> {
    let source = members.get(&[
        "source_agent",
        "delegator",
        "caller_agent",
        "initiator_agent",
        "source_agent_id",
        "sender_agent",
        "from_agent",
        "sender_agent_id",
        "requesting_agent",
        "calling_agent",
        "delegating_agent",
    ])?;
    members.get(&[
        "target_agent",
        "delegate",
        "delegatee",
        "callee_agent",
        "executor_agent",
        "target_agent_id",
        "receiver_agent",
        "to_agent",
        "receiver_agent_id",
        "executing_agent",
        "delegated_agent",
    ])?;
    let failed = members.iter().find(|one| {
        let told = one.has(&[
            "trust",
            "trusted",
            "authenticated",
            "verified",
            "authorized",
            "signature",
            "signed",
            "allowed",
            "delegation",
            "identity",
        ]);
        told && matches!(
            &*one.text.trim().to_ascii_lowercase(),
            "false"
                | "none"
                | "unverified"
                | "untrusted"
                | "unknown"
                | "invalid"
                | "missing"
                | "mismatch"
                | "failed"
                | "low"
        )
    });
    let level = |names: &[&str]| {
        members.get(names).map(words).map(|words| {
            if says(&words, &["admin", "root", "system", "privileged", "high", "full"]) {
                2
            } else {
                u8::from(says(&words, &["write", "execute", "medium", "standard"]))
            }
        })
    };
    let raised = level(&[
        "source_privilege",
        "delegator_permissions",
        "delegator_role",
        "caller_permissions",
        "sender_permissions",
        "source_agent_privilege",
        "source_role",
        "source_permission",
        "source_permissions",
        "source_trust_level",
        "sender_privilege",
    ])
    .zip(level(&[
        "target_privilege",
        "action_permission_required",
        "required_permission",
        "required_permissions",
        "delegate_permissions",
        "delegate_role",
        "target_agent_privilege",
        "target_role",
        "target_permission",
        "target_permissions",
        "target_trust_level",
        "required_privilege",
    ]))
    .is_some_and(|(source, target)| target > source);
    if let Some(failed) = failed {
        return Some(format!(
            "`{}` of {} is {}",
            failed.name,
            clipped(source),
            clipped(&failed.text)
        ));
    }
    raised.then(|| format!("{} asked an agent that may do more", clipped(source)))
}

/// As much of a value as a message takes.
pub fn clipped(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}
