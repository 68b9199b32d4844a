//! What an inner server is shown in place of a far side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rcgen::{CertificateParams, DnType, SanType};
use record::{Clock, SystemClock};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tls::{Acceptor, Authority, Chain, Identity, Interception, Ladder, LegPolicy, Roots, Settings};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::material::{Authority as World, between, connector, now, p256};

const NAME: &str = "mx.example.net";
const DAY: Duration = Duration::from_secs(86_400);

fn authority_at(now: Duration) -> Authority {
    let folder = tempfile::tempdir().expect("a folder");
    Authority::load_or_create(folder.path(), "mx1.example.net", now).expect("an authority")
}

fn interception() -> Interception {
    Interception::new(authority_at(now()), &Settings::default(), Arc::new(SystemClock))
}

fn roots(interception: &Interception) -> Roots {
    Roots::none()
        .with_certificates(&[interception.authority().certificate().clone()], "ca".as_ref())
        .expect("one root")
}

/// The chain that it shows.
fn shown(acceptor: &Acceptor) -> Vec<CertificateDer<'static>> {
    let served = acceptor.identities().served();
    assert_eq!(served.len(), 1);
    served[0].chain().to_vec()
}

fn shown_for(interception: &Interception, far: &Chain, genuine: bool) -> Vec<CertificateDer<'static>> {
    shown(&interception.acceptor(far, genuine).expect("an acceptor"))
}

/// rustls's own verdict on a chain, with the interception's authority as the only root.
fn verdict(
    interception: &Interception,
    chain: &[CertificateDer<'_>],
    name: &str,
    at: Duration,
) -> Result<(), Error> {
    let mut store = RootCertStore::empty();
    store.add(interception.authority().certificate().clone()).expect("one root");
    let provider = Arc::new(default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build().expect("a verifier");
    let name = ServerName::try_from(name).expect("a name");
    let at = UnixTime::since_unix_epoch(at);
    verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], at).map(|_| ())
}

fn far(names: &[&str]) -> Chain {
    Chain::new(World::new().issue(names).chain())
}

/// What a far side shows whose certificate was made from these.
fn far_from(params: &CertificateParams) -> Chain {
    Chain::new(&[World::new().issue_as(params)])
}

fn validity(certificate: &[u8]) -> (i64, i64) {
    let (_, parsed) = X509Certificate::from_der(certificate).expect("a certificate");
    (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp())
}

fn subject_and_issuer(certificate: &[u8]) -> (String, String) {
    let (_, parsed) = X509Certificate::from_der(certificate).expect("a certificate");
    (parsed.subject().to_string(), parsed.issuer().to_string())
}

fn seconds(since_1970: Duration) -> i64 {
    since_1970.as_secs().cast_signed()
}

#[test]
fn a_genuine_far_sides_leaf_verifies_under_all_its_names_and_no_other() {
    let interception = interception();
    let names = ["mx.example.net", "*.example.org", "192.0.2.1", "2001:db8::1"];
    let far = far(&names);
    let chain = shown_for(&interception, &far, true);
    assert_eq!(chain.len(), 2);
    assert_eq!(Chain::new(&chain).names(), far.names());
    for name in ["mx.example.net", "mx.example.org", "192.0.2.1", "2001:db8::1"] {
        assert_eq!(verdict(&interception, &chain, name, now()), Ok(()), "{name}");
    }
    for name in ["mx2.example.net", "example.org", "a.b.example.org", "192.0.2.2"] {
        let error = verdict(&interception, &chain, name, now()).unwrap_err();
        assert!(error.to_string().contains("not valid for"), "{name}: {error}");
    }
}

#[tokio::test]
async fn an_inner_server_that_verifies_accepts_what_is_genuine_and_only_that() {
    let interception = interception();
    let policy = LegPolicy { ladder: Ladder::Verify, roots: roots(&interception), ..LegPolicy::default() };
    let inner = connector(&policy);
    let far = far(&[NAME]);
    let (_near, seen) = between(&interception.acceptor(&far, true).unwrap(), &inner, NAME).await;
    seen.unwrap();
    // Most mail servers ask for no name; there is one identity, whatever they ask for.
    for name in ["192.0.2.1", "mx.example.org"] {
        let (_near, seen) = between(&interception.acceptor(&far, true).unwrap(), &inner, name).await;
        assert!(seen.unwrap_err().to_string().contains(NAME), "it is shown and does not match");
    }
    let (_near, seen) = between(&interception.acceptor(&far, false).unwrap(), &inner, NAME).await;
    assert_eq!(seen.unwrap_err().label(), "certificate");
    let (_near, seen) =
        between(&interception.acceptor(&far, false).unwrap(), &connector(&LegPolicy::default()), NAME).await;
    seen.unwrap();
}

