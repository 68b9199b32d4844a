//! Each mail server as the sender, through one Postern, to each mail server: one mail with a recipient at each.

use std::time::Duration;

use postern_tests::certificate::Authority;
use postern_tests::clients::{Client, How, deliver};
use postern_tests::exim::{self, Exim};
use postern_tests::mail::Mail;
use postern_tests::needs;
use postern_tests::needs::{EXIM, OPENSMTPD, POSTFIX};
use postern_tests::opensmtpd::OpenSmtpd;
use postern_tests::postern::{Options, Postern, backend};
use postern_tests::postfix::{self, Postfix};

use super::{Hidden, loopback, verified};

const LIMIT: Duration = Duration::from_secs(60);
const RECIPIENTS: [&str; 3] = ["b@postfix.bench", "b@exim.bench", "b@opensmtpd.bench"];

/// The three servers behind one Postern; the first is reached over TLS.
struct Behind {
    authority: Authority,
    hidden: [Hidden; 3],
    postern: Postern,
}

impl Behind {
    fn start() -> Self {
        let authority = Authority::new();
        let postfix = Hidden::postfix_with_tls(&authority);
        let exim = Hidden::exim(&exim::Options::default());
        let opensmtpd = Hidden::opensmtpd();
        let config = [
            backend(&["postfix.bench"], postfix.address(), &verified(&authority)),
            backend(&["exim.bench"], exim.address(), ""),
            backend(&["opensmtpd.bench"], opensmtpd.address(), ""),
        ];
        let options = Options {
            config: config.concat(),
            certificate: Some(loopback(&authority)),
            ..Default::default()
        };
        Self { postern: Postern::start(&options), hidden: [postfix, exim, opensmtpd], authority }
    }

    /// Each server has one copy, and the sender's and Postern's fields are all that was added on the way.
    fn expect_everywhere(&self, mail: &Mail) {
        for hidden in &self.hidden {
            let stored = hidden.mailbox().wait_for_one();
            let (of_postern, rest) = stored.one_hop_before();
            assert!(of_postern.contains("by mx.postern.test (Postern) with "), "{of_postern}");
            let text = String::from_utf8_lossy(rest).into_owned();
            let (of_sender, rest) = text.split_at(text.find("From: <").unwrap_or_default());
            assert!(of_sender.starts_with("Received: ") && !of_sender.contains("\r\n\r\n"), "{text}");
            assert_eq!(rest, String::from_utf8_lossy(&mail.content));
        }
    }
}

fn mail() -> Mail {
    Mail::new("a@source.test", &RECIPIENTS, "a line\n.a dot\n..\n\nthe end\n")
}

fn hand_over(address: std::net::SocketAddr, mail: &Mail) {
    let accepted = deliver(Client::Wire, address, mail, &How::default());
    assert!(accepted.accepted, "{}", accepted.output);
}

fn postfix_sends(behind: &Behind, options: postfix::Options) {
    let next_hop = Some(behind.postern.smtp());
    let sender = Postfix::start(&postfix::Options { next_hop, ..options });
    let mail = mail();
    hand_over(sender.address(), &mail);
    let outcome = sender.outcome(mail.message_id(), 3, LIMIT);
    assert!(outcome.iter().all(|line| line.contains("status=sent")), "{outcome:?}");
    behind.expect_everywhere(&mail);
}

#[test]
fn postfix_sends_to_every_server() {
    needs!(POSTFIX, EXIM, OPENSMTPD);
    postfix_sends(&Behind::start(), postfix::Options::default());
}

#[test]
fn postfix_sends_over_verified_tls_to_every_server() {
    needs!(POSTFIX, EXIM, OPENSMTPD);
    let behind = Behind::start();
    let next_hop_tls = Some(("verify", behind.authority.file()));
    let extra = vec!["smtp_tls_verify_cert_match = localhost".to_owned()];
    postfix_sends(&behind, postfix::Options { next_hop_tls, extra, ..Default::default() });
}

fn exim_sends(behind: &Behind, options: exim::Options) {
    let sender = Exim::start(&exim::Options { next_hop: Some(behind.postern.smtp()), ..options });
    let mail = mail();
    hand_over(sender.address(), &mail);
    let outcome = sender.outcome(mail.message_id(), 3, LIMIT);
    // K: CHUNKING was used.
    assert!(outcome.iter().all(|line| line.contains(" K ")), "{outcome:?}");
    behind.expect_everywhere(&mail);
}

#[test]
fn exim_sends_chunks_to_every_server() {
    needs!(POSTFIX, EXIM, OPENSMTPD);
    exim_sends(&Behind::start(), exim::Options::default());
}

#[test]
fn exim_sends_chunks_over_tls_to_every_server() {
    needs!(POSTFIX, EXIM, OPENSMTPD);
    let behind = Behind::start();
    let next_hop_authorities = Some(behind.authority.file());
    exim_sends(&behind, exim::Options { next_hop_authorities, ..Default::default() });
}

#[test]
fn opensmtpd_sends_to_every_server() {
    needs!(POSTFIX, EXIM, OPENSMTPD);
    let behind = Behind::start();
    let sender = OpenSmtpd::relaying(behind.postern.smtp());
    let mail = mail();
    hand_over(sender.address(), &mail);
    let outcome = sender.outcome(3, LIMIT);
    assert!(outcome.iter().all(|line| line.contains("result=\"Ok\"")), "{outcome:?}");
    behind.expect_everywhere(&mail);
}
