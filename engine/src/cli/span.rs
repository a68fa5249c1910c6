//! Spans of event time on the command line.

use crate::model::Micros;
use crate::model::time::{HOUR, MINUTE};
use crate::pipeline::Span;

#[derive(clap::Args)]
#[group(skip)]
pub struct Arguments {
    /// Only events from this time on: 2026-01-02, or 2026-01-02T03:04:05Z.
    #[arg(long, value_parser = moment)]
    from: Option<Micros>,
    /// Only events before this time.
    #[arg(long, value_parser = moment)]
    to: Option<Micros>,
}

impl Arguments {
    /// # Errors
    /// The span would hold nothing.
    pub fn span(&self) -> anyhow::Result<Span> {
        if let Some((from, to)) = self.from.zip(self.to) {
            anyhow::ensure!(from < to, "--from must be before --to");
        }
        Ok(Span {
            from: self.from,
            to: self.to,
        })
    }
}

fn moment(text: &str) -> Result<Micros, String> {
    let whole = if text.len() == "2026-01-02".len() {
        format!("{text}T00:00:00Z")
    } else {
        text.to_owned()
    };
    let moment = chrono::DateTime::parse_from_rfc3339(&whole);
    let moment = moment.map_err(|_| "valid are a day such as 2026-01-02 and a time such as 2026-01-02T03:04:05Z");
    Ok(moment?.timestamp_micros())
}

/// A length of time such as `12h`; 0 is one.
pub fn length(text: &str) -> Result<Micros, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "m" => Some(MINUTE),
        "h" => Some(HOUR),
        "d" => Some(24 * HOUR),
        _ if text == "0" => Some(0),
        _ => None,
    };
    let length = digits.parse::<Micros>().ok().filter(|count| *count >= 0).zip(unit);
    let length = length.and_then(|(count, unit)| count.checked_mul(unit));
    length.ok_or_else(|| "valid are 0 and a whole number with m, h or d, such as 12h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_lengths_are_read() {
        assert_eq!(moment("1970-01-02"), Ok(24 * HOUR));
        assert_eq!(moment("1970-01-01T01:00:00+01:00"), Ok(0));
        assert!(moment("yesterday").is_err() && moment("2026-13-01").is_err());
        assert_eq!(length("0"), Ok(0));
        assert_eq!(length("90m"), Ok(90 * MINUTE));
        for wrong in ["", "d", "-1d", "1w", "1", "99999999999999d"] {
            assert!(length(wrong).is_err(), "{wrong}");
        }
    }
}
