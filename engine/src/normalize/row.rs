//! One record's values, resolved from its captures before they are written into columns.

use super::captures::Captures;
use super::json::{Kind, Span};
use super::plan::{ColumnPlan, Conditions, From, PARTS, Piece};
use super::text::flatten;
use super::{address, time};
use crate::model::{ColumnType, EventSchema, Micros};

/// Longest value of a text column, in bytes; a longer one is cut at a character's edge and the event flagged `cut`. `raw` keeps all.
pub const FIELD_BYTES_MAX: usize = 256 * 1024;

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Cell {
    #[default]
    Null,
    /// In the record's own bytes, from its start.
    Record(u32, u32),
    /// In `Row::scratch`.
    Scratch(u32, u32),
}

/// What the intake noticed of an event; bits of `Row::flags`, names in the column `flags`.
pub const FLAGS: [&str; 6] = [
    "no_time",
    "future_time",
    "id_conflict",
    "not_an_address",
    "cut",
    "ambiguous",
];
pub const NO_TIME: u8 = 1;
pub const FUTURE_TIME: u8 = 2;
pub const ID_CONFLICT: u8 = 4;
pub const NOT_AN_ADDRESS: u8 = 8;
pub const CUT: u8 = 16;
pub const AMBIGUOUS: u8 = 32;

/// The record at hand: its text, where it starts in the payload, from which captures count, and the text of documents in its
/// strings.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub text: &'a str,
    pub start: usize,
    pub inner: &'a str,
}

impl<'a> Record<'a> {
    pub fn get(&self, span: Span) -> &'a str {
        let (text, start) = self.home(span);
        let range = span.range();
        text.get(range.start.saturating_sub(start)..range.end.saturating_sub(start))
            .unwrap_or_default()
    }

    /// The text that the span counts in and where that starts.
    fn home(&self, span: Span) -> (&'a str, usize) {
        match span.inner {
            true => (self.inner, 0),
            false => (self.text, self.start),
        }
    }
}

impl Cell {
    fn bytes(self) -> usize {
        match self {
            Cell::Null => 0,
            Cell::Record(start, end) | Cell::Scratch(start, end) => end.saturating_sub(start) as usize,
        }
    }
}

/// Reused for every record.
pub struct Row {
    /// By column of the event schema; written by `set` alone.
    pub cells: Vec<Cell>,
    /// Columns that were set, so that nobody goes over those that were not.
    pub filled: Vec<usize>,
    /// Elements of list columns, in order.
    pub items: Vec<(usize, Cell)>,
    /// Of timestamp columns other than `time`.
    pub times: Vec<(usize, Micros)>,
    pub scratch: String,
    pub flags: u8,
    /// Columns of addresses and of what stands there when it is none.
    addresses: [(usize, usize); 2],
    unmapped: usize,
    /// Columns of text that every event has.
    required: Vec<usize>,
}

impl Row {
    pub fn new() -> Row {
        let schema = EventSchema::get();
        let index = |name: &str| schema.index_of(name).unwrap_or(usize::MAX);
        Row {
            // Behind the event's columns stand the parts of a detection.
            cells: vec![Cell::Null; schema.columns().len() + PARTS],
            filled: Vec::new(),
            items: Vec::new(),
            times: Vec::new(),
            scratch: String::new(),
            flags: 0,
            addresses: ["src_endpoint", "dst_endpoint"]
                .map(|end| (index(&format!("{end}_ip")), index(&format!("{end}_name")))),
            unmapped: index("unmapped"),
            required: schema
                .columns()
                .iter()
                .enumerate()
                .filter(|(_, column)| column.required && column.kind == ColumnType::Utf8)
                .map(|(index, _)| index)
                .collect(),
        }
    }

    pub fn clear(&mut self) {
        for column in self.filled.drain(..) {
            self.cells[column] = Cell::Null;
        }
        self.items.clear();
        self.times.clear();
        self.scratch.clear();
        self.flags = 0;
    }

    /// Fills a column, or empties it again.
    pub fn set(&mut self, column: usize, cell: Cell) {
        if cell != Cell::Null {
            self.filled.push(column);
        }
        self.cells[column] = cell;
    }

