//! What belongs together because no long silence parts it.

use serde::{Deserialize, Serialize};

/// A session window: a value that begins anew after a silence. `Keyed<Session<T>>` holds one per key, and
/// [`crate::Keyed::take_silent`] takes out those that have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session<T> {
    /// Event times of the first and of the last act.
    span: Option<(i64, i64)>,
    value: T,
}

impl<T: Default> Session<T> {
    /// The session's value for an act at `time`; a new default where the last act is more than `gap` microseconds older. An act that
    /// comes late belongs to the session that is open.
    pub fn at(&mut self, gap: i64, time: i64) -> &mut T {
        self.span = match self.span {
            Some((began, last)) if time.saturating_sub(last) <= gap => Some((began.min(time), last.max(time))),
            _ => {
                self.value = T::default();
                Some((time, time))
            }
        };
        &mut self.value
    }

    /// Event time between the first act and the last, in microseconds.
    pub fn length(&self) -> i64 {
        self.span.map_or(0, |(began, last)| last - began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_ends_it_and_lateness_does_not() {
        let mut session = Session::<u32>::default();
        for time in [0, 10, 20, 12, 30] {
            *session.at(10, time) += 1;
        }
        assert_eq!(*session.at(10, 40), 5);
        assert_eq!(session.length(), 40);
        assert_eq!(*session.at(10, 51), 0, "eleven are a silence");
        assert_eq!(session.length(), 0);
    }
}
