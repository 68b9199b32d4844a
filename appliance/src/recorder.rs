//! Turns events into metrics, log lines, the trace in memory and the numbers of the page.
//!
//! Counting happens at once, in the session's own task, and is never lost. All else goes through a bounded queue to
//! one task; what does not fit is dropped and counted, so that a flood costs details and never mail.

mod certificate_metrics;
mod crowd;
mod disk;
mod journal;
mod memory;
mod metrics;
mod networks;
mod query;
mod queue_metrics;
mod statistics;
mod trends;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::logging;
use record::{Afterwards, Clock, Event, GroupOutcome, Recorder, Transaction};
use tokio::sync::{broadcast, mpsc, watch};

use crowd::Crowd;

pub use disk::{Disk, TraceEntry, TracedStory};
pub use memory::Memory;
pub use metrics::Metrics;
pub use networks::WithoutTls;
pub use query::{Query, See};
pub use statistics::Statistics;
pub use trends::{StepKey, Trends};

/// Events that wait for the keeper; a few seconds of a busy machine.
const QUEUE: usize = 16_384;

/// Events that a listener may be behind.
const BEHIND: usize = 1024;

/// What is told to listeners: what became of mail.
#[derive(Clone, Debug)]
pub(crate) enum Happened {
    /// A transaction ended.
    Transaction(Arc<Transaction>),
    /// Something became of a message after its transaction.
    Afterwards(Arc<Afterwards>),
}

impl Happened {
    fn of(traced: &disk::Traced) -> Option<Self> {
        match traced {
            disk::Traced::Transaction(transaction) => Some(Self::Transaction(Arc::clone(transaction))),
            disk::Traced::Afterwards(step) => Some(Self::Afterwards(Arc::clone(step))),
            // Whoever knocks at the door is no mail.
            disk::Traced::Session(_) => None,
        }
    }
}

/// The recorder that the engine is given.
pub struct Recording {
    metrics: Arc<Metrics>,
    queue: mpsc::Sender<Event>,
    kept: Arc<Mutex<Kept>>,
    disk: Arc<OnceLock<Disk>>,
    without_subjects: Arc<AtomicBool>,
    /// Whoever listens to what happens.
    listeners: broadcast::Sender<Happened>,
    clock: Arc<dyn Clock>,
    /// Events that were put into the queue.
    queued: AtomicU64,
    /// Those of them that are kept by now.
    handled: watch::Receiver<u64>,
}

/// What the keeper keeps.
#[derive(Debug)]
pub struct Kept {
    /// The last transactions and sessions.
    pub memory: Memory,
    /// The numbers of the last two days.
    pub statistics: Statistics,
    /// The numbers of the charts, of up to thirty days.
    pub trends: Trends,
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
            trends: Trends::default(),
            without_tls: WithoutTls::default(),
        }));
        let (done, handled) = watch::channel(0);
        let metrics = Arc::new(Metrics::new());
        let (disk, without_subjects) = (Arc::default(), Arc::default());
        let (listeners, _) = broadcast::channel(BEHIND);
        let keeper = Keeper {
            kept: Arc::clone(&kept),
            disk: Arc::clone(&disk),
            without_subjects: Arc::clone(&without_subjects),
            metrics: Arc::clone(&metrics),
            listeners: listeners.clone(),
            clock: Arc::clone(&clock),
            crowd: Crowd::default(),
            done,
        };
        let keeper = tokio::spawn(keeper.keep(events));
        let queued = AtomicU64::new(0);
        let recording =
            Self { metrics, queue, kept, disk, without_subjects, listeners, clock, queued, handled };
        (Arc::new(recording), keeper)
    }

    /// What is recorded from now on goes to this trace on disk, too.
    ///
    /// # Errors
    ///
    /// There can be no more threads.
    pub fn keep_on_disk(&self, trace: trace::Trace<TraceEntry>) -> std::io::Result<()> {
        let disk = Disk::start(trace, Arc::clone(&self.clock), Arc::clone(&self.metrics))?;
        // The first one stays: there is one state folder.
        let _ = self.disk.set(disk);
        Ok(())
    }

    /// Whether messages' subjects are kept, from now on.
    pub fn keep_subjects(&self, kept: bool) {
        self.without_subjects.store(!kept, Ordering::Relaxed);
    }

    /// The trace on disk; `None` where there is none.
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.get()
    }

    /// What was recorded outlives this process afterwards.
    pub async fn close(&self) {
        self.caught_up().await;
        if let Some(disk) = self.disk() {
            disk.close().await;
        }
    }

    /// What is kept from now on, as it comes in. Whoever takes none of it while [`BEHIND`] come is told so, and has lost some.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Happened> {
        self.listeners.subscribe()
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// A look at what is kept. Hold it shortly: the keeper waits meanwhile, never a session.
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(&self.kept)
    }

    /// Waits until all that was recorded before now can be seen: who has just read a reply and asks for its trace finds
    /// it. Returns after a second at the latest.
    pub async fn caught_up(&self) {
        let wanted = self.queued.load(Ordering::Acquire);
        let mut handled = self.handled.clone();
        let _ = tokio::time::timeout(CATCH_UP, async {
            let _ = handled.wait_for(|&handled| handled >= wanted).await;
            if let Some(disk) = self.disk() {
                disk.caught_up().await;
            }
        })
        .await;
    }

    /// The clock that dates everything.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}

