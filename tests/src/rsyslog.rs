//! rsyslog as a server for logs over TLS (RFC 5425).

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::certificate::{Authority, Certificate};
use crate::child::Child;
use crate::needs::Need;
use crate::ports;
use crate::scratch::Scratch;

/// The server, and its driver for TLS.
pub const RSYSLOG: &[Need] = &[Need::Program("rsyslogd")];

/// A running server.
#[derive(Debug)]
pub struct Rsyslog {
    address: SocketAddr,
    config: PathBuf,
    process: Option<Child>,
    scratch: Scratch,
}

impl Rsyslog {
    /// Starts one with this certificate.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(authority: &Authority, certificate: &Certificate) -> Self {
        let scratch = Scratch::new("rsyslog");
        let address = ports::free();
        let folder = scratch.path().display();
        let config = format!(
            "global(workDirectory=\"{folder}\" DefaultNetstreamDriver=\"gtls\" DefaultNetstreamDriverCAFile={ca:?}\n  \
             DefaultNetstreamDriverCertFile={chain:?} DefaultNetstreamDriverKeyFile={key:?})\n\
             module(load=\"imtcp\" StreamDriver.Name=\"gtls\" StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"anon\")\n\
             template(name=\"all\" type=\"string\" string=\"%pri% %timereported:::date-rfc3339% %hostname% %app-name% %msgid% %msg%\\n\")\n\
             input(type=\"imtcp\" address=\"{ip}\" port=\"{port}\")\n\
             action(type=\"omfile\" file=\"{folder}/received\" template=\"all\" flushOnTXEnd=\"on\")\n",
            ca = authority.file(),
            chain = certificate.chain,
            key = certificate.key,
            ip = address.ip(),
            port = address.port(),
        );
        let config = scratch.write("rsyslog.conf", config);
        let mut server = Self { address, config, process: None, scratch };
        server.start_again();
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts it again where it was.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start_again(&mut self) {
        let mut command = Command::new("rsyslogd");
        command.arg("-n").arg("-f").arg(&self.config).arg("-i").arg(self.scratch.join("pid"));
        let mut process = Child::spawn("rsyslogd", &command, &self.scratch.join("output"));
        process.expect_listening(self.address);
        self.process = Some(process);
    }

    /// Ends it.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::SIGTERM);
            process.wait(ports::START_LIMIT);
        }
    }

    /// What it has received: a line each, priority, date, host, program, MSGID, text.
    pub fn received(&self) -> String {
        fs::read_to_string(self.scratch.join("received")).unwrap_or_default()
    }
}
