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

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use ahash::RandomState;

use crate::model::{Detection, Entity, EntityRole, Micros, time};

use super::name::name_of;
use super::tally::Tally;

/// What is older is forgotten.
pub const HISTORY: Micros = 7 * 24 * time::HOUR;
/// An hour counts when it has been over for this long.
const CLOSED: Micros = time::HOUR;
/// Firings that an hour counts; more of them are as usual as anything can be.
const FIRINGS_MAX: usize = 4_096;

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
    /// Hours in which somebody else was found since their rates were made.
    joined: BTreeSet<Micros>,
    /// The oldest and the newest hour that have got a firing since the rates of later ones were made.
    stale: Option<(Micros, Micros)>,
    /// What the rates of an hour, the one that was asked for last, are made of.
    tally: Option<(Micros, Tally)>,
}

/// How usual findings are at an hour.
#[derive(PartialEq)]
pub struct Rates {
    /// An hour, by rule.
    of: HashMap<u64, f64, RandomState>,
    /// Of a rule that nobody tripped.
    unseen: f64,
    /// An hour, by who tripped the rule more than once and is found in the hour at hand: what they trip that is no more usual with them.
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
        let gone = match firings.len() > FIRINGS_MAX {
            true => firings.pop_last().map(|(_, gone)| gone),
            false => None,
        };
        if gone == Some(firing) {
            return;
        }
        if self.rates.contains_key(&hour) {
            self.joined.insert(hour);
        }
        if let Some((_, tally)) = self.tally.as_mut().filter(|(of, _)| known_at(*of).contains(&hour)) {
            tally.add(hour, firing);
            if let Some(gone) = gone {
                tally.remove(hour, gone);
            }
        }
        let is_used = self.rates.keys().next_back().is_some_and(|last| counts(hour, *last));
        if is_used {
            let (oldest, newest) = self.stale.unwrap_or((hour, hour));
            self.stale = Some((oldest.min(hour), newest.max(hour)));
        }
    }

    /// The hours at which findings are other than usual now, because of what came late.
    pub fn take_changed(&mut self) -> HashSet<Micros> {
        let changed = self.take_stale();
        // What was known of others in the hour stays.
        for hour in std::mem::take(&mut self.joined) {
            let rates = Arc::new(self.make(hour));
            self.rates.insert(hour, rates);
        }
        changed
    }

    fn take_stale(&mut self) -> HashSet<Micros> {
        let Some((oldest, newest)) = self.stale.take() else {
            return HashSet::new();
        };
        let until = newest.saturating_add(HISTORY + CLOSED + time::HOUR);
        let hours = self.rates.keys().copied();
        let hours = hours.filter(|hour| counts(oldest, *hour) && *hour <= until);
        let mut hours: Vec<Micros> = hours.collect();
        // From the end that the tally is nearer to.
        let nearness = |hour: Option<&Micros>| Some(hour?.abs_diff(self.tally.as_ref()?.0));
        if nearness(hours.last()) < nearness(hours.first()) {
            hours.reverse();
        }
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

    fn make(&mut self, hour: Micros) -> Rates {
        let known = known_at(hour);
        let first = self.hours.range(known.clone()).next().map(|(first, _)| *first);
        let here = self.hours.get(&hour).into_iter().flat_map(BTreeMap::values);
        let here: BTreeSet<u64> = here.map(|(_, who)| *who).collect();
        let tally = self.tally(hour);
        let (all, same) = tally.pairs();
        // Firings of rules that are no more usual.
        let mut by_count: BTreeMap<u64, f64> = BTreeMap::new();
        for (_, count) in tally.rules() {
            *by_count.entry(count).or_default() += count as f64;
        }
        let rules: Vec<(u64, u64)> = tally.rules().collect();
        let hours = first.map_or(0, |first| known.end.saturating_sub(first) / time::HOUR) as f64;
        let rate = |findings: f64| rounded((findings + PRIOR_FINDINGS) / (hours + PRIOR_HOURS));
        let mut sum = 0.0;
        for firings in by_count.values_mut() {
            sum += *firings;
            *firings = rate(sum);
        }
        let of = rules.into_iter();
        let of = of.filter_map(|(rule, count)| Some((rule, *by_count.get(&count)?)));
        let mut own = HashMap::default();
        // Of those alone who are judged by it.
        for (who, counts) in here.into_iter().filter_map(|who| Some((who, tally.own(who)?))) {
            let mut counts: Vec<(u64, u64)> = counts.map(|(rule, count)| (count, rule)).collect();
            counts.sort_unstable();
            let mut firings = 0;
            for equal in counts.chunk_by(|a, b| a.0 == b.0) {
                firings += equal.iter().map(|(count, _)| count).sum::<u64>();
                let often = rounded(DAYTIME * firings as f64 / (hours + PRIOR_HOURS));
                let several = equal.iter().filter(|_| firings > 1);
                own.extend(several.map(|(_, rule)| ((*rule, who), often)));
            }
        }
        Rates {
            of: of.collect(),
            unseen: rate(0.0),
            own,
            population: rounded(population(all, same)),
        }
    }

    /// The sums that say what is usual at an hour: those of the hour that was asked for last, without what only that one knows and with
    /// what only this one does.
    fn tally(&mut self, hour: Micros) -> &Tally {
        let to = known_at(hour);
        let (at, mut tally) = self.tally.take().unwrap_or((hour, Tally::default()));
        let from = known_at(at);
        let is_near = tally.rules().next().is_some() && from.start.max(to.start) < from.end.min(to.end);
        let (gone, come) = match is_near {
            true if from.start <= to.start => (from.start..to.start, from.end..to.end),
            true => (to.end..from.end, to.start..from.start),
            false => {
                tally = Tally::default();
                (to.end..to.end, to)
            }
        };
        for (hour, firings) in self.hours.range(gone) {
            firings.values().for_each(|firing| tally.remove(*hour, *firing));
        }
        for (hour, firings) in self.hours.range(come) {
            firings.values().for_each(|firing| tally.add(*hour, *firing));
        }
        &self.tally.insert((hour, tally)).1
    }

    /// Forgets what says nothing of findings at `oldest` and later.
    pub fn forget_before(&mut self, oldest: Micros) {
        let start = history_start(oldest);
        self.rates = self.rates.split_off(&hour_of(oldest));
        self.joined = self.joined.split_off(&hour_of(oldest));
        self.hours = self.hours.split_off(&start);
        self.tally = self.tally.take().filter(|(of, _)| known_at(*of).start >= start);
    }

    /// How many are counted.
    pub fn firings(&self) -> usize {
        self.hours.values().map(BTreeMap::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.hours.is_empty()
    }
}

/// Start of the oldest hour that says what is usual at `oldest`.
pub fn history_start(oldest: Micros) -> Micros {
    hour_of(oldest).saturating_sub(CLOSED).saturating_sub(HISTORY)
}

/// The hours that say what is usual at another.
fn known_at(hour: Micros) -> Range<Micros> {
    let end = hour.saturating_sub(CLOSED);
    end.saturating_sub(HISTORY)..end
}

/// Whether an hour is over for long enough to say what is usual at another.
fn counts(hour: Micros, at: Micros) -> bool {
    hour < at.saturating_sub(CLOSED)
}

/// Among how many the firings are spread: of all pairs, those that fell on one identity are one in so many.
fn population(all: f64, same: f64) -> f64 {
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

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::model::{EntityRole, RoledEntity, Severity};

    fn found(random: &mut StdRng, hours: i64) -> Detection {
        let time = random.random_range(0..hours) * time::HOUR;
        Detection {
            detection_id: String::new(),
            tenant: "t".into(),
            time,
            plugin: "p".into(),
            plugin_version: "1".into(),
            rule: format!("r{}", random.random_range(0..6)),
            severity: Severity::Low,
            title: String::new(),
            message: String::new(),
            techniques: Vec::new(),
            entities: vec![RoledEntity {
                role: EntityRole::Actor,
                entity: Entity::new("principal", &format!("p{}", random.random_range(0..30))),
            }],
            event_ids: Vec::new(),
            layer: String::new(),
            action: String::new(),
            late: false,
        }
    }

    /// What is added up bit by bit, and moved from hour to hour, is what is added up at once.
    #[test]
    fn rates_are_those_of_all_firings_however_they_were_asked_for() {
        for seed in 0..5 {
            let mut random = StdRng::seed_from_u64(seed);
            let (mut usual, mut all) = (Usual::default(), Vec::new());
            let mut held: HashSet<Micros> = HashSet::new();
            let mut oldest = Micros::MIN;
            for round in 0..60 {
                // The second half of the hours lies ahead of most findings.
                for _ in 0..random.random_range(0..40) {
                    let hours = if random.random_ratio(1, 20) { 600 } else { 1 + round * 5 };
                    let detection = found(&mut random, hours);
                    if detection.time >= history_start(oldest) {
                        usual.learn(&detection);
                        all.push(detection);
                    }
                }
                let asked = hour_of(random.random_range(0..600 * time::HOUR)).max(oldest);
                usual.at(asked);
                held.insert(asked);
                usual.take_changed();
                if round == 40 {
                    oldest = 100 * time::HOUR;
                    usual.forget_before(oldest);
                    held.retain(|hour| *hour >= oldest);
                }
                let mut anew = Usual::default();
                for detection in all.iter().filter(|held| held.time >= history_start(oldest)) {
                    anew.learn(detection);
                }
                for hour in &held {
                    assert!(
                        usual.at(*hour) == anew.at(*hour),
                        "seed {seed}, round {round}, hour {hour}"
                    );
                }
            }
        }
    }

    #[test]
    fn of_too_many_firings_of_an_hour_the_same_stay() {
        let of = |numbers: &mut dyn Iterator<Item = usize>| {
            let mut usual = Usual::default();
            // It is asked for before, and follows.
            usual.at(5 * time::HOUR);
            for number in numbers {
                let mut detection = found(&mut StdRng::seed_from_u64(0), 1);
                detection.rule = format!("r{number}");
                usual.learn(&detection);
            }
            usual.take_changed();
            usual
        };
        const ALL: usize = FIRINGS_MAX + 500;
        let (mut up, mut down) = (of(&mut (0..ALL)), of(&mut (0..ALL).rev()));
        assert_eq!((up.firings(), down.firings()), (FIRINGS_MAX, FIRINGS_MAX));
        assert!(up.at(5 * time::HOUR) == down.at(5 * time::HOUR));
        assert_eq!(up.at(5 * time::HOUR).of.len(), FIRINGS_MAX);
        up.forget_before(9 * 24 * time::HOUR);
        assert_eq!(up.firings(), 0);
    }
}
