//! Detectors and rules that change while the engine runs: what is found, what the tables say, what is refused.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blake2::{Blake2b512, Digest};

use crate::support::*;

impl Engine {
    fn end(mut self) {
        let told = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        assert!(told.unwrap().success());
        assert!(wait(&mut self.0, PATIENCE).unwrap().success());
    }
}

/// The guests of tests/guests: they report every row.
fn guest(name: &str) -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests");
    let dir = std::env::var_os("SENTRAIL_TEST_GUESTS").map_or_else(default, PathBuf::from);
    let path = dir.join(format!("{name}.wasm"));
    if !path.is_file() {
        println!("skipped: {} is not there; `cargo xtask test` builds it", path.display());
        return None;
    }
    Some(path)
}

/// A gateway's record of second `second`.
fn append(log: &Path, id: usize, second: i64, user: &str, address: &str) {
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    writeln!(
        log,
        "{{\"id\":\"call-{id}\",\"call_type\":\"acompletion\",\"startTime\":{second}.5,\"model\":\"m\",\"status\":\"success\",\
         \"metadata\":{{\"user_api_key_user_id\":\"{user}\"}},\"requester_ip_address\":\"{address}\"}}"
    )
    .unwrap();
}

const START: i64 = 1_770_000_000;

/// By rename, as tools that deploy write.
fn replace(path: &Path, bytes: &[u8]) {
    let fresh = path.with_extension("fresh");
    std::fs::write(&fresh, bytes).unwrap();
    std::fs::rename(fresh, path).unwrap();
}

/// Another build of the same plugin: with a section that means nothing.
fn rebuilt(guest: &Path, word: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(guest).unwrap();
    bytes.extend([0, word.len() as u8 + 1, word.len() as u8]);
    bytes.extend(word.as_bytes());
    bytes
}

fn config(dir: &Path, http: u16, plugins: &str) -> String {
    std::fs::create_dir_all(dir.join("plugins")).unwrap();
    format!(
        "[storage]\nurl = \"{dir}/data\"\nflush_interval = \"200ms\"\n[plugins]\ndir = \"{dir}/plugins\"\n{plugins}\
         [serve]\nhttp = \"127.0.0.1:{http}\"\n[[source]]\nname = \"gateway\"\ntype = \"file\"\npath = \"{dir}/log.ndjson\"\n\
         format = \"litellm\"\nfollow = true\n",
        dir = dir.display(),
    )
}

fn json(row: &str) -> serde_json::Value {
    serde_json::from_str(row).unwrap()
}

fn health(http: u16) -> String {
    http_get(http, "/healthz").unwrap_or_default()
}

/// Rows once there is a durable epoch.
fn shown(data: &Path, sql: &str) -> Vec<String> {
    match epochs(data) {
        0 => Vec::new(),
        _ => rows(data, sql),
    }
}

