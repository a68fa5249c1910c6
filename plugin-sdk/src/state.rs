//! What a detector may remember: parts with bounded memory that run on event time, so that the same rows give the same
//! results however they are cut into batches and whenever they arrive.
//!
//! None of them keeps a text: keys and set members are remembered as 64-bit hashes, so that saved state holds nothing that
//! was written in a log.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::Hasher;

use postcard::ser_flavors::Size;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use siphasher::sip::SipHasher13;

/// The same number for the same text in every build and on every machine.
pub fn hash(text: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// Reads state as [`crate::Instance::save`] writes it, for [`crate::Detector::migrate`].
pub fn read_state<T: DeserializeOwned>(saved: &[u8]) -> Result<T, String> {
    postcard::from_bytes(saved).map_err(|error| format!("the saved state cannot be read: {error}"))
}

thread_local! {
    /// Keys that went before their time since this was last taken. An instance runs on one thread.
    static EVICTED: Cell<u64> = const { Cell::new(0) };
}

pub(crate) fn take_evicted() -> u64 {
    EVICTED.take()
}

/// Most bytes that one [`Keyed`] holds, as they are saved: a quarter of what the engine takes of a whole instance, so that the
/// bound costs the keys that were silent for longest and never the plugin.
pub const KEYED_BYTES_MAX: usize = 4 << 20;
/// What a key takes up beside its value.
const SLOT_BYTES: usize = 32;
/// A value is weighed at each of its first touches, and then at every so many: weighing walks the whole value, and a touch adds
/// little to a value that has grown.
const WEIGH_EVERY: u32 = 16;

/// What is kept of one key.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Slot<T> {
    /// Event time at which the key acted last.
    last: i64,
    /// How often it acted.
    touches: u32,
    /// What it weighed last, in bytes.
    bytes: usize,
    value: T,
}

/// One `T` per key, for the keys seen last in event time, within [`KEYED_BYTES_MAX`] bytes.
#[derive(Clone, Debug)]
pub struct Keyed<T> {
    slots: BTreeMap<u64, Slot<T>>,
    /// Who goes first: the key with the least (last event time, key).
    order: BTreeSet<(i64, u64)>,
    /// What the slots weigh together.
    bytes: usize,
    /// The key whose value was handed out last and may have grown since it was weighed.
    touched: Option<u64>,
}

impl<T> Default for Keyed<T> {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            order: BTreeSet::new(),
            bytes: 0,
            touched: None,
        }
    }
}

impl<T: Default + Serialize> Keyed<T> {
    /// The value of `key`, which acted at `time`; a new key gets the default. A key silent for longer than `idle` microseconds
    /// is forgotten: so `idle` is the longest span that the value looks back. Beyond `max_keys`, and beyond the bytes that all may
    /// take, the key silent for longest is evicted, which is counted and shown in the plugin's health.
    pub fn at(&mut self, key: &str, time: i64, max_keys: usize, idle: i64) -> &mut T {
        self.weigh_touched();
        let key = hash(key);
        let mut last = time;
        if let Some(slot) = self.slots.get(&key) {
            self.order.remove(&(slot.last, key));
            last = last.max(slot.last);
        }
        let newest = self.order.last().map_or(last, |(newest, _)| last.max(*newest));
        let others = max_keys.max(1) - 1;
        while let Some((oldest, other)) = self.order.first().copied() {
            let silent = oldest < newest.saturating_sub(idle);
            if !silent && self.order.len() <= others && self.bytes <= KEYED_BYTES_MAX {
                break;
            }
            if !silent {
                EVICTED.set(EVICTED.get() + 1);
            }
            self.remove(oldest, other);
        }
        self.order.insert((last, key));
        self.touched = Some(key);
        let slot = self.slots.entry(key).or_insert_with(|| Slot {
            last,
            touches: 0,
            bytes: 0,
            value: T::default(),
        });
        slot.last = last;
        slot.touches = slot.touches.saturating_add(1);
        &mut slot.value
    }

