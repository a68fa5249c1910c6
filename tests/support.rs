//! What the cases share: a scratch directory with simulated logs, a configuration, the tables as comparable rows.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sentrail::config;
use sentrail::pipeline::{self, Status};
use sentrail::query::{self, Format};
use sentrail::simulate::Simulation;
use sentrail::source::mock::Producer;
use sentrail::store::{self, Views};

pub const SENTRAIL: &str = env!("CARGO_BIN_EXE_sentrail");
pub const FORMATS: [&str; 3] = ["aws_cloudtrail", "litellm", "qdrant_audit"];

/// Long enough for a loaded machine; reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The built plugins, or `None` after saying why the test is skipped.
pub fn plugins() -> Option<PathBuf> {
    let dir = std::env::var_os("SENTRAIL_TEST_PLUGINS").map(PathBuf::from);
    if dir.is_none() {
        println!("skipped: SENTRAIL_TEST_PLUGINS does not name built plugins; `cargo xtask test` builds them");
    }
    dir
}

/// A real broker's address, or `None` after saying why the test is skipped.
pub fn real_kafka() -> Option<String> {
    let brokers = std::env::var("SENTRAIL_TEST_KAFKA").ok();
    if brokers.is_none() {
        println!("skipped: no real Kafka is running; `cargo xtask test` starts one where Java and Maven are installed");
    }
    brokers
}

/// A set of ../shared/data, or `None` after saying why the test is skipped.
pub fn shared_data(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data")
        .join(name);
    if !path.exists() {
        println!("skipped: ../shared/data is absent");
        return None;
    }
    Some(path)
}

/// Simulated records per format, in time order.
pub fn simulated(seed: u64, events: u64) -> BTreeMap<&'static str, Vec<String>> {
    let mut records: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for record in Simulation::new(seed, events) {
        records.entry(record.format).or_default().push(record.line);
    }
    records
}

/// Writes `DIR/FORMAT.ndjson`.
pub fn write_logs(dir: &Path, records: &BTreeMap<&'static str, Vec<String>>) {
    std::fs::create_dir_all(dir).unwrap();
    for (format, lines) in records {
        let mut file = std::io::BufWriter::new(std::fs::File::create(dir.join(format!("{format}.ndjson"))).unwrap());
        for line in lines {
            writeln!(file, "{line}").unwrap();
        }
    }
}

/// A configuration of file sources over `logs`, one per format, plus `more`.
pub fn file_config(data: &Path, logs: &Path, plugins: &Path, more: &str) -> String {
    let mut config = format!(
        "[storage]\nurl = \"{}\"\n[plugins]\ndir = \"{}\"\n{more}\n",
        data.display(),
        plugins.display()
    );
    for format in FORMATS {
        config.push_str(&format!(
            "[[source]]\nname = \"{format}\"\ntype = \"file\"\npath = \"{}/{format}.ndjson\"\nformat = \"{format}\"\n",
            logs.display()
        ));
    }
    config
}

/// A configuration of one consumer group with a source per format, each on its own topic; `storage` is more of that table.
pub fn kafka_config(data: &Path, plugins: &Path, brokers: &str, prefix: &str, group: &str, storage: &str) -> String {
    let mut config = format!(
        "[storage]\nurl = \"{}\"\n{storage}[plugins]\ndir = \"{}\"\n",
        data.display(),
        plugins.display()
    );
    for format in FORMATS {
        config.push_str(&format!(
            "[[source]]\nname = \"{format}\"\ntype = \"kafka\"\nbrokers = \"{brokers}\"\ntopics = [\"{prefix}{format}\"]\n\
             group = \"{group}\"\nformat = \"{format}\"\nidle_timeout = \"1s\"\n\
             properties = {{ \"session.timeout.ms\" = \"6000\" }}\n"
        ));
    }
    config
}

pub fn produce(brokers: &str, prefix: &str, records: &BTreeMap<&'static str, Vec<String>>) {
    let producer = Producer::new(brokers).unwrap();
    for (format, lines) in records {
        for line in lines {
            producer
                .produce(&format!("{prefix}{format}"), None, line.as_bytes())
                .unwrap();
        }
    }
    producer.flush(PATIENCE).unwrap();
}

