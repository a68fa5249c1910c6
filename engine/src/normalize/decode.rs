//! Payloads → records → rows.

use std::fmt::Write as _;

use super::columns::{Blocks, Columns, Place, Stamp};
use super::dedupe::{Dedupe, Seen};
use super::json::{Cursor, Fault, Kind, bracketed_end};
use super::plan::{Captures, Plan, Recogniser, Trie};
use super::relate::Facts;
use super::row::{Cell, FUTURE_TIME, ID_CONFLICT, NO_TIME, Record, Row};
use super::{
    FUTURE_MAX, Normalized, Normalizer, PAYLOAD_BYTES_MAX, RECORD_BYTES_MAX, REJECTED_BYTES_MAX,
    REJECTED_PER_PAYLOAD_MAX, Source, time,
};
use crate::model::id::content_hash;
use crate::model::{EventSchema, Id, Micros, Payload, Position, RawBatch, Rejected};

pub fn decode(normalizer: &mut Normalizer, raw: &RawBatch, ingested: Micros) -> Normalized {
    let unknown = Source {
        name: raw.source.clone(),
        tenant: "".into(),
        plan: None,
        lateness: 0,
    };
    let source = normalizer.sources.get(&*raw.source);
    let (blocks, places) = Blocks::of(&raw.payloads);
    let mut decoder = Decoder {
        source: source.unwrap_or(&unknown),
        plans: &normalizer.plans,
        auto: &normalizer.auto,
        dedupe: &mut normalizer.dedupe,
        own: OwnColumns::find(),
        captures: Captures::default(),
        row: Row::new(),
        position_text: String::new(),
        ingested,
        out: Out {
            columns: Columns::new(),
            facts: Facts::default(),
            rejected: Vec::new(),
            records: 0,
            duplicates: 0,
            newest: None,
        },
        blocks: &blocks,
        found: 0,
        refused: 0,
        in_array: false,
    };
    let mut bytes = 0u64;
    for (payload, place) in raw.payloads.iter().zip(places) {
        bytes += payload.bytes.len() as u64;
        decoder.found = 0;
        decoder.refused = 0;
        if source.is_none() {
            decoder.reject(
                &payload.position,
                &payload.bytes,
                format!("source `{}` is not configured", raw.source),
            );
        } else {
            decoder.payload(payload, place);
        }
    }
    let (tenant, plans) = (decoder.source.tenant.clone(), decoder.plans);
    let out = decoder.out;
    let events = out.columns.finish();
    debug_assert_eq!(
        out.records,
        events.rows() as u64 + out.rejected.len() as u64 + out.duplicates
    );
    Normalized {
        events,
        relations: out.facts.into_relations(plans, &tenant),
        rejected: out.rejected,
        records: out.records,
        duplicates: out.duplicates,
        bytes,
        newest_time: out.newest,
    }
}

struct Out {
    columns: Columns,
    facts: Facts,
    rejected: Vec<Rejected>,
    records: u64,
    duplicates: u64,
    newest: Option<Micros>,
}

/// Places of the columns that the engine fills.
struct OwnColumns {
    event_id: usize,
    tenant: usize,
    layer: usize,
    source: usize,
    format: usize,
    position: usize,
    raw: usize,
}

impl OwnColumns {
    fn find() -> OwnColumns {
        let index = |name: &str| EventSchema::get().index_of(name).unwrap_or(usize::MAX);
        OwnColumns {
            event_id: index("event_id"),
            tenant: index("tenant"),
            layer: index("layer"),
            source: index("source"),
            format: index("format"),
            position: index("position"),
            raw: index("raw"),
        }
    }
}

struct Decoder<'n> {
    source: &'n Source,
    plans: &'n [Plan],
    auto: &'n (Trie, Vec<Recogniser>),
    dedupe: &'n mut Dedupe,
    own: OwnColumns,
    captures: Captures,
    row: Row,
    position_text: String,
    ingested: Micros,
    out: Out,
    blocks: &'n Blocks,
    /// Records found in the payload so far, and those of them that were rejected.
    found: u32,
    refused: u32,
    /// The record at hand is an array's element: numbered even when it is the first.
    in_array: bool,
}

/// Why a complete JSON value is no event.
enum Refusal {
    TooLong(usize),
    NotUtf8(usize),
    NotThisFormat(String),
    NoFormat,
}

impl Refusal {
    fn reason(&self) -> String {
        match self {
            Refusal::TooLong(bytes) => format!("record of {bytes} bytes is longer than {RECORD_BYTES_MAX}"),
            Refusal::NotUtf8(at) => format!("not UTF-8 at byte {at}"),
            Refusal::NotThisFormat(what) => what.clone(),
            Refusal::NoFormat => "no mapping recognises the record".to_owned(),
        }
    }
}

