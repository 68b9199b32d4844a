//! Pins: the SHA-256 of a SubjectPublicKeyInfo (RFC 7469 §2.4), as the config writes them.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

const PREFIX: &str = "sha256/";

/// A public key that a server may have. Survives renewal of the certificate with the same key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

impl Pin {
    /// The pin of a SubjectPublicKeyInfo in DER.
    pub fn of_public_key(spki: &[u8]) -> Self {
        Self(Sha256::digest(spki).into())
    }

    /// The digest itself: what a TLSA record `3 1 1` has (RFC 6698 §2.1).
    pub fn digest(self) -> [u8; 32] {
        self.0
    }

    /// The pin of a certificate in DER; `None` if it cannot be read.
    pub fn of_certificate(certificate: &[u8]) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        Some(Self::of_public_key(parsed.tbs_certificate.subject_pki.raw))
    }
}

impl From<[u8; 32]> for Pin {
    /// From the SHA-256 of a SubjectPublicKeyInfo.
    fn from(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

/// What was given is no pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a pin: expected sha256/ and the base64 of 32 octets, the SHA-256 of a SubjectPublicKeyInfo")]
pub struct NotAPin;

impl FromStr for Pin {
    type Err = NotAPin;

    fn from_str(text: &str) -> Result<Self, NotAPin> {
        let digest = text.strip_prefix(PREFIX).ok_or(NotAPin)?;
        let digest = STANDARD.decode(digest).map_err(|_| NotAPin)?;
        Ok(Self(digest.try_into().map_err(|_| NotAPin)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_as_it_is_written() {
        let pin = Pin::of_public_key(b"");
        let text = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert_eq!(pin.to_string(), text);
        assert_eq!(text.parse(), Ok(pin));
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        for text in
            ["", "sha256/", "sha1/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "sha256/AAAA", "sha256/%"]
        {
            assert_eq!(text.parse::<Pin>(), Err(NotAPin), "{text}");
        }
        assert_eq!(Pin::of_certificate(b"no certificate"), None);
    }
}
