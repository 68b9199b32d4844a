//! What a far side shows is seen before it is judged, and judged as a session would have been.

use std::sync::Arc;
use std::time::Duration;

use rcgen::CertificateParams;
use record::{FarProof, SystemClock, TlsOutcome};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{HandshakeKind, ServerConfig};
use rustls_pki_types::PrivateKeyDer;
use tls::{Chain, Connector, Identity, Ladder, LegPolicy, Minimum, Pin, Roots, Settings, TlsError};
use tokio::io::duplex;
use tokio_rustls::TlsAcceptor;

use crate::material::{Authority, acceptor, between, connector, exchange, now, p256};

const NAME: &str = "mx.example.net";
const DAY: Duration = Duration::from_secs(86_400);

fn recording(roots: &Roots) -> Connector {
    Connector::recording(&Settings::default(), roots, Arc::new(SystemClock)).expect("a connector")
}

/// A good server, and everything that can be wrong with one.
fn servers(authority: &Authority) -> [Identity; 5] {
    [
        authority.issue(&[NAME, "*.example.net"]),
        authority.issue(&["other.test"]),
        authority.issue_until(&[NAME], &p256(), now() - 300 * DAY),
        Authority::new().issue(&[NAME]),
        Identity::self_signed(&[NAME], now()).expect("an identity"),
    ]
}

async fn recorded(identity: &Identity) -> Chain {
    let acceptor = acceptor(&Settings::default(), vec![identity.clone()]);
    let connector = recording(&Roots::none());
    let (near, far) = duplex(64 * 1024);
    let (near, far) = tokio::join!(acceptor.accept(near, None), connector.record(far, NAME));
    let ((_near, near), (_far, far, chain)) = (near.expect("accepted"), far.expect("recorded"));
    assert_eq!(near, far);
    assert_eq!(far.server_name.as_deref(), Some(NAME));
    chain
}

#[tokio::test]
async fn recording_takes_expired_misnamed_unknown_and_self_signed_chains_and_shows_them() {
    for identity in servers(&Authority::new()) {
        assert_eq!(recorded(&identity).await.certificates(), identity.chain());
    }
}

#[tokio::test]
async fn to_an_address_no_name_is_sent() {
    let acceptor = acceptor(&Settings::default(), vec![Authority::new().issue(&[NAME])]);
    for address in ["192.0.2.1", "2001:db8::1"] {
        let (near, far) = duplex(64 * 1024);
        let connector = recording(&Roots::none());
        let (near, far) = tokio::join!(acceptor.accept(near, None), connector.record(far, address));
        assert_eq!((near.unwrap().1.server_name, far.unwrap().1.server_name), (None, None));
    }
}

#[tokio::test]
async fn a_recorded_session_is_never_a_resumed_one() {
    let settings = Settings { minimum: Minimum::Tls13, ..Settings::default() };
    let acceptor = acceptor(&settings, vec![Authority::new().issue(&[NAME])]);
    let connector = recording(&Roots::none());
    for _ in 0..2 {
        let (near, far) = duplex(64 * 1024);
        let (near, far) = tokio::join!(acceptor.accept(near, None), connector.record(far, NAME));
        let ((mut near, _), (mut far, _, chain)) = (near.unwrap(), far.unwrap());
        exchange(&mut near, &mut far).await.unwrap();
        assert_eq!(near.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(chain.certificates().len(), 1);
    }
}

#[tokio::test]
async fn who_has_not_the_key_of_the_certificate_is_refused_while_recording_too() {
    let stolen = Authority::new().issue(&[NAME]).chain().to_vec();
    let other = PrivateKeyDer::try_from(p256().serialize_der()).unwrap();
    let certified = CertifiedKey::new(stolen, any_ecdsa_type(&other).unwrap());
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    let (near, far) = duplex(64 * 1024);
    let server = TlsAcceptor::from(Arc::new(config));
    let connector = recording(&Roots::none());
    let (_near, far) = tokio::join!(server.accept(near), connector.record(far, NAME));
    assert!(matches!(far.unwrap_err(), TlsError::Certificate(_)));
}

/// Every step, with and without pins, for the server's own name, the policy's, an address, and no name at all.
fn policies(authority: &Authority, server: &Identity) -> Vec<LegPolicy> {
    let mut policies = Vec::new();
    for ladder in [Ladder::Off, Ladder::Opportunistic, Ladder::Encrypt, Ladder::Verify] {
        for pins in [vec![], vec![server.pin()], vec![Pin::of_public_key(b"another")]] {
            for name in [
                None,
                Some(""),
                Some("other.test"),
                Some("a.example.net"),
                Some("192.0.2.1"),
                Some("no name"),
            ] {
                for roots in [authority.roots(), Roots::none()] {
                    let (name, pins) = (name.map(str::to_owned), pins.clone());
                    policies.push(LegPolicy { ladder, name, roots, pins, ..LegPolicy::default() });
                }
            }
        }
    }
    policies
}

#[tokio::test]
async fn a_judgement_is_what_a_session_under_the_policy_would_have_ended_with() {
    let authority = Authority::new();
    let judge = recording(&Roots::none());
    let mut seen = [0; 3];
    for server in servers(&authority) {
        let acceptor = acceptor(&Settings::default(), vec![server.clone()]);
        let (chain, facts) =
            (Chain::new(server.chain()), between(&acceptor, &connector(&LegPolicy::default()), NAME).await);
        let facts = facts.0.unwrap().1;
        for policy in policies(&authority, &server) {
            let judged = judge.judge(&chain, &policy, NAME);
            let live = match Connector::new(&Settings::default(), &policy, Arc::new(SystemClock)) {
                Ok(connector) => between(&acceptor, &connector, NAME).await.1.map(|(_, _, proof)| proof),
                Err(error) => Err(error),
            };
            let outcome = TlsOutcome::Established { facts: facts.clone(), proof: judged };
            match live {
                Ok(proof) => assert_eq!(judged, proof, "{policy:?}"),
                // Where the name is none there is no session, and nothing is proved that a policy could ask for.
                Err(TlsError::Name(_)) => assert_eq!(judged, FarProof::Unverified, "{policy:?}"),
                Err(error) => assert!(!policy.is_satisfied_by(&outcome), "{error}: {policy:?}"),
            }
            seen[judged as usize] += 1;
        }
    }
    assert!(seen.iter().all(|&times| times > 0), "{seen:?}");
}

#[test]
fn genuine_is_who_is_vouched_for_now_under_a_host_name_of_its_own() {
    let authority = Authority::new();
    let connector = recording(&authority.roots());
    let genuine = |identity: &Identity| connector.is_genuine(&Chain::new(identity.chain()));
    let [good, other_name, expired, other_authority, self_signed] = servers(&authority);
    assert!(genuine(&good) && genuine(&other_name) && genuine(&authority.issue(&["*.example.net"])));
    assert!(!genuine(&expired) && !genuine(&other_authority) && !genuine(&self_signed));
    assert!(!genuine(&authority.issue(&["192.0.2.1"])), "an address is no host name");
    assert!(!recording(&Roots::none()).is_genuine(&Chain::new(good.chain())), "without roots nobody is");
    assert!(!connector.is_genuine(&Chain::new(&[] as &[Vec<u8>])));
    assert!(!connector.is_genuine(&Chain::new(&[b"no certificate"])));
}

#[test]
fn a_common_name_alone_makes_nobody_genuine() {
    let authority = Authority::new();
    let nameless = authority.issue_as(&CertificateParams::default());
    assert!(!recording(&authority.roots()).is_genuine(&Chain::new(&[nameless])));
}
