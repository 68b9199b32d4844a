//! The one writer of the log. It takes everything that arrived while it was busy, writes it, syncs once, and answers all.
//!
//! A thread of its own, because it spends its life in fdatasync and would hold a thread of the runtime's blocking pool for
//! good. After any error of the disk the segment is given up and never appended to again: the kernel may have dropped what was
//! not synced and forgotten that it did.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use smtp::Reply;

use crate::content::{Content, PourError};
use crate::disk::{Disk, DiskFile};
use crate::entry::{EntryId, Fixed, State};
use crate::error::SpoolError;
use crate::fields::{Encoder, bounded, bounded_own};
use crate::frame::{FRAME_HEADER, FrameHeader, Kind, Seal, SegmentKey, TRAILER, segment_header};
use crate::index::{Held, Location, Place, Shared, domains_of, lock, segment_path};
use crate::job::{Answer, Change, Deferral, Job, Settlement, Store};
use crate::receipts::{Kept, MAX_RECEIPTS};
use crate::schedule::Schedule;
use crate::spooled::Spooled;

/// One sync answers at most this many jobs, so that the first does not wait for an endless stream behind it.
const MAX_BATCH: usize = 1024;
/// Likewise, by octets of content.
const MAX_BATCH_BYTES: u64 = 16 << 20;
/// Octets collected before they go to the file.
const FLUSH: usize = 1 << 20;
/// How soon to try again to write what could not be written.
const RETRY: Duration = Duration::from_secs(1);
/// Failed stores whose end is still to be written; a disk that fails for hours would fill memory with them.
const MAX_OWED: usize = 100_000;

/// A job whose effect in memory is done, on its way to the disk.
enum Pending {
    Store { id: EntryId, store: Box<Store>, location: Option<Location>, failed: Option<SpoolError> },
    Change { id: EntryId, removed: bool, answer: Option<Answer<()>> },
    Receipt { key: [u8; 32], receipt: Option<(Duration, Reply)>, answer: Option<Answer<()>> },
    Refused { answer: Answer<()>, error: SpoolError },
}

/// The segment that is appended to.
struct Active {
    file: Box<dyn DiskFile>,
    number: u64,
    key: SegmentKey,
    /// Octets, with those not flushed yet.
    length: u64,
    /// Whether its name is durable.
    named: bool,
}

