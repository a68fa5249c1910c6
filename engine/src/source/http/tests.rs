//! The listener as senders see it, and what of it reaches the pipeline.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::*;
use crate::source::spool::SPOOL_BYTES_MIN;

/// A listener with its spool, in a directory that goes with the test.
struct Running {
    dir: tempfile::TempDir,
    address: std::net::SocketAddr,
    spool: Arc<Spool>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start(tokens: &[&str]) -> Running {
        let dir = tempfile::tempdir().expect("a directory");
        let spool = Arc::new(Spool::open(dir.path(), 0, SPOOL_BYTES_MIN, None).expect("a spool"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let tokens: Vec<Secret> = tokens.iter().map(|token| Secret::new(token.to_string())).collect();
        let intake = Intake::new(Arc::clone(&spool), &tokens);
        let (writing, stopping) = (Arc::clone(&spool), Arc::clone(&stop));
        let threads = vec![
            std::thread::spawn(move || writing.write()),
            std::thread::spawn(move || {
                run(listener, intake, move || stopping.load(Ordering::Relaxed)).expect("served");
            }),
        ];
        Running {
            dir,
            address,
            spool,
            stop,
            threads,
        }
    }

    /// Status, headers in lower case, and body of the answer.
    fn send(&self, head: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).expect("connected");
        let head = format!(
            "{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("sent");
        // A server that refuses may close before it has read everything.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let end = answer
            .windows(4)
            .position(|bytes| bytes == b"\r\n\r\n")
            .expect("a header");
        let header = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let status = header
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status");
        (status, header, answer.split_off(end + 4))
    }

    fn post(&self, path: &str, more: &str, body: &[u8]) -> (u16, Value) {
        let (status, _, body) = self.send(&format!("POST {path} HTTP/1.1{more}"), body);
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.spool.close();
        for thread in self.threads.drain(..) {
            thread.join().expect("ended");
        }
    }

    /// Stops, and gives what the spool holds: payloads and their attributes.
    fn finish(mut self) -> Vec<(String, String)> {
        self.stop();
        let payloads = Spool::read_all(self.dir.path());
        let shown = payloads.into_iter().map(|payload| {
            let attributes = payload.attributes.as_deref().into_iter().flatten();
            let attributes = attributes.map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)));
            (
                String::from_utf8_lossy(&payload.bytes).into_owned(),
                attributes.collect::<Vec<_>>().join(" "),
            )
        });
        shown.collect()
    }
}

const JSON: &str = "\r\nContent-Type: application/json";
const PROTOBUF: &str = "\r\nContent-Type: application/x-protobuf";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

fn texts(records: &[(String, String)]) -> Vec<&str> {
    records.iter().map(|(text, _)| text.as_str()).collect()
}

#[test]
fn lines_are_records_plain_and_compressed() {
    let running = Running::start(&[]);
    assert_eq!(
        running.post("/v1/bulk", "", b"{\"n\":1}\r\n\n{\"n\":2}"),
        (200, json!({"accepted": 2}))
    );
    let members = [gzip(b"{\"n\":3}\n{\"n\""), gzip(b":4}\n")].concat();
    let answer = running.post("/v1/bulk", "\r\nContent-Encoding: gzip", &members);
    assert_eq!(answer, (200, json!({"accepted": 2})));
    let (status, answer) = running.post("/v1/bulk", "\r\nContent-Encoding: gzip", b"plain");
    assert!(
        status == 400 && answer["error"].as_str().is_some_and(|error| error.contains("gzip")),
        "{answer}"
    );
    let cut = gzip(b"{\"n\":5}\n");
    assert_eq!(
        running
            .post("/v1/bulk", "\r\nContent-Encoding: gzip", &cut[..cut.len() - 4])
            .0,
        400
    );
    assert_eq!(running.post("/v1/bulk", "\r\nContent-Encoding: br", b"x").0, 415);
    assert_eq!(running.post("/nowhere", "", b"x").0, 404);
    assert_eq!(
        texts(&running.finish()),
        ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}", "{\"n\":4}"]
    );
}

