//! The present state, which the page is told by whoever runs the engine.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::StoreError;

use super::addresses::AddressesState;
use super::certifying::{CertifyingState, RollOrder};
use super::entries::{Deciding, DomainEntry, DomainState, EntryOrder};
use super::learning::{BlockedSender, LearningState};
use super::queue::QueueState;
use super::received::ReceivedReports;
use super::reports::HeldReport;
use super::scan::{LearnOrder, Lesson, NotJudging, ScanOrder, Scanned};
use super::senders::SenderState;
use super::zone::{NoZones, PublishedState, ZoneQuestion, ZoneReport};
use crate::weekly::WeekReport;

/// An answer that takes its time.
pub type Asking<T> = Pin<Box<dyn Future<Output = Result<T, NotJudging>> + Send>>;

/// What [`Live::zones`] returns.
pub type Zoning = Pin<Box<dyn Future<Output = Result<ZoneReport, NoZones>> + Send>>;

/// Answers what is so now. Asked at every look at the page: must be quick and must not block, but for what
/// is [`Asking`], [`Zoning`] or [`Writing`].
pub trait Live: Send + Sync + 'static {
    /// Where mail comes in, in the config's order.
    fn listeners(&self) -> Vec<ListenerState>;
    /// The servers behind, in the config's order.
    fn backends(&self) -> Vec<BackendState>;
    /// What serves as identity.
    fn certificates(&self) -> Vec<CertificateState>;
    /// How ordering certificates goes, and what TLSA records say.
    fn certifying(&self) -> CertifyingState;
    /// Orders anew what has this name, or everything; how many certificates that are. `None`: nothing is ordered here.
    fn renew(&self, name: Option<&str>) -> Option<usize>;
    /// Changes a key before its time. `None`: nothing is ordered here.
    fn roll(&self, order: RollOrder) -> Option<Result<(), String>>;
    /// Open sessions with clients.
    fn sessions_now(&self) -> usize;
    /// Octets of messages in memory and in spill files.
    fn bytes_in_flight(&self) -> u64;
    /// How far each resource is used up.
    fn strains(&self) -> Vec<StrainState>;
    /// Whether no new sessions are taken because Postern is about to stop.
    fn draining(&self) -> bool;

    /// How the world sees the addresses that mail leaves from.
    fn addresses(&self) -> AddressesState;

    /// The weeks of these domains, of all where none is named, that have this number since 1970; the present ones without.
    fn weeks(&self, domains: Vec<String>, week: Option<u64>) -> Asking<Vec<WeekReport>>;
    /// The processes that Postern is made of.
    fn roles(&self) -> RolesState;
    /// Which servers' connections are taken on their way, in the config's order; empty in `front`.
    fn arming(&self) -> Vec<ArmingState>;
    /// The authority by which hidden servers are shown far sides; `None` in `front`.
    fn authority(&self) -> Option<AuthorityState>;
    /// Hidden servers that verify far sides and do not trust the authority (DECISIONS 18).
    fn verifying(&self) -> Vec<VerifyingState>;
    /// What waits.
    fn queue(&self) -> QueueState;
    /// Judges a message that is not sent.
    fn scan(&self, order: ScanOrder) -> Asking<Scanned>;
    /// Learns a message that somebody hands in.
    fn learn(&self, class: judge::Class, order: LearnOrder) -> Asking<Lesson>;
    /// How the classifier does.
    fn learning(&self) -> LearningState;
    /// From whom a person wants nothing more.
    fn blocked(&self) -> Vec<BlockedSender>;
    /// Nothing more from an address or a domain. Whether it is new.
    fn block(&self, entry: String) -> Asking<bool>;
    /// It may write again. Whether it was blocked.
    fn unblock(&self, entry: String) -> Asking<bool>;
    /// The domains behind, by name, with the numbers of their mailboxes and entries.
    fn domains(&self) -> Vec<DomainState>;
    /// What a domain decided for itself, by kind and name. `None`: no backend has it.
    fn domain_entries(&self, domain: &str) -> Option<Vec<DomainEntry>>;
    /// Adds or removes an entry; whether something is other than before.
    fn decide(&self, order: EntryOrder) -> Deciding;
    /// A person says that what the quarantine holds is spam: whoever learns may learn from it.
    fn was_reported(&self, transaction: smtp::TransactionId);
    /// Who sends from here: those that look taken over, then those with most recipients; at most so many.
    fn senders(&self, most: usize) -> Vec<SenderState>;
    /// Those of them that look taken over; asked often.
    fn suspects(&self) -> Vec<SenderState>;
    /// A sender is itself again. Whether it was taken for somebody else.
    fn release_sender(&self, name: &str) -> bool;
    /// Nothing of a sender is to go out. Whether that can be: mail has to be judged for it.
    fn stop_sender(&self, name: &str) -> bool;
    /// Who sent a message, where that is known.
    fn sender_of(&self, transaction: smtp::TransactionId) -> Option<String>;
    /// Reports of users that wait for a person, the oldest first; at most so many.
    fn held_reports(&self, most: usize) -> Asking<Vec<HeldReport>>;
    /// A person's word about one of them: it is believed, or thrown away. Whether there is one of that name.
    fn settle_report(&self, id: String, accepts: bool) -> Asking<bool>;
    /// What others report about these domains here, or about all.
    fn received_reports(&self, domains: Vec<String>) -> Asking<ReceivedReports>;
    /// The DNS records of the domains here, and what is published in their place.
    fn zones(&self, question: ZoneQuestion) -> Zoning;
    /// What the latest daily look found wrong in what is published.
    fn published(&self) -> PublishedState;
    /// Makes new DKIM keys for a domain before their time; its records then.
    fn replace_dkim(&self, domain: String) -> Zoning;
    /// A person let this message out of the quarantine: whoever learns may learn from it.
    fn was_released(&self, transaction: smtp::TransactionId);
    /// Writes all that the store has into a file of the state folder, for a backup; how many records there are. Takes as long as
    /// the disk takes.
    fn write_store_down(&self) -> Writing<'_>;
}

