//! Where one record ends and the next begins in the bytes of a file.
//!
//! Two shapes exist. NDJSON and other lines: a record is a line. Documents that span lines (a pretty-printed object, a JSON array, a
//! CloudTrail file): a record is a whole top-level value, found by counting brackets outside strings. Which of the two a file has is
//! decided from its first line. A line may be the beginning of a row of comma-separated values, of which a quoted one may hold line
//! feeds: each is, where the source's format is made of such values, and where the formats are many, one that has as many values as a row is known by. A long
//! document that is an array, or an object that wraps its records in an array under a known key, is handed on element by element, so
//! that it is never in memory whole. Nothing else is known about what the bytes mean.
//!
//! What a record is depends on the bytes from its beginning alone, never on how many of them are at hand: reading goes on after a
//! restart with the same records.

use super::scan::{Row, Scan, begins_row, find_newline, row};
use super::shape::{Framing, Shape, array_in, detect};

/// A longer line is handed on cut. Real log records stay below 1 MiB; this bounds what one bad line can occupy.
pub(super) const LINE_BYTES_MAX: usize = 16 << 20;
/// A longer array of records is handed on element by element: 64 files may be open, each with a document at hand. A longer document
/// that is none is one record, and bounded like a line.
pub(super) const DOCUMENT_BYTES_MAX: usize = 4 << 20;
/// How much of a record that is too long is handed on: enough to recognise it by.
pub(super) const CUT_BYTES: usize = 64 << 10;
/// Within so many bytes a row has the values by which it is known.
const ROW_HEAD_BYTES: usize = 4 << 10;
/// What editors on some systems write before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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
    /// What is dropped is a row, which may have line feeds in it.
    skips_row: bool,
    /// Brackets that are open while an array's elements are handed on: 1 in an array, 2 in an array in an object, else 0.
    depth: u8,
    framing: Framing,
}

impl Framer {
    pub(super) fn new(framing: &Framing, depth: u8) -> Framer {
        Framer {
            depth,
            framing: framing.clone(),
            ..Framer::default()
        }
    }

    /// One that goes on where this one is, its bytes read again.
    pub(super) fn again(&self, shape: Option<Shape>) -> Framer {
        Framer {
            shape,
            ..Framer::new(&self.framing, self.depth)
        }
    }

    pub(super) fn framing(&self) -> &Framing {
        &self.framing
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
        let shape = match self.shape {
            Some(shape) => shape,
            // They belong to no record, and however many they are, none is looked at twice.
            None => match blanks(data) {
                0 if data.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(data) && end == End::Open => {
                    return Frame::More;
                }
                0 if data.starts_with(BYTE_ORDER_MARK) => {
                    return Frame::Skip {
                        next: BYTE_ORDER_MARK.len(),
                    };
                }
                0 => match detect(data, end != End::Open, &self.framing) {
                    Some(shape) => *self.shape.insert(shape),
                    None => return Frame::More,
                },
                blanks => return Frame::Skip { next: blanks },
            },
        };
        if self.skipping {
            return self.skip_rest(shape, data);
        }
        if self.depth > 0 {
            return self.element(data, end);
        }
        match shape {
            Shape::Lines if self.is_row(data) => self.row(data, end),
            Shape::Lines => self.line(data, end),
            Shape::Documents => match data.first() {
                Some(b'{' | b'[') => self.document(data, end),
                _ => match blanks(data) {
                    0 => self.line(data, end),
                    blanks => Frame::Skip { next: blanks },
                },
            },
        }
    }

    /// Whether the line at hand is, or begins, a row. As long as it may turn out to be one it has no end, and nothing is handed on.
    fn is_row(&self, data: &[u8]) -> bool {
        let head = &data[..data.len().min(ROW_HEAD_BYTES)];
        self.framing.row_fields.is_some_and(|fields| begins_row(head, fields))
    }

