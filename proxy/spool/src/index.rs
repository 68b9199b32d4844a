//! What the spool knows of its messages in memory: where each lies, its state, and what is due. Envelopes and contents stay on
//! disk, so that a waiting message costs a few hundred octets here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smtp::{RecipientSet, Reply, TransactionId};

use crate::entry::{EntryId, Folder, State};
use crate::receipts::Kept;

/// Which file a message lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The log segment of this number.
    Segment(u64),
    /// A file of its own.
    Own,
}

/// Where a message's frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) place: Place,
    pub(crate) offset: u64,
    /// Octets of the frame.
    pub(crate) length: u64,
}

impl Location {
    pub(crate) fn path(self, id: EntryId) -> String {
        match self.place {
            Place::Segment(number) => segment_path(number),
            Place::Own => own_path(id),
        }
    }
}

pub(crate) fn segment_path(number: u64) -> String {
    format!("log/{number:016x}.log")
}

pub(crate) fn own_path(id: EntryId) -> String {
    format!("own/{id}.msg")
}

/// A message, as far as memory knows it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) transaction: TransactionId,
    pub(crate) received_at: Duration,
    pub(crate) backend: Box<str>,
    /// Octets of content.
    pub(crate) size: u64,
    pub(crate) location: Location,
    pub(crate) state: State,
    /// The segment that has the newest durable state; `None` if the message's own file has it.
    pub(crate) state_in: Option<u64>,
    /// Gone, but that is not durable yet.
    pub(crate) removed: bool,
}

/// What one can know of a message without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What it is called here.
    pub id: EntryId,
    /// The transaction that it came in.
    pub transaction: TransactionId,
    /// Where it waits.
    pub folder: Folder,
    /// The backend it is for.
    pub backend: Box<str>,
    /// The recipients that remain, by their index in the envelope.
    pub recipients: RecipientSet,
    /// Octets of content.
    pub size: u64,
    /// When its content had arrived, since 1970.
    pub received_at: Duration,
    /// Attempts that failed.
    pub attempts: u32,
    /// When it is due next, since 1970; has a meaning in the queue only.
    pub next_attempt: Duration,
    /// Why it waits, in the last words said about it.
    pub words: Reply,
}

/// Everything in memory.
#[derive(Debug, Default)]
pub(crate) struct Index {
    held: BTreeMap<EntryId, Held>,
    due: BTreeSet<(Duration, EntryId)>,
    /// Octets of each segment on disk.
    pub(crate) segments: BTreeMap<u64, u64>,
    /// Octets of all messages' own files.
    own: u64,
    /// Segments that hold damaged octets which could not be set aside.
    pub(crate) pinned: BTreeSet<u64>,
    /// Messages whose own file is to be removed: they are gone, or it was not finished.
    pub(crate) orphans: BTreeSet<EntryId>,
    /// By key.
    pub(crate) receipts: BTreeMap<[u8; 32], Kept>,
    /// Octets and messages on their way to the writer.
    pub(crate) waiting: (u64, usize),
}

/// The index, between the writer and the callers. Held for moments, never over disk operations.
pub(crate) type Shared = Arc<Mutex<Index>>;

/// A panic elsewhere leaves the index as consistent as any error does.
pub(crate) fn lock(shared: &Shared) -> MutexGuard<'_, Index> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Index {
    /// A message that is durable.
    pub(crate) fn insert(&mut self, id: EntryId, held: Held) {
        if held.location.place == Place::Own {
            self.own += held.location.length;
        }
        if held.state.folder == Folder::Queue {
            self.due.insert((held.state.next, id));
        }
        self.held.insert(id, held);
    }

    /// The message, unless it is gone.
    pub(crate) fn get(&self, id: EntryId) -> Option<&Held> {
        self.held.get(&id).filter(|held| !held.removed)
    }

    /// The message, gone or not, while it is not durably gone.
    pub(crate) fn get_any(&self, id: EntryId) -> Option<&Held> {
        self.held.get(&id)
    }

    /// All that are not gone, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (EntryId, &Held)> {
        self.held.iter().filter(|(_, held)| !held.removed).map(|(&id, held)| (id, held))
    }

    /// All, with those whose end is not durable.
    pub(crate) fn all_held(&self) -> impl Iterator<Item = &Held> {
        self.held.values()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Changes a message's state in memory; it is durable only when [`Index::settle`] says so. `None`: it is gone.
    pub(crate) fn change(&mut self, id: EntryId, change: impl FnOnce(&mut Held)) -> Option<()> {
        let held = self.held.get_mut(&id).filter(|held| !held.removed)?;
        self.due.remove(&(held.state.next, id));
        change(held);
        held.state.revision += 1;
        held.removed |= held.state.remaining.is_empty();
        if !held.removed && held.state.folder == Folder::Queue {
            self.due.insert((held.state.next, id));
        }
        Some(())
    }

    /// What was last written of a message is durable in `segment`; `removed` if that was its end.
    pub(crate) fn settle(&mut self, id: EntryId, segment: u64, removed: bool) {
        let Some(held) = self.held.get_mut(&id) else { return };
        if !removed {
            held.state_in = Some(segment);
            return;
        }
        if held.location.place == Place::Own {
            self.own = self.own.saturating_sub(held.location.length);
            self.orphans.insert(id);
        }
        self.held.remove(&id);
    }

    /// The message has a durable file of its own now, which holds the state of `revision`. The file of a message that is gone by
    /// now stays an orphan.
    pub(crate) fn moved_out(&mut self, id: EntryId, location: Location, revision: u64) {
        let Some(held) = self.held.get_mut(&id) else { return };
        self.orphans.remove(&id);
        held.location = location;
        self.own += location.length;
        if held.state.revision == revision && !held.removed {
            held.state_in = None;
        }
    }

    /// Octets on disk and on their way there.
    pub(crate) fn used(&self) -> u64 {
        self.segments.values().sum::<u64>() + self.own + self.waiting.0
    }

    /// What is due at `now`, what has waited longest past its time first.
    pub(crate) fn due(&self, now: Duration, limit: usize) -> Vec<EntryId> {
        self.due.iter().take_while(|(next, _)| *next <= now).take(limit).map(|&(_, id)| id).collect()
    }

    /// When something is due next.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|&(next, _)| next)
    }
}

impl Held {
    pub(crate) fn summary(&self, id: EntryId) -> Summary {
        Summary {
            id,
            transaction: self.transaction,
            folder: self.state.folder,
            backend: self.backend.clone(),
            recipients: self.state.remaining.clone(),
            size: self.size,
            received_at: self.received_at,
            attempts: self.state.attempts,
            next_attempt: self.state.next,
            words: self.state.words.clone(),
        }
    }
}