#[test]
fn a_token_is_needed_where_one_is_set() {
    let running = Running::start(&["first", "second"]);
    let bulk = |auth: &str| running.post("/v1/bulk", &format!("\r\nAuthorization: {auth}"), b"{}").0;
    assert_eq!(
        (bulk("Bearer first"), bulk("bearer second"), bulk("Splunk first")),
        (200, 200, 200)
    );
    assert_eq!(
        (
            bulk("Bearer third"),
            bulk("Bearer "),
            bulk("Basic first"),
            bulk("first")
        ),
        (401, 401, 401, 401)
    );
    let (status, header, _) = running.send("POST /v1/bulk HTTP/1.1", b"{}");
    assert!(status == 401 && header.contains("www-authenticate: bearer"), "{header}");
    let hec = |auth: &str| running.post("/services/collector", auth, b"{\"event\":1}");
    assert_eq!(hec(""), (401, json!({"text": "Token is required", "code": 2})));
    assert_eq!(
        hec("\r\nAuthorization: Splunk x"),
        (403, json!({"text": "Invalid token", "code": 4}))
    );
    assert_eq!(running.finish().len(), 3);
}

#[test]
fn what_is_too_long_is_refused_before_it_is_held() {
    let running = Running::start(&[]);
    let zeros = gzip(&vec![b' '; 3 * body::BODY_BYTES_MAX]);
    assert!(zeros.len() < 1 << 20);
    let (status, answer) = running.post("/v1/bulk", "\r\nContent-Encoding: gzip", &zeros);
    assert_eq!(status, 413, "{answer}");
    assert_eq!(
        running
            .send("POST /v1/bulk HTTP/1.1", &vec![b' '; body::WIRE_BYTES_MAX + 1])
            .0,
        413
    );
    // Everything was given back.
    assert_eq!(running.post("/v1/bulk", "", b"{}").0, 200);
    assert_eq!(running.finish().len(), 1);
}

#[test]
fn a_request_with_too_many_records_is_refused_whole_however_short_they_are() {
    let running = Running::start(&[]);
    let most = RECORDS_MAX as usize;
    let gz = "\r\nContent-Encoding: gzip";
    let (status, answer) = running.post("/v1/bulk", gz, &gzip(&b"{}\n".repeat(most + 1)));
    let told = "the request has more than 100000 records; send smaller batches";
    assert_eq!((status, answer), (413, json!({ "error": told })));
    let events = gzip(&b"{\"event\":1}".repeat(most + 1));
    for path in ["/services/collector", "/services/collector/raw"] {
        let body = if path.ends_with("raw") {
            gzip(&b"x\n".repeat(most + 1))
        } else {
            events.clone()
        };
        let (status, answer) = running.post(path, gz, &body);
        assert!(
            status == 413 && answer["text"].as_str().is_some_and(|text| text.ends_with(told)),
            "{answer}"
        );
    }
    let spans = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}{{}}]}}]}}]}}"#,
        "{},".repeat(most)
    );
    assert_eq!(
        running
            .post("/v1/traces", &format!("{JSON}{gz}"), &gzip(spans.as_bytes()))
            .0,
        413
    );
    assert_eq!(
        running.post("/v1/bulk", gz, &gzip(&b"{}\n".repeat(most))),
        (200, json!({ "accepted": RECORDS_MAX }))
    );
    assert_eq!(running.finish().len(), most);
}

