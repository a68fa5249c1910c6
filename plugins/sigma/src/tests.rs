use sentrail_plugin::json::{Value, json};
use sentrail_plugin::testing;
use sentrail_plugin::{Config as _, Instance, Severity};

use super::*;
use crate::condition::Whole;

sentrail_plugin::test_fixtures!(Sigma);

/// A rule for CloudTrail with the given `detection`, in YAML.
fn rule(detection: &str) -> String {
    let lines: String = detection.trim_end().lines().map(|line| format!("  {line}\n")).collect();
    format!("title: A rule\nid: r1\nlogsource:\n  product: aws\n  service: cloudtrail\ndetection:\n{lines}")
}

fn settings(rules: &[String]) -> Settings {
    let text = |(number, text): (usize, &String)| RuleText {
        name: format!("{number}.yml"),
        text: text.clone(),
    };
    Settings {
        rules: vec![RuleTexts::Many(rules.iter().enumerate().map(text).collect())],
        ..Settings::default()
    }
}

fn refused(detection: &str) -> String {
    let collection = Collection::load(&settings(&[rule(detection)])).unwrap();
    assert!(collection.rules.is_empty(), "it runs: {detection}");
    collection.refused[0].reason.clone()
}

/// Whether the rule finds the record, read from the record and, where columns have its fields, from those.
fn finds_with(settings: &Settings, record: &Value) -> bool {
    let collection = Collection::load(settings).unwrap();
    assert_eq!(collection.refused, []);
    let raw = record.to_string();
    let (mut all, mut some) = (Wanted::default(), Wanted::default());
    let condition = &collection.rules[0].condition;
    all.all();
    condition.wants(&collection.fields, &mut some);
    let of_record = condition.decide(&mut Whole::new(&raw, &all, &collection.fields));
    assert_eq!(
        of_record,
        condition.decide(&mut Whole::new(&raw, &some, &collection.fields)),
        "{raw}"
    );

    let mut instance = Instance::<Sigma>::new(
        &json!({
            "rules": settings.rules, "placeholders": settings.placeholders
        })
        .to_string(),
    )
    .unwrap();
    let mut event = json!({ "at": 0, "format": "aws_cloudtrail", "layer": "cloud", "raw": raw });
    for (field, column) in [
        ("eventName", "api_operation"),
        ("eventSource", "api_service_name"),
        ("errorCode", "status_code"),
        ("userAgent", "http_request_user_agent"),
    ] {
        if let Some(value) = record.get(field).filter(|value| value.is_string())
            && instance.manifest().columns.contains(&column)
        {
            event[column] = value.clone();
        }
    }
    let manifest = instance.manifest().clone();
    let events = testing::events(&manifest, &Default::default(), &[event.as_object().unwrap().clone()]).unwrap();
    let found = instance.detect(&testing::batch(&manifest, &events).unwrap());
    assert_eq!(Some(!found.detections.is_empty()), of_record, "{settings:?} {record}");
    !found.detections.is_empty()
}

fn finds(detection: &str, record: Value) -> bool {
    finds_with(&settings(&[rule(detection)]), &record)
}

