//! Where telemetry comes from: files, Kafka topics, and senders over HTTP and syslog. What the bytes mean is not known here.
//!
//! Every source has a thread of its own (bounded files share one) and hands batches to the pipeline through one bounded channel. An
//! offset travels with every batch; what the pipeline made durable it reports back with [`Sources::committed`], and a start resumes
//! from the offsets the pipeline gives. What senders deliver goes to a spool on disk first, and is read from there.

#[doc(hidden)]
pub mod bare;
mod files;
mod follow;
mod frame;
mod http;
mod kafka;
pub mod mock;
mod outlet;
mod reader;
mod scan;
mod shape;
mod spool;
mod syslog;
#[cfg(test)]
mod tests;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::config::{SourceKind, SourceSettings, SpoolSettings};
use crate::model::{InputId, InputOffset, Offsets, RawBatch};
use crate::redact::Sealer;
use files::BoundedFile;
use outlet::{Outlet, Stopped, WAITING_MAX};
use spool::Spool;

pub use files::batches;
pub use outlet::Progress;
pub use shape::Framing;

/// How often a listening source looks whether it should stop.
const STOP_INTERVAL: Duration = Duration::from_millis(50);
/// How long the end of a run waits for the sources' threads: longer than listeners and consumer groups take to close. What is durable
/// is so by then, and a thread that hangs in the operating system must not keep the process.
const JOIN_PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks whether they have ended.
const JOIN_INTERVAL: Duration = Duration::from_millis(5);

/// What a source tells the pipeline.
#[derive(Debug)]
pub enum SourceEvent {
    /// An input (a partition, a file) exists and holds the watermark from now on, until it delivers, goes idle or ends. With the name
    /// of its source.
    Opened(InputId, Arc<str>),
    /// Every input that the source has by now is opened. Until it says so others may follow that go on at older records: a consumer
    /// group hands out a topic's partitions in pieces.
    Whole(Arc<str>),
    /// Records of one input. Its `payloads` may be empty: then only the offset moves (a file known again under a new name).
    Batch(RawBatch),
    /// Read to its present end and silent since: leaves the watermark until its next batch.
    Idle(InputId),
    /// Ended for good: a bounded file read to its end, a followed file that went away, a partition given up.
    Ended(InputId),
    /// These partitions are about to be given up: the receiver makes everything received so far durable, calls
    /// [`Sources::committed`], then answers. The source waits for the answer, but not for ever, and is whole no more.
    Revoking {
        source: Arc<str>,
        inputs: Vec<InputId>,
        done: SyncSender<()>,
    },
    /// A followed file has been gone for so long that it will not come back: its offset is of no more use.
    Forgotten(InputId),
    /// Something a person should know (broker unreachable, file unreadable); the source does not give up.
    Trouble {
        source: Arc<str>,
        message: String,
        harm: Harm,
    },
    /// What the last trouble was about has passed.
    Recovered { source: Arc<str>, message: String },
    /// This source has read everything it will ever have; only bounded file sources do.
    Finished(Arc<str>),
    /// This source cannot go on.
    Failed { source: Arc<str>, error: SourceError },
}

/// What a trouble costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// Part of the source cannot be read for now, or needs to be looked at. Over with the source's next records.
    Partial,
    /// Nothing can be read from the source until it has recovered.
    Total,
    /// What the message names is missing from this run for good.
    Lasting,
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(
        "source {source_name}: path {pattern:?} is no valid pattern: {reason}; valid: a path in which * ? [a-z] ** match"
    )]
    Pattern {
        source_name: String,
        pattern: String,
        reason: String,
    },
    #[error(
        "source {source_name}: no file matches {pattern:?}; valid: a pattern with at least one match, or follow = true to wait for files"
    )]
    NoFiles { source_name: String, pattern: String },
    #[error("source {source_name}: {message}")]
    Unlisted { source_name: String, message: String },
    #[error("source {source_name}: Kafka settings are not valid: {reason}")]
    KafkaSettings { source_name: String, reason: String },
    #[error(
        "source {source_name}: no broker of {brokers:?} answered within {seconds} s: {reason}; retrying helps once one is up"
    )]
    Unreachable {
        source_name: String,
        brokers: String,
        seconds: u64,
        reason: String,
    },
    #[error("source {source_name}: topic {topic:?} does not exist on {brokers}; it has: {existing}")]
    NoTopic {
        source_name: String,
        topic: String,
        brokers: String,
        existing: String,
    },
    #[error(
        "source {source_name}: start = \"committed\", but group {group:?} has no offset of topic {topic:?}; valid are a group that \
         has read the topic, or start = \"earliest\", \"latest\" or a time"
    )]
    NoCommitted {
        source_name: String,
        group: String,
        topic: String,
    },
    #[error(
        "source {source_name}: the Kafka client failed and cannot go on: {reason}; a restart resumes from the last offsets"
    )]
    KafkaFatal { source_name: String, reason: String },
    #[error(
        "source {source_name}: cannot listen on {address}: {reason}; retrying helps when another process leaves the port"
    )]
    Listen {
        source_name: String,
        address: SocketAddr,
        reason: String,
    },
    #[error(
        "source {source_name}: the spool in {dir} cannot be opened: {reason}; retrying helps once it can be read and written"
    )]
    Spool {
        source_name: String,
        dir: String,
        reason: String,
    },
    #[error("source {source_name}: the listener ended: {reason}; a restart goes on with what was accepted")]
    Listener { source_name: String, reason: String },
    #[error("the embedded broker cannot start: {0}")]
    Mock(String),
    #[error("cannot start a thread for source {source_name}: {reason}; retrying may help")]
    Thread { source_name: String, reason: String },
}

