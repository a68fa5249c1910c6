//! A running engine as a PostgreSQL client and a SIEM see it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::*;

async fn connect(port: u16, password: Option<&str>) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user("sentrail").dbname("sentrail");
    if let Some(password) = password {
        config.password(password);
    }
    let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn connected(port: u16, password: Option<&str>) -> tokio_postgres::Client {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match connect(port, password).await {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < deadline, "no answer on port {port}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn followed(data: &Path, logs: &Path, plugins: &Path, more: &str) -> String {
    file_config(data, logs, plugins, more).replace("type = \"file\"\n", "type = \"file\"\nfollow = true\n")
}

#[test]
fn an_event_is_visible_to_psql_before_its_epoch_is_durable() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let logs = scratch.path().join("logs");
    let records = simulated(5, 400);
    write_logs(&logs, &records);
    let port = free_port();
    let http = free_port();
    let more = format!("[serve]\npostgres = \"127.0.0.1:{port}\"\nhttp = \"127.0.0.1:{http}\"");
    // An hour: nothing becomes durable while the test looks.
    let config = followed(&scratch.path().join("data"), &logs, &plugins, &more).replacen(
        "[plugins]",
        "flush_interval = \"1h\"\n[plugins]",
        1,
    );
    let _engine = Engine(spawn_run(&config, &scratch.path().join("c.toml"), &[]));
    runtime().block_on(async {
        let client = connected(port, None).await;
        let events = || async {
            client
                .query_one("SELECT count(*) FROM events", &[])
                .await
                .unwrap()
                .get::<_, i64>(0)
        };
        let deadline = Instant::now() + PATIENCE;
        while events().await < 400 {
            assert!(Instant::now() < deadline, "only {} events", events().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let line = records["qdrant_audit"][0].clone();
        let appended = Instant::now();
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(logs.join("qdrant_audit.ndjson"))
            .unwrap();
        writeln!(file, "{line}").unwrap();
        while events().await < 401 {
            assert!(Instant::now() < deadline, "the appended event never came");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        println!("visible {} ms after it was written", appended.elapsed().as_millis());
        // What psql's \dt and \d ask, and that nothing can be changed.
        let tables = client
            .query(
                "SELECT tablename::text FROM pg_catalog.pg_tables WHERE schemaname = 'public'",
                &[],
            )
            .await;
        let names: Vec<String> = tables.unwrap().iter().map(|row| row.get(0)).collect();
        for name in ["events", "detections", "incidents", "incident_path", "rejected"] {
            assert!(names.iter().any(|found| found == name), "{name} is not in {names:?}");
        }
        assert!(client.simple_query("DROP TABLE events").await.is_err());
        assert!(
            client
                .simple_query("INSERT INTO rejected SELECT * FROM rejected")
                .await
                .is_err()
        );
    });
    let health = http_get(http, "/healthz").unwrap();
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    // Gauges are brought up to date once a second.
    let deadline = Instant::now() + PATIENCE;
    for counted in [
        "sentrail_records_total{source=\"litellm\"} ",
        "sentrail_relations_total{plugin=\"mapping\"} ",
        "sentrail_graph_entities ",
        "sentrail_graph_edges ",
    ] {
        loop {
            let metrics = http_get(http, "/metrics").unwrap();
            let value = metrics.lines().find_map(|line| line.strip_prefix(counted));
            if value.is_some_and(|value| value.parse::<f64>().unwrap() > 0.0) {
                break;
            }
            assert!(Instant::now() < deadline, "{counted}is not above 0 in\n{metrics}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn a_password_is_asked_for_when_one_is_set() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let logs = scratch.path().join("logs");
    write_logs(&logs, &simulated(5, 50));
    let port = free_port();
    let more = format!("[serve]\npostgres = \"127.0.0.1:{port}\"\npostgres_password_env = \"PG_TEST\"");
    let config = followed(&scratch.path().join("data"), &logs, &plugins, &more);
    let _engine = Engine(spawn_run(
        &config,
        &scratch.path().join("c.toml"),
        &[("PG_TEST", "open sesame")],
    ));
    runtime().block_on(async {
        let client = connected(port, Some("open sesame")).await;
        assert_eq!(client.query_one("SELECT 1", &[]).await.unwrap().len(), 1);
        assert!(connect(port, Some("wrong")).await.is_err());
        assert!(connect(port, None).await.is_err());
    });
    let log = std::fs::read_to_string(scratch.path().join("c.log")).unwrap();
    assert!(!log.contains("open sesame"));
}

#[test]
fn what_a_statement_brings_down_is_not_the_engine() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let logs = scratch.path().join("logs");
    write_logs(&logs, &simulated(5, 200));
    let (port, http) = (free_port(), free_port());
    let more = format!("[serve]\npostgres = \"127.0.0.1:{port}\"\nhttp = \"127.0.0.1:{http}\"");
    // An hour: the rows are sent to the process, not read from the tables.
    let config = followed(&scratch.path().join("data"), &logs, &plugins, &more).replacen(
        "[plugins]",
        "flush_interval = \"1h\"\n[plugins]",
        1,
    );
    let mut engine = Engine(spawn_run(&config, &scratch.path().join("c.toml"), &[]));
    let doubled: String = (1..40)
        .map(|n| format!(", t{n} AS (SELECT x || x AS x FROM t{})", n - 1))
        .collect();
    runtime().block_on(async {
        for (statement, ended) in [
            // Ten gigabytes from one function, a terabyte from forty lines.
            ("SELECT length(repeat(event_id, 1000000000)) FROM events".to_owned(), true),
            (format!("WITH t0 AS (SELECT repeat('x', 100) AS x){doubled} SELECT length(x) FROM t39"), true),
            // Deep: an answer or an error, and no more.
            (format!("SELECT 1{}", "+1".repeat(20_000)), false),
            (format!("SELECT {}1{}", "(".repeat(20_000), ")".repeat(20_000)), false),
        ] {
            let deadline = Instant::now() + PATIENCE;
            let mut client = connected(port, None).await;
            // A server that was just started anew gets the rows in a moment.
            while !matches!(client.query_one("SELECT count(*) FROM events", &[]).await, Ok(row) if row.get::<_, i64>(0) == 200) {
                assert!(Instant::now() < deadline, "the events are not there before {statement:.60}");
                client = connected(port, None).await;
            }
            let answer = client.simple_query(&statement).await;
            assert!(answer.is_err() || !ended, "{statement:.60}");
        }
        let client = connected(port, None).await;
        assert_eq!(client.query("SELECT 1", &[]).await.unwrap().len(), 1);
    });
    let health = http_get(http, "/healthz").unwrap();
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    let metrics = http_get(http, "/metrics").unwrap();
    let restarts = metrics
        .lines()
        .find_map(|line| line.strip_prefix("sentrail_sql_restarts_total "));
    assert!(restarts.unwrap().parse::<u64>().unwrap() >= 2, "{metrics}");
    assert!(engine.0.try_wait().unwrap().is_none());
}

/// Takes POSTs and hands on (headers, body).
pub fn receiver(port: u16) -> mpsc::Receiver<(String, Vec<u8>)> {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (sender, received) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { break };
            let sender = sender.clone();
            std::thread::spawn(move || answer_posts(stream, &sender));
        }
    });
    received
}

fn answer_posts(stream: TcpStream, sender: &mpsc::Sender<(String, Vec<u8>)>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut headers = String::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            headers.push_str(&line.to_lowercase());
        }
        let length = headers
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok())
            .unwrap_or(0);
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        if sender.send((headers, body)).is_err() {
            return;
        }
        let _ = reader
            .get_mut()
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    }
}

