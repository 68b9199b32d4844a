//! Why a handshake failed, told apart by who can do something about it.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

use crate::dane::TlsaMismatch;

/// Characters kept of words that contain what the peer sent: a certificate can carry 64 KiB of names, and the log is
/// not there to be filled with them.
const MAX_WORDS: usize = 300;

/// What the two sides do not share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Missing {
    /// No group for the key exchange; mostly a client without elliptic curves: static RSA or finite-field DHE only.
    #[error("key exchange group")]
    Group,
    /// No signature scheme that a served certificate could be proved with.
    #[error("signature scheme")]
    Signature,
    /// No cipher suite: CBC only.
    #[error("cipher suite")]
    Suite,
    /// No version: SSL, TLS 1.0 or 1.1 only, or TLS 1.2 where 1.3 is the minimum.
    #[error("protocol version")]
    Version,
}

/// What is wrong with a certificate, as far as it makes a difference (RFC 8460 §4.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It has expired, or is not valid yet.
    Date,
    /// It is for other names.
    Name,
    /// Nobody who is trusted stands behind it.
    Issuer,
    /// Something else.
    Other,
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// Of what kind.
    pub fault: Fault,
    /// In words.
    pub words: Box<str>,
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// Why there is no TLS session.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The peer ended the handshake with an alert (RFC 8446 §6), named as there: `unknown_ca`, `bad_certificate`.
    #[error("the peer gave up with the alert {0}")]
    Alert(Box<str>),
    /// What came is not TLS, or breaks its rules.
    #[error("what the peer sent is not TLS or breaks its rules: {0}")]
    BadBytes(Box<str>),
    /// The server's certificate did not satisfy the policy.
    #[error("the server's certificate was not accepted: {0}")]
    Certificate(Objection),
    /// The peer closed the connection in the middle of the handshake.
    #[error("the peer closed the connection during the handshake")]
    Closed,
    /// The connection broke.
    #[error("the connection broke during the handshake: {0}")]
    Io(#[source] io::Error),
    /// What was to be asked for is neither a host name in ASCII nor an IP address.
    #[error("{0:?} is neither a host name nor an IP address")]
    Name(Box<str>),
    /// Law 5: the two sides share nothing that has forward secrecy.
    #[error("the peer offers no {0} with forward secrecy")]
    NoForwardSecrecy(Missing),
    /// None of the policy's pins is the server's key.
    #[error("the server's public key is none of those pinned")]
    PinMismatch,
    /// The policy demands a verified chain and there are no roots to verify it with.
    #[error("no trusted root certificates: install ca-certificates, or set ca_file or pins")]
    NoRoots,
    /// None of the policy's TLSA records is of the server's certificates.
    #[error("{TlsaMismatch}")]
    TlsaMismatch,
    /// Something on this side: no certificate to serve, no randomness.
    #[error("TLS could not be set up: {0}")]
    Setup(Box<str>),
}

impl TlsError {
    /// A closed list: the metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Alert(_) => "alert",
            Self::BadBytes(_) => "bad_bytes",
            Self::Certificate(_) => "certificate",
            Self::Closed => "closed",
            Self::Io(_) => "io",
            Self::Name(_) => "name",
            Self::NoForwardSecrecy(_) => "no_forward_secrecy",
            Self::PinMismatch => "pin_mismatch",
            Self::NoRoots => "no_roots",
            Self::Setup(_) => "setup",
            Self::TlsaMismatch => "tlsa_mismatch",
        }
    }

    /// In words, for the log and for [`record::TlsOutcome::Failed`]; at most some 400 characters, none of them control
    /// characters.
    pub fn reason(&self) -> Box<str> {
        self.to_string().into_boxed_str()
    }

    /// Whether law 5 stands between the two sides. A server that shares nothing with us says so by one of three
    /// alerts; `handshake_failure` can mean other things too, but hardly ever does.
    pub fn is_no_forward_secrecy(&self) -> bool {
        match self {
            Self::NoForwardSecrecy(_) => true,
            Self::Alert(name) => {
                matches!(&**name, "handshake_failure" | "insufficient_security" | "protocol_version")
            }
            _ => false,
        }
    }

    /// From what tokio-rustls's handshake ends with: rustls's error packed in one of I/O.
    pub(crate) fn from_handshake(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(inner) => inner.into(),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::Closed,
            None => Self::Io(error),
        }
    }
}

impl From<&rustls::Error> for TlsError {
    fn from(error: &rustls::Error) -> Self {
        use rustls::Error as E;
        match error {
            E::AlertReceived(alert) => Self::Alert(alert_name(*alert)),
            // Only the pin check of our own verifier says this.
            E::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => Self::PinMismatch,
            E::InvalidCertificate(CertificateError::Other(other)) if other.0.is::<TlsaMismatch>() => {
                Self::TlsaMismatch
            }
            E::InvalidCertificate(why) => {
                Self::Certificate(Objection { fault: fault(why), words: words(&objection(why)) })
            }
            E::PeerIncompatible(why) => match missing(why) {
                Some(missing) => Self::NoForwardSecrecy(missing),
                None => Self::BadBytes(words(&error.to_string())),
            },
            E::DecryptError
            | E::InappropriateHandshakeMessage { .. }
            | E::InappropriateMessage { .. }
            | E::InvalidMessage(_)
            | E::NoCertificatesPresented
            | E::PeerMisbehaved(_)
            | E::PeerSentOversizedRecord => Self::BadBytes(words(&error.to_string())),
            other => Self::Setup(words(&other.to_string())),
        }
    }
}

impl From<rcgen::Error> for TlsError {
    /// A certificate that was to be made here and was not.
    fn from(error: rcgen::Error) -> Self {
        Self::Setup(words(&error.to_string()))
    }
}

