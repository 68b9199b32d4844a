//! The queue: what was promised and not delivered yet is offered to its servers again, at the pace that they take.
//!
//! - Destinations are tried each by itself: a backend, a relay, or a domain of the world. A [`gate`] in front of each says how
//!   many connections it gets and when. A destination that is away costs one try now and then, however many messages wait
//!   for it; what waits is not touched meanwhile.
//! - A [`lane`] is one connection. It carries message after message where no client's facts have to be told; else it opens
//!   anew for each, and tells them as the session would have (DECISIONS 29, TRAPS 16).
//! - Recipients are settled each by itself ([`settle`]): who refuses for good is told of, or held for a person, while the others
//!   wait on. [`terms`] are what time alone brings about.
//!
//! All waiting is tokio's and all wall time the clock's, so that days pass in a test.

mod gate;
mod lane;
mod overview;
mod settings;
mod settle;
mod terms;
mod told;
mod transaction;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use record::Clock;
use smtp::Reply;
use spool::{Claim, EntryId, Order, Spool, SpoolError, Waiting, When};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use gate::Gate;
pub use gate::Pace;
use lane::Lane;
pub use overview::{DestinationState, Totals};
pub use settings::{Present, Settings, WayOut};

use crate::report_rate::ReportRate;

/// Events that come together are looked at together.
const BREATH: Duration = Duration::from_millis(2);
/// The queue looks around this often even where nothing is said to have changed.
const ROUND: Duration = Duration::from_secs(30);
/// At the end, messages that are being sent may be sent to their end: a delivery that is not written down happens twice.
const LAST_MESSAGES: Duration = Duration::from_secs(20);

/// The queue of one spool.
pub struct Queue {
    spool: Spool,
    clock: Arc<dyn Clock>,
    present: Present,
    state: Mutex<State>,
    reports: Arc<ReportRate>,
    counts: Counts,
    wake: Notify,
    /// Destinations wait because all connections are in use.
    crowded: AtomicBool,
    ending: AtomicBool,
}

#[derive(Default)]
struct State {
    destinations: HashMap<Arc<str>, Destination>,
    lanes: usize,
    /// Who was looked at first the last time.
    turn: usize,
}

/// What is known of a destination for which something waits.
struct Destination {
    gate: Gate,
    pace: Pace,
    running: usize,
    /// Why it was not reached the last time, and since when it is not, since 1970.
    away: Option<(Reply, Duration)>,
}

/// What an attempt says of a destination.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    /// It took the message, or refused it for good.
    Answered,
    /// It put it off.
    Deferred,
}

/// What happened since the start.
#[derive(Debug, Default)]
struct Counts {
    delivered: AtomicU64,
    reported: AtomicU64,
    set_aside: AtomicU64,
}

impl Counts {
    fn delivered(&self, recipients: usize) {
        self.delivered.fetch_add(recipients as u64, Ordering::Relaxed);
    }

    fn reported(&self) {
        self.reported.fetch_add(1, Ordering::Relaxed);
    }

    fn set_aside(&self) {
        self.set_aside.fetch_add(1, Ordering::Relaxed);
    }
}

impl Queue {
    /// The queue of a spool; nothing happens before [`Queue::run`]. Senders are told no more often than `reports` allows.
    pub fn new(spool: Spool, clock: Arc<dyn Clock>, present: Present, reports: Arc<ReportRate>) -> Arc<Self> {
        Arc::new(Self {
            spool,
            clock,
            present,
            state: Mutex::default(),
            reports,
            counts: Counts::default(),
            wake: Notify::new(),
            crowded: AtomicBool::new(false),
            ending: AtomicBool::new(false),
        })
    }

    /// Delivers until `end`; then messages that are being sent are sent to their end.
    pub async fn run(self: Arc<Self>, end: impl Future<Output = ()>) {
        let mut lanes = JoinSet::new();
        tokio::select! {
            () = end => {}
            () = self.deliver(&mut lanes) => {}
            () = self.keep_terms() => {}
        }
        self.ending.store(true, Ordering::Relaxed);
        let until = Instant::now() + LAST_MESSAGES;
        while let Ok(Some(_)) = timeout_at(until, lanes.join_next()).await {}
    }

    async fn deliver(self: &Arc<Self>, lanes: &mut JoinSet<()>) {
        loop {
            let next = self.start_lanes(lanes);
            tokio::select! {
                Some(_) = lanes.join_next(), if !lanes.is_empty() => {}
                () = self.spool.changed() => {}
                () = self.wake.notified() => {}
                () = sleep_until(next) => {}
            }
            while lanes.try_join_next().is_some() {}
            sleep(BREATH).await;
        }
    }

    /// Opens as many connections as gates and bounds let; returns when to look again.
    fn start_lanes(self: &Arc<Self>, lanes: &mut JoinSet<()>) -> Instant {
        let way = self.way_out();
        let (now, wall) = (Instant::now(), self.clock.now());
        let waiting = self.spool.waiting();
        let mut state = self.state();
        state.forget(&waiting, now);
        let mut next = now + ROUND;
        let mut crowded = false;
        let first = state.turn.checked_rem(waiting.len()).unwrap_or_default();
        state.turn = state.turn.wrapping_add(1);
        for one in waiting[first..].iter().chain(&waiting[..first]) {
            let hidden = way.routing().backends().iter().any(|backend| backend.name() == &*one.destination);
            let pace = way.settings().pace(&one.destination, hidden);
            let all = way.settings().connections;
            loop {
                let running_in_all = state.lanes;
                let destination = state.destination(&one.destination, pace);
                if !destination.gate.opens(destination.running, now) {
                    next = destination.gate.opens_at().filter(|at| *at > now).map_or(next, |at| at.min(next));
                    break;
                }
                if running_in_all >= all {
                    crowded = true;
                    break;
                }
                let when = When { now: wall, eager: destination.gate.takes() };
                let Some(claim) = self.spool.claim_next(&one.destination, when) else {
                    if one.next > wall {
                        next = next.min(now + (one.next - wall));
                    }
                    break;
                };
                destination.running += 1;
                state.lanes += 1;
                let running = Running { queue: Arc::clone(self), destination: Arc::clone(&one.destination) };
                lanes.spawn(running.run(claim));
            }
        }
        self.crowded.store(crowded, Ordering::Relaxed);
        next
    }

