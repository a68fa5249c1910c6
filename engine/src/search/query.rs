//! From what people type to what tantivy's parser takes, and from its errors to theirs.

use tantivy::query::QueryParserError;
use tantivy::query_grammar::{UserInputAst, UserInputLeaf, parse_query};

use crate::model::{EventSchema, IncidentStatus, LAYERS, Severity};

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
/// name, to people it is part of the value. What is quoted or grouped already stays. An error says which prefix is no field, for a
/// search that silently finds nothing reads as all-clear.
pub(super) fn quote_values(query: &str) -> Result<String, String> {
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
        out.push_str(&quote_word(word)?);
    }
    Ok(out)
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

fn quote_word(word: &str) -> Result<String, String> {
    let named = |prefix: &str| FIELDS.into_iter().find(|field| field.eq_ignore_ascii_case(prefix));
    let (field, value) = match word.split_once(':') {
        Some((prefix, value)) => match named(prefix) {
            Some(field) => (Some(field), value),
            None if meant_as_field(prefix, value) => {
                return Err(format!(
                    "there is no field `{prefix}`; to find these very characters, put them in quotes: \"{word}\""
                ));
            }
            None => (None, word),
        },
        None => (None, word),
    };
    let grouped = value.starts_with(['"', '(', '[', '{', '<', '>', '*']) || value.contains(['"', '\\', '^']);
    let plain = !value.contains(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '_')));
    let value = if grouped || plain {
        value.to_owned()
    } else {
        format!("\"{value}\"")
    };
    Ok(match field {
        Some(field) => format!("{field}:{value}"),
        None => value,
    })
}

/// Whether whoever wrote `prefix:value` thought of a field, and not of an entity, an ARN, an IPv6 address or a URL.
fn meant_as_field(prefix: &str, value: &str) -> bool {
    let word = !prefix.is_empty() && prefix.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
    let hexadecimal = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.'));
    let address = value.contains(':') && hexadecimal(prefix) && hexadecimal(value);
    let kind = || {
        let columns = EventSchema::get().columns().iter();
        columns
            .filter_map(|column| column.entity.as_deref())
            .any(|kind| kind == prefix)
    };
    word && !address && !value.starts_with("//") && !matches!(prefix, "arn" | "urn") && !kind()
}

/// Fields that hold one of a few words: asking for another is a slip, and would find nothing for ever.
fn words_of(field: &str) -> Option<Vec<String>> {
    let lower = |text: &str| text.to_lowercase();
    match field {
        "severity" => Some(
            Severity::ALL
                .into_iter()
                .map(|severity| lower(severity.text()))
                .collect(),
        ),
        "status" => Some(
            IncidentStatus::ALL
                .into_iter()
                .map(|status| lower(status.text()))
                .collect(),
        ),
        "layer" => Some(LAYERS.into_iter().map(lower).collect()),
        _ => None,
    }
}

/// Says which value of a query no incident can have. `query` has its values in quotes; one that cannot be parsed is not judged here.
pub(super) fn impossible(query: &str) -> Option<String> {
    fn each(ast: &UserInputAst, found: &mut Option<String>) {
        match ast {
            UserInputAst::Clause(clauses) => clauses.iter().for_each(|(_, ast)| each(ast, found)),
            UserInputAst::Boost(ast, _) => each(ast, found),
            UserInputAst::Leaf(leaf) => match &**leaf {
                UserInputLeaf::Literal(literal) if !literal.prefix => {
                    judge(literal.field_name.as_deref(), &literal.phrase, found);
                }
                UserInputLeaf::Set { field, elements } => {
                    elements.iter().for_each(|value| judge(field.as_deref(), value, found));
                }
                _ => {}
            },
        }
    }
    fn judge(field: Option<&str>, value: &str, found: &mut Option<String>) {
        if let Some((field, words)) = field.and_then(|field| Some((field, words_of(field)?)))
            && found.is_none()
            && !words.contains(&value.to_lowercase())
        {
            *found = Some(format!(
                "no incident has the {field} `{value}`; there are {}",
                words.join(", ")
            ));
        }
    }
    let mut found = None;
    each(&parse_query(query).ok()?, &mut found);
    found
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
