//! From a finished handshake to what is recorded of it, in IANA's names.

use record::{TlsFacts, TlsVersion};
use rustls::{CipherSuite, CommonState, NamedGroup, ProtocolVersion};

/// What was agreed on; `name` is the one that the client asked for.
pub(crate) fn facts(state: &CommonState, name: Option<&str>) -> TlsFacts {
    TlsFacts {
        version: match state.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => TlsVersion::Tls13,
            _ => TlsVersion::Tls12,
        },
        suite: state.negotiated_cipher_suite().map_or("unknown", |suite| suite_name(suite.suite())),
        group: state.negotiated_key_exchange_group().map_or("unknown", |group| group_name(group.name())),
        server_name: name.map(|name| name.to_ascii_lowercase().into_boxed_str()),
    }
}

/// rustls writes `TLS13_` where IANA writes `TLS_`.
fn suite_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

/// rustls writes `X25519` where IANA writes `x25519`.
fn group_name(group: NamedGroup) -> &'static str {
    match group {
        NamedGroup::X25519 => "x25519",
        other => other.as_str().unwrap_or("unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, provider};

    #[test]
    fn all_that_is_offered_has_ianas_name() {
        let provider = provider(&Settings::default());
        for suite in &provider.cipher_suites {
            let name = suite_name(suite.suite());
            assert!(name.starts_with("TLS_") && !name.contains("TLS13"), "{name}");
        }
        let groups: Vec<_> = provider.kx_groups.iter().map(|group| group_name(group.name())).collect();
        assert_eq!(groups, ["X25519MLKEM768", "x25519", "secp256r1", "secp384r1"]);
    }
}
