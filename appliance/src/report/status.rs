//! The numbers of the page.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::addresses::AddressesState;
use super::certifying::CertifyingState;
use super::learning::LearningState;
use super::live::{
    ArmingState, AuthorityState, BackendState, CertificateState, ListenerState, RolesState, StrainState,
    VerifyingState,
};
use super::queue::QueueState;
use super::state::{Problem, State};

/// Everything that the front of the page shows.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The version of the program.
    pub version: String,
    /// The name in the greeting.
    pub hostname: String,
    /// When this was so, in seconds since 1970.
    pub now: u64,
    /// When the program was started, in seconds since 1970.
    pub started: u64,
    /// How things are.
    pub state: State,
    /// What else somebody should look after, the worst first.
    #[serde(default)]
    pub problems: Vec<Problem>,
    /// Open sessions with clients.
    pub sessions_now: usize,
    /// Octets of messages in memory and in spill files.
    pub bytes_in_flight: u64,
    /// What runs short at the moment; empty as a rule.
    #[serde(default)]
    pub strains: Vec<StrainState>,
    /// Events whose details were dropped because they came faster than they could be kept.
    pub events_dropped: u64,
    /// The last hour and the last two days.
    pub periods: Vec<Period>,
    /// Where mail comes in.
    pub listeners: Vec<ListenerState>,
    /// The servers behind.
    pub backends: Vec<BackendState>,
    /// What serves as identity.
    pub certificates: Vec<CertificateState>,
    /// How the world sees the addresses that mail leaves from.
    #[serde(default)]
    pub addresses: AddressesState,
    /// How ordering certificates goes.
    #[serde(default)]
    pub certifying: CertifyingState,
    /// Which servers' connections are taken on their way; empty in `front`.
    #[serde(default)]
    pub arming: Vec<ArmingState>,
    /// The authority by which hidden servers are shown far sides; none in `front`.
    #[serde(default)]
    pub authority: Option<AuthorityState>,
    /// Hidden servers that verify far sides and do not trust the authority.
    #[serde(default)]
    pub verifying: Vec<VerifyingState>,
    /// What waits.
    #[serde(default)]
    pub queue: QueueState,
    /// How the classifier does.
    #[serde(default)]
    pub learning: LearningState,
    /// The processes that Postern is made of.
    pub roles: RolesState,
    /// Client networks whose mail came without forward secrecy, most sessions first.
    pub without_tls: Vec<NetworkCount>,
    /// Servers that could not be used, latest first.
    pub not_reached: Vec<NotReached>,
}

/// What happened in a span of time.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Period {
    /// How long it is, in seconds.
    pub seconds: u64,
    /// How much of it one of `steps` covers, in seconds.
    pub step_seconds: u64,
    /// The sum.
    pub totals: Totals,
    /// Oldest first; the last one is still growing.
    pub steps: Vec<Totals>,
    /// TLS with clients, most sessions first.
    pub client_tls: Vec<TlsCount>,
    /// TLS with servers, most groups first.
    pub server_tls: Vec<TlsCount>,
    /// Why mail or sessions were refused, most frequent first.
    pub refusals: Vec<Count>,
    /// What was decided of judged mail, most frequent first.
    #[serde(default)]
    pub verdicts: Vec<Count>,
}

/// Sums of one span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// Sessions that ended.
    pub sessions: u64,
    /// Of these, how many were not encrypted.
    pub plain_sessions: u64,
    /// Messages that were accepted.
    pub accepted: u64,
    /// Transactions that were refused for good.
    pub refused: u64,
    /// Transactions whose sender was told to try later.
    pub deferred: u64,
    /// Octets of content of the accepted messages.
    pub bytes: u64,
}

impl Totals {
    /// Adds another span.
    pub fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.plain_sessions += other.plain_sessions;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.deferred += other.deferred;
        self.bytes += other.bytes;
    }
}

/// How often something was so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Count {
    /// What.
    pub what: String,
    /// How often.
    pub count: u64,
}

/// How often a kind of TLS was spoken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TlsCount {
    /// `TLSv1.2`, `TLSv1.3`, `plain` or `failed`.
    pub version: String,
    /// IANA's name; empty without TLS.
    pub suite: String,
    /// The key exchange; empty without TLS.
    pub group: String,
    /// How often.
    pub count: u64,
}

/// A network of clients, and how many of its sessions had no forward secrecy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkCount {
    /// A /24, or a /48 of IPv6.
    pub network: String,
    /// What the last client there called itself.
    pub helo: String,
    /// Sessions in plain text.
    pub plain: u64,
    /// Handshakes that failed.
    pub failed: u64,
    /// The last one, in seconds since 1970.
    pub last: u64,
    /// Why the last handshake failed; empty if none did.
    pub reason: String,
}

/// A server that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotReached {
    /// When, in seconds since 1970.
    pub at: u64,
    /// The session it was for; empty for probes.
    pub session: String,
    /// The backend's name.
    pub backend: String,
    /// The server's address.
    pub server: String,
    /// What failed, in words.
    pub reason: String,
}
