//! Counts per hour of event time, and what is normal for an hour.
//!
//! An hour is judged when it is complete, in the order of hours, and by counts alone: neither the order in which its events came nor how
//! they were cut into batches can show. What comes for an hour that has been judged counts nowhere.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use serde::{Deserialize, Serialize};

use super::Arrived;
use crate::model::time::HOUR;
use crate::model::{EventBatch, InputId, Micros};

/// An hour is compared with the same hour of this many days before …
const DAYS_MAX: i64 = 14;
/// … or of as many as are known, but no less than this many.
const DAYS_MIN: usize = 3;
const DAY: i64 = 24;
const WINDOW: i64 = DAYS_MAX * DAY;
/// How many times more than the most, or less than the least, is not normal any more.
const TIMES: u64 = 4;
/// Below so many events an hour chance alone makes such differences.
const EVENTS_MIN: u64 = 100;
/// Fewer rejected records are looked at in the table, not as an incident.
const REJECTED_MIN: u64 = 20;
const SHARE_MIN: f64 = 0.01;
/// Hours that are kept: those of the window and those that are not complete yet, where inputs are weeks of event time apart.
const HOURS_MAX: usize = 1440;

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Count {
    pub events: u64,
    pub rejected: u64,
}

impl Count {
    pub fn records(&self) -> u64 {
        self.events + self.rejected
    }

    /// Which part of the records was rejected, 0 to 1.
    pub fn share(&self) -> f64 {
        self.rejected as f64 / self.records().max(1) as f64
    }
}

/// In which way an hour is not normal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    Fewer,
    More,
    Rejected,
}

/// An hour that is not normal.
#[derive(Debug, PartialEq)]
pub struct Odd {
    /// By number, from 1970 on.
    pub hour: i64,
    pub side: Side,
    pub count: Count,
    /// On how many days before the hour is known.
    pub days: usize,
    /// The least and the most events of these.
    pub events_normal: (u64, u64),
    /// The highest share of rejected records of these.
    pub share_normal: f64,
}

/// The counts of one source.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hours {
    /// By number of the hour; one that is absent had nothing.
    counts: BTreeMap<i64, Count>,
    /// The source is known from this hour on.
    first: Option<i64>,
    /// Up to here all hours are judged.
    closed: Option<i64>,
    /// How the last judged hour was not normal: what lasts is told once.
    told: Vec<Side>,
    inputs: BTreeMap<InputId, Input>,
}

/// How far an input is: a rejected record has no time, and counts in the hour of the newest event before it in its input. That follows
/// from the input alone, however it was cut into batches.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Input {
    newest: Option<Micros>,
    /// Rejected records before the first event: they count in its hour.
    rejected: u64,
}

impl Hours {
    pub fn count(&mut self, batch: &Arrived) {
        let hours = per_hour(batch.events);
        for (hour, events) in &hours {
            let count = Count {
                events: *events,
                rejected: 0,
            };
            self.add(*hour, count);
        }
        let mut input = self.inputs.remove(batch.input).unwrap_or_default();
        for record in batch.rejected {
            match input.newest.max(record.newest_before) {
                Some(newest) => self.add_rejected(newest.div_euclid(HOUR), 1),
                None => input.rejected += 1,
            }
        }
        if let Some((first, _)) = hours.first() {
            self.add_rejected(*first, std::mem::take(&mut input.rejected));
        }
        input.newest = input.newest.max(batch.newest);
        self.inputs.insert(batch.input.clone(), input);
        while self.counts.len() > HOURS_MAX
            && let Some((hour, _)) = self.counts.pop_first()
        {
            // What is known no more is neither judged nor normal.
            self.first = Some(hour + 1);
            self.closed = self.closed.max(Some(hour));
        }
    }

    fn add_rejected(&mut self, hour: i64, rejected: u64) {
        if rejected > 0 {
            self.add(hour, Count { events: 0, rejected });
        }
    }

    fn add(&mut self, hour: i64, more: Count) {
        if self.closed.is_some_and(|closed| hour <= closed) {
            return;
        }
        self.first = Some(self.first.map_or(hour, |first| first.min(hour)));
        let count = self.counts.entry(hour).or_default();
        count.events += more.events;
        count.rejected += more.rejected;
    }

