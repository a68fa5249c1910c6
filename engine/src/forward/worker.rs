//! One task per sink: reads the journal in order from its durable cursor, delivers, and retries until the receiver takes it.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until};

use super::pace::Pace;
use super::record::{JournalReader, Record};
use super::sink::{Delivery, Outcome, Sink};
use super::{ForwardError, Result, io_error, sync_dir};
use crate::config::{ForwardKind, ForwardSettings};

/// Waits between attempts: doubled from the first to the longest, then that for ever; each is shortened at random by up to half, so
/// that many engines do not knock at a receiver that comes back in step.
#[derive(Clone, Copy, Debug)]
pub(super) struct BackOff {
    pub first: Duration,
    pub longest: Duration,
}

const BACK_OFF: BackOff = BackOff {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(60),
};

/// While a backlog drains the cursor becomes durable this often, not for every record: a crash sends that much again, at worst.
const CURSOR_INTERVAL: Duration = Duration::from_millis(250);

/// A file of refused records that is this large is set aside as `.1`, replacing the one before.
const DEAD_LETTER_BYTES_MAX: u64 = 64 << 20;

/// How a sink is doing. Counts are since the start of the process.
#[derive(Clone, Debug, Serialize)]
pub struct SinkStatus {
    pub name: String,
    /// `webhook` or `syslog`
    pub kind: &'static str,
    /// Position after the last record that was delivered or refused.
    pub cursor: u64,
    /// Journaled records that it has not passed yet.
    pub lag: u64,
    pub delivered: u64,
    /// Attempts that failed and were or will be repeated.
    pub retries: u64,
    /// Records that the receiver refused for good; kept in `NAME.dead.ndjson`.
    pub dead_letters: u64,
    /// Why alerts wait: the last attempt failed, or what is known of it cannot be written down. Nothing while they pass; a receiver
    /// that refuses an alert is one that answers.
    pub trouble: Option<String>,
}

/// What the sinks are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Run,
    /// Nothing is held back any more.
    Drain,
    Stop,
}

/// The sinks at work.
pub struct Forwarder {
    reader: JournalReader,
    workers: Vec<(Shared, JoinHandle<()>)>,
    phase: watch::Sender<Phase>,
}

type Shared = Arc<Mutex<SinkStatus>>;

fn locked(shared: &Shared) -> MutexGuard<'_, SinkStatus> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Forwarder {
    /// Starts one task per sink on the current runtime. `dir` holds the cursors and the refused records. A sink that is new starts with
    /// the oldest alert the journal still holds; with no sinks at all, the journal is free to forget.
    ///
    /// The tasks notice appended records by themselves.
    pub fn start(settings: &[ForwardSettings], dir: &Path, reader: JournalReader) -> Result<Forwarder> {
        Forwarder::start_with(settings, dir, reader, BACK_OFF)
    }

    pub(super) fn start_with(
        settings: &[ForwardSettings],
        dir: &Path,
        reader: JournalReader,
        back_off: BackOff,
    ) -> Result<Forwarder> {
        std::fs::create_dir_all(dir).map_err(io_error("create", dir))?;
        let (phase, told) = watch::channel(Phase::Run);
        let mut workers = Vec::with_capacity(settings.len());
        for (index, settings) in settings.iter().enumerate() {
            // A file's name as it is, and no other sink's: the configuration sees to both.
            let file = &settings.name;
            let cursor_file = dir.join(format!("{file}.cursor"));
            let cursor = load_cursor(&cursor_file, &settings.name, &reader)?;
            let kind = match settings.kind {
                ForwardKind::Webhook { .. } => "webhook",
                ForwardKind::Syslog { .. } => "syslog",
            };
            let mut own = reader.clone();
            own.seek(cursor);
            workers.push(Worker {
                index,
                sink: Sink::new(settings)?,
                reader: own,
                cursor_file,
                durable: cursor,
                saved: Instant::now(),
                dead_file: dir.join(format!("{file}.dead.ndjson")),
                back_off,
                phase: told.clone(),
                pace: Pace::new(settings.interval),
                status: Arc::new(Mutex::new(SinkStatus {
                    name: settings.name.clone(),
                    kind,
                    cursor,
                    lag: 0,
                    delivered: 0,
                    retries: 0,
                    dead_letters: 0,
                    trouble: None,
                })),
            });
        }
        reader.report(|cursors| *cursors = Some(workers.iter().map(|worker| worker.durable).collect()));
        let workers = workers
            .into_iter()
            .map(|worker| (worker.status.clone(), tokio::spawn(worker.run())))
            .collect();
        Ok(Forwarder { reader, workers, phase })
    }

    /// Every sink's state, in the order of the settings.
    pub fn status(&self) -> Vec<SinkStatus> {
        let end = self.reader.end();
        let status = |shared: &Shared| {
            let status = locked(shared).clone();
            SinkStatus {
                lag: end.saturating_sub(status.cursor),
                ..status
            }
        };
        self.workers.iter().map(|(shared, _)| status(shared)).collect()
    }

    /// Gives the sinks up to `patience` to pass all that is journaled, then stops them. What is left is sent after the next start. Gives
    /// whether nothing is left.
    pub async fn drain(self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let _ = self.phase.send(Phase::Drain);
        while self.status().iter().any(|sink| sink.lag > 0) && Instant::now() < deadline {
            sleep(Duration::from_millis(20).min(patience)).await;
        }
        let _ = self.phase.send(Phase::Stop);
        let end = self.reader.end();
        let mut drained = true;
        for (shared, task) in self.workers {
            if let Err(error) = task.await {
                tracing::error!(sink = locked(&shared).name, %error, "a forwarding task ended abnormally");
            }
            drained &= locked(&shared).cursor >= end;
        }
        drained
    }
}

