//! What mapping files can say, and what they are told when they say it wrong.

use super::*;

const MAPPING_FILES_QDRANT: &str = include_str!("../../../../schemas/sources/qdrant_audit.toml");

fn compile(text: &str) -> Result<Plan, MappingError> {
    Plan::compile(&mapping::Mapping::parse("x.toml", text)?)
}

#[test]
fn a_site_brings_its_own_mappings() {
    let own = |format: &str, file: &str| MappingText {
        file: file.to_owned(),
        text: MAPPING_FILES_QDRANT
            .replace("format = \"qdrant_audit\"", &format!("format = \"{format}\""))
            .replace("title = \"", "title = \"Our "),
    };
    let texts = [own("ours", "a.toml"), own("qdrant_audit", "b.toml")];
    let formats = Normalizer::new(&[source("s", "ours")], &texts)
        .expect("valid")
        .formats();
    let titles: Vec<&str> = formats
        .iter()
        .filter(|format| ["ours", "qdrant_audit"].contains(&format.name.as_str()))
        .map(|format| format.title.as_str())
        .collect();
    assert_eq!(
        titles, ["Our Qdrant audit log"; 2],
        "the site's own replaces the build's"
    );
    let Err(error) = Normalizer::new(&[], &[own("ours", "a.toml"), own("ours", "b.toml")]) else {
        panic!()
    };
    assert_eq!(
        error.to_string(),
        "b.toml: the format `ours` is declared in a.toml too; every format needs its own name"
    );
}

#[test]
fn bad_mappings_are_refused_with_their_place() {
    let good = MAPPING_FILES_QDRANT;
    let cases = [
        (
            "[columns]",
            "[columns]\nno_such = { from = \"a\" }",
            "`no_such` is no column",
        ),
        ("from = \"subject\"", "form = \"subject\"", "unknown field `form`"),
        ("from = \"tracing_id\"", "from = \"tracing..id\"", "a key is empty"),
        ("from = \"remote\"", "from = \"{remote\"", "a brace is open"),
        (
            "activity_name = [\"Read\"]",
            "activity = [\"Read\"]",
            "`activity` is no column",
        ),
        ("to = \"src_endpoint_ip\"", "to = \"status_detail\"", "names no entity"),
        ("api_request_uid =", "raw_hash =", "filled by the engine"),
        (
            "class = { const = \"datastore_activity\" }",
            "",
            "`class` is not filled",
        ),
        ("layer = \"vector_db\"", "layer = 3", "invalid type"),
        (
            "kind = \"read\"",
            "kind = \"reads\"",
            "`reads` is no kind of relation; valid are assumed",
        ),
    ];
    for (old, new, message) in cases {
        assert!(good.contains(old), "{old}");
        let text = good.replacen(old, new, 1);
        let Err(error) = compile(&text) else {
            panic!("accepted: {new}")
        };
        let shown = error.to_string();
        assert!(shown.contains(message) && shown.starts_with("x.toml:"), "{shown}");
    }
    let Err(error) = compile(&good.replacen("from = \"remote\"", "from = \"a[\"", 1)) else {
        panic!()
    };
    let line = good
        .lines()
        .position(|line| line.contains("from = \"remote\""))
        .unwrap_or(0)
        + 1;
    assert!(error.to_string().contains(&format!("x.toml:{line}:")), "{error}");
    let Err(error) = Normalizer::new(&[source("s", "nope")], &[]) else {
        panic!()
    };
    assert!(
        error
            .to_string()
            .contains("valid are auto, agent_audit, aks_audit, aminer, anthropic_activity"),
        "{error}"
    );
}

/// A mapping of three columns that tests add to.
fn small(more: &str) -> MappingText {
    let text = format!(
        "format = \"t\"\ntitle = \"T\"\nlayer = \"cloud\"\nlateness = {{ seconds = 1, reason = \"r\" }}\n{more}\n\
         [columns.class]\nconst = \"c\"\n"
    );
    MappingText {
        file: "t.toml".into(),
        text,
    }
}