impl Decoder<'_> {
    fn payload(&mut self, payload: &Payload, place: Place) {
        let bytes: &[u8] = &payload.bytes;
        if payload.truncated {
            let reason = "longer than its source's limit, or cut off: only the beginning is there";
            return self.reject(&payload.position, bytes, reason.to_owned());
        }
        if bytes.len() > PAYLOAD_BYTES_MAX {
            let reason = format!("payload of {} bytes is longer than {PAYLOAD_BYTES_MAX}", bytes.len());
            return self.reject(&payload.position, bytes, reason);
        }
        let mut at = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        loop {
            at = skip_space(bytes, at);
            if at >= bytes.len() {
                break;
            }
            if self.refused >= REJECTED_PER_PAYLOAD_MAX {
                let reason = format!("the payload's rest after {REJECTED_PER_PAYLOAD_MAX} rejected records");
                return self.reject(&payload.position, &bytes[at..], reason);
            }
            at = self.document(payload, place, at);
        }
        self.in_array = false;
        // A blank line of a file is no record; a message without a record is something its sender meant.
        if self.found == 0 && !matches!(payload.position, Position::File { .. }) {
            let reason = if bytes.is_empty() {
                "empty payload (a tombstone)"
            } else {
                "the payload holds no record"
            };
            self.reject(&payload.position, bytes, reason.to_owned());
        }
    }

    /// One top-level value; returns where the next may start.
    fn document(&mut self, payload: &Payload, place: Place, at: usize) -> usize {
        let bytes: &[u8] = &payload.bytes;
        self.in_array = false;
        match bytes[at] {
            b'[' => self.elements(payload, place, at + 1),
            b'{' => match self.wrapped(bytes, at) {
                Some(inside) => {
                    let end = self.elements(payload, place, inside);
                    self.rest_of_wrapper(payload, end)
                }
                None => match self.record(payload, place, at) {
                    Ok(end) => end,
                    Err(fault) => self.reject_line(payload, at, fault.reason(at)),
                },
            },
            _ => self.reject_line(payload, at, "neither a JSON object nor an array".to_owned()),
        }
    }

    fn reject_line(&mut self, payload: &Payload, at: usize, reason: String) -> usize {
        let end = next_document(&payload.bytes, at);
        self.reject(&payload.position, &payload.bytes[at..end], reason);
        end
    }

    /// Whether the document wraps its records in an array under the mapping's key: the array's inside, if so. The key is looked
    /// for up to the first member that is an object or an array, so that a plain record costs next to nothing.
    fn wrapped(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let plans = match self.source.plan {
            Some(plan) => &self.plans[plan..=plan],
            None => self.plans,
        };
        if plans.iter().all(|plan| plan.unwrap.is_none()) {
            return None;
        }
        let mut cursor = Cursor::new(bytes, at);
        cursor.open().ok()?;
        let mut first = true;
        while let Some(key) = cursor.next_key(first).ok()? {
            first = false;
            match cursor.peek()? {
                b'[' => {
                    let key = bytes.get(key.range())?;
                    let named = plans
                        .iter()
                        .any(|plan| plan.unwrap.as_deref().is_some_and(|name| name.as_bytes() == key));
                    return named.then_some(cursor.at + 1);
                }
                b'{' => return None,
                _ => drop(cursor.scalar().ok()?),
            }
        }
        None
    }

    /// What follows the array in a wrapping document.
    fn rest_of_wrapper(&mut self, payload: &Payload, at: usize) -> usize {
        let bytes: &[u8] = &payload.bytes;
        if skip_space(bytes, at) >= bytes.len() || self.refused >= REJECTED_PER_PAYLOAD_MAX {
            return at;
        }
        let mut cursor = Cursor::new(bytes, at);
        loop {
            match cursor
                .next_key(false)
                .and_then(|key| key.map(|_| cursor.skip_value()).transpose())
            {
                Ok(Some(_)) => {}
                Ok(None) => return cursor.at,
                Err(fault) => return self.reject_line(payload, at, format!("after the records: {}", fault.reason(at))),
            }
        }
    }

    /// The elements of an array whose inside starts at `at`; returns where the array ends. A broken element loses itself only, as
    /// long as its brackets show where it ends.
    fn elements(&mut self, payload: &Payload, place: Place, mut at: usize) -> usize {
        let bytes: &[u8] = &payload.bytes;
        let mut first = true;
        self.in_array = true;
        loop {
            at = skip_space(bytes, at);
            match bytes.get(at) {
                Some(b']') => return at + 1,
                Some(b',') if !first => at = skip_space(bytes, at + 1),
                Some(_) if first => {}
                Some(_) => return self.reject_line(payload, at, "a comma is missing between records".to_owned()),
                None => {}
            }
            first = false;
            if at >= bytes.len() {
                self.reject(&payload.position, b"", "the array of records is cut off".to_owned());
                return at;
            }
            if self.refused >= REJECTED_PER_PAYLOAD_MAX {
                return at;
            }
            let read = match bytes[at] {
                b'{' => self.record(payload, place, at),
                _ => {
                    let mut cursor = Cursor::new(bytes, at);
                    cursor.skip_value().map(|_| {
                        self.reject(
                            &payload.position,
                            &bytes[at..cursor.at],
                            "an element is no JSON object".to_owned(),
                        );
                        cursor.at
                    })
                }
            };
            match read {
                Ok(end) => at = end,
                Err(fault) => {
                    let end = bracketed_end(bytes, at).filter(|end| {
                        matches!(bytes[at], b'{' | b'[')
                            && matches!(bytes.get(skip_space(bytes, *end)), Some(b',' | b']'))
                    });
                    match end {
                        Some(end) => {
                            self.reject(&payload.position, &bytes[at..end], fault.reason(at));
                            at = end;
                        }
                        None => return self.reject_line(payload, at, fault.reason(at)),
                    }
                }
            }
        }
    }

    /// The record that starts at `at`; returns its end. A fault leaves the record to the caller, who knows how much of it is lost.
    fn record(&mut self, payload: &Payload, place: Place, at: usize) -> Result<usize, Fault> {
        let bytes: &[u8] = &payload.bytes;
        let mut captures = std::mem::take(&mut self.captures);
        let chosen = match self.source.plan {
            Some(plan) => Ok(Some(plan)),
            None => self.recognise(bytes, at, &mut captures),
        };
        let read = chosen.and_then(|chosen| {
            let mut cursor = Cursor::new(bytes, at);
            match chosen {
                Some(plan) => self.plans[plan].trie.walk(bytes, &mut cursor, &mut captures)?,
                None => drop(cursor.skip_value()?),
            }
            let refusal = match chosen {
                Some(plan) => self.event(plan, payload, place, at, cursor.at, &captures).err(),
                None => Some(Refusal::NoFormat),
            };
            if let Some(refusal) = refusal {
                self.reject(&payload.position, &bytes[at..cursor.at], refusal.reason());
            }
            Ok(cursor.at)
        });
        self.captures = captures;
        read
    }

    fn recognise(&self, bytes: &[u8], at: usize, captures: &mut Captures) -> Result<Option<usize>, Fault> {
        let (trie, recognisers) = self.auto;
        trie.walk(bytes, &mut Cursor::new(bytes, at), captures)?;
        Ok(recognisers
            .iter()
            .position(|recogniser| missing(recogniser, bytes, captures).is_none()))
    }

    fn event(
        &mut self,
        plan_index: usize,
        payload: &Payload,
        place: Place,
        start: usize,
        end: usize,
        captures: &Captures,
    ) -> Result<(), Refusal> {
        let plan = &self.plans[plan_index];
        let bytes = &payload.bytes[start..end];
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(Refusal::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| Refusal::NotUtf8(error.valid_up_to()))?;
        let record = Record { text, start };
        if let Some(path) = missing(&plan.recogniser, &payload.bytes, captures) {
            let reason = format!("not {}: `{path}` is missing or has another value", plan.format);
            return Err(Refusal::NotThisFormat(reason));
        }
        self.row.clear();
        let time = self.time(plan, record, captures);
        let raw_hash = content_hash(bytes);
        self.write_position(&payload.position);
        let own_id = plan
            .id
            .iter()
            .map(|id| captures.single[usize::from(*id)])
            .find(|span| span.kind != Kind::Absent);
        let names = [self.source.tenant.as_bytes(), self.source.name.as_bytes()];
        let id = match own_id {
            Some(span) => Id::of(&[b"event", names[0], names[1], record.get(span).as_bytes()]),
            None => Id::of(&[b"event", names[0], names[1], b"position", self.position_text.as_bytes()]),
        };
        if own_id.is_some() {
            match self.dedupe.check(id, raw_hash, time) {
                Seen::New => {}
                Seen::Conflict => self.row.flags |= ID_CONFLICT,
                Seen::Duplicate => {
                    self.count();
                    self.out.duplicates += 1;
                    return Ok(());
                }
            }
        }
        self.row.fill(&plan.columns, record, captures);
        self.fill_own(plan, id, bytes.len());
        self.count();
        if self.row.flags & (NO_TIME | FUTURE_TIME) == 0 {
            self.out.newest = self.out.newest.max(Some(time));
        }
        let stamp = Stamp {
            time,
            ingested: self.ingested,
            raw_hash,
        };
        self.out.columns.push(&self.row, record, self.blocks, place, &stamp);
        self.relate(plan_index, record, time, id);
        Ok(())
    }

    fn time(&mut self, plan: &Plan, record: Record<'_>, captures: &Captures) -> Micros {
        let spans = plan.time.iter().map(|capture| captures.single[usize::from(*capture)]);
        let mut known = spans.filter(|span| matches!(span.kind, Kind::Text | Kind::Number));
        match known.find_map(|span| time::parse(record.get(span), &plan.time_formats)) {
            Some(time) => {
                if time > self.ingested.saturating_add(FUTURE_MAX) {
                    self.row.flags |= FUTURE_TIME;
                }
                time
            }
            None => {
                self.row.flags |= NO_TIME;
                self.ingested
            }
        }
    }

    /// Writes where the record stands: the payload's position, with the record's number unless it is the payload itself.
    fn write_position(&mut self, position: &Position) {
        self.position_text.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.position_text, "{position}");
        if self.in_array || self.found > 0 {
            let _ = write!(self.position_text, "#{}", self.found + 1);
        }
    }

    fn fill_own(&mut self, plan: &Plan, id: Id, raw_bytes: usize) {
        let start = self.row.scratch.len();
        let _ = write!(self.row.scratch, "{id}");
        self.row.cells[self.own.event_id] = Cell::Scratch(start as u32, self.row.scratch.len() as u32);
        self.row.cells[self.own.tenant] = self.row.keep(&self.source.tenant);
        self.row.cells[self.own.layer] = self.row.keep(&plan.layer);
        self.row.cells[self.own.source] = self.row.keep(&self.source.name);
        self.row.cells[self.own.format] = self.row.keep(&plan.format);
        self.row.cells[self.own.position] = self.row.keep(&self.position_text);
        self.row.cells[self.own.raw] = Cell::Record(0, raw_bytes as u32);
    }

    fn relate(&mut self, plan_index: usize, record: Record<'_>, time: Micros, id: Id) {
        for (index, relation) in self.plans[plan_index].relations.iter().enumerate() {
            if !self.row.holds(&relation.when, record) {
                continue;
            }
            for from in ends(&self.row, relation.from) {
                let Some(from) = self.row.text(from, record) else {
                    continue;
                };
                let from = self.out.facts.number(from);
                for to in ends(&self.row, relation.to) {
                    let Some(to) = self.row.text(to, record) else { continue };
                    let to = self.out.facts.number(to);
                    self.out.facts.add(plan_index, index, from, to, time, id);
                }
            }
        }
    }

    fn count(&mut self) {
        self.out.records += 1;
        self.found = self.found.saturating_add(1);
    }

    fn reject(&mut self, position: &Position, bytes: &[u8], reason: String) {
        self.write_position(position);
        self.count();
        self.refused += 1;
        self.out.rejected.push(Rejected {
            tenant: self.source.tenant.to_string(),
            source: self.source.name.to_string(),
            position: self.position_text.clone(),
            reason,
            raw: bytes[..bytes.len().min(REJECTED_BYTES_MAX)].to_vec(),
            ingested_time: self.ingested,
        });
    }
}

