use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, StringViewArray};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::config::SourceKind;
use crate::model::time::{SECOND, to_rfc3339};
use crate::model::{ColumnType, EventSchema, InputId, InputOffset, Payload, Position};

mod mappings;
mod real;

/// 2026-03-02T10:00:00Z.
const INGESTED: Micros = 1_772_445_600 * SECOND;

fn source(name: &str, format: &str) -> SourceSettings {
    let kind = SourceKind::File {
        glob: "*".to_owned(),
        follow: false,
    };
    SourceSettings {
        name: name.to_owned(),
        tenant: "acme".to_owned(),
        format: format.to_owned(),
        lateness: None,
        silent_after: Default::default(),
        kind,
    }
}

/// With the mappings as they stand in schemas/sources now.
fn normalizer(format: &str) -> Normalizer {
    let texts = crate::config::read_formats(Some(&sources())).expect("readable");
    Normalizer::new(&[source("s", format)], &texts).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_mapping_is_part_of_the_build() {
    let read = |entry: std::fs::DirEntry| entry.file_name().into_string().ok();
    let names = std::fs::read_dir(sources())
        .expect("readable")
        .flatten()
        .filter_map(read);
    let names: BTreeSet<String> = names.filter(|name| name.ends_with(".toml")).collect();
    let built: BTreeSet<String> = mapping::MAPPING_FILES
        .iter()
        .map(|(name, _)| name.to_string())
        .collect();
    assert_eq!(built, names);
}

fn batch<'a>(payloads: impl IntoIterator<Item = &'a [u8]>, kafka: bool) -> RawBatch {
    let position = |record: u64| match kafka {
        true => Position::Kafka {
            topic: "t".into(),
            partition: 0,
            offset: record as i64 - 1,
        },
        false => Position::File {
            path: "f.json".into(),
            record,
        },
    };
    let payloads = payloads.into_iter().zip(1..).map(|(bytes, record)| Payload {
        bytes: Bytes::copy_from_slice(bytes),
        position: position(record),
        truncated: false,
        attributes: None,
    });
    RawBatch {
        source: "s".into(),
        input: InputId::file("s", "f.json"),
        payloads: payloads.collect(),
        block: None,
        next: InputOffset::Kafka { next: 0 },
    }
}

fn decode(normalizer: &mut Normalizer, payloads: &[&[u8]]) -> Normalized {
    let normalized = normalizer.decode(&batch(payloads.iter().copied(), true), INGESTED);
    let parts = normalized.events.rows() as u64 + normalized.rejected.len() as u64 + normalized.duplicates;
    assert_eq!(normalized.records, parts);
    normalized
}

/// The columns of a row that are not null, as JSON.
fn row(events: &EventBatch, row: usize) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    for column in EventSchema::get().columns() {
        let array = events.column(&column.name);
        if array.is_null(row) {
            continue;
        }
        let value = match column.kind {
            ColumnType::Utf8 => json!(array.as_string_view().value(row)),
            ColumnType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
            ColumnType::Float64 => json!(array.as_primitive::<Float64Type>().value(row)),
            ColumnType::Bool => json!(array.as_boolean().value(row)),
            ColumnType::Timestamp => json!(to_rfc3339(array.as_primitive::<TimestampMicrosecondType>().value(row))),
            ColumnType::ListUtf8 => {
                let items = array.as_list::<i32>().value(row);
                json!(items.as_string_view().iter().collect::<Vec<_>>())
            }
        };
        values.insert(column.name.clone(), value);
    }
    values
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/sources")
}

fn fixtures() -> PathBuf {
    sources().join("fixtures")
}

fn fixture_lines(format: &str) -> Vec<String> {
    let text = std::fs::read_to_string(fixtures().join(format!("{format}.in.ndjson")));
    let text = text.unwrap_or_else(|error| panic!("every format has fixtures; {format}: {error}"));
    text.lines().map(str::to_owned).collect()
}

