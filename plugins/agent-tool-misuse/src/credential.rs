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
/// Bytes of a value that are looked at: a text may be nothing but names, each of which has the rest as its value.
const VALUE_MAX: usize = 1 << 10;

/// What credential stands in the text.
pub fn held(text: &str) -> Option<&'static str> {
    if text.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    let token_runs = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')));
    if token_runs.into_iter().any(ends_in_web_token) {
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
                .take(least)
                .count()
                == least
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

/// Whether the last three parts between dots are of base64, the first of them an object. Each run is read once, however often a web token
/// seems to begin in it.
fn ends_in_web_token(run: &str) -> bool {
    let mut parts = run.rsplit('.');
    let (Some(signature), Some(body), Some(head)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let head = head.find("eyJ").map_or("", |at| &head[at..]);
    [head, body, signature].iter().all(|part| part.len() > 10)
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
    let value = &value[..value.floor_char_boundary(VALUE_MAX)];
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

#[cfg(test)]
mod tests {
    use super::held;

    #[test]
    fn a_web_token_is_three_long_parts() {
        for (text, is_one) in [
            ("Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", true),
            ("a.b.eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", true),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl.more", false),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0", false),
        ] {
            assert_eq!(held(text) == Some("a JSON web token"), is_one, "{text}");
        }
    }

    #[test]
    fn texts_of_nothing_but_marks_hold_nothing() {
        for mark in ["eyJ.", "eyJ", "token=", "://"] {
            assert_eq!(held(&mark.repeat((256 << 10) / mark.len())), None, "{mark}");
        }
    }
}
