//! The mapping files of schemas/sources: what they may say, and where they are wrong.
//!
//! A path names a value in the record: keys parted by dots (a key with a dot in single quotes), `[2]` an array's element, `[*]` each
//! element, `[name=x]` the elements whose member `name` is `x`. `<kafka.header.x>` is no place in the record but what its carrier
//! said beside it. In `from`, a text with `{path}` in it is a template: it has a value when every path in it has one. Nulls and
//! empty strings count as absent. Where a key stands twice in an object, the last value that is not null wins. A number that does
//! not fit its column leaves the column null. In lists of values (`map`, `when`, `equals`) `*` stands for any text.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

use super::time::TimeFormat;
use crate::config::MappingText;
use crate::model::EntityRole;

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
    /// Part of the AI stack that writes this log; the column `layer` may say another of single records.
    pub layer: Spanned<String>,
    pub lateness: LatenessFile,
    /// A document may hold its records in an array under this key.
    pub unwrap: Option<String>,
    /// Each element at this path, which ends in `[*]`, makes an event of its own; paths outside it are what they share. A record
    /// without such an element is one event. A path that begins with a dot goes on from such an element.
    pub split: Option<Spanned<String>>,
    /// The records are no JSON but lines of this layout, whose fields are the keys of paths.
    pub line: Option<Spanned<LayoutFile>>,
    /// Path → layout of the strings there: their fields are read as if they were members of an object at that place.
    #[serde(default)]
    pub inside: BTreeMap<String, Spanned<LayoutFile>>,
    /// Where the log's own id of the record stands; none if it has none.
    #[serde(default)]
    pub id: Option<Spanned<OneOrMany>>,
    /// A record is of this format when one of these holds.
    #[serde(default)]
    pub recognise: Vec<RecogniseFile>,
    pub columns: BTreeMap<String, Spanned<ColumnFile>>,
    /// Name → path of what no column is for and is worth keeping in a column all the same: members of the JSON object `unmapped`.
    #[serde(default)]
    pub unmapped: BTreeMap<String, Spanned<String>>,
    #[serde(default, rename = "relation")]
    pub relations: Vec<Spanned<RelationFile>>,
    /// The finding of another tool that a record is.
    pub detection: Option<Spanned<DetectionFile>>,
}

/// How much later than its neighbours an event of this log may be delivered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatenessFile {
    pub seconds: u32,
    /// Why so much.
    pub reason: String,
}

/// All of it must hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecogniseFile {
    /// Paths that have a value.
    #[serde(default)]
    pub present: Vec<Spanned<String>>,
    /// Paths that have none.
    #[serde(default)]
    pub absent: Vec<Spanned<String>>,
    /// Paths whose value is one of a list.
    #[serde(default)]
    pub equals: BTreeMap<String, Spanned<Vec<String>>>,
}

/// How a text is laid out: `json`, `csv` or `template`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayoutFile {
    #[serde(default)]
    pub json: bool,
    /// Names of comma-separated fields, in order.
    pub csv: Option<Vec<String>>,
    /// The comma-separated fields stand behind the first occurrence of this text.
    pub after: Option<String>,
    /// Lines of literal texts and `$name` variables; the first that fits is taken.
    pub template: Option<OneOrMany>,
    /// Variables that may hold any text, such as what users write. The others end at the first character of what follows them.
    #[serde(default)]
    pub free: Vec<String>,
    /// Texts that stand for no value.
    #[serde(default)]
    pub none: Vec<String>,
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
    /// Value for what `map` does not name; without it, such values stay. An empty text is no value.
    pub otherwise: Option<String>,
    /// Value when nothing was found.
    pub missing: Option<String>,
    /// Objects and arrays are taken too, as JSON text.
    #[serde(default)]
    pub json: bool,
    /// Objects and arrays are taken as the text found in them.
    pub text: Option<TextFile>,
    /// For timestamps: how the source writes it; the first that fits is taken.
    #[serde(default)]
    pub time: Vec<TimeFormat>,
    /// Only what stands behind the first occurrence of this text is taken; a value without it is none.
    pub after: Option<String>,
    /// Only the part before this separator is taken.
    pub split: Option<String>,
    /// In lower case, before all else: for names that their system writes now so and now so.
    #[serde(default)]
    pub lower: bool,
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

/// The detection that a record states. Its entities are those of the columns that name some.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionFile {
    /// The other tool's id of its rule.
    pub rule: ColumnFile,
    pub title: ColumnFile,
    pub message: Option<ColumnFile>,
    /// Informational, Low, Medium, High or Critical; `none`, or anything else, for a record that is no finding.
    pub severity: ColumnFile,
    /// What is no id of ATT&CK or ATLAS is passed over.
    pub techniques: Option<ColumnFile>,
    #[serde(default)]
    pub when: When,
    /// Entities that no column names.
    #[serde(default, rename = "entity")]
    pub entities: Vec<EntityFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntityFile {
    pub kind: String,
    pub role: EntityRole,
    pub value: ColumnFile,
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