/// Every fixture line gives exactly the rows, the relations and the findings that stand beside it. `SENTRAIL_BLESS=1` writes them
/// anew; then read the diff.
#[test]
fn fixtures_give_their_rows() {
    for format in normalizer(AUTO).formats() {
        let mut got = String::new();
        let mut normalizer = normalizer(&format.name);
        for line in fixture_lines(&format.name) {
            normalizer.dedupe = Dedupe::new(1);
            let normalized = decode(&mut normalizer, &[line.as_bytes()]);
            let reasons = reasons(&normalized);
            let mut rows = Vec::new();
            for index in 0..normalized.events.rows() {
                let mut columns = row(&normalized.events, index);
                let raw = columns.remove("raw");
                assert!(raw.is_some_and(|raw| line.contains(raw.as_str().unwrap_or_default())));
                for own in [
                    "event_id",
                    "ingested_time",
                    "tenant",
                    "source",
                    "position",
                    "raw_hash",
                    "format",
                ] {
                    assert!(columns.remove(own).is_some(), "{own} is required");
                }
                rows.push(columns);
            }
            let relations: Vec<String> = normalized
                .relations
                .iter()
                .map(|edge| format!("{} {} {}", edge.from, edge.kind, edge.to))
                .collect();
            let mut out = json!({"relations": relations});
            match rows.as_slice() {
                [one] => out["columns"] = json!(one),
                several => out["events"] = json!(several),
            }
            if !reasons.is_empty() {
                out["rejected"] = json!(reasons);
            }
            for detection in &normalized.detections {
                let mut detection = serde_json::to_value(detection).expect("JSON");
                for own in [
                    "detection_id",
                    "event_ids",
                    "tenant",
                    "time",
                    "plugin",
                    "plugin_version",
                    "late",
                ] {
                    detection.as_object_mut().map(|fields| fields.remove(own));
                }
                out["detection"] = detection;
            }
            got.push_str(&serde_json::to_string(&out).expect("JSON"));
            got.push('\n');
        }
        let path = fixtures().join(format!("{}.out.ndjson", format.name));
        if std::env::var_os("SENTRAIL_BLESS").is_some() {
            std::fs::write(&path, &got).expect("writable");
        }
        let want = std::fs::read_to_string(&path).expect("every format has expectations");
        for (number, (got, want)) in got.lines().zip(want.lines()).enumerate() {
            assert_eq!(got, want, "{} line {}", path.display(), number + 1);
        }
        assert_eq!(got.lines().count(), want.lines().count());
    }
}

/// No record of any fixture is of two formats, and `auto` finds the one, whatever it saw before.
#[test]
fn every_fixture_is_of_one_format_alone() {
    let mut auto = normalizer(AUTO);
    let formats = auto.formats();
    for format in &formats {
        for line in fixture_lines(&format.name) {
            let normalized = decode(&mut auto, &[line.as_bytes()]);
            let found: BTreeSet<&str> = normalized.events.text("format").iter().flatten().collect();
            let told = reasons(&normalized);
            let expected = BTreeSet::from([format.name.as_str()]);
            assert!(
                found == expected || normalized.duplicates > 0,
                "{found:?} {told:?}: {line}"
            );
            let Some(start) = line.find('{').filter(|_| !format.lines) else {
                continue;
            };
            let any = &auto.auto.as_ref().expect("the source is auto").any;
            let (mut cursor, mut captures) = (json::Cursor::new(line.as_bytes(), start), captures::Captures::default());
            let walked = any
                .trie
                .walk(line.as_bytes(), &mut cursor, &mut captures, None, &mut |_, _| ());
            assert_eq!(walked, Ok(()));
            let known = any
                .recognisers
                .iter()
                .filter(|(_, recogniser)| recogniser.missing(line.as_bytes(), &captures).is_none());
            let known: Vec<&str> = known.map(|(index, _)| formats[*index].name.as_str()).collect();
            assert_eq!(known, [format.name.as_str()], "{line}");
        }
    }
}

const RECORD: &str = r#"{"timestamp":"2026-03-02T09:15:00Z","auth_type":"Jwt","result":"ok","method":"m"}"#;

fn reasons(normalized: &Normalized) -> Vec<String> {
    normalized
        .rejected
        .iter()
        .map(|rejected| format!("{} {}", rejected.position, rejected.reason))
        .collect()
}

