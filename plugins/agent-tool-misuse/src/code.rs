//! Code and commands that run what they are handed, fetch what they run, or open a way in.

use sentrail_plugin::Search;

/// A call of a function, and what it does. What stands before the name must not belong to it: `re.exec(` of a pattern is no `exec(`.
const CALLS: [(&str, &str); 7] = [
    ("eval(", "runs a text"),
    ("exec(", "runs a text"),
    ("os.system(", "runs a shell command"),
    ("os.popen(", "runs a shell command"),
    ("pickle.loads(", "rebuilds objects from bytes"),
    ("marshal.loads(", "rebuilds objects from bytes"),
    ("Invoke-Expression", "runs a text"),
];
/// Texts that say it by themselves.
const TEXTS: [(&str, &str); 7] = [
    ("__import__('os')", "runs a shell command"),
    ("shell=True", "runs a shell command"),
    ("/dev/tcp/", "opens a connection from a shell"),
    ("nc -e", "gives a shell to a connection"),
    ("--no-preserve-root", "deletes the file system"),
    ("rm -rf /", "deletes directories"),
    ("chmod u+s", "gives a program its owner's rights"),
];
/// Shells into which a download is piped.
const SHELLS: [&str; 5] = ["sh", "bash", "zsh", "python", "python3"];

/// What the text does where it is run.
pub fn dangerous(text: &str) -> Option<&'static str> {
    let called = CALLS.iter().find(|(name, _)| {
        text.holds(name)
            && text
                .match_indices(name)
                .any(|(at, _)| !text[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_')))
    });
    let said = || TEXTS.iter().find(|(said, _)| text.holds(said));
    called.or_else(said).map(|(_, what)| *what).or_else(|| {
        let unsafe_yaml = text.holds("yaml.load(") && !text.holds("SafeLoader");
        unsafe_yaml
            .then_some("rebuilds objects from a document")
            .or_else(|| text.lines().any(is_piped_download).then_some("runs what it downloads"))
            .or_else(|| sends_out(text).then_some("sends its environment or what it holds to another machine"))
            .or_else(|| {
                text.lines()
                    .any(joins_statement)
                    .then_some("joins statements of SQL from what it is given")
            })
            .or_else(|| is_argument_list(text).then_some("deletes directories"))
    })
}

/// The environment, or secrets by name, in what is posted; a socket of its own to send on.
fn sends_out(text: &str) -> bool {
    let posts = [
        "requests.post(",
        "urlopen(",
        "fetch(",
        "axios.post(",
        "http.post(",
        "curl ",
    ]
    .iter()
    .any(|call| text.holds(call));
    let holds = [
        "os.environ",
        "process.env)",
        "process.env,",
        "sensitive",
        "credential",
        "password",
        "/etc/passwd",
        ".ssh",
    ]
    .iter()
    .any(|part| text.holds(part));
    let socket =
        text.holds("socket.socket(") && text.holds(".connect(") && (text.holds(".send") || text.holds("dup2("));
    (posts && holds && text.holds("http")) || socket || text.holds("child_process") && text.holds("spawn(")
}

/// `"SELECT … WHERE id = " + id`.
fn joins_statement(line: &str) -> bool {
    let joined = ["' + ", "\" + ", "\" % ", "' % ", "'+", "\"+"]
        .iter()
        .any(|join| line.holds(join))
        || (["f\"", "f'"].iter().any(|begin| line.contains(begin)) && line.contains('{'));
    if !joined {
        return false;
    }
    let upper = line.to_ascii_uppercase();
    ["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM "]
        .iter()
        .any(|verb| {
            upper.holds(verb)
                && upper.find(verb).is_some_and(|at| {
                    upper[..at].ends_with(['"', '\'', '`']) && (upper.holds(" WHERE ") || upper.holds(" VALUES"))
                })
        })
}

/// `['rm', '-rf', …]`.
fn is_argument_list(text: &str) -> bool {
    let plain: String = text.chars().filter(|c| !matches!(c, '"' | '\'' | ' ')).collect();
    ["[rm,-rf", "[rm,-fr", "[rm,-r"].iter().any(|list| plain.holds(list))
}

/// Parts of names of functions and files that let people in.
const DOORS: [&str; 9] = [
    "auth",
    "login",
    "permission",
    "is_admin",
    "verify",
    "validate",
    "check_access",
    "is_allowed",
    "has_access",
];

/// What the text, in lower case, takes away of a check of who is let in.
pub fn weakens(lower: &str) -> Option<&'static str> {
    let lines: Vec<&str> = lower.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let opens = |line: &str| DOORS.iter().any(|door| line.holds(door));
    for pair in lines.windows(2) {
        let is_head = ["def ", "function ", "fn ", "func "]
            .iter()
            .any(|word| pair[0].holds(word))
            && opens(pair[0]);
        if is_head && (pair[1].starts_with("return true") || pair[1].starts_with("return some(true")) {
            return Some("lets everybody in");
        }
        let to_name = [
            "== 'admin'",
            "== \"admin\"",
            "== 'root'",
            "== \"root\"",
            "=== 'admin'",
            "=== \"admin\"",
        ]
        .iter()
        .any(|part| pair[0].holds(part));
        if to_name && pair[1].starts_with("return true") {
            return Some("lets in whoever has a name");
        }
        let switch = pair[0].starts_with("if ")
            && ["debug", "bypass", "test_mode", "backdoor", "dev_mode", "skip_"]
                .iter()
                .any(|part| pair[0].holds(part));
        let granted = ["admin", "superuser", "authenticated", "return true", "skip_"]
            .iter()
            .any(|part| pair[1].holds(part));
        if switch && granted {
            return Some("lets in whoever sets a switch");
        }
    }
    let off = [
        "skip_validation = true",
        "skip_auth = true",
        "disable_auth = true",
        "verify_signature=false",
        "verify_signature: false",
        "\"verify_signature\": false",
        "auth_disabled = true",
        "bypass_auth = true",
    ];
    off.iter()
        .any(|part| lower.holds(part))
        .then_some("switches a check off")
}

/// A package that is taken from elsewhere than a registry over a safe line.
pub fn foreign_package(text: &str) -> bool {
    text.lines().map(str::trim).any(|line| {
        let direct = line.holds(" @ ")
            && line.split_once(" @ ").is_some_and(|(name, from)| {
                let is_name = !name.is_empty()
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'[' | b']'));
                is_name && (from.starts_with("http://") || from.starts_with("file:"))
            });
        let index = [
            "--index-url http://",
            "--extra-index-url http://",
            "--registry http://",
            "--trusted-host ",
        ]
        .iter()
        .any(|part| line.holds(part));
        direct || index
    })
}

/// `curl … | sh`, and the same after decoding.
fn is_piped_download(line: &str) -> bool {
    let mut stages = line.split('|').map(str::trim_start);
    let fetches = stages.next().is_some_and(|first| {
        ["curl ", "wget ", "base64 -d", "base64 --decode"]
            .iter()
            .any(|fetch| first.holds(fetch))
    });
    fetches
        && stages.any(|stage| {
            let mut words = stage.split_whitespace().filter(|word| *word != "sudo");
            words
                .next()
                .is_some_and(|program| SHELLS.contains(&program.rsplit('/').next().unwrap_or_default()))
        })
}
