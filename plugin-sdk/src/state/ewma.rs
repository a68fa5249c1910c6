//! What is usual of an amount.

use serde::{Deserialize, Serialize};

/// Mean and deviation of amounts, of which older ones weigh less: half as much for every half-life of event time that they are older.
/// These are the weighted mean and variance of all amounts with the weights 2^(-age / half-life), kept up to date one amount at a time
/// (West 1979, "Updating mean and variance estimates"), so that the first amounts are not drawn towards zero and one that comes late
/// weighs what its age gives it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ewma {
    /// Sum of the weights, as seen from `newest`.
    weight: f64,
    mean: f64,
    /// Weighted sum of the squared differences from the mean.
    squares: f64,
    newest: i64,
    samples: u64,
}

impl Ewma {
    /// Takes `value`, seen at `time`, into account. `half_life` is in microseconds. What is no finite number is passed over.
    pub fn add(&mut self, half_life: i64, time: i64, value: f64) {
        if !value.is_finite() {
            return;
        }
        let left = |age: i64| (-(age as f64) / half_life.max(1) as f64).exp2();
        if self.samples == 0 {
            self.newest = time;
        }
        let age = time.saturating_sub(self.newest);
        let mut weight = 1.0;
        if age > 0 {
            self.weight *= left(age);
            self.squares *= left(age);
            self.newest = time;
        } else {
            weight = left(age.saturating_neg());
        }
        self.samples = self.samples.saturating_add(1);
        self.weight += weight;
        if self.weight > 0.0 {
            let before = value - self.mean;
            self.mean += before * weight / self.weight;
            self.squares += weight * before * (value - self.mean);
        }
    }

    /// The weighted mean; 0 before the first amount.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The weighted standard deviation.
    pub fn deviation(&self) -> f64 {
        if self.weight > 0.0 {
            (self.squares / self.weight).max(0.0).sqrt()
        } else {
            0.0
        }
    }

    /// How many standard deviations `value` lies above the mean; `None` before `warm_up` amounts were taken into account. A deviation
    /// counts as `least` at the least: amounts that never varied do not make the first that does extraordinary.
    pub fn score(&self, warm_up: u64, least: f64, value: f64) -> Option<f64> {
        (self.samples >= warm_up.max(1))
            .then(|| (value - self.mean) / self.deviation().max(least).max(f64::MIN_POSITIVE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and deviation by their definition.
    fn by_definition(half_life: f64, values: &[(i64, f64)]) -> (f64, f64) {
        let newest = values.iter().map(|(time, _)| *time).max().unwrap_or_default();
        let weights: Vec<f64> = values
            .iter()
            .map(|(time, _)| 0.5_f64.powf((newest - time) as f64 / half_life))
            .collect();
        let all: f64 = weights.iter().sum();
        let mean = values
            .iter()
            .zip(&weights)
            .map(|((_, value), weight)| value * weight)
            .sum::<f64>()
            / all;
        let variance = values
            .iter()
            .zip(&weights)
            .map(|((_, value), weight)| weight * (value - mean).powi(2))
            .sum::<f64>()
            / all;
        (mean, variance.sqrt())
    }

    #[test]
    fn it_is_the_weighted_mean_and_deviation_in_any_order() {
        let values: Vec<(i64, f64)> = (0..50).map(|n| (n * 7, ((n * 37) % 11) as f64 * 10.0)).collect();
        let (mean, deviation) = by_definition(40.0, &values);
        let mut shuffled = values.clone();
        shuffled.sort_by_key(|(time, _)| time * 31 % 101);
        for values in [values, shuffled] {
            let mut ewma = Ewma::default();
            for (time, value) in &values {
                ewma.add(40, *time, *value);
            }
            assert!((ewma.mean() - mean).abs() < 1e-9, "{} for {mean}", ewma.mean());
            assert!(
                (ewma.deviation() - deviation).abs() < 1e-9,
                "{} for {deviation}",
                ewma.deviation()
            );
        }
    }

    #[test]
    fn half_a_life_later_the_old_level_weighs_half() {
        let mut ewma = Ewma::default();
        ewma.add(100, 0, 0.0);
        ewma.add(100, 100, 9.0);
        assert!((ewma.mean() - 6.0).abs() < 1e-12);
    }

    #[test]
    fn a_score_waits_for_the_warm_up_and_never_divides_by_nothing() {
        let mut ewma = Ewma::default();
        for time in 0..9 {
            ewma.add(100, time, 10.0);
            ewma.add(100, time, f64::NAN);
        }
        assert_eq!(ewma.score(10, 1.0, 13.0), None);
        ewma.add(100, 9, 10.0);
        assert_eq!(ewma.score(10, 1.0, 13.0), Some(3.0));
        assert!(ewma.score(10, 0.0, 13.0).is_some_and(f64::is_finite));
    }
}
