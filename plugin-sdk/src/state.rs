//! What a detector may remember: parts with bounded memory that run on event time, so that the same rows give the same
//! results however they are cut into batches and whenever they arrive.
//!
//! None of them keeps a text: keys and set members are remembered as 64-bit hashes, so that saved state holds nothing that
//! was written in a log.

mod alarm;
mod distinct_count;
mod ewma;
mod first_seen;
mod heavy_hitters;
mod hours;
mod keyed;
mod places;
mod recent_set;
mod resemblance;
mod session;
mod sliding_sum;

use serde::de::DeserializeOwned;
use siphasher::sip::SipHasher13;

pub use alarm::{Alarm, Burst, Spread};
pub use distinct_count::DistinctCount;
pub use ewma::Ewma;
pub use first_seen::{Familiarity, FirstSeen, Habit};
pub use heavy_hitters::{Frequency, HeavyHitters};
pub use hours::{Hours, Unusual};
pub(crate) use keyed::take_evicted;
pub use keyed::{KEYED_BYTES_MAX, Keyed};
pub use places::Places;
pub use recent_set::{Inserted, RecentSet};
pub use resemblance::Resemblance;
pub use session::Session;
pub use sliding_sum::SlidingSum;

/// The same number for the same text in every build and on every machine.
pub fn hash(text: &str) -> u64 {
    SipHasher13::new().hash(text.as_bytes())
}

/// Reads state as [`crate::Instance::save`] writes it, for [`crate::Detector::migrate`].
pub fn read_state<T: DeserializeOwned>(saved: &[u8]) -> Result<T, String> {
    postcard::from_bytes(saved).map_err(|error| format!("the saved state cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use super::*;

    #[test]
    fn a_hash_is_that_of_the_states_saved_before() {
        assert_eq!(hash("alice"), 1_274_268_231_354_930_753);
        for length in 0..40 {
            let text = &"0123456789abcdefghijklmnopqrstuvwxyz_-.:"[..length];
            let mut hasher = SipHasher13::new();
            hasher.write(text.as_bytes());
            assert_eq!(hash(text), hasher.finish(), "{text}");
        }
    }
}
