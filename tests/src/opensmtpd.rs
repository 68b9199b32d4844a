//! OpenSMTPD, in folders and on a port of its own, without TLS: its key process does not work from an unpacked package.

use std::net::SocketAddr;
use std::time::Duration;

use crate::child::Child;
use crate::mailbox::Maildir;
use crate::ports;
use crate::scratch::Scratch;
use crate::unpacked;

/// The user that stores the mail.
const OWNER: &str = "nobody";

/// A running OpenSMTPD.
#[derive(Debug)]
pub struct OpenSmtpd {
    address: SocketAddr,
    daemon: Child,
    scratch: Scratch,
}

impl OpenSmtpd {
    /// Starts one that stores everything for everybody.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn storing() -> Self {
        Self::storing_at(ports::free())
    }

    /// As [`storing`](Self::storing), at this address.
    pub fn storing_at(address: SocketAddr) -> Self {
        Self::start(address, |scratch| {
            format!(
                "table everybody {{ \"@\" = \"{OWNER}\" }}\n\
                 action \"out\" maildir \"{}/mail/inbox\" virtual <everybody>\n",
                scratch.path().display(),
            )
        })
    }

    /// Starts one that passes everything on to this server.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn relaying(next_hop: SocketAddr) -> Self {
        Self::start(ports::free(), |_| format!("action \"out\" relay host smtp://{next_hop}\n"))
    }

    /// As [`relaying`](Self::relaying), without TLS also where it is offered.
    pub fn relaying_in_clear(next_hop: SocketAddr) -> Self {
        Self::start(ports::free(), |_| format!("action \"out\" relay host smtp+notls://{next_hop}\n"))
    }

    fn start(address: SocketAddr, action: impl Fn(&Scratch) -> String) -> Self {
        let scratch = Scratch::new("opensmtpd");
        let (ip, port) = (address.ip(), address.port());
        let (run, spool) = (scratch.folder("run", "root"), scratch.folder("spool", "root"));
        // It insists on this mode.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(&spool, mode).unwrap_or_else(|error| panic!("{}: {error}", spool.display()));
        scratch.folder("mail", OWNER);
        scratch.write("etc/mailname", "opensmtpd.test\n");
        // It asks for every client's name, and no greeting comes before the answer.
        scratch.write("etc/resolv.conf", "lookup file\n");
        let config = format!(
            "queue ttl 1h\nsmtp max-message-size \"100M\"\nlisten on {ip} port {port}\n{}\
             match from any for any action \"out\"\n",
            action(&scratch),
        );
        scratch.write("etc/smtpd.conf", config);
        let mounts = [(spool.as_path(), "/var/spool/smtpd"), (run.as_path(), "/run")];
        let mut command =
            unpacked::command_with_etc("opensmtpd", &scratch.join("etc"), &mounts, "/usr/sbin/smtpd");
        command.arg("-d");
        let mut daemon = Child::spawn("opensmtpd", &command, &scratch.join("output"));
        daemon.expect_listening(address);
        Self { address, daemon, scratch }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it stored.
    pub fn mailbox(&self) -> Maildir {
        Maildir::at(self.scratch.join("mail/inbox"))
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.daemon.output()
    }

    /// Waits until it has said what became of `recipients` deliveries, whatever the message: the log lines with
    /// `result=`.
    ///
    /// # Panics
    ///
    /// If it says too little within `limit`.
    pub fn outcome(&self, recipients: usize, limit: Duration) -> Vec<String> {
        let lines = || -> Vec<String> {
            self.log().lines().filter(|line| line.contains(" delivery ")).map(str::to_owned).collect()
        };
        ports::wait_until(limit, || Some(lines()).filter(|lines| lines.len() >= recipients))
            .unwrap_or_else(|| panic!("no outcome:\n{}", self.log()))
    }
}
