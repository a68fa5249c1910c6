//! A request's body: within its limits, decompressed as it arrives, and accounted for in what all requests together may hold.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use flate2::write::MultiGzDecoder;
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refusal::Refusal;

/// Longest body as it comes over the wire, and after decompression. Exporters and forwarders send batches of a few MiB; the longest
/// record that is decoded has 16 MiB.
pub const WIRE_BYTES_MAX: usize = 16 << 20;
pub const BODY_BYTES_MAX: usize = 32 << 20;
/// What all requests of a source together may hold at once. Each byte counts twice, as it came and as it goes into the spool.
pub const HELD_BYTES_MAX: usize = 192 << 20;
/// A body that takes longer is cut off, so that slow senders do not hold memory for ever.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// What is held is counted in pieces of this size.
const UNIT_BYTES: usize = 16 << 10;

/// The memory that the requests of one source share.
#[derive(Clone)]
pub(super) struct Memory(Arc<Semaphore>);

impl Memory {
    pub(super) fn new() -> Memory {
        Memory(Arc::new(Semaphore::new(HELD_BYTES_MAX / UNIT_BYTES)))
    }

    pub(super) fn hold(&self) -> Held {
        Held {
            memory: self.clone(),
            units: None,
        }
    }
}

/// One request's share; given back when it is dropped.
pub(super) struct Held {
    memory: Memory,
    units: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Takes what is missing to hold `bytes` in all.
    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<(), Refusal> {
        let held = self.units.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = bytes.div_ceil(UNIT_BYTES).saturating_sub(held);
        let Some(count) = u32::try_from(missing).ok().filter(|count| *count > 0) else {
            return Ok(());
        };
        match self.memory.0.clone().try_acquire_many_owned(count) {
            Ok(more) => match &mut self.units {
                Some(units) => units.merge(more),
                None => self.units = Some(more),
            },
            Err(_) => return Err(Refusal::busy("too much is being received at once")),
        }
        Ok(())
    }
}

/// Reads a body whole. `held` grows with it.
pub(super) async fn read(headers: &HeaderMap, body: Body, held: Held) -> Result<(Vec<u8>, Held), Refusal> {
    let sink = Sink {
        bytes: Vec::new(),
        held,
        refusal: None,
    };
    let mut decoder = match headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None | Some(b"" | b"identity") => Decoder::Plain(sink),
        Some(b"gzip" | b"x-gzip") => Decoder::Gzip(Box::new(MultiGzDecoder::new(sink))),
        Some(other) => {
            let found = String::from_utf8_lossy(other).into_owned();
            return Err(Refusal::Unsupported(format!(
                "content encoding {found:?}; valid are gzip and none"
            )));
        }
    };
    let receive = async {
        let mut chunks = body.into_data_stream();
        let mut received = 0;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| Refusal::Malformed(format!("the body breaks off: {error}")))?;
            received += chunk.len();
            if received > WIRE_BYTES_MAX {
                return Err(too_long("the body", WIRE_BYTES_MAX));
            }
            decoder.take(&chunk)?;
        }
        Ok(decoder)
    };
    match tokio::time::timeout(BODY_TIME_MAX, receive).await {
        Ok(decoder) => decoder?.finish(),
        Err(_) => Err(Refusal::Slow(BODY_TIME_MAX)),
    }
}

pub(super) fn too_long(what: &str, limit: usize) -> Refusal {
    Refusal::TooLong(format!(
        "{what} is longer than {} MiB; send smaller batches",
        limit >> 20
    ))
}

enum Decoder {
    Plain(Sink),
    Gzip(Box<MultiGzDecoder<Sink>>),
}

impl Decoder {
    fn take(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        let written = match self {
            Decoder::Plain(sink) => sink.write_all(chunk),
            Decoder::Gzip(decoder) => decoder.write_all(chunk),
        };
        written.map_err(|error| self.refusal(&error))
    }

    fn finish(mut self) -> Result<(Vec<u8>, Held), Refusal> {
        if let Decoder::Gzip(decoder) = &mut self
            && let Err(error) = decoder.try_finish()
        {
            return Err(self.refusal(&error));
        }
        let sink = match self {
            Decoder::Plain(sink) => sink,
            Decoder::Gzip(decoder) => match decoder.finish() {
                Ok(sink) => sink,
                Err(error) => return Err(not_gzip(&error)),
            },
        };
        Ok((sink.bytes, sink.held))
    }

    /// What the sink refused, else what is wrong with the compression.
    fn refusal(&mut self, error: &io::Error) -> Refusal {
        let sink = match self {
            Decoder::Plain(sink) => sink,
            Decoder::Gzip(decoder) => decoder.get_mut(),
        };
        sink.refusal.take().unwrap_or_else(|| not_gzip(error))
    }
}

fn not_gzip(error: &io::Error) -> Refusal {
    Refusal::Malformed(format!("the body is not valid gzip: {error}"))
}

/// Takes decompressed bytes, piece by piece, for a small body may expand a thousandfold.
struct Sink {
    bytes: Vec<u8>,
    held: Held,
    refusal: Option<Refusal>,
}

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let length = self.bytes.len() + data.len();
        let room = if length > BODY_BYTES_MAX {
            Err(too_long("the decompressed body", BODY_BYTES_MAX))
        } else {
            self.held.grow_to(2 * length)
        };
        if let Err(refusal) = room {
            self.refusal = Some(refusal);
            return Err(io::Error::other("refused"));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
