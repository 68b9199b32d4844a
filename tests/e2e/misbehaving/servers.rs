//! Servers that misbehave.

use std::time::Duration;

use postern_tests::certificate::Authority;
use postern_tests::scripted::Client;
use postern_tests::tape::{At, Deed, Fault, Manners};

use super::{Bench, trace_id};
use At::{Content, Data, Dot, Ehlo, Greeting, Mail, Quit, Rcpt, StartTls};
use Deed::{Add, Bytewise, Delay, Drop, Reset, Say};

/// What becomes of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The server took it once, and the client got 250.
    Delivered,
    /// Nobody took it, it is on disk, and the client got 250.
    Kept,
    /// The client got this in answer to RCPT.
    NotNamed(&'static str),
    /// The client got this in answer to the content, and the server did not say 250 to it.
    NotTaken(&'static str),
}
use Fate::{Delivered, Kept, NotNamed, NotTaken};

/// Whether the connection is good for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    /// The server kept to the protocol.
    Sound,
    /// It did not: nothing may be said on it any more but QUIT.
    Spoiled,
}
use Connection::{Sound, Spoiled};

/// All connections misbehave.
const ALWAYS: usize = usize::MAX;

type Case = (At, Deed, usize, Fate, Connection);

const SECOND: Duration = Duration::from_secs(1);
const GARBAGE: Deed = Say("\u{0}\u{1}!?\r\n");
const NO_CODE: Deed = Say("hello there\r\n");
const CLOSING: Deed = Say("421 4.3.2 shutting down\r\n");
const LATER: Deed = Say("451 4.3.0 not now\r\n");
const NEVER: Deed = Say("554 5.7.0 never\r\n");
const TWO_CODES: Deed = Say("250-one\r\n550 other\r\n");

/// Until MAIL nothing can be kept: the client is told at RCPT.
const BEFORE_MAIL: [Case; 20] = [
    (Greeting, Drop, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Greeting, Reset, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Greeting, CLOSING, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Greeting, LATER, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Greeting, NEVER, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Greeting, GARBAGE, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Greeting, NO_CODE, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Greeting, TWO_CODES, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Greeting, Say("354 go ahead\r\n"), ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Greeting, Add("250 early\r\n"), ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Greeting, Bytewise, ALWAYS, Delivered, Sound),
    (Greeting, Delay(SECOND), ALWAYS, Delivered, Sound),
    (Ehlo, Drop, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Ehlo, CLOSING, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Ehlo, LATER, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Ehlo, Say("354 go ahead\r\n"), ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Ehlo, TWO_CODES, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Ehlo, Add("250 early\r\n"), ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Ehlo, Bytewise, ALWAYS, Delivered, Sound),
    (Ehlo, Delay(SECOND), ALWAYS, Delivered, Sound),
];

const ENVELOPE: [Case; 24] = [
    (Mail, Drop, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Mail, Reset, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Mail, CLOSING, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Mail, GARBAGE, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Mail, TWO_CODES, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Mail, Say("354 go ahead\r\n"), ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Mail, LATER, ALWAYS, NotNamed("451 4.3.0 not now"), Sound),
    (Mail, NEVER, ALWAYS, NotNamed("554 5.7.0 never"), Sound),
    (Mail, Bytewise, ALWAYS, Delivered, Sound),
    (Mail, Delay(SECOND), ALWAYS, Delivered, Sound),
    // The reply too many answers RCPT, the right one answers nothing: the envelope is said again elsewhere.
    (Mail, Add("250 2.1.5 early\r\n"), 1, Delivered, Spoiled),
    (Rcpt, Drop, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Rcpt, Reset, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Rcpt, CLOSING, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Rcpt, GARBAGE, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Rcpt, NO_CODE, ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Rcpt, Say("354 go ahead\r\n"), ALWAYS, NotNamed("451 4.4.1"), Spoiled),
    (Rcpt, LATER, ALWAYS, NotNamed("451 4.3.0 not now"), Sound),
    (Rcpt, NEVER, ALWAYS, NotNamed("554 5.7.0 never"), Sound),
    (Rcpt, Bytewise, ALWAYS, Delivered, Sound),
    (Rcpt, Delay(SECOND), ALWAYS, Delivered, Sound),
    (Rcpt, Add("250 2.1.5 again\r\n"), 1, Delivered, Spoiled),
    (Rcpt, Add("354 go ahead\r\n"), 1, Delivered, Spoiled),
    (Rcpt, Add("421 4.3.2 bye\r\n"), 1, Delivered, Spoiled),
];