#[test]
fn a_copy_of_what_is_not_genuine_looks_like_it_and_is_vouched_for_by_nobody() {
    let interception = interception();
    let mut params = CertificateParams::new([NAME.to_owned(), "192.0.2.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "Mail of Example");
    let far = far_from(&params);
    let chain = shown_for(&interception, &far, false);
    assert_eq!(chain.len(), 1);
    assert_eq!(Chain::new(&chain).names(), far.names());
    let own = "CN=Mail of Example".to_owned();
    assert_eq!(subject_and_issuer(&chain[0]), (own.clone(), own));
    assert_ne!(chain[0], far.certificates()[0]);
    let error = verdict(&interception, &chain, NAME, now()).unwrap_err();
    assert_eq!(error, CertificateError::UnknownIssuer.into());
    let (_, parsed) = X509Certificate::from_der(&chain[0]).unwrap();
    parsed.verify_signature(None).expect("signed by its own key");
}

#[test]
fn a_signed_leaf_lasts_a_week_and_never_longer_than_the_far_side_or_the_authority() {
    let interception = interception();
    let world = World::new();
    let leaf = |end: Duration| {
        let far = Chain::new(world.issue_until(&[NAME], &p256(), end).chain());
        let (from, until) = validity(&shown_for(&interception, &far, true)[0]);
        assert_eq!(from, validity(&far.certificates()[0]).0);
        until
    };
    assert!((leaf(now() + 90 * DAY) - seconds(now() + 7 * DAY)).abs() < 60);
    let soon = now() + 2 * DAY;
    assert_eq!(leaf(soon), seconds(soon));

    let early = now() - 3649 * DAY;
    let ends = authority_at(early);
    let until = ends.not_after();
    let interception = Interception::new(ends, &Settings::default(), Arc::new(SystemClock));
    assert!(until < now() + 7 * DAY);
    let far = Chain::new(world.issue_until(&[NAME], &p256(), now() + 90 * DAY).chain());
    assert_eq!(validity(&shown_for(&interception, &far, true)[0]).1, seconds(until));
}

#[test]
fn what_is_expired_or_not_yet_valid_stays_so() {
    let interception = interception();
    for (from, until) in [(2001, 2002), (2090, 2091), (1955, 1960), (2030, 2020), (2000, 9999)] {
        let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 12, 31);
        let far = far_from(&params);
        let (begin, end) = validity(&far.certificates()[0]);
        // What was before 1970 has become 1970: expired either way.
        let expected = (begin.max(0), end.max(0));
        assert_eq!(validity(&shown_for(&interception, &far, false)[0]), expected, "{from} to {until}");
    }
}

#[test]
fn a_signed_leaf_has_a_common_name_only_if_it_is_one_of_the_names_that_were_verified() {
    let interception = interception();
    for (common_name, kept) in [("MX.example.net", true), ("other.test", false), ("Mail of Example", false)] {
        let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let chain = shown_for(&interception, &far_from(&params), true);
        let expected = if kept { format!("CN={common_name}") } else { String::new() };
        let (subject, issuer) = subject_and_issuer(&chain[0]);
        assert_eq!((subject, issuer), (expected, "CN=Postern CA of mx1.example.net".to_owned()));
        assert_eq!(verdict(&interception, &chain, NAME, now()), Ok(()));
    }
}

#[test]
fn without_a_name_that_can_be_verified_nothing_is_signed() {
    let interception = interception();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, NAME);
    let far = far_from(&params);
    assert_eq!(far.names(), []);
    let chain = shown_for(&interception, &far, true);
    assert_eq!(chain.len(), 1);
    assert_eq!(subject_and_issuer(&chain[0]), (format!("CN={NAME}"), format!("CN={NAME}")));
}

