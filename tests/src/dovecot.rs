//! Dovecot's authentication service alone, the one that Postfix asks: PLAIN, LOGIN and SCRAM.

use std::path::Path;
use std::process::Command;

use crate::child::Child;
use crate::ports;
use crate::scratch::Scratch;

/// A running authentication service.
#[derive(Debug)]
pub struct Dovecot {
    _process: Child,
    _scratch: Scratch,
}

impl Dovecot {
    /// Starts one that listens on the UNIX socket `socket` and knows one user with one password.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(socket: &Path, (user, password): (&str, &str)) -> Self {
        let scratch = Scratch::new("dovecot");
        scratch.write("users", format!("{user}:{{PLAIN}}{password}::::::\n"));
        let folder = scratch.path().display();
        let listener = socket.display();
        let config = format!(
            "protocols =\n\
             ssl = no\n\
             base_dir = {folder}/run\n\
             state_dir = {folder}/state\n\
             log_path = /dev/stderr\n\
             auth_mechanisms = plain login scram-sha-1 scram-sha-256\n\
             disable_plaintext_auth = no\n\
             passdb {{\n  driver = passwd-file\n  args = scheme=PLAIN username_format=%u {folder}/users\n}}\n\
             userdb {{\n  driver = static\n  args = uid=65534 gid=65534 home=/nonexistent\n}}\n\
             service auth {{\n  unix_listener {listener} {{\n    mode = 0666\n  }}\n}}\n\
             service stats {{\n  client_limit = 100\n}}\n",
        );
        let file = scratch.write("dovecot.conf", config);
        let mut command = Command::new("dovecot");
        command.arg("-F").arg("-c").arg(file);
        let process = Child::spawn("dovecot", &command, &scratch.join("output"));
        let listens = ports::wait_until(ports::START_LIMIT, || socket.exists().then_some(()));
        assert!(listens.is_some(), "dovecot does not listen:\n{}", process.output());
        Self { _process: process, _scratch: scratch }
    }
}
