//! The one resolver: what the DNS says of a name, with a DNSSEC proof beside it.
//!
//! - [`Resolver`] asks for MX, TLSA, TXT and addresses, through the servers of its [`Settings`], and validates what they say from a
//!   [`Trust`] anchor down. Behind it is hickory, which no other crate sees but `evidence`.
//! - An [`Answer`] has the records, the weakest [`Proof`] on the way to them, how long they hold, and where aliases led.
//! - A [`DnsError`] tells apart what is final (no such domain, no such records) and what a later hour may change. What fails
//!   validation is never an answer: mail waits, it does not fall back.
//! - [`update`] changes records at a primary server (RFC 2136), signed with TSIG.
//!
//! Nothing that a server sends decides how much is kept (law 7): records of an answer, the length of a chain of aliases, the
//! octets of the cache, lookups at a time and the time of each are bounded.
//!
//! Two things that are right are taken for bogus, since hickory 0.26.3 does not know them: records that a wildcard of a zone
//! with NSEC (not NSEC3) made for the name right below it, and what a DNAME of a signed zone redirects.

mod answer;
mod cache;
mod error;
mod reading;
mod resolver;
mod settings;
pub mod update;

pub use answer::{
    Addresses, Answer, MAX_ADDRESSES, MAX_MX, MAX_POINTERS, MAX_TEXT_OCTETS, MAX_TEXTS, MAX_TLSA,
    MAX_TLSA_OCTETS, Mx, Pointer, Proof, Text, Tlsa,
};
pub use error::{DnsError, SettingsError};
pub use reading::MAX_ALIASES;
pub use resolver::{LOOKUPS_AT_ONCE, Resolver};
pub use settings::{Settings, Trust};
