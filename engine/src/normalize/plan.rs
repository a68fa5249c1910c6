//! Mappings compiled: one trie of all paths, walked once per record; what it captures fills the columns.

use std::collections::BTreeMap;

use super::json::{Cursor, Fault, Kind, Span, unescape};
use super::mapping::{ColumnFile, Mapping, MappingError, MappingFile, Step, TextFile, When, parse_path};
use super::time::TimeFormat;
use crate::model::time::SECOND;
use crate::model::{ColumnType, EventSchema, Micros, RELATION_KINDS};

/// Captures of one record: by capture number, and the elements of `[*]` paths in order.
#[derive(Default)]
pub struct Captures {
    pub single: Vec<Span>,
    pub each: Vec<(u16, Span)>,
}

/// Values taken from `[*]` paths of one record; what comes after is passed over. Bounds what one record can put into list columns.
pub const EACH_MAX: usize = 1024;

#[derive(Default)]
struct Node {
    /// Sorted by key.
    keys: Vec<(Box<str>, usize)>,
    indexes: Vec<(u32, usize)>,
    each: Option<usize>,
    capture: Option<u16>,
    /// The capture stands below a `[*]`.
    many: bool,
}

/// A trie of paths; the value at each path's end is captured.
#[derive(Default)]
pub struct Trie {
    nodes: Vec<Node>,
    captures: BTreeMap<Vec<Step>, u16>,
}

impl Trie {
    pub fn new() -> Trie {
        Trie {
            nodes: vec![Node::default()],
            captures: BTreeMap::new(),
        }
    }

