//! What senders deliver: over HTTP and syslog, and by programs that are not ours.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sentrail::store;

use crate::support::*;

const TOKEN: &str = "EXAMPLE-token";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An engine with the given source and no plugins.
struct Engine {
    scratch: tempfile::TempDir,
    config: String,
    child: Option<Child>,
}

impl Engine {
    fn new(source: &str) -> Engine {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("plugins")).unwrap();
        let config = format!(
            "[storage]\nurl = \"{0}/data\"\nflush_interval = \"300ms\"\n[plugins]\ndir = \"{0}/plugins\"\n[[source]]\nname = \"in\"\n{source}\n",
            scratch.path().display()
        );
        let mut engine = Engine {
            scratch,
            config,
            child: None,
        };
        engine.start();
        engine
    }

    fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    fn start(&mut self) {
        let at = self.scratch.path().join("engine.toml");
        self.child = Some(spawn_run(&self.config, &at, &[("INTAKE_TOKEN", TOKEN)]));
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits until something listens on `port`.
    fn await_port(&mut self, port: u16) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{ended:?}: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("engine.log")).unwrap_or_default()
    }

    fn durable(&self) -> usize {
        // The first epoch's tables come a moment after its manifest.
        match runtime().block_on(store::open_readonly(&self.data())) {
            Ok(_) => durable(&self.data()),
            Err(_) => 0,
        }
    }

    /// Waits until `count` records are durable, stops the engine the polite way, and gives what the records were: no format may know
    /// them, and then they are rejected with their bytes.
    fn finish(&mut self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        while self.durable() < count {
            let (durable, log) = (self.durable(), self.log());
            assert!(Instant::now() < deadline, "{durable} of {count}: {log}");
            std::thread::sleep(Duration::from_millis(100));
        }
        let mut child = self.child.take().unwrap();
        Command::new("kill").arg(child.id().to_string()).status().unwrap();
        let ended = wait(&mut child, PATIENCE);
        assert!(ended.is_some_and(|status| status.success()), "{}", self.log());
        let raw = |row: &String| -> String {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            row["raw"].as_str().unwrap().to_owned()
        };
        // What was rejected may be no text, and is shown in hex.
        let text = |hex: String| String::from_utf8(hex::decode(hex).unwrap()).unwrap();
        let events = rows(&self.data(), "SELECT raw FROM events");
        let rejected = rows(&self.data(), "SELECT raw FROM rejected");
        let rejected = rejected.iter().map(raw).map(text);
        events.iter().map(raw).chain(rejected).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}

fn http_source(port: u16, format: &str) -> String {
    format!(
        "type = \"http\"\nlisten = \"127.0.0.1:{port}\"\ntoken_env = \"INTAKE_TOKEN\"\nformat = \"{format}\"\nidle_timeout = \"1s\""
    )
}

