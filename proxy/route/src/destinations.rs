//! Where mail for the world goes: a question that a session asks, and somebody answers who may look it up.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use smtp::No;
use smtp::address::Host;

use crate::Backend;

/// What [`Destinations::locate`] returns.
pub type Locating<'a> = Pin<Box<dyn Future<Output = Result<Arc<Backend>, No>> + Send + 'a>>;

/// Finds the servers of the world's domains, with the policy that holds for each (DECISIONS 15 to 17). Each
/// domain has a backend of its own, and with it a transaction of its own.
pub trait Destinations: Send + Sync + 'static {
    /// The servers that take mail for a domain, or for an address literal. An error is what the client is told of the
    /// recipient.
    fn locate(&self, host: Host) -> Locating<'_>;

    /// The server at an address that a hidden server chose by itself: one of `outbound.relays`, verified by its name, or
    /// one that a client authenticates with. `None`: a server for whom it may concern, whose policy depends on the
    /// recipient.
    fn at(&self, address: SocketAddr) -> Option<Arc<Backend>>;

    /// The one of `outbound.relays` or `outbound.relay` that is called so. Mail that waits for it was sent through it for a
    /// reason, and is not looked up: its domain need not be known to DNS at all.
    fn relay_named(&self, name: &str) -> Option<Arc<Backend>>;

    /// Whether one relay takes all mail to the world: whom a hidden server was on its way to is then of no matter, and may be out
    /// of reach.
    fn is_one_relay(&self) -> bool;
}
