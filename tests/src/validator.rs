//! Unbound as the resolver of one machine: validates what the test's name server says, and tells programs there that it did.

use std::net::SocketAddr;
use std::process::Command;

use crate::child::Child;
use crate::nameserver::NameServer;
use crate::needs::Need;
use crate::scratch::Scratch;

/// A resolver that validates.
pub const UNBOUND: &[Need] = &[Need::Root, Need::Program("unbound")];

/// Where programs look for it.
const ADDRESS: &str = "127.0.0.1:53";

/// A running Unbound.
#[derive(Debug)]
pub struct Validator {
    _process: Child,
    _scratch: Scratch,
}

impl Validator {
    /// Starts one on port 53 of loopback, which asks this name server for everything and trusts its root. To be started
    /// on the machine where both live.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(names: &NameServer) -> Self {
        let scratch = Scratch::new("unbound");
        let (own, far): (SocketAddr, _) = (ADDRESS.parse().expect("an address"), names.address());
        let config = scratch.write(
            "unbound.conf",
            format!(
                "server:\n  interface: {}\n  port: {}\n  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  \
                 directory: {:?}\n  pidfile: \"\"\n  use-syslog: no\n  do-not-query-localhost: no\n  \
                 module-config: \"validator iterator\"\n  trust-anchor-file: {:?}\n  val-sig-skew-min: 0\n  \
                 val-sig-skew-max: 0\n  local-zone: \"test.\" nodefault\n\
                 remote-control:\n  control-enable: no\n\
                 stub-zone:\n  name: \".\"\n  stub-addr: {}@{}\n",
                own.ip(),
                own.port(),
                scratch.path(),
                names.anchor(),
                far.ip(),
                far.port(),
            ),
        );
        let mut command = Command::new("unbound");
        command.arg("-d").arg("-c").arg(config);
        let mut process = Child::spawn("unbound", &command, &scratch.join("output"));
        process.expect_listening(own);
        Self { _process: process, _scratch: scratch }
    }
}
