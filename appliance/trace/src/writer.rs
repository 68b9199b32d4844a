//! The trace: a list of full segments, and one that is written to.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

use crate::block::Unpacked;
use crate::error::TraceError;
use crate::folder::{self, Kind, MAGIC};
use crate::index::ENTRIES;
use crate::segment::{Content, Part, Sealed};
use crate::terms::{Terms, Wanted};
use crate::{Bounds, Entry, seal};

/// Octets of a segment's file, beside its last block: what a search has to read through, and what goes at once, is bounded.
const MOST_OCTETS: u64 = 64 << 20;

/// An entry's number, counted from the first that was ever kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u64);

/// The trace.
pub struct Trace<E> {
    folder: PathBuf,
    bounds: Bounds,
    state: Mutex<State>,
    entries: PhantomData<fn(E) -> E>,
}

struct State {
    sealed: VecDeque<Arc<Sealed>>,
    current: Current,
    terms: Terms,
}

/// The segment that is written to.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) first: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    pub(crate) content: Content,
    pub(crate) pending: Unpacked,
    /// Entries have numbers, and are nowhere: they could not be written.
    pub(crate) has_gaps: bool,
}

impl Current {
    fn open<E: Entry>(folder: &Path, first: u64) -> Result<Self, TraceError> {
        let path = Kind::Log.path(folder, first);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(TraceError::file(&path))?;
        let content = match Content::read::<E>(&file, &path) {
            Ok(content) => content,
            // New, or with nothing in it that could be read.
            Err(TraceError::Damaged { .. }) => {
                file.write_all_at(MAGIC, 0).map_err(TraceError::file(&path))?;
                Content::empty()
            }
            Err(error) => return Err(error),
        };
        // What a crash left of a block is written over.
        file.set_len(content.end).map_err(TraceError::file(&path))?;
        Ok(Self { first, path, file, content, pending: Unpacked::default(), has_gaps: false })
    }

    /// The number of the next entry.
    fn next(&self) -> u64 {
        self.first + self.content.index.len() as u64
    }

    /// Where it cannot be closed, as on a disk that is full, that is tried again now and then, not for each entry.
    fn is_to_be_closed(&self) -> bool {
        let entries = self.content.index.len();
        let full = entries >= ENTRIES || self.content.end >= MOST_OCTETS;
        full && entries.is_multiple_of(ENTRIES / 64)
    }

    /// Writes what is pending. If that fails, it is gone.
    pub(crate) fn flush(&mut self) -> Result<(), TraceError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let block = self.pending.pack();
        self.pending.clear();
        if let Err(error) = self.file.write_all_at(&block, self.content.end) {
            self.has_gaps = true;
            self.content.blocks.pop();
            // Half a block is written over by the next one; a shorter file needs no room.
            let _ = self.file.set_len(self.content.end);
            return Err(TraceError::file(&self.path)(error));
        }
        self.content.end += block.len() as u64;
        Ok(())
    }

    fn part(&self, wanted: &Wanted) -> Result<Part, TraceError> {
        let in_file = self.content.blocks.len() - usize::from(!self.pending.is_empty());
        let pending = self.content.blocks.get(in_file).map(|span| (span.first, self.pending.clone()));
        Ok(Part {
            first: self.first,
            file: self.file.try_clone().map_err(TraceError::file(&self.path))?,
            path: self.path.clone(),
            blocks: self.content.blocks[..in_file].to_vec(),
            entries: pending.as_ref().map_or_else(
                || u32::try_from(self.content.index.len()).unwrap_or(u32::MAX),
                |(first, _)| *first,
            ),
            bits: self.content.index.select(wanted),
            pending,
        })
    }
}

impl<E: Entry> Trace<E> {
    /// Opens the folder, makes it where it is missing, and finishes what a crash left undone.
    ///
    /// # Errors
    ///
    /// The folder or one of its files cannot be read or written.
    pub fn open(folder: PathBuf, bounds: Bounds) -> Result<Self, TraceError> {
        let files = folder::list(&folder)?;
        let is_full = |number: &u64| files.contains(&(*number, Kind::Records));
        let mut sealed = VecDeque::new();
        for (number, _) in files.iter().filter(|(_, kind)| *kind == Kind::Records) {
            match Sealed::open::<E>(&folder, *number) {
                Ok(segment) => sealed.push_back(Arc::new(segment)),
                Err(error @ TraceError::Damaged { .. }) => warn!(%error, "a part of the trace is left out"),
                Err(error) => return Err(error),
            }
        }
        let logs = files.iter().filter(|(_, kind)| *kind == Kind::Log).map(|(number, _)| *number);
        let (full, open): (Vec<u64>, Vec<u64>) = logs.partition(is_full);
        for number in full {
            folder::remove(&Kind::Log.path(&folder, number))?;
        }
        let end = sealed.back().map_or(0, |segment| segment.end());
        let mut current = Current::open::<E>(&folder, open.first().copied().unwrap_or(end))?;
        // More than one: a folder that was put together from two.
        for number in open.into_iter().skip(1) {
            sealed.extend(seal::seal::<E>(&folder, &mut current)?.map(Arc::new));
            current = Current::open::<E>(&folder, number)?;
        }
        let state = State { sealed, current, terms: Terms::default() };
        Ok(Self { folder, bounds, state: Mutex::new(state), entries: PhantomData })
    }

