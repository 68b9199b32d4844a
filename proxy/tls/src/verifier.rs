//! Judges a server's certificate by the policy it is given, and by nothing else.

use std::sync::Arc;

use record::FarProof;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::policy::Demand;
use crate::{Association, Chain, Dane, LegPolicy, Pin, TlsError};

/// The signature of the handshake is checked at every step: a certificate of anybody is one thing, a session with
/// somebody who does not have its key another.
#[derive(Clone, Debug)]
pub(crate) struct PolicyVerifier {
    demand: Demand,
    pins: Vec<Pin>,
    dane: Option<Arc<Dane>>,
    /// Proves as much as the name that was asked for.
    also: Option<ServerName<'static>>,
    /// `None`: there are no roots, so no chain ever proves anything.
    chain: Option<Arc<WebPkiServerVerifier>>,
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PolicyVerifier {
    pub(crate) fn new(policy: &LegPolicy, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let demand = policy.demand();
        let chain = if policy.roots.is_empty() {
            None
        } else {
            let builder =
                WebPkiServerVerifier::builder_with_provider(policy.roots.store(), Arc::clone(provider));
            Some(builder.build().map_err(|_| TlsError::NoRoots)?)
        };
        if demand == Demand::Chain && chain.is_none() {
            return Err(TlsError::NoRoots);
        }
        let algorithms = provider.signature_verification_algorithms;
        let also = policy.also.as_deref().and_then(host_name);
        let (pins, dane) = (policy.pins.clone(), policy.dane.clone());
        Ok(Self { demand, pins, dane, also, chain, roots: policy.roots.store(), algorithms })
    }

    /// The same, with a further name that proves as much. What is no host name proves nothing.
    pub(crate) fn also(&self, name: &str) -> Self {
        Self { also: host_name(name), ..self.clone() }
    }

    /// What the certificates of an established session prove. Where the policy demanded a proof, the handshake (or, for a
    /// resumed session, the one it goes back to) would have failed without it.
    pub(crate) fn proof(
        &self,
        certificates: Option<&[CertificateDer<'_>]>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> FarProof {
        match self.demand {
            Demand::Pin => FarProof::Pinned,
            Demand::Dane => FarProof::Dane,
            Demand::Chain => FarProof::Verified,
            Demand::Nothing => match certificates.and_then(<[_]>::split_first) {
                Some((own, others)) if self.verify_chain(own, others, name, now).is_ok() => {
                    FarProof::Verified
                }
                _ => FarProof::Unverified,
            },
        }
    }

    /// What a chain that was shown elsewhere would prove here: what a handshake with it would have ended with.
    pub(crate) fn examine(
        &self,
        chain: &Chain,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<FarProof, TlsError> {
        let none = || TlsError::from(&Error::NoCertificatesPresented);
        let (own, others) = chain.certificates().split_first().ok_or_else(none)?;
        self.verify_server_cert(own, others, name, &[], now).map_err(|error| TlsError::from(&error))?;
        Ok(self.proof(Some(chain.certificates()), name, now))
    }

    /// The TLSA record that the chain satisfies.
    pub(crate) fn matching(&self, chain: &Chain, now: UnixTime) -> Option<Association> {
        let dane = self.dane.as_ref()?;
        dane.matching(chain.certificates(), now, &self.algorithms).ok().cloned()
    }

    /// Whether the chain leads to a trusted root now, for some host name of its own. The path is followed once, not for each
    /// name again.
    pub(crate) fn is_genuine(&self, chain: &Chain, now: UnixTime) -> bool {
        let Some((own, others)) = chain.certificates().split_first() else { return false };
        let Ok(parsed) = ParsedCertificate::try_from(own) else { return false };
        let path =
            verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, others, now, self.algorithms.all);
        let mut hosts = chain.names().into_iter().filter_map(|name| name.sample_host());
        path.is_ok() && hosts.any(|name| verify_server_name(&parsed, &name).is_ok())
    }

    fn verify_chain(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let chain = self.chain.as_ref().ok_or(unknown)?;
        let verified = chain.verify_server_cert(own, others, name, &[], now);
        match (&verified, &self.also) {
            (Err(error), Some(also)) if is_about_the_name(error) => {
                chain.verify_server_cert(own, others, also, &[], now).or(verified)
            }
            _ => verified,
        }
    }

    fn verify_dane(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificates: Vec<_> = [own].into_iter().chain(others).cloned().collect();
        match &self.dane {
            Some(dane) => dane.matching(&certificates, now, &self.algorithms)?,
            None => return Err(CertificateError::ApplicationVerificationFailure.into()),
        };
        Ok(ServerCertVerified::assertion())
    }

    fn verify_pin(&self, own: &CertificateDer<'_>) -> Result<ServerCertVerified, Error> {
        match Pin::of_certificate(own) {
            Some(pin) if self.pins.contains(&pin) => Ok(ServerCertVerified::assertion()),
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }
}

fn host_name(name: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(name).ok().map(|name| name.to_owned())
}

/// Everything else was in order.
fn is_about_the_name(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

impl ServerCertVerifier for PolicyVerifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.demand {
            Demand::Nothing => Ok(ServerCertVerified::assertion()),
            Demand::Chain => self.verify_chain(own, others, name, now),
            Demand::Pin => self.verify_pin(own),
            Demand::Dane => self.verify_dane(own, others, now),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
