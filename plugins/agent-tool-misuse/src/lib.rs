//! What agents are made to do with their tools, as the traffic of the Model Context Protocol and agents' audit logs tell it: files of
//! secrets, ways out of a directory or a sandbox, credentials in what is given to a tool, commands and dangerous code.
//!
//! Every call is judged by itself, by its arguments alone: tools are named as their makers like.

use sentrail_plugin::{Batch, Detector, Findings, Manifest, Member, Members, Rule, col};

mod address;
mod code;
mod command;
mod credential;
mod path;
mod rules;

/// The detector.
pub struct AgentToolMisuse;

/// What one call shows, at most one finding a rule.
#[derive(Default)]
struct Found(Vec<(&'static Rule, String)>);

impl Found {
    fn add(&mut self, rule: &'static Rule, message: impl Into<String>) {
        if !self.0.iter().any(|(found, _)| found.id == rule.id) {
            self.0.push((rule, message.into()));
        }
    }
}

/// Words of tools and operations that write.
const WRITES: [&str; 11] = [
    "write", "writer", "create", "append", "edit", "save", "modify", "update", "patch", "put", "install",
];
/// Words of tools and operations that list directories.
const LISTS: [&str; 6] = ["list", "ls", "dir", "browse", "browser", "tree"];
/// Programs in which a person edits.
const EDITORS: [&str; 6] = ["vim", "vi", "nano", "emacs", "code", "nvim"];

/// Whether the record is of a tool or an operation whose name says one of these.
fn says(members: &Members, words: &[&str]) -> bool {
    let named = members
        .iter()
        .filter(|one| one.is(&["tool_name", "name", "event_type", "operation", "action", "method"]));
    let writes = |text: &str| {
        text.split(|c: char| !c.is_ascii_alphabetic())
            .any(|word| words.contains(&word.to_ascii_lowercase().as_str()))
    };
    named.into_iter().any(|one| one.text.len() <= 128 && writes(&one.text))
}

fn argument(member: &Member, lists: bool, writes: bool, edited: bool, found: &mut Found) {
    let text = member.text.as_str();
    let lower = text.to_ascii_lowercase();
    if let Some(what) = address::inward(&lower) {
        found.add(&rules::INWARD, format!("the call names {what}"));
    }
    if let Some(what) = command::injected(command::may_hold(member.words()), text) {
        found.add(&rules::COMMAND, format!("`{}` holds {what}", member.name));
    }
    if member.has(&["command", "cmd", "line"]) && command::shows_environment(text) {
        found.add(&rules::ENVIRONMENT, "the command shows the variables of its process");
    }
    if command::starts_server(text) {
        found.add(&rules::STARTED, "a proxy was told to start a program by its address");
    }
    if member.has(&["agent", "client"])
        && let Some(scanner) = command::scanner(&lower)
    {
        found.add(&rules::SCAN, format!("the client is {scanner}"));
    }
    if let Some(part) = command::escapes(&lower) {
        found.add(&rules::ESCAPE, format!("the call carries `{part}`"));
    }
    if member.is(&["privileged", "host_network", "host_pid", "allow_privilege_escalation"]) && text == "true" {
        found.add(&rules::ESCAPE, format!("`{}` is true", member.name));
    }
    if command::grants(&lower) {
        found.add(&rules::ESCAPE, "a statement gives somebody an administrator's rights");
    }
    if path::may_be(text) {
        let path = path::Path::of(text);
        if let Some(why) = path.leaves() {
            found.add(&rules::TRAVERSAL, why);
        }
        if let Some(what) = path.secret().filter(|_| !(edited && path.is_start_up())) {
            found.add(&rules::SECRET_FILE, format!("the call names {what}"));
        }
        if lists && path.is_of_system() {
            found.add(
                &rules::LISTED,
                format!("`{}` is a directory of the system", member.name),
            );
        }
        if writes && path.is_run_later() {
            found.add(
                &rules::STAYS,
                format!("`{}` is where something is run later", member.name),
            );
        }
        if credential::is_named(&member.name, text) {
            found.add(
                &rules::CREDENTIAL,
                "the call carries a value under the name of a credential",
            );
        } else if let Some(what) = credential::held(text) {
            found.add(&rules::CREDENTIAL, format!("the call carries {what}"));
        }
        return;
    }
    if let Some(what) = code::dangerous(text) {
        found.add(&rules::CODE, format!("the call carries code that {what}"));
    }
    if let Some(what) = code::weakens(&lower) {
        found.add(&rules::WEAKENED, format!("the call carries code that {what}"));
    }
    if code::foreign_package(text) {
        found.add(&rules::PACKAGE, "a package is taken from a plain address or a file");
    }
    if let Some(what) = credential::held(text) {
        found.add(&rules::CREDENTIAL, format!("the call carries {what}"));
    }
    if let Some(part) = command::hides(&lower) {
        found.add(&rules::HIDDEN, format!("the call carries `{part}`"));
    }
    if let Some(part) = command::stays(&lower) {
        found.add(&rules::STAYS, format!("the call carries `{part}`"));
    }
    if let Some(part) = command::unasked(text) {
        found.add(&rules::UNASKED, format!("the call carries `{part}`"));
    }
}

impl Detector for AgentToolMisuse {
    type Config = ();
    type State = ();

    fn new((): ()) -> Result<Self, String> {
        Ok(Self)
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "agent-tool-misuse",
            version: env!("CARGO_PKG_VERSION"),
            description: "What agents are made to do with their tools: files of secrets, ways out, inner addresses, credentials, commands, dangerous code.",
            layers: &["agent"],
            columns: &[
                col::API_REQUEST_DATA.name,
                col::STATUS.name,
                col::FORMAT.name,
                col::RAW.name,
            ],
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, (): &mut (), batch: &Batch, out: &mut Findings) {
        let statuses = batch.text(col::STATUS);
        for row in batch.rows() {
            let mut found = Found::default();
            let members = Members::of(batch, row);
            let edited = members
                .get(&["process_name"])
                .is_some_and(|program| EDITORS.contains(&program));
            let writes = says(&members, &WRITES) && !edited;
            let lists = says(&members, &LISTS);
            let uid = |effective: bool| {
                let of =
                    |one: &&Member| one.is(&["uid", "euid", "ruid"]) && one.has(&["effective", "euid"]) == effective;
                members.iter().find(of).and_then(|one| one.text.parse::<u32>().ok())
            };
            if uid(true) == Some(0) && uid(false).is_some_and(|uid| uid > 0) {
                found.add(&rules::ESCAPE, "a process of a user took the rights of root");
            }
            for member in members.iter() {
                argument(member, lists, writes, edited, &mut found);
            }
            let failed = statuses.get(row) == Some("Failure");
            for (rule, message) in found.0 {
                let severity = if failed { rule.severity.lower() } else { rule.severity };
                out.detect(rule, row).severity(severity).message(message);
            }
        }
    }
}

sentrail_plugin::export!(AgentToolMisuse);

#[cfg(test)]
mod tests {
    sentrail_plugin::test_fixtures!(super::AgentToolMisuse);
}
