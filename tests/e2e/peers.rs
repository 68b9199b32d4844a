//! The control group: every client and every server with each other and without Postern. Where one of these fails, a
//! failure through Postern says nothing about Postern.

use std::time::Duration;

use postern_tests::certificate::{Authority, Certificate};
use postern_tests::clients::{self, Client, How, Security, deliver};
use postern_tests::exim::{self, Exim};
use postern_tests::mail::Mail;
use postern_tests::mailbox::Maildir;
use postern_tests::needs;
use postern_tests::needs::{DOVECOT, EXIM, Need, OPENSMTPD, POSTFIX};
use postern_tests::opensmtpd::OpenSmtpd;
use postern_tests::postfix::{self, Postfix};
use postern_tests::sink::{self, Load, Sink};

const LIMIT: Duration = Duration::from_secs(30);

fn mail() -> Mail {
    Mail::new("a@source.test", &["b@bench.test"], "a line\n.a dot\n..\n\nthe end\n")
}

fn loopback(authority: &Authority) -> Certificate {
    authority.certify(&["localhost", "127.0.0.1", "::1"])
}

/// What came over the wire is what was sent.
fn expect_stored(mailbox: &Maildir, mail: &Mail) {
    let stored = mailbox.wait_for_one();
    assert_eq!(
        String::from_utf8_lossy(&stored.content),
        String::from_utf8_lossy(&mail.content),
        "{}",
        stored.added
    );
}

fn client_delivers(client: Client, options: &postfix::Options, how: &How) {
    let postfix = Postfix::start(options);
    let mail = mail();
    let result = deliver(client, postfix.address(), &mail, how);
    assert!(result.accepted, "{client:?} {how:?}: {}\n{}", result.output, postfix.log());
    expect_stored(&postfix.mailbox(), &mail);
}

fn client_delivers_in_every_way(client: Client) {
    needs!(POSTFIX, client.needs());
    client_delivers(client, &postfix::Options::default(), &How::default());
    let authority = Authority::new();
    let with_tls =
        postfix::Options { certificate: Some(loopback(&authority)), require_tls: true, ..Default::default() };
    let how = How { security: Security::StartTls(authority.file()), auth: None };
    client_delivers(client, &with_tls, &how);
    let how = How { security: Security::Implicit(authority.file()), auth: None };
    client_delivers(client, &postfix::Options { implicit_tls: true, ..with_tls }, &how);
}

#[test]
fn swaks_delivers_to_postfix() {
    client_delivers_in_every_way(Client::Swaks);
}

#[test]
fn msmtp_delivers_to_postfix() {
    client_delivers_in_every_way(Client::Msmtp);
}

#[test]
fn curl_delivers_to_postfix() {
    client_delivers_in_every_way(Client::Curl);
}

#[test]
fn nodemailer_delivers_to_postfix() {
    client_delivers_in_every_way(Client::Nodemailer);
}

#[test]
fn python_delivers_to_postfix() {
    client_delivers_in_every_way(Client::Python);
}

#[test]
fn our_own_client_delivers_to_postfix() {
    needs!(POSTFIX);
    client_delivers(Client::Wire, &postfix::Options::default(), &How::default());
}

#[test]
fn every_client_is_refused_without_the_right_password() {
    needs!(POSTFIX, DOVECOT);
    let postfix = Postfix::start(&postfix::Options { auth: Some(("user", "right")), ..Default::default() });
    for client in clients::REAL {
        needs!(client.needs());
        let wrong = How { auth: Some(("user", "wrong")), ..How::default() };
        let result = deliver(client, postfix.address(), &mail(), &wrong);
        assert!(!result.accepted && result.output.contains("535"), "{client:?}: {}", result.output);
        let right = How { auth: Some(("user", "right")), ..How::default() };
        let result = deliver(client, postfix.address(), &mail(), &right);
        assert!(result.accepted, "{client:?}: {}\n{}", result.output, postfix.log());
    }
    postfix.mailbox().wait_for(clients::REAL.len());
}

#[test]
fn postfix_refuses_the_recipients_it_is_told_to_refuse() {
    needs!(POSTFIX);
    let reject = vec![("nobody@bench.test", "550 5.1.1 there is no nobody here")];
    let postfix = Postfix::start(&postfix::Options { reject, ..Default::default() });
    let refused = Mail::new("a@source.test", &["nobody@bench.test"], "x\n");
    let result = deliver(Client::Wire, postfix.address(), &refused, &How::default());
    assert!(!result.accepted && result.output.contains("550 5.1.1"), "{}", result.output);
    assert!(deliver(Client::Wire, postfix.address(), &mail(), &How::default()).accepted);
}

#[test]
fn postfix_leaves_out_what_it_is_told_to_leave_out() {
    needs!(POSTFIX);
    let without = vec!["chunking", "smtputf8"];
    let postfix = Postfix::start(&postfix::Options { without, xclient: true, ..Default::default() });
    let result = deliver(Client::Wire, postfix.address(), &mail(), &How::default());
    assert!(!result.output.contains("CHUNKING") && !result.output.contains("SMTPUTF8"), "{}", result.output);
    assert!(result.output.contains("XCLIENT") && result.output.contains("XFORWARD"), "{}", result.output);
}

