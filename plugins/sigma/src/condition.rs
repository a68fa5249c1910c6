//! Rules as expressions over the tests of fields, and what they come to when only some fields are known.

use std::collections::HashMap;

use crate::field::{Answers, Field, fold, holds};
use crate::record::{Held, Path, Record, Wanted, text_of};
use crate::value::Place;

/// A rule's condition.
#[derive(Clone, Debug)]
pub enum Condition {
    /// A test of a field, by their numbers.
    Test(usize, usize),
    /// One field compared with another of the same record.
    Reference(Box<Reference>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    /// So many of them.
    AtLeast(u64, Vec<Condition>),
    Not(Box<Condition>),
}

/// `field` compared with what `other` holds.
#[derive(Clone, Debug)]
pub struct Reference {
    pub field: Path,
    pub other: Path,
    pub place: Place,
    pub cased: bool,
}

impl Reference {
    fn holds(&self, record: &Record) -> bool {
        let (held, other) = (record.get(&self.field), record.get(&self.other));
        if let (Held::One(a), Held::One(b)) = (&held, &other)
            && self.place == Place::Whole
            && text_of(a).is_none()
        {
            return a == b;
        }
        let Some(wanted) = other.text() else { return false };
        let wanted = if self.cased { wanted } else { fold(&wanted).into_owned() };
        let mut holds = false;
        held.scalars(&mut |value| {
            let text = text_of(value).unwrap_or_default();
            let text = if self.cased { text } else { fold(&text).into_owned() };
            holds |= match self.place {
                Place::Whole => text == wanted,
                Place::Anywhere => text.contains(&wanted),
                Place::Start => text.starts_with(&wanted),
                Place::End => text.ends_with(&wanted),
            };
        });
        holds
    }
}

/// What is known of an event.
pub trait Known {
    /// Whether a test of a field holds; `None` where the field is not known.
    fn test(&mut self, field: usize, test: usize) -> Option<bool>;
    fn reference(&mut self, reference: &Reference) -> Option<bool>;
}

impl Condition {
    /// Whether it holds; `None` where what is known does not decide it.
    pub fn decide(&self, known: &mut impl Known) -> Option<bool> {
        match self {
            Self::Test(field, test) => known.test(*field, *test),
            Self::Reference(reference) => known.reference(reference),
            Self::Not(inner) => inner.decide(known).map(|holds| !holds),
            Self::All(parts) => {
                let mut all = Some(true);
                for part in parts {
                    match part.decide(known) {
                        Some(true) => {}
                        Some(false) => return Some(false),
                        None => all = None,
                    }
                }
                all
            }
            Self::Any(parts) => {
                let mut any = Some(false);
                for part in parts {
                    match part.decide(known) {
                        Some(false) => {}
                        Some(true) => return Some(true),
                        None => any = None,
                    }
                }
                any
            }
            Self::AtLeast(count, parts) => {
                let (mut sure, mut open) = (0, 0);
                for part in parts {
                    match part.decide(known) {
                        Some(holds) => sure += u64::from(holds),
                        None => open += 1,
                    }
                }
                match (sure >= *count, sure + open >= *count) {
                    (true, _) => Some(true),
                    (false, false) => Some(false),
                    (false, true) => None,
                }
            }
        }
    }

    /// Adds what it looks at in a record.
    pub fn wants(&self, fields: &[Field], wanted: &mut Wanted) {
        match self {
            Self::Test(field, _) => match &fields[*field].path {
                Some(path) => wanted.add(path),
                None => wanted.all(),
            },
            Self::Reference(reference) => {
                wanted.add(&reference.field);
                wanted.add(&reference.other);
            }
            Self::Not(inner) => inner.wants(fields, wanted),
            Self::All(parts) | Self::Any(parts) | Self::AtLeast(_, parts) => {
                parts.iter().for_each(|part| part.wants(fields, wanted));
            }
        }
    }

    /// The fields that it looks at, by number.
    pub fn fields(&self, found: &mut Vec<usize>) {
        match self {
            Self::Test(field, _) => {
                if !found.contains(field) {
                    found.push(*field);
                }
            }
            Self::Reference(_) => {}
            Self::Not(inner) => inner.fields(found),
            Self::All(parts) | Self::Any(parts) | Self::AtLeast(_, parts) => {
                parts.iter().for_each(|part| part.fields(found));
            }
        }
    }
}

/// What columns tell: the answers of the fields that have one.
pub struct Columns<'a>(pub &'a [(usize, Option<&'a Answers>)]);

impl Known for Columns<'_> {
    fn test(&mut self, field: usize, test: usize) -> Option<bool> {
        let (_, answers) = self.0.iter().find(|(number, _)| *number == field)?;
        answers.map(|answers| holds(answers, test))
    }

    fn reference(&mut self, _reference: &Reference) -> Option<bool> {
        None
    }
}

/// A whole record; each field is asked once.
pub struct Whole<'a> {
    pub record: Record,
    fields: &'a [Field],
    asked: HashMap<usize, Answers>,
}

impl<'a> Whole<'a> {
    pub fn new(raw: &str, wanted: &Wanted, fields: &'a [Field]) -> Self {
        Self {
            record: Record::new(raw, wanted),
            fields,
            asked: HashMap::new(),
        }
    }
}

impl Known for Whole<'_> {
    fn test(&mut self, field: usize, test: usize) -> Option<bool> {
        let answers = self
            .asked
            .entry(field)
            .or_insert_with(|| self.fields[field].answers(&self.record));
        Some(holds(answers, test))
    }

    fn reference(&mut self, reference: &Reference) -> Option<bool> {
        Some(reference.holds(&self.record))
    }
}
