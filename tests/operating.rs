//! A running engine as its operator sees it: health, metrics, exit codes, how often it speaks.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use sentrail::{config, pipeline};

use crate::support::*;

#[test]
fn a_broker_that_cannot_be_reached_is_a_failure_that_health_names() {
    let scratch = tempfile::tempdir().unwrap();
    let (port, nobody) = (free_port(), free_port());
    let config = format!(
        "[storage]\nurl = \"{0}/data\"\n[plugins]\ndir = \"{0}\"\n[serve]\nhttp = \"127.0.0.1:{port}\"\n[[source]]\nname = \"trail\"\n\
         type = \"kafka\"\nbrokers = \"127.0.0.1:{nobody}\"\ntopics = [\"t\"]\nformat = \"aws_cloudtrail\"\n",
        scratch.path().display()
    );
    std::fs::write(scratch.path().join("broken.wasm"), "no component").unwrap();
    let mut engine = spawn_run(&config, &scratch.path().join("c.toml"), &[]);
    let mut health = String::new();
    until("503 for the source", || {
        health = http_get(port, "/healthz").unwrap_or_default();
        health.starts_with("HTTP/1.1 503") && health.contains("brokers are down")
    });
    let _ = engine.kill();
    let _ = engine.wait();
    let (_, body) = health.split_once("\r\n\r\n").unwrap();
    let health: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(health["status"], "failed");
    assert_eq!(health["store"]["status"], "ok");
    assert_eq!(health["sources"][0]["name"], "trail");
    assert_eq!(health["sources"][0]["status"], "failed");
    let detail = health["sources"][0]["detail"].as_str().unwrap();
    assert!(detail.contains(&nobody.to_string()), "which and why: {detail}");
    assert_eq!(health["plugins"][0]["name"], "broken.wasm");
    assert_eq!(health["plugins"][0]["status"], "degraded");
}

#[test]
fn a_bounded_file_that_breaks_off_is_named_at_the_end_and_the_run_exits_1() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let logs = scratch.path().join("logs");
    let records = simulated(3, 3_000);
    let total: usize = records.values().map(Vec::len).sum();
    write_logs(&logs, &records);
    let path = logs.join("qdrant_audit.ndjson");
    let packed = zstd_of(&std::fs::read(&path).unwrap());
    std::fs::write(&path, &packed[..packed.len() / 2]).unwrap();
    let (data, at) = (scratch.path().join("data"), scratch.path().join("c.toml"));
    let config = file_config(&data, &logs, &plugins, "");
    let mut run = spawn_run(&config, &at, &[]);
    let status = wait(&mut run, PATIENCE).expect("it ends");
    let log = std::fs::read_to_string(at.with_extension("log")).unwrap();
    assert_eq!(status.code(), Some(1), "{log}");
    let end = log.split("not everything could be read").nth(1).expect("it says so");
    assert!(
        end.contains("source qdrant_audit: ") && end.contains("qdrant_audit.ndjson"),
        "{end}"
    );
    let read = count(&data, "events");
    let others = total - records["qdrant_audit"].len();
    assert!(
        (others..total).contains(&read),
        "{read} of {total}, {others} of the others"
    );

    // Put right, the next run reads what was missing and nothing twice.
    std::fs::write(&path, &packed).unwrap();
    run_to_end(&config, &at);
    let cut = count(&data, "rejected");
    assert!(cut <= 2, "the record at the break, and what was left of it: {cut}");
    let after = count(&data, "events");
    assert!((total - 1..=total).contains(&after), "{after} of {total}");
}

fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

#[test]
fn check_shows_neither_tokens_nor_passwords() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let logs = scratch.path().join("logs");
    write_logs(&logs, &simulated(3, 60));
    let forward =
        "[[forward]]\nname = \"soar\"\ntype = \"webhook\"\nurl = \"http://me:pa55@127.0.0.1:9/hook/t0ken?key=t0ken\"\n";
    let at = scratch.path().join("c.toml");
    std::fs::write(&at, file_config(&scratch.path().join("data"), &logs, &plugins, forward)).unwrap();
    let output = std::process::Command::new(SENTRAIL)
        .args(["check", "--config"])
        .arg(&at)
        .env("RUST_LOG", "debug")
        .output()
        .unwrap();
    let all = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        all.contains("FAIL  forward soar") && all.contains("127.0.0.1:9"),
        "{all}"
    );
    assert!(!all.contains("t0ken") && !all.contains("pa55"), "{all}");
}

