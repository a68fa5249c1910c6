//! `sentrail demo`: a simulated company, one attack, a Kafka broker in this process, and everything else as in production.

use std::io::IsTerminal;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::incident::told;
use super::run::summary;
use super::terminal::Look;
use crate::model::{Incident, IncidentStatus};
use crate::pipeline::{self, Running, Status};
use crate::query::harmless;
use crate::simulate::Simulation;
use crate::source::mock::{MockBroker, Paced, Producer};
use crate::{config, query};

#[derive(clap::Args)]
pub struct Arguments {
    /// Exit after the summary instead of serving until interrupted.
    #[arg(long)]
    once: bool,
    /// Where the demo keeps its tables; begins anew each time.
    #[arg(long, default_value = "demo-data")]
    data: PathBuf,
}

const SEED: u64 = 7;
const EVENTS: u64 = 6_000;
const PARTITIONS: i32 = 2;
const FORMATS: [&str; 3] = ["litellm", "aws_cloudtrail", "qdrant_audit"];
/// Marks a directory that the demo may empty.
const MARKER: &str = ".sentrail-demo";
/// Longer means that something is stuck.
const PATIENCE: Duration = Duration::from_secs(180);

pub async fn demo(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { once, data } = arguments;
    fresh_directory(&data)?;
    let plugins = plugin_directory()?;
    let broker = MockBroker::start(&FORMATS.map(|format| (format, PARTITIONS)))?;
    let (http, postgres) = (free(7400)?, free(7432)?);
    let text = configuration(&data, &plugins, broker.brokers(), http, postgres);
    let settings = config::parse(&text, "demo.toml", &|_| None)?;
    let config_file = data.join("demo.toml");
    std::fs::write(&config_file, &text).with_context(|| format!("cannot write {}", config_file.display()))?;
    outln!(
        "embedded Kafka broker on {}, configuration in {}",
        broker.brokers(),
        config_file.display()
    )?;

    let began = Instant::now();
    let running = pipeline::start(settings).await?;
    for problem in running.problems() {
        super::complain(&format!("plugin file not used: {problem}"));
    }
    outln!(
        "{} plugins loaded; consuming {} as group sentrail-demo",
        running.plugins().len(),
        FORMATS.join(", ")
    )?;
    let consumed = Arc::new(AtomicU64::new(0));
    let producer = produce(broker.brokers().to_owned(), consumed.clone());
    let Some(status) = watch_progress(&running, producer, &consumed, began).await? else {
        running.join().await?;
        bail!("the run ended before everything was read");
    };
    outln!("\n{}", summary(&status, began.elapsed().as_secs_f64()))?;
    let shown = show(&running, &data).await?;
    queries(&shown, &data, postgres, http, once)?;
    if !once {
        outln!("serving until interrupted (ctrl-c)")?;
        super::interrupted().await;
    }
    running.stop();
    running.join().await?;
    Ok(())
}

fn fresh_directory(data: &Path) -> anyhow::Result<()> {
    let used = data.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if used {
        if !data.join(MARKER).exists() {
            bail!(
                "{} is not empty and was not made by the demo; give another --data",
                data.display()
            );
        }
        std::fs::remove_dir_all(data).with_context(|| format!("cannot empty {}", data.display()))?;
    }
    std::fs::create_dir_all(data).with_context(|| format!("cannot create {}", data.display()))?;
    std::fs::write(data.join(MARKER), "").with_context(|| format!("cannot write in {}", data.display()))
}

/// The plugins that were built beside this binary, or below the current directory.
fn plugin_directory() -> anyhow::Result<PathBuf> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.parent()?.join("plugins")));
    let candidates = beside.into_iter().chain([PathBuf::from("target/plugins")]);
    let has_plugins = |dir: &PathBuf| {
        dir.read_dir().is_ok_and(|mut files| {
            files.any(|file| file.is_ok_and(|file| file.path().extension().is_some_and(|ext| ext == "wasm")))
        })
    };
    candidates
        .into_iter()
        .find(has_plugins)
        .context("no plugins are built yet; run `cargo xtask plugins` first")
}

/// `port` on loopback, or any free one when that is taken.
fn free(port: u16) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", port)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)));
    listener
        .and_then(|listener| listener.local_addr())
        .context("no free port on 127.0.0.1")
}

