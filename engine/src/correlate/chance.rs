//! How often findings come together by chance, learned from the findings of the hours before.
//!
//! What somebody trips every day says little beside a finding of the same hour, and much of what nobody ever trips. So each rule has a rate:
//! how many identities trip a rule that is no more usual than this one, in an hour. Each tenant has a population: among how
//! many identities such findings are spread, as the birthday problem tells it; one noisy administrator makes it small. If they came
//! independently, rates `a` and `b` would put two findings on one identity within a gap `g` about `a · b · 2g / population` times an hour. For more of
//! them the pair takes the place of `a`, and so on. The scan statistics of seismology group events by such a "declustering" too (Zaliapin
//! and Ben-Zion, 2013).
//!
//! Somebody who trips a rule day after day is as likely to do so beside anything else that happens to them: where more than their share of the
//! findings that are as usual is known of an identity, its own rate takes the place of the average one.
//!
//! What is learned at a time comes from hours that closed before it and that no event within any source's lateness adds to. Rates are
//! rounded, so that a fact that comes later still rarely moves them; where it does, what they judged is judged again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use ahash::RandomState;

use crate::model::{Detection, Entity, EntityRole, Micros, time};

use super::name::name_of;

/// What is older is forgotten.
pub const HISTORY: Micros = 7 * 24 * time::HOUR;
/// An hour counts when it has been over for this long.
const CLOSED: Micros = time::HOUR;
/// Firings that an hour counts; more of them are as usual as anything can be.
const FIRINGS_MAX: usize = 4_096;
/// Firings of one identity that a day adds to the population: an attack makes many, and for once.
const DAILY_MAX: u32 = 3;

/// What is believed before anything is known: a finding in a working day, among a hundred identities.
const PRIOR_HOURS: f64 = 8.0;
const PRIOR_FINDINGS: f64 = 1.0;
const PRIOR_POPULATION: f64 = 100.0;
/// Pairs of findings of one identity that weigh as much as that belief.
const PRIOR_PAIRS: f64 = 4.0;

/// Whoever trips rules does so while at work, a third of the day.
const DAYTIME: f64 = 3.0;

/// A rule that somebody tripped in an hour, as hashes.
pub type Firing = (u64, u64);

/// The firings of a tenant by hour of event time. Merging is adding: any order gives the same.
#[derive(Default)]
pub struct Usual {
    hours: BTreeMap<Micros, BTreeMap<u64, Firing>>,
    rates: BTreeMap<Micros, Arc<Rates>>,
    /// The oldest hour that has got a firing since the rates of later ones were made.
    stale: Option<Micros>,
}

/// How usual findings are at an hour.
#[derive(PartialEq)]
pub struct Rates {
    /// An hour, by rule.
    of: HashMap<u64, f64, RandomState>,
    /// Of a rule that nobody tripped.
    unseen: f64,
    /// An hour, by who tripped the rule more than once: what they trip that is no more usual with them.
    own: HashMap<Firing, f64, RandomState>,
    population: f64,
}

/// How usual one finding is.
#[derive(Clone, Copy)]
pub struct Rate {
    /// How often in an hour somebody trips the rule, or one that is no more usual …
    pub anybody: f64,
    /// … among so many …
    pub population: f64,
    /// … and how often the identity at hand did so, as far as that is known.
    pub own: f64,
}

