//! One connection and what waits to be written to it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use delivery::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(super) struct Wire {
    stream: Stream,
    out: Vec<u8>,
    written: usize,
    /// Something was written that the stream may still hold.
    dirty: bool,
    /// Content to be fetched once all is written.
    pub(super) fetch: Option<(u64, usize)>,
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, out: Vec::new(), written: 0, dirty: false, fetch: None }
    }

    pub(super) fn push(&mut self, bytes: Vec<u8>) {
        if self.out.is_empty() {
            self.out = bytes;
        } else {
            self.out.extend_from_slice(&bytes);
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.out.len() - self.written
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.out.is_empty() && !self.dirty
    }

    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let rest = &self.out[self.written..];
            let length = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += length;
            self.dirty = true;
        }
        // The buffer goes back: an idle connection has none.
        self.out = Vec::new();
        self.written = 0;
        if self.dirty {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }

    /// The stream alone, if nothing waits to be written.
    pub(super) fn into_stream(self) -> Option<Stream> {
        self.is_flushed().then_some(self.stream)
    }

    /// QUIT, if the socket takes it at once; nobody waits for the answer.
    pub(super) fn say_goodbye(mut self) {
        self.push(b"QUIT\r\n".to_vec());
        let _ = self.poll_flush(&mut Context::from_waker(Waker::noop()));
        self.shut();
    }

    /// Tells the other side that nothing more comes, as far as that goes without waiting.
    pub(super) fn shut(mut self) {
        let _ = Pin::new(&mut self.stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    }
}
