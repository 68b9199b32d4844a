//! Smuggling: content with an ending in it that some server somewhere takes for the end (law 2), by DATA and by BDAT, in
//! every chunking, to servers that are written to by DATA and by BDAT. Either the client is told why it is refused and no
//! server sees an octet, or the server sees one message with the octets that were sent. No second envelope, ever.
//!
//! The endings are those of the public tools: SMTP-Smuggling-Tools (7 inward, 9 outward, 10 in its older scanner),
//! smtpsmug (9, and the one that its `nullafter` was meant to be), and the 13 of smtp-smuggling-lab.
#![allow(
    clippy::disallowed_methods,
    reason = "real peers take real time: nothing here runs under a simulated clock"
)]

use std::thread;
use std::time::Duration;

use postern_tests::postern::{self, Options, Postern};
use postern_tests::scripted::Client;
use postern_tests::tape::{Manners, Tape};

const LIMIT: Duration = Duration::from_secs(30);
/// Between pieces, so that each is a segment of its own.
const PAUSE: Duration = Duration::from_micros(500);

/// What looks like the end of content and is none.
const FALSE_ENDINGS: [&[u8]; 27] = [
    b"\n.\n",
    b"\n.\r",
    b"\r.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\n\n.\r\n",
    b"\n\r\n.\n",
    b"\r\n\r.\r\n",
    b"\r\n\n.\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n\0.\n",
    b"\r\n\0.\r",
    b"\0\r\n.\n",
    b"\0\n.\r\n",
    b"\r\0\n.\r\n",
    b"\r\n.\r\0\n",
    b"\r\n.\n\r\n",
    b"\r\n.\n\n",
    b"\r\n.\r\r",
    b"\x85.\n",
    b"\n.\x85\n",
];

/// What may stand in content: with it the message passes as it is.
const HARMLESS: [&[u8]; 7] = [
    b"\r\n..\r\n",
    b"\r\n...\r\n",
    b"\r\n.. \r\n",
    b"\r\n..x\r\n",
    b"\r\n \r\n",
    b"\x85..\x85",
    b"\r\n\r\n..\r\n",
];

/// The message that must never be seen as one.
const SMUGGLED: &[u8] =
    b"MAIL FROM:<smuggled@evil.test>\r\nRCPT TO:<b@corp.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n";

const HEAD: &[u8] = b"From: <a@source.test>\r\nSubject: carrier\r\n\r\ntext";

struct Bench {
    tape: Tape,
    postern: Postern,
    messages: usize,
}

impl Bench {
    fn start(chunking: bool) -> Self {
        let tape = Tape::start(Manners { chunking, tls: None });
        let config = postern::backend(&["corp.test"], tape.address(), "");
        let postern = Postern::start(&Options { config, ..Options::default() });
        Self { tape, postern, messages: 0 }
    }

    /// A session in which DATA or BDAT comes next, and the sender by which its transaction is known.
    fn session(&mut self) -> (Client, String) {
        self.messages += 1;
        let sender = format!("a{}@source.test", self.messages);
        let mut client = Client::greeted(self.postern.smtp(), None);
        client.says(&format!("MAIL FROM:<{sender}>"), "250");
        client.says("RCPT TO:<b@corp.test>", "250");
        (client, sender)
    }

    /// One transaction without content, and none that was smuggled.
    fn expect_nothing(&self, sender: &str, case: &str) {
        let taken = self.tape.taken_from(&format!("<{sender}>"));
        assert!(taken.len() == 1 && taken[0].content.is_none(), "{case}: {taken:?}");
        self.expect_no_smuggled(case);
    }

    /// One transaction with this content under Postern's own field.
    fn expect_content(&self, sender: &str, content: &[u8], case: &str) {
        let taken = self.tape.taken_from(&format!("<{sender}>"));
        assert!(taken.len() == 1 && taken[0].accepted, "{case}: {taken:?}");
        let got = taken[0].content.clone().unwrap_or_default();
        let text = String::from_utf8_lossy(&got);
        assert!(got.ends_with(content), "{case}: {text:?}");
        let added = String::from_utf8_lossy(&got[..got.len() - content.len()]).into_owned();
        let fields: Vec<_> = added.split_inclusive("\r\n").collect();
        let folded = fields.iter().skip(1).all(|line| line.starts_with([' ', '\t']));
        assert!(added.starts_with("Received: ") && added.ends_with("\r\n") && folded, "{case}: {added:?}");
        self.expect_no_smuggled(case);
    }

