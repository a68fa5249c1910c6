//! Sums over the firings of a span of hours, from which rates follow. Each firing is added as it comes, so that asking again costs what grows
//! with the rules and with who is found in the hour at hand, and not with the firings: a finding that is dated into the future is asked for
//! anew with whatever comes before it.

use std::collections::HashMap;

use ahash::RandomState;

use crate::model::{Micros, time};

use super::chance::Firing;

/// Firings of one identity that a day adds to the population: an attack makes many, and for once.
const DAILY_MAX: u32 = 3;

#[derive(Default)]
pub struct Tally {
    /// Firings by rule.
    rules: HashMap<u64, u64, RandomState>,
    /// By identity and rule.
    own: HashMap<u64, HashMap<u64, u64, RandomState>, RandomState>,
    /// By identity and day.
    daily: HashMap<(u64, Micros), u32, RandomState>,
    /// By identity, of each day as many as count.
    each: HashMap<u64, u64, RandomState>,
    all: u64,
    /// Ordered pairs of those that count and fell on one identity.
    same: u64,
}

impl Tally {
    pub fn add(&mut self, hour: Micros, (rule, who): Firing) {
        *self.rules.entry(rule).or_default() += 1;
        *self.own.entry(who).or_default().entry(rule).or_default() += 1;
        let daily = self.daily.entry((who, day_of(hour))).or_default();
        *daily += 1;
        if *daily <= DAILY_MAX {
            let each = self.each.entry(who).or_default();
            self.same += 2 * *each;
            self.all += 1;
            *each += 1;
        }
    }

    /// Takes away what was added.
    pub fn remove(&mut self, hour: Micros, (rule, who): Firing) {
        if let Some(count) = self.rules.get_mut(&rule) {
            *count -= 1;
            if *count == 0 {
                self.rules.remove(&rule);
            }
        }
        if let Some(own) = self.own.get_mut(&who)
            && let Some(count) = own.get_mut(&rule)
        {
            *count -= 1;
            if *count == 0 {
                own.remove(&rule);
                if own.is_empty() {
                    self.own.remove(&who);
                }
            }
        }
        let day = (who, day_of(hour));
        let Some(daily) = self.daily.get_mut(&day) else { return };
        *daily -= 1;
        let left = *daily;
        if left == 0 {
            self.daily.remove(&day);
        }
        if left < DAILY_MAX
            && let Some(each) = self.each.get_mut(&who)
        {
            *each -= 1;
            self.same -= 2 * *each;
            self.all -= 1;
            if *each == 0 {
                self.each.remove(&who);
            }
        }
    }

    pub fn rules(&self) -> impl Iterator<Item = (u64, u64)> {
        self.rules.iter().map(|(rule, count)| (*rule, *count))
    }

    /// Firings by rule, of one identity.
    pub fn own(&self, who: u64) -> Option<impl Iterator<Item = (u64, u64)>> {
        let rules = self.own.get(&who)?;
        Some(rules.iter().map(|(rule, count)| (*rule, *count)))
    }

    /// How many firings count for the population, and how many ordered pairs of them fell on one identity.
    pub fn pairs(&self) -> (f64, f64) {
        (self.all as f64, self.same as f64)
    }
}

fn day_of(hour: Micros) -> Micros {
    hour.div_euclid(24 * time::HOUR)
}
