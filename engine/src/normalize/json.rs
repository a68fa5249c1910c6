//! A validating JSON cursor (RFC 8259) over bytes: no tree, no allocation, and no recursion where a value is passed over, so that
//! hostile nesting costs a `TooDeep` and never the stack. UTF-8 is checked by the caller, once per record.

use std::fmt;

/// Containers may stand inside each other this deep. Audit logs stay below 20; deeper is an attack on readers.
pub const NESTING_MAX: u32 = 64;

/// Why the bytes are no JSON, and where (offset from the start of the cursor's bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    CutOff,
    Unexpected { at: usize, byte: u8 },
    ControlCharacter { at: usize },
    BadEscape { at: usize },
    TooDeep { at: usize },
}

impl Fault {
    /// The reason with the place counted from `start`, the record's first byte.
    pub fn reason(self, start: usize) -> String {
        let of = |at: usize| at.saturating_sub(start);
        match self {
            Fault::CutOff => "not JSON: the text ends inside a value".to_owned(),
            Fault::Unexpected { at, byte } => {
                format!("not JSON: unexpected {} at byte {}", Shown(byte), of(at))
            }
            Fault::ControlCharacter { at } => format!("not JSON: unescaped control character at byte {}", of(at)),
            Fault::BadEscape { at } => format!("not JSON: bad escape at byte {}", of(at)),
            Fault::TooDeep { at } => format!("nested deeper than {NESTING_MAX} at byte {}", of(at)),
        }
    }
}

struct Shown(u8);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            byte @ 0x21..=0x7e => write!(f, "`{}`", byte as char),
            byte => write!(f, "byte 0x{byte:02x}"),
        }
    }
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Kind {
    /// Not there, or null.
    #[default]
    Absent,
    /// A string; the span is what stands between the quotes.
    Text,
    /// A string with escapes in it.
    Escaped,
    /// A field of comma-separated values in which a quote is written twice.
    Doubled,
    Number,
    True,
    False,
    /// An object or an array; the span holds the brackets.
    Container,
}

impl Kind {
    pub fn is_text(self) -> bool {
        matches!(self, Kind::Text | Kind::Escaped | Kind::Doubled)
    }

    /// Appends a text of this kind as it was meant.
    pub fn clear_into(self, text: &str, out: &mut String) {
        match self {
            Kind::Escaped => unescape(text, out),
            Kind::Doubled => out.push_str(&text.replace("\"\"", "\"")),
            _ => out.push_str(text),
        }
    }
}

/// A value's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    pub kind: Kind,
    pub start: u32,
    pub end: u32,
    /// The place counts in the text that was taken out of strings, not in the record's own bytes.
    pub inner: bool,
}

