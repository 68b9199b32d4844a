//! Clients that misbehave.

use std::time::Duration;

use postern_tests::scripted::{Client, Step, say, say_bytewise};
use postern_tests::tape::Manners;

use super::{Bench, LIMIT, pause};

/// Long enough for a whole message, and for none that is endless.
const LIMITS: &str = "message_size = \"1MiB\"\n";

/// A whole session, as far as a client says it before it is gone.
const SESSION: [&str; 8] = [
    "EHLO client.test\r\n",
    "MAIL FROM:<half@source.test>\r\n",
    "RCPT TO:<b@corp.test>\r\n",
    "DATA\r\n",
    "Subject: x\r\n",
    "\r\ntext\r\n",
    ".\r\n",
    "QUIT\r\n",
];

fn bench() -> Bench {
    Bench::start(Manners::default(), LIMITS)
}

fn expect_all_is_well(bench: &mut Bench) {
    bench.expect_mail_passes();
    bench.expect_nothing_left();
}

/// The session is over: nothing more is said.
fn expect_closed(client: &mut Client) {
    let more = client.reply(LIMIT);
    assert!(more.is_err(), "{more:?}\n{}", client.text());
}

/// Says the first `count` steps, each after the answer to the one before.
fn begin(bench: &Bench, count: usize) -> Client {
    let mut client = Client::connect(bench.postern.smtp(), None);
    client.hears("220 ");
    for (at, line) in SESSION.iter().enumerate().take(count) {
        client.write(line.as_bytes()).expect("a session that is open");
        if !(4..6).contains(&at) {
            client.hears(if at == 3 { "354" } else { "2" });
        }
    }
    client
}

#[test]
fn a_client_that_goes_at_any_step_leaves_nothing_behind() {
    let mut bench = bench();
    for count in 0..=SESSION.len() {
        for end in [Step::Reset, Step::ShutdownWrite] {
            let mut client = begin(&bench, count);
            client.run(&[end]);
        }
        drop(begin(&bench, count));
    }
    bench.expect_nothing_left();
    let whole: Vec<_> = bench.tape.taken_from("half@").into_iter().filter(|taken| taken.accepted).collect();
    // Three ends, with and without QUIT. It is the same message each time: the one that comes after a reset is known
    // again from its receipt and not delivered a second time (DECISIONS 4).
    assert!((4..=6).contains(&whole.len()), "only what was ended with a dot was taken, not {}", whole.len());
    expect_all_is_well(&mut bench);
}

#[test]
fn a_client_that_closes_its_side_still_hears_all_its_replies() {
    let mut bench = bench();
    let mut client = Client::connect(bench.postern.smtp(), None);
    client.hears("220 ");
    client.run(&[say(&SESSION.concat()), Step::ShutdownWrite]);
    for wanted in ["250", "250", "250", "354", "250", "221"] {
        client.hears(wanted);
    }
    expect_closed(&mut client);
    expect_all_is_well(&mut bench);
}

#[test]
fn a_message_cut_off_by_a_half_close_is_not_delivered() {
    let mut bench = bench();
    let (mut client, sender) = bench.client();
    client.says("RCPT TO:<b@corp.test>", "250");
    client.says("DATA", "354");
    client.run(&[say("Subject: x\r\n\r\ntext\r\n."), Step::ShutdownWrite]);
    expect_closed(&mut client);
    assert_eq!(bench.times_taken(&sender), 0);
    expect_all_is_well(&mut bench);
}

#[test]
fn a_session_byte_by_byte_is_a_session() {
    let mut bench = bench();
    let mut client = Client::connect(bench.postern.smtp(), None);
    client.hears("220 ");
    client.run(&[say_bytewise(&SESSION.concat(), Duration::from_micros(200))]);
    for wanted in ["250", "250", "250", "354", "250", "221"] {
        client.hears(wanted);
    }
    expect_all_is_well(&mut bench);
}

#[test]
fn commands_out_of_order_are_refused_one_by_one() {
    let mut bench = bench();
    let mut client = Client::connect(bench.postern.smtp(), None);
    client.hears("220 ");
    for (command, wanted) in [
        ("MAIL FROM:<a@source.test>", "503 5.5.1"),
        ("EHLO client.test", "250"),
        ("RCPT TO:<b@corp.test>", "503 5.5.1"),
        ("DATA", "503 5.5.1"),
        ("BDAT 0 LAST", "503 5.5.1"),
        (".", "500 5.5.1"),
        ("AUTH PLAIN AGEAYg==", "503 5.5.1"),
        ("MAIL FROM:<a@source.test>", "250"),
        ("MAIL FROM:<b@source.test>", "503 5.5.1"),
        ("DATA", "554 5.5.1"),
        ("STARTTLS", "503 5.5.1"),
        ("RCPT TO:<x%elsewhere.test@corp.test>", "550 5.7.1"),
        ("DATA", "554 5.5.1"),
        ("EHLO again.test", "250"),
        ("RCPT TO:<b@corp.test>", "503 5.5.1"),
        ("XCLIENT ADDR=127.0.0.1", "500 5.5.1"),
        ("QUIT", "221"),
    ] {
        client.says(command, wanted);
    }
    expect_all_is_well(&mut bench);
}

