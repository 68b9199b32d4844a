//! What is known of senders, in the store: read at start, and written as it changes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use smtp::{TraceId, TransactionId};
use store::{Change, Store, StoreError, Table};
use tokio::sync::Notify;

use super::linked::{Link, account_key, account_of};
use super::record::{Reading, Record};
use super::{Account, Accounts, State};

/// By sender: its record.
const RECORDS: Table = Table("accounts");
/// There, what is no sender's: since when they are watched.
const SINCE: &[u8] = b"since";
/// By the digest of an address: the day on which somebody here wrote to it.
const MET: Table = Table("accounts-met");
/// By transaction: who sent it.
const LINKS: Table = Table("accounts-links");
/// How long a sender is remembered that is not heard of.
const KEEP: Duration = Duration::from_secs(180 * 86_400);
/// Changes of one batch; records are below a kilobyte.
const BATCH: usize = 500;

impl Accounts {
    /// Reads what was stored; what cannot be read is begun anew.
    pub(in super::super) async fn open(store: Store, now: Duration) -> Arc<Self> {
        let mut state = State { since: now.as_secs(), ..State::default() };
        if let Err(error) = read(&store, &mut state, now).await {
            tracing::error!(%error, "what is known of those who send from here cannot be read; it is learnt again");
        }
        Arc::new(Self { state: Mutex::new(state), store, something: Notify::new() })
    }

    /// Writes what has changed.
    pub(in super::super) async fn put_away(&self) -> Result<(), StoreError> {
        let (records, met, links) = self.state().take_changed();
        let written = self.write(&records, &met, &links).await;
        if written.is_err() {
            let mut state = self.state();
            state.changed.extend(records);
            state.met.changed.extend(met);
            state.links.changed.extend(links);
        }
        written
    }

    /// Everything, after the store was moved aside.
    pub(super) fn store_all_again(&self) {
        let mut state = self.state();
        let all: Vec<Account> = state.records.keys().cloned().collect();
        state.changed.extend(all);
        state.met.all_changed();
        state.links.all_changed();
    }

    pub(super) fn epoch(&self) -> u64 {
        self.store.epoch()
    }

    /// What is too old goes.
    pub(super) fn forget_old(&self, now: Duration) {
        let mut state = self.state();
        state.met.forget_old(now);
        state.links.forget_old(now);
        let too_old = now.saturating_sub(KEEP).as_secs();
        let old = |(_, record): &(&Account, &Record)| record.case.is_none() && record.last < too_old;
        let going: Vec<Account> =
            state.records.iter().filter(old).map(|(account, _)| account.clone()).collect();
        for account in going {
            state.records.remove(&account);
            state.changed.insert(account);
        }
    }

    async fn write(
        &self,
        records: &HashSet<Account>,
        met: &HashSet<u64>,
        links: &HashSet<TransactionId>,
    ) -> Result<(), StoreError> {
        let mut all = {
            let state = self.state();
            let mut changes: Vec<Change> =
                records.iter().map(|account| state.record_change(account)).collect();
            if !changes.is_empty() {
                changes.push(Change::Put(SINCE.into(), state.since.to_be_bytes().into()));
            }
            let met = met.iter().map(|key| {
                let day = state.met.day(*key).map(|day| day.to_be_bytes().to_vec());
                change(key.to_be_bytes().to_vec(), day)
            });
            let links =
                links.iter().map(|id| change(link_key(*id), state.links.get(*id).map(Link::to_bytes)));
            [(RECORDS, changes), (MET, met.collect()), (LINKS, links.collect())]
        };
        let mut is_any = false;
        for (table, changes) in &mut all {
            for batch in changes.chunks(BATCH) {
                is_any = true;
                self.store.apply(*table, batch.to_vec()).await?;
            }
        }
        if is_any { self.store.flush().await } else { Ok(()) }
    }
}

impl State {
    fn take_changed(&mut self) -> (HashSet<Account>, HashSet<u64>, HashSet<TransactionId>) {
        let met = std::mem::take(&mut self.met.changed);
        (std::mem::take(&mut self.changed), met, std::mem::take(&mut self.links.changed))
    }

    fn record_change(&self, account: &Account) -> Change {
        change(account_key(account), self.records.get(account).map(Record::to_bytes))
    }
}

fn change(key: Vec<u8>, value: Option<Vec<u8>>) -> Change {
    match value {
        Some(value) => Change::Put(key.into(), value.into()),
        None => Change::Remove(key.into()),
    }
}

fn link_key(id: TransactionId) -> Vec<u8> {
    [&id.session.to_bits().to_be_bytes()[..], &id.number.to_be_bytes()].concat()
}

fn link_id(key: &[u8]) -> Option<TransactionId> {
    let mut from = Reading(key);
    Some(TransactionId { session: TraceId::from_bits(from.long()?), number: from.number()? })
}

async fn read(store: &Store, state: &mut State, now: Duration) -> Result<(), StoreError> {
    each(store, RECORDS, |key, value| {
        if key == SINCE {
            let since = Reading(value).long().filter(|since| *since <= now.as_secs());
            state.since = since.unwrap_or(state.since);
        } else if let (Some(account), Some(record)) = (account_of(key), Record::from_bytes(value)) {
            // One whose postmaster was not told yet is looked at again.
            if record.case.as_ref().is_some_and(|case| !case.told) {
                state.changed.insert(account.clone());
            }
            state.records.insert(account, record);
        }
    })
    .await?;
    each(store, MET, |key, value| {
        if let (Some(key), Some(day)) = (Reading(key).long(), Reading(value).number()) {
            state.met.restore(key, day);
        }
    })
    .await?;
    // Keys begin with their time: the oldest come first.
    each(store, LINKS, |key, value| {
        if let (Some(id), Some(link)) = (link_id(key), Link::from_bytes(value)) {
            state.links.insert(id, link);
        }
    })
    .await?;
    state.links.changed.clear();
    state.links.forget_old(now);
    Ok(())
}

async fn each(store: &Store, table: Table, mut take: impl FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
    let mut after: Option<Box<[u8]>> = None;
    loop {
        let pairs = store.scan(table, after.as_deref()).await?;
        let Some((last, _)) = pairs.last() else { return Ok(()) };
        after = Some(last.clone());
        pairs.iter().for_each(|(key, value)| take(key, value));
    }
}
