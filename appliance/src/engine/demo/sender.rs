//! The demo's client: it sends one mail as a well-behaved program does, over TLS that it verifies, with the envelope in
//! one segment.

use std::net::SocketAddr;
use std::time::Duration;

use delivery::Stream;
use record::TlsFacts;
use smtp::Reply;
use smtp::dialogue::{Dialogue, OutOfStep, Sent};
use tls::Connector;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For one answer. All of it happens on one machine; this is for a machine that is busy compiling.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a mail could not even be tried.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The gate closed.
    #[error("the gate closed the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    /// Replies that answer nothing.
    #[error("{0}")]
    OutOfStep(#[from] OutOfStep),
    /// No answer.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent(#[from] tokio::time::error::Elapsed),
    /// The handshake failed.
    #[error("TLS failed: {0}")]
    Tls(#[from] tls::TlsError),
    /// Another answer than such a command gets.
    #[error("the gate said: {0}")]
    Unexpected(Reply),
}

/// A session with the gate.
pub(super) struct Sender {
    stream: Stream,
    dialogue: Dialogue,
    tls: Option<TlsFacts>,
}

impl Sender {
    /// As far as the reply to EHLO.
    pub(super) async fn connect(gate: SocketAddr, helo: &str) -> Result<Self, SendError> {
        let stream = timeout(PATIENCE, TcpStream::connect(gate)).await??;
        let mut sender = Self { stream: Box::new(stream), dialogue: Dialogue::new(), tls: None };
        let greeting = sender.answer().await?;
        if !greeting.code().is_positive() {
            return Err(SendError::Unexpected(greeting));
        }
        sender.hello(helo).await?;
        Ok(sender)
    }

    /// STARTTLS, and EHLO again.
    pub(super) async fn encrypt(
        mut self,
        connector: &Connector,
        gate_name: &str,
        helo: &str,
    ) -> Result<Self, SendError> {
        let ready = self.ask(Sent::StartTls, b"STARTTLS\r\n").await?;
        if !ready.code().is_positive() {
            return Err(SendError::Unexpected(ready));
        }
        let (stream, facts, _) = timeout(PATIENCE, connector.connect(self.stream, gate_name)).await??;
        let mut sender = Self { stream: Box::new(stream), tls: Some(facts), ..self };
        sender.hello(helo).await?;
        Ok(sender)
    }

    /// What was agreed on, if TLS is on.
    pub(super) fn tls(&self) -> Option<&TlsFacts> {
        self.tls.as_ref()
    }

    /// Writes all commands at once, then reads a reply for each.
    pub(super) async fn pipeline(&mut self, commands: &[(Sent, Vec<u8>)]) -> Result<Vec<Reply>, SendError> {
        let mut out = Vec::new();
        for (sent, bytes) in commands {
            self.dialogue.sent(*sent);
            out.extend_from_slice(bytes);
        }
        timeout(PATIENCE, self.stream.write_all(&out)).await??;
        timeout(PATIENCE, self.stream.flush()).await??;
        self.answers(commands.len()).await
    }

    /// One command, or something that gets one reply.
    pub(super) async fn ask(&mut self, sent: Sent, bytes: &[u8]) -> Result<Reply, SendError> {
        self.dialogue.sent(sent);
        timeout(PATIENCE, self.stream.write_all(bytes)).await??;
        timeout(PATIENCE, self.stream.flush()).await??;
        self.answer().await
    }

    async fn hello(&mut self, helo: &str) -> Result<(), SendError> {
        let hello = self.ask(Sent::Ehlo, format!("EHLO {helo}\r\n").as_bytes()).await?;
        if hello.code().is_positive() { Ok(()) } else { Err(SendError::Unexpected(hello)) }
    }

    async fn answer(&mut self) -> Result<Reply, SendError> {
        self.answers(1).await?.pop().ok_or(SendError::Closed)
    }

    async fn answers(&mut self, count: usize) -> Result<Vec<Reply>, SendError> {
        let mut replies = Vec::with_capacity(count);
        let mut buffer = [0; 4096];
        while replies.len() < count {
            let length = timeout(PATIENCE, self.stream.read(&mut buffer)).await??;
            if length == 0 {
                return Err(SendError::Closed);
            }
            let mut input = &buffer[..length];
            while let Some((_, reply)) = self.dialogue.read(&mut input)? {
                replies.push(reply);
            }
        }
        Ok(replies)
    }
}
