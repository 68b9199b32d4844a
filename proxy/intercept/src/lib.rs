//! How connections get in and out: the sockets, and what is to be known of a connection before its first byte.
//!
//! - [`listen`] accepts clients and says where each of them wanted to go, also when the firewall brought it here by
//!   redirect or TPROXY.
//! - [`mod@connect`] reaches servers, from the appliance's addresses or from the client's own, by a deadline.
//! - [`proxy_protocol`] reads and writes the header by which a load balancer hands on the client's address. Whether a
//!   peer may send one is decided by [`Networks`], before a byte of it is read.
//!
//! An IPv4 address is the same value whichever kind of socket it came through: nothing here hands on IPv4-mapped IPv6.

pub mod connect;
pub mod listen;
pub mod networks;
pub mod proxy_protocol;

mod options;

pub use connect::{ConnectError, Source, connect};
pub use listen::{Accepted, ListenError, Listener, max_files};
pub use networks::{Networks, canonical, network_of};
