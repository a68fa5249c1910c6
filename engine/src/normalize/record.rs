//! One record → its format, its row, and the relations and the finding that it states.

use std::fmt::Write as _;
use std::ops::Range;

use twox_hash::XxHash64;

use super::captures::Captures;
use super::columns::Stamp;
use super::decode::{Decoder, SEARCHES_MAX, skip_space};
use super::dedupe::Seen;
use super::finding::{self, Origin};
use super::json::{Cursor, Fault, Span};
use super::lines::line_end;
use super::plan::Plan;
use super::recognise::Recogniser;
use super::relate::Facts;
use super::row::{AMBIGUOUS, Cell, FUTURE_TIME, ID_CONFLICT, NO_TIME, Record, Row};
use super::{FUTURE_MAX, RECORD_BYTES_MAX, REJECTED_PER_PAYLOAD_MAX};
use crate::model::{EventSchema, Id, LAYERS, Micros, Payload, Position};

/// Places of the columns that the engine fills.
pub struct OwnColumns {
    event_id: usize,
    tenant: usize,
    layer: usize,
    source: usize,
    format: usize,
    position: usize,
    raw: usize,
    operation: usize,
}

impl OwnColumns {
    pub fn find() -> OwnColumns {
        let index = |name: &str| EventSchema::get().index_of(name).unwrap_or(usize::MAX);
        OwnColumns {
            event_id: index("event_id"),
            tenant: index("tenant"),
            layer: index("layer"),
            source: index("source"),
            format: index("format"),
            position: index("position"),
            raw: index("raw"),
            operation: index("api_operation"),
        }
    }
}

/// Why a complete record is no event.
enum Refusal {
    TooLong(usize),
    NotUtf8(usize),
    NotThisFormat(String),
    NoFormat,
    Nul,
}

impl Refusal {
    fn reason(&self) -> String {
        match self {
            Refusal::TooLong(bytes) => format!("record of {bytes} bytes is longer than {RECORD_BYTES_MAX}"),
            Refusal::NotUtf8(at) => format!("not UTF-8 at byte {at}"),
            Refusal::NotThisFormat(what) => what.clone(),
            Refusal::Nul => "the line holds a NUL".to_owned(),
            Refusal::NoFormat => "no mapping recognises the record".to_owned(),
        }
    }
}

