//! A sift worker of a command's own: what reads messages while no Postern runs has the rights of one that reads them while it
//! does, which are none.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use rustix::process::geteuid;
use sift::{Body, Content, Settings, SiftError, Worker, Workers, packet};

use super::account::Account;
use super::confine::privileges;
use super::error::RoleError;
use super::guard::places::WORKER_WORD;
use super::guard::process::{Process, end_in_words};
use crate::output;

/// Reads messages. Must be used within the runtime that it was made in.
pub struct Reader {
    workers: Arc<Workers>,
    /// Whom workers become; `None` where they can be no processes of fewer rights.
    account: Option<Account>,
    worker: Option<Process>,
    started: u32,
}

impl Reader {
    /// None is started before there is something to read. `state_dir` tells whom its worker becomes where this is root.
    ///
    /// # Errors
    ///
    /// There is no user to become.
    pub fn new(state_dir: &Path) -> Result<Self, RoleError> {
        let settings = Settings::default();
        let account = match privileges::may_separate() {
            Ok(()) => Some(Account::choose(state_dir)?.0),
            Err(_) if !geteuid().is_root() => Some(Account::own()?),
            Err(why) => {
                output::diagnosis(&format!("Messages are read within this process: {why}."));
                None
            }
        };
        let workers = match account {
            Some(_) => Workers::of_processes(settings),
            None => Workers::of_threads(settings, 1),
        };
        Ok(Self { workers, account, worker: None, started: 0 })
    }

    /// What a message says.
    ///
    /// # Errors
    ///
    /// No worker can be had, or this message has ended two.
    pub async fn read(&mut self, message: &[u8]) -> Result<Content, RoleError> {
        let body = Body::from_bytes(message).map_err(SiftError::Io)?;
        match self.try_read(&body).await {
            // It was at its end of processor time or ended by somebody, just as it was asked; if it was the message, the next one ends, too.
            Err(RoleError::Reader(SiftError::Busy | SiftError::Failed(_))) => self.try_read(&body).await,
            read => read,
        }
    }

    async fn try_read(&mut self, body: &Body) -> Result<Content, RoleError> {
        self.see_to_worker()?;
        match self.workers.read(body).await {
            Ok(sifted) => Ok(sifted.content),
            Err(error) => {
                let ended = self.worker.take().and_then(|mut worker| worker.ended());
                if let Some(status) = ended {
                    output::diagnosis(&format!(
                        "The worker that reads messages ended: {}.",
                        end_in_words(status)
                    ));
                }
                Err(error.into())
            }
        }
    }

    /// Starts it, where there is none any more.
    fn see_to_worker(&mut self) -> Result<(), RoleError> {
        let Some(account) = &self.account else { return Ok(()) };
        if self.worker.as_mut().is_some_and(|worker| worker.ended().is_none()) {
            return Ok(());
        }
        let start = || {
            let (socket, far) = packet::pair()?;
            let worker = Process::start(&[OsString::from(WORKER_WORD)], account, far, true)?;
            let handle = worker.handle().try_clone()?;
            Ok((worker, socket, handle))
        };
        let failed = |error| RoleError::Start { what: "a worker that reads messages", error };
        let (worker, socket, handle) = start().map_err(failed)?;
        self.workers.join(Worker {
            slot: 0,
            socket,
            process: Some(handle),
            pid: worker.pid(),
            restarts: self.started,
        });
        self.started = self.started.saturating_add(1);
        self.worker = Some(worker);
        Ok(())
    }
}