#[test]
fn postfix_wants_a_proxy_header_when_it_is_told_to() {
    needs!(POSTFIX, Client::Swaks.needs());
    let postfix = Postfix::start(&postfix::Options { proxy_protocol: true, ..Default::default() });
    let mut command = std::process::Command::new("swaks");
    command.args(["--server", "127.0.0.1", "--port", &postfix.address().port().to_string()]);
    command.args([
        "--from",
        "a@source.test",
        "--to",
        "b@bench.test",
        "--proxy-version",
        "2",
        "--proxy-family",
        "AF_INET",
    ]);
    command.args(["--proxy-source", "192.0.2.7", "--proxy-source-port", "4711"]);
    command.args(["--proxy-dest", "192.0.2.8", "--proxy-dest-port", "25", "--proxy-protocol", "STREAM"]);
    let ended = postern_tests::child::run(&command, LIMIT);
    assert!(ended.success, "{}\n{}", ended.output, postfix.log());
    assert!(postfix.mailbox().wait_for_one().added.contains("[192.0.2.7]"));
}

#[test]
fn postfix_sends_to_postfix() {
    needs!(POSTFIX);
    let authority = Authority::new();
    let hidden = Postfix::start(&postfix::Options {
        certificate: Some(loopback(&authority)),
        require_tls: true,
        ..Default::default()
    });
    let sender = Postfix::start(&postfix::Options {
        next_hop: Some(hidden.address()),
        next_hop_tls: Some(("verify", authority.file())),
        extra: vec!["smtp_tls_verify_cert_match = localhost".to_owned()],
        ..Default::default()
    });
    let mail = mail();
    let accepted = deliver(Client::Wire, sender.address(), &mail, &How::default());
    assert!(accepted.accepted, "{}", accepted.output);
    let outcome = sender.outcome(mail.message_id(), 1, LIMIT);
    assert!(outcome[0].contains("status=sent"), "{outcome:?}");
    assert!(hidden.mailbox().wait_for_one().content.ends_with(b"the end\r\n"));
}

#[test]
fn exim_sends_to_postfix_in_chunks() {
    needs!(POSTFIX, EXIM);
    let authority = Authority::new();
    let hidden =
        Postfix::start(&postfix::Options { certificate: Some(loopback(&authority)), ..Default::default() });
    let sender = Exim::start(&exim::Options {
        next_hop: Some(hidden.address()),
        next_hop_authorities: Some(authority.file()),
        ..Default::default()
    });
    let mail = mail();
    let accepted = deliver(Client::Wire, sender.address(), &mail, &How::default());
    assert!(accepted.accepted, "{}\n{}", accepted.output, sender.log());
    let outcome = sender.outcome(mail.message_id(), 1, LIMIT);
    // K: CHUNKING was used.
    assert!(outcome[0].contains(" => ") && outcome[0].contains(" K "), "{outcome:?}");
    assert!(hidden.mailbox().wait_for_one().content.ends_with(b"the end\r\n"));
}

#[test]
fn exim_stores_what_it_gets() {
    needs!(EXIM, Client::Python.needs());
    let authority = Authority::new();
    let exim = Exim::start(&exim::Options {
        certificate: Some(loopback(&authority)),
        reject: vec!["nobody@bench.test"],
        ..Default::default()
    });
    let mail = mail();
    let how = How { security: Security::StartTls(authority.file()), auth: None };
    let result = deliver(Client::Python, exim.address(), &mail, &how);
    assert!(result.accepted, "{}\n{}", result.output, exim.log());
    expect_stored(&exim.mailbox(), &mail);
    let refused = Mail::new("a@source.test", &["nobody@bench.test"], "x\n");
    let result = deliver(Client::Wire, exim.address(), &refused, &How::default());
    assert!(!result.accepted && result.output.contains("550"), "{}", result.output);
}

#[test]
fn opensmtpd_sends_to_opensmtpd() {
    needs!(OPENSMTPD);
    let hidden = OpenSmtpd::storing();
    let sender = OpenSmtpd::relaying(hidden.address());
    let mail = mail();
    let accepted = deliver(Client::Wire, sender.address(), &mail, &How::default());
    assert!(accepted.accepted, "{}\n{}", accepted.output, sender.log());
    let outcome = sender.outcome(1, LIMIT);
    assert!(outcome[0].contains("result=\"Ok\""), "{outcome:?}");
    assert!(hidden.mailbox().wait_for_one().content.ends_with(b"the end\r\n"));
}

#[test]
fn a_sink_takes_what_a_source_sends() {
    needs!(&[Need::Program("smtp-sink")]);
    let sink = Sink::start(&[]);
    for keep in [false, true] {
        let ended = sink::load(sink.address(), Load { messages: 50, sessions: 5, size: 10_000, keep }, LIMIT);
        assert!(ended.success, "{}", ended.output);
    }
}