impl Decoder<'_> {
    /// The record that starts at `at`; returns its end. A fault leaves the record to the caller, who knows how much of it is lost.
    pub fn record(&mut self, payload: &Payload, block: u32, at: usize) -> Result<usize, Fault> {
        let mut captures = std::mem::take(&mut self.captures);
        let read = self.read(payload, block, at, &mut captures);
        self.captures = captures;
        read
    }

    fn read(&mut self, payload: &Payload, block: u32, at: usize, captures: &mut Captures) -> Result<usize, Fault> {
        let bytes: &[u8] = &payload.bytes;
        let (chosen, walked) = match self.source.plan {
            Some(plan) => (Some(plan), None),
            None => self.recognise(payload, at, captures)?,
        };
        let mut cursor = Cursor::new(bytes, at);
        let Some(index) = chosen else {
            cursor.skip_value()?;
            self.reject(&payload.position, &bytes[at..cursor.at], Refusal::NoFormat.reason());
            return Ok(cursor.at);
        };
        let plan = &self.plans[index];
        if plan.parts {
            return self.parts(index, payload, block, at, captures);
        }
        let end = match walked {
            Some(end) => end,
            None => {
                let carrier = payload.attributes.as_deref();
                plan.trie.walk(bytes, &mut cursor, captures, carrier, &mut |_, _| ())?;
                cursor.at
            }
        };
        let event = self
            .whole(payload, at..end)
            .and_then(|text| self.event(index, payload, block, (text, at), at..end, captures));
        if let Err(refusal) = event {
            self.reject(&payload.position, &bytes[at..end], refusal.reason());
        }
        Ok(end)
    }

    /// A record of which several elements make an event each.
    fn parts(
        &mut self,
        index: usize,
        payload: &Payload,
        block: u32,
        at: usize,
        captures: &mut Captures,
    ) -> Result<usize, Fault> {
        let bytes: &[u8] = &payload.bytes;
        // To its end first: a fault must not be found when half of its events are made.
        let end = Cursor::new(bytes, at).skip_value()?.end as usize;
        let text = match self.whole(payload, at..end) {
            Ok(text) => text,
            Err(refusal) => {
                self.reject(&payload.position, &bytes[at..end], refusal.reason());
                return Ok(end);
            }
        };
        let in_array = std::mem::replace(&mut self.in_array, true);
        let mut emitted = false;
        let trie = &self.plans[index].trie;
        let mut emit = |captures: &mut Captures, part: Span| {
            emitted = true;
            // As with a payload's records: what comes after so many refused ones is refused as one.
            if self.refused >= REJECTED_PER_PAYLOAD_MAX {
                if self.refused == REJECTED_PER_PAYLOAD_MAX {
                    let reason = format!("the record's rest after {REJECTED_PER_PAYLOAD_MAX} rejected parts of it");
                    self.reject(&payload.position, &bytes[part.start as usize..end], reason);
                }
                return;
            }
            if let Err(refusal) = self.event(index, payload, block, (text, at), part.range(), captures) {
                self.reject(&payload.position, &bytes[part.range()], refusal.reason());
            }
        };
        let carrier = payload.attributes.as_deref();
        trie.walk(bytes, &mut Cursor::new(bytes, at), captures, carrier, &mut emit)?;
        self.in_array = in_array;
        if !emitted && let Err(refusal) = self.event(index, payload, block, (text, at), at..end, captures) {
            self.reject(&payload.position, &bytes[at..end], refusal.reason());
        }
        Ok(end)
    }

    /// The record's text, unless it is too long or none.
    fn whole<'p>(&self, payload: &'p Payload, range: Range<usize>) -> Result<&'p str, Refusal> {
        let bytes = &payload.bytes[range];
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(Refusal::TooLong(bytes.len()));
        }
        std::str::from_utf8(bytes).map_err(|error| Refusal::NotUtf8(error.valid_up_to()))
    }

    /// The record's format, and its end when the captures are those of that format already.
    fn recognise(
        &mut self,
        payload: &Payload,
        at: usize,
        captures: &mut Captures,
    ) -> Result<(Option<usize>, Option<usize>), Fault> {
        let expected = self.last.filter(|last| !self.plans[*last].parts);
        let Some(auto) = self.auto else { return Ok((None, None)) };
        let known = expected.map_or(&auto.any, |last| &auto.expecting[last]);
        let bytes: &[u8] = &payload.bytes;
        let mut cursor = Cursor::new(bytes, at);
        let carrier = payload.attributes.as_deref();
        known.trie.walk(bytes, &mut cursor, captures, carrier, &mut |_, _| ())?;
        let is = |(_, recogniser): &&(usize, Recogniser)| recogniser.missing(bytes, captures).is_none();
        let found = known.recognisers.iter().find(is).map(|(index, _)| *index);
        let end = (found.is_some() && found == expected).then_some(cursor.at);
        self.last = found.or(self.last);
        Ok((found, end))
    }

    /// The record at `at` as a line of a format that is no JSON; returns its end. `None`: it is to be read as JSON.
    pub fn line(&mut self, payload: &Payload, block: u32, at: usize) -> Option<usize> {
        let bytes: &[u8] = &payload.bytes;
        let plans = self.plans;
        let candidates = match self.source.plan {
            Some(plan) => plan..plan + 1,
            None if bytes[at] == b'{' => return None,
            None if bytes[at] == b'[' && matches!(bytes.get(skip_space(bytes, at + 1)), Some(b'{' | b'[' | b']')) => {
                return None;
            }
            None => 0..plans.len(),
        };
        let fixed = self.source.plan.is_some();
        let mut captures = std::mem::take(&mut self.captures);
        let mut read = None;
        for index in candidates {
            let plan = &plans[index];
            let Some(layout) = &plan.line else { continue };
            // A quote that is left open is none, but is looked for to the payload's end: not with every line.
            let may_search = self.searched <= SEARCHES_MAX * bytes.len();
            let length = may_search.then(|| layout.end(&bytes[at..])).flatten();
            if length.is_none() {
                self.searched += bytes.len() - at;
            }
            let mut end = at + length.unwrap_or_else(|| line_end(&bytes[at..]));
            let next = end;
            while end > at && matches!(bytes[end - 1], b'\r' | b' ') {
                end -= 1;
            }
            let carrier = payload.attributes.as_deref();
            let has_layout = plan.trie.walk_line(layout, bytes, at..end, &mut captures, carrier);
            let is_known = fixed || (has_layout && plan.recogniser.missing(bytes, &captures).is_none());
            if !is_known {
                continue;
            }
            let event = match self.whole(payload, at..end) {
                Ok(_) if !has_layout => Err(Refusal::NotThisFormat(format!(
                    "not {}: the line has another layout",
                    plan.format
                ))),
                Ok(text) if text.contains('\0') => Err(Refusal::Nul),
                Ok(text) => self.event(index, payload, block, (text, at), at..end, &captures),
                Err(refusal) => Err(refusal),
            };
            if let Err(refusal) = event {
                self.reject(&payload.position, &bytes[at..end], refusal.reason());
            }
            read = Some(next);
            break;
        }
        self.captures = captures;
        read
    }

    /// An event of the record `text`, which starts at `start`; `part` is the piece of the payload that the event is.
    fn event(
        &mut self,
        plan_index: usize,
        payload: &Payload,
        block: u32,
        (text, start): (&str, usize),
        part: Range<usize>,
        captures: &Captures,
    ) -> Result<(), Refusal> {
        let plan = &self.plans[plan_index];
        let record = Record {
            text,
            start,
            inner: &captures.inner,
        };
        if let Some(path) = plan.recogniser.missing(&payload.bytes, captures) {
            let reason = format!("not {}: `{path}` is missing or has another value", plan.format);
            return Err(Refusal::NotThisFormat(reason));
        }
        self.row.clear();
        let time = self.time(plan, record, captures);
        let raw_hash = XxHash64::oneshot(0, &payload.bytes[part.clone()]).cast_signed();
        self.write_position(&payload.position);
        let own_id = self.row.first(&plan.id, record, captures);
        let names = [self.source.tenant.as_bytes(), self.source.name.as_bytes()];
        let mut id = match self.row.text(own_id, record) {
            Some(own) => Id::of(&[b"event", names[0], names[1], own.as_bytes()]),
            // In a file that took another's place, other events stand at the same positions.
            None => Id::of(&[b"event", names[0], names[1], b"position", self.position_text.as_bytes()])
                .with_content(raw_hash),
        };
        if captures.ambiguous {
            self.row.flags |= AMBIGUOUS;
        }
        self.row.fill(&plan.columns, record, captures);
        self.row.fill_unmapped(&plan.unmapped, record, captures);
        self.fill_own(plan, record, id, part.clone());
        if let Some(column) = self.row.lacks() {
            let reason = format!("{}: `{column}` cannot be told from what the record holds", plan.format);
            return Err(Refusal::NotThisFormat(reason));
        }
        // What is rejected is not remembered: it would be rejected again, and not be a repeat of anything.
        if own_id != Cell::Null {
            match self.dedupe.check(id, raw_hash, time) {
                Seen::New => {}
                Seen::Conflict => {
                    self.row.flags |= ID_CONFLICT;
                    // Another event under an id that its log gave twice: a finding in it must not pass for the other's.
                    id = id.with_content(raw_hash);
                    self.fill_own(plan, record, id, part);
                }
                Seen::Duplicate => {
                    self.count();
                    self.out.duplicates += 1;
                    return Ok(());
                }
            }
        }
        self.count();
        if self.row.flags & (NO_TIME | FUTURE_TIME) == 0 {
            self.out.newest = self.out.newest.max(Some(time));
        }
        let stamp = Stamp {
            time,
            ingested: self.ingested,
            raw_hash,
        };
        self.out.columns.push(&self.row, record, self.blocks, block, &stamp);
        self.relate(plan_index, record, time, id);
        if let Some(finding) = &plan.detection {
            let text = |column: usize| self.row.text(self.row.cells[column], record).unwrap_or_default();
            let origin = Origin {
                tenant: &self.source.tenant,
                format: &plan.format,
                event: id,
                time,
                layer: text(self.own.layer),
                action: text(self.own.operation),
            };
            let detection = finding::detection(finding, &self.row, record, &origin);
            self.out.detections.extend(detection);
        }
        Ok(())
    }

    fn time(&mut self, plan: &Plan, record: Record<'_>, captures: &Captures) -> Micros {
        match self.row.time(&plan.time, &plan.time_formats, record, captures) {
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
    pub fn write_position(&mut self, position: &Position) {
        let text = &mut self.position_text;
        text.clear();
        match position {
            // As `Display` writes it, for every record of a file: several times as fast.
            Position::File { path, record } => {
                text.push_str(path);
                text.push(':');
                push_number(*record, text);
            }
            // Writing to a string cannot fail.
            _ => drop(write!(text, "{position}")),
        }
        if self.in_array || self.found > 0 {
            text.push('#');
            push_number(u64::from(self.found) + 1, text);
        }
    }

    fn fill_own(&mut self, plan: &Plan, record: Record<'_>, id: Id, part: Range<usize>) {
        let start = self.row.scratch.len();
        let _ = write!(self.row.scratch, "{id}");
        let end = self.row.scratch.len();
        self.row.set(self.own.event_id, Cell::Scratch(start as u32, end as u32));
        let layer = self.row.text(self.row.cells[self.own.layer], record);
        if !layer.is_some_and(|layer| LAYERS.contains(&layer)) {
            self.row.put(self.own.layer, &plan.layer);
        }
        self.row.put(self.own.tenant, &self.source.tenant);
        self.row.put(self.own.source, &self.source.name);
        self.row.put(self.own.format, &plan.format);
        self.row.put(self.own.position, &self.position_text);
        let (start, end) = (part.start - record.start, part.end - record.start);
        self.row.set(self.own.raw, Cell::Record(start as u32, end as u32));
    }

    fn relate(&mut self, plan_index: usize, record: Record<'_>, time: Micros, id: Id) {
        let Decoder { row, numbers, .. } = self;
        let facts = &mut self.out.facts;
        numbers.clear();
        // An end is part of several relations: its text is looked up once.
        let mut number = |cell: Cell, facts: &mut Facts| {
            if let Some((_, number)) = numbers.iter().find(|(held, _)| *held == cell) {
                return *number;
            }
            let number = facts.number(row.text(cell, record).unwrap_or_default());
            numbers.push((cell, number));
            number
        };
        let layer = number(row.cells[self.own.layer], facts);
        for (index, relation) in self.plans[plan_index].relations.iter().enumerate() {
            // Most records lack an end of most relations, which is seen sooner than what they say.
            if !has(row, relation.from) || !has(row, relation.to) || !row.holds(&relation.when, record) {
                continue;
            }
            for from in ends(row, relation.from) {
                let from = number(from, facts);
                for to in ends(row, relation.to) {
                    let to = number(to, facts);
                    facts.add((plan_index, index), from, to, layer, (time, id));
                }
            }
        }
    }
}

fn push_number(mut number: u64, text: &mut String) {
    let mut digits = [0; 20];
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.push_str(std::str::from_utf8(&digits[from..]).unwrap_or_default());
}

fn has(row: &Row, column: usize) -> bool {
    row.cells.get(column).is_some_and(|cell| *cell != Cell::Null) || row.items.iter().any(|(held, _)| *held == column)
}

/// The cells of a column: its value, or a list column's elements.
pub fn ends(row: &Row, column: usize) -> impl Iterator<Item = Cell> + '_ {
    let items = row
        .items
        .iter()
        .filter(move |(held, _)| *held == column)
        .map(|(_, cell)| *cell);
    items.chain(row.cells.get(column).copied().filter(|cell| *cell != Cell::Null))
}
