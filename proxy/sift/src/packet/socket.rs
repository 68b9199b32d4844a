//! One socket of a pair within a tokio runtime.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as Blocking;

use tokio::io::Interest;
use tokio::net::UnixStream;

use super::Packet;

/// A socket that can be waited for. Tokio knows no SOCK_SEQPACKET; only readiness is asked of it here, never bytes.
#[derive(Debug)]
pub struct Socket(UnixStream);

impl Socket {
    /// Takes over one end of a [`super::pair`]; must be called within a runtime.
    ///
    /// # Errors
    ///
    /// It cannot be watched; the kernel says why.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = Blocking::from(socket);
        socket.set_nonblocking(true)?;
        UnixStream::from_std(socket).map(Self)
    }

    /// As [`super::send`], once there is room.
    ///
    /// # Errors
    ///
    /// As [`super::send`], but for `WouldBlock`.
    pub async fn send(&self, record: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.0.async_io(Interest::WRITABLE, || super::send(&self.0, record, descriptors)).await
    }

    /// As [`super::send`], now or not at all.
    ///
    /// # Errors
    ///
    /// As [`super::send`].
    pub fn try_send(&self, record: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        // Not through tokio: a fresh socket counts as not ready until its first turn of the loop.
        super::send(&self.0, record, descriptors)
    }

    /// As [`super::receive`], once there is something. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// As [`super::receive`], but for `WouldBlock`.
    pub async fn receive(&self, buffer: &mut [u8], most: usize) -> io::Result<Packet> {
        self.0.async_io(Interest::READABLE, || super::receive(&self.0, buffer, most)).await
    }
}
