//! The spool as its callers see it.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use record::Clock;
use smtp::{RecipientSet, Reply};
use tokio::sync::oneshot;

use crate::content::{Content, ContentReader};
use crate::disk::Disk;
use crate::entry::{Entry, EntryId, Fixed, Folder, State};
use crate::error::SpoolError;
use crate::fields::{Decoder, bounded};
use crate::frame::{MAX_META, key_of, read_frame};
use crate::index::{Index, Location, Shared, Summary, lock};
use crate::job::{Answer, Change, Job, Settlement, Store};
use crate::receipts::Receipts;
use crate::recovery::{Recovered, recover, set_aside};
use crate::schedule::Schedule;
use crate::space::Room;
use crate::spooled::Spooled;
use crate::writer::{Writer, look_at_space};

/// What a message costs besides its content, in the bounds.
const OVERHEAD: u64 = 1024;
/// A message may move to another file between being looked up and being opened; not this often.
const LOOK_UPS: usize = 4;

/// How much the spool takes, and for how long it keeps what in which form.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Octets on disk; [`SpoolError::Full`] beyond. Default 10 GiB.
    pub max_bytes: u64,
    /// Messages; [`SpoolError::Full`] beyond, since each costs memory. Default 500,000.
    pub max_messages: usize,
    /// Octets in memory on their way to the disk; [`SpoolError::Busy`] beyond. Default 64 MiB.
    pub max_waiting_bytes: u64,
    /// A segment that has grown to this many octets is followed by a new one. Default 64 MiB.
    pub segment_bytes: u64,
    /// A message that is older gets a file of its own, so that its segment can go. Default 5 minutes.
    pub own_file_after: Duration,
    /// When what could not be delivered is tried again.
    pub schedule: Schedule,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_bytes: 10 << 30,
            max_messages: 500_000,
            max_waiting_bytes: 64 << 20,
            segment_bytes: 64 << 20,
            own_file_after: Duration::from_secs(5 * 60),
            schedule: Schedule::default(),
        }
    }
}

/// Messages on disk. Clones are the same spool; when the last is dropped, the writer ends what it was given.
#[derive(Clone)]
pub struct Spool {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) shared: Shared,
    pub(crate) clock: Arc<dyn Clock>,
    /// One at a time.
    pub(crate) tidying: Mutex<()>,
    jobs: Option<Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // A panic of the writer was answered to its callers.
            let _ = writer.join();
        }
    }
}

/// A message taken out to be read. It stays in the spool.
pub struct Opened {
    /// Envelope, facts, the recipients that remain, and the last words said about it.
    pub entry: Entry,
    /// Attempts that failed.
    pub attempts: u32,
    /// The content.
    pub content: ContentReader,
}

