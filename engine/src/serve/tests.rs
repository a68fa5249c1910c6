use std::collections::BTreeMap;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

use super::*;
use crate::config::Secret;
use crate::model::{Answer, Command, InputId, Refusal};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What takes commands over TCP, and where they come out.
fn asks(tokens: &[&str]) -> (Asks, mpsc::Receiver<Ask>) {
    let (to, asked) = mpsc::channel(4);
    let tokens: Vec<Secret> = tokens.iter().map(|token| Secret::from(*token)).collect();
    (Asks::with_tokens(to, &tokens), asked)
}

async fn started() -> (Arc<ServeState>, Server, watch::Sender<bool>) {
    let (stop, stopped) = watch::channel(false);
    let state = ServeState::new();
    let server = serve("127.0.0.1:0".parse().unwrap(), state.clone(), asks(&[]).0, stopped)
        .await
        .unwrap();
    (state, server, stop)
}

async fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
}

#[tokio::test]
async fn health_goes_from_starting_to_ok_to_failed() {
    let (state, server, _stop) = started().await;
    let (code, _, body) = get(server.address, "/healthz").await;
    assert_eq!(
        (code, &serde_json::from_str::<Value>(&body).unwrap()["status"]),
        (503, &"starting".into())
    );

    let sink = Part {
        name: "soar".into(),
        status: State::Degraded,
        detail: "3 alerts behind".into(),
    };
    state.report(Health {
        epoch: Some(7),
        sinks: vec![sink],
        ..Health::default()
    });
    let (code, head, body) = get(server.address, "/healthz").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (code, &body["status"], &body["epoch"]),
        (200, &"degraded".into(), &7.into()),
        "{body}"
    );
    assert_eq!(body["sinks"][0]["detail"], "3 alerts behind");
    assert!(head.contains("content-type: application/json"));

    let source = Part {
        name: "cloudtrail".into(),
        status: State::Failed,
        detail: "no such topic".into(),
    };
    state.report(Health {
        sources: vec![source],
        ..Health::default()
    });
    assert_eq!(get(server.address, "/healthz").await.0, 503);
    assert_eq!(get(server.address, "/elsewhere").await.0, 404);
}

