//! Gate and workers as the guard starts them: this program anew, with a socket as standard input.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::Instant;

use crate::roles::account::Account;

/// Waits between starts, doubling from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// Who lived so long was sound: the next pause is the first again.
const SOUND: Duration = Duration::from_secs(60);

/// A process that was started. It is ended when this is dropped.
pub(in crate::roles) struct Process {
    child: Child,
    handle: OwnedFd,
    since: Instant,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts this program's `words`; the role is told who it is to be.
    pub(in crate::roles) fn start(
        words: &[OsString],
        account: &Account,
        socket: OwnedFd,
        alone: bool,
    ) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("postern").args(words);
        command.arg("--user").arg(account.user.to_string());
        command.arg("--group").arg(account.group.to_string());
        for group in &account.groups {
            command.arg("--groups").arg(group.to_string());
        }
        command.stdin(Stdio::from(socket));
        if alone {
            // No way out for what it has read, not even into the log.
            command.env_clear().stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        }
        // Ctrl-C in a terminal is the guard's to pass on.
        let mut child = command.process_group(0).spawn()?;
        let handle = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0))
            .ok_or_else(|| io::Error::other("a process without number"))
            .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?));
        match handle {
            Ok(handle) => Ok(Self { child, handle, since: Instant::now(), ended: None }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    pub(in crate::roles) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// By which others may signal it.
    pub(in crate::roles) fn handle(&self) -> &OwnedFd {
        &self.handle
    }

    pub(super) fn signal(&self, signal: Signal) {
        // It may have ended just now; that is noticed elsewhere.
        let _ = pidfd_send_signal(&self.handle, signal);
    }

    /// How it ended, if it has.
    pub(in crate::roles) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    pub(super) fn lived(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// How it ended, in words.
pub(in crate::roles) fn end_in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(nix::libc::SIGSYS)) => "a system call that it may not make".to_owned(),
        (None, Some(nix::libc::SIGXCPU)) => "too much processor time".to_owned(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

/// When to start something again that keeps ending.
#[derive(Default)]
pub(super) struct Pause {
    last: Duration,
}

impl Pause {
    /// After a life of this length.
    pub(super) fn next(&mut self, lived: Duration) -> Duration {
        self.last = match lived >= SOUND {
            true => FIRST_PAUSE,
            false => (self.last * 2).clamp(FIRST_PAUSE, LAST_PAUSE),
        };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_start_anew_after_a_sound_life() {
        let mut pause = Pause::default();
        let pauses: Vec<u128> = (0..4).map(|_| pause.next(Duration::ZERO).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800]);
        let grown = (0..20).fold(Duration::ZERO, |_, _| pause.next(Duration::ZERO));
        assert_eq!(grown, LAST_PAUSE);
        assert_eq!(pause.next(SOUND), FIRST_PAUSE);
    }
}
