//! A mail server as naive as can be, which writes down what it was sent. It stops the test at the first line that Postern
//! would never say: that is content taken for commands.

use std::sync::{Arc, Mutex};

/// What a server was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'a> {
    Mail,
    /// With the path as it was written.
    Rcpt(&'a str),
    Data,
    /// The content and its end.
    Content,
    Rset,
}

/// What it says to that.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    /// A reply, without its CRLF.
    Reply(String),
    Nothing,
    /// A reply, if any, and the end of the connection.
    Closes(String),
}

impl Says {
    pub(crate) fn reply(words: &str) -> Self {
        Self::Reply(words.to_owned())
    }

    fn words(&self) -> &str {
        match self {
            Self::Reply(words) | Self::Closes(words) => words,
            Self::Nothing => "",
        }
    }
}

/// Decides what a server says.
pub(crate) type Voice = Box<dyn FnMut(Asked<'_>) -> Says + Send>;

/// Yes to everything.
pub(crate) fn yes(asked: Asked<'_>) -> Says {
    match asked {
        Asked::Mail => Says::reply("250 2.1.0 sender fine"),
        Asked::Rcpt(path) => Says::Reply(format!("250 2.1.5 {path} fine")),
        Asked::Data => Says::reply("354 go ahead"),
        Asked::Content => Says::reply("250 2.0.0 queued"),
        Asked::Rset => Says::reply("250 2.0.0 reset"),
    }
}

/// Content that a server was sent to its very end.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) backend: String,
    pub(crate) recipients: Vec<String>,
    pub(crate) content: Vec<u8>,
    /// What it said to it; empty if nothing.
    pub(crate) answer: String,
}

impl Taken {
    pub(crate) fn is_accepted(&self) -> bool {
        self.answer.starts_with('2')
    }
}

/// What all servers took.
pub(crate) type Ledger = Arc<Mutex<Vec<Taken>>>;

enum State {
    Commands,
    Data,
    Chunk(usize),
}

pub(crate) struct Server {
    pub(crate) backend: String,
    voice: Voice,
    /// Whether a second command may come before the first is answered.
    pipelining: bool,
    state: State,
    input: Vec<u8>,
    in_transaction: bool,
    recipients: Vec<String>,
    /// Replies that nobody has fetched.
    pub(crate) out: Vec<u8>,
    /// It let a command go unanswered, and so answers none any more: whoever went on would be out of step.
    is_mute: bool,
    /// Nothing more is read or said.
    pub(crate) is_closed: bool,
    pub(crate) lines: Vec<String>,
    ledger: Ledger,
}

impl Server {
    pub(crate) fn new(backend: &str, extensions: &[&str], voice: Voice, ledger: Ledger) -> Self {
        Self {
            backend: backend.to_owned(),
            voice,
            pipelining: extensions.contains(&"PIPELINING"),
            state: State::Commands,
            input: Vec::new(),
            in_transaction: false,
            recipients: Vec::new(),
            out: Vec::new(),
            is_mute: false,
            is_closed: false,
            lines: Vec::new(),
            ledger,
        }
    }

    /// Bytes come; its replies wait in `out`.
    pub(crate) fn hears(&mut self, bytes: &[u8]) {
        if self.is_closed {
            return;
        }
        self.input.extend_from_slice(bytes);
        while !self.is_closed && self.next() {}
    }

    /// Takes one command or content whole; false: not all of it is there.
    fn next(&mut self) -> bool {
        match self.state {
            State::Commands => {
                let Some(end) = self.input.iter().position(|&byte| byte == b'\n') else { return false };
                let line: Vec<u8> = self.input.drain(..=end).collect();
                assert!(line.ends_with(b"\r\n"), "a bare line feed: {}", line.escape_ascii());
                let text = &line[..line.len() - 2];
                assert!(!text.iter().any(|byte| b"\r\0".contains(byte)), "{}", line.escape_ascii());
                let line = String::from_utf8_lossy(text).into_owned();
                self.command(&line);
                self.lines.push(line);
            }
            State::Data => {
                // The end counts from the CRLF of the line with DATA.
                let framed = [b"\r\n", self.input.as_slice()].concat();
                let Some(end) = memchr::memmem::find(&framed, b"\r\n.\r\n") else { return false };
                let stuffed = &framed[..end + 2];
                let content = (2..stuffed.len())
                    .filter(|&at| stuffed[at] != b'.' || &stuffed[at - 2..at] != b"\r\n")
                    .map(|at| stuffed[at])
                    .collect();
                self.input.drain(..end + 3);
                self.content(content);
            }
            State::Chunk(size) => {
                if self.input.len() < size {
                    return false;
                }
                let content = self.input.drain(..size).collect();
                self.content(content);
            }
        }
        true
    }

    fn command(&mut self, line: &str) {
        assert!(self.pipelining || self.out.is_empty(), "{line} before the reply to what came before it");
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "MAIL" => {
                assert!(!self.in_transaction, "MAIL inside a transaction");
                let said = (self.voice)(Asked::Mail);
                self.in_transaction = said.words().starts_with('2');
                self.recipients.clear();
                self.say(&said);
            }
            "RCPT" if !self.in_transaction => self.say(&Says::reply("503 5.5.1 MAIL first")),
            "RCPT" => {
                let path =
                    rest.strip_prefix("TO:<").and_then(|rest| rest.split_once('>')).unwrap_or_default().0;
                let said = (self.voice)(Asked::Rcpt(path));
                if said.words().starts_with('2') {
                    self.recipients.push(path.to_owned());
                }
                self.say(&said);
            }
            "DATA" => {
                assert!(!self.recipients.is_empty(), "DATA for nobody");
                let said = (self.voice)(Asked::Data);
                if said.words().starts_with('3') {
                    self.state = State::Data;
                }
                self.say(&said);
            }
            "BDAT" => {
                assert!(!self.recipients.is_empty(), "BDAT for nobody");
                let size = rest.strip_suffix(" LAST").and_then(|size| size.parse().ok());
                let Some(size) = size else { panic!("not the one chunk that Postern sends: {line}") };
                self.state = State::Chunk(size);
            }
            "RSET" => {
                self.in_transaction = false;
                self.recipients.clear();
                let said = (self.voice)(Asked::Rset);
                self.say(&said);
            }
            "QUIT" => self.is_closed = true,
            _ => panic!("Postern never says this: {}", line.escape_debug()),
        }
    }

    fn content(&mut self, content: Vec<u8>) {
        self.state = State::Commands;
        self.in_transaction = false;
        let said = (self.voice)(Asked::Content);
        let heard = if self.is_mute { "" } else { said.words() };
        if let Ok(mut ledger) = self.ledger.lock() {
            ledger.push(Taken {
                backend: self.backend.clone(),
                recipients: std::mem::take(&mut self.recipients),
                content,
                answer: heard.to_owned(),
            });
        }
        self.say(&said);
    }

    fn say(&mut self, said: &Says) {
        self.is_mute |= matches!(said, Says::Nothing);
        if self.is_mute {
            return;
        }
        if !said.words().is_empty() {
            self.out.extend_from_slice(said.words().as_bytes());
            self.out.extend_from_slice(b"\r\n");
        }
        if matches!(said, Says::Closes(_)) || said.words().starts_with("421") {
            self.is_closed = true;
        }
    }
}
