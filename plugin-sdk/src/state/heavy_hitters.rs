//! Which texts make up much of a stream.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::hash;

/// How often a member came: between `count - error` and `count` times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frequency {
    pub count: u64,
    pub error: u64,
}

impl Frequency {
    /// How often it came at least.
    pub fn at_least(self) -> u64 {
        self.count - self.error
    }
}

/// Counts the most frequent members of a stream with a fixed number of counters: Space-Saving (Metwally, Agrawal, El Abbadi 2005).
/// With k counters and N members counted, whatever came more often than N / k times has a counter, and no count is too great by more
/// than N / k.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HeavyHitters {
    counters: BTreeMap<u64, Frequency>,
    total: u64,
}

impl HeavyHitters {
    /// Counts `member` with at most `capacity` counters, and says how often it came.
    pub fn add(&mut self, capacity: usize, member: &str) -> Frequency {
        self.total = self.total.saturating_add(1);
        let member = hash(member);
        let mut error = 0;
        if !self.counters.contains_key(&member) && self.counters.len() >= capacity.max(1) {
            // The rarest gives its counter away, and how often the newcomer came before is unknown up to that count.
            let rarest = self.counters.iter().map(|(member, seen)| (seen.count, *member)).min();
            if let Some((count, rarest)) = rarest {
                self.counters.remove(&rarest);
                error = count;
            }
        }
        let seen = self.counters.entry(member).or_insert(Frequency { count: error, error });
        seen.count = seen.count.saturating_add(1);
        *seen
    }

    /// How many members were counted.
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_bounded_as_the_law_says() {
        const COUNTERS: usize = 20;
        let mut hitters = HeavyHitters::default();
        let mut truth = BTreeMap::<String, u64>::new();
        // A third of the stream is one member, a tenth another, and the rest comes a few times each.
        for n in 0_u64..6_000 {
            let member = match n % 30 {
                0..10 => "often".to_owned(),
                10..13 => "less".to_owned(),
                _ => format!("rare {}", n.wrapping_mul(2_654_435_761) % 1_500),
            };
            *truth.entry(member.clone()).or_default() += 1;
            let seen = hitters.add(COUNTERS, &member);
            let came = truth[&member];
            assert!(
                seen.at_least() <= came && came <= seen.count,
                "{member}: {seen:?}, in truth {came}"
            );
            assert!(seen.error <= hitters.total() / COUNTERS as u64);
        }
        assert_eq!(hitters.counters.len(), COUNTERS);
        assert_eq!(hitters.total(), 6_000);
        for (member, came) in &truth {
            let kept = hitters.counters.contains_key(&hash(member));
            assert!(
                kept || *came <= 6_000 / COUNTERS as u64,
                "{member} came {came} times and was lost"
            );
        }
        assert!(hitters.counters[&hash("often")].at_least() > 1_700);
    }
}
