//! Paths in arguments: whether they climb out of where they begin, and whether secrets are kept under them.

use sentrail_plugin::Search;

/// Bytes of an argument that is looked at as a path.
const PATH_BYTES_MAX: usize = 4096;
/// How often a path may be percent-encoded over itself.
const ENCODINGS_MAX: usize = 3;
/// Steps up of a plain relative path that no project's layout asks for.
const STEPS_UP_MAX: usize = 3;
/// Directories at a system's root: who climbs and then goes down one of these wants the system's.
const ROOTS: [&str; 13] = [
    "etc", "proc", "sys", "root", "home", "var", "tmp", "usr", "dev", "boot", "opt", "windows", "users",
];

/// Whether an argument can be a path: one word.
pub fn may_be(text: &str) -> bool {
    text.len() <= PATH_BYTES_MAX
        && !text.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '(' | '{' | '='))
}

/// A path as the file system reads it.
pub struct Path {
    /// Its parts, in lower case.
    parts: Vec<String>,
    absolute: bool,
    /// Dots or separators were written in a way that only hides them.
    hidden: bool,
}

impl Path {
    pub fn of(text: &str) -> Path {
        let mut bytes = text.as_bytes().to_vec();
        let mut hidden = false;
        for _ in 0..ENCODINGS_MAX {
            let (decoded, overlong) = decoded(&bytes);
            hidden |= overlong || steps(&decoded) > steps(&bytes);
            if decoded == bytes {
                break;
            }
            bytes = decoded;
        }
        let text = String::from_utf8_lossy(&bytes).to_lowercase().replace('\\', "/");
        let parts = text.split('/').filter(|part| !part.is_empty() && *part != ".");
        Path {
            absolute: text.starts_with('/'),
            parts: parts.map(|part| part.trim_end_matches('\0').to_owned()).collect(),
            hidden,
        }
    }

    /// Where the machine, a shell or an agent looks for what it is to run or to obey.
    pub fn is_run_later(&self) -> bool {
        let joined = self.parts.join("/");
        let (file, parent) = match self.parts.as_slice() {
            [.., parent, file] => (file.as_str(), parent.as_str()),
            [file] => (file.as_str(), ""),
            [] => return false,
        };
        let within = [
            "etc/cron",
            "var/spool/cron",
            "etc/systemd/system",
            "systemd/user",
            "launchagents",
            "launchdaemons",
            "etc/init.d",
            "etc/rc",
            "etc/profile.d",
            "startup/",
            ".git/hooks",
            "autostart",
            "etc/ld.so",
        ];
        within.iter().any(|place| joined.holds(place))
            || matches!(
                file,
                "authorized_keys"
                    | "crontab"
                    | ".bashrc"
                    | ".zshrc"
                    | ".profile"
                    | ".bash_profile"
                    | ".zshenv"
                    | "claude_desktop_config.json"
                    | "mcp.json"
                    | ".mcp.json"
                    | "mcp_config.json"
                    | "ld.so.preload"
                    | "sudoers"
                    | ".cursorrules"
            )
            || (matches!(parent, ".claude" | ".cursor" | ".codex" | ".gemini") && file.starts_with("settings"))
    }

    /// A directory of the system itself, in which no project is.
    pub fn is_of_system(&self) -> bool {
        let parts: Vec<&str> = self.parts.iter().map(String::as_str).collect();
        (self.absolute
            && matches!(
                parts[..],
                [] | ["etc" | "root" | "proc" | "sys" | "boot"] | ["var", "log"] | ["etc", _]
            ))
            || matches!(parts[..], ["c:", "windows", ..] | ["c:"])
    }

    /// A shell's start-up file: secret for what it exports, and harmless to be written by its owner.
    pub fn is_start_up(&self) -> bool {
        self.parts.last().is_some_and(|file| {
            matches!(
                file.as_str(),
                ".bashrc" | ".bash_profile" | ".zshrc" | ".zshenv" | ".profile"
            )
        })
    }

    /// Why the path is no way inside a project.
    pub fn leaves(&self) -> Option<String> {
        let up = self.parts.iter().filter(|part| *part == "..").count();
        if up == 0 {
            return None;
        }
        let after = self.parts.iter().rev().take_while(|part| *part != "..").last();
        if self.hidden {
            Some("a path hides its steps up".to_owned())
        } else if let Some(root) = after.filter(|part| up > 1 && ROOTS.contains(&part.as_str())) {
            Some(format!("a path climbs up and down into /{root}"))
        } else if up > STEPS_UP_MAX {
            Some(format!("a path climbs {up} directories"))
        } else {
            None
        }
    }

