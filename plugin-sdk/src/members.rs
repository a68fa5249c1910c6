//! The members of a JSON text, flat and under names of one form: for records whose makers name their fields as they like.

use serde_json::Value;

use crate::{Batch, Row, col};

mod pairs;

pub use pairs::Difference;

/// Members that are looked at of one text; what comes after is passed over.
const MEMBERS_MAX: usize = 512;
/// Bytes that are kept of a value.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Names that a member's name is made of: its own and those of what it stands in.
const NAMES_MAX: usize = 3;
/// How deep JSON within strings is read.
const INNER_MAX: usize = 3;
/// Formats whose mapping knows no arguments: the record itself says what was asked.
const WHOLE: [&str; 2] = ["agent_audit", "mcp_gateway"];

/// One value that is neither object nor array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Names of the objects it stands in and its own, at most three, as `snake_case` in lower case. An element has its array's name.
    pub name: String,
    /// Numbers and truths as JSON writes them.
    pub text: String,
    /// The [`mark`] of each word of the name, and of its singular.
    marks: u64,
    /// The [`ending`] of the name.
    ending: u64,
}

/// One of 64 bits for a word: what is asked of a name mostly is not in it, and this says so without comparing.
#[inline(always)]
fn mark(word: &[u8]) -> u64 {
    let (first, last) = (word.first().copied(), word.last().copied());
    let number = first.unwrap_or(0).wrapping_mul(31) ^ last.unwrap_or(0).wrapping_mul(17) ^ word.len() as u8;
    1 << (number & 63)
}

/// The same for how a name ends. One of two letters is taken with the line before it, which stands there or would; of one that is
/// shorter still, all bits.
#[inline(always)]
fn ending(name: &[u8]) -> u64 {
    let (a, b, c) = match name {
        [.., a, b, c] => (*a, *b, *c),
        [b, c] => (b'_', *b, *c),
        _ => return u64::MAX,
    };
    1 << ((a.wrapping_mul(7) ^ b.wrapping_mul(31) ^ c) & 63)
}

impl Member {
    fn new(name: String, text: String) -> Member {
        let marks = |word: &[u8]| mark(word) | word.strip_suffix(b"s").map_or(0, mark);
        let marks = words(&name).fold(0, |all, word| all | marks(word));
        let ending = ending(name.as_bytes());
        Member {
            name,
            text,
            marks,
            ending,
        }
    }

    /// The words of the name.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.name.split('_').filter(|word| !word.is_empty())
    }

    /// Whether one of the words stands in the name, in singular or plural.
    // Where it is called the words are constants, and so is what they have in common.
    #[inline(always)]
    pub fn has(&self, words: &[&str]) -> bool {
        let marks = words.iter().fold(0, |all, word| all | mark(word.as_bytes()));
        self.marks & marks != 0 && self.has_one(words)
    }

    #[inline(never)]
    fn has_one(&self, words: &[&str]) -> bool {
        words
            .iter()
            .map(|wanted| wanted.as_bytes())
            .any(|wanted| self.marks & mark(wanted) != 0 && self.has_word(wanted))
    }

    fn has_word(&self, wanted: &[u8]) -> bool {
        words(&self.name).any(|word| word == wanted || word.strip_suffix(b"s").is_some_and(|one| one == wanted))
    }

    /// Whether the name is one of these, or ends in one of them.
    #[inline(always)]
    pub fn is(&self, names: &[&str]) -> bool {
        let endings = names.iter().fold(0, |all, name| all | ending(name.as_bytes()));
        self.ending & endings != 0 && names.iter().any(|name| self.is_named(name))
    }

    #[inline(never)]
    fn is_named(&self, name: &str) -> bool {
        let rest = self.name.strip_suffix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
    }

    /// The value as a number.
    pub fn number(&self) -> Option<f64> {
        self.text.parse().ok()
    }
}

/// The members of a JSON text, in their order.
#[derive(Clone, Debug, Default)]
pub struct Members {
    all: Vec<Member>,
    /// The [`ending`] of each name.
    endings: u64,
}

impl Members {
    /// Reads a text; what is no JSON has no members.
    pub fn read(text: &str) -> Members {
        serde_json::from_str(text).map_or_else(|_| Members::default(), |value| Members::of_value(&value))
    }

    /// The members of a text that was read already.
    pub fn of_value(value: &Value) -> Members {
        let mut members = Members::default();
        members.add(&mut Vec::new(), value, 0);
        members
    }

    /// What the record of a row says was asked: `api_request_data`, and of audit events of any shape all of it. The manifest names
    /// `api_request_data`, `format` and `raw`.
    pub fn of(batch: &Batch, row: Row) -> Members {
        Members::text(batch, row).map(Members::read).unwrap_or_default()
    }

    /// The text that [`Members::of`] reads.
    pub fn text(batch: &Batch, row: Row) -> Option<&str> {
        batch.text(col::API_REQUEST_DATA).get(row).or_else(|| {
            let format = batch.text(col::FORMAT).get(row)?;
            WHOLE.contains(&format).then(|| batch.text(col::RAW).get(row)).flatten()
        })
    }

