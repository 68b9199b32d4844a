//! The demo's own certificate authority: it signs what the gate shows to clients and what the server behind shows to
//! the gate, so that both legs are verified for real. It lives as long as the demo.

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};

/// The authority.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, both PEM.
pub(super) struct Certified {
    pub(super) chain: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new() -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("Postern demo authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// A certificate for one host name.
    pub(super) fn certify(&self, name: &str) -> Result<Certified, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.distinguished_name = common_name(name);
        let chain = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Certified { chain, key: key.serialize_pem() })
    }

    /// Its own certificate, PEM.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
