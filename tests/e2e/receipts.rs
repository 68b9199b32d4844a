//! DECISIONS 4: a server takes a message, and the client is gone before it can be told. Its next try gets the 250, and the
//! message is not delivered a second time.
#![allow(
    clippy::disallowed_methods,
    reason = "real peers take real time: nothing here runs under a simulated clock"
)]

use std::time::Duration;

use postern_tests::ports;
use postern_tests::postern::{self, Options, Postern};
use postern_tests::scripted::{Client, Step};
use postern_tests::tape::{At, Deed, Fault, Manners, Tape};

const LIMIT: Duration = Duration::from_secs(20);
const CONTENT: &str = "Message-ID: <once@sender.test>\r\nSubject: once\r\n\r\ntext\r\n.\r\n";

fn send(client: &mut Client, to: &str) {
    client.says("MAIL FROM:<a@sender.test>", "250");
    client.says(&format!("RCPT TO:<{to}@corp.test>"), "250");
    client.says("DATA", "354");
    client.write(CONTENT.as_bytes()).expect("the content is written");
}

/// Waits until the server has said 250 this often.
fn accepted(tape: &Tape, times: usize) {
    let enough = || (tape.taken().iter().filter(|taken| taken.accepted).count() >= times).then_some(());
    ports::wait_until(LIMIT, enough).expect("the server takes it");
}

#[test]
fn a_message_whose_250_could_not_be_written_is_not_delivered_again() {
    let tape = Tape::start(Manners::default());
    let config = postern::backend(&["corp.test"], tape.address(), "tls = \"off\"");
    let postern = Postern::start(&Options { config, ..Options::default() });

    tape.misbehave(Fault { at: At::Dot, does: Deed::Delay(Duration::from_secs(1)) }, 1);
    let mut client = Client::greeted(postern.smtp(), None);
    send(&mut client, "b");
    client.run(&[Step::Reset]);
    accepted(&tape, 1);
    ports::wait_until(LIMIT, || (postern.metric("postern_open_sessions") < 0.5).then_some(())).unwrap();
    std::thread::sleep(Duration::from_millis(200));

    let mut again = Client::greeted(postern.smtp(), None);
    send(&mut again, "b");
    again.hears("250");
    assert_eq!(tape.taken().iter().filter(|taken| taken.accepted).count(), 1, "delivered once");

    send(&mut again, "c");
    again.hears("250");
    accepted(&tape, 2);
    send(&mut again, "b");
    again.hears("250");
    // The receipt was for one try: a third copy is a new message.
    accepted(&tape, 3);
    again.says("QUIT", "221");
}
