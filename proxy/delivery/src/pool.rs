//! Connections that wait for the next session: only such as carry no client's facts and are in step.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;

use route::Backend;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use crate::network::Stream;
use crate::open::OpenLeg;
use crate::timeouts;

/// More than this wait for no backend on one thread: servers limit connections from one address.
const WAITING_PER_BACKEND: usize = 20;

/// Open connections by backend.
#[derive(Default)]
pub struct Pool {
    waiting: Mutex<HashMap<Key, Vec<Waiting>>>,
}

/// A connection is used again on the thread whose runtime it belongs to: elsewhere every reply would wake two.
///
/// Backends are known by where they live: a reload makes new ones, and connections of the old ones are not mixed up. A
/// connection that waits keeps its backend, and so the address, from being used again.
type Key = (ThreadId, usize);

fn key(backend: &Arc<Backend>) -> Key {
    (std::thread::current().id(), Arc::as_ptr(backend).addr())
}

struct Waiting {
    leg: OpenLeg,
    since: Instant,
}

impl Pool {
    /// The connection that was used last and is still good.
    pub fn take(&self, backend: &Arc<Backend>) -> Option<OpenLeg> {
        loop {
            let mut waiting = self.waiting().get_mut(&key(backend))?.pop()?;
            if waiting.since.elapsed() < timeouts::POOLED && is_quiet(&mut waiting.leg.stream) {
                waiting.leg.far.mark_reused();
                return Some(waiting.leg);
            }
        }
    }

    /// Puts a connection back, if another session may use it; else it is dropped.
    pub fn put(&self, mut leg: OpenLeg) {
        if !leg.far.is_reusable() {
            return;
        }
        leg.far.set_asking_back(None);
        let mut all = self.waiting();
        let waiting = all.entry(key(leg.far.backend())).or_default();
        if waiting.len() < WAITING_PER_BACKEND {
            waiting.push(Waiting { leg, since: Instant::now() });
        }
    }

    /// Drops what has waited too long. To be called every few seconds.
    pub fn sweep(&self) {
        self.waiting().retain(|_, waiting| {
            waiting.retain(|one| one.since.elapsed() < timeouts::POOLED);
            !waiting.is_empty()
        });
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting().values().map(Vec::len).sum()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Nothing panics while it holds the lock; if it did, every entry is still whole.
    fn waiting(&self) -> MutexGuard<'_, HashMap<Key, Vec<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the server has neither closed nor said anything since.
fn is_quiet(stream: &mut Stream) -> bool {
    let mut byte = [0];
    let mut context = Context::from_waker(Waker::noop());
    matches!(std::pin::Pin::new(stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte)), Poll::Pending)
}
