//! The appliance's own authority, which the administrator has inner servers trust: it signs what they are shown in place of
//! far sides that were verified.
//!
//! Made at the first start and kept in two files of its own, apart from all other keys: whoever has this key can pass for
//! any host to every server that trusts it. It can sign servers and nothing below itself (RFC 5280 §4.2.1.9, path length 0).

mod files;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

/// The certificate, for everybody to read.
const CERTIFICATE: &str = "interception-ca.pem";
/// Its key, PKCS #8.
const KEY: &str = "interception-ca.key";
/// Ten years: putting a new one into every inner server is work for people.
const LIFE: Duration = Duration::from_secs(3652 * 86_400);
/// Servers whose clock is a little behind must not find the certificate in their future.
const BACKDATED: Duration = Duration::from_secs(86_400);
/// What the common name begins with; the owner fills it up to the 64 characters that one may have.
const TITLE: &str = "Postern CA of ";
const MAX_COMMON_NAME: usize = 64;

/// An authority with its key. Cheap to clone; `Debug` does not show the key.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    not_after: Duration,
}

impl Authority {
    /// Reads `interception-ca.pem` and `interception-ca.key` from `folder`, which must exist, or makes them where neither is
    /// there: an ECDSA key (P-256) and a certificate for ten years from `now` (since 1970), which names `owner`, the
    /// appliance's host name. When it returns, both are on disk for good. Reads and writes files: once, at start.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`], which says what to do. Nothing that is there is ever overwritten.
    pub fn load_or_create(folder: &Path, owner: &str, now: Duration) -> Result<Self, AuthorityError> {
        let (certificate_path, key_path) = (folder.join(CERTIFICATE), folder.join(KEY));
        let certificate = files::read(&certificate_path, files::EVERYBODY_READS)?;
        let key = files::read(&key_path, files::OWNER_ONLY)?;
        match (certificate, key) {
            (Some(certificate), Some(key)) => {
                Self::from_files((&certificate_path, &certificate), (&key_path, &key), now)
            }
            (None, None) => Self::create(folder, owner, now),
            (Some(_), None) => Err(AuthorityError::HalfThere { found: certificate_path, missing: key_path }),
            (None, Some(_)) => Err(AuthorityError::HalfThere { found: key_path, missing: certificate_path }),
        }
    }

    /// The certificate as PEM, for the inner servers' stores of trusted authorities.
    pub fn certificate_pem(&self) -> &str {
        &self.0.pem
    }

    /// The certificate in DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.0.certificate
    }

    /// When it expires, since 1970. From then on it is an error at start, and inner servers believe no leaf of it.
    pub fn not_after(&self) -> Duration {
        self.0.not_after
    }

    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.0.issuer
    }

    fn create(folder: &Path, owner: &str, now: Duration) -> Result<Self, AuthorityError> {
        let (certificate_path, key_path) = (folder.join(CERTIFICATE), folder.join(KEY));
        let (certificate, key) = new_pair(owner, now).map_err(AuthorityError::NotMade)?;
        let (pem, key_pem) = (certificate.pem(), Zeroizing::new(key.serialize_pem()));
        files::write_both(
            folder,
            (&key_path, key_pem.as_bytes(), files::OWNER_ONLY),
            (&certificate_path, pem.as_bytes(), files::EVERYBODY_READS),
        )?;
        // By the way that every later start takes.
        Self::from_files((&certificate_path, pem.as_bytes()), (&key_path, key_pem.as_bytes()), now)
    }

    fn from_files(
        (certificate_path, pem): (&Path, &[u8]),
        (key_path, key): (&Path, &[u8]),
        now: Duration,
    ) -> Result<Self, AuthorityError> {
        let unusable = |path: &Path, why| AuthorityError::Unusable { path: path.into(), why };
        let certificate = only_certificate(pem).map_err(|why| unusable(certificate_path, why))?;
        let key = PrivateKeyDer::from_pem_slice(key).map(Zeroizing::new);
        let key = key.map_err(|_| unusable(key_path, "there is no private key in it"))?;
        let key = KeyPair::try_from(&*key).map_err(|_| unusable(key_path, "its key cannot be used"))?;
        let not_after = check(&certificate, &key).map_err(|why| unusable(certificate_path, why))?;
        if now >= not_after {
            let days = (now - not_after).as_secs() / 86_400;
            return Err(AuthorityError::Expired { path: certificate_path.into(), days });
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|_| unusable(certificate_path, "its subject cannot be used"))?;
        let pem = String::from_utf8_lossy(pem).into_owned();
        Ok(Self(Arc::new(Inner { issuer, certificate, pem, not_after })))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("not_after", &self.0.not_after).finish_non_exhaustive()
    }
}

/// A new key, and the certificate for it. The serial number is rcgen's, a hash of the key, hence unique.
fn new_pair(owner: &str, now: Duration) -> Result<(Certificate, Zeroizing<KeyPair>), rcgen::Error> {
    let mut params = CertificateParams::default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BACKDATED);
    params.not_after = epoch + now + LIFE;
    params.distinguished_name = DistinguishedName::new();
    let name: String = TITLE.chars().chain(owner.chars()).take(MAX_COMMON_NAME).collect();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = Zeroizing::new(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?);
    Ok((params.self_signed(&*key)?, key))
}

fn only_certificate(pem: &[u8]) -> Result<CertificateDer<'static>, &'static str> {
    let mut certificates = CertificateDer::pem_slice_iter(pem);
    match (certificates.next(), certificates.next()) {
        (Some(Ok(certificate)), None) => Ok(certificate),
        (Some(Ok(_)), Some(_)) => Err("there is more than one certificate in it"),
        _ => Err("there is no certificate in it"),
    }
}

/// That the certificate is an authority's and belongs to the key; when it expires.
fn check(certificate: &CertificateDer<'_>, key: &KeyPair) -> Result<Duration, &'static str> {
    let unreadable = "its certificate cannot be read";
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| unreadable)?;
    let may_sign =
        parsed.key_usage().map_err(|_| unreadable)?.is_some_and(|usage| usage.value.key_cert_sign());
    if !parsed.is_ca() || !may_sign {
        return Err("its certificate is not an authority's");
    }
    if parsed.tbs_certificate.subject_pki.raw != key.subject_public_key_info() {
        return Err("its certificate is for another key than the one beside it");
    }
    let seconds = parsed.validity().not_after.timestamp();
    Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Why there is no authority, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Ten years are over.
    #[error(
        "{}: the certificate of the interception CA expired {days} days ago: remove it and the .key beside it, start again, and give the new one to every inner server that trusts this one", path.display()
    )]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// Whole days since.
        days: u64,
    },
    /// One of the two files.
    #[error(
        "{} is there and {} is not: put that one back from a backup; or, if no inner server trusts this CA yet, remove the first one and start again", found.display(), missing.display()
    )]
    HalfThere {
        /// The file that is there.
        found: PathBuf,
        /// The one that belongs to it.
        missing: PathBuf,
    },
    /// A file or the folder cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// The cryptography did not do it.
    #[error("the interception CA could not be made: {0}")]
    NotMade(#[source] rcgen::Error),
    /// Somebody can read the key, or write the certificate, who must not.
    #[error(
        "{}: mode {mode:03o} lets others at it: chmod {allowed:03o}, and if it is the key, ask who may have read it", path.display()
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The most that it may have.
        allowed: u32,
    },
    /// The content of a file is not what it must be.
    #[error(
        "{}: {why}: put both files of the interception CA back from a backup, or remove both, start again, and give the new certificate to every inner server", path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
}

#[cfg(test)]
mod tests;
