//! Commands: put where a value belongs, started through a debugging proxy, or meant to leave a sandbox or to stay.

use sentrail_plugin::Search;

/// Programs that follow a separator in an injected command.
const PROGRAMS: [&str; 34] = [
    "sh",
    "bash",
    "zsh",
    "cmd",
    "powershell",
    "pwsh",
    "curl",
    "wget",
    "nc",
    "ncat",
    "netcat",
    "cat",
    "rm",
    "id",
    "whoami",
    "uname",
    "ls",
    "ping",
    "nslookup",
    "dig",
    "python",
    "python3",
    "perl",
    "ruby",
    "php",
    "node",
    "echo",
    "env",
    "printenv",
    "chmod",
    "touch",
    "sleep",
    "base64",
    "tee",
];
/// Names of members whose business it is to hold a command.
const COMMANDS: [&str; 19] = [
    "command",
    "cmd",
    "script",
    "code",
    "content",
    "shell",
    "body",
    "text",
    "message",
    "query",
    "prompt",
    "patch",
    "diff",
    "description",
    "pattern",
    "regex",
    "sql",
    "comment",
    "note",
];
/// What takes a process out of its container or raises its rights.
const ESCAPES: [&str; 24] = [
    "nsenter",
    "--privileged",
    "release_agent",
    "/proc/1/root",
    "/proc/sys/kernel/core_pattern",
    "docker.sock",
    "containerd.sock",
    "--pid=host",
    "--net=host",
    "-v /:/",
    "--cap-add=all",
    "cap_sys_admin",
    "unshare -",
    "chroot /host",
    "debugfs /dev",
    "mount /dev/",
    "chmod 4755",
    "chmod u+s",
    "chmod +s",
    "setuid(0)",
    "ld_preload",
    "pkexec",
    "sudo -s",
    "nopasswd",
];
/// Coding agents told to ask nobody.
const UNASKED: [&str; 8] = [
    "--dangerously-skip-permissions",
    "--yolo",
    "--trust-all-tools",
    "--dangerously-bypass-approvals",
    "--full-auto",
    "--no-interactive",
    "--auto-approve",
    "--allow-all-tools",
];
/// Commands that make something run again.
const STAYS: [&str; 14] = [
    "crontab ",
    "systemctl enable",
    "systemctl --user enable",
    "launchctl load",
    "launchctl bootstrap",
    "schtasks /create",
    "new-scheduledtask",
    "currentversion\\run",
    "@reboot",
    ">> ~/.bashrc",
    ">> ~/.zshrc",
    ">> ~/.profile",
    "update-rc.d",
    "authorized_keys",
];
/// Encoded or hidden starts.
const HIDDEN: [&str; 12] = [
    "powershell -e",
    "powershell.exe -e",
    "-encodedcommand",
    "-windowstyle hidden",
    "iex(",
    "iex (",
    "downloadstring(",
    "certutil -urlcache",
    "bitsadmin",
    "mshta ",
    "rundll32",
    "/bin/sh -i",
];
/// Programs that look for servers and holes.
const SCANNERS: [&str; 13] = [
    "masscan",
    "nmap",
    "zgrab",
    "nikto",
    "sqlmap",
    "gobuster",
    "ffuf",
    "feroxbuster",
    "nuclei",
    "wpscan",
    "dirbuster",
    "acunetix",
    "zmap",
];

/// A command in a value that is none.
pub fn injected(name_is_command: bool, text: &str) -> Option<&'static str> {
    if name_is_command || text.len() > 2_048 {
        return None;
    }
    let program = |rest: &str| {
        let word = rest.trim_start_matches([' ', '\t', '(', '{', '`', '"', '\'', '&', '|']);
        let end = word
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.')))
            .unwrap_or(word.len());
        let word = word[..end]
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".exe");
        PROGRAMS.contains(&word)
    };
    let after = |separator: &str| {
        text.holds(separator)
            && text
                .match_indices(separator)
                .any(|(at, _)| program(&text[at + separator.len()..]))
    };
    if after(";") || after("&&") || after("||") || after("\n") && text.contains(';') {
        return Some("a second command behind a value");
    }
    if after("$(") {
        return Some("a command inside of a value");
    }
    after(" | ").then_some("a value that is piped into a command")
}

/// Whether a member of this name may hold commands.
pub fn may_hold(words: impl Iterator<Item = impl AsRef<str>>) -> bool {
    words.into_iter().any(|word| COMMANDS.contains(&word.as_ref()))
}

// Texts that are compared without regard to case come in lower case: a member is folded once for all of them.
fn any<'a>(text: &str, parts: &[&'a str]) -> Option<&'a str> {
    parts.iter().find(|part| text.holds(part)).copied()
}

/// A way out of the sandbox or up.
pub fn escapes(lower: &str) -> Option<&'static str> {
    any(lower, &ESCAPES)
}

/// A statement that makes somebody an administrator.
pub fn grants(lower: &str) -> bool {
    let role = (lower.starts_with("update ") || lower.starts_with("insert into "))
        && lower.holds("role")
        && lower.holds("'admin'");
    role || lower.starts_with("grant all") || (lower.starts_with("alter ") && lower.holds(" superuser"))
}

/// An agent started so that it asks nobody.
pub fn unasked(text: &str) -> Option<&'static str> {
    any(text, &UNASKED)
}

/// What makes the machine run it again.
pub fn stays(lower: &str) -> Option<&'static str> {
    any(lower, &STAYS)
}

/// A start that hides what is started.
pub fn hides(lower: &str) -> Option<&'static str> {
    any(lower, &HIDDEN)
}

/// Whether the command shows the variables of its process, where tokens are.
pub fn shows_environment(command: &str) -> bool {
    let mut words = command.split_whitespace();
    let first = words.next().unwrap_or_default();
    let rest = words.next();
    match first {
        "env" => rest.is_none_or(|word| matches!(word, "|" | ">" | ">>")),
        "printenv" => true,
        "export" => rest == Some("-p"),
        _ => command.holds("/proc/self/environ"),
    }
}

/// A scanner's user agent.
pub fn scanner(lower: &str) -> Option<&'static str> {
    any(lower, &SCANNERS)
}

/// The query with which MCP Inspector's proxy is told to start a program: it is meant for the developer's own machine.
pub fn starts_server(query: &str) -> bool {
    query.holds("transportType=stdio") && query.holds("command=")
}