#[test]
fn texts() {
    for (item, value, expected) in [
        ("eventName: DeleteTrail", "deletetrail", true),
        ("eventName: DeleteTrail", "DeleteTrails", false),
        ("eventName|cased: DeleteTrail", "deletetrail", false),
        ("eventName|contains: [Trail, Vault]", "my vaults", true),
        ("eventName|contains|all: [Trail, Vault]", "my vaults", false),
        ("eventName|contains|all: [Trail, Vault]", "vault of trails", true),
        ("eventName|startswith: Delete", "DELETEX", true),
        ("eventName|startswith: Delete", "NoDelete", false),
        ("eventName|endswith: Trail", "DeleteTrail", true),
        ("eventName|endswith|cased: trail", "DeleteTrail", false),
        ("eventName: 'D*l?te*'", "delete\nall", true),
        ("eventName: 'D*l?te'", "dlte", false),
        (r"eventName: 'a\*b'", "a*b", true),
        (r"eventName: 'a\*b'", "axb", false),
        (r"eventName: 'C:\Win\x'", r"c:\win\x", true),
        ("eventName|startswith: 'D?l'", "Delete", true),
        ("eventName|startswith: 'D?l'", "xDelete", false),
        ("eventName: ''", "", true),
        ("eventName: ''", "x", false),
        ("eventName: '*'", "", true),
        ("eventName|neq: [a, b]", "A", false),
        ("eventName|neq: [a, b]", "c", true),
        ("eventName: Größe", "GRÖSSE", false),
        ("eventName: GRÖẞE", "größe", true),
        ("eventName|re: '^Del.{2}e$'", "Delete", true),
        ("eventName|re: '^del.{2}e$'", "Delete", false),
        ("eventName|re|i: '^del.{2}e$'", "Delete", true),
        ("eventName|re|m: '^b$'", "a\nb", true),
        ("eventName|re|s: 'a.b'", "a\nb", true),
        ("eventName|re: 'a.b'", "a\nb", false),
        ("eventName|cidr: 192.0.2.0/24", "192.0.2.200", true),
        ("eventName|cidr: 192.0.2.0/24", "192.0.3.1", false),
        ("eventName|cidr: 2001:db8::/33", "2001:db8:7fff::1", true),
        ("eventName|cidr: 2001:db8::/33", "2001:db8:8000::1", false),
        ("eventName|cidr: 0.0.0.0/0", "203.0.113.1", true),
        ("eventName|cidr: 0.0.0.0/0", "an-address", false),
        ("eventName|gt: 4", "5", true),
        ("eventName|lte: 4", "5", false),
        ("eventName|base64: foobar", "Zm9vYmFy", true),
        (
            "eventName|base64offset|contains: 'https://x.example'",
            "b64:eGh0dHBzOi8veC5leGFtcGxlL3k=",
            true,
        ),
        ("eventName|utf16le|base64offset|contains: 'ping'", "cABpAG4AZwA=", true),
        ("eventName|wide: ping", "p\0i\0n\0g\0", true),
        ("eventName|windash|contains: ' -enc'", "x /ENC y", true),
        ("eventName|windash|contains: ' -enc'", "x \u{2014}enc y", true),
        ("eventName|windash|contains: ' -enc'", "x +enc y", false),
        ("eventName|hour: 3", "2024-05-01T03:15:00Z", true),
        ("eventName|minute: 3", "2024-05-01T03:15:00Z", false),
        ("eventName|exists: true", "x", true),
        ("eventName|exists: false", "x", false),
        ("eventName: [null, x]", "x", true),
    ] {
        let detection = format!("s:\n  {item}\ncondition: s");
        assert_eq!(
            finds(&detection, json!({ "eventName": value })),
            expected,
            "{item} on {value:?}"
        );
    }
}

#[test]
fn kinds_of_values() {
    for (item, value, expected) in [
        ("f: null", json!(null), true),
        ("f: null", json!(""), false),
        ("f|exists: true", json!(null), false),
        ("f|neq: x", json!(null), true),
        ("f: 5", json!(5), true),
        ("f: 5", json!("5.0"), true),
        ("f: '5'", json!(5), true),
        ("f: true", json!(true), true),
        ("f: true", json!("True"), true),
        ("f: true", json!(1), false),
        ("f: 'true'", json!(true), true),
        ("f|contains: b", json!(["a", ["xby"]]), true),
        ("f|contains: b", json!({ "b": "b" }), false),
        ("f|all: [a, b]", json!(["a", "b"]), true),
        ("f|neq: a", json!(["a", "b"]), false),
        ("f.g: x", json!([{ "g": "y" }, { "g": "x" }]), true),
        ("f.g: x", json!({ "g": { "x": 1 } }), false),
        ("f|year: 2023", json!(1_700_000_000), true),
        ("f|lt: 2.5", json!(2), true),
    ] {
        let detection = format!("s:\n  {item}\ncondition: s");
        assert_eq!(finds(&detection, json!({ "f": value })), expected, "{item} on {value}");
    }
    assert!(finds("s:\n  f: null\ncondition: s", json!({})));
    assert!(!finds("s:\n  f|neq: x\ncondition: s", json!({})));
    assert!(finds("s:\n  f|exists: false\ncondition: s", json!({})));
}

