//! The scripted client.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{PATIENCE, Step, Tls, Wire};

/// A client that runs a script, and can be driven by hand too.
pub struct Client {
    wire: Wire,
    tls: Option<Tls>,
}

impl Client {
    /// Connects.
    ///
    /// # Panics
    ///
    /// If nobody listens there.
    pub fn connect(address: SocketAddr, tls: Option<Tls>) -> Self {
        let wire = TcpStream::connect_timeout(&address, PATIENCE)
            .and_then(Wire::new)
            .unwrap_or_else(|error| panic!("a scripted client to {address}: {error}"));
        Self { wire, tls }
    }

    /// Runs a script.
    ///
    /// # Panics
    ///
    /// If anything goes otherwise than it says; the message has the transcript.
    pub fn run(&mut self, script: &[Step]) {
        if let Err(fault) = self.try_run(script) {
            panic!("{fault}\n--- what it got ---\n{}", self.text());
        }
    }

    /// Runs a script.
    ///
    /// # Errors
    ///
    /// What went otherwise, in words.
    pub fn try_run(&mut self, script: &[Step]) -> Result<(), String> {
        for (at, step) in script.iter().enumerate() {
            self.wire
                .step(step, self.tls.as_ref())
                .map_err(|error| format!("step {at}, {step:?}: {error}"))?;
        }
        Ok(())
    }

    /// Writes bytes.
    ///
    /// # Errors
    ///
    /// If the connection is gone.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.write(bytes)
    }

    /// Reads one reply with all its lines.
    ///
    /// # Errors
    ///
    /// If the connection ends, or nothing comes within `limit`.
    pub fn reply(&mut self, limit: Duration) -> io::Result<String> {
        let mut reply = Vec::new();
        loop {
            let line = self.wire.read_line(limit)?;
            reply.extend_from_slice(&line);
            if line.get(3) != Some(&b'-') {
                return Ok(String::from_utf8_lossy(&reply).into_owned());
            }
        }
    }

    /// Writes a command (CRLF is added) and reads the reply.
    ///
    /// # Errors
    ///
    /// As [`Client::reply`].
    pub fn command(&mut self, command: &str) -> io::Result<String> {
        self.wire.write(format!("{command}\r\n").as_bytes())?;
        self.reply(PATIENCE)
    }

    /// Writes a command and insists on how the reply begins.
    ///
    /// # Panics
    ///
    /// If it begins otherwise, or does not come; the message has the transcript.
    pub fn says(&mut self, command: &str, wanted: &str) -> String {
        self.write(format!("{command}\r\n").as_bytes())
            .unwrap_or_else(|error| panic!("{command}: {error}\n{}", self.text()));
        self.hears(wanted)
    }

    /// Insists on how the next reply begins.
    ///
    /// # Panics
    ///
    /// As [`Client::says`].
    pub fn hears(&mut self, wanted: &str) -> String {
        let reply = self
            .reply(PATIENCE)
            .unwrap_or_else(|error| panic!("{error} instead of {wanted}\n{}", self.text()));
        assert!(reply.starts_with(wanted), "{reply:?} instead of {wanted}\n{}", self.text());
        reply
    }

    /// Connects, takes the greeting and says EHLO.
    ///
    /// # Panics
    ///
    /// If either is refused.
    pub fn greeted(address: SocketAddr, tls: Option<Tls>) -> Self {
        let mut client = Self::connect(address, tls);
        client.hears("220 ");
        client.says("EHLO client.test", "250");
        client
    }

    /// STARTTLS and EHLO again.
    ///
    /// # Panics
    ///
    /// If either is refused, or the handshake fails.
    pub fn secure(&mut self) {
        self.says("STARTTLS", "220 ");
        self.run(&[Step::Tls]);
        self.says("EHLO client.test", "250");
    }

    /// Every byte it got, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.wire.transcript).into_owned()
    }
}