/// What [`Live::write_store_down`] returns.
pub type Writing<'a> = Pin<Box<dyn Future<Output = Result<u64, StoreError>> + Send + 'a>>;

/// How far something is used up of which there can be too little.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StrainState {
    /// `memory`, `disk`, `files`, `sessions`, `in_flight` or `judge`.
    pub resource: String,
    /// How far.
    pub strain: Strain,
}

/// How far it is used up, as the page and the API write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Strain {
    /// There is enough.
    None,
    /// Only clients in good standing are let in.
    High,
    /// No new session is.
    Full,
}

impl From<relay::Strain> for Strain {
    fn from(strain: relay::Strain) -> Self {
        match strain {
            relay::Strain::None => Self::None,
            relay::Strain::High => Self::High,
            relay::Strain::Full => Self::Full,
        }
    }
}

/// A hidden server that left a far side after the handshake, again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifyingState {
    /// The server's address.
    pub server: IpAddr,
    /// Whom it was on its way to.
    pub destination: SocketAddr,
    /// How often in a row.
    pub times: u32,
}

/// A server's address and port, and whether connections to it are taken (DECISIONS 20).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArmingState {
    /// The backend's name.
    pub backend: String,
    /// Where.
    pub server: SocketAddr,
    /// Whether mail for it passes through Postern; if not, it passes unread.
    pub armed: bool,
    /// `auto`, `now` or `never`, as the config has it.
    pub configured: String,
    /// The names under which the world reaches it, as far as they are known.
    pub names: Vec<String>,
    /// Why, in a sentence.
    pub why: String,
}

/// The authority of the appliance's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuthorityState {
    /// Its certificate, to be given to hidden servers that verify.
    pub pem: String,
    /// SHA-256 of the certificate, in hexadecimal.
    pub sha256: String,
    /// The last second of its validity, in seconds since 1970.
    pub expires: u64,
}

/// The processes that Postern is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RolesState {
    /// `separate processes`, or `threads` and why.
    pub words: String,
    /// Guard, gate, sift workers; without the guard where all are threads.
    pub processes: Vec<RoleState>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleState {
    /// `guard`, `gate`, or `sift` and its place.
    pub role: String,
    /// Its process; the same for all where they are threads.
    pub pid: u32,
    /// How often it was started anew.
    pub restarts: u32,
    /// Whether it has shown that it works.
    pub works: bool,
}

