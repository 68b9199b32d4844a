//! The closed list of events.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smtp::{Reply, TraceId, TransactionId};

use crate::{Direction, Opinion, TlsOutcome, TlsSession, Verdict};

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A session ended, or was refused before it began.
    Session(Box<Session>),
    /// A mail transaction ended.
    Transaction(Box<Transaction>),
    /// A connection to a server could not be opened or used.
    LegFailed(Box<LegFailure>),
    /// TLS with a server of the world was tried, under this policy.
    FarTls(Box<TlsSession>),
    /// Something became of a message behind its transaction.
    Afterwards(Box<Afterwards>),
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Port 25: SMTP between servers, STARTTLS offered.
    Smtp,
    /// Port 587: submission (RFC 6409), STARTTLS before AUTH.
    Submission,
    /// Port 465: submission with implicit TLS (RFC 8314).
    Submissions,
}

impl Protocol {
    /// As the config writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
        }
    }
}

/// A session with a client, from accept to close.
#[derive(Clone, Debug)]
pub struct Session {
    /// Joins log, trace and replies.
    pub id: TraceId,
    /// When it was accepted, since 1970.
    pub began: Duration,
    /// How long it lasted.
    pub lasted: Duration,
    /// What was spoken.
    pub protocol: Protocol,
    /// The client's address, from the PROXY header where one is believed.
    pub client: SocketAddr,
    /// What the client called itself in EHLO or HELO, as received; empty if it did not.
    pub helo: Box<str>,
    /// What became of TLS with the client.
    pub tls: TlsOutcome,
    /// Whether the client authenticated.
    pub authenticated: bool,
    /// Transactions begun.
    pub transactions: u32,
    /// Whether no mail was wanted from the client, whatever it had said.
    pub unwelcome: bool,
    /// Octets read from the client and written to it.
    pub bytes: (u64, u64),
    /// How it ended.
    pub end: SessionEnd,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The client said QUIT.
    Quit,
    /// The client closed without QUIT.
    Closed,
    /// The connection broke; the reason in words.
    Broken(Box<str>),
    /// The client let a deadline pass.
    TimedOut,
    /// Refused at the door or thrown out.
    Abuse(Abuse),
    /// Ended by Postern: drain, or no server to speak to. The reason in words.
    Ended(Box<str>),
}

/// Why a client was refused or thrown out. A closed list: each is a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Abuse {
    /// Its address is banned.
    Banned,
    /// More sessions at once from its address or network than allowed.
    TooManySessions,
    /// More sessions at once in all than allowed, or no memory left for messages.
    Overload,
    /// It spoke before the greeting.
    Pregreet,
    /// It sent bytes behind STARTTLS before the handshake (law 2).
    InjectedBeforeTls,
    /// Bare CR, bare LF or NUL in a command line, or a line over the bound.
    BadLine,
    /// Too many commands that were refused or that did nothing.
    TooManyErrors,
    /// Slower than the slowest honest sender.
    TooSlow,
    /// No PROXY header, or a broken one, from a peer that must send one.
    BadProxyHeader,
    /// The TLS handshake failed.
    TlsFailed,
    /// It spoke HTTP, or another protocol whose requests can be made by a browser.
    OtherProtocol,
}

impl Abuse {
    /// The metric's label, and the word in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Banned => "banned",
            Self::TooManySessions => "too_many_sessions",
            Self::Overload => "overload",
            Self::Pregreet => "pregreet",
            Self::InjectedBeforeTls => "injected_before_tls",
            Self::BadLine => "bad_line",
            Self::TooManyErrors => "too_many_errors",
            Self::TooSlow => "too_slow",
            Self::BadProxyHeader => "bad_proxy_header",
            Self::TlsFailed => "tls_failed",
            Self::OtherProtocol => "other_protocol",
        }
    }
}

/// One mail transaction, from MAIL to its last reply.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Joins log, trace and replies.
    pub id: TransactionId,
    /// When MAIL came, since 1970.
    pub began: Duration,
    /// From MAIL to the last reply.
    pub lasted: Duration,
    /// From the end of the content to the last reply; zero where there was no content.
    pub settled_in: Duration,
    /// The listener's protocol.
    pub protocol: Protocol,
    /// The client's address.
    pub client: SocketAddr,
    /// What the client called itself.
    pub helo: Box<str>,
    /// TLS with the client.
    pub tls: TlsOutcome,
    /// Whether the client authenticated.
    pub authenticated: bool,
    /// Which way its mail goes.
    pub direction: Direction,
    /// Reverse-path as received, empty for the null one.
    pub reverse_path: Box<str>,
    /// Each recipient and its outcome, in the client's order; at most the first hundred.
    pub recipients: Vec<RecipientOutcome>,
    /// How many recipients the client named in all.
    pub recipients_named: u32,
    /// Octets of content; zero where there was none.
    pub size: u64,
    /// What was decided.
    pub verdict: Verdict,
    /// Why; `None` where nobody judged.
    pub opinion: Option<Box<Opinion>>,
    /// The reply to the content, or the one that ended the transaction.
    pub reply: Option<Reply>,
    /// What each server did with it.
    pub groups: Vec<GroupOutcome>,
    /// How many more were refused at MAIL as this one was, and are told of by this one alone: a recorder that keeps some of a
    /// flood sets it.
    pub alike: u32,
}