/// The samples of a metric, by the value of its one label.
fn samples(metrics: &str, name: &str) -> BTreeMap<String, u64> {
    let of = |line: &str| {
        let (label, value) = line.strip_prefix(name)?.strip_prefix('{')?.split_once("\"} ")?;
        Some((label.split_once("=\"")?.1.to_owned(), value.parse().ok()?))
    };
    metrics.lines().filter_map(of).collect()
}

#[test]
fn figures_agree_in_metrics_and_in_the_table_though_nothing_comes_any_more() {
    // A detector of each layer that the simulated company has logs of, and one of all.
    const SIMULATED: [&str; 5] = [
        "asset-inventory",
        "cloud-credential-misuse",
        "gateway-key-abuse",
        "prompt-injection",
        "vector-bulk-access",
    ];
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let (logs, data) = (scratch.path().join("logs"), scratch.path().join("data"));
    let records = simulated(7, 3_000);
    write_logs(&logs, &records);
    let port = free_port();
    let more = format!("[serve]\nhttp = \"127.0.0.1:{port}\"\n");
    let config = file_config(&data, &logs, &plugins, &more)
        .replace("type = \"file\"\n", "type = \"file\"\nfollow = true\n")
        .replacen("[plugins]", "flush_interval = \"300ms\"\n[plugins]", 1);
    let mut engine = spawn_run(&config, &scratch.path().join("c.toml"), &[]);
    let metrics = || http_get(port, "/metrics").unwrap_or_default();
    let total = |metrics: &str, name: &str| samples(metrics, name).values().sum::<u64>();
    until("every record", || total(&metrics(), "sentrail_records_total") == 3_000);
    let counted = metrics();
    for (source, read) in samples(&counted, "sentrail_records_total") {
        let of = |name: &str| samples(&counted, name)[&source];
        let parts = [
            "sentrail_events_total",
            "sentrail_rejected_total",
            "sentrail_duplicates_total",
        ];
        assert_eq!(read, parts.into_iter().map(of).sum::<u64>(), "{source}");
    }

    // Figures go on changing for a while, as the watermark lets rows go; then both say the same.
    let sql = "SELECT plugin, last_value(batches ORDER BY time) AS batches, last_value(rows ORDER BY time) AS rows \
               FROM plugin_health GROUP BY plugin";
    until("the table catches up with the metrics", || {
        let metrics = metrics();
        let (batches, figures) = (
            samples(&metrics, "sentrail_plugin_batches_total"),
            samples(&metrics, "sentrail_plugin_rows_total"),
        );
        let told: BTreeMap<String, (u64, u64)> = rows(&data, sql)
            .iter()
            .map(|row| {
                let row: serde_json::Value = serde_json::from_str(row).unwrap();
                let figure = |name: &str| row[name].as_u64().unwrap();
                (
                    row["plugin"].as_str().unwrap().to_owned(),
                    (figure("batches"), figure("rows")),
                )
            })
            .collect();
        let shown = figures
            .into_iter()
            .map(|(plugin, rows)| (plugin.clone(), (batches[&plugin], rows)));
        let shown: BTreeMap<String, (u64, u64)> = shown.collect();
        let fed = |plugin: &str| shown.get(plugin).is_some_and(|(_, rows)| *rows > 0);
        shown == told && SIMULATED.into_iter().all(fed)
    });
    let _ = engine.kill();
    let _ = engine.wait();
}