    /// Adds a path; the same path always gives the same capture.
    pub fn add(&mut self, path: Vec<Step>) -> u16 {
        if let Some(&capture) = self.captures.get(&path) {
            return capture;
        }
        let capture = self.captures.len() as u16;
        let mut at = 0;
        for step in &path {
            let next = self.nodes.len();
            let node = &mut self.nodes[at];
            at = match step {
                Step::Key(key) => match node.keys.binary_search_by(|(held, _)| (**held).cmp(key)) {
                    Ok(found) => node.keys[found].1,
                    Err(place) => {
                        node.keys.insert(place, (key.as_str().into(), next));
                        next
                    }
                },
                Step::Index(index) => match node.indexes.iter().find(|(held, _)| held == index) {
                    Some((_, found)) => *found,
                    None => {
                        node.indexes.push((*index, next));
                        next
                    }
                },
                Step::Each => *node.each.get_or_insert(next),
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        self.nodes[at].capture = Some(capture);
        self.nodes[at].many = path.contains(&Step::Each);
        self.captures.insert(path, capture);
        capture
    }

    /// Reads the value at the cursor, filling `captures`; the cursor ends behind it.
    pub fn walk(&self, bytes: &[u8], cursor: &mut Cursor<'_>, captures: &mut Captures) -> Result<(), Fault> {
        captures.single.clear();
        captures.single.resize(self.captures.len(), Span::default());
        captures.each.clear();
        self.value(0, bytes, cursor, captures)
    }

    // Recursion goes no deeper than the longest path.
    fn value(&self, node: usize, bytes: &[u8], cursor: &mut Cursor<'_>, captures: &mut Captures) -> Result<(), Fault> {
        let node = &self.nodes[node];
        let first = cursor.peek();
        let start = cursor.at;
        let span = match first {
            Some(b'{') if !node.keys.is_empty() => {
                self.object(node, bytes, cursor, captures)?;
                Span::new(Kind::Container, start, cursor.at)
            }
            Some(b'[') if node.each.is_some() || !node.indexes.is_empty() => {
                self.array(node, bytes, cursor, captures)?;
                Span::new(Kind::Container, start, cursor.at)
            }
            _ => cursor.skip_value()?,
        };
        let empty = span.start == span.end;
        if let Some(capture) = node.capture.filter(|_| span.kind != Kind::Absent && !empty) {
            if !node.many {
                captures.single[usize::from(capture)] = span;
            } else if captures.each.len() < EACH_MAX {
                captures.each.push((capture, span));
            }
        }
        Ok(())
    }

    fn object(&self, node: &Node, bytes: &[u8], cursor: &mut Cursor<'_>, captures: &mut Captures) -> Result<(), Fault> {
        cursor.open()?;
        let mut first = true;
        while let Some(key) = cursor.next_key(first)? {
            first = false;
            match node.child(bytes.get(key.range()).unwrap_or_default(), key.kind) {
                Some(child) => self.value(child, bytes, cursor, captures)?,
                None => drop(cursor.skip_value()?),
            }
        }
        Ok(())
    }

    fn array(&self, node: &Node, bytes: &[u8], cursor: &mut Cursor<'_>, captures: &mut Captures) -> Result<(), Fault> {
        cursor.open()?;
        let mut index = 0u32;
        while cursor.next_element(index == 0)? {
            let named = node
                .indexes
                .iter()
                .find(|(held, _)| *held == index)
                .map(|(_, child)| *child);
            match named.or(node.each) {
                Some(child) => self.value(child, bytes, cursor, captures)?,
                None => drop(cursor.skip_value()?),
            }
            index = index.saturating_add(1);
        }
        Ok(())
    }
}

impl Node {
    fn child(&self, key: &[u8], kind: Kind) -> Option<usize> {
        let find = |key: &[u8]| {
            self.keys
                .binary_search_by(|(held, _)| held.as_bytes().cmp(key))
                .ok()
                .map(|found| self.keys[found].1)
        };
        match kind {
            // A key may be written with escapes, also to hide.
            Kind::Escaped => {
                let mut clear = String::new();
                unescape(std::str::from_utf8(key).ok()?, &mut clear);
                find(clear.as_bytes())
            }
            _ => find(key),
        }
    }
}

/// One source of a column's value.
pub enum From {
    Capture(u16),
    Template(Vec<Piece>),
}

pub enum Piece {
    Text(Box<str>),
    Capture(u16),
}

/// How one column is filled from the captures.
pub struct ColumnPlan {
    /// Index in the event schema.
    pub column: usize,
    pub kind: ColumnType,
    pub from: Vec<From>,
    pub constant: Option<Box<str>>,
    pub map: BTreeMap<String, String>,
    pub otherwise: Option<Box<str>>,
    pub missing: Option<Box<str>>,
    pub json: bool,
    pub text: Option<TextFile>,
    pub split: Option<Box<str>>,
    pub when: Conditions,
}

/// Column index → values, one of which it must have.
pub type Conditions = Vec<(usize, Vec<String>)>;

pub struct RelationPlan {
    pub from: usize,
    pub kind: Box<str>,
    pub to: usize,
    pub when: Conditions,
}

/// A record is of the format when every capture has a value, one of the listed where the list is not empty.
pub struct Recogniser(pub Vec<(u16, String, Vec<String>)>);

/// A compiled mapping.
pub struct Plan {
    pub format: Box<str>,
    pub title: Box<str>,
    pub layer: Box<str>,
    pub lateness: Micros,
    pub lateness_reason: Box<str>,
    pub unwrap: Option<Box<str>>,
    pub trie: Trie,
    pub recogniser: Recogniser,
    pub id: Vec<u16>,
    pub time: Vec<u16>,
    pub time_formats: Vec<TimeFormat>,
    /// Those without conditions first: conditions look at columns that are already filled.
    pub columns: Vec<ColumnPlan>,
    pub relations: Vec<RelationPlan>,
}

/// Columns that the engine fills itself.
const ENGINE_COLUMNS: [&str; 9] = [
    "event_id",
    "ingested_time",
    "tenant",
    "layer",
    "source",
    "format",
    "position",
    "flags",
    "raw_hash",
];

impl Plan {
    pub fn compile(source: &Mapping) -> Result<Plan, MappingError> {
        let mapping = &source.content;
        let mut compiler = Compiler {
            file: &source.file,
            text: &source.text,
            trie: Trie::new(),
            filled: Vec::new(),
        };
        let recogniser = compiler.recogniser(mapping, None)?;
        let id = match &mapping.id {
            Some(paths) => compiler.paths(paths.as_slice(), 0)?,
            None => Vec::new(),
        };
        let mut time = (Vec::new(), Vec::new());
        let mut columns = Vec::new();
        for (name, spanned) in &mapping.columns {
            let at = spanned.span().start;
            let column = spanned.get_ref();
            if name == "time" {
                let Some(from) = column.from.as_ref().filter(|_| !column.time.is_empty()) else {
                    return Err(compiler.error(at, "`time` needs `from` and `time`, the formats of its text"));
                };
                time = (compiler.paths(from.as_slice(), at)?, column.time.clone());
                continue;
            }
            columns.push(compiler.column(name, column, at)?);
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
        columns.sort_by_key(|plan| !plan.when.is_empty());
        compiler.filled = columns.iter().map(|plan| plan.column).collect();
        let mut relations = Vec::new();
        for spanned in &mapping.relations {
            relations.push(compiler.relation(spanned.get_ref(), spanned.span().start)?);
        }
        Ok(Plan {
            format: mapping.format.as_str().into(),
            title: mapping.title.as_str().into(),
            layer: mapping.layer.as_str().into(),
            lateness: Micros::from(mapping.lateness.seconds) * SECOND,
            lateness_reason: mapping.lateness.reason.as_str().into(),
            unwrap: mapping.unwrap.as_deref().map(Into::into),
            trie: compiler.trie,
            recogniser,
            id,
            time: time.0,
            time_formats: time.1,
            columns,
            relations,
        })
    }
}

/// One trie that holds what every mapping is known by, for sources whose format is `auto`.
pub fn recognisers(mappings: &[Mapping]) -> Result<(Trie, Vec<Recogniser>), MappingError> {
    let mut trie = Trie::new();
    let mut all = Vec::new();
    for mapping in mappings {
        let mut compiler = Compiler {
            file: &mapping.file,
            text: &mapping.text,
            trie: Trie::new(),
            filled: Vec::new(),
        };
        all.push(compiler.recogniser(&mapping.content, Some(&mut trie))?);
    }
    Ok((trie, all))
}

struct Compiler<'a> {
    file: &'a str,
    text: &'a str,
    trie: Trie,
    /// Columns that conditions and relations may look at.
    filled: Vec<usize>,
}

impl Compiler<'_> {
    fn error(&self, at: usize, message: impl Into<String>) -> MappingError {
        MappingError::at(self.file, self.text, at, message)
    }

    /// The place of `what` at or after `at`: spans end at tables, the eye wants the word.
    fn place(&self, what: &str, at: usize) -> usize {
        self.text
            .get(at..)
            .and_then(|rest| rest.find(what))
            .map_or(at, |found| at + found)
    }

    fn path(&self, path: &str, at: usize) -> Result<Vec<Step>, MappingError> {
        parse_path(path).map_err(|message| self.error(self.place(path, at), message))
    }

    fn paths(&mut self, paths: &[String], at: usize) -> Result<Vec<u16>, MappingError> {
        paths
            .iter()
            .map(|path| self.path(path, at).map(|steps| self.trie.add(steps)))
            .collect()
    }

    fn recogniser(&mut self, mapping: &MappingFile, trie: Option<&mut Trie>) -> Result<Recogniser, MappingError> {
        let mut wanted = Vec::new();
        for path in &mapping.recognise.present {
            wanted.push((path.get_ref(), path.span().start, Vec::new()));
        }
        for (path, values) in &mapping.recognise.equals {
            wanted.push((path, values.span().start, values.get_ref().clone()));
        }
        if wanted.is_empty() {
            return Err(self.error(0, "`recognise` names nothing: every record would be of this format"));
        }
        let mut steps = Vec::new();
        for (path, at, values) in wanted {
            steps.push((self.path(path, at)?, path.clone(), values));
        }
        let trie = trie.unwrap_or(&mut self.trie);
        Ok(Recogniser(
            steps
                .into_iter()
                .map(|(path, name, values)| (trie.add(path), name, values))
                .collect(),
        ))
    }

    fn index_of(&self, name: &str, at: usize) -> Result<usize, MappingError> {
        EventSchema::get().index_of(name).ok_or_else(|| {
            self.error(
                self.place(name, at),
                format!("`{name}` is no column of schemas/events.toml"),
            )
        })
    }

    fn column(&mut self, name: &str, column: &ColumnFile, at: usize) -> Result<ColumnPlan, MappingError> {
        let index = EventSchema::get()
            .index_of(name)
            .ok_or_else(|| self.error(at, format!("`{name}` is no column of schemas/events.toml")))?;
        if ENGINE_COLUMNS.contains(&name) || name == "raw" {
            return Err(self.error(at, format!("column `{name}` is filled by the engine")));
        }
        if column.from.is_none() && column.constant.is_none() {
            return Err(self.error(at, format!("column `{name}` has neither `from` nor `const`")));
        }
        if !column.time.is_empty() {
            return Err(self.error(
                at,
                format!("`time` formats belong to the column `time`, not to `{name}`"),
            ));
        }
        let kind = EventSchema::get().columns()[index].kind;
        if kind != ColumnType::Utf8 && (column.json || column.text.is_some() || !column.map.is_empty()) {
            return Err(self.error(
                at,
                format!("`json`, `text` and `map` are for text columns, `{name}` is {kind:?}"),
            ));
        }
        let mut from = Vec::new();
        for source in column.from.iter().flat_map(|from| from.as_slice()) {
            from.push(self.source(source, at)?);
        }
        Ok(ColumnPlan {
            column: index,
            kind,
            from,
            constant: column.constant.as_deref().map(Into::into),
            map: column.map.clone(),
            otherwise: column.otherwise.as_deref().map(Into::into),
            missing: column.missing.as_deref().map(Into::into),
            json: column.json,
            text: column.text.clone(),
            split: column.split.as_deref().map(Into::into),
            when: self.columns_of(&column.when, at)?,
        })
    }

    fn source(&mut self, source: &str, at: usize) -> Result<From, MappingError> {
        if !source.contains('{') {
            return Ok(From::Capture(self.trie_add(source, at)?));
        }
        let mut pieces = Vec::new();
        let mut rest = source;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((path, behind)) = after.split_once('}') else {
                return Err(self.error(self.place(source, at), format!("`{source}`: a brace is open")));
            };
            pieces.push(Piece::Text(before.into()));
            pieces.push(Piece::Capture(self.trie_add(path, at)?));
            rest = behind;
        }
        pieces.push(Piece::Text(rest.into()));
        Ok(From::Template(pieces))
    }

