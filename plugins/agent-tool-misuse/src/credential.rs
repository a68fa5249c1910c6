//! Credentials in a text: in the form of their issuer, in an address, or behind a name that says so.

use sentrail_plugin::Search;

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
/// Bytes of a token, a name or a value that are looked at. What can stand again and again in a long text must not be read to the
/// text's end each time.
const RUN_MAX: usize = 256;
/// Parts of tokens and values that documentation prints.
const PRINTED: [&str; 9] = [
    "example",
    "placeholder",
    "redacted",
    "changeme",
    "change-me",
    "dummy",
    "xxxx",
    "your-",
    "your_",
];
/// Fewest different characters of a token: fewer are a row of zeros or crosses.
const DIFFERENT_MIN: usize = 6;

/// What credential stands in the text.
pub fn held(text: &str) -> Option<&'static str> {
    if text.holds("PRIVATE KEY-----") {
        return Some("a private key");
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.split(|c| !is_part(c)).any(is_web_token) {
        return Some("a JSON web token");
    }
    if TOKENS.iter().any(|(prefix, least)| token(text, prefix, *least)) {
        return Some("a token in its issuer's form");
    }
    if text.holds("://") && text.match_indices("://").any(|(at, _)| has_password(&text[at + 3..])) {
        return Some("an address with a password in it");
    }
    let assigned = text
        .match_indices(['=', ':'])
        .any(|(at, _)| is_assigned(&text[..at], &text[at + 1..]));
    assigned.then_some("a value under the name of a credential")
}

fn token(text: &str, prefix: &str, least: usize) -> bool {
    if !text.holds(prefix) {
        return false;
    }
    let mut passed = 0;
    text.match_indices(prefix).any(|(at, _)| {
        // What was no token from one mark on is none from the next.
        if at < passed || text[..at].ends_with(|c: char| c.is_ascii_alphanumeric()) {
            return false;
        }
        let rest = &text[at + prefix.len()..];
        let length = rest
            .bytes()
            .take(RUN_MAX)
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            .count();
        passed = at + prefix.len() + length;
        length >= least && !is_printed(&rest[..length])
    })
}

/// What documentation shows in place of a token.
fn is_printed(token: &str) -> bool {
    let lower = token.to_ascii_lowercase();
    let mut different: Vec<u8> = lower.bytes().collect();
    different.sort_unstable();
    different.dedup();
    different.len() < DIFFERENT_MIN || PRINTED.iter().any(|part| lower.holds(part))
}

/// `user:password@host` behind a scheme.
fn has_password(rest: &str) -> bool {
    let authority = rest
        .split(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '<'))
        .next();
    let user = authority
        .and_then(|authority| authority.rsplit_once('@'))
        .map(|(user, _)| user);
    user.and_then(|user| user.split_once(':')).is_some_and(|(_, password)| {
        let is_word = ["password", "pass", "passwd", "pw", "secret"].contains(&password.to_ascii_lowercase().as_str());
        !is_word && is_value(password, 1)
    })
}

/// Whether a word ends in three parts of base64 with dots between, the first of which is an object. A mark further on in a word that
/// is none needs no look of its own: all of them end where the word does.
fn is_web_token(word: &str) -> bool {
    let mut parts = word.trim_end_matches('.').rsplit('.');
    let (Some(signature), Some(body), Some(head)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let begins = head.find("eyJ");
    begins.is_some_and(|at| head.len() - at > 10) && body.len() > 10 && signature.len() > 10
}

/// Whether a member of this name and value holds a credential.
pub fn is_named(name: &str, value: &str) -> bool {
    !value.contains(char::is_whitespace) && is_assigned(name, value)
}

/// `name = value`, `"name": "value"`.
fn is_assigned(before: &str, after: &str) -> bool {
    let before = before.trim_end_matches([' ', '"', '\'']);
    let name = before[before.ceil_char_boundary(before.len().saturating_sub(RUN_MAX))..]
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
    let value = &value[..value.floor_char_boundary(RUN_MAX)];
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
    let lower = value[..value.floor_char_boundary(RUN_MAX)].to_ascii_lowercase();
    let printed = PRINTED.iter().any(|part| lower.holds(part));
    value.len() >= least && !placeholder && !printed && !reference.iter().any(|begin| value.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn credentials_are_told_from_what_documentation_prints() {
        for text in [
            "AKIAQ7ZK3MB2XW9RT5LD",
            "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJtYXJhIn0.c2lnbmF0dXJlLW9mLWl0.",
            "redis://shop:teapot77@db/0",
            "db_password=hunter2hunter2",
        ] {
            assert!(held(text).is_some(), "{text}");
        }
        for text in [
            "AKIAIOSFODNN7EXAMPLE",
            "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "ghp_000000000000000000000000000000000000",
            "api_key=your-key-1234",
            "postgres://user:password@localhost/shop",
            "eyJhbGciOiJub25lIn0.short.c2lnbmF0dXJlLW9mLWl0",
        ] {
            assert_eq!(held(text), None, "{text}");
        }
    }

    #[test]
    fn repeated_marks_cost_what_the_text_is_long() {
        let began = Instant::now();
        for mark in [
            "eyJ",
            "eyJ.",
            "sk-",
            "password=",
            "password:",
            "://",
            "://a:",
            "secret=\"",
            "a",
        ] {
            let text = mark.repeat((256 << 10) / mark.len());
            held(&text);
            is_named("password", &text);
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    }
}
