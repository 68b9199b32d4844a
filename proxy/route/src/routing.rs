//! Which backend serves which domain, and what can be offered to a client before it is known which one it wants.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use smtp::{Capabilities, Domain, Extension};

use crate::backend::Backend;

/// What Postern's own fields may add to a message; taken off a server's SIZE (DECISIONS 2).
pub const ADDED_FIELDS: u64 = 8 * 1024;

/// Extensions that concern this hop alone: always Postern's own to offer.
const HOP_LOCAL: [Extension; 4] =
    [Extension::Chunking, Extension::EnhancedStatusCodes, Extension::Pipelining, Extension::Size];
/// Extensions that a server must have for a message to keep what was promised; a recipient whose server lacks one that
/// MAIL made use of is refused.
const END_TO_END: [Extension; 3] = [Extension::BinaryMime, Extension::EightBitMime, Extension::SmtpUtf8];

/// The backends that cannot be told apart, or a domain nobody serves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutingError {
    /// Two backends claim one domain.
    #[error("{domain} is served by both {first} and {second}")]
    DomainTwice {
        /// The domain.
        domain: Domain,
        /// A backend's name.
        first: Box<str>,
        /// Another's.
        second: Box<str>,
    },
}

/// All backends behind this Postern.
#[derive(Debug, Default)]
pub struct Routing {
    backends: Vec<Arc<Backend>>,
    by_domain: HashMap<Domain, usize>,
}

impl Routing {
    /// # Errors
    ///
    /// A domain has two backends.
    pub fn new(backends: Vec<Backend>) -> Result<Self, RoutingError> {
        let mut by_domain = HashMap::new();
        for (index, backend) in backends.iter().enumerate() {
            for domain in backend.domains() {
                if let Some(other) = by_domain.insert(domain.clone(), index) {
                    return Err(RoutingError::DomainTwice {
                        domain: domain.clone(),
                        first: backends[other].name().into(),
                        second: backend.name().into(),
                    });
                }
            }
        }
        Ok(Self { backends: backends.into_iter().map(Arc::new).collect(), by_domain })
    }

    /// All backends, in the config's order.
    pub fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    /// The backend that serves a domain.
    pub fn backend_of(&self, domain: &Domain) -> Option<&Arc<Backend>> {
        self.by_domain.get(domain).and_then(|&index| self.backends.get(index))
    }

    /// The backend for mail to `postmaster` without a domain: the first (RFC 5321 §4.5.1).
    pub fn postmasters(&self) -> Option<&Arc<Backend>> {
        self.backends.first()
    }

    /// The backend one of whose servers, for mail or for submission, listens there.
    pub fn backend_at(&self, address: SocketAddr) -> Option<&Arc<Backend>> {
        self.backends.iter().find(|backend| {
            backend.servers().iter().chain(backend.submission()).any(|server| server.address() == address)
        })
    }

    /// The addresses of all servers.
    pub fn server_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.servers().map(|server| server.address().ip())
    }

    fn servers(&self) -> impl Iterator<Item = &Arc<crate::Server>> {
        self.backends.iter().flat_map(|backend| backend.servers().iter().chain(backend.submission()))
    }

    /// Takes over what another routing has learnt of the servers that both have.
    pub fn inherit(&self, other: &Self) {
        for server in self.servers() {
            if let Some(known) = other.servers().find(|known| known.address() == server.address()) {
                server.inherit(known);
            }
        }
    }

    /// Whether REQUIRETLS can be kept whoever is named: each leg is verified or pinned, and each server offers it.
    pub fn keeps_requiretls(&self) -> bool {
        !self.backends.is_empty()
            && self.backends.iter().all(|backend| {
                let offers = |server: &Arc<crate::Server>| {
                    server.offered().is_some_and(|offered| offered.effective().has(Extension::RequireTls))
                };
                backend.is_proved() && backend.servers().iter().all(offers)
            })
    }

    /// What can be offered to a client that may name any recipient (DECISIONS 2), from what the servers offered to
    /// probes: what concerns one hop always, what must reach the server if some server has it. `max_size` is
    /// Postern's own limit in octets.
    pub fn offer(&self, max_size: u64) -> Capabilities {
        let known: Vec<_> =
            self.backends.iter().flat_map(|b| b.servers()).filter_map(|s| s.offered()).collect();
        let effective: Vec<&Capabilities> = known.iter().map(crate::Offered::effective).collect();
        let mut offer = own_offer();
        for extension in END_TO_END {
            if effective.iter().any(|server| server.has(extension)) {
                offer.insert(extension);
            }
        }
        // Without any knowledge, or where a server has no limit, Postern's own holds.
        let largest =
            effective.iter().map(|server| server.max_size.unwrap_or(u64::MAX)).max().unwrap_or(u64::MAX);
        offer.max_size = Some(passed_size(largest).min(max_size));
        offer
    }
}

/// What can be offered to a client whose server is known and connected.
pub fn offer_of(server: &Capabilities, max_size: u64) -> Capabilities {
    let mut offer = own_offer();
    let kept = END_TO_END.into_iter().filter(|&extension| server.has(extension));
    kept.for_each(|extension| offer.insert(extension));
    offer.max_size = Some(passed_size(server.max_size.unwrap_or(u64::MAX)).min(max_size));
    offer
}

/// What ends here. DSN too: for a server that sends no reports Postern sends them (RFC 3461 §5.2.2).
fn own_offer() -> Capabilities {
    HOP_LOCAL.into_iter().chain([Extension::Dsn]).collect()
}

/// What a client may send so that it fits a server with this limit.
fn passed_size(limit: u64) -> u64 {
    limit.saturating_sub(ADDED_FIELDS)
}
