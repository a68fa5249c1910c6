//! Payloads → records → rows.

use super::captures::Captures;
use super::columns::{Blocks, Columns};
use super::dedupe::Dedupe;
use super::json::{Cursor, bracketed_end};
use super::plan::Plan;
use super::record::OwnColumns;
use super::relate::Facts;
use super::row::{Cell, Row};
use super::{Auto, Normalized, Normalizer, PAYLOAD_BYTES_MAX, REJECTED_BYTES_MAX, REJECTED_PER_PAYLOAD_MAX, Source};
use crate::model::{Detection, Micros, Payload, Position, RawBatch, Rejected};

/// Broken elements are searched for their closing brackets in at most this many times the payload's bytes: once suffices where they stand
/// side by side, and where they stand in each other, the innermost is as broken as the outermost.
pub const SEARCHES_MAX: usize = 4;

/// How far into a line its JSON object is looked for.
const SYSLOG_HEADER_BYTES_MAX: usize = 1024;

pub fn decode(normalizer: &mut Normalizer, raw: &RawBatch, ingested: Micros) -> Normalized {
    let unknown = Source {
        name: raw.source.clone(),
        tenant: "".into(),
        plan: None,
        lateness: 0,
    };
    let source = normalizer.sources.get(&*raw.source);
    let (blocks, payloads) = Blocks::of(raw);
    let mut decoder = Decoder {
        source: source.unwrap_or(&unknown),
        plans: &normalizer.plans,
        auto: normalizer.auto.as_ref(),
        last: None,
        dedupe: &mut normalizer.dedupe,
        own: OwnColumns::find(),
        captures: Captures::default(),
        row: Row::new(),
        numbers: Vec::new(),
        position_text: String::new(),
        ingested,
        out: Out {
            columns: Columns::new(payloads.len()),
            facts: Facts::default(),
            detections: Vec::new(),
            rejected: Vec::new(),
            records: 0,
            duplicates: 0,
            newest: None,
        },
        blocks: &blocks,
        found: 0,
        refused: 0,
        searched: 0,
        wrappers: vec![None; normalizer.plans.len()],
        in_array: false,
    };
    let mut bytes = 0u64;
    for (block, payload) in &payloads {
        bytes += payload.bytes.len() as u64;
        decoder.found = 0;
        decoder.refused = 0;
        decoder.searched = 0;
        decoder.wrappers.fill(None);
        if source.is_none() {
            decoder.reject(
                &payload.position,
                &payload.bytes,
                format!("source `{}` is not configured", raw.source),
            );
        } else {
            decoder.payload(payload, *block);
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
        detections: out.detections,
        rejected: out.rejected,
        records: out.records,
        duplicates: out.duplicates,
        bytes,
        newest_time: out.newest,
    }
}

pub struct Out {
    pub columns: Columns,
    pub facts: Facts,
    pub detections: Vec<Detection>,
    pub rejected: Vec<Rejected>,
    pub records: u64,
    pub duplicates: u64,
    pub newest: Option<Micros>,
}

pub struct Decoder<'n> {
    pub source: &'n Source,
    pub plans: &'n [Plan],
    pub auto: Option<&'n Auto>,
    /// The format that was recognised last: the next record is probably of it too.
    pub last: Option<usize>,
    pub dedupe: &'n mut Dedupe,
    pub own: OwnColumns,
    pub captures: Captures,
    pub row: Row,
    /// Numbers of the texts that the record at hand states relations of, by where they stand.
    pub numbers: Vec<(Cell, u32)>,
    pub position_text: String,
    pub ingested: Micros,
    pub out: Out,
    pub blocks: &'n Blocks,
    /// Records found in the payload so far, and those of them that were rejected.
    pub found: u32,
    pub refused: u32,
    /// Bytes of the payload that were searched for the ends of broken elements.
    pub searched: usize,
    /// Where in the payload the key next stands under which each mapping's documents hold their records, or its end; `None` before it
    /// was looked for.
    pub wrappers: Vec<Option<usize>>,
    /// The record at hand is an array's element: numbered even when it is the first.
    pub in_array: bool,
}

