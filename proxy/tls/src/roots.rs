//! The authorities that are trusted: Mozilla's as built in, the system's, and an administrator's own.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject as _};

/// A set of trusted roots. Cheap to clone.
#[derive(Clone)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// None at all.
    pub fn none() -> Self {
        Self(Arc::new(RootCertStore::empty()))
    }

    /// Mozilla's roots as they are built in, and those that the system's store holds beside them. Reads files: once at
    /// start and at a reload, then clones.
    pub fn public() -> Self {
        let mut store = RootCertStore::empty();
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let native = rustls_native_certs::load_native_certs();
        for error in &native.errors {
            tracing::warn!(%error, "part of the system's store of root certificates cannot be read");
        }
        // What cannot be parsed there is old, and is nobody's fault here.
        store.add_parsable_certificates(native.certs);
        Self(Arc::new(store))
    }

    /// These and the ones in a PEM file: `ca_file`.
    ///
    /// # Errors
    ///
    /// [`RootsError`], where the file cannot be read or holds something that is no certificate, or nothing.
    pub fn with_file(&self, path: &Path) -> Result<Self, RootsError> {
        let unreadable = |error| RootsError::Unreadable { path: path.into(), error };
        let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<_, _>>)
            .map_err(unreadable)?;
        self.with_certificates(&certificates, path)
    }

    /// These and the ones given, in DER.
    ///
    /// # Errors
    ///
    /// [`RootsError`], where one is no certificate, or there is none; `path` is what it blames.
    pub fn with_certificates(
        &self,
        certificates: &[CertificateDer<'_>],
        path: &Path,
    ) -> Result<Self, RootsError> {
        if certificates.is_empty() {
            return Err(RootsError::Empty { path: path.into() });
        }
        let mut store = RootCertStore::clone(&self.0);
        for (index, certificate) in certificates.iter().enumerate() {
            let not_a_root = |_| RootsError::NotACertificate { path: path.into(), number: index + 1 };
            store.add(certificate.clone()).map_err(not_a_root)?;
        }
        Ok(Self(Arc::new(store)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.0)
    }
}

impl Default for Roots {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.0.len())
    }
}

/// A file of root certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// There is none in it.
    #[error("{}: no certificate in this file; it must hold PEM blocks that begin with BEGIN CERTIFICATE", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A block is no certificate.
    #[error("{}: the certificate number {number} cannot be read", path.display())]
    NotACertificate {
        /// The file.
        path: PathBuf,
        /// From 1.
        number: usize,
    },
    /// The file cannot be read.
    #[error("{}: cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: pem::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(Roots::none().with_file(file.path()), Err(RootsError::Empty { .. })));
        let missing = Path::new("/nowhere/ca.pem");
        assert!(matches!(Roots::none().with_file(missing), Err(RootsError::Unreadable { .. })));
    }

    #[test]
    fn a_file_adds_to_what_is_there() {
        let issued = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), issued.cert.pem()).unwrap();
        let public = Roots::public();
        assert!(!public.is_empty());
        assert_eq!(public.with_file(file.path()).unwrap().len(), public.len() + 1);
    }
}
