//! The configuration's text, and where in it things stand: errors name the line and the key.

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, Deserializer, Error, ValueDeserializer};

use super::ConfigError;

/// Which part of the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Whole,
    /// `[NAME]`
    Table(&'static str),
    /// One of the `[[NAME]]`, counted from 0.
    Entry(&'static str, usize),
    /// One of the `[[NAME.INNER]]` of one of the `[[NAME]]`.
    Inner(&'static str, usize, &'static str, usize),
}

/// What is wrong with the value of a key, as one sentence that names the key.
#[derive(Debug)]
pub(super) struct Fault {
    place: Place,
    key: &'static str,
    message: String,
}

impl Fault {
    pub(super) fn new(place: Place, key: &'static str, message: impl Into<String>) -> Fault {
        Fault {
            place,
            key,
            message: message.into(),
        }
    }
}

/// How an entry is read once its `type` is known, for each type.
pub(super) type Types<T> = &'static [(&'static str, fn(ValueDeserializer<'_>) -> Result<T, Error>)];

pub(super) struct Document<'t> {
    file: &'t str,
    text: &'t str,
    root: Spanned<DeTable<'t>>,
}

impl<'t> Document<'t> {
    pub(super) fn parse(text: &'t str, file: &'t str) -> Result<Document<'t>, ConfigError> {
        match DeTable::parse(text) {
            Ok(root) => Ok(Document { file, text, root }),
            Err(error) => {
                let at = error.span().map(|span| span.start);
                Err(ConfigError(told(file, text, at, error.message())))
            }
        }
    }

    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        T::deserialize(Deserializer::from(self.root.clone())).map_err(|error| self.error(&error))
    }

    /// The `[[name]]` entries, each as its `type` says. Read one by one: an enum that serde tells by a tag forgets where its values stood.
    pub(super) fn entries<T>(&self, name: &'static str, types: Types<T>) -> Result<Vec<T>, ConfigError> {
        let entries = self
            .root
            .get_ref()
            .get(name)
            .and_then(|found| found.get_ref().as_array());
        let entries = entries.into_iter().flat_map(|entries| entries.iter()).enumerate();
        entries
            .map(|(index, entry)| {
                let fault = |message: String| self.fault(&Fault::new(Place::Entry(name, index), "type", message));
                let valid: Vec<String> = types.iter().map(|(name, _)| format!("\"{name}\"")).collect();
                let valid = valid.join(", ");
                let DeValue::Table(table) = entry.get_ref() else {
                    return Err(fault(format!("no table; valid is a table with a `type` of {valid}")));
                };
                let Some(tag) = table.get("type") else {
                    return Err(fault(format!("`type` is missing; valid are {valid}")));
                };
                let tag = tag.get_ref().as_str().unwrap_or_default();
                let Some((_, read)) = types.iter().find(|(name, _)| *name == tag) else {
                    return Err(fault(format!("type = \"{tag}\": valid are {valid}")));
                };
                let mut rest = table.clone();
                rest.remove("type");
                let rest = Spanned::new(entry.span(), DeValue::Table(rest));
                read(ValueDeserializer::from(rest)).map_err(|error| self.error(&error))
            })
            .collect()
    }

    pub(super) fn fault(&self, fault: &Fault) -> ConfigError {
        // Without the line itself: the message shows as much of the value as may be shown.
        ConfigError(format!("{}{}", self.at(fault.place, fault.key), fault.message))
    }

    /// Where the value of `key` stands, and in what: begins a message.
    pub(super) fn at(&self, place: Place, key: &str) -> String {
        let root = self.root.get_ref();
        let (label, table) = match place {
            Place::Whole => (String::new(), None),
            Place::Table(name) => (format!("[{name}] "), root.get(name)),
            Place::Entry(name, index) => {
                let entry = root.get(name).and_then(|entries| entries.get_ref().get(index));
                let label = entry.map(|entry| format!("{}: ", label(name, index, entry)));
                (label.unwrap_or_default(), entry)
            }
            Place::Inner(name, index, inner, number) => {
                let outer = root.get(name).and_then(|entries| entries.get_ref().get(index));
                let entries = outer.and_then(|outer| outer.get_ref().as_table()?.get(inner));
                let entry = entries.and_then(|entries| entries.get_ref().get(number));
                let label = outer.zip(entry).map(|(outer, entry)| {
                    let own = label(&format!("{name}.{inner}"), number, entry);
                    format!("{}: {own}: ", label(name, index, outer))
                });
                (label.unwrap_or_default(), entry)
            }
        };
        let value = table.and_then(|table| table.get_ref().as_table()?.get(key)).or(table);
        let place = value.map_or_else(String::new, |value| position(self.text, value.span().start));
        format!("{}:{place} {label}", self.file)
    }

    fn error(&self, error: &Error) -> ConfigError {
        // Of the document as a whole there is no place.
        let at = error.span().filter(|span| !span.is_empty()).map(|span| span.start);
        let path = at.and_then(|at| path(self.root.get_ref(), at));
        let path = path.map_or_else(String::new, |path| format!("{path}: "));
        ConfigError(told(self.file, self.text, at, &format!("{path}{}", error.message())))
    }
}

