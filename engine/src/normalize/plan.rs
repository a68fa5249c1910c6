//! Mappings compiled: what is looked for in a record, and how what was found fills the columns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use memchr::memmem::Finder;

use super::captures::CaptureSet;
use super::compile::Compiler;
use super::lines::Layout;
use super::mapping::{Mapping, MappingError, TextFile};
use super::path::Step;
use super::pattern::{Pattern, ValueMap};
use super::recognise::{Condition, Is, Recogniser};
use super::time::TimeFormat;
use super::trie::Trie;
use crate::model::time::SECOND;
use crate::model::{ColumnType, EntityRole, EventSchema, Micros};

/// One source of a column's value.
pub enum From {
    Capture(u16),
    Template(Vec<Piece>),
}

pub enum Piece {
    Text(Box<str>),
    Capture(u16),
}

impl From {
    pub fn captures(&self) -> impl Iterator<Item = u16> + '_ {
        let (single, pieces) = match self {
            From::Capture(capture) => (Some(*capture), &[][..]),
            From::Template(pieces) => (None, &pieces[..]),
        };
        let of_pieces = pieces.iter().filter_map(|piece| match piece {
            Piece::Capture(capture) => Some(*capture),
            Piece::Text(_) => None,
        });
        single.into_iter().chain(of_pieces)
    }
}

/// How one column is filled from the captures.
pub struct ColumnPlan {
    /// Index in the event schema, or behind it for what a detection is made of.
    pub column: usize,
    pub kind: ColumnType,
    pub from: Vec<From>,
    /// What `from` names: without any of it there is no value.
    pub captures: CaptureSet,
    pub constant: Option<Box<str>>,
    pub after: Option<Box<str>>,
    pub split: Option<Box<str>>,
    pub lower: bool,
    pub map: ValueMap,
    pub otherwise: Option<Box<str>>,
    pub missing: Option<Box<str>>,
    pub json: bool,
    pub text: Option<TextFile>,
    pub time: Vec<TimeFormat>,
    pub when: Conditions,
}

impl ColumnPlan {
    /// Every text that the mapping itself can put into the column.
    pub fn named_values(&self) -> impl Iterator<Item = &str> {
        let single = [&self.constant, &self.otherwise, &self.missing];
        self.map
            .values()
            .chain(single.into_iter().flatten().map(|text| &**text))
    }
}

/// Column index → values, one of which it must have.
pub type Conditions = Vec<(usize, Vec<Pattern>)>;

pub struct RelationPlan {
    pub from: usize,
    pub kind: Arc<str>,
    pub to: usize,
    pub when: Conditions,
}

/// Places behind the event schema's columns of what a detection is made of.
pub enum Part {
    Rule,
    Title,
    Message,
    Severity,
    Techniques,
}

/// Number of the parts above.
pub const PARTS: usize = 5;

impl Part {
    pub fn index(self) -> usize {
        EventSchema::get().columns().len() + self as usize
    }
}

/// The detection that a record of this format states.
pub struct DetectionPlan {
    pub when: Conditions,
    /// Entities beside those of the columns: kind, role and where the values are.
    pub entities: Vec<(Box<str>, EntityRole, usize)>,
}

/// A trie that also knows what every JSON format is known by: one walk tells whether the expected format is the right one.
pub struct Known {
    pub trie: Trie,
    /// The format's number and what it is known by, in the order in which they are tried.
    pub recognisers: Vec<(usize, Recogniser)>,
}

/// A compiled mapping.
pub struct Plan {
    pub format: Box<str>,
    pub title: Box<str>,
    /// Of records that no column `layer` says another of.
    pub layer: Box<str>,
    /// All that its events can have.
    pub layers: BTreeSet<Box<str>>,
    pub lateness: Micros,
    pub lateness_reason: Box<str>,
    pub unwrap: Option<Box<str>>,
    /// Finds the same in quotes.
    pub wrapper: Option<Finder<'static>>,
    /// Records are no JSON but have this layout.
    pub line: Option<Layout>,
    /// A record may make several events.
    pub parts: bool,
    pub trie: Trie,
    pub recogniser: Recogniser,
    pub id: Vec<From>,
    pub time: Vec<From>,
    pub time_formats: Vec<TimeFormat>,
    /// Those without conditions first: conditions look at columns that are already filled.
    pub columns: Vec<ColumnPlan>,
    /// Names and captures of the members of the column `unmapped`.
    pub unmapped: Vec<(Box<str>, u16)>,
    pub relations: Vec<RelationPlan>,
    pub detection: Option<DetectionPlan>,
}

