//! From what people type to what tantivy's parser takes, and from its errors to theirs.

use tantivy::query::QueryParserError;

/// The prefixes that name a field.
pub(super) const FIELDS: [&str; 8] = [
    "title",
    "entity",
    "technique",
    "severity",
    "status",
    "layer",
    "text",
    "incident_id",
];

/// How much of a query an error repeats.
const SHOWN_CHARS: usize = 120;

/// Puts values such as `arn:aws:iam::1:user/bob`, `2001:db8::1` or `entity:principal:bob` in quotes: to tantivy a colon ends a field's
/// name, to people it is part of the value. A word whose prefix is no field but looks like one meant as such (`foo:bar`) becomes the
/// phrase `foo bar`. What is quoted or grouped already stays.
pub(super) fn quote_values(query: &str) -> String {
    let mut out = String::with_capacity(query.len() + 16);
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() || matches!(first, '(' | ')' | '+' | '-') {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let word = &rest[..word_end(rest)];
        rest = &rest[word.len()..];
        out.push_str(&quote_word(word));
    }
    out
}

/// Where the word at the start of `text` ends: at white space or a closing parenthesis outside quotes and ranges.
fn word_end(text: &str) -> usize {
    let mut quoted = false;
    let mut range = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => range = true,
            ']' | '}' if !quoted => range = false,
            _ if !quoted && !range && (c.is_whitespace() || c == ')') => return at,
            _ => {}
        }
    }
    text.len()
}

fn quote_word(word: &str) -> String {
    let (field, value) = match word.split_once(':') {
        Some((field, value)) if FIELDS.contains(&field) => (Some(field), value),
        _ => (None, word),
    };
    let grouped = value.starts_with(['"', '(', '[', '{', '<', '>', '*']) || value.contains(['"', '\\', '^']);
    let plain = !value.contains(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '_')));
    let value = if grouped || plain {
        value.to_owned()
    } else {
        format!("\"{value}\"")
    };
    match field {
        Some(field) => format!("{field}:{value}"),
        None => value,
    }
}

/// What was wrong, in the words of someone who has never seen the index.
pub(super) fn explain(error: &QueryParserError) -> String {
    match error {
        QueryParserError::FieldDoesNotExist(field) => format!("there is no field `{field}`"),
        QueryParserError::AllButQueryForbidden => "it only says what must not match; add a word that must".to_owned(),
        QueryParserError::SyntaxError(_) => "a quote, a parenthesis or an operator has no counterpart".to_owned(),
        QueryParserError::FieldDoesNotHavePositionsIndexed(field) => {
            format!("`{field}` holds single words; write {field}:WORD without spaces")
        }
        other => other.to_string(),
    }
}

pub(super) fn shorten(query: &str) -> String {
    match query.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &query[..end]),
        None => query.to_owned(),
    }
}
