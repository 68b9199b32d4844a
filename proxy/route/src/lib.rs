//! From a destination to where and how: which backend serves a domain, which of its servers is tried first, how the
//! client's address is told there, what the server offers and how it fares.
//!
//! Nothing here opens a connection. `delivery` reports what it met, and asks again.

mod backend;
mod routing;
mod server;

pub use backend::{Backend, BackendSettings, Banner, ClientAddress};
pub use routing::{ADDED_FIELDS, Routing, RoutingError, offer_of};
pub use server::{Health, Offered, Server};
