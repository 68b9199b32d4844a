//! What is counted by day and domain until the day is reported on: in memory at first, soon in the store, so that a crash loses little.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use store::{Change, Store, StoreError, Table};
use tokio::time::Instant;

use crate::tls_report::DAY;

/// Octets of a domain and of what is counted, together: the store's keys have 1024, and a day and a mark are in them, too.
const MAX_COUNTED: usize = 1000;
/// Kinds between two writes; mail that makes more of them is not worth the memory.
const MAX_KINDS: usize = 10_000;

/// How often what was counted goes to the store: what a crash can lose.
const WRITE: Duration = Duration::from_secs(10);
/// How often it is looked whether a day is over.
const LOOK: Duration = Duration::from_secs(600);
/// After midnight reporters wait for a while, each its own (RFC 8460 §4.1: up to four hours).
const SPREAD: u64 = 4 * 3600;

/// When to write, and when to look.
#[derive(Default)]
pub(super) struct Round {
    looked: Option<Instant>,
}

impl Round {
    /// Waits until it is time to write; whether it is time to look, too.
    pub(super) async fn next(&mut self) -> bool {
        tokio::time::sleep(WRITE).await;
        let now = Instant::now();
        let looks = self.looked.is_none_or(|at| now.saturating_duration_since(at) >= LOOK);
        if looks {
            self.looked = Some(now);
        }
        looks
    }
}

/// The day, since 1970, that is not over yet for this reporter.
pub(super) fn today(now: Duration, hostname: &str) -> u64 {
    let digest = Sha256::digest(hostname);
    let wait = u64::from(u16::from_be_bytes([digest[0], digest[1]])) * SPREAD / u64::from(u16::MAX);
    now.as_secs().saturating_sub(wait) / DAY
}

/// Changes of one batch: the store takes ten thousand, and others wait meanwhile.
pub(super) const BATCH: usize = 1000;

/// Day, domain, and what is counted of it.
type Kind = (u64, Box<str>, Box<[u8]>);

/// Counters of one sort.
pub(super) struct Tally {
    table: Table,
    store: Store,
    unwritten: Mutex<HashMap<Kind, u64>>,
}

impl Tally {
    pub(super) fn new(table: Table, store: Store) -> Self {
        Self { table, store, unwritten: Mutex::default() }
    }

    /// Counts one of what is not empty; of a new kind `instead`, where there are too many. `false` where that is none either.
    pub(super) fn note(&self, day: u64, domain: &str, counted: &[u8], instead: Option<&[u8]>) -> bool {
        if counted.is_empty() || domain.len() + counted.len() > MAX_COUNTED {
            return false;
        }
        let mut unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kind: Kind = (day, domain.into(), counted.into());
        if unwritten.len() >= MAX_KINDS && !unwritten.contains_key(&kind) {
            let Some(instead) = instead else { return false };
            kind.2 = instead.into();
        }
        *unwritten.entry(kind).or_default() += 1;
        true
    }

