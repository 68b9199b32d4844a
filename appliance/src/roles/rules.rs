//! Keeps the rule set for a guard that has no rights to it (`postern run --rules`): a process of its own with CAP_NET_ADMIN,
//! which reads the gate's verbs as the guard passes them on, and believes as little of them as a guard with rights does. It also writes the
//! config, where that is root's.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as Blocking;
use std::path::PathBuf;

use sift::packet::{Packet, Socket};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::confine::privileges;
use super::error::RoleError;
use super::guard::ban_desk::BanDesk;
use super::guard::kernel::{self, Kernel};
use super::guard::never::never;
use super::message::{Order, VERB, Verb};
use super::{handed, inherited};
use crate::armed;
use crate::command::{CommandLine, Exit};
use crate::config::{self, Config};
use crate::output;
use crate::settings::place::{self, Digest, Refusal};

/// Serves at the listening socket that is the standard input, until SIGTERM.
///
/// # Errors
///
/// It was not started with one, or lacks what it needs.
pub(super) fn run(line: &CommandLine) -> Result<Exit, RoleError> {
    let socket = inherited::socket()?;
    privileges::limit_to(privileges::RULES)?;
    let file = line.config_file();
    let config = match config::load(&file) {
        Ok(config) => config,
        Err(error) => {
            output::diagnosis(&error.to_string());
            return Ok(Exit::Wrong);
        }
    };
    // The guard has made it before it asks for anything.
    let armed = armed::open(&config.state_dir)
        .map_err(|error| RoleError::StateFolder { path: armed::path(&config.state_dir), error })?;
    let kernel = kernel::of(&config, &[OsString::from("--config"), file.clone().into()], armed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| RoleError::Start { what: "the runtime", error })?;
    runtime.block_on(async {
        let keeper = Keeper { file, config, kernel, desk: BanDesk::new(Instant::now()), guard: None };
        keeper.serve(socket).await.map_err(|error| RoleError::Start { what: "the rule set's socket", error })
    })
}

struct Keeper {
    file: PathBuf,
    config: Config,
    kernel: Box<dyn Kernel>,
    desk: BanDesk,
    /// Who asks; there is one at a time.
    guard: Option<Socket>,
}

impl Keeper {
    async fn serve(mut self, socket: OwnedFd) -> std::io::Result<Exit> {
        let listener = Blocking::from(socket);
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let mut terminate = signal(SignalKind::terminate())?;
        loop {
            let read_from = self.desk.may_read(Instant::now());
            let due = self.desk.due();
            tokio::select! {
                _ = terminate.recv() => return Ok(Exit::Done),
                // A guard that was started again; the one before has ended, or is none.
                accepted = listener.accept() => {
                    let (stream, _) = accepted?;
                    self.guard = Some(Socket::new(stream.into_std()?.into())?);
                }
                (packet, record) = said(self.guard.as_ref(), read_from) => self.hear(packet, &record),
                () = sleep_until(due.unwrap_or(read_from)), if due.is_some() => {
                    self.desk.flush(&mut *self.kernel, Instant::now());
                }
            }
        }
    }

    /// One record, or the end of who asks.
    fn hear(&mut self, packet: std::io::Result<Packet>, record: &[u8]) {
        let packet = match packet {
            Ok(packet) if packet.length > 0 => packet,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return,
            Ok(_) | Err(_) => return self.guard = None,
        };
        let octets = record.get(..packet.length).filter(|_| packet.whole).unwrap_or_default();
        let verb = match Verb::read(octets) {
            Ok(verb) => verb,
            Err(error) => {
                tracing::error!(%error, "what was said is none of the four verbs: no more of it is read");
                return self.guard = None;
            }
        };
        if let Verb::Config { number } = verb {
            // One of so many a second, as the others.
            let _ = self.desk.take(verb, &never(&self.config), Instant::now());
            return self.write(number, packet.descriptors);
        }
        if verb == Verb::Reapply {
            self.read_config();
        }
        match self.desk.take(verb, &never(&self.config), Instant::now()) {
            Ok(()) => tracing::debug!(?verb, "the guard's wish"),
            Err(why) => tracing::warn!(?verb, why, "the guard's wish is refused"),
        }
    }

    /// Puts a config in place, whose file only root may write.
    fn write(&mut self, number: u32, descriptors: Vec<OwnedFd>) {
        let handed = descriptors.into_iter().next().and_then(handed::read);
        let Some((base, text)) = handed else {
            tracing::error!("what was handed over is no text: no more of it is read");
            return self.guard = None;
        };
        let placed = place::look(&self.file, base, &text).and_then(|config| {
            place::write(&self.file, &text)?;
            self.config = config;
            Ok(())
        });
        match placed {
            Ok(()) => tracing::info!(sha256 = Digest::of(&text).words(), "a config was put in place"),
            Err(why) => tracing::warn!(%why, "a config is not put in place"),
        }
        let (outcome, detail) = placed.err().map_or((0, 0), Refusal::numbers);
        let answer = Order::Config { number, outcome, detail }.to_bytes();
        let sent = self.guard.as_ref().map(|guard| guard.try_send(&answer, &[]));
        if let Some(Err(error)) = sent {
            tracing::warn!(%error, "the guard takes no answer");
        }
    }

    /// The rules are of the config as it is now, and so is who must not be banned.
    fn read_config(&mut self) {
        match config::load(&self.file) {
            Ok(config) => self.config = config,
            Err(error) => tracing::error!(%error, "the config is wrong; the one before counts"),
        }
    }
}

/// The next record, not before its time. Never comes back where nobody asks.
async fn said(guard: Option<&Socket>, from: Instant) -> (std::io::Result<Packet>, [u8; VERB]) {
    let Some(guard) = guard else { return std::future::pending().await };
    sleep_until(from).await;
    let mut record = [0; VERB];
    let packet = guard.receive(&mut record, 1).await;
    (packet, record)
}