#[test]
fn pressure_is_told_with_a_time_to_come_again() {
    let mut running = Running::start(&[]);
    let body = gzip(&vec![b'x'; 20 << 20]); // three of them leave 4 MiB
    let mut accepted = 0;
    let refused = loop {
        let (status, header, _) = running.send("POST /v1/bulk HTTP/1.1\r\nContent-Encoding: gzip", &body);
        if status != 200 {
            break (status, header);
        }
        accepted += 1;
        assert!(accepted < 10, "a spool of 64 MiB takes no more than three of 20");
    };
    assert!(refused.0 == 429 && refused.1.contains("retry-after: 5"), "{refused:?}");
    assert_eq!(accepted, 3);
    let busy = running.post("/services/collector", "", gzip(b"").as_slice());
    assert!(
        busy.0 == 400 || busy == (429, json!({"text": "Server is busy", "code": 9})),
        "{busy:?}"
    );
    running.spool.committed(3);
    assert_eq!(running.post("/v1/bulk", "", b"{}").0, 200);
    running.stop();
}

#[test]
fn memory_is_shared_and_given_back() {
    let memory = Memory::new();
    let mut first = memory.hold();
    assert_eq!(first.grow_to(body::HELD_BYTES_MAX), Ok(()));
    let mut second = memory.hold();
    assert!(matches!(second.grow_to(1), Err(Refusal::Busy(_))));
    drop(first);
    assert_eq!(second.grow_to(1), Ok(()));
}

#[test]
fn hec_events_carry_their_metadata() {
    let running = Running::start(&["t"]);
    let auth = "\r\nAuthorization: Splunk t";
    let success = (200, json!({"text": "Success", "code": 0}));
    let events = br#"{"time":1700000000.5,"host":"h","source":"s","sourcetype":"_json","index":"i","event":{"a": [1, "x"]},"fields":{"env":"prod","n":3}}{"event":"line \"one\""}
        {"event":{},"unknown":1}"#;
    assert_eq!(running.post("/services/collector/event", auth, events), success);
    let raw = "/services/collector/raw?host=web%201&sourcetype=x&channel=c";
    assert_eq!(running.post(raw, auth, b"one\ntwo\n"), success);
    assert_eq!(
        running.post(raw, auth, b"\n"),
        (400, json!({"text": "No data", "code": 5}))
    );
    let (status, answer) = running.post("/services/collector", auth, b"{\"event\":1}{\"event\":");
    assert_eq!(
        (status, &answer["code"], &answer["invalid-event-number"]),
        (400, &json!(6), &json!(1))
    );
    assert_eq!(running.post("/services/collector/ack", auth, b"{}").1["code"], 14);
    let (status, _, body) = running.send("GET /services/collector/health HTTP/1.1", b"");
    assert_eq!(
        (status, body.as_slice()),
        (200, br#"{"code":17,"text":"HEC is healthy"}"#.as_slice())
    );
    assert_eq!(
        running.finish(),
        [
            (
                "{\"a\": [1, \"x\"]}",
                "hec.field.env=prod hec.field.n=3 hec.host=h hec.index=i hec.source=s hec.sourcetype=_json hec.time=1700000000.5"
            ),
            ("line \"one\"", ""),
            ("{}", ""),
            ("one", "hec.host=web 1 hec.sourcetype=x"),
            ("two", "hec.host=web 1 hec.sourcetype=x"),
        ]
        .map(|(text, attributes)| (text.to_owned(), attributes.to_owned()))
    );
}

/// A request in OTLP/JSON whose records hold what OTLP can hold.
fn traces() -> Value {
    json!({ "resourceSpans": [{
        "resource": { "attributes": [
            { "key": "service.name", "value": { "stringValue": "assistant" } },
            { "key": "replicas", "value": { "intValue": "3" } }
        ]},
        "scopeSpans": [{
            "scope": { "name": "openai", "version": "1.0", "attributes": [] },
            "spans": [{
                "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "eee19b7ec3c1b174", "parentSpanId": "", "name": "chat",
                "kind": 3, "startTimeUnixNano": "1700000000000000001", "endTimeUnixNano": 1700000000000000002u64, "future": 1,
                "attributes": [
                    { "key": "tokens", "value": { "intValue": 12 } },
                    { "key": "temperature", "value": { "doubleValue": 0.5 } },
                    { "key": "stream", "value": { "boolValue": true } },
                    { "key": "reasons", "value": { "arrayValue": { "values": [{ "stringValue": "stop" }, {}] } } },
                    { "key": "call", "value": { "kvlistValue": { "values": [{ "key": "name", "value": { "stringValue": "f" } }] } } },
                    { "key": "bytes", "value": { "bytesValue": "AAH/" } },
                    { "key": "empty" }
                ],
                "events": [{ "timeUnixNano": "5", "name": "e", "attributes": [{ "key": "k", "value": { "stringValue": "v" } }] }],
                "links": [], "status": { "code": 2, "message": "no" }
            }]
        }]
    }]})
}

fn shown_span() -> Value {
    json!({
        "resource": { "service.name": "assistant", "replicas": 3 },
        "scope": { "name": "openai", "version": "1.0", "attributes": {} },
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "chat", "kind": 3,
        "startTimeUnixNano": "1700000000000000001", "endTimeUnixNano": "1700000000000000002",
        "attributes": {
            "tokens": 12, "temperature": 0.5, "stream": true, "reasons": ["stop", null], "call": { "name": "f" }, "bytes": "AAH/",
            "empty": null
        },
        "events": [{ "timeUnixNano": "5", "name": "e", "attributes": { "k": "v" } }],
        "links": [], "status": { "code": 2, "message": "no" }
    })
}

/// Protobuf by hand: a field of bytes, and the numbers.
fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 128 * 128);
    let low = content.len() as u8 & 0x7f;
    let length = match content.len() >> 7 {
        0 => vec![low],
        high => vec![low | 0x80, high as u8],
    };
    [vec![(field << 3) | 2], length, content.to_vec()].concat()
}