    /// Puts it into the store. What cannot be put there is tried again with the next.
    pub(super) async fn write(&self) -> Result<(), StoreError> {
        let unwritten = std::mem::take(&mut *self.unwritten.lock().unwrap_or_else(PoisonError::into_inner));
        let unwritten: Vec<(Kind, u64)> = unwritten.into_iter().collect();
        let add = |((day, domain, counted), count): &(Kind, u64)| {
            Change::Add(key(*day, domain, counted), i64::try_from(*count).unwrap_or(i64::MAX))
        };
        for (at, some) in unwritten.chunks(BATCH).enumerate() {
            if let Err(error) = self.store.apply(self.table, some.iter().map(add).collect()).await {
                let mut since = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
                for (kind, count) in unwritten.into_iter().skip(at * BATCH) {
                    *since.entry(kind).or_default() += count;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Days before `today`, with the domains of each, as far as they are in the store.
    pub(super) async fn before(&self, today: u64) -> Result<BTreeSet<(u64, Box<str>)>, StoreError> {
        let mut days = BTreeSet::new();
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let page = self.store.scan(self.table, after.as_deref()).await?;
            let Some((last, _)) = page.last() else { return Ok(days) };
            after = Some(last.clone());
            for (day, domain, _) in page.iter().filter_map(|(key, _)| parts(key)) {
                // Keys begin with the day.
                if day >= today {
                    return Ok(days);
                }
                days.insert((day, domain.into()));
            }
        }
    }

    /// What was counted of a domain's day; of more than `most` kinds the first.
    pub(super) async fn counts(
        &self,
        day: u64,
        domain: &str,
        most: usize,
    ) -> Result<Vec<(Box<[u8]>, u64)>, StoreError> {
        let prefix = key(day, domain, &[]);
        let mut counts = Vec::new();
        let mut after = prefix.clone();
        loop {
            let page = self.store.scan(self.table, Some(&after)).await?;
            let Some((last, _)) = page.last() else { return Ok(counts) };
            after = last.clone();
            for (key, value) in &page {
                let Some(counted) = key.strip_prefix(&*prefix) else { return Ok(counts) };
                if counts.len() >= most {
                    return Ok(counts);
                }
                let count = store::counter(value).unwrap_or_default();
                counts.push((counted.into(), u64::try_from(count).unwrap_or_default()));
            }
        }
    }

    /// It has been reported.
    pub(super) async fn forget(&self, day: u64, domain: &str) -> Result<(), StoreError> {
        forget(&self.store, self.table, day, domain).await
    }
}

/// Removes what a table has of a domain's day.
pub(super) async fn forget(store: &Store, table: Table, day: u64, domain: &str) -> Result<(), StoreError> {
    let prefix = key(day, domain, &[]);
    loop {
        let page = store.scan(table, Some(&prefix)).await?;
        let own = page.iter().take_while(|(key, _)| key.starts_with(&prefix));
        let changes: Vec<_> = own.map(|(key, _)| Change::Remove(key.clone())).collect();
        if changes.is_empty() {
            return Ok(());
        }
        store.apply(table, changes).await?;
    }
}

/// Day, domain, a mark, then what is counted.
pub(super) fn key(day: u64, domain: &str, counted: &[u8]) -> Box<[u8]> {
    let day = u32::try_from(day).unwrap_or(u32::MAX).to_be_bytes();
    [&day[..], domain.as_bytes(), &[0], counted].concat().into()
}

/// The parts of a key.
pub(super) fn parts(key: &[u8]) -> Option<(u64, &str, &[u8])> {
    let (day, rest) = key.split_first_chunk::<4>()?;
    let end = rest.iter().position(|&octet| octet == 0)?;
    let (domain, rest) = rest.split_at(end);
    Some((u32::from_be_bytes(*day).into(), std::str::from_utf8(domain).ok()?, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn store(folder: &std::path::Path) -> Store {
        let settings = store::Settings::in_folder(folder.to_owned());
        Store::start(settings, Arc::new(record::SystemClock)).unwrap()
    }

    #[tokio::test]
    async fn days_that_are_over_are_found_with_their_counts_and_forgotten_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let tally = Tally::new(Table("tally"), store(folder.path()));
        for (day, domain, counted) in
            [(7, "a.test", "x"), (7, "a.test", "x"), (7, "a.test.more", "x"), (8, "a.test", "x")]
        {
            assert!(tally.note(day, domain, counted.as_bytes(), None));
        }
        assert!(!tally.note(7, "a.test", b"", None));
        tally.write().await.unwrap();
        assert!(tally.note(7, "a.test", b"x", None));
        tally.write().await.unwrap();
        let days: Vec<_> = tally.before(8).await.unwrap().into_iter().collect();
        assert_eq!(days, [(7, "a.test".into()), (7, "a.test.more".into())]);
        let counts = tally.counts(7, "a.test", 10).await.unwrap();
        assert_eq!(counts, [(Box::from(&b"x"[..]), 3)]);
        tally.forget(7, "a.test").await.unwrap();
        assert_eq!(tally.before(9).await.unwrap().len(), 2);
        assert!(tally.counts(7, "a.test", 10).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_has_too_many_kinds_is_counted_together_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let tally = Tally::new(Table("tally"), store(folder.path()));
        for kind in 0..MAX_KINDS {
            assert!(tally.note(7, "a.test", kind.to_string().as_bytes(), None));
        }
        assert!(tally.note(7, "a.test", b"5", None), "a known one");
        assert!(!tally.note(7, "a.test", b"new", None));
        assert!(tally.note(7, "a.test", b"new", Some(b"other")));
        assert!(!tally.note(7, &"a".repeat(600), &[1; 600], None));
        tally.write().await.unwrap();
        let counts = tally.counts(7, "a.test", 100_000).await.unwrap();
        assert_eq!(counts.len(), MAX_KINDS + 1);
        assert_eq!(tally.counts(7, "a.test", 3).await.unwrap().len(), 3);
    }

    #[test]
    fn keys_are_read_back() {
        assert_eq!(parts(&key(20_778, "world.test", b"{}")), Some((20_778, "world.test", &b"{}"[..])));
        assert_eq!(parts(b"short"), None);
    }
}
