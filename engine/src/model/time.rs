//! Event time: microseconds since 1970-01-01T00:00:00Z.

use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat};

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

/// Reads a date, which means its beginning in UTC, or a time with its offset; the error says what is valid.
pub fn parse(text: &str) -> Result<Micros, String> {
    let date = || text.parse::<NaiveDate>().ok();
    let time = DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
    let time = time.or_else(|| Some(date()?.and_time(NaiveTime::MIN).and_utc()));
    let time = time.ok_or_else(|| {
        format!(
            "`{}` is no date such as 2026-12-31 and no time with its offset such as 2026-12-31T18:00:00Z",
            super::one_line(text, 40)
        )
    });
    Ok(time?.timestamp_micros())
}