/// Decodes one record by a mapping of the test's own.
fn decode_by(more: &str, record: &str, attributes: &[(&str, &str)]) -> Normalized {
    let mut normalizer = Normalizer::new(&[source("s", "t")], &[small(more)]).unwrap_or_else(|error| panic!("{error}"));
    let mut raw = batch([record.as_bytes()], true);
    let held = attributes
        .iter()
        .map(|(name, value)| ((*name).into(), Bytes::copy_from_slice(value.as_bytes())));
    raw.payloads[0].attributes = Some(std::sync::Arc::new(held.collect()));
    normalizer.decode(&raw, INGESTED)
}

#[test]
fn documents_in_strings_are_read_like_objects() {
    let mapping = r#"
[inside]
body = { json = true }
"body.inner" = { json = true }
list = { csv = ["a", "b"] }
[[recognise]]
present = ["body"]
[columns]
api_operation = { from = "body.inner.x" }
api_service_name = { from = "body.s" }
api_request_data = { from = "body.inner", json = true }
status_detail = { from = "list.b" }
"#;
    let inner = r#"{"x":"a \"b\""}"#;
    let body = json!({"s": "svc", "inner": inner}).to_string();
    for record in [
        json!({"body": body, "list": "1,\"two \"\"q\"\"\""}),
        json!({"body": serde_json::from_str::<Value>(&body).expect("JSON"), "list": "1,\"two \"\"q\"\"\""}),
    ] {
        let normalized = decode_by(mapping, &record.to_string(), &[]);
        let columns = row(&normalized.events, 0);
        assert_eq!(columns.get("api_operation"), Some(&json!("a \"b\"")));
        assert_eq!(columns.get("api_service_name"), Some(&json!("svc")));
        assert_eq!(columns.get("api_request_data"), Some(&json!(r#"{"x":"a \"b\""}"#)));
        assert_eq!(columns.get("status_detail"), Some(&json!("two \"q\"")));
    }
    // What is no document is a text, and half a document gives nothing.
    let normalized = decode_by(mapping, r#"{"body":"{\"s\":\"x\""}"#, &[]);
    assert_eq!(row(&normalized.events, 0).get("api_service_name"), None);
}

#[test]
fn elements_that_make_events_share_the_rest() {
    let mapping = r#"
split = "groups[*].items[*]"
id = ".id"
[[recognise]]
present = ["groups[*].items[*].id"]
[columns]
api_operation = { from = ".name" }
api_service_name = { from = "groups[*].service" }
cloud_region = { from = "region" }
ai_tool_names = { from = ".tools[*]" }
"#;
    // What is shared stands behind the elements here.
    let record = r#"{"groups":[{"items":[{"id":1,"name":"a","tools":["x","y"]},{"id":2}],"service":"s1"},{"items":[{"id":3}]},{"items":[]}],"region":"r"}"#;
    let normalized = decode_by(mapping, record, &[]);
    assert_eq!(reasons(&normalized), Vec::<String>::new());
    let rows: Vec<Vec<Option<Value>>> = (0..normalized.events.rows())
        .map(|index| {
            let columns = row(&normalized.events, index);
            let names = [
                "api_operation",
                "api_service_name",
                "cloud_region",
                "ai_tool_names",
                "raw",
            ];
            names.map(|name| columns.get(name).cloned()).to_vec()
        })
        .collect();
    let text = |text: &str| Some(json!(text));
    assert_eq!(
        rows,
        [
            vec![
                text("a"),
                text("s1"),
                text("r"),
                Some(json!(["x", "y"])),
                text(r#"{"id":1,"name":"a","tools":["x","y"]}"#)
            ],
            vec![None, text("s1"), text("r"), None, text(r#"{"id":2}"#)],
            vec![None, None, text("r"), None, text(r#"{"id":3}"#)],
        ]
    );
    assert_eq!(positions(&normalized), ["t/0/0#1", "t/0/0#2", "t/0/0#3"]);
    let junk = format!(r#"{{"groups":[{{"items":[{}]}}]}}"#, vec!["7"; 50_000].join(","));
    let normalized = decode_by(mapping, &junk, &[]);
    assert_eq!(normalized.rejected.len() as u32, REJECTED_PER_PAYLOAD_MAX + 1);
}

#[test]
fn columns_are_made_of_values() {
    let mapping = r#"
[[recognise]]
present = ["a"]
[[recognise]]
present = ["<kafka.header.kind>"]
[unmapped]
number = "n"
text = "s"
object = "o"
none = "absent"
[columns]
time = { from = ["{d}T{t}Z"], time = ["rfc3339"] }
end_time = { from = "end", time = ["epoch_millis"] }
api_operation = { from = "list[kind=op].value" }
api_service_name = { from = "path", after = "providers/", split = "/", lower = true }
api_request_uid = { from = "<kafka.header.kind>" }
status_code = { from = "path", after = "no such text" }
layer = { from = "where", map = { here = "agent" } }
src_endpoint_ip = { from = "address" }
dst_endpoint_ip = { from = "other" }
status = { from = "code", map = { "2*" = "Success", "20?" = "x", "*" = "Failure" } }
"#;
    let record = r#"{"a":1,"d":"2026-02-01","t":"10:00:00","end":1769940001500,"n":1.50,"s":"q\"\n","o":{"k":[1]},
        "list":[{"kind":"no","value":"1"},{"value":"2","kind":"op"}],"path":"/X/PROVIDERS/Some.Thing/y","where":"here",
        "address":"tcp-[2001:DB8::1]:80","other":"198.51.100.***","code":204}"#;
    let columns = row(&decode_by(mapping, record, &[("kafka.header.kind", "h\0")]).events, 0);
    let expected = [
        ("time", "2026-02-01T10:00:00.000Z"),
        ("end_time", "2026-02-01T10:00:01.500Z"),
        ("api_operation", "2"),
        ("api_service_name", "some.thing"),
        ("api_request_uid", "h\u{fffd}"),
        ("layer", "agent"),
        ("src_endpoint_ip", "2001:db8::1"),
        ("dst_endpoint_name", "198.51.100.***"),
        ("status", "Success"),
        ("unmapped", r#"{"number":1.50,"object":{"k":[1]},"text":"q\"\n"}"#),
    ];
    for (name, value) in expected {
        assert_eq!(columns.get(name), Some(&json!(value)), "{name}");
    }
    assert!(!columns.contains_key("status_code") && !columns.contains_key("dst_endpoint_ip"));
    assert_eq!(columns.get("flags"), Some(&json!(["not_an_address"])));
    let columns = row(
        &decode_by(mapping, r#"{"a":1,"where":"elsewhere","end":"soon"}"#, &[]).events,
        0,
    );
    assert_eq!(
        columns.get("layer"),
        Some(&json!("cloud")),
        "what is no layer leaves the mapping's own"
    );
    assert_eq!(
        columns.get("end_time"),
        None,
        "no time is no time, and not the time of reading"
    );
}

#[test]
fn a_finding_is_the_same_whenever_it_is_read() {
    let mapping = r#"
id = "id"
[[recognise]]
present = ["rule"]
[columns]
actor_user_uid = { from = "user" }
[detection]
rule = { from = "rule" }
title = { from = "title" }
severity = { from = "level", map = { 1 = "Low", 2 = "none" } }
techniques = { from = "tags[*]" }
[[detection.entity]]
kind = "host"
role = "target"
value = { from = "hosts[*]" }
"#;
    let record = r#"{"id":"1","rule":"r","title":"t","level":1,"tags":["T1059","x"],"hosts":["h1","h2"],"user":"A@x"}"#;
    let found = decode_by(mapping, record, &[]);
    let again = decode_by(mapping, record, &[]);
    assert_eq!(found.detections, again.detections);
    let [detection] = found.detections.as_slice() else {
        panic!("{:?}", found.detections)
    };
    assert_eq!(detection.event_ids, [found.events.text("event_id").value(0)]);
    assert_eq!(
        (&*detection.plugin, &*detection.rule, &*detection.title),
        ("t", "r", "t")
    );
    assert_eq!(detection.techniques, ["T1059"]);
    let entities: Vec<String> = detection
        .entities
        .iter()
        .map(|roled| roled.entity.to_string())
        .collect();
    assert_eq!(entities, ["principal:a@x", "host:h1", "host:h2"]);
    for other in ["2", "3", "null"] {
        let record = record.replace("\"level\":1", &format!("\"level\":{other}"));
        assert!(decode_by(mapping, &record, &[]).detections.is_empty(), "{other}");
    }
}

#[test]
fn mistakes_of_the_larger_language_are_told() {
    let cases = [
        (
            "[[recognise]]\npresent = [\"a\"]\n[columns]\nlayer = { const = \"clout\" }",
            "`clout` is no layer",
        ),
        (
            "[[recognise]]\npresent = [\"a\"]\n[columns]\nend_time = { from = \"a\" }",
            "`time` names the formats",
        ),
        (
            "[[recognise]]\npresent = [\"a\"]\n[columns]\nstatus = { from = \"a\", after = \"\" }",
            "need a text",
        ),
        (
            "[[recognise]]\nabsent = [\"a\"]",
            "names nothing that a record must have",
        ),
        (
            "split = \"a.b\"\n[[recognise]]\npresent = [\"a\"]",
            "with [*] at the end",
        ),
        ("line = { template = \"$a$b\" }", "nothing parts $a"),
        (
            "line = { template = \"$a x\", free = [\"b\"] }",
            "names `b`, which no template has",
        ),
        ("line = { csv = [\"a\"] }", "no [[recognise]]"),
        ("line = { json = true, csv = [\"a\"] }", "a layout is one of"),
        (
            "[[recognise]]\npresent = [\"a\"]\n[detection]\nrule = { from = \"a\" }\ntitle = { from = \"a\" }\nseverity = { const = \"Hihg\" }",
            "`Hihg` is no severity",
        ),
        (
            "[[recognise]]\npresent = [\"a\"]\n[detection]\nrule = { from = \"a\" }\ntitle = { from = \"a\" }\nseverity = { const = \"High\" }\n\
             [[detection.entity]]\nkind = \"hots\"\nrole = \"actor\"\nvalue = { from = \"a\" }",
            "`hots` is no kind of entity",
        ),
    ];
    for (more, message) in cases {
        let Err(error) = Normalizer::new(&[], &[small(more)]) else {
            panic!("accepted: {more}")
        };
        assert!(
            error.to_string().starts_with("t.toml:") && error.to_string().contains(message),
            "{error}"
        );
    }
}

#[test]
fn lines_with_syslog_headers_are_json() {
    let mapping = "[[recognise]]\npresent = [\"a\"]\n[columns]\napi_operation = { from = \"a\" }";
    for (line, found) in [
        (r#"<134>1 2026-02-01T10:00:00Z host app 1 - - {"a":"x"}"#, true),
        (r#"<13>Feb  1 10:00:00 host app: {"a":"x"}"#, true),
        (r#"Feb  1 10:00:00 host app[1]:{"a":"x"}"#, true),
        (r#"some words {"a":"x"}"#, false),
        (r#"<x> {"a":"x"}"#, false),
        (r#"<134>1 no object"#, false),
    ] {
        let normalized = decode_by(mapping, line, &[]);
        assert_eq!(
            normalized.events.rows() == 1,
            found,
            "{line} {:?}",
            reasons(&normalized)
        );
        assert_eq!(normalized.records, 1);
    }
}

#[test]
fn what_no_column_takes_is_told() {
    let normalizer = normalizer("qdrant_audit");
    let record = r#"{"timestamp":"t","auth_type":"Jwt","result":"ok","more":{"a b":[{"c":1}],"d":null},"remote":"x"}"#;
    assert_eq!(normalizer.untaken("qdrant_audit", record), ["more.'a b'[*].c"]);
    assert_eq!(normalizer.untaken("nope", record), Vec::<String>::new());
}
