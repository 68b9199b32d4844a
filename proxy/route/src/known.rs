//! What hidden servers said of recipients, for the time when they are down: in memory, written behind in batches.
//!
//! A session only touches one of several small tables under a lock that is held for some hundred nanoseconds, and of a
//! recipient that was seen within the hour it changes nothing. The disk is somebody else's: [`Known::changes`] gives what is to
//! be stored, [`Known::restore`] takes it back after a restart.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use store::{Change, Pairs, Table};

pub(crate) use fact::Fact;
use fact::Stored;

mod fact;

/// Where what is known of recipients is stored.
pub const RECIPIENTS: Table = Table("recipients");
/// Where it is stored of which domains every recipient is accepted.
pub const DOMAINS: Table = Table("domains");

/// Tables: sessions of different threads rarely meet at one.
const SHARDS: usize = 16;
/// A recipient that was seen again sooner is not noted again: most mail is for those that had some just now.
const REFRESH: Duration = Duration::from_secs(3600);
/// Recipients of one table that wait to be stored; beyond, what is learnt stays in memory alone.
const WAITING: usize = 20_000;
/// How much of a full table goes, oldest first, to make room: one in so many.
const SHARE_EVICTED: usize = 8;

/// How much is remembered, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Recipients that were accepted, at most.
    pub accepted: usize,
    /// Recipients that were refused, at most. They are counted apart: whoever guesses names must not push out the real ones.
    pub refused: usize,
    /// How long an accepted one counts after it was last seen.
    pub accepted_for: Duration,
    /// How long a refusal counts: a mailbox that is made today is to be found.
    pub refused_for: Duration,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            accepted: 200_000,
            refused: 50_000,
            accepted_for: Duration::from_secs(60 * 86_400),
            refused_for: Duration::from_secs(12 * 3600),
        }
    }
}

/// What was answered about recipients of all backends.
#[derive(Debug)]
pub struct Known {
    memory: Memory,
    chooser: std::hash::RandomState,
    shards: [Mutex<Shard>; SHARDS],
    domains: Mutex<Domains>,
    /// Backends of which somebody was ever known.
    backends: Mutex<HashSet<Box<str>>>,
}

#[derive(Debug, Default)]
struct Shard {
    accepted: HashMap<Box<str>, Fact>,
    /// With the time since 1970 in seconds.
    refused: HashMap<Box<str>, u64>,
    /// To be stored, or to be removed from the store.
    waiting: HashSet<Box<str>>,
}

/// By backend and domain: whether every recipient is accepted, and when that was found out, in seconds since 1970.
#[derive(Debug, Default)]
struct Domains {
    found: HashMap<Box<str>, (bool, u64)>,
    waiting: HashSet<Box<str>>,
}

/// How many are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Accepted.
    pub accepted: usize,
    /// Refused lately.
    pub refused: usize,
}

impl Known {
    /// Nothing is known yet.
    pub fn new(memory: Memory) -> Self {
        Self {
            memory,
            chooser: Default::default(),
            shards: Default::default(),
            domains: Mutex::default(),
            backends: Mutex::default(),
        }
    }

    /// Under which a mailbox is known. A backend's name cannot hold NUL, nor can a domain.
    pub(crate) fn key(backend: &str, domain: &str, local_part: &str) -> String {
        let mut key = String::with_capacity(backend.len() + domain.len() + local_part.len() + 2);
        for part in [backend, "\0", domain, "\0", local_part] {
            key.push_str(part);
        }
        key
    }

    /// A server accepted it; `now` is the time since 1970 here and below.
    pub(crate) fn accepted(&self, key: &str, now: Duration) {
        self.note(key, now, false);
    }

    /// A server took a message for it.
    pub(crate) fn delivered(&self, key: &str, now: Duration) {
        self.note(key, now, true);
    }

    fn note(&self, key: &str, now: Duration, delivered: bool) {
        let mut shard = self.shard(key);
        if !shard.refused.is_empty() {
            shard.refused.remove(key);
        }
        match shard.accepted.get_mut(key) {
            Some(fact) if now.saturating_sub(fact.seen()) < REFRESH && (fact.delivered || !delivered) => {
                return;
            }
            Some(fact) => *fact = Fact { seen: now.as_secs(), delivered: fact.delivered || delivered },
            None => {
                let most = self.memory.accepted / SHARDS;
                if shard.accepted.len() >= most.max(1) {
                    shard.make_room();
                }
                shard.accepted.insert(key.into(), Fact { seen: now.as_secs(), delivered });
                self.knows_of(key);
            }
        }
        shard.await_storing(key);
    }

    /// A server said that there is no such mailbox.
    pub(crate) fn refused(&self, key: &str, now: Duration) {
        let mut shard = self.shard(key);
        let was_accepted = shard.accepted.remove(key).is_some();
        if shard.refused.len() >= (self.memory.refused / SHARDS).max(1) {
            for key in make_room(&mut shard.refused, |when| *when) {
                shard.await_storing(&key);
            }
        }
        let before = shard.refused.insert(key.into(), now.as_secs());
        let fresh = before.is_some_and(|when| now.saturating_sub(Duration::from_secs(when)) < REFRESH);
        if was_accepted || !fresh {
            shard.await_storing(key);
        }
    }

