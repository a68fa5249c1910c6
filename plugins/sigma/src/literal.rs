//! Texts that a record must have in it for a rule to be met: where none of them stands in the record's bytes, the record need not be
//! read.

use sentrail_plugin::Search;

use crate::condition::Condition;
use crate::field::Field;

/// Shorter ones stand in most records.
const BYTES_MIN: usize = 4;
/// Most that are looked for on behalf of one rule: beyond it, reading the record is as quick.
const LITERALS_MAX: usize = 4;

/// What a rule needs at least one of; empty where that is not known.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Literals(Vec<String>);

impl Literals {
    pub fn of(condition: &Condition, fields: &[Field]) -> Self {
        Self(needed(condition, fields).unwrap_or_default())
    }

    /// Whether the record cannot meet the rule.
    pub fn rule_out(&self, record: &mut Spelling<'_>) -> bool {
        !self.0.is_empty() && !self.0.iter().any(|literal| record.raw.holds(literal)) && !record.hides()
    }
}

/// A record's bytes, and whether they may say a text otherwise than it reads.
pub struct Spelling<'a> {
    raw: &'a [u8],
    hides: Option<bool>,
}

impl<'a> Spelling<'a> {
    pub fn of(raw: &'a [u8]) -> Self {
        Self { raw, hides: None }
    }

    /// What a literal is made of is escaped in no other way. Looked for once, however many rules ask.
    fn hides(&mut self) -> bool {
        let raw = self.raw;
        *self
            .hides
            .get_or_insert_with(|| raw.holds("\\") && (raw.holds("\\u") || raw.holds("\\/")))
    }
}

fn needed(condition: &Condition, fields: &[Field]) -> Option<Vec<String>> {
    match condition {
        Condition::Test(field, test) => Some(vec![fields[*field].literal(*test)?.to_owned()]),
        Condition::All(parts) => {
            let known = parts.iter().filter_map(|part| needed(part, fields));
            known.min_by_key(Vec::len)
        }
        Condition::Any(parts) => {
            let mut any = Vec::new();
            for part in parts {
                any.extend(needed(part, fields)?);
            }
            (any.len() <= LITERALS_MAX).then_some(any)
        }
        Condition::Reference(_) | Condition::AtLeast(..) | Condition::Not(_) => None,
    }
}

/// The text itself, where records spell it as it is.
pub fn plain(text: &str) -> Option<&str> {
    let as_it_is = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    // Numbers are compared as they would be written, and records write them as they like.
    let no_number = |byte: u8| !byte.is_ascii_digit() && !matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    (text.len() >= BYTES_MIN && text.bytes().all(as_it_is) && text.bytes().any(no_number)).then_some(text)
}

/// The longest part of a regular expression that every match has, of those that are nothing but parts and gaps.
pub fn of_pattern(expression: &str) -> Option<&str> {
    let expression = expression.strip_prefix('^').unwrap_or(expression);
    let expression = expression.strip_suffix('$').unwrap_or(expression);
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '/' | '_' | '-' | ' ' | '@' | '=' | ',');
    let mut longest = "";
    for part in expression.split(".+").flat_map(|part| part.split(".*")) {
        if !part.chars().all(is_letter) {
            return None;
        }
        if part.len() > longest.len() {
            longest = part;
        }
    }
    plain(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_match_has_is_a_literal() {
        assert_eq!(of_pattern(".+:assumed-role/aws:.+"), Some(":assumed-role/aws:"));
        assert_eq!(of_pattern("^arn:.*:user/alice$"), Some(":user/alice"));
        for expression in [
            "(?i)secret",
            "secrets?",
            "one|other",
            "a.c.d.e",
            "colou?r",
            "abc",
            r"acme\.example",
            "key{2}",
            "[a-z]+word",
        ] {
            assert_eq!(of_pattern(expression), None, "{expression}");
        }
        for text in ["12345", "1e10", "a\"bcd", "a\\bcd", "k\u{e4}se", "abc"] {
            assert_eq!(plain(text), None, "{text}");
        }
    }

    #[test]
    fn what_may_be_spelled_otherwise_rules_nothing_out() {
        let literals = Literals(vec![":user/alice".into()]);
        let rules_out = |literals: &Literals, raw: &[u8]| literals.rule_out(&mut Spelling::of(raw));
        assert!(rules_out(
            &literals,
            br#"{"arn":"arn:aws:iam::1:user/bob","more":"a \"b\""}"#
        ));
        assert!(!rules_out(&literals, br#"{"arn":"arn:aws:iam::1:user/alice"}"#));
        assert!(!rules_out(&literals, br#"{"arn":"arn:aws:iam::1:user\/alice"}"#));
        assert!(!rules_out(&literals, br#"{"arn":"arn:aws:iam::1:user/\u0061lice"}"#));
        assert!(!rules_out(&Literals::default(), b"{}"));
    }
}
