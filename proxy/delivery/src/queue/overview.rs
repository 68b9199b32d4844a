//! What can be asked of the queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use smtp::Reply;
use spool::Folder;
use tokio::time::Instant;

use super::{Destination, Queue};

/// A destination for which something waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationState {
    /// The name of the backend, or the domain.
    pub name: Arc<str>,
    /// Open connections.
    pub connections: usize,
    /// Why it is not reached, and since when, since 1970.
    pub away: Option<(Reply, Duration)>,
    /// When it is tried again, since 1970; `None`: now, or whenever a message is due.
    pub next: Option<Duration>,
}

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Recipients to whom the queue delivered.
    pub delivered: u64,
    /// Reports to senders.
    pub reported: u64,
    /// Times that a message, or some of its recipients, went into `expired`.
    pub set_aside: u64,
}

impl Destination {
    fn state(&self, name: &Arc<str>, now: Instant, wall: Duration) -> DestinationState {
        DestinationState {
            name: Arc::clone(name),
            connections: self.running,
            away: self.away.clone(),
            next: self.gate.closed_until().and_then(|at| Some(wall + at.checked_duration_since(now)?)),
        }
    }
}

impl Queue {
    /// The destinations that something waits for, or that something goes to.
    pub fn destinations(&self) -> Vec<DestinationState> {
        let (now, wall) = (Instant::now(), self.clock.now());
        let state = self.state();
        let mut all: Vec<_> =
            state.destinations.iter().map(|(name, destination)| destination.state(name, now, wall)).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// One of them.
    pub fn destination(&self, name: &str) -> Option<DestinationState> {
        let (now, wall) = (Instant::now(), self.clock.now());
        let state = self.state();
        let (name, destination) = state.destinations.get_key_value(name)?;
        Some(destination.state(name, now, wall))
    }

    /// How long a message stays in a folder at most: in the queue for its lifetime, in `expired` for the term that is kept
    /// there. `None`: until somebody says otherwise.
    pub fn lasts(&self, folder: Folder, destination: &str) -> Option<Duration> {
        let way = self.way_out();
        match folder {
            Folder::Queue => Some(way.settings().lifetime(destination)),
            Folder::Expired => Some(way.settings().keep_expired),
            Folder::Quarantine => Some(way.settings().keep_quarantined),
            Folder::Reports | Folder::Traps => None,
        }
    }

    /// What happened since the start.
    pub fn totals(&self) -> Totals {
        let read = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        Totals {
            delivered: read(&self.counts.delivered),
            reported: read(&self.counts.reported),
            set_aside: read(&self.counts.set_aside),
        }
    }
}
