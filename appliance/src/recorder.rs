//! Turns events into metrics, log lines, the trace in memory and the numbers of the page.
//!
//! Counting happens at once, in the session's own task, and is never lost. All else goes through a bounded queue to
//! one task; what does not fit is dropped and counted, so that a flood costs details and never mail.

mod journal;
mod memory;
mod metrics;
mod networks;
mod statistics;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use record::{Clock, Event, GroupOutcome, Recorder, Transaction};
use tokio::sync::mpsc;

pub use memory::{Memory, Query};
pub use metrics::Metrics;
pub use networks::WithoutTls;
pub use statistics::Statistics;

/// Events that wait for the keeper; a few seconds of a busy machine.
const QUEUE: usize = 16_384;

/// The recorder that the engine is given.
pub struct Recording {
    metrics: Arc<Metrics>,
    queue: mpsc::Sender<Event>,
    kept: Arc<Mutex<Kept>>,
    clock: Arc<dyn Clock>,
}

/// What the keeper keeps.
#[derive(Debug)]
pub struct Kept {
    /// The last transactions and sessions.
    pub memory: Memory,
    /// The numbers of the last two days.
    pub statistics: Statistics,
    /// Who came without forward secrecy.
    pub without_tls: WithoutTls,
}

impl Recording {
    /// Starts the keeper on the present runtime. It ends once the recorder is dropped and the queue is empty.
    pub fn start(clock: Arc<dyn Clock>) -> (Arc<Self>, tokio::task::JoinHandle<()>) {
        let (queue, events) = mpsc::channel(QUEUE);
        let kept = Arc::new(Mutex::new(Kept {
            memory: Memory::default(),
            statistics: Statistics::default(),
            without_tls: WithoutTls::default(),
        }));
        let keeper = tokio::spawn(keep(events, Arc::clone(&kept), Arc::clone(&clock)));
        (Arc::new(Self { metrics: Arc::new(Metrics::new()), queue, kept, clock }), keeper)
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// A look at what is kept. Hold it shortly: the keeper waits meanwhile, never a session.
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(&self.kept)
    }

    /// The clock that dates everything.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}

impl Recorder for Recording {
    fn record(&self, event: Event) {
        self.metrics.count(&event);
        if self.queue.try_send(event).is_err() {
            self.metrics.dropped();
        }
    }
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recording").finish_non_exhaustive()
    }
}

async fn keep(mut events: mpsc::Receiver<Event>, kept: Arc<Mutex<Kept>>, clock: Arc<dyn Clock>) {
    while let Some(event) = events.recv().await {
        journal::write(&event);
        let now = clock.now();
        let mut kept = lock(&kept);
        kept.statistics.add(&event, now);
        kept.without_tls.add(&event, now);
        kept.memory.add(event, now);
    }
}

/// What is kept stays usable when a look at it panicked: nothing in it spans two fields.
fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a transaction ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A server took it.
    Accepted,
    /// It was accepted and some of it is kept on disk.
    Spooled,
    /// The sender was told to try later.
    Deferred,
    /// It was refused for good.
    Refused,
    /// The client went away or began anew before there was a last reply.
    Abandoned,
}

impl Outcome {
    /// The word in metrics, logs and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Spooled => "spooled",
            Self::Deferred => "deferred",
            Self::Refused => "refused",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether the client was promised delivery.
    pub fn is_accepted(self) -> bool {
        matches!(self, Self::Accepted | Self::Spooled)
    }
}

/// How this transaction ended.
pub fn outcome(transaction: &Transaction) -> Outcome {
    match transaction.reply.as_ref().map(smtp::Reply::code) {
        Some(code) if code.is_positive() => {
            let spooled =
                transaction.groups.iter().any(|group| matches!(group, GroupOutcome::Spooled { .. }));
            if spooled { Outcome::Spooled } else { Outcome::Accepted }
        }
        Some(code) if code.is_transient() => Outcome::Deferred,
        Some(code) if code.is_permanent() => Outcome::Refused,
        _ => Outcome::Abandoned,
    }
}

#[cfg(test)]
pub(crate) mod samples;
