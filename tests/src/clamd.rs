//! ClamAV's daemon with one signature of the test's own: that of the EICAR test file. Nothing is downloaded.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::child::Child;
use crate::needs::Need;
use crate::ports;
use crate::scratch::Scratch;

/// The virus scanner.
pub const CLAMD: &[Need] = &[Need::Program("clamd")];
/// What its one signature is called; clamd says of each that is not its makers' that it is `UNOFFICIAL`.
pub const SIGNATURE: &str = "Postern.Test.EICAR";
/// The EICAR test file, in two pieces, so that nobody takes this file for it.
pub const EICAR: &str = concat!("X5O!P%@AP[4\\PZX54(P^)7CC)7}$", "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*");

/// A running scanner.
#[derive(Debug)]
pub struct Clamd {
    address: SocketAddr,
    config: PathBuf,
    process: Option<Child>,
    scratch: Scratch,
}

impl Clamd {
    /// Starts one; `more` are further lines of its config.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(more: &str) -> Self {
        let scratch = Scratch::new("clamd");
        let hexadecimal = EICAR.bytes().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        scratch.write("database/test.ndb", format!("{SIGNATURE}:0:*:{hexadecimal}\n"));
        scratch.folder("temporary", "root");
        let address = ports::free();
        let folder = scratch.path().display();
        let config = format!(
            "Foreground yes\nDatabaseDirectory {folder}/database\nTemporaryDirectory {folder}/temporary\n\
             LocalSocket {folder}/clamd.ctl\nLocalSocketMode 666\nTCPAddr {}\nTCPSocket {}\nMaxThreads 12\n\
             LogClean yes\nUser root\n{more}",
            address.ip(),
            address.port(),
        );
        let config = scratch.write("clamd.conf", config);
        let mut clamd = Self { address, config, process: None, scratch };
        clamd.start_again();
        clamd
    }

    /// Starts it again where it was.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start_again(&mut self) {
        let mut command = Command::new("clamd");
        command.arg("-c").arg(&self.config);
        let mut process = Child::spawn("clamd", &command, &self.scratch.join("output"));
        process.expect_listening(self.address);
        self.process = Some(process);
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Its local socket, as `judge.clamd` names it.
    pub fn local(&self) -> String {
        format!("unix:{}", self.scratch.join("clamd.ctl").display())
    }

    /// Its port on loopback, as `judge.clamd` names it.
    pub fn tcp(&self) -> String {
        format!("tcp:{}", self.address)
    }
}