    fn row(&mut self, data: &[u8], end: End) -> Frame {
        let window = &data[..data.len().min(LINE_BYTES_MAX)];
        let is_all = window.len() == data.len();
        match row(window) {
            Row::Ends(newline) => {
                self.scan = Scan::default();
                record(data, newline, newline + 1, false)
            }
            // Its lines are no records: whoever writes a value as long as this must not write other people's records in it.
            Row::Open | Row::Quoted if !is_all => {
                let cut = self.cut(window.len());
                self.scan = Scan::in_row(window);
                self.skips_row = true;
                cut
            }
            Row::Open | Row::Quoted if end == End::Open => Frame::More,
            Row::Open if !data.is_empty() => {
                self.scan = Scan::default();
                record(data, data.len(), data.len(), end == End::Broken)
            }
            _ => self.line(data, end),
        }
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
        let close = self.scan.value(data);
        // By the document's own length, never by how much of it is at hand: read again, it must give the same records.
        if close.unwrap_or(data.len()) > DOCUMENT_BYTES_MAX
            && let Some((inside, depth)) = array_in(data, &self.framing)
        {
            self.scan = Scan::default();
            self.depth = depth;
            return Frame::Skip { next: inside };
        }
        self.value(data, close, end)
    }

    /// The value that `data` begins with, which was searched for its end.
    fn value(&mut self, data: &[u8], close: Option<usize>, end: End) -> Frame {
        if let Some(close) = close {
            self.scan = Scan::default();
            let truncated = close > LINE_BYTES_MAX;
            let whole = data[..close].trim_ascii_end().len();
            return Frame::Record {
                end: if truncated { CUT_BYTES } else { whole },
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
        // It never closes. Records may be whole in it all the same, as in an array that was not written to its end.
        self.scan = Scan::default();
        let truncated = self.depth > 0 || data.len() > DOCUMENT_BYTES_MAX;
        self.depth = 0;
        Frame::Record {
            end: data.len(),
            next: data.len(),
            truncated,
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
                if self.depth > 1 {
                    self.skipping = true;
                    self.scan = Scan::behind_member();
                }
                self.depth = 0;
                Frame::Skip { next: 1 }
            }
            // It closes nothing that is open.
            Some(b'}') => Frame::Record {
                end: 1,
                next: 1,
                truncated: false,
            },
            Some(b'{' | b'[') => {
                let close = self.scan.value(data);
                self.value(data, close, end)
            }
            Some(_) => {
                let close = self.scan.scalar(data);
                self.value(data, close, end)
            }
        }
    }

    fn cut(&mut self, len: usize) -> Frame {
        self.skipping = true;
        self.scan.renew();
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
            Shape::Lines if self.skips_row => self.scan.row_rest(data),
            Shape::Documents if self.scan.is_open() => self.scan.value(data),
            Shape::Documents if self.depth > 0 => self.scan.scalar(data),
            // The cut record was a line, between documents or among lines.
            _ => find_newline(data, 0).map(|newline| newline + 1),
        };
        match rest {
            Some(next) => {
                self.skipping = false;
                self.skips_row = false;
                self.scan = Scan::default();
                Frame::Skip { next }
            }
            None => {
                self.scan.renew();
                Frame::Skip { next: data.len() }
            }
        }
    }
}

/// How many bytes of white space `data` begins with.
fn blanks(data: &[u8]) -> usize {
    data.len() - data.trim_ascii_start().len()
}

