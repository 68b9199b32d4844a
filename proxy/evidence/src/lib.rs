//! What others say of a message: whether its reverse-path is its sender's own. SPF (RFC 7208), DKIM (RFC 6376, 8463), DMARC
//! (RFC 9989), ARC (RFC 8617) and the name of an address (RFC 8601 §3), as values.
//!
//! - An [`Authenticator`] asks, through the name servers of the one resolver and with the same trust; behind it are [`mod@spf`] and
//!   mail-auth, which asks by itself and reads the clock, and which no other crate sees.
//! - [`Spf`], [`Dkim`], [`Dmarc`], [`Chain`] and [`Iprev`] are what came out, each with the domain that it speaks for.
//! - A [`clamd::Scanner`] has messages looked through for viruses.
//! - A [`lists::List`] says what a DNS list holds of an address or a domain (RFC 5782).
//! - [`signing`] has a domain stand behind what leaves, [`sealing`] behind what was found of what came in.
//! - [`Published`] is what a domain says of DMARC, and [`wanted`] of reports on TLS: to whom reports go.
//! - [`proves_sender`] says when that is enough to send a report to a reverse-path.
//!
//! What cannot be found out is an error result, never a wait beyond the caller's deadline. Nothing in a message decides how
//! much is done for it: the octets looked at, the signatures, the fields that one names, the lookups of SPF (10, RFC 7208
//! §4.6.4) and the evaluations at a time are bounded.

pub mod clamd;
pub mod lists;
pub mod signing;

mod authenticator;
pub mod chain;
mod error;
mod iprev;
mod published;
mod rest;
mod result;
pub mod sealing;
pub mod spf;
pub mod wanted;

pub use authenticator::{
    Authenticator, EVALUATIONS_AT_ONCE, MAX_HEADER, MAX_MESSAGE, MAX_SIGNATURES, Sender,
};
pub use chain::{Chain, Seal};
pub use error::EvidenceError;
pub use iprev::{Iprev, iprev};
pub use published::{Published, ReportAddress};
pub use result::{Asked, Authenticity, Dkim, Dmarc, Spf, Verdict, proves_sender};
