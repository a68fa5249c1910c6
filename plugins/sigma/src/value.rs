//! A value of a rule as the text it stands for: wildcards, encodings and the spellings that modifiers ask for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsigma_parser::{SigmaString, SpecialChar, StringPart};

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Text(String),
    /// `*`
    Any,
    /// `?`
    One,
    /// Any of the characters that Windows programs take for the dash before an option.
    Dash,
}

/// Where in the value a text must stand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    Whole,
    Anywhere,
    Start,
    End,
}

pub fn pieces(value: &SigmaString) -> Vec<Piece> {
    let piece = |part: &StringPart| match part {
        StringPart::Plain(text) => Piece::Text(text.clone()),
        StringPart::Special(SpecialChar::WildcardMulti) => Piece::Any,
        StringPart::Special(SpecialChar::WildcardSingle) => Piece::One,
    };
    value.parts.iter().map(piece).collect()
}

/// The text alone; the error says that wildcards have no place here.
pub fn plain(value: &SigmaString, what: &str) -> Result<String, String> {
    value.as_plain().ok_or_else(|| {
        format!(
            "`{}`: {what} takes no wildcards; escape them as \\* and \\?",
            value.original
        )
    })
}

/// UTF-16, which a log shows as text with a NUL beside each letter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Utf16 {
    Little,
    Big,
    /// Little-endian behind a byte order mark.
    Marked,
}

impl Utf16 {
    pub fn encode(self, text: &str) -> Vec<u8> {
        let units = text.encode_utf16();
        match self {
            Self::Little => units.flat_map(u16::to_le_bytes).collect(),
            Self::Big => units.flat_map(u16::to_be_bytes).collect(),
            Self::Marked => [0xff, 0xfe]
                .into_iter()
                .chain(units.flat_map(u16::to_le_bytes))
                .collect(),
        }
    }
}

pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// What base64 makes of the bytes wherever they begin in a longer text: only the letters that no neighbour changes, which of a single
/// byte may be none.
pub fn base64_offsets(bytes: &[u8]) -> Vec<String> {
    let shifted = |offset: usize| {
        let encoded = STANDARD.encode([vec![b' '; offset].as_slice(), bytes].concat());
        let from = [0, 2, 3][offset];
        let to = encoded.len() - [0, 3, 2][(bytes.len() + offset) % 3];
        encoded.get(from..to).unwrap_or_default().to_owned()
    };
    (0..3).map(shifted).collect()
}

/// A dash or slash that begins an option may be any of the characters that are taken for it.
pub fn dashes(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut out = Vec::new();
    for piece in pieces {
        let Piece::Text(text) = piece else {
            out.push(piece);
            continue;
        };
        let letters: Vec<char> = text.chars().collect();
        let is_word = |at: Option<usize>| {
            at.and_then(|at| letters.get(at))
                .is_some_and(|c| c.is_alphanumeric() || *c == '_')
        };
        let mut plain = String::new();
        for (at, letter) in letters.iter().enumerate() {
            if matches!(letter, '-' | '/') && !is_word(at.checked_sub(1)) && is_word(Some(at + 1)) {
                out.extend((!plain.is_empty()).then(|| Piece::Text(std::mem::take(&mut plain))));
                out.push(Piece::Dash);
            } else {
                plain.push(*letter);
            }
        }
        out.extend((!plain.is_empty()).then_some(Piece::Text(plain)));
    }
    out
}

/// Stars at the ends are what the place says already. Gives the text where nothing else is left of the pattern.
pub fn simplify(pieces: &mut Vec<Piece>, place: &mut Place) -> Option<String> {
    let (mut start, mut end) = (
        matches!(place, Place::Anywhere | Place::End),
        matches!(place, Place::Anywhere | Place::Start),
    );
    if pieces.iter().all(|piece| *piece == Piece::Any) && !pieces.is_empty() {
        (start, end) = (true, true);
    }
    while pieces.first() == Some(&Piece::Any) {
        pieces.remove(0);
        start = true;
    }
    while pieces.last() == Some(&Piece::Any) {
        pieces.pop();
        end = true;
    }
    *place = match (start, end) {
        (false, false) => Place::Whole,
        (true, true) => Place::Anywhere,
        (false, true) => Place::Start,
        (true, false) => Place::End,
    };
    match &pieces[..] {
        [] => Some(String::new()),
        [Piece::Text(text)] => Some(text.clone()),
        _ => None,
    }
}

/// The pattern as a regular expression; a wildcard stands for line breaks, too.
pub fn expression(pieces: &[Piece], place: Place, cased: bool) -> String {
    let mut out = String::from(if cased { "(?s)" } else { "(?si)" });
    if matches!(place, Place::Whole | Place::Start) {
        out.push_str(r"\A");
    }
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(&regex::escape(text)),
            Piece::Any => out.push_str(".*"),
            Piece::One => out.push('.'),
            Piece::Dash => out.push_str(r"[-/\u{2013}\u{2014}\u{2015}]"),
        }
    }
    if matches!(place, Place::Whole | Place::End) {
        out.push_str(r"\z");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_finds_a_text_wherever_it_begins() {
        for needle in ["ab", "abc", "/bin/sh", "http://203.0.113.9/x"] {
            let patterns = base64_offsets(needle.as_bytes());
            for before in ["", "x", "xy", "xyz"] {
                for after in ["", "q", "qr", "qrs"] {
                    let whole = STANDARD.encode(format!("{before}{needle}{after}"));
                    assert!(
                        patterns.iter().any(|pattern| whole.contains(pattern.as_str())),
                        "{needle} in {before}{needle}{after}: {patterns:?}, {whole}"
                    );
                }
            }
        }
    }

    #[test]
    fn only_a_dash_before_an_option_has_other_spellings() {
        let text = |text: &str| Piece::Text(text.into());
        assert_eq!(
            dashes(vec![text("x-y -enc /c -")]),
            [text("x-y "), Piece::Dash, text("enc "), Piece::Dash, text("c -")]
        );
    }

    #[test]
    fn stars_at_the_ends_become_the_place() {
        let case = |value: &str, mut place: Place| {
            let mut pieces = pieces(&SigmaString::new(value));
            let text = simplify(&mut pieces, &mut place);
            (text, place)
        };
        assert_eq!(case("*ab*", Place::Whole), (Some("ab".into()), Place::Anywhere));
        assert_eq!(case("ab*", Place::Whole), (Some("ab".into()), Place::Start));
        assert_eq!(case("*ab", Place::Start), (Some("ab".into()), Place::Anywhere));
        assert_eq!(case("a?b", Place::End), (None, Place::End));
        assert_eq!(case(r"a\*", Place::Whole), (Some("a*".into()), Place::Whole));
        assert_eq!(case("*", Place::Whole), (Some(String::new()), Place::Anywhere));
    }
}