    /// Takes out the key that has been silent for longest, if it acted last at `until` or before: the time of its last act, and
    /// its value. This is how sessions end; see [`crate::Detector::advance`].
    pub fn take_silent(&mut self, until: i64) -> Option<(i64, T)> {
        let (last, key) = self.order.first().copied().filter(|(last, _)| *last <= until)?;
        let slot = self.remove(last, key)?;
        Some((last, slot.value))
    }

    fn remove(&mut self, last: i64, key: u64) -> Option<Slot<T>> {
        self.order.remove(&(last, key));
        let slot = self.slots.remove(&key)?;
        self.bytes -= slot.bytes;
        Some(slot)
    }

    fn weigh_touched(&mut self) {
        let Some(slot) = self.touched.take().and_then(|key| self.slots.get_mut(&key)) else {
            return;
        };
        if slot.touches > WEIGH_EVERY && slot.touches % WEIGH_EVERY != 0 {
            return;
        }
        let value = postcard::serialize_with_flavor(&slot.value, Size::default()).unwrap_or_default();
        self.bytes = self.bytes - slot.bytes + value + SLOT_BYTES;
        slot.bytes = value + SLOT_BYTES;
    }
}

impl<T> Keyed<T> {
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
        (&self.slots, self.touched).serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Keyed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (slots, touched) = <(BTreeMap<u64, Slot<T>>, Option<u64>)>::deserialize(deserializer)?;
        let order = slots.iter().map(|(key, slot)| (slot.last, *key)).collect();
        let bytes = slots.values().map(|slot| slot.bytes).sum();
        Ok(Self {
            slots,
            order,
            bytes,
            touched,
        })
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

    /// Gives each of the keys a value that grows to 1,000 bytes.
    fn fill(keyed: &mut Keyed<Vec<u8>>, keys: std::ops::Range<i64>) {
        for key in keys {
            for length in [1, 500, 1_000] {
                let name = format!("key-{key}");
                keyed.at(&name, key, usize::MAX, i64::MAX).resize(length, 7);
            }
        }
    }

    #[test]
    fn bytes_are_bounded_by_evicting_the_key_silent_for_longest() {
        take_evicted();
        let mut keyed = Keyed::<Vec<u8>>::default();
        fill(&mut keyed, 0..6_000);
        let saved = postcard::to_allocvec(&keyed).expect("written").len();
        assert!(
            (KEYED_BYTES_MAX * 7 / 8..KEYED_BYTES_MAX * 9 / 8).contains(&saved),
            "{saved} bytes"
        );
        assert_eq!(take_evicted(), 6_000 - keyed.len() as u64);
        let oldest = keyed.order.first().map(|(last, _)| *last);
        assert_eq!(
            oldest,
            Some(6_000 - keyed.len() as i64),
            "those remain that were seen last"
        );
    }

    #[test]
    fn evictions_do_not_depend_on_restarts() {
        let mut whole = Keyed::<Vec<u8>>::default();
        fill(&mut whole, 0..7_000);
        let mut parts = Keyed::<Vec<u8>>::default();
        for from in (0..7_000).step_by(500) {
            let saved = postcard::to_allocvec(&parts).expect("written");
            parts = postcard::from_bytes(&saved).expect("read");
            fill(&mut parts, from..from + 500);
        }
        assert_eq!(whole.order, parts.order);
        assert_eq!(whole.bytes, parts.bytes);
    }

    #[test]
    fn a_silent_key_is_taken_out_once() {
        let mut keyed = Keyed::<u32>::default();
        *keyed.at("a", 10, 9, 100) = 1;
        *keyed.at("b", 20, 9, 100) = 2;
        assert_eq!(keyed.take_silent(9), None);
        assert_eq!(keyed.take_silent(10), Some((10, 1)));
        assert_eq!(keyed.take_silent(10), None);
        assert_eq!(keyed.len(), 1);
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