fn eight(field: u8, number: u64) -> Vec<u8> {
    [vec![(field << 3) | 1], number.to_le_bytes().to_vec()].concat()
}

fn pair(key: &str, value: &[u8]) -> Vec<u8> {
    [bytes(1, key.as_bytes()), bytes(2, value)].concat()
}

/// The same request as `traces()`, in protobuf.
fn traces_in_protobuf() -> Vec<u8> {
    let attributes = [
        pair("tokens", &[3 << 3, 12]),
        pair("temperature", &eight(4, 0.5f64.to_bits())),
        pair("stream", &[2 << 3, 1]),
        pair(
            "reasons",
            &bytes(5, &[bytes(1, &bytes(1, b"stop")), bytes(1, b"")].concat()),
        ),
        pair("call", &bytes(6, &bytes(1, &pair("name", &bytes(1, b"f"))))),
        pair("bytes", &bytes(7, &[0, 1, 255])),
        bytes(1, b"empty"),
    ];
    let event = [eight(1, 5), bytes(2, b"e"), bytes(3, &pair("k", &bytes(1, b"v")))].concat();
    let span = [
        bytes(1, &hex::decode("5b8efff798038103d269b633813fc60c").expect("hex")),
        bytes(2, &hex::decode("eee19b7ec3c1b174").expect("hex")),
        bytes(5, b"chat"),
        vec![6 << 3, 3],
        eight(7, 1_700_000_000_000_000_001),
        eight(8, 1_700_000_000_000_000_002),
        attributes.iter().flat_map(|attribute| bytes(9, attribute)).collect(),
        bytes(11, &event),
        bytes(15, &[bytes(2, b"no"), vec![3 << 3, 2]].concat()),
        // Field 20, of a later version.
        vec![0xa2, 0x01, 0x00],
    ]
    .concat();
    let scopes = [
        bytes(2, &span),
        bytes(1, &[bytes(1, b"openai"), bytes(2, b"1.0")].concat()),
    ]
    .concat();
    let resource = [
        bytes(1, &pair("service.name", &bytes(1, b"assistant"))),
        bytes(1, &pair("replicas", &[3 << 3, 3])),
    ]
    .concat();
    bytes(1, &[bytes(2, &scopes), bytes(1, &resource)].concat())
}

