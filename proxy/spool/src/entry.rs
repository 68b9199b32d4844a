//! What is kept of a message besides its content, and how it is written.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use smtp::{Envelope, RecipientSet, Reply, TraceId, TransactionId};

use crate::fields::{Decoder, Encoder, bounded};

/// A message in the spool. Later ones are greater; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(u64);

impl EntryId {
    /// The number behind it.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`EntryId::to_bits`].
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for EntryId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// Where a message waits, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Folder {
    /// For its server.
    Queue,
    /// For a person's decision.
    Quarantine,
    /// Users' reports of spam and ham.
    Reports,
    /// Caught by a trap address.
    Traps,
    /// Could not be delivered, and nobody may be told.
    Expired,
}

impl Folder {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Queue, Self::Quarantine, Self::Reports, Self::Traps, Self::Expired];

    /// As logs and pages write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Quarantine => "quarantine",
            Self::Reports => "reports",
            Self::Traps => "traps",
            Self::Expired => "expired",
        }
    }

    /// The folder of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|folder| folder.name() == name)
    }

    fn code(self) -> u8 {
        match self {
            Self::Queue => 1,
            Self::Quarantine => 2,
            Self::Reports => 3,
            Self::Traps => 4,
            Self::Expired => 5,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|folder| folder.code() == code)
    }
}

/// What is known of the client, to be told to the server when the client is long gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFacts {
    /// Address and port.
    pub address: SocketAddr,
    /// What it called itself in EHLO or HELO, as received.
    pub helo: Box<str>,
    /// The protocol as Received fields name it (RFC 3848), such as `ESMTPS`.
    pub protocol: Box<str>,
    /// TLS, if it was used.
    pub tls: Option<TlsWords>,
    /// Whether it authenticated.
    pub authenticated: bool,
}

/// What proves that the reverse-path is the sender's own, so that a report to it is no backscatter (DECISIONS 2, 30).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SenderProof {
    /// Nothing does, or the DNS did not say in time.
    #[default]
    Unknown,
    /// The client is one of ours.
    Inside,
    /// The client authenticated.
    Authenticated,
    /// SPF passed for the reverse-path (RFC 7208).
    Spf,
    /// DMARC passed for the domain of the reverse-path (RFC 9989).
    Dmarc,
}

impl SenderProof {
    const ALL: [Self; 5] = [Self::Unknown, Self::Inside, Self::Authenticated, Self::Spf, Self::Dmarc];

    /// Whether a report may be sent to the reverse-path.
    pub fn allows_report(self) -> bool {
        self != Self::Unknown
    }

    /// As logs and pages write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Inside => "inside",
            Self::Authenticated => "authenticated",
            Self::Spf => "spf",
            Self::Dmarc => "dmarc",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Inside => 1,
            Self::Authenticated => 2,
            Self::Spf => 3,
            Self::Dmarc => 4,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|proof| proof.code() == code)
    }
}

/// TLS in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsWords {
    /// Such as `TLSv1.3`.
    pub version: Box<str>,
    /// IANA's name of the cipher suite.
    pub suite: Box<str>,
}

/// A message to keep, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The transaction that it came in.
    pub transaction: TransactionId,
    /// All that MAIL and the RCPTs said.
    pub envelope: Envelope,
    /// The recipients it is kept for, by their index in the envelope; of an entry that was opened, those that remain.
    pub recipients: RecipientSet,
    /// Who sent it; `None` for what Postern itself writes.
    pub client: Option<ClientFacts>,
    /// Whether its sender may be told what becomes of it.
    pub sender: SenderProof,
    /// Where it waits.
    pub folder: Folder,
    /// The name of the backend it is for.
    pub backend: Box<str>,
    /// Why it is kept rather than delivered; of an entry that was opened, the last words. Cut to 1 KiB.
    pub reason: Reply,
    /// When its content had arrived, since 1970.
    pub received_at: Duration,
}

/// The part of a message's record that never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fixed {
    pub(crate) transaction: TransactionId,
    pub(crate) received_at: Duration,
    pub(crate) backend: Box<str>,
    pub(crate) client: Option<ClientFacts>,
    pub(crate) envelope: Envelope,
    pub(crate) sender: SenderProof,
}