/// Runs in this process until `records` are read or durable and every input is at its end, then stops.
#[track_caller]
pub fn run_until_caught_up(config: &str, data: &Path, records: usize) -> Status {
    let settings = config::parse(config, "test.toml", &|_| None).unwrap();
    let running = runtime().block_on(pipeline::start(settings)).unwrap();
    let status = running.status();
    let deadline = Instant::now() + PATIENCE;
    loop {
        // A copy: a reader that holds on to the status stops the engine.
        let now = status.borrow().clone();
        if now.caught_up && (now.records as usize >= records || durable(data) >= records) {
            break;
        }
        assert!(Instant::now() < deadline, "not caught up in time: {now:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    running.stop();
    runtime().block_on(running.join()).unwrap()
}

/// Records that are durable.
pub fn durable(data: &Path) -> usize {
    if epochs(data) == 0 {
        return 0;
    }
    count(data, "events") + count(data, "rejected")
}

/// The newest durable epoch, by its manifest's name.
pub fn epochs(data: &Path) -> u64 {
    let Ok(files) = std::fs::read_dir(data.join("epochs")) else {
        return 0;
    };
    files
        .flatten()
        .filter_map(|file| file.file_name().to_str()?.strip_suffix(".json")?.parse::<u64>().ok())
        .max()
        .unwrap_or(0)
}

/// Starts `sentrail run` on configuration text, logs to a file beside it.
pub fn spawn_run(config: &str, at: &Path, environment: &[(&str, &str)]) -> Child {
    std::fs::write(at, config).unwrap();
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(at.with_extension("log"))
        .unwrap();
    Command::new(SENTRAIL)
        .args(["run", "--config"])
        .arg(at)
        .envs(environment.iter().copied())
        .stdout(log.try_clone().unwrap())
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap()
}

/// An engine that ends with its test.
pub struct Engine(pub Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for what comes by itself.
#[track_caller]
pub fn until(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !there() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs `sentrail run` to its end and expects success.
#[track_caller]
pub fn run_to_end(config: &str, at: &Path) {
    let mut child = spawn_run(config, at, &[]);
    let status = wait(&mut child, PATIENCE).expect("the run did not end in time");
    let log = std::fs::read_to_string(at.with_extension("log")).unwrap_or_default();
    assert!(status.success(), "{status}\n{log}");
}

/// The exit status once the process ends within `patience`; kills it otherwise.
pub fn wait(child: &mut Child, patience: Duration) -> Option<std::process::ExitStatus> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

pub fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap()
    })
}

/// The answer to a query over a data directory, one JSON object per row, sorted.
#[track_caller]
pub fn rows(data: &Path, sql: &str) -> Vec<String> {
    let text = runtime().block_on(async {
        let views = Views::fixed(Arc::new(store::open_readonly(data).await.unwrap()));
        let session = query::session(views, None, None).await.unwrap();
        let batches = query::sql(&session, sql).await.unwrap();
        let mut out = Vec::new();
        query::render(&batches, Format::Json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    });
    let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
    rows.sort();
    rows
}

#[track_caller]
pub fn count(data: &Path, table: &str) -> usize {
    let answer = rows(data, &format!("SELECT count(*) AS n FROM {table}"));
    serde_json::from_str::<serde_json::Value>(&answer[0]).unwrap()["n"]
        .as_u64()
        .unwrap() as usize
}

/// Everything two runs over the same telemetry must agree on. Not: when a record was read, how a run was cut into revisions, and which
/// incidents were merged or dissolved on the way there, which depends on what had been read when they were first told of.
pub fn outcome(data: &Path) -> BTreeMap<&'static str, Vec<String>> {
    let events: Vec<String> = sentrail::model::EventSchema::get()
        .columns()
        .iter()
        .map(|column| column.name.clone())
        .filter(|name| name != "ingested_time")
        .collect();
    BTreeMap::from([
        (
            "events",
            rows(data, &format!("SELECT {} FROM events", events.join(", "))),
        ),
        ("detections", rows(data, "SELECT * FROM detections")),
        ("relations", rows(data, "SELECT * FROM relations")),
        (
            "rejected",
            rows(data, "SELECT source, tenant, position, reason, raw FROM rejected"),
        ),
        (
            "incidents",
            rows(
                data,
                "SELECT incident_id, status, severity, score, title, first_time, last_time, techniques, entities, layers, \
                 detection_count, merged_into, tenant FROM incidents WHERE status = 'open'",
            ),
        ),
        (
            "incident_path",
            rows(
                data,
                "SELECT p.incident_id, p.step, p.time, p.from_entity, p.to_entity, p.action, p.technique, p.detection_id, p.why \
                 FROM incident_path p JOIN incidents i ON i.incident_id = p.incident_id WHERE i.status = 'open'",
            ),
        ),
    ])
}

/// Compares two outcomes row by row.
#[track_caller]
pub fn assert_same(
    expected: &BTreeMap<&'static str, Vec<String>>,
    found: &BTreeMap<&'static str, Vec<String>>,
    what: &str,
) {
    for (table, expected) in expected {
        let found = &found[table];
        let missing: Vec<&String> = expected
            .iter()
            .filter(|row| found.binary_search(row).is_err())
            .collect();
        let extra: Vec<&String> = found
            .iter()
            .filter(|row| expected.binary_search(row).is_err())
            .collect();
        assert!(
            missing.is_empty() && extra.is_empty() && expected.len() == found.len(),
            "{what}: {table}: {} rows expected, {} found, {} missing, {} extra\n{}",
            expected.len(),
            found.len(),
            missing.len(),
            extra.len(),
            difference(missing.first(), extra.first())
        );
    }
}

/// The fields in which two rows differ, or the rows themselves when one has no counterpart.
fn difference(missing: Option<&&String>, extra: Option<&&String>) -> String {
    let fields = |row: Option<&&String>| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(row?).ok();
    match (fields(missing), fields(extra)) {
        (Some(missing), Some(extra)) => missing
            .iter()
            .filter(|(name, value)| extra.get(*name) != Some(value))
            .map(|(name, value)| format!("{name}: expected {value}, found {:?}\n", extra.get(name)))
            .collect(),
        _ => format!("first missing: {missing:?}\nfirst extra: {extra:?}"),
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The whole answer, head and body; `None` when nobody listens.
pub fn http_get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
