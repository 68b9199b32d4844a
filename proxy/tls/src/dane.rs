//! DANE for SMTP (RFC 7671, RFC 7672): what a server's TLSA records demand of its certificates.
//!
//! DANE-EE says all there is to say of the server's own certificate: no name, no date, no chain (RFC 7672 §3.1.1). DANE-TA names an
//! authority: the chain has to lead there, in date and under one of the reference names (§3.1.2). Records of other usages,
//! or of a kind that is not known here, count for nothing (§3.1.3).

use std::sync::Arc;

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, OtherError, RootCertStore};
use rustls_pki_types::{CertificateDer, Der, ServerName, TrustAnchor, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::Association;
use crate::association::{DANE_EE, DANE_TA};
use crate::chain::{EndEntity, SubjectName};

/// The usable TLSA records of a server, and the names that it may be known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dane {
    associations: Vec<Association>,
    names: Vec<Box<str>>,
}

/// No record is of the server's certificates.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("none of its domain's TLSA records is of the server's certificates")]
pub(crate) struct TlsaMismatch;

impl Dane {
    /// From all TLSA records at the server's base domain, and the reference names for DANE-TA (RFC 7672 §3.2.2) in A-labels. Of the
    /// digests of one kind only the strongest counts (RFC 7671 §9). `None`: no record can be used; there is to be TLS then, with
    /// whoever it is (RFC 7672 §2.2).
    pub fn new(records: &[Association], names: &[&str]) -> Option<Self> {
        let usable = records.iter().filter(|record| record.is_usable());
        let mut associations: Vec<_> =
            usable.filter(|record| !is_outdone(record, records)).cloned().collect();
        // What costs no path through a chain comes first.
        associations.sort_by_key(|record| record.usage != DANE_EE);
        let names = names.iter().map(|&name| name.into()).collect();
        (!associations.is_empty()).then_some(Self { associations, names })
    }

    /// The records that count.
    pub fn associations(&self) -> &[Association] {
        &self.associations
    }

    /// The first record that the certificates satisfy.
    pub(crate) fn matching(
        &self,
        certificates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<&Association, Error> {
        let mismatch = || CertificateError::Other(OtherError(Arc::new(TlsaMismatch))).into();
        let (own, others) = certificates.split_first().ok_or_else(mismatch)?;
        let mut fault = None;
        for record in &self.associations {
            if record.usage == DANE_EE {
                if record.is_of(own) {
                    return Ok(record);
                }
                continue;
            }
            let anchors = anchors(record, own, others);
            if !anchors.is_empty() {
                match self.leads_to(&anchors, own, others, now, algorithms) {
                    Ok(()) => return Ok(record),
                    // An authority that is meant and a chain that is not in order says more than that nothing was found.
                    Err(error) => fault = Some(error),
                }
            }
        }
        Err(fault.unwrap_or_else(mismatch))
    }

    fn leads_to(
        &self,
        anchors: &RootCertStore,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(own)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, anchors, others, now, algorithms.all)?;
        let mut error = CertificateError::NotValidForName.into();
        for name in &self.names {
            let Ok(server_name) = ServerName::try_from(&**name) else { continue };
            match verify_server_name(&parsed, &server_name) {
                Ok(()) => return Ok(()),
                Err(_) if is_common_name(own, name) => return Ok(()),
                Err(other) => error = other,
            }
        }
        Err(error)
    }
}

/// A stronger digest of the same kind is published beside it.
fn is_outdone(record: &Association, all: &[Association]) -> bool {
    let same_kind = |other: &&Association| (other.usage, other.selector) == (record.usage, record.selector);
    record.matching != 0
        && all.iter().filter(same_kind).any(|other| other.matching > record.matching && other.is_usable())
}

/// The authority that a record of DANE-TA means: one in the chain, or the one whose certificate or key the record has whole.
fn anchors(record: &Association, own: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    debug_assert_eq!(record.usage, DANE_TA);
    for certificate in others.iter().filter(|certificate| record.is_of(certificate)) {
        // What cannot be read is no authority.
        let _ = store.add(certificate.clone().into_owned());
    }
    if store.is_empty() && record.matching == 0 {
        match record.selector {
            0 => drop(store.add(CertificateDer::from(record.data.to_vec()))),
            // A bare key: whoever is named as an issuer may have it (RFC 7671 §5.2.2).
            _ => store.roots.extend(
                others.iter().chain([own]).filter_map(|certificate| bare_anchor(certificate, &record.data)),
            ),
        }
    }
    store
}

fn bare_anchor(certificate: &[u8], public_key: &[u8]) -> Option<TrustAnchor<'static>> {
    let (_, read) = X509Certificate::from_der(certificate).ok()?;
    let subject = content(read.tbs_certificate.issuer.as_raw())?;
    Some(TrustAnchor {
        subject: Der::from(subject.to_vec()),
        subject_public_key_info: Der::from(content(public_key)?.to_vec()),
        name_constraints: None,
    })
}

/// What is inside a SEQUENCE, if it is one and nothing is behind it.
fn content(der: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    let (&[tag, length], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match length {
        short @ 0..=0x7f => (usize::from(short), rest),
        long => {
            let (octets, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            // DER has no length without end, and nothing here is longer than 16 MB.
            if octets.is_empty() || octets.len() > 3 {
                return None;
            }
            (octets.iter().fold(0, |sum, &octet| (sum << 8) | usize::from(octet)), rest)
        }
    };
    (tag == SEQUENCE && rest.len() == length).then_some(rest)
}

/// Where a certificate has no host among its alternative names its common name counts (RFC 7672 §3.2.3).
fn is_common_name(own: &CertificateDer<'_>, name: &str) -> bool {
    let Some(read) = EndEntity::read(own) else { return false };
    !read.names.iter().any(|name| matches!(name, SubjectName::Host(_)))
        && read.common_name.is_some_and(|common| common.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests;