#[test]
fn conditions() {
    let base = "a1:\n  f: 1\na2:\n  g: 1\nb:\n  - h: 1\n    i: 1\n  - h: 2\n_c:\n  z: 1\n";
    for (condition, record, expected) in [
        ("1 of a*", json!({ "g": 1 }), true),
        ("any of a*", json!({ "h": 2 }), false),
        ("all of a*", json!({ "g": 1 }), false),
        ("all of a*", json!({ "g": 1, "f": 1 }), true),
        ("2 of them", json!({ "g": 1, "h": 2 }), true),
        ("2 of them", json!({ "g": 1, "h": 1 }), false),
        ("all of them", json!({ "f": 1, "g": 1, "h": 2 }), true),
        ("b", json!({ "h": 1 }), false),
        ("b", json!({ "h": 1, "i": 1 }), true),
        ("a1 and not b", json!({ "f": 1 }), true),
        ("a1 and not b", json!({ "f": 1, "h": 2 }), false),
        ("a1 or a2 and b", json!({ "f": 1 }), true),
        ("(a1 or a2) and b", json!({ "f": 1 }), false),
        ("not 1 of a* and _c", json!({ "z": 1 }), true),
    ] {
        assert_eq!(
            finds(&format!("{base}condition: {condition}"), record.clone()),
            expected,
            "{condition} on {record}"
        );
    }
    assert!(finds(
        "a:\n  f: 1\nb:\n  g: 1\ncondition:\n  - a\n  - b",
        json!({ "g": 1 })
    ));
}

#[test]
fn keywords_are_looked_for_in_every_text() {
    let keywords = "k:\n  - evil\n  - 'b?d*'\ncondition: k";
    assert!(finds(keywords, json!({ "a": { "b": ["x", "so EVIL"] } })));
    assert!(finds(keywords, json!({ "a": "a bad thing" })));
    assert!(!finds(keywords, json!({ "evil": 1 })));
    let both = "k:\n  '|all':\n    - one\n    - two\ncondition: k";
    assert!(finds(both, json!({ "a": "one", "b": "number two" })));
    assert!(!finds(both, json!({ "a": "one" })));
}

#[test]
fn fields_of_one_record_are_compared() {
    let reference = |modifiers: &str| format!("s:\n  a|fieldref{modifiers}: b.c\ncondition: s");
    let record = |a: &str| json!({ "a": a, "b": { "c": "Bob" } });
    assert!(finds(&reference(""), record("bob")));
    assert!(!finds(&reference("|cased"), record("bob")));
    assert!(finds(&reference("|endswith"), record("user/bob")));
    assert!(!finds(&reference("|startswith"), record("user/bob")));
    assert!(!finds(&reference(""), json!({ "a": "bob" })));
}

#[test]
fn placeholders_come_from_the_configuration() {
    let detection = "s:\n  user|expand: 'corp/%admins%'\ncondition: s";
    let mut settings = settings(&[rule(detection)]);
    settings
        .placeholders
        .insert("admins".into(), vec!["ann".into(), "b*".into()]);
    assert!(finds_with(&settings, &json!({ "user": "CORP/Ann" })));
    assert!(finds_with(&settings, &json!({ "user": "corp/bob" })));
    assert!(!finds_with(&settings, &json!({ "user": "corp/cyd" })));
    assert!(refused(detection).contains("%admins%"));
}

#[test]
fn what_cannot_be_run_is_refused_with_its_reason() {
    for (detection, told) in [
        (
            "s:\n  f|contains|re: x\ncondition: s",
            "cannot stand together: contains, re",
        ),
        ("s:\n  f|re: '(?<=a)b'\ncondition: s", "f: the regular expression"),
        ("s:\n  f|re: '(a{1000}){1000}'\ncondition: s", "cannot be used"),
        ("s:\n  f|cidr: 192.0.2.0/33\ncondition: s", "is no network"),
        ("s:\n  f|gt: many\ncondition: s", "`many` is no number"),
        ("s:\n  f|all: x\ncondition: s", "more than one value"),
        ("s:\n  f|base64: 'x*'\ncondition: s", "takes no wildcards"),
        ("s:\n  f|base64offset|contains: x\ncondition: s", "too short"),
        ("s:\n  f|wide: 'ö'\ncondition: s", "together with base64"),
        ("s:\n  f|i: x\ncondition: s", "cannot stand together: ignorecase"),
        ("s:\n  f|exists: maybe\ncondition: s", "exists is true or false"),
        ("s:\n  f|near: x\ncondition: s", "near"),
        ("s:\n  f: x\ncondition: s and t", "names `t`; it has s"),
        ("s:\n  f: x\ncondition: 1 of t*", "there is none"),
        ("s:\n  f: x\ntimeframe: 5m\ncondition: s", "timeframe"),
        ("s:\n  f: x\ncondition: s | count() > 5", "count"),
        ("s: {}\ncondition: s", "empty"),
        ("condition: s", "names `s`"),
    ] {
        let reason = refused(detection);
        assert!(reason.contains(told), "{detection}: {reason}");
    }
}

