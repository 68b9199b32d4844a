//! Every client, plain and with STARTTLS, to every hidden server, plain and with TLS.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use postern_tests::certificate::Authority;
use postern_tests::clients::{Client, How, REAL, Security, deliver};
use postern_tests::exim;
use postern_tests::needs;
use postern_tests::needs::{EXIM, OPENSMTPD, POSTFIX};
use postern_tests::ports;
use postern_tests::postern::{Options, Postern, backend};
use postern_tests::postfix::{self, Postfix};

use super::{Hidden, expect_passed, loopback, mail, verified};

fn every_client_delivers(hidden: &Hidden, leg: &str, authority: &Authority) {
    let postern = Postern::start(&Options {
        config: backend(&["bench.test"], hidden.address(), leg),
        certificate: Some(loopback(authority)),
        ..Default::default()
    });
    for client in REAL {
        needs!(client.needs());
        for security in [Security::Plain, Security::StartTls(authority.file())] {
            let mail = mail();
            let how = How { security, auth: None };
            let result = deliver(client, postern.smtp(), &mail, &how);
            assert!(result.accepted, "{client:?} {how:?}: {}\n{}", result.output, hidden.log());
            expect_passed(&hidden.mailbox().wait_for_message(mail.message_id()), &mail);
        }
    }
    assert_eq!(hidden.mailbox().read().len(), REAL.len() * 2, "each mail arrives once");
}

#[test]
fn every_client_reaches_a_postfix_without_tls() {
    needs!(POSTFIX);
    every_client_delivers(&Hidden::postfix(), "", &Authority::new());
}

#[test]
fn every_client_reaches_a_postfix_with_verified_tls() {
    needs!(POSTFIX);
    let authority = Authority::new();
    every_client_delivers(&Hidden::postfix_with_tls(&authority), &verified(&authority), &authority);
}

#[test]
fn every_client_reaches_an_exim_by_data() {
    needs!(EXIM);
    let hidden = Hidden::exim(&exim::Options { without_chunking: true, ..Default::default() });
    every_client_delivers(&hidden, "", &Authority::new());
}

#[test]
fn every_client_reaches_an_exim_by_chunks_and_verified_tls() {
    needs!(EXIM);
    let authority = Authority::new();
    let certificate = Some(loopback(&authority));
    let hidden = Hidden::exim(&exim::Options { certificate, ..Default::default() });
    every_client_delivers(&hidden, &verified(&authority), &authority);
    // K: CHUNKING was used, X: over TLS.
    let log = hidden.log();
    let arrivals: Vec<&str> = log.lines().filter(|line| line.contains(" <= a@source.test")).collect();
    assert!(arrivals.iter().all(|line| line.contains(" K ") && line.contains(" X=TLS")), "{log}");
}

#[test]
fn every_client_reaches_an_opensmtpd() {
    needs!(OPENSMTPD);
    every_client_delivers(&Hidden::opensmtpd(), "", &Authority::new());
}

#[test]
fn mail_passes_from_ipv6_to_ipv6() {
    needs!(POSTFIX, Client::Python.needs());
    let local = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let address: SocketAddr = ports::free_on(local);
    let hidden = Postfix::start(&postfix::Options { address: Some(address), ..Default::default() });
    let authority = Authority::new();
    let postern = Postern::start(&Options {
        address: local,
        config: backend(&["bench.test"], address, ""),
        certificate: Some(loopback(&authority)),
        ..Default::default()
    });
    for client in [Client::Wire, Client::Python, Client::Curl] {
        let mail = mail();
        let result = deliver(client, postern.smtp(), &mail, &How::default());
        assert!(result.accepted, "{client:?}: {}\n{}", result.output, hidden.log());
        let stored = hidden.mailbox().wait_for_message(mail.message_id());
        expect_passed(&stored, &mail);
        assert!(stored.one_hop_before().0.contains("([IPv6:::1])"), "{}", stored.one_hop_before().0);
    }
}