    /// What is kept under the path, where it is known to be secret.
    pub fn secret(&self) -> Option<&'static str> {
        let (file, directories) = self.parts.split_last()?;
        let parent = directories.last().map_or("", String::as_str);
        let (stem, extension) = file.rsplit_once('.').unwrap_or((file, ""));
        // A word alone is as often the name of something else.
        let is_word = directories.is_empty() && extension.is_empty();
        let system = |name: &str| (self.absolute || directories.iter().any(|part| part == "..")) && parent == name;
        Some(match (parent, file.as_str()) {
            (_, ".ssh" | ".aws" | ".gnupg" | ".kube") => "a directory of keys",
            (".ssh", name) if name != "known_hosts" && extension != "pub" => "files of SSH keys",
            (_, "id_rsa" | "id_dsa" | "id_ecdsa" | "id_ed25519") => "an SSH key",
            (".aws", "credentials" | "config") | (".azure" | ".gcloud" | "gcloud", _) => "credentials of a cloud",
            (".docker", "config.json") | (_, ".dockercfg") => "credentials of container registries",
            (".kube", "config") | (_, "kubeconfig") => "credentials of a Kubernetes cluster",
            (".gnupg", _) => "PGP keys",
            (_, "shadow" | "passwd" | "sudoers" | "gshadow") if system("etc") => "the system's users or passwords",
            ("serviceaccount", "token") => "a pod's token",
            (_, "environ") if directories.iter().any(|part| part == "proc") => "a process's environment",
            (
                _,
                ".netrc" | "_netrc" | ".npmrc" | ".pypirc" | ".git-credentials" | ".pgpass" | ".my.cnf" | ".htpasswd"
                | ".vault-token",
            ) => "stored passwords or tokens",
            (_, ".bashrc" | ".bash_profile" | ".zshrc" | ".zshenv" | ".profile" | ".bash_history" | ".zsh_history") => {
                "a shell's start-up or history, where tokens are exported"
            }
            (_, name) if name == ".env" || (name.starts_with(".env.") && !is_template(extension)) => {
                "a file of environment variables"
            }
            _ if matches!(stem, "credentials" | "credential" | "secrets" | "secret")
                && !is_word
                && !is_code(extension) =>
            {
                "a file of credentials"
            }
            _ if matches!(extension, "pem" | "p12" | "pfx" | "kdbx" | "jks" | "keystore" | "ppk") => {
                "a private key or key store"
            }
            _ if extension == "key" && !directories.is_empty() => "a private key or key store",
            _ if matches!(extension, "tfstate" | "tfvars") => "a state of infrastructure with its secrets",
            _ => return None,
        })
    }
}

fn is_template(extension: &str) -> bool {
    matches!(extension, "example" | "sample" | "template" | "dist" | "defaults")
}

/// Programs and texts about secrets are no secrets.
fn is_code(extension: &str) -> bool {
    matches!(
        extension,
        "rs" | "py"
            | "js"
            | "ts"
            | "tsx"
            | "go"
            | "java"
            | "rb"
            | "php"
            | "c"
            | "h"
            | "cpp"
            | "cs"
            | "md"
            | "html"
            | "test"
    )
}

/// One layer of percent-encoding less; whether dots or slashes were written in two bytes where UTF-8 has one.
fn decoded(bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        let hex = (*first == b'%').then(|| tail.get(..2)).flatten();
        let value = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match value {
            Some(value) => {
                plain.push(value);
                rest = &tail[2..];
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    let mut overlong = false;
    let mut read = Vec::with_capacity(plain.len());
    let mut rest = plain.as_slice();
    while let [first, tail @ ..] = rest {
        match (*first, tail.first()) {
            (0xC0, Some(second @ (0xAE | 0xAF))) => {
                overlong = true;
                read.push(second & 0x3F);
                rest = &tail[1..];
            }
            _ => {
                read.push(*first);
                rest = tail;
            }
        }
    }
    (read, overlong)
}

fn steps(bytes: &[u8]) -> usize {
    let parts = bytes.split(|byte| matches!(byte, b'/' | b'\\'));
    parts.filter(|part| *part == b"..").count()
}