impl Spool {
    /// Reads what is on the disk, and starts the writer. Blocks for as long as the disk takes: a few seconds for 100,000
    /// messages.
    ///
    /// # Errors
    ///
    /// [`SpoolError::Open`] if the disk cannot be used at all.
    pub fn open(settings: Settings, disk: Arc<dyn Disk>, clock: Arc<dyn Clock>) -> Result<Self, SpoolError> {
        let Recovered { index, next_segment, next_id } =
            recover(&disk, clock.now()).map_err(SpoolError::open)?;
        let shared = Arc::new(Mutex::new(index));
        look_at_space(&*disk, &shared);
        let writer = Writer::new(
            Arc::clone(&disk),
            Arc::clone(&shared),
            settings.schedule,
            settings.segment_bytes,
            (next_segment, next_id),
        );
        // Bounded by what the index counts as waiting.
        let (jobs, queue) = mpsc::channel();
        let writer = std::thread::Builder::new()
            .name("spool-writer".into())
            .spawn(move || writer.run(&queue))
            .map_err(SpoolError::open)?;
        let tidying = Mutex::new(());
        let inner = Inner { settings, disk, shared, clock, tidying, jobs: Some(jobs), writer: Some(writer) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Keeps a message. Done when it is durable; all that arrives while the disk is busy shares one sync. If the future is
    /// dropped before, the message is removed again: nobody was promised anything.
    ///
    /// # Errors
    ///
    /// Nothing is promised then: [`SpoolError::Full`], [`SpoolError::Busy`], [`SpoolError::Invalid`], or the disk's.
    pub async fn store(&self, entry: Entry, content: Content) -> Result<Spooled, SpoolError> {
        self.store_as(Whose::Client, entry, content).await
    }

    /// Keeps a message of Postern's own: a report, or a copy of what is in the spool already. It may use the reserve, and is
    /// not held to the bounds that clients are held to.
    ///
    /// # Errors
    ///
    /// As for [`Spool::store`]; [`SpoolError::Full`] when half of the reserve is gone.
    pub async fn store_own(&self, entry: Entry, content: Content) -> Result<Spooled, SpoolError> {
        self.store_as(Whose::Own, entry, content).await
    }

    async fn store_as(&self, whose: Whose, entry: Entry, content: Content) -> Result<Spooled, SpoolError> {
        check(&entry)?;
        let (fixed, state) = entry.split(Duration::ZERO);
        let cost = content.in_memory() + OVERHEAD;
        self.admit(whose, cost, content.length() + OVERHEAD)?;
        let (answer, answered) = oneshot::channel();
        let first_seen = self.now();
        self.send(Job::Store(Box::new(Store { fixed, state, first_seen, content, cost, answer })))?;
        answered.await.map_err(|_| SpoolError::Closed)?
    }

    /// Counts a message as waiting for the writer, or refuses it.
    fn admit(&self, whose: Whose, cost: u64, bytes: u64) -> Result<(), SpoolError> {
        let settings = &self.inner.settings;
        let mut index = self.index();
        let room = room(settings, &index);
        let fits = match whose {
            Whose::Client => room.takes(bytes),
            Whose::Own => room.free.saturating_sub(bytes) >= room.reserve / 2,
        };
        if !fits {
            return Err(SpoolError::Full);
        }
        // A message that is larger than the bound by itself passes alone.
        if index.waiting.0 > 0 && index.waiting.0 + cost > settings.max_waiting_bytes {
            return Err(SpoolError::Busy);
        }
        index.waiting = (index.waiting.0 + cost, index.waiting.1 + 1);
        Ok(())
    }

    /// How full it is.
    pub fn room(&self) -> Room {
        room(&self.inner.settings, &self.index())
    }

    /// How many records and files were found damaged and lie in the folder `damaged`.
    pub fn damaged(&self) -> usize {
        self.index().damaged
    }

    /// All messages, the oldest first.
    pub fn entries(&self) -> Vec<Summary> {
        self.index().iter().map(|(id, held)| held.summary(id)).collect()
    }

    /// One message.
    pub fn entry(&self, id: EntryId) -> Option<Summary> {
        self.index().get(id).map(|held| held.summary(id))
    }

    /// Octets on disk and on their way there.
    pub fn used(&self) -> u64 {
        self.index().used()
    }

    /// Reads a message's envelope and checks all of it against its checksum.
    ///
    /// # Errors
    ///
    /// [`SpoolError::Unknown`]; [`SpoolError::Damaged`], when it was set aside and is no longer in the spool;
    /// [`SpoolError::Read`].
    pub async fn open_entry(&self, id: EntryId) -> Result<Opened, SpoolError> {
        let spool = self.clone();
        let opened = tokio::task::spawn_blocking(move || spool.open_blocking(id)).await;
        match opened.map_err(|_| SpoolError::Closed)? {
            Err(SpoolError::Damaged(id)) => {
                self.remove(id).await?;
                Err(SpoolError::Damaged(id))
            }
            other => other,
        }
    }

    pub(crate) fn open_blocking(&self, id: EntryId) -> Result<Opened, SpoolError> {
        let mut last = SpoolError::Unknown(id);
        for _ in 0..LOOK_UPS {
            let held = self.index().get(id).map(|held| (held.location, held.state.clone()));
            let Some((location, state)) = held else { return Err(SpoolError::Unknown(id)) };
            match self.read(id, location) {
                Ok((fixed, content)) => {
                    let attempts = state.attempts;
                    return Ok(Opened { entry: Entry::join(fixed, state), attempts, content });
                }
                Err(error) => last = error,
            }
            // Unless it has moved meanwhile, that is the answer.
            if self.index().get(id).is_some_and(|held| held.location == location) {
                break;
            }
        }
        Err(last)
    }

    fn read(&self, id: EntryId, location: Location) -> Result<(Fixed, ContentReader), SpoolError> {
        let path = location.path(id);
        let file = self.inner.disk.open(&path).map_err(SpoolError::read)?;
        let frame = match key_of(&*file) {
            Ok(key) => read_frame(&*file, &key, location.offset).map_err(SpoolError::read)?,
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => None,
            Err(error) => return Err(SpoolError::read(error)),
        };
        let fixed = frame.as_ref().and_then(|(_, meta)| {
            let mut meta = Decoder(meta);
            let same = meta.u64()? == id.to_bits();
            State::decode(&mut meta)?;
            Fixed::decode(&mut meta).filter(|_| same)
        });
        let (Some((header, _)), Some(fixed)) = (frame, fixed) else {
            let range = location.offset..location.offset + location.length;
            set_aside(&*self.inner.disk, &*file, &path, range).map_err(SpoolError::read)?;
            self.index().damaged += 1;
            tracing::error!(%id, path, "spool: a message is damaged and was set aside");
            return Err(SpoolError::Damaged(id));
        };
        let content = ContentReader::new(file.into(), header.content_at(location.offset), header.content);
        Ok((fixed, content))
    }

    /// What an attempt came to.
    ///
    /// # Errors
    ///
    /// [`SpoolError::Unknown`]; [`SpoolError::Write`], when the change holds but is not durable yet.
    pub async fn settle(&self, id: EntryId, settlement: Settlement) -> Result<(), SpoolError> {
        self.change(id, Change::Settled(settlement)).await
    }

    /// A server took the message for these recipients. With the last of them the message is gone.
    ///
    /// # Errors
    ///
    /// As for [`Spool::settle`].
    pub async fn delivered(&self, id: EntryId, recipients: &RecipientSet) -> Result<(), SpoolError> {
        self.settle(id, Settlement { gone: recipients.clone(), deferred: None }).await
    }

    /// Nobody is to be told again that it waits.
    ///
    /// # Errors
    ///
    /// As for [`Spool::settle`].
    pub async fn delay_told(&self, id: EntryId) -> Result<(), SpoolError> {
        self.change(id, Change::DelayTold).await
    }

    /// Puts the message into another folder, for the reason in `words`. In the queue it is due at once.
    ///
    /// # Errors
    ///
    /// As for [`Spool::settle`].
    pub async fn move_to(&self, id: EntryId, folder: Folder, words: Reply) -> Result<(), SpoolError> {
        let now = self.now();
        self.change(id, Change::Moved { folder, words: bounded(words), now }).await
    }

    /// Removes the message: a person's word, or the end of an announced term.
    ///
    /// # Errors
    ///
    /// As for [`Spool::settle`].
    pub async fn remove(&self, id: EntryId) -> Result<(), SpoolError> {
        self.change(id, Change::Removed).await
    }

    /// The receipts kept in this spool.
    pub fn receipts(&self) -> Receipts {
        Receipts::new(self.clone())
    }

    async fn change(&self, id: EntryId, change: Change) -> Result<(), SpoolError> {
        self.begin_change(id, change)?.await.map_err(|_| SpoolError::Closed)?
    }

    pub(crate) fn begin_change(
        &self,
        id: EntryId,
        change: Change,
    ) -> Result<oneshot::Receiver<Result<(), SpoolError>>, SpoolError> {
        let (answer, answered): (Answer<()>, _) = oneshot::channel();
        self.send(Job::Change { id, change, answer })?;
        Ok(answered)
    }

    pub(crate) fn send(&self, job: Job) -> Result<(), SpoolError> {
        let jobs = self.inner.jobs.as_ref().ok_or(SpoolError::Closed)?;
        jobs.send(job).map_err(|_| SpoolError::Closed)
    }

    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.inner.shared)
    }