/// One line with the place, the line that is there, and the message.
fn told(file: &str, text: &str, at: Option<usize>, message: &str) -> String {
    let message = message.trim().replace('\n', "; ");
    let Some(at) = at else {
        return format!("{file}: {message}");
    };
    let begin = text
        .get(..at)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |newline| newline + 1);
    let line = text
        .get(begin..)
        .and_then(|rest| rest.lines().next())
        .unwrap_or_default();
    format!("{file}:{} `{}`: {message}", position(text, at), line.trim())
}

/// `line:column:`, counted from 1.
fn position(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    format!("{line}:{}:", before.len() - line_start + 1)
}

/// An entry as people know it.
fn label(name: &str, index: usize, entry: &Spanned<DeValue<'_>>) -> String {
    let own = entry.get_ref().as_table().and_then(|table| table.get("name"));
    match own.and_then(|own| own.get_ref().as_str()) {
        Some(own) => format!("[[{name}]] name = \"{own}\""),
        None => format!("[[{name}]] number {}", index + 1),
    }
}

/// The key that stands at `at`, or whose value does, with the tables that it is in.
fn path(root: &DeTable<'_>, at: usize) -> Option<String> {
    root.iter().find_map(|(name, value)| {
        if let DeValue::Array(entries) = value.get_ref() {
            let tables = entries
                .iter()
                .enumerate()
                .filter(|(_, entry)| entry.get_ref().is_table());
            for (index, entry) in tables {
                if let Some(keys) = keys_in(entry, at) {
                    let label = label(name.get_ref(), index, entry);
                    let of_entry = keys.is_empty();
                    return Some(if of_entry {
                        label
                    } else {
                        format!("{label}: {}", keys.join("."))
                    });
                }
            }
        }
        let keys = keys_at(name, value, at)?;
        Some(match value.get_ref() {
            DeValue::Table(_) => format!("[{name}] {}", keys[1..].join(".")).trim_end().to_owned(),
            _ => keys.join("."),
        })
    })
}

/// The keys that lead to `at` inside a value; none where it is the value's own place.
fn keys_in<'d>(value: &'d Spanned<DeValue<'_>>, at: usize) -> Option<Vec<&'d str>> {
    let table = value.get_ref().as_table();
    let inside = table.and_then(|table| table.iter().find_map(|(key, value)| keys_at(key, value, at)));
    inside.or_else(|| value.span().contains(&at).then(Vec::new))
}

fn keys_at<'d>(key: &'d Spanned<DeString<'_>>, value: &'d Spanned<DeValue<'_>>, at: usize) -> Option<Vec<&'d str>> {
    let inside = keys_in(value, at).or_else(|| key.span().contains(&at).then(Vec::new))?;
    Some([&[&**key.get_ref()], &inside[..]].concat())
}