/// The running sources.
pub struct Sources {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    kafka: Vec<Arc<kafka::Consumer>>,
    spools: Vec<(InputId, Arc<Spool>)>,
    /// Seals what spools keep.
    sealer: Option<Arc<Sealer>>,
}

/// Starts reading. `resume` says where each input goes on; spools are kept in `dir`, sealed where a sealer is given; `framing` tells how
/// the records of a file source stand in its files; `progress` is how the pipeline reports what it decoded. The receiver ends (gives
/// `None`) when all sources have ended or were stopped.
pub fn start(
    settings: &[SourceSettings],
    resume: &Offsets,
    dir: &Path,
    sealer: Option<Arc<Sealer>>,
    framing: &dyn Fn(&SourceSettings) -> Framing,
    progress: Arc<Progress>,
) -> Result<(Sources, mpsc::Receiver<SourceEvent>), SourceError> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let stop = Arc::new(AtomicBool::new(false));
    let outlet = Outlet::new(sender, Arc::clone(&stop));
    // Whatever fails below, the threads that already run end with it: `Sources` stops them when it is dropped.
    let mut sources = Sources::new(stop, sealer);
    let (mut bounded, mut unlisted) = (Vec::new(), Vec::new());
    for setting in settings {
        let name: Arc<str> = setting.name.as_str().into();
        match &setting.kind {
            SourceKind::File { glob, follow: false } => {
                let found = files::expand(&name, glob)?;
                if found.files.is_empty() {
                    return Err(SourceError::NoFiles {
                        source_name: setting.name.clone(),
                        pattern: glob.clone(),
                    });
                }
                let framing = framing(setting);
                let files = found.files.into_iter();
                bounded.push(
                    files
                        .map(|path| BoundedFile::new(&name, path, resume, &framing))
                        .collect(),
                );
                unlisted.extend(found.unlisted.into_iter().map(|message| (Arc::clone(&name), message)));
            }
            SourceKind::File { glob, follow: true } => {
                files::expand(&name, glob)?;
                let followed = follow::Followed::new(&name, glob, resume, &framing(setting), follow::ROTATION_GRACE);
                let outlet = outlet.clone();
                sources.spawn(&setting.name, move || followed.run(&outlet))?;
            }
            SourceKind::Kafka(kafka) => {
                let consumer = Arc::new(kafka::Consumer::new(
                    &name,
                    kafka,
                    resume,
                    outlet.clone(),
                    Arc::clone(&progress),
                )?);
                sources.kafka.push(Arc::clone(&consumer));
                sources.spawn(&setting.name, move || consumer.run())?;
            }
            SourceKind::Http(http) => {
                let listener = listen(&name, http.listen, TcpListener::bind)?;
                let (spool, listening) = sources.spooled(&name, &http.spool, resume, dir, &outlet, &progress)?;
                let intake = http::Intake::new(spool, &http.tokens);
                sources.listen(&name, listening, move |stopping| http::run(listener, intake, stopping))?;
            }
            SourceKind::Syslog(syslog) => {
                let tcp = syslog
                    .tcp
                    .map(|address| listen(&name, address, TcpListener::bind))
                    .transpose()?;
                let udp = syslog
                    .udp
                    .map(|address| listen(&name, address, UdpSocket::bind))
                    .transpose()?;
                let (spool, listening) = sources.spooled(&name, &syslog.spool, resume, dir, &outlet, &progress)?;
                let source = Arc::clone(&name);
                sources.listen(&name, listening, move |stopping| {
                    syslog::run(tcp, udp, spool, &source, stopping)
                })?;
            }
        }
    }
    tell_abandoned(dir, settings);
    if !bounded.is_empty() {
        sources.spawn("files", move || files::run(bounded, unlisted, &outlet, &progress))?;
    }
    Ok((sources, receiver))
}

