//! Checks what a mapping file says and compiles its parts; errors name file, line and column.

use super::captures::CaptureSet;
use super::lines::{Layout, Template};
use super::mapping::{ColumnFile, DetectionFile, LayoutFile, Mapping, MappingError, MappingFile, RelationFile, When};
use super::path::{Step, parse_path};
use super::pattern::{Pattern, ValueMap};
use super::plan::{ColumnPlan, Conditions, DetectionPlan, From, PARTS, Part, Piece, RelationPlan};
use super::recognise::{Condition, Is, Recogniser};
use super::trie::Trie;
use crate::model::{ColumnType, EventSchema, LAYERS, RELATION_KINDS, Severity};
use toml::Spanned;

/// Columns that the engine fills itself.
const ENGINE_COLUMNS: [&str; 10] = [
    "event_id",
    "ingested_time",
    "tenant",
    "source",
    "format",
    "position",
    "flags",
    "raw_hash",
    "raw",
    "unmapped",
];

pub struct Compiler<'a> {
    file: &'a str,
    text: &'a str,
    split: Option<&'a str>,
    pub trie: Trie,
    /// Columns that conditions and relations may look at.
    pub filled: Vec<usize>,
}

impl<'a> Compiler<'a> {
    pub fn new(mapping: &'a Mapping) -> Compiler<'a> {
        Compiler {
            file: &mapping.file,
            text: &mapping.text,
            split: mapping.content.split.as_ref().map(|split| split.get_ref().as_str()),
            trie: Trie::default(),
            filled: Vec::new(),
        }
    }

    pub fn error(&self, at: usize, message: impl Into<String>) -> MappingError {
        MappingError::at(self.file, self.text, at, message)
    }

    /// The place of `what` at or after `at`: spans end at tables, the eye wants the word.
    fn place(&self, what: &str, at: usize) -> usize {
        self.text
            .get(at..)
            .and_then(|rest| rest.find(what))
            .map_or(at, |found| at + found)
    }

    pub fn path(&self, path: &str, at: usize) -> Result<Vec<Step>, MappingError> {
        let parsed = match (path.strip_prefix('.'), &self.split) {
            (Some(below), Some(split)) => parse_path(split).and_then(|mut steps| {
                steps.extend(parse_path(below)?);
                Ok(steps)
            }),
            _ => parse_path(path),
        };
        parsed.map_err(|message| self.error(self.place(path, at), message))
    }

    pub fn capture(&mut self, path: &str, at: usize) -> Result<u16, MappingError> {
        let steps = self.path(path, at)?;
        Ok(self.trie.add(steps))
    }

    pub fn layer(&self, layer: &Spanned<String>) -> Result<Box<str>, MappingError> {
        self.one_of(layer.get_ref(), layer.span().start, &LAYERS, "layer")?;
        Ok(layer.get_ref().as_str().into())
    }

    fn one_of(&self, value: &str, at: usize, valid: &[&str], what: &str) -> Result<(), MappingError> {
        if valid.contains(&value) {
            return Ok(());
        }
        let message = format!("`{value}` is no {what}; valid are {}", valid.join(", "));
        Err(self.error(self.place(value, at), message))
    }

    pub fn layout(&self, layout: &LayoutFile, at: usize) -> Result<Layout, MappingError> {
        let wrong = |message: String| self.error(at, message);
        let boxed = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
        let plain = layout.free.is_empty() && layout.after.is_none() && layout.none.is_empty();
        match (layout.json, &layout.csv, &layout.template) {
            (true, None, None) if plain => Ok(Layout::Json),
            (false, Some(names), None) if layout.free.is_empty() => Ok(Layout::Csv {
                after: layout.after.as_deref().unwrap_or_default().into(),
                names: boxed(names),
                none: boxed(&layout.none),
            }),
            (false, None, Some(templates)) if layout.after.is_none() => {
                let read = |text: &String| Template::parse(text, &layout.free).map_err(wrong);
                let templates: Vec<Template> = templates.as_slice().iter().map(read).collect::<Result<_, _>>()?;
                let named = |free: &&String| templates.iter().any(|template| template.names().any(|name| name == *free));
                if let Some(unknown) = layout.free.iter().find(|free| !named(free)) {
                    return Err(wrong(format!("`free` names `{unknown}`, which no template has")));
                }
                Ok(Layout::Templates {
                    templates,
                    none: boxed(&layout.none),
                })
            }
            _ => Err(wrong(
                "a layout is one of: json = true; csv = [names], with `after` and `none`; template = [texts], with `free` and `none`".to_owned(),
            )),
        }
    }

    /// The paths whose strings hold documents.
    pub fn inside(&self, mapping: &MappingFile) -> Result<Vec<(Vec<Step>, Layout)>, MappingError> {
        let read = |(path, layout): (&String, &Spanned<LayoutFile>)| {
            let at = layout.span().start;
            let steps = self.path(path, at)?;
            Ok((steps, self.layout(layout.get_ref(), at)?))
        };
        mapping.inside.iter().map(read).collect()
    }

    pub fn recogniser_paths(&self, mapping: &MappingFile) -> Result<Vec<Vec<Step>>, MappingError> {
        let mut paths = Vec::new();
        for alternative in &mapping.recognise {
            for path in alternative.present.iter().chain(&alternative.absent) {
                paths.push(self.path(path.get_ref(), path.span().start)?);
            }
            for (path, values) in &alternative.equals {
                paths.push(self.path(path, values.span().start)?);
            }
        }
        Ok(paths)
    }

    pub fn recogniser(&mut self, mapping: &MappingFile, trie: Option<&mut Trie>) -> Result<Recogniser, MappingError> {
        let mut wanted = Vec::new();
        for alternative in &mapping.recognise {
            let mut conditions = Vec::new();
            for path in &alternative.present {
                conditions.push((path.get_ref(), path.span().start, Is::Present));
            }
            for path in &alternative.absent {
                conditions.push((path.get_ref(), path.span().start, Is::Absent));
            }
            for (path, values) in &alternative.equals {
                let at = values.span().start;
                conditions.push((path, at, Is::OneOf(patterns(values.get_ref()))));
            }
            if conditions.iter().all(|(_, _, is)| matches!(is, Is::Absent)) {
                return Err(self.error(
                    self.place("[[recognise]]", 0),
                    "this `recognise` names nothing that a record must have",
                ));
            }
            let with_steps = conditions
                .into_iter()
                .map(|(path, at, is)| Ok((self.path(path, at)?, path.clone(), is)))
                .collect::<Result<Vec<_>, MappingError>>()?;
            wanted.push(with_steps);
        }
        let by_template = mapping
            .line
            .as_ref()
            .is_some_and(|line| line.get_ref().template.is_some());
        if wanted.is_empty() && !by_template {
            return Err(self.error(0, "no [[recognise]]: every record would be of this format"));
        }
        let trie = trie.unwrap_or(&mut self.trie);
        let mut compiled = |(steps, path, is)| Condition {
            capture: trie.add(steps),
            path,
            is,
        };
        let alternatives = wanted
            .into_iter()
            .map(|conditions| conditions.into_iter().map(&mut compiled).collect());
        Ok(Recogniser(alternatives.collect()))
    }

    fn index_of(&self, name: &str, at: usize) -> Result<usize, MappingError> {
        EventSchema::get().index_of(name).ok_or_else(|| {
            self.error(
                self.place(name, at),
                format!("`{name}` is no column of schemas/events.toml"),
            )
        })
    }

    pub fn event_column(&mut self, name: &str, column: &ColumnFile, at: usize) -> Result<ColumnPlan, MappingError> {
        let Some(index) = EventSchema::get().index_of(name) else {
            return Err(self.error(at, format!("`{name}` is no column of schemas/events.toml")));
        };
        if ENGINE_COLUMNS.contains(&name) {
            return Err(self.error(at, format!("column `{name}` is filled by the engine")));
        }
        let plan = self.column(name, column, at, index, EventSchema::get().columns()[index].kind)?;
        if name == "layer" {
            for value in plan.named_values() {
                self.one_of(value, at, &LAYERS, "layer")?;
            }
        }
        Ok(plan)
    }

    fn column(
        &mut self,
        name: &str,
        column: &ColumnFile,
        at: usize,
        index: usize,
        kind: ColumnType,
    ) -> Result<ColumnPlan, MappingError> {
        if column.from.is_none() && column.constant.is_none() {
            return Err(self.error(at, format!("column `{name}` has neither `from` nor `const`")));
        }
        if column.time.is_empty() == (kind == ColumnType::Timestamp) {
            let message = format!("`time` names the formats of a timestamp column's text; `{name}` is {kind:?}");
            return Err(self.error(at, message));
        }
        let texts = matches!(kind, ColumnType::Utf8 | ColumnType::ListUtf8);
        if !texts && (column.json || column.text.is_some() || !column.map.is_empty() || column.lower) {
            return Err(self.error(
                at,
                format!("`json`, `text`, `map` and `lower` are for text columns, `{name}` is {kind:?}"),
            ));
        }
        let empty = |text: &Option<String>| text.as_deref() == Some("");
        if empty(&column.after) || empty(&column.split) {
            return Err(self.error(at, format!("column `{name}`: `after` and `split` need a text")));
        }
        let from = column.from.as_ref().map_or(&[] as &[String], |from| from.as_slice());
        let boxed = |text: &Option<String>| text.as_deref().map(Into::into);
        let from = self.sources(from, at)?;
        let mut captures = CaptureSet::default();
        from.iter()
            .flat_map(From::captures)
            .for_each(|capture| captures.insert(capture));
        Ok(ColumnPlan {
            column: index,
            kind,
            from,
            captures,
            constant: boxed(&column.constant),
            after: boxed(&column.after),
            split: boxed(&column.split),
            lower: column.lower,
            map: ValueMap::new(&column.map),
            otherwise: boxed(&column.otherwise),
            missing: boxed(&column.missing),
            json: column.json,
            text: column.text.clone(),
            time: column.time.clone(),
            when: self.columns_of(&column.when, at)?,
        })
    }

    pub fn sources(&mut self, sources: &[String], at: usize) -> Result<Vec<From>, MappingError> {
        sources.iter().map(|source| self.source(source, at)).collect()
    }

    fn source(&mut self, source: &str, at: usize) -> Result<From, MappingError> {
        if !source.contains('{') {
            return Ok(From::Capture(self.capture(source, at)?));
        }
        let mut pieces = Vec::new();
        let mut rest = source;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((path, behind)) = after.split_once('}') else {
                return Err(self.error(self.place(source, at), format!("`{source}`: a brace is open")));
            };
            pieces.push(Piece::Text(before.into()));
            pieces.push(Piece::Capture(self.capture(path, at)?));
            rest = behind;
        }
        pieces.push(Piece::Text(rest.into()));
        Ok(From::Template(pieces))
    }

