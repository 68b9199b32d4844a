//! What a session is told to do, validated; a session keeps the settings that it began with.

use std::sync::Arc;
use std::time::Duration;

use intercept::Networks;
use route::Routing;

use crate::judging::{Judging, OwnAddresses};

/// Bounds on what clients can make Postern spend (law 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of one message.
    pub message_size: u64,
    /// Sessions at once.
    pub sessions: usize,
    /// Sessions at once from one IPv4 address or one IPv6 /64.
    pub sessions_per_ip: usize,
    /// Recipients of one transaction.
    pub recipients: usize,
    /// Octets of all messages between their first octet and their answer.
    pub in_flight: u64,
    /// Commands of one session that were refused.
    pub errors: u32,
    /// How long the greeting waits for a client that speaks too early. Zero: only what is there already counts.
    pub pregreet: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: 50 << 20,
            sessions: 10_000,
            sessions_per_ip: 50,
            recipients: 1000,
            in_flight: 512 << 20,
            errors: 20,
            pregreet: Duration::ZERO,
        }
    }
}

/// What becomes of a client on port 25 that does not use TLS (DECISIONS 14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InboundPlain {
    /// Served, counted and named.
    #[default]
    Accept,
    /// MAIL is answered with 530.
    Refuse,
}

/// A session's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Postern's own name.
    pub hostname: Box<str>,
    /// Backends and their servers.
    pub routing: Arc<Routing>,
    /// Bounds.
    pub limits: Limits,
    /// Plain text on port 25.
    pub inbound_plain: InboundPlain,
    /// Whether there is a certificate to offer STARTTLS with.
    pub offers_tls: bool,
    /// Key of the loop tokens: they cannot be guessed from outside.
    pub loop_key: [u8; 32],
    /// Addresses on which no limits and bans are laid.
    pub inside: Networks,
    /// Who may send to the world without AUTH (DECISIONS 10).
    pub originators: Networks,
    /// Those of them whose bare line feeds are mended instead of refused (DECISIONS 12).
    pub mends_lines_of: Networks,
    /// What leaves tells nothing of the inside (DECISIONS 13, 19).
    pub hides: bool,
    /// How mail is judged; `None`: it is not, and passes to its servers.
    pub judging: Option<Judging>,
    /// Whether somebody signs what leaves for the world.
    pub signs: bool,
    /// Addresses that Postern answers itself.
    pub own: OwnAddresses,
}