#[tokio::test]
async fn metrics_are_openmetrics_text() {
    let (state, server, _stop) = started().await;
    let source = state.metrics.source("cloud\"trail");
    source.records.inc_by(5);
    source.events.inc_by(4);
    source.rejected.inc();
    state.metrics.plugin("prompt-injection").detections.inc();
    state.metrics.epoch_seconds.observe(0.2);
    state.metrics.set_incidents("open", 2);
    let lags = |layers: &[&str]| layers.iter().map(|layer| (layer.to_string(), 1.5)).collect();
    state.metrics.set_watermark_lags(&lags(&["cloud", "gateway"]));
    state.metrics.set_watermark_lags(&lags(&["cloud"]));
    let [first, second] = [0, 1].map(|partition| InputId::kafka("trail", "audit", partition));
    state.metrics.read_partition(&first, 3, 700);
    state
        .metrics
        .set_source_lags(&BTreeMap::from([(first.clone(), 12), (second, 5)]));
    state.metrics.set_source_lags(&BTreeMap::from([(first, 11)]));
    state.metrics.plugin("mapping").relations.inc_by(7);
    state.metrics.set_plugin(
        "prompt-injection",
        PluginFigures {
            batches: 3,
            rows: 40,
            traps: 2,
            rows_late: 5,
            keys_evicted: 6,
            retries: 1,
            ..PluginFigures::default()
        },
    );
    state.metrics.set_sink(
        "soar",
        SinkFigures {
            delivered: 3,
            retries: 1,
            dead_letters: 0,
            lag: 9,
        },
    );
    let (code, head, body) = get(server.address, "/metrics").await;
    assert!(
        code == 200 && head.contains("application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    for line in [
        "sentrail_records_total{source=\"cloud\\\"trail\"} 5",
        "sentrail_rejected_total{source=\"cloud\\\"trail\"} 1",
        "sentrail_detections_total{plugin=\"prompt-injection\"} 1",
        "sentrail_relations_total{plugin=\"mapping\"} 7",
        "sentrail_plugin_batches_total{plugin=\"prompt-injection\"} 3",
        "sentrail_plugin_rows_total{plugin=\"prompt-injection\"} 40",
        "sentrail_plugin_traps_total{plugin=\"prompt-injection\"} 2",
        "sentrail_plugin_keys_evicted_total{plugin=\"prompt-injection\"} 6",
        "sentrail_plugin_retries_total{plugin=\"prompt-injection\"} 1",
        "sentrail_plugin_rows_late_total{plugin=\"prompt-injection\"} 5",
        "sentrail_incidents{status=\"open\"} 2",
        "sentrail_watermark_lag_seconds{layer=\"cloud\"} 1.5",
        "sentrail_source_records_total{source=\"trail\",partition=\"audit/0\"} 3",
        "sentrail_source_read_bytes_total{source=\"trail\",partition=\"audit/0\"} 700",
        "sentrail_source_lag{source=\"trail\",partition=\"audit/0\"} 11",
        "sentrail_forward_delivered_total{sink=\"soar\"} 3",
        "sentrail_forward_lag_alerts{sink=\"soar\"} 9",
        "sentrail_epoch_seconds_count 1",
        "sentrail_stored_bytes_total 0",
    ] {
        assert!(body.lines().any(|found| found == line), "{line} is missing in\n{body}");
    }
    assert!(!body.contains("gateway"), "a layer that nothing feeds has no lag");
    assert!(!body.contains("audit/1"), "a partition that was given up has no lag");
    assert!(body.ends_with("# EOF\n"));
}

#[test]
fn series_are_bounded() {
    let metrics = Metrics::new();
    for number in 0..LABELS_MAX * 2 {
        metrics.source(&format!("s{number}")).records.inc();
    }
    let text = metrics.text();
    let series = text
        .lines()
        .filter(|line| line.starts_with("sentrail_records_total"))
        .count();
    assert_eq!(series, LABELS_MAX + 1);
    assert!(text.contains(&format!("{{source=\"other\"}} {LABELS_MAX}")));
    let partition = |number: usize| (InputId::kafka("s", "t", number as i32), 1);
    metrics.set_source_lags(&(0..LABELS_MAX * 2).map(partition).collect());
    let text = metrics.text();
    let lags = text.lines().filter(|line| line.starts_with("sentrail_source_lag"));
    assert_eq!(lags.count(), LABELS_MAX + 1);
    assert!(text.contains(&format!("partition=\"other\"}} {LABELS_MAX}")), "{text}");
}

#[tokio::test]
async fn the_stop_signal_ends_it_and_frees_the_port() {
    let (_state, server, stop) = started().await;
    let address = server.address;
    let busy = serve(address, ServeState::new(), asks(&[]).0, stop.subscribe())
        .await
        .err()
        .unwrap();
    assert!(
        busy.to_string()
            .starts_with(&format!("[serve] http: cannot listen on {address}"))
    );
    // A kept-alive connection does not hold it up.
    let _idle = TcpStream::connect(address).await.unwrap();
    stop.send(true).unwrap();
    server.ended().await;
    TcpListener::bind(address).await.unwrap();
}

#[tokio::test]
async fn connections_are_bounded_and_silent_ones_closed() {
    let silence = Duration::from_millis(200);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = ServeState::new();
    state.report(Health::default());
    let patience = Patience { silence, head: silence };
    tokio::spawn(
        async move { axum::serve(BoundedListener::new(listener, 1, patience), router(state, asks(&[]).0)).await },
    );
    let mut silent = TcpStream::connect(address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let started = Instant::now();
    assert_eq!(get(address, "/healthz").await.0, 200);
    assert!(
        started.elapsed() >= silence / 2,
        "the one place was taken until the silent client was cut off"
    );
    assert_eq!(silent.read(&mut [0; 8]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_request_that_drips_gives_its_place_back_and_an_idle_scraper_keeps_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = ServeState::new();
    state.report(Health::default());
    let head = Duration::from_millis(300);
    let patience = Patience {
        silence: Duration::from_secs(60),
        head,
    };
    tokio::spawn(
        async move { axum::serve(BoundedListener::new(listener, 1, patience), router(state, asks(&[]).0)).await },
    );
    let drip = async |mut stream: TcpStream| {
        // A byte at a time and never silent for long, until the connection is closed.
        let mut cut_off = [0; 64];
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nx: ").await;
        loop {
            let _ = stream.write_all(b"y").await;
            if let Ok(end) = tokio::time::timeout(head / 10, stream.read(&mut cut_off)).await {
                return end.unwrap_or(0);
            }
        }
    };
    let dripping = drip(TcpStream::connect(address).await.unwrap());
    assert_eq!(tokio::time::timeout(PATIENCE, dripping).await.expect("cut off"), 0);
    // Asks, pauses for longer than a head may take, and asks again on the same connection; then drips there.
    let mut scraper = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        scraper
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            assert_ne!(
                scraper.read_buf(&mut answer).await.unwrap(),
                0,
                "the connection is kept"
            );
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        tokio::time::sleep(2 * head).await;
    }
    assert_eq!(tokio::time::timeout(PATIENCE, drip(scraper)).await.expect("cut off"), 0);
}

const COMMAND: &str = r#"{"remove_silence": {"silence": "ab", "by": "ann"}}"#;

/// The answer's status and body.
async fn post(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, headers: &str, body: &str) -> (u16, String) {
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// Answers commands as long as there are any.
fn carry_out(mut asked: mpsc::Receiver<Ask>) -> tokio::task::JoinHandle<usize> {
    tokio::spawn(async move {
        let mut carried_out = 0;
        while let Some(ask) = asked.recv().await {
            carried_out += 1;
            let done = match ask.command {
                Command::RemoveSilence { silence, .. } if silence == "ab" => Ok(Answer {
                    message: "done".into(),
                    ..Answer::default()
                }),
                _ => Err(Refusal::Unknown("there is no such silence".into())),
            };
            let _ = ask.answer.send(done);
        }
        carried_out
    })
}

#[tokio::test]
async fn commands_over_tcp_need_a_token_whatever_a_page_can_send() {
    let (stop, stopped) = watch::channel(false);
    let json = "Content-Type: application/json\r\n";
    let bearer = |token: &str| format!("{json}Authorization: Bearer {token}\r\n");
    let (commands, asked) = asks(&["t0ken", "other"]);
    let carried_out = carry_out(asked);
    let server = serve(
        "127.0.0.1:0".parse().unwrap(),
        ServeState::new(),
        commands,
        stopped.clone(),
    )
    .await;
    let address = server.unwrap().address;
    let send =
        async |headers: String, body: &str| post(TcpStream::connect(address).await.unwrap(), &headers, body).await;
    for (headers, status) in [
        (json.to_owned(), 401),
        (
            format!("{json}Origin: http://evil.example\r\nCookie: token=t0ken\r\n"),
            401,
        ),
        (format!("{json}Authorization: Basic t0ken\r\n"), 401),
        (bearer("t0ke"), 401),
        (bearer(""), 401),
        (
            "Content-Type: text/plain\r\nAuthorization: Bearer t0ken\r\n".to_owned(),
            415,
        ),
    ] {
        assert_eq!(send(headers.clone(), COMMAND).await.0, status, "{headers}");
    }
    let (status, body) = send(bearer("other"), COMMAND).await;
    assert!(status == 200 && body.contains("\"done\""), "{status} {body}");
    let (status, body) = send(bearer("t0ken"), &COMMAND.replace("ab", "cd")).await;
    assert!(status == 404 && body.contains("no such silence"), "{status} {body}");
    for wrong in [
        "",
        "{",
        r#"{"drop_tables": {}}"#,
        r#"{"remove_silence": {"silence": 1, "by": "ann"}}"#,
    ] {
        let status = send(bearer("t0ken"), wrong).await.0;
        assert!((400..500).contains(&status), "{status} {wrong}");
    }
    // Where no token is configured nobody has one.
    let (commands, _asked) = asks(&[]);
    let server = serve("127.0.0.1:0".parse().unwrap(), ServeState::new(), commands, stopped).await;
    let closed = TcpStream::connect(server.unwrap().address).await.unwrap();
    let (status, body) = post(closed, &bearer(""), COMMAND).await;
    assert!(status == 403 && body.contains("token_env"), "{status} {body}");
    let _ = stop.send(true);
    drop(stop);
    assert_eq!(tokio::time::timeout(PATIENCE, carried_out).await.unwrap().unwrap(), 2);
}

#[tokio::test]
async fn the_socket_of_a_data_directory_is_its_owners() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    // Longer than a socket's path may be.
    let data = dir.path().join("d".repeat(120));
    std::fs::create_dir(&data).unwrap();
    let json = "Content-Type: application/json\r\n";
    // Twice: one that was killed leaves its socket behind.
    for _ in 0..2 {
        let (stop, stopped) = watch::channel(false);
        let (to, asked) = mpsc::channel(1);
        serve_locally(&data, to, stopped).await.unwrap();
        carry_out(asked);
        let mode = std::fs::metadata(data.join("control")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let (_held, path) = socket(&data).unwrap();
        let (status, body) = post(UnixStream::connect(&path).await.unwrap(), json, COMMAND).await;
        assert!(status == 200 && body.contains("\"done\""), "{status} {body}");
        std::mem::forget(stop);
    }
}
