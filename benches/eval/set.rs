//! What a data set is here: records with the labels that the set itself gives them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

/// What a detection of a unit means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// It should be found.
    Attack,
    /// It should stay quiet.
    Quiet,
    /// Neither right nor wrong: only counted.
    Apart,
}

/// What is labelled: one event, one prompt, or one case of several events.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Its name in the data set.
    pub id: String,
    pub label: Label,
    /// The set's own word for the label.
    pub kind: String,
    /// Technique, rule or source that it belongs to.
    pub group: String,
    /// What it is, for a person: a call or the text.
    pub says: String,
}

/// One log record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Index into the set's units.
    pub unit: usize,
    /// Records of different tenants have nothing to do with one another.
    pub tenant: usize,
    pub text: String,
}

/// What recall counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A group is found when one of its attack units is: a technique is many calls.
    Group,
    /// Every attack unit is to be found.
    Unit,
}

pub struct Set {
    pub name: &'static str,
    /// A format of the engine, or `auto`.
    pub format: &'static str,
    pub target: Target,
    /// What the set says of its owner, as configuration of detectors by id.
    pub config: BTreeMap<String, Value>,
    pub units: Vec<Unit>,
    pub records: Vec<Record>,
}

impl Set {
    pub fn new(name: &'static str, format: &'static str, target: Target) -> Set {
        Set {
            name,
            format,
            target,
            config: BTreeMap::new(),
            units: Vec::new(),
            records: Vec::new(),
        }
    }

    /// Adds a unit whose only record stands alone: no other unit's record is of its tenant.
    pub fn add_alone(&mut self, unit: Unit, text: String) {
        let index = self.units.len();
        self.units.push(unit);
        self.records.push(Record {
            unit: index,
            tenant: index,
            text,
        });
    }
}

/// The objects of an NDJSON file; the error says which line is none.
pub fn lines(text: &str) -> Result<Vec<Value>> {
    let line = |(index, line)| serde_json::from_str(line).with_context(|| format!("line {}", index + 1));
    text.lines().enumerate().map(line).collect()
}

/// A text member of a labelled object.
pub fn text_of<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value[name].as_str().with_context(|| format!("no text `{name}`"))
}
