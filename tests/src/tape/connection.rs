//! One connection to a tape.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::{At, Deed, Fault, Manners, Standing, Taken, Tape};
use crate::scripted::{PATIENCE, Step, Wire};

/// How soon a connection notices that it is to close.
const TICK: Duration = Duration::from_millis(20);

pub(super) struct Connection<'a> {
    tape: &'a Tape,
    wire: Wire,
    number: usize,
    manners: &'a Manners,
    misbehaved: bool,
    /// The transaction that is open: its place on the tape.
    open: Option<usize>,
}

/// What becomes of the connection after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The right reply was said.
    GoOn,
    /// Something else was said.
    Spoiled,
    /// It is closed.
    Gone,
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        tape: &'a Tape,
        stream: TcpStream,
        number: usize,
        manners: &'a Manners,
    ) -> io::Result<Self> {
        let wire = Wire::new(stream)?;
        Ok(Self { tape, wire, number, manners, misbehaved: false, open: None })
    }

    pub(super) fn run(mut self) -> io::Result<()> {
        if self.reply(At::Greeting, "220 tape.test ESMTP\r\n")? == Then::Gone {
            return Ok(());
        }
        while let Some(line) = self.next_line()? {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            let verb = text.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            if self.misbehaved && verb != "QUIT" {
                self.tape.state().said_after_fault.push(text.clone());
            }
            if self.obey(&verb, &text)? == Then::Gone {
                return Ok(());
            }
        }
        Ok(())
    }

    /// `None`: the other side closed, or the tape wants this connection closed.
    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            match self.wire.read_line(TICK) {
                Ok(line) => return Ok(Some(line)),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if self.number < self.tape.state().close_before {
                        return Ok(None);
                    }
                }
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn obey(&mut self, verb: &str, line: &str) -> io::Result<Then> {
        match verb {
            "EHLO" => {
                let offer = self.offer();
                self.reply(At::Ehlo, &offer)
            }
            "STARTTLS" => self.start_tls(),
            "MAIL" => {
                let taken = Taken { connection: self.number, mail: line.to_owned(), ..Taken::default() };
                let mut state = self.tape.state();
                state.taken.push(taken);
                state.connections[self.number] = Standing::Busy;
                self.open = Some(state.taken.len() - 1);
                drop(state);
                self.reply(At::Mail, "250 2.1.0 sender ok\r\n")
            }
            "RCPT" => {
                self.note(|taken| taken.recipients.push(line.to_owned()));
                self.reply(At::Rcpt, "250 2.1.5 recipient ok\r\n")
            }
            "DATA" => self.data(),
            "BDAT" => self.chunk(line),
            "RSET" => {
                self.close_transaction();
                self.reply_rightly("250 2.0.0 reset\r\n")
            }
            "NOOP" => self.reply_rightly("250 2.0.0 ok\r\n"),
            "QUIT" => self.reply(At::Quit, "221 2.0.0 bye\r\n").map(|_| Then::Gone),
            _ => self.reply_rightly("500 5.5.1 what?\r\n"),
        }
    }

    fn offer(&self) -> String {
        let chunking = if self.manners.chunking { "250-CHUNKING\r\n" } else { "" };
        let tls = if self.manners.tls.is_some() && !self.wire.secured { "250-STARTTLS\r\n" } else { "" };
        format!(
            "250-tape.test\r\n250-PIPELINING\r\n250-SIZE 10485760\r\n{chunking}{tls}250-8BITMIME\r\n\
             250 ENHANCEDSTATUSCODES\r\n"
        )
    }

    fn start_tls(&mut self) -> io::Result<Then> {
        let then = self.reply(At::StartTls, "220 2.0.0 go ahead\r\n")?;
        match &self.manners.tls {
            Some(tls) if then == Then::GoOn => self.wire.begin_tls(tls).map(|()| Then::GoOn),
            _ => Ok(then),
        }
    }

    fn data(&mut self) -> io::Result<Then> {
        let then = self.reply(At::Data, "354 go ahead\r\n")?;
        if then != Then::GoOn {
            return Ok(then);
        }
        if self.spoils(At::Content) {
            self.wire.read_line(PATIENCE)?;
            let then = self.reply(At::Content, "")?;
            if then == Then::Spoiled {
                self.wire.read_message(PATIENCE)?;
            }
            return Ok(then);
        }
        let raw = self.wire.read_message(PATIENCE)?;
        self.content(unstuffed(&raw))
    }

    fn chunk(&mut self, line: &str) -> io::Result<Then> {
        let mut words = line.split(' ').skip(1);
        let size: usize = words.next().and_then(|size| size.parse().ok()).unwrap_or_default();
        if self.spoils(At::Content) {
            self.wire.read_octets(size.min(1), PATIENCE)?;
            let then = self.reply(At::Content, "")?;
            if then == Then::Spoiled {
                self.wire.read_octets(size.saturating_sub(1), PATIENCE)?;
            }
            return Ok(then);
        }
        let octets = self.wire.read_octets(size, PATIENCE)?;
        if words.next() != Some("LAST") {
            return self.reply_rightly("250 2.0.0 chunk\r\n");
        }
        self.content(octets)
    }

    fn content(&mut self, octets: Vec<u8>) -> io::Result<Then> {
        self.note(|taken| taken.content = Some(octets));
        let accepts = match self.fault_at(At::Dot) {
            None => true,
            Some(Fault { does, .. }) => !matches!(does, Deed::Drop | Deed::Reset | Deed::Say(_)),
        };
        self.note(|taken| taken.accepted = accepts);
        self.close_transaction();
        self.reply(At::Dot, "250 2.0.0 taken\r\n")
    }

    fn note(&self, what: impl FnOnce(&mut Taken)) {
        let mut state = self.tape.state();
        if let Some(taken) = self.open.and_then(|at| state.taken.get_mut(at)) {
            what(taken);
        }
    }

    fn close_transaction(&mut self) {
        self.open = None;
        self.tape.state().connections[self.number] = Standing::Idle;
    }

    fn fault_at(&self, at: At) -> Option<Fault> {
        let state = self.tape.state();
        let left = state.times > 0 && !self.misbehaved;
        state.fault.filter(|fault| fault.at == at && left)
    }

    fn spoils(&self, at: At) -> bool {
        self.fault_at(at).is_some()
    }

    fn reply_rightly(&mut self, right: &str) -> io::Result<Then> {
        self.wire.write(right.as_bytes()).map(|()| Then::GoOn)
    }

    /// The right reply, or what the tape was told to do in its place.
    fn reply(&mut self, at: At, right: &str) -> io::Result<Then> {
        let Some(fault) = self.fault_at(at) else { return self.reply_rightly(right) };
        self.tape.state().times -= 1;
        match fault.does {
            Deed::Bytewise => {
                for octet in right.as_bytes() {
                    self.wire.write(&[*octet])?;
                    thread::sleep(Duration::from_millis(1));
                }
                return Ok(Then::GoOn);
            }
            Deed::Delay(time) => {
                thread::sleep(time);
                return self.reply_rightly(right);
            }
            _ => self.misbehaved = true,
        }
        match fault.does {
            Deed::Say(words) => self.wire.write(words.as_bytes())?,
            Deed::Add(words) => {
                self.wire.write(format!("{right}{words}").as_bytes())?;
                // Where the right reply opens the content, what comes next is content and no command.
                if at == At::Data {
                    let _ = self.wire.read_message(PATIENCE);
                }
            }
            Deed::Then(words) => {
                self.wire.write(right.as_bytes())?;
                thread::sleep(TICK);
                self.wire.write(words.as_bytes())?;
            }
            Deed::Reset => self.wire.step(&Step::Reset, None)?,
            _ => {}
        }
        let closed = matches!(fault.does, Deed::Drop | Deed::Reset);
        Ok(if closed { Then::Gone } else { Then::Spoiled })
    }
}

/// Content from what follows DATA.
fn unstuffed(raw: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(raw.len());
    let lines = raw.strip_suffix(b".\r\n").unwrap_or(raw);
    for line in lines.split_inclusive(|&octet| octet == b'\n') {
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    content
}
