//! The servers of the world that take a domain's mail, in the order in which to try them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dns::{DnsError, Proof};
use smtp::Domain;

/// How many targets are tried for one message. RFC 5321 §5.1 wants two at least; twelve is five exchangers with two families
/// each, as the largest providers have them, and some to spare. Whoever publishes hundreds does not decide how long a
/// session lasts.
pub const MAX_ATTEMPTS: usize = 12;
/// How many addresses of one host are tried as long as there are other hosts.
const MIN_SHARE: usize = 4;

/// One address of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The name that is published for it, in A-labels: what TLS asks for and verifies. `None` for an address that was given
    /// without a name: nothing can be verified there.
    pub host: Option<Domain>,
    /// What `host` is an alias of. Where both proofs are secure, DANE asks under this name first (RFC 7672 §2.2.2).
    pub canonical: Option<Domain>,
    /// Where to connect.
    pub address: SocketAddr,
    /// Of its MX record; 0 where there is none.
    pub preference: u16,
    /// Of the MX records, or of their absence.
    pub mx_proof: Proof,
    /// Of the address and the aliases that lead to it.
    pub address_proof: Proof,
}

/// By what the targets are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Published {
    /// The domain's MX records.
    Mx,
    /// The domain has none, and takes mail itself (RFC 5321 §5.1).
    Implicit,
    /// An address literal, `user@[192.0.2.1]`.
    Literal,
    /// A relay that the administrator named.
    Relay,
}

/// What was passed over on the way to the targets, for the log (law 9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// An MX record names an alias, against RFC 5321 §5.1; it is used all the same.
    Alias(Domain),
    /// An MX record names an address instead of a host; it is used all the same.
    AddressForName(IpAddr),
    /// The address is one of the inside's or nobody's.
    Closed {
        /// The host.
        host: Option<Domain>,
        /// Where it claims to be.
        address: IpAddr,
    },
    /// A null MX beside others, against RFC 7505 §3; left out.
    NullAmongOthers,
    /// This host is Postern: it and all that are not preferred to it were left out (RFC 5321 §5.1).
    Own(Domain),
    /// There are more hosts or records than are looked at; so many were left out.
    TooMany(usize),
    /// The host's addresses could not be found; of one family, if it has targets.
    Unresolved {
        /// The host.
        host: Domain,
        /// Why.
        error: DnsError,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alias(host) => write!(f, "MX {host} is an alias"),
            Self::AddressForName(address) => write!(f, "MX {address} is an address, not a name"),
            Self::Closed { host: Some(host), address } => write!(f, "{host} claims to be at {address}"),
            Self::Closed { host: None, address } => write!(f, "{address} is no address of the Internet"),
            Self::NullAmongOthers => f.write_str("a null MX beside other MX records"),
            Self::Own(host) => write!(f, "MX {host} is this machine"),
            Self::TooMany(count) => write!(f, "{count} MX records too many"),
            Self::Unresolved { host, error } => write!(f, "{host}: {error}"),
        }
    }
}

/// The targets of one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MxSet {
    /// At least one; the most preferred first, those of one host side by side, its families in turns.
    pub targets: Vec<Target>,
    /// By what they are known.
    pub published: Published,
    /// What was passed over.
    pub notes: Vec<Note>,
    /// How long all of this holds.
    pub ttl: Duration,
}

impl MxSet {
    /// The targets to try, in order, at most [`MAX_ATTEMPTS`]. A host with many addresses leaves room for the next one.
    pub fn attempts(&self) -> impl Iterator<Item = &Target> {
        let share = MIN_SHARE.max(MAX_ATTEMPTS / self.hosts().count().max(1));
        self.hosts().flat_map(move |host| host.iter().take(share)).take(MAX_ATTEMPTS)
    }

    /// The target that has this address: the one that an intercepted connection wanted, if it wanted one of these
    /// (DECISIONS 17).
    pub fn at(&self, address: IpAddr) -> Option<&Target> {
        let address = address.to_canonical();
        self.targets.iter().find(|target| target.address.ip() == address)
    }

    fn hosts(&self) -> impl Iterator<Item = &[Target]> {
        self.targets.chunk_by(|one, next| one.host == next.host && one.preference == next.preference)
    }
}
