//! What the decoders must keep whatever they are given: one target per kind. `cargo xtask fuzz` runs them under libFuzzer; the test below
//! runs each over its seeds, which are the project's own fixtures.
//!
//! An input of the record targets is the name of a format, a line feed, and the payload; another name stands for the first format
//! of the target.

mod seeds;

use std::cell::RefCell;
use std::collections::BTreeMap;

use arrow::array::Array;
use bytes::Bytes;
use sentrail::config::{MappingText, SourceKind, SourceSettings};
use sentrail::model::{InputId, InputOffset, Payload, Position, RawBatch};
use sentrail::normalize::{AUTO, NESTING_MAX, Normalized, Normalizer};
use sentrail::source::bare;

/// The environment variable that names the target.
pub const VARIABLE: &str = "SENTRAIL_FUZZ_TARGET";

/// When the records were read.
const INGESTED: i64 = 1_772_445_600_000_000;

pub struct Target {
    pub name: &'static str,
    /// Panics where something does not hold.
    pub run: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

pub const TARGETS: &[Target] = &[
    Target {
        name: "json",
        run: |input| records(input, AUTO, seeds::json_formats()),
        seeds: seeds::json,
    },
    Target {
        name: "template",
        run: |input| records(input, seeds::TEMPLATE, &[]),
        seeds: || seeds::records(seeds::TEMPLATE),
    },
    Target {
        name: "csv",
        run: |input| records(input, seeds::CSV, &[]),
        seeds: || seeds::records(seeds::CSV),
    },
    Target {
        name: "otlp",
        run: otlp,
        seeds: seeds::otlp,
    },
    Target {
        name: "syslog",
        run: syslog,
        seeds: seeds::syslog,
    },
    Target {
        name: "mapping",
        run: mapping,
        seeds: seeds::mappings,
    },
];

fn batch(source: &str, payload: &[u8]) -> RawBatch {
    RawBatch {
        source: source.into(),
        input: InputId::file(source, "f"),
        payloads: vec![Payload {
            bytes: Bytes::copy_from_slice(payload),
            position: Position::File {
                path: "f".into(),
                record: 1,
            },
            truncated: false,
            attributes: None,
        }],
        block: None,
        next: InputOffset::Kafka { next: 0 },
    }
}

thread_local! {
    /// Made once: compiling the mappings costs more than decoding. By name of the format, which is the source's too.
    static NORMALIZERS: RefCell<BTreeMap<String, Normalizer>> = RefCell::default();
}

fn normalizer(format: &str) -> Normalizer {
    let source = SourceSettings {
        name: format.to_owned(),
        tenant: "default".to_owned(),
        format: format.to_owned(),
        lateness: None,
        silent_after: Default::default(),
        kind: SourceKind::File {
            glob: "f".to_owned(),
            follow: false,
        },
    };
    Normalizer::new(&[source], &[]).unwrap_or_else(|error| panic!("the build's own mappings: {error}"))
}

/// The payload behind the name of one of `formats`, else as `otherwise`.
fn records(input: &[u8], otherwise: &str, formats: &[String]) {
    let (name, payload) = match input.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (&[][..], input),
    };
    let named = formats.iter().find(|format| format.as_bytes() == name);
    let format = named.map_or(otherwise, String::as_str);
    NORMALIZERS.with_borrow_mut(|held| {
        let normalizer = held.entry(format.to_owned()).or_insert_with(|| normalizer(format));
        let first = normalizer.decode(&batch(format, payload), INGESTED);
        check(&first, normalizer, payload);
        // What has ids of its own is a repeat now; all else is as it was.
        let again = normalizer.decode(&batch(format, payload), INGESTED);
        check(&again, normalizer, payload);
        assert_eq!(first.records, again.records, "the same payload has as many records");
        let said = |decoded: &Normalized| -> Vec<(String, String)> {
            let said = decoded.rejected.iter();
            said.map(|record| (record.position.clone(), record.reason.clone()))
                .collect()
        };
        assert_eq!(said(&first), said(&again), "and the same are rejected");
    });
}

