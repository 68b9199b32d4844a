//! The session's coordinator: states that own their data, and one function that moves between them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use delivery::{Client, Far, Probed, Proven};
use record::{Abuse, Protocol, SessionEnd, TlsFacts, TlsOutcome};
use route::{Backend, Listing};
use smtp::address::Host;
use smtp::command::MAX_COMMAND_LINE;
use smtp::line::LineReader;
use smtp::receiver::Ready;
use smtp::{Answer, Capabilities, Mailbox, No, Reply, TraceId, TransactionId};
use spool::{Receipts, Spooled};
use tokio::time::Instant;

use crate::budget::Budget;
use crate::inner_verification::Verdict;
use crate::judging::{Judgement, Unwelcome};
use crate::settings::Settings;

mod authentication;
mod beginning;
mod carried;
mod commands;
mod content;
mod ending;
mod envelope;
mod far_side;
mod group;
mod judge;
mod legs;
mod sending;
mod settle;
mod story;
mod wanted;

use authentication::Authenticating;
pub use beginning::{Arrival, Beginning};
use content::{Discarding, Receipt};
use envelope::Naming;
use far_side::FarSide;
use judge::Judging;
use settle::Settling;
pub use wanted::{Action, Carriage, Question, SigningRequest, SpoolRequest, Wants};

/// For the client's next command (RFC 5321 §4.5.3.2.7).
pub(crate) const COMMAND: Duration = Duration::from_secs(5 * 60);

/// A connection to a server, as the session calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId(pub u32);

