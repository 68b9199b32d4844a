//! Certificates from a CA by ACME (RFC 8555): ordered, validated, kept, renewed; and the keys that TLSA records promise.
//!
//! - [`Certifier`] looks after everything. It is told what is wanted ([`Wanted`]) and how the world sees it, and tells whoever
//!   serves when there is something new. It keeps its account, keys and certificates in a folder of its own, readable by nobody else.
//! - A certificate is not handed out before its chain, its names, its key and its dates were looked at.
//! - A name that the CA cannot validate is left out, with the CA's words, and holds up no other.
//! - [`Answers`] is what the CA asks for while an order is open: tokens over HTTP (RFC 8555 §8.3), certificates over TLS (RFC 8737),
//!   TXT records (RFC 8555 §8.4).
//! - When something is due is decided in [`schedule`], and when a new key may serve in [`roll`], as functions of time.
//! - [`is_reserved`] says which names no CA of the world has to do with; they are never asked for.

mod account;
mod answers;
mod ca;
mod certifier;
mod error;
mod folder;
mod issued;
mod keys;
mod names;
mod order;
mod rekey;
pub mod roll;
pub mod schedule;
mod settings;
mod state;

pub use answers::Answers;
pub use ca::reach;
pub use certifier::{Certifier, Surroundings, Wanted};
pub use error::AcmeError;
pub use names::{is_private, is_reserved};
pub use settings::{Challenge, ExternalAccount, Settings};
pub use state::{AccountFacts, CertificateFacts, KeyFacts, Kind, LeftOut, Line, State};