#[test]
fn a_receiver_that_was_down_gets_every_incident_once_it_is_up() {
    let Some(plugins) = plugins() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let logs = scratch.path().join("logs");
    write_logs(&logs, &simulated(7, 3_000));
    let data = scratch.path().join("data");
    let port = free_port();
    let more = format!(
        "[[forward]]\nname = \"soar\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:{port}/hook\"\nsecret_env = \"HOOK\"\n\
         interval = \"0s\""
    );
    // Nobody listens while the logs are read; the run ends all the same.
    let config = file_config(&data, &logs, &plugins, &more);
    let mut first = spawn_run(&config, &scratch.path().join("c.toml"), &[("HOOK", "k3y")]);
    assert!(wait(&mut first, PATIENCE).expect("ended").success());
    let expected: Vec<serde_json::Value> = rows(&data, "SELECT incident_id, revision FROM incident_revisions")
        .iter()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
    assert!(!expected.is_empty());

    let received = receiver(port);
    let _engine = Engine(spawn_run(
        &followed(&data, &logs, &plugins, &more),
        &scratch.path().join("c.toml"),
        &[("HOOK", "k3y")],
    ));
    let mut seen = std::collections::BTreeMap::new();
    let deadline = Instant::now() + PATIENCE;
    while seen.len() < expected.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        let (headers, body) = received.recv_timeout(left).expect("every revision arrives");
        assert!(headers.contains("x-sentrail-signature: sha256="), "{headers}");
        let finding: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(finding["class_uid"], 2005);
        let delivery = headers
            .lines()
            .find_map(|line| line.strip_prefix("x-sentrail-delivery:"))
            .expect("named")
            .trim()
            .to_owned();
        if let Some(before) = seen.insert(delivery.clone(), finding.clone()) {
            assert_eq!(before, finding, "{delivery} arrived twice, with two contents");
        }
    }
    for row in &expected {
        let name = format!("{}/{}", row["incident_id"].as_str().unwrap(), row["revision"]);
        assert!(seen.contains_key(&name), "{name} is missing");
    }
}
