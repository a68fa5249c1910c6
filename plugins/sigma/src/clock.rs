//! Parts of a time, as the modifiers minute, hour, day, week, month and year compare them, in UTC.

use rsigma_parser::Modifier;
use sentrail_plugin::json::Value;

/// Numbers beyond this are milliseconds: as seconds they would be some 30,000 years ahead.
const SECONDS_MAX: i64 = 1_000_000_000_000;
const DAY: i64 = 86_400;

/// The part of the time that a value tells: RFC 3339, the same without a zone (UTC), or Unix seconds or milliseconds. `None` where it
/// tells none.
pub fn part(value: &Value, part: Modifier) -> Option<i64> {
    let seconds = match value {
        Value::String(text) => parse(text)?,
        Value::Number(number) => {
            let number = number
                .as_i64()
                .or_else(|| number.as_f64().map(|number| number as i64))?;
            if number > SECONDS_MAX { number / 1000 } else { number }
        }
        _ => return None,
    };
    let days = seconds.div_euclid(DAY);
    let (year, month, day) = civil(days);
    Some(match part {
        Modifier::Minute => seconds.rem_euclid(3600) / 60,
        Modifier::Hour => seconds.rem_euclid(DAY) / 3600,
        Modifier::Day => day,
        Modifier::Week => week(days),
        Modifier::Month => month,
        Modifier::Year => year,
        _ => return None,
    })
}

fn parse(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| digits.parse().ok())?
    };
    let mark = |at: usize, wanted: &[u8]| text.as_bytes().get(at).is_some_and(|found| wanted.contains(found));
    if !(mark(4, b"-") && mark(7, b"-") && mark(10, b"Tt ") && mark(13, b":") && mark(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = text.get(19..)?;
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    let ahead = match rest.as_bytes() {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), zone @ ..] => {
            let zone: Vec<i64> = zone
                .iter()
                .filter(|b| b.is_ascii_digit())
                .map(|b| i64::from(b - b'0'))
                .collect();
            let [a, b, c, d] = zone[..] else { return None };
            let ahead = (a * 10 + b) * 3600 + (c * 10 + d) * 60;
            if *sign == b'-' { -ahead } else { ahead }
        }
        _ => return None,
    };
    Some(days(year, month, day) * DAY + hour * 3600 + minute * 60 + second - ahead)
}

/// Days since 1970-01-01 of a date in the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = shifted.div_euclid(146_097) * 400 + year_of_era + i64::from(month <= 2);
    (year, month, of_year - (153 * shifted_month + 2) / 5 + 1)
}

/// ISO 8601 week: the one that holds the year's first Thursday is the first.
fn week(day: i64) -> i64 {
    let thursday = day + 3 - (day + 3).rem_euclid(7);
    let (year, ..) = civil(thursday);
    (thursday - days(year, 1, 1)) / 7 + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use sentrail_plugin::json::json;

    #[test]
    fn parts_of_a_time() {
        let parts = |value: Value| {
            [
                Modifier::Year,
                Modifier::Month,
                Modifier::Day,
                Modifier::Week,
                Modifier::Hour,
                Modifier::Minute,
            ]
            .map(|modifier| part(&value, modifier).unwrap_or(-1))
        };
        assert_eq!(parts(json!("2024-02-29T23:59:00Z")), [2024, 2, 29, 9, 23, 59]);
        assert_eq!(parts(json!("2024-12-30 00:30:00.123")), [2024, 12, 30, 1, 0, 30]);
        assert_eq!(parts(json!("2021-01-03T01:30:00+02:00")), [2021, 1, 2, 53, 23, 30]);
        assert_eq!(parts(json!(1_700_000_000)), [2023, 11, 14, 46, 22, 13]);
        assert_eq!(parts(json!(1_700_000_000_000_i64)), [2023, 11, 14, 46, 22, 13]);
        assert_eq!(parts(json!("yesterday")), [-1; 6]);
        assert_eq!(parts(json!("2024-1é-01T00:00:00Z")), [-1; 6]);
    }
}
