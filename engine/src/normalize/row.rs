//! One record's values, resolved from its captures before they are written into columns.

use std::net::{IpAddr, SocketAddr};

use super::json::{Kind, Span, unescape};
use super::plan::{Captures, ColumnPlan, Conditions, From, Piece};
use super::text::flatten;
use crate::model::{ColumnType, EventSchema};

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
pub const FLAGS: [&str; 5] = ["no_time", "future_time", "id_conflict", "not_an_address", "cut"];
pub const NO_TIME: u8 = 1;
pub const FUTURE_TIME: u8 = 2;
pub const ID_CONFLICT: u8 = 4;
pub const NOT_AN_ADDRESS: u8 = 8;
pub const CUT: u8 = 16;

/// The record at hand: its text and where it starts in the payload, from which captures count.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub text: &'a str,
    pub start: usize,
}

impl<'a> Record<'a> {
    pub fn get(&self, span: Span) -> &'a str {
        let range = span.range();
        self.text
            .get(range.start.saturating_sub(self.start)..range.end.saturating_sub(self.start))
            .unwrap_or_default()
    }

    fn cell(&self, span: Span) -> Cell {
        Cell::Record(span.start - self.start as u32, span.end - self.start as u32)
    }
}

/// Reused for every record.
pub struct Row {
    /// By column of the event schema.
    pub cells: Vec<Cell>,
    /// Elements of list columns, in order.
    pub items: Vec<(usize, Cell)>,
    pub scratch: String,
    pub flags: u8,
    address: usize,
    address_text: usize,
}

impl Row {
    pub fn new() -> Row {
        let schema = EventSchema::get();
        let index = |name: &str| schema.index_of(name).unwrap_or(usize::MAX);
        Row {
            cells: vec![Cell::Null; schema.columns().len()],
            items: Vec::new(),
            scratch: String::new(),
            flags: 0,
            address: index("src_endpoint_ip"),
            address_text: index("src_endpoint_name"),
        }
    }

    pub fn clear(&mut self) {
        self.cells.fill(Cell::Null);
        self.items.clear();
        self.scratch.clear();
        self.flags = 0;
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
            if !plan.when.is_empty() && !self.holds(&plan.when, record) {
                continue;
            }
            if plan.kind == ColumnType::ListUtf8 {
                self.fill_list(plan, record, captures);
                continue;
            }
            let cell = self.resolve(plan, record, captures);
            self.cells[plan.column] = self.cut(cell, record);
        }
        self.check_address(record);
    }

    /// Whether every condition's column has one of its values.
    pub fn holds(&self, conditions: &Conditions, record: Record<'_>) -> bool {
        conditions.iter().all(|(column, values)| {
            self.text(self.cells[*column], record)
                .is_some_and(|text| values.iter().any(|value| value == text))
        })
    }

    fn resolve(&mut self, plan: &ColumnPlan, record: Record<'_>, captures: &Captures) -> Cell {
        if let Some(constant) = &plan.constant {
            return self.keep(constant);
        }
        let mut cell = Cell::Null;
        for from in &plan.from {
            cell = match from {
                From::Capture(capture) => self.value(plan, captured(captures, *capture), record),
                From::Template(pieces) => self.template(pieces, record, captures),
            };
            if cell != Cell::Null {
                break;
            }
        }
        if let (Some(separator), Some(text)) = (&plan.split, self.text(cell, record)) {
            let part = text.split(&**separator).next().unwrap_or_default().trim().to_owned();
            cell = self.keep(&part);
        }
        if !plan.map.is_empty() || plan.otherwise.is_some() {
            let mapped = self
                .text(cell, record)
                .and_then(|text| plan.map.get(text).map(String::as_str).or(plan.otherwise.as_deref()));
            if let Some(mapped) = mapped {
                cell = self.keep(mapped);
            }
        }
        match &plan.missing {
            Some(missing) if cell == Cell::Null => self.keep(missing),
            _ => cell,
        }
    }

    fn value(&mut self, plan: &ColumnPlan, span: Span, record: Record<'_>) -> Cell {
        match span.kind {
            Kind::Absent => Cell::Null,
            Kind::Text | Kind::Number | Kind::True | Kind::False => record.cell(span),
            Kind::Escaped => {
                let start = self.scratch.len();
                unescape(record.get(span), &mut self.scratch);
                self.kept(start)
            }
            Kind::Container if plan.json => record.cell(span),
            Kind::Container => match &plan.text {
                Some(rules) => {
                    let start = self.scratch.len();
                    flatten(
                        record.text,
                        span.start as usize - record.start,
                        rules,
                        &mut self.scratch,
                    );
                    self.kept(start)
                }
                None => Cell::Null,
            },
        }
    }

    fn template(&mut self, pieces: &[Piece], record: Record<'_>, captures: &Captures) -> Cell {
        let start = self.scratch.len();
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.scratch.push_str(text),
                Piece::Capture(capture) => {
                    let span = captured(captures, *capture);
                    match span.kind {
                        Kind::Absent | Kind::Container => {
                            self.scratch.truncate(start);
                            return Cell::Null;
                        }
                        Kind::Escaped => unescape(record.get(span), &mut self.scratch),
                        _ => self.scratch.push_str(record.get(span)),
                    }
                }
            }
        }
        self.kept(start)
    }

    fn fill_list(&mut self, plan: &ColumnPlan, record: Record<'_>, captures: &Captures) {
        for from in &plan.from {
            let From::Capture(capture) = from else { continue };
            let begin = self.items.len();
            let single = captures.single[usize::from(*capture)];
            let each = captures
                .each
                .iter()
                .filter(|(held, _)| held == capture)
                .map(|(_, span)| *span);
            for span in each.chain((single.kind != Kind::Absent).then_some(single)) {
                let cell = self.value(plan, span, record);
                let cell = self.cut(cell, record);
                if cell != Cell::Null {
                    self.items.push((plan.column, cell));
                }
            }
            if self.items.len() > begin {
                return;
            }
        }
    }

    fn cut(&mut self, cell: Cell, record: Record<'_>) -> Cell {
        let Some(text) = self.text(cell, record).filter(|text| text.len() > FIELD_BYTES_MAX) else {
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

    /// Brings the source address into the standard text form. What is no address becomes the source's name.
    fn check_address(&mut self, record: Record<'_>) {
        let Some(&cell) = self.cells.get(self.address) else {
            return;
        };
        let Some(text) = self.text(cell, record) else { return };
        let trimmed = text.trim();
        let address = trimmed
            .parse::<IpAddr>()
            .or_else(|_| trimmed.parse::<SocketAddr>().map(|socket| socket.ip()));
        match address {
            Ok(address) => {
                let standard = address.to_canonical().to_string();
                if standard != text {
                    self.cells[self.address] = self.keep(&standard);
                }
            }
            Err(_) => {
                self.flags |= NOT_AN_ADDRESS;
                self.cells[self.address] = Cell::Null;
                if self.cells[self.address_text] == Cell::Null {
                    self.cells[self.address_text] = cell;
                }
            }
        }
    }
}

/// The capture's value; of a `[*]` path the first.
fn captured(captures: &Captures, capture: u16) -> Span {
    match captures.single[usize::from(capture)] {
        Span { kind: Kind::Absent, .. } => captures
            .each
            .iter()
            .find(|(held, _)| *held == capture)
            .map(|(_, span)| *span)
            .unwrap_or_default(),
        span => span,
    }
}
