//! SPF (RFC 7208): what a domain publishes, read whole before any of it counts, and what it says of a client.
//!
//! Our own because mail-auth 0.13 gives another result than the RFC in 57 of the 203 cases of its test suite, eight of them a pass
//! that should be none; this one gives all of them.

mod check;
mod macros;
mod record;
mod zone;

pub use check::{Question, check_host};
pub use record::{Record, SyntaxError};
pub use zone::{Hickory, Unknown, Zone};

/// Terms that cost a lookup, at most (RFC 7208 §4.6.4).
pub const MAX_LOOKUPS: u32 = 10;
/// Lookups that find nothing, at most (§4.6.4).
pub const MAX_VOID_LOOKUPS: u32 = 2;
/// Names of one MX, and of one PTR, at most (§4.6.4).
pub const MAX_NAMES: usize = 10;
/// Octets of a record that are read: what fits into one answer over TCP is more than anybody needs; records of 4 KiB exist.
pub const MAX_RECORD: usize = 16 << 10;
