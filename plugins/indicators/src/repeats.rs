//! How often an indicator was met, so that it is not told each time.

use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{HOUR, Keyed};

/// What was met in the running hour.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Repeats {
    met: Keyed<Met>,
    /// The newest event time there was.
    newest: i64,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
struct Met {
    /// Start of the hour that is counted.
    hour: i64,
    times: u64,
}

impl Repeats {
    /// Counts `key` at `time`: the how-manieth time of its hour it is, where that is the first, the tenth, the hundredth and so on. What
    /// comes late counts in the hour that runs, or the log of a week, read late, would be told line by line.
    /// A `late` time, which may as well lie in the future, moves no hour.
    pub fn worth_telling(&mut self, key: &str, time: i64, late: bool, max_keys: usize) -> Option<u64> {
        if !late {
            self.newest = self.newest.max(time);
        }
        let hour = self.newest.div_euclid(HOUR);
        // A key that has been silent for an hour counts from one again in any case.
        let met = self.met.at(key, self.newest, max_keys, HOUR);
        if met.hour != hour {
            *met = Met { hour, times: 0 };
        }
        met.times = met.times.saturating_add(1);
        (met.times == 10_u64.pow(met.times.ilog10())).then_some(met.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_at_powers_of_ten_of_each_hour() {
        let mut repeats = Repeats::default();
        let mut told = |key: &str, time: i64| repeats.worth_telling(key, time, false, 10);
        let first: Vec<u64> = (0..1_000).filter_map(|n| told("a", 5 * HOUR + n)).collect();
        assert_eq!(first, [1, 10, 100, 1_000]);
        assert_eq!(told("b", 5 * HOUR + 1_000), Some(1), "another key");
        let next: Vec<u64> = (0..10).filter_map(|n| told("a", 6 * HOUR + n)).collect();
        assert_eq!(next, [1, 10], "another hour");
    }

    #[test]
    fn a_time_from_the_future_does_not_stop_the_hours() {
        let mut repeats = Repeats::default();
        repeats.worth_telling("a", 9_000_000 * HOUR, true, 10);
        let told = [5, 6].map(|hour| repeats.worth_telling("b", hour * HOUR, false, 10));
        assert_eq!(told, [Some(1), Some(1)]);
    }

    #[test]
    fn what_comes_late_is_not_told_line_by_line() {
        let mut repeats = Repeats::default();
        repeats.worth_telling("now", 500 * HOUR, false, 10);
        let mut told = 0;
        for hour in 0..100 {
            for key in ["a", "b"] {
                told += usize::from(repeats.worth_telling(key, hour * HOUR, false, 10).is_some());
            }
        }
        assert_eq!(told, 6, "the first, the tenth and the hundredth of each");
    }
}