    /// The input brings nothing more; whether that was worth knowing.
    pub fn ended(&mut self, input: &InputId) -> bool {
        self.inputs.remove(input).is_some()
    }

    /// The newest hour that had anything.
    pub fn newest(&self) -> Option<i64> {
        self.counts.last_key_value().map(|(hour, _)| *hour)
    }

    /// Whether an hour before `limit` is to be judged.
    pub fn can_close(&self, limit: i64) -> bool {
        self.next().is_some_and(|next| next < limit)
    }

    fn next(&self) -> Option<i64> {
        self.closed.map(|closed| closed + 1).or(self.first)
    }

    /// The hours before `limit` are complete: gives those that are not normal.
    pub fn close(&mut self, limit: i64) -> Vec<Odd> {
        let mut found = Vec::new();
        let Some(mut hour) = self.next() else { return found };
        while hour < limit {
            // After weeks without anything there is nothing to compare with until something comes.
            if self.counts.range(hour - WINDOW..=hour).next().is_none() {
                let next = self.counts.range(hour..).next();
                hour = next.map_or(limit, |(next, _)| limit.min(*next));
                self.told.clear();
                continue;
            }
            self.judge(hour, &mut found);
            hour += 1;
        }
        self.closed = self.closed.max(Some(limit - 1));
        self.counts = self.counts.split_off(&(limit - WINDOW));
        found
    }

    fn judge(&mut self, hour: i64, found: &mut Vec<Odd>) {
        let of = |hour: &i64| self.counts.get(hour).copied().unwrap_or_default();
        let days = (1..=DAYS_MAX).map(|day| hour - day * DAY);
        // The source's first hour had begun before it.
        let known = days.take_while(|held| self.first.is_some_and(|first| first < *held));
        let past: Vec<Count> = known.map(|hour| of(&hour)).collect();
        if past.len() < DAYS_MIN {
            self.told.clear();
            return;
        }
        let count = of(&hour);
        let least = past.iter().map(|past| past.events).min().unwrap_or(0);
        let most = past.iter().map(|past| past.events).max().unwrap_or(0);
        let share = past.iter().map(Count::share).fold(0.0, f64::max);
        let fewer = least >= EVENTS_MIN && count.events.saturating_mul(TIMES) < least;
        let more = count.events >= EVENTS_MIN && count.events > most.saturating_mul(TIMES);
        let rejected = count.rejected >= REJECTED_MIN && count.share() > SHARE_MIN.max(share * TIMES as f64);
        let sides = [(Side::Fewer, fewer), (Side::More, more), (Side::Rejected, rejected)];
        let odd: Vec<Side> = sides
            .iter()
            .filter(|(_, is_odd)| *is_odd)
            .map(|(side, _)| *side)
            .collect();
        let fresh = odd.iter().filter(|side| !self.told.contains(side));
        found.extend(fresh.map(|side| Odd {
            hour,
            side: *side,
            count,
            days: past.len(),
            events_normal: (least, most),
            share_normal: share,
        }));
        self.told = odd;
    }
}

/// The events of a batch per hour, without those whose time cannot be believed. An hour may be there several times.
fn per_hour(events: &EventBatch) -> Vec<(i64, u64)> {
    let mut counts: Vec<(i64, u64)> = Vec::new();
    let mut add = |time: Micros| {
        let hour = time.div_euclid(HOUR);
        match counts.last_mut() {
            Some((last, count)) if *last == hour => *count += 1,
            _ => counts.push((hour, 1)),
        }
    };
    let times = events.time().values();
    let flags = events.column("flags").as_list::<i32>();
    // Flags are rare: most batches have none.
    if flags.null_count() == flags.len() {
        times.iter().copied().for_each(add);
        return counts;
    }
    for (row, time) in times.iter().enumerate() {
        let is_guess = flags.is_valid(row) && {
            let flags = flags.value(row);
            let mut flags = flags.as_string_view().iter().flatten();
            flags.any(|flag| flag == "no_time" || flag == "future_time")
        };
        if !is_guess {
            add(*time);
        }
    }
    counts
}