#[test]
fn replacing_a_detector_while_events_flow_loses_and_doubles_nothing() {
    let Some(guest) = guest("hostile-stateful") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let (log, data, rules) = (dir.join("log.ndjson"), dir.join("data"), dir.join("rules.toml"));
    let http = free_port();
    let config = config(dir, http, &format!("rules = \"{}\"\n", rules.display()));
    let plugin = dir.join("plugins/hostile-stateful.wasm");
    std::fs::copy(&guest, &plugin).unwrap();
    std::fs::write(&rules, "").unwrap();
    std::fs::write(&log, "").unwrap();
    let engine = Engine(spawn_run(&config, &dir.join("c.toml"), &[]));
    until("the engine", || http_get(http, "/healthz").is_some());

    let told = "SELECT DISTINCT digest FROM rules WHERE plugin = 'hostile-stateful'";
    until("the rules", || shown(&data, told).len() == 1);
    let first = shown(&data, told);
    let mut id = 0;
    let mut flow = |there: &mut dyn FnMut() -> bool| {
        let deadline = Instant::now() + PATIENCE;
        let least = id + 100;
        while id < least || !there() {
            assert!(Instant::now() < deadline, "not in time: {}", health(http));
            append(&log, id, START + id as i64, &format!("user-{}", id % 5), "192.0.2.1");
            id += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    flow(&mut || true);
    replace(&plugin, &rebuilt(&guest, "two"));
    flow(&mut || shown(&data, told) != first);
    // A later release of another form of state that reads more.
    std::fs::write(&rules, "[config.hostile-stateful]\nmode = \"next\"\n").unwrap();
    let newest = || {
        let files = std::fs::read_dir(data.join("epochs")).unwrap().flatten();
        let newest = files
            .map(|file| file.path())
            .filter(|path| path.extension().is_some_and(|e| e == "json"))
            .max();
        json(&std::fs::read_to_string(newest.unwrap()).unwrap_or_else(|_| "{}".into()))
    };
    let configured = newest()["plugin_configs"]["hostile-stateful"].clone();
    flow(&mut || newest()["plugin_configs"]["hostile-stateful"] != configured);
    replace(&plugin, b"\0asm nothing");
    flow(&mut || health(http).contains("runs on"));
    flow(&mut || true);

    let found = "SELECT count(*) AS n FROM detections";
    until("all detections", || {
        shown(&data, found).first().is_some_and(|row| json(row)["n"] == id)
    });
    let manifest = newest();
    engine.end();
    assert_eq!(count(&data, "events"), id);
    let mut numbers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut migrated = 0;
    for row in rows(
        &data,
        "SELECT message, event_ids, entities FROM detections WHERE NOT late",
    ) {
        let row = json(&row);
        let message = row["message"].as_str().unwrap();
        let number = message.split("number ").nth(1).unwrap().split(' ').next().unwrap();
        let user = row["entities"]
            .as_array()
            .unwrap()
            .iter()
            .find(|e| e.as_str().unwrap().starts_with("principal:"));
        numbers
            .entry(user.unwrap().to_string())
            .or_default()
            .push(number.parse().unwrap());
        migrated += usize::from(message.contains("(migrated)"));
    }
    assert_eq!(numbers.len(), 5);
    for (user, mut numbers) in numbers {
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(1..=numbers.len()), "{user}: {numbers:?}");
    }
    assert_eq!(migrated, 5, "once for each user");
    let told = rows(
        &data,
        "SELECT status, count(DISTINCT digest) AS n FROM plugin_health WHERE plugin = 'hostile-stateful' GROUP BY status",
    );
    assert_eq!(told, [r#"{"status":"ok","n":2}"#, r#"{"status":"refused","n":1}"#]);
    assert_ne!(json(&first[0])["digest"], manifest["plugins"]["hostile-stateful"]);
    assert_eq!(manifest["rules"].as_str().unwrap().len(), 64);
}

#[test]
fn rules_and_exceptions_change_what_is_found_and_the_tables_say_so() {
    let Some(guest) = guest("hostile") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let (log, data, rules) = (dir.join("log.ndjson"), dir.join("data"), dir.join("rules.toml"));
    let http = free_port();
    let config = config(dir, http, &format!("rules = \"{}\"\n", rules.display()));
    std::fs::copy(&guest, dir.join("plugins/hostile.wasm")).unwrap();
    // Event time of second 100 and after is beyond the exception's end.
    let file = "[[rule]]\nname = \"hostile/seen\"\nseverity = \"medium\"\n\
                [[exception]]\nname = \"load test\"\nrule = \"hostile/seen\"\n\
                match = { principal = \"ann\", address = \"192.0.2.0/24\" }\nowner = \"secops\"\nreason = \"planned\"\n\
                expires = \"2026-02-02T02:41:40Z\"\n\
                [[exception]]\nname = \"all of it\"\nrule = \"hostile\"\nmatch = { principal = \"nobody\" }\n\
                owner = \"secops\"\nreason = \"planned\"\ncreated = 2026-01-01\nexpires = 2100-01-01\n";
    std::fs::write(&rules, file).unwrap();
    let at = dir.join("c.toml");
    append(&log, 0, START, "ann", "192.0.2.9");
    append(&log, 1, START + 1, "ann", "203.0.113.9");
    append(&log, 2, START + 2, "eve", "192.0.2.9");
    append(&log, 3, START + 99, "ann", "192.0.2.10");
    append(&log, 4, START + 100, "ann", "192.0.2.9");
    let engine = Engine(spawn_run(&config, &at, &[]));
    let found = || {
        shown(
            &data,
            "SELECT e.api_request_uid AS id, d.severity FROM (SELECT unnest(event_ids) AS event_id, severity FROM detections) d \
             JOIN events e ON e.event_id = d.event_id",
        )
    };
    let row = |id: usize, severity: &str| format!("{{\"id\":\"call-{id}\",\"severity\":\"{severity}\"}}");
    let expected = vec![row(1, "Medium"), row(2, "Medium"), row(4, "Medium")];
    until("what is not excepted", || found() == expected);
    let exceptions =
        "SELECT exception, rule, matches, owner, created < expires AS sound, hits, last_hit, active FROM exceptions";
    until("the hits, and the end", || {
        let told = shown(&data, exceptions);
        told.len() == 2 && told[1].contains("\"hits\":2") && told[1].contains("\"active\":false")
    });
    let told = shown(&data, exceptions);
    for part in [
        "\"rule\":\"hostile/seen\"",
        "address = 192.0.2.0/24 and principal = ann",
        "secops",
        "2026-02-02T02:41:39",
    ] {
        assert!(told[1].contains(part), "{part}: {told:?}");
    }
    assert!(
        told[0].contains("\"active\":true") && told[0].contains("\"hits\":0") && told[0].contains("\"sound\":true")
    );
    let metrics = http_get(http, "/metrics").unwrap();
    assert!(
        metrics.contains("sentrail_exception_hits_total{exception=\"load test\"} 2"),
        "{metrics}"
    );
    assert!(
        metrics.contains("sentrail_exception_hits_total{exception=\"all of it\"} 0"),
        "{metrics}"
    );
    let seen = "SELECT version, severity, severity_shipped, techniques, enabled, signed_by, exceptions FROM rules \
                WHERE plugin = 'hostile' AND rule = 'seen'";
    assert_eq!(
        shown(&data, seen),
        [
            r#"{"version":"1.0.0","severity":"Medium","severity_shipped":"Low","techniques":["T1078.004"],"enabled":true,"signed_by":null,"exceptions":1}"#
        ]
    );
    let own = shown(&data, "SELECT rule FROM rules WHERE plugin = 'sentrail.source-health'");
    assert_eq!(own.len(), 4, "{own:?}");

    // A mistake changes nothing.
    std::fs::write(&rules, "[[rule]]\nname = \"hostile/seen\"\nenabled = \"no\"\n").unwrap();
    until("the refusal", || health(http).contains("rules.toml:3:11:"));
    assert!(health(http).contains("\"status\":\"degraded\""));
    append(&log, 5, START + 101, "eve", "192.0.2.9");
    until("the next", || found().contains(&row(5, "Medium")));

    // Off, and the first exception is no more.
    let file = format!(
        "[[rule]]\nname = \"hostile/seen\"\nenabled = false\n{}",
        &file[file.rfind("[[exception]]").unwrap()..]
    );
    std::fs::write(&rules, file).unwrap();
    until("the new rules", || {
        shown(&data, seen).iter().any(|row| row.contains("\"enabled\":false"))
    });
    until("health", || {
        health(http).contains("\"status\":\"ok\"") && !health(http).contains("degraded")
    });
    append(&log, 6, START + 102, "eve", "192.0.2.9");
    until("the event", || {
        shown(&data, "SELECT 1 FROM events WHERE api_request_uid = 'call-6'").len() == 1
    });
    std::thread::sleep(Duration::from_secs(1));
    engine.end();
    assert_eq!(found().len(), 4, "{:?}", found());
    let told = rows(&data, exceptions);
    assert!(
        told[1].contains("\"hits\":2") && told[1].contains("\"active\":false"),
        "{told:?}"
    );

    // After a start nothing is counted twice, and what was told stays.
    let engine = Engine(spawn_run(&config, &at, &[]));
    until("the second run", || health(http).contains("\"status\":\"ok\""));
    engine.end();
    assert_eq!(rows(&data, exceptions), told);
}

#[test]
fn check_names_what_is_wrong_with_rules_and_a_run_does_not_start_on_it() {
    let Some(guest) = guest("hostile") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let rules = dir.join("rules.toml");
    let config = config(dir, free_port(), &format!("rules = \"{}\"\n", rules.display()));
    std::fs::copy(&guest, dir.join("plugins/hostile.wasm")).unwrap();
    append(&dir.join("log.ndjson"), 0, START, "ann", "192.0.2.9");
    let at = dir.join("c.toml");
    std::fs::write(&at, &config).unwrap();
    let ended = |verb: &str| {
        let output = Command::new(SENTRAIL)
            .args([verb, "--config"])
            .arg(&at)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    for verb in ["check", "run"] {
        let _ = std::fs::remove_file(&rules);
        let (code, text) = ended(verb);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("rules.toml: cannot read the rules"), "{text}");
        std::fs::write(&rules, "[[rule]]\nname = \"hostile/seen\"\nseverity = \"loud\"\n").unwrap();
        let (code, text) = ended(verb);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("rules.toml:3:12:") && text.contains("loud"), "{text}");
    }
    std::fs::write(&rules, "[[rule]]\nname = \"hostile/sen\"\nseverity = \"low\"\n").unwrap();
    let (code, text) = ended("check");
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("FAIL") && text.contains("rules.toml:2:8:") && text.contains("valid are seen, loud"),
        "{text}"
    );
    std::fs::write(&rules, "[[rule]]\nname = \"hostile/seen\"\nseverity = \"low\"\n").unwrap();
    let (code, text) = ended("check");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("1 rules changed, 0 exceptions, 0 inhibitions"), "{text}");
}

