//! A sum over a sliding window.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// The sum of amounts within a sliding window of event time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SlidingSum {
    /// (start of the step, sum), by time. The window's length over its step bounds how many there are.
    steps: VecDeque<(i64, u64)>,
}

impl SlidingSum {
    /// Adds `amount` at `time` and gives the sum of the `span` microseconds up to the newest time seen. Memory is `span / step`
    /// entries at most: amounts within one step of time are kept as one and leave the window together.
    pub fn add(&mut self, span: i64, step: i64, time: i64, amount: u64) -> u64 {
        let start = time.div_euclid(step.max(1)) * step.max(1);
        match self.steps.binary_search_by_key(&start, |(at, _)| *at) {
            Ok(at) => self.steps[at].1 = self.steps[at].1.saturating_add(amount),
            Err(at) => self.steps.insert(at, (start, amount)),
        }
        let newest = self.steps.back().map_or(start, |(at, _)| *at);
        while self.steps.front().is_some_and(|(at, _)| *at <= newest - span) {
            self.steps.pop_front();
        }
        self.sum_from(newest - span)
    }

    /// The sum of the steps that begin later than `from`.
    pub fn sum_from(&self, from: i64) -> u64 {
        let (_, newer) = self.after(from);
        newer
    }

    /// How many steps up to and including `until` hold something, and their sum: the past that a newer step is compared with.
    pub fn past(&self, until: i64) -> (usize, u64) {
        let older = self.steps.partition_point(|(at, _)| *at <= until);
        (
            older,
            self.steps
                .iter()
                .take(older)
                .fold(0, |sum, (_, amount)| sum.saturating_add(*amount)),
        )
    }

    fn after(&self, from: i64) -> (usize, u64) {
        let older = self.steps.partition_point(|(at, _)| *at <= from);
        (
            older,
            self.steps
                .iter()
                .skip(older)
                .fold(0, |sum, (_, amount)| sum.saturating_add(*amount)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MINUTE;

    #[test]
    fn a_sum_slides_and_ignores_what_is_too_late() {
        let mut sum = SlidingSum::default();
        assert_eq!(sum.add(10, 1, 0, 5), 5);
        assert_eq!(sum.add(10, 1, 9, 1), 6);
        assert_eq!(sum.add(10, 1, 10, 1), 2, "what happened at 0 has left");
        assert_eq!(sum.add(10, 1, -50, 9), 2);
        assert_eq!(sum.add(10, 1, 5, 3), 5, "late but within the window");
    }

    #[test]
    fn a_sum_remembers_steps_not_amounts() {
        let mut sum = SlidingSum::default();
        for second in 0..3_600 {
            sum.add(10 * MINUTE, MINUTE, second * crate::SECOND, 1);
        }
        assert_eq!(sum.steps.len(), 10);
        assert_eq!(sum.sum_from(i64::MIN), 600);
    }
}
