//! What the certifier is told.

use tls::Roots;
use zeroize::Zeroizing;

/// How control of a name is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A file on port 80 (RFC 8555 §8.3).
    Http01,
    /// A certificate on port 443 (RFC 8737).
    TlsAlpn01,
    /// A TXT record (RFC 8555 §8.4).
    Dns01,
}

impl Challenge {
    /// As RFC 8555 calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
        }
    }
}

/// A customer's number at a CA, and the key that goes with it (RFC 8555 §7.3.4).
#[derive(Clone)]
pub struct ExternalAccount {
    /// The identifier.
    pub kid: String,
    /// The key, decoded.
    pub hmac: Zeroizing<Vec<u8>>,
}

/// What the certifier is told.
#[derive(Clone)]
pub struct Settings {
    /// The CA's directory, an `https` address.
    pub directory: String,
    /// Whom the CA may write to, as mail addresses.
    pub contact: Vec<String>,
    /// How control is proved.
    pub challenge: Challenge,
    /// The CA's profile; empty for its default.
    pub profile: String,
    /// Whether mail names get a certificate with an RSA key beside the one with an ECDSA key.
    pub rsa: bool,
    /// For CAs that serve customers only.
    pub external_account: Option<ExternalAccount>,
    /// Whom to trust to be the CA's server.
    pub roots: Roots,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("directory", &self.directory)
            .field("challenge", &self.challenge)
            .finish_non_exhaustive()
    }
}