/// Something that happened to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// The session begins; given once, first.
    Begin,
    /// Bytes from the client.
    Client(&'a [u8]),
    /// The client will send no more, and can perhaps still read.
    ClientClosed,
    /// The handshake that [`Action::StartTls`] asked for is done.
    Encrypted(TlsFacts),
    /// A connection that [`Action::Open`] asked for is there.
    Opened(LegId, Box<Far<Proven>>),
    /// It could not be had; what the client is told.
    OpenFailed(LegId, No),
    /// The far side that [`Action::Probe`] asked for is there.
    Probed(LegId, Box<Probed>),
    /// Where mail for a host goes, or what a client is told who names it; [`Action::Locate`] asked.
    Located(Host, Result<Arc<Backend>, No>),
    /// What the administrator's directory says of a recipient; [`Action::LookUp`] asked.
    LookedUp(Mailbox, Listing),
    /// Bytes from a server.
    Leg(LegId, &'a [u8]),
    /// A server closed, or its connection broke; the reason in words.
    LegClosed(LegId, Box<str>),
    /// What [`Action::Store`] gave is stored.
    Stored,
    /// It could not be stored.
    StoreFailed,
    /// Content that [`Action::Fetch`] asked for.
    Fetched(LegId, &'a [u8]),
    /// It cannot be read again.
    FetchFailed(LegId),
    /// What the judge says of the message that [`Action::Judge`] named.
    Judged(TransactionId, Box<Judgement>),
    /// It says nothing; why.
    NotJudged(TransactionId, Box<str>),
    /// The fields that [`Action::Sign`] asked for; none, where the message goes unsigned.
    Signed(TransactionId, Box<str>),
    /// What [`Action::Spool`] asked for is durable.
    Spooled(usize, Spooled),
    /// It is not, and the client is told this.
    SpoolFailed(usize, No),
    /// [`Session::deadline`] has come.
    Deadline,
    /// Postern is about to stop: end as soon as no transaction is open.
    Drain,
}

/// A session with a client.
#[derive(Debug)]
pub struct Session {
    common: Box<Common>,
    phase: Phase,
}

/// What every state has.
#[derive(Debug)]
struct Common {
    id: TraceId,
    settings: Arc<Settings>,
    budget: Arc<Budget>,
    protocol: Protocol,
    arrival: Arrival,
    /// What MAIL is answered with, if nobody wants mail from the client, and why.
    unwelcome: Option<Box<Unwelcome>>,
    /// On the way out: what was met there.
    far_side: FarSide,
    client: Client,
    tls: TlsOutcome,
    authenticated: bool,
    /// As whom, in lower case, where the mechanism tells.
    user: Option<Box<str>>,
    began: Instant,
    wall: Duration,
    now: Instant,
    /// What the last EHLO reply offered.
    offer: Capabilities,
    lines: LineReader,
    /// Bytes of the client that wait until what came before them is answered.
    unread: Vec<u8>,
    /// A command that waits until the replies before it are out.
    held: Option<Vec<u8>>,
    client_closed: bool,
    draining: bool,
    errors: u32,
    /// Commands since the last that led anywhere.
    idle_commands: u32,
    transactions: u32,
    /// Of the state, and of the client in it.
    deadline: Instant,
    next_leg: u32,
    /// Connections between transactions that are this client's own.
    legs: Vec<legs::OwnLeg>,
    stores: u32,
    /// What servers took of clients that could not be told; without, every message is delivered.
    receipts: Option<Receipts>,
    end: Option<SessionEnd>,
    wants: Wants,
}

/// Where a session stands.
#[derive(Debug)]
enum Phase {
    /// The client has to wait for the greeting.
    Quiet(Ready),
    /// The greeting waits for the server (DECISIONS 1).
    Connecting(Ready, LegId),
    /// Between transactions.
    Idle(Ready),
    /// The client said STARTTLS.
    Handshaking(Ready),
    /// AUTH goes to and fro.
    Authenticating(Box<Authenticating>),
    /// After MAIL.
    Naming(Box<Naming>),
    /// After DATA or BDAT.
    Receiving(Box<Receipt>),
    /// Octets of a chunk that nobody wants.
    Discarding(Box<Discarding>),
    /// The content is there, is looked at, and signed where it leaves for the world.
    Judging(Box<Judging>),
    /// The content is on its way to the servers.
    Settling(Box<Settling>),
    /// Nothing more is read; what is written goes out.
    Ended,
}

/// Moves a session on. No await, no I/O: whoever calls it does what [`Wants`] says and tells what came of it.
pub fn step(mut session: Session, input: Input<'_>, now: Instant) -> (Session, Wants) {
    session.common.now = now;
    let mut session = session.take(input);
    if matches!(session.phase, Phase::Ended) {
        session.common.close_legs();
    }
    let wants = std::mem::take(&mut session.common.wants);
    (session, wants)
}

impl Session {
    /// A session that has not begun.
    pub fn new(beginning: Beginning, now: Instant) -> Self {
        let Beginning { id, settings, protocol, client, destination, arrival, unwelcome, wall, budget } =
            beginning;
        let client = Client { address: client, destination, helo: "".into(), esmtp: false };
        let common = Common {
            id,
            settings,
            budget,
            protocol,
            arrival,
            unwelcome,
            far_side: FarSide::default(),
            client,
            tls: TlsOutcome::Plain,
            authenticated: false,
            user: None,
            began: now,
            wall,
            now,
            offer: Capabilities::default(),
            lines: LineReader::new(MAX_COMMAND_LINE),
            unread: Vec::new(),
            held: None,
            client_closed: false,
            draining: false,
            errors: 0,
            idle_commands: 0,
            transactions: 0,
            deadline: now + COMMAND,
            next_leg: 0,
            legs: Vec::new(),
            stores: 0,
            receipts: None,
            end: None,
            wants: Wants::default(),
        };
        Self { common: Box::new(common), phase: Phase::Quiet(Ready::new(id)) }
    }

    /// The same session, which knows a message again that a server took while its client could not be told (DECISIONS 4).
    #[must_use]
    pub fn with_receipts(mut self, receipts: Receipts) -> Self {
        self.common.receipts = Some(receipts);
        self
    }

    /// The client's address.
    pub fn client(&self) -> SocketAddr {
        self.common.client.address
    }

    /// What a hidden server on its way out called itself, if it did.
    pub fn name_of_server(&self) -> Option<&str> {
        let said = self.common.is_outbound() && self.common.client.esmtp;
        said.then_some(&*self.common.client.helo).filter(|name| !name.is_empty())
    }

    /// Its identifier.
    pub fn id(&self) -> TraceId {
        self.common.id
    }

    /// Whether the first bytes of the client are a TLS handshake; not before a far side has told how to answer it.
    pub fn begins_with_tls(&self) -> bool {
        self.common.protocol == Protocol::Submissions
    }

    /// When [`Input::Deadline`] is due.
    pub fn deadline(&self) -> Instant {
        match &self.phase {
            Phase::Naming(naming) => naming.deadline(self.common.deadline),
            Phase::Judging(judging) => judging.deadline(),
            Phase::Settling(settling) => settling.deadline(self.common.deadline),
            Phase::Authenticating(authenticating) => authenticating.deadline(self.common.deadline),
            _ => self.common.deadline,
        }
    }

    /// Whether bytes of the client are of use now. While they are not, they wait in the network: nobody makes Postern
    /// hold more than one read of them.
    pub fn reads_client(&self) -> bool {
        let waits = match self.phase {
            Phase::Ended | Phase::Handshaking(_) => true,
            // What the client says first is a handshake, which is not the session's to read.
            Phase::Quiet(_) | Phase::Connecting(..) => self.begins_with_tls() && !self.common.is_encrypted(),
            _ => false,
        };
        !waits && !self.common.client_closed && self.common.unread.is_empty() && self.common.stores < 2
    }

    /// Whether it is over: nothing but what was to be written is left to do.
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Whether no transaction is open, so that a drain can end it.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Quiet(_) | Phase::Connecting(..) | Phase::Idle(_) | Phase::Ended)
    }

    /// How it ended; `None` while it has not, or if the client just went away.
    pub fn end(&self) -> Option<&SessionEnd> {
        self.common.end.as_ref()
    }

    /// What the session's record says of it, but for what only its driver knows: octets, and how long.
    pub fn record(&self, bytes: (u64, u64), end: SessionEnd, now: Instant) -> record::Session {
        let common = &self.common;
        record::Session {
            id: common.id,
            began: common.wall,
            lasted: now.saturating_duration_since(common.began),
            protocol: common.protocol,
            client: common.client.address,
            helo: common.client.helo.clone(),
            tls: common.tls.clone(),
            authenticated: common.authenticated,
            transactions: common.transactions,
            unwelcome: common.is_unwelcome(),
            bytes,
            end,
        }
    }

    /// On the way out: whether a client that was shown a certificate went on to send mail. `None` where it was shown none.
    pub fn verdict(&self) -> Option<Verdict> {
        let was_shown = self.common.is_outbound() && self.common.tls != TlsOutcome::Plain;
        was_shown.then_some(if self.common.transactions > 0 { Verdict::Content } else { Verdict::Left })
    }

    /// Notes why there is no TLS with the client after all.
    pub fn tls_failed(&mut self, reason: &str) {
        self.common.tls = TlsOutcome::Failed(reason.into());
    }

    fn take(self, input: Input<'_>) -> Self {
        match input {
            Input::Begin => self.begin(),
            Input::Client(bytes) => self.take_bytes(bytes),
            Input::ClientClosed => self.client_closed(),
            Input::Encrypted(facts) => self.encrypted(facts),
            Input::Opened(leg, far) => {
                self.behind_discarding(|session| session.leg_opened(leg, *far)).resume()
            }
            Input::OpenFailed(leg, no) => {
                self.behind_discarding(|session| session.leg_failed(leg, no)).resume()
            }
            Input::Probed(leg, probed) => self.far_side_met(leg, *probed).resume(),
            Input::Located(host, backend) => self.located(&host, backend).resume(),
            Input::LookedUp(mailbox, listing) => self.looked_up(&mailbox, listing).resume(),
            Input::Leg(leg, bytes) => {
                self.behind_discarding(|session| session.leg_spoke(leg, bytes)).resume()
            }
            Input::LegClosed(leg, reason) => {
                self.behind_discarding(|session| session.leg_failed(leg, No::ServerLost(reason))).resume()
            }
            Input::Stored => self.stored().resume(),
            Input::StoreFailed => self.store_failed().resume(),
            Input::Fetched(leg, bytes) => self.fetched(leg, bytes).resume(),
            Input::FetchFailed(leg) => self.fetch_failed(leg).resume(),
            Input::Judged(transaction, judgement) => self.judged(transaction, *judgement).resume(),
            Input::NotJudged(transaction, why) => self.not_judged(transaction, &why).resume(),
            Input::Signed(transaction, fields) => self.signed(transaction, fields).resume(),
            Input::Spooled(group, spooled) => self.spooled(group, spooled).resume(),
            Input::SpoolFailed(group, no) => self.not_spooled(group, no).resume(),
            Input::Deadline => self.deadline_came().resume(),
            Input::Drain => self.drain(),
        }
    }

    /// Bytes of the client; those that cannot be answered yet are kept for later.
    fn take_bytes(mut self, bytes: &[u8]) -> Self {
        if let Phase::Quiet(_) = self.phase {
            return self.throw_out(No::Pregreet, Abuse::Pregreet);
        }
        if !self.common.unread.is_empty() {
            self.common.unread.extend_from_slice(bytes);
            return self.resume();
        }
        let mut input = bytes;
        let mut session = self.process(&mut input);
        if !input.is_empty() && !session.is_ended() {
            session.common.unread.extend_from_slice(input);
        }
        session
    }

    /// Goes on with what waited.
    fn resume(mut self) -> Self {
        if let Some(line) = self.common.held.take() {
            self = self.command(line);
        }
        if !self.common.unread.is_empty() {
            let unread = std::mem::take(&mut self.common.unread);
            let mut input = unread.as_slice();
            self = self.process(&mut input);
            if !input.is_empty() && !self.is_ended() {
                let rest = input.to_vec();
                self.common.unread = rest;
            }
        }
        if self.common.client_closed && self.common.unread.is_empty() && self.common.held.is_none() {
            self = self.end_if_idle();
        }
        self
    }

    /// Takes from the front of `input` what the state can make use of.
    fn process(mut self, input: &mut &[u8]) -> Self {
        while !input.is_empty() && self.common.held.is_none() {
            self = match self.phase {
                Phase::Receiving(receipt) if receipt.takes_octets() => {
                    Self { common: self.common, phase: Phase::Ended }.take_content(receipt, input)
                }
                Phase::Discarding(discarding) => {
                    Self { common: self.common, phase: Phase::Ended }.discard(*discarding, input)
                }
                Phase::Idle(_) | Phase::Naming(_) | Phase::Receiving(_) => match self.next_line(input) {
                    (session, Some(line)) if !input.is_empty() && session.begins_tls(&line) => {
                        *input = &[];
                        session.throw_out(No::InjectedBeforeTls, Abuse::InjectedBeforeTls)
                    }
                    (session, Some(line)) => session.command(line),
                    (session, None) => return session,
                },
                Phase::Authenticating(ref authenticating) if authenticating.awaits_client() => {
                    match self.next_line(input) {
                        (session, Some(line)) => session.authentication_response(line),
                        (session, None) => return session,
                    }
                }
                Phase::Ended => {
                    *input = &[];
                    return self;
                }
                _ => return self,
            };
        }
        self
    }

    /// A whole line, if there is one. A line that is none ends the session: what follows it cannot be trusted.
    fn next_line(mut self, input: &mut &[u8]) -> (Self, Option<Vec<u8>>) {
        match self.common.lines.read(input) {
            Ok(Some(line)) => {
                let line = line.to_vec();
                (self, Some(line))
            }
            Ok(None) => (self, None),
            Err(fault) => {
                *input = &[];
                (self.throw_out(No::BadLine(fault), Abuse::BadLine), None)
            }
        }
    }
}

