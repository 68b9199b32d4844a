//! Servers and clients that misbehave on cue. Whatever one side does, the other gets the reply that belongs to its command;
//! a 250 means that somebody has the message; afterwards nothing is left behind.
#![allow(
    clippy::disallowed_methods,
    reason = "real peers take real time: nothing here runs under a simulated clock"
)]

use std::thread;
use std::time::Duration;

use postern_tests::ports;
use postern_tests::postern::{self, Options, Postern};
use postern_tests::scripted::Client;
use postern_tests::tape::{Manners, Standing, Tape};

mod clients;
mod servers;

/// Nothing that is waited for here takes this long.
const LIMIT: Duration = Duration::from_secs(20);

/// Postern before a server that can misbehave.
struct Bench {
    tape: Tape,
    postern: Postern,
    messages: usize,
}

impl Bench {
    fn start(manners: Manners, limits: &str) -> Self {
        let tape = Tape::start(manners);
        let config = postern::backend(&["corp.test"], tape.address(), "");
        let postern = Postern::start(&Options { config, limits: limits.into(), ..Options::default() });
        Self { tape, postern, messages: 0 }
    }

    /// A sender that no other message of the test has.
    fn sender(&mut self) -> String {
        self.messages += 1;
        format!("a{}@source.test", self.messages)
    }

    /// A client that said MAIL.
    fn client(&mut self) -> (Client, String) {
        let sender = self.sender();
        let mut client = Client::greeted(self.postern.smtp(), None);
        client.says(&format!("MAIL FROM:<{sender}>"), "250");
        (client, sender)
    }

    /// How often the server took the message of this sender.
    fn times_taken(&self, sender: &str) -> usize {
        self.tape.taken_from(&format!("<{sender}>")).iter().filter(|taken| taken.accepted).count()
    }

    /// A mail as any other goes through.
    fn expect_mail_passes(&mut self) {
        let (mut client, sender) = self.client();
        client.says("RCPT TO:<b@corp.test>", "250");
        client.says("DATA", "354");
        client.says("Subject: normal\r\n\r\ntext\r\n.", "250");
        client.says("QUIT", "221");
        assert_eq!(self.times_taken(&sender), 1);
    }

    /// No session is open, and no connection to the server but such as wait for the next message.
    fn expect_nothing_left(&self) {
        let none = ports::wait_until(LIMIT, || (self.open_sessions() == 0.0).then_some(()));
        assert!(none.is_some(), "{} sessions are left", self.open_sessions());
        let idle = ports::wait_until(LIMIT, || {
            let open = self.tape.open();
            (open.len() <= 2 && open.iter().all(|one| *one == Standing::Idle)).then_some(())
        });
        assert!(idle.is_some(), "connections to the server are left: {:?}", self.tape.open());
    }

    fn open_sessions(&self) -> f64 {
        self.postern.metric("postern_open_sessions")
    }
}

/// The identifier in a reply's last brackets.
fn trace_id(reply: &str) -> &str {
    reply.rsplit_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(id, _)| id)
}

fn pause(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}
