//! What a session can want done.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use delivery::{Client, Far, OpenRequest, ProbeRequest, Proven, Shown};
use record::{Direction, Event, Protocol, TlsOutcome, TlsSession};
use route::Backend;
use smtp::address::Host;
use smtp::{Envelope, Mailbox, RecipientSet, Reply, TransactionId};
use spool::{Folder, ReceiptKey, SenderProof};
use tokio::time::Instant;

use super::LegId;
use crate::reporting::Relayed;

/// What a session wants done, in order.
#[derive(Debug, Default)]
pub struct Wants {
    /// To be written to the client, before the actions.
    pub to_client: Vec<u8>,
    /// To be done.
    pub actions: Vec<Action>,
}

/// Something to be done for a session.
#[derive(Debug)]
pub enum Action {
    /// Once all is written: the server's part of a TLS handshake with the client, under a certificate like what the far
    /// side has shown where there is one, else under Postern's own.
    StartTls(Option<Shown>),
    /// Open a connection.
    Open(LegId, Box<OpenRequest>),
    /// Meet the far side that the client was on its way to.
    Probe(LegId, Box<ProbeRequest>),
    /// Find out where mail for a domain, or for an address literal, goes.
    Locate(Host),
    /// Ask the directory of this backend for a recipient.
    LookUp(Arc<Backend>, Mailbox),
    /// A server broke off or fell silent in the middle of a session: others are tried before it.
    Doubt {
        /// Whose server.
        backend: Arc<Backend>,
        /// Where.
        server: SocketAddr,
        /// What it did.
        reason: Box<str>,
    },
    /// Write to a server.
    Write(LegId, Vec<u8>),
    /// Put a connection into the pool.
    Release(LegId, Box<Far<Proven>>),
    /// Drop a connection, with QUIT if it is in step.
    Close(LegId, bool),
    /// Store content behind what was stored before.
    Store(Vec<u8>),
    /// Once all is written to the server: read stored content, from here, this much.
    Fetch(LegId, u64, usize),
    /// Have the message judged, before anybody has it.
    Judge(Box<Question>),
    /// Have the message signed, for the world.
    Sign(Box<SigningRequest>),
    /// Store the message durably.
    Spool(Box<SpoolRequest>),
    /// The message is with servers that send no reports: tell its sender, who asked for it, if that may be.
    Report(Box<Relayed>),
    /// The stored content is of no more use.
    Forget,
    /// Tell the recorder.
    Record(Event),
    /// Tell whoever keeps it what TLS with the far side came to.
    Tell(Vec<TlsSession>),
    /// A server has the message and the client is told so in what was just written: if that cannot be written, its next
    /// try is to be known by this.
    Promised(ReceiptKey, Reply),
    /// The client misbehaved.
    Misbehaved,
    /// Once all is written: close.
    Finish,
}

/// A message to be kept on disk for some of its recipients.
#[derive(Debug)]
pub struct SpoolRequest {
    /// The group, given back in the answer.
    pub group: usize,
    /// The transaction.
    pub transaction: TransactionId,
    /// Of these of its recipients.
    pub recipients: RecipientSet,
    /// The whole envelope.
    pub envelope: Envelope,
    /// The client.
    pub client: Client,
    /// The listener's protocol.
    pub protocol: Protocol,
    /// TLS with the client.
    pub tls: TlsOutcome,
    /// Whether the client authenticated.
    pub authenticated: bool,
    /// What is known of the sender without asking anybody.
    pub sender: SenderProof,
    /// The backend's name.
    pub backend: Box<str>,
    /// Where it waits: for its server, for a person, or for Postern itself.
    pub folder: Folder,
    /// Why it was not delivered at once.
    pub reason: Reply,
    /// When it was received, since 1970.
    pub received: Duration,
    /// The content.
    pub carriage: Carriage,
}

/// A message that is to be judged: a [`Case`](crate::Case), but for the file that its beginning is in.
#[derive(Debug)]
pub struct Question {
    /// The transaction.
    pub transaction: TransactionId,
    /// Which way it goes.
    pub direction: Direction,
    /// The client.
    pub client: Client,
    /// The listener's protocol.
    pub protocol: Protocol,
    /// TLS with the client.
    pub tls: TlsOutcome,
    /// Whether the client authenticated.
    pub authenticated: bool,
    /// As whom, in lower case, where its mechanism tells.
    pub user: Option<Box<str>>,
    /// The whole envelope.
    pub envelope: Envelope,
    /// The recipients that it was accepted for.
    pub recipients: RecipientSet,
    /// Whether one of them is a trap.
    pub trapped: bool,
    /// When it was received, since 1970.
    pub received: Duration,
    /// Octets of content that are stored.
    pub stored: u64,
    /// The content behind them.
    pub tail: Arc<[u8]>,
    /// By when there is to be an answer.
    pub deadline: Instant,
}

/// A message that is to be signed: what [`Unsigned`](crate::Unsigned) has, but for the file that its beginning is in.
#[derive(Debug)]
pub struct SigningRequest {
    /// The transaction.
    pub transaction: TransactionId,
    /// Who sends it.
    pub client: IpAddr,
    /// Octets of content that are stored.
    pub stored: u64,
    /// The content behind them.
    pub tail: Arc<[u8]>,
}

/// Where a message's content is, and what is different on its way out.
#[derive(Clone, Debug)]
pub struct Carriage {
    /// What is added to the content and left out of it.
    pub outgoing: Arc<delivery::Outgoing>,
    /// Octets of content that are stored.
    pub stored: u64,
    /// The content behind them.
    pub tail: Arc<[u8]>,
}
