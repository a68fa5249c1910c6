//! The mapping files of schemas/sources: what they may say, and where they are wrong.
//!
//! A path names a value in the record: keys parted by dots (a key with a dot in single quotes), `[2]` an array's element, `[*]` each
//! element. In `from`, a text with `{path}` in it is a template: it has a value when every path in it has one. Nulls and empty
//! strings count as absent. Where a key stands twice in an object, the last value that is not null wins. A number that does not fit its
//! column leaves the column null.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

use super::time::TimeFormat;
use crate::config::MappingText;

/// The mappings of this build, each of them a file of schemas/sources: name and text.
pub const MAPPING_FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/mapping_files.rs"));

/// A mapping file that cannot be used, or a source that names none. Retrying does not help; the file or the configuration must change.
#[derive(Debug, Error)]
pub enum MappingError {
    #[error("{file}:{line}:{column}: {message}")]
    File {
        file: String,
        line: usize,
        column: usize,
        message: String,
    },
    #[error("{file}: the format `{format}` is declared in {other} too; every format needs its own name")]
    Twice {
        file: String,
        other: String,
        format: String,
    },
    #[error("source `{source_name}`: `{format}` is no known format; valid are auto, {valid}")]
    UnknownFormat {
        source_name: String,
        format: String,
        valid: String,
    },
}

impl MappingError {
    /// An error at byte `offset` of `text`.
    pub fn at(file: &str, text: &str, offset: usize, message: impl Into<String>) -> MappingError {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1) + 1;
        MappingError::File {
            file: file.to_owned(),
            line,
            column,
            message: message.into(),
        }
    }
}

/// One mapping file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappingFile {
    /// The name that configurations use.
    pub format: String,
    pub title: String,
    /// Part of the AI stack that writes this log.
    pub layer: String,
    pub lateness: LatenessFile,
    /// A document may hold its records in an array under this key.
    pub unwrap: Option<String>,
    /// Where the log's own id of the record stands; none if it has none.
    #[serde(default)]
    pub id: Option<OneOrMany>,
    pub recognise: RecogniseFile,
    pub columns: BTreeMap<String, Spanned<ColumnFile>>,
    #[serde(default, rename = "relation")]
    pub relations: Vec<Spanned<RelationFile>>,
}

/// How much later than its neighbours an event of this log may be delivered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatenessFile {
    pub seconds: u32,
    /// Why so much.
    pub reason: String,
}

/// A record is of this format when all of it holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecogniseFile {
    /// Paths that have a value.
    pub present: Vec<Spanned<String>>,
    /// Paths whose value is one of a list.
    #[serde(default)]
    pub equals: BTreeMap<String, Spanned<Vec<String>>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub fn as_slice(&self) -> &[String] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

/// How one column is filled.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnFile {
    /// Paths and templates; the first that has a value is taken.
    pub from: Option<OneOrMany>,
    /// This text, always.
    #[serde(rename = "const")]
    pub constant: Option<String>,
    /// Values replaced by others.
    #[serde(default)]
    pub map: BTreeMap<String, String>,
    /// Value for what `map` does not name; without it, such values stay.
    pub otherwise: Option<String>,
    /// Value when nothing was found.
    pub missing: Option<String>,
    /// Objects and arrays are taken too, as JSON text.
    #[serde(default)]
    pub json: bool,
    /// Objects and arrays are taken as the text found in them.
    pub text: Option<TextFile>,
    /// For `time`: how the source writes it.
    #[serde(default)]
    pub time: Vec<TimeFormat>,
    /// Only the part before this separator is taken.
    pub split: Option<String>,
    /// The column stays null unless the named columns have one of these values.
    #[serde(default)]
    pub when: When,
}

pub type When = BTreeMap<String, Vec<String>>;

/// Which members of an object hold text: every string reached through `keys` is one line.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextFile {
    /// Members that are looked into; others are passed over.
    pub keys: Vec<String>,
    /// Members that, when they hold an object or an array, are taken whole as JSON text.
    #[serde(default)]
    pub whole: Vec<String>,
    /// When no text was found in an object or array, all of it is taken as JSON text.
    #[serde(default)]
    pub fallback: bool,
}

/// A fact that a record states: `from` did `kind` to `to`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelationFile {
    pub from: String,
    pub kind: String,
    pub to: String,
    #[serde(default)]
    pub when: When,
}

/// A mapping file that was read, with what its errors need.
pub struct Mapping {
    pub file: String,
    pub text: String,
    pub content: MappingFile,
}

impl Mapping {
    pub fn parse(file: &str, text: &str) -> Result<Mapping, MappingError> {
        let content = toml::from_str(text).map_err(|error| {
            MappingError::at(file, text, error.span().map_or(0, |span| span.start), error.message())
        })?;
        Ok(Mapping {
            file: file.to_owned(),
            text: text.to_owned(),
            content,
        })
    }
}

/// The mappings of the build and the site's own, by format name; one of the site's replaces the build's of the same name.
pub fn all(own: &[MappingText]) -> Result<Vec<Mapping>, MappingError> {
    let mut held: BTreeMap<String, Mapping> = BTreeMap::new();
    for text in own {
        let mapping = Mapping::parse(&text.file, &text.text)?;
        let format = mapping.content.format.clone();
        if let Some(other) = held.get(&format) {
            return Err(MappingError::Twice {
                file: mapping.file,
                other: other.file.clone(),
                format,
            });
        }
        held.insert(format, mapping);
    }
    for (name, text) in MAPPING_FILES {
        let mapping = Mapping::parse(&format!("schemas/sources/{name}"), text)?;
        held.entry(mapping.content.format.clone()).or_insert(mapping);
    }
    Ok(held.into_values().collect())
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    Key(String),
    Index(u32),
    Each,
}

/// Reads a path; the error says what is wrong with it.
pub fn parse_path(text: &str) -> Result<Vec<Step>, String> {
    let wrong = |what: &str| {
        Err(format!(
            "`{text}` is no path: {what}; valid are for example a.b, a[0].b, a[*].b, 'a.b'.c"
        ))
    };
    let mut steps = Vec::new();
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('\'') {
            let Some((key, after)) = quoted.split_once('\'') else {
                return wrong("a quote is open");
            };
            steps.push(Step::Key(key.to_owned()));
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end == 0 {
                return wrong("a key is empty");
            }
            steps.push(Step::Key(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        while let Some(inside) = rest.strip_prefix('[') {
            let Some((index, after)) = inside.split_once(']') else {
                return wrong("a bracket is open");
            };
            steps.push(match index.parse() {
                Ok(index) => Step::Index(index),
                Err(_) if index == "*" => Step::Each,
                Err(_) => return wrong("an index is no number and no *"),
            });
            rest = after;
        }
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Ok(steps),
            None => return wrong("a dot is missing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let key = |text: &str| Step::Key(text.to_owned());
        assert_eq!(
            parse_path("a.b[0].c").ok(),
            Some(vec![key("a"), key("b"), Step::Index(0), key("c")])
        );
        assert_eq!(
            parse_path("'user.name'[*]").ok(),
            Some(vec![key("user.name"), Step::Each])
        );
        for wrong in ["", "a..b", "a[", "a[x]", ".a", "'a", "a[0]b"] {
            assert!(parse_path(wrong).is_err(), "{wrong}");
        }
    }
}