/// Answers every request with a refusal that repeats it, and a terminal's escapes.
fn echo(listener: std::net::TcpListener) {
    use std::io::Read;
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let head = String::from_utf8_lossy(&request[..read]).into_owned();
            let head = head.split("\r\n\r\n").next().unwrap_or_default();
            let body = format!("{}\u{1b}[2J\u{202e}{head}", "k3y-of-the-hook");
            let _ = write!(
                stream,
                "HTTP/1.1 400 No\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            // Closing on what was not read would cut the answer off.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
}

#[test]
fn an_alert_that_is_refused_is_kept_and_counted_and_says_no_secret() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let (logs, data) = (scratch.path().join("logs"), scratch.path().join("data"));
    write_logs(&logs, &simulated(7, 3_000));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hook = listener.local_addr().unwrap();
    echo(listener);
    let port = free_port();
    let more = format!(
        "[serve]\nhttp = \"127.0.0.1:{port}\"\n[[forward]]\nname = \"soar\"\ntype = \"webhook\"\n\
         url = \"http://us3r:pa55word@{hook}/hook/t0ken?key=k3yy\"\nsecret_env = \"HOOK\"\n"
    );
    let config =
        file_config(&data, &logs, &plugins, &more).replace("type = \"file\"\n", "type = \"file\"\nfollow = true\n");
    let at = scratch.path().join("c.toml");
    let environment = [
        ("HOOK", "k3y-of-the-hook"),
        ("RUST_LOG", "sentrail=trace,reqwest=trace,hyper=trace,hyper_util=trace"),
    ];
    let mut engine = spawn_run(&config, &at, &environment);
    let counted = |name: &str| samples(&http_get(port, "/metrics").unwrap_or_default(), name);
    until("a refusal, and no alert that waits", || {
        counted("sentrail_forward_dead_letters_total")
            .get("soar")
            .is_some_and(|count| *count > 0)
            && counted("sentrail_forward_lag_alerts").get("soar") == Some(&0)
    });
    let health = http_get(port, "/healthz").unwrap();
    let _ = engine.kill();
    let _ = engine.wait();
    assert!(
        health.contains("\"status\":\"ok\"") && !health.contains("degraded"),
        "{health}"
    );
    let dead = std::fs::read_to_string(data.join("forward/soar.dead.ndjson")).unwrap();
    let log = std::fs::read_to_string(at.with_extension("log")).unwrap();
    assert!(log.contains("the receiver refused an alert") && log.contains("soar.dead.ndjson"));
    for (place, text) in [("health", &health), ("dead letters", &dead), ("log", &log)] {
        for secret in ["t0ken", "k3yy", "us3r", "pa55", "k3y-of-the-hook", "dXMzcjpwYTU1d29yZA"] {
            let line = text.lines().find(|line| line.contains(secret)).unwrap_or_default();
            assert!(line.is_empty(), "`{secret}` in the {place}: {line}");
        }
        assert!(!text.contains('\u{202e}') && !text.contains("\u{1b}[2J"), "{place}");
    }
}

/// Appends the records in `slices` parts, with `pause` after each.
fn grow(logs: &Path, records: &BTreeMap<&'static str, Vec<String>>, slices: usize, pause: Duration) {
    for slice in 0..slices {
        for (format, lines) in records {
            let part = lines.len() * slice / slices..lines.len() * (slice + 1) / slices;
            let path = logs.join(format!("{format}.ndjson"));
            let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
            file.write_all((lines[part].join("\n") + "\n").as_bytes()).unwrap();
        }
        std::thread::sleep(pause);
    }
}

