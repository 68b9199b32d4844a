//! Why somebody outside could not say what was asked.

use std::io;

/// Why somebody outside could not say what was asked; law 8 says what becomes of the message.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The message itself cannot be read.
    #[error("the content cannot be read: {0}")]
    Content(io::Error),
    /// The virus scanner cannot be connected to, or breaks off.
    #[error("the virus scanner at {address} cannot be reached: {error}")]
    ScannerAway {
        /// As configured.
        address: Box<str>,
        /// What the system says.
        error: io::Error,
    },
    /// It failed a moment ago, and is not asked again yet.
    #[error("the virus scanner failed {0} s ago and is not asked again yet")]
    ScannerResting(u64),
    /// It says nothing within the time there is.
    #[error("the virus scanner does not answer in time")]
    ScannerSilent,
    /// It takes less than it is sent.
    #[error("the virus scanner takes less than {0} octets: raise its StreamMaxLength")]
    ScannerTakesLess(u64),
    /// It answers what cannot be understood, or that it failed.
    #[error("the virus scanner says {0:?}")]
    ScannerSays(Box<str>),
    /// The DNS does not say; it may later.
    #[error("the DNS does not say now")]
    NotKnownNow,
    /// A key for signatures cannot be made, read or used.
    #[error("the DKIM key: {0}")]
    SigningKey(Box<str>),
    /// A DNS list does not answer, or says that it will not.
    #[error("the list {zone} cannot be asked: {why}")]
    ListFailed {
        /// Its zone.
        zone: Box<str>,
        /// In words.
        why: Box<str>,
    },
    /// A DNS list that holds what no list may hold, or lacks what each must have (RFC 5782 §5).
    #[error("the list {zone} is not used: {why}")]
    ListUnsound {
        /// Its zone.
        zone: Box<str>,
        /// In words.
        why: &'static str,
    },
}