/// A key pair as minisign has it.
struct Signer {
    pair: Ed25519KeyPair,
    id: [u8; 8],
}

impl Signer {
    fn new(id: u8) -> Signer {
        let pair = Ed25519KeyPair::generate().unwrap();
        Signer { pair, id: [id; 8] }
    }

    fn public(&self) -> String {
        STANDARD.encode([&b"Ed"[..], &self.id, self.pair.public_key().as_ref()].concat())
    }

    fn sign(&self, file: &Path) {
        let hash = Blake2b512::digest(std::fs::read(file).unwrap());
        let signature = self.pair.sign(&hash);
        let comment = "timestamp:1770000000\tfile:x.wasm";
        let global = self.pair.sign(&[signature.as_ref(), comment.as_bytes()].concat());
        let text = format!(
            "untrusted comment: signature of a test\n{}\ntrusted comment: {comment}\n{}\n",
            STANDARD.encode([&b"ED"[..], &self.id, signature.as_ref()].concat()),
            STANDARD.encode(global)
        );
        std::fs::write(file.with_extension("wasm.minisig"), text).unwrap();
    }
}

#[test]
fn what_nobody_trusted_signed_does_not_run() {
    let (Some(guest), Some(other)) = (guest("hostile"), guest("hostile-stateful")) else {
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let (data, http) = (dir.join("data"), free_port());
    let (ours, old, foreign) = (Signer::new(1), Signer::new(2), Signer::new(3));
    let keys = format!("signed_by = [\"{}\", \"{}\"]\n", old.public(), ours.public());
    let config = config(dir, http, &keys);
    let (plugin, unsigned) = (
        dir.join("plugins/hostile.wasm"),
        dir.join("plugins/hostile-stateful.wasm"),
    );
    std::fs::copy(&guest, &plugin).unwrap();
    std::fs::copy(&other, &unsigned).unwrap();
    ours.sign(&plugin);
    append(&dir.join("log.ndjson"), 0, START, "ann", "192.0.2.9");
    let at = dir.join("c.toml");
    let engine = Engine(spawn_run(&config, &at, &[]));
    let refused = |reason: &str| health(http).contains(reason);
    until("the refusal", || {
        refused("it is not signed: there is no hostile-stateful.wasm.minisig")
    });
    let signers = "SELECT DISTINCT plugin, signed_by FROM rules WHERE digest <> ''";
    let signed = [format!(
        "{{\"plugin\":\"hostile\",\"signed_by\":\"{}\"}}",
        ours.public()
    )];
    until("who signed", || shown(&data, signers) == signed);
    let digests = "SELECT DISTINCT digest FROM rules WHERE plugin = 'hostile'";
    let before = shown(&data, digests);

    foreign.sign(&unsigned);
    until("the foreign key", || refused("signed by somebody whom"));
    // The same key id, but another key.
    Signer::new(1).sign(&unsigned);
    until("the forged key", || {
        refused("hostile-stateful.wasm.minisig does not fit")
    });
    let good = std::fs::read(&plugin).unwrap();
    replace(&plugin, &rebuilt(&guest, "altered"));
    until("the altered file", || {
        refused("hostile.wasm.minisig does not fit") && refused("runs on")
    });
    append(&dir.join("log.ndjson"), 1, START + 1, "ann", "192.0.2.9");
    until("the old one", || shown(&data, "SELECT 1 FROM detections").len() == 2);
    assert_eq!(shown(&data, digests), before);
    old.sign(&plugin);
    until("the new one", || shown(&data, digests) != before);
    until("its signer", || shown(&data, signers)[0].contains(&old.public()));
    engine.end();

    let run = |arguments: &[&str]| {
        let output = Command::new(SENTRAIL)
            .args(arguments)
            .arg("--config")
            .arg(&at)
            .output()
            .unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };
    let (code, text) = run(&["plugin", "inspect", plugin.to_str().unwrap()]);
    assert!(
        code == Some(0) && text.contains(&format!("signed by {}", old.public())),
        "{text}"
    );
    replace(&plugin, &good);
    let (code, text) = run(&["plugin", "inspect", plugin.to_str().unwrap()]);
    assert!(code == Some(1) && text.contains("does not fit"), "{text}");
    let (code, text) = run(&["check"]);
    assert!(
        code == Some(2) && text.contains("hostile.wasm: its signature"),
        "{text}"
    );
    std::fs::write(&at, config.replace(&ours.public(), "RWnokey")).unwrap();
    let (code, text) = run(&["check"]);
    assert!(
        code == Some(2) && text.contains("RWnokey") && text.contains("minisign.pub"),
        "{text}"
    );
}
