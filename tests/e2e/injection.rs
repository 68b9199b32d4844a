//! STARTTLS injection in both directions (law 2): what came in clear behind STARTTLS, or behind the 220 to it, is never
//! taken for what was said behind TLS, in however many segments it comes.
#![allow(
    clippy::disallowed_methods,
    reason = "real peers take real time: nothing here runs under a simulated clock"
)]

use std::thread;
use std::time::Duration;

use postern_tests::certificate::Authority;
use postern_tests::ports;
use postern_tests::postern::{self, Options, Postern};
use postern_tests::scripted::{Client, Step};
use postern_tests::tape::{At, Deed, Fault, Manners, Tape};

const LIMIT: Duration = Duration::from_secs(20);

fn postern(tape: &Tape, authority: &Authority, ladder: &str) -> Postern {
    let config = postern::backend(&["corp.test"], tape.address(), &format!("tls = \"{ladder}\""));
    let certificate = Some(authority.certify(&["mx.postern.test", "localhost"]));
    Postern::start(&Options { config, certificate, ..Options::default() })
}

const INJECTED: &str = "MAIL FROM:<injected@evil.test>\r\nRCPT TO:<b@corp.test>\r\nDATA\r\nx\r\n.\r\n";

#[test]
fn commands_behind_starttls_in_one_segment_end_the_session() {
    let authority = Authority::new();
    let tape = Tape::start(Manners::default());
    let postern = postern(&tape, &authority, "off");
    for line in ["STARTTLS\r\n", "starttls\r\n", "STARTTLS \r\n"] {
        for injected in [INJECTED, "E", "\r\n", "EHLO x\r\n", "NOOP\r\nNOOP\r\n"] {
            let mut client = Client::greeted(postern.smtp(), None);
            client.write(format!("{line}{injected}").as_bytes()).unwrap();
            client.hears("554 5.5.0");
            assert!(client.reply(LIMIT).is_err(), "{line:?} {injected:?}\n{}", client.text());
        }
    }
    assert_eq!(tape.taken(), []);
}

/// Pipelined behind other commands, too.
#[test]
fn commands_behind_a_pipelined_starttls_end_the_session() {
    let authority = Authority::new();
    let tape = Tape::start(Manners::default());
    let postern = postern(&tape, &authority, "off");
    let mut client = Client::greeted(postern.smtp(), None);
    client.write(format!("NOOP\r\nRSET\r\nSTARTTLS\r\n{INJECTED}").as_bytes()).unwrap();
    client.hears("250 2.0.0 still here");
    client.hears("250 2.0.0 reset");
    client.hears("554 5.5.0");
    assert!(client.reply(LIMIT).is_err());
    assert_eq!(tape.taken(), []);
}

/// Cut at every place, with a pause: what comes after STARTTLS was whole is part of a handshake that fails.
#[test]
fn commands_behind_starttls_in_any_segments_are_never_obeyed() {
    let authority = Authority::new();
    let tape = Tape::start(Manners::default());
    let postern = postern(&tape, &authority, "off");
    let whole = format!("STARTTLS\r\n{INJECTED}");
    for cut in 1..whole.len() {
        let mut client = Client::greeted(postern.smtp(), None);
        let (first, second) = whole.as_bytes().split_at(cut);
        client.write(first).unwrap();
        thread::sleep(Duration::from_millis(3));
        // It may have been closed by now.
        let _ = client.write(second);
        let reply = client.reply(LIMIT).unwrap_or_default();
        assert!(
            reply.starts_with("554 5.5.0") || reply.starts_with("220 2.0.0 ") || reply.is_empty(),
            "{cut}: {reply}"
        );
        let more = client.reply(LIMIT);
        // A TLS alert is no reply.
        assert!(more.as_ref().map_or(true, |more| !more.starts_with(['2', '3'])), "{cut}: {more:?}");
    }
    assert_eq!(tape.taken(), []);
    let none = ports::wait_until(LIMIT, || (postern.metric("postern_open_sessions") == 0.0).then_some(()));
    assert!(none.is_some());
}

/// Half a command in clear is no beginning of the first one behind TLS; nor is what was said before it remembered.
#[test]
fn nothing_said_in_clear_counts_behind_tls() {
    let authority = Authority::new();
    let tape = Tape::start(Manners::default());
    let postern = postern(&tape, &authority, "off");
    let mut client = Client::greeted(postern.smtp(), Some(authority.client_tls("localhost")));
    client.says("STARTTLS", "220");
    client.run(&[Step::Tls]);
    client.says("MAIL FROM:<a@source.test>", "503 5.5.1");
    let offer = client.says("EHLO client.test", "250");
    assert!(!offer.contains("STARTTLS"), "{offer}");
    client.says("STARTTLS", "503 5.5.1");
    client.says("MAIL FROM:<a@source.test>", "250");
    client.says("RCPT TO:<b@corp.test>", "250");
    client.says("DATA", "354");
    client.says("x\r\n.", "250");
    client.says("QUIT", "221");
    assert_eq!(tape.taken_from("a@source.test").len(), 1);
}

/// A server whose 220 to STARTTLS has company: whoever put it there, the connection is dropped before TLS.
#[test]
fn a_server_that_says_more_than_220_to_starttls_is_not_used() {
    let authority = Authority::new();
    let tls = Some(authority.certify(&["localhost"]).server_tls());
    for ladder in ["opportunistic", "encrypt"] {
        let tape = Tape::start(Manners { chunking: false, tls: tls.clone() });
        let postern = postern(&tape, &authority, ladder);
        for injected in [
            "250 injected\r\n",
            "250-tape.test\r\n250 XCLIENT ADDR\r\n",
            "2",
            "\r\n",
            "220 twice\r\n",
            "421 bye\r\n",
        ] {
            tape.misbehave(Fault { at: At::StartTls, does: Deed::Add(injected) }, usize::MAX);
            let mut client = Client::greeted(postern.smtp(), None);
            client.says("MAIL FROM:<a@source.test>", "250");
            client.says("RCPT TO:<b@corp.test>", "451 4.4.1");
            client.says("QUIT", "221");
            assert_eq!(tape.said_after_fault(), [] as [&str; 0], "{ladder} {injected:?}");
        }
        assert_eq!(tape.taken(), []);
        tape.behave();
        let mut client = Client::greeted(postern.smtp(), None);
        client.says("MAIL FROM:<a@source.test>", "250");
        client.says("RCPT TO:<b@corp.test>", "250");
        client.says("QUIT", "221");
    }
}

/// The same in segments: behind the 220 comes a handshake or nothing; what was injected breaks it.
#[test]
fn a_reply_injected_behind_the_220_in_a_segment_of_its_own_breaks_the_handshake() {
    let authority = Authority::new();
    let tls = Some(authority.certify(&["localhost"]).server_tls());
    let tape = Tape::start(Manners { chunking: false, tls });
    let postern = postern(&tape, &authority, "encrypt");
    tape.misbehave(
        Fault { at: At::StartTls, does: Deed::Then("250-tape.test\r\n250 XCLIENT ADDR\r\n") },
        usize::MAX,
    );
    let mut client = Client::greeted(postern.smtp(), None);
    client.says("MAIL FROM:<a@source.test>", "250");
    client.says("RCPT TO:<b@corp.test>", "451 4.4.1");
    client.says("QUIT", "221");
    assert_eq!(tape.taken(), []);
}