impl Span {
    pub fn new(kind: Kind, start: usize, end: usize) -> Span {
        // Payloads are bounded far below 4 GiB (`PAYLOAD_BYTES_MAX`).
        Span {
            kind,
            start: start as u32,
            end: end as u32,
            inner: false,
        }
    }

    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

#[derive(Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    pub at: usize,
    depth: u32,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8], at: usize) -> Cursor<'a> {
        Cursor { bytes, at, depth: 0 }
    }

    pub fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is not white space, left where it is.
    pub fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.bytes.get(self.at).copied()
    }

    fn fault(&self) -> Fault {
        match self.bytes.get(self.at) {
            Some(&byte) => Fault::Unexpected { at: self.at, byte },
            None => Fault::CutOff,
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.fault())
    }

    /// Opens the object or array that starts here.
    pub fn open(&mut self) -> Result<(), Fault> {
        if self.depth >= NESTING_MAX {
            return Err(Fault::TooDeep { at: self.at });
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Inside an open object: the next member's key, with the cursor before its value; `None` after the closing brace.
    pub fn next_key(&mut self, first: bool) -> Result<Option<Span>, Fault> {
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                self.depth = self.depth.saturating_sub(1);
                return Ok(None);
            }
            Some(b',') if !first => self.at += 1,
            _ if !first => return Err(self.fault()),
            _ => {}
        }
        self.key().map(Some)
    }

    /// Inside an open array: whether another element follows; false after the closing bracket.
    pub fn next_element(&mut self, first: bool) -> Result<bool, Fault> {
        match self.peek() {
            Some(b']') => {
                self.at += 1;
                self.depth = self.depth.saturating_sub(1);
                Ok(false)
            }
            Some(b',') if !first => {
                self.at += 1;
                Ok(true)
            }
            Some(_) if first => Ok(true),
            _ => Err(self.fault()),
        }
    }

    fn key(&mut self) -> Result<Span, Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.fault());
        }
        let key = self.string()?;
        self.expect(b':')?;
        Ok(key)
    }

    /// The string that starts here.
    fn string(&mut self) -> Result<Span, Fault> {
        let start = self.at + 1;
        let mut at = start;
        let mut kind = Kind::Text;
        loop {
            at = plain_until(self.bytes, at);
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(Span::new(kind, start, at));
                }
                Some(b'\\') => {
                    kind = Kind::Escaped;
                    at += match self.bytes.get(at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                        Some(b'u') => match self.bytes.get(at + 2..at + 6) {
                            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => 6,
                            Some(_) => return Err(Fault::BadEscape { at }),
                            None => return Err(Fault::CutOff),
                        },
                        Some(_) => return Err(Fault::BadEscape { at }),
                        None => return Err(Fault::CutOff),
                    };
                }
                Some(_) => return Err(Fault::ControlCharacter { at }),
                None => return Err(Fault::CutOff),
            }
        }
    }

    fn number(&mut self) -> Result<Span, Fault> {
        let start = self.at;
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        match self.bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Span::new(Kind::Number, start, self.at))
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
        if self.at == start { Err(self.fault()) } else { Ok(()) }
    }

    fn literal(&mut self, word: &[u8], kind: Kind) -> Result<Span, Fault> {
        let start = self.at;
        for byte in word {
            if self.bytes.get(self.at) != Some(byte) {
                return Err(self.fault());
            }
            self.at += 1;
        }
        Ok(Span::new(kind, start, self.at))
    }

    /// The string, number or literal that starts here; containers are the caller's.
    pub fn scalar(&mut self) -> Result<Span, Fault> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true", Kind::True),
            Some(b'f') => self.literal(b"false", Kind::False),
            Some(b'n') => self.literal(b"null", Kind::Absent),
            _ => Err(self.fault()),
        }
    }

    /// Passes over one value, checking it. Iterative: the open containers are one bit each.
    pub fn skip_value(&mut self) -> Result<Span, Fault> {
        let Some(first @ (b'{' | b'[')) = self.peek() else {
            return self.scalar();
        };
        let start = self.at;
        let base = self.depth;
        let mut objects = 0u64;
        let mut opened = Some(first);
        loop {
            // Either a container opens here, or a value has just ended.
            if let Some(bracket) = opened.take() {
                self.open()?;
                objects = (objects << 1) | u64::from(bracket == b'{');
                let empty = self.peek() == Some(if bracket == b'{' { b'}' } else { b']' });
                if !empty {
                    if bracket == b'{' {
                        self.key()?;
                    }
                    opened = self.skip_scalar()?;
                    continue;
                }
            }
            let in_object = objects & 1 == 1;
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    if in_object {
                        self.key()?;
                    }
                    opened = self.skip_scalar()?;
                }
                Some(byte) if byte == if in_object { b'}' } else { b']' } => {
                    self.at += 1;
                    self.depth -= 1;
                    objects >>= 1;
                    if self.depth == base {
                        return Ok(Span::new(Kind::Container, start, self.at));
                    }
                }
                _ => return Err(self.fault()),
            }
        }
    }

    /// Passes over a scalar; a bracket is left and returned.
    fn skip_scalar(&mut self) -> Result<Option<u8>, Fault> {
        match self.peek() {
            Some(bracket @ (b'{' | b'[')) => Ok(Some(bracket)),
            _ => self.scalar().map(|_| None),
        }
    }
}

/// First place from `at` on where a string's plain bytes end: a quote, a backslash, a control character, or the end. Eight bytes
/// at a time: a byte's high bit is set in `hit` where the byte is one of these (the lowest set bit is always right).
fn plain_until(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * b'"' as u64);
        let slash = word ^ (ONES * b'\\' as u64);
        let zero = |w: u64| w.wrapping_sub(ONES) & !w;
        let hit = (zero(quote) | zero(slash) | (word.wrapping_sub(ONES * 0x20) & !word)) & HIGH;
        if hit != 0 {
            return at + (hit.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte == b'"' || byte == b'\\' || byte < 0x20 {
            break;
        }
        at += 1;
    }
    at
}

