use super::*;
use crate::model::Severity;

const EXAMPLE: &str = r#"
[storage]
url = "data"
[[source]]
name = "cloudtrail"
type = "file"
path = "logs/*.json"
format = "aws_cloudtrail"
[[source]]
name = "gateway"
type = "kafka"
brokers = ["127.0.0.1:9092", "127.0.0.1:9093"]
topics = ["llm"]
format = "litellm"
lateness = "90s"
[[source]]
name = "otel"
type = "http"
listen = "127.0.0.1:4318"
token_env = ["HOOK"]
format = "auto"
[[source]]
name = "hosts"
type = "syslog"
udp = "0.0.0.0:5514"
format = "auto"
spool_mb = 64
[plugins]
dir = "target/plugins"
[plugins.config.prompt-injection]
threshold = 3
[serve]
http = "127.0.0.1:7400"
postgres = "127.0.0.1:7432"
[[forward]]
name = "soar"
type = "webhook"
url = "http://127.0.0.1:9000/hook"
secret_env = "HOOK"
"#;

fn check(text: &str) -> Result<Settings, String> {
    parse(text, "c.toml", &|name| (name == "HOOK").then(|| "s3cret".into())).map_err(|error| error.to_string())
}

#[test]
fn an_example_is_understood() {
    let settings = check(EXAMPLE).expect("valid");
    assert_eq!(settings.sources.len(), 4);
    assert_eq!(settings.sources[1].lateness, Some(90_000_000));
    match &settings.sources[1].kind {
        SourceKind::Kafka(kafka) => assert_eq!(kafka.brokers, "127.0.0.1:9092,127.0.0.1:9093"),
        other => panic!("{other:?}"),
    }
    assert_eq!(settings.correlate.single_severity, Severity::Critical);
    assert!(settings.plugins.config.contains_key("prompt-injection"));
    assert!(!format!("{settings:?}").contains("s3cret"));
}

#[track_caller]
fn refused(from: &str, to: &str, words: &[&str]) {
    assert!(EXAMPLE.contains(from), "the example has no {from}");
    let message = check(&EXAMPLE.replacen(from, to, 1)).expect_err("refused");
    assert_eq!(message.lines().count(), 1, "{message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn mistakes_are_named_in_one_line() {
    refused("path = ", "pth = ", &["c.toml:", "pth", "path"]);
    refused("\"127.0.0.1:7400\"", "7400", &["c.toml:33:", "http = 7400"]);
    refused("type = \"file\"", "type = \"fiel\"", &["fiel", "file", "kafka"]);
    refused(
        "listen = \"127.0.0.1:4318\"\ntoken_env = [\"HOOK\"]",
        "listen = \"0.0.0.0:4318\"",
        &["otel", "beyond loopback", "token_env"],
    );
    refused("[\"HOOK\"]", "\"NOPE\"", &["otel", "token_env", "NOPE", "not set"]);
    refused("spool_mb = 64", "spool_mb = 5", &["hosts", "spool_mb = 5", "64 MiB"]);
    refused("udp = \"0.0.0.0:5514\"\n", "", &["hosts", "tcp", "udp"]);
    refused("lateness = \"90s\"", "lateness = \"soon\"", &["soon", "10s"]);
    refused("[storage]\nurl = \"data\"\n", "", &["storage"]);
    refused(
        "url = \"data\"",
        "url = \"s3://bucket\"",
        &["[storage] url", "s3://bucket", "directory"],
    );
    refused(
        "secret_env = \"HOOK\"",
        "secret_env = \"NOPE\"",
        &["secret_env", "NOPE", "not set"],
    );
    refused("name = \"gateway\"", "name = \"cloudtrail\"", &["cloudtrail", "twice"]);
    refused(
        "postgres = \"127.0.0.1:7432\"",
        "postgres = \"0.0.0.0:7432\"",
        &["0.0.0.0", "postgres_password_env"],
    );
    refused(
        "http://127.0.0.1:9000/hook",
        "ftp://x",
        &["soar", "ftp://x", "https://"],
    );
    refused("http://127.0.0.1:9000/hook", "http://", &["soar", "url", "https://"]);
    refused(
        "type = \"webhook\"\nurl = \"http://127.0.0.1:9000/hook\"\nsecret_env = \"HOOK\"",
        "type = \"syslog\"\naddress = \"siem:0\"",
        &["soar", "address", "siem:0", "HOST:PORT"],
    );
}

#[test]
fn kafka_takes_secrets_from_the_environment_alone() {
    let (third, _) = EXAMPLE
        .match_indices("[[source]]")
        .nth(2)
        .expect("a source after Kafka's");
    let (before, after) = EXAMPLE.split_at(third);
    let with = |lines: &str| check(&format!("{before}[source.properties]\n{lines}\n{after}"));
    let settings = with("\"sasl.username\" = \"me\"\n\"sasl.password_env\" = \"HOOK\"").expect("valid");
    let SourceKind::Kafka(kafka) = &settings.sources[1].kind else {
        panic!("the second source is Kafka's")
    };
    let properties: Vec<_> = kafka
        .properties
        .iter()
        .map(|(key, value)| (key.as_str(), value.reveal()))
        .collect();
    assert_eq!(properties, [("sasl.password", "s3cret"), ("sasl.username", "me")]);
    assert!(!format!("{settings:?}").contains("s3cret"));
    for (lines, word) in [
        ("\"sasl.password\" = \"pa55\"", "sasl.password_env"),
        ("\"sasl.password_env\" = \"NOPE\"", "NOPE"),
        ("\"a_env\" = \"HOOK\"\na = \"1\"", "both"),
    ] {
        let message = with(lines).expect_err("refused");
        assert!(message.contains("gateway") && message.contains(word), "{message}");
        assert!(!message.contains("pa55"), "{message}");
    }
}

#[test]
fn a_sites_formats_are_read_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, text) in [("b.toml", "2"), ("a.toml", "1"), ("notes.txt", "3")] {
        std::fs::write(dir.path().join(name), text).expect("writable");
    }
    let settings = check(&format!("{EXAMPLE}[formats]\ndir = {:?}", dir.path())).expect("valid");
    let texts = read_formats(settings.formats_dir.as_deref()).expect("readable");
    assert_eq!(
        texts.iter().map(|text| text.text.as_str()).collect::<Vec<_>>(),
        ["1", "2"]
    );
    assert!(texts[0].file.ends_with("a.toml"), "{}", texts[0].file);
    assert_eq!(read_formats(None).expect("nothing to read"), []);
    let missing = read_formats(Some(&dir.path().join("absent"))).expect_err("absent");
    assert!(missing.to_string().contains("absent: cannot read it"), "{missing}");
}
