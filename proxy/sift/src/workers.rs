//! The gate's side: who is free, who waits, and what becomes of a worker that failed.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use crate::body::Body;
use crate::content::Content;
use crate::error::SiftError;
use crate::facts::Facts;
use crate::failures::Failures;
use crate::frame::Answer;
use crate::line::{Line, Waiting};
use crate::read::{Bounds, read};
use crate::seat::{Fault, Seat};
use crate::{packet, worker};

/// What a new worker must answer before it gets a body.
const PROBE: &[u8] = b"Subject: probe\r\n\r\nline\r\n";
/// What that comes to.
const PROBED: Facts = Facts {
    octets: 24,
    lines: 3,
    longest_line: 14,
    nuls: 0,
    eight_bit: 0,
    header_octets: 16,
    header_fields: 1,
};

/// What is waited for, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// From the moment a worker has the body to its answer.
    pub deadline: Duration,
    /// For a worker that comes free.
    pub patience: Duration,
    /// Bodies that may wait for one; each holds its message in memory or on disk meanwhile.
    pub waiting: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(10), patience: Duration::from_secs(5), waiting: 256 }
    }
}

/// A worker that was started.
#[derive(Debug)]
pub struct Worker {
    /// Which place it takes: whoever had it before is replaced.
    pub slot: usize,
    /// The gate's end of its socket pair.
    pub socket: OwnedFd,
    /// A pidfd by which it is ended; `None` for a thread, which ends with its socket.
    pub process: Option<OwnedFd>,
    /// Its process, for people; 0 for a thread.
    pub pid: u32,
    /// How often this place was filled anew.
    pub restarts: u32,
}

/// A worker as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeatState {
    /// Which place.
    pub slot: usize,
    /// Its process; 0 for a thread.
    pub pid: u32,
    /// How often the place was filled anew.
    pub restarts: u32,
    /// Whether it has shown that it works, and has not failed since.
    pub works: bool,
}

/// What a worker says of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sifted {
    /// Its outer form.
    pub facts: Facts,
    /// What it says.
    pub content: Content,
}

/// All workers of a gate.
#[derive(Debug)]
pub struct Workers {
    settings: Settings,
    /// Where the sockets are watched.
    runtime: Handle,
    /// Workers are threads, and started here; else somebody outside does that when one ends.
    threads: bool,
    idle: Mutex<Vec<Seat>>,
    /// As many permits as there are idle seats.
    free: Semaphore,
    line: Line,
    next_id: AtomicU64,
    failures: Mutex<Failures>,
    seats: Mutex<BTreeMap<usize, SeatState>>,
}

impl Workers {
    /// None yet: [`Workers::join`] brings them, and brings new ones when old ones have ended. Must be called within
    /// the runtime that outlives them.
    pub fn of_processes(settings: Settings) -> Arc<Self> {
        Self::new(settings, false)
    }

    /// `count` threads of this process, for where nobody may start processes with fewer rights. Must be called within
    /// the runtime that outlives them.
    pub fn of_threads(settings: Settings, count: usize) -> Arc<Self> {
        let workers = Self::new(settings, true);
        (0..count).for_each(|slot| workers.start_thread(slot, 0));
        workers
    }

    fn new(settings: Settings, threads: bool) -> Arc<Self> {
        Arc::new(Self {
            settings,
            runtime: Handle::current(),
            threads,
            idle: Mutex::default(),
            free: Semaphore::new(0),
            line: Line::default(),
            next_id: AtomicU64::new(0),
            failures: Mutex::default(),
            seats: Mutex::default(),
        })
    }

    /// A worker was started. It gets a probe first, and bodies once it has answered that.
    pub fn join(self: &Arc<Self>, worker: Worker) {
        let Worker { slot, pid, restarts, .. } = worker;
        let _within = self.runtime.enter();
        locked(&self.seats).insert(slot, SeatState { slot, pid, restarts, works: false });
        // Who had the place before may have ended while nobody needed him.
        locked(&self.idle).retain(|seat| seat.slot != slot);
        match Seat::new(worker) {
            Ok(seat) => {
                let workers = Arc::clone(self);
                self.runtime.spawn(async move { workers.probe(seat).await });
            }
            Err(error) => tracing::error!(%error, slot, "a sift worker cannot be spoken to"),
        }
    }

    /// The workers, by place.
    pub fn seats(&self) -> Vec<SeatState> {
        locked(&self.seats).values().copied().collect()
    }

    /// Who waits for a worker to come free.
    pub fn waiting(&self) -> Waiting {
        self.line.waiting(Instant::now())
    }

    /// What is waited for, and how long.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// What a body is and says, after at most `patience` and `deadline`.
    ///
    /// # Errors
    ///
    /// [`SiftError`]; the body is as good as before.
    pub async fn read(self: &Arc<Self>, body: &Body) -> Result<Sifted, SiftError> {
        let may_be_held = locked(&self.failures).may_hold(body.length());
        if may_be_held {
            let digest = digest(body).await?;
            if locked(&self.failures).holds(body.length(), &digest) {
                return Err(SiftError::Held);
            }
        }
        match self.ask_one(body).await? {
            Ok(sifted) => sifted.ok_or(SiftError::Body("it cannot be read")),
            Err(why) => {
                let digest = digest(body).await?;
                match locked(&self.failures).note(body.length(), digest) {
                    true => Err(SiftError::Held),
                    false => Err(SiftError::Failed(why)),
                }
            }
        }
    }