fn positions(normalized: &Normalized) -> Vec<String> {
    normalized
        .events
        .text("position")
        .iter()
        .flatten()
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_payload_may_hold_lines_and_arrays() {
    let mut normalizer = normalizer("qdrant_audit");
    let lines = format!("\u{feff}{RECORD}\r\n\n  {RECORD}\n");
    let array = format!(" [{RECORD} , {RECORD}] ");
    let normalized = decode(
        &mut normalizer,
        &[RECORD.as_bytes(), lines.as_bytes(), array.as_bytes()],
    );
    assert!(normalized.rejected.is_empty(), "{:?}", reasons(&normalized));
    assert_eq!(
        positions(&normalized),
        ["t/0/0", "t/0/1", "t/0/1#2", "t/0/2#1", "t/0/2#2"]
    );
    let ids: BTreeSet<&str> = normalized.events.text("event_id").iter().flatten().collect();
    assert_eq!(
        ids.len(),
        5,
        "without an id of its own, a record is known by its position"
    );
}

#[test]
fn a_wrapped_document_is_unwrapped() {
    let record = |id: &str| {
        format!(r#"{{"eventName":"A","eventSource":"x","eventID":"{id}","eventTime":"2026-03-02T09:15:00Z"}}"#)
    };
    let text = format!(
        r#"{{"owner":"1","Records":[{},{}],"more":{{"a":[1]}}}}"#,
        record("1"),
        record("2")
    );
    for format in ["aws_cloudtrail", AUTO] {
        let normalized = decode(&mut normalizer(format), &[text.as_bytes(), br#"{"Records":[]}"#]);
        assert_eq!(positions(&normalized), ["t/0/0#1", "t/0/0#2"]);
        assert_eq!(reasons(&normalized), ["t/0/1 the payload holds no record"]);
        assert_eq!(normalized.events.text("format").value(0), "aws_cloudtrail");
        assert_eq!(normalized.events.text("raw").value(1), record("2"));
    }
}

#[test]
fn wrapped_documents_are_told_from_those_beside_them() {
    let record = |id: &str, more: &str| cloudtrail(id, "2026-03-02T09:15:00Z", more);
    let says = record(
        "4",
        r#","userAgent":"\"Records\":[","requestParameters":{"Records":[1]}"#,
    );
    let text = format!(
        "{}\n{{\"Records\":[{},{}]}}\n{says}\n{}\n{{\"a\":1,\"Records\" : [{}]}}",
        record("1", ""),
        record("2", ""),
        record("3", ""),
        record("5", ""),
        record("6", "")
    );
    for format in ["aws_cloudtrail", AUTO] {
        let normalized = decode(&mut normalizer(format), &[text.as_bytes()]);
        assert!(normalized.rejected.is_empty(), "{:?}", reasons(&normalized));
        let raws: Vec<&str> = normalized.events.text("raw").iter().flatten().collect();
        let [one, two, three, five, six] = ["1", "2", "3", "5", "6"].map(|id| record(id, ""));
        assert_eq!(raws, [&one, &two, &three, &says, &five, &six], "{format}");
    }
}

#[test]
fn text_that_is_copied_stays_what_it_was() {
    // Escapes are why; blocks of all sizes are filled, some texts come twice and some are longer than a block begins with.
    let message = |number: usize| format!("line {}\nof it {}", number / 2, "x".repeat(number * 7));
    let texts: Vec<String> = (0..1500)
        .map(|number| {
            let more = format!(r#","errorMessage":{}"#, json!(message(number - number % 2)));
            cloudtrail(&number.to_string(), "2026-03-02T09:15:00Z", &more)
        })
        .collect();
    let payloads: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    let normalized = decode(&mut normalizer("aws_cloudtrail"), &payloads);
    let found: Vec<&str> = normalized.events.text("status_detail").iter().flatten().collect();
    let wanted: Vec<String> = (0..1500).map(|number| message(number - number % 2)).collect();
    assert!(found == wanted, "a copied text is another than the record's");
    assert!(
        normalized
            .events
            .batch()
            .column_by_name("status_detail")
            .is_some_and(|column| {
                let array = column.as_string_view();
                StringViewArray::try_new(
                    array.views().clone(),
                    array.data_buffers().to_vec(),
                    array.nulls().cloned(),
                )
                .is_ok()
            })
    );
}

#[test]
fn a_broken_element_loses_only_itself() {
    let mut normalizer = normalizer("qdrant_audit");
    let array = format!(
        r#"[{RECORD},{{"a":"\x"}},7,{RECORD},{{"deep":{}}},{RECORD}]"#,
        "[".repeat(70) + &"]".repeat(70)
    );
    let normalized = decode(&mut normalizer, &[array.as_bytes()]);
    assert_eq!(positions(&normalized), ["t/0/0#1", "t/0/0#4", "t/0/0#6"]);
    assert_eq!(
        reasons(&normalized),
        [
            "t/0/0#2 not JSON: bad escape at byte 6",
            "t/0/0#3 an element is no JSON object",
            "t/0/0#5 nested deeper than 64 at byte 71"
        ]
    );
    assert_eq!(normalized.rejected[0].raw, br#"{"a":"\x"}"#);
    // The container itself is broken: what came before is kept, the rest is rejected with its bytes.
    let cut = format!(r#"[{RECORD},{RECORD},{{"timestamp":"2026"#);
    let normalized = decode(&mut normalizer, &[cut.as_bytes()]);
    assert_eq!(normalized.events.rows(), 2);
    assert_eq!(reasons(&normalized), ["t/0/0#3 not JSON: the text ends inside a value"]);
    assert_eq!(normalized.rejected[0].raw, br#"{"timestamp":"2026"#);
    // A broken line loses only itself.
    let lines = format!("{{\"a\":\n{RECORD}\nplain text\n{RECORD}");
    let normalized = decode(&mut normalizer, &[lines.as_bytes()]);
    assert_eq!(
        (normalized.events.rows(), normalized.rejected.len()),
        (2, 2),
        "{:?}",
        reasons(&normalized)
    );
}

#[test]
fn hostile_bytes_are_rejected_with_a_reason() {
    let not_utf8 = [RECORD.as_bytes()[..RECORD.len() - 3].to_vec(), b"\xff\"}".to_vec()].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "empty payload (a tombstone)"),
        (b" \n ".to_vec(), "the payload holds no record"),
        (b"null".to_vec(), "neither a JSON object nor an array"),
        (
            b"{}".to_vec(),
            "not qdrant_audit: `timestamp` is missing or has another value",
        ),
        (
            RECORD.replace("ok", "maybe").into_bytes(),
            "not qdrant_audit: `result` is missing or has another value",
        ),
        (
            RECORD.replace('m', "\0").into_bytes(),
            "not JSON: unescaped control character at byte 4",
        ),
        (
            RECORD.as_bytes()[..40].to_vec(),
            "not JSON: the text ends inside a value",
        ),
        (b"{".repeat(100_000), "not JSON: unexpected `{` at byte 1"),
        (not_utf8, "not UTF-8 at byte 78"),
        (b"[1,".to_vec(), "the array of records is cut off"),
    ];
    for (bytes, reason) in cases {
        let normalized = decode(&mut normalizer("qdrant_audit"), &[&bytes]);
        let last = normalized.rejected.last().map(|rejected| rejected.reason.as_str());
        assert_eq!(
            last,
            Some(reason),
            "{}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(99)])
        );
        assert_eq!(normalized.events.rows(), 0);
    }
    let mut cut = batch([RECORD.as_bytes()], true);
    cut.payloads[0].truncated = true;
    let cut = normalizer("qdrant_audit").decode(&cut, INGESTED);
    assert_eq!(
        (cut.events.rows(), cut.rejected.len()),
        (0, 1),
        "what a source cut is not decoded even when it looks whole"
    );
    let file = normalizer("qdrant_audit").decode(&batch([b"  ".as_slice()], false), INGESTED);
    assert_eq!(file.records, 0, "a blank line of a file is no record");
    let junk = format!("[{}]", vec!["1"; 50_000].join(","));
    let normalized = decode(&mut normalizer("qdrant_audit"), &[junk.as_bytes()]);
    assert_eq!(normalized.rejected.len() as u32, REJECTED_PER_PAYLOAD_MAX + 1);
    // Each is broken as far as the end: it must not be looked for a thousand times.
    let nested = "[\n".repeat(2 << 20);
    let normalized = decode(&mut normalizer("qdrant_audit"), &[nested.as_bytes()]);
    assert_eq!(normalized.rejected.len() as u32, REJECTED_PER_PAYLOAD_MAX + 1);
    let long = RECORD.replace("\"m\"", &format!("\"{}\"", "x".repeat(RECORD_BYTES_MAX)));
    let normalized = decode(&mut normalizer("qdrant_audit"), &[long.as_bytes()]);
    assert!(normalized.rejected[0].reason.contains("is longer than"));
    assert_eq!(normalized.rejected[0].raw.len(), REJECTED_BYTES_MAX);
}

/// Any bytes end in events, duplicates and rejects that add up, and never in a panic.
#[test]
fn mutated_records_are_conserved() {
    let mut normalizer = normalizer(AUTO);
    let names: Vec<String> = normalizer.formats().into_iter().map(|format| format.name).collect();
    let read = |name: &String| std::fs::read(fixtures().join(format!("{name}.in.ndjson"))).expect("fixtures");
    let seeds: Vec<Vec<u8>> = names.iter().map(read).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound as u64) as usize
    };
    for round in 0..1500 {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..1 + next(6) {
            if bytes.is_empty() {
                break;
            }
            let at = next(bytes.len());
            match next(4) {
                0 => bytes[at] = b"{}[]\",:\\\n\0\xff5eu"[next(14)],
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"{}[]\",:\\\n\0\xff5eu"[next(14)]),
                _ => bytes.truncate(at.max(1)),
            }
        }
        decode(&mut normalizer, &[&bytes]);
    }
}

fn cloudtrail(id: &str, time: &str, extra: &str) -> String {
    format!(r#"{{"eventName":"A","eventSource":"x","eventID":"{id}","eventTime":"{time}"{extra}}}"#)
}

fn flags(normalized: &Normalized, row: usize) -> Vec<String> {
    let column = normalized.events.column("flags").as_list::<i32>();
    if column.is_null(row) {
        return Vec::new();
    }
    column
        .value(row)
        .as_string_view()
        .iter()
        .flatten()
        .map(str::to_owned)
        .collect()
}

#[test]
fn repeats_are_counted_and_conflicts_are_kept() {
    let mut normalizer = normalizer("aws_cloudtrail");
    let one = cloudtrail("1", "2026-03-02T09:15:00Z", "");
    let other = cloudtrail("1", "2026-03-02T09:15:00Z", r#","awsRegion":"x""#);
    let normalized = decode(
        &mut normalizer,
        &[one.as_bytes(), one.as_bytes(), other.as_bytes(), other.as_bytes()],
    );
    assert_eq!(
        (normalized.records, normalized.duplicates, normalized.events.rows()),
        (4, 2, 2)
    );
    assert_eq!(flags(&normalized, 1), ["id_conflict"]);
    let ids = normalized.events.text("event_id");
    assert_ne!(ids.value(0), ids.value(1), "a row is one event");
    // A restarted engine that is told what it had decoded tells the same.
    let mut restarted = super::tests::normalizer("aws_cloudtrail");
    let hash = normalized
        .events
        .column("raw_hash")
        .as_primitive::<Int64Type>()
        .value(0);
    restarted.remember(ids.value(0), hash, normalized.events.time().value(0));
    let again = decode(&mut restarted, &[one.as_bytes(), other.as_bytes()]);
    assert_eq!(
        (again.duplicates, flags(&again, 0)),
        (1, vec!["id_conflict".to_owned()])
    );
}

#[test]
fn what_is_rejected_is_no_repeat_when_it_comes_again() {
    let mut normalizer = normalizer("aws_cloudtrail");
    let record =
        r#"{"eventID":"1","eventSource":"s3.amazonaws.com","eventName":{},"eventTime":"2026-03-02T09:15:00Z"}"#;
    for _ in 0..2 {
        let normalized = decode(&mut normalizer, &[record.as_bytes()]);
        assert_eq!((normalized.rejected.len(), normalized.duplicates), (1, 0));
    }
}

#[test]
fn a_column_that_some_records_fill_is_null_in_the_others() {
    let mut normalizer = normalizer("aws_cloudtrail");
    let filled = |number: usize| number % 5 == 3;
    let texts: Vec<String> = (0..23)
        .map(|number| {
            let more = if filled(number) {
                r#","errorCode":"AccessDenied","errorMessage":"a message that is longer than a view""#
            } else {
                ""
            };
            cloudtrail(&number.to_string(), "2026-03-02T09:15:00Z", more)
        })
        .collect();
    let payloads: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    let normalized = decode(&mut normalizer, &payloads);
    for (number, text) in texts.iter().enumerate() {
        let row = row(&normalized.events, number);
        assert_eq!(row.contains_key("status_code"), filled(number), "{number}");
        assert_eq!(row.contains_key("status_detail"), filled(number), "{number}");
        let status = if filled(number) { "Failure" } else { "Success" };
        assert_eq!(row["status"], json!(status), "{number}");
        assert_eq!(row["raw"], json!(text));
        assert_eq!(row["source"], json!("s"));
    }
}

#[test]
fn only_good_times_move_the_watermark() {
    let mut normalizer = normalizer("aws_cloudtrail");
    let texts = [
        cloudtrail("1", "2026-03-02T09:15:00Z", ""),
        cloudtrail("2", "2026-03-02T10:09:59Z", ""),
        cloudtrail("3", "2026-03-02T10:10:01Z", ""),
        cloudtrail("4", "soon", ""),
    ];
    let payloads: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    let normalized = decode(&mut normalizer, &payloads);
    assert_eq!(normalized.newest_time, Some(INGESTED + 599 * SECOND));
    assert_eq!(flags(&normalized, 2), ["future_time"]);
    assert_eq!(flags(&normalized, 3), ["no_time"]);
    assert_eq!(normalized.events.time().value(3), INGESTED);
}

#[test]
fn values_out_of_the_ordinary() {
    let mut normalizer = normalizer("litellm");
    let long = "é".repeat(FIELD_BYTES_MAX);
    let text = format!(
        r#"{{"id":"1","id":"2","call_type":"acompletion","startTime":1772442900,"prompt_tokens":1e400,"completion_tokens":99999999999999999999,
        "total_tokens":12.0,"response_cost":"0.5","messages":"{long}","mod\u0065l":"gp\u0000t","trace_id":null,"trace_id":"","status":"odd"}}"#
    );
    let normalized = decode(&mut normalizer, &[text.as_bytes()]);
    let columns = row(&normalized.events, 0);
    assert_eq!(
        columns.get("api_request_uid"),
        Some(&json!("2")),
        "of a repeated key the last value wins"
    );
    assert_eq!(columns.get("message_context_prompt_tokens"), None);
    assert_eq!(columns.get("message_context_completion_tokens"), None);
    assert_eq!(columns.get("message_context_total_tokens"), Some(&json!(12)));
    assert_eq!(columns.get("ai_cost_usd"), Some(&json!(0.5)));
    assert_eq!(
        columns.get("ai_model_name"),
        Some(&json!("gp\u{fffd}t")),
        "keys may be written with escapes"
    );
    assert_eq!(columns.get("message_context_uid"), None);
    assert_eq!(
        columns.get("status"),
        Some(&json!("odd")),
        "a value the map does not name stays"
    );
    assert_eq!(
        columns.get("ai_prompt").and_then(Value::as_str).map(str::len),
        Some(FIELD_BYTES_MAX)
    );
    assert_eq!(flags(&normalized, 0), ["cut"]);
}

#[test]
fn unescaped_text_is_not_copied() {
    // Big enough to be used where it lies; every long text and `raw` must point into the payload's own bytes.
    let record = cloudtrail(
        "1",
        "2026-03-02T09:15:00Z",
        r#","userAgent":"an agent with a long name""#,
    );
    let lines = vec![record; 1000].join("\n").replace("\"1\"", "\"1\" ");
    let raw = batch([lines.as_bytes()], false);
    let inside = raw.payloads[0].bytes.as_ptr_range();
    let normalized = normalizer("aws_cloudtrail").decode(&raw, INGESTED);
    for column in ["raw", "http_request_user_agent"] {
        assert!(
            normalized
                .events
                .text(column)
                .iter()
                .flatten()
                .all(|text| inside.contains(&text.as_ptr())),
            "{column}"
        );
    }
}

#[test]
fn what_stands_in_the_batch_s_block_is_used_there() {
    let agent = r#","userAgent":"an agent with a long name""#;
    let lines: Vec<String> = (0..9)
        .map(|n| cloudtrail(&n.to_string(), "2026-03-02T09:15:00Z", agent))
        .collect();
    let mut raw = batch(lines.iter().map(|line| line.as_bytes()), false);
    let copied = normalizer("aws_cloudtrail").decode(&raw, INGESTED);
    let block = Bytes::from(lines.join("\n"));
    let mut start = 0;
    for payload in &mut raw.payloads {
        let end = start + payload.bytes.len();
        // One stands elsewhere.
        if start > 0 {
            payload.bytes = block.slice(start..end);
        }
        start = end + 1;
    }
    let inside = block.as_ptr_range();
    raw.block = Some(block.clone());
    let normalized = normalizer("aws_cloudtrail").decode(&raw, INGESTED);
    assert_eq!(normalized.events.batch(), copied.events.batch());
    for column in ["raw", "http_request_user_agent"] {
        let texts = normalized.events.text(column).iter().flatten();
        let in_place: Vec<bool> = texts.map(|text| inside.contains(&text.as_ptr())).collect();
        assert_eq!(
            in_place,
            [false, true, true, true, true, true, true, true, true],
            "{column}"
        );
    }
}

#[test]
fn relations_are_counted_per_hour() {
    let mut normalizer = normalizer("qdrant_audit");
    let line = |time: &str, subject: &str| {
        format!(
            r#"{{"timestamp":"{time}","auth_type":"Jwt","result":"ok","method":"search_points","subject":"{subject}","collection":"c"}}"#
        )
    };
    let texts = [
        line("2026-03-02T09:15:00Z", "A@x"),
        line("2026-03-02T09:16:00Z", "a@x"),
        line("2026-03-02T08:16:00Z", "a@x"),
    ];
    let payloads: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    let normalized = decode(&mut normalizer, &payloads);
    let counts: Vec<(String, u64)> = normalized
        .relations
        .iter()
        .map(|edge| (format!("{} {} {}", edge.from, edge.kind, edge.to), edge.count))
        .collect();
    let read = "principal:a@x read collection:c".to_owned();
    assert_eq!(counts, [(read.clone(), 1), (read, 2)]);
    assert_eq!(
        *normalized.relations[1].event_id,
        *normalized.events.text("event_id").value(0)
    );
}

#[test]
fn sources_know_their_lateness_and_layers() {
    let mut own = source("own", "litellm");
    own.lateness = Some(5 * SECOND);
    let normalizer =
        Normalizer::new(&[own, source("s", "aws_cloudtrail"), source("any", AUTO)], &[]).expect("mappings");
    assert_eq!(normalizer.lateness("own"), 5 * SECOND);
    assert_eq!(normalizer.lateness("s"), 900 * SECOND);
    assert_eq!(normalizer.lateness("any"), AUTO_LATENESS_MAX);
    let layers = normalizer.layers("any");
    assert!(
        ["cloud", "gateway", "host", "vector_db"]
            .iter()
            .all(|layer| layers.contains(*layer))
    );
    assert_eq!(normalizer.layers("s").len(), 1);
}

#[test]
fn a_value_of_another_kind_where_every_event_has_a_text_is_rejected() {
    for name in [json!({}), json!([]), json!(true), json!(1), json!({"a": "b"})] {
        let record =
            json!({"eventVersion": "1.08", "eventTime": "2026-03-02T08:00:00Z", "eventID": "e1", "eventName": name,
            "eventSource": "iam.amazonaws.com", "awsRegion": "us-east-1", "userIdentity": {"type": "IAMUser"}})
            .to_string();
        for format in ["aws_cloudtrail", "auto"] {
            let out = decode(&mut normalizer(format), &[record.as_bytes()]);
            assert_eq!(out.events.rows() + out.rejected.len(), 1, "{name} as {format}");
        }
    }
}