impl Transaction {
    /// Whether it was over with MAIL: its client was refused for what it is, and has named no recipient.
    pub fn ended_at_mail(&self) -> bool {
        self.recipients_named == 0 && self.reply.is_some()
    }
}

/// What became of a message that is kept on disk, or of its sender, once its transaction was over.
#[derive(Clone, Debug)]
pub struct Afterwards {
    /// The transaction that it came in.
    pub transaction: TransactionId,
    /// When, since 1970.
    pub at: Duration,
    /// What.
    pub step: Step,
    /// The server that was asked; `None` if none was.
    pub leg: Option<Leg>,
    /// For whom, at most the first hundred; none: for all that remain. Each with its own words where they are not `words`.
    pub recipients: Vec<RecipientOutcome>,
    /// For how many in all; 0: for all that remain.
    pub recipients_in_all: u32,
    /// The server's words, or Postern's; `None` where there is nothing to say.
    pub words: Option<Reply>,
}

/// What can become of a message behind its transaction. A closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The server took it.
    Delivered,
    /// The server put it off.
    Deferred,
    /// The server refused it for good.
    Refused,
    /// Its time was over.
    Expired,
    /// Its sender was told, by the report of this transaction.
    Told(TransactionId),
    /// Nobody may be told: it lies in the folder `expired`, for a person.
    SetAside,
    /// A person wants it to be tried now.
    Hastened,
    /// A person holds it back.
    Held,
    /// A person let it go, or put it into the queue again.
    Released,
    /// It was thrown away: by a person, or at the end of a folder's term.
    Removed,
}

impl Step {
    /// The word in traces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Deferred => "deferred",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Told(_) => "told",
            Self::SetAside => "set aside",
            Self::Hastened => "hastened",
            Self::Held => "held",
            Self::Released => "released",
            Self::Removed => "removed",
        }
    }
}

/// What the client was told of one recipient.
#[derive(Clone, Debug)]
pub struct RecipientOutcome {
    /// Forward-path as received, or where it leads as an alias.
    pub address: Box<str>,
    /// The alias that the client named, where it was one.
    pub alias: Option<Box<str>>,
    /// The reply to RCPT; `None` while none was sent. Behind the transaction, the last words about it.
    pub reply: Option<Reply>,
}

/// What became of one group's copy of the message.
#[derive(Clone, Debug)]
pub enum GroupOutcome {
    /// The server said 250.
    Delivered {
        /// Where to.
        leg: Leg,
        /// Its words.
        reply: Reply,
    },
    /// The server, or Postern on its behalf, said no.
    Refused {
        /// Where; `None` if no server was reached.
        leg: Option<Leg>,
        /// The words.
        reply: Reply,
    },
    /// Kept on disk, in the folder of this name.
    Spooled {
        /// The folder.
        folder: &'static str,
        /// Why.
        reason: Reply,
    },
}

/// A connection to a server that was used.
#[derive(Clone, Debug)]
pub struct Leg {
    /// The backend's name.
    pub backend: Box<str>,
    /// The server's address.
    pub server: SocketAddr,
    /// TLS with the server.
    pub tls: TlsOutcome,
    /// How the client's address was told: `transparent`, `proxy`, `xclient`, `xforward` or `none`.
    pub client_address: &'static str,
    /// Whether the connection had carried a message before.
    pub reused: bool,
    /// For a server of the world: which policy held for it, where that came from and how it was met, in words. Else empty.
    pub policy: Box<str>,
}

/// A server that could not be used.
#[derive(Clone, Debug)]
pub struct LegFailure {
    /// The session it was for; `None` for probes.
    pub session: Option<TraceId>,
    /// The backend's name.
    pub backend: Box<str>,
    /// The server's address.
    pub server: SocketAddr,
    /// The address it was opened from, where a client's was used.
    pub source: Option<IpAddr>,
    /// What failed, in words.
    pub reason: Box<str>,
}
