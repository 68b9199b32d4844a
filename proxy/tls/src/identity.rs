//! One identity: a certificate chain, its key, the names it proves and how long.

use std::fmt;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::SignatureAlgorithm;
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::{Pin, Settings, TlsError, provider};

/// The longest life of a certificate that mail programs accept without complaint, self-signed or not.
const SELF_SIGNED_LIFE: Duration = Duration::from_secs(398 * 86_400);
/// Servers whose clock is a little behind must not find the certificate in their future.
const SELF_SIGNED_BACKDATED: Duration = Duration::from_secs(86_400);
/// Permission bits of anybody who is neither the owner nor in the group.
const OTHERS: u32 = 0o007;

/// A certificate chain with its key. Cheap to clone; shows neither in `Debug`.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    names: Arc<[Box<str>]>,
    not_after: Duration,
    pin: Pin,
}

impl Identity {
    /// Reads the chain and the key from PEM files, and checks that they can serve at the time `now` (since 1970).
    /// Warns if anybody can read the key.
    ///
    /// # Errors
    ///
    /// [`IdentityError`], which says what to do.
    pub fn load(chain: &Path, key: &Path, now: Duration) -> Result<Self, IdentityError> {
        let chain_pem = read(chain)?;
        let key_pem = read(key)?;
        warn_if_readable_by_others(key);
        Self::from_pem(&chain_pem, &key_pem, now).map_err(|error| IdentityError::InFile {
            path: error.blamed(chain, key).into(),
            error: Box::new(error),
        })
    }

    /// The same from PEM in memory: the chain with the server's own certificate first, and the key.
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub fn from_pem(chain: &[u8], key: &[u8], now: Duration) -> Result<Self, IdentityError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(IdentityError::BadChain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(IdentityError::BadKey)?;
        Self::new(chain, key, now)
    }

    /// Makes a key (P-256) and a certificate for `names`, host names or IP addresses, which nobody vouches for: what is
    /// served until there is something better. Valid for 398 days from `now` (since 1970).
    ///
    /// # Errors
    ///
    /// [`IdentityError`], where a name cannot stand in a certificate or none was given.
    pub fn self_signed(names: &[&str], now: Duration) -> Result<Self, IdentityError> {
        let key =
            rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(IdentityError::NotMade)?;
        Self::signed_with(names, &key, now)
    }

    /// The same with a key that there is already, in PEM: what is published of it (RFC 7671 §5.1) holds.
    ///
    /// # Errors
    ///
    /// [`IdentityError`], also where the key cannot be read.
    pub fn self_signed_with(names: &[&str], key: &str, now: Duration) -> Result<Self, IdentityError> {
        let key = rcgen::KeyPair::from_pem(key).map_err(IdentityError::NotMade)?;
        Self::signed_with(names, &key, now)
    }

