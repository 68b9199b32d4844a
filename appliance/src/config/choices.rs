//! The words that a config may choose from. The same types serve the file and what it means.

use serde::{Deserialize, Serialize};

/// How Postern stands in the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The MX points at it, or a redirect does.
    #[default]
    Front,
    /// It routes between outside and inside.
    Gateway,
    /// Frames are diverted off a bridge.
    Bridge,
}

/// How far TLS with a server goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsPolicy {
    /// Never.
    Off,
    /// Where it is offered; its identity is not asked for.
    #[default]
    Opportunistic,
    /// Always; its identity is not asked for.
    Encrypt,
    /// Always, with a proof of its identity.
    Verify,
}

impl TlsPolicy {
    /// As the config writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Opportunistic => "opportunistic",
            Self::Encrypt => "encrypt",
            Self::Verify => "verify",
        }
    }
}

/// How far TLS with the servers of one domain of the world goes, whatever it publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExceptionTls {
    /// Never.
    Off,
    /// Where it is offered.
    Opportunistic,
    /// Always; their identity is not asked for.
    Encrypt,
    /// Always, with a certificate of a trusted authority.
    Verify,
    /// Always, with a certificate that their TLSA records are of.
    Dane,
}

/// How a server is told the client's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAddress {
    /// What its EHLO offers, or a transparent source where routing allows; never PROXY, which cannot be probed.
    #[default]
    Auto,
    /// The connection comes from the client's own address.
    Transparent,
    /// A PROXY v2 header.
    Proxy,
    /// XCLIENT.
    Xclient,
    /// XFORWARD.
    Xforward,
    /// Not at all.
    None,
}

impl ClientAddress {
    /// As the config writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Transparent => "transparent",
            Self::Proxy => "proxy",
            Self::Xclient => "xclient",
            Self::Xforward => "xforward",
            Self::None => "none",
        }
    }
}

/// How strictly senders are to insist on what the hosted MTA-STS policy of a domain says (RFC 8461 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HostedMode {
    /// No policy is hosted.
    Off,
    /// Testing to begin with, and enforced by itself once others have reported for long enough that nothing would be lost by it.
    #[default]
    Auto,
    /// They report, and deliver all the same.
    Testing,
    /// They do not deliver otherwise.
    Enforce,
    /// They forget that there was one: for a domain that leaves.
    None,
}

/// Whose greeting the client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Banner {
    /// Postern's own.
    Postern,
    /// The server's.
    Server,
}

/// When an address and port stops being spliced untouched (gateway and bridge).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    /// When a valid certificate exists and matches what the domain publishes.
    #[default]
    Auto,
    /// At once.
    Now,
    /// Not.
    Never,
}

/// Which source address outbound connections have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The appliance's.
    Appliance,
    /// The hidden server's.
    Server,
}

/// What becomes of the connections of a hidden server that verifies the far side by itself and does not trust what stands
/// in for it (DECISIONS 18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnInnerVerification {
    /// It keeps its mail and tries again; the page says what to do.
    #[default]
    Defer,
    /// They are passed through unread.
    Splice,
}

/// What becomes of the mail of who looks taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SendersAction {
    /// It goes out; the postmaster is told.
    Observe,
    /// It is held, too.
    Enforce,
}

/// The oldest TLS version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum MinimumTls {
    /// TLS 1.2 with ECDHE and AEAD.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

/// What becomes of clients that do not ask for TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PlainText {
    /// Accepted, counted and named.
    #[default]
    Accept,
    /// Refused.
    Refuse,
}

/// How control of a name is proved to the certificate authority (RFC 8555 §8, RFC 8737).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Challenge {
    /// A file on port 80.
    #[serde(rename = "http-01")]
    Http01,
    /// A certificate on port 443.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// A TXT record.
    #[serde(rename = "dns-01")]
    Dns01,
}

impl Challenge {
    /// As the config and RFC 8555 write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
        }
    }
}

/// What a DNS list is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ListAbout {
    /// Addresses of clients.
    #[default]
    Addresses,
    /// Domains of senders and links.
    Domains,
}

/// What verdicts may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Log and header only.
    #[default]
    Observe,
    /// Never more than tag.
    Tag,
    /// All of them.
    Enforce,
}

/// What becomes of mail when a check fails (law 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The sender is told to try later.
    Defer,
    /// It passes with a header that says so.
    Pass,
}
