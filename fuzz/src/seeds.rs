//! What the fuzzer begins with: the project's own fixtures and mappings, and by hand what no fixture has.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sentrail::normalize::Normalizer;

/// The format whose records are lines after a template, and that of comma-separated values.
pub const TEMPLATE: &str = "milvus";
pub const CSV: &str = "pgaudit";

/// Records for a mapping that is being fuzzed: what its paths may lead to.
pub const RECORDS: [&str; 6] = [
    r#"{"time":"2026-02-01T10:00:00Z","id":"1","user":{"name":"mara","id":7},"list":[{"name":"x","value":"1"},{"name":"y"}],"ok":true}"#,
    r#"{"a":{"b":[1,2.5,null,"x\n\u00e9"],"c":"{\"d\":\"e\"}"},"b":"1,\"two \"\"q\"\"\",3","c":-1e9,"message":"[t] <u: a> m [x: y]"}"#,
    r#"{"Records":[{"a":1},{"a":"2"},[],3]}"#,
    "[2026/02/01 10:00:00.000 +00:00] <svc: tcp-192.0.2.7:1> Search [status: ok] [msg: ] tail",
    "1,\"two, \"\"q\"\"\",\n3,4",
    "<134>1 2026-02-01T10:00:00Z host app - - - {\"a\":{\"b\":1}}",
];

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/sources")
}

fn files(dir: &Path, ending: &str) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(name) = name.strip_suffix(ending) {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            files.push((name.to_owned(), text));
        }
    }
    files
}

/// The built-in formats of JSON.
pub fn json_formats() -> &'static [String] {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let normalizer = Normalizer::new(&[], &[]).unwrap_or_else(|error| panic!("the build's own mappings: {error}"));
        let json = normalizer.formats().into_iter().filter(|format| !format.lines);
        json.map(|format| format.name).collect()
    })
}

/// The fixtures of a format, each with the name before it.
pub fn records(format: &str) -> Vec<Vec<u8>> {
    let all = files(&sources().join("fixtures"), ".in.ndjson");
    let lines = all
        .iter()
        .filter(|(name, _)| name == format)
        .flat_map(|(_, text)| text.lines());
    lines.map(|line| format!("{format}\n{line}").into_bytes()).collect()
}

/// Of all formats of JSON; some are read as `auto`, and some as documents of several.
pub fn json() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for format in json_formats() {
        let own = records(format);
        let lines: Vec<&[u8]> = own.iter().filter_map(|seed| seed.get(format.len() + 1..)).collect();
        let several = lines.iter().take(3).copied().collect::<Vec<_>>();
        seeds.push([b"auto\n[", several.join(&b","[..]).as_slice(), b"]"].concat());
        seeds.push([format.as_bytes(), b"\n", several.join(&b"\n"[..]).as_slice()].concat());
        seeds.extend(own);
    }
    seeds
}

pub fn mappings() -> Vec<Vec<u8>> {
    files(&sources(), ".toml")
        .into_iter()
        .map(|(_, text)| text.into_bytes())
        .collect()
}

/// After a byte that says how long the pieces are in which it arrives.
pub fn syslog() -> Vec<Vec<u8>> {
    const MESSAGES: [&str; 6] = [
        "<134>1 2026-02-01T10:00:00.123Z host.example.com app 42 ID7 [a@32473 b=\"c \\\"d\\\"\"][e@1] \u{feff}{\"x\":1}\n",
        "<13>Feb  1 10:00:00 host app[42]: text of a message\n",
        "51 <34>1 - - - - - - counted, and with a line feed\nin it",
        "5 hello6 world!",
        "no header at all\r\n\0\n",
        "<191>Oct 11 22:14:15 2026 host %ASA-6-302013: Built inbound TCP\n",
    ];
    let whole = MESSAGES.concat();
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for (piece, text) in [1u8, 2, 7, 255]
        .iter()
        .flat_map(|piece| MESSAGES.iter().map(move |text| (piece, *text)))
    {
        seeds.push([&[*piece], text.as_bytes()].concat());
    }
    seeds.push([b"\x05", whole.as_bytes()].concat());
    seeds
}