    /// What is known of it, as far as that still counts.
    pub(crate) fn fact(&self, key: &str, now: Duration) -> Option<Fact> {
        let fact = *self.shard(key).accepted.get(key)?;
        (now.saturating_sub(fact.seen()) < self.memory.accepted_for).then_some(fact)
    }

    /// Whether it was refused lately.
    pub(crate) fn was_refused(&self, key: &str, now: Duration) -> bool {
        let when = self.shard(key).refused.get(key).copied();
        when.is_some_and(|when| now.saturating_sub(Duration::from_secs(when)) < self.memory.refused_for)
    }

    /// A recipient that cannot exist was accepted in this domain, or was not (DECISIONS 31).
    pub(crate) fn domain_found(&self, backend: &str, domain: &str, everything: bool, now: Duration) {
        let key = format!("{backend}\0{domain}");
        let mut domains = self.domains();
        let before = domains.found.insert(key.as_str().into(), (everything, now.as_secs()));
        if before.map(|(before, _)| before) != Some(everything) {
            domains.waiting.insert(key.into());
        }
    }

    /// Whether all recipients of a domain are accepted; `None` where that was not found out.
    pub(crate) fn accepts_everything(&self, backend: &str, domain: &str) -> Option<bool> {
        self.domains().found.get(format!("{backend}\0{domain}").as_str()).map(|(everything, _)| *everything)
    }

