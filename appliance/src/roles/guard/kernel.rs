//! What the guard does with the kernel's rule set, as far as the guard knows it: by itself, or by asking who keeps it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use firewall::{Ban, FirewallError, System};
use ipnet::IpNet;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use sift::{Body, packet};

use crate::config::{Config, Mode};
use crate::roles::message::{ORDER, Order, Verb};
use crate::settings::place::Refusal;

/// How long the keeper of the rule set may take to read; it runs `nft` meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);

/// The rule set. Each call may take as long as a program does to run; errors are for the log.
pub trait Kernel {
    /// Puts up the rule set as it should be, bans included.
    ///
    /// # Errors
    ///
    /// In words, with what to do.
    fn apply(&mut self) -> Result<(), String>;

    /// Bans networks, each for its time; one that is banned already gets the new time.
    ///
    /// # Errors
    ///
    /// In words; none of them is banned then.
    fn ban(&mut self, bans: &[(IpNet, Duration)]) -> Result<(), String>;

    /// Ends bans; who is not banned is passed over.
    ///
    /// # Errors
    ///
    /// In words.
    fn unban(&mut self, networks: &[IpNet]) -> Result<(), String>;

    /// Has a config put in place by who has the right to; `None`: that is whoever asks.
    fn put(&mut self, _: &Body) -> Option<Result<(), Refusal>> {
        None
    }
}

/// `manage_firewall = false`, or nothing to manage: the gate alone refuses who is banned.
#[derive(Clone, Copy, Debug)]
pub struct LeftAlone;

impl Kernel for LeftAlone {
    fn apply(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn ban(&mut self, _: &[(IpNet, Duration)]) -> Result<(), String> {
        Ok(())
    }

    fn unban(&mut self, _: &[IpNet]) -> Result<(), String> {
        Ok(())
    }
}

/// The rule set of this config, kept by whoever listens to this socket.
pub(super) fn at(config: &Config, socket: &Path) -> Box<dyn Kernel> {
    let manages = config.network.manage_firewall;
    Box::new(Asked { socket: socket.to_owned(), manages, puts_up: manages && puts_up(config), line: None })
}

/// In front a default-deny rule set is put up when somebody says so: it may shut out who is logged in.
fn puts_up(config: &Config) -> bool {
    config.network.mode != Mode::Front
}

/// The rule set of this config.
pub(in crate::roles) fn of(config: &Config, words: &[OsString], armed: File) -> Box<dyn Kernel> {
    let command = ["firewall", "apply", "--armed-on-stdin"].map(OsString::from);
    match config.network.manage_firewall {
        false => Box::new(LeftAlone),
        true => Box::new(Managed {
            words: words.iter().cloned().chain(command).collect(),
            puts_up: puts_up(config),
            system: crate::firewall::system(),
            armed,
        }),
    }
}

/// The rule set of the crate `firewall`.
struct Managed {
    /// The command that puts it up. It asks name servers for the hidden servers' addresses; the guard does not.
    words: Vec<OsString>,
    puts_up: bool,
    system: System,
    /// Which servers are armed; what it says is read by the command alone.
    armed: File,
}

impl Kernel for Managed {
    fn apply(&mut self) -> Result<(), String> {
        if !self.puts_up {
            return Ok(());
        }
        let mut command = Command::new("/proc/self/exe");
        let armed = self.armed.try_clone().map_err(|error| error.to_string())?;
        command.args(&self.words).stdin(armed).stdout(Stdio::null());
        let ended = command.output().map_err(|error| error.to_string())?;
        match ended.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&ended.stderr).trim_end().replace('\n', " ")),
        }
    }

    fn ban(&mut self, bans: &[(IpNet, Duration)]) -> Result<(), String> {
        let bans: Vec<Ban> = bans
            .iter()
            .map(|(network, remaining)| Ban { network: *network, remaining: *remaining })
            .collect();
        loaded(firewall::ban(&self.system, &bans))
    }

    fn unban(&mut self, networks: &[IpNet]) -> Result<(), String> {
        loaded(firewall::unban(&self.system, networks).map(drop))
    }
}

/// The rule set that `postern rules` keeps. It is asked by the gate's own verbs, and says nothing: what it refuses is in its log.
struct Asked {
    socket: PathBuf,
    /// Otherwise it is asked to write configs, and nothing else.
    manages: bool,
    puts_up: bool,
    /// From the first question on.
    line: Option<OwnedFd>,
}

impl Asked {
    fn ask(&mut self, verbs: impl IntoIterator<Item = Verb>) -> Result<(), String> {
        if !self.manages {
            return Ok(());
        }
        verbs.into_iter().try_for_each(|verb| self.say(&verb.to_bytes(), &[])).map_err(|error| {
            self.line = None;
            format!("{}: {error}", self.socket.display())
        })
    }

    /// Once more by a new connection, if it was started anew since the last question.
    fn say(&mut self, record: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if let Some(line) = &self.line
            && packet::send(line, record, descriptors).is_ok()
        {
            return Ok(());
        }
        let line = packet::connect(&self.socket, PATIENCE)?;
        set_socket_timeout(&line, Timeout::Recv, Some(PATIENCE))?;
        packet::send(&line, record, descriptors)?;
        self.line = Some(line);
        Ok(())
    }

    fn answered(&mut self, text: &Body) -> io::Result<Result<(), Refusal>> {
        self.say(&Verb::Config { number: 0 }.to_bytes(), &[text.as_fd()])?;
        let mut record = [0; ORDER];
        let line = self.line.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let packet = packet::receive(line, &mut record, 0)?;
        match Order::read(record.get(..packet.length).unwrap_or_default()) {
            Ok(Order::Config { outcome, detail, .. }) => Ok(Refusal::told(outcome, detail)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl Kernel for Asked {
    fn apply(&mut self) -> Result<(), String> {
        if self.puts_up { self.ask([Verb::Reapply]) } else { Ok(()) }
    }

    fn ban(&mut self, bans: &[(IpNet, Duration)]) -> Result<(), String> {
        let seconds = |left: &Duration| u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1);
        self.ask(bans.iter().map(|(network, left)| Verb::Ban { network: *network, seconds: seconds(left) }))
    }

    fn unban(&mut self, networks: &[IpNet]) -> Result<(), String> {
        self.ask(networks.iter().map(|network| Verb::Unban(*network)))
    }

    fn put(&mut self, text: &Body) -> Option<Result<(), Refusal>> {
        Some(self.answered(text).unwrap_or_else(|error| {
            self.line = None;
            tracing::error!(%error, socket = %self.socket.display(), "who keeps the rule set writes no config");
            Err(Refusal::Silent)
        }))
    }
}

/// Where nobody has put up a rule set the gate alone refuses.
fn loaded(done: Result<(), FirewallError>) -> Result<(), String> {
    match done {
        Err(FirewallError::NotLoaded) => {
            tracing::debug!("no rule set is loaded: bans are kept by the gate alone");
            Ok(())
        }
        done => done.map_err(|error| error.to_string()),
    }
}
