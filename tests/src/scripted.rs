//! Peers that do what a script says, byte by byte: for everything that no real server or client does on cue.
//!
//! A script is a list of [`Step`]s. [`Server`] runs one script per connection, [`Client`] runs one over a connection that
//! it opens. Both keep a transcript of every byte they got, which is what a test looks at.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};

pub mod client;
pub mod server;

pub use client::Client;
pub use server::{Outcome, Server};

/// A step that waits for bytes gives up after this, so that no test hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// No script waits for more than this in one step, in bytes: a peer that never ends its line is a fault of its own.
const MOST: usize = 256 << 20;

/// One thing a scripted peer does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Read a line and insist that it begins with this, in any case of letters.
    Expect(&'static str),
    /// Read a line, whatever it is.
    AnyLine,
    /// Read until a line with a single dot.
    Message,
    /// Read this many bytes, as after BDAT.
    Octets(usize),
    /// Read until the other side closes.
    UntilClosed,
    /// Write these bytes in one piece.
    Say(Vec<u8>),
    /// Write each of these pieces by itself, waiting in between.
    Pieces(Vec<Vec<u8>>, Duration),
    /// Do nothing for a while.
    Wait(Duration),
    /// Insist that nothing comes for a while.
    Silence(Duration),
    /// Begin TLS; what was read beyond the last line counts as part of the handshake. The server wants its
    /// [`Tls::Server`] for that, the client its [`Tls::Client`].
    Tls,
    /// Close the sending direction only.
    ShutdownWrite,
    /// Close with a reset instead of an orderly end.
    Reset,
    /// Answer commands by this table until QUIT or the end of the connection.
    Converse(Personality),
}

/// [`Step::Say`] of text.
pub fn say(text: &str) -> Step {
    Step::Say(text.as_bytes().to_vec())
}

/// [`Step::Pieces`] of one byte each.
pub fn say_bytewise(text: &str, pause: Duration) -> Step {
    Step::Pieces(text.bytes().map(|byte| vec![byte]).collect(), pause)
}

/// How a server answers when no script says more exactly. Replies end in CRLF and may have several lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Personality {
    /// What it is called in a failing test.
    pub name: &'static str,
    /// Its greeting.
    pub greeting: &'static str,
    /// Its answer to EHLO before TLS.
    pub ehlo: &'static str,
    /// Its answer to EHLO after STARTTLS.
    pub ehlo_tls: &'static str,
    /// Its answer to HELO.
    pub helo: &'static str,
    /// Answers by the beginning of the command, upper case, the first that fits. What fits none gets `unknown`.
    pub answers: &'static [(&'static str, &'static str)],
    /// Its answer to what it does not know.
    pub unknown: &'static str,
    /// Its answer to the final dot and to the last chunk.
    pub accepted: &'static str,
    /// How long it thinks before it answers the final dot.
    pub thinks: Duration,
    /// How long it stays when nothing comes, and what it says then.
    pub idle: (Duration, &'static str),
}

/// What a peer needs to begin TLS.
#[derive(Clone, Debug)]
pub enum Tls {
    /// As the server.
    Server(Arc<ServerConfig>),
    /// As the client, with the name it asks for.
    Client(Arc<ClientConfig>, String),
}

enum Stream {
    Plain(TcpStream),
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
    Server(Box<StreamOwned<ServerConnection, TcpStream>>),
    /// Only while one becomes the other.
    Gone,
}

