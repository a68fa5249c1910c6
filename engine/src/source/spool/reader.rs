//! The spool as an input of the pipeline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Spool;
use super::segment::{self, Records};
use crate::model::{InputId, InputOffset, Payload, Position, RawBatch};
use crate::source::outlet::{BATCH_BYTES_MAX, BATCH_PAYLOADS_MAX, Outlet, Progress, Stopped};
use crate::source::{Harm, SourceEvent};

/// Longest sleep when nothing comes; bounds how late a stop or a trouble is noticed.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Hands on what the spool holds from record `next`, and whatever is appended, until it is told to stop.
pub(in crate::source) fn run(
    spool: &Spool,
    source: &Arc<str>,
    next: u64,
    idle_timeout: Duration,
    outlet: &Outlet,
    progress: &Progress,
) -> Result<(), Stopped> {
    let input = InputId::spool(source);
    let mut reader = Reader {
        spool,
        next,
        open: None,
    };
    outlet.send(SourceEvent::Opened(input.clone(), Arc::clone(source)))?;
    outlet.send(SourceEvent::Whole(Arc::clone(source)))?;
    let tell_lost = |message| {
        outlet.send(SourceEvent::Trouble {
            source: Arc::clone(source),
            message,
            harm: Harm::Lasting,
        })
    };
    let lost = spool.lock().lost.take();
    lost.map(tell_lost).transpose()?;
    let mut quiet_since = Instant::now();
    let mut is_idle = false;
    let mut told: Option<String> = None;
    loop {
        if outlet.stopping() {
            return Err(Stopped);
        }
        let trouble = spool.lock().trouble.clone();
        if trouble != told {
            let source = Arc::clone(source);
            outlet.send(match &trouble {
                Some(message) => SourceEvent::Trouble {
                    source,
                    message: message.clone(),
                    harm: Harm::Total,
                },
                None => SourceEvent::Recovered {
                    source,
                    message: "the spool accepts records again".to_owned(),
                },
            })?;
            told = trouble;
        }
        let (payloads, lost) = reader.batch();
        progress.set_lag(&input, Some(spool.lock().end.saturating_sub(reader.next)));
        lost.map(tell_lost).transpose()?;
        if !payloads.is_empty() {
            outlet.send(SourceEvent::Batch(RawBatch {
                source: Arc::clone(source),
                input: input.clone(),
                payloads,
                block: None,
                next: InputOffset::Spool { next: reader.next },
            }))?;
            quiet_since = Instant::now();
            is_idle = false;
            continue;
        }
        if !is_idle && quiet_since.elapsed() >= idle_timeout {
            is_idle = true;
            outlet.send(SourceEvent::Idle(input.clone()))?;
        }
        spool.wait(reader.next, WAIT_MAX);
    }
}

pub(super) struct Reader<'s> {
    pub spool: &'s Spool,
    /// The record to be read next.
    pub next: u64,
    /// A segment by its first record, and the number of the record that it stands at.
    pub open: Option<(u64, u64, Records)>,
}

impl Reader<'_> {
    /// The next records, up to a batch, and what a person should know of records that cannot be read.
    pub(super) fn batch(&mut self) -> (Vec<Payload>, Option<String>) {
        let (first, end) = {
            let state = self.spool.lock();
            if self.next >= state.end {
                return (Vec::new(), None);
            }
            let after = state.segments.partition_point(|segment| segment.first <= self.next);
            let end = state.segments.get(after).map_or(state.end, |segment| segment.first);
            match after.checked_sub(1).and_then(|index| state.segments.get(index)) {
                Some(segment) => (segment.first, end),
                None => {
                    let lost = format!("records {} to {end} are missing from the spool", self.next);
                    drop(state);
                    self.next = end;
                    return (Vec::new(), Some(lost));
                }
            }
        };
        let (mut payloads, mut taken) = (Vec::new(), 0);
        while self.next < end && payloads.len() < BATCH_PAYLOADS_MAX && taken < BATCH_BYTES_MAX {
            match self.read(first) {
                Ok(payload) => {
                    self.next += 1;
                    taken += payload.bytes.len();
                    payloads.push(payload);
                }
                Err(reason) => {
                    let path = segment::path(&self.spool.dir, first);
                    let lost = format!(
                        "{}: records {} to {end} of the spool cannot be read and are lost: {reason}",
                        path.display(),
                        self.next
                    );
                    self.next = end;
                    self.open = None;
                    return (payloads, Some(lost));
                }
            }
        }
        (payloads, None)
    }

    /// Record `next`, which is in the segment that begins with `first`.
    fn read(&mut self, first: u64) -> Result<Payload, String> {
        let is_open = self.open.as_ref().is_some_and(|(open, ..)| *open == first);
        if !is_open {
            let records = Records::open(&segment::path(&self.spool.dir, first), self.spool.sealer.as_ref())
                .map_err(|error| error.to_string())?;
            self.open = Some((first, first, records));
        }
        let Some((_, at, records)) = &mut self.open else {
            return Err("no segment is open".to_owned());
        };
        loop {
            let record = records
                .next()
                .map_err(|error| error.to_string())?
                .ok_or_else(|| format!("the bytes of record {at} are damaged"))?;
            let number = *at;
            *at += 1;
            if number == self.next {
                return Ok(Payload {
                    bytes: record.payload,
                    position: Position::Spool { record: number },
                    truncated: record.truncated,
                    attributes: record.attributes,
                });
            }
        }
    }
}
