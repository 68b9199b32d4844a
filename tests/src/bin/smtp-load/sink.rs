//! The sink: takes all mail that comes over TLS, verifies it and counts.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use memchr::memmem;
use rustls::{HandshakeKind, ServerConfig};
use serde_json::{Value, json};

use crate::endpoints;
use crate::message;
use crate::wire::Wire;

/// More than this at a time are not served.
const MAX_CONNECTIONS: usize = 1000;
/// No message is larger, in octets.
const MAX_MESSAGE: usize = 1 << 30;
/// How a PROXY header of version 2 begins.
const PROXY_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What the sink is like.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Offer CHUNKING.
    #[arg(long)]
    pub(crate) chunking: bool,
    /// Each connection begins with a PROXY header of version 2, which makes it one client's own.
    #[arg(long)]
    pub(crate) proxy: bool,
}

/// What came in since the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Messages that arrived as they were sent, each counted once.
    pub(crate) messages: u64,
    /// Messages that did not.
    pub(crate) damaged: u64,
    /// Messages that had come before.
    pub(crate) repeated: u64,
    /// Octets of all messages, with what was added on the way.
    pub(crate) octets: u64,
    /// Full handshakes.
    pub(crate) full: u64,
    /// Resumed ones.
    pub(crate) resumed: u64,
    /// Sessions that ended otherwise than by QUIT or an orderly close, with the last one's reason.
    pub(crate) broken: u64,
    reason: String,
    seen: HashSet<u64>,
}

impl Counts {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "messages": self.messages, "damaged": self.damaged, "repeated": self.repeated, "octets": self.octets,
            "full": self.full, "resumed": self.resumed, "broken": self.broken, "reason": self.reason,
        })
    }

    fn take(&mut self, message: &[u8]) {
        self.octets += message.len() as u64;
        match message::verify(message) {
            None => self.damaged += 1,
            Some(id) if self.seen.insert(id) => self.messages += 1,
            Some(_) => self.repeated += 1,
        }
    }
}

/// A sink at work, until the process ends.
pub(crate) struct Sink {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    tls: Arc<ServerConfig>,
    counts: Mutex<Counts>,
    connections: AtomicUsize,
}

impl Sink {
    /// Serves `listener` from threads of its own.
    ///
    /// # Errors
    ///
    /// No certificate could be made.
    pub(crate) fn start(listener: TcpListener, options: Options) -> Result<Self> {
        let shared = Arc::new(Shared {
            options,
            tls: endpoints::server()?,
            counts: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serving.accept(stream);
            }
        });
        Ok(Self { shared })
    }

    /// What came in so far.
    pub(crate) fn counts(&self) -> Counts {
        self.shared.counts().clone()
    }
}

impl Shared {
    /// Counts are whole at any time.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, stream: TcpStream) {
        if self.connections.load(Ordering::Relaxed) >= MAX_CONNECTIONS {
            return;
        }
        self.connections.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(self);
        thread::spawn(move || {
            if let Err(error) = shared.serve(stream).or_else(gone) {
                let mut counts = shared.counts();
                counts.broken += 1;
                counts.reason = format!("{error:#}");
            }
            shared.connections.fetch_sub(1, Ordering::Relaxed);
        });
    }

    fn serve(&self, stream: TcpStream) -> Result<()> {
        let mut wire = Wire::new(stream)?;
        if self.options.proxy {
            take_proxy_header(&mut wire)?;
        }
        wire.write(b"220 sink.test ESMTP\r\n")?;
        Session { shared: self, wire, encrypted: false, chunks: Vec::new(), replies: String::new() }
            .converse()
    }
}

/// A pooled connection that has waited too long is closed without a word, by either side.
fn gone(error: anyhow::Error) -> Result<()> {
    match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
        Some(ErrorKind::UnexpectedEof | ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
        _ => Err(error),
    }
}

fn take_proxy_header(wire: &mut Wire) -> Result<()> {
    while wire.ahead().len() < 16 {
        ensure!(wire.fill()?, "closed within the PROXY header");
    }
    let header = wire.take(16);
    ensure!(header.starts_with(PROXY_SIGNATURE), "no PROXY header");
    let length = header.get(14..).and_then(|octets| octets.try_into().ok()).map_or(0, u16::from_be_bytes);
    while wire.ahead().len() < length.into() {
        ensure!(wire.fill()?, "closed within the PROXY header");
    }
    wire.take(length.into());
    Ok(())
}

struct Session<'a> {
    shared: &'a Shared,
    wire: Wire,
    encrypted: bool,
    /// A message that comes by BDAT.
    chunks: Vec<u8>,
    /// Not yet written: the answers to commands that came together go together.
    replies: String,
}

