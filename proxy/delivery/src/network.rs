//! How a connection comes about: over TCP, or in a simulation through memory.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use intercept::{ConnectError, Source};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

/// Bytes in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, plain or encrypted, real or simulated.
pub type Stream = Box<dyn Io>;

/// What [`Network::connect`] returns.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send + 'a>>;

/// Opens connections.
pub trait Network: Send + Sync + 'static {
    /// To `target` from `source`, until `deadline` at most.
    fn connect(&self, target: SocketAddr, source: Source, deadline: Instant) -> Connecting<'_>;
}

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp {
    /// Set on every packet, so that the firewall leaves Postern's own connections alone.
    pub mark: Option<u32>,
}

impl Network for Tcp {
    fn connect(&self, target: SocketAddr, source: Source, deadline: Instant) -> Connecting<'_> {
        Box::pin(async move {
            let stream = intercept::connect(target, source, self.mark, deadline).await?;
            Ok(Box::new(stream) as Stream)
        })
    }
}
