//! The connection below what a mail server says.
//!
//! Invariants: one read gives one line at most, so nobody who reads an answer holds bytes of what follows it. What is
//! slipped in before encryption begins is therefore taken for a part of the handshake, which fails by it, and not for an
//! answer that came encrypted. Between two writes only so much is read.
//! How it fails: a server that talks without end is left with an error.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// What is read between two writes: the longest answer, or the certificates of a handshake, several times over.
const MOST: usize = 32 * 1024;
const CHUNK: usize = 4 * 1024;

pub(super) struct Wire {
    stream: TcpStream,
    /// What came and was not read yet, from `at` on.
    held: Vec<u8>,
    at: usize,
    /// Since the last write.
    read: usize,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wire").field(&self.stream).finish()
    }
}

impl Wire {
    /// Tries the addresses of a host one after the other, each for a while.
    pub async fn connect(host: &str, port: u16, each: Duration) -> io::Result<Self> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in lookup_host((host, port)).await? {
            match timeout(each, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(Self::new(stream)),
                Ok(Err(error)) => failure = error,
                Err(_) => {
                    failure = io::Error::new(io::ErrorKind::TimedOut, format!("{address} did not answer"))
                }
            }
        }
        Err(failure)
    }

    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            held: Vec::new(),
            at: 0,
            read: 0,
        }
    }

    fn fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.held.resize(CHUNK, 0);
        self.at = 0;
        let mut chunk = ReadBuf::new(&mut self.held);
        let outcome = Pin::new(&mut self.stream).poll_read(context, &mut chunk);
        let count = chunk.filled().len();
        self.held.truncate(count);
        ready!(outcome)?;
        self.read += count;
        match self.read > MOST {
            true => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the server talks without end",
            ))),
            false => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.at == self.held.len() {
            ready!(self.fill(context))?;
        }
        let held = &self.held[self.at..];
        let line = held.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
        let count = line.unwrap_or(held.len()).min(to.remaining());
        to.put_slice(&held[..count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.read = 0;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
