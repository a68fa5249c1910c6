//! How long a source may bring nothing before that is told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::SilentAfter;
use crate::model::Micros;
use crate::model::time::{HOUR, MINUTE};

const DAY: Micros = 24 * HOUR;
/// Pauses of this many days count: every week has a weekend.
const DAYS: i64 = 7;
/// Before it is known for so long nobody can say how long a source uses to pause.
const LEARNING: Micros = 3 * DAY;
/// Shorter silences are not told unless the configuration says so: whoever writes in batches pauses for minutes.
const ALLOWED_MIN: Micros = 15 * MINUTE;
/// How much longer than the longest pause a silence must be.
const TIMES_LONGEST: i64 = 3;

/// Arrivals by the wall clock, which is the only one that runs on when nothing comes.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// Records that could be read so far: the number of the last names the silence after it, on every run over the same input.
    records: u64,
    /// Records that could not, since the last that could.
    refused: u64,
    first: Option<Micros>,
    last: Option<Micros>,
    /// The longest pause that ended on a day, by number of the day.
    longest: BTreeMap<i64, Micros>,
    /// The present silence is told, and began then.
    told: Option<Micros>,
}

/// A silence that is too long.
#[derive(Debug, PartialEq)]
pub struct Silent {
    /// When it became too long.
    pub time: Micros,
    pub allowed: Micros,
    /// The longest pause so far, where what is allowed was learned.
    pub longest: Option<Micros>,
    pub last: Option<Micros>,
    pub records: u64,
    pub refused: u64,
}

impl Silence {
    /// Records that could be decoded, or not, came at `now`; the engine has been listening since `listening`. Who brings only what
    /// nobody can read is as good as silent.
    pub fn arrived(&mut self, read: u64, refused: u64, listening: Micros, now: Micros) {
        if read == 0 {
            self.refused += refused;
            return;
        }
        if let Some(last) = self.last {
            let day = now.div_euclid(DAY);
            let pause = now.saturating_sub(last.max(listening)).max(0);
            let longest = self.longest.entry(day).or_default();
            *longest = pause.max(*longest);
            self.longest.retain(|held, _| (day - DAYS + 1..=day).contains(held));
        }
        self.records += read;
        self.refused = 0;
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.told = None;
    }

    /// The silence at `now` if it has become too long and was not told yet.
    pub fn look(&mut self, setting: SilentAfter, listening: Micros, now: Micros) -> Option<Silent> {
        if self.told.is_some() {
            return None;
        }
        // The clock may have been set back.
        self.last = self.last.map(|last| last.min(now));
        let (allowed, longest) = match setting {
            SilentAfter::Never => return None,
            SilentAfter::Span(span) => (span, None),
            SilentAfter::Learned => {
                let longest = self.learned(now)?;
                (longest.saturating_mul(TIMES_LONGEST).max(ALLOWED_MIN), Some(longest))
            }
        };
        let since = self.last.map_or(listening, |last| last.max(listening));
        let time = since.saturating_add(allowed);
        if now < time {
            return None;
        }
        self.told = Some(self.last.unwrap_or(listening));
        Some(Silent {
            time,
            allowed,
            longest,
            last: self.last,
            records: self.records,
            refused: self.refused,
        })
    }

    /// The longest pause of the last days; `None` while it is being learned.
    fn learned(&self, now: Micros) -> Option<Micros> {
        if now.saturating_sub(self.first?) < LEARNING {
            return None;
        }
        let from = now.div_euclid(DAY) - DAYS + 1;
        Some(
            self.longest
                .range(from..)
                .map(|(_, longest)| *longest)
                .max()
                .unwrap_or(0),
        )
    }

    /// Since when the source has been silent, where that is told.
    pub fn told(&self) -> Option<Micros> {
        self.told
    }
}
