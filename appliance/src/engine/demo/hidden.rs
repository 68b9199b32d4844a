//! The mail server behind the demo's gate: a real one for SMTP (RFC 5321), small, which keeps the last messages in
//! memory so that the demo can compare what arrived with what was sent.
//!
//! [`Conversation`] is one session without its socket; [`serve`] gives it one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use delivery::Stream;
use smtp::command::{BodyType, MAX_COMMAND_LINE};
use smtp::content::{ChunkDecoder, DataDecoder};
use smtp::line::LineReader;
use smtp::{Command, Envelope, ForwardPath, Mail, Rcpt};
use tls::Acceptor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::inbox::{Inbox, Received};

/// Its name, in its greeting and in its certificate.
pub(super) const NAME: &str = "mail.inside.demo.example";
/// The domain that it has users in.
pub(super) const DOMAIN: &str = "demo.example";
/// Its users.
pub(super) const USERS: [&str; 5] = ["anna", "bob", "chiyo", "用户", "postmaster"];

/// The largest message, in octets: each session keeps one in memory.
pub(super) const MAX_MESSAGE: u64 = 10 << 20;
/// Recipients of one message: the envelope is in memory too.
const MAX_RECIPIENTS: usize = 100;
/// Sessions at once: with [`MAX_MESSAGE`] it bounds the memory that whoever finds the port can make it use.
const MAX_SESSIONS: usize = 50;
/// For the client's next bytes, and for it to take ours: a silent client does not hold a session for ever.
const PATIENCE: Duration = Duration::from_secs(300);

/// Serves until it is dropped; open sessions end with it.
pub(super) async fn serve(listener: TcpListener, acceptor: Acceptor, inbox: Arc<Inbox>) {
    let mut sessions = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            Some(_) = sessions.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if sessions.len() < MAX_SESSIONS => {
                let (acceptor, inbox) = (acceptor.clone(), Arc::clone(&inbox));
                sessions.spawn(async move {
                    if let Err(error) = session(stream, &acceptor, inbox).await {
                        tracing::debug!(%error, "a session of the demo's mail server broke");
                    }
                });
            }
            Ok(_) => tracing::warn!("the demo's mail server has too many sessions"),
            Err(error) => {
                tracing::warn!(%error, "the demo's mail server cannot accept");
                // Out of descriptors: trying again at once would spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn session(stream: TcpStream, acceptor: &Acceptor, inbox: Arc<Inbox>) -> io::Result<()> {
    let mut stream: Stream = Box::new(stream);
    let mut conversation = Conversation::new(inbox);
    let mut out = format!("220 {NAME} ESMTP, the hidden server of the demo\r\n").into_bytes();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        timeout(PATIENCE, stream.write_all(&out)).await??;
        timeout(PATIENCE, stream.flush()).await??;
        out.clear();
        let length = timeout(PATIENCE, stream.read(&mut buffer)).await??;
        if length == 0 {
            return Ok(());
        }
        match conversation.take(&buffer[..length], &mut out) {
            Next::Read => {}
            Next::Encrypt => {
                timeout(PATIENCE, stream.write_all(&out)).await??;
                out.clear();
                let handshake = timeout(tls::HANDSHAKE_DEADLINE, acceptor.accept(stream, None));
                stream = Box::new(handshake.await?.map_err(io::Error::other)?.0);
                conversation = conversation.encrypted();
            }
            Next::Close => {
                timeout(PATIENCE, stream.write_all(&out)).await??;
                return timeout(PATIENCE, stream.shutdown()).await?;
            }
        }
    }
}

/// What a conversation wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// More bytes.
    Read,
    /// Its replies written, then a TLS handshake.
    Encrypt,
    /// Its replies written, then the end.
    Close,
}

/// What the client's next bytes are.
#[derive(Debug)]
enum Mode {
    Commands,
    Data(DataDecoder),
    Chunk { decoder: ChunkDecoder, size: u64, last: bool },
}

