//! What the beginning of a file or of a document shows of its shape.

use std::sync::Arc;

use super::frame::{DOCUMENT_BYTES_MAX, LINE_BYTES_MAX};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Lines,
    Documents,
}

/// Keys under which a document may hold its records in an array.
pub type Wrappers = Arc<[Box<str>]>;

/// Decides a file's shape from its beginning; `None`: not enough of it is there yet. Documents: the first line opens a value, does not
/// close it, and the following line goes on as JSON may. Lines: everything else, in particular a first line that was cut by a crash.
pub(super) fn detect(data: &[u8], at_end: bool, wrappers: &Wrappers) -> Option<Shape> {
    let undecided = at_end.then_some(Shape::Lines);
    let Some(start) = data.iter().position(|byte| !byte.is_ascii_whitespace()) else {
        return undecided;
    };
    if !matches!(data[start], b'{' | b'[') {
        return Some(Shape::Lines);
    }
    let mut open = Vec::new();
    let (mut in_string, mut escaped, mut last) = (false, false, 0u8);
    for (index, &byte) in data.iter().enumerate().skip(start) {
        if index - start > LINE_BYTES_MAX {
            // One enormous line: only a document may be that long.
            return Some(Shape::Documents);
        }
        if index - start == DOCUMENT_BYTES_MAX && array_in(data, wrappers).is_some() {
            // An array of records without line breaks.
            return Some(Shape::Documents);
        }
        match byte {
            b'\n' if in_string => return Some(Shape::Lines),
            b'\n' => {
                let Some(following) = data[index..].iter().find(|byte| !byte.is_ascii_whitespace()) else {
                    return undecided;
                };
                return Some(shape_of_continuation(last, *following, open.last().copied()));
            }
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => open.push(byte),
            b'}' | b']' => {
                open.pop();
                if open.is_empty() {
                    return Some(Shape::Lines);
                }
            }
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            last = byte;
        }
    }
    undecided
}

/// A line break inside a value: an opening bracket after it goes on with that value only after `[`, `:` or a comma between an array's
/// elements; otherwise the first line is a broken record and the second one a new record.
fn shape_of_continuation(last: u8, following: u8, innermost: Option<u8>) -> Shape {
    let opens = matches!(following, b'{' | b'[');
    let may_open = matches!(last, b'[' | b':') || (last == b',' && innermost == Some(b'['));
    if opens && !may_open {
        Shape::Lines
    } else {
        Shape::Documents
    }
}

/// Where the inside of a document's array of records begins, and how many brackets are open there. As the decoder looks for it: the
/// document itself, or the first member that is no scalar, under a known key.
pub(super) fn array_in(data: &[u8], wrappers: &Wrappers) -> Option<(usize, u8)> {
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
                let is_known = wrappers.iter().any(|wrapper| wrapper.as_bytes() == key);
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
pub(super) fn scalar_length(data: &[u8]) -> usize {
    let begin = match data.first() {
        Some(b'"') => string_length(data).min(data.len()),
        _ => 1,
    };
    let rest = data.get(begin..).unwrap_or_default();
    let ends = |byte: &u8| matches!(byte, b',' | b'[' | b']' | b'{' | b'}');
    begin + rest.iter().position(ends).unwrap_or(rest.len())
}