    fn signed_with(names: &[&str], key: &rcgen::KeyPair, now: Duration) -> Result<Self, IdentityError> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let first = names.first().ok_or(IdentityError::NoNames)?.clone();
        let mut params = rcgen::CertificateParams::new(names).map_err(IdentityError::NotMade)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, first);
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + now.saturating_sub(SELF_SIGNED_BACKDATED);
        params.not_after = epoch + now + SELF_SIGNED_LIFE;
        let certificate = params.self_signed(key).map_err(IdentityError::NotMade)?;
        let key_der = PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| IdentityError::KeyUnusable)?;
        Self::new(vec![certificate.der().clone()], key_der, now)
    }

    /// From what has just been made here, and belongs together: nothing is checked, dates least of all.
    pub(crate) fn minted(minted: Minted<'_>) -> Result<Self, TlsError> {
        let Minted { chain, key, names, not_after } = minted;
        let pin = chain.first().and_then(|own| Pin::of_certificate(own));
        let pin = pin.ok_or_else(|| TlsError::Setup("the minted certificate cannot be read".into()))?;
        let key = any_ecdsa_type(key).map_err(|error| TlsError::from(&error))?;
        Ok(Self { certified: Arc::new(CertifiedKey::new(chain, key)), names, not_after, pin })
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        now: Duration,
    ) -> Result<Self, IdentityError> {
        let own = chain.first().ok_or(IdentityError::EmptyChain)?;
        let (names, not_after, pin) = {
            let (_, parsed) =
                X509Certificate::from_der(own).map_err(|_| IdentityError::CertificateUnreadable)?;
            let pin = Pin::of_public_key(parsed.tbs_certificate.subject_pki.raw);
            (names(&parsed)?, not_after(&parsed), pin)
        };
        if now >= not_after {
            return Err(IdentityError::Expired { days: (now - not_after).as_secs() / 86_400 });
        }
        let certified = CertifiedKey::from_der(chain, key, &provider(&Settings::default())).map_err(
            |error| match error {
                rustls::Error::InconsistentKeys(_) => IdentityError::KeyMismatch,
                _ => IdentityError::KeyUnusable,
            },
        )?;
        Ok(Self { certified: Arc::new(certified), names, not_after, pin })
    }

    /// The names that the certificate proves, in lower case: host names, also as `*.example.net`, and IP addresses.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// From when on it counts, since 1970.
    pub fn not_before(&self) -> Duration {
        let read = self.chain().first().and_then(|own| X509Certificate::from_der(own).ok());
        let seconds = read.map_or(0, |(_, own)| own.validity().not_before.timestamp());
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    /// When it expires, since 1970.
    pub fn not_after(&self) -> Duration {
        self.not_after
    }

    /// The pin of its public key.
    pub fn pin(&self) -> Pin {
        self.pin
    }

    /// The chain in DER, its own certificate first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// Whether the key is an elliptic curve's: cheaper to sign with and smaller on the wire than RSA.
    pub fn is_ecdsa(&self) -> bool {
        self.certified.key.algorithm() == SignatureAlgorithm::ECDSA
    }

    pub(crate) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

/// What [`Identity::minted`] is made of.
pub(crate) struct Minted<'a> {
    /// The leaf first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// The leaf's key, on an elliptic curve.
    pub(crate) key: &'a PrivateKeyDer<'static>,
    /// The leaf's names, in lower case.
    pub(crate) names: Arc<[Box<str>]>,
    /// The leaf's, since 1970.
    pub(crate) not_after: Duration,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("names", &self.names).field("pin", &self.pin).finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    std::fs::read(path).map_err(|error| IdentityError::Unreadable { path: path.into(), error })
}

fn warn_if_readable_by_others(key: &Path) {
    let Ok(metadata) = std::fs::metadata(key) else { return };
    if metadata.permissions().mode() & OTHERS != 0 {
        tracing::warn!(key = %key.display(), "everybody on this machine can read this private key: chmod o= it");
    }
}

/// The subject alternative names; the common name has not counted since RFC 6125.
fn names(certificate: &X509Certificate<'_>) -> Result<Arc<[Box<str>]>, IdentityError> {
    let extension =
        certificate.subject_alternative_name().map_err(|_| IdentityError::CertificateUnreadable)?;
    let names: Arc<[Box<str>]> = extension
        .iter()
        .flat_map(|san| &san.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into_boxed_str()),
            GeneralName::IPAddress(octets) => Some(address(octets)?.to_string().into_boxed_str()),
            _ => None,
        })
        .collect();
    if names.is_empty() { Err(IdentityError::NoNames) } else { Ok(names) }
}

pub(crate) fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

