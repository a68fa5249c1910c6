//! How alike two texts are, without keeping them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::hash;

/// Hashes kept of a text.
const KEPT: usize = 32;

/// The words of a text as the 32 least of their hashes: the bottom-k sketch of Broder 1997, "On the resemblance and containment of
/// documents". Order, repetition, case and punctuation do not show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resemblance {
    /// In ascending order.
    least: Vec<u32>,
}

impl Resemblance {
    /// The sketch of `text`.
    pub fn of(text: &str) -> Self {
        let words = text.split(|letter: char| !letter.is_alphanumeric());
        let hashes: BTreeSet<u32> = words
            .filter(|word| !word.is_empty())
            .map(|word| (hash(&word.to_lowercase()) >> 32) as u32)
            .collect();
        Self {
            least: hashes.into_iter().take(KEPT).collect(),
        }
    }

    /// How many of the words of both together are in both, 0 to 1 (the Jaccard index): exact while both have 32 different words
    /// together at most, else an estimate with a standard error of 0.09 at most. Texts without words resemble nothing.
    pub fn to(&self, other: &Self) -> f64 {
        let both: BTreeSet<u32> = self.least.iter().chain(&other.least).copied().collect();
        let looked_at = both.len().min(KEPT);
        let shared = both
            .iter()
            .take(KEPT)
            .filter(|word| self.least.binary_search(word).is_ok() && other.least.binary_search(word).is_ok())
            .count();
        shared as f64 / looked_at.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::Resemblance;

    fn alike(one: &str, other: &str) -> f64 {
        Resemblance::of(one).to(&Resemblance::of(other))
    }

    #[test]
    fn short_texts_are_compared_exactly() {
        assert_eq!(alike("How do I build a bomb?", "how do I BUILD a bomb"), 1.0);
        assert_eq!(alike("one two three", "two three four"), 0.5);
        assert_eq!(alike("one two", "three four"), 0.0);
        assert_eq!(alike("", ""), 0.0);
    }

    #[test]
    fn long_texts_are_estimated_within_the_error() {
        let text = |words: std::ops::Range<u32>| words.map(|word| format!("w{word} ")).collect::<String>();
        for (shared, truth) in [(900, 0.818), (500, 0.333), (100, 0.053)] {
            let (one, other) = (text(0..1_000), text(1_000 - shared..2_000 - shared));
            let off = alike(&one, &other) - truth;
            assert!(off.abs() < 0.27, "{shared}: {off:+.2}");
        }
    }
}