    /// Asks the first worker that is there. The inner error is the body's doing, as far as one can tell.
    async fn ask_one(
        self: &Arc<Self>,
        body: &Body,
    ) -> Result<Result<Option<Sifted>, &'static str>, SiftError> {
        let patience = Instant::now() + self.settings.patience;
        loop {
            let in_use = self.take(patience).await?;
            match timeout(self.settings.deadline, in_use.ask(body)).await {
                Ok(Ok((answer, content))) => {
                    in_use.done(&answer);
                    let sifted = answer.facts.zip(content).map(|(facts, content)| Sifted { facts, content });
                    return Ok(Ok(sifted));
                }
                Ok(Err(Fault::Gone)) => {}
                Ok(Err(fault)) => return Ok(Err(fault.words())),
                Err(_) => return Ok(Err("it did not answer in time")),
            }
        }
    }

    async fn take(self: &Arc<Self>, patience: Instant) -> Result<InUse, SiftError> {
        let mut waits = None;
        loop {
            if self.free.available_permits() == 0 && waits.is_none() {
                waits = Some(self.line.join(self.settings.waiting, Instant::now()).ok_or(SiftError::Busy)?);
            }
            let permit = timeout_at(patience, self.free.acquire()).await;
            permit.ok().and_then(Result::ok).ok_or(SiftError::Busy)?.forget();
            // A permit whose seat was taken away by `join` leads nowhere.
            if let Some(seat) = locked(&self.idle).pop() {
                return Ok(InUse { workers: Arc::clone(self), seat: Some(seat) });
            }
        }
    }

    /// A worker that does not answer this right would not answer anything right.
    async fn probe(self: Arc<Self>, seat: Seat) {
        let in_use = InUse { workers: Arc::clone(&self), seat: Some(seat) };
        let Ok(body) = Body::from_bytes(PROBE) else { return };
        match timeout(self.settings.deadline, in_use.ask(&body)).await {
            Ok(Ok((answer, Some(content))))
                if answer.facts == Some(PROBED) && content == read(PROBE, &Bounds::default()) =>
            {
                in_use.done(&answer);
            }
            _ => {}
        }
    }

    fn admit(&self, seat: Seat) {
        let mut seats = locked(&self.seats);
        match seats.get_mut(&seat.slot) {
            Some(state) if state.restarts == seat.restarts => state.works = true,
            // Another has its place by now.
            _ => return,
        }
        drop(seats);
        locked(&self.idle).push(seat);
        self.free.add_permits(1);
    }

    /// A worker failed and was ended.
    fn lost(self: &Arc<Self>, slot: usize, filling: u32) {
        let mut seats = locked(&self.seats);
        match seats.get_mut(&slot) {
            Some(state) if state.restarts == filling => state.works = false,
            _ => return,
        }
        drop(seats);
        tracing::warn!(slot, "a sift worker has ended and is replaced");
        if self.threads {
            self.start_thread(slot, filling.saturating_add(1));
        }
    }

    fn start_thread(self: &Arc<Self>, slot: usize, restarts: u32) {
        let started = packet::pair().and_then(|(socket, far)| {
            let name = format!("sift-{slot}");
            std::thread::Builder::new().name(name).spawn(move || {
                if let Err(error) = worker::serve(&far, || true) {
                    tracing::error!(%error, slot, "a sift worker's socket broke");
                }
            })?;
            Ok(socket)
        });
        match started {
            Ok(socket) => self.join(Worker { slot, socket, process: None, pid: 0, restarts }),
            Err(error) => tracing::error!(%error, slot, "a sift worker cannot be started"),
        }
    }
}

/// A worker that is looking at a body. Dropped before it was [`InUse::done`], it is ended.
struct InUse {
    workers: Arc<Workers>,
    /// Taken only by what ends this value.
    seat: Option<Seat>,
}

impl InUse {
    async fn ask(&self, body: &Body) -> Result<(Answer, Option<Content>), Fault> {
        let id = self.workers.next_id.fetch_add(1, Ordering::Relaxed);
        match &self.seat {
            Some(seat) => seat.ask(id, body).await,
            None => Err(Fault::Gone),
        }
    }

    fn done(mut self, answer: &Answer) {
        if !answer.last
            && let Some(seat) = self.seat.take()
        {
            self.workers.admit(seat);
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if let Some(seat) = self.seat.take() {
            let (slot, filling) = (seat.slot, seat.restarts);
            drop(seat);
            self.workers.lost(slot, filling);
        }
    }
}

async fn digest(body: &Body) -> Result<[u8; 32], SiftError> {
    let body = body.try_clone()?;
    let digest = tokio::task::spawn_blocking(move || body.digest()).await;
    Ok(digest.unwrap_or_else(|error| Err(std::io::Error::other(error)))?)
}

/// Nothing panics while it holds one of these locks.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
