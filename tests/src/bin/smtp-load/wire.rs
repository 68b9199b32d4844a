//! A blocking connection, plain or encrypted, read by lines and pieces.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use memchr::memchr;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection, StreamOwned};

use crate::endpoints;

/// Whatever takes longer than this, of one read or write, has gone wrong.
const DEADLINE: Duration = Duration::from_secs(60);
/// The longest line, in octets (RFC 5321 §4.5.3.1.5, with room for extensions).
const MAX_LINE: usize = 4096;
/// One read, in octets.
const PIECE: usize = 64 * 1024;

enum Stream {
    Plain(TcpStream),
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
    Server(Box<StreamOwned<ServerConnection, TcpStream>>),
}

/// The connection and what was read ahead.
pub(crate) struct Wire {
    /// `None` once a handshake has failed.
    stream: Option<Stream>,
    ahead: Vec<u8>,
    /// What of `ahead` was used.
    used: usize,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Self { stream: Some(Stream::Plain(stream)), ahead: Vec::new(), used: 0 })
    }

    /// What was read and not used.
    pub(crate) fn ahead(&self) -> &[u8] {
        self.ahead.get(self.used..).unwrap_or_default()
    }

    /// Takes `count` octets of what was read.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        let taken = self.ahead().get(..count).unwrap_or_else(|| self.ahead()).to_vec();
        self.used += taken.len();
        taken
    }

    /// Reads a piece more; `false` at the end of the stream.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        self.ahead.drain(..self.used);
        self.used = 0;
        let before = self.ahead.len();
        self.ahead.resize(before + PIECE, 0);
        let count = self.read_into(before);
        self.ahead.truncate(before + count.as_ref().unwrap_or(&0));
        Ok(count? > 0)
    }

    fn read_into(&mut self, from: usize) -> io::Result<usize> {
        let room = self.ahead.get_mut(from..).unwrap_or_default();
        match self.stream.as_mut() {
            Some(Stream::Plain(stream)) => stream.read(room),
            Some(Stream::Client(stream)) => stream.read(room),
            Some(Stream::Server(stream)) => stream.read(room),
            None => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// A line without its CRLF; `None` if the peer closed before one began.
    pub(crate) fn line(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(end) = memchr(b'\n', self.ahead()) {
                let line = self.take(end + 1);
                let line = line.strip_suffix(b"\r\n").context("a line without CR")?;
                return Ok(Some(String::from_utf8(line.to_vec())?));
            }
            ensure!(self.ahead().len() < MAX_LINE, "a line without end");
            if !self.fill()? {
                ensure!(self.ahead().is_empty(), "closed within a line");
                return Ok(None);
            }
        }
    }

    pub(crate) fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        match self.stream.as_mut() {
            Some(Stream::Plain(stream)) => stream.write_all(octets),
            Some(Stream::Client(stream)) => stream.write_all(octets).and_then(|()| stream.flush()),
            Some(Stream::Server(stream)) => stream.write_all(octets).and_then(|()| stream.flush()),
            None => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Takes the client's part in a handshake.
    pub(crate) fn begin_as_client(&mut self, config: &Arc<ClientConfig>) -> Result<HandshakeKind> {
        let mut socket = self.plain()?;
        let mut connection = ClientConnection::new(Arc::clone(config), endpoints::name()?)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        let kind = connection.handshake_kind().context("no handshake")?;
        self.stream = Some(Stream::Client(Box::new(StreamOwned::new(connection, socket))));
        Ok(kind)
    }

    /// Takes the server's part in a handshake.
    pub(crate) fn begin_as_server(&mut self, config: &Arc<ServerConfig>) -> Result<HandshakeKind> {
        let mut socket = self.plain()?;
        let mut connection = ServerConnection::new(Arc::clone(config))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        let kind = connection.handshake_kind().context("no handshake")?;
        self.stream = Some(Stream::Server(Box::new(StreamOwned::new(connection, socket))));
        Ok(kind)
    }

    /// The socket, if nothing was read ahead of the handshake: that would be an injection.
    fn plain(&mut self) -> Result<TcpStream> {
        ensure!(self.ahead().is_empty(), "octets before the handshake");
        match self.stream.take() {
            Some(Stream::Plain(socket)) => Ok(socket),
            _ => bail!("TLS within TLS"),
        }
    }

    /// An orderly end of TLS, as far as the peer still listens.
    pub(crate) fn close(mut self) {
        match self.stream.as_mut() {
            Some(Stream::Client(stream)) => stream.conn.send_close_notify(),
            Some(Stream::Server(stream)) => stream.conn.send_close_notify(),
            _ => return,
        }
        let _ = self.write(b"");
    }
}
