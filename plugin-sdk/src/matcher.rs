//! Looking for many phrases at once.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

/// Phrases, each with what it stands for, found in one pass over a text without regard to ASCII case.
#[derive(Clone, Debug)]
pub struct Patterns<T> {
    automaton: Option<AhoCorasick>,
    values: Vec<T>,
}

impl<T: Copy> Patterns<T> {
    /// Phrases that overlap are all found. A set too large for its automaton is refused.
    pub fn new<'a>(phrases: impl IntoIterator<Item = (&'a str, T)>) -> Result<Self, String> {
        let (texts, values): (Vec<&str>, Vec<T>) = phrases.into_iter().unzip();
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(texts)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            automaton: Some(automaton),
            values,
        })
    }

    /// Finds nothing.
    pub fn none() -> Self {
        Self {
            automaton: None,
            values: Vec::new(),
        }
    }

    /// Every occurrence as (start, end, value), by its end.
    pub fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (usize, usize, T)> + 'a {
        self.automaton
            .iter()
            .flat_map(move |automaton| automaton.find_overlapping_iter(text))
            .map(|found| (found.start(), found.end(), self.values[found.pattern().as_usize()]))
    }

    /// Whether any phrase occurs.
    pub fn is_match(&self, text: &str) -> bool {
        self.automaton
            .as_ref()
            .is_some_and(|automaton| automaton.is_match(text))
    }
}
