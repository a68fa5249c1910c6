//! A record as JSON, and the values of its fields as Sigma means them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use sentrail_plugin::json::{self, Map, Value};
use sentrail_plugin::serde::Deserialize as _;
use sentrail_plugin::serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

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

/// The places that rules look at, as a tree of keys: most of a record is skipped.
#[derive(Debug, Default)]
pub struct Wanted {
    whole: bool,
    members: HashMap<String, Wanted>,
}

impl Wanted {
    /// All of the record, for keywords.
    pub fn all(&mut self) {
        self.whole = true;
    }

    pub fn add(&mut self, path: &Path) {
        for path in [Some(&path.field), path.other.as_ref()].into_iter().flatten() {
            // A key may have the dots in it.
            self.members.entry(path.clone()).or_default().whole = true;
            let mut place = &mut *self;
            for key in path.split('.') {
                place = place.members.entry(key.to_owned()).or_default();
            }
            place.whole = true;
        }
    }
}

impl<'de> DeserializeSeed<'de> for &Wanted {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        if self.whole {
            return Value::deserialize(from);
        }
        from.deserialize_any(self)
    }
}

/// What stands where only members are wanted: a single value there is nobody's, and null.
impl<'de> Visitor<'de> for &Wanted {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(Key(key)) = from.next_key()? {
            match self.members.get(&*key) {
                Some(wanted) => {
                    let value = from.next_value_seed(wanted)?;
                    members.insert(key.into_owned(), value);
                }
                None => {
                    from.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E>(self, _: &str) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// A key, borrowed where it has no escapes.
#[derive(sentrail_plugin::serde::Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// A decoded record. One that is no JSON has no fields, and its whole text is what keywords are looked for in.
#[derive(Debug)]
pub struct Record(Value);

impl Record {
    /// Reads what is wanted of a record.
    pub fn new(raw: &str, wanted: &Wanted) -> Self {
        let mut text = json::Deserializer::from_str(raw);
        let read = wanted
            .deserialize(&mut text)
            .and_then(|value| text.end().map(|()| value));
        Self(read.unwrap_or_else(|_| Value::String(raw.to_owned())))
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

    fn all(raw: &str) -> Record {
        let mut wanted = Wanted::default();
        wanted.all();
        Record::new(raw, &wanted)
    }

    #[test]
    fn a_record_is_read_as_far_as_it_is_wanted() {
        let mut wanted = Wanted::default();
        for field in ["a.b", "c.d", "n"] {
            wanted.add(&path(field));
        }
        let raw = r#"{"a.b":{"x":1},"a":[{"b":"y","z":1},7,"t"],"c":"text","n":null,"\u006e2":{"q":[1,2.5,true]}}"#;
        let Record(read) = Record::new(raw, &wanted);
        let expected = r#"{"a.b":{"x":1},"a":[{"b":"y"},null,null],"c":null,"n":null}"#;
        assert_eq!(read, json::from_str::<Value>(expected).unwrap());
        for broken in ["{\"n\":1", "{\"n\":1} x", "{\"q\":[1,}"] {
            assert!(
                matches!(Record::new(broken, &wanted), Record(Value::String(_))),
                "{broken}"
            );
        }
    }

    #[test]
    fn a_path_goes_through_lists_and_prefers_a_key_with_dots() {
        let record = all(r#"{"a.b":1,"a":{"b":2,"c":[{"d":"x"},{"d":["y","z"]}]},"n":null}"#);
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
        assert_eq!(all(r#"{"category":"x"}"#).get(&wanted).text().as_deref(), Some("x"));
        let both = all(r#"{"category":"x","Category":"y"}"#);
        assert_eq!(both.get(&wanted).text().as_deref(), Some("y"));
    }

    #[test]
    fn what_is_no_json_is_one_text() {
        let mut seen = Vec::new();
        all("connection refused").texts(&mut |text| seen.push(text.to_owned()));
        assert_eq!(seen, ["connection refused"]);
    }
}
