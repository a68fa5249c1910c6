//! What a token, a tool or a user may do, and what is done.

use sentrail_plugin::{Member, Members, Search};

const SCOPES: [&str; 6] = ["scope", "permission", "privilege", "capability", "capabilitie", "grant"];
/// Words of a scope that is an administrator's.
const ALL_POWERFUL: [&str; 11] = [
    "admin",
    "administrator",
    "root",
    "superuser",
    "sudo",
    "owner",
    "full",
    "elevated",
    "escalation",
    "unrestricted",
    "impersonate",
];
/// Roles whose business such rights are.
const ADMINISTRATORS: [&str; 6] = ["admin", "administrator", "sre", "operator", "security", "owner"];
/// Roles that are given to look, or to begin with.
const LOW: [&str; 12] = [
    "guest",
    "viewer",
    "readonly",
    "read-only",
    "read_only",
    "reader",
    "intern",
    "basic",
    "standard",
    "limited",
    "user",
    "anonymous",
];
/// What only others may do.
const MIGHTY: [&str; 9] = [
    "admin",
    "delete",
    "grant",
    "system",
    "system_config",
    "administrative",
    "privileged",
    "root",
    "sudo",
];

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
}

fn is_all_powerful(text: &str) -> bool {
    let text = text.trim();
    text.split([' ', ','])
        .any(|scope| scope == "*" || scope.ends_with(":*") || scope.ends_with(".*"))
        || words(text).any(|word| ALL_POWERFUL.contains(&word.as_str()))
        || text.eq_ignore_ascii_case("all")
        || text.split([' ', ',']).any(|scope| {
            let parts: Vec<String> = words(scope).collect();
            let changes = ["write", "delete", "manage", "execute", "access"];
            parts.iter().any(|part| part == "all") && parts.iter().any(|part| changes.contains(&part.as_str()))
        })
}

/// How much a scope allows: 0 nothing that is known, 1 reading, 2 changing, 3 everything.
fn reach(text: &str) -> u8 {
    if is_all_powerful(text) {
        return 3;
    }
    let reach = |word: String| match word.as_str() {
        "write" | "delete" | "update" | "create" | "modify" | "execute" | "manage" | "send" => 2,
        "read" | "list" | "view" | "get" | "search" => 1,
        _ => 0,
    };
    words(text).map(reach).max().unwrap_or(0)
}

fn is_service(members: &Members) -> bool {
    let kind = |names: &[&str]| {
        members
            .get(names)
            .is_some_and(|kind| kind.to_ascii_lowercase().holds("service"))
    };
    kind(&["requester_type", "actor_type"]) && !kind(&["token_owner_type"])
}

fn is_administrator(members: &Members) -> bool {
    members
        .iter()
        .filter(|one| {
            one.has(&["role", "title", "group"]) && !one.has(&["requested", "assumed", "typical", "usual", "baseline"])
        })
        .any(|one| words(&one.text).any(|word| ADMINISTRATORS.contains(&word.as_str())))
}

/// Rights over everything that nobody is said to have approved.
pub fn excessive(members: &Members) -> Option<String> {
    let holds = |one: &&Member| {
        let is_scope = one.has(&SCOPES)
            && !one.has(&[
                "required",
                "supported",
                "validation",
                "typical",
                "usual",
                "baseline",
                "available",
            ]);
        is_scope && is_all_powerful(&one.text)
    };
    let member = members.iter().find(holds)?;
    let is_expected = members.is_authorised() || is_administrator(members) || is_service(members);
    (!is_expected).then(|| format!("`{}` is `{}`", member.name, clipped(&member.text)))
}

/// Rights beyond those that were given.
pub fn escalated(members: &Members) -> Option<String> {
    if members.is_authorised() {
        return None;
    }
    grown(members)
        .or_else(|| chained(members))
        .or_else(|| handed(members))
        .or_else(|| beyond_role(members))
}

/// Issued with some, used with more.
fn grown(members: &Members) -> Option<String> {
    let of = |names: &'static [&'static str]| {
        move |one: &&Member| {
            one.has(&["scope", "permission", "privilege", "capability", "role", "level"]) && one.has(names)
        }
    };
    let before = of(&[
        "original",
        "issuance",
        "issued",
        "requested",
        "consented",
        "approved",
        "initial",
        "usual",
        "baseline",
        "typical",
        "previous",
        "old",
    ]);
    let after = of(&[
        "granted",
        "current",
        "now",
        "effective",
        "used",
        "new",
        "final",
        "actual",
        "escalated",
    ]);
    let given: Vec<String> = members.iter().filter(before).flat_map(|one| words(&one.text)).collect();
    if given.is_empty() {
        return None;
    }
    let more = members.iter().filter(after).find(|one| {
        let is_new = |word: &String| !given.contains(word) && (reach(word) > 1 || word.len() > 2);
        words(&one.text).any(|word| is_new(&word)) && reach(&one.text) > 1
    })?;
    Some(format!(
        "`{}` is `{}` beyond what was given before",
        more.name,
        clipped(&more.text)
    ))
}

/// A tool that reads began, and another changes.
fn chained(members: &Members) -> Option<String> {
    let reach_of = |side: &'static [&'static str]| {
        let member = members
            .iter()
            .find(|one| one.has(side) && one.has(&["scope", "permission", "privilege", "level", "role"]));
        member.map(|one| reach(&one.text))
    };
    let source = reach_of(&["source", "caller", "origin", "requesting"])?;
    let target = reach_of(&["target", "callee", "destination", "required"])?;
    (target > source && target > 1).then(|| "what one tool was allowed to read, another changes".to_owned())
}

/// The same by the tools' names: what reads or fetches hands on to what runs, deletes or administers.
fn handed(members: &Members) -> Option<String> {
    let of = |names: &[&str]| members.get(names).map(|tool| words(tool).collect::<Vec<String>>());
    let source = of(&["source_tool", "from_tool", "origin_tool"])?;
    let target = of(&["target_tool", "to_tool", "destination_tool"])?;
    let says = |tool: &[String], of: &[&str]| tool.iter().any(|word| of.contains(&word.as_str()));
    let reads = says(
        &source,
        &[
            "read", "fetch", "get", "search", "browse", "web", "list", "view", "email", "inbox",
        ],
    );
    let mighty = says(
        &target,
        &[
            "delete", "exec", "execute", "shell", "admin", "grant", "deploy", "sudo", "run", "terminal",
        ],
    );
    (reads && mighty).then(|| "a tool that reads handed on to one that runs, deletes or administers".to_owned())
}

/// Somebody with a small role does what administrators do, and succeeds.
fn beyond_role(members: &Members) -> Option<String> {
    let role = members.get(&[
        "user_role",
        "caller_role",
        "role",
        "requester_role",
        "user_privilege",
        "privilege_level",
    ])?;
    let is_low = LOW.contains(&role.trim().to_ascii_lowercase().as_str());
    let operation = members.get(&[
        "operation_type",
        "required_role",
        "required_privilege",
        "tool_privilege",
        "tool_risk_level",
        "operation",
    ])?;
    let is_mighty = words(operation).any(|word| MIGHTY.contains(&word.as_str()));
    let refused = members
        .get(&["result", "status", "outcome", "validation_result", "decision"])
        .is_some_and(|result| ["denied", "blocked", "refused", "error", "failed"].contains(&result));
    (is_low && is_mighty && !refused).then(|| format!("a {} was let do {}", clipped(role), clipped(operation)))
}

/// As much of a value as a message takes: scopes and names, no tokens.
pub fn clipped(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}
