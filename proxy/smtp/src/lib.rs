//! SMTP as a grammar and as two state machines, without sockets, clock or allocation that the network decides.
//!
//! - [`command`] and [`reply`] read what a client and a server say (RFC 5321 and its extensions), [`address`] what they
//!   name; every reader has a bound and says what was wrong with what it refused.
//! - [`content`] turns DATA and BDAT into message content and back, byte for byte. Only CRLF.CRLF ends a message.
//! - [`receiver`] is the receiving side of one transaction: a 250 after the message exists only as the answer to a
//!   [`receiver::Proof`].
//! - [`dialogue`] is the sending side: every reply is matched to the command that it answers.
//! - [`answers`] holds every reply that Postern speaks of itself, each with an enhanced code and the trace identifier.

pub mod address;
pub mod answers;
pub mod command;
pub mod content;
pub mod dialogue;
pub mod extensions;
pub mod fields;
pub mod identity;
pub mod line;
pub mod receiver;
pub mod reply;

pub use address::{Domain, ForwardPath, Mailbox, ReversePath};
pub use answers::{Answer, No};
pub use command::{Command, Envelope, Mail, Rcpt};
pub use extensions::{Capabilities, Extension};
pub use identity::{RecipientSet, TraceId, TransactionId};
pub use receiver::{Awaiting, Mismatch, Proof, Ready};
pub use reply::{EnhancedCode, Refusal, Reply, ReplyCode};
