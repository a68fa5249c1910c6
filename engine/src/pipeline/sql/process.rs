//! The engine's side: starts the process, keeps its picture of the tables current, ends it when it takes too much, starts it anew.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Start, VERB, sql_spill};
use crate::serve::{Part, ServeState, State};
use crate::store::{ViewSender, Views};

/// Memory of its own that the process may have: queries' share, rows that are not on disk yet, and room for plans. Beyond it some
/// statement got past the bounds of the query engine.
const MEMORY_BYTES_MAX: u64 = 1 << 30;

/// How often it is looked after. Memory cannot be filled by much more than a few hundred megabytes in this time.
const BEAT: Duration = Duration::from_millis(50);

/// Pause before it is started anew, doubled each time up to the greatest, and back to the least once it has stayed up for a while.
const PAUSE_LEAST: Duration = Duration::from_millis(100);
const PAUSE_MOST: Duration = Duration::from_secs(10);
const STAYED_UP: Duration = Duration::from_secs(60);

/// What the process may know of the environment: how to log, and what it needs to start. Nothing that may be secret.
const ENVIRONMENT: [&str; 5] = ["RUST_LOG", "RUST_BACKTRACE", "LD_LIBRARY_PATH", "TZ", "NO_COLOR"];

/// A process that is up for this long has its tables and answers.
const UP_AFTER: Duration = Duration::from_secs(2);

/// The process, and the thread that looks after it.
pub struct SqlProcess {
    stop: Sender<()>,
    thread: JoinHandle<()>,
    health: Arc<Mutex<Part>>,
}

impl SqlProcess {
    /// Serves clients that come to `listener` until [`SqlProcess::end`].
    pub fn start(listener: TcpListener, start: Start, views: Views, state: Arc<ServeState>) -> io::Result<SqlProcess> {
        let (stop, stopped) = channel();
        let health = Arc::new(Mutex::new(Part {
            name: "postgres".to_owned(),
            ..Part::default()
        }));
        let keeper = Keeper {
            health: health.clone(),
            listener,
            start,
            views,
            state,
            stopped,
        };
        let thread = std::thread::Builder::new()
            .name("sql-process".to_owned())
            .spawn(move || keeper.keep())?;
        Ok(SqlProcess { stop, thread, health })
    }

    /// Whether clients are answered.
    pub fn health(&self) -> Part {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the process, whatever it is doing.
    pub fn end(self) {
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the thread that looks after the SQL server panicked");
        }
    }
}

struct Keeper {
    listener: TcpListener,
    start: Start,
    views: Views,
    state: Arc<ServeState>,
    stopped: Receiver<()>,
    health: Arc<Mutex<Part>>,
}

/// Why the process is no more.
enum End {
    Stopped,
    Failed(String),
}

impl Keeper {
    fn keep(&self) {
        let mut pause = PAUSE_LEAST;
        loop {
            let began = Instant::now();
            let reason = match self.run() {
                Ok(End::Stopped) => return,
                Ok(End::Failed(reason)) => reason,
                Err(error) => format!("it cannot be started: {error}"),
            };
            self.state.metrics.sql_restarts.inc();
            self.tell(State::Degraded, &reason);
            tracing::error!(
                reason,
                "the SQL server ended; its clients must connect again, it is started anew"
            );
            if began.elapsed() > STAYED_UP {
                pause = PAUSE_LEAST;
            }
            match self.stopped.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(PAUSE_MOST),
                _ => return,
            }
        }
    }

    /// From the start of the process to its end.
    fn run(&self) -> io::Result<End> {
        let spill = sql_spill(&self.start.dir);
        empty(&spill)?;
        let mut process = self.spawn()?;
        let result = self.look_after(&mut process);
        // Also when looking after it failed: none is left behind.
        let _ = process.kill();
        let status = process.wait()?;
        empty(&spill)?;
        Ok(match result? {
            Some(end) => end,
            None => End::Failed(told(status)),
        })
    }

    fn tell(&self, status: State, detail: &str) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.status = status;
        health.detail = detail.to_owned();
    }

    fn spawn(&self) -> io::Result<Child> {
        let socket = OwnedFd::from(self.listener.try_clone()?);
        let environment = ENVIRONMENT
            .iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        // Not the path: a newer version may have been put there.
        let program = if cfg!(target_os = "linux") {
            "/proc/self/exe".into()
        } else {
            std::env::current_exe()?
        };
        Command::new(program)
            .arg0("sentrail")
            .arg(VERB)
            .env_clear()
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(socket)
            .spawn()
    }

    /// `None`: it ended by itself.
    fn look_after(&self, process: &mut Child) -> io::Result<Option<End>> {
        let input = process.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut start = serde_json::to_vec(&self.start)?;
        start.push(b'\n');
        let views = self.views.clone();
        let (ended, end) = channel::<()>();
        // Ends when `ended` is gone or the process does not read any more.
        std::thread::Builder::new()
            .name("sql-views".to_owned())
            .spawn(move || match feed(input, &start, &views, &end) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    tracing::error!(%error, "the newest rows cannot be sent to the SQL server");
                }
                _ => {}
            })?;
        let result = self.watch(process);
        drop(ended);
        result
    }

    fn watch(&self, process: &mut Child) -> io::Result<Option<End>> {
        let began = Instant::now();
        loop {
            match self.stopped.recv_timeout(BEAT) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return Ok(Some(End::Stopped)),
            }
            if process.try_wait()?.is_some() {
                return Ok(None);
            }
            if began.elapsed() > UP_AFTER {
                self.tell(State::Ok, "");
            }
            if memory(process.id()).is_some_and(|bytes| bytes > MEMORY_BYTES_MAX) {
                let reason = format!(
                    "with its statements, and the rows that are not durable yet, it took more than the {} MiB that it may have",
                    MEMORY_BYTES_MAX >> 20
                );
                return Ok(Some(End::Failed(reason)));
            }
        }
    }
}

/// Sends each new view until `end` or the process is gone.
fn feed(input: ChildStdin, start: &[u8], views: &Views, end: &Receiver<()>) -> io::Result<()> {
    let mut input = BufWriter::new(input);
    input.write_all(start)?;
    let mut sender = ViewSender::default();
    let mut shown = None;
    loop {
        let view = views.current();
        if shown.as_ref().is_none_or(|shown| !Arc::ptr_eq(shown, &view)) {
            sender.send(&view, &mut input)?;
            shown = Some(view);
        }
        if let Err(RecvTimeoutError::Disconnected) = end.recv_timeout(BEAT) {
            return Ok(());
        }
    }
}

/// A process that is ended leaves its temporary files.
fn empty(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(dir),
    }
}

fn told(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(signal) => format!("it was ended by signal {signal}"),
        None => format!("it ended with {status}"),
    }
}

/// Bytes of memory that are the process's own, files that it maps left out; `None` where the system does not tell.
fn memory(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
