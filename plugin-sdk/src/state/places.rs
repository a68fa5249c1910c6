//! Where somebody is, and how fast they got there.

use serde::{Deserialize, Serialize};

use super::{Familiarity, FirstSeen, Habit, hash};

/// The countries of somebody, and when they were last in one: for what is known as impossible travel. Countries alone tell no
/// distance, so only one that was never seen before counts as a journey.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Places {
    countries: FirstSeen,
    /// Event time of the last sighting, and the hash of its country.
    last: Option<(i64, u64)>,
}

impl Places {
    /// Takes a sighting into account. Gives how long ago, in microseconds, they were in another country, where this one is new to
    /// them and that is `within` at most.
    pub fn see(&mut self, habit: &Habit, within: i64, time: i64, country: &str) -> Option<i64> {
        let new = self.countries.see(habit, time, country) == Familiarity::New;
        let here = hash(country);
        let (before, elsewhere) = match self.last {
            Some((before, there)) => (before, there != here),
            None => (time, false),
        };
        if time >= before {
            self.last = Some((time, here));
        }
        let ago = time.saturating_sub(before).saturating_abs();
        (new && elsewhere && ago <= within).then_some(ago)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_country_soon_after_another_is_a_journey_once() {
        let habit = Habit {
            learning: 0,
            sightings: 2,
            keep: 1_000,
            max: 8,
        };
        let mut places = Places::default();
        assert_eq!(places.see(&habit, 10, 0, "NL"), None);
        assert_eq!(places.see(&habit, 10, 1, "DE"), None, "still learnt");
        assert_eq!(places.see(&habit, 10, 2, "BR"), Some(1));
        assert_eq!(places.see(&habit, 10, 3, "NL"), None, "known");
        assert_eq!(places.see(&habit, 10, 4, "BR"), None, "known by now");
        assert_eq!(places.see(&habit, 10, 50, "JP"), None, "there was time to travel");
    }
}
