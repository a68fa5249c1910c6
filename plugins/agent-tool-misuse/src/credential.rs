//! Credentials in a text: in the form of their issuer, in an address, or behind a name that says so.

/// Beginnings of tokens, and how many letters and digits follow at least.
const TOKENS: [(&str, usize); 19] = [
    ("sk-", 32),
    ("npm_", 30),
    ("hf_", 30),
    ("ya29.", 30),
    ("ghs_", 30),
    ("glsa_", 30),
    ("dop_v1_", 40),
    ("AKIA", 16),
    ("ASIA", 16),
    ("ghp_", 30),
    ("gho_", 30),
    ("github_pat_", 30),
    ("glpat-", 20),
    ("sk-ant-", 20),
    ("sk-proj-", 20),
    ("sk_live_", 16),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("AIza", 30),
];
/// Ends of names of credentials, without case and punctuation.
const NAMES: [&str; 14] = [
    "accesstoken",
    "refreshtoken",
    "authtoken",
    "sessiontoken",
    "bearertoken",
    "password",
    "passwd",
    "secret",
    "secretkey",
    "apikey",
    "accesskey",
    "secretaccesskey",
    "privatekey",
    "clientsecret",
];
/// Shortest value that can be one.
const VALUE_MIN: usize = 6;

/// What credential stands in the text.
pub fn held(text: &str) -> Option<&'static str> {
    if text.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    if text.match_indices("eyJ").any(|(at, _)| is_web_token(&text[at..])) {
        return Some("a JSON web token");
    }
    if TOKENS.iter().any(|(prefix, least)| token(text, prefix, *least)) {
        return Some("a token in its issuer's form");
    }
    if text.match_indices("://").any(|(at, _)| has_password(&text[at + 3..])) {
        return Some("an address with a password in it");
    }
    let assigned = text
        .match_indices(['=', ':'])
        .any(|(at, _)| is_assigned(&text[..at], &text[at + 1..]));
    assigned.then_some("a value under the name of a credential")
}

fn token(text: &str, prefix: &str, least: usize) -> bool {
    text.match_indices(prefix).any(|(at, _)| {
        let begins = !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
        let follows = text[at + prefix.len()..].bytes();
        begins
            && follows
                .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
                .count()
                >= least
    })
}

/// `user:password@host` behind a scheme.
fn has_password(rest: &str) -> bool {
    let authority = rest
        .split(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '<'))
        .next();
    let user = authority
        .and_then(|authority| authority.rsplit_once('@'))
        .map(|(user, _)| user);
    user.and_then(|user| user.split_once(':'))
        .is_some_and(|(_, password)| is_value(password, 1))
}

/// Three parts of base64 with dots between, the first of which is an object.
fn is_web_token(text: &str) -> bool {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
        .unwrap_or(text.len());
    let parts: Vec<&str> = text[..end].split('.').collect();
    matches!(parts[..], [head, body, signature] if head.len() > 10 && body.len() > 10 && signature.len() > 10)
}

/// Whether a member of this name and value holds a credential.
pub fn is_named(name: &str, value: &str) -> bool {
    !value.contains(char::is_whitespace) && is_assigned(name, value)
}

/// `name = value`, `"name": "value"`.
fn is_assigned(before: &str, after: &str) -> bool {
    let before = before.trim_end_matches([' ', '"', '\'']);
    let name = before
        .rsplit(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))
        .next()
        .unwrap_or_default();
    let plain: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase();
    // An environment variable is a credential where a field of that name is as often a mark of a page.
    let variable = name.ends_with("_TOKEN") || name.ends_with("_KEY");
    if !variable && !NAMES.iter().any(|end| plain.ends_with(end)) {
        return false;
    }
    let value = after.trim_start_matches([' ', '"', '\'']);
    let end = value.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';' | '}'));
    let value = &value[..end.unwrap_or(value.len())];
    // Prose goes on in words: `Password: required`.
    value.contains(|c: char| c.is_ascii_digit()) && is_value(value, VALUE_MIN)
}

/// Neither a placeholder nor where the value is to be taken from.
fn is_value(value: &str, least: usize) -> bool {
    let placeholder = value.starts_with(['$', '<', '{', '%', '*', '[']) || value.contains(['(', '*']);
    let reference = [
        "os.",
        "process.env",
        "env.",
        "config.",
        "settings.",
        "self.",
        "this.",
        "your",
        "null",
        "None",
        "true",
        "false",
    ];
    value.len() >= least && !placeholder && !reference.iter().any(|begin| value.starts_with(begin))
}
