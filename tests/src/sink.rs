//! Postfix's test programs: smtp-sink, which takes everything and keeps nothing, and smtp-source, which makes load.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::child::{self, Child, Ended};
use crate::ports;
use crate::scratch::Scratch;

/// A running smtp-sink.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    _process: Child,
    _scratch: Scratch,
}

impl Sink {
    /// Starts one; `arguments` are smtp-sink's, e.g. `-8` (no 8BITMIME), `-p` (no PIPELINING), `-w 3` (delay of DATA).
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(arguments: &[&str]) -> Self {
        let scratch = Scratch::new("sink");
        let address = ports::free();
        let mut command =
            Command::new(crate::needs::program("smtp-sink").unwrap_or_else(|| "smtp-sink".into()));
        if nix::unistd::geteuid().is_root() {
            command.args(["-u", "nobody"]);
        }
        command.args(arguments).arg(address.to_string()).arg("1000");
        let mut process = Child::spawn("smtp-sink", &command, &scratch.join("output"));
        process.expect_listening(address);
        Self { address, _process: process, _scratch: scratch }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// How much [`load`] sends.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Messages in all.
    pub messages: u32,
    /// Sessions at a time.
    pub sessions: u32,
    /// Size of one message in bytes.
    pub size: u32,
    /// Keep connections (`smtp-source -d`) instead of one a message.
    pub keep: bool,
}

/// Sends messages from a@source.test to b@bench.test and waits for the end; it fails if any was not accepted.
pub fn load(address: SocketAddr, load: Load, limit: Duration) -> Ended {
    let mut command =
        Command::new(crate::needs::program("smtp-source").unwrap_or_else(|| "smtp-source".into()));
    if load.keep {
        command.arg("-d");
    }
    command
        .args([
            "-m",
            &load.messages.to_string(),
            "-s",
            &load.sessions.to_string(),
            "-l",
            &load.size.to_string(),
        ])
        .args(["-f", "a@source.test", "-t", "b@bench.test", &address.to_string()]);
    child::run(&command, limit)
}