#[test]
fn what_got_a_200_survives_kills() {
    let port = free_port();
    let mut engine = Engine::new(&http_source(port, "litellm"));
    let lines = simulated(23, 6_000).remove("litellm").unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(23);
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap();
    let (mut kills, mut retries) = (0, 0);
    engine.await_port(port);
    for (number, batch) in lines.chunks(10).enumerate() {
        let body = batch.join("\n");
        let mut strikes = number % 25 == 20;
        loop {
            if std::mem::take(&mut strikes) {
                // While the next request is under way.
                let mut child = engine.child.take().unwrap();
                let delay = Duration::from_millis(rng.random_range(0..5));
                let killer = std::thread::spawn(move || {
                    std::thread::sleep(delay);
                    let _ = child.kill();
                    let _ = child.wait();
                });
                let sent = post(&client, port, &body);
                killer.join().unwrap();
                kills += 1;
                engine.start();
                engine.await_port(port);
                if sent {
                    break;
                }
            } else if post(&client, port, &body) {
                break;
            }
            retries += 1;
            assert!(retries < 2_000, "{}", engine.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    println!(
        "{} records accepted over {kills} kills, {retries} batches sent again",
        lines.len()
    );
    assert!(kills >= 3, "only {kills} kills struck");
    let data = engine.data();
    let found = engine.finish(lines.len()).len();
    // What was sent twice is known by its own id.
    assert_eq!((count(&data, "events"), found), (lines.len(), lines.len()));
}

/// Whether the records were accepted.
fn post(client: &reqwest::Client, port: u16, body: &str) -> bool {
    let request = client
        .post(format!("http://127.0.0.1:{port}/v1/bulk"))
        .bearer_auth(TOKEN)
        .body(body.to_owned());
    match runtime().block_on(async { request.send().await }) {
        Ok(answer) if answer.status() == 200 => true,
        Ok(answer) => panic!("{}", answer.status()),
        Err(_) => false,
    }
}

/// The first of `values` that no row holds.
#[track_caller]
fn assert_all(rows: &[String], values: impl Iterator<Item = String>) {
    for value in values {
        assert!(
            rows.iter().any(|row| row.contains(&value)),
            "{value} is missing from {} rows such as {:?}",
            rows.len(),
            rows.first()
        );
    }
}

const EXPORTER: &str = r#"
import logging, sys
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
base, token = sys.argv[1:3]
resource = Resource.create({"service.name": "assistant"})
options = {"headers": {"authorization": "Bearer " + token}, "compression": Compression.Gzip}
traces = TracerProvider(resource=resource)
traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=base + "/v1/traces", **options)))
tracer = traces.get_tracer("test", "1.0")
logs = LoggerProvider(resource=resource)
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(endpoint=base + "/v1/logs", **options)))
logger = logging.getLogger("test")
logger.setLevel(logging.INFO)
logger.addHandler(LoggingHandler(logger_provider=logs))
for number in range(100):
    with tracer.start_as_current_span(f"span {number}", attributes={"gen_ai.request.model": "gpt-4o", "number": number}) as span:
        span.add_event("choice", {"index": 0})
        logger.info("log %d", number)
traces.shutdown()
logs.shutdown()
"#;

/// A Python with OpenTelemetry's own exporter, made once; or why there is none.
fn exporter_python() -> Result<PathBuf, String> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/otel-venv");
    let python = venv.join("bin/python");
    let can_import = |python: &Path| {
        let import = "import opentelemetry.exporter.otlp.proto.http, opentelemetry.sdk._logs";
        Command::new(python)
            .args(["-c", import])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if can_import(&python) {
        return Ok(python);
    }
    let run = |command: &mut Command| match command.stdin(Stdio::null()).output() {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => Err(String::from_utf8_lossy(&done.stderr)
            .lines()
            .last()
            .unwrap_or("")
            .to_owned()),
        Err(error) => Err(error.to_string()),
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let packages = [
        "opentelemetry-sdk==1.38.0",
        "opentelemetry-exporter-otlp-proto-http==1.38.0",
    ];
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet"])
        .args(packages))?;
    Ok(python)
}

#[test]
fn an_opentelemetry_sdk_delivers_spans_and_logs() {
    let python = match exporter_python() {
        Ok(python) => python,
        Err(reason) => return println!("skipped: OpenTelemetry's exporter for Python cannot be installed: {reason}"),
    };
    let port = free_port();
    let mut engine = Engine::new(&http_source(port, "auto"));
    engine.await_port(port);
    let done = Command::new(python)
        .args(["-c", EXPORTER, &format!("http://127.0.0.1:{port}"), TOKEN])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && !told.contains("Failed"), "{told}");
    let rows = engine.finish(200);
    assert_eq!(rows.len(), 200);
    assert_all(&rows, (0..100).map(|number| format!("span {number}\"")));
    assert_all(&rows, (0..100).map(|number| format!("log {number}\"")));
    assert!(
        rows.iter()
            .all(|row| row.contains("assistant") && row.contains("traceId")),
        "{}",
        rows[0]
    );
    println!("100 spans and 100 log records from OpenTelemetry's SDK");
}