impl Fixed {
    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.u64(self.transaction.session.to_bits());
        out.u32(self.transaction.number);
        out.duration(self.received_at);
        out.bytes(self.backend.as_bytes());
        encode_client(self.client.as_ref(), out);
        let mut envelope = Vec::new();
        self.envelope.write(&mut envelope);
        out.bytes(&envelope);
        out.u8(self.sender.code());
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Option<Self> {
        let (transaction, received_at, backend) = decode_head(from)?;
        let client = decode_client(from)?;
        let envelope = Envelope::read(from.bytes()?).ok()?;
        // Records from before there was such a fact end here: nothing is proven.
        let sender =
            if from.0.is_empty() { SenderProof::Unknown } else { SenderProof::from_code(from.u8()?)? };
        Some(Self { transaction, received_at, backend, client, envelope, sender })
    }
}

/// Transaction, arrival and backend.
pub(crate) fn decode_head(from: &mut Decoder<'_>) -> Option<(TransactionId, Duration, Box<str>)> {
    let transaction = TransactionId { session: TraceId::from_bits(from.u64()?), number: from.u32()? };
    Some((transaction, from.duration()?, from.text()?))
}

/// Where there is no client, an empty text stands in the place of its address.
fn encode_client(client: Option<&ClientFacts>, out: &mut Encoder) {
    let Some(client) = client else { return out.bytes(b"") };
    out.bytes(client.address.to_string().as_bytes());
    out.bytes(client.helo.as_bytes());
    out.bytes(client.protocol.as_bytes());
    out.u8(u8::from(client.authenticated));
    out.u8(u8::from(client.tls.is_some()));
    if let Some(tls) = &client.tls {
        out.bytes(tls.version.as_bytes());
        out.bytes(tls.suite.as_bytes());
    }
}

fn decode_client(from: &mut Decoder<'_>) -> Option<Option<ClientFacts>> {
    let address = from.text()?;
    if address.is_empty() {
        return Some(None);
    }
    let address = address.parse().ok()?;
    let (helo, protocol) = (from.text()?, from.text()?);
    let authenticated = from.u8()? != 0;
    let tls = match from.u8()? {
        0 => None,
        _ => Some(TlsWords { version: from.text()?, suite: from.text()? }),
    };
    Some(Some(ClientFacts { address, helo, protocol, tls, authenticated }))
}

/// The part of a message's record that changes. Every change writes all of it, so that the last one counts alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// Greater with each change: which is the last does not depend on where it was written.
    pub(crate) revision: u64,
    pub(crate) folder: Folder,
    pub(crate) remaining: RecipientSet,
    pub(crate) attempts: u32,
    /// When it is due next, since 1970.
    pub(crate) next: Duration,
    pub(crate) words: Reply,
    /// When it came into its folder, since 1970: lifetimes and terms count from then.
    pub(crate) since: Duration,
    /// A person holds it back.
    pub(crate) held: bool,
    /// The sender was told that it waits, or is not to be told.
    pub(crate) delay_told: bool,
    /// What was said of single recipients, where it is not `words`.
    pub(crate) own_words: Box<[(usize, Reply)]>,
}

const HELD: u8 = 1;
const DELAY_TOLD: u8 = 2;

impl State {
    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.u64(self.revision);
        out.u8(self.folder.code());
        out.recipients(&self.remaining);
        out.u32(self.attempts);
        out.duration(self.next);
        out.reply(&self.words);
        out.duration(self.since);
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        out.u8(flag(self.held, HELD) | flag(self.delay_told, DELAY_TOLD));
        out.own_words(&self.own_words);
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Option<Self> {
        // Each change counts on: the greatest number has no successor, and no record of ours has it.
        let revision = from.u64().filter(|&revision| revision < u64::MAX)?;
        let folder = Folder::from_code(from.u8()?)?;
        let (remaining, attempts, next) = (from.recipients()?, from.u32()?, from.duration()?);
        let (words, since, flags) = (from.reply()?, from.duration()?, from.u8()?);
        let (held, delay_told) = (flags & HELD != 0, flags & DELAY_TOLD != 0);
        let own_words = from.own_words()?;
        Some(Self { revision, folder, remaining, attempts, next, words, since, held, delay_told, own_words })
    }
}