fn configuration(data: &Path, plugins: &Path, brokers: &str, http: SocketAddr, postgres: SocketAddr) -> String {
    let text = |value: &str| toml::Value::from(value).to_string();
    let path = |path: &Path| text(&path.display().to_string());
    let mut config = format!(
        "[storage]\nurl = {}\nflush_interval = \"5s\"\n\n[plugins]\ndir = {}\n\n[serve]\nhttp = \"{http}\"\n\
         postgres = \"{postgres}\"\n",
        path(data),
        path(plugins)
    );
    for format in FORMATS {
        config.push_str(&format!(
            "\n[[source]]\nname = \"{format}\"\ntype = \"kafka\"\nbrokers = {}\ntopics = [\"{format}\"]\n\
             group = \"sentrail-demo\"\nformat = \"{format}\"\nidle_timeout = \"1s\"\n",
            text(brokers)
        ));
    }
    config
}

/// Produces the simulation as fast as `consumed` moves; gives the number of records.
fn produce(brokers: String, consumed: Arc<AtomicU64>) -> std::thread::JoinHandle<anyhow::Result<u64>> {
    std::thread::spawn(move || {
        let mut producer = Paced::new(Producer::new(&brokers)?, consumed);
        for record in Simulation::new(SEED, EVENTS) {
            producer.send(record.format, None, record.line.as_bytes(), PATIENCE)?;
        }
        Ok(producer.flush(PATIENCE)?)
    })
}

/// Shows the run's progress until all that was produced is consumed and correlated.
async fn watch_progress(
    running: &Running,
    producer: std::thread::JoinHandle<anyhow::Result<u64>>,
    consumed: &AtomicU64,
    began: Instant,
) -> anyhow::Result<Option<Status>> {
    let status = running.status();
    let live = std::io::stdout().is_terminal();
    let mut producer = Some(producer);
    let mut produced = None;
    let mut told = Instant::now();
    loop {
        let now = status.borrow().clone();
        consumed.store(now.records, Ordering::Relaxed);
        if producer.as_ref().is_some_and(std::thread::JoinHandle::is_finished)
            && let Some(producer) = producer.take()
        {
            let count = producer
                .join()
                .map_err(|_| anyhow::anyhow!("the producer stopped unexpectedly"))??;
            produced = Some(count);
        }
        if live || told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            let open = now.incidents.get("open").copied().unwrap_or(0);
            let line = format!(
                "{:>6} records  {:>4} detections  {open:>3} open incidents",
                now.records, now.detections
            );
            super::out(&if live { format!("\r{line}") } else { format!("{line}\n") })?;
        }
        if produced.is_some_and(|produced| now.records >= produced) && now.caught_up {
            return Ok(Some(now));
        }
        if running.is_finished() {
            return Ok(None);
        }
        if began.elapsed() > PATIENCE {
            bail!("not everything was read within {} s: {now:?}", PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Prints the worst incident and names the others.
async fn show(running: &Running, data: &Path) -> anyhow::Result<Vec<Incident>> {
    let session = query::session(running.views().clone(), None, None).await?;
    let mut incidents = pipeline::incidents(&session, "status = 'open'").await?;
    incidents.sort_by(|a, b| b.severity.cmp(&a.severity).then(b.score.total_cmp(&a.score)));
    match incidents.split_first() {
        None => bail!("the simulated attack gave no incident; look into {}", data.display()),
        Some((worst, others)) => {
            outln!("{}", told(&session, worst.clone(), Look::of_output()).await?)?;
            for other in others {
                outln!(
                    "also: {}  {}  {}",
                    other.incident_id,
                    other.severity,
                    harmless(&other.title)
                )?;
            }
        }
    }
    debug_assert!(incidents.iter().all(|incident| incident.status == IncidentStatus::Open));
    Ok(incidents)
}

fn queries(
    incidents: &[Incident],
    data: &Path,
    postgres: SocketAddr,
    http: SocketAddr,
    once: bool,
) -> anyhow::Result<()> {
    let Some(worst) = incidents.first() else { return Ok(()) };
    let (data, id) = (data.display(), &worst.incident_id);
    let sentrail = std::env::args().next().unwrap_or_else(|| "sentrail".into());
    outln!("ask further:")?;
    outln!(
        "  {sentrail} sql --data {data} \"SELECT step, time, from_entity, kind, to_entity, technique FROM attack_path('{id}')\""
    )?;
    let address = worst
        .entities
        .iter()
        .find_map(|entity| entity.strip_prefix("address:"))
        .unwrap_or("key");
    outln!("  {sentrail} search --data {data} \"{address}\"")?;
    outln!("  {sentrail} incident show {} --data {data}", &id[..8])?;
    outln!("  {sentrail} incident show {} --data {data} --format dot", &id[..8])?;
    let when = if once {
        "   # while it serves: without --once"
    } else {
        ""
    };
    outln!(
        "  psql -h 127.0.0.1 -p {} -U sentrail -d sentrail -c \"SELECT incident_id, severity, title FROM incidents\"{when}",
        postgres.port()
    )?;
    outln!("  curl http://{http}/healthz{when}")
}