    /// Keeps an entry. It can be found at once, and outlives the process from the next flush on.
    ///
    /// # Errors
    ///
    /// It is too large, or a file cannot be written: then this one and some before it are lost, and the next ones are not.
    pub fn append(&self, entry: &E) -> Result<(), TraceError> {
        let json = serde_json::to_vec(entry).map_err(|error| TraceError::Entry(error.to_string()))?;
        if json.len() > Bounds::ENTRY {
            return Err(TraceError::Entry(format!(
                "it has {} octets, {} are the most",
                json.len(),
                Bounds::ENTRY
            )));
        }
        let mut state = self.lock();
        let State { current, terms, .. } = &mut *state;
        terms.clear();
        entry.describe(terms);
        if current.pending.is_empty() {
            current.content.begins_block();
        }
        current.content.index.add(terms);
        current.content.happened(entry.at());
        current.pending.push(&json);
        if current.pending.is_full() {
            current.flush()?;
        }
        if current.is_to_be_closed() { self.seal(&mut state) } else { Ok(()) }
    }

    /// What was appended outlives this process.
    ///
    /// # Errors
    ///
    /// It cannot be written, and is lost.
    pub fn flush(&self) -> Result<(), TraceError> {
        self.lock().current.flush()
    }

    /// Lets go what is too old or too much, and closes a segment whose span of time is over. To be called now and then.
    ///
    /// # Errors
    ///
    /// A file cannot be written or removed.
    pub fn tidy(&self, now: Duration) -> Result<(), TraceError> {
        let mut state = self.lock();
        let begun = state.current.content.times.map(|(oldest, _)| oldest);
        if begun.is_some_and(|begun| now.saturating_sub(begun) > self.bounds.span()) {
            self.seal(&mut state)?;
        }
        let oldest = now.saturating_sub(self.bounds.age);
        loop {
            let octets = state.octets();
            let Some(segment) = state.sealed.front() else { return Ok(()) };
            if octets <= self.bounds.octets && segment.index.times.1 >= oldest {
                return Ok(());
            }
            segment.remove()?;
            state.sealed.pop_front();
        }
    }

    /// Lets the oldest full segment go, whatever the bounds say: for a disk that is full.
    ///
    /// # Errors
    ///
    /// A file cannot be removed.
    pub fn shed(&self) -> Result<bool, TraceError> {
        let mut state = self.lock();
        let Some(segment) = state.sealed.pop_front() else { return Ok(false) };
        info!(octets = segment.octets, "the oldest part of the trace makes room");
        segment.remove().map(|()| true)
    }

    /// Octets on disk, entries, and when the oldest of them happened.
    pub fn extent(&self) -> (u64, u64, Option<Duration>) {
        let state = self.lock();
        let first = state.sealed.front().map_or(state.current.first, |segment| segment.first);
        let current = state.current.content.times.map(|(oldest, _)| oldest);
        let oldest = state.sealed.front().map(|segment| segment.index.times.0).or(current);
        (state.octets(), state.current.next() - first, oldest)
    }

    fn seal(&self, state: &mut State) -> Result<(), TraceError> {
        let next = state.current.next();
        let sealed = seal::seal::<E>(&self.folder, &mut state.current);
        // If it could not be closed its log is still there, and is closed at the next start.
        state.current = Current::open::<E>(&self.folder, next)?;
        state.sealed.extend(sealed?.map(Arc::new));
        Ok(())
    }

    /// What a search reads, as it is now.
    pub(crate) fn view(&self, wanted: &Wanted) -> Result<(Part, Vec<Arc<Sealed>>), TraceError> {
        let state = self.lock();
        Ok((state.current.part(wanted)?, state.sealed.iter().cloned().collect()))
    }

    /// Telemetry stays usable when somebody who held it panicked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn octets(&self) -> u64 {
        self.sealed.iter().map(|segment| segment.octets).sum::<u64>() + self.current.content.end
    }
}

impl<E> std::fmt::Debug for Trace<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace")
            .field("folder", &self.folder)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}