    fn columns_of(&self, when: &When, at: usize) -> Result<Conditions, MappingError> {
        when.iter()
            .map(|(name, values)| Ok((self.index_of(name, at)?, patterns(values))))
            .collect()
    }

    pub fn conditions(&self, when: &When, at: usize, user: &str) -> Result<Conditions, MappingError> {
        let conditions = self.columns_of(when, at)?;
        match conditions.iter().zip(when.keys()).find(|((column, _), _)| !self.filled.contains(column)) {
            Some((_, name)) => Err(self.error(
                self.place(name, at),
                format!("`{user}` depends on `{name}`, which this mapping does not fill, or only under a condition of its own"),
            )),
            None => Ok(conditions),
        }
    }

    pub fn relation(&self, relation: &RelationFile, at: usize) -> Result<RelationPlan, MappingError> {
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
        self.one_of(&relation.kind, at, &RELATION_KINDS, "kind of relation")?;
        Ok(RelationPlan {
            from: end(&relation.from)?,
            kind: relation.kind.as_str().into(),
            to: end(&relation.to)?,
            when: self.conditions(&relation.when, at, &relation.kind)?,
        })
    }

    /// Compiles the parts of a detection into columns behind those of the schema.
    pub fn detection(
        &mut self,
        detection: &DetectionFile,
        at: usize,
        columns: &mut Vec<ColumnPlan>,
    ) -> Result<DetectionPlan, MappingError> {
        let parts = [
            ("rule", Part::Rule, Some(&detection.rule)),
            ("title", Part::Title, Some(&detection.title)),
            ("message", Part::Message, detection.message.as_ref()),
            ("severity", Part::Severity, Some(&detection.severity)),
            ("techniques", Part::Techniques, detection.techniques.as_ref()),
        ];
        for (name, part, column) in parts {
            let Some(column) = column else { continue };
            let kind = match part {
                Part::Techniques => ColumnType::ListUtf8,
                _ => ColumnType::Utf8,
            };
            let plan = self.column(name, column, at, part.index(), kind)?;
            if name == "severity" {
                let mut valid: Vec<&str> = Severity::ALL.iter().map(|severity| severity.text()).collect();
                valid.push(NO_DETECTION);
                for value in plan.named_values() {
                    self.one_of(value, at, &valid, "severity")?;
                }
            }
            columns.push(plan);
        }
        let kinds: Vec<&str> = EventSchema::get().entity_kinds().into_iter().collect();
        let mut entities = Vec::new();
        for entity in &detection.entities {
            self.one_of(&entity.kind, at, &kinds, "kind of entity")?;
            let index = EventSchema::get().columns().len() + PARTS + entities.len();
            columns.push(self.column(&entity.kind, &entity.value, at, index, ColumnType::ListUtf8)?);
            entities.push((entity.kind.as_str().into(), entity.role, index));
        }
        Ok(DetectionPlan {
            when: self.conditions(&detection.when, at, "detection")?,
            entities,
        })
    }
}

fn patterns(values: &[String]) -> Vec<Pattern> {
    values.iter().map(|value| Pattern::new(value)).collect()
}

/// A `severity` that says: this record is an event and no finding.
pub const NO_DETECTION: &str = "none";
