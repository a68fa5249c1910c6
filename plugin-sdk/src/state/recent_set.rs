//! The distinct texts of a sliding window.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::hash;

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
    /// No member was seen before this; not known of a set that was just read. What is saved does without it.
    #[serde(skip)]
    oldest: Option<i64>,
}

impl RecentSet {
    /// Inserts `member`, seen at `time`, after dropping what was not seen in the `span` microseconds up to the newest time.
    /// Beyond `max` members the one not seen for longest is dropped.
    pub fn insert(&mut self, span: i64, max: usize, time: i64, member: &str) -> Inserted {
        let from = self.expire(span, time);
        let member = hash(member);
        let new = match self.members.get_mut(&member) {
            Some(last) => {
                *last = time.max(*last);
                false
            }
            None => {
                if time > from {
                    self.members.insert(member, time);
                    self.oldest = Some(self.oldest.map_or(time, |oldest| oldest.min(time)));
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

    /// Drops what was not seen in the `span` microseconds up to `time`, or to the newest time if that is later; gives their beginning.
    pub fn expire(&mut self, span: i64, time: i64) -> i64 {
        self.newest = if self.members.is_empty() {
            time
        } else {
            self.newest.max(time)
        };
        let from = self.newest - span;
        // All members are walked only where one of them can be that old.
        if self.oldest.is_none_or(|oldest| oldest <= from) {
            self.members.retain(|_, last| *last > from);
            self.oldest = self.members.values().min().copied();
        }
        from
    }

    /// Whether `member` was seen in the `span` microseconds up to `time`.
    pub fn contains(&self, span: i64, time: i64, member: &str) -> bool {
        self.members
            .get(&hash(member))
            .is_some_and(|last| *last > time.saturating_sub(span))
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn walking_seldom_and_being_saved_change_nothing() {
        let mut set = RecentSet::default();
        let mut always_walked = RecentSet::default();
        for step in 0..5_000_i64 {
            let number = hash(&step.to_string());
            // Times go forth and back, and far ahead now and then.
            let time = step / 3 + (number % 40) as i64 + step / 500 * 90;
            let (span, member) = (60 - (number >> 8) as i64 % 30, format!("{}", (number >> 16) % 50));
            always_walked.oldest = None;
            let expected = always_walked.insert(span, 20, time, &member);
            assert_eq!(set.insert(span, 20, time, &member), expected, "step {step}");
            assert_eq!(set.members, always_walked.members, "step {step}");
            if number.is_multiple_of(97) {
                let saved = postcard::to_allocvec(&set).expect("written");
                let earlier = postcard::to_allocvec(&(&set.members, set.newest)).expect("written");
                assert_eq!(saved, earlier, "what is saved has no more fields than before");
                set = postcard::from_bytes(&saved).expect("read");
            }
        }
    }
}
