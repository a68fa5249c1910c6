//! How a record's format is told from the others.

use super::captures::Captures;
use super::json::Kind;
use super::pattern::Pattern;

/// A record is of the format when one of these holds, each with all its conditions.
pub struct Recogniser(pub Vec<Vec<Condition>>);

pub struct Condition {
    pub capture: u16,
    pub path: String,
    pub is: Is,
}

pub enum Is {
    Present,
    Absent,
    OneOf(Vec<Pattern>),
}

impl Recogniser {
    /// What a record must have, in words: one text per alternative.
    pub fn describe(&self) -> Vec<String> {
        let all = |conditions: &Vec<Condition>| {
            let conditions: Vec<String> = conditions.iter().map(Condition::describe).collect();
            conditions.join(", ")
        };
        self.0.iter().map(all).collect()
    }

    /// The first path by which the record is not of this format.
    pub fn missing(&self, bytes: &[u8], captures: &Captures) -> Option<&str> {
        let mut missing = None;
        for conditions in &self.0 {
            let failed = conditions.iter().find(|condition| !condition.holds(bytes, captures));
            let failed = failed?;
            missing = missing.or(Some(failed.path.as_str()));
        }
        missing
    }
}

impl Condition {
    fn describe(&self) -> String {
        let path = &self.path;
        match &self.is {
            Is::Present => format!("`{path}`"),
            Is::Absent => format!("no `{path}`"),
            Is::OneOf(patterns) => {
                let patterns: Vec<String> = patterns.iter().map(|pattern| format!("`{pattern}`")).collect();
                format!("`{path}` = {}", patterns.join(" or "))
            }
        }
    }

    fn holds(&self, bytes: &[u8], captures: &Captures) -> bool {
        match &self.is {
            Is::Present => captures.first(self.capture).kind != Kind::Absent,
            Is::Absent => captures.first(self.capture).kind == Kind::Absent,
            Is::OneOf(patterns) => captures.all(self.capture).any(|span| {
                let value = captures.clear(bytes, span);
                patterns.iter().any(|pattern| pattern.matches(&value))
            }),
        }
    }
}
