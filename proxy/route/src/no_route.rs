//! Why mail for a destination cannot go anywhere. What a client hears of it stands in `smtp::answers`; the enhanced codes
//! that fit are named here.

use dns::DnsError;

/// Why there is no target. All but the last are final: mail is refused, not kept for another try.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// All its servers claim addresses that are the inside's or nobody's: 5.4.4.
    #[error("its mail servers have no address on the Internet")]
    Closed,
    /// The most preferred server that is left is Postern itself: 5.4.6.
    #[error("its mail loops back here")]
    LoopsBack,
    /// The domain exists, but neither has it a mail server nor is it one, or its servers have no address: 5.4.4, of which
    /// "a DNS lookup returning only an SOA record is one example" (RFC 3463 §3.5).
    #[error("the domain has no mail server")]
    NoServer,
    /// The domain does not exist: 5.1.2, "the portion of the address to the right of the `@` is invalid" (RFC 3463 §3.2).
    #[error("the domain does not exist")]
    NoSuchDomain,
    /// The domain says that it takes no mail: 556 5.1.10 (RFC 7504 §2, RFC 7505 §6).
    #[error("the domain takes no mail")]
    NullMx,
    /// The DNS cannot tell now: 4.4.3.
    #[error("its mail servers cannot be found now: {0}")]
    Unknown(#[source] DnsError),
}