impl Sources {
    fn new(stop: Arc<AtomicBool>, sealer: Option<Arc<Sealer>>) -> Sources {
        Sources {
            stop,
            threads: Vec::new(),
            kafka: Vec::new(),
            spools: Vec::new(),
            sealer,
        }
    }

    /// What is durable now, of all inputs: committed to Kafka's consumer groups in the background. Other inputs' offsets do no harm.
    pub fn committed(&self, offsets: &Offsets) {
        for consumer in &self.kafka {
            consumer.committed(offsets);
        }
        for (input, spool) in &self.spools {
            if let Some(next) = spool_offset(input, offsets) {
                spool.committed(next);
            }
        }
    }

    /// Tells every source to stop reading. What is in the channel stays there; after it the receiver ends.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Stops, waits until every reader has ended, but not for ever, and leaves the consumer groups, the last commits included. To be
    /// called after the last [`Sources::committed`].
    pub async fn join(self) {
        self.join_within(JOIN_PATIENCE).await;
    }

    async fn join_within(mut self, patience: Duration) {
        self.stop();
        let began = tokio::time::Instant::now();
        let mut threads = std::mem::take(&mut self.threads);
        loop {
            let (ended, running): (Vec<_>, Vec<_>) = threads.into_iter().partition(JoinHandle::is_finished);
            for thread in ended {
                if thread.join().is_err() {
                    tracing::error!("a source's thread ended in a panic");
                }
            }
            threads = running;
            if threads.is_empty() || began.elapsed() >= patience {
                break;
            }
            tokio::time::sleep(JOIN_INTERVAL).await;
        }
        for thread in &threads {
            let name = thread.thread().name().unwrap_or("a source");
            tracing::error!("{name} did not stop within {} s and is left behind", patience.as_secs());
        }
        let kafka = std::mem::take(&mut self.kafka);
        let closing = tokio::task::spawn_blocking(move || drop(kafka));
        match tokio::time::timeout(patience, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::error!("closing the sources ended in a panic"),
            Err(_) => tracing::error!(
                "leaving the consumer groups did not end within {} s",
                patience.as_secs()
            ),
        }
    }

    /// Opens a listening source's spool and starts what writes it and what hands on its records.
    fn spooled(
        &mut self,
        source: &Arc<str>,
        settings: &SpoolSettings,
        resume: &Offsets,
        dir: &Path,
        outlet: &Outlet,
        progress: &Arc<Progress>,
    ) -> Result<(Arc<Spool>, Listening), SourceError> {
        let input = InputId::spool(source);
        let next = spool_offset(&input, resume).unwrap_or(0);
        let dir = dir.join(&**source);
        let spool =
            Spool::open(&dir, next, settings.bytes_max, self.sealer.clone()).map_err(|error| SourceError::Spool {
                source_name: source.to_string(),
                dir: dir.display().to_string(),
                reason: error.to_string(),
            })?;
        let spool = Arc::new(spool);
        self.spools.push((input, Arc::clone(&spool)));
        let listening = Listening {
            spool: Arc::clone(&spool),
            outlet: outlet.clone(),
        };
        let writing = Arc::clone(&spool);
        self.spawn(source, move || {
            writing.write();
            Ok(())
        })?;
        let (reading, name) = (Arc::clone(&spool), Arc::clone(source));
        let (outlet, progress, idle_timeout) = (outlet.clone(), Arc::clone(progress), settings.idle_timeout);
        self.spawn(source, move || {
            spool::run(&reading, &name, next, idle_timeout, &outlet, &progress)
        })?;
        Ok((spool, listening))
    }

    /// Runs a listener until the sources stop.
    fn listen(
        &mut self,
        source: &Arc<str>,
        listening: Listening,
        run: impl FnOnce(Box<dyn Fn() -> bool + Send>) -> std::io::Result<()> + Send + 'static,
    ) -> Result<(), SourceError> {
        let name = Arc::clone(source);
        self.spawn(source, move || {
            let outlet = listening.outlet.clone();
            let ended = run(Box::new(move || outlet.stopping()));
            if listening.outlet.stopping() {
                return Err(Stopped);
            }
            let reason = ended
                .err()
                .map_or_else(|| "without a reason".to_owned(), |error| error.to_string());
            listening.outlet.send(SourceEvent::Failed {
                error: SourceError::Listener {
                    source_name: name.to_string(),
                    reason,
                },
                source: name,
            })
        })
    }