    /// A column that every event has and this one lacks: what the mapping takes it from may be an object where a text belongs.
    pub fn lacks(&self) -> Option<&'static str> {
        let lacking = self.required.iter().find(|column| self.cells[**column] == Cell::Null);
        lacking.map(|column| EventSchema::get().columns()[*column].name.as_str())
    }

    pub fn text<'a>(&'a self, cell: Cell, record: Record<'a>) -> Option<&'a str> {
        match cell {
            Cell::Null => None,
            Cell::Record(start, end) => record.text.get(start as usize..end as usize),
            Cell::Scratch(start, end) => self.scratch.get(start as usize..end as usize),
        }
    }

    /// Puts `text` into the scratch.
    pub fn keep(&mut self, text: &str) -> Cell {
        let start = self.scratch.len();
        self.scratch.push_str(text);
        self.kept(start)
    }

    /// Fills a column with a text that does not stand in the record.
    pub fn put(&mut self, column: usize, text: &str) {
        let cell = self.keep(text);
        self.set(column, cell);
    }

    /// What was written to the scratch since `start`.
    fn kept(&self, start: usize) -> Cell {
        if self.scratch.len() == start {
            Cell::Null
        } else {
            Cell::Scratch(start as u32, self.scratch.len() as u32)
        }
    }

    /// Resolves every column of a mapping.
    pub fn fill(&mut self, columns: &[ColumnPlan], record: Record<'_>, captures: &Captures) {
        for plan in columns {
            let has_default = plan.constant.is_some() || plan.missing.is_some();
            if !has_default && !captures.may_have(&plan.captures) {
                continue;
            }
            if !plan.when.is_empty() && !self.holds(&plan.when, record) {
                continue;
            }
            match plan.kind {
                ColumnType::ListUtf8 => self.fill_list(plan, record, captures),
                ColumnType::Timestamp => {
                    let time = self.time(&plan.from, &plan.time, record, captures);
                    self.times.extend(time.map(|time| (plan.column, time)));
                }
                _ => {
                    let cell = self.resolve(plan, record, captures);
                    let cell = self.cut(cell, record);
                    self.set(plan.column, cell);
                }
            }
        }
        for (address, name) in self.addresses {
            self.check_address(address, name, record);
        }
    }

    /// The first of the values that one of the formats fits.
    pub fn time(
        &mut self,
        from: &[From],
        formats: &[time::TimeFormat],
        record: Record<'_>,
        captures: &Captures,
    ) -> Option<Micros> {
        from.iter().find_map(|from| {
            let cell = self.source(from, None, record, captures);
            time::parse(self.text(cell, record)?, formats)
        })
    }

    /// The first of the values that is there.
    pub fn first(&mut self, from: &[From], record: Record<'_>, captures: &Captures) -> Cell {
        let mut found = from.iter().map(|from| self.source(from, None, record, captures));
        found.find(|cell| *cell != Cell::Null).unwrap_or_default()
    }

    /// Fills `unmapped` with the members that have a value.
    pub fn fill_unmapped(&mut self, members: &[(Box<str>, u16)], record: Record<'_>, captures: &Captures) {
        let start = self.scratch.len();
        for (name, capture) in members {
            let span = captures.first(*capture);
            let value = record.get(span);
            if span.kind == Kind::Absent {
                continue;
            }
            self.scratch.push(if self.scratch.len() == start { '{' } else { ',' });
            push_json(name, &mut self.scratch);
            self.scratch.push(':');
            match span.kind {
                Kind::Text => push_json(value, &mut self.scratch),
                Kind::Escaped | Kind::Doubled => {
                    let mut clear = String::new();
                    span.kind.clear_into(value, &mut clear);
                    push_json(&clear, &mut self.scratch);
                }
                _ => self.scratch.push_str(value),
            }
        }
        if self.scratch.len() > start {
            self.scratch.push('}');
            // Half a JSON text would be none: what is too long is left to `raw`.
            match self.scratch.len() - start > FIELD_BYTES_MAX {
                true => self.flags |= CUT,
                false => self.set(self.unmapped, self.kept(start)),
            }
        }
    }

    /// Whether every condition's column has one of its values.
    pub fn holds(&self, conditions: &Conditions, record: Record<'_>) -> bool {
        conditions.iter().all(|(column, values)| {
            self.text(self.cells[*column], record)
                .is_some_and(|text| values.iter().any(|value| value.matches(text.as_bytes())))
        })
    }

    fn resolve(&mut self, plan: &ColumnPlan, record: Record<'_>, captures: &Captures) -> Cell {
        if let Some(constant) = &plan.constant {
            return self.keep(constant);
        }
        let mut found = plan
            .from
            .iter()
            .map(|from| self.source(from, Some(plan), record, captures));
        let cell = found.find(|cell| *cell != Cell::Null).unwrap_or_default();
        let cell = self.refine(plan, cell, record);
        match &plan.missing {
            Some(missing) if cell == Cell::Null => self.keep(missing),
            _ => cell,
        }
    }

    /// What the mapping makes of a value.
    fn refine(&mut self, plan: &ColumnPlan, cell: Cell, record: Record<'_>) -> Cell {
        let Some(text) = self.text(cell, record) else {
            return cell;
        };
        let lower = plan.lower.then(|| text.to_lowercase());
        let mut text = lower.as_deref().unwrap_or(text);
        let whole = text.len();
        if let Some(before) = &plan.after {
            let Some((_, behind)) = text.split_once(&**before) else {
                return Cell::Null;
            };
            text = behind;
        }
        if let Some(separator) = &plan.split {
            text = text.split(&**separator).next().unwrap_or_default().trim();
        }
        let mapped = plan.map.get(text).or(plan.otherwise.as_deref());
        match mapped {
            Some(mapped) => self.keep(mapped),
            None if text.len() == whole && lower.is_none() => cell,
            None => {
                let text = text.to_owned();
                self.keep(&text)
            }
        }
    }

    fn source(&mut self, from: &From, plan: Option<&ColumnPlan>, record: Record<'_>, captures: &Captures) -> Cell {
        match from {
            From::Capture(capture) => self.value(plan, captures.first(*capture), record),
            From::Template(pieces) => self.template(pieces, record, captures),
        }
    }

    fn value(&mut self, plan: Option<&ColumnPlan>, span: Span, record: Record<'_>) -> Cell {
        let start = self.scratch.len();
        match span.kind {
            Kind::Absent => Cell::Null,
            Kind::Container if !plan.is_some_and(|plan| plan.json) => {
                let Some(rules) = plan.and_then(|plan| plan.text.as_ref()) else {
                    return Cell::Null;
                };
                let (text, home) = record.home(span);
                flatten(
                    text,
                    (span.start as usize).saturating_sub(home),
                    rules,
                    &mut self.scratch,
                );
                self.kept(start)
            }
            Kind::Escaped | Kind::Doubled => {
                span.kind.clear_into(record.get(span), &mut self.scratch);
                self.kept(start)
            }
            _ if span.inner => self.keep(record.get(span)),
            _ => {
                let from = (span.start as usize).saturating_sub(record.start);
                Cell::Record(from as u32, (from + span.range().len()) as u32)
            }
        }
    }

    fn template(&mut self, pieces: &[Piece], record: Record<'_>, captures: &Captures) -> Cell {
        let start = self.scratch.len();
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.scratch.push_str(text),
                Piece::Capture(capture) => {
                    let span = captures.first(*capture);
                    if matches!(span.kind, Kind::Absent | Kind::Container) {
                        self.scratch.truncate(start);
                        return Cell::Null;
                    }
                    span.kind.clear_into(record.get(span), &mut self.scratch);
                }
            }
        }
        self.kept(start)
    }

    fn fill_list(&mut self, plan: &ColumnPlan, record: Record<'_>, captures: &Captures) {
        let begin = self.items.len();
        for from in &plan.from {
            let From::Capture(capture) = from else {
                let cell = self.source(from, Some(plan), record, captures);
                self.push_item(plan, cell, record);
                if self.items.len() > begin {
                    return;
                }
                continue;
            };
            for span in captures.all(*capture) {
                let cell = self.value(Some(plan), span, record);
                self.push_item(plan, cell, record);
            }
            if self.items.len() > begin {
                return;
            }
        }
    }

    fn push_item(&mut self, plan: &ColumnPlan, cell: Cell, record: Record<'_>) {
        let cell = self.refine(plan, cell, record);
        let cell = self.cut(cell, record);
        if cell != Cell::Null {
            self.items.push((plan.column, cell));
        }
    }

    fn cut(&mut self, cell: Cell, record: Record<'_>) -> Cell {
        if cell.bytes() <= FIELD_BYTES_MAX {
            return cell;
        }
        let Some(text) = self.text(cell, record) else {
            return cell;
        };
        let mut end = FIELD_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.flags |= CUT;
        match cell {
            Cell::Null => Cell::Null,
            Cell::Record(start, _) => Cell::Record(start, start + end as u32),
            Cell::Scratch(start, _) => Cell::Scratch(start, start + end as u32),
        }
    }

    /// Brings an address into the standard text form. What is no address becomes the end's name.
    fn check_address(&mut self, column: usize, name: usize, record: Record<'_>) {
        let Some(&cell) = self.cells.get(column) else {
            return;
        };
        let Some(text) = self.text(cell, record) else { return };
        match address::standard(text) {
            Some(standard) if *standard == *text => {}
            Some(standard) => {
                let standard = standard.into_owned();
                let cell = self.keep(&standard);
                self.set(column, cell);
            }
            None => {
                self.flags |= NOT_AN_ADDRESS;
                self.set(column, Cell::Null);
                if self.cells[name] == Cell::Null {
                    self.set(name, cell);
                }
            }
        }
    }
}

/// Appends `text` as a JSON string.
fn push_json(text: &str, out: &mut String) {
    if !text.bytes().any(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        out.extend(["\"", text, "\""]);
        return;
    }
    // Serializing a string cannot fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}