impl Session<'_> {
    fn converse(mut self) -> Result<()> {
        while let Some(line) = self.wire.line()? {
            let (verb, words) = line.split_once(' ').unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => self.hello(),
                "STARTTLS" if !self.encrypted => self.begin_tls()?,
                "MAIL" if !self.encrypted => self.reply("530 5.7.0 STARTTLS first"),
                "MAIL" | "RCPT" | "NOOP" => self.reply("250 2.0.0 ok"),
                "RSET" => {
                    self.chunks.clear();
                    self.reply("250 2.0.0 ok");
                }
                "DATA" => self.data()?,
                "BDAT" if self.shared.options.chunking => self.chunk(words)?,
                "QUIT" => {
                    self.reply("221 2.0.0 bye");
                    self.flush()?;
                    self.wire.close();
                    return Ok(());
                }
                _ => self.reply("500 5.5.1 what?"),
            }
            if self.wire.ahead().is_empty() {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn reply(&mut self, text: &str) {
        self.replies.push_str(text);
        self.replies.push_str("\r\n");
    }

    fn flush(&mut self) -> Result<()> {
        let replies = std::mem::take(&mut self.replies);
        if !replies.is_empty() {
            self.wire.write(replies.as_bytes())?;
        }
        Ok(())
    }

    fn hello(&mut self) {
        self.reply("250-sink.test");
        if !self.encrypted {
            self.reply("250-STARTTLS");
        }
        if self.shared.options.chunking {
            self.reply("250-CHUNKING");
        }
        self.reply(&format!("250-SIZE {MAX_MESSAGE}"));
        self.reply("250-8BITMIME");
        self.reply("250 PIPELINING");
    }

    fn begin_tls(&mut self) -> Result<()> {
        self.reply("220 2.0.0 go");
        self.flush()?;
        let kind = self.wire.begin_as_server(&self.shared.tls)?;
        self.encrypted = true;
        let mut counts = self.shared.counts();
        match kind {
            HandshakeKind::Resumed => counts.resumed += 1,
            _ => counts.full += 1,
        }
        Ok(())
    }

    /// Reads to CRLF.CRLF. The generator's lines begin with no dot: there is none to take away.
    fn data(&mut self) -> Result<()> {
        self.reply("354 go on");
        self.flush()?;
        // The CRLF of the command line is the one before the dot of an empty message.
        let (mut message, mut searched) = (b"\r\n".to_vec(), 0_usize);
        let end = loop {
            if let Some(at) = memmem::find(message.get(searched..).unwrap_or_default(), b"\r\n.\r\n") {
                break searched + at;
            }
            searched = message.len().saturating_sub(4);
            ensure!(message.len() < MAX_MESSAGE, "a message without end");
            if self.wire.ahead().is_empty() && !self.wire.fill()? {
                bail!("closed within a message");
            }
            message.append(&mut self.wire.take(usize::MAX));
        };
        ensure!(message.len() == end + 5, "a command before the reply to the message");
        self.shared.counts().take(message.get(2..end + 2).unwrap_or_default());
        self.reply("250 2.0.0 taken");
        Ok(())
    }

    fn chunk(&mut self, words: &str) -> Result<()> {
        let mut words = words.split(' ');
        let size: usize = words.next().context("BDAT without a size")?.parse()?;
        ensure!(size <= MAX_MESSAGE - self.chunks.len(), "a message without end");
        let whole = self.chunks.len() + size;
        while self.chunks.len() < whole {
            if self.wire.ahead().is_empty() && !self.wire.fill()? {
                bail!("closed within a chunk");
            }
            let mut piece = self.wire.take(whole - self.chunks.len());
            self.chunks.append(&mut piece);
        }
        if words.next().is_some_and(|last| last.eq_ignore_ascii_case("LAST")) {
            let message = std::mem::take(&mut self.chunks);
            self.shared.counts().take(&message);
        }
        self.reply("250 2.0.0 taken");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::SocketAddr;

    use super::*;
    use crate::message::Rest;
    use crate::send;

    fn started(options: Options) -> (Sink, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (Sink::start(listener, options).unwrap(), address)
    }

    #[test]
    fn all_that_is_sent_arrives_each_with_a_full_handshake() {
        let (sink, to) = started(Options::default());
        let options = send::Options { to, messages: 30, sessions: 4, size: 100_000, first: 5 };
        send::run(&options).unwrap();
        let counts = sink.counts();
        assert_eq!((counts.messages, counts.damaged, counts.repeated), (30, 0, 0));
        assert_eq!((counts.full, counts.resumed), (30, 0));
        send::run(&send::Options { messages: 1, ..options }).unwrap();
        assert_eq!(sink.counts().repeated, 1);
    }

    #[test]
    fn nothing_is_taken_in_clear() {
        let (sink, to) = started(Options::default());
        let mut stream = TcpStream::connect(to).unwrap();
        stream.write_all(b"EHLO x\r\nMAIL FROM:<>\r\nQUIT\r\n").unwrap();
        let mut replies = String::new();
        stream.read_to_string(&mut replies).unwrap();
        assert!(replies.contains("\r\n530 "), "{replies}");
        assert_eq!(sink.counts().octets, 0);
    }

    #[test]
    fn chunks_make_one_message_and_a_proxy_header_goes_before_the_greeting() {
        let (sink, to) = started(Options { chunking: true, proxy: true });
        let mut stream = TcpStream::connect(to).unwrap();
        stream.write_all(&[PROXY_SIGNATURE, b"\x20\0\0\0"].concat()).unwrap();
        let mut wire = Wire::new(stream).unwrap();
        wire.line().unwrap();
        wire.write(b"STARTTLS\r\n").unwrap();
        wire.line().unwrap();
        wire.begin_as_client(&endpoints::client().unwrap()).unwrap();
        let rest = Rest::new(5000);
        let message = [rest.field(1).as_bytes(), rest.octets()].concat();
        let (one, two) = message.split_at(3000);
        let octets = [b"BDAT 3000\r\n", one, format!("BDAT {} LAST\r\n", two.len()).as_bytes(), two].concat();
        wire.write(&octets).unwrap();
        for _ in 0..2 {
            assert_eq!(wire.line().unwrap().as_deref(), Some("250 2.0.0 taken"));
        }
        assert_eq!(sink.counts().messages, 1);
    }

    #[test]
    fn counts_tell_damage_from_repetition() {
        let rest = Rest::new(100);
        let message = [rest.field(1).as_bytes(), rest.octets()].concat();
        let mut counts = Counts::default();
        for octets in [&message[..], &message[..], &message[..message.len() - 1]] {
            counts.take(octets);
        }
        assert_eq!((counts.messages, counts.repeated, counts.damaged), (1, 1, 1));
    }
}
