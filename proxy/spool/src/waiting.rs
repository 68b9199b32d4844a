//! The queue as its scheduler and its keeper see it: who is due, who is claimed, who is held back.

use std::sync::Arc;
use std::time::Duration;

use smtp::Reply;
use tokio::sync::oneshot;

use crate::backlog::{Waiting, When};
use crate::disaster;
use crate::entry::{Entry, EntryId, Fixed, Folder, State};
use crate::error::SpoolError;
use crate::fields::{Decoder, bounded};
use crate::frame::{key_of, read_meta};
use crate::index::Held;
use crate::job::{Answer, Change, Job};
use crate::spool::Spool;

/// A message that one task deals with: it is due for nobody else. Dropped, it waits again.
#[must_use = "dropped, it waits again"]
pub struct Claim {
    spool: Spool,
    id: EntryId,
}

impl Claim {
    /// Which one.
    pub fn id(&self) -> EntryId {
        self.id
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut index = self.spool.index();
        index.unclaim(self.id);
        index.changed.notify_one();
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Claim").field(&self.id).finish()
    }
}

/// What a person, or a term, wants of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Try it now.
    Hasten,
    /// Do not try it.
    Hold,
    /// Let it go again: out of a person's hold, or out of another folder into the queue, where its lifetime begins anew.
    Release(Reply),
    /// Put it into this folder.
    Move(Folder, Reply),
    /// Throw it away.
    Remove,
}

impl Spool {
    /// What waits for its next attempt, by destination. Not what is held back or claimed.
    pub fn waiting(&self) -> Vec<Waiting> {
        self.index().backlogs.waiting()
    }

    /// The next message for a destination, if one is due.
    pub fn claim_next(&self, destination: &str, when: When) -> Option<Claim> {
        let mut index = self.index();
        let id = index.backlogs.next(destination, when)?;
        index.claim(id).then(|| Claim { spool: self.clone(), id })
    }

    /// This message, unless it is claimed or gone.
    pub fn claim(&self, id: EntryId) -> Option<Claim> {
        self.index().claim(id).then(|| Claim { spool: self.clone(), id })
    }

    /// The oldest message that has waited for a destination since `before` or longer.
    pub fn claim_older(&self, destination: &str, before: Duration) -> Option<Claim> {
        let mut index = self.index();
        let id = index.backlogs.older(destination, before)?;
        index.claim(id).then(|| Claim { spool: self.clone(), id })
    }

    /// The message that has waited longest of those whose sender does not know it, if it has since `before` or longer.
    pub fn claim_untold(&self, before: Duration) -> Option<Claim> {
        let mut index = self.index();
        let (_, id) = index.backlogs.untold().filter(|(since, _)| *since <= before)?;
        index.claim(id).then(|| Claim { spool: self.clone(), id })
    }

    /// Since when it has waited, since 1970.
    pub fn oldest_untold(&self) -> Option<Duration> {
        self.index().backlogs.untold().map(|(since, _)| since)
    }

    /// Up to `limit` messages that lie in the folder `expired`, or `quarantine`, since `before` or longer; of others none.
    pub fn lying_since(&self, folder: Folder, before: Duration, limit: usize) -> Vec<EntryId> {
        self.index().over(folder, before, limit)
    }

    /// The messages of a folder, or of all; those for a domain or a destination of this name, or for any. The oldest first.
    pub fn select(&self, folder: Option<Folder>, name: Option<&str>) -> Vec<EntryId> {
        let index = self.index();
        let fits = |held: &Held| {
            let named =
                |name: &str| *held.backend == *name || held.domains.iter().any(|known| **known == *name);
            folder.is_none_or(|folder| held.state.folder == folder) && name.is_none_or(named)
        };
        index.iter().filter(|(_, held)| fits(held)).map(|(id, _)| id).collect()
    }

    /// How many messages are claimed.
    pub fn claimed(&self) -> usize {
        self.index().claimed()
    }

    /// Returns when something may have become due since the last call.
    pub async fn changed(&self) {
        let changed = Arc::clone(&self.index().changed);
        changed.notified().await;
    }

