//! Where somebody is, and how fast they got there.

use serde::{Deserialize, Serialize};

use super::{Familiarity, FirstSeen, Habit, hash};

/// The countries of somebody, and when they were last in one: for what is known as impossible travel. Countries alone tell no
/// distance, so only a change of which one end was new to them counts as a journey.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Places {
    countries: FirstSeen,
    last: Option<Sighting>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sighting {
    time: i64,
    country: u64,
    /// The country was new to them, and the way to it was no journey that was told.
    new: bool,
}

impl Places {
    /// Takes a sighting into account. Gives how long ago, in microseconds, they were in another country, where one of the two was new
    /// to them when they came and that is `within` at most. Every journey is told once.
    pub fn see(&mut self, habit: &Habit, within: i64, time: i64, country: &str) -> Option<i64> {
        let new = self.countries.see(habit, time, country) == Familiarity::New;
        let country = hash(country);
        let before = self.last.as_ref();
        let journey = before
            .filter(|before| before.country != country && (new || before.new))
            .map(|before| time.saturating_sub(before.time).saturating_abs())
            .filter(|ago| *ago <= within);
        if before.is_none_or(|before| time >= before.time) {
            let stays_new = before.is_some_and(|before| before.country == country && before.new);
            self.last = Some(Sighting {
                time,
                country,
                new: (new || stays_new) && journey.is_none(),
            });
        }
        journey
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
        assert_eq!(places.see(&habit, 10, 51, "JP"), None);
        assert_eq!(places.see(&habit, 10, 53, "NL"), Some(2), "but none to come back");
        assert_eq!(places.see(&habit, 10, 54, "JP"), None, "known by now");
    }
}
