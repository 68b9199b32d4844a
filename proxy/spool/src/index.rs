//! What the spool knows of its messages in memory: where each lies, its state, and what is due. Envelopes and contents stay on
//! disk, so that a waiting message costs a few hundred octets here.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smtp::{RecipientSet, Reply, TransactionId};
use tokio::sync::Notify;

use crate::backlog::Backlogs;
use crate::entry::{EntryId, Fixed, Folder, State};
use crate::receipts::Kept;
use crate::space::KnownSpace;

/// A message to more domains than this is not found by the others.
const MAX_DOMAINS: usize = 32;

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
    pub(crate) backend: Arc<str>,
    /// Of its recipients, without doubles.
    pub(crate) domains: Box<[Arc<str>]>,
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
    pub backend: Arc<str>,
    /// The domains of its recipients; the first 32.
    pub domains: Box<[Arc<str>]>,
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
    /// What was said of single recipients, by their index, where it is something else.
    pub own_words: Box<[(usize, Reply)]>,
    /// When it came into its folder, since 1970.
    pub since: Duration,
    /// Whether a person holds it back.
    pub held: bool,
    /// Whether its sender was told that it waits, or is not to be told.
    pub delay_told: bool,
}

/// Everything in memory.
#[derive(Debug, Default)]
pub(crate) struct Index {
    held: BTreeMap<EntryId, Held>,
    /// What waits in the queue; not what is held back or claimed.
    pub(crate) backlogs: Backlogs,
    /// What is being tried, or otherwise dealt with.
    claimed: BTreeSet<EntryId>,
    /// What waits in the folders `expired` and `quarantine`.
    expired: BTreeSet<(Duration, EntryId)>,
    quarantined: BTreeSet<(Duration, EntryId)>,
    /// Names of destinations and domains, each kept once.
    names: HashSet<Arc<str>>,
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
    /// What the disk has left.
    pub(crate) space: KnownSpace,
    /// Since when nothing expires.
    pub(crate) disaster: Option<Duration>,
    /// Records and files in the folder `damaged`.
    pub(crate) damaged: usize,
    /// Rung when something may have become due.
    pub(crate) changed: Arc<Notify>,
}

/// The index, between the writer and the callers. Held for moments, never over disk operations.
pub(crate) type Shared = Arc<Mutex<Index>>;

/// A panic elsewhere leaves the index as consistent as any error does.
pub(crate) fn lock(shared: &Shared) -> MutexGuard<'_, Index> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Index {
    /// A message that is durable.
    pub(crate) fn insert(&mut self, id: EntryId, mut held: Held) {
        if held.location.place == Place::Own {
            self.own += held.location.length;
        }
        held.domains = held.domains.iter().map(|domain| self.name(domain)).collect();
        // A report's way is found by its recipient's domain.
        let destination = if held.backend.is_empty() { held.line() } else { &held.backend };
        held.backend = self.name(&Arc::clone(destination));
        self.enlist(id, &held);
        self.held.insert(id, held);
    }

    /// The one copy of a name.
    fn name(&mut self, name: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        self.names.insert(Arc::clone(name));
        Arc::clone(name)
    }

    /// Forgets names that nothing bears any more.
    pub(crate) fn forget_names(&mut self) {
        self.names.retain(|name| Arc::strong_count(name) > 1);
    }

    /// Enters it where its state says that it waits.
    fn enlist(&mut self, id: EntryId, held: &Held) {
        if held.removed || self.claimed.contains(&id) {
            return;
        }
        match held.state.folder {
            Folder::Queue if !held.state.held => {
                self.backlogs.enter(id, &held.backend, held.line(), &held.state);
            }
            Folder::Expired => drop(self.expired.insert((held.state.since, id))),
            Folder::Quarantine => drop(self.quarantined.insert((held.state.since, id))),
            _ => {}
        }
    }

    /// The inverse, before its state changes.
    fn delist(&mut self, id: EntryId, held: &Held) {
        self.backlogs.leave(id, &held.backend, held.line(), &held.state);
        self.expired.remove(&(held.state.since, id));
        self.quarantined.remove(&(held.state.since, id));
    }

    /// Takes a message out of all lists while it is dealt with; `false`: it is gone, or somebody else deals with it.
    pub(crate) fn claim(&mut self, id: EntryId) -> bool {
        let Some(held) = self.get(id).cloned() else { return false };
        self.delist(id, &held);
        self.claimed.insert(id)
    }

    /// It waits again, wherever its state says by now.
    pub(crate) fn unclaim(&mut self, id: EntryId) {
        self.claimed.remove(&id);
        if let Some(held) = self.held.get(&id).cloned() {
            self.enlist(id, &held);
        }
    }

    /// How many are being dealt with.
    pub(crate) fn claimed(&self) -> usize {
        self.claimed.len()
    }

    /// Those in the folder since `before` or longer; only `expired` and `quarantine` have such a term.
    pub(crate) fn over(&self, folder: Folder, before: Duration, limit: usize) -> Vec<EntryId> {
        let lying = match folder {
            Folder::Expired => &self.expired,
            Folder::Quarantine => &self.quarantined,
            Folder::Queue | Folder::Reports | Folder::Traps => return Vec::new(),
        };
        lying.iter().take_while(|(since, _)| *since <= before).take(limit).map(|&(_, id)| id).collect()
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
        let mut held = self.held.remove(&id)?;
        if held.removed {
            self.held.insert(id, held);
            return None;
        }
        self.delist(id, &held);
        change(&mut held);
        held.state.revision += 1;
        held.removed |= held.state.remaining.is_empty();
        self.enlist(id, &held);
        self.held.insert(id, held);
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
}

/// Of those recipients that it is kept for.
pub(crate) fn domains_of(fixed: &Fixed, recipients: &RecipientSet) -> Box<[Arc<str>]> {
    let mut domains: Vec<Arc<str>> = Vec::new();
    for index in recipients.iter() {
        let rcpt = fixed.envelope.recipients.get(index);
        let Some(domain) = rcpt.and_then(|rcpt| rcpt.forward_path.domain()) else { continue };
        if domains.len() < MAX_DOMAINS && !domains.iter().any(|known| **known == *domain.as_str()) {
            domains.push(domain.as_str().into());
        }
    }
    domains.into()
}

impl Held {
    /// The line in which it waits at its destination.
    fn line(&self) -> &Arc<str> {
        self.domains.first().unwrap_or(&self.backend)
    }

    pub(crate) fn summary(&self, id: EntryId) -> Summary {
        Summary {
            id,
            transaction: self.transaction,
            folder: self.state.folder,
            backend: Arc::clone(&self.backend),
            domains: self.domains.clone(),
            recipients: self.state.remaining.clone(),
            size: self.size,
            received_at: self.received_at,
            attempts: self.state.attempts,
            next_attempt: self.state.next,
            words: self.state.words.clone(),
            own_words: self.state.own_words.clone(),
            since: self.state.since,
            held: self.state.held,
            delay_told: self.state.delay_told,
        }
    }
}
