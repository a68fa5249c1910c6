//! Where telemetry comes from: files and Kafka topics. What the bytes mean is not known here.
//!
//! Every source has a thread of its own (bounded files share one) and hands batches to the pipeline through one bounded channel. An
//! offset travels with every batch; what the pipeline made durable it reports back with [`Sources::committed`], and a start resumes
//! from the offsets the pipeline gives.

mod files;
mod follow;
mod frame;
mod kafka;
pub mod mock;
mod outlet;
mod reader;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use crate::config::{SourceKind, SourceSettings};
use crate::model::{InputId, Offsets, RawBatch};
use files::BoundedFile;
use outlet::{Outlet, Stopped, WAITING_MAX};

pub use outlet::Progress;

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
        "source {source_name}: the Kafka client failed and cannot go on: {reason}; a restart resumes from the last offsets"
    )]
    KafkaFatal { source_name: String, reason: String },
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
}

/// Starts reading. `resume` says where each input goes on; `progress` is how the pipeline reports what it decoded. The receiver ends
/// (gives `None`) when all sources have ended or were stopped.
pub fn start(
    settings: &[SourceSettings],
    resume: &Offsets,
    progress: Arc<Progress>,
) -> Result<(Sources, mpsc::Receiver<SourceEvent>), SourceError> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let stop = Arc::new(AtomicBool::new(false));
    let outlet = Outlet::new(sender, Arc::clone(&stop));
    // Whatever fails below, the threads that already run end with it: `Sources` stops them when it is dropped.
    let mut sources = Sources {
        stop,
        threads: Vec::new(),
        kafka: Vec::new(),
    };
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
                let files = found.files.into_iter();
                bounded.push(files.map(|path| BoundedFile::new(&name, path, resume)).collect());
                unlisted.extend(found.unlisted.into_iter().map(|message| (Arc::clone(&name), message)));
            }
            SourceKind::File { glob, follow: true } => {
                files::expand(&name, glob)?;
                let followed = follow::Followed::new(&name, glob, resume);
                let outlet = outlet.clone();
                sources.spawn(&setting.name, move || followed.run(&outlet))?;
            }
            SourceKind::Kafka(kafka) => {
                let consumer = Arc::new(kafka::Consumer::new(&name, kafka, resume, outlet.clone())?);
                sources.kafka.push(Arc::clone(&consumer));
                sources.spawn(&setting.name, move || consumer.run())?;
            }
        }
    }
    if !bounded.is_empty() {
        sources.spawn("files", move || files::run(bounded, unlisted, &outlet, &progress))?;
    }
    Ok((sources, receiver))
}

impl Sources {
    /// What is durable now, of all inputs: committed to Kafka's consumer groups in the background. Other inputs' offsets do no harm.
    pub fn committed(&self, offsets: &Offsets) {
        for consumer in &self.kafka {
            consumer.committed(offsets);
        }
    }

    /// Tells every source to stop reading. What is in the channel stays there; after it the receiver ends.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Stops, waits until every reader has ended, and leaves the consumer groups, the last commits included. To be called after the
    /// last [`Sources::committed`].
    pub async fn join(mut self) {
        self.stop();
        let threads = std::mem::take(&mut self.threads);
        let kafka = std::mem::take(&mut self.kafka);
        let closing = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a source's thread ended in a panic");
                }
            }
            drop(kafka);
        });
        if closing.await.is_err() {
            tracing::error!("closing the sources ended in a panic");
        }
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

impl Drop for Sources {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Looks whether a source could be read now, and says what is there: how many files match, which topics with how many partitions.
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
