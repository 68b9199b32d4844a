//! Clients that speak less than Postern, or nothing of the kind.

use std::sync::Arc;

use record::TlsVersion;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::{HandshakeKind, version};
use tls::{LegPolicy, Minimum, Missing, Settings, TlsError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use crate::material::{Authority, acceptor, between, connector, exchange, plain_client, with_plain};

#[tokio::test]
async fn the_post_quantum_group_is_negotiated_first() {
    let acceptor = acceptor(&Settings::default(), vec![Authority::new().issue(&["mx.example.net"])]);
    let (near, far) = between(&acceptor, &connector(&LegPolicy::default()), "mx.example.net").await;
    let (near, far) = (near.unwrap().1, far.unwrap().1);
    assert_eq!(near, far);
    assert_eq!(near.version, TlsVersion::Tls13);
    assert_eq!(near.group, "X25519MLKEM768");
    assert_eq!(near.suite, "TLS_AES_256_GCM_SHA384");
    assert_eq!(near.server_name.as_deref(), Some("mx.example.net"));
}

#[tokio::test]
async fn the_servers_order_decides() {
    let acceptor = acceptor(&Settings::default(), vec![Authority::new().issue(&["mx.example.net"])]);
    let mut reversed = default_provider();
    reversed.cipher_suites.reverse();
    reversed.kx_groups = vec![kx_group::SECP384R1, kx_group::X25519];
    let client = Arc::new(plain_client(reversed, &[&version::TLS13]));
    let (near, _far) = with_plain(&acceptor, &client, "mx.example.net").await;
    assert_eq!(near.unwrap().1.suite, "TLS_AES_256_GCM_SHA384");
}

#[tokio::test]
async fn tls_1_2_works_and_is_never_resumed() {
    let acceptor = acceptor(&Settings::default(), vec![Authority::new().issue(&["mx.example.net"])]);
    // A client that would resume by ticket and by session identifier.
    let client = Arc::new(plain_client(default_provider(), &[&version::TLS12]));
    for _ in 0..3 {
        let (near, far) = with_plain(&acceptor, &client, "mx.example.net").await;
        let ((mut near, facts), mut far) = (near.unwrap(), far.unwrap());
        assert_eq!(facts.version, TlsVersion::Tls12);
        exchange(&mut near, &mut far).await.unwrap();
        assert_eq!(near.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[tokio::test]
async fn tls_1_3_is_resumed_only_where_1_2_is_not_spoken() {
    for (minimum, second) in [(Minimum::Tls12, HandshakeKind::Full), (Minimum::Tls13, HandshakeKind::Resumed)]
    {
        let settings = Settings { minimum, ..Settings::default() };
        let acceptor = acceptor(&settings, vec![Authority::new().issue(&["mx.example.net"])]);
        let connector = connector(&LegPolicy::default());
        for expected in [HandshakeKind::Full, second] {
            let (near, far) = between(&acceptor, &connector, "mx.example.net").await;
            let ((mut near, facts), (mut far, _, _)) = (near.unwrap(), far.unwrap());
            exchange(&mut near, &mut far).await.unwrap();
            assert_eq!(near.get_ref().1.handshake_kind(), Some(expected));
            assert_eq!(facts.group, "X25519MLKEM768", "resuming runs the key exchange anew");
        }
    }
}

#[tokio::test]
async fn who_shares_nothing_is_told_apart_by_what_is_missing() {
    let one = || vec![Authority::new().issue(&["mx.example.net"])];
    let failed = async |acceptor: &tls::Acceptor, client| {
        let (near, far) = with_plain(acceptor, &Arc::new(client), "mx.example.net").await;
        assert!(far.is_err());
        let error = near.unwrap_err();
        assert!(error.is_no_forward_secrecy());
        match error {
            TlsError::NoForwardSecrecy(missing) => missing,
            other => panic!("{other}"),
        }
    };
    let strict = Settings { minimum: Minimum::Tls13, ..Settings::default() };
    let old = plain_client(default_provider(), &[&version::TLS12]);
    assert_eq!(failed(&acceptor(&strict, one()), old).await, Missing::Version);

    let mut odd = default_provider();
    odd.kx_groups = vec![kx_group::MLKEM1024];
    let odd = plain_client(odd, &[&version::TLS13]);
    assert_eq!(failed(&acceptor(&Settings::default(), one()), odd).await, Missing::Group);

    let mut rsa_only = default_provider();
    rsa_only.cipher_suites = vec![cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256];
    let rsa_only = plain_client(rsa_only, &[&version::TLS12]);
    let missing = failed(&acceptor(&Settings::default(), one()), rsa_only).await;
    assert!(matches!(missing, Missing::Suite | Missing::Signature), "{missing}");
}

#[tokio::test]
async fn garbage_is_no_client_hello() {
    let acceptor = acceptor(&Settings::default(), vec![Authority::new().issue(&["mx.example.net"])]);
    for garbage in
        [&b"EHLO mx.example.net\r\nMAIL FROM:<>\r\n"[..], &[0; 64], &[0x16, 3, 1, 0, 4, 1, 0, 0, 0]]
    {
        let (near, mut far) = duplex(4096);
        let speak = async {
            far.write_all(garbage).await.unwrap();
            far.shutdown().await.unwrap();
            let mut alert = Vec::new();
            far.read_to_end(&mut alert).await.unwrap();
            alert
        };
        let (error, alert) = tokio::join!(acceptor.accept(near, None), speak);
        assert_eq!(error.unwrap_err().label(), "bad_bytes");
        assert_eq!(alert.first(), Some(&0x15), "an alert is sent");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_told_from_one_that_misbehaves() {
    let acceptor = acceptor(&Settings::default(), vec![Authority::new().issue(&["mx.example.net"])]);
    let (near, far) = duplex(4096);
    drop(far);
    let error = acceptor.accept(near, None).await.unwrap_err();
    assert!(matches!(error, TlsError::Closed | TlsError::Io(_)), "{error}");
}
