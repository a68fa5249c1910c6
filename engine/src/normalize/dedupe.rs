//! Which of the logs' own ids were seen, and with what bytes.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use crate::model::time::HOUR;
use crate::model::{Id, Micros};

/// Ids remembered over all sources. About 70 bytes each; at 5,000 events/s it reaches back over three minutes, and a restart
/// refills it from the tables. The oldest hours of event time are forgotten first.
pub const DEDUPE_IDS_MAX: usize = 1_000_000;

/// Different contents remembered under one id (an entry that is rewritten at its source). Further ones count as conflicts again.
const CONTENTS_PER_ID_MAX: usize = 16;

#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    New,
    Duplicate,
    /// The id is known with other bytes.
    Conflict,
}

/// An id is a hash already, which nobody who writes logs can choose.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, id: u128) {
        self.0 = id as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type ByIdMap<V> = HashMap<Id, V, BuildHasherDefault<AsItIs>>;

pub struct Dedupe {
    /// The content that each id was first seen with.
    contents: ByIdMap<i64>,
    /// Further contents of an id, which few have.
    others: ByIdMap<Vec<i64>>,
    hours: BTreeMap<i64, VecDeque<Id>>,
    ids_max: usize,
}

impl Dedupe {
    pub fn new(ids_max: usize) -> Dedupe {
        Dedupe {
            contents: HashMap::default(),
            others: HashMap::default(),
            hours: BTreeMap::new(),
            ids_max,
        }
    }

    /// An event with the log's own id, by its event id and the hash of its bytes.
    pub fn check(&mut self, event: Id, hash: i64, time: Micros) -> Seen {
        let id = event.without_content();
        match self.contents.entry(id) {
            Entry::Vacant(entry) => {
                entry.insert(hash);
            }
            Entry::Occupied(entry) if *entry.get() == hash => return Seen::Duplicate,
            Entry::Occupied(_) => {
                let others = self.others.entry(id).or_default();
                if others.contains(&hash) {
                    return Seen::Duplicate;
                }
                if others.len() < CONTENTS_PER_ID_MAX {
                    others.push(hash);
                }
                return Seen::Conflict;
            }
        }
        self.hours.entry(time.div_euclid(HOUR)).or_default().push_back(id);
        while self.contents.len() > self.ids_max {
            let Some(mut oldest) = self.hours.first_entry() else {
                break;
            };
            match oldest.get_mut().pop_front() {
                Some(id) => {
                    self.contents.remove(&id);
                    self.others.remove(&id);
                }
                None => drop(oldest.remove()),
            }
        }
        Seen::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> Id {
        Id(number << 64)
    }

    #[test]
    fn tells_repeats_from_conflicts() {
        let mut dedupe = Dedupe::new(100);
        assert_eq!(dedupe.check(id(1), 10, 0), Seen::New);
        assert_eq!(dedupe.check(id(1), 10, 0), Seen::Duplicate);
        assert_eq!(dedupe.check(id(1), 11, 0), Seen::Conflict);
        assert_eq!(dedupe.check(id(1), 11, 0), Seen::Duplicate);
        assert_eq!(dedupe.check(id(2), 10, 0), Seen::New);
    }

    #[test]
    fn forgets_the_oldest_hour_first() {
        let mut dedupe = Dedupe::new(3);
        dedupe.check(id(1), 1, 5 * HOUR);
        dedupe.check(id(2), 1, HOUR);
        dedupe.check(id(3), 1, 6 * HOUR);
        dedupe.check(id(4), 1, 7 * HOUR);
        assert_eq!(dedupe.check(id(1), 1, 5 * HOUR), Seen::Duplicate);
        assert_eq!(dedupe.check(id(3), 1, 6 * HOUR), Seen::Duplicate);
        assert_eq!(dedupe.contents.len(), 3);
        assert_eq!(dedupe.check(id(2), 1, HOUR), Seen::New);
    }
}
