//! Where a session comes from, and what it begins with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use record::Protocol;
use route::Backend;
use smtp::TraceId;

use crate::budget::Budget;
use crate::judging::Unwelcome;
use crate::settings::Settings;

/// How a client came here.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// To an address of Postern's own: recipients decide where mail goes. `may_relay`: to the world, too (DECISIONS 10).
    Here {
        /// The client is one of those that Postern sends out for.
        may_relay: bool,
    },
    /// On its way from the world to a server of this backend, where all its mail goes.
    Inbound(Arc<Backend>),
    /// On its way from a hidden server to the world: to the server at the address that it chose, if that one stands for
    /// all recipients, else to whoever has them (DECISIONS 15 to 17).
    Outbound(Option<Arc<Backend>>),
}

/// Where a session comes from.
#[derive(Debug)]
pub struct Beginning {
    /// Its identifier.
    pub id: TraceId,
    /// What it keeps to.
    pub settings: Arc<Settings>,
    /// The listener's protocol.
    pub protocol: Protocol,
    /// The client's address.
    pub client: SocketAddr,
    /// Where the client meant to connect to.
    pub destination: SocketAddr,
    /// How it came here.
    pub arrival: Arrival,
    /// What its MAIL is answered with, if nobody wants mail from there, and why.
    pub unwelcome: Option<Box<Unwelcome>>,
    /// The time since 1970.
    pub wall: Duration,
    /// The share of messages in flight is taken from here.
    pub budget: Arc<Budget>,
}