/// The writer's own state.
pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    shared: Shared,
    schedule: Schedule,
    segment_bytes: u64,
    active: Option<Active>,
    next_segment: u64,
    next_id: u64,
    /// What must still be written about messages because writing it failed.
    owed: BTreeMap<EntryId, ()>,
    buffer: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        shared: Shared,
        schedule: Schedule,
        segment_bytes: u64,
        (next_segment, next_id): (u64, u64),
    ) -> Self {
        let (active, owed, buffer) = (None, BTreeMap::new(), Vec::new());
        Self { disk, shared, schedule, segment_bytes, active, next_segment, next_id, owed, buffer }
    }

    /// Works until every sender is gone and all is written.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let first = if self.owed.is_empty() {
                jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                jobs.recv_timeout(RETRY)
            };
            match first {
                Ok(job) => self.commit(gather(job, jobs)),
                Err(RecvTimeoutError::Timeout) => self.commit(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if !self.owed.is_empty() {
            self.commit(Vec::new());
        }
    }

    /// Writes all jobs, syncs, and answers them.
    pub(crate) fn commit(&mut self, batch: Vec<Job>) {
        let mut pending: Vec<_> = std::mem::take(&mut self.owed)
            .into_keys()
            .map(|id| {
                let removed = lock(&self.shared).get(id).is_none();
                Pending::Change { id, removed, answer: None }
            })
            .collect();
        pending.extend(batch.into_iter().map(|job| self.admit(job)));
        match self.write(&mut pending) {
            Ok(segment) => self.settle(pending, segment),
            Err((error, begun)) => self.give_up(pending, error, begun),
        }
    }

    /// Does the job's part in memory. What happened to a message holds from here on, written or not: it is a fact.
    fn admit(&mut self, job: Job) -> Pending {
        match job {
            Job::Store(mut store) => {
                let id = EntryId::from_bits(self.next_id);
                self.next_id += 1;
                store.state.next = match store.fixed.client {
                    Some(_) => self.schedule.next(id, 0, store.first_seen, store.first_seen),
                    // What Postern itself writes was not tried yet.
                    None => store.first_seen,
                };
                Pending::Store { id, store, location: None, failed: None }
            }
            Job::Change { id, change, answer } => {
                let mut index = lock(&self.shared);
                match index.change(id, |held| apply(held, change)) {
                    Some(()) => {
                        Pending::Change { id, removed: index.get(id).is_none(), answer: Some(answer) }
                    }
                    None => Pending::Refused { answer, error: SpoolError::Unknown(id) },
                }
            }
            Job::Receipt { key, receipt, answer } => Pending::Receipt { key, receipt, answer },
        }
    }

    /// Returns the segment; or the error, and whether any frame was begun.
    fn write(&mut self, pending: &mut [Pending]) -> Result<u64, (io::Error, bool)> {
        if pending.iter().all(|job| matches!(job, Pending::Refused { .. })) {
            return Ok(self.active.as_ref().map_or(0, |active| active.number));
        }
        let mut active = self.open_segment().map_err(|error| (error, false))?;
        let written = pending
            .iter_mut()
            .try_for_each(|job| self.write_one(&mut active, job))
            .and_then(|()| self.flush(&mut active))
            .and_then(|()| active.file.sync())
            .and_then(|()| if active.named { Ok(()) } else { self.disk.sync_folder("log") });
        // Also where writing failed: those octets are on disk, or may be.
        let number = active.number;
        lock(&self.shared).segments.insert(number, active.length);
        written.map_err(|error| (error, true))?;
        active.named = true;
        self.active = Some(active);
        Ok(number)
    }

    /// The segment to append to: the same as long as it has room, else a new one.
    fn open_segment(&mut self) -> io::Result<Active> {
        if let Some(active) = self.active.take()
            && active.length < self.segment_bytes
        {
            return Ok(active);
        }
        let number = self.next_segment;
        self.next_segment += 1;
        let path = segment_path(number);
        let (header, key) = segment_header(number, rand::random());
        let mut file = self.disk.create(&path)?;
        if let Err(error) = file.append(&header) {
            // Nothing is in it; if it stays, it is found empty and removed later.
            let _ = self.disk.remove(&path);
            return Err(error);
        }
        Ok(Active { file, number, key, length: header.len() as u64, named: false })
    }

    fn write_one(&mut self, active: &mut Active, job: &mut Pending) -> io::Result<()> {
        let mut meta = Encoder::default();
        match job {
            Pending::Store { id, store, location, failed } => {
                encode_message(*id, &store.state, &store.fixed, &mut meta);
                let offset = active.length;
                match self.frame(active, Kind::Message, &meta.0, &store.content) {
                    Ok(length) => {
                        *location = Some(Location { place: Place::Segment(active.number), offset, length });
                        Ok(())
                    }
                    Err(PourError::Source(error)) => {
                        *failed = Some(SpoolError::Source(Arc::new(error)));
                        Ok(())
                    }
                    Err(PourError::Sink(error)) => Err(error),
                }
            }
            Pending::Change { id, removed, .. } => {
                meta.u64(id.to_bits());
                let kind = if *removed { Kind::Removed } else { Kind::State };
                if !*removed {
                    let index = lock(&self.shared);
                    let Some(held) = index.get_any(*id) else { return Ok(()) };
                    held.state.encode(&mut meta);
                }
                self.small_frame(active, kind, &meta.0)
            }
            Pending::Receipt { key, receipt, .. } => {
                let kind = match receipt {
                    Some((at, words)) => {
                        Kept::encode(key, *at, words, &mut meta);
                        Kind::Receipt
                    }
                    None => {
                        meta.0.extend_from_slice(key);
                        Kind::ReceiptTaken
                    }
                };
                self.small_frame(active, kind, &meta.0)
            }
            Pending::Refused { .. } => Ok(()),
        }
    }

    fn small_frame(&mut self, active: &mut Active, kind: Kind, meta: &[u8]) -> io::Result<()> {
        self.frame(active, kind, meta, &Content::new()).map(|_| ()).map_err(|error| match error {
            PourError::Source(error) | PourError::Sink(error) => error,
        })
    }

    /// Appends a frame and returns its length. A content that cannot be read leaves a frame without its tag, which recovery
    /// skips.
    fn frame(
        &mut self,
        active: &mut Active,
        kind: Kind,
        meta: &[u8],
        content: &Content,
    ) -> Result<u64, PourError> {
        let start = active.length;
        let key = active.key.clone();
        put_frame(kind, meta, content, &key, start, &mut |bytes| {
            self.buffer.extend_from_slice(bytes);
            active.length += bytes.len() as u64;
            if self.buffer.len() >= FLUSH { self.flush(active) } else { Ok(()) }
        })?;
        Ok(active.length - start)
    }

    fn flush(&mut self, active: &mut Active) -> io::Result<()> {
        let result = active.file.append(&self.buffer);
        self.buffer.clear();
        // One large batch must not keep its memory for good.
        self.buffer.shrink_to(2 * FLUSH);
        result
    }

    /// All is durable: the index learns where, then everybody is answered.
    fn settle(&mut self, pending: Vec<Pending>, segment: u64) {
        let mut index = lock(&self.shared);
        for job in &pending {
            match job {
                Pending::Store { id, store, location: Some(location), .. } => {
                    index.insert(*id, held(store, *location, segment));
                    index.space.taken += location.length;
                }
                Pending::Change { id, removed, .. } => index.settle(*id, segment, *removed),
                Pending::Receipt { key, receipt: Some((at, words)), .. } => {
                    index.receipts.insert(*key, Kept { at: *at, words: words.clone(), segment });
                }
                Pending::Store { .. } | Pending::Receipt { .. } | Pending::Refused { .. } => {}
            }
        }
        while index.receipts.len() > MAX_RECEIPTS {
            let oldest = index.receipts.iter().min_by_key(|(_, kept)| kept.at).map(|(key, _)| *key);
            oldest.map(|key| index.receipts.remove(&key));
        }
        let changed = Arc::clone(&index.changed);
        let look = index.space.is_stale();
        drop(index);
        changed.notify_one();
        if look {
            look_at_space(&*self.disk, &self.shared);
        }
        for job in pending {
            self.answer(job);
        }
    }

    fn answer(&mut self, job: Pending) {
        match job {
            Pending::Store { id, store, failed, .. } => {
                let Store { fixed, state, cost, answer, .. } = *store;
                self.arrived(cost);
                if let Some(error) = failed {
                    let _ = answer.send(Err(error));
                    return;
                }
                let recipients = state.remaining;
                let spooled =
                    Spooled { id, transaction: fixed.transaction, recipients, folder: state.folder };
                if answer.send(Ok(spooled)).is_err() {
                    // Nobody waits for it any more, so nobody was promised anything: the client will come again, and
                    // should find that it was not kept.
                    lock(&self.shared).change(id, |held| held.removed = true);
                    self.owed.insert(id, ());
                }
            }
            Pending::Change { answer, .. } | Pending::Receipt { answer, .. } => {
                answer.map(|answer| answer.send(Ok(())));
            }
            Pending::Refused { answer, error } => {
                let _ = answer.send(Err(error));
            }
        }
    }

    /// Nothing of this batch is promised, and the segment is never trusted again.
    fn give_up(&mut self, pending: Vec<Pending>, error: io::Error, begun: bool) {
        let segment = self.next_segment - 1;
        tracing::error!(%error, segment, jobs = pending.len(), "spool: writing failed, the segment is given up");
        self.buffer = Vec::new();
        let error = SpoolError::Write(Arc::new(error));
        for job in pending {
            match job {
                Pending::Store { id, store, .. } => {
                    self.arrived(store.cost);
                    // Its octets may be there all the same, and would be found at the next start.
                    if begun {
                        self.owed.insert(id, ());
                    }
                    let _ = store.answer.send(Err(error.clone()));
                }
                Pending::Change { id, answer, .. } => {
                    self.owed.insert(id, ());
                    answer.map(|answer| answer.send(Err(error.clone())));
                }
                Pending::Receipt { answer, .. } => {
                    answer.map(|answer| answer.send(Err(error.clone())));
                }
                Pending::Refused { answer, error } => {
                    let _ = answer.send(Err(error));
                }
            }
        }
        self.forget_some_owed();
    }

    /// Of failed stores only: what is known of messages that are held has their number as its bound.
    fn forget_some_owed(&mut self) {
        let excess = self.owed.len().saturating_sub(MAX_OWED);
        if excess > 0 {
            let index = lock(&self.shared);
            let gone: Vec<_> =
                self.owed.keys().filter(|id| index.get_any(**id).is_none()).take(excess).copied().collect();
            gone.iter().for_each(|id| {
                self.owed.remove(id);
            });
        }
    }

    fn arrived(&self, cost: u64) {
        let mut index = lock(&self.shared);
        index.waiting.0 = index.waiting.0.saturating_sub(cost);
        index.waiting.1 = index.waiting.1.saturating_sub(1);
    }
}

