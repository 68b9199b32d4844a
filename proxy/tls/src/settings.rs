//! What is spoken: versions, suites and groups, all with forward secrecy (law 5), in Postern's order.
//!
//! RFC 8446 (TLS 1.3), RFC 5246 with RFC 5289 and RFC 7905 (ECDHE with AEAD in TLS 1.2),
//! draft-ietf-tls-ecdhe-mlkem (X25519MLKEM768).

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

/// From the first octet of a handshake to its last. A peer that opens a handshake and then trickles would otherwise
/// hold a session's memory for as long as it likes; callers put it around `accept` and `connect`.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(30);

/// Octets that one connection may hold on their way out, in each of rustls's two queues. A peer that sends
/// and never reads cannot make the answers to it grow beyond this. Two full records, so that one can be filled while the other is written.
pub const BUFFER_LIMIT: usize = 32 * 1024;

/// The oldest version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Minimum {
    /// TLS 1.2, with ECDHE and AEAD.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// What both sides of Postern speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// The oldest version.
    pub minimum: Minimum,
    /// Whether X25519MLKEM768 is offered and preferred. Its ClientHello does not fit into one TCP segment; without it
    /// one can try again where a middlebox stalls on that.
    pub post_quantum: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { minimum: Minimum::Tls12, post_quantum: true }
    }
}

impl Settings {
    pub(crate) fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        match self.minimum {
            Minimum::Tls12 => &FROM_1_2,
            Minimum::Tls13 => &FROM_1_3,
        }
    }
}

static FROM_1_2: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
static FROM_1_3: [&SupportedProtocolVersion; 1] = [&version::TLS13];

/// AES-256-GCM first: mail recorded today must stay closed for decades, and with AES in hardware its price over
/// AES-128 is not seen beside the socket calls. ChaCha20 second: as long a key, and the faster one on a peer without
/// such hardware. AES-128-GCM last, for those who know nothing else: RFC 8446 §9.1 makes it the one that all must have.
const TLS13_SUITES: [SupportedCipherSuite; 3] = [
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS13_AES_128_GCM_SHA256,
];

/// The same order; ECDSA before RSA, whose signature costs the server many times as much.
const TLS12_SUITES: [SupportedCipherSuite; 6] = [
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

/// The cryptography that `settings` allow. The lists are written out rather than taken from the library, so that a new
/// version of it cannot add to what is offered.
pub fn provider(settings: &Settings) -> Arc<CryptoProvider> {
    let mut cipher_suites = TLS13_SUITES.to_vec();
    if settings.minimum == Minimum::Tls12 {
        cipher_suites.extend(TLS12_SUITES);
    }
    let mut kx_groups: Vec<&'static dyn SupportedKxGroup> = Vec::with_capacity(4);
    if settings.post_quantum {
        kx_groups.push(kx_group::X25519MLKEM768);
    }
    kx_groups.extend([kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1]);
    Arc::new(CryptoProvider { cipher_suites, kx_groups, ..default_provider() })
}

#[cfg(test)]
mod tests {
    use super::*;

    use rustls::NamedGroup;

    fn groups(settings: Settings) -> Vec<NamedGroup> {
        provider(&settings).kx_groups.iter().map(|group| group.name()).collect()
    }

    #[test]
    fn every_suite_is_ecdhe_with_aead() {
        for suite in &provider(&Settings::default()).cipher_suites {
            let name = format!("{:?}", suite.suite());
            assert!(name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_"), "{name}");
            assert!(name.contains("_GCM_") || name.contains("_POLY1305_"), "{name}");
        }
    }

    #[test]
    fn with_1_3_as_minimum_no_suite_of_1_2_is_left() {
        let provider = provider(&Settings { minimum: Minimum::Tls13, post_quantum: true });
        assert!(provider.cipher_suites.iter().all(|suite| suite.tls13().is_some()));
    }

    #[test]
    fn the_post_quantum_group_comes_first_or_not_at_all() {
        let classical = [NamedGroup::X25519, NamedGroup::secp256r1, NamedGroup::secp384r1];
        assert_eq!(groups(Settings { post_quantum: false, ..Settings::default() }), classical);
        let all = groups(Settings::default());
        assert_eq!(all[0], NamedGroup::X25519MLKEM768);
        assert_eq!(all[1..], classical);
    }
}
