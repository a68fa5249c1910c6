//! What a detector may remember: parts with bounded memory that run on event time, so that the same rows give the same
//! results however they are cut into batches and whenever they arrive.
//!
//! None of them keeps a text: keys and set members are remembered as 64-bit hashes, so that saved state holds nothing that
//! was written in a log.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::Hasher;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use siphasher::sip::SipHasher13;

/// The same number for the same text in every build and on every machine.
pub fn hash(text: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// One `T` per key, for the keys seen last in event time.
#[derive(Clone, Debug)]
pub struct Keyed<T> {
    slots: BTreeMap<u64, (i64, T)>,
    /// Who goes first: the key with the least (last event time, key).
    order: BTreeSet<(i64, u64)>,
}

impl<T> Default for Keyed<T> {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            order: BTreeSet::new(),
        }
    }
}

impl<T: Default> Keyed<T> {
    /// The value of `key`, which acted at `time`; a new key gets the default. A key silent for longer than `idle` microseconds
    /// is forgotten, and beyond `max_keys` the one silent for longest: so `idle` is the longest span that the value looks back.
    pub fn at(&mut self, key: &str, time: i64, max_keys: usize, idle: i64) -> &mut T {
        let key = hash(key);
        let mut last = time;
        if let Some((seen, _)) = self.slots.get(&key) {
            self.order.remove(&(*seen, key));
            last = last.max(*seen);
        }
        let newest = self.order.last().map_or(last, |(newest, _)| last.max(*newest));
        let others = max_keys.max(1) - 1;
        while let Some((oldest, other)) = self.order.first().copied()
            && (oldest < newest - idle || self.order.len() > others)
        {
            self.order.pop_first();
            self.slots.remove(&other);
        }
        self.order.insert((last, key));
        let slot = self.slots.entry(key).or_insert_with(|| (last, T::default()));
        slot.0 = last;
        &mut slot.1
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl<T: Serialize> Serialize for Keyed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.slots.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Keyed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let slots = BTreeMap::<u64, (i64, T)>::deserialize(deserializer)?;
        let order = slots.iter().map(|(key, (last, _))| (*last, *key)).collect();
        Ok(Self { slots, order })
    }
}

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

/// What [`RecentSet::insert`] saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inserted {
    /// The member was not in the set.
    pub new: bool,
    /// Members in the set now.
    pub len: usize,
}

/// The distinct texts of a sliding window of event time: how many there are, and whether one is new.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RecentSet {
    members: BTreeMap<u64, i64>,
    newest: i64,
}

impl RecentSet {
    /// Inserts `member`, seen at `time`, after dropping what was not seen in the `span` microseconds up to the newest time.
    /// Beyond `max` members the one not seen for longest is dropped.
    pub fn insert(&mut self, span: i64, max: usize, time: i64, member: &str) -> Inserted {
        self.newest = if self.members.is_empty() {
            time
        } else {
            self.newest.max(time)
        };
        let from = self.newest - span;
        self.members.retain(|_, last| *last > from);
        let member = hash(member);
        let new = match self.members.get_mut(&member) {
            Some(last) => {
                *last = time.max(*last);
                false
            }
            None => {
                if time > from {
                    self.members.insert(member, time);
                }
                true
            }
        };
        while self.members.len() > max.max(1) {
            let oldest = self.members.iter().map(|(member, last)| (*last, *member)).min();
            if let Some((_, member)) = oldest {
                self.members.remove(&member);
            }
        }
        Inserted {
            new,
            len: self.members.len(),
        }
    }

    /// Members now.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MINUTE;

    #[test]
    fn the_key_silent_for_longest_is_forgotten() {
        let mut keyed = Keyed::<u32>::default();
        *keyed.at("a", 1, 2, 100) = 1;
        *keyed.at("b", 2, 2, 100) = 2;
        *keyed.at("a", 3, 2, 100) += 10;
        *keyed.at("c", 4, 2, 100) = 3;
        assert_eq!(keyed.len(), 2);
        assert_eq!(*keyed.at("a", 5, 2, 100), 11);
        assert_eq!(*keyed.at("b", 6, 2, 100), 0, "b was forgotten");
        keyed.at("c", 200, 2, 100);
        assert_eq!(keyed.len(), 1, "both were silent for too long");
    }

    #[test]
    fn saved_keys_are_forgotten_in_the_same_order() {
        let mut keyed = Keyed::<u32>::default();
        for (time, key) in ["a", "b", "c"].into_iter().enumerate() {
            *keyed.at(key, time as i64, 3, 100) = 7;
        }
        let bytes = postcard::to_allocvec(&keyed).expect("written");
        let mut restored: Keyed<u32> = postcard::from_bytes(&bytes).expect("read");
        restored.at("d", 9, 3, 100);
        assert_eq!(*restored.at("b", 10, 3, 100), 7);
        assert_eq!(*restored.at("c", 11, 3, 100), 7);
        assert_eq!(*restored.at("a", 12, 3, 100), 0);
    }

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

    #[test]
    fn a_set_knows_what_is_new_and_drops_the_oldest() {
        let mut set = RecentSet::default();
        assert_eq!(set.insert(10, 2, 0, "a"), Inserted { new: true, len: 1 });
        assert_eq!(set.insert(10, 2, 1, "a"), Inserted { new: false, len: 1 });
        assert_eq!(set.insert(10, 2, 2, "b"), Inserted { new: true, len: 2 });
        assert_eq!(set.insert(10, 2, 3, "c"), Inserted { new: true, len: 2 });
        assert_eq!(set.insert(10, 2, 3, "a"), Inserted { new: true, len: 2 });
        assert_eq!(set.insert(10, 2, 30, "a"), Inserted { new: true, len: 1 });
    }

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
}
