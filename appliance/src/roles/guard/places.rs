//! The places for sift workers, one a core: filled while there is a gate, and filled again when one comes free.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;

use sift::packet::{self, Socket};
use tokio::time::Instant;

use super::process::{Pause, Process, end_in_words};
use crate::roles::account::Account;
use crate::roles::message::Order;

/// The command by which workers are started.
pub(in crate::roles) const WORKER_WORD: &str = "sift-worker";

pub(super) struct Places(Vec<Place>);

#[derive(Default)]
struct Place {
    process: Option<Process>,
    restarts: u32,
    pause: Pause,
    /// When it is to be filled.
    due: Option<Instant>,
}

impl Places {
    pub(super) fn new(count: usize) -> Self {
        Self((0..count).map(|_| Place::default()).collect())
    }

    /// There is a gate: all are filled from now on.
    pub(super) fn open(&mut self, now: Instant) {
        self.0.iter_mut().for_each(|place| place.due = Some(now));
    }

    /// There is no gate: whoever is left is ended.
    pub(super) fn close(&mut self) {
        for place in &mut self.0 {
            place.due = None;
            if place.process.take().is_some() {
                place.restarts = place.restarts.saturating_add(1);
            }
        }
    }

    /// When the next one is to be filled.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.iter().filter_map(|place| place.due).min()
    }

    /// Fills those that are due, and hands the workers over.
    ///
    /// # Errors
    ///
    /// The gate does not take them.
    pub(super) fn fill(&mut self, now: Instant, account: &Account, gate: &Socket) -> io::Result<()> {
        for (slot, place) in (0_u32..).zip(&mut self.0) {
            if place.due.is_some_and(|due| due <= now) {
                place.due = None;
                place.fill(slot, now, account, gate)?;
            }
        }
        Ok(())
    }

    /// Buries those that have ended. Where the end has come for all, their places stay empty.
    pub(super) fn reap(&mut self, now: Instant, stopping: bool) {
        for (slot, place) in self.0.iter_mut().enumerate() {
            let Some(process) = &mut place.process else { continue };
            let Some(status) = process.ended() else { continue };
            let (lived, pid) = (process.lived(), process.pid());
            place.process = None;
            place.restarts = place.restarts.saturating_add(1);
            if stopping {
                tracing::debug!(slot, pid, "a sift worker has ended with its gate");
            } else if status.success() {
                tracing::debug!(slot, pid, "a sift worker has done its work");
                place.due = Some(now);
            } else {
                let (how, pause) = (end_in_words(status), place.pause.next(lived));
                tracing::warn!(slot, pid, how, ?lived, ?pause, "a sift worker has ended");
                place.due = Some(now + pause);
            }
        }
    }
}

impl Place {
    fn fill(&mut self, slot: u32, now: Instant, account: &Account, gate: &Socket) -> io::Result<()> {
        let started = packet::pair().and_then(|(near, far)| {
            Ok((near, Process::start(&[OsString::from(WORKER_WORD)], account, far, true)?))
        });
        match started {
            Ok((near, process)) => {
                let order = Order::Worker { slot, pid: process.pid(), restarts: self.restarts };
                gate.try_send(&order.to_bytes(), &[near.as_fd(), process.handle().as_fd()])?;
                self.process = Some(process);
            }
            Err(error) => {
                let pause = self.pause.next(std::time::Duration::ZERO);
                tracing::error!(%error, slot, ?pause, "a sift worker cannot be started");
                self.due = Some(now + pause);
            }
        }
        Ok(())
    }
}