    /// A person's order for these messages; returned is for how many it had a meaning.
    ///
    /// # Errors
    ///
    /// The spool's; the order holds for some of them then.
    pub async fn order(&self, ids: &[EntryId], order: &Order) -> Result<usize, SpoolError> {
        if *order == Order::Hasten {
            let names: Vec<_> =
                ids.iter().filter_map(|id| self.spool.entry(*id)).map(|entry| entry.backend).collect();
            let mut state = self.state();
            for name in names {
                if let Some(destination) = state.destinations.get_mut(&name) {
                    destination.gate.hasten();
                }
            }
        }
        let before = self.looked_up(ids);
        let done = self.spool.order(ids, order).await?;
        self.wake.notify_one();
        self.tell_order(&before, order);
        Ok(done)
    }

    /// Something says that the server is back: it need not be left alone any longer.
    pub fn is_back(&self, destination: &str) {
        if let Some(destination) = self.state().destinations.get_mut(destination)
            && destination.away.is_some()
        {
            destination.gate.hasten();
            self.wake.notify_one();
        }
    }

    /// The spool that it drains.
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }

    fn reports(&self) -> &ReportRate {
        &self.reports
    }

    fn way_out(&self) -> Arc<dyn WayOut> {
        (self.present)()
    }

    fn is_hidden(&self, destination: &str) -> bool {
        self.way_out().routing().backends().iter().any(|backend| backend.name() == destination)
    }

    fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    /// Nothing panics while it holds the lock; if it did, every entry is still whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message for a connection that is open already.
    fn claim_another(&self, name: &Arc<str>) -> Option<Claim> {
        if self.ending.load(Ordering::Relaxed) {
            return None;
        }
        let state = self.state();
        let destination = state.destinations.get(name)?;
        if !destination.gate.keeps(destination.running, Instant::now()) {
            return None;
        }
        let when = When { now: self.clock.now(), eager: destination.gate.takes() };
        self.spool.claim_next(name, when)
    }

    /// A message goes out.
    fn sends(&self, name: &str) {
        if let Some(destination) = self.state().destinations.get_mut(name) {
            destination.gate.sends(Instant::now(), destination.pace);
        }
    }

    /// How long the next message has to wait.
    fn throttled(&self, name: &str) -> Option<Duration> {
        let state = self.state();
        let opens = state.destinations.get(name)?.gate.opens_at()?;
        opens.checked_duration_since(Instant::now()).filter(|wait| !wait.is_zero())
    }

    fn said(&self, name: &str, said: Said) {
        if let Some(destination) = self.state().destinations.get_mut(name) {
            match said {
                Said::Answered => {
                    destination.gate.answered(destination.pace);
                    destination.away = None;
                }
                Said::Deferred => {
                    destination.gate.deferred(Instant::now(), destination.pace, rand::random());
                }
            }
        }
        self.wake.notify_one();
    }

    /// A connection to it failed, or it sent one away.
    fn failed(&self, name: &str, words: Reply) {
        let wall = self.clock.now();
        let mut state = self.state();
        let Some(destination) = state.destinations.get_mut(name) else { return };
        let failures = destination.gate.failures();
        destination.gate.failed(Instant::now(), destination.pace, rand::random());
        let since = destination.away.as_ref().map_or(wall, |(_, since)| *since);
        if destination.gate.failures() > failures {
            tracing::warn!(destination = name, %words, failures = failures + 1, "what waits for it is held back");
            destination.away = Some((words, since));
        }
    }

    /// Why a destination is not reached.
    fn words_of(&self, name: &str) -> Option<Reply> {
        self.state().destinations.get(name)?.away.as_ref().map(|(words, _)| words.clone())
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl State {
    fn destination(&mut self, name: &Arc<str>, pace: Pace) -> &mut Destination {
        let new = || Destination { gate: Gate::new(), pace, running: 0, away: None };
        let destination = self.destinations.entry(Arc::clone(name)).or_insert_with(new);
        destination.pace = pace;
        destination
    }

    /// Of destinations for which nothing waits nothing is kept, but that they want to be left alone.
    fn forget(&mut self, waiting: &[Waiting], now: Instant) {
        if self.destinations.len() <= waiting.len() {
            return;
        }
        let names: std::collections::HashSet<&str> = waiting.iter().map(|one| &*one.destination).collect();
        self.destinations.retain(|name, destination| {
            let left_alone = destination.gate.opens_at().is_some_and(|at| at > now);
            destination.running > 0 || left_alone || names.contains(&**name)
        });
    }
}

/// A lane, counted for as long as it lives.
struct Running {
    queue: Arc<Queue>,
    destination: Arc<str>,
}

impl Running {
    async fn run(self, claim: Claim) {
        Lane::new(Arc::clone(&self.queue), Arc::clone(&self.destination)).run(claim).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.lanes = state.lanes.saturating_sub(1);
        if let Some(destination) = state.destinations.get_mut(&self.destination) {
            destination.running = destination.running.saturating_sub(1);
        }
        drop(state);
        self.queue.wake.notify_one();
    }
}

#[cfg(test)]
mod tests;
