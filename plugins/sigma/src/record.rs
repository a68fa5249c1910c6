//! A record as JSON, and the values of its fields as Sigma means them.

use sentrail_plugin::json::{self, Value};

/// How deep texts are looked for; records of more levels are not decoded at all.
const DEPTH_MAX: usize = 64;

/// What a field of a record holds. A path that crosses lists leads to many values.
#[derive(Debug)]
pub enum Held<'a> {
    Nothing,
    One(&'a Value),
    Many(Vec<&'a Value>),
}

/// A place in a record: a field's own name, and another under which it may stand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    pub field: String,
    pub other: Option<String>,
}

/// A decoded record. One that is no JSON has no fields, and its whole text is what keywords are looked for in.
#[derive(Debug)]
pub struct Record(Value);

impl Record {
    pub fn new(raw: &str) -> Self {
        Self(json::from_str(raw).unwrap_or_else(|_| Value::String(raw.to_owned())))
    }

    pub fn get(&self, path: &Path) -> Held<'_> {
        match (self.find(&path.field), &path.other) {
            (Held::Nothing, Some(other)) => self.find(other),
            (held, _) => held,
        }
    }

    fn find(&self, path: &str) -> Held<'_> {
        // A key that has the dots in it comes before objects in objects.
        if let Some(value) = self.0.get(path) {
            return Held::One(value);
        }
        let mut found = Vec::new();
        if path.contains('.') {
            follow(&self.0, path, &mut found);
        }
        match found[..] {
            [] => Held::Nothing,
            [value] => Held::One(value),
            _ => Held::Many(found),
        }
    }

    /// Every text in the record.
    pub fn texts(&self, visit: &mut dyn FnMut(&str)) {
        texts(&self.0, visit, DEPTH_MAX);
    }
}

/// Lists are followed through each of their elements.
fn follow<'a>(value: &'a Value, path: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            let (key, rest) = path
                .split_once('.')
                .map_or((path, None), |(key, rest)| (key, Some(rest)));
            match (members.get(key), rest) {
                (Some(value), Some(rest)) => follow(value, rest, found),
                (Some(value), None) => found.push(value),
                (None, _) => {}
            }
        }
        Value::Array(items) => items.iter().for_each(|item| follow(item, path, found)),
        _ => {}
    }
}

fn texts(value: &Value, visit: &mut dyn FnMut(&str), depth: usize) {
    match value {
        Value::String(text) => visit(text),
        Value::Object(members) if depth > 0 => members.values().for_each(|value| texts(value, visit, depth - 1)),
        Value::Array(items) if depth > 0 => items.iter().for_each(|value| texts(value, visit, depth - 1)),
        _ => {}
    }
}

impl<'a> Held<'a> {
    /// Every single value, also those in lists.
    pub fn scalars(&self, visit: &mut dyn FnMut(&'a Value)) {
        match self {
            Held::Nothing => {}
            Held::One(value) => scalars(value, visit),
            Held::Many(values) => values.iter().for_each(|value| scalars(value, visit)),
        }
    }

    /// The first of them as text.
    pub fn text(&self) -> Option<String> {
        let mut text = None;
        self.scalars(&mut |value| {
            if text.is_none() {
                text = text_of(value);
            }
        });
        text
    }
}

fn scalars<'a>(value: &'a Value, visit: &mut dyn FnMut(&'a Value)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| scalars(item, visit)),
        Value::Object(_) => {}
        _ => visit(value),
    }
}

/// A single value in the spelling that rules compare with.
pub fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) => Some(match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.to_string(),
            (None, Some(fraction)) => fraction.to_string(),
            (None, None) => number.to_string(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(field: &str) -> Path {
        Path {
            field: field.into(),
            other: None,
        }
    }

    #[test]
    fn a_path_goes_through_lists_and_prefers_a_key_with_dots() {
        let record = Record::new(r#"{"a.b":1,"a":{"b":2,"c":[{"d":"x"},{"d":["y","z"]}]},"n":null}"#);
        assert_eq!(record.get(&path("a.b")).text().as_deref(), Some("1"));
        let mut seen = Vec::new();
        record
            .get(&path("a.c.d"))
            .scalars(&mut |value| seen.push(text_of(value)));
        assert_eq!(seen, ["x", "y", "z"].map(|text| Some(text.to_owned())));
        assert!(matches!(record.get(&path("n")), Held::One(Value::Null)));
        assert!(matches!(record.get(&path("a.x")), Held::Nothing));
    }

    #[test]
    fn another_name_counts_only_where_the_own_is_absent() {
        let wanted = Path {
            field: "Category".into(),
            other: Some("category".into()),
        };
        assert_eq!(
            Record::new(r#"{"category":"x"}"#).get(&wanted).text().as_deref(),
            Some("x")
        );
        let both = Record::new(r#"{"category":"x","Category":"y"}"#);
        assert_eq!(both.get(&wanted).text().as_deref(), Some("y"));
    }

    #[test]
    fn what_is_no_json_is_one_text() {
        let mut seen = Vec::new();
        Record::new("connection refused").texts(&mut |text| seen.push(text.to_owned()));
        assert_eq!(seen, ["connection refused"]);
    }
}