/// A server that was not given the whole message cannot have it: it is given it again, and kept if that fails too.
const GO_AHEAD: [Case; 15] = [
    (Data, Drop, 1, Delivered, Spoiled),
    (Data, Reset, 1, Delivered, Spoiled),
    (Data, Drop, ALWAYS, Kept, Spoiled),
    (Data, CLOSING, 1, Delivered, Spoiled),
    (Data, CLOSING, ALWAYS, Kept, Spoiled),
    (Data, GARBAGE, 1, Delivered, Spoiled),
    (Data, GARBAGE, ALWAYS, Kept, Spoiled),
    (Data, TWO_CODES, ALWAYS, Kept, Spoiled),
    (Data, Say("250 2.0.0 taken\r\n"), ALWAYS, Kept, Spoiled),
    (Data, LATER, ALWAYS, NotTaken("451 4.3.0 not now"), Sound),
    (Data, NEVER, ALWAYS, NotTaken("554 5.7.0 never"), Sound),
    (Data, Bytewise, ALWAYS, Delivered, Sound),
    (Data, Delay(SECOND), ALWAYS, Delivered, Sound),
    (Data, Add("250 2.0.0 taken\r\n"), 1, Delivered, Spoiled),
    (Data, Add("250 2.0.0 taken\r\n"), ALWAYS, Kept, Spoiled),
];

/// Once all is written nobody knows whether the server has it: the client keeps it.
const CONTENT: [Case; 17] = [
    (Content, Drop, ALWAYS, NotTaken("451 4.4.2"), Spoiled),
    (Content, Reset, ALWAYS, NotTaken("451 4.4.2"), Spoiled),
    (Content, CLOSING, ALWAYS, NotTaken("451 4.4.2"), Spoiled),
    (Content, LATER, ALWAYS, NotTaken("451 4.3.0 not now"), Sound),
    (Dot, Drop, ALWAYS, NotTaken("451 4.4.2"), Spoiled),
    (Dot, Reset, ALWAYS, NotTaken("451 4.4.2"), Spoiled),
    (Dot, CLOSING, ALWAYS, NotTaken("451 4.4.2"), Spoiled),
    (Dot, GARBAGE, ALWAYS, NotTaken("451 4.4.2"), Spoiled),
    (Dot, TWO_CODES, ALWAYS, NotTaken("451 4.4.2"), Spoiled),
    (Dot, Say("354 more\r\n"), ALWAYS, NotTaken("451 4.4.2"), Spoiled),
    (Dot, LATER, ALWAYS, NotTaken("451 4.3.0 not now"), Sound),
    (Dot, NEVER, ALWAYS, NotTaken("554 5.7.0 never"), Sound),
    (Dot, Bytewise, ALWAYS, Delivered, Sound),
    (Dot, Delay(SECOND), ALWAYS, Delivered, Sound),
    (Dot, Add("250 2.0.0 again\r\n"), ALWAYS, Delivered, Spoiled),
    (Dot, Add("554 5.7.0 or not\r\n"), ALWAYS, Delivered, Spoiled),
    (Quit, GARBAGE, ALWAYS, Delivered, Sound),
];

/// One mail, command by command; the replies to RCPT and, if that was not refused, to the content.
fn converse(client: &mut Client, recipient: &str) -> (String, Option<String>) {
    let named = client
        .command(&format!("RCPT TO:<{recipient}>"))
        .unwrap_or_else(|error| panic!("{error}\n{}", client.text()));
    let taken = named.starts_with("250").then(|| {
        client.says("DATA", "354");
        client
            .command("Subject: x\r\n\r\n.text\r\n.")
            .unwrap_or_else(|error| panic!("{error}\n{}", client.text()))
    });
    client.says("NOOP", "250 2.0.0 still here");
    client.says("QUIT", "221");
    (named, taken)
}

fn try_case(bench: &mut Bench, case: &Case) {
    let &(at, does, times, fate, connection) = case;
    bench.tape.misbehave(Fault { at, does }, times);
    let (mut client, sender) = bench.client();
    // Who is known is accepted for without the server: of those it is told elsewhere.
    let recipient = if matches!(fate, NotNamed("451 4.4.1")) { "stranger@corp.test" } else { "b@corp.test" };
    let (named, taken) = converse(&mut client, recipient);
    let told = format!("{case:?}\n{named}{}", taken.as_deref().unwrap_or_default());
    match fate {
        NotNamed(reply) => assert!(named.starts_with(reply), "{told}"),
        NotTaken(reply) => assert!(taken.is_some_and(|taken| taken.starts_with(reply)), "{told}"),
        Delivered => assert!(taken.is_some_and(|taken| taken.starts_with("250")), "{told}"),
        Kept => expect_kept(bench, &taken.unwrap_or_default(), &told),
    }
    let times_taken = usize::from(fate == Delivered);
    assert_eq!(bench.times_taken(&sender), times_taken, "{told}{:#?}", bench.tape.taken_from(&sender));
    // The next session would take the connection out of the pool.
    bench.tape.behave();
    if connection == Spoiled {
        bench.expect_mail_passes();
        expect_nothing_after(bench, at, &told);
    }
}

