//! Exchange, Domino and GroupWise as hidden servers: mail goes through with what each offers, and their habits stay theirs.

use std::time::Duration;

use postern_tests::certificate::Authority;
use postern_tests::personalities::{DOMINO, EXCHANGE, EXCHANGE_DELAYED, EXCHANGE_OTHER_SOURCE, GROUPWISE};
use postern_tests::postern::{self, Options, Postern};
use postern_tests::scripted::{Client, PATIENCE, Personality, Server, Step};

/// Words of EHLO that are these servers' own business.
const NOT_PASSED_ON: [&str; 9] =
    ["X-", "XEXCH50", "XRDST", "XSHADOWREQUEST", "NTLM", "GSSAPI", "AUTH", "HELP", "TLS\r\n250-HELP"];

fn hidden(personality: Personality) -> (Server, Postern, Authority) {
    let authority = Authority::new();
    let certificate = authority.certify(&["localhost"]);
    let server = Server::with_personality(personality, Some(certificate.server_tls()));
    let config = postern::backend(&["corp.test"], server.address(), "tls = \"encrypt\"");
    let options = Options { config, certificate: Some(certificate), ..Options::default() };
    let postern = Postern::start(&options);
    (server, postern, authority)
}

fn secured(postern: &Postern, authority: &Authority) -> (Client, String) {
    let mut client = Client::greeted(postern.smtp(), Some(authority.client_tls("localhost")));
    client.says("STARTTLS", "220");
    client.run(&[Step::Tls]);
    let offer = client.says("EHLO client.test", "250");
    (client, offer)
}

fn send(client: &mut Client, sender: &str) -> String {
    client.says(&format!("MAIL FROM:<{sender}>"), "250");
    client.says("RCPT TO:<b@corp.test>", "250");
    client.says("DATA", "354");
    client.says("Subject: x\r\n\r\n.a line\r\n.", "250")
}

/// The connections that carried mail, once Postern has hung up.
fn transcripts(server: &Server, postern: Postern) -> Vec<String> {
    drop(postern);
    let all = server.wait_for(server.accepted(), PATIENCE);
    all.iter()
        .map(postern_tests::scripted::Outcome::text)
        .filter(|text| text.contains("DATA\r\n") || text.contains("BDAT "))
        .collect()
}

fn mail_goes_through(personality: Personality, offered: &[&str], not_offered: &[&str]) {
    let (server, postern, authority) = hidden(personality.clone());
    let (mut client, offer) = secured(&postern, &authority);
    for word in offered {
        assert!(offer.contains(word), "{}: {word} is missing in {offer}", personality.name);
    }
    for word in NOT_PASSED_ON.iter().chain(not_offered) {
        assert!(!offer.contains(word), "{}: {word} is in {offer}", personality.name);
    }
    let reply = send(&mut client, "a@source.test");
    let words = personality.accepted.trim_end().rsplit_once(' ').map_or("", |(_, last)| last);
    assert!(reply.contains(words), "{}: {reply}", personality.name);
    client.says("X-EXPS GSSAPI", "500 5.5.1");
    client.says("XEXCH50 2 2", "500 5.5.1");
    client.says("QUIT", "221");
    let carried = transcripts(&server, postern);
    assert_eq!(carried.len(), 1, "{}: {carried:?}", personality.name);
    let chunked = personality.ehlo_tls.contains("CHUNKING");
    assert_eq!(carried[0].contains("BDAT "), chunked, "{}: {}", personality.name, carried[0]);
    assert!(!carried[0].contains("X-EXPS") && !carried[0].contains("XEXCH50"), "{}", carried[0]);
}

#[test]
fn mail_goes_through_to_exchange() {
    mail_goes_through(
        EXCHANGE,
        &["PIPELINING", "DSN", "SMTPUTF8", "BINARYMIME", "8BITMIME", "SIZE 37740544"],
        &[],
    );
}

#[test]
fn mail_goes_through_to_exchange_that_offers_less_by_source() {
    mail_goes_through(EXCHANGE_OTHER_SOURCE, &["CHUNKING", "DSN", "8BITMIME"], &["BINARYMIME", "SMTPUTF8"]);
}

#[test]
fn mail_goes_through_to_domino() {
    mail_goes_through(DOMINO, &["CHUNKING", "DSN", "SIZE 20471808"], &["SMTPUTF8", "8BITMIME", "BINARYMIME"]);
}

#[test]
fn mail_goes_through_to_groupwise() {
    mail_goes_through(GROUPWISE, &["PIPELINING", "8BITMIME", "DSN"], &["SMTPUTF8", "BINARYMIME"]);
}

/// Exchange looks recipients up after the dot: its 250 to each is passed on as it is, and so is what it says then.
#[test]
fn an_unknown_recipient_is_refused_where_the_server_refuses_it() {
    for (personality, wanted) in
        [(EXCHANGE, "250 2.1.5"), (DOMINO, "550 nobody@corp.test"), (GROUPWISE, "550 No such")]
    {
        let (_server, postern, authority) = hidden(personality);
        let (mut client, _) = secured(&postern, &authority);
        client.says("MAIL FROM:<a@source.test>", "250");
        client.says("RCPT TO:<nobody@corp.test>", wanted);
        client.says("RCPT TO:<b@corp.test>", "250");
        client.says("QUIT", "221");
    }
}

/// Shadow redundancy: the answer to the dot comes late, and comes; nothing is sent twice meanwhile.
#[test]
fn an_answer_that_takes_its_time_is_waited_for() {
    let slow = Personality { thinks: Duration::from_secs(4), ..EXCHANGE_DELAYED };
    let (server, postern, authority) = hidden(slow);
    let (mut client, _) = secured(&postern, &authority);
    send(&mut client, "a@source.test");
    client.says("QUIT", "221");
    assert_eq!(transcripts(&server, postern).len(), 1);
}

/// A server that closes idle connections takes its farewell while a client thinks: the mail goes over a new one.
#[test]
fn a_connection_that_the_server_closed_for_idleness_is_replaced() {
    let impatient = Personality { idle: (Duration::from_secs(1), EXCHANGE.idle.1), ..EXCHANGE };
    let (server, postern, authority) = hidden(impatient);
    let (mut client, _) = secured(&postern, &authority);
    client.says("MAIL FROM:<a@source.test>", "250");
    client.says("RCPT TO:<b@corp.test>", "250");
    client.says("DATA", "354");
    client.run(&[Step::Wait(Duration::from_secs(2))]);
    client.says("Subject: x\r\n\r\nlate\r\n.", "250");
    // The next one finds a connection in the pool that has gone meanwhile, too.
    client.run(&[Step::Wait(Duration::from_secs(2))]);
    send(&mut client, "b@source.test");
    client.says("QUIT", "221");
    let carried = transcripts(&server, postern);
    let content = carried.iter().filter(|text| text.contains("BDAT ")).count();
    assert_eq!(content, 2, "{carried:?}");
}
