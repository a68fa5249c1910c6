//! Columns that come from tables beside the logs, while the engine runs.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::*;

/// A gateway's record from `address`.
fn record(id: usize, address: &str) -> String {
    format!(
        "{{\"id\":\"call-{id}\",\"call_type\":\"acompletion\",\"startTime\":{}.5,\"model\":\"m\",\"status\":\"success\",\
         \"requester_ip_address\":\"{address}\"}}",
        1_770_000_000 + id
    )
}

fn append(log: &Path, id: usize, address: &str) {
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    writeln!(log, "{}", record(id, address)).unwrap();
}

/// By rename, as configuration tools write.
fn replace(table: &Path, text: &str) {
    let fresh = table.with_extension("fresh");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(fresh, table).unwrap();
}

#[track_caller]
fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The lookup `sites` in /healthz, and the status of the whole.
fn health(port: u16) -> Option<(String, serde_json::Value)> {
    let answer = http_get(port, "/healthz")?;
    let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
    let lookup = body["lookups"]
        .as_array()?
        .iter()
        .find(|part| part["name"] == "sites")?;
    Some((body["status"].as_str()?.to_owned(), lookup.clone()))
}

fn config(scratch: &Path, plugins: &Path, http: u16) -> String {
    format!(
        "[storage]\nurl = \"{dir}/data\"\nflush_interval = \"200ms\"\n[plugins]\ndir = \"{}\"\n[serve]\nhttp = \"127.0.0.1:{http}\"\n\
         [[source]]\nname = \"gateway\"\ntype = \"file\"\npath = \"{dir}/log.ndjson\"\nformat = \"litellm\"\nfollow = true\n\
         [[lookup]]\nname = \"sites\"\nfile = \"{dir}/sites.csv\"\non = \"src_endpoint_ip\"\nkey = \"network\"\nmatch = \"cidr\"\n\
         take = {{ src_endpoint_zone = \"site\", src_endpoint_autonomous_system_number = \"asn\" }}\n\
         [[lookup]]\nname = \"known\"\nsql = \"\"\"SELECT tenant, src_endpoint_ip AS ip, 'seen' AS word FROM events\"\"\"\nrefresh = \"1s\"\n\
         on = \"src_endpoint_ip\"\nkey = \"ip\"\ntake = {{ resource_criticality = \"word\" }}\n",
        plugins.display(),
        dir = scratch.display(),
    )
}