#[test]
fn hostile_certificates_get_a_leaf_too() {
    let interception = interception();
    let for_names = |names: &[String]| {
        let mut params = CertificateParams::default();
        let names = names.iter().map(|name| SanType::DnsName(name.as_str().try_into().unwrap()));
        params.subject_alt_names = names.collect();
        params.distinguished_name.push(DnType::CommonName, "\0\r\n");
        far_from(&params)
    };
    let many: Vec<String> = (0..4000).map(|number| format!("h{number}.test")).collect();
    let longest: Vec<String> = (0..250).map(|number| format!("{number}.{}.test", "x".repeat(60))).collect();
    let none = ["a\0b.test".to_owned(), "x".repeat(60_000)];
    let chains = [
        Chain::new(&[] as &[Vec<u8>]),
        Chain::new(&[b"no certificate"]),
        Chain::new(&[vec![0x30; 64 * 1024]]),
        for_names(&many),
        for_names(&longest),
        for_names(&none),
    ];
    let read: Vec<usize> = chains.iter().map(|far| far.names().len()).collect();
    assert_eq!(read, [0, 0, 0, 250, 120, 0]);
    for far in &chains {
        for genuine in [false, true] {
            let chain = shown_for(&interception, far, genuine);
            assert_eq!(Chain::new(&chain).names(), far.names());
        }
    }
}

#[test]
fn the_same_chain_gets_the_same_leaf_and_another_one_another() {
    let interception = interception();
    let (one, other) = (far(&[NAME]), far(&[NAME]));
    let first = shown_for(&interception, &one, true);
    assert_eq!(shown_for(&interception, &one.clone(), true), first);
    assert_ne!(shown_for(&interception, &other, true), first);
    let copy = shown_for(&interception, &one, false);
    assert_ne!(copy, first, "what was genuine and is so no more gets no leaf that is");
    assert_eq!(shown_for(&interception, &one, false), copy);
    assert_eq!(shown_for(&interception, &one, true), first);
}

#[test]
fn every_leaf_has_a_key_of_its_own() {
    let interception = interception();
    let pin = |genuine: bool, far: &Chain| {
        interception.acceptor(far, genuine).unwrap().identities().served()[0].pin()
    };
    let (one, other) = (far(&[NAME]), far(&[NAME]));
    let pins = [pin(true, &one), pin(false, &one), pin(true, &other), pin(false, &other)];
    let distinct: std::collections::HashSet<_> = pins.into_iter().collect();
    assert_eq!(distinct.len(), pins.len());
}

/// Seconds since 1970, as set.
struct SetClock(AtomicU64);

impl Clock for SetClock {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

#[test]
fn a_signed_leaf_is_renewed_a_day_before_it_expires_and_a_copy_is_not() {
    let start = Duration::from_secs(now().as_secs());
    let clock = Arc::new(SetClock(AtomicU64::new(start.as_secs())));
    let interception = Interception::new(authority_at(start), &Settings::default(), Arc::clone(&clock) as _);
    let far = Chain::new(World::new().issue_until(&[NAME], &p256(), start + 90 * DAY).chain());
    let (signed, copy) = (shown_for(&interception, &far, true), shown_for(&interception, &far, false));
    let wait_until = |then: Duration| clock.0.store(then.as_secs(), Ordering::Relaxed);
    wait_until(start + 6 * DAY - Duration::from_secs(1));
    assert_eq!(shown_for(&interception, &far, true), signed);
    wait_until(start + 6 * DAY);
    let renewed = shown_for(&interception, &far, true);
    assert_ne!(renewed, signed);
    assert_eq!(verdict(&interception, &renewed, NAME, start + 12 * DAY), Ok(()));
    assert_eq!(shown_for(&interception, &far, true), renewed);
    assert_eq!(shown_for(&interception, &far, false), copy);
}

#[test]
fn beyond_a_thousand_far_sides_the_one_used_longest_ago_is_forgotten() {
    let interception = interception();
    let numbered = |number: u32| Chain::new(&[number.to_be_bytes()]);
    let (kept, forgotten) = (far(&[NAME]), far(&[NAME]));
    let first = shown_for(&interception, &forgotten, false);
    let used = shown_for(&interception, &kept, false);
    for number in 0..998 {
        interception.acceptor(&numbered(number), false).unwrap();
    }
    assert_eq!(shown_for(&interception, &kept, false), used);
    interception.acceptor(&numbered(998), false).unwrap();
    assert_eq!(shown_for(&interception, &kept, false), used);
    assert_ne!(shown_for(&interception, &forgotten, false), first);
}

#[test]
fn an_identity_for_intercepting_shows_its_names() {
    let interception = interception();
    let acceptor = interception.acceptor(&far(&["MX.example.net", "192.0.2.1"]), true).unwrap();
    let served: Vec<Identity> = acceptor.identities().served();
    let names: Vec<&str> = served[0].names().iter().map(|name| &**name).collect();
    assert_eq!(names, ["mx.example.net", "192.0.2.1"]);
}
