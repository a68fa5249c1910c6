//! The engine's side: starts the process, keeps its picture of the tables current, ends it when it takes too much, starts it anew.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Start, VERB};
use crate::serve::ServeState;
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

/// What the process may know of the environment: how to log, and where temporary files go. Nothing that may be secret.
const ENVIRONMENT: [&str; 5] = ["RUST_LOG", "RUST_BACKTRACE", "TMPDIR", "TZ", "NO_COLOR"];

/// The process, and the thread that looks after it.
pub struct SqlProcess {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl SqlProcess {
    /// Serves clients that come to `listener` until [`SqlProcess::end`].
    pub fn start(listener: TcpListener, start: Start, views: Views, state: Arc<ServeState>) -> io::Result<SqlProcess> {
        let (stop, stopped) = channel();
        let keeper = Keeper {
            listener,
            start,
            views,
            state,
            stopped,
        };
        let thread = std::thread::Builder::new()
            .name("sql-process".to_owned())
            .spawn(move || keeper.keep())?;
        Ok(SqlProcess { stop, thread })
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
        let mut process = self.spawn()?;
        let result = self.look_after(&mut process);
        // Also when looking after it failed: none is left behind.
        let _ = process.kill();
        let status = process.wait()?;
        Ok(match result? {
            Some(end) => end,
            None => End::Failed(told(status)),
        })
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
        // Ends when the process does not read any more; the views are no longer sent then.
        std::thread::Builder::new()
            .name("sql-views".to_owned())
            .spawn(move || match feed(input, &start, &views) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    tracing::error!(%error, "the newest rows cannot be sent to the SQL server");
                }
                _ => {}
            })?;
        loop {
            match self.stopped.recv_timeout(BEAT) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return Ok(Some(End::Stopped)),
            }
            if process.try_wait()?.is_some() {
                return Ok(None);
            }
            if memory(process.id()).is_some_and(|bytes| bytes > MEMORY_BYTES_MAX) {
                let reason = format!(
                    "a statement took more than the {} MiB that it may have",
                    MEMORY_BYTES_MAX >> 20
                );
                return Ok(Some(End::Failed(reason)));
            }
        }
    }
}

/// Sends each new view until the process is gone.
fn feed(input: ChildStdin, start: &[u8], views: &Views) -> io::Result<()> {
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
        std::thread::sleep(BEAT);
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
