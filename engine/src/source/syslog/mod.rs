//! Syslog messages (RFC 5424, RFC 3164) over TCP and UDP.
//!
//! The payload is the message's MSG; the header's fields are the attributes `syslog.time`, `syslog.hostname`, `syslog.app_name`,
//! `syslog.procid`, `syslog.msgid`, `syslog.structured_data`, `syslog.severity` (0 to 7) and `syslog.facility` (0 to 23), as the message
//! writes them: a time of RFC 3164 has neither year nor zone.
//!
//! Plain syslog has no answer: what the operating system has taken and the spool not yet is lost when the engine is killed. Over TCP
//! a full spool makes senders wait. Over UDP it cannot: what does not fit is dropped and counted, and what the network or the
//! operating system drops is never seen.

mod frame;
mod parse;

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;

use super::spool::{Block, Refused, Spool};
use frame::{Frame, Framer};

/// Connections at once; more wait in the operating system's queue. Each may hold one message.
const CONNECTIONS_MAX: usize = 512;
/// A sender may be silent for days; one whose machine is gone must give its place back.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Before a full or failing spool is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Read at a time.
const READ_BYTES: usize = 64 << 10;
/// Largest datagram.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// Datagrams written together: what has come while the disk was busy.
const DATAGRAMS_MAX: usize = 1024;
/// Asked of the operating system, which may give less: room for some thousand datagrams while the disk is busy.
const DATAGRAM_BUFFER_BYTES: usize = 8 << 20;
/// How often dropped datagrams are told.
const DROPS_INTERVAL: Duration = Duration::from_secs(10);

/// Listens on what is given until `stopping` says so. For a thread of its own.
pub(super) fn run(
    tcp: Option<TcpListener>,
    udp: Option<UdpSocket>,
    spool: Arc<Spool>,
    source: &Arc<str>,
    stopping: impl Fn() -> bool,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut listening = tokio::task::JoinSet::new();
        if let Some(tcp) = tcp {
            tcp.set_nonblocking(true)?;
            let tcp = tokio::net::TcpListener::from_std(tcp)?;
            listening.spawn(accept(tcp, Arc::clone(&spool)));
        }
        if let Some(udp) = udp {
            // Less room than asked for is still room.
            let _ = SockRef::from(&udp).set_recv_buffer_size(DATAGRAM_BUFFER_BYTES);
            udp.set_nonblocking(true)?;
            let udp = tokio::net::UdpSocket::from_std(udp)?;
            listening.spawn(receive(udp, Arc::clone(&spool), Arc::clone(source)));
        }
        while !stopping() {
            tokio::time::sleep(super::STOP_INTERVAL).await;
        }
        Ok(())
    })
}

async fn accept(listener: tokio::net::TcpListener, spool: Arc<Spool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Ends the connections' tasks with this one.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        // The semaphore is never closed, so a place is always given in the end.
        let place = Arc::clone(&places).acquire_owned().await.ok();
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file handles, or the peer was quicker: neither is helped by haste.
            tokio::time::sleep(RETRY_INTERVAL).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
        let spool = Arc::clone(&spool);
        connections.spawn(async move {
            serve(stream, &spool).await;
            drop(place);
        });
    }
}

/// Reads one connection to its end. Nothing more is read until what was read is on disk, so that a sender is held up by a full spool.
async fn serve(mut stream: tokio::net::TcpStream, spool: &Spool) {
    let mut data = BytesMut::new();
    let mut framer = Framer::default();
    loop {
        data.reserve(READ_BYTES);
        // A broken connection ends like a closed one.
        let at_end = !matches!(stream.read_buf(&mut data).await, Ok(read) if read > 0);
        let mut block = Block::default();
        take(&mut data, &mut framer, at_end, &mut block);
        if !append(spool, block).await || at_end {
            return;
        }
    }
}

/// Takes every whole message from the front of `data`.
fn take(data: &mut BytesMut, framer: &mut Framer, at_end: bool, block: &mut Block) {
    loop {
        match framer.next(data, at_end) {
            Frame::More => return,
            Frame::Skip(next) => data.advance(next),
            Frame::Message {
                begin,
                end,
                next,
                truncated,
            } => {
                push(block, &data[begin..end], truncated);
                data.advance(next);
            }
        }
    }
}

/// What a connection becomes on which `bytes` arrive in pieces of this length.
pub(super) fn connection(bytes: &[u8], piece: usize) -> Block {
    let (mut data, mut framer, mut block) = (BytesMut::new(), Framer::default(), Block::default());
    for piece in bytes.chunks(piece.max(1)) {
        data.extend_from_slice(piece);
        take(&mut data, &mut framer, false, &mut block);
    }
    take(&mut data, &mut framer, true, &mut block);
    block
}

/// Waits until the spool has taken the block; false when it never will.
async fn append(spool: &Spool, block: Block) -> bool {
    let block = Arc::new(block);
    loop {
        match spool.append(Arc::clone(&block)).await {
            Ok(()) => return true,
            Err(Refused::Stopping) => return false,
            Err(Refused::Full | Refused::Disk(_)) => tokio::time::sleep(RETRY_INTERVAL).await,
        }
    }
}

async fn receive(socket: tokio::net::UdpSocket, spool: Arc<Spool>, source: Arc<str>) {
    let dropped = AtomicU64::new(0);
    let reading = async {
        let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let Ok(length) = socket.recv(&mut datagram).await else {
                tokio::time::sleep(RETRY_INTERVAL).await;
                continue;
            };
            let mut block = Block::default();
            push_datagram(&mut block, &datagram[..length]);
            while block.records() < DATAGRAMS_MAX as u64
                && let Ok(length) = socket.try_recv(&mut datagram)
            {
                push_datagram(&mut block, &datagram[..length]);
            }
            let records = block.records();
            if spool.append(Arc::new(block)).await.is_err() {
                dropped.fetch_add(records, Ordering::Relaxed);
            }
        }
    };
    let telling = async {
        loop {
            tokio::time::sleep(DROPS_INTERVAL).await;
            let count = dropped.swap(0, Ordering::Relaxed);
            if count > 0 {
                tracing::warn!(%source, count, "syslog datagrams were dropped: the spool did not take them");
            }
        }
    };
    tokio::join!(reading, telling);
}

/// A datagram is one message, whatever it ends with.
fn push_datagram(block: &mut Block, datagram: &[u8]) {
    let end = datagram.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r' | 0));
    if let Some(end) = end {
        push(block, &datagram[..=end], false);
    }
}

fn push(block: &mut Block, message: &[u8], truncated: bool) {
    let message = parse::parse(message);
    let names: Vec<String> = message
        .header
        .iter()
        .map(|(name, _)| format!("syslog.{name}"))
        .collect();
    let values = message.header.iter().map(|(_, value)| *value);
    let attributes: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(values).collect();
    block.push(message.text, &attributes, truncated);
}

#[cfg(test)]
mod tests;
