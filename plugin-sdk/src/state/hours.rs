//! An hour compared with the hours before it.

use serde::{Deserialize, Serialize};

use super::{Alarm, Ewma};
use crate::HOUR;

/// From when on an hour is far above the usual.
#[derive(Clone, Copy, Debug)]
pub struct Unusual {
    /// Event time in which an hour comes to weigh half, in microseconds.
    pub half_life: i64,
    /// Hours in which something came, from which the usual one is known.
    pub warm_up: u64,
    /// Standard deviations above the usual hour.
    pub deviations: f64,
    /// How many times the usual hour it is as well: what is steady deviates little, and a little more of it is nothing.
    pub factor: f64,
}

/// Amounts by hour of event time. Hours in which nothing came do not count: nights and weekends say nothing of a working hour.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Hours {
    /// Start of the hour that runs, and what it has brought.
    now: Option<(i64, u64)>,
    past: Ewma,
    alarm: Alarm,
}

impl Hours {
    /// Sets the running hour to `amount` of what it had. Gives the hour's amount and the usual one where it is far above the usual and
    /// `worth` a word: once, and again each time it has doubled. What comes late for an hour that is over is left out.
    pub fn add(
        &mut self,
        unusual: &Unusual,
        time: i64,
        amount: impl FnOnce(u64) -> u64,
        worth: impl FnOnce(u64) -> bool,
    ) -> Option<(u64, f64)> {
        let hour = time.div_euclid(HOUR) * HOUR;
        let before = match self.now {
            Some((running, had)) if running == hour => had,
            Some((running, _)) if running > hour => return None,
            Some((running, had)) => {
                self.past.add(unusual.half_life, running, had as f64);
                self.alarm = Alarm::default();
                0
            }
            None => 0,
        };
        let amount = amount(before);
        self.now = Some((hour, amount));
        let usual = self.past.mean();
        // Hours differ by a tenth of the usual at the least.
        let score = self.past.score(unusual.warm_up, usual / 10.0, amount as f64)?;
        let far = score >= unusual.deviations && amount as f64 >= usual * unusual.factor;
        (far && worth(amount) && self.alarm.rises(amount, 1)).then_some((amount, usual))
    }

    /// Whether the usual hour is known.
    pub fn known(&self, unusual: &Unusual) -> bool {
        self.past.score(unusual.warm_up, 1.0, 0.0).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNUSUAL: Unusual = Unusual {
        half_life: 24 * HOUR,
        warm_up: 3,
        deviations: 6.0,
        factor: 5.0,
    };

    #[test]
    fn an_hour_far_above_the_usual_is_told_once_and_at_each_doubling() {
        let mut hours = Hours::default();
        for hour in 0..3 {
            assert!(!hours.known(&UNUSUAL));
            for _ in 0..10 {
                assert_eq!(hours.add(&UNUSUAL, hour * HOUR, |had| had + 1, |_| true), None);
            }
        }
        let told: Vec<u64> = (0..210)
            .filter_map(|_| hours.add(&UNUSUAL, 4 * HOUR, |had| had + 1, |amount| amount >= 60))
            .map(|(amount, usual)| {
                assert!((usual - 10.0).abs() < 1e-9, "{usual}");
                amount
            })
            .collect();
        assert_eq!(told, [60, 120]);
        assert_eq!(
            hours.add(&UNUSUAL, 3 * HOUR, |had| had + 999, |_| true),
            None,
            "too late"
        );
        assert_eq!(
            hours.add(&UNUSUAL, 5 * HOUR, |had| had + 1, |_| true),
            None,
            "another hour"
        );
    }
}
