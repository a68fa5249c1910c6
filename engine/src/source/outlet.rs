//! What readers share: the bounded way out, and how far the pipeline has got.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::SourceEvent;
use crate::model::{InputId, Micros, RawBatch};

/// A batch closes at this many payloads: enough that per-batch costs vanish, few enough to be decoded in some milliseconds.
pub(super) const BATCH_PAYLOADS_MAX: usize = 4096;
/// … or at this many bytes.
pub(super) const BATCH_BYTES_MAX: usize = 4 << 20;
/// Events waiting for the pipeline. A batch takes one slot for every `BATCH_BYTES_MAX` of it, so that at most 64 MiB wait, or a single
/// document that is larger.
pub(super) const WAITING_MAX: usize = 16;
/// How often a full channel is tried again: far below the freshness that is promised, far above the cost of trying.
const RETRY_INTERVAL: Duration = Duration::from_millis(2);

/// The pipeline has gone or asked to stop: the reader returns.
#[derive(Debug)]
pub(super) struct Stopped;

pub(super) enum Offered {
    Sent,
    Full(Box<SourceEvent>),
}

#[derive(Clone)]
pub(super) struct Outlet {
    sender: mpsc::Sender<SourceEvent>,
    stop: Arc<AtomicBool>,
}

impl Outlet {
    pub(super) fn new(sender: mpsc::Sender<SourceEvent>, stop: Arc<AtomicBool>) -> Outlet {
        Outlet { sender, stop }
    }

    pub(super) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether the pipeline has taken everything that was sent.
    pub(super) fn is_empty(&self) -> bool {
        self.sender.capacity() == self.sender.max_capacity()
    }

    /// Sends, waiting while the channel is full.
    pub(super) fn send(&self, event: SourceEvent) -> Result<(), Stopped> {
        let mut event = event;
        loop {
            match self.offer(event)? {
                Offered::Sent => return Ok(()),
                Offered::Full(back) => event = *back,
            }
            std::thread::sleep(RETRY_INTERVAL);
        }
    }

    /// Sends if there is room.
    pub(super) fn offer(&self, event: SourceEvent) -> Result<Offered, Stopped> {
        if self.stopping() {
            return Err(Stopped);
        }
        let slots = match &event {
            SourceEvent::Batch(batch) => payload_bytes(batch).div_ceil(BATCH_BYTES_MAX).clamp(1, WAITING_MAX),
            _ => 1,
        };
        match self.sender.try_reserve_many(slots) {
            Ok(mut permits) => {
                if let Some(permit) = permits.next() {
                    permit.send(event);
                }
                Ok(Offered::Sent)
            }
            Err(TrySendError::Full(())) => Ok(Offered::Full(Box::new(event))),
            Err(TrySendError::Closed(())) => Err(Stopped),
        }
    }
}

fn payload_bytes(batch: &RawBatch) -> usize {
    batch.payloads.iter().map(|payload| payload.bytes.len()).sum()
}

/// How far each input is. Event time that the pipeline has decoded: bounded files are read in this order, the least advanced first,
/// so that little has to be held back to bring their events into one order. And records that wait to be read, where a source can
/// tell.
#[derive(Default)]
pub struct Progress {
    decoded: Mutex<HashMap<InputId, Decoded>>,
    changed: Condvar,
    lags: Mutex<BTreeMap<InputId, u64>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Decoded {
    /// The newest event time so far; `None` before the first event.
    pub newest: Option<Micros>,
    pub batches: u64,
}

impl Progress {
    /// To be called once for every batch received; `newest` is the newest event time in it, `None` when it held no event.
    pub fn decoded(&self, input: &InputId, newest: Option<Micros>) {
        let mut decoded = self.lock();
        let entry = decoded.entry(input.clone()).or_default();
        entry.newest = entry.newest.max(newest);
        entry.batches += 1;
        self.changed.notify_all();
    }

    /// The input brings nothing more.
    pub fn ended(&self, input: &InputId) {
        self.lock().remove(input);
    }

    /// Records of each Kafka partition and each spool that are there and not handed on yet. A partition that was given up is absent.
    pub fn lags(&self) -> BTreeMap<InputId, u64> {
        self.lags.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many records of the input wait; `None` when that is no longer known here.
    pub(super) fn set_lag(&self, input: &InputId, records: Option<u64>) {
        let mut lags = self.lags.lock().unwrap_or_else(PoisonError::into_inner);
        match (records, lags.get_mut(input)) {
            (Some(records), Some(lag)) => *lag = records,
            (Some(records), None) => drop(lags.insert(input.clone(), records)),
            (None, _) => drop(lags.remove(input)),
        }
    }

    pub(super) fn of(&self, input: &InputId) -> Decoded {
        self.lock().get(input).copied().unwrap_or_default()
    }

    /// Waits for the next call of `decoded`, at most `timeout`.
    pub(super) fn wait(&self, timeout: Duration) {
        drop(self.changed.wait_timeout(self.lock(), timeout));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InputId, Decoded>> {
        self.decoded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
