//! The bound on what clients of an HTTP server can hold: so many connections at once, each cut off when it stays silent.

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

/// For `axum::serve`.
pub struct BoundedListener {
    inner: TcpListener,
    places: Arc<Semaphore>,
    silence_max: Duration,
}

impl BoundedListener {
    /// At most `connections_max` connections at once, more wait in the operating system's queue; one that sends nothing for
    /// `silence_max` is closed.
    pub fn new(inner: TcpListener, connections_max: usize, silence_max: Duration) -> BoundedListener {
        BoundedListener {
            inner,
            places: Arc::new(Semaphore::new(connections_max)),
            silence_max,
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
        let silence = Box::pin(sleep(self.silence_max));
        (
            Connection {
                stream,
                silence,
                silence_max: self.silence_max,
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
    silence: Pin<Box<Sleep>>,
    silence_max: Duration,
    _place: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(read) => {
                let deadline = Instant::now() + self.silence_max;
                self.silence.as_mut().reset(deadline);
                Poll::Ready(read)
            }
            Poll::Pending => self
                .silence
                .as_mut()
                .poll(context)
                .map(|()| Err(io::Error::new(ErrorKind::TimedOut, "the client is silent"))),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
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
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}
