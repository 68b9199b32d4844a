//! Certificates that exist only for a test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::child;
use crate::scratch::Scratch;
use crate::scripted::Tls;

/// An RSA key takes a busy machine some seconds.
const OPENSSL_LIMIT: Duration = Duration::from_secs(60);

/// A private certificate authority, its certificate in a file.
pub struct Authority {
    scratch: Scratch,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one, with a P-256 key.
    pub fn new() -> Self {
        let key = key();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Postern test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate of fixed parameters");
        let scratch = Scratch::new("authority");
        scratch.write("ca.pem", certificate.pem());
        Self { scratch, issuer: Issuer::new(params, key) }
    }

    /// The file with its certificate (PEM).
    pub fn file(&self) -> PathBuf {
        self.scratch.join("ca.pem")
    }

    /// A certificate for these names (or addresses), in files that last as long as the authority.
    pub fn certify(&self, names: &[&str]) -> Certificate {
        self.sign(names, |_| {})
    }

    /// As [`certify`](Self::certify), but its time is over.
    pub fn expired(&self, names: &[&str]) -> Certificate {
        self.sign(names, |params| {
            params.not_before = rcgen::date_time_ymd(2024, 1, 1);
            params.not_after = rcgen::date_time_ymd(2025, 1, 1);
        })
    }

    fn sign(&self, names: &[&str], change: impl Fn(&mut CertificateParams)) -> Certificate {
        let key = key();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let first = names.first().cloned().unwrap_or_default();
        let mut params = CertificateParams::new(names).expect("names that a certificate can carry");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, first.as_str());
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate of fixed parameters");
        // Two for the same name keep out of each other's way.
        let name = format!("{}-{}", first.replace(['*', ':', '/'], "_"), crate::mail::unique());
        let (chain_pem, key_pem) = (certificate.pem(), key.serialize_pem());
        Certificate {
            chain: self.scratch.write(&format!("{name}/chain.pem"), &chain_pem),
            key: self.scratch.write(&format!("{name}/key.pem"), &key_pem),
            both: self.scratch.write(&format!("{name}/both.pem"), format!("{key_pem}{chain_pem}")),
        }
    }
}

impl Authority {
    /// TLS for a scripted client that believes this authority and asks for this name.
    pub fn client_tls(&self, name: &str) -> Tls {
        client_tls(&self.file(), name)
    }
}

/// TLS for a scripted client that believes the authority in this file and asks for this name.
pub fn client_tls(authority: &Path, name: &str) -> Tls {
    let mut roots = RootCertStore::empty();
    let own = CertificateDer::from_pem_file(authority).expect("the file that was written");
    roots.add(own).expect("a certificate of our own");
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("a provider that has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Tls::Client(Arc::new(config), name.to_owned())
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A certificate and its key, as files (PEM).
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The chain.
    pub chain: PathBuf,
    /// The key, PKCS #8.
    pub key: PathBuf,
    /// Key, then chain, in one file, as Postfix's `smtpd_tls_chain_files` wants them.
    pub both: PathBuf,
}

impl Certificate {
    /// One with an RSA key that nobody signed: with it a server could do without forward secrecy if it wanted to.
    ///
    /// # Panics
    ///
    /// If openssl cannot make it.
    pub fn self_signed_rsa(scratch: &Scratch, name: &str) -> Self {
        let (chain, key) = (scratch.join("rsa.pem"), scratch.join("rsa.key"));
        let mut command = Command::new("openssl");
        command.args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            &format!("/CN={name}"),
        ]);
        command.args(["-addext", &format!("subjectAltName=DNS:{name}")]);
        command.arg("-keyout").arg(&key).arg("-out").arg(&chain);
        let ended = child::run(&command, OPENSSL_LIMIT);
        assert!(ended.success, "{}", ended.output);
        // openssl gives it to root alone; who serves with it is somebody else.
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&key, readable).expect("the file that openssl wrote");
        let whole =
            [&key, &chain].map(|file| std::fs::read_to_string(file).expect("the file that openssl wrote"));
        Self { both: scratch.write("rsa-both.pem", whole.concat()), chain, key }
    }

    /// The pin of its key, as a config names it: `sha256/` and the digest of the SubjectPublicKeyInfo in base64.
    ///
    /// # Panics
    ///
    /// If openssl cannot tell.
    pub fn pin(&self) -> String {
        let script = "openssl x509 -in \"$1\" -noout -pubkey | openssl pkey -pubin -outform der |
                      openssl dgst -sha256 -binary | base64";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(&self.chain);
        let ended = child::run(&command, OPENSSL_LIMIT);
        assert!(ended.success && ended.output.trim().len() == 44, "{}", ended.output);
        format!("sha256/{}", ended.output.trim())
    }

    /// SHA-256 of its SubjectPublicKeyInfo in hexadecimal, as in a TLSA record 3 1 1.
    ///
    /// # Panics
    ///
    /// If openssl cannot tell.
    pub fn key_digest(&self) -> String {
        let script = "openssl x509 -in \"$1\" -noout -pubkey | openssl pkey -pubin -outform der |
                      openssl dgst -sha256 -r | cut -d ' ' -f 1";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(&self.chain);
        let ended = child::run(&command, OPENSSL_LIMIT);
        assert!(ended.success && ended.output.trim().len() == 64, "{}", ended.output);
        ended.output.trim().to_owned()
    }

    /// The same, with the authority's own certificate behind it in the chain.
    ///
    /// # Panics
    ///
    /// If the files are not there.
    pub fn showing(&self, authority: &Authority) -> Self {
        let read = |file: &PathBuf| std::fs::read_to_string(file).expect("the file that was written");
        let chain = format!("{}{}", read(&self.chain), read(&authority.file()));
        let name = format!("shown/{}.pem", crate::mail::unique());
        Self { chain: authority.scratch.write(&name, chain), ..self.clone() }
    }

    /// TLS for a scripted server with this certificate.
    pub fn server_tls(&self) -> Tls {
        let chain = CertificateDer::pem_file_iter(&self.chain)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .expect("the file that was written");
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("the file that was written");
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("a provider that has them")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a key that fits");
        Tls::Server(Arc::new(config))
    }
}

/// The data of a TLSA record for the first certificate in a file: usage, selector, matching type and the hexadecimal digits.
///
/// # Panics
///
/// If openssl cannot tell.
pub fn tlsa(file: &Path, usage: u8, selector: u8, matching: u8) -> String {
    let part = match selector {
        0 => "openssl x509 -in \"$1\" -outform der",
        _ => "openssl x509 -in \"$1\" -noout -pubkey | openssl pkey -pubin -outform der",
    };
    let digest = match matching {
        0 => "od -An -v -tx1 | tr -d ' \\n'",
        1 => "openssl dgst -sha256 -r | cut -d ' ' -f 1",
        _ => "openssl dgst -sha512 -r | cut -d ' ' -f 1",
    };
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{part} | {digest}"), "sh"]).arg(file);
    let ended = child::run(&command, OPENSSL_LIMIT);
    let digits = ended.output.trim();
    assert!(ended.success && digits.len() >= 64, "{}", ended.output);
    format!("{usage} {selector} {matching} {digits}")
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("randomness")
}
