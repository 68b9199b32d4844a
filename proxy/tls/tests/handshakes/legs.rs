//! What each policy takes of a server, and what it calls proved.

use std::sync::Arc;
use std::time::Duration;

use record::{FarProof, SimulatedClock, SystemClock, TlsOutcome};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::version;
use tls::{Connector, Identity, Ladder, LegPolicy, Pin, Settings, TlsError};

use crate::material::{
    Authority, acceptor, between, connector, exchange, now, p256, plain_client, with_plain,
};

const NAME: &str = "mx.example.net";

/// A handshake under a policy with a server that has this identity.
async fn leg(identity: &Identity, policy: &LegPolicy, name: &str) -> Result<FarProof, TlsError> {
    let acceptor = acceptor(&Settings::default(), vec![identity.clone()]);
    let (_near, far) = between(&acceptor, &connector(policy), name).await;
    let (_, facts, proof) = far?;
    let outcome = TlsOutcome::Established { facts, proof };
    assert!(policy.is_satisfied_by(&outcome), "what the connector lets through satisfies the policy");
    Ok(proof)
}

fn verifying(authority: &Authority) -> LegPolicy {
    LegPolicy { ladder: Ladder::Verify, roots: authority.roots(), ..LegPolicy::default() }
}

#[tokio::test]
async fn opportunistic_and_encrypt_take_anybody_and_record_who_it_was() {
    let authority = Authority::new();
    let stranger = Identity::self_signed(&[NAME], now()).unwrap();
    for ladder in [Ladder::Opportunistic, Ladder::Encrypt] {
        let policy = LegPolicy { ladder, ..verifying(&authority) };
        assert_eq!(leg(&stranger, &policy, NAME).await.unwrap(), FarProof::Unverified);
        assert_eq!(leg(&authority.issue(&[NAME]), &policy, NAME).await.unwrap(), FarProof::Verified);
        assert_eq!(
            leg(&authority.issue(&["other.test"]), &policy, NAME).await.unwrap(),
            FarProof::Unverified
        );
        let trusts_nobody = LegPolicy { ladder, ..LegPolicy::default() };
        assert_eq!(leg(&authority.issue(&[NAME]), &trusts_nobody, NAME).await.unwrap(), FarProof::Unverified);
    }
}

#[tokio::test]
async fn verify_takes_the_right_name_from_a_known_authority() {
    let authority = Authority::new();
    let policy = verifying(&authority);
    assert_eq!(leg(&authority.issue(&[NAME]), &policy, NAME).await.unwrap(), FarProof::Verified);
    assert_eq!(
        leg(&authority.issue(&["192.0.2.1"]), &policy, "192.0.2.1").await.unwrap(),
        FarProof::Verified
    );
    let named = LegPolicy { name: Some(NAME.to_owned()), ..policy };
    assert_eq!(leg(&authority.issue(&[NAME]), &named, "192.0.2.1").await.unwrap(), FarProof::Verified);
}

#[tokio::test]
async fn a_further_name_proves_as_much_and_nothing_that_is_wrong_otherwise() {
    let authority = Authority::new();
    let policy = LegPolicy { also: Some("example.net".to_owned()), ..verifying(&authority) };
    for named in [NAME, "example.net"] {
        assert_eq!(leg(&authority.issue(&[named]), &policy, NAME).await.unwrap(), FarProof::Verified);
    }
    let expired = authority.issue_until(&["example.net"], &p256(), now() - Duration::from_secs(86_400));
    let wrong = [
        authority.issue(&["other.test"]),
        authority.issue(&["mail.example.net"]),
        Authority::new().issue(&["example.net"]),
        expired,
    ];
    for identity in wrong {
        assert!(matches!(leg(&identity, &policy, NAME).await, Err(TlsError::Certificate(_))));
    }
    // A connector that another was made from takes no more than before, also of a session that the other one had.
    let plain = connector(&verifying(&authority));
    let also = plain.also("example.net");
    let acceptor = acceptor(&Settings::default(), vec![authority.issue(&["example.net"])]);
    for _ in 0..2 {
        let (_near, far) = between(&acceptor, &also, NAME).await;
        assert_eq!(far.unwrap().2, FarProof::Verified);
        let (_near, far) = between(&acceptor, &plain, NAME).await;
        assert!(matches!(far, Err(TlsError::Certificate(_))));
    }
}