/// What arrived meanwhile.
fn gather(first: Job, jobs: &Receiver<Job>) -> Vec<Job> {
    let mut bytes = job_bytes(&first);
    let mut batch = vec![first];
    while batch.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES {
        let Ok(job) = jobs.try_recv() else { break };
        bytes += job_bytes(&job);
        batch.push(job);
    }
    batch
}

fn job_bytes(job: &Job) -> u64 {
    if let Job::Store(store) = job { store.content.length() } else { 0 }
}

fn apply(held: &mut Held, change: Change) {
    let state = &mut held.state;
    match change {
        Change::Settled(Settlement { gone, deferred }) => {
            gone.iter().for_each(|index| state.remaining.remove(index));
            if let Some(Deferral { words, own_words, next }) = deferred {
                state.attempts = state.attempts.saturating_add(1);
                (state.words, state.next) = (bounded(words), next);
                state.own_words = bounded_own(own_words);
            }
        }
        Change::Moved { folder, words, now } => {
            (state.folder, state.words, state.next) = (folder, words, now);
            (state.since, state.held, state.attempts) = (now, false, 0);
        }
        Change::Held(held) => state.held = held,
        Change::Hastened(now) => state.next = state.next.min(now),
        Change::DelayTold => state.delay_told = true,
        Change::Removed => held.removed = true,
        Change::Restated => {}
    }
}

