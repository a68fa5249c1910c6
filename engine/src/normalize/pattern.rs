//! Values that a mapping names: a text in which each `*` stands for any text.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::text::is_like;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    /// There is no star in it.
    exact: bool,
}

impl Pattern {
    pub fn new(text: &str) -> Pattern {
        Pattern {
            text: text.into(),
            exact: !text.contains('*'),
        }
    }

    pub fn matches(&self, value: &[u8]) -> bool {
        if self.exact {
            return *self.text.as_bytes() == *value;
        }
        is_like(value, self.text.as_bytes())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Values replaced by others. A value that is named as it is goes before a pattern, a longer pattern before a shorter one.
#[derive(Default)]
pub struct ValueMap {
    exact: BTreeMap<Box<str>, Box<str>>,
    patterns: Vec<(Pattern, Box<str>)>,
}

impl ValueMap {
    pub fn new(map: &BTreeMap<String, String>) -> ValueMap {
        let mut compiled = ValueMap::default();
        for (from, to) in map {
            let pattern = Pattern::new(from);
            match pattern.exact {
                true => drop(compiled.exact.insert(pattern.text, to.as_str().into())),
                false => compiled.patterns.push((pattern, to.as_str().into())),
            }
        }
        let length = |(pattern, _): &(Pattern, Box<str>)| std::cmp::Reverse(pattern.text.len());
        compiled.patterns.sort_by_key(length);
        compiled
    }

    pub fn get(&self, value: &str) -> Option<&str> {
        let fits = |(pattern, _): &&(Pattern, Box<str>)| pattern.matches(value.as_bytes());
        let exact = self.exact.get(value).map(|to| &**to);
        exact.or_else(|| self.patterns.iter().find(fits).map(|(_, to)| &**to))
    }

    /// Everything it can give.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        let of_patterns = self.patterns.iter().map(|(_, to)| &**to);
        self.exact.values().map(|to| &**to).chain(of_patterns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_name_counts() {
        let map = [
            ("get", "1"),
            ("get*", "2"),
            ("*", "3"),
            ("*/delete", "4"),
            ("a*z", "5"),
            ("*.b*b.*", "6"),
        ];
        let map = ValueMap::new(&map.map(|(from, to)| (from.to_owned(), to.to_owned())).into());
        for (value, want) in [
            ("get", "1"),
            ("getAll", "2"),
            ("x", "3"),
            ("x/y/delete", "4"),
            ("az", "5"),
            ("a", "3"),
            ("x.bb.y", "6"),
            ("x.b.y", "3"),
        ] {
            assert_eq!(map.get(value), Some(want), "{value}");
        }
        assert!(!Pattern::new("ab*ba").matches(b"aba"));
    }
}