/// The cells of one end of a relation: the column's value, or a list column's elements.
fn ends(row: &Row, column: usize) -> impl Iterator<Item = Cell> + '_ {
    let items = row
        .items
        .iter()
        .filter(move |(held, _)| *held == column)
        .map(|(_, cell)| *cell);
    items.chain(Some(row.cells[column]).filter(|cell| *cell != Cell::Null))
}

/// The first path by which the record is not of the recogniser's format.
fn missing<'a>(recogniser: &'a Recogniser, bytes: &[u8], captures: &Captures) -> Option<&'a str> {
    let fails = |(capture, _, values): &&(u16, String, Vec<String>)| {
        let span = captures.single[usize::from(*capture)];
        let is_one = |bytes: &[u8]| values.iter().any(|value| value.as_bytes() == bytes);
        span.kind == Kind::Absent || !(values.is_empty() || bytes.get(span.range()).is_some_and(is_one))
    };
    recogniser.0.iter().find(fails).map(|(_, path, _)| path.as_str())
}

fn skip_space(bytes: &[u8], at: usize) -> usize {
    let mut cursor = Cursor::new(bytes, at);
    cursor.skip_space();
    cursor.at
}

/// After a broken value: the next line that starts an object or an array, else the end.
fn next_document(bytes: &[u8], at: usize) -> usize {
    let mut from = at + 1;
    while let Some(newline) = bytes
        .get(from..)
        .and_then(|rest| rest.iter().position(|byte| *byte == b'\n'))
    {
        from += newline + 1;
        if let Some(b'{' | b'[') = bytes.get(from) {
            return from;
        }
    }
    bytes.len()
}