    /// How many are known of a backend.
    pub(crate) fn count(&self, backend: &str) -> Count {
        let of_backend = |key: &str| key.split('\0').next() == Some(backend);
        let mut count = Count::default();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            count.accepted += shard.accepted.keys().filter(|key| of_backend(key)).count();
            count.refused += shard.refused.keys().filter(|key| of_backend(key)).count();
        }
        count
    }

    /// By backend and domain: to how many addresses a message was delivered. Two that differ in case are one.
    pub(crate) fn mailboxes(&self) -> HashMap<(Box<str>, Box<str>), usize> {
        let mut mailboxes: HashMap<(Box<str>, Box<str>), usize> = HashMap::new();
        // Those that were not written in lower case: few have any.
        let mut mixed: HashSet<String> = HashSet::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, _) in shard.accepted.iter().filter(|(_, fact)| fact.delivered) {
                let Some((backend, domain, local_part)) = parts_of(key) else { continue };
                if local_part.chars().any(char::is_uppercase) {
                    mixed.insert(Self::key(backend, domain, &local_part.to_lowercase()));
                } else {
                    *mailboxes.entry((backend.into(), domain.into())).or_default() += 1;
                }
            }
        }
        for key in mixed {
            let is_counted = self.shard(&key).accepted.get(key.as_str()).is_some_and(|fact| fact.delivered);
            if let Some((backend, domain, _)) = parts_of(&key).filter(|_| !is_counted) {
                *mailboxes.entry((backend.into(), domain.into())).or_default() += 1;
            }
        }
        mailboxes
    }

    fn knows_of(&self, key: &str) {
        let backend = key.split('\0').next().unwrap_or_default();
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        if !backends.contains(backend) {
            backends.insert(backend.into());
        }
    }

    /// Whether nobody was ever known of a backend.
    pub(crate) fn knows_nobody(&self, backend: &str) -> bool {
        !self.backends.lock().unwrap_or_else(PoisonError::into_inner).contains(backend)
    }

    /// What is to be stored in [`RECIPIENTS`] since the last call, at most a batch. Where it cannot be stored, say so:
    /// [`Known::not_stored`].
    pub fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let room = store::MAX_CHANGES - changes.len();
            let keys: Vec<Box<str>> = shard.waiting.iter().take(room).cloned().collect();
            for key in keys {
                shard.waiting.remove(&key);
                let accepted = shard.accepted.get(&key).map(|fact| Stored::Accepted(*fact));
                changes.push(
                    match accepted.or_else(|| shard.refused.get(&key).map(|when| Stored::Refused(*when))) {
                        Some(fact) => Change::Put(key.as_bytes().into(), fact.to_bytes().into()),
                        None => Change::Remove(key.as_bytes().into()),
                    },
                );
            }
        }
        changes
    }

    /// The same for [`DOMAINS`].
    pub fn domain_changes(&self) -> Vec<Change> {
        let mut domains = self.domains();
        let keys: Vec<Box<str>> = domains.waiting.drain().take(store::MAX_CHANGES).collect();
        let found = &domains.found;
        let change = |key: Box<str>| {
            let (everything, when) = found.get(&key)?;
            let fact = match everything {
                true => Stored::Accepted(Fact { seen: *when, delivered: false }),
                false => Stored::Refused(*when),
            };
            Some(Change::Put(key.as_bytes().into(), fact.to_bytes().into()))
        };
        keys.into_iter().filter_map(change).collect()
    }

    /// These changes could not be stored: they are given again.
    pub fn not_stored(&self, changes: &[Change]) {
        for change in changes {
            let (Change::Put(key, _) | Change::Remove(key) | Change::Add(key, _)) = change;
            let Ok(key) = std::str::from_utf8(key) else { continue };
            match key.matches('\0').count() {
                1 => drop(self.domains().waiting.insert(key.into())),
                _ => self.shard(key).await_storing(key),
            }
        }
    }

    /// The store lost what it had: everything is given again.
    pub fn store_all_again(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let all: Vec<Box<str>> =
                shard.accepted.keys().chain(shard.refused.keys()).take(WAITING).cloned().collect();
            shard.waiting.extend(all);
        }
        let mut domains = self.domains();
        let all: Vec<Box<str>> = domains.found.keys().cloned().collect();
        domains.waiting.extend(all);
    }

    /// Takes a page of [`RECIPIENTS`] back; what no longer counts, or is no fact, is left out and removed from the store.
    pub fn restore(&self, pairs: &Pairs, now: Duration) {
        for (key, value) in pairs {
            let Ok(key) = std::str::from_utf8(key) else { continue };
            let age = |when: u64| now.saturating_sub(Duration::from_secs(when));
            let mut shard = self.shard(key);
            let (accepted, refused) = (self.memory.accepted / SHARDS, self.memory.refused / SHARDS);
            match Stored::from_bytes(value) {
                Some(Stored::Accepted(fact))
                    if age(fact.seen) < self.memory.accepted_for
                        && shard.accepted.len() < accepted.max(1) =>
                {
                    shard.accepted.entry(key.into()).or_insert(fact);
                    self.knows_of(key);
                }
                Some(Stored::Refused(when))
                    if age(when) < self.memory.refused_for && shard.refused.len() < refused.max(1) =>
                {
                    shard.refused.entry(key.into()).or_insert(when);
                }
                _ => shard.await_storing(key),
            }
        }
    }

    /// Takes a page of [`DOMAINS`] back.
    pub fn restore_domains(&self, pairs: &Pairs) {
        let mut domains = self.domains();
        for (key, value) in pairs {
            let Ok(key) = std::str::from_utf8(key) else { continue };
            let found = match Stored::from_bytes(value) {
                Some(Stored::Accepted(fact)) => (true, fact.seen),
                Some(Stored::Refused(when)) => (false, when),
                None => continue,
            };
            domains.found.entry(key.into()).or_insert(found);
        }
    }

    /// Forgets what no longer counts. To be called every now and then.
    pub fn sweep(&self, now: Duration) {
        let old = |seen: u64, lifetime: Duration| now.saturating_sub(Duration::from_secs(seen)) >= lifetime;
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let accepted = shard.accepted.iter().filter(|(_, fact)| old(fact.seen, self.memory.accepted_for));
            let refused = shard.refused.iter().filter(|(_, when)| old(**when, self.memory.refused_for));
            let gone = accepted.map(|(key, _)| key).chain(refused.map(|(key, _)| key));
            let gone: Vec<Box<str>> = gone.cloned().collect();
            for key in gone {
                shard.accepted.remove(&key);
                shard.refused.remove(&key);
                shard.await_storing(&key);
            }
        }
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard> {
        let at = usize::try_from(self.chooser.hash_one(key) % SHARDS as u64).unwrap_or_default();
        // Nothing panics while it holds the lock; if it did, every fact is still one.
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn domains(&self) -> MutexGuard<'_, Domains> {
        self.domains.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Known {
    fn default() -> Self {
        Self::new(Memory::default())
    }
}

impl Shard {
    fn await_storing(&mut self, key: &str) {
        if self.waiting.len() < WAITING {
            self.waiting.insert(key.into());
        }
    }

    fn make_room(&mut self) {
        for key in make_room(&mut self.accepted, |fact| fact.seen) {
            self.await_storing(&key);
        }
    }
}

/// Backend, domain and local part of a key; a postmaster without a domain is of none.
fn parts_of(key: &str) -> Option<(&str, &str, &str)> {
    let mut parts = key.splitn(3, '\0');
    let (backend, domain, local_part) = (parts.next()?, parts.next()?, parts.next()?);
    (!domain.is_empty()).then_some((backend, domain, local_part))
}

/// Takes the oldest share out; returns it.
fn make_room<T>(table: &mut HashMap<Box<str>, T>, seen: impl Fn(&T) -> u64) -> Vec<Box<str>> {
    let mut times: Vec<u64> = table.values().map(&seen).collect();
    let count = (times.len() / SHARE_EVICTED).max(1);
    let (_, latest, _) = times.select_nth_unstable(count - 1);
    let latest = *latest;
    let oldest = table.iter().filter(|(_, value)| seen(value) <= latest).map(|(key, _)| key.clone());
    let gone: Vec<Box<str>> = oldest.take(count).collect();
    gone.iter().for_each(|key| drop(table.remove(key)));
    gone
}

#[cfg(test)]
mod tests;