fn check(decoded: &Normalized, normalizer: &Normalizer, payload: &[u8]) {
    let rows = decoded.events.rows();
    let parts = rows as u64 + decoded.rejected.len() as u64 + decoded.duplicates;
    assert_eq!(decoded.records, parts, "records = events + rejected + duplicates");
    for column in decoded.events.batch().columns() {
        if let Err(error) = column.to_data().validate_full() {
            panic!("a column is not what its type says: {error}");
        }
    }
    let payload = String::from_utf8_lossy(payload);
    let (raws, formats) = (decoded.events.text("raw"), decoded.events.text("format"));
    for (raw, format) in raws.iter().zip(formats) {
        let (Some(raw), Some(format)) = (raw, format) else {
            panic!("an event has its record and its format");
        };
        assert!(payload.contains(raw), "an event's record is part of the payload");
        if seeds::json_formats().iter().any(|json| json == format) {
            let read = serde_json::from_str::<&serde_json::value::RawValue>(raw);
            assert!(read.is_ok(), "a record that was decoded is JSON: {read:?}");
        }
        normalizer.untaken(format, raw);
    }
}

fn otlp(input: &[u8]) {
    let (is_json, traces, body) = match input.split_first() {
        Some((choice, body)) => (choice & 1 == 1, choice & 2 == 2, body),
        None => return,
    };
    for record in bare::otlp(body, traces, is_json).into_iter().flatten() {
        let read: serde_json::Value = serde_json::from_slice(&record).unwrap_or_else(|error| {
            panic!(
                "a record is a JSON object: {error}: {}",
                String::from_utf8_lossy(&record)
            )
        });
        assert!(
            read.is_object() && depth(&read) <= NESTING_MAX,
            "what the mappings can read"
        );
    }
}

fn depth(value: &serde_json::Value) -> u32 {
    let below = |values: &mut dyn Iterator<Item = &serde_json::Value>| 1 + values.map(depth).max().unwrap_or(0);
    match value {
        serde_json::Value::Array(items) => below(&mut items.iter()),
        serde_json::Value::Object(members) => below(&mut members.values()),
        _ => 0,
    }
}

fn syslog(input: &[u8]) {
    let Some((piece, bytes)) = input.split_first() else {
        return;
    };
    let whole = bare::syslog(bytes, usize::MAX);
    let pieces = bare::syslog(bytes, usize::from(*piece).max(1));
    assert_eq!(whole, pieces, "messages do not depend on how their bytes arrive");
}

fn mapping(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let text = MappingText {
        file: "x.toml".to_owned(),
        text: text.to_owned(),
    };
    let mut normalizer = match Normalizer::alone(&text) {
        Ok(normalizer) => normalizer,
        Err(error) => {
            let shown = error.to_string();
            assert!(shown.starts_with("x.toml:"), "a fault says where it is: {shown}");
            return;
        }
    };
    let Some(source) = normalizer.formats().first().map(|format| format.name.clone()) else {
        return;
    };
    for payload in seeds::RECORDS {
        let decoded = normalizer.decode(&batch(&source, payload.as_bytes()), INGESTED);
        check(&decoded, &normalizer, payload.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each seed as it is, cut off, and with one byte changed, at places that are the same in every run.
    #[test]
    fn what_must_hold_holds_for_the_seeds() {
        const CHANGES: usize = 12;
        for target in TARGETS {
            let seeds = (target.seeds)();
            assert!(!seeds.is_empty(), "{} has no seeds", target.name);
            let mut state = 0x2545_f491_4f6c_dd1du64;
            let mut next = move |bound: usize| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state % bound.max(1) as u64) as usize
            };
            for seed in seeds {
                (target.run)(&seed);
                for _ in 0..CHANGES {
                    let mut changed = seed.clone();
                    let at = next(changed.len());
                    match next(3) {
                        0 => changed.truncate(at),
                        1 => changed[at] = b"{}[]\",:\\ \n0\xff"[next(12)],
                        _ => drop(changed.remove(at)),
                    }
                    (target.run)(&changed);
                }
            }
        }
    }
}