#[test]
fn otlp_gives_the_same_records_in_both_encodings() {
    let running = Running::start(&[]);
    assert_eq!(
        running.post("/v1/traces", JSON, traces().to_string().as_bytes()),
        (200, json!({}))
    );
    let (status, header, answer) = running.send(
        &format!("POST /v1/traces HTTP/1.1{PROTOBUF}\r\nContent-Encoding: gzip"),
        &gzip(&traces_in_protobuf()),
    );
    assert_eq!((status, answer.as_slice()), (200, &b""[..]));
    assert!(header.contains("application/x-protobuf"), "{header}");
    let log = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{
        "timeUnixNano": "0", "observedTimeUnixNano": "7", "severityNumber": 9, "severityText": "INFO", "eventName": "e",
        "body": { "kvlistValue": { "values": [{ "key": "a", "value": { "intValue": "-1" } }] } }, "traceId": "", "flags": 1
    }, {}] }] }] });
    assert_eq!(
        running.post("/v1/logs", JSON, log.to_string().as_bytes()),
        (200, json!({}))
    );
    let records = running.finish();
    let records: Vec<Value> = records
        .iter()
        .map(|(text, _)| serde_json::from_str(text).expect("JSON"))
        .collect();
    assert_eq!(records[0], shown_span());
    let mut span = shown_span();
    // In protobuf an empty list is an absent one.
    span["scope"].as_object_mut().expect("a map").remove("attributes");
    span.as_object_mut().expect("a map").remove("links");
    assert_eq!(records[1], span);
    assert_eq!(
        records[2],
        json!({ "resource": {}, "scope": {}, "observedTimeUnixNano": "7", "severityNumber": 9, "severityText": "INFO",
                "eventName": "e", "body": { "a": -1 }, "flags": 1 })
    );
    assert_eq!(records[3], json!({ "resource": {}, "scope": {} }));
}

#[test]
fn otlp_that_is_too_much_or_none_is_told_in_its_own_words() {
    let running = Running::start(&[]);
    let mut deep = json!({ "stringValue": "x" });
    for _ in 0..40 {
        deep = json!({ "arrayValue": { "values": [deep] } });
    }
    let request = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{ "body": deep }, { "severityText": "kept" }, 5] }] }] });
    let (status, answer) = running.post("/v1/logs", JSON, request.to_string().as_bytes());
    assert_eq!(
        (status, &answer["partialSuccess"]["rejectedLogRecords"]),
        (200, &json!("2"))
    );
    assert!(
        answer["partialSuccess"]["errorMessage"]
            .as_str()
            .is_some_and(|told| told.contains("nested")),
        "{answer}"
    );
    let mut body = bytes(1, b"x");
    for _ in 0..40 {
        body = bytes(5, &bytes(1, &body));
    }
    let request = bytes(1, &bytes(2, &bytes(2, &bytes(5, &body))));
    let (status, _, answer) = running.send(&format!("POST /v1/logs HTTP/1.1{PROTOBUF}"), &request);
    // Field 1 of the answer: rejected = 1 in field 1, the reason in field 2.
    assert_eq!((status, &answer[..1], &answer[2..5]), (200, &[10][..], &[8, 1, 18][..]));
    for (kind, body) in [
        (JSON, &b"{\"resourceLogs\":5}"[..]),
        (JSON, b"nothing"),
        (PROTOBUF, b"\x0a\xff"),
        (PROTOBUF, b"\x08\x01"),
    ] {
        let (status, _, answer) = running.send(&format!("POST /v1/logs HTTP/1.1{kind}"), body);
        assert_eq!(status, 400);
        assert!(
            kind == JSON || answer.starts_with(&[8, 3, 18]),
            "a google.rpc.Status: {answer:?}"
        );
    }
    assert_eq!(running.send("POST /v1/logs HTTP/1.1", b"").0, 415);
    assert_eq!(
        running.post("/v1/logs", JSON, b"{}"),
        (200, json!({})),
        "a batch without records"
    );
    let records = running.finish();
    assert_eq!(records.len(), 1);
    assert!(records[0].0.contains("kept"));
}
