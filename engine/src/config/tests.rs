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
    assert!(settings.serve.tokens.is_empty());
    let interval = |text: &str| check(text).expect("valid").forward[0].interval.as_secs();
    let with = |text: &str| EXAMPLE.replace("secret_env =", &format!("interval = {text}\nsecret_env ="));
    assert_eq!([EXAMPLE, &with("\"2m\""), &with("\"0s\"")].map(interval), [30, 120, 0]);
    let with_token = EXAMPLE.replace("[serve]", "[serve]\ntoken_env = \"HOOK\"");
    assert_eq!(check(&with_token).expect("valid").serve.tokens.len(), 1);
    refused("[serve]", "[serve]\ntoken_env = \"NONE\"", &["token_env", "NONE"]);
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
fn mistakes_are_told_with_their_own_line_and_key() {
    let gateway = "[[source]] name = \"gateway\": ";
    refused(
        "lateness = \"90s\"",
        "lateness = \"soon\"",
        &[
            "c.toml:15:12: `lateness = \"soon\"`: ",
            gateway,
            "lateness: `soon` is no length",
        ],
    );
    refused(
        "format = \"litellm\"\n",
        "",
        &[
            "c.toml:9:1: `[[source]]`: ",
            "name = \"gateway\": missing field `format`",
        ],
    );
    refused(
        "topics = [\"llm\"]",
        "topics = 7",
        &["c.toml:13:10: ", gateway, "topics: ", "a text, or a list of texts"],
    );
    refused(
        "topics = [\"llm\"]",
        "topics = []",
        &["c.toml:13:10: ", gateway, "`topics` is empty"],
    );
    refused(
        "topics = ",
        "topic = ",
        &["c.toml:13:1: ", gateway, "topic: unknown field", "`topics`"],
    );
    refused(
        "type = \"kafka\"",
        "type = \"kafak\"",
        &["c.toml:11:8: ", gateway, "\"kafak\"", "\"kafka\""],
    );
    refused(
        "type = \"kafka\"\n",
        "",
        &["c.toml:9:1: ", gateway, "`type` is missing", "\"kafka\""],
    );
    refused(
        "name = \"gateway\"\n",
        "",
        &["c.toml:9:1: ", "[[source]] number 2: missing field `name`"],
    );
    refused(
        "name = \"gateway\"",
        "name = \"cloudtrail\"",
        &["c.toml:10:8: ", "twice"],
    );
    refused(
        "name = \"hosts\"",
        "name = \"a b\"",
        &["c.toml:23:8: ", "[[source]] name = \"a b\": valid are"],
    );
    refused(
        "spool_mb = 64",
        "spool_mb = 5",
        &["c.toml:27:12: ", "[[source]] name = \"hosts\": spool_mb = 5: "],
    );
    refused(
        "[\"HOOK\"]",
        "\"NOPE\"",
        &["c.toml:20:13: ", "[[source]] name = \"otel\": token_env"],
    );
    refused(
        "threshold = 3",
        "threshold = 3\n[plugins.x]",
        &["c.toml:32:", "[plugins] x: unknown field"],
    );
    refused(
        "dir = \"target/plugins\"",
        "call_time = 3",
        &["c.toml:29:13: ", "[plugins] call_time: "],
    );
    refused(
        "http = \"127.0.0.1:7400\"",
        "http = \"here\"",
        &["c.toml:33:8: ", "[serve] http: "],
    );
    refused(
        "http://127.0.0.1:9000/hook",
        "http://",
        &["c.toml:38:7: ", "[[forward]] name = \"soar\": url: "],
    );
    refused(
        "[storage]\nurl = \"data\"",
        "storage = 1",
        &["c.toml:2:11: ", "storage: invalid type"],
    );
    refused(
        "[[forward]]",
        "[forward]",
        &["c.toml:35:1: ", "[forward]: invalid type"],
    );
    refused("[storage]", "[storage", &["c.toml:2:9: "]);
}