fn hash(of: impl Hash) -> u64 {
    // Its keys are fixed: the same in every run.
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The rule that a finding is of, and whom it is about.
pub fn firing_of(detection: &Detection) -> Firing {
    (hash((&detection.plugin, &detection.rule)), whom_of(detection))
}

/// Whom a finding is about, as a hash: what stays the same over days before what is made for a while, and who came before the machine on
/// which it was seen, which can be a sensor that sees everybody. What it was done to only where nothing else is named.
fn whom_of(detection: &Detection) -> u64 {
    const ORDER: [&str; 9] = [
        "principal",
        "gateway_key",
        "agent",
        "role",
        "workload",
        "access_key",
        "address",
        "host",
        "session",
    ];
    let rank = |entity: &Entity| ORDER.iter().position(|kind| *kind == &*entity.kind);
    let entities = detection.entities.iter();
    let ranked = entities.filter_map(|roled| {
        let is_called = roled.role == EntityRole::Target && &*roled.entity.kind == "address";
        Some(((is_called, rank(&roled.entity)?, roled.role), &roled.entity))
    });
    let whom = ranked.min().map(|(_, entity)| entity);
    hash(whom.map(|entity| name_of(entity).unwrap_or_else(|| entity.clone())))
}

pub fn hour_of(time: Micros) -> Micros {
    time.div_euclid(time::HOUR).saturating_mul(time::HOUR)
}

/// To the next half octave: a few more findings change nothing.
fn rounded(value: f64) -> f64 {
    ((value.log2() * 2.0).round() / 2.0).exp2()
}

impl Usual {
    /// Counts a finding; one that was counted already changes nothing.
    pub fn learn(&mut self, detection: &Detection) {
        let hour = hour_of(detection.time);
        let firings = self.hours.entry(hour).or_default();
        let firing = firing_of(detection);
        if firings.insert(hash(firing), firing).is_some() {
            return;
        }
        // Of too many those with the least hashes: any order of arrival leaves the same.
        if firings.len() > FIRINGS_MAX {
            let gone = firings.pop_last();
            if gone.is_some_and(|(_, gone)| gone == firing) {
                return;
            }
        }
        let is_used = self.rates.keys().next_back().is_some_and(|last| counts(hour, *last));
        if is_used && self.stale.is_none_or(|stale| hour < stale) {
            self.stale = Some(hour);
        }
    }

    /// The hours at which findings are other than usual now, because of what came late.
    pub fn take_changed(&mut self) -> HashSet<Micros> {
        let Some(stale) = self.stale.take() else {
            return HashSet::new();
        };
        let until = stale.saturating_add(HISTORY + CLOSED + time::HOUR);
        let hours = self.rates.keys().copied();
        let hours = hours.filter(|hour| counts(stale, *hour) && *hour <= until);
        let hours: Vec<Micros> = hours.collect();
        let mut changed = HashSet::new();
        for hour in hours {
            let rates = Arc::new(self.make(hour));
            if self
                .rates
                .insert(hour, Arc::clone(&rates))
                .is_none_or(|held| held != rates)
            {
                changed.insert(hour);
            }
        }
        changed
    }

    /// What was usual at `time`.
    pub fn at(&mut self, time: Micros) -> Arc<Rates> {
        let hour = hour_of(time);
        if let Some(rates) = self.rates.get(&hour) {
            return Arc::clone(rates);
        }
        let rates = Arc::new(self.make(hour));
        self.rates.insert(hour, Arc::clone(&rates));
        rates
    }

    fn make(&self, hour: Micros) -> Rates {
        let end = hour.saturating_sub(CLOSED);
        let known = self.hours.range(end.saturating_sub(HISTORY)..end);
        let mut first = None;
        let mut rules: HashMap<u64, f64, RandomState> = HashMap::default();
        let mut daily: HashMap<(u64, Micros), u32, RandomState> = HashMap::default();
        let mut each: HashMap<u64, HashMap<u64, u64, RandomState>, RandomState> = HashMap::default();
        for (hour, firings) in known {
            first = first.or(Some(*hour));
            let day = hour.div_euclid(24 * time::HOUR);
            for (rule, who) in firings.values() {
                *rules.entry(*rule).or_default() += 1.0;
                *each.entry(*who).or_default().entry(*rule).or_default() += 1;
                let count = daily.entry((*who, day)).or_default();
                *count = (*count + 1).min(DAILY_MAX);
            }
        }
        let hours = first.map_or(0, |first| end.saturating_sub(first) / time::HOUR) as f64;
        let rate = |findings: f64| rounded((findings + PRIOR_FINDINGS) / (hours + PRIOR_HOURS));
        // Firings of rules that are no more usual.
        let mut by_count: BTreeMap<u64, f64> = BTreeMap::new();
        for count in rules.values() {
            *by_count.entry(*count as u64).or_default() += count;
        }
        let mut sum = 0.0;
        for firings in by_count.values_mut() {
            sum += *firings;
            *firings = rate(sum);
        }
        let of = rules.into_iter();
        let of = of.filter_map(|(rule, count)| Some((rule, *by_count.get(&(count as u64))?)));
        let mut own = HashMap::default();
        for (who, rules) in each {
            let mut rules: Vec<(u64, u64)> = rules.into_iter().map(|(rule, count)| (count, rule)).collect();
            rules.sort_unstable();
            let mut firings = 0;
            for equal in rules.chunk_by(|a, b| a.0 == b.0) {
                firings += equal.iter().map(|(count, _)| count).sum::<u64>();
                let often = rounded(DAYTIME * firings as f64 / (hours + PRIOR_HOURS));
                own.extend(
                    equal
                        .iter()
                        .filter(|_| firings > 1)
                        .map(|(_, rule)| ((*rule, who), often)),
                );
            }
        }
        Rates {
            of: of.collect(),
            unseen: rate(0.0),
            own,
            population: rounded(population(daily)),
        }
    }

    /// Forgets what says nothing of findings at `oldest` and later.
    pub fn forget_before(&mut self, oldest: Micros) {
        self.rates = self.rates.split_off(&hour_of(oldest));
        self.hours = self.hours.split_off(&history_start(oldest));
    }

    pub fn is_empty(&self) -> bool {
        self.hours.is_empty()
    }
}

/// Start of the oldest hour that says what is usual at `oldest`.
pub fn history_start(oldest: Micros) -> Micros {
    hour_of(oldest).saturating_sub(CLOSED).saturating_sub(HISTORY)
}

/// Whether an hour is over for long enough to say what is usual at another.
fn counts(hour: Micros, at: Micros) -> bool {
    hour < at.saturating_sub(CLOSED)
}

/// Among how many the firings are spread: of all pairs, those that fell on one identity are one in so many.
fn population(daily: HashMap<(u64, Micros), u32, RandomState>) -> f64 {
    let mut each: HashMap<u64, f64, RandomState> = HashMap::default();
    for ((who, _), count) in daily {
        *each.entry(who).or_default() += f64::from(count);
    }
    let all: f64 = each.values().sum();
    let same: f64 = each.values().map(|count| count * (count - 1.0)).sum();
    (all * (all - 1.0).max(0.0) + PRIOR_POPULATION * PRIOR_PAIRS) / (same + PRIOR_PAIRS)
}

impl Rates {
    /// Of a rule that an identity trips.
    pub fn of(&self, firing: Firing) -> Rate {
        Rate {
            anybody: self.of.get(&firing.0).copied().unwrap_or(self.unseen),
            population: self.population,
            own: self.own.get(&firing).copied().unwrap_or_default(),
        }
    }
}

impl Rate {
    /// How often in an hour it happens to one and the same identity.
    pub fn same(self) -> f64 {
        self.own.max(self.anybody / self.population)
    }
}