#[test]
fn one_bad_rule_does_not_stop_the_others() {
    let good = rule("s:\n  f: x\ncondition: s");
    let correlation = "title: Many\ncorrelation:\n  type: event_count\n  rules: [r1]\n  group-by: [f]\n  timespan: 5m\n  condition:\n    gte: 5\n";
    let other = good.replace("cloudtrail", "no-such-log");
    let deep = format!("title: {}", "(".repeat(600));
    let texts = [
        good.clone(),
        "[".into(),
        other,
        correlation.into(),
        good,
        deep,
        String::new(),
    ];
    let collection = Collection::load(&settings(&texts)).unwrap();
    assert_eq!(collection.rules.len(), 1);
    let told: Vec<String> = collection
        .refused
        .iter()
        .map(|refused| format!("{}: {}", refused.name, refused.reason))
        .collect();
    for (name, reason) in [
        ("1.yml", "YAML"),
        ("2.yml (A rule)", "aws/no-such-log"),
        ("3.yml", "correlation rules are not supported"),
        ("4.yml (A rule)", "another rule has its id r1"),
        ("5.yml", "600 brackets"),
        ("6.yml", ""),
    ] {
        assert!(
            told.iter().any(|line| line.starts_with(name) && line.contains(reason)),
            "{name}: {told:?}"
        );
    }
    let sigma = Sigma::new(settings(&texts)).unwrap();
    assert!(sigma.manifest().description.contains("2.yml (A rule)"));
}

#[test]
fn a_rule_is_told_with_its_author_techniques_and_severity() {
    let text = rule("s:\n  f: x\ncondition: s")
        + "author: Ann Example\nlicense: DRL-1.1\ndescription: Somebody did it.\nlevel: high\nfalsepositives:\n  - Nightly job\n\
           tags:\n  - attack.persistence\n  - attack.t1098.001\n  - attack.T1078\n  - cve.2024-1\n  - atlas.aml.t0051\n";
    let collection = Collection::load(&settings(&[text])).unwrap();
    let rule = collection.rules[0].rule;
    assert_eq!((rule.id, rule.severity), ("r1", Severity::High));
    assert_eq!(rule.techniques, ["T1098.001", "T1078", "AML.T0051"]);
    assert_eq!(
        rule.description,
        "Somebody did it.\nFalse positives: Nightly job\nSigma rule by Ann Example, licence DRL-1.1."
    );
}

#[test]
fn without_rules_it_looks_at_nothing() {
    let manifest = Sigma::new(Settings::from_json("{}").unwrap()).unwrap().manifest();
    assert_eq!((manifest.classes, manifest.rules.len()), (&["none"][..], 0));
}

#[test]
fn columns_that_repeat_a_field_are_read() {
    assert_eq!(
        logsource::column("aws_cloudtrail", "eventName").map(|column| column.name),
        Some("api_operation")
    );
    // The column holds the address as an entity, and either of two fields.
    assert!(logsource::column("aws_cloudtrail", "sourceIPAddress").is_none());
    assert!(logsource::column("azure_activity", "callerIpAddress").is_none());
    let sigma = Sigma::new(settings(&[rule("s:\n  eventName: X\n  a.b: c\ncondition: s")])).unwrap();
    assert_eq!(sigma.manifest().columns, ["api_operation", "format", "raw"]);
    assert_eq!(sigma.manifest().layers, ["cloud"]);
}
