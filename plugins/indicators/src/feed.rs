//! Feeds as they are written: STIX 2.1 bundles, and CSV.

use sentrail_plugin::serde::Deserialize;
use sentrail_plugin::{SECOND, Severity, json};

use crate::observable::{Observable, refanged};

/// One thing that a feed says.
#[derive(Debug)]
pub struct Indicator {
    pub observable: Observable,
    /// What the feed calls it; may be empty.
    pub name: String,
    /// 0 to 100, if the feed says.
    pub confidence: Option<u8>,
    /// Event times (microseconds) from and before which it holds.
    pub valid: (i64, i64),
}

/// Reads a feed and hands on what it says, one by one. Gives how many entries it had that are of no form that is known here.
///
/// The error says what is wrong with the feed as a whole, or with a line of it.
pub fn read(text: &str, mut hand_on: impl FnMut(Indicator)) -> Result<usize, String> {
    match text.trim_start().chars().next() {
        Some('{' | '[') => stix(text, &mut hand_on),
        _ => csv(text, &mut hand_on),
    }
}

#[derive(Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
struct Bundle {
    #[serde(default)]
    objects: Vec<Object>,
}

#[derive(Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
struct Object {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    pattern: String,
    #[serde(default)]
    pattern_type: String,
    #[serde(default)]
    name: String,
    confidence: Option<u8>,
    valid_from: Option<String>,
    valid_until: Option<String>,
    #[serde(default)]
    revoked: bool,
}

fn stix(text: &str, hand_on: &mut impl FnMut(Indicator)) -> Result<usize, String> {
    let wrong = |error: json::Error| format!("it begins as JSON and is no STIX 2.1 bundle: {error}");
    let objects = if text.trim_start().starts_with('[') {
        json::from_str::<Vec<Object>>(text).map_err(wrong)?
    } else {
        json::from_str::<Bundle>(text).map_err(wrong)?.objects
    };
    let mut unknown = 0;
    for object in objects {
        if object.kind != "indicator" || object.revoked {
            continue;
        }
        let patterns = match object.pattern_type.as_str() {
            "" | "stix" => observables(&object.pattern),
            _ => Vec::new(),
        };
        unknown += usize::from(patterns.is_empty());
        for observable in patterns {
            hand_on(Indicator {
                observable,
                name: object.name.clone(),
                confidence: object.confidence.map(|confidence| confidence.min(100)),
                valid: (
                    object.valid_from.as_deref().and_then(time).unwrap_or(i64::MIN),
                    object.valid_until.as_deref().and_then(time).unwrap_or(i64::MAX),
                ),
            });
        }
    }
    Ok(unknown)
}

/// The observables of a pattern that is one comparison, or several joined by OR: `[ipv4-addr:value = '198.51.100.7']`. Of a pattern
/// with AND, NOT or qualifiers nothing is taken, for a part of it would say another thing.
fn observables(pattern: &str) -> Vec<Observable> {
    let mut found = Vec::new();
    let mut rest = pattern;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '[' | '('));
        let Some((path, after)) = rest.split_once('=') else {
            return Vec::new();
        };
        let Some(after) = after.trim_start().strip_prefix('\'') else {
            return Vec::new();
        };
        let Some((value, after)) = literal(after) else {
            return Vec::new();
        };
        let Some(observable) = comparison(path.trim(), &value) else {
            return Vec::new();
        };
        found.push(observable);
        let after = after.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ']' | ')'));
        match after.strip_prefix("OR") {
            Some(more) => rest = more,
            None if after.is_empty() => return found,
            None => return Vec::new(),
        }
    }
}