impl Decoder<'_> {
    fn payload(&mut self, payload: &Payload, block: u32) {
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
            at = self.document(payload, block, at);
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
    fn document(&mut self, payload: &Payload, block: u32, at: usize) -> usize {
        let bytes: &[u8] = &payload.bytes;
        self.in_array = false;
        if let Some(end) = self.line(payload, block, at) {
            return end;
        }
        match bytes[at] {
            b'[' => self.elements(payload, block, at + 1),
            b'{' => match self.wrapped(bytes, at) {
                Some(inside) => {
                    let end = self.elements(payload, block, inside);
                    self.rest_of_wrapper(payload, end)
                }
                None => match self.record(payload, block, at) {
                    Ok(end) => end,
                    Err(fault) => self.reject_line(payload, at, fault.reason(at)),
                },
            },
            _ => match behind_syslog_header(bytes, at) {
                Some(inside) => match self.record(payload, block, inside) {
                    Ok(end) => end,
                    Err(fault) => self.reject_line(payload, at, fault.reason(at)),
                },
                None => self.reject_line(payload, at, "neither a JSON object nor an array".to_owned()),
            },
        }
    }

    fn reject_line(&mut self, payload: &Payload, at: usize, reason: String) -> usize {
        let end = next_document(&payload.bytes, at);
        self.reject(&payload.position, &payload.bytes[at..end], reason);
        end
    }

    /// Whether the document wraps its records in an array under the mapping's key: the array's inside, if so. The key is looked
    /// for up to the first member that is an object or an array, where it stands in the payload at all, so that a plain record costs
    /// next to nothing.
    fn wrapped(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let range = self.source.plan.map_or(0..self.plans.len(), |plan| plan..plan + 1);
        let plans = &self.plans[range.clone()];
        let mut stands = false;
        for (plan, place) in plans.iter().zip(&mut self.wrappers[range]) {
            let Some(key) = &plan.wrapper else { continue };
            let next = place
                .filter(|place| *place >= at)
                .unwrap_or_else(|| key.find(&bytes[at..]).map_or(bytes.len(), |found| at + found));
            *place = Some(next);
            stands |= next < bytes.len();
        }
        if !stands {
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
    fn elements(&mut self, payload: &Payload, block: u32, mut at: usize) -> usize {
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
                b'{' => self.record(payload, block, at),
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
                    let end = self.element_end(bytes, at).filter(|end| {
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

    /// Where a broken element ends by its brackets.
    fn element_end(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        if self.searched > SEARCHES_MAX * bytes.len() {
            return None;
        }
        let end = bracketed_end(bytes, at);
        self.searched += end.unwrap_or(bytes.len()) - at;
        end
    }

    pub fn count(&mut self) {
        self.out.records += 1;
        self.found = self.found.saturating_add(1);
    }

    pub fn reject(&mut self, position: &Position, bytes: &[u8], reason: String) {
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
            newest_before: self.out.newest,
        });
    }
}

pub fn skip_space(bytes: &[u8], at: usize) -> usize {
    let mut cursor = Cursor::new(bytes, at);
    cursor.skip_space();
    cursor.at
}

/// Where the JSON object of a syslog line begins: behind a priority (`<134>…`) or a date (`Feb  1 10:00:00 host …`), which are what
/// forwarders write before the record that they were given.
fn behind_syslog_header(bytes: &[u8], at: usize) -> Option<usize> {
    let line = bytes.get(at..)?;
    let head = &line[..line.len().min(SYSLOG_HEADER_BYTES_MAX)];
    let head = head.split(|byte| *byte == b'\n').next()?;
    let priority = head.strip_prefix(b"<").and_then(|rest| {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (1..=3).contains(&digits).then(|| rest.get(digits))?
    });
    let date = matches!(
        head,
        [b'A'..=b'Z', b'a'..=b'z', b'a'..=b'z', b' ', _, _, b' ', _, _, b':', ..]
    );
    let headed = priority == Some(&b'>') || date;
    let object = head.windows(2).position(|pair| matches!(pair, [b' ' | b':', b'{']))?;
    headed.then_some(at + object + 1)
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
