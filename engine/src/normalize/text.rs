//! The text inside an object or array: what people and models wrote, without the frame around it.

use super::json::{Cursor, Span};
use super::mapping::TextFile;

/// Appends every string reached through the mapping's keys, each on a line of its own, in the record's order. `record` has been
/// walked before, so it is valid JSON of bounded depth.
pub fn flatten(record: &str, start: usize, rules: &TextFile, out: &mut String) {
    let begin = out.len();
    let mut cursor = Cursor::new(record.as_bytes(), start);
    value(record, &mut cursor, rules, begin, out);
    if out.len() == begin && rules.fallback {
        let mut cursor = Cursor::new(record.as_bytes(), start);
        if let Ok(span) = cursor.skip_value() {
            out.push_str(record.get(span.range()).unwrap_or_default());
        }
    }
}

/// `None` once the text is no longer JSON, which ends the walk.
fn value(record: &str, cursor: &mut Cursor<'_>, rules: &TextFile, begin: usize, out: &mut String) -> Option<()> {
    match cursor.peek()? {
        b'{' => {
            cursor.open().ok()?;
            let mut first = true;
            while let Some(key) = cursor.next_key(first).ok()? {
                first = false;
                let key = record.get(key.range())?;
                let container = matches!(cursor.peek()?, b'{' | b'[');
                if container && rules.whole.iter().any(|whole| whole == key) {
                    let span = cursor.skip_value().ok()?;
                    line(record, span, begin, out);
                } else if rules.keys.iter().any(|held| held == key) {
                    value(record, cursor, rules, begin, out)?;
                } else {
                    cursor.skip_value().ok()?;
                }
            }
        }
        b'[' => {
            cursor.open().ok()?;
            let mut first = true;
            while cursor.next_element(first).ok()? {
                first = false;
                value(record, cursor, rules, begin, out)?;
            }
        }
        _ => {
            let span = cursor.scalar().ok()?;
            if span.kind.is_text() {
                line(record, span, begin, out);
            }
        }
    }
    Some(())
}

fn line(record: &str, span: Span, begin: usize, out: &mut String) {
    let text = record.get(span.range()).unwrap_or_default();
    if text.is_empty() {
        return;
    }
    if out.len() > begin {
        out.push('\n');
    }
    span.kind.clear_into(text, out);
}