impl Common {
    fn say(&mut self, reply: &Reply) {
        reply.write(&mut self.wants.to_client);
    }

    fn answer(&mut self, answer: Answer<'_>) {
        let reply = answer.reply(self.id);
        self.say(&reply);
    }

    fn act(&mut self, action: Action) {
        self.wants.actions.push(action);
    }

    /// A refusal of Postern's own, counted against the client.
    fn refuse(&mut self, no: &No) {
        let reply = no.reply(self.id);
        self.say(&reply);
        self.errors += 1;
    }

    fn is_encrypted(&self) -> bool {
        self.tls.facts().is_some()
    }

    /// Wall time now.
    fn wall_now(&self) -> Duration {
        self.wall + self.now.saturating_duration_since(self.began)
    }

    /// The client has `COMMAND` from now for its next command.
    fn await_command(&mut self) {
        self.deadline = self.now + COMMAND;
    }

    fn is_submission(&self) -> bool {
        self.protocol != Protocol::Smtp
    }

    /// Whether all mail of the session goes to one server, which is connected before the greeting.
    fn has_sole_server(&self) -> bool {
        match self.arrival {
            Arrival::Here { .. } => self.is_submission(),
            Arrival::Inbound(_) | Arrival::Outbound(Some(_)) => true,
            Arrival::Outbound(None) => false,
        }
    }
}