/// One session.
#[derive(Debug)]
pub(super) struct Conversation {
    inbox: Arc<Inbox>,
    lines: LineReader,
    mode: Mode,
    encrypted: bool,
    envelope: Option<Envelope>,
    content: Vec<u8>,
    /// Octets of content that came, kept or not.
    length: u64,
    chunks: bool,
}

impl Conversation {
    pub(super) fn new(inbox: Arc<Inbox>) -> Self {
        let lines = LineReader::new(MAX_COMMAND_LINE);
        let (envelope, content) = (None, Vec::new());
        Self {
            inbox,
            lines,
            mode: Mode::Commands,
            encrypted: false,
            envelope,
            content,
            length: 0,
            chunks: false,
        }
    }

    /// After the handshake nothing of what was said before counts (RFC 3207 §4.2).
    fn encrypted(self) -> Self {
        Self { encrypted: true, ..Self::new(self.inbox) }
    }

    /// Takes bytes of the client and appends what it is told.
    pub(super) fn take(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Next {
        while !input.is_empty() {
            let Self { content, length, .. } = self;
            let mut keep = |piece: &[u8]| {
                *length += piece.len() as u64;
                if *length <= MAX_MESSAGE {
                    content.extend_from_slice(piece);
                }
            };
            match &mut self.mode {
                Mode::Data(decoder) => {
                    if decoder.decode(&mut input, &mut keep) {
                        self.message_ended(out);
                    }
                }
                Mode::Chunk { decoder, size, last } => {
                    let (size, last) = (*size, *last);
                    if decoder.decode(&mut input, &mut keep) {
                        self.chunk_ended(size, last, out);
                    }
                }
                Mode::Commands => match self.take_line(&mut input, out) {
                    Next::Read => {}
                    // Bytes behind STARTTLS were not protected: whoever put them there is not to be obeyed (law 2).
                    Next::Encrypt if !input.is_empty() => {
                        out.clear();
                        say(out, "554 5.5.0 bytes in clear behind STARTTLS");
                        return Next::Close;
                    }
                    end => return end,
                },
            }
        }
        Next::Read
    }

    fn take_line(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Next {
        let line = match self.lines.read(input) {
            Ok(Some(line)) => line.to_vec(),
            Ok(None) => return Next::Read,
            Err(error) => {
                say(out, &format!("500 5.5.2 {error}"));
                return Next::Close;
            }
        };
        match Command::parse(&line) {
            Ok(command) => self.obey(command, out),
            Err(error) => {
                say(out, &format!("501 5.5.4 {error}"));
                Next::Read
            }
        }
    }

    fn obey(&mut self, command: Command<'_>, out: &mut Vec<u8>) -> Next {
        match command {
            Command::Quit => {
                say(out, &format!("221 2.0.0 {NAME} closes"));
                return Next::Close;
            }
            Command::StartTls if self.encrypted => say(out, "503 5.5.1 TLS is on already"),
            Command::StartTls => {
                say(out, "220 2.0.0 ready for TLS");
                return Next::Encrypt;
            }
            Command::Ehlo(_) => self.hello(out),
            Command::Helo(_) => {
                self.reset();
                say(out, &format!("250 {NAME}"));
            }
            Command::Mail(mail) => self.mail(*mail, out),
            Command::Rcpt(rcpt) => self.rcpt(*rcpt, out),
            Command::Data => self.data(out),
            Command::Bdat { size, last } => self.bdat(size, last, out),
            Command::Rset => {
                self.reset();
                say(out, "250 2.0.0 reset");
            }
            Command::Noop => say(out, "250 2.0.0 still here"),
            Command::Vrfy => say(out, "252 2.5.0 send mail, and RCPT will tell"),
            Command::Help => say(out, "214 see RFC 5321"),
            Command::Auth { .. } | Command::Expn => say(out, "502 5.5.1 not offered here"),
        }
        Next::Read
    }

    fn hello(&mut self, out: &mut Vec<u8>) {
        self.reset();
        say(out, &format!("250-{NAME}"));
        if !self.encrypted {
            say(out, "250-STARTTLS");
        }
        say(out, &format!("250-SIZE {MAX_MESSAGE}"));
        for keyword in ["PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "DSN"] {
            say(out, &format!("250-{keyword}"));
        }
        say(out, "250 ENHANCEDSTATUSCODES");
    }

    fn mail(&mut self, mail: Mail, out: &mut Vec<u8>) {
        if self.envelope.is_some() {
            say(out, "503 5.5.1 there is a sender already");
        } else if mail.size.is_some_and(|size| size > MAX_MESSAGE) {
            say(out, "552 5.3.4 the message is too large");
        } else if mail.body == Some(BodyType::BinaryMime) || mail.requiretls {
            say(out, "555 5.5.4 that was not offered");
        } else {
            self.envelope = Some(Envelope::new(mail));
            say(out, "250 2.1.0 sender ok");
        }
    }

    fn rcpt(&mut self, rcpt: Rcpt, out: &mut Vec<u8>) {
        let Some(envelope) = &mut self.envelope else { return say(out, "503 5.5.1 MAIL comes first") };
        if self.chunks {
            say(out, "503 5.5.1 the message has begun");
        } else if envelope.recipients.len() >= MAX_RECIPIENTS {
            say(out, "452 4.5.3 too many recipients");
        } else if is_user(&rcpt.forward_path) {
            envelope.recipients.push(rcpt);
            say(out, "250 2.1.5 recipient ok");
        } else {
            say(out, "550 5.1.1 there is no such user here");
        }
    }

    fn data(&mut self, out: &mut Vec<u8>) {
        if self.has_recipients() && !self.chunks {
            self.mode = Mode::Data(DataDecoder::new());
            say(out, "354 go ahead");
        } else {
            say(out, "503 5.5.1 a recipient comes first");
        }
    }

    /// The octets of a chunk come whatever is said to it (RFC 3030 §2).
    fn bdat(&mut self, size: u64, last: bool, out: &mut Vec<u8>) {
        self.chunks = true;
        if size == 0 {
            self.chunk_ended(size, last, out);
        } else {
            self.mode = Mode::Chunk { decoder: ChunkDecoder::new(size), size, last };
        }
    }

    fn chunk_ended(&mut self, size: u64, last: bool, out: &mut Vec<u8>) {
        self.mode = Mode::Commands;
        if !self.has_recipients() {
            self.reset();
            say(out, "503 5.5.1 a recipient comes first");
        } else if last {
            self.message_ended(out);
        } else {
            say(out, &format!("250 2.0.0 {size} octets received"));
        }
    }

    fn message_ended(&mut self, out: &mut Vec<u8>) {
        let content = std::mem::take(&mut self.content);
        let (envelope, too_large) = (self.envelope.take(), self.length > MAX_MESSAGE);
        let encrypted = self.encrypted;
        self.reset();
        match envelope {
            Some(_) if too_large => say(out, "552 5.3.4 the message is too large"),
            Some(envelope) => {
                let number = self.inbox.keep(Received { envelope, content: content.into(), encrypted });
                say(out, &format!("250 2.0.0 kept as number {number}"));
            }
            None => say(out, "503 5.5.1 MAIL comes first"),
        }
    }

    fn has_recipients(&self) -> bool {
        self.envelope.as_ref().is_some_and(|envelope| !envelope.recipients.is_empty())
    }

    fn reset(&mut self) {
        self.mode = Mode::Commands;
        self.envelope = None;
        self.content = Vec::new();
        self.length = 0;
        self.chunks = false;
    }
}

fn is_user(path: &ForwardPath) -> bool {
    match path {
        ForwardPath::Postmaster(_) => true,
        ForwardPath::Mailbox(mailbox) => {
            let local = mailbox.local_part().to_lowercase();
            let here = mailbox.domain().is_some_and(|domain| domain.as_str() == DOMAIN);
            here && USERS.contains(&local.as_str())
        }
    }
}

fn say(out: &mut Vec<u8>, line: &str) {
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first words of each reply, and what became of the session.
    fn codes(wire: &[u8], piece: usize) -> (Vec<String>, Next, Arc<Inbox>) {
        let inbox = Arc::new(Inbox::default());
        let mut conversation = Conversation::new(Arc::clone(&inbox));
        let (mut out, mut next) = (Vec::new(), Next::Read);
        for bytes in wire.chunks(piece) {
            next = conversation.take(bytes, &mut out);
            if next != Next::Read {
                break;
            }
        }
        let text = String::from_utf8(out).unwrap();
        let ends = text.lines().filter(|line| line.as_bytes()[3] == b' ');
        (ends.map(|line| line[..3].to_owned()).collect(), next, inbox)
    }

    #[test]
    fn a_session_reads_the_same_in_any_pieces() {
        let wire = "EHLO x\r\nMAIL FROM:<a@x.example> SMTPUTF8\r\nRCPT TO:<用户@demo.example>\r\nRCPT TO:<no@demo.example>\r\n\
                    DATA\r\nA: b\r\n\r\n..c\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<bob@demo.example>\r\nBDAT 3\r\nab\rBDAT 0 LAST\r\nQUIT\r\n";
        for piece in 1..wire.len() {
            let (codes, next, inbox) = codes(wire.as_bytes(), piece);
            let expected = ["250", "250", "250", "550", "354", "250", "250", "250", "250", "250", "221"]
                .map(String::from);
            assert_eq!((codes.as_slice(), next), (&expected[..], Next::Close), "{piece}");
            assert_eq!(inbox.count(), 2);
            assert_eq!(&*inbox.from("a@x.example")[0].content, b"A: b\r\n\r\n.c\r\n");
        }
    }

    #[test]
    fn what_is_out_of_place_is_refused() {
        for (wire, expected) in [
            ("RCPT TO:<bob@demo.example>\r\n", &["503"][..]),
            ("DATA\r\n", &["503"]),
            ("BDAT 4 LAST\r\nQUITNOOP\r\n", &["503", "250"]),
            ("MAIL FROM:<> SIZE=99999999\r\n", &["552"]),
            ("MAIL FROM:<> BODY=BINARYMIME\r\n", &["555"]),
            ("MAIL FROM:<>\r\nMAIL FROM:<>\r\n", &["250", "503"]),
            ("MAIL FROM:<>\r\nRCPT TO:<bob@elsewhere.example>\r\n", &["250", "550"]),
            ("FOO\r\nAUTH PLAIN\r\n", &["501", "502"]),
        ] {
            let (codes, _, inbox) = codes(wire.as_bytes(), 1000);
            assert_eq!(
                (codes, inbox.count()),
                (expected.iter().map(|&c| c.to_owned()).collect(), 0),
                "{wire}"
            );
        }
    }

    #[test]
    fn bytes_behind_starttls_end_the_session() {
        let (replies, next, _) = codes(b"STARTTLS\r\nMAIL FROM:<>\r\n", 1000);
        assert_eq!((replies.as_slice(), next), (&["554".to_owned()][..], Next::Close));
        assert_eq!(codes(b"STARTTLS\r\n", 1000).1, Next::Encrypt);
    }

    #[test]
    fn a_message_over_the_bound_is_read_and_refused() {
        let size = MAX_MESSAGE + 1;
        let mut wire =
            format!("MAIL FROM:<>\r\nRCPT TO:<bob@demo.example>\r\nBDAT {size} LAST\r\n").into_bytes();
        wire.resize(wire.len() + usize::try_from(size).unwrap(), b'x');
        let (codes, _, inbox) = codes(&wire, 65_536);
        assert_eq!((codes[2].as_str(), inbox.count()), ("552", 0));
    }
}
