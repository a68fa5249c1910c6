//! Times as logs write them → microseconds since the epoch, UTC.

use serde::Deserialize;

use crate::model::Micros;
use crate::model::time::SECOND;

/// How a source writes times. Several may be named; the first that fits is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeFormat {
    /// `2026-02-01T10:00:00.123Z`, `…+01:00`, `…+0100`, `… +01:00`, `… UTC`; `T` may be a space, the date's marks slashes, the
    /// decimal mark a comma.
    Rfc3339,
    /// The same without an offset, meant as UTC: `2026-02-01 10:00:00.123`.
    Utc,
    /// Seconds since the epoch, whole or with a fraction.
    EpochSeconds,
    /// Milliseconds since the epoch.
    EpochMillis,
    /// Microseconds since the epoch.
    EpochMicros,
    /// Nanoseconds since the epoch.
    EpochNanos,
}

/// 9999-12-31T23:59:59.999999Z: what calendars and tables can show.
const TIME_MAX: Micros = 253_402_300_799 * SECOND + 999_999;
/// 0001-01-01T00:00:00Z.
const TIME_MIN: Micros = -62_135_596_800 * SECOND;

/// The time that `text` gives in the first of `formats` that fits.
pub fn parse(text: &str, formats: &[TimeFormat]) -> Option<Micros> {
    let time = formats.iter().find_map(|format| match format {
        TimeFormat::Rfc3339 => calendar(text.as_bytes()).and_then(|(time, offset)| Some(time - offset?)),
        TimeFormat::Utc => calendar(text.as_bytes()).and_then(|(time, offset)| offset.is_none().then_some(time)),
        TimeFormat::EpochSeconds => epoch(text, SECOND),
        TimeFormat::EpochMillis => epoch(text, SECOND / 1000),
        TimeFormat::EpochMicros => epoch(text, 1),
        TimeFormat::EpochNanos => text.parse::<i64>().ok().map(|nanos| nanos.div_euclid(1000)),
    })?;
    (TIME_MIN..=TIME_MAX).contains(&time).then_some(time)
}

fn epoch(text: &str, unit: Micros) -> Option<Micros> {
    if let Ok(whole) = text.parse::<i64>() {
        return whole.checked_mul(unit);
    }
    let value = text.parse::<f64>().ok()? * unit as f64;
    (value.abs() <= TIME_MAX as f64).then(|| value.round() as Micros)
}

/// The calendar time and, where the text has one, its offset from UTC, both in microseconds.
fn calendar(text: &[u8]) -> Option<(Micros, Option<Micros>)> {
    let (head, mut rest) = (text.get(..19)?, &text[19..]);
    let ok = matches!((head[4], head[7]), (b'-', b'-') | (b'/', b'/'))
        && matches!(head[10], b'T' | b't' | b' ')
        && head[13] == b':'
        && head[16] == b':';
    if !ok {
        return None;
    }
    let (year, month, day) = (number(&head[..4])?, number(&head[5..7])?, number(&head[8..10])?);
    let (hour, minute, second) = (number(&head[11..13])?, number(&head[14..16])?, number(&head[17..19])?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    // Second 60 is a leap second: it is the next minute's first.
    if !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut time = (days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second) * SECOND;
    if let Some((b'.' | b',', fraction)) = rest.split_first() {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let kept = digits.min(6);
        time += number(fraction.get(..kept)?)? * 10i64.pow(6 - kept as u32);
        rest = &fraction[digits..];
    }
    Some((time, zone(rest)?))
}

/// `None`: not an offset. `Some(None)`: none given.
fn zone(text: &[u8]) -> Option<Option<Micros>> {
    match text {
        [] => Some(None),
        b"Z" | b"z" | b" UTC" | b" GMT" => Some(Some(0)),
        [b' ', rest @ ..] if matches!(rest, [b'+' | b'-', ..]) => zone(rest),
        [sign @ (b'+' | b'-'), rest @ ..] => {
            let (hours, minutes) = match rest {
                [_, _] => (number(rest)?, 0),
                [_, _, _, _] => (number(&rest[..2])?, number(&rest[2..])?),
                [_, _, b':', _, _] => (number(&rest[..2])?, number(&rest[3..])?),
                _ => return None,
            };
            let offset = (hours * 60 + minutes) * 60 * SECOND;
            (hours < 24 && minutes < 60).then_some(Some(if *sign == b'-' { -offset } else { offset }))
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0i64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'))
    })
}

/// Days since 1970-01-01 in the Gregorian calendar, years counted from March so that the leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::TimeFormat::*;
    use super::*;

    #[test]
    fn reads_what_chrono_reads() {
        for text in [
            "2024-02-29T23:59:59Z",
            "1970-01-01T00:00:00.000001+00:00",
            "2026-11-21T05:51:52.123456789-09:30",
            "1899-12-31T00:00:00Z",
            "2000-03-01T00:00:00+14:00",
            "9999-12-31T23:59:59Z",
        ] {
            let want = chrono::DateTime::parse_from_rfc3339(text)
                .expect("valid")
                .timestamp_micros();
            assert_eq!(parse(text, &[Rfc3339]), Some(want), "{text}");
        }
    }

    #[test]
    fn the_other_forms() {
        let want = Some(1_769_940_000_123_000);
        assert_eq!(parse("2026-02-01 10:00:00.123", &[Utc]), want);
        assert_eq!(parse("2026-02-01 10:00:00.123000000", &[Rfc3339, Utc]), want);
        assert_eq!(parse("2026-02-01T10:00:00,123+0000", &[Rfc3339]), want);
        assert_eq!(parse("1769940000.123", &[EpochSeconds]), want);
        assert_eq!(parse("1.769940000123e9", &[EpochSeconds]), want);
        assert_eq!(parse("2026/02/01 11:00:00.123 +01:00", &[Rfc3339]), want);
        assert_eq!(parse("2026-02-01 10:00:00.123 UTC", &[Rfc3339]), want);
        assert_eq!(parse("1769940000123", &[EpochMillis]), want);
        assert_eq!(parse("1769940000123000", &[EpochMicros]), want);
        assert_eq!(parse("1769940000123000999", &[EpochNanos]), want);
        assert_eq!(
            parse("2026-12-31T23:59:60Z", &[Rfc3339]),
            parse("2027-01-01T00:00:00Z", &[Rfc3339])
        );
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "now",
            "2026-02-30T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-02-01T24:00:00Z",
            "2026-02-01T10:00:00.Z",
            "2026/02-01T10:00:00Z",
            "2026-02-01T10:00:00 CET",
            "NaN",
            "1e300",
        ] {
            assert_eq!(parse(text, &[Rfc3339, Utc, EpochSeconds]), None, "{text}");
        }
        // Without an offset it is not RFC 3339, with one it is not UTC by agreement.
        assert_eq!(parse("2026-02-01T10:00:00", &[Rfc3339]), None);
        assert_eq!(parse("2026-02-01T10:00:00+01:00", &[Utc]), None);
    }
}
