//! Towards a server: opening a connection that is as safe as policy says, the dialogue on it, and the evidence that a
//! message was taken.
//!
//! - [`Far`] is the far side of a connection without its socket. `Far<Unproven>` cannot say MAIL; [`Far<Proven>`](Far)
//!   can, and is made only where the TLS outcome satisfies the backend's policy (law 5).
//! - [`Delivered`] is made here and nowhere else, from the server's final reply to a message's content (law 1).
//! - [`notification`] writes what a sender is told of a message that was promised.
//! - Servers of the world are met under the policy that holds for each ([`route::FarTls`]); what TLS came to is told to whoever keeps
//!   it for reports. [`PolicyHosts`] fetches MTA-STS policies, [`Https`] asks whomever else.
//! - A connection that timed out or fell out of step is dropped, never used again (law 3); one that is in step may
//!   wait in the [`Pool`] for the next session, if no client's facts were told on it.

mod delivered;
mod far;
mod https;
mod network;
pub mod notification;
mod open;
mod outgoing;
mod policy_host;
mod pool;
mod probe;
mod probe_recipients;
mod probed;
mod queue;
mod report_rate;
pub mod timeouts;

pub use delivered::Delivered;
pub use far::{Answered, Far, Proven, Unproven};
pub use https::{Https, HttpsAnswer, HttpsError, HttpsHost};
pub use network::{Connecting, Io, Network, Stream, Tcp};
pub use open::{Client, OpenError, OpenLeg, OpenRequest, Opener, TlsWish};
pub use outgoing::{ContentWriter, Outgoing};
pub use policy_host::PolicyHosts;
pub use pool::Pool;
pub use probe::probe;
pub use probe_recipients::probe_recipients;
pub use probed::{FarSide, NotProven, OpenProbe, ProbeRequest, Probed, Proved, Shown};
pub use queue::{DestinationState, Pace, Present, Queue, Settings as QueueSettings, Totals, WayOut};
pub use report_rate::ReportRate;