fn fault(why: &CertificateError) -> Fault {
    use CertificateError as E;
    match why {
        E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. } => Fault::Date,
        E::NotValidForName | E::NotValidForNameContext { .. } => Fault::Name,
        E::UnknownIssuer | E::BadSignature | E::Revoked => Fault::Issuer,
        // An authority's own, as self-signed ones often are.
        E::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => Fault::Issuer,
        _ => Fault::Other,
    }
}

/// What is wrong with a certificate. Of many faults rustls has no more to say than the name that it has for them.
fn objection(why: &CertificateError) -> String {
    match why {
        CertificateError::BadEncoding => "it cannot be read".into(),
        CertificateError::Expired => "it has expired".into(),
        CertificateError::NotValidYet => "it is not valid yet".into(),
        CertificateError::Revoked => "it was revoked".into(),
        CertificateError::UnknownIssuer => "its issuer is not known".into(),
        CertificateError::BadSignature => "its signature is wrong".into(),
        CertificateError::NotValidForName => "it is for another name".into(),
        // What openssl makes without further words.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "it is an authority's own, as self-signed ones often are".into()
        }
        other => other.to_string(),
    }
}

/// `None`: nothing that has to do with forward secrecy.
fn missing(why: &PeerIncompatible) -> Option<Missing> {
    use PeerIncompatible as P;
    Some(match why {
        P::EcPointsExtensionRequired
        | P::KeyShareExtensionRequired
        | P::NamedGroupsExtensionRequired
        | P::NoEcPointFormatsInCommon
        | P::NoKxGroupsInCommon
        | P::UncompressedEcPointsRequired => Missing::Group,
        P::NoSignatureSchemesInCommon => Missing::Signature,
        P::NoCipherSuitesInCommon => Missing::Suite,
        // The extension came with TLS 1.2: who leaves it out is older, and rustls looks for it before the version.
        P::SignatureAlgorithmsExtensionRequired
        | P::ServerDoesNotSupportTls12Or13
        | P::ServerTlsVersionIsDisabledByOurConfig
        | P::SupportedVersionsExtensionRequired
        | P::Tls12NotOffered
        | P::Tls12NotOfferedOrEnabled => Missing::Version,
        _ => return None,
    })
}

/// The alert as RFC 8446 writes it: `UnknownCA` becomes `unknown_ca`.
fn alert_name(alert: AlertDescription) -> Box<str> {
    if let AlertDescription::Unknown(number) = alert {
        return number.to_string().into_boxed_str();
    }
    let camel = format!("{alert:?}");
    let letters = camel.as_bytes();
    let mut name = String::with_capacity(camel.len() + 4);
    for (at, letter) in letters.iter().enumerate() {
        let after_lower = at > 0 && letters[at - 1].is_ascii_lowercase();
        let before_lower = at > 0 && letters.get(at + 1).is_some_and(u8::is_ascii_lowercase);
        if letter.is_ascii_uppercase() && (after_lower || before_lower) {
            name.push('_');
        }
        name.push(char::from(letter.to_ascii_lowercase()));
    }
    name.into_boxed_str()
}

/// Bounded, on one line: names in a certificate are the peer's to choose.
fn words(text: &str) -> Box<str> {
    text.chars()
        .take(MAX_WORDS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_have_the_names_of_the_rfc() {
        for (alert, name) in [
            (AlertDescription::UnknownCA, "unknown_ca"),
            (AlertDescription::BadCertificate, "bad_certificate"),
            (AlertDescription::UnknownPSKIdentity, "unknown_psk_identity"),
            (AlertDescription::NoCertificate, "no_certificate"),
            (AlertDescription::HandshakeFailure, "handshake_failure"),
            (AlertDescription::Unknown(200), "200"),
        ] {
            assert_eq!(&*alert_name(alert), name);
        }
    }

    #[test]
    fn a_certificate_that_is_not_accepted_is_told_of_in_words() {
        #[derive(Debug, thiserror::Error)]
        #[error("words that rustls does not show")]
        struct CaUsedAsEndEntity;
        let reason = |why| TlsError::from(&rustls::Error::InvalidCertificate(why)).reason();
        let unknown = reason(CertificateError::UnknownIssuer);
        assert_eq!(&*unknown, "the server's certificate was not accepted: its issuer is not known");
        assert!(reason(CertificateError::Expired).ends_with(": it has expired"));
        let own = rustls::OtherError(std::sync::Arc::new(CaUsedAsEndEntity));
        assert!(reason(CertificateError::Other(own)).ends_with("as self-signed ones often are"));
    }

    #[test]
    fn words_from_the_peer_stay_short_and_on_one_line() {
        let many = format!("a\r\n250 ok\u{1b}[2J{}", "x".repeat(70_000));
        let short = words(&many);
        assert_eq!(short.chars().count(), MAX_WORDS);
        assert!(!short.chars().any(char::is_control));
    }

    #[test]
    fn want_of_forward_secrecy_is_told_from_everything_else() {
        let no_suite = TlsError::from(&rustls::Error::from(PeerIncompatible::NoCipherSuitesInCommon));
        assert!(no_suite.is_no_forward_secrecy());
        assert_eq!(no_suite.label(), "no_forward_secrecy");
        let refused = TlsError::from(&rustls::Error::AlertReceived(AlertDescription::ProtocolVersion));
        assert!(refused.is_no_forward_secrecy());
        let distrusted = TlsError::from(&rustls::Error::AlertReceived(AlertDescription::UnknownCA));
        assert!(!distrusted.is_no_forward_secrecy());
        assert_eq!(&*distrusted.reason(), "the peer gave up with the alert unknown_ca");
    }
}
