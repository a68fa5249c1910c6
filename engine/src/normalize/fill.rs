//! How often events say what every investigation asks for: when, who, what, from where, and whether it worked.

use std::collections::BTreeMap;
use std::fmt;

use arrow::array::{Array, AsArray};

use crate::model::{EntityRole, EventBatch, EventSchema};

const QUESTIONS: [&str; 5] = ["time", "actor", "action", "source address", "outcome"];

/// Counts per format.
#[derive(Debug, Default)]
pub struct Fills(BTreeMap<String, Fill>);

#[derive(Debug, Default)]
struct Fill {
    events: u64,
    filled: [u64; QUESTIONS.len()],
}

impl Fills {
    /// Counts what the events say. A time that stands in for one that is missing is none, and neither is the outcome `Unknown`.
    pub fn add(&mut self, events: &EventBatch) {
        let columns = EventSchema::get().columns().iter();
        let actors = columns.filter(|column| column.role == Some(EntityRole::Actor));
        let actors: Vec<_> = actors.map(|column| events.column(&column.name)).collect();
        let (formats, flags) = (events.text("format"), events.column("flags").as_list::<i32>());
        let operation = events.text("api_operation");
        let places = [events.text("src_endpoint_ip"), events.text("src_endpoint_name")];
        let status = events.text("status");
        for row in 0..events.rows() {
            let has_time = flags.is_null(row)
                || !flags
                    .value(row)
                    .as_string_view()
                    .iter()
                    .flatten()
                    .any(|flag| flag == "no_time");
            let filled = [
                has_time,
                actors.iter().any(|column| column.is_valid(row)),
                operation.is_valid(row),
                places.iter().any(|column| column.is_valid(row)),
                status.is_valid(row) && status.value(row) != "Unknown",
            ];
            let format = formats.value(row);
            if !self.0.contains_key(format) {
                self.0.insert(format.to_owned(), Fill::default());
            }
            let Some(fill) = self.0.get_mut(format) else { continue };
            fill.events += 1;
            for (count, is_filled) in fill.filled.iter_mut().zip(filled) {
                *count += u64::from(is_filled);
            }
        }
    }
}

/// A table for people: `filled/all` per format and question.
impl fmt::Display for Fills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:22}", "format")?;
        for question in QUESTIONS {
            write!(f, " {question:>17}")?;
        }
        writeln!(f)?;
        for (format, fill) in &self.0 {
            write!(f, "{format:22}")?;
            for count in fill.filled {
                write!(f, " {:>17}", format!("{count}/{}", fill.events))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