    pub(crate) fn now(&self) -> Duration {
        self.inner.clock.now()
    }

    pub(crate) fn only_one_tidies(&self) -> MutexGuard<'_, ()> {
        self.inner.tidying.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For whom a message is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Client,
    Own,
}

fn room(settings: &Settings, index: &Index) -> Room {
    Room {
        used: index.used(),
        most: settings.max_bytes,
        messages: index.len() + index.waiting.1,
        most_messages: settings.max_messages,
        free: index.space.free().saturating_sub(index.waiting.0),
        reserve: index.space.reserve(),
    }
}

/// Whether the entry can be written and read again.
fn check(entry: &Entry) -> Result<(), SpoolError> {
    if entry.recipients.is_empty() {
        return Err(SpoolError::Invalid("it is for nobody"));
    }
    let named = entry.envelope.recipients.len();
    if entry.recipients.iter().any(|index| index >= named) {
        return Err(SpoolError::Invalid("it is for a recipient that its envelope does not name"));
    }
    let mut envelope = Vec::new();
    entry.envelope.write(&mut envelope);
    let helo = entry.client.as_ref().map_or(0, |client| client.helo.len());
    let rest = helo + entry.backend.len() + named / 8;
    if envelope.len() + rest > MAX_META / 2 {
        return Err(SpoolError::Invalid("its envelope is too long"));
    }
    Ok(())
}
