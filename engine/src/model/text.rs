//! Text from outside, made fit to be shown.

use std::fmt::Write as _;

/// Whoever writes a log record must not steer the terminal of whoever reads it: control characters and changes of the writing
/// direction are shown as their numbers. Lines stay lines.
pub fn harmless(text: &str) -> String {
    shown(text, |c| c != '\n' && steers(c))
}

/// Harmless, and on one line: for what stands within a line that others trust.
pub fn harmless_line(text: &str) -> String {
    shown(text, steers)
}

/// JSON text that means the same and is harmless as it stands. Line breaks are those between its fields; within them they are escaped
/// in all JSON.
pub fn harmless_json(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && steers(c) {
            // None of them is beyond four digits.
            let _ = write!(harmless, "\\u{:04x}", u32::from(c));
        } else {
            harmless.push(c);
        }
    }
    harmless
}

/// Whether `text` is `pattern`, in which each `*` stands for any text.
pub fn is_like(text: &[u8], pattern: &[u8]) -> bool {
    let mut parts = pattern.split(|byte| *byte == b'*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    // The earliest place of each part leaves the most for those after it.
    for part in parts.filter(|part| !part.is_empty()) {
        match rest.windows(part.len()).position(|window| window == part) {
            Some(found) => rest = &rest[found + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn shown(text: &str, is_hidden: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Whether it changes how what stands around it is shown: control characters, separators of lines, and marks of direction.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Harmless, on one line, and of at most about `bytes`: for what somebody else says in a log line, a health report or an error.
pub fn one_line(text: &str, bytes: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    cut(&harmless(&words.join(" ")), bytes)
}

/// At most `bytes` of the text, at a character's edge, with `…` behind what was cut.
pub fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let mut end = bytes;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// Hexadecimal digits in a row that are a hash: no name has as many.
const HASH_DIGITS_MIN: usize = 32;
/// Digits that tell one hash from another wherever people look at them.
const HASH_DIGITS_SHOWN: usize = 12;

/// The text with the hashes in it shortened to what people can compare: `gateway_key:88dc28d0f030…`.
pub fn shorten_hashes(text: &str) -> String {
    let mut short = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let alphanumeric = first.is_alphanumeric();
        let end = rest
            .find(|c: char| c.is_alphanumeric() != alphanumeric)
            .unwrap_or(rest.len());
        let (run, behind) = rest.split_at(end);
        if run.len() >= HASH_DIGITS_MIN && run.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            short.push_str(&run[..HASH_DIGITS_SHOWN]);
            short.push('…');
        } else {
            short.push_str(run);
        }
        rest = behind;
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_shortened_and_names_are_not() {
        let hash = "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b";
        assert_eq!(
            shorten_hashes(&format!("é same gateway_key:{hash} as \"{hash}\"")),
            "é same gateway_key:88dc28d0f030… as \"88dc28d0f030…\""
        );
        for name in [
            "session:arn:aws:sts::111122223333:assumed-role/ops/i-0123456789abcdef0",
            "conversation:6f1d3c2a-0b5e-4c86-9a77-1d2e3f405162",
            "access_key:ASIAEXAMPLEEXAMPLE12",
            "a-very-long-name-of-a-collection-that-is-no-hash",
        ] {
            assert_eq!(shorten_hashes(name), name);
        }
    }

    #[test]
    fn what_steers_a_terminal_is_shown_as_its_number() {
        assert_eq!(harmless("a\u{1b}[2Jb\u{202e}c\nd"), "a\\u{1b}[2Jb\\u{202e}c\nd");
        assert_eq!(harmless_line("a\r\nb\u{2028}é"), "a\\u{d}\\u{a}b\\u{2028}é");
        let value = serde_json::json!({ "é": "a\u{9b}31m\u{7f}\u{200f}\u{202e}\n\u{1b}" });
        let text = harmless_json(&serde_json::to_string_pretty(&value).expect("JSON"));
        assert_eq!(text, "{\n  \"é\": \"a\\u009b31m\\u007f\\u200f\\u202e\\n\\u001b\"\n}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).ok(), Some(value));
    }

    #[test]
    fn one_line_has_no_breaks_and_an_end() {
        assert_eq!(one_line(" <h1>No</h1>\r\n\t why \u{7}", 100), "<h1>No</h1> why \\u{7}");
        assert_eq!(one_line("ééé", 3), "é…");
        assert_eq!(one_line("éé", 4), "éé");
    }
}
