//! Where one record ends and the next begins in the bytes of a file.
//!
//! Two shapes exist. NDJSON: a record is a line. Documents that span lines (a pretty-printed object, a JSON array, a CloudTrail
//! file): a record is a whole top-level value, found by counting brackets outside strings. Which of them a file has is decided from
//! its first line. A long document that is an array, or an object that wraps its records in an array under a known key, is handed on
//! element by element, so that it is never in memory whole. Nothing else is known about what the bytes mean.

use std::io::BufRead;
use std::sync::Arc;

use super::shape::{Shape, Wrappers, array_in, detect, scalar_length};

/// A longer line is handed on cut. Real log records stay below 1 MiB; this bounds what one bad line can occupy.
pub(super) const LINE_BYTES_MAX: usize = 16 << 20;
/// A longer array of records is handed on element by element: 64 files may be open, each with a document at hand. A longer document
/// that is none is one record, and bounded like a line.
pub(super) const DOCUMENT_BYTES_MAX: usize = 4 << 20;
/// How much of a record that is too long is handed on: enough to recognise it by.
pub(super) const CUT_BYTES: usize = 64 << 10;

/// Whether more bytes can follow those at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Yes: a last record without its end has to wait.
    Open,
    /// No: what is left is a record.
    Clean,
    /// No, because reading failed: what is left is the beginning of a record.
    Broken,
}

/// What the bytes at hand begin with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Nothing whole: more bytes are needed.
    More,
    /// Bytes that belong to no record.
    Skip { next: usize },
    /// The record `..end`; the following one begins at `next` or later.
    Record { end: usize, next: usize, truncated: bool },
}

/// Finds records one after the other, remembering how far an unfinished one has been searched.
#[derive(Debug, Default)]
pub(super) struct Framer {
    shape: Option<Shape>,
    scan: Scan,
    /// The record at hand was handed on cut, or an array in an object has ended; what is left of the value is dropped.
    skipping: bool,
    /// Brackets that are open while an array's elements are handed on: 1 in an array, 2 in an array in an object, else 0.
    depth: u8,
    wrappers: Wrappers,
}

