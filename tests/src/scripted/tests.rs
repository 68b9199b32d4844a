//! The scripted peers with each other.

use super::*;
use crate::certificate::Authority;
use crate::personalities;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_script_is_followed_on_both_sides() {
    let script = vec![
        say_bytewise("220 ready\r\n", Duration::from_millis(1)),
        Step::Expect("EHLO"),
        say("250-one\r\n250 two\r\n"),
        Step::Octets(3),
        Step::UntilClosed,
    ];
    let server = Server::start(vec![script]);
    let mut client = Client::connect(server.address(), None);
    client.run(&[Step::Expect("220 "), say("ehlo me\r\n"), Step::Expect("250-"), Step::Expect("250 two")]);
    client.run(&[
        say("abc"),
        Step::Silence(Duration::from_millis(20)),
        Step::ShutdownWrite,
        Step::UntilClosed,
    ]);
    let outcome = server.wait_for(1, LIMIT).remove(0);
    assert_eq!((outcome.fault.as_deref(), outcome.text().as_str()), (None, "ehlo me\r\nabc"));
}

#[test]
fn a_departure_from_the_script_is_a_fault() {
    let server = Server::start(vec![vec![Step::Expect("EHLO")]]);
    let mut client = Client::connect(server.address(), None);
    client.write(b"HELO me\r\n").unwrap();
    assert!(server.wait_for(1, LIMIT)[0].fault.as_ref().unwrap().contains("HELO me"));
    assert!(client.try_run(&[Step::Silence(Duration::from_secs(5))]).is_err());
}

#[test]
fn every_personality_takes_a_mail_over_tls() {
    let authority = Authority::new();
    let certificate = authority.certify(&["localhost"]);
    for personality in personalities::ALL {
        let quick = Personality { thinks: Duration::ZERO, ..personality };
        let server = Server::with_personality(quick, Some(certificate.server_tls()));
        let mut client = Client::connect(server.address(), Some(authority.client_tls("localhost")));
        assert!(client.reply(LIMIT).unwrap().starts_with("220 "));
        assert!(client.command("EHLO client.test").unwrap().contains("STARTTLS\r\n"));
        assert!(client.command("STARTTLS").unwrap().starts_with("220 "));
        client.run(&[Step::Tls]);
        assert!(!client.command("EHLO client.test").unwrap().contains("STARTTLS\r\n"));
        assert!(client.command("MAIL FROM:<a@a.test>").unwrap().starts_with("250 "));
        assert!(client.command("RCPT TO:<b@b.test>").unwrap().starts_with("250 "));
        assert!(client.command("DATA").unwrap().starts_with("354 "));
        assert!(client.command("Subject: x\r\n\r\nbody\r\n.").unwrap().starts_with("250 "));
        assert!(client.command("QUIT").unwrap().starts_with("221 "));
        assert_eq!(server.wait_for(1, LIMIT)[0].fault, None, "{}", personality.name);
    }
}

#[test]
fn chunks_are_taken_by_their_size() {
    let server = Server::with_personality(personalities::EXCHANGE, None);
    let mut client = Client::connect(server.address(), None);
    client.reply(LIMIT).unwrap();
    client.write(b"BDAT 6\r\nQUIT\r\nBDAT 0 LAST\r\n").unwrap();
    assert!(client.reply(LIMIT).unwrap().starts_with("250 2.0.0 chunk"));
    assert!(client.reply(LIMIT).unwrap().starts_with("250 2.6.0 "));
}

#[test]
fn a_server_that_resets_is_seen_to_reset() {
    let server = Server::start(vec![vec![Step::AnyLine, Step::Reset]]);
    let mut client = Client::connect(server.address(), None);
    client.write(b"EHLO me\r\n").unwrap();
    let fault = client.reply(LIMIT).unwrap_err();
    assert_eq!(fault.kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.accepted(), 1);
}
