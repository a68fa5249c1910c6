//! Where a value or a row ends: what is searched for in bytes that come block after block.

/// How far a JSON value has been searched for its end. Whatever the blocks were, it is found in the same place.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Bytes of the data at hand that were searched.
    pub at: usize,
    depth: usize,
    /// The kinds of the open brackets, the innermost in the lowest bit: 1 is an array. Records are never nested as deep as this reaches.
    arrays: u128,
    in_string: bool,
    escaped: bool,
    /// The last byte that was no space.
    last: u8,
    /// Nothing but spaces since the line began.
    begins_line: bool,
    /// A line ended inside a string, which no string does: what is open is no value any more.
    is_broken: bool,
}

impl Scan {
    /// In an object, behind the value of a member.
    pub(super) fn behind_member() -> Scan {
        Scan {
            depth: 1,
            last: b']',
            ..Scan::default()
        }
    }

    /// Behind the beginning of a row that is too long.
    pub(super) fn in_row(beginning: &[u8]) -> Scan {
        let quotes = beginning.iter().filter(|byte| **byte == b'"').count();
        Scan {
            in_string: quotes % 2 == 1,
            ..Scan::default()
        }
    }

    /// Searches on for the end of a row; gives the index after its line feed. A quote within quotes is written twice.
    pub(super) fn row_rest(&mut self, data: &[u8]) -> Option<usize> {
        while let Some(&byte) = data.get(self.at) {
            self.at += 1;
            match byte {
                b'"' => self.in_string = !self.in_string,
                b'\n' if !self.in_string => return Some(self.at),
                _ => {}
            }
        }
        None
    }

    /// Goes on with data of which nothing was searched yet.
    pub(super) fn renew(&mut self) {
        self.at = 0;
    }

    pub(super) fn is_open(&self) -> bool {
        self.depth > 0
    }

    pub(super) fn in_string(&self) -> bool {
        self.in_string
    }

    /// Whether JSON allows a bracket to open here.
    pub(super) fn may_open(&self) -> bool {
        let in_array = self.arrays & 1 == 1;
        !self.is_broken && (matches!(self.last, b'[' | b':') || (self.last == b',' && in_array))
    }

    /// Searches on for the end of a bracketed value; gives the index after it. It ends with the bracket that closes it. One that is
    /// broken (cut off by a crash, or never a value at all) ends before the next line that opens a bracket where none may open: it
    /// swallows nothing of what was written after it.
    pub(super) fn value(&mut self, data: &[u8]) -> Option<usize> {
        while let Some(&byte) = data.get(self.at) {
            if self.in_string {
                self.at += 1;
                match byte {
                    b'\n' => {
                        self.in_string = false;
                        self.escaped = false;
                        self.is_broken = true;
                        self.begins_line = true;
                    }
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'\n' => self.begins_line = true,
                b' ' | b'\t' | b'\r' => {}
                _ => {
                    let opens = matches!(byte, b'{' | b'[');
                    if opens && self.begins_line && self.depth > 0 && !self.may_open() {
                        return Some(self.at);
                    }
                    self.begins_line = false;
                    self.last = byte;
                    match byte {
                        b'"' => self.in_string = true,
                        b'{' | b'[' => {
                            self.depth += 1;
                            self.arrays = self.arrays << 1 | u128::from(byte == b'[');
                        }
                        b'}' | b']' => {
                            self.depth = self.depth.saturating_sub(1);
                            self.arrays >>= 1;
                            if self.depth == 0 {
                                self.at += 1;
                                return Some(self.at);
                            }
                        }
                        _ => {}
                    }
                }
            }
            self.at += 1;
        }
        None
    }

    /// Searches on for the end of an array's element that is no bracketed value: the next comma or bracket outside of a string.
    pub(super) fn scalar(&mut self, data: &[u8]) -> Option<usize> {
        while let Some(&byte) = data.get(self.at) {
            match byte {
                b'\n' => (self.in_string, self.escaped) = (false, false),
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = self.in_string,
                b'"' => self.in_string = !self.in_string,
                b',' | b'[' | b']' | b'{' | b'}' if !self.in_string => return Some(self.at),
                _ => {}
            }
            self.at += 1;
        }
        None
    }
}

/// Where the row of comma-separated values ends that some bytes begin with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// At this line feed.
    Ends(usize),
    /// Further on, or where the data ends; no quote is open, or one that the last byte may close.
    Open,
    /// Further on, if at all: a quote is open.
    Quoted,
    /// Something stands behind a closing quote: these are no such values.
    Broken,
}