struct Worker {
    index: usize,
    sink: Sink,
    reader: JournalReader,
    cursor_file: PathBuf,
    /// The cursor as it stands on disk, and when it was written.
    durable: u64,
    saved: Instant,
    dead_file: PathBuf,
    back_off: BackOff,
    phase: watch::Receiver<Phase>,
    pace: Pace,
    status: Shared,
}

impl Worker {
    async fn run(mut self) {
        let mut wait = self.back_off.first;
        let mut phase = self.phase.clone();
        loop {
            let draining = *phase.borrow() >= Phase::Drain;
            let due = self.pace.due(draining, Instant::now());
            if due.is_none() {
                let cursor = locked(&self.status).cursor;
                let next_due = self.pace.next_due();
                let more = tokio::select! {
                    biased;
                    () = stopped(&mut self.phase) => false,
                    more = self.reader.more() => more,
                    () = reached(&mut phase, Phase::Drain), if !draining => continue,
                    () = sleep_until(next_due.unwrap_or_else(Instant::now)), if next_due.is_some() => continue,
                    // It could not be written, and no further alert may come for days.
                    () = sleep(self.back_off.longest), if self.durable != cursor => {
                        self.save_cursor(cursor).await;
                        continue;
                    }
                };
                if !more {
                    break;
                }
            }
            let position = due.unwrap_or(self.reader.position());
            // A record is a few KiB that was just written: read from the page cache, not worth another thread.
            let read = match due {
                Some(position) => self.read_again(position),
                None => self.reader.read(),
            };
            let record = match read {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(error) => {
                    self.failed(error.to_string());
                    if !self.pause(wait).await {
                        break;
                    }
                    wait = (wait * 2).min(self.back_off.longest);
                    self.reader.seek(self.reader.position());
                    continue;
                }
            };
            let incident = &record.payload;
            if due.is_some() || (!incident.case.withheld && self.pace.admits(incident, position, Instant::now())) {
                if !self.pass(&record).await {
                    break;
                }
                self.pace.sent(incident, Instant::now());
            }
            wait = self.back_off.first;
            // What waits was not passed: after a crash it is looked at again.
            let cursor = self.pace.oldest().unwrap_or(self.reader.position());
            locked(&self.status).cursor = cursor;
            if cursor >= self.reader.end() || self.saved.elapsed() >= CURSOR_INTERVAL {
                self.save_cursor(cursor).await;
            }
        }
        let cursor = locked(&self.status).cursor;
        self.save_cursor(cursor).await;
    }

    fn read_again(&self, position: u64) -> Result<Option<Record>> {
        let mut aside = self.reader.clone();
        aside.seek(position);
        aside.read()
    }

    /// Delivers the record, or has it kept as refused; `false` when told to stop before either.
    async fn pass(&mut self, record: &Record) -> bool {
        let delivery = Delivery::of(&record.payload);
        let mut wait = self.back_off.first;
        loop {
            let outcome = tokio::select! {
                biased;
                () = stopped(&mut self.phase) => return false,
                outcome = self.sink.deliver(&delivery) => outcome,
            };
            let after = match outcome {
                Outcome::Delivered => {
                    let mut status = locked(&self.status);
                    status.delivered += 1;
                    status.trouble = None;
                    return true;
                }
                Outcome::Refused(reason) => match self.bury(&delivery, &reason).await {
                    Ok(()) => {
                        let mut status = locked(&self.status);
                        status.dead_letters += 1;
                        status.trouble = None;
                        tracing::warn!(
                            sink = status.name,
                            delivery = delivery.id,
                            reason,
                            kept_in = %self.dead_file.display(),
                            "the receiver refused an alert"
                        );
                        return true;
                    }
                    Err(error) => {
                        self.failed(error.to_string());
                        None
                    }
                },
                Outcome::Retry { reason, after } => {
                    self.failed(reason);
                    after
                }
            };
            let jittered = wait.mul_f64(rand::rng().random_range(0.5..=1.0));
            if !self.pause(after.unwrap_or_default().max(jittered)).await {
                return false;
            }
            wait = (wait * 2).min(self.back_off.longest);
        }
    }