    fn spawn(
        &mut self,
        source: &str,
        run: impl FnOnce() -> Result<(), Stopped> + Send + 'static,
    ) -> Result<(), SourceError> {
        let thread = std::thread::Builder::new()
            .name(format!("source {source}"))
            .spawn(move || {
                // Stopped: the pipeline asked for it, or has gone.
                let _ = run();
            });
        let thread = thread.map_err(|error| SourceError::Thread {
            source_name: source.to_owned(),
            reason: error.to_string(),
        })?;
        self.threads.push(thread);
        Ok(())
    }
}

/// A listening source's hold on its spool: closes it when the listener has ended, or was never started.
struct Listening {
    spool: Arc<Spool>,
    outlet: Outlet,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.spool.close();
    }
}

fn listen<T>(source: &str, address: SocketAddr, bind: fn(SocketAddr) -> std::io::Result<T>) -> Result<T, SourceError> {
    bind(address).map_err(|error| SourceError::Listen {
        source_name: source.to_owned(),
        address,
        reason: error.to_string(),
    })
}

/// A spool whose source is no longer configured may hold records that were accepted and not read.
fn tell_abandoned(dir: &Path, settings: &[SourceSettings]) {
    // A directory that is not there holds nothing.
    let found = std::fs::read_dir(dir).into_iter().flatten().flatten();
    for name in found.map(|entry| entry.file_name()) {
        if !settings.iter().any(|source| *source.name == *name) {
            let spool = dir.join(name);
            tracing::warn!(spool = %spool.display(), "no source has this name: what its spool holds is not read until one has");
        }
    }
}

fn spool_offset(input: &InputId, offsets: &Offsets) -> Option<u64> {
    match offsets.get(input)? {
        InputOffset::Spool { next } => Some(*next),
        _ => None,
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Looks whether a source could be read now, and says what is there: how many files match, which topics with how many partitions,
/// which addresses are free to listen on.
pub async fn check(settings: &SourceSettings) -> Result<String, SourceError> {
    match &settings.kind {
        SourceKind::File { glob, follow } => {
            let found = files::expand(&settings.name, glob)?;
            if let Some(message) = found.unlisted.into_iter().next() {
                return Err(SourceError::Unlisted {
                    source_name: settings.name.clone(),
                    message,
                });
            }
            let count = found.files.len();
            if count == 0 && !follow {
                return Err(SourceError::NoFiles {
                    source_name: settings.name.clone(),
                    pattern: glob.clone(),
                });
            }
            let plural = if count == 1 { "file matches" } else { "files match" };
            Ok(format!("{count} {plural} {glob:?}"))
        }
        SourceKind::Kafka(kafka) => {
            let (name, kafka) = (settings.name.clone(), kafka.clone());
            let checking = tokio::task::spawn_blocking(move || kafka::check(&name, &kafka));
            checking.await.unwrap_or_else(|error| {
                Err(SourceError::KafkaFatal {
                    source_name: settings.name.clone(),
                    reason: error.to_string(),
                })
            })
        }
        SourceKind::Http(http) => {
            listen(&settings.name, http.listen, TcpListener::bind)?;
            let tokens = http.tokens.len();
            Ok(format!("{} is free to listen on; {tokens} tokens", http.listen))
        }
        SourceKind::Syslog(syslog) => {
            let tcp = syslog
                .tcp
                .map(|address| listen(&settings.name, address, TcpListener::bind).map(|_| address));
            let udp = syslog
                .udp
                .map(|address| listen(&settings.name, address, UdpSocket::bind).map(|_| address));
            let free: Vec<String> = [("TCP", tcp.transpose()?), ("UDP", udp.transpose()?)]
                .into_iter()
                .filter_map(|(name, address)| Some(format!("{name} {}", address?)))
                .collect();
            Ok(format!("{} free to listen on", free.join(" and ")))
        }
    }
}

/// The offsets of one source's inputs.
fn offsets_of(source: &str, offsets: &Offsets) -> Offsets {
    let prefix = format!("{source}|");
    offsets
        .iter()
        .filter(|(input, _)| input.0.starts_with(&prefix))
        .map(|(input, offset)| (input.clone(), offset.clone()))
        .collect()
}