/// A field that begins with a quote ends with one (RFC 4180), and line feeds in between belong to it. Quotes elsewhere mean nothing.
pub(super) fn row(data: &[u8]) -> Row {
    let mut at = 0;
    loop {
        match field(data, at) {
            Row::Ends(end) if data.get(end) == Some(&b',') => at = end + 1,
            end => return end,
        }
    }
}

/// Whether the first line of `data` has so many fields and more behind them, as far as it is there.
pub(super) fn begins_row(data: &[u8], fields: usize) -> bool {
    let line = find_newline(data, 0).map_or(data, |newline| &data[..newline]);
    let mut at = 0;
    (0..fields).all(|_| match field(line, at) {
        Row::Ends(comma) => {
            at = comma + 1;
            true
        }
        _ => false,
    })
}

/// Where the field ends that begins at `at`: at its comma or line feed.
fn field(data: &[u8], mut at: usize) -> Row {
    let position = |from: usize, is_it: fn(&u8) -> bool| {
        let found = data.get(from..).unwrap_or_default().iter().position(is_it);
        found.map(|found| from + found)
    };
    if data.get(at) == Some(&b'"') {
        at += 1;
        loop {
            let Some(quote) = position(at, |byte| *byte == b'"') else {
                return Row::Quoted;
            };
            at = quote + 1;
            match data.get(at) {
                Some(b'"') => at += 1,
                None => return Row::Open,
                Some(_) => break,
            }
        }
        if data.get(at) == Some(&b'\r') {
            at += 1;
        }
    } else {
        match position(at, |byte| matches!(byte, b',' | b'\n')) {
            Some(found) => at = found,
            None => return Row::Open,
        }
    }
    match data.get(at) {
        Some(b',' | b'\n') => Row::Ends(at),
        Some(_) => Row::Broken,
        None => Row::Open,
    }
}

pub(super) fn find_newline(data: &[u8], from: usize) -> Option<usize> {
    use std::io::BufRead;
    let mut rest = data.get(from..)?;
    // A slice never fails to read; the standard library searches it a word at a time.
    let skipped = rest.skip_until(b'\n').ok()?;
    let end = from + skipped;
    (skipped > 0 && data[end - 1] == b'\n').then(|| end - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_known_by_the_fields_of_its_first_line() {
        for (text, fields) in [
            ("a,b,c\nd,e", 2),
            ("a,\"b\"\"\",\"c\nd\"", 2),
            ("\"a\" b,c", 0),
            ("{\"a\":1,\"b\":2,\"c\":3}\n", 1),
            ("a,\"b\nc\",d,e", 1),
            ("", 0),
        ] {
            for asked in 0..5 {
                assert_eq!(begins_row(text.as_bytes(), asked), asked <= fields, "{text:?}, {asked}");
            }
        }
    }

    #[test]
    fn a_row_ends_at_a_line_feed_outside_of_quoted_fields() {
        for (text, end) in [
            ("a,b\nc", Row::Ends(3)),
            ("a,\"b\nc\"\nd", Row::Ends(7)),
            ("\"a\"\"\n\",\r\nb", Row::Ends(8)),
            ("\"a\"\r\nb", Row::Ends(4)),
            ("\n", Row::Ends(0)),
            ("a \"b\nc\"", Row::Ends(4)),
            ("a,b", Row::Open),
            ("", Row::Open),
            ("a,\"b\",", Row::Open),
            ("a,\"b\n", Row::Quoted),
            ("a,\"b\"", Row::Open),
            ("\"a\" b\n", Row::Broken),
            ("{\"a\":1,\"b\":2}\n", Row::Broken),
        ] {
            assert_eq!(row(text.as_bytes()), end, "{text:?}");
        }
    }
}