#[test]
fn no_length_of_time_but_lateness_may_be_nothing() {
    let zeros = ["lateness = \"90s\"", "lateness = \"0s\""];
    let settings = check(&EXAMPLE.replace(zeros[0], zeros[1])).expect("valid");
    assert_eq!(settings.sources[1].lateness, Some(0));
    for (from, key, value) in [
        ("lateness = \"90s\"", "idle_timeout", "\"0s\""),
        ("spool_mb = 64", "idle_timeout", "\"0ms\""),
        ("dir = \"target/plugins\"", "call_time", "\"0s\""),
        ("dir = \"target/plugins\"", "memory_mb", "0"),
        ("url = \"data\"", "url = \"data\"\nflush_interval", "\"0d\""),
        ("url = \"data\"", "url = \"data\"\nflush_bytes", "0"),
        ("[serve]", "[correlate]\nwindow", "\"0s\"\n[serve]"),
        ("[serve]", "[correlate]\nwindow", "\"999ms\"\n[serve]"),
    ] {
        let name = key.lines().last().expect("a key");
        refused(from, &format!("{key} = {value}"), &["c.toml:", name]);
    }
}

#[test]
fn what_correlation_may_be_told() {
    let with = |lines: &str| check(&EXAMPLE.replacen("[serve]", &format!("[correlate]\n{lines}\n[serve]"), 1));
    let valid = with(
        "span = \"3d\"\nmembers = 500\nmemory_mb = 64\nidentities_max = { address = 20 }\n\
         stop_values = [\"address:10.0.0.*\"]\nspecific_values = [\"principal:root\"]\n\
         [[correlate.criticality]]\nentity = \"collection:patients*\"\nweight = 20",
    );
    let valid = valid.expect("valid").correlate;
    assert_eq!((valid.span_max, valid.members_max), (3 * 86_400_000_000, 500));
    assert_eq!(valid.memory_bytes_max, 64 << 20);
    assert_eq!(
        (valid.identities_max["address"], valid.identities_max["session"]),
        (20, 8)
    );
    assert!(valid.stop_values[0].matches("address:10.0.0.77"));
    assert!(valid.criticality[0].entity.matches("collection:patients-eu"));
    for (lines, words) in [
        ("span = \"1h\"", ["span", "window"]),
        ("members = 1", ["members", "2"]),
        ("identities_max = { model = 2 }", ["model", "address"]),
        ("stop_values = [\"10.0.0.1\"]", ["10.0.0.1", "kind:value"]),
        ("specific_values = [\"address:[\"]", ["specific_values", "address:["]),
        (
            "[[correlate.criticality]]\nentity = \"a:b\"\nweight = 31",
            ["weight = 31", "0 to 30"],
        ),
    ] {
        let message = with(lines).expect_err("refused");
        assert_eq!(message.lines().count(), 1, "{message}");
        for word in words {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
    }
}

#[test]
fn of_a_personal_value_a_part_is_not_compared_where_it_is_redacted() {
    let check = |lines: &str| {
        let text = EXAMPLE.replacen("[serve]", &format!("[correlate]\n{lines}\n[serve]"), 1);
        let text = format!("{text}\n[redact]\nmode = \"hmac\"\nkey_env = \"HOOK\"\n");
        let key = |_: &str| Some("a key of a site that is long enough".to_owned());
        parse(&text, "c.toml", &key).map_err(|error| error.to_string())
    };
    let valid = "stop_values = [\"principal:ann@example.com\", \"session:*\", \"collection:a*\"]";
    assert_eq!(check(valid).expect("valid").correlate.stop_values.len(), 3);
    for lines in [
        "stop_values = [\"principal:svc-*\"]",
        "specific_values = [\"address:10.0.0.?\"]",
        "stop_values = [\"*:ann\"]",
        "[[correlate.criticality]]\nentity = \"session:a*\"\nweight = 3",
    ] {
        let message = check(lines).expect_err("refused");
        assert!(message.contains("[redact]") && message.contains("c.toml:"), "{message}");
    }
}

#[test]
fn how_long_a_source_may_be_silent() {
    let of = |value: &str| {
        let settings = check(&EXAMPLE.replace("spool_mb = 64", &format!("silent_after = {value}"))).expect("valid");
        settings.sources[3].silent_after
    };
    assert_eq!(of("\"20m\""), SilentAfter::Span(1_200_000_000));
    assert_eq!(of("\"never\""), SilentAfter::Never);
    assert_eq!(
        check(EXAMPLE).expect("valid").sources[1].silent_after,
        SilentAfter::Learned
    );
    for value in ["\"soon\"", "\"0s\""] {
        let wrong = format!("silent_after = {value}");
        refused("spool_mb = 64", &wrong, &["c.toml:", "silent_after", "10s", "never"]);
    }
    let bounded = "path = \"logs/*.json\"";
    refused(
        bounded,
        &format!("{bounded}\nsilent_after = \"1h\""),
        &["silent_after", "follow = true"],
    );
}

#[test]
fn one_topic_need_not_be_a_list() {
    let settings = check(&EXAMPLE.replace("[\"llm\"]", "\"llm\"")).expect("valid");
    assert!(matches!(&settings.sources[1].kind, SourceKind::Kafka(kafka) if kafka.topics == ["llm"]));
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

const LOOKUP: &str = r#"
[[lookup]]
name = "assets"
file = "assets.csv"
on = "src_endpoint_ip"
key = "ip"
match = "cidr"
take = { src_endpoint_zone = "site" }
"#;

#[test]
fn a_lookup_says_what_it_looks_up_and_fills() {
    let settings = check(&format!("{EXAMPLE}{LOOKUP}")).expect("valid");
    let lookup = &settings.lookups[0];
    assert_eq!(lookup.tenant.as_deref(), Some("default"));
    assert!(matches!(&lookup.key, Some(key) if key.matching == LookupMatch::Cidr));
    assert!(matches!(
        &lookup.from,
        LookupFrom::File {
            format: LookupFormat::Csv,
            ..
        }
    ));
    let everybody = LOOKUP.replace("name = ", "tenant = \"*\"\nname = ");
    let settings = check(&format!("{EXAMPLE}{everybody}")).expect("valid");
    assert_eq!(settings.lookups[0].tenant, None);

    let refused = |from: &str, to: &str, words: &[&str]| {
        assert!(LOOKUP.contains(from), "the example has no {from}");
        let text = format!("{EXAMPLE}{}", LOOKUP.replacen(from, to, 1));
        let message = check(&text).expect_err(to);
        for word in words.iter().chain(&["c.toml:", "[[lookup]] name = \"assets\""]) {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
    };
    refused(
        "assets.csv",
        "assets.xls",
        &[":43:8:", "assets.xls", ".csv, .parquet and .mmdb"],
    );
    refused("file = \"assets.csv\"\n", "", &["`file` or `sql` is missing"]);
    refused("file = ", "sql = \"SELECT 1\"\nfile = ", &["side by side"]);
    refused("file = ", "refresh = \"5m\"\nfile = ", &["refresh goes with `sql`"]);
    refused(
        "file = \"assets.csv\"",
        "sql = \"SELECT 1\"\nrefresh = \"9ms\"",
        &["refresh = \"9 ms\"", "1s"],
    );
    refused(
        "file = \"assets.csv\"",
        "sql = \"SELECT 1\"\ntenant = \"*\"",
        &["tenant = \"*\""],
    );
    refused("key = \"ip\"\n", "", &["`key` is missing"]);
    refused("assets.csv", "geo.mmdb", &[":45:7:", "has no `key`"]);
    refused(
        "\"src_endpoint_ip\"",
        "\"src_endpoint\"",
        &[":44:6:", "src_endpoint", "events.toml"],
    );
    refused("\"src_endpoint_ip\"", "\"row_count\"", &["row_count", "no text"]);
    refused("match = \"cidr\"", "match = \"near\"", &["near", "exact", "cidr"]);
    refused("{ src_endpoint_zone = \"site\" }", "{}", &["take is empty"]);
    refused(
        "src_endpoint_zone",
        "src_zone",
        &[":47:8:", "take: src_zone", "events.toml"],
    );
    refused(
        "src_endpoint_zone",
        "src_endpoint_ip",
        &["src_endpoint_ip", "looked up"],
    );
    refused("\"site\"", "\"\"", &["src_endpoint_zone = \"\""]);
    for column in ["event_id", "time", "tenant", "position", "raw", "unmapped", "flags"] {
        refused("src_endpoint_zone", column, &[&format!("take: {column}: ")]);
    }
    refused(
        "name = ",
        "tenant = \"acme\"\nname = ",
        &["acme", "no source", "\"default\" and \"*\""],
    );
    refused("take = ", "takes = ", &["takes", "unknown field"]);
}
