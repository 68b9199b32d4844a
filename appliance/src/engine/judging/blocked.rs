//! Senders from whom a person wants nothing more. Beside `judge.block`, which is the config's: these come from the page and the command
//! line, are kept in the store, and count from the next message on.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use smtp::{Domain, Mailbox, ReversePath};
use store::{Change, Store, StoreError, Table};

use super::accounts::Reading;
use crate::report::BlockedSender;

/// By address or domain, in lower case: since when.
const BLOCKED: Table = Table("blocked");
/// Entries at most: it is a list that people read.
const MOST: usize = 10_000;

/// The list.
pub(super) struct Blocked {
    /// With the time, in seconds since 1970.
    entries: RwLock<BTreeMap<String, u64>>,
    store: Store,
}

/// Why an entry cannot be had.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotBlocked {
    /// It is neither an address nor a domain.
    Nonsense,
    /// There are too many.
    Full,
    /// The store does not take it; the log says why.
    Store,
}

impl Blocked {
    pub(super) async fn open(store: Store) -> Arc<Self> {
        let mut entries = BTreeMap::new();
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let pairs = match store.scan(BLOCKED, after.as_deref()).await {
                Ok(pairs) => pairs,
                Err(error) => {
                    tracing::error!(%error, "who is blocked by a person's word cannot be read");
                    break;
                }
            };
            let Some((last, _)) = pairs.last() else { break };
            after = Some(last.clone());
            let read = |(key, value): &(Box<[u8]>, Box<[u8]>)| {
                Some((String::from_utf8(key.to_vec()).ok()?, Reading(value).long()?))
            };
            entries.extend(pairs.iter().filter_map(read));
        }
        Arc::new(Self { entries: RwLock::new(entries), store })
    }

    /// The entry that a sender is named by, in the envelope or as the author; anybody's word is enough for that.
    pub(super) fn names(&self, sender: &ReversePath, author: &str) -> Option<String> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        if entries.is_empty() {
            return None;
        }
        [sender.as_str(), author].into_iter().find_map(|address| {
            let address = address.to_lowercase();
            if entries.contains_key(&address) {
                return Some(address);
            }
            let (_, mut domain) = address.rsplit_once('@')?;
            loop {
                if entries.contains_key(domain) {
                    return Some(domain.to_owned());
                }
                domain = domain.split_once('.')?.1;
            }
        })
    }

    /// Adds one; whether it is new. It is durable when this returns.
    pub(super) async fn add(&self, entry: &str, now: Duration) -> Result<bool, NotBlocked> {
        let entry = sound(entry).ok_or(NotBlocked::Nonsense)?;
        {
            let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
            if entries.contains_key(&entry) {
                return Ok(false);
            }
            if entries.len() >= MOST {
                return Err(NotBlocked::Full);
            }
        }
        let at = now.as_secs();
        self.write(Change::Put(entry.as_bytes().into(), at.to_be_bytes().into())).await?;
        self.entries.write().unwrap_or_else(PoisonError::into_inner).insert(entry, at);
        Ok(true)
    }

    /// Takes one away; whether it was there.
    pub(super) async fn remove(&self, entry: &str) -> Result<bool, NotBlocked> {
        let entry = entry.trim().to_lowercase();
        if !self.entries.read().unwrap_or_else(PoisonError::into_inner).contains_key(&entry) {
            return Ok(false);
        }
        self.write(Change::Remove(entry.as_bytes().into())).await?;
        self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(&entry);
        Ok(true)
    }

    pub(super) fn list(&self) -> Vec<BlockedSender> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|(entry, since)| BlockedSender { entry: entry.clone(), since: *since }).collect()
    }

    async fn write(&self, change: Change) -> Result<(), NotBlocked> {
        let written = async {
            self.store.apply(BLOCKED, vec![change]).await?;
            self.store.flush().await
        };
        written.await.map_err(|error: StoreError| {
            tracing::error!(%error, "who is blocked by a person's word is not stored");
            NotBlocked::Store
        })
    }
}

/// An address or a domain in lower case.
fn sound(entry: &str) -> Option<String> {
    let entry = entry.trim().to_lowercase();
    let is_one = match entry.contains('@') {
        true => entry.parse::<Mailbox>().is_ok(),
        false => entry.contains('.') && entry.parse::<Domain>().is_ok(),
    };
    is_one.then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_288_205);

    #[tokio::test]
    async fn who_is_blocked_stays_so_until_a_person_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let settings = store::Settings::in_folder(folder.path().to_owned());
        let store = Store::start(settings, Arc::new(record::SystemClock)).unwrap();
        let blocked = Blocked::open(store.clone()).await;
        assert_eq!(blocked.add("News@Shop.example", NOW).await, Ok(true));
        assert_eq!(blocked.add("news@shop.example", NOW).await, Ok(false));
        assert_eq!(blocked.add("bad.example", NOW).await, Ok(true));
        for nonsense in ["", "x", "a b@c", "com"] {
            assert_eq!(blocked.add(nonsense, NOW).await, Err(NotBlocked::Nonsense), "{nonsense}");
        }
        let again = Blocked::open(store).await;
        let path = |address: &str| ReversePath::Mailbox(address.parse().unwrap());
        assert_eq!(again.names(&path("news@shop.example"), ""), Some("news@shop.example".into()));
        assert_eq!(again.names(&path("other@shop.example"), ""), None);
        assert_eq!(again.names(&ReversePath::Null, "x@mail.bad.example"), Some("bad.example".into()));
        assert_eq!(again.names(&path("x@notbad.example"), "nonsense"), None);
        assert_eq!(again.remove("NEWS@shop.example").await, Ok(true));
        assert_eq!(again.remove("news@shop.example").await, Ok(false));
        assert_eq!(again.list().len(), 1);
    }
}
