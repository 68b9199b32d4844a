//! The certificates of tls-alpn-01 (RFC 8737): what a CA is shown that asks with the protocol `acme-tls/1`, and nobody else.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;

use crate::{Identities, IdentityError};

/// The protocol of RFC 8737 §6.2.
pub(crate) const ACME_TLS: &[u8] = b"acme-tls/1";
/// Names that are proved at the same time; an order has no more.
const MAX_VALIDATIONS: usize = 256;

/// What is to be shown for which name while an order is open. Cheap to clone; a clone shows the same.
#[derive(Clone, Default)]
pub struct Validations(Arc<Mutex<HashMap<Box<str>, Arc<CertifiedKey>>>>);

impl Validations {
    /// From now on shows for `name` a certificate with this digest of the key authorization (RFC 8737 §3).
    ///
    /// # Errors
    ///
    /// [`IdentityError::NotMade`], where the name cannot stand in a certificate.
    pub fn show(&self, name: &str, digest: &[u8]) -> Result<(), IdentityError> {
        let certified = certificate(name, digest)?;
        let mut shown = self.shown();
        if shown.len() < MAX_VALIDATIONS || shown.contains_key(name) {
            shown.insert(name.to_ascii_lowercase().into(), Arc::new(certified));
        }
        Ok(())
    }

    /// Shows nothing more for `name`.
    pub fn withdraw(&self, name: &str) {
        self.shown().remove(&*name.to_ascii_lowercase());
    }

    fn shown(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<CertifiedKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Validations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.shown().keys()).finish()
    }
}

/// Self-signed, for this name alone, with the digest in a critical extension (RFC 8737 §3).
fn certificate(name: &str, digest: &[u8]) -> Result<CertifiedKey, IdentityError> {
    let mut params = rcgen::CertificateParams::new([name.to_owned()]).map_err(IdentityError::NotMade)?;
    params.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(digest)];
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(IdentityError::NotMade)?;
    let made = params.self_signed(&key).map_err(IdentityError::NotMade)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| IdentityError::KeyUnusable)?;
    let key = any_ecdsa_type(&key).map_err(|_| IdentityError::KeyUnusable)?;
    Ok(CertifiedKey::new(vec![made.der().clone()], key))
}

/// The public web server's choice: a CA that validates gets the certificate for that, everybody else one of the identities.
#[derive(Debug)]
pub(crate) struct ForWeb {
    pub(crate) identities: Arc<Identities>,
    pub(crate) validations: Validations,
}

impl ResolvesServerCert for ForWeb {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let validates = hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == ACME_TLS));
        if !validates {
            return self.identities.resolve(hello);
        }
        let name = hello.server_name()?.to_ascii_lowercase();
        self.validations.shown().get(&*name).map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use x509_parser::prelude::{FromDer as _, X509Certificate};

    #[test]
    fn what_is_shown_is_for_one_name_and_carries_the_digest_as_critical() {
        let validations = Validations::default();
        validations.show("MX.example.net", &[7; 32]).unwrap();
        let shown = Arc::clone(validations.shown().get("mx.example.net").unwrap());
        let (_, certificate) = X509Certificate::from_der(&shown.cert[0]).unwrap();
        let extension = certificate
            .extensions()
            .iter()
            .find(|extension| extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31")
            .unwrap();
        assert!(extension.critical);
        assert_eq!(extension.value, [&[4, 32][..], &[7; 32]].concat());
        validations.withdraw("mx.EXAMPLE.net");
        assert!(validations.shown().is_empty());
    }
}
