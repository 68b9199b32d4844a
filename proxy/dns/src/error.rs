//! Why there is no answer, and why there is no resolver.

use std::path::PathBuf;

use crate::answer::Proof;

/// Why a lookup gave no records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// A signature is wrong, expired or missing where there must be one: an attack, or a mistake of the domain's owner.
    #[error("DNSSEC validation failed")]
    Bogus,
    /// What the servers sent cannot be read, or answers another question.
    #[error("the name server's answer cannot be used: {0}")]
    Garbled(Box<str>),
    /// There are records, and none of them means anything: a name that no host can have, a chain of aliases without end.
    #[error("the domain's records make no sense")]
    Malformed,
    /// The name exists, but not with records of this kind.
    #[error("there are no such records")]
    NoRecords {
        /// What says so.
        proof: Proof,
    },
    /// Nothing exists under the name (NXDOMAIN).
    #[error("there is no such domain")]
    NoSuchDomain {
        /// What says so.
        proof: Proof,
    },
    /// The DNS cannot have such a name: with its dots counted it exceeds 255 octets (RFC 1035 §2.3.4).
    #[error("that cannot be a domain's name")]
    NotAName,
    /// The servers answered that they cannot tell: SERVFAIL, REFUSED and the like. A validating server says so too of what
    /// is bogus.
    #[error("the name server failed: {0}")]
    ServerFailure(Box<str>),
    /// No answer within the time that a lookup has.
    #[error("the name servers do not answer in time")]
    TimedOut,
    /// No server could be asked.
    #[error("the name servers cannot be reached: {0}")]
    Unreachable(Box<str>),
}

impl DnsError {
    /// Whether the same question may have another answer later. What is not temporary is the domain's own word.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Bogus
            | Self::Garbled(_)
            | Self::ServerFailure(_)
            | Self::TimedOut
            | Self::Unreachable(_) => true,
            Self::Malformed | Self::NoRecords { .. } | Self::NoSuchDomain { .. } | Self::NotAName => false,
        }
    }
}

/// Why the settings make no resolver.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The trust anchor's file cannot be read as DNSKEY records.
    #[error("{file}: {reason}")]
    Anchor {
        /// The file.
        file: PathBuf,
        /// In words.
        reason: Box<str>,
    },
    /// The trust anchor's file has no key of the root.
    #[error("{0} has no DNSKEY record of the root, `.`")]
    NoAnchor(PathBuf),
    /// The system's list of servers, `/etc/resolv.conf`, cannot be read or is empty.
    #[error("the system's name servers are not known: {0}")]
    System(Box<str>),
    /// The resolver itself did not start.
    #[error("no resolver: {0}")]
    Start(Box<str>),
}
