//! The bound on what clients of an HTTP server can hold: so many connections at once, each cut off when it stays silent, or takes
//! too long to say what it wants.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// A request's head has to arrive whole within this time of the connection, or of its first byte. It fits into a few packets; one that
/// comes byte by byte would hold a place for ever.
pub const HEAD_MAX: Duration = Duration::from_secs(10);

/// For `axum::serve`.
pub struct BoundedListener {
    inner: TcpListener,
    places: Arc<Semaphore>,
    patience: Patience,
}

/// How long a client may take.
#[derive(Clone, Copy)]
pub struct Patience {
    /// Without a byte, after an answer or within a body.
    pub silence: Duration,
    /// For a request's head: [`HEAD_MAX`].
    pub head: Duration,
}

impl BoundedListener {
    /// At most `connections_max` connections at once, more wait in the operating system's queue; one that outlasts the patience is
    /// closed.
    pub fn new(inner: TcpListener, connections_max: usize, patience: Patience) -> BoundedListener {
        BoundedListener {
            inner,
            places: Arc::new(Semaphore::new(connections_max)),
            patience,
        }
    }
}

impl axum::serve::Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed, so a place is always given in the end.
        let place = self.places.clone().acquire_owned().await.ok();
        // axum's own accept waits and tries again when the process is out of file handles.
        let (stream, address) = axum::serve::Listener::accept(&mut self.inner).await;
        (
            Connection {
                stream,
                deadline: Box::pin(sleep(self.patience.head)),
                patience: self.patience,
                turn: Turn::Head(Head::default()),
                _place: place,
            },
            address,
        )
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// An accepted connection, which gives its place back when it is dropped.
pub struct Connection {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    patience: Patience,
    turn: Turn,
    _place: Option<OwnedSemaphorePermit>,
}

/// What is expected of the client next.
enum Turn {
    /// Nothing: it was answered, and may keep the connection for another request.
    Idle,
    Head(Head),
    Body,
}

/// How far a request's head has come: it ends with an empty line, and empty lines before it do not count.
#[derive(Default)]
struct Head {
    has_begun: bool,
    line_has_begun: bool,
}

impl Head {
    /// Whether the head ends within these bytes.
    fn ends_in(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            match byte {
                b'\n' if self.has_begun && !self.line_has_begun => return true,
                b'\n' => self.line_has_begun = false,
                b'\r' => {}
                _ => (self.has_begun, self.line_has_begun) = (true, true),
            }
        }
        false
    }
}

impl Connection {
    /// The client sent bytes. While its head is under way they do not buy it more time.
    fn heard(&mut self, bytes: &[u8]) {
        if let Turn::Idle = self.turn {
            self.turn = Turn::Head(Head::default());
            self.allow(self.patience.head);
        }
        if let Turn::Head(head) = &mut self.turn
            && head.ends_in(bytes)
        {
            self.turn = Turn::Body;
        }
        if let Turn::Body = self.turn {
            self.allow(self.patience.silence);
        }
    }

    /// It was answered, unless it was only told to go on with its body.
    fn answered(&mut self, begin: &[u8]) {
        if !begin.starts_with(b"HTTP/1.1 100 ") {
            self.turn = Turn::Idle;
            self.allow(self.patience.silence);
        }
    }

    fn allow(&mut self, time: Duration) {
        self.deadline.as_mut().reset(Instant::now() + time);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(read) => {
                let bytes = buffer.filled().get(before..).unwrap_or_default();
                if !bytes.is_empty() {
                    self.heard(bytes);
                }
                Poll::Ready(read)
            }
            Poll::Pending => self
                .deadline
                .as_mut()
                .poll(context)
                .map(|()| Err(io::Error::new(ErrorKind::TimedOut, "the client is silent or too slow"))),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(1..)) = written {
            self.answered(bytes);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(1..)) = written {
            self.answered(slices.iter().find(|slice| !slice.is_empty()).map_or(&[], |slice| slice));
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_with_an_empty_line_that_is_not_its_first() {
        let ends = |pieces: &[&str]| {
            let mut head = Head::default();
            pieces.iter().position(|piece| head.ends_in(piece.as_bytes()))
        };
        assert_eq!(ends(&["GET / HTTP/1.1\r\nHost: x\r\n\r\n"]), Some(0));
        assert_eq!(ends(&["GET / HTTP/1.1\n", "\n"]), Some(1));
        assert_eq!(ends(&["GET / HTTP/1.1\r", "\n", "a: b\r\n\r", "\nbody"]), Some(3));
        assert_eq!(ends(&["\r\n\r\n", "\n\nGET / HTTP/1.1\r\n", "a: b\r\n"]), None);
    }
}
