//! What happened, as values: one [`Event`] for each session and each transaction, one for each thing
//! that becomes of a message afterwards, and the clock that dates them.
//!
//! The rooms below the appliance tell what they did through `dyn` [`Recorder`] and know nothing of logs, traces,
//! metrics and pages, which are made from it. The list of events is closed. No event holds message content, a
//! password or a key.

mod clock;
mod event;
mod tls;
mod tls_session;
mod verdict;

pub use clock::{Clock, SimulatedClock, SystemClock, rfc3339_date, rfc5322_date};
pub use event::{
    Abuse, Afterwards, Event, GroupOutcome, Leg, LegFailure, Protocol, RecipientOutcome, Session, SessionEnd,
    Step, Transaction,
};
pub use tls::{FarProof, TlsFacts, TlsOutcome, TlsVersion};
pub use tls_session::{PublishedPolicy, TlsFailure, TlsSession, TlsTally};
pub use verdict::{
    Check, Direction, MAX_CHECKS, MAX_NAMED, MAX_OTHERWISE, MAX_WORDS, Opinion, Verdict, named,
};

/// Takes events. Called from the data path: must never block and never fail.
pub trait Recorder: Send + Sync + 'static {
    /// Counts the event at once and queues it for whoever wants its details; the details may be dropped under load,
    /// the count not.
    fn record(&self, event: Event);
}

/// Forgets everything: for tools and fuzz targets that have no use for the record.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRecord;

impl Recorder for NoRecord {
    fn record(&self, _: Event) {}
}