    fn failed(&self, reason: String) {
        let mut status = locked(&self.status);
        // Once per outage: the count of retries says how long it lasts.
        if status.trouble.as_ref() != Some(&reason) {
            tracing::warn!(sink = status.name, reason, "forwarding waits");
        }
        status.retries += 1;
        status.trouble = Some(reason);
    }

    /// Waits; `false` when told to stop meanwhile.
    async fn pause(&mut self, time: Duration) -> bool {
        tokio::select! {
            () = stopped(&mut self.phase) => false,
            () = sleep(time) => true,
        }
    }

    async fn bury(&self, delivery: &Delivery, reason: &str) -> Result<()> {
        let body: Value = serde_json::from_str(&delivery.body).unwrap_or_default();
        let line = json!({ "delivery": delivery.id, "reason": reason, "body": body }).to_string();
        let path = self.dead_file.clone();
        off_thread(move || append_line(&path, &line)).await
    }

    /// Makes the cursor durable; a failure is shown and costs repeats after a crash, not alerts.
    async fn save_cursor(&mut self, cursor: u64) {
        self.saved = Instant::now();
        if cursor == self.durable {
            return;
        }
        let path = self.cursor_file.clone();
        match off_thread(move || store_cursor(&path, cursor)).await {
            Ok(()) => {
                self.durable = cursor;
                locked(&self.status).trouble = None;
                let index = self.index;
                self.reader.report(|cursors| {
                    if let Some(held) = cursors.as_mut().and_then(|cursors| cursors.get_mut(index)) {
                        *held = cursor;
                    }
                });
            }
            Err(error) => self.failed(error.to_string()),
        }
    }
}

/// Comes back when the forwarder says stop, or is gone.
async fn stopped(phase: &mut watch::Receiver<Phase>) {
    reached(phase, Phase::Stop).await;
}

async fn reached(phase: &mut watch::Receiver<Phase>, least: Phase) {
    let _ = phase.wait_for(|phase| *phase >= least).await;
}

async fn off_thread(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(ForwardError::Broken {
            reason: error.to_string(),
        })
    })
}

fn load_cursor(path: &Path, name: &str, reader: &JournalReader) -> Result<u64> {
    let (start, end) = (reader.start()?, reader.end());
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(start),
        Err(error) => return Err(io_error("read", path)(error)),
    };
    match text.trim().parse::<u64>() {
        Ok(cursor) if (start..=end).contains(&cursor) => Ok(cursor),
        Ok(cursor) if cursor < start => {
            tracing::warn!(
                sink = name,
                records = start - cursor,
                "alerts were deleted before this sink had them; was it removed for a while?"
            );
            Ok(start)
        }
        // Repeats rather than gaps.
        _ => {
            tracing::warn!(sink = name, file = %path.display(), "the cursor does not fit the journal; starting with its oldest alert");
            Ok(start)
        }
    }
}

fn store_cursor(path: &Path, cursor: u64) -> Result<()> {
    let new = path.with_extension("cursor.new");
    let mut file = File::create(&new).map_err(io_error("create", &new))?;
    writeln!(file, "{cursor}")
        .and_then(|()| file.sync_all())
        .map_err(io_error("write", &new))?;
    std::fs::rename(&new, path).map_err(io_error("replace", path))?;
    path.parent().map_or(Ok(()), sync_dir)
}

fn append_line(path: &Path, line: &str) -> Result<()> {
    let full = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() >= DEAD_LETTER_BYTES_MAX);
    if full {
        let aside = path.with_extension("ndjson.1");
        std::fs::rename(path, &aside).map_err(io_error("set aside", path))?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)
        .map_err(io_error("open", path))?;
    // A kill or a full disk may have left the beginning of a line: it costs itself and not the line after it.
    let torn = ends_inside_a_line(&mut file).map_err(io_error("read", path))?;
    let line = format!("{}{line}\n", if torn { "\n" } else { "" });
    file.write_all(line.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(io_error("write", path))?;
    path.parent().map_or(Ok(()), sync_dir)
}

fn ends_inside_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
