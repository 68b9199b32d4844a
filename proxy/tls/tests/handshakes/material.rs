//! Certificates and peers to test with.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, RsaKeySize};
use record::{Clock, FarProof, SystemClock, TlsFacts};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use tls::{Acceptor, Connector, Identities, Identity, LegPolicy, Roots, Served, Settings, TlsError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::{TlsConnector, client, server};

/// Octets in flight between the two ends.
const PIPE: usize = 64 * 1024;

pub(crate) fn now() -> Duration {
    SystemClock.now()
}

pub(crate) fn p256() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("P-256")
}

pub(crate) fn rsa() -> KeyPair {
    KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).expect("RSA")
}

/// A certificate authority that nobody knows by itself.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of the tests");
        Self(CertifiedIssuer::self_signed(params, p256()).expect("an authority"))
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::none().with_certificates(&[self.0.der().clone()], "authority".as_ref()).expect("one root")
    }

    /// rustls's own verifier, with this authority as the only root.
    pub(crate) fn verifier(&self) -> Arc<WebPkiServerVerifier> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("one root");
        let provider = Arc::new(default_provider());
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("a verifier")
    }

    /// A leaf that is valid until `not_after` (since 1970), with the key given.
    pub(crate) fn issue_until(&self, names: &[&str], key: &KeyPair, not_after: Duration) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + not_after;
        let leaf = params.signed_by(key, &self.0).expect("a leaf");
        let while_valid = not_after - Duration::from_secs(60);
        Identity::from_pem(leaf.pem().as_bytes(), key.serialize_pem().as_bytes(), while_valid)
            .expect("an identity")
    }

    /// A certificate as these say, in DER, for a key that is then forgotten.
    pub(crate) fn issue_as(&self, params: &CertificateParams) -> Vec<u8> {
        params.signed_by(&p256(), &self.0).expect("a certificate").der().to_vec()
    }

    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        self.issue_until(names, &p256(), now() + Duration::from_secs(86_400))
    }
}

pub(crate) fn served(identities: Vec<Identity>) -> Served {
    Served { identities, ..Served::default() }
}

pub(crate) fn acceptor(settings: &Settings, identities: Vec<Identity>) -> Acceptor {
    Acceptor::new(settings, Identities::new(served(identities))).expect("an acceptor")
}

pub(crate) fn connector(policy: &LegPolicy) -> Connector {
    Connector::new(&Settings::default(), policy, Arc::new(SystemClock)).expect("a connector")
}

pub(crate) type Accepted = Result<(server::TlsStream<DuplexStream>, TlsFacts), TlsError>;
pub(crate) type Connected = Result<(client::TlsStream<DuplexStream>, TlsFacts, FarProof), TlsError>;

/// Both sides of Postern with each other.
pub(crate) async fn between(acceptor: &Acceptor, connector: &Connector, name: &str) -> (Accepted, Connected) {
    let (near, far) = duplex(PIPE);
    tokio::join!(acceptor.accept(near, None), connector.connect(far, name))
}

/// A rustls client that takes any certificate, with settings of its own.
pub(crate) fn plain_client(
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let trusting = Arc::new(Trusting(provider.signature_verification_algorithms));
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let mut config = builder
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.dangerous().set_certificate_verifier(trusting);
    config
}

/// A handshake of such a client with an acceptor.
pub(crate) async fn with_plain(
    acceptor: &Acceptor,
    client: &Arc<ClientConfig>,
    name: &str,
) -> (Accepted, std::io::Result<client::TlsStream<DuplexStream>>) {
    let (near, far) = duplex(PIPE);
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connector = TlsConnector::from(Arc::clone(client));
    tokio::join!(acceptor.accept(near, None), connector.connect(name, far))
}

/// One octet each way, so that what follows a handshake (tickets) has been read too.
pub(crate) async fn exchange(
    near: &mut server::TlsStream<DuplexStream>,
    far: &mut client::TlsStream<DuplexStream>,
) -> std::io::Result<()> {
    far.write_all(b"?").await?;
    far.flush().await?;
    assert_eq!(near.read_u8().await?, b'?');
    near.write_all(b"!").await?;
    near.flush().await?;
    assert_eq!(far.read_u8().await?, b'!');
    Ok(())
}

#[derive(Debug)]
struct Trusting(rustls::crypto::WebPkiSupportedAlgorithms);

impl rustls::client::danger::ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &[rustls_pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls_pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls_pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_schemes()
    }
}