    fn expect_no_smuggled(&self, case: &str) {
        assert_eq!(self.tape.taken_from("smuggled"), [], "{case}");
    }
}

/// Nothing of what was sent was taken for commands: the session is where it should be.
fn expect_in_step(client: &mut Client) {
    client.says("NOOP", "250 2.0.0 still here");
    client.says("QUIT", "221");
}

/// In one piece, octet by octet, and cut at every place in and around the ending.
fn chunkings(content: &[u8], from: usize, to: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new(), (from..=to).collect()];
    all.extend((from..=to.min(content.len() - 1)).map(|at| vec![at]));
    all
}

fn pieces<'a>(content: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([content.len()]);
    starts.zip(ends).map(|(start, end)| &content[start..end]).filter(|piece| !piece.is_empty()).collect()
}

fn carrier(ending: &[u8]) -> Vec<u8> {
    [HEAD, ending, SMUGGLED].concat()
}

fn send(client: &mut Client, pieces: &[&[u8]]) {
    for piece in pieces {
        client.write(piece).expect("a session that is open");
        thread::sleep(PAUSE);
    }
}

fn by_data(bench: &mut Bench, ending: &[u8], wanted: &str) {
    let content = carrier(ending);
    let whole = [&content[..], b".\r\n"].concat();
    for cuts in chunkings(&whole, HEAD.len(), HEAD.len() + ending.len()) {
        let case = format!("DATA, {:?}, {cuts:?}", ending.escape_ascii().to_string());
        let (mut client, sender) = bench.session();
        client.says("DATA", "354");
        send(&mut client, &pieces(&whole, &cuts));
        let reply = client.reply(LIMIT).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(reply.starts_with(wanted), "{case}: {reply}");
        expect_in_step(&mut client);
        if wanted.starts_with('5') {
            bench.expect_nothing(&sender, &case);
        } else {
            bench.expect_content(&sender, &unstuff(&content), &case);
        }
    }
}

/// By the letter of RFC 5321 §4.5.2.
fn unstuff(content: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut at_start = true;
    for (at, &octet) in content.iter().enumerate() {
        if !(at_start && octet == b'.') {
            plain.push(octet);
        }
        at_start = content[..=at].ends_with(b"\r\n");
    }
    plain
}

/// In one chunk that is cut on the wire, and in two chunks of its own.
fn by_chunks(bench: &mut Bench, ending: &[u8], wanted: &str) {
    let content = carrier(ending);
    for cuts in chunkings(&content, HEAD.len(), HEAD.len() + ending.len()) {
        for chunks in [&[][..], &cuts[..]] {
            let case = format!("BDAT, {:?}, {cuts:?}, {chunks:?}", ending.escape_ascii().to_string());
            let (mut client, sender) = bench.session();
            let parts = pieces(&content, chunks);
            for (at, part) in parts.iter().enumerate() {
                let last = if at + 1 == parts.len() { " LAST" } else { "" };
                client
                    .write(format!("BDAT {}{last}\r\n", part.len()).as_bytes())
                    .expect("a session that is open");
                let wire_cuts = if chunks.is_empty() { &cuts[..] } else { &[] };
                send(&mut client, &pieces(part, wire_cuts));
                client.hears(if last.is_empty() { "250" } else { wanted });
            }
            expect_in_step(&mut client);
            if wanted.starts_with('5') {
                bench.expect_nothing(&sender, &case);
            } else {
                bench.expect_content(&sender, &content, &case);
            }
        }
    }
}

fn false_endings_are_refused(chunking: bool) {
    let mut bench = Bench::start(chunking);
    for ending in FALSE_ENDINGS {
        by_data(&mut bench, ending, "550 5.5.2 the message holds a");
        by_chunks(&mut bench, ending, "550 5.5.2 the message holds a");
    }
}

#[test]
fn no_false_ending_reaches_a_server_that_is_written_to_by_data() {
    false_endings_are_refused(false);
}

