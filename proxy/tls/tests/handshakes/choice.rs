//! Which certificate a client is shown, and that the set can be replaced.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{SignatureScheme, version};
use tls::{Acceptor, Connector, Identities, Identity, LegPolicy, Pin, Served, Settings};
use tokio::net::{TcpListener, TcpStream};

use crate::material::{
    Authority, acceptor, between, connector, exchange, plain_client, rsa, served, with_plain,
};

/// The key that a client was shown.
async fn shown(acceptor: &Acceptor, connector: &Connector, name: &str) -> Pin {
    let (_near, far) = between(acceptor, connector, name).await;
    let (stream, _, _) = far.expect("a handshake");
    let certificates = stream.get_ref().1.peer_certificates().expect("a certificate");
    Pin::of_certificate(&certificates[0]).expect("a key")
}

fn three() -> (Identity, Identity, Identity) {
    let authority = Authority::new();
    (authority.issue(&["mx.example.net"]), authority.issue(&["*.example.org"]), authority.issue(&["mx.test"]))
}

#[tokio::test]
async fn the_name_asked_for_decides_then_a_wildcard_then_the_default() {
    let (exact, wildcard, default) = three();
    let pins = [exact.pin(), wildcard.pin(), default.pin()];
    let served = Served {
        identities: vec![exact, wildcard, default],
        default: "mx.test".to_owned(),
        destinations: HashMap::new(),
    };
    let acceptor = Acceptor::new(&Settings::default(), Identities::new(served)).unwrap();
    let connector = connector(&LegPolicy::default());
    assert_eq!(shown(&acceptor, &connector, "MX.example.NET").await, pins[0]);
    assert_eq!(shown(&acceptor, &connector, "any.example.org").await, pins[1]);
    assert_eq!(shown(&acceptor, &connector, "two.labels.example.org").await, pins[2]);
    assert_eq!(shown(&acceptor, &connector, "192.0.2.1").await, pins[2]);
}

#[tokio::test]
async fn without_a_name_the_address_connected_to_decides() {
    let (first, second, default) = three();
    let (first, second_pin, default_pin) = (first, second.pin(), default.pin());
    let there: IpAddr = "198.51.100.2".parse().unwrap();
    let served = Served {
        identities: vec![first, second, default],
        default: "mx.test".to_owned(),
        destinations: HashMap::from([(there, "mx.example.org".to_owned())]),
    };
    let acceptor = Acceptor::new(&Settings::default(), Identities::new(served)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = connector(&LegPolicy::default());
    for (destination, pin) in
        [(Some(there), second_pin), (Some([198, 51, 100, 3].into()), default_pin), (None, default_pin)]
    {
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (near, _) = listener.accept().await.unwrap();
        let (near, far) =
            tokio::join!(acceptor.accept(near, destination), connector.connect(far, "127.0.0.1"));
        let (near, far) = (near.unwrap(), far.unwrap());
        assert_eq!(near.1.server_name, None, "no name is sent for an address");
        let certificates = far.0.get_ref().1.peer_certificates().unwrap();
        assert_eq!(Pin::of_certificate(&certificates[0]), Some(pin));
    }
}

#[tokio::test]
async fn replacing_the_identities_disturbs_no_session() {
    let authority = Authority::new();
    let (old, new) = (authority.issue(&["mx.example.net"]), authority.issue(&["mx.example.net"]));
    let (old_pin, new_pin) = (old.pin(), new.pin());
    let acceptor = acceptor(&Settings::default(), vec![old]);
    let connector = connector(&LegPolicy::default());
    let (near, far) = between(&acceptor, &connector, "mx.example.net").await;
    let (mut near, mut far) = (near.unwrap().0, far.unwrap().0);
    assert_eq!(shown(&acceptor, &connector, "mx.example.net").await, old_pin);
    acceptor.identities().replace(served(vec![new]));
    assert_eq!(shown(&acceptor, &connector, "mx.example.net").await, new_pin);
    exchange(&mut near, &mut far).await.unwrap();
}

#[tokio::test]
async fn rsa_serves_those_who_can_verify_nothing_else() {
    let authority = Authority::new();
    let later = crate::material::now() + std::time::Duration::from_secs(86_400);
    let by_rsa = authority.issue_until(&["mx.example.net"], &rsa(), later);
    let rsa_pin = by_rsa.pin();
    let by_curve = authority.issue(&["mx.example.net"]);
    let acceptor = acceptor(&Settings::default(), vec![by_rsa, by_curve]);

    let modern = Arc::new(plain_client(default_provider(), &[&version::TLS12]));
    let (near, _far) = with_plain(&acceptor, &modern, "mx.example.net").await;
    assert_eq!(near.unwrap().1.suite, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");

    let mut only_rsa = default_provider();
    only_rsa.cipher_suites.retain(|suite| format!("{:?}", suite.suite()).contains("_RSA_"));
    let (near, _far) =
        with_plain(&acceptor, &Arc::new(plain_client(only_rsa, &[&version::TLS12])), "mx.example.net").await;
    assert_eq!(near.unwrap().1.suite, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384");

    // In TLS 1.3 the suite says nothing of the key: only the signature schemes do.
    let mut only_rsa = default_provider();
    let schemes = only_rsa.signature_verification_algorithms.mapping;
    let first = schemes.iter().position(|(scheme, _)| *scheme == SignatureScheme::RSA_PSS_SHA512).unwrap();
    only_rsa.signature_verification_algorithms.mapping = &schemes[first..first + 6];
    let client = Arc::new(plain_client(only_rsa, &[&version::TLS13]));
    let (_near, far) = with_plain(&acceptor, &client, "mx.example.net").await;
    let far = far.unwrap();
    assert_eq!(Pin::of_certificate(&far.get_ref().1.peer_certificates().unwrap()[0]), Some(rsa_pin));
}

#[tokio::test]
async fn without_any_identity_the_handshake_fails_and_says_why() {
    let acceptor = acceptor(&Settings::default(), Vec::new());
    let (near, far) = between(&acceptor, &connector(&LegPolicy::default()), "mx.example.net").await;
    assert_eq!(near.unwrap_err().label(), "setup");
    assert_eq!(far.unwrap_err().label(), "alert");
}
