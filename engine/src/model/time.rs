//! Event time: microseconds since 1970-01-01T00:00:00Z.

use chrono::{DateTime, SecondsFormat};

/// Microseconds since the epoch, UTC.
pub type Micros = i64;

pub const SECOND: Micros = 1_000_000;
pub const MINUTE: Micros = 60 * SECOND;
pub const HOUR: Micros = 60 * MINUTE;

/// RFC 3339 with milliseconds, for people: `2026-02-01T10:00:00.000Z`. A time outside the calendar is shown as its number.
pub fn to_rfc3339(time: Micros) -> String {
    match DateTime::from_timestamp_micros(time) {
        Some(moment) => moment.to_rfc3339_opts(SecondsFormat::Millis, true),
        None => format!("{time}us"),
    }
}