impl Recorder for Recording {
    fn record(&self, event: Event) {
        self.metrics.count(&event);
        match self.queue.try_send(event) {
            Ok(()) => {
                self.queued.fetch_add(1, Ordering::Release);
            }
            Err(_) => self.metrics.dropped(),
        }
    }
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recording").finish_non_exhaustive()
    }
}

/// Events that are logged and kept in one go.
const BATCH: usize = 256;
/// Between two batches: too short for a person to notice, long enough to gather some events.
const PAUSE: Duration = Duration::from_millis(5);

/// How long somebody who looks waits for events that are not kept yet: a page must come up even on a machine that cannot
/// keep pace.
const CATCH_UP: Duration = Duration::from_secs(1);

/// The task that keeps what was recorded.
struct Keeper {
    kept: Arc<Mutex<Kept>>,
    disk: Arc<OnceLock<Disk>>,
    without_subjects: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    listeners: broadcast::Sender<Happened>,
    clock: Arc<dyn Clock>,
    /// Those who are refused before they name a recipient.
    crowd: Crowd,
    /// How many events are kept.
    done: watch::Sender<u64>,
}

impl Keeper {
    async fn keep(mut self, mut events: mpsc::Receiver<Event>) {
        let mut batch = Vec::new();
        loop {
            match self.crowd.owes(self.clock.now()) {
                None => {
                    events.recv_many(&mut batch, BATCH).await;
                }
                // It may be the end of a flood, behind which nothing comes for long.
                Some(wait) => {
                    let _ = tokio::time::timeout(wait, events.recv_many(&mut batch, BATCH)).await;
                }
            }
            if batch.is_empty() && events.is_closed() {
                break;
            }
            logging::together(|| batch.iter().for_each(journal::write));
            if self.without_subjects.load(Ordering::Relaxed) {
                batch.iter_mut().for_each(forget_subject);
            }
            let count = batch.len() as u64;
            let traced = keep_all(&mut lock(&self.kept), &mut self.crowd, &mut batch, self.clock.now());
            if self.listeners.receiver_count() > 0 {
                // An error says that the last one has just gone.
                traced.iter().filter_map(Happened::of).for_each(|one| drop(self.listeners.send(one)));
            }
            if let Some(disk) = self.disk.get() {
                let lost = traced.len();
                if !disk.keep(traced) {
                    (0..lost).for_each(|_| self.metrics.dropped());
                }
            }
            self.done.send_modify(|done| *done += count);
            // Under load this thread would be woken for every message; what comes meanwhile waits in the queue.
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn forget_subject(event: &mut Event) {
    if let Event::Transaction(transaction) = event
        && let Some(opinion) = &mut transaction.opinion
    {
        opinion.subject = "".into();
    }
}

/// What of the batch goes to disk.
fn keep_all(kept: &mut Kept, crowd: &mut Crowd, batch: &mut Vec<Event>, now: Duration) -> Vec<disk::Traced> {
    let mut traced = Vec::with_capacity(batch.len());
    for event in crowd.settle(now) {
        traced.extend(kept.memory.add(event, now));
    }
    for event in batch.drain(..) {
        kept.statistics.add(&event, now);
        kept.trends.add(&event, now);
        kept.without_tls.add(&event, now);
        if let Some(event) = crowd.thin(event, now) {
            traced.extend(kept.memory.add(event, now));
        }
    }
    traced
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
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Accepted, Self::Spooled, Self::Deferred, Self::Refused, Self::Abandoned];

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
        _ => outcome_of_the_envelope(transaction),
    }
}

/// Without a last reply: a client that heard no for every recipient did not give up, it was refused.
fn outcome_of_the_envelope(transaction: &Transaction) -> Outcome {
    let codes =
        || transaction.recipients.iter().map(|recipient| recipient.reply.as_ref().map(smtp::Reply::code));
    let all = |is: fn(smtp::ReplyCode) -> bool| codes().all(|code| code.is_some_and(is));
    match transaction.recipients.is_empty() {
        true => Outcome::Abandoned,
        false if all(smtp::ReplyCode::is_permanent) => Outcome::Refused,
        false if all(|code| code.is_permanent() || code.is_transient()) => Outcome::Deferred,
        false => Outcome::Abandoned,
    }
}

#[cfg(test)]
pub(crate) mod samples;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_whose_recipients_were_all_refused_was_not_abandoned() {
        for (replies, expected) in [
            (&[][..], Outcome::Abandoned),
            (&[550][..], Outcome::Refused),
            (&[550, 451], Outcome::Deferred),
            (&[550, 250], Outcome::Abandoned),
        ] {
            let mut transaction = samples::transaction(1);
            transaction.reply = None;
            transaction.recipients.truncate(replies.len());
            for (recipient, code) in transaction.recipients.iter_mut().zip(replies) {
                recipient.reply = Some(samples::reply(*code, "words"));
            }
            assert_eq!(outcome(&transaction), expected, "{replies:?}");
        }
    }
}
