//! When a value that keeps changing is worth a word.

use serde::{Deserialize, Serialize};

use super::{RecentSet, SlidingSum};

/// Speaks up when a value reaches a threshold, again each time it has doubled since, and is armed anew once it has fallen to
/// half of the threshold: a value that hovers does not alarm with every row, and a burst that grows is not lost in a small one.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Alarm {
    /// What the value has to reach next; 0 stands for the threshold.
    next: u64,
}

impl Alarm {
    /// Whether to speak up.
    pub fn rises(&mut self, value: u64, threshold: u64) -> bool {
        if value <= threshold / 2 {
            self.next = 0;
        }
        let rises = value >= self.next.max(threshold);
        if rises {
            self.next = value.saturating_mul(2);
        }
        rises
    }
}

/// A [`SlidingSum`] with its [`Alarm`]: so much within so long is a burst.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Burst {
    sum: SlidingSum,
    alarm: Alarm,
}

impl Burst {
    /// Adds `amount` at `time`; gives the sum of the `span` microseconds up to the newest time where it is worth a word. Amounts
    /// within a sixtieth of the span are kept as one.
    pub fn add(&mut self, span: i64, time: i64, amount: u64, threshold: u64) -> Option<u64> {
        let sum = self.sum.add(span, span / 60, time, amount);
        self.alarm.rises(sum, threshold).then_some(sum)
    }
}

/// A [`RecentSet`] with its [`Alarm`]: so many different texts within so long are a spread.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Spread {
    members: RecentSet,
    alarm: Alarm,
}

impl Spread {
    /// How many times the threshold is remembered: an alarm that has doubled more often is no news.
    const OVER: u64 = 8;

    /// Inserts `member`, seen at `time`; gives how many there are within the `span` microseconds up to the newest time where that
    /// is worth a word. At most eight times the threshold are remembered.
    pub fn insert(&mut self, span: i64, time: i64, member: &str, threshold: u64) -> Option<u64> {
        let max = usize::try_from(threshold.saturating_mul(Self::OVER)).unwrap_or(usize::MAX);
        let len = self.members.insert(span, max, time, member).len as u64;
        self.alarm.rises(len, threshold).then_some(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_speaks_at_the_threshold_at_each_doubling_and_after_a_pause() {
        let mut alarm = Alarm::default();
        let spoken: Vec<bool> = [9, 10, 11, 9, 19, 20, 39, 40, 5, 10]
            .into_iter()
            .map(|value| alarm.rises(value, 10))
            .collect();
        assert_eq!(
            spoken,
            [false, true, false, false, false, true, false, true, false, true]
        );
    }

    #[test]
    fn a_burst_and_a_spread_speak_at_the_threshold_and_leave_with_the_window() {
        let (mut burst, mut spread) = (Burst::default(), Spread::default());
        let said: Vec<_> = (0..9).map(|time| burst.add(60, time, 1, 4)).collect();
        assert_eq!(said, [None, None, None, Some(4), None, None, None, Some(8), None]);
        assert_eq!(burst.add(60, 100, 1, 4), None, "what happened before has left");
        let said: Vec<_> = ["a", "b", "a", "c"]
            .map(|member| spread.insert(60, 1, member, 3))
            .into();
        assert_eq!(said, [None, None, None, Some(3)]);
    }
}
