//! What the beginning of a file or of a document shows of its shape.

use std::sync::Arc;

use super::frame::{DOCUMENT_BYTES_MAX, LINE_BYTES_MAX};
use super::scan::{Scan, find_newline};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Lines,
    Documents,
}

/// What a source's format says of the way its records stand in a file.
#[derive(Clone, Debug, Default)]
pub struct Framing {
    /// Keys under which a document may hold its records in an array.
    pub wrappers: Arc<[Box<str>]>,
    /// A line that has at least so many comma-separated values, and more behind them, is a row: it goes on where a quoted value holds
    /// a line feed. 0: every line is one. `None`: none is.
    pub row_fields: Option<usize>,
}

/// Decides a file's shape from its beginning, which is no space; `None`: not enough of it is there yet. Documents: the first line opens
/// a value, does not close it, and the following line goes on as JSON may. Lines: everything else, in particular a first line that was
/// cut by a crash. However much is at hand, the same bytes decide.
pub(super) fn detect(data: &[u8], at_end: bool, framing: &Framing) -> Option<Shape> {
    if framing.row_fields == Some(0) {
        return Some(Shape::Lines);
    }
    let undecided = at_end.then_some(Shape::Lines);
    match data.first() {
        None => return None,
        Some(b'{' | b'[') => {}
        Some(_) => return Some(Shape::Lines),
    }
    let mut scan = Scan::default();
    for window in [DOCUMENT_BYTES_MAX, LINE_BYTES_MAX] {
        let window = &data[..data.len().min(window)];
        let line = find_newline(window, scan.at);
        if scan.value(&window[..line.unwrap_or(window.len())]).is_some() {
            return Some(Shape::Lines);
        }
        if let Some(line) = line {
            if scan.in_string() {
                return Some(Shape::Lines);
            }
            let rest = &data[line..];
            let blanks = &rest[..rest.len().min(DOCUMENT_BYTES_MAX)];
            return match blanks.iter().find(|byte| !byte.is_ascii_whitespace()) {
                Some(following) => Some(goes_on(&scan, *following)),
                None if blanks.len() < rest.len() => Some(Shape::Lines),
                None => undecided,
            };
        }
        if window.len() == data.len() {
            return undecided;
        }
        if array_in(window, framing).is_some() {
            // An array of records without line breaks.
            return Some(Shape::Documents);
        }
    }
    // One enormous line: only a document may be that long.
    Some(Shape::Documents)
}

/// A line break inside a value: an opening bracket after it goes on with that value only where JSON allows one; otherwise the first
/// line is a broken record and the second one a new record.
fn goes_on(scan: &Scan, following: u8) -> Shape {
    if matches!(following, b'{' | b'[') && !scan.may_open() {
        Shape::Lines
    } else {
        Shape::Documents
    }
}

/// Where the inside of a document's array of records begins, and how many brackets are open there. As the decoder looks for it: the
/// document itself, or the first member that is no scalar, under a known key, not further in than a document that is handed on whole.
pub(super) fn array_in(data: &[u8], framing: &Framing) -> Option<(usize, u8)> {
    let data = &data[..data.len().min(DOCUMENT_BYTES_MAX)];
    let skip_space = |from: usize| {
        let rest = data.get(from..)?;
        Some(from + rest.iter().position(|byte| !byte.is_ascii_whitespace())?)
    };
    let mut at = skip_space(0)?;
    match data[at] {
        b'[' => return Some((at + 1, 1)),
        b'{' => at = skip_space(at + 1)?,
        _ => return None,
    }
    while data[at] == b'"' {
        let key = at + 1..at + string_length(&data[at..]) - 1;
        at = skip_space(key.end + 1)?;
        if data[at] != b':' {
            return None;
        }
        at = skip_space(at + 1)?;
        match data[at] {
            b'[' => {
                let key = data.get(key)?;
                let is_known = framing.wrappers.iter().any(|wrapper| wrapper.as_bytes() == key);
                return is_known.then_some((at + 1, 2));
            }
            b'{' => return None,
            _ => at = skip_space(at + scalar_length(&data[at..]))?,
        }
        if data[at] != b',' {
            return None;
        }
        at = skip_space(at + 1)?;
    }
    None
}

/// The length of the text that `data` begins with, its quotes included, as far as it is there; at least 2.
fn string_length(data: &[u8]) -> usize {
    let mut escaped = false;
    for (index, byte) in data.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    data.len().max(2)
}

/// The length of what stands before the next comma or bracket, as far as it is there; at least 1.
fn scalar_length(data: &[u8]) -> usize {
    let begin = match data.first() {
        Some(b'"') => string_length(data).min(data.len()),
        _ => 1,
    };
    let rest = data.get(begin..).unwrap_or_default();
    let ends = |byte: &u8| matches!(byte, b',' | b'[' | b']' | b'{' | b'}');
    begin + rest.iter().position(ends).unwrap_or(rest.len())
}
