//! From a destination to where and how: which backend serves a domain, which of its servers is tried first, how the
//! client's address is told there, what the server offers and how it fares.
//!
//! For mail to the world: [`Exchangers`] goes from a domain to its servers, [`FarPolicies`] says what TLS there must be.
//!
//! Nothing here opens a connection. `delivery` reports what it met, and asks again.

mod all;
mod backend;
mod destinations;
mod exchangers;
mod far;
mod lookup;
mod mx_set;
mod no_route;
mod reach;
mod routing;
mod server;
mod world_servers;

pub use backend::{AskingBack, AsksBack, Backend, BackendSettings, Banner, ClientAddress, Login, World};
pub use destinations::{Destinations, Locating};
pub use exchangers::{ExchangerSettings, Exchangers, MAX_HOSTS};
pub use far::{FarPolicies, FarPolicy};
pub use lookup::Lookup;
pub use mx_set::{MAX_ATTEMPTS, MxSet, Note, Published, Target};
pub use no_route::NoRoute;
pub use routing::{ADDED_FIELDS, Routing, RoutingError, offer_of};
pub use server::{Health, Offered, Server};
pub use world_servers::{WorldServers, WorldSettings};