/// What stands before the closing quote, and what behind it.
fn literal(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

fn comparison(path: &str, value: &str) -> Option<Observable> {
    let (object, property) = path.split_once(':')?;
    let value = refanged(value);
    match (object, property) {
        ("ipv4-addr" | "ipv6-addr", "value") => Observable::network(&value),
        ("domain-name", "value") => Observable::domain(&value),
        ("url", "value") => Observable::url(&value),
        ("file" | "artifact", property) if property.starts_with("hashes") => Observable::digest(&value),
        // Not of the standard: leaked keys by their hash.
        ("x-api-key", "hash") => Some(Observable::Key(value.into_owned())),
        _ => None,
    }
}

/// Lines of comma-separated values. With a header the columns are `value` (or `indicator`, `ioc`), `type`, `name` (or `description`),
/// `confidence`, `valid_from`, `valid_until`, in any order; without one the first value of each line counts. `#` begins a comment.
fn csv(text: &str, hand_on: &mut impl FnMut(Indicator)) -> Result<usize, String> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    });
    let mut columns = Columns::default();
    let mut unknown = 0;
    let mut entry = |number: usize, line: &str, columns: &Columns| -> Result<(), String> {
        let cells = cells(line).ok_or_else(|| format!("line {}: a quote is not closed", number + 1))?;
        let cell = |at: Option<usize>| {
            at.and_then(|at| cells.get(at))
                .map(|cell| cell.trim())
                .filter(|cell| !cell.is_empty())
        };
        let when = |at: Option<usize>, name: &str, missing: i64| match cell(at) {
            None => Ok(missing),
            Some(text) => time(text).ok_or_else(|| {
                format!(
                    "line {}: {name} = {text:?}: valid is a time such as 2026-01-02T03:04:05Z",
                    number + 1
                )
            }),
        };
        let Some(value) = cell(Some(columns.value)) else {
            unknown += 1;
            return Ok(());
        };
        let observable = match cell(columns.kind) {
            Some("key" | "key-hash" | "key_hash") => Some(Observable::Key(value.to_owned())),
            _ => Observable::any(value),
        };
        let Some(observable) = observable else {
            unknown += 1;
            return Ok(());
        };
        hand_on(Indicator {
            observable,
            name: cell(columns.name).unwrap_or_default().to_owned(),
            confidence: cell(columns.confidence)
                .and_then(|text| text.parse::<u8>().ok())
                .map(|percent| percent.min(100)),
            valid: (
                when(columns.from, "valid_from", i64::MIN)?,
                when(columns.until, "valid_until", i64::MAX)?,
            ),
        });
        Ok(())
    };
    if let Some((number, first)) = lines.next() {
        match Columns::of(first) {
            Some(header) => columns = header,
            None => entry(number, first, &columns)?,
        }
    }
    for (number, line) in lines {
        entry(number, line, &columns)?;
    }
    Ok(unknown)
}

#[derive(Default)]
struct Columns {
    value: usize,
    kind: Option<usize>,
    name: Option<usize>,
    confidence: Option<usize>,
    from: Option<usize>,
    until: Option<usize>,
}

impl Columns {
    /// `None` where the line is no header.
    fn of(line: &str) -> Option<Columns> {
        let names = cells(&line.to_ascii_lowercase())?;
        let at = |wanted: &[&str]| names.iter().position(|name| wanted.contains(&name.trim()));
        Some(Columns {
            value: at(&["value", "indicator", "ioc"])?,
            kind: at(&["type"]),
            name: at(&["name", "description"]),
            confidence: at(&["confidence"]),
            from: at(&["valid_from"]),
            until: at(&["valid_until"]),
        })
    }
}

/// The values of a line (RFC 4180, but for line feeds inside quotes).
fn cells(line: &str) -> Option<Vec<String>> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let cell = cells.last_mut()?;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if cell.is_empty() => quoted = true,
            ',' if !quoted => cells.push(String::new()),
            c => cell.push(c),
        }
    }
    (!quoted).then_some(cells)
}

