//! How things are, for the page and the commands.

use std::time::Duration;

use tls::Pin;

use crate::roll::Order;

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Mail: its keys are promised by TLSA records.
    Mail,
    /// The same names with an RSA key, where that is wanted.
    MailRsa,
    /// The policy host of a domain (RFC 8461 §3.3).
    Policy,
}

/// A name that gets no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The name.
    pub name: String,
    /// Why, in words.
    pub reason: String,
}

/// What is known of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The names in it.
    pub names: Vec<String>,
    /// Its end, since 1970.
    pub not_after: Duration,
    /// Its key.
    pub pin: Pin,
}

/// One certificate, or the want of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is called: `mail`, or the policy host's name.
    pub id: String,
    /// The names that it should have.
    pub names: Vec<String>,
    /// What there is.
    pub certificate: Option<CertificateFacts>,
    /// When it is renewed, since 1970.
    pub renews: Option<Duration>,
    /// When the CA is asked again after a failure, since 1970.
    pub again: Option<Duration>,
    /// What went wrong last.
    pub problem: Option<String>,
    /// What to do about it.
    pub advice: String,
    /// Whether it is not ordered before its TLSA records have been seen long enough.
    pub waits: bool,
    /// Whether an order is open.
    pub under_way: bool,
    /// How many orders have ended since the start, whichever way.
    pub attempts: u64,
    /// Names that the CA would not validate.
    pub left_out: Vec<LeftOut>,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct State {
    /// The CA's directory; `None` where nothing is ordered.
    pub directory: Option<String>,
    /// The certificates.
    pub lines: Vec<Line>,
    /// Names that are not asked for, and why.
    pub not_asked: Vec<LeftOut>,
    /// What is wrong with the folder or the settings, beside single certificates.
    pub problem: Option<String>,
    /// The keys for mail: ECDSA, then RSA where there are some.
    pub keys: Vec<KeyFacts>,
    /// The account with the CA, where there is one.
    pub account: Option<AccountFacts>,
}

/// The key that serves, and the one that will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// Whether a certificate has it.
    pub serves: bool,
    /// The key that serves mail.
    pub current: Pin,
    /// The key that will.
    pub next: Pin,
    /// From when on the next key may serve, since 1970; `None` while its records are not seen everywhere.
    pub next_ready: Option<Duration>,
    /// Whether it could serve now: its records have been seen long enough, or nobody has any.
    pub next_may_serve: bool,
    /// What a person wants of it.
    pub order: Option<Order>,
}

/// What is known of the account with the CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFacts {
    /// Since when its key serves, since 1970.
    pub key_since: Duration,
    /// How many changes of the key have ended since the start, whichever way.
    pub changes: u64,
    /// Why the last one came to nothing.
    pub problem: Option<String>,
}