/// A connection with what was read ahead and all that was ever read.
pub(crate) struct Wire {
    stream: Stream,
    ahead: Vec<u8>,
    pub(crate) transcript: Vec<u8>,
    pub(crate) secured: bool,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: Stream::Plain(stream), ahead: Vec::new(), transcript: Vec::new(), secured: false })
    }

    fn socket(&self) -> io::Result<&TcpStream> {
        match &self.stream {
            Stream::Plain(stream) => Ok(stream),
            Stream::Client(stream) => Ok(&stream.sock),
            Stream::Server(stream) => Ok(&stream.sock),
            Stream::Gone => Err(ErrorKind::NotConnected.into()),
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Client(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Stream::Server(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Stream::Gone => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Reads what is there, waiting at most `limit`; `false` at the end of the stream.
    pub(crate) fn fill(&mut self, limit: Duration) -> io::Result<bool> {
        self.socket()?.set_read_timeout(Some(limit.max(Duration::from_millis(1))))?;
        let mut buffer = [0; 16 * 1024];
        let count = match &mut self.stream {
            Stream::Plain(stream) => stream.read(&mut buffer),
            Stream::Client(stream) => stream.read(&mut buffer),
            Stream::Server(stream) => stream.read(&mut buffer),
            Stream::Gone => Err(ErrorKind::NotConnected.into()),
        }?;
        let piece = buffer.get(..count).unwrap_or_default();
        self.ahead.extend_from_slice(piece);
        self.transcript.extend_from_slice(piece);
        Ok(count > 0)
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        self.ahead.drain(..count.min(self.ahead.len())).collect()
    }

    /// Reads until `end` tells how many bytes are meant.
    fn read_until(&mut self, limit: Duration, end: impl Fn(&[u8]) -> Option<usize>) -> io::Result<Vec<u8>> {
        loop {
            if let Some(count) = end(&self.ahead) {
                return Ok(self.take(count));
            }
            if self.ahead.len() > MOST {
                return Err(io::Error::other("more than any script waits for"));
            }
            if !self.fill(limit)? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// A line with its end.
    pub(crate) fn read_line(&mut self, limit: Duration) -> io::Result<Vec<u8>> {
        self.read_until(limit, |ahead| ahead.iter().position(|&byte| byte == b'\n').map(|at| at + 1))
    }

    /// A message with its final dot.
    pub(crate) fn read_message(&mut self, limit: Duration) -> io::Result<Vec<u8>> {
        let mut message = Vec::new();
        loop {
            let line = self.read_line(limit)?;
            message.extend_from_slice(&line);
            if line == b".\r\n" {
                return Ok(message);
            }
        }
    }

    pub(crate) fn read_octets(&mut self, count: usize, limit: Duration) -> io::Result<Vec<u8>> {
        self.read_until(limit, |ahead| (ahead.len() >= count).then_some(count))
    }

    pub(crate) fn begin_tls(&mut self, tls: &Tls) -> io::Result<()> {
        let Stream::Plain(socket) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            return Err(io::Error::other("TLS within TLS"));
        };
        socket.set_read_timeout(Some(PATIENCE))?;
        let ahead = self.take(usize::MAX);
        self.stream = match tls {
            Tls::Server(config) => {
                let mut connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
                connection.read_tls(&mut &ahead[..])?;
                connection.process_new_packets().map_err(io::Error::other)?;
                Stream::Server(Box::new(StreamOwned::new(connection, socket)))
            }
            Tls::Client(config, name) => {
                let name = rustls_pki_types::ServerName::try_from(name.clone()).map_err(io::Error::other)?;
                let mut connection =
                    ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
                connection.read_tls(&mut &ahead[..])?;
                connection.process_new_packets().map_err(io::Error::other)?;
                Stream::Client(Box::new(StreamOwned::new(connection, socket)))
            }
        };
        self.secured = true;
        match &mut self.stream {
            Stream::Server(stream) => stream.conn.complete_io(&mut stream.sock).map(drop),
            Stream::Client(stream) => stream.conn.complete_io(&mut stream.sock).map(drop),
            Stream::Plain(_) | Stream::Gone => Ok(()),
        }
    }

    /// Does one step; the error says in words what went otherwise than the script.
    pub(crate) fn step(&mut self, step: &Step, tls: Option<&Tls>) -> io::Result<()> {
        match step {
            Step::Expect(beginning) => {
                let line = self.read_line(PATIENCE)?;
                let fits = line
                    .get(..beginning.len())
                    .is_some_and(|got| got.eq_ignore_ascii_case(beginning.as_bytes()));
                let got = String::from_utf8_lossy(&line);
                if fits {
                    Ok(())
                } else {
                    Err(io::Error::other(format!("wanted {beginning:?}, got {got:?}")))
                }
            }
            Step::AnyLine => self.read_line(PATIENCE).map(drop),
            Step::Message => self.read_message(PATIENCE).map(drop),
            Step::Octets(count) => self.read_octets(*count, PATIENCE).map(drop),
            Step::UntilClosed => self.until_closed(),
            Step::Say(bytes) => self.write(bytes),
            Step::Pieces(pieces, pause) => pieces.iter().try_for_each(|piece| {
                self.write(piece)?;
                thread::sleep(*pause);
                Ok(())
            }),
            Step::Wait(time) => {
                thread::sleep(*time);
                Ok(())
            }
            Step::Silence(time) => self.silence(*time),
            Step::Tls => {
                self.begin_tls(tls.ok_or_else(|| io::Error::other("a script with TLS and no configuration"))?)
            }
            Step::ShutdownWrite => self.socket()?.shutdown(Shutdown::Write),
            Step::Reset => self.reset(),
            Step::Converse(personality) => server::converse(self, personality, tls),
        }
    }

    fn until_closed(&mut self) -> io::Result<()> {
        while self.fill(PATIENCE)? {
            self.ahead.clear();
        }
        Ok(())
    }

    fn silence(&mut self, time: Duration) -> io::Result<()> {
        match self.fill(time) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
            Err(error) => Err(error),
            Ok(false) => Err(io::Error::other("closed instead of silent")),
            Ok(true) => {
                let got = String::from_utf8_lossy(&self.ahead);
                Err(io::Error::other(format!("wanted silence, got {got:?}")))
            }
        }
    }

    fn reset(&mut self) -> io::Result<()> {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        nix::sys::socket::setsockopt(self.socket()?, nix::sys::socket::sockopt::Linger, &linger)?;
        // Closing the last handle is what sends the reset.
        self.stream = Stream::Gone;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