#[test]
fn rsyslog_delivers_over_tcp_and_udp() {
    let Some(rsyslogd) = std::env::var_os("SENTRAIL_TEST_RSYSLOG") else {
        let why = std::env::var("SENTRAIL_TEST_NO_RSYSLOG");
        return println!(
            "skipped: {}",
            why.as_deref().unwrap_or("not run through `cargo xtask test`")
        );
    };
    let (tcp, framed, udp) = (free_port(), free_port(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let udp_port = udp.local_addr().unwrap().port();
    drop(udp);
    let source = |listen: &str| format!("type = \"syslog\"\n{listen}\nformat = \"auto\"\nidle_timeout = \"1s\"");
    let engines = [
        (
            source(&format!("tcp = \"127.0.0.1:{tcp}\"")),
            tcp,
            "protocol=\"tcp\" TCP_Framing=\"traditional\"",
        ),
        (
            source(&format!("tcp = \"127.0.0.1:{framed}\"")),
            framed,
            "protocol=\"tcp\" TCP_Framing=\"octet-counted\"",
        ),
        (
            source(&format!("udp = \"127.0.0.1:{udp_port}\"")),
            udp_port,
            "protocol=\"udp\"",
        ),
    ];
    for (source, port, how) in engines {
        let mut engine = Engine::new(&source);
        if how.contains("tcp") {
            engine.await_port(port);
        } else {
            // Datagrams cannot ask whether somebody listens.
            let deadline = Instant::now() + PATIENCE;
            while UdpSocket::bind(("127.0.0.1", port)).is_ok() {
                assert!(Instant::now() < deadline, "{}", engine.log());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let dir = engine.scratch.path().join("rsyslog");
        std::fs::create_dir(&dir).unwrap();
        let mut input = std::fs::File::create(dir.join("input.log")).unwrap();
        for number in 0..200 {
            writeln!(input, "{{\"number\": \"n{number}\", \"text\": \"é]\"}}").unwrap();
        }
        let config = format!(
            "global(workDirectory=\"{0}\")\nmodule(load=\"imfile\")\n\
             input(type=\"imfile\" File=\"{0}/input.log\" Tag=\"gateway:\" Severity=\"warning\" Facility=\"local3\")\n\
             action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{port}\" {how} template=\"RSYSLOG_SyslogProtocol23Format\")\n",
            dir.display()
        );
        std::fs::write(dir.join("rsyslog.conf"), config).unwrap();
        let mut rsyslog = Command::new(&rsyslogd)
            .args(["-n", "-f"])
            .arg(dir.join("rsyslog.conf"))
            .arg("-i")
            .arg(dir.join("pid"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        while engine.durable() < 200 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = rsyslog.kill();
        let _ = rsyslog.wait();
        let rows = engine.finish(200);
        let distinct: BTreeSet<&String> = rows.iter().collect();
        assert_eq!(distinct.len(), 200, "{how}");
        assert_all(&rows, (0..200).map(|number| format!("\"n{number}\"")));
        println!("200 messages from rsyslog, {how}");
    }
}

#[test]
fn kafkas_console_producer_delivers() {
    let Some(brokers) = real_kafka() else { return };
    let Ok(classpath) = std::env::var("SENTRAIL_TEST_KAFKA_CLASSPATH") else {
        return println!(
            "skipped: SENTRAIL_TEST_KAFKA_CLASSPATH does not name Kafka's jars; `cargo xtask test` fetches them"
        );
    };
    let topic = format!("console{}", std::process::id());
    let lines = simulated(29, 2_000).remove("aws_cloudtrail").unwrap();
    let mut producer = Command::new("java")
        .args(["-cp", &classpath, "org.apache.kafka.tools.ConsoleProducer"])
        .args([
            "--bootstrap-server",
            &brokers,
            "--topic",
            &topic,
            "--compression-codec",
            "zstd",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = producer.stdin.take().unwrap();
    for line in &lines {
        writeln!(input, "{line}").unwrap();
    }
    drop(input);
    assert!(wait(&mut producer, PATIENCE).is_some_and(|status| status.success()));
    let mut engine = Engine::new(&format!(
        "type = \"kafka\"\nbrokers = \"{brokers}\"\ntopics = [\"{topic}\"]\ngroup = \"{topic}\"\nformat = \"aws_cloudtrail\"\n\
         start = \"earliest\"\nidle_timeout = \"1s\""
    ));
    let data = engine.data();
    engine.finish(lines.len());
    assert_eq!(count(&data, "events"), lines.len());
    println!("{} records from Kafka's console producer", lines.len());
}