/// The end of the container that starts at `at`, by brackets and quotes alone: finds where a broken element ends so that its
/// siblings can be read. `None` when it never ends.
pub fn bracketed_end(bytes: &[u8], at: usize) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0u32, false, false);
    for (offset, &byte) in bytes.get(at..)?.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + offset + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Appends a string's clear text. U+0000 and lone surrogates become U+FFFD: no text column can carry them everywhere.
pub fn unescape(escaped: &str, out: &mut String) {
    let mut rest = escaped;
    while let Some(slash) = rest.find('\\') {
        out.push_str(&rest[..slash]);
        let code = rest.as_bytes().get(slash + 1).copied().unwrap_or(b'\\');
        let mut used = slash + 2;
        match code {
            b'n' => out.push('\n'),
            b't' => out.push('\t'),
            b'r' => out.push('\r'),
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'u' => {
                let unit = hex4(rest, slash + 2);
                used = slash + 6;
                let low = rest
                    .get(used..used + 2)
                    .filter(|next| *next == "\\u")
                    .map(|_| hex4(rest, used + 2));
                let code = match (unit, low) {
                    (0xd800..=0xdbff, Some(low @ 0xdc00..=0xdfff)) => {
                        used += 6;
                        0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
                    }
                    _ => unit,
                };
                out.push(char::from_u32(code).filter(|c| *c != '\0').unwrap_or('\u{fffd}'));
            }
            other => out.push(other as char),
        }
        rest = rest.get(used..).unwrap_or_default();
    }
    out.push_str(rest);
}

fn hex4(text: &str, at: usize) -> u32 {
    text.get(at..at + 4)
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .unwrap_or(0xfffd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(text: &[u8]) -> bool {
        let mut cursor = Cursor::new(text, 0);
        cursor.skip_value().is_ok() && cursor.peek().is_none() && std::str::from_utf8(text).is_ok()
    }

    #[test]
    fn agrees_with_serde_json_on_mutated_texts() {
        let seeds: [&[u8]; 5] = [
            br#"{"a":[1,-2.5e+3,true,false,null,"x\n\u00e9\"y"],"b":{"c":{}},"d":[]}"#,
            br#"[{"k":"0123456789abcdef\\"},{"k":"\ud83d\ude00"},[[]],0.1,1e9]"#,
            br#""plain text that is longer than eight bytes""#,
            br#"{ "spaced" : [ 1 , 2 ] , "t" : true }"#,
            br#"{"":"","a":"\/\b\f\r\t"}"#,
        ];
        let palette = b"{}[]\",:\\ntfu0123eE+-. \n\x01\x7f\xc3x";
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let mut next = move |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % bound as u64) as usize
        };
        for round in 0..40_000 {
            let mut text = seeds[round % seeds.len()].to_vec();
            for _ in 0..1 + next(2) {
                let at = next(text.len());
                match next(4) {
                    0 => text[at] = palette[next(palette.len())],
                    1 => text.insert(at, palette[next(palette.len())]),
                    2 => drop(text.remove(at)),
                    _ => text.truncate(at.max(1)),
                }
            }
            let theirs = serde_json::from_slice::<&serde_json::value::RawValue>(&text).is_ok();
            assert_eq!(accepts(&text), theirs, "{}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn nesting_is_bounded_without_recursion() {
        let deep = |n: usize| [b"[".repeat(n), b"]".repeat(n)].concat();
        assert!(accepts(&deep(NESTING_MAX as usize)));
        let mut cursor = Cursor::new(&[b'['; 5_000_000], 0);
        assert_eq!(
            cursor.skip_value(),
            Err(Fault::TooDeep {
                at: NESTING_MAX as usize
            })
        );
    }

    #[test]
    fn unescapes_surrogates_and_replaces_what_text_cannot_hold() {
        let clear = |text: &str| {
            let mut out = String::new();
            unescape(text, &mut out);
            out
        };
        assert_eq!(clear(r"a\n\u00e9\ud83d\ude00\/\\"), "a\né😀/\\");
        assert_eq!(clear(r"\u0000\ud800x\udc00"), "\u{fffd}\u{fffd}x\u{fffd}");
        assert_eq!(clear(r"\ud83d\u0041"), "\u{fffd}A");
    }

    #[test]
    fn a_broken_element_ends_at_its_bracket() {
        let text = br#"{"a":"}\"]","b":[1,,2]},{"c":1}]"#;
        assert_eq!(bracketed_end(text, 0), Some(23));
        assert_eq!(bracketed_end(b"{\"a\":1", 0), None);
    }
}