/// A listener for mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerState {
    /// Where, as bound.
    pub address: SocketAddr,
    /// `smtp`, `submission` or `submissions`.
    pub protocol: String,
    /// Why it does not listen; `None` if it does.
    pub problem: Option<String>,
}

/// A backend and its servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackendState {
    /// Its name in the config.
    pub name: String,
    /// Its domains.
    pub domains: Vec<String>,
    /// How far TLS with it goes, as the config writes it.
    pub tls: String,
    /// Its servers in the order in which they are tried.
    pub servers: Vec<ServerState>,
    /// Whose mail is taken while they are away.
    #[serde(default)]
    pub recipients: RecipientsState,
}

/// What is known of a backend's recipients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecipientsState {
    /// Mailboxes that its servers accepted.
    pub accepted: usize,
    /// Those that they refused lately.
    pub refused: usize,
    /// `ask`, `file` or `ldap`.
    pub list: String,
    /// Entries of the list, where they can be counted.
    pub listed: Option<usize>,
    /// Why the list cannot be asked; empty while it can.
    pub trouble: String,
    /// Domains in which a server accepts every recipient.
    pub accepts_everything: Vec<String>,
}

impl RecipientsState {
    /// In words, for people.
    pub fn words(&self) -> String {
        let seen = format!("{} seen, {} refused lately", self.accepted, self.refused);
        let list = match (self.list.as_str(), self.listed) {
            ("file", Some(listed)) => format!("{listed} on the list; "),
            ("ldap", _) if self.trouble.is_empty() => "listed in LDAP; ".to_owned(),
            ("ldap", _) => format!("LDAP does not answer ({}); ", self.trouble),
            _ => String::new(),
        };
        format!("{list}{seen}")
    }

    /// What to do where servers accept everybody; `None` where they do not.
    pub fn advice(&self) -> Option<String> {
        (!self.accepts_everything.is_empty()).then(|| {
            format!(
                "accepts every recipient of {}: while it is down only those are known who had mail. Give [[backend]] \
                 recipients a file or LDAP.",
                self.accepts_everything.join(", ")
            )
        })
    }
}

impl BackendState {
    /// Whether some server of it can take mail, or has not been asked yet.
    pub fn is_usable(&self) -> bool {
        self.servers.iter().any(|server| !matches!(server.health, Health::Down { .. }))
    }
}

/// One server of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerState {
    /// As the config names it.
    pub server: String,
    /// Whether it answers.
    pub health: Health,
    /// The keywords of its EHLO, after STARTTLS where there was one.
    pub capabilities: Vec<String>,
    /// How it is told the client's address: `transparent`, `proxy`, `xclient`, `xforward` or `none`.
    pub client_address: String,
    /// TLS of the last connection in words, such as `TLSv1.3 TLS_AES_256_GCM_SHA384 X25519`; `None`: plain text.
    pub tls: Option<String>,
}

/// Whether a server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Health {
    /// It has not been asked yet.
    Unknown,
    /// It answered last time.
    Up,
    /// It did not.
    Down {
        /// Since when, in seconds since 1970.
        since: u64,
        /// What happened, in words.
        reason: String,
    },
}

/// A certificate that is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateState {
    /// The names in it.
    pub names: Vec<String>,
    /// The last second of its validity, in seconds since 1970.
    pub expires: u64,
    /// Where it comes from.
    pub source: CertificateSource,
    /// SHA-256 of it, as `openssl x509 -fingerprint -sha256` writes it.
    #[serde(default)]
    pub fingerprint: String,
    /// When it is renewed by itself, in seconds since 1970; `None`: it is not.
    #[serde(default)]
    pub renews: Option<u64>,
}

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CertificateSource {
    /// Made here: nobody outside trusts it.
    SelfSigned,
    /// The administrator's files.
    File {
        /// The chain's path.
        path: String,
    },
    /// Ordered from a CA.
    Acme {
        /// The CA's directory.
        directory: String,
    },
}
