//! Towards a client: who is let in, the session, and everything between the two legs.
//!
//! [`step`] is the session's coordinator: it is given what happened (bytes, replies, a deadline) and says what it wants
//! done (bytes to write, a connection to open, content to store). It has no await and no I/O, so that [`drive`](drive()), the
//! fuzz targets and the simulations all run the same code. What it promises:
//!
//! - a 250 to a message exists only as the answer to a [`Kept`] proof that covers every recipient accepted (law 1);
//! - content is passed on byte for byte, but for the fields that `Received` and `smtp::fields` speak of (laws 2, 6);
//! - each reply of a server answers the command that it was given to, or its connection is dropped (law 3).

mod admission;
mod body;
mod budget;
mod called_before;
mod drive;
mod inner_verification;
mod judging;
mod kept;
mod received;
mod reporting;
mod scarcity;
mod senders;
mod serve;
mod session;
mod settings;
mod signing;
mod standing;

pub use admission::{Admission, Admitted, Caller};
pub use budget::Budget;
pub use called_before::CalledBefore;
pub use drive::{Driver, Intercepting, drive};
pub use inner_verification::{InnerVerification, OnInnerVerification, Verdict, Verifying};
pub use judging::{
    AtTheDoor, Case, DomainEntries, Fate, HeldBody, Judge, Judged, Judgement, Judging, Mark, OnFailure, Own,
    OwnAddresses, Unwelcome,
};
pub use kept::Kept;
pub use reporting::{HandedOn, Relayed, Reporting};
pub use scarcity::{Measured, Resource, Strain};
pub use senders::{Claim, Proving, Senders};
pub use serve::{Entrance, Relay, Serving};
pub use session::{
    Action, Arrival, Beginning, Carriage, Input, LegId, Question, Session, SigningRequest, SpoolRequest,
    Wants, step,
};
pub use settings::{InboundPlain, Limits, Settings};
pub use signing::{SIGNING, Signed, Signer, Unsigned};
pub use standing::InGoodStanding;