#[tokio::test]
async fn verify_refuses_the_wrong_name_and_the_server_hears_of_it() {
    let authority = Authority::new();
    let acceptor = acceptor(&Settings::default(), vec![authority.issue(&["other.test"])]);
    let (near, far) = between(&acceptor, &connector(&verifying(&authority)), NAME).await;
    let error = far.unwrap_err();
    assert_eq!(error.label(), "certificate");
    assert!(error.to_string().contains("other.test"), "{error}");
    // In TLS 1.3 the server may be done before it hears of it: then the first read says so.
    if let Err(error) = near {
        assert_eq!(error.to_string(), "the peer gave up with the alert bad_certificate");
    }
}

#[tokio::test]
async fn verify_refuses_an_unknown_authority_and_a_self_signed_certificate() {
    let policy = verifying(&Authority::new());
    for identity in [Authority::new().issue(&[NAME]), Identity::self_signed(&[NAME], now()).unwrap()] {
        assert!(matches!(leg(&identity, &policy, NAME).await, Err(TlsError::Certificate(_))));
    }
}

#[tokio::test]
async fn verify_refuses_what_has_expired_by_the_clock_it_was_given() {
    let authority = Authority::new();
    let last_year = now() - Duration::from_secs(365 * 86_400);
    let expired = authority.issue_until(&[NAME], &p256(), last_year);
    let error = leg(&expired, &verifying(&authority), NAME).await.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");

    let then = SimulatedClock::starting_at(last_year - Duration::from_secs(86_400));
    let connector = Connector::new(&Settings::default(), &verifying(&authority), Arc::new(then)).unwrap();
    let acceptor = acceptor(&Settings::default(), vec![expired]);
    let (_near, far) = between(&acceptor, &connector, NAME).await;
    assert_eq!(far.unwrap().2, FarProof::Verified);
}

#[tokio::test]
async fn verify_without_roots_is_an_error_before_any_connection() {
    let policy = LegPolicy { ladder: Ladder::Verify, ..LegPolicy::default() };
    let made = Connector::new(&Settings::default(), &policy, Arc::new(SystemClock));
    assert!(matches!(made, Err(TlsError::NoRoots)));
}

#[tokio::test]
async fn a_pinned_key_is_enough_and_another_is_too_little_at_every_step() {
    let server = Identity::self_signed(&["whatever.test"], now()).unwrap();
    let next_key = Pin::of_public_key(b"the key after the next roll-over");
    for ladder in [Ladder::Opportunistic, Ladder::Encrypt, Ladder::Verify] {
        let pinned = LegPolicy { ladder, pins: vec![next_key, server.pin()], ..LegPolicy::default() };
        assert_eq!(leg(&server, &pinned, NAME).await.unwrap(), FarProof::Pinned);
        let mismatch = LegPolicy { ladder, pins: vec![next_key], ..LegPolicy::default() };
        assert!(matches!(leg(&server, &mismatch, NAME).await, Err(TlsError::PinMismatch)));
    }
}

#[tokio::test]
async fn a_pin_goes_before_a_chain_that_would_verify() {
    let authority = Authority::new();
    let policy = LegPolicy { pins: vec![Pin::of_public_key(b"another")], ..verifying(&authority) };
    assert!(matches!(leg(&authority.issue(&[NAME]), &policy, NAME).await, Err(TlsError::PinMismatch)));
}

#[tokio::test]
async fn a_resumed_session_proves_what_the_first_one_proved() {
    let authority = Authority::new();
    let strict = Settings { minimum: tls::Minimum::Tls13, ..Settings::default() };
    let acceptor = acceptor(&strict, vec![authority.issue(&[NAME])]);
    for ladder in [Ladder::Opportunistic, Ladder::Verify] {
        let connector = connector(&LegPolicy { ladder, ..verifying(&authority) });
        for _ in 0..2 {
            let (near, far) = between(&acceptor, &connector, NAME).await;
            let ((mut near, _), (mut far, _, proof)) = (near.unwrap(), far.unwrap());
            exchange(&mut near, &mut far).await.unwrap();
            assert_eq!(proof, FarProof::Verified);
        }
    }
}

#[tokio::test]
async fn the_alert_of_a_client_that_distrusts_us_has_its_name() {
    let acceptor = acceptor(&Settings::default(), vec![Identity::self_signed(&[NAME], now()).unwrap()]);
    let mut distrusting = plain_client(default_provider(), &[&version::TLS12]);
    let roots = Authority::new();
    distrusting.dangerous().set_certificate_verifier(roots.verifier());
    let (near, _far) = with_plain(&acceptor, &Arc::new(distrusting), NAME).await;
    assert_eq!(near.unwrap_err().to_string(), "the peer gave up with the alert unknown_ca");
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_before_a_word_is_sent() {
    let (near, _far) = tokio::io::duplex(64);
    let error = connector(&LegPolicy::default()).connect(near, "no name").await.unwrap_err();
    assert_eq!(error.label(), "name");
}