impl Plan {
    pub fn compile(source: &Mapping) -> Result<Plan, MappingError> {
        let mapping = &source.content;
        let mut compiler = Compiler::new(source);
        let layer = compiler.layer(&mapping.layer)?;
        let line = match &mapping.line {
            Some(line) => Some(compiler.layout(line.get_ref(), line.span().start)?),
            None => None,
        };
        let recogniser = compiler.recogniser(mapping, None)?;
        let id = match &mapping.id {
            Some(id) => compiler.sources(id.get_ref().as_slice(), id.span().start)?,
            None => Vec::new(),
        };
        let mut time = (Vec::new(), Vec::new());
        let mut columns = Vec::new();
        for (name, spanned) in &mapping.columns {
            let (column, at) = (spanned.get_ref(), spanned.span().start);
            if name == "time" {
                let Some(from) = column.from.as_ref().filter(|_| !column.time.is_empty()) else {
                    return Err(compiler.error(at, "`time` needs `from` and `time`, the formats of its text"));
                };
                time = (compiler.sources(from.as_slice(), at)?, column.time.clone());
                continue;
            }
            columns.push(compiler.event_column(name, column, at)?);
        }
        if !mapping.columns.contains_key("class") {
            return Err(compiler.error(0, "column `class` is not filled"));
        }
        compiler.filled = columns
            .iter()
            .filter(|plan| plan.when.is_empty())
            .map(|plan| plan.column)
            .collect();
        for (name, spanned) in &mapping.columns {
            compiler.conditions(&spanned.get_ref().when, spanned.span().start, name)?;
        }
        compiler.filled = columns.iter().map(|plan| plan.column).collect();
        let mut layers = BTreeSet::from([layer.clone()]);
        if let Some(plan) = columns
            .iter()
            .find(|plan| Some(plan.column) == EventSchema::get().index_of("layer"))
        {
            layers.extend(plan.named_values().map(Into::into));
        }
        let detection = match &mapping.detection {
            Some(detection) => Some(compiler.detection(detection.get_ref(), detection.span().start, &mut columns)?),
            None => None,
        };
        columns.sort_by_key(|plan| !plan.when.is_empty());
        let mut relations = Vec::new();
        for spanned in &mapping.relations {
            relations.push(compiler.relation(spanned.get_ref(), spanned.span().start)?);
        }
        let mut unmapped = Vec::new();
        for (name, path) in &mapping.unmapped {
            let at = path.span().start;
            unmapped.push((name.as_str().into(), compiler.capture(path.get_ref(), at)?));
        }
        let mut trie = std::mem::take(&mut compiler.trie);
        for (path, layout) in compiler.inside(mapping)? {
            trie.look_inside(&path, layout);
        }
        if let Some(split) = &mapping.split {
            let path = compiler.path(split.get_ref(), split.span().start)?;
            if path.last() != Some(&Step::Each) || path.iter().any(|step| !matches!(step, Step::Key(_) | Step::Each)) {
                let message = format!("`{}`: valid are keys and [*], with [*] at the end", split.get_ref());
                return Err(compiler.error(split.span().start, message));
            }
            trie.part_at(&path);
        }
        let wrapper = mapping.unwrap.as_ref().map(|key| format!("\"{key}\""));
        Ok(Plan {
            format: mapping.format.as_str().into(),
            title: mapping.title.as_str().into(),
            layer,
            layers,
            lateness: Micros::from(mapping.lateness.seconds) * SECOND,
            lateness_reason: mapping.lateness.reason.as_str().into(),
            unwrap: mapping.unwrap.as_deref().map(Into::into),
            wrapper: wrapper.map(|key| Finder::new(key.as_bytes()).into_owned()),
            line,
            parts: mapping.split.is_some(),
            trie,
            recogniser,
            id,
            time: time.0,
            time_formats: time.1,
            columns,
            unmapped,
            relations,
            detection,
        })
    }

    /// Of a format of comma-separated values: within how many of them a record shows that it is one.
    pub fn row_fields(&self) -> Option<usize> {
        let Some(Layout::Csv { after, names, .. }) = &self.line else {
            return None;
        };
        let place = |condition: &Condition| match condition.is {
            Is::Absent => None,
            _ => names.iter().position(|name| **name == *condition.path),
        };
        let last = |conditions: &Vec<Condition>| conditions.iter().filter_map(place).max();
        let shown = self.recogniser.0.iter().filter_map(last).min();
        after.is_empty().then(|| shown.map_or(names.len(), |last| last + 1))
    }
}

/// What the JSON formats are known by, added to `trie`.
pub fn known(mappings: &[Mapping], mut trie: Trie) -> Result<Known, MappingError> {
    let mut recognisers = Vec::new();
    for (number, mapping) in mappings.iter().enumerate() {
        if mapping.content.line.is_some() {
            continue;
        }
        let mut compiler = Compiler::new(mapping);
        let recogniser = compiler.recogniser(&mapping.content, Some(&mut trie))?;
        recognisers.push((number, recogniser));
        let wanted: BTreeMap<Vec<Step>, Layout> = compiler.inside(&mapping.content)?.into_iter().collect();
        let paths = compiler.recogniser_paths(&mapping.content)?;
        for (path, layout) in wanted {
            if paths.iter().any(|held| held.starts_with(&path)) {
                trie.look_inside(&path, layout);
            }
        }
    }
    Ok(Known { trie, recognisers })
}