/// A time of RFC 3339, or a date, as microseconds since 1970.
fn time(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse::<i64>().ok())
            .flatten()
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    if text.get(4..5) != Some("-")
        || text.get(7..8) != Some("-")
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
    {
        return None;
    }
    // Days since 1970 of a date in the Gregorian calendar, counted in years that begin in March.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let mut seconds = days * 86_400;
    if text.len() > 10 {
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        seconds += hour * 3_600 + minute * 60 + second;
        let zone = text
            .get(19..)?
            .trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
        let offset = |zone: &str| {
            let (hours, minutes) = zone.split_once(':')?;
            Some(hours.parse::<i64>().ok()? * 3_600 + minutes.parse::<i64>().ok()? * 60)
        };
        seconds -= match zone {
            "" | "Z" | "z" => 0,
            _ => match (zone.strip_prefix('+'), zone.strip_prefix('-')) {
                (Some(east), _) => offset(east)?,
                (_, Some(west)) => -offset(west)?,
                _ => return None,
            },
        };
    }
    Some(seconds * SECOND)
}

/// How grave a match is, by how sure the feed is of it. Feeds that say nothing are taken at the rule's own severity.
pub fn severity(rule: Severity, confidence: Option<u8>) -> Severity {
    match confidence {
        Some(0..=29) => rule.lower(),
        Some(80..) if rule == Severity::Medium => Severity::High,
        Some(80..) if rule == Severity::Low => Severity::Medium,
        _ => rule,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> (Vec<Indicator>, usize) {
        let mut found = Vec::new();
        let unknown = read(text, |indicator| found.push(indicator)).expect("read");
        (found, unknown)
    }

    #[test]
    fn simple_patterns_are_read_and_others_left_alone() {
        for (pattern, count) in [
            ("[ipv4-addr:value = '198.51.100.7']", 1),
            (
                "[ipv4-addr:value='198.51.100.0/24' OR domain-name:value = 'evil.example']",
                2,
            ),
            (
                "[url:value = 'http://evil.example/it\\'s'] OR [domain-name:value = 'a.example']",
                2,
            ),
            (
                "[file:hashes.'SHA-256' = 'aa11223344556677889900aabbccddeeff00112233445566778899aabbccddee']",
                1,
            ),
            ("[file:hashes.MD5 = '00112233445566778899aabbccddeeff']", 1),
            (
                "[ipv4-addr:value = '198.51.100.7' AND network-traffic:dst_port = 443]",
                0,
            ),
            ("[domain-name:value LIKE '%.example']", 0),
            (
                "[domain-name:value = 'evil.example'] START t'2026-01-01T00:00:00Z' STOP t'2026-01-02T00:00:00Z'",
                0,
            ),
            ("[domain-name:value = 'evil.example", 0),
            ("", 0),
        ] {
            assert_eq!(observables(pattern).len(), count, "{pattern}");
        }
    }

    #[test]
    fn csv_is_read_with_and_without_a_header() {
        let (found, unknown) = all("# comment\n198.51.100.7,botnet\nevil[.]example\nnot an indicator\n");
        assert_eq!((found.len(), unknown), (2, 1));
        let (found, _) = all("Name,Type,Value,Confidence,valid_until\n\"a, \"\"b\"\"\",key,deadbeef,90,2026-01-02\n");
        assert_eq!(found[0].name, "a, \"b\"");
        assert_eq!(
            (&found[0].observable, found[0].confidence),
            (&Observable::Key("deadbeef".into()), Some(90))
        );
        assert_eq!(found[0].valid, (i64::MIN, 1_767_312_000 * SECOND));
        assert!(
            read("value,valid_until\n198.51.100.7,tomorrow\n", |_| ())
                .expect_err("refused")
                .starts_with("line 2: ")
        );
        assert!(read("{\"objects\": 1}", |_| ()).is_err());
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(time("2026-01-01T01:00:00.25+01:00"), Some(1_767_225_600 * SECOND));
        assert_eq!(time("2024-02-29"), Some(1_709_164_800 * SECOND));
        for text in [
            "",
            "2026",
            "2026-13-01",
            "2026-01-01T",
            "2026-01-01T00:00:00+x",
            "2026-01-01T00:00:00\u{e9}",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