#[test]
fn a_changed_table_is_seen_by_the_next_event_and_a_broken_one_is_told() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let (log, sites, data) = (
        scratch.path().join("log.ndjson"),
        scratch.path().join("sites.csv"),
        scratch.path().join("data"),
    );
    let http = free_port();
    std::fs::write(&sites, "network,site,asn\n192.0.2.0/24,north,64500\n").unwrap();
    append(&log, 0, "192.0.2.1");
    let at = scratch.path().join("c.toml");
    let mut engine = Engine(spawn_run(&config(scratch.path(), &plugins, http), &at, &[]));
    let shown = |id: usize| {
        let sql = format!(
            "SELECT src_endpoint_zone AS zone, src_endpoint_autonomous_system_number AS asn FROM events \
             WHERE api_request_uid = 'call-{id}'"
        );
        wait_for(&format!("event {id}"), || {
            (durable(&data) > id)
                .then(|| rows(&data, &sql).first().cloned())
                .flatten()
        })
    };
    assert_eq!(shown(0), r#"{"zone":"north","asn":64500}"#);
    assert_eq!(health(http).unwrap().0, "ok");

    replace(&sites, "network,site,asn\n192.0.2.0/24,south,64501\n192.0.2.7,lab,\n");
    wait_for("the new table", || {
        http_get(http, "/metrics")?
            .contains("sentrail_lookup_rows{lookup=\"sites\"} 2")
            .then_some(())
    });
    append(&log, 1, "192.0.2.1");
    append(&log, 2, "192.0.2.7");
    assert_eq!(shown(2), r#"{"zone":"lab","asn":null}"#);
    assert_eq!(shown(1), r#"{"zone":"south","asn":64501}"#);

    replace(&sites, "network,site,asn\n192.0.2.0/24,west,64502\n192.0.2.7,oops\n");
    let degraded = wait_for("the trouble", || {
        health(http).filter(|(_, lookup)| lookup["status"] == "degraded")
    });
    let detail = degraded.1["detail"].as_str().unwrap();
    assert!(
        detail.contains("sites.csv: line 3") && detail.contains("is in use"),
        "{detail}"
    );
    assert_eq!(degraded.0, "degraded");
    let metrics = http_get(http, "/metrics").unwrap();
    assert!(
        metrics.contains("sentrail_lookup_failures_total{lookup=\"sites\"} 1"),
        "{metrics}"
    );
    append(&log, 3, "192.0.2.1");
    assert_eq!(shown(3), r#"{"zone":"south","asn":64501}"#);

    // In place, as editors write.
    std::fs::write(&sites, "network,site,asn\n192.0.2.0/24,east,64503\n").unwrap();
    wait_for("the mended table", || health(http).filter(|(status, _)| status == "ok"));
    append(&log, 4, "192.0.2.1");
    assert_eq!(shown(4), r#"{"zone":"east","asn":64503}"#);

    // What the tables said of an address before: of the first event nothing, for they were empty.
    let words = "SELECT api_request_uid AS id, resource_criticality AS word FROM events ORDER BY time";
    assert_eq!(rows(&data, words)[0], r#"{"id":"call-0","word":null}"#);
    assert_eq!(rows(&data, words)[4], r#"{"id":"call-4","word":"seen"}"#);

    let told = Command::new("kill").args(["-INT", &engine.0.id().to_string()]).status();
    assert!(told.unwrap().success());
    assert!(wait(&mut engine.0, PATIENCE).unwrap().success());
}

#[test]
fn a_missing_or_broken_table_stops_the_start_and_check_says_so() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let at = scratch.path().join("c.toml");
    append(&scratch.path().join("log.ndjson"), 0, "192.0.2.1");
    std::fs::write(&at, config(scratch.path(), &plugins, free_port())).unwrap();
    let ended = |verb: &str| {
        let output = Command::new(SENTRAIL)
            .args([verb, "--config"])
            .arg(&at)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let sites = scratch.path().join("sites.csv");
    for (text, words) in [
        (None, &["sites.csv", "cannot read it"][..]),
        (Some("network,site\n"), &["sites.csv", "no column `asn`"]),
        (
            Some("network,site,asn\n192.0.2.0/24,x,y\n"),
            &["sites.csv", "line 2", "`asn`"],
        ),
    ] {
        if let Some(text) = text {
            std::fs::write(&sites, text).unwrap();
        }
        for verb in ["run", "check"] {
            let (code, text) = ended(verb);
            assert_eq!(code, Some(2), "{verb}: {text}");
            assert!(words.iter().all(|word| text.contains(word)), "{verb}: {text}");
        }
        assert!(!scratch.path().join("data/epochs").exists());
    }
    std::fs::write(&sites, "network,site,asn\n192.0.2.0/24,x,1\n").unwrap();
    let (code, text) = ended("check");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("lookup sites") && text.contains("1 rows"), "{text}");
}

#[test]
fn looked_up_persons_are_redacted() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    append(&dir.join("log.ndjson"), 0, "192.0.2.1");
    std::fs::write(
        dir.join("people.csv"),
        "address,name,team\n192.0.2.1,Alice Example,research\n",
    )
    .unwrap();
    let config = format!(
        "[storage]\nurl = \"{dir}/data\"\n[plugins]\ndir = \"{}\"\n[redact]\nkey_env = \"REDACT\"\n\
         [[source]]\nname = \"gateway\"\ntype = \"file\"\npath = \"{dir}/log.ndjson\"\nformat = \"litellm\"\n\
         [[lookup]]\nname = \"people\"\nfile = \"{dir}/people.csv\"\non = \"src_endpoint_ip\"\nkey = \"address\"\n\
         take = {{ actor_user_full_name = \"name\", actor_user_org_ou_name = \"team\" }}\n",
        plugins.display(),
        dir = dir.display(),
    );
    let mut engine = spawn_run(&config, &dir.join("c.toml"), &[("REDACT", "a key that nobody guesses")]);
    assert!(wait(&mut engine, PATIENCE).unwrap().success());
    let sql = "SELECT actor_user_full_name AS name, actor_user_org_ou_name AS team FROM events";
    let row: serde_json::Value = serde_json::from_str(&rows(&dir.join("data"), sql)[0]).unwrap();
    assert!(row["name"].as_str().unwrap().starts_with("hmac:"), "{row}");
    assert_eq!(row["team"], "research");
}