/// After a byte whose lowest bit says JSON and whose second says traces.
pub fn otlp() -> Vec<Vec<u8>> {
    const LOGS: &str = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"assistant"}}]},
        "scopeLogs":[{"scope":{"name":"s","version":"1"},"logRecords":[{"timeUnixNano":"1770000000000000000","severityNumber":9,
        "severityText":"INFO","body":{"kvlistValue":{"values":[{"key":"a","value":{"arrayValue":{"values":[{"intValue":"1"},
        {"doubleValue":2.5},{"boolValue":true},{"bytesValue":"aGk="}]}}}]}},"attributes":[{"key":"n","value":{"intValue":7}}],
        "traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","flags":1,"eventName":"e"},5]}]}]}"#;
    const TRACES: &str = r#"{"resourceSpans":[{"resource":{},"scopeSpans":[{"scope":{},"spans":[{"traceId":"5b8efff798038103d269b633813fc60c",
        "spanId":"eee19b7ec3c1b174","parentSpanId":"eee19b7ec3c1b173","name":"chat","kind":3,"startTimeUnixNano":"1770000000000000000",
        "endTimeUnixNano":1770000001000000000,"events":[{"timeUnixNano":"1770000000000000001","name":"choice","attributes":[]}],
        "links":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"}],"status":{"code":2,"message":"m"}}]}]}]}"#;
    let number = |field: u8, value: u8| vec![field << 3, value];
    let fixed = |field: u8, value: u64| [&[field << 3 | 1], value.to_le_bytes().as_slice()].concat();
    let bytes = |field: u8, body: &[u8]| {
        let (low, high) = (body.len() as u8 & 0x7f | 0x80, (body.len() >> 7) as u8);
        [&[field << 3 | 2, low, high], body].concat()
    };
    let text = |value: &str| bytes(1, value.as_bytes());
    let pair = |key: &str, value: Vec<u8>| [text(key), bytes(2, &value)].concat();
    let values = [
        number(3, 7),
        fixed(4, 2.5f64.to_bits()),
        number(2, 1),
        bytes(7, b"hi"),
        text("x"),
    ];
    let list: Vec<u8> = values.iter().flat_map(|value| bytes(1, value)).collect();
    let map = [bytes(1, &pair("a", bytes(5, &list))), bytes(1, &pair("b", Vec::new()))].concat();
    let resource = bytes(1, &bytes(1, &pair("service.name", text("assistant"))));
    let scope = bytes(1, &[text("s"), bytes(2, b"1")].concat());
    let ids = |trace: u8, span: u8| [bytes(trace, &[7; 16]), bytes(span, &[9; 8])].concat();
    let log = [
        fixed(1, 1_770_000_000_000_000_000),
        number(2, 9),
        bytes(3, b"INFO"),
        bytes(5, &bytes(6, &map)),
        bytes(6, &pair("n", number(3, 7))),
        ids(9, 10),
    ];
    let event = [fixed(1, 1_770_000_000_000_000_001), bytes(2, b"choice")].concat();
    let span = [
        ids(1, 2),
        bytes(5, b"chat"),
        number(6, 3),
        fixed(7, 1_770_000_000_000_000_000),
        fixed(8, 1_770_000_001_000_000_000),
        bytes(9, &pair("gen_ai.request.model", text("m"))),
        bytes(11, &event),
        bytes(13, &ids(1, 2)),
        bytes(15, &[bytes(2, b"m"), number(3, 2)].concat()),
    ];
    let request = |record: Vec<u8>| {
        bytes(
            1,
            &[resource.clone(), bytes(2, &[scope.clone(), bytes(2, &record)].concat())].concat(),
        )
    };
    vec![
        [b"\x01", LOGS.as_bytes()].concat(),
        [b"\x03", TRACES.as_bytes()].concat(),
        [b"\x00", request(log.concat()).as_slice()].concat(),
        [b"\x02", request(span.concat()).as_slice()].concat(),
    ]
}
