//! One connection to clamd, in a session of its own (IDSESSION), so that it serves one message after the other.

use std::io;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use super::answer::{Answer, MAX_ANSWER};
use super::octets::Octets;
use crate::error::EvidenceError;

/// Where clamd listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `LocalSocket`
    Unix(PathBuf),
    /// `TCPAddr` and `TCPSocket`; a name is looked up for each connection.
    Tcp(Box<str>, u16),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(host, port) => write!(f, "tcp:{host}:{port}"),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection on which nothing is under way.
pub(super) struct Link {
    stream: Box<dyn Stream>,
    /// When it was last used.
    pub(super) since: Instant,
}

/// Why a scan over a connection came to nothing.
pub(super) enum Failed {
    /// The connection; another one may serve.
    Link(io::Error),
    /// Whatever connection it is.
    Here(EvidenceError),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Link(error)
    }
}

impl Link {
    pub(super) async fn open(address: &Address) -> io::Result<Self> {
        let mut stream: Box<dyn Stream> = match address {
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Address::Tcp(host, port) => {
                let stream = TcpStream::connect((&**host, *port)).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        };
        stream.write_all(b"zIDSESSION\0").await?;
        Ok(Self { stream, since: Instant::now() })
    }

    /// Sends a message and waits for what is said of it. What fails leaves a connection that is out of step: it is to be dropped.
    pub(super) async fn scan(&mut self, octets: &Octets) -> Result<Answer, Failed> {
        let sent = self.send(octets).await;
        let answered = match &sent {
            // Who has enough of it says so and closes, while more is under way.
            Ok(()) | Err(Failed::Link(_)) => self.answer().await,
            Err(Failed::Here(_)) => Err(io::ErrorKind::InvalidInput.into()),
        };
        self.since = Instant::now();
        match (sent, answered) {
            (Ok(()), Ok(answer)) => Ok(answer),
            (Err(Failed::Link(_)), Ok(answer @ Answer::TooLarge)) => Ok(answer),
            (Err(failed), _) => Err(failed),
            (_, Err(error)) => Err(error.into()),
        }
    }

    async fn send(&mut self, octets: &Octets) -> Result<(), Failed> {
        self.stream.write_all(b"zINSTREAM\0").await?;
        let mut at = 0;
        loop {
            let piece =
                octets.piece(at).await.map_err(|error| Failed::Here(EvidenceError::Content(error)))?;
            let length = u32::try_from(piece.len()).map_err(io::Error::other)?;
            self.stream.write_all(&length.to_be_bytes()).await?;
            if piece.is_empty() {
                self.stream.flush().await?;
                return Ok(());
            }
            self.stream.write_all(&piece).await?;
            at += u64::from(length);
        }
    }

    /// Octets up to a NUL.
    async fn answer(&mut self) -> io::Result<Answer> {
        let mut buffer = [0; MAX_ANSWER];
        let mut filled = 0;
        while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
            let read = self.stream.read(room).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += read;
            let answer = buffer.get(..filled).unwrap_or_default();
            if let Some(end) = memchr::memchr(0, answer) {
                // Nothing else was asked: more than one answer is out of step.
                return match end + 1 == filled {
                    true => Ok(Answer::read(answer.get(..end).unwrap_or_default())),
                    false => Err(io::Error::other("it answers more than it was asked")),
                };
            }
        }
        Err(io::Error::other("its answer does not end"))
    }
}
