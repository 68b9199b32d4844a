//! What a far side showed of itself: its certificates, bounded, and the few facts that are read from them.
//!
//! RFC 5280 §4.2.1.6 (subject alternative names), RFC 9525 §6.3 (wildcards). All of it is the far side's to choose: what cannot
//! be read or cannot be a name is left out, and nothing here fails or grows with it (law 7).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, DnsName, ServerName};
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509CertificateParser;
use x509_parser::nom::Parser as _;
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::{FromDer as _, GeneralName, SubjectAlternativeName, X509Certificate};

use crate::Pin;
use crate::identity::address;

/// Certificates kept of a chain; real ones have three, and verification follows six at most. Empty ones cost a peer four
/// octets each.
pub const MAX_CERTIFICATES: usize = 32;
/// Octets kept of a chain: as many as rustls reads of a message with certificates.
pub const MAX_CHAIN: usize = 64 * 1024;
/// Names read from a certificate; the large authorities allow 100 to 250.
pub const MAX_NAMES: usize = 250;
/// Octets of all names that are read: a leaf that carries them is kept in memory, and is sent at each handshake.
pub const MAX_NAME_OCTETS: usize = 8 * 1024;
/// Characters of a common name (RFC 5280 appendix A.1, `ub-common-name`).
const MAX_COMMON_NAME: usize = 64;

/// A name that a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SubjectName {
    /// A host name in lower case, without the root's dot; the first label may be `*`.
    Host(Box<str>),
    /// An address.
    Address(IpAddr),
}

impl SubjectName {
    /// A name that the certificate proves by this one: itself, or for a wildcard some name below it. `None` for an address.
    pub(crate) fn sample_host(&self) -> Option<ServerName<'static>> {
        let Self::Host(name) = self else { return None };
        let concrete = match name.strip_prefix('*') {
            Some(parent) => format!("x{parent}"),
            None => name.to_string(),
        };
        ServerName::try_from(concrete).ok()
    }

    fn read(name: &GeneralName<'_>) -> Option<Self> {
        match name {
            GeneralName::DNSName(name) if is_host_name(name) => {
                Some(Self::Host(name.to_ascii_lowercase().into_boxed_str()))
            }
            GeneralName::IPAddress(octets) => address(octets).map(Self::Address),
            _ => None,
        }
    }

    fn octets(&self) -> usize {
        match self {
            Self::Host(name) => name.len(),
            Self::Address(IpAddr::V4(_)) => 4,
            Self::Address(IpAddr::V6(_)) => 16,
        }
    }
}

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// The certificates that a far side showed, its own first. At most [`MAX_CERTIFICATES`] and [`MAX_CHAIN`] octets; what is
/// beyond is left out, so that the chain can only prove less. Cheap to clone.
#[derive(Clone)]
pub struct Chain {
    certificates: Arc<[CertificateDer<'static>]>,
    digest: [u8; 32],
}

impl Chain {
    /// From certificates in DER, the far side's own first. They are not looked at here.
    pub fn new(certificates: &[impl AsRef<[u8]>]) -> Self {
        let (mut left, mut hash) = (MAX_CHAIN, Sha256::new());
        let kept = certificates.iter().map(AsRef::as_ref).take(MAX_CERTIFICATES).map_while(|der| {
            left = left.checked_sub(der.len())?;
            // With its length, so that no two chains are the same octets.
            hash.update((der.len() as u64).to_be_bytes());
            hash.update(der);
            Some(CertificateDer::from(der.to_vec()))
        });
        let certificates = kept.collect();
        Self { certificates, digest: hash.finalize().into() }
    }

    /// The certificates in DER.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// SHA-256 over all of it: two far sides with the same one showed the same chain.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The host names and addresses among the subject alternative names of the first certificate, in its order: at most
    /// [`MAX_NAMES`] and [`MAX_NAME_OCTETS`]. None, where it cannot be read.
    pub fn names(&self) -> Vec<SubjectName> {
        self.end_entity().names
    }

