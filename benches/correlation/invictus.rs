//! The staged attack of invictus: one account's log of 55 minutes in which Stratus Red Team detonates technique after technique, while its
//! Terraform sets them up and others work.

use std::path::Path;

use anyhow::{Context, Result};
use sentrail::model::time::SECOND;
use serde_json::Value;

use super::report::Case;
use super::scene::Line;

pub const FILE: &str = "invictus/events_labelled.ndjson";
pub const TITLE: &str = "invictus: the staged attack is one campaign; its set-up, its clean-up and what has no label count as ordinary work";
pub const CASE: Case = ("invictus", "staged attack");

/// All its records, in their order.
pub fn lines(path: &Path) -> Result<Vec<Line>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let line = |(number, line): (usize, &str)| {
        let case: Value = serde_json::from_str(line).with_context(|| format!("line {}", number + 1))?;
        let event = &case["event"];
        let time = event["eventTime"].as_str();
        let time = time.and_then(|time| chrono::DateTime::parse_from_rfc3339(time).ok());
        let time = time.with_context(|| format!("line {}: no time", number + 1))?;
        Ok(Line {
            format: "aws_cloudtrail",
            time: time.timestamp() * SECOND,
            text: event.to_string(),
            campaign: (case["label"] == "attack").then_some((0, 0)),
        })
    };
    text.lines().enumerate().map(line).collect()
}