    fn add(&mut self, names: &mut Vec<String>, value: &Value, inner: usize) {
        if self.all.len() >= MEMBERS_MAX {
            return;
        }
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    names.push(snake_case(name));
                    self.add(names, value, inner);
                    names.pop();
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.add(names, item, inner)),
            Value::Null => {}
            Value::String(text) => {
                let document = (inner < INNER_MAX && text.starts_with(['{', '[']))
                    .then(|| serde_json::from_str::<Value>(text).ok())
                    .flatten();
                match document {
                    Some(document) => self.add(names, &document, inner + 1),
                    None => self.push(names, text.clone()),
                }
            }
            Value::Number(_) | Value::Bool(_) => self.push(names, value.to_string()),
        }
    }

    fn push(&mut self, names: &[String], mut text: String) {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        let from = names.len().saturating_sub(NAMES_MAX);
        let member = Member::new(names[from..].join("_"), text);
        self.endings |= member.ending;
        self.all.push(member);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.all.iter()
    }

    /// The value of the first member of one of these names, or of a name that ends in one; names that come first go before.
    pub fn get(&self, names: &[&str]) -> Option<&str> {
        let named = |name: &&str| {
            let ending = ending(name.as_bytes());
            let is = |member: &&Member| member.ending & ending != 0 && member.is_named(name);
            (self.endings & ending != 0).then(|| self.all.iter().find(is)).flatten()
        };
        names.iter().find_map(named).map(|member| member.text.as_str())
    }

    /// Whether the record says who allowed it: a ticket, an approval, an authorization.
    pub fn is_authorised(&self) -> bool {
        let allows = |member: &Member| {
            let told = member.has(&["ticket", "approval", "approver", "maintenance"])
                || member.is(&[
                    "approved_by",
                    "authorized_by",
                    "authorization_id",
                    "change_id",
                    "change_request",
                    "user_approved",
                    "user_confirmed",
                ]);
            let about = member.has(&[
                "date", "time", "count", "mode", "request", "bypass", "required", "rate", "latency", "ms",
            ]);
            let denied = [
                "", "false", "none", "null", "no", "missing", "pending", "denied", "bypassed", "expired", "0",
            ];
            told && !about && !denied.contains(&member.text.trim().to_ascii_lowercase().as_str())
        };
        self.all.iter().any(allows)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// The words of a name, as bytes: a guest looks for characters slowly.
fn words(name: &str) -> impl Iterator<Item = &[u8]> {
    let words = name.as_bytes().split(|byte| *byte == b'_');
    words.filter(|word| !word.is_empty())
}

/// `clientInfo`, `client-info` and `client.info` are `client_info`.
fn snake_case(name: &str) -> String {
    let mut folded = String::with_capacity(name.len() + 4);
    let mut after_small = false;
    for c in name.chars() {
        if c.is_alphanumeric() {
            if c.is_uppercase() && after_small {
                folded.push('_');
            }
            if c.is_ascii() {
                folded.push(c.to_ascii_lowercase());
            } else {
                folded.extend(c.to_lowercase());
            }
        } else if !folded.ends_with('_') {
            folded.push('_');
        }
        after_small = c.is_lowercase() || c.is_ascii_digit();
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_one_form_and_documents_in_strings_are_read() {
        let members = Members::read(
            r#"{"clientInfo":{"user-agent":"x"},"token.scope":["a","b"],"body":"{\"n\":1}","none":null,"text":"{no"}"#,
        );
        let mut flat: Vec<(&str, &str)> = members.iter().map(|one| (&*one.name, &*one.text)).collect();
        flat.sort_unstable();
        assert_eq!(
            flat,
            [
                ("body_n", "1"),
                ("client_info_user_agent", "x"),
                ("text", "{no"),
                ("token_scope", "a"),
                ("token_scope", "b"),
            ]
        );
        assert_eq!(members.get(&["absent", "user_agent", "scope"]), Some("x"));
        assert!(members.iter().any(|one| one.has(&["scope"]) && !one.has(&["agent"])));
        assert!(Members::read("no JSON").is_empty());
    }

    #[test]
    fn a_name_is_what_it_ends_in() {
        for (name, wanted, is) in [
            ("token_aud", "aud", true),
            ("aud", "aud", true),
            ("fraud", "aud", false),
            ("source_ip", "ip", true),
            ("ip", "ip", true),
            ("zip", "ip", false),
            ("member_x", "x", true),
            ("x", "x", true),
            ("max", "x", false),
            ("user_agent", "user_agent", true),
            ("agent", "user_agent", false),
            ("an\u{e9}", "an\u{e9}", true),
        ] {
            let member = Member::new(name.into(), "text".into());
            assert_eq!(member.is(&["none", wanted]), is, "{name} {wanted}");
            let members = Members::of_value(&serde_json::json!({ name: "text", "other": 1 }));
            assert_eq!(members.get(&["none", wanted]).is_some(), is, "{name} {wanted}");
        }
        assert!(!Member::new("name".into(), String::new()).is(&[]));
    }

    #[test]
    fn a_name_has_its_words_and_their_singulars() {
        let member = Member::new("s_access_tokens__ids".into(), String::new());
        for (word, has) in [
            ("access", true),
            ("tokens", true),
            ("token", true),
            ("id", true),
            ("acces", true),
            ("s", true),
            ("toke", false),
            ("tokenss", false),
            ("accessed", false),
            ("_", false),
        ] {
            assert_eq!(member.has(&["none", word]), has, "{word}");
        }
        assert!(!member.has(&[]));
    }
}
