//! The sources as the pipeline sees them: events in, offsets back.

mod files;
mod kafka;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;

use super::follow::Followed;
use super::outlet::{Outlet, WAITING_MAX};
use super::{Framing, Progress, SourceEvent, Sources, start};
use crate::config::{SourceKind, SourceSettings};
use crate::model::{InputId, Micros, Offsets, Payload};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "sentrail-source-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).expect("a scratch directory");
        Scratch(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), bytes).expect("written");
        self.path(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn file_source(name: &str, pattern: &Path, follow: bool) -> SourceSettings {
    source(
        name,
        SourceKind::File {
            glob: pattern.to_string_lossy().into_owned(),
            follow,
        },
    )
}

fn source(name: &str, kind: SourceKind) -> SourceSettings {
    SourceSettings {
        name: name.into(),
        tenant: "default".into(),
        format: "any".into(),
        lateness: None,
        silent_after: Default::default(),
        kind,
    }
}

fn framing(source: &SourceSettings) -> Framing {
    Framing {
        wrappers: ["Records".into()].into(),
        row_fields: (source.format == "rows").then_some(0),
    }
}

/// A pipeline that only remembers.
struct Run {
    runtime: Runtime,
    sources: Sources,
    events: Receiver<SourceEvent>,
    progress: Arc<Progress>,
    time_of: fn(&Payload) -> Option<Micros>,
    seen: Seen,
    /// Goes last.
    _spools: Scratch,
}

#[derive(Default)]
struct Seen {
    payloads: Vec<Payload>,
    offsets: Offsets,
    /// Everything but batches, in words.
    told: Vec<String>,
    /// Input and number of payloads of each batch.
    batches: Vec<(InputId, usize)>,
}

impl Seen {
    fn texts(&self) -> Vec<String> {
        self.payloads
            .iter()
            .map(|payload| String::from_utf8_lossy(&payload.bytes).into_owned())
            .collect()
    }

    fn was_told(&self, part: &str) -> bool {
        self.told.iter().any(|told| told.contains(part))
    }
}

impl Run {
    fn start(settings: &[SourceSettings], resume: &Offsets) -> Run {
        Run::start_timed(settings, resume, |_| None)
    }

    fn start_timed(settings: &[SourceSettings], resume: &Offsets, time_of: fn(&Payload) -> Option<Micros>) -> Run {
        let progress = Arc::new(Progress::default());
        let spools = Scratch::new();
        let (sources, events) =
            start(settings, resume, &spools.0, None, &framing, Arc::clone(&progress)).expect("started");
        Run::of(sources, events, progress, time_of, spools)
    }

    /// A followed source that listens for `grace` to files that have no name any more.
    fn follow(pattern: &Path, resume: &Offsets, grace: Duration) -> Run {
        let (sender, events) = tokio::sync::mpsc::channel(WAITING_MAX);
        let stop = Arc::new(AtomicBool::new(false));
        let outlet = Outlet::new(sender, Arc::clone(&stop));
        let mut sources = Sources::new(stop, None);
        let settings = file_source("s", pattern, true);
        let followed = Followed::new(
            &"s".into(),
            &pattern.to_string_lossy(),
            resume,
            &framing(&settings),
            grace,
        );
        sources.spawn("s", move || followed.run(&outlet)).expect("started");
        Run::of(sources, events, Arc::default(), |_| None, Scratch::new())
    }

    fn of(
        sources: Sources,
        events: Receiver<SourceEvent>,
        progress: Arc<Progress>,
        time_of: fn(&Payload) -> Option<Micros>,
        spools: Scratch,
    ) -> Run {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        Run {
            runtime,
            sources,
            events,
            progress,
            time_of,
            seen: Seen::default(),
            _spools: spools,
        }
    }

    /// Takes one event; false when none came within `wait` or none will.
    fn step(&mut self, wait: Duration) -> bool {
        let events = &mut self.events;
        let Ok(Some(event)) = self
            .runtime
            .block_on(async { tokio::time::timeout(wait, events.recv()).await })
        else {
            return false;
        };
        match event {
            SourceEvent::Batch(batch) => {
                let newest = batch.payloads.iter().filter_map(self.time_of).max();
                self.progress.decoded(&batch.input, newest);
                self.seen.batches.push((batch.input.clone(), batch.payloads.len()));
                self.seen.offsets.insert(batch.input, batch.next);
                self.seen.payloads.extend(batch.payloads);
            }
            SourceEvent::Opened(input, source) => self.seen.told.push(format!("opened {input} of {source}")),
            SourceEvent::Idle(input) => self.seen.told.push(format!("idle {input}")),
            SourceEvent::Ended(input) => self.seen.told.push(format!("ended {input}")),
            SourceEvent::Whole(source) => self.seen.told.push(format!("whole {source}")),
            SourceEvent::Revoking { inputs, done, .. } => {
                self.seen.told.push(format!("revoking {inputs:?}"));
                self.sources.committed(&self.seen.offsets);
                done.send(()).expect("the source waits");
            }
            SourceEvent::Forgotten(input) => self.seen.told.push(format!("forgotten {input}")),
            SourceEvent::Trouble { source, message, harm } => {
                self.seen.told.push(format!("trouble {source}: {message} ({harm:?})"));
            }
            SourceEvent::Recovered { source, message } => self.seen.told.push(format!("recovered {source}: {message}")),
            SourceEvent::Finished(source) => self.seen.told.push(format!("finished {source}")),
            SourceEvent::Failed { source, error } => self.seen.told.push(format!("failed {source}: {error}")),
        }
        true
    }

    fn until(&mut self, what: &str, is_there: impl Fn(&Seen) -> bool) {
        let begun = Instant::now();
        while !is_there(&self.seen) {
            self.step(Duration::from_millis(50));
            let (count, told) = (self.seen.payloads.len(), &self.seen.told);
            assert!(
                begun.elapsed() < PATIENCE,
                "{what} did not come; {count} payloads, told {told:#?}"
            );
        }
    }

    /// Until all sources have ended by themselves.
    fn finish(mut self) -> Seen {
        while self.step(PATIENCE) {}
        assert!(self.events.is_closed(), "the sources end: {:#?}", self.seen.told);
        self.stop()
    }

    fn stop(self) -> Seen {
        drop(self.events);
        self.runtime.block_on(self.sources.join());
        self.seen
    }
}