/// How far the unfinished record has been searched for its end.
#[derive(Debug, Default)]
struct Scan {
    at: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Framer {
    pub(super) fn new(wrappers: &Wrappers, depth: u8) -> Framer {
        Framer {
            depth,
            wrappers: Arc::clone(wrappers),
            ..Framer::default()
        }
    }

    /// One that goes on where this one is, its bytes read again.
    pub(super) fn again(&self, shape: Option<Shape>) -> Framer {
        Framer {
            shape,
            ..Framer::new(&self.wrappers, self.depth)
        }
    }

    pub(super) fn wrappers(&self) -> &Wrappers {
        &self.wrappers
    }

    pub(super) fn depth(&self) -> u8 {
        self.depth
    }

    pub(super) fn shape(&self) -> Option<Shape> {
        self.shape
    }

    /// Whether the rest of a value is still being dropped: an offset taken now would stand inside it.
    pub(super) fn skipping(&self) -> bool {
        self.skipping
    }

    /// What `data`, the bytes after everything consumed so far, begins with.
    pub(super) fn next(&mut self, data: &[u8], end: End) -> Frame {
        let shape = match self.shape.or_else(|| detect(data, end != End::Open, &self.wrappers)) {
            Some(shape) => *self.shape.insert(shape),
            None => return Frame::More,
        };
        if self.skipping {
            return self.skip_rest(shape, data);
        }
        if self.depth > 0 {
            return self.element(data, end);
        }
        if shape == Shape::Documents {
            let blanks = data.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            if blanks > 0 {
                return Frame::Skip { next: blanks };
            }
            if matches!(data.first(), Some(b'{' | b'[')) {
                return self.document(data, end);
            }
        }
        self.line(data, end)
    }

    fn line(&mut self, data: &[u8], end: End) -> Frame {
        if let Some(newline) = find_newline(data, self.scan.at) {
            self.scan = Scan::default();
            return record(data, newline, newline + 1, false);
        }
        if data.len() > LINE_BYTES_MAX {
            return self.cut(data.len());
        }
        if end == End::Open || data.is_empty() {
            self.scan.at = data.len();
            return Frame::More;
        }
        self.scan = Scan::default();
        record(data, data.len(), data.len(), end == End::Broken)
    }

    fn document(&mut self, data: &[u8], end: End) -> Frame {
        let close = self.scan.advance(data);
        // By the document's own length, never by how much of it is at hand: read again, it must give the same records.
        if close.unwrap_or(data.len()) > DOCUMENT_BYTES_MAX
            && let Some((inside, depth)) = array_in(data, &self.wrappers)
        {
            self.scan = Scan::default();
            self.depth = depth;
            return Frame::Skip { next: inside };
        }
        self.value(data, close, end)
    }

    /// The value that `data` begins with, a bracketed one that was searched for its end.
    fn value(&mut self, data: &[u8], close: Option<usize>, end: End) -> Frame {
        if let Some(close) = close {
            self.scan = Scan::default();
            let truncated = close > LINE_BYTES_MAX;
            return Frame::Record {
                end: if truncated { CUT_BYTES } else { close },
                next: close,
                truncated,
            };
        }
        if data.len() > LINE_BYTES_MAX {
            return self.cut(data.len());
        }
        if end == End::Open {
            return Frame::More;
        }
        // It never closes.
        self.scan = Scan::default();
        self.depth = 0;
        Frame::Record {
            end: data.len(),
            next: data.len(),
            truncated: true,
        }
    }

    /// What follows inside an array whose elements are handed on one by one.
    fn element(&mut self, data: &[u8], end: End) -> Frame {
        let between = |byte: &&u8| byte.is_ascii_whitespace() || **byte == b',';
        let skipped = data.iter().take_while(between).count();
        if skipped > 0 {
            return Frame::Skip { next: skipped };
        }
        match data.first() {
            None if end == End::Open => Frame::More,
            None => {
                // The array is cut off: something of it is missing, and that is said as for any other record.
                self.depth = 0;
                Frame::Record {
                    end: 0,
                    next: 0,
                    truncated: true,
                }
            }
            Some(b']') => {
                self.skipping = self.depth > 1;
                self.scan.depth = usize::from(self.skipping);
                self.depth = 0;
                Frame::Skip { next: 1 }
            }
            Some(b'{' | b'[') => {
                let close = self.scan.advance(data);
                self.value(data, close, end)
            }
            Some(_) => {
                let length = scalar_length(data);
                if length == data.len() && end == End::Open && length <= LINE_BYTES_MAX {
                    return Frame::More;
                }
                let truncated = length > LINE_BYTES_MAX;
                Frame::Record {
                    end: if truncated { CUT_BYTES } else { length },
                    next: length,
                    truncated,
                }
            }
        }
    }

    fn cut(&mut self, len: usize) -> Frame {
        self.skipping = true;
        self.scan.at = 0;
        Frame::Record {
            end: CUT_BYTES,
            next: len,
            truncated: true,
        }
    }

    fn skip_rest(&mut self, shape: Shape, data: &[u8]) -> Frame {
        if data.is_empty() {
            return Frame::More;
        }
        let rest = match shape {
            // Depth 0: the cut record was a line between documents.
            Shape::Documents if self.scan.depth > 0 => self.scan.advance(data),
            _ => find_newline(data, 0).map(|newline| newline + 1),
        };
        match rest {
            Some(next) => {
                self.skipping = false;
                self.scan = Scan::default();
                Frame::Skip { next }
            }
            None => {
                self.scan.at = 0;
                Frame::Skip { next: data.len() }
            }
        }
    }
}

impl Scan {
    /// Searches on for the bracket that closes the value; gives the index after it.
    fn advance(&mut self, data: &[u8]) -> Option<usize> {
        while let Some(byte) = data.get(self.at) {
            self.at += 1;
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(self.at);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// The line `..len`, without its carriage return; a blank one is no record.
fn record(data: &[u8], len: usize, next: usize, truncated: bool) -> Frame {
    let line = &data[..len];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.iter().all(u8::is_ascii_whitespace) {
        return Frame::Skip { next };
    }
    if line.len() > LINE_BYTES_MAX {
        return Frame::Record {
            end: CUT_BYTES,
            next,
            truncated: true,
        };
    }
    Frame::Record {
        end: line.len(),
        next,
        truncated,
    }
}

fn find_newline(data: &[u8], from: usize) -> Option<usize> {
    let mut rest = data.get(from..)?;
    // A slice never fails to read; the standard library searches it a word at a time.
    let skipped = rest.skip_until(b'\n').ok()?;
    let end = from + skipped;
    (skipped > 0 && data[end - 1] == b'\n').then(|| end - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames `text` as it arrives in pieces of `step` bytes.
    fn frames(text: &[u8], step: usize) -> Vec<(Vec<u8>, bool)> {
        let mut framer = Framer::new(&["Records".into()].into(), 0);
        let (mut from, mut till, mut found) = (0, 0, Vec::new());
        loop {
            let end = if till == text.len() { End::Clean } else { End::Open };
            match framer.next(&text[from..till], end) {
                Frame::Record { end, next, truncated } => {
                    found.push((text[from..from + end].to_vec(), truncated));
                    from += next;
                }
                Frame::Skip { next } => from += next,
                Frame::More if till == text.len() => return found,
                Frame::More => till = text.len().min(till + step),
            }
        }
    }

    fn texts(text: &str) -> Vec<String> {
        let whole = frames(text.as_bytes(), usize::MAX >> 1);
        for step in [1, 2, 7, 64] {
            assert_eq!(
                frames(text.as_bytes(), step),
                whole,
                "pieces of {step} bytes give the same records"
            );
        }
        whole
            .into_iter()
            .map(|(bytes, _)| String::from_utf8(bytes).expect("utf-8"))
            .collect()
    }

    #[test]
    fn lines_are_records() {
        assert_eq!(
            texts("{\"a\":1}\n{\"b\":\"}\\\"{\"}\r\n\n  \n{\"c\":3}"),
            ["{\"a\":1}", "{\"b\":\"}\\\"{\"}", "{\"c\":3}"]
        );
        assert_eq!(texts("plain text\nmore"), ["plain text", "more"]);
        assert_eq!(texts(""), [""; 0]);
        assert_eq!(texts(" \n\n"), [""; 0]);
    }

    #[test]
    fn a_document_on_one_line_is_one_record() {
        assert_eq!(
            texts("{\"Records\":[{\"a\":1},{\"a\":2}]}\n"),
            ["{\"Records\":[{\"a\":1},{\"a\":2}]}"]
        );
        assert_eq!(texts("[{\"a\":1},{\"a\":2}]"), ["[{\"a\":1},{\"a\":2}]"]);
    }

    #[test]
    fn documents_that_span_lines_are_whole() {
        let array = "[\n{\"a\":\"]\"},\n{\"a\":[2]}\n]";
        assert_eq!(texts(&format!("\n {array}\n")), [array]);
        let pretty = "{\n  \"Records\": [\n    {}\n  ]\n}";
        assert_eq!(
            texts(&format!("{pretty}\n{pretty}{pretty}\nstray\n{pretty}")),
            [pretty, pretty, pretty, "stray", pretty]
        );
        let open_brace = "{\"a\":\n{\"b\":1},\n\"c\":[1,\n[2]]}";
        assert_eq!(texts(open_brace), [open_brace]);
    }

    #[test]
    fn a_broken_first_line_does_not_swallow_the_file() {
        assert_eq!(texts("{\"a\":{\"b\":1,\n{\"c\":2}\n{\"d\":3}\n").len(), 3);
        assert_eq!(texts("{\"a\":\"cut he\n{\"c\":2}\n{\"d\":3}\n").len(), 3);
        assert_eq!(texts("{\"a\":1\n{\"c\":2}\n{\"d\":3}\n").len(), 3);
        assert_eq!(texts("1}\n{\"c\":2}\n").len(), 2);
    }

    #[test]
    fn an_unclosed_document_is_marked() {
        let found = frames(b"[\n1,\n2", 1024);
        assert_eq!(found, [(b"[\n1,\n2".to_vec(), true)]);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_the_next_one_is_whole() {
        let mut text = b"{\"a\":1}\n\"".to_vec();
        text.resize(LINE_BYTES_MAX + 20, b'x');
        text.extend_from_slice(b"\"\n{\"b\":2}\n");
        for step in [1 << 20, usize::MAX >> 1] {
            let found = frames(&text, step);
            assert_eq!(found.len(), 3);
            assert_eq!((found[1].0.len(), found[1].1), (CUT_BYTES, true));
            assert_eq!(found[2], (b"{\"b\":2}".to_vec(), false));
        }
    }

    #[test]
    fn one_enormous_line_is_a_document() {
        let mut text = b"{\"a\":\"".to_vec();
        text.resize(LINE_BYTES_MAX + 20, b'x');
        text.extend_from_slice(b"\"}\n{\n}\n");
        for step in [4 << 20, usize::MAX >> 1] {
            let found = frames(&text, step);
            assert_eq!((found.len(), found[0].0.len(), found[0].1), (2, CUT_BYTES, true));
            assert_eq!(found[1], (b"{\n}".to_vec(), false));
        }
    }

    /// Elements of about 100 bytes, until they are longer than a document that is handed on whole.
    fn elements(separator: &str) -> (Vec<String>, String) {
        let count = DOCUMENT_BYTES_MAX / 100 + 1;
        let element = |number: usize| format!("{{\"n\":{number},\"]\":\"{:>90}\"}}", "\\\"]}");
        let elements: Vec<String> = (0..count).map(element).collect();
        let text = elements.join(separator);
        (elements, text)
    }

    #[test]
    fn a_long_array_is_handed_on_element_by_element() {
        for (separator, before, after) in [
            (",", "[", "]"),
            (" ,\n ", "[\n", "\n]\n"),
            (
                ",",
                "{\"a\":1, \"b\" : \"x]\\\"\",\"Records\":[",
                "],\"after\":{\"Records\":[1]}}",
            ),
            (",\n", "{\n \"Records\": [\n", "]\n}"),
        ] {
            let (mut expected, text) = elements(separator);
            expected.push("{\n\"next\":1}".into());
            let text = format!("{before}{text}{after}\n{{\n\"next\":1}}\n");
            for step in [100_000, usize::MAX >> 1] {
                let found = frames(text.as_bytes(), step);
                assert_eq!(found.len(), expected.len(), "{before} in steps of {step}");
                for ((found, truncated), expected) in found.iter().zip(&expected) {
                    assert_eq!((std::str::from_utf8(found), *truncated), (Ok(expected.as_str()), false));
                }
            }
        }
    }

    #[test]
    fn a_long_array_under_an_unknown_key_is_one_record() {
        let (_, text) = elements(",");
        for before in ["{\"messages\":[", "{\"a\":{},\"Records\":["] {
            let text = format!("{before}{text}]}}");
            let found = frames(text.as_bytes(), 1 << 20);
            assert_eq!((found.len(), found[0].0.len(), found[0].1), (1, text.len(), false));
        }
    }

    #[test]
    fn what_is_wrong_in_a_long_array_costs_itself_only() {
        let (elements, text) = elements(",");
        let text = format!("[{text},17,\"a,]\", [1,[2]],{{\"n\":1}}");
        let found = frames(text.as_bytes(), 1 << 20);
        let rest: Vec<(String, bool)> = found[elements.len()..]
            .iter()
            .map(|(bytes, truncated)| (String::from_utf8_lossy(bytes).into_owned(), *truncated))
            .collect();
        let rest: Vec<(&str, bool)> = rest
            .iter()
            .map(|(text, truncated)| (text.as_str(), *truncated))
            .collect();
        assert_eq!(
            rest,
            [
                ("17", false),
                ("\"a,]\"", false),
                ("[1,[2]]", false),
                ("{\"n\":1}", false),
                ("", true)
            ]
        );
    }
}