    /// Since when disaster mode is on, since 1970; `None`: it is off, and what is too old expires.
    pub fn disaster(&self) -> Option<Duration> {
        self.index().disaster
    }

    /// Switches disaster mode; done when that would outlive a power cut.
    ///
    /// # Errors
    ///
    /// [`SpoolError::Write`]: here it is as it was, after a restart it may be either way.
    pub async fn set_disaster(&self, on: bool) -> Result<(), SpoolError> {
        let spool = self.clone();
        let write = move || -> Result<(), SpoolError> {
            let _only = spool.only_one_tidies();
            // Written also where nothing changes: an earlier call may have failed half way.
            let since = on.then(|| spool.disaster().unwrap_or_else(|| spool.now()));
            disaster::write(&*spool.inner.disk, since).map_err(|error| SpoolError::Write(Arc::new(error)))?;
            let mut index = spool.index();
            index.disaster = since;
            index.changed.notify_one();
            Ok(())
        };
        tokio::task::spawn_blocking(write).await.map_err(|_| SpoolError::Closed)?
    }

    /// Carries out an order for many messages; durable when this returns. Returned is for how many: others were gone, or the
    /// order has no meaning for them.
    ///
    /// # Errors
    ///
    /// As for [`Spool::settle`]; the order holds for some of them then.
    pub async fn order(&self, ids: &[EntryId], order: &Order) -> Result<usize, SpoolError> {
        let mut answers = Vec::with_capacity(ids.len());
        for &id in ids {
            let Some(change) = self.change_of(id, order) else { continue };
            let (answer, answered): (Answer<()>, _) = oneshot::channel();
            self.send(Job::Change { id, change, answer })?;
            answers.push(answered);
        }
        let mut done = 0;
        for answer in answers {
            match answer.await.map_err(|_| SpoolError::Closed)? {
                Ok(()) => done += 1,
                Err(SpoolError::Unknown(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// What the order means for a message in its present state; `None`: nothing.
    fn change_of(&self, id: EntryId, order: &Order) -> Option<Change> {
        let now = self.now();
        let index = self.index();
        let state = &index.get(id)?.state;
        let queued = state.folder == Folder::Queue;
        match order {
            Order::Hasten if queued && !state.held => Some(Change::Hastened(now)),
            Order::Hold if queued && !state.held => Some(Change::Held(true)),
            Order::Release(_) if queued && state.held => Some(Change::Held(false)),
            Order::Release(words) if !queued => {
                Some(Change::Moved { folder: Folder::Queue, words: bounded(words.clone()), now })
            }
            Order::Move(folder, words) => {
                Some(Change::Moved { folder: *folder, words: bounded(words.clone()), now })
            }
            Order::Remove => Some(Change::Removed),
            Order::Hasten | Order::Hold | Order::Release(_) => None,
        }
    }

    /// A message without its content, which is not looked at: for lists.
    ///
    /// # Errors
    ///
    /// [`SpoolError::Unknown`]; [`SpoolError::Damaged`], which is only told: what opens it sets it aside.
    pub async fn peek(&self, id: EntryId) -> Result<Entry, SpoolError> {
        let spool = self.clone();
        let read = move || -> Result<_, SpoolError> {
            let held = spool.index().get(id).map(|held| (held.location, held.state.clone()));
            let (location, state) = held.ok_or(SpoolError::Unknown(id))?;
            let read = || -> std::io::Result<_> {
                let file = spool.inner.disk.open(&location.path(id))?;
                read_meta(&*file, &key_of(&*file)?, location.offset)
            };
            let meta = read().map_err(SpoolError::read)?.ok_or(SpoolError::Damaged(id))?;
            let mut meta = Decoder(&meta);
            let same = meta.u64() == Some(id.to_bits()) && State::decode(&mut meta).is_some();
            let fixed = Fixed::decode(&mut meta).filter(|_| same).ok_or(SpoolError::Damaged(id))?;
            Ok(Entry::join(fixed, state))
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| SpoolError::Closed)?
    }
}