    fn trie_add(&mut self, path: &str, at: usize) -> Result<u16, MappingError> {
        let steps = self.path(path, at)?;
        Ok(self.trie.add(steps))
    }

    fn columns_of(&self, when: &When, at: usize) -> Result<Conditions, MappingError> {
        when.iter()
            .map(|(name, values)| Ok((self.index_of(name, at)?, values.clone())))
            .collect()
    }

    fn conditions(&self, when: &When, at: usize, user: &str) -> Result<Conditions, MappingError> {
        let conditions = self.columns_of(when, at)?;
        match conditions.iter().zip(when.keys()).find(|((column, _), _)| !self.filled.contains(column)) {
            Some((_, name)) => Err(self.error(
                self.place(name, at),
                format!("`{user}` depends on `{name}`, which this mapping does not fill, or only under a condition of its own"),
            )),
            None => Ok(conditions),
        }
    }

    fn relation(&self, relation: &super::mapping::RelationFile, at: usize) -> Result<RelationPlan, MappingError> {
        let end = |name: &str| {
            let index = self.index_of(name, at)?;
            if EventSchema::get().columns()[index].entity.is_none() || !self.filled.contains(&index) {
                let message = format!(
                    "relation `{}`: column `{name}` names no entity or is not filled here",
                    relation.kind
                );
                return Err(self.error(self.place(name, at), message));
            }
            Ok(index)
        };
        if !RELATION_KINDS.contains(&&*relation.kind) {
            let message = format!(
                "`{}` is no kind of relation; valid are {}",
                relation.kind,
                RELATION_KINDS.join(", ")
            );
            return Err(self.error(self.place(&relation.kind, at), message));
        }
        Ok(RelationPlan {
            from: end(&relation.from)?,
            kind: relation.kind.as_str().into(),
            to: end(&relation.to)?,
            when: self.conditions(&relation.when, at, &relation.kind)?,
        })
    }
}