#[test]
fn no_false_ending_reaches_a_server_that_is_written_to_by_bdat() {
    false_endings_are_refused(true);
}

#[test]
fn what_may_stand_in_content_arrives_as_it_was_sent() {
    for chunking in [false, true] {
        let mut bench = Bench::start(chunking);
        for harmless in HARMLESS {
            by_data(&mut bench, harmless, "250");
            by_chunks(&mut bench, harmless, "250");
        }
    }
}

/// In a chunk the true ending is content: a server that is written to by DATA must get it stuffed.
#[test]
fn the_true_ending_in_a_chunk_is_content() {
    for chunking in [false, true] {
        let mut bench = Bench::start(chunking);
        for ending in [&b"\r\n.\r\n"[..], b"\r\n.\r\n.\r\n", b"\r\n\r\n.\r\n", b"\r\n.QUIT\r\n"] {
            by_chunks(&mut bench, ending, "250");
        }
    }
}

/// The ending is the true one, and what stands before it spoils the message alone: what follows are commands, and the
/// client's own.
#[test]
fn what_spoils_the_true_ending_spoils_its_message_alone() {
    let mut bench = Bench::start(false);
    for ending in [&b"\0\r\n.\r\n"[..], b"\r\r\n.\r\n", b"\n\r\n.\r\n"] {
        let whole = [HEAD, ending].concat();
        for cuts in chunkings(&whole, HEAD.len(), whole.len() - 1) {
            let (mut client, sender) = bench.session();
            client.says("DATA", "354");
            send(&mut client, &pieces(&whole, &cuts));
            client.hears("550 5.5.2 the message holds a");
            expect_in_step(&mut client);
            bench.expect_nothing(&sender, &format!("{ending:?} {cuts:?}"));
        }
        by_chunks(&mut bench, ending, "550 5.5.2 the message holds a");
    }
}

/// The ending is the true one; the NUL behind it spoils the next command and with it the session, not the message.
#[test]
fn a_nul_behind_the_true_ending_ends_the_session() {
    let mut bench = Bench::start(false);
    let whole = carrier(b"\r\n.\r\n\0");
    for cuts in chunkings(&whole, HEAD.len(), HEAD.len() + 6) {
        let (mut client, sender) = bench.session();
        client.says("DATA", "354");
        // The session may be over before all is written.
        for piece in pieces(&whole, &cuts) {
            let _ = client.write(piece);
            thread::sleep(PAUSE);
        }
        client.hears("250");
        client.hears("500 5.5.2 a NUL");
        assert!(client.reply(LIMIT).is_err(), "{cuts:?}");
        bench.expect_content(&sender, &[HEAD, b"\r\n"].concat(), &format!("{cuts:?}"));
    }
}

/// The same endings where commands are read: a command that a lax server would see is none.
#[test]
fn a_false_line_end_between_commands_ends_the_session() {
    let bench = Bench::start(false);
    for broken in [
        "NOOP\nNOOP\r\n",
        "NOOP\rNOOP\r\n",
        "NOOP\0\r\n",
        "NOOP\r\r\n",
        "RSET\n",
        "MAIL FROM:<a@b.test>\nRCPT TO:<b@corp.test>\r\n",
    ] {
        let mut client = Client::greeted(bench.postern.smtp(), None);
        client.write(broken.as_bytes()).unwrap();
        client.hears("500 5.5.2 ");
        assert!(client.reply(LIMIT).is_err(), "{broken:?}");
    }
    assert_eq!(bench.tape.taken(), []);
}

/// Two whole messages in one segment are two messages: each with its own envelope, each with its own reply.
#[test]
fn pipelined_messages_stay_apart() {
    let mut bench = Bench::start(false);
    let (mut client, first) = bench.session();
    let second = "second@source.test";
    let everything = format!(
        "DATA\r\none\r\n.\r\nMAIL FROM:<{second}>\r\nRCPT TO:<b@corp.test>\r\nDATA\r\ntwo\r\n.\r\nQUIT\r\n"
    );
    client.write(everything.as_bytes()).unwrap();
    for wanted in ["354", "250", "250", "250", "354", "250", "221"] {
        client.hears(wanted);
    }
    bench.expect_content(&first, b"one\r\n", "the first");
    bench.expect_content(second, b"two\r\n", "the second");
}