    /// The chain in words, for people: whose certificate it is, by whom and until when, and the digest of its key as TLSA records have
    /// it. Empty, where there is none that can be read.
    pub fn words(&self) -> String {
        let Some(own) = self.certificates.first() else { return String::new() };
        let (Some(facts), Some(pin)) = (EndEntity::read(own), Pin::of_certificate(own)) else {
            return String::new();
        };
        let issuer = EndEntity::issuer(own).unwrap_or_else(|| "somebody without a name".into());
        let name = match facts.names.as_slice() {
            [] => "nobody".to_owned(),
            [one] => one.to_string(),
            [first, others @ ..] => format!("{first} and {} more", others.len()),
        };
        let key: String = pin.digest().iter().map(|octet| format!("{octet:02x}")).collect();
        let until = Duration::from_secs(u64::try_from(facts.not_after).unwrap_or(0));
        let (until, count) = (record::rfc3339_date(until), self.certificates.len());
        format!(
            "its certificate is for {name}, signed by {issuer:?}, until {until}, first of {count}; SHA-256 of its key {key}"
        )
    }

    /// What is read from the first certificate; the default, where it cannot be read.
    pub(crate) fn end_entity(&self) -> EndEntity {
        self.certificates.first().and_then(|own| EndEntity::read(own)).unwrap_or_default()
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("certificates", &self.certificates.len()).finish_non_exhaustive()
    }
}

/// The part of a far side's own certificate that a leaf like it is made from. The default is for nobody and
/// expired in 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EndEntity {
    pub(crate) names: Vec<SubjectName>,
    /// The first common name of the subject, of at most 64 characters.
    pub(crate) common_name: Option<Box<str>>,
    /// Seconds since 1970, as the certificate says; may be before.
    pub(crate) not_before: i64,
    /// The same.
    pub(crate) not_after: i64,
}

impl EndEntity {
    /// The common name of whoever signed it, else its organization; of at most 64 characters.
    fn issuer(der: &[u8]) -> Option<Box<str>> {
        let (_, certificate) =
            X509CertificateParser::new().with_deep_parse_extensions(false).parse(der).ok()?;
        let issuer = certificate.issuer();
        let name = issuer.iter_common_name().chain(issuer.iter_organization()).next();
        name.and_then(|name| name.as_str().ok()).filter(usable).map(Box::from)
    }

    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        // Of the extensions only one is of interest, and it alone is parsed.
        let (_, certificate) =
            X509CertificateParser::new().with_deep_parse_extensions(false).parse(der).ok()?;
        let common_name = certificate.subject().iter_common_name().next();
        Some(Self {
            names: names(&certificate).unwrap_or_default(),
            common_name: common_name.and_then(|name| name.as_str().ok()).filter(usable).map(Box::from),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }
}

/// `None`: there is no such extension, or two, or it cannot be read.
fn names(certificate: &X509Certificate<'_>) -> Option<Vec<SubjectName>> {
    let extension = certificate.get_extension_unique(&OID_X509_EXT_SUBJECT_ALT_NAME).ok()??;
    let (_, names) = SubjectAlternativeName::from_der(extension.value).ok()?;
    let mut left = MAX_NAME_OCTETS;
    let within_bounds =
        |name: &SubjectName| left.checked_sub(name.octets()).map(|rest| left = rest).is_some();
    let names = names.general_names.iter().filter_map(SubjectName::read);
    Some(names.take(MAX_NAMES).take_while(within_bounds).collect())
}

/// Letters, digits, hyphens and underscores in labels, the last of them not all digits, so that no name passes for an
/// address; and no dot at the end, which a certificate may not have.
fn is_host_name(name: &str) -> bool {
    let concrete = name.strip_prefix("*.").unwrap_or(name);
    !concrete.ends_with('.') && DnsName::try_from(concrete).is_ok()
}

fn usable(common_name: &&str) -> bool {
    let length = common_name.chars().take(MAX_COMMON_NAME + 1).count();
    (1..=MAX_COMMON_NAME).contains(&length) && !common_name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
