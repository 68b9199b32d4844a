//! From a destination to where and how: which backend serves a domain, which of its servers is tried first, how the
//! client's address is told there, what the server offers and how it fares.
//!
//! For mail to the world: [`Exchangers`] goes from a domain to its servers, [`FarPolicies`] says what TLS there must be, on the
//! word of TLSA records (RFC 7672), of an MTA-STS policy ([`StsPolicy`], RFC 8461) or of the configuration. Each server has its own
//! [`FarTls`].
//!
//! What servers said of their recipients is remembered ([`Recipients`]), for the time when they are away.
//!
//! Nothing here opens a connection. `delivery` reports what it met, and asks again.

mod all;
mod backend;
mod destinations;
mod exchangers;
mod far;
mod far_tls;
mod known;
mod lookup;
mod mx_set;
mod no_route;
mod offered;
mod reach;
mod recipient_list;
mod recipients;
mod routing;
mod server;
mod sts;
mod tlsa;
mod world_servers;

pub use backend::{AskingBack, AsksBack, Backend, BackendSettings, Banner, ClientAddress, Login, World};
pub use destinations::{Destinations, Locating};
pub use exchangers::{ExchangerSettings, Exchangers, MAX_HOSTS};
pub use far::{Demanded, Exception, FarPolicies, FarPolicy, Reported};
pub use far_tls::FarTls;
pub use known::{Count, DOMAINS, Known, Memory, RECIPIENTS};
pub use lookup::Lookup;
pub use mx_set::{MAX_ATTEMPTS, MxSet, Note, Published, Target};
pub use no_route::NoRoute;
pub use offered::{Offered, SERVERS};
pub use recipient_list::{BadLine, MAX_LIST, RecipientList};
pub use recipients::{
    Directory, List, Listing, LookingUp, Recipients, RecipientsState, Standing, denies_mailbox,
};
pub use routing::{ADDED_FIELDS, Routing, RoutingError, offer_of};
pub use server::{Health, Server};
pub use sts::{
    BadStsPolicy, Fetching, MAX_AGE, MAX_POLICY, MxPattern, POLICIES, StsFetch, StsFetchError, StsKept,
    StsMode, StsPolicy, forget_old_policies, policy_id,
};
pub use world_servers::{StsSource, WorldServers, WorldSettings};