fn expect_kept(bench: &Bench, reply: &str, told: &str) {
    assert!(reply.starts_with("250"), "{told}");
    let trace = bench.postern.ask(&["trace", "--id", trace_id(reply)]);
    assert!(trace.output.contains("queue"), "{told}{}", trace.output);
}

/// RCPT goes out in one segment with MAIL, and content with BDAT: they were said before the answer was there.
fn expect_nothing_after(bench: &Bench, at: At, told: &str) {
    let said = bench.tape.said_after_fault();
    let late = said.iter().find(|line| at != Mail || !line.starts_with("RCPT"));
    assert!(late.is_none(), "{told}{said:?}");
}

fn try_all(chunking: bool, cases: &[Case]) {
    let mut bench = Bench::start(Manners { chunking, tls: None }, "");
    bench.expect_mail_passes();
    for case in cases {
        try_case(&mut bench, case);
    }
    bench.expect_mail_passes();
    bench.expect_nothing_left();
}

#[test]
fn a_server_that_misbehaves_before_mail_costs_a_451_at_rcpt() {
    try_all(false, &BEFORE_MAIL);
}

#[test]
fn a_server_that_misbehaves_in_the_envelope_is_left() {
    try_all(false, &ENVELOPE);
}

#[test]
fn a_server_that_misbehaves_at_data_is_asked_again_and_then_done_without() {
    try_all(false, &GO_AHEAD);
}

#[test]
fn a_server_that_misbehaves_after_the_content_is_believed_nothing() {
    for chunking in [false, true] {
        try_all(chunking, &CONTENT);
    }
}

#[test]
fn a_server_that_misbehaves_at_starttls_is_not_used() {
    let authority = Authority::new();
    let tls = Some(authority.certify(&["localhost"]).server_tls());
    let mut bench = Bench::start(Manners { chunking: false, tls }, "");
    let refused = NotNamed("451 4.4.1");
    let cases = [
        (StartTls, Drop, ALWAYS, refused, Spoiled),
        (StartTls, Reset, ALWAYS, refused, Spoiled),
        (StartTls, CLOSING, ALWAYS, refused, Spoiled),
        (StartTls, GARBAGE, ALWAYS, refused, Spoiled),
        (StartTls, TWO_CODES, ALWAYS, refused, Spoiled),
        (StartTls, Say("454 4.7.0 no TLS now\r\n"), ALWAYS, Delivered, Sound),
        (StartTls, Bytewise, ALWAYS, Delivered, Sound),
        (StartTls, Delay(SECOND), ALWAYS, Delivered, Sound),
    ];
    for case in &cases {
        try_case(&mut bench, case);
    }
    bench.expect_nothing_left();
}

/// While one server is silent, replies keep their order: what was pipelined behind is answered behind.
#[test]
fn pipelined_commands_wait_for_a_slow_server_in_order() {
    let mut bench = Bench::start(Manners::default(), "");
    bench.tape.misbehave(Fault { at: Rcpt, does: Delay(SECOND) }, ALWAYS);
    let (mut client, sender) = bench.client();
    client.write(b"RCPT TO:<b@corp.test>\r\nRCPT TO:<c%elsewhere.test@corp.test>\r\nNOOP\r\nDATA\r\nx\r\n.\r\nVRFY b\r\nQUIT\r\n").unwrap();
    for wanted in ["250 2.1.5", "550 5.7.1", "250 2.0.0 still", "354", "250 2.0.0 taken", "252", "221"] {
        client.hears(wanted);
    }
    assert_eq!(bench.times_taken(&sender), 1);
    bench.expect_nothing_left();
}

/// Half a reply is none: what the client then does is up to it, and it is heard.
#[test]
fn a_client_that_leaves_a_silent_server_leaves_nothing_behind() {
    let mut bench = Bench::start(Manners::default(), "");
    for at in [Rcpt, Data, Dot] {
        bench.tape.misbehave(Fault { at, does: Say("25") }, ALWAYS);
        let (mut client, sender) = bench.client();
        client.write(b"RCPT TO:<b@corp.test>\r\nDATA\r\nx\r\n.\r\n").unwrap();
        if at != Rcpt {
            client.hears("250");
            client.hears("354");
        }
        assert!(client.reply(Duration::from_millis(300)).is_err(), "{at:?}");
        assert_eq!(bench.times_taken(&sender), 0);
        client.run(&[postern_tests::scripted::Step::Reset]);
        // The server gives up: whatever the session still waited for is over.
        bench.tape.behave();
        bench.tape.hang_up();
        bench.expect_nothing_left();
    }
    bench.expect_mail_passes();
}