fn not_after(certificate: &X509Certificate<'_>) -> Duration {
    let seconds = certificate.validity().not_after.timestamp();
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// A certificate and key that cannot serve, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A block of PEM in the chain is damaged.
    #[error("the chain is damaged: {0}")]
    BadChain(#[source] pem::Error),
    /// There is no key, or its PEM is damaged.
    #[error("no private key that can be read ({0}); it must be PEM, unencrypted: PKCS #8, SEC1 or PKCS #1")]
    BadKey(#[source] pem::Error),
    /// The first certificate cannot be read.
    #[error("the first certificate cannot be read; it must be X.509 version 3")]
    CertificateUnreadable,
    /// There is no certificate.
    #[error(
        "no certificate in the chain; it must hold PEM blocks that begin with BEGIN CERTIFICATE, the server's own first"
    )]
    EmptyChain,
    /// The certificate is out of date.
    #[error("the certificate expired {days} days ago: renew it")]
    Expired {
        /// Whole days since.
        days: u64,
    },
    /// An error, with the file that it is in.
    #[error("{}: {error}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: Box<Self>,
    },
    /// Chain and key are not of one pair.
    #[error(
        "the key does not belong to the first certificate of the chain: give the key that the certificate was requested with, or put the server's own certificate first"
    )]
    KeyMismatch,
    /// A key of a kind that is not spoken.
    #[error(
        "the key cannot be used; it must be ECDSA (P-256, P-384, P-521), RSA of 2048 bits or more, or Ed25519"
    )]
    KeyUnusable,
    /// Nothing that a client could compare with the name it looked for.
    #[error(
        "the certificate has no subject alternative name, and a common name does not count: request it again for the host's name"
    )]
    NoNames,
    /// A self-signed certificate could not be made.
    #[error("a self-signed certificate could not be made: {0}")]
    NotMade(#[source] rcgen::Error),
    /// A file that cannot be read.
    #[error("{}: cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

impl IdentityError {
    /// Which of the two files an administrator should look at.
    fn blamed<'a>(&self, chain: &'a Path, key: &'a Path) -> &'a Path {
        match self {
            Self::BadKey(_) | Self::KeyMismatch | Self::KeyUnusable => key,
            _ => chain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_288_205);

    fn issued(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn written(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_self_signed_one_has_the_names_and_the_life_it_was_given() {
        let identity = Identity::self_signed(&["MX1.example.net", "192.0.2.1", "2001:db8::1"], NOW).unwrap();
        let names: Vec<&str> = identity.names().iter().map(|name| &**name).collect();
        assert_eq!(names, ["mx1.example.net", "192.0.2.1", "2001:db8::1"]);
        assert_eq!(identity.not_after(), NOW + SELF_SIGNED_LIFE);
        assert!(identity.is_ecdsa());
        assert_eq!(Pin::of_certificate(&identity.chain()[0]), Some(identity.pin()));
    }

    #[test]
    fn with_the_same_key_the_pin_is_the_same() {
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let made = || Identity::self_signed_with(&["mx1.example.net"], &key, NOW).unwrap();
        assert_eq!(made().pin(), made().pin());
        assert!(Identity::self_signed_with(&["mx1.example.net"], "no key", NOW).is_err());
    }

    #[test]
    fn files_are_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = issued(&["mx.example.net"]);
        let (chain, key) = (written(&folder, "chain.pem", &chain), written(&folder, "key.pem", &key));
        let identity = Identity::load(&chain, &key, NOW).unwrap();
        assert_eq!(&*identity.names()[0], "mx.example.net");
    }

    #[test]
    fn errors_name_the_file_and_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = issued(&["mx.example.net"]);
        let chain = written(&folder, "chain.pem", &chain);
        let other = written(&folder, "other.pem", &issued(&["mx.example.net"]).1);
        let missing = folder.path().join("missing.pem");
        let said = |chain: &Path, key: &Path| Identity::load(chain, key, NOW).unwrap_err().to_string();
        let mismatch = said(&chain, &other);
        assert!(mismatch.contains("other.pem") && mismatch.contains("does not belong"), "{mismatch}");
        assert!(said(&chain, &missing).contains("missing.pem"));
        assert!(said(&chain, &chain).contains("no private key"));
        let no_certificate = written(&folder, "key.pem", &key);
        assert!(said(&no_certificate, &no_certificate).contains("no certificate"));
    }

    #[test]
    fn what_is_expired_or_has_no_name_is_refused() {
        let later = NOW + SELF_SIGNED_LIFE + Duration::from_secs(3 * 86_400);
        let mut params = rcgen::CertificateParams::new(["mx.example.net".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + NOW + SELF_SIGNED_LIFE;
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (chain, key_pem) = (certificate.pem(), key.serialize_pem());
        let expired = Identity::from_pem(chain.as_bytes(), key_pem.as_bytes(), later);
        assert!(matches!(expired, Err(IdentityError::Expired { days: 3 })));
        let (chain, key_pem) = issued(&[]);
        let nameless = Identity::from_pem(chain.as_bytes(), key_pem.as_bytes(), NOW);
        assert!(matches!(nameless, Err(IdentityError::NoNames)));
        assert!(matches!(Identity::self_signed(&[], NOW), Err(IdentityError::NoNames)));
    }

    #[test]
    fn no_key_is_shown() {
        let identity = Identity::self_signed(&["mx.example.net"], NOW).unwrap();
        let shown = format!("{identity:?}");
        assert!(shown.contains("mx.example.net") && !shown.contains("key:"), "{shown}");
    }
}