/// Asks the disk how much room it has.
pub(crate) fn look_at_space(disk: &dyn Disk, shared: &Shared) {
    match disk.space() {
        Ok(found) => lock(shared).space.found(found),
        Err(error) => tracing::warn!(%error, "spool: the disk does not tell how much room it has"),
    }
}

fn held(store: &Store, location: Location, segment: u64) -> Held {
    Held {
        transaction: store.fixed.transaction,
        received_at: store.fixed.received_at,
        backend: (&*store.fixed.backend).into(),
        domains: domains_of(&store.fixed, &store.state.remaining),
        size: store.content.length(),
        location,
        state: store.state.clone(),
        state_in: Some(segment),
        removed: false,
    }
}

/// The meta of a message's frame.
pub(crate) fn encode_message(id: EntryId, state: &State, fixed: &Fixed, out: &mut Encoder) {
    out.u64(id.to_bits());
    state.encode(out);
    fixed.encode(out);
}

/// Gives a whole frame for the place `offset` to `sink`, in pieces.
pub(crate) fn put_frame(
    kind: Kind,
    meta: &[u8],
    content: &Content,
    key: &SegmentKey,
    offset: u64,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), PourError> {
    let length =
        u32::try_from(meta.len()).map_err(|_| PourError::Source(io::ErrorKind::FileTooLarge.into()))?;
    let header: [u8; FRAME_HEADER] =
        FrameHeader { kind, meta: length, content: content.length() }.write(key, offset);
    let mut seal = Seal::new(key, &header);
    sink(&header).map_err(PourError::Sink)?;
    seal.update(meta);
    sink(meta).map_err(PourError::Sink)?;
    content.pour(&mut |bytes| {
        seal.update(bytes);
        sink(bytes)
    })?;
    let tag: [u8; TRAILER] = seal.tag();
    sink(&tag).map_err(PourError::Sink)
}