#[test]
fn an_incident_that_only_grows_is_not_told_anew_with_every_batch() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let (logs, data) = (scratch.path().join("logs"), scratch.path().join("data"));
    let records = simulated(7, 3_000);
    write_logs(&logs, &records.keys().map(|format| (*format, Vec::new())).collect());
    let bounded = file_config(&data, &logs, &plugins, "").replacen(
        "[plugins]",
        "flush_interval = \"1h\"\n[correlate]\nsingle_severity = \"low\"\n[plugins]",
        1,
    );
    let followed = bounded.replace("type = \"file\"\n", "type = \"file\"\nfollow = true\n");
    let began = Instant::now();
    let settings = config::parse(&followed, "test.toml", &|_| None).unwrap();
    let running = runtime().block_on(pipeline::start(settings)).unwrap();
    grow(&logs, &records, 20, Duration::from_millis(300));
    let status = running.status();
    until("every record", || status.borrow().records as usize >= 3_000);
    running.stop();
    let status = runtime().block_on(running.join()).unwrap();
    let elapsed = began.elapsed();

    let sql = "SELECT incident_id, revision, status, severity, detection_count FROM incident_revisions";
    let mut revisions: Vec<(String, u64, String)> = rows(&data, sql)
        .iter()
        .map(|row| {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            let standing = format!("{} {}", row["status"], row["severity"]);
            (
                row["incident_id"].to_string(),
                row["revision"].as_u64().unwrap(),
                standing,
            )
        })
        .collect();
    revisions.sort();
    let mut grown = BTreeMap::<&str, usize>::new();
    for pair in revisions.windows(2) {
        if pair[0].0 == pair[1].0 && pair[0].2 == pair[1].2 {
            *grown.entry(&pair[0].0).or_default() += 1;
        }
    }
    println!(
        "{} incidents, {} revisions in {elapsed:?}, growth {grown:?}",
        status.incidents["open"],
        revisions.len()
    );
    // One for the end, one for every ten seconds, and one for an incident that took another in.
    let most = 2 + elapsed.as_secs() as usize / 10;
    assert!(
        grown.values().all(|times| *times <= most),
        "{grown:?}, at most {most} expected"
    );
    assert!(!grown.is_empty(), "something grew");

    // What was told last is what the facts say: the same as in one calm run.
    run_to_end(&bounded, &scratch.path().join("c.toml"));
    let calm = scratch.path().join("calm");
    let config = bounded.replace(&data.display().to_string(), &calm.display().to_string());
    run_to_end(&config, &scratch.path().join("calm.toml"));
    assert_same(&outcome(&calm), &outcome(&data), "told in pieces");
}

#[test]
fn a_source_that_falls_silent_is_told_once_per_silence() {
    let scratch = tempfile::tempdir().unwrap();
    let (data, plugins) = (scratch.path().join("data"), scratch.path().join("plugins"));
    std::fs::create_dir(&plugins).unwrap();
    let logs = scratch.path().join("logs");
    let records = simulated(3, 300);
    let (last, first) = records["litellm"].split_last().unwrap();
    write_logs(&logs, &BTreeMap::from([("litellm", first.to_vec())]));
    let port = free_port();
    let config = format!(
        "[storage]\nurl = \"{}\"\nflush_interval = \"300ms\"\n[plugins]\ndir = \"{}\"\n[serve]\nhttp = \"127.0.0.1:{port}\"\n\
         [[source]]\nname = \"chat\"\ntype = \"file\"\npath = \"{}/*.ndjson\"\nformat = \"litellm\"\nfollow = true\nsilent_after = \"2s\"\n",
        data.display(),
        plugins.display(),
        logs.display()
    );
    let at = scratch.path().join("c.toml");
    let told = || match epochs(&data) {
        0 => Vec::new(),
        _ => rows(
            &data,
            "SELECT detection_id, rule, severity, message, techniques, entities FROM detections \
             WHERE plugin = 'sentrail.source-health'",
        ),
    };
    let mut engine = spawn_run(&config, &at, &[]);
    until("a detection", || told().len() == 1);
    let found = told();
    for part in ["\"silent\"", "High", "source chat", "2 s", "T1685", "log_source:chat"] {
        assert!(found[0].contains(part), "{part}: {found:?}");
    }
    assert_eq!(count(&data, "incidents"), 0, "one finding that is not critical");
    until("health says so", || {
        let health = http_get(port, "/healthz").unwrap_or_default();
        health.contains("degraded") && health.contains("no record could be read since")
    });

    let _ = engine.kill();
    let _ = engine.wait();
    let mut engine = spawn_run(&config, &at, &[]);
    until("it runs again", || http_get(port, "/healthz").is_some());
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(told(), found, "the same silence goes on");

    let path = logs.join("litellm.ndjson");
    let mut log = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    writeln!(log, "{last}").unwrap();
    until("the next silence", || told().len() == 2);
    assert_eq!(count(&data, "incidents"), 0, "it is the same finding again");
    assert_eq!(count(&data, "events"), records["litellm"].len());
    let _ = engine.kill();
    let _ = engine.wait();
}
