//! What somebody has not done before.

use serde::{Deserialize, Serialize};

use super::RecentSet;

/// What is usual and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Habit {
    /// Event time from the first sighting, in microseconds, within which everything is being learnt.
    pub learning: i64,
    /// Sightings that are being learnt from as well: a key used three times in a year has no habits.
    pub sightings: u64,
    /// How long a member is remembered that is not seen again, in microseconds.
    pub keep: i64,
    /// Members remembered; beyond it the one not seen for longest is forgotten, and would be new again.
    pub max: usize,
}

/// How a member stands to the habit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Familiarity {
    /// Not seen before, while everything is still being learnt.
    Learning,
    /// Not seen before, and the habit is known.
    New,
    /// Seen before.
    Known,
}

/// Tells whether a text was seen before, from when on a habit can be known at all. Hashes of the members are kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FirstSeen {
    began: Option<i64>,
    sightings: u64,
    members: RecentSet,
}

impl FirstSeen {
    /// Takes `member`, seen at `time`, into the habit and says how it stood before.
    pub fn see(&mut self, habit: &Habit, time: i64, member: &str) -> Familiarity {
        let began = self.began.map_or(time, |began| began.min(time));
        self.began = Some(began);
        let learning = self.sightings < habit.sightings || time.saturating_sub(began) < habit.learning;
        self.sightings = self.sightings.saturating_add(1);
        match self.members.insert(habit.keep, habit.max, time, member).new {
            false => Familiarity::Known,
            true if learning => Familiarity::Learning,
            true => Familiarity::New,
        }
    }

    /// Members remembered now.
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

    const HABIT: Habit = Habit {
        learning: 10,
        sightings: 3,
        keep: 100,
        max: 3,
    };

    #[test]
    fn nothing_is_new_before_both_the_time_and_the_sightings_are_there() {
        let mut seen = FirstSeen::default();
        assert_eq!(seen.see(&HABIT, 0, "a"), Familiarity::Learning);
        assert_eq!(
            seen.see(&HABIT, 20, "b"),
            Familiarity::Learning,
            "one sighting is no habit"
        );
        assert_eq!(seen.see(&HABIT, 20, "a"), Familiarity::Known);
        assert_eq!(seen.see(&HABIT, 20, "c"), Familiarity::New);
        let mut seen = FirstSeen::default();
        for _ in 0..5 {
            seen.see(&HABIT, 0, "a");
        }
        assert_eq!(
            seen.see(&HABIT, 9, "b"),
            Familiarity::Learning,
            "five sightings at once are none either"
        );
        assert_eq!(seen.see(&HABIT, 10, "c"), Familiarity::New);
    }

    #[test]
    fn what_is_not_seen_for_long_is_forgotten_and_so_is_the_oldest_of_too_many() {
        let mut seen = FirstSeen::default();
        for (time, member) in [(0, "a"), (11, "b"), (12, "c"), (13, "a"), (14, "d")] {
            seen.see(&HABIT, time, member);
        }
        assert_eq!(seen.len(), 3);
        assert_eq!(seen.see(&HABIT, 15, "a"), Familiarity::Known);
        assert_eq!(seen.see(&HABIT, 16, "b"), Familiarity::New, "the oldest of too many");
        assert_eq!(seen.see(&HABIT, 500, "a"), Familiarity::New, "not seen for too long");
    }
}
