//! How long a server is waited for (RFC 5321 §4.5.3.2), and what Postern itself spends before a message.

use std::time::Duration;

/// For the TCP handshake with one server. Inside servers answer in milliseconds or not at all; a second server may wait.
pub const CONNECT: Duration = Duration::from_secs(15);
/// For the banner, and for each reply until mail can be sent. RFC 5321 allows 5 minutes for the banner alone, which a
/// client that waits for its RCPT does not have.
pub const OPENING: Duration = Duration::from_secs(60);
/// For all servers of a backend together, so that the client's own five minutes are kept.
pub const ALL_SERVERS: Duration = Duration::from_secs(180);
/// For the replies to MAIL and RCPT. RFC 5321 §4.5.3.2.2, .3 gives the client 5 minutes: some of them are left to tell it what
/// is known of the recipient without the server.
pub const ENVELOPE: Duration = Duration::from_secs(4 * 60);
/// For the 354 (§4.5.3.2.4).
pub const DATA_START: Duration = Duration::from_secs(2 * 60);
/// For one piece of content to be taken (§4.5.3.2.5).
pub const DATA_BLOCK: Duration = Duration::from_secs(3 * 60);
/// For the reply to the content (§4.5.3.2.6).
pub const DATA_END: Duration = Duration::from_secs(10 * 60);
/// For what a server may still have said before it broke off.
pub const LAST_WORDS: Duration = Duration::from_secs(5);
/// A connection that was idle for longer is not trusted with a message (DECISIONS 3).
pub const STALE: Duration = Duration::from_secs(60);
/// How long a connection waits in the pool.
pub const POOLED: Duration = Duration::from_secs(30);
