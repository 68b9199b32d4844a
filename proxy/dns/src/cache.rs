//! What is remembered of earlier lookups: bounded in octets, the oldest goes first. Nothing in it outlives its time.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smtp::Domain;
use tokio::time::Instant;

/// What an entry takes beside its name (kept twice) and its value.
const OVERHEAD: usize = 256;

/// Values by name.
#[derive(Debug)]
pub(crate) struct Cache<V> {
    /// In octets.
    capacity: usize,
    inner: Mutex<Inner<V>>,
}

#[derive(Debug)]
struct Inner<V> {
    entries: HashMap<Domain, Entry<V>>,
    /// By age.
    order: BTreeMap<u64, Domain>,
    next: u64,
    octets: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    until: Instant,
    octets: usize,
    number: u64,
}

impl<V: Clone> Cache<V> {
    pub(crate) fn new(capacity: usize) -> Self {
        let inner = Inner { entries: HashMap::new(), order: BTreeMap::new(), next: 0, octets: 0 };
        Self { capacity, inner: Mutex::new(inner) }
    }

    /// The value, and how long it still holds.
    pub(crate) fn get(&self, name: &Domain, now: Instant) -> Option<(V, Duration)> {
        let mut inner = self.inner();
        let entry = inner.entries.get(name)?;
        if entry.until > now {
            return Some((entry.value.clone(), entry.until - now));
        }
        inner.remove(name);
        None
    }

    /// Keeps a value of this many octets until then.
    pub(crate) fn put(&self, name: &Domain, value: V, octets: usize, until: Instant) {
        let octets = octets.saturating_add(OVERHEAD + 2 * name.as_str().len());
        let mut inner = self.inner();
        inner.remove(name);
        if octets > self.capacity {
            return;
        }
        while inner.octets + octets > self.capacity {
            let Some((_, oldest)) = inner.order.pop_first() else { break };
            inner.remove(&oldest);
        }
        let number = inner.next;
        inner.next += 1;
        inner.octets += octets;
        inner.order.insert(number, name.clone());
        inner.entries.insert(name.clone(), Entry { value, until, octets, number });
    }

    /// Nothing panics while it holds the lock.
    fn inner(&self) -> MutexGuard<'_, Inner<V>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Inner<V> {
    fn remove(&mut self, name: &Domain) {
        if let Some(entry) = self.entries.remove(name) {
            self.order.remove(&entry.number);
            self.octets -= entry.octets;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Domain {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_holds_for_its_time_and_no_longer() {
        let cache = Cache::new(10_000);
        let start = Instant::now();
        cache.put(&name("a.example"), 1, 100, start + Duration::from_secs(10));
        assert_eq!(
            cache.get(&name("a.example"), start + Duration::from_secs(4)),
            Some((1, Duration::from_secs(6)))
        );
        assert_eq!(cache.get(&name("a.example"), start + Duration::from_secs(10)), None);
        assert_eq!(cache.inner().octets, 0, "what is over is gone");
        assert_eq!(cache.get(&name("b.example"), start), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_makes_room_and_the_sum_stays_below_the_capacity() {
        let cache = Cache::new(5_000);
        let until = Instant::now() + Duration::from_secs(10);
        for round in 0..3 {
            for number in 0..100 {
                cache.put(&name(&format!("{number}.example")), round, 700, until);
                let inner = cache.inner();
                assert!(inner.octets <= 5_000);
                assert_eq!(inner.octets, inner.entries.values().map(|entry| entry.octets).sum::<usize>());
                assert_eq!(inner.order.len(), inner.entries.len());
            }
        }
        let now = Instant::now();
        assert_eq!(cache.get(&name("99.example"), now).unwrap().0, 2);
        assert_eq!(cache.get(&name("90.example"), now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_put_again_replaces_what_was_there() {
        let cache = Cache::new(5_000);
        let now = Instant::now();
        for value in 0..1_000 {
            cache.put(&name("a.example"), value, 700, now + Duration::from_secs(1));
        }
        assert_eq!(cache.get(&name("a.example"), now).unwrap().0, 999);
        assert_eq!(cache.inner().order.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_larger_than_everything_is_not_kept() {
        let cache = Cache::new(1_000);
        let now = Instant::now();
        cache.put(&name("small.example"), 1, 100, now + Duration::from_secs(1));
        cache.put(&name("large.example"), 1, 1_000, now + Duration::from_secs(1));
        assert_eq!(cache.get(&name("large.example"), now), None);
        assert!(cache.get(&name("small.example"), now).is_some());
    }
}