/// RFC 5321 §4.5.3.1.10: a recipient too many is refused for now, the others stay.
#[test]
fn ten_thousand_recipients_are_answered_each() {
    let mut bench = bench();
    let (mut client, sender) = bench.client();
    let commands: String = (0..10_000).map(|number| format!("RCPT TO:<b{number}@corp.test>\r\n")).collect();
    for (at, batch) in commands.as_bytes().chunks(16 * 1024).enumerate() {
        client.write(batch).unwrap_or_else(|error| panic!("batch {at}: {error}\n{}", client.text()));
        let whole = batch.iter().filter(|&&octet| octet == b'\n').count();
        for _ in 0..whole {
            let reply = client.reply(LIMIT).unwrap_or_else(|error| panic!("{error}\n{}", client.text()));
            assert!(reply.starts_with("250") || reply.starts_with("452 4.5.3"), "{reply}");
        }
    }
    client.says("DATA", "354");
    client.says("x\r\n.", "250");
    client.says("QUIT", "221");
    assert_eq!(client.text().matches("\r\n250 2.1.5").count(), 1000);
    let taken = bench.tape.taken_from(&format!("<{sender}>"));
    assert_eq!((taken.len(), taken[0].recipients.len()), (1, 1000));
    expect_all_is_well(&mut bench);
}

#[test]
fn a_client_without_purpose_is_sent_away() {
    let mut bench = bench();
    for command in ["NOOP", "RSET", "VRFY b", "HELP", "EHLO again.test", "NONSENSE", "RCPT TO:<b@corp.test>"]
    {
        let mut client = Client::greeted(bench.postern.smtp(), None);
        let sent = (0..300).find(|_| client.command(command).map_or(true, |reply| reply.starts_with("421")));
        assert!(sent.is_some_and(|count| count <= 101), "{command}: {sent:?}\n{}", client.text());
        expect_closed(&mut client);
    }
    expect_all_is_well(&mut bench);
}

#[test]
fn an_endless_line_ends_the_session() {
    let mut bench = bench();
    let mut client = Client::greeted(bench.postern.smtp(), None);
    let _ = client.write(&[b'A'; 64 * 1024]);
    client.hears("500 5.5.2 a line that is too long");
    expect_closed(&mut client);
    expect_all_is_well(&mut bench);
}

/// A header without an end, and a line without an end in it: read to the end and refused for its size.
#[test]
fn endless_headers_are_refused_for_their_size() {
    let mut bench = bench();
    for line in [
        &b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"[..],
        b"aaaaaaaaaaaaaaaa",
    ] {
        let (mut client, sender) = bench.client();
        client.says("RCPT TO:<b@corp.test>", "250");
        client.says("DATA", "354");
        let piece = line.repeat(1024);
        for _ in 0..(3 << 20) / piece.len() {
            client.write(&piece).unwrap();
        }
        client.says("\r\n.", "552 5.3.4");
        client.says("QUIT", "221");
        assert_eq!(bench.times_taken(&sender), 0);
    }
    expect_all_is_well(&mut bench);
}

#[test]
fn what_is_not_smtp_is_told_so_and_closed() {
    let mut bench = bench();
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 502]].concat();
    for (bytes, wanted) in [
        (&b"POST / HTTP/1.1\r\nHost: mx.postern.test\r\nContent-Length: 29\r\n\r\nMAIL FROM:<a@source.test>\r\n"[..], "554 5.5.1"),
        (b"GET / HTTP/1.0\r\n\r\n", "554 5.5.1"),
        (&hello, "500 5.5.2"),
        (b"\0\0\0\0\r\n", "500 5.5.2"),
        (b"\n\n", "500 5.5.2"),
    ] {
        let mut client = Client::connect(bench.postern.smtp(), None);
        client.hears("220 ");
        client.write(bytes).unwrap();
        client.hears(wanted);
        expect_closed(&mut client);
    }
    assert_eq!(bench.tape.taken(), []);
    expect_all_is_well(&mut bench);
}