impl Entry {
    /// Takes it apart; `next` is when it is due first.
    pub(crate) fn split(self, next: Duration) -> (Fixed, State) {
        let Self { transaction, envelope, recipients, client, sender, folder, backend, reason, received_at } =
            self;
        let words = bounded(reason);
        let state = State {
            revision: 1,
            folder,
            remaining: recipients,
            attempts: 0,
            next,
            words,
            since: received_at,
            held: false,
            delay_told: false,
            own_words: Box::default(),
        };
        (Fixed { transaction, received_at, backend, client, envelope, sender }, state)
    }

    pub(crate) fn join(fixed: Fixed, state: State) -> Self {
        let Fixed { transaction, received_at, backend, client, envelope, sender } = fixed;
        let State { folder, remaining: recipients, words: reason, .. } = state;
        Self { transaction, envelope, recipients, client, sender, folder, backend, reason, received_at }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smtp::{EnhancedCode, ReplyCode};

    use super::*;

    fn entries() -> impl Strategy<Value = Entry> {
        let reply = (200_u16..600, any::<bool>(), "[ -~\n]{0,80}").prop_map(|(code, enhanced, text)| {
            Reply::new(ReplyCode::new(code).unwrap(), enhanced.then_some(EnhancedCode(4, 7, 999)), text)
        });
        let tls = proptest::option::of(
            ("[A-Za-z0-9.]{0,9}", "[A-Z_]{0,40}").prop_map(|(v, s)| (v.into_boxed_str(), s.into_boxed_str())),
        );
        let client = (any::<std::net::IpAddr>(), any::<u16>(), "\\PC{0,40}", tls, any::<bool>());
        let client = (proptest::option::of(client), 0_usize..5);
        (
            any::<(u64, u32, u64)>(),
            1_usize..80,
            proptest::collection::vec(0_usize..80, 1..9),
            client,
            0_usize..5,
            ("[a-z.]{0,20}", reply),
        )
            .prop_map(|(numbers, count, covered, (client, sender), folder, last)| {
                let mut text =
                    b"MAIL FROM:<a@b.example> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x+20y\r\n".to_vec();
                for i in 0..count {
                    text.extend_from_slice(
                        format!("RCPT TO:<\u{fc}{i}@x.example> NOTIFY=NEVER\r\n").as_bytes(),
                    );
                }
                Entry {
                    transaction: TransactionId { session: TraceId::from_bits(numbers.0), number: numbers.1 },
                    envelope: Envelope::read(&text).unwrap(),
                    recipients: covered.into_iter().filter(|i| *i < count).collect(),
                    client: client.map(|(address, port, helo, tls, authenticated)| ClientFacts {
                        address: SocketAddr::new(address, port),
                        helo: helo.into(),
                        protocol: "UTF8SMTPS".into(),
                        tls: tls.map(|(version, suite)| TlsWords { version, suite }),
                        authenticated,
                    }),
                    sender: SenderProof::ALL[sender],
                    folder: Folder::ALL[folder],
                    backend: last.0.into(),
                    reason: last.1,
                    received_at: Duration::from_nanos(numbers.2),
                }
            })
    }

    proptest! {
        #[test]
        fn an_entry_reads_back_as_written(entry in entries(), next in any::<u64>()) {
            let next = Duration::from_nanos(next);
            let (fixed, state) = entry.clone().split(next);
            let mut out = Encoder::default();
            state.encode(&mut out);
            fixed.encode(&mut out);
            let mut from = Decoder(&out.0);
            let read = State::decode(&mut from).unwrap();
            prop_assert_eq!(read.next, next);
            let fixed = Fixed::decode(&mut from).unwrap();
            prop_assert!(from.0.is_empty());
            prop_assert_eq!(Entry::join(fixed, read), entry);
        }

        #[test]
        fn a_record_from_before_senders_were_proven_reads_as_unproven(entry in entries()) {
            let (fixed, _) = entry.split(Duration::ZERO);
            let mut out = Encoder::default();
            fixed.encode(&mut out);
            out.0.pop();
            let read = Fixed::decode(&mut Decoder(&out.0)).unwrap();
            prop_assert_eq!(read, Fixed { sender: SenderProof::Unknown, ..fixed });
        }

        #[test]
        fn garbage_is_no_entry_and_no_panic(garbage in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut from = Decoder(&garbage);
            let _ = State::decode(&mut from);
            let _ = Fixed::decode(&mut from);
        }
    }
}
