//! The figures for people, 120 columns wide, and for programs.

use std::fmt;

use serde::Serialize;

use crate::goals::{Bound, Goal};
use crate::run::Outcome;
use crate::score::{self, FalseAlarm, Kind, Missed, Row};
use crate::set::Target;

const WIDTH: usize = 120;

#[derive(Serialize)]
pub struct GroupReport {
    pub title: &'static str,
    pub note: &'static str,
    /// Data sets that are not there, and why.
    pub skipped: Vec<String>,
    pub sets: Vec<SetReport>,
    pub goals: Vec<Goal>,
}

#[derive(Serialize)]
pub struct SetReport {
    pub set: &'static str,
    pub events: usize,
    pub rejected: usize,
    /// What `targets` and `found` of the detectors count.
    pub recall_counts: &'static str,
    pub detectors: Vec<Row>,
    pub kinds: Vec<Kind>,
    pub missed: Vec<Missed>,
    pub false_alarms: Vec<FalseAlarm>,
}

impl SetReport {
    pub fn of(outcome: &Outcome) -> SetReport {
        SetReport {
            set: outcome.set.name,
            events: outcome.events,
            rejected: outcome.rejected,
            recall_counts: match outcome.set.target {
                Target::Group => "techniques",
                Target::Unit => "cases",
            },
            detectors: score::rows(outcome),
            kinds: score::kinds(outcome),
            missed: score::missed(outcome),
            false_alarms: score::false_alarms(outcome),
        }
    }
}

impl fmt::Display for GroupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}\n", self.title, "=".repeat(self.title.len()), self.note)?;
        for why in &self.skipped {
            writeln!(f, "skipped: {why}\n")?;
        }
        if self.sets.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "{:<21} {:<24} {:>7} {:>10} {:>7} {:>7} {:>10} {:>13} {:>9}",
            "data set", "detector", "events", "detections", "true", "false", "precision", "found", "recall"
        )?;
        for set in &self.sets {
            for (index, row) in set.detectors.iter().enumerate() {
                writeln!(
                    f,
                    "{:<21} {:<24} {:>7} {:>10} {:>7} {:>7} {:>10} {:>13} {:>9}",
                    if index == 0 { set.set } else { "" },
                    row.detector,
                    set.events,
                    row.detections,
                    row.true_positives,
                    row.false_positives,
                    figure(row.precision),
                    match row.targets {
                        0 => "-".to_owned(),
                        targets => format!("{} of {targets}", row.found),
                    },
                    figure(row.recall),
                )?;
            }
        }
        for set in &self.sets {
            write!(f, "\n{set}")?;
        }
        if !self.goals.is_empty() {
            writeln!(f)?;
        }
        for goal in &self.goals {
            goal.line(f)?;
        }
        writeln!(f)
    }
}

impl fmt::Display for SetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.set)?;
        for kind in &self.kinds {
            line(f, "flagged", kind.flagged, kind.units, &kind.kind)?;
        }
        if self.rejected > 0 {
            writeln!(f, "  rejected {:>5} records", self.rejected)?;
        }
        for missed in &self.missed {
            line(f, "missed", missed.missed, missed.targets, &missed.group)?;
            example(f, &missed.example)?;
        }
        for alarm in &self.false_alarms {
            line(f, "false", alarm.units, alarm.of, &alarm.rule)?;
            example(f, &alarm.example)?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, what: &str, part: usize, whole: usize, of: &str) -> fmt::Result {
    writeln!(f, "  {what:<8} {part:>5} of {whole:<5}  {of}")
}

fn example(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let text = format!("{:>28}{text}", "as ");
    writeln!(f, "{}", text.chars().take(WIDTH).collect::<String>())
}

impl Goal {
    fn line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = match self.bound {
            Bound::AtLeast(least) => format!("goal >= {least:.2}"),
            Bound::AtMost(most) => format!("goal <= {most:.2}"),
            Bound::Beside => String::new(),
        };
        let verdict = match self.is_met() {
            Some(true) => "met",
            Some(false) => "missed",
            None => "",
        };
        let (what, figure, of) = (&self.what, figure(self.figure), &self.of);
        let text = format!("{what:<44} {figure:>8}  {bound:<13} {verdict:<7} {of}");
        writeln!(f, "{}", text.trim_end())
    }
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}
