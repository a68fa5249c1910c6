//! A value per key, for the keys seen last.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use postcard::ser_flavors::Size;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::hash;

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
    /// The value of `key`, if it is remembered. A look is no act of the key: nothing is remembered or forgotten for it.
    pub fn get(&self, key: &str) -> Option<&T> {
        self.slots.get(&hash(key)).map(|slot| &slot.value)
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

#[cfg(test)]
mod tests {
    use super::*;

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
        *keyed.at("c", 201, 2, 100) = 4;
        assert_eq!((keyed.get("c"), keyed.get("d"), keyed.len()), (Some(&4), None, 1));
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
}