/// The line `..len`, without its carriage return; a blank one is no record.
fn record(data: &[u8], len: usize, next: usize, truncated: bool) -> Frame {
    let line = &data[..len];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > LINE_BYTES_MAX {
        return Frame::Record {
            end: CUT_BYTES,
            next,
            truncated: true,
        };
    }
    if line.trim_ascii().is_empty() {
        return Frame::Skip { next };
    }
    Frame::Record {
        end: line.len(),
        next,
        truncated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTS: fn() -> Framing = || Framing {
        wrappers: ["Records".into()].into(),
        row_fields: None,
    };
    const ROWS: fn() -> Framing = || Framing {
        row_fields: Some(0),
        ..Framing::default()
    };
    /// As where each record's format is found.
    const ANY: fn() -> Framing = || Framing {
        row_fields: Some(2),
        ..DOCUMENTS()
    };

    /// Frames `text` as it arrives in pieces of `step` bytes.
    fn frames(text: &[u8], step: usize) -> Vec<(Vec<u8>, bool)> {
        frames_of(&DOCUMENTS(), text, step)
    }

    fn frames_of(framing: &Framing, text: &[u8], step: usize) -> Vec<(Vec<u8>, bool)> {
        let mut framer = Framer::new(framing, 0);
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
        texts_of(&DOCUMENTS(), text)
    }

    fn texts_of(framing: &Framing, text: &str) -> Vec<String> {
        let whole = frames_of(framing, text.as_bytes(), usize::MAX >> 1);
        for step in [1, 2, 7, 64] {
            assert_eq!(
                frames_of(framing, text.as_bytes(), step),
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
    fn a_first_line_that_opens_an_array_does_not_swallow_the_lines_after_it() {
        for first in [
            "{\"x\": [",
            "{\"x\":",
            "[",
            "{\"Records\": [",
            "[[[[",
            "{\"a\":{\"b\":[",
        ] {
            let found = texts(&format!("{first}\n{{\"n\":1}}\n{{\"n\":2}}\n{{\"n\":3}}\n"));
            // What JSON allows after the first line is together with it; the decoder parts them.
            assert_eq!(
                found,
                [&format!("{first}\n{{\"n\":1}}"), "{\"n\":2}", "{\"n\":3}"],
                "{first}"
            );
        }
    }

    #[test]
    fn a_document_that_was_not_written_to_its_end_does_not_swallow_the_next_ones() {
        let whole = "{\n  \"n\": [\n    {\"a\": 1},\n    {\"a\": 2}\n  ]\n}";
        let lines: Vec<&str> = whole.lines().collect();
        for cut in 1..lines.len() {
            for torn in ["", "    \"a\": \"tor", "  {\"a\": [1, \"x,"] {
                let begun = format!("{}\n{torn}", lines[..cut].join("\n"));
                let found = texts(&format!("{whole}\n{begun}\n{whole}\n{whole}\n"));
                assert_eq!(found.first().map(String::as_str), Some(whole));
                assert_eq!(found.last().map(String::as_str), Some(whole), "after {begun:?}");
                let all = format!("{whole}{begun}{whole}{whole}");
                let kept = |text: &str| text.matches("\"a\"").count();
                assert_eq!(kept(&found.concat()), kept(&all), "nothing is lost: {found:?}");
            }
        }
        // Quotes that are not escaped do not turn what follows inside out.
        let quoted = "{\n \"a\": \"say \"hi\",\n \"b\": \"it\"s\"\n}";
        assert_eq!(
            texts(&format!("{quoted}\n{whole}\n")).last().map(String::as_str),
            Some(whole)
        );
    }

    #[test]
    fn an_endless_value_ends_before_a_line_that_cannot_belong_to_it() {
        for (open, item) in [("[", "[\n"), ("{\"x\":[", "[\n"), ("{\"x\":[", "{},\n")] {
            let mut text = format!("{open}\n{}", item.repeat(LINE_BYTES_MAX / item.len() + 100));
            text.push_str("1}\n{\"n\":1}\n{\"n\":2}\n");
            let whole = frames(text.as_bytes(), usize::MAX >> 1);
            assert_eq!(frames(text.as_bytes(), 1 << 20), whole, "{open} {item:?}");
            for line in ["{\"n\":1}", "{\"n\":2}"] {
                let line = (line.as_bytes().to_vec(), false);
                assert!(whole.contains(&line), "{open} {item:?}");
            }
        }
    }

    #[test]
    fn blanks_before_the_first_record_are_passed_over_at_once() {
        let mut framer = Framer::new(&DOCUMENTS(), 0);
        let blanks = b" \r\n\t".repeat(1000);
        for _ in 0..3 {
            // Nothing is kept to be looked at again.
            let next = blanks.len();
            assert_eq!(framer.next(&blanks, End::Open), Frame::Skip { next });
        }
        assert_eq!(texts(" \n\u{feff}{\n\"a\":1}\n"), ["{\n\"a\":1}"]);
        assert_eq!(texts("\u{feff}{\"a\":1}\n{\"b\":1}"), ["{\"a\":1}", "{\"b\":1}"]);
        assert_eq!(texts("\u{feff}"), [""; 0]);
    }

    #[test]
    fn blanks_inside_the_first_value_do_not_keep_its_shape_undecided() {
        let mut text = b"{\"a\":[\n".to_vec();
        text.resize(2 * DOCUMENT_BYTES_MAX, b' ');
        let mut framer = Framer::new(&DOCUMENTS(), 0);
        assert_ne!(framer.next(&text, End::Open), Frame::More);
        text.extend_from_slice(b"\n{\"b\":1}\n");
        let whole = frames(&text, usize::MAX >> 1);
        assert_eq!(frames(&text, 1 << 20), whole);
        assert_eq!(whole.last(), Some(&(b"{\"b\":1}".to_vec(), false)));
    }

    #[test]
    fn a_row_may_hold_line_feeds_in_quotes_and_a_stray_quote_costs_its_own_line() {
        let rows = |text: &str| texts_of(&ROWS(), text);
        assert_eq!(
            rows("1,\"a\nb\",\"say \"\"hi\"\"\n\"\r\n2,b\n\n3,\"c\nd\""),
            ["1,\"a\nb\",\"say \"\"hi\"\"\n\"", "2,b", "3,\"c\nd\""]
        );
        // Cut by a crash: what the row would go on with is no end of a value.
        assert_eq!(rows("1,\"torn\n2,\"b\",x\n3\n"), ["1,\"torn", "2,\"b\",x", "3"]);
        assert_eq!(rows("1,\"torn\n2,b\n3"), ["1,\"torn", "2,b", "3"]);
        // Not rows at all.
        assert_eq!(rows("{\"a\":1,\"b\":2}\n[\nx"), ["{\"a\":1,\"b\":2}", "[", "x"]);
        let mut long = "1,\"torn\n".to_owned();
        long.push_str(&"2,b\n".repeat(400_000));
        let whole = frames_of(&ROWS(), long.as_bytes(), usize::MAX >> 1);
        assert_eq!(whole.len(), 1 + 400_000);
        assert_eq!(frames_of(&ROWS(), long.as_bytes(), 1 << 20), whole);
    }

    #[test]
    fn no_line_of_a_long_value_is_a_record_of_its_own() {
        for (length, truncated) in [(LINE_BYTES_MAX / 2, false), (LINE_BYTES_MAX + 999, true)] {
            let lines = "1,forged,\"\"x\"\"\n".repeat(length / 15 + 1);
            let text = format!("1,\"{lines}\",b\n2,\"c\",d\n");
            for piece in [usize::MAX >> 1, 1 << 20, (1 << 20) - 7] {
                let found = frames_of(&ROWS(), text.as_bytes(), piece);
                assert_eq!(found.len(), 2, "{length} in pieces of {piece}");
                assert_eq!(found[0].1, truncated, "{length} in pieces of {piece}");
                assert_eq!(found[1].0, b"2,\"c\",d");
            }
        }
    }

    #[test]
    fn rows_among_other_records_are_known_by_their_first_values() {
        let any = |text: &str| texts_of(&ANY(), text);
        assert_eq!(
            any("torn\"\n1,2,\"a\nb\"\r\n{\"a\":[1,2,3]}\n1,\"a\nb\",c\n1,2,\"torn\n1,2,\"c\",d\n3"),
            [
                "torn\"",
                "1,2,\"a\nb\"",
                "{\"a\":[1,2,3]}",
                "1,\"a",
                "b\",c",
                "1,2,\"torn",
                "1,2,\"c\",d",
                "3"
            ]
        );
        assert_eq!(any("[\n1,2,\n3]\n1,2"), ["[\n1,2,\n3]", "1,2"]);
        // What is not known by its beginning is a line, however much of it is at hand.
        let long = format!("{},2,\"a\nb\"\n", "x".repeat(ROW_HEAD_BYTES));
        assert_eq!(any(&long).len(), 2);
    }

    /// A small generator (xorshift) of bytes that mean something to a framer.
    fn hostile(seed: u64, pieces: &[&str]) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut text = String::new();
        for _ in 0..40 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
        }
        text.into_bytes()
    }

    #[test]
    fn the_same_bytes_give_the_same_records_from_wherever_they_are_read() {
        let pieces = [
            "\n",
            "\n",
            " ",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\"",
            "\\",
            "\"a\":",
            "{\"a\":1}",
            "x",
            "\0",
            "\r\n",
            "\u{feff}",
        ];
        for (framing, seed) in [DOCUMENTS(), ROWS(), ANY()]
            .iter()
            .flat_map(|framing| (1..2000).map(move |seed| (framing, seed)))
        {
            let text = hostile(seed, &pieces);
            let whole = frames_of(framing, &text, usize::MAX >> 1);
            for step in [1, 3, 16] {
                assert_eq!(
                    frames_of(framing, &text, step),
                    whole,
                    "{:?}",
                    String::from_utf8_lossy(&text)
                );
            }
            // After a restart behind any of them, the shape being known, the rest are the same.
            let (mut framer, mut from, mut count) = (Framer::new(framing, 0), 0, 0);
            loop {
                match framer.next(&text[from..], End::Clean) {
                    Frame::More => break,
                    Frame::Skip { next } => from += next,
                    Frame::Record { next, .. } => {
                        from += next;
                        count += 1;
                        if framer.skipping() {
                            continue;
                        }
                        let (mut again, mut at, mut rest) = (framer.again(framer.shape()), from, Vec::new());
                        loop {
                            match again.next(&text[at..], End::Clean) {
                                Frame::More => break,
                                Frame::Skip { next } => at += next,
                                Frame::Record { end, next, truncated } => {
                                    rest.push((text[at..at + end].to_vec(), truncated));
                                    at += next;
                                }
                            }
                        }
                        assert_eq!(rest, whole[count..], "{:?}", String::from_utf8_lossy(&text));
                    }
                }
            }
            assert_eq!((from, count), (text.len(), whole.len()), "all of it is read");
        }
    }

    #[test]
    fn an_unclosed_document_is_left_to_the_decoder_unless_it_is_long() {
        let found = frames(b"[\n1,\n2", 1024);
        assert_eq!(found, [(b"[\n1,\n2".to_vec(), false)]);
        let long = format!("{{\n\"a\":\"{}", "x".repeat(DOCUMENT_BYTES_MAX));
        assert_eq!(frames(long.as_bytes(), 1 << 20), [(long.into_bytes(), true)]);
    }

    #[test]
    fn a_long_scalar_in_a_long_array_is_one_record() {
        let (elements, text) = elements(",");
        let scalar = "x,{}\\\"]".repeat(LINE_BYTES_MAX / 6);
        let text = format!("[{text},\"{scalar}\",7, {{\"n\":1}} ]");
        for step in [1 << 20, usize::MAX >> 1] {
            let found = frames(text.as_bytes(), step);
            let found: Vec<_> = found[elements.len()..]
                .iter()
                .map(|(text, cut)| (text.len(), *cut))
                .collect();
            assert_eq!(found, [(CUT_BYTES, true), (1, false), (7, false)]);
        }
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