#[test]
fn who_speaks_before_the_greeting_is_sent_away() {
    let mut bench = Bench::start(Manners::default(), "pregreet = \"1s\"\n");
    let mut client = Client::connect(bench.postern.smtp(), None);
    client.write(b"EHLO early.test\r\n").unwrap();
    client.hears("554 5.5.1");
    expect_closed(&mut client);
    expect_all_is_well(&mut bench);
}

/// What follows BDAT are octets, whatever becomes of the command (RFC 3030 §2): none of them is a command.
#[test]
fn the_octets_of_a_refused_chunk_are_skipped() {
    let mut bench = bench();
    let octets = "RSET\r\nQUIT\r\n";
    let mut client = Client::greeted(bench.postern.smtp(), None);
    client.says(&format!("BDAT {}\r\n{}", octets.len(), &octets[..octets.len() - 2]), "503 5.5.1");
    let sender = bench.sender();
    client.says(&format!("MAIL FROM:<{sender}>"), "250");
    client.says("RCPT TO:<x%elsewhere.test@corp.test>", "550 5.7.1");
    client
        .write(
            format!("BDAT {}\r\n{octets}BDAT {} LAST\r\n{octets}NOOP\r\n", octets.len(), octets.len())
                .as_bytes(),
        )
        .unwrap();
    for wanted in ["554 5.5.1", "554 5.5.1", "250 2.0.0 still here"] {
        client.hears(wanted);
    }
    client.says("QUIT", "221");
    assert_eq!(bench.times_taken(&sender), 0);
    expect_all_is_well(&mut bench);
}

#[test]
fn a_chunk_of_the_wrong_size_is_no_message() {
    let mut bench = bench();
    for (size, octets) in
        [("4294967296 LAST", "a few"), ("18446744073709551615 LAST", "a few"), ("100 LAST", "fewer")]
    {
        let (mut client, sender) = bench.client();
        client.says("RCPT TO:<b@corp.test>", "250");
        client.write(format!("BDAT {size}\r\n{octets}").as_bytes()).unwrap();
        assert!(client.reply(Duration::from_millis(100)).is_err(), "{size}");
        client.run(&[Step::ShutdownWrite]);
        assert!(!client.text().ends_with("250 2.0.0 taken\r\n"), "{size}: {}", client.text());
        pause(50);
        assert_eq!(bench.times_taken(&sender), 0);
    }
    for size in ["18446744073709551616 LAST", "-1", "0x10", "1 FIRST", "", "+5 LAST", "5 LAST LAST"] {
        let (mut client, sender) = bench.client();
        client.says("RCPT TO:<b@corp.test>", "250");
        client.says(&format!("BDAT {size}"), "501 5.5.4");
        client.says("QUIT", "221");
        assert_eq!(bench.times_taken(&sender), 0);
    }
    expect_all_is_well(&mut bench);
}

/// A chunk that is too large is read to its end before it is refused: the client is in the middle of it.
#[test]
fn a_chunk_over_the_limit_is_refused_at_its_end() {
    let mut bench = bench();
    let (mut client, sender) = bench.client();
    client.says("RCPT TO:<b@corp.test>", "250");
    client.write(format!("BDAT {} LAST\r\n", 2 << 20).as_bytes()).unwrap();
    for _ in 0..32 {
        client.write(&[b'a'; 64 * 1024]).unwrap();
    }
    client.hears("552 5.3.4");
    client.says("NOOP", "250");
    client.says("QUIT", "221");
    assert_eq!(bench.times_taken(&sender), 0);
    expect_all_is_well(&mut bench);
}

/// Between chunks only BDAT, RSET and what ends things has a place; the message is not mixed with another.
#[test]
fn chunks_and_data_do_not_mix() {
    let mut bench = bench();
    let (mut client, sender) = bench.client();
    client.says("RCPT TO:<b@corp.test>", "250");
    client.says("BDAT 5\r\none", "250");
    client.says("DATA", "503 5.5.1");
    client.says("MAIL FROM:<other@source.test>", "503 5.5.1");
    client.says("RCPT TO:<c@corp.test>", "503 5.5.1");
    client.says("RSET", "250");
    client.says("BDAT 3 LAST\r\nx", "503 5.5.1");
    client.says("QUIT", "221");
    assert_eq!(bench.times_taken(&sender), 0);
    expect_all_is_well(&mut bench);
}

/// A client that never reads its replies is not answered without end: its commands wait in the network.
#[test]
fn a_client_that_reads_nothing_costs_no_memory() {
    let mut bench = bench();
    let mut client = Client::greeted(bench.postern.smtp(), None);
    let commands = "VRFY someone\r\n".repeat(90);
    client.write(commands.as_bytes()).unwrap();
    pause(100);
    client.run(&[Step::Reset]);
    expect_all_is_well(&mut bench);
}
