//! When a certificate is renewed is the CA's to suggest (RFC 9773), and what kind it is the config's to choose (profiles): Pebble
//! with a server before it that has both.

use nix::sys::signal::Signal;
use postern_tests::acme2certifier::{ACME2CERTIFIER, Acme2certifier};
use postern_tests::nameserver::{KNOT, NameServer};
use postern_tests::needs;
use postern_tests::pebble::{self, PEBBLE, Pebble};
use postern_tests::ports;
use postern_tests::postern::Postern;
use postern_tests::renewal_info::RenewalInfo;
use postern_tests::sink::Sink;
use record::{Clock as _, SystemClock};
use serde_json::Value;

use super::{LIMIT, SINK, becomes_believed, fingerprint, is_believed, listed, options, zones};

const DAY: u64 = 86_400;

fn now() -> u64 {
    SystemClock.now().as_secs()
}

fn mail_order(postern: &Postern) -> Value {
    let list = listed(postern);
    let orders = list["certifying"]["orders"].as_array().cloned().unwrap_or_default();
    orders.into_iter().find(|order| order["id"] == "mail").unwrap_or_default()
}

#[test]
fn the_window_of_the_ca_decides_and_one_that_it_moves_into_the_past_renews_at_once() {
    needs!(SINK, KNOT, PEBBLE);
    let (sink, names) = (Sink::start(&[]), NameServer::start(&zones()));
    let pebble = Pebble::start(&pebble::Options::default());
    let ca = RenewalInfo::before(&pebble, &[]);
    let (start, end) = (now() + 20 * DAY, now() + 21 * DAY);
    ca.window_is(start, end);
    // For the patience of a CA there are bounds: with these words nobody would ask again in a year, or all the time.
    ca.retry_after_is("31536000");
    let acme = pebble.acme_at(ca.port(), "http-01", "");
    let mut postern = Postern::start(&options(&sink, &names, acme, pebble.http()));
    becomes_believed(&postern, &pebble, &pebble.root(), "mx.postern.test");
    let renews = || mail_order(&postern)["renews"].as_u64().filter(|at| (start..=end).contains(at));
    assert!(ports::wait_until(LIMIT, renews).is_some(), "{}\n{}", mail_order(&postern), postern.log());
    assert!(ca.orders().iter().all(|order| order["replaces"].is_null()), "{:?}", ca.orders());
    // The CA has to revoke.
    let (before, asked, ordered) = (fingerprint(&postern, "mx.postern.test"), ca.asked(), ca.orders().len());
    ca.window_is(now() - 2 * DAY, now() - DAY);
    postern.restart(Signal::SIGTERM);
    let renewed = || (fingerprint(&postern, "mx.postern.test") != before).then_some(());
    assert!(ports::wait_until(LIMIT, renewed).is_some(), "{}", postern.log());
    let replaced: Vec<_> =
        ca.orders().iter().filter_map(|order| order["replaces"].as_str().map(str::to_owned)).collect();
    assert!(!replaced.is_empty() && replaced.iter().all(|one| asked.contains(one)), "{replaced:?} {asked:?}");
    // Its window is always over; that is no reason to order for ever.
    let of_new = || {
        let fresh = ca.asked().into_iter().filter(|one| !asked.contains(one)).count();
        (fresh > 0 && mail_order(&postern)["renews"].as_u64() > Some(now() + DAY / 2)).then_some(())
    };
    assert!(ports::wait_until(LIMIT, of_new).is_some(), "{:?}\n{}", ca.asked(), mail_order(&postern));
    // One for mail and one for the policy host.
    assert_eq!(ca.orders().len(), ordered + 2, "{:?}", ca.orders());
}

/// Its windows and profiles are its own; of `replaces` it knows nothing, and orders go on without.
#[test]
fn another_ca_with_windows_and_profiles_is_understood() {
    needs!(SINK, KNOT, ACME2CERTIFIER);
    let (sink, names, mut ca) = (Sink::start(&[]), NameServer::start(&zones()), Acme2certifier::start(50));
    let begun = now();
    let http = format!("plain = \"{}\"\ntls = \"{}\"\n", ports::free(), ports::free());
    let mut postern = Postern::start(&options(&sink, &names, ca.acme("profile = \"shortlived\""), http));
    let believed = |postern: &Postern, ca: &Acme2certifier| {
        let believed = || is_believed(postern, &ca.root(), "mx.postern.test").then_some(());
        assert!(ports::wait_until(LIMIT, believed).is_some(), "{}\n{}", postern.log(), ca.log());
    };
    believed(&postern, &ca);
    let window = begun + 45 * DAY - 60..begun + 45 * DAY + 7200;
    let renews = || mail_order(&postern)["renews"].as_u64().filter(|at| window.contains(at));
    assert!(ports::wait_until(LIMIT, renews).is_some(), "{}\n{}", mail_order(&postern), ca.log());
    // It wants them renewed within an hour: the moment is drawn from that hour.
    ca.restart(0);
    postern.restart(Signal::SIGTERM);
    let soon = || mail_order(&postern)["renews"].as_u64().filter(|at| *at < now() + 7200);
    assert!(ports::wait_until(LIMIT, soon).is_some(), "{}\n{}", mail_order(&postern), ca.log());
}

#[test]
fn a_profile_is_ordered_by_its_name_and_one_that_the_ca_lacks_is_an_error_that_names_the_others() {
    needs!(SINK, KNOT, PEBBLE);
    let (sink, names) = (Sink::start(&[]), NameServer::start(&zones()));
    let pebble = Pebble::start(&pebble::Options::default());
    let ca = RenewalInfo::before(&pebble, &["shortlived", "classic"]);
    let with = |profile: &str| {
        let acme = pebble.acme_at(ca.port(), "http-01", &format!("profile = \"{profile}\""));
        Postern::start(&options(&sink, &names, acme, pebble.http()))
    };
    let postern = with("long-lived");
    let told = || mail_order(&postern)["problem"].as_str().map(str::to_owned);
    let problem = ports::wait_until(LIMIT, told).unwrap_or_else(|| panic!("{}", postern.log()));
    assert_eq!(problem, "the CA has no profile \"long-lived\", but classic, shortlived");
    assert_eq!(ca.orders(), Vec::<Value>::new());
    drop(postern);
    let postern = with("shortlived");
    becomes_believed(&postern, &pebble, &pebble.root(), "mx.postern.test");
    assert!(ca.orders().iter().all(|order| order["profile"] == "shortlived"), "{:?}", ca.orders());
}
