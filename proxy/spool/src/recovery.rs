//! The start: every segment and every message's own file is read and checked, and the index made from what is sound. What is
//! damaged is copied to `damaged/` and named in the log; it never stops the rest.
//!
//! The order in which records are found does not matter: of a message's states the one with the greatest revision counts, and
//! a message that was removed once stays removed.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use smtp::TransactionId;

use crate::content::piece_of;
use crate::disaster;
use crate::disk::{Disk, DiskFile, read_exact_at};
use crate::entry::{EntryId, Fixed, State, decode_head};
use crate::fields::Decoder;
use crate::frame::{Frame, Kind, scan};
use crate::index::{Held, Index, Location, Place, domains_of, own_path, segment_path};
use crate::receipts::Kept;

/// Own files are many and small: opening them is waiting, so several threads do it.
const READERS: usize = 4;
const SET_ASIDE: &str = "spool: a damaged record was set aside";
const NOT_SET_ASIDE: &str = "spool: a damaged record cannot be set aside";

/// The index, and the numbers that the next segment and the next message get.
pub(crate) struct Recovered {
    pub(crate) index: Index,
    pub(crate) next_segment: u64,
    pub(crate) next_id: u64,
}

/// Makes the folders if need be, and reads everything.
///
/// # Errors
///
/// A folder cannot be made, listed or synced. A file that cannot be read is left alone and named in the log.
pub(crate) fn recover(disk: &Arc<dyn Disk>, now: Duration) -> io::Result<Recovered> {
    for folder in ["log", "own", "damaged"] {
        disk.create_folder(folder)?;
    }
    disk.sync_folder("")?;
    let mut found = Found::default();
    let mut index = Index::default();
    let segments = numbers(&disk.list("log")?, ".log");
    for &number in &segments {
        read_segment(&**disk, number, &mut found, &mut index);
    }
    let own = disk.list("own")?;
    // Unfinished copies: the log still has what they were made from.
    for name in own.iter().filter(|name| !name.ends_with(".msg")) {
        disk.remove(&format!("own/{name}"))?;
    }
    read_own_files(disk, &numbers(&own, ".msg"), &mut found);
    // What was read may be in the kernel's memory only, if Postern was killed: what is acted on from here on must not
    // be undone by a power cut.
    disk.sync_folder("log")?;
    disk.sync_folder("own")?;
    index.damaged = disk.list("damaged")?.len();
    index.disaster = disaster::read(&**disk)?;
    let last = found.last_id();
    found.settle(&mut index);
    let next_id = last.saturating_add(1).max(u64::try_from(now.as_millis()).unwrap_or_default() << 20);
    Ok(Recovered { index, next_segment: segments.last().map_or(1, |last| last + 1), next_id })
}

fn numbers(names: &[String], suffix: &str) -> Vec<u64> {
    let mut numbers: Vec<_> =
        names.iter().filter_map(|name| u64::from_str_radix(name.strip_suffix(suffix)?, 16).ok()).collect();
    // The last number of all has no successor: no file of ours has it.
    numbers.retain(|&number| number < u64::MAX);
    numbers.sort_unstable();
    numbers
}

/// What the records say, before they are put together.
#[derive(Default)]
struct Found {
    messages: HashMap<EntryId, Message>,
    states: HashMap<EntryId, (State, Option<u64>)>,
    removed: HashSet<EntryId>,
    receipts: HashMap<[u8; 32], Kept>,
}

struct Message {
    head: (TransactionId, Duration, Box<str>),
    domains: Box<[Arc<str>]>,
    size: u64,
    location: Location,
}

impl Found {
    /// Takes a record in; `None` if it makes no sense.
    fn take(&mut self, frame: &Frame<'_>, place: Place) -> Option<()> {
        let mut meta = Decoder(frame.meta);
        let segment = match place {
            Place::Segment(number) => Some(number),
            Place::Own => None,
        };
        match frame.header.kind {
            Kind::Message => {
                let id = meta.entry_id()?;
                let state = State::decode(&mut meta)?;
                let mut envelope = Decoder(meta.0);
                let head = decode_head(&mut meta)?;
                // What makes no sense further on is found when the message is opened.
                let fixed = Fixed::decode(&mut envelope);
                let domains = fixed.map(|fixed| domains_of(&fixed, &state.remaining)).unwrap_or_default();
                let location = Location { place, offset: frame.offset, length: frame.header.total() };
                // A file of its own is read last and stands; the segment's copy is about to go.
                self.messages.insert(id, Message { head, domains, size: frame.header.content, location });
                self.state(id, state, segment);
            }
            Kind::State => {
                let id = meta.entry_id()?;
                self.state(id, State::decode(&mut meta)?, segment);
            }
            Kind::Removed => {
                self.removed.insert(meta.entry_id()?);
            }
            Kind::Receipt => {
                let (key, kept) = Kept::decode(&mut meta, segment.unwrap_or_default())?;
                self.receipts.insert(key, kept);
            }
            Kind::ReceiptTaken => {
                let key = meta.array()?;
                self.receipts.remove(&key);
            }
        }
        Some(())
    }

    fn state(&mut self, id: EntryId, state: State, segment: Option<u64>) {
        let newest = self.states.get(&id).is_none_or(|(known, _)| known.revision <= state.revision);
        if newest {
            self.states.insert(id, (state, segment));
        }
    }

    fn merge(&mut self, other: Self) {
        self.messages.extend(other.messages);
        for (id, (state, segment)) in other.states {
            self.state(id, state, segment);
        }
    }

    fn last_id(&self) -> u64 {
        let ids = self.states.keys().chain(&self.removed).chain(self.messages.keys());
        ids.map(|id| id.to_bits()).max().unwrap_or_default()
    }

    fn settle(mut self, index: &mut Index) {
        for (id, message) in self.messages {
            let Message { head: (transaction, received_at, backend), domains, size, location } = message;
            let Some((state, state_in)) = self.states.remove(&id) else { continue };
            if self.removed.contains(&id) || state.remaining.is_empty() {
                if location.place == Place::Own {
                    index.orphans.insert(id);
                }
                continue;
            }
            let (backend, removed) = (Arc::from(backend), false);
            let held =
                Held { transaction, received_at, backend, domains, size, location, state, state_in, removed };
            index.insert(id, held);
        }
        for (id, _) in self
            .states
            .into_iter()
            .filter(|(id, (state, _))| !self.removed.contains(id) && !state.remaining.is_empty())
        {
            tracing::error!(%id, "spool: a message is missing; look for it in the folder `damaged`");
        }
        index.receipts = self.receipts.into_iter().collect();
    }
}

fn read_segment(disk: &dyn Disk, number: u64, found: &mut Found, index: &mut Index) {
    let path = segment_path(number);
    let mut read = || -> io::Result<_> {
        let file = disk.open(&path)?;
        // See `recover`.
        file.sync()?;
        let gaps = scan(&*file, &mut |frame| found.take(frame, Place::Segment(number)).is_some())?;
        Ok((file.length()?, file, gaps))
    };
    match read() {
        Ok((length, file, gaps)) => {
            index.segments.insert(number, length);
            for gap in gaps {
                if let Err(error) = set_aside(disk, &*file, &path, gap) {
                    tracing::error!(path, %error, "{NOT_SET_ASIDE}");
                    index.pinned.insert(number);
                }
            }
        }
        Err(error) => {
            tracing::error!(path, %error, "spool: a segment cannot be read");
            index.segments.insert(number, 0);
            index.pinned.insert(number);
        }
    }
}

/// Copies a damaged range of a file to `damaged/`, unless that was done at an earlier start. A hole that only holds zeros is
/// what a power cut leaves of writes that nobody was promised anything for.
///
/// # Errors
///
/// What the disk says.
pub(crate) fn set_aside(
    disk: &dyn Disk,
    file: &dyn DiskFile,
    path: &str,
    range: Range<u64>,
) -> io::Result<()> {
    let stem = path.rsplit('/').next().unwrap_or(path);
    let name = format!("{stem}-{}-{}", range.start, range.end);
    if is_empty(file, range.clone())? || disk.list("damaged")?.contains(&name) {
        return Ok(());
    }
    let (unfinished, whole) = (format!("damaged/{name}.tmp"), format!("damaged/{name}"));
    let _ = disk.remove(&unfinished);
    let mut copy = disk.create(&unfinished)?;
    each_piece(file, range.clone(), &mut |piece| copy.append(piece).map(|()| true))?;
    copy.sync()?;
    disk.rename(&unfinished, &whole)?;
    disk.sync_folder("damaged")?;
    tracing::warn!(path, from = range.start, to = range.end, kept = whole, "{SET_ASIDE}");
    Ok(())
}

fn is_empty(file: &dyn DiskFile, range: Range<u64>) -> io::Result<bool> {
    let mut empty = true;
    each_piece(file, range, &mut |piece| {
        empty = piece.iter().all(|&octet| octet == 0);
        Ok(empty)
    })?;
    Ok(empty)
}

/// Until `then` says that it is enough.
fn each_piece(
    file: &dyn DiskFile,
    range: Range<u64>,
    then: &mut dyn FnMut(&[u8]) -> io::Result<bool>,
) -> io::Result<()> {
    let mut at = range.start;
    let mut buffer = vec![0; piece_of(range.end - range.start)];
    while at < range.end {
        let piece = &mut buffer[..piece_of(range.end - at)];
        read_exact_at(file, piece, at)?;
        if !then(piece)? {
            break;
        }
        at += piece.len() as u64;
    }
    Ok(())
}

fn read_own_files(disk: &Arc<dyn Disk>, ids: &[u64], found: &mut Found) {
    let share = ids.len().div_ceil(READERS).max(1);
    let parts: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = ids
            .chunks(share)
            .map(|ids| scope.spawn(move || ids.iter().map(|id| read_own_file(&**disk, *id)).collect()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|_| Vec::new())).collect()
    });
    for (id, part) in ids.iter().zip(parts) {
        let path = own_path(EntryId::from_bits(*id));
        match part {
            Ok(part) if !part.messages.is_empty() => found.merge(part),
            Ok(_) => move_aside(&**disk, &path),
            Err(error) => tracing::error!(path, %error, "spool: a message's file cannot be read"),
        }
    }
}

fn read_own_file(disk: &dyn Disk, id: u64) -> io::Result<Found> {
    let file = disk.open(&own_path(EntryId::from_bits(id)))?;
    let mut found = Found::default();
    scan(&*file, &mut |frame| {
        frame.meta.starts_with(&id.to_le_bytes()) && found.take(frame, Place::Own).is_some()
    })?;
    Ok(found)
}

/// The whole file goes to `damaged/`.
fn move_aside(disk: &dyn Disk, path: &str) {
    let name = path.rsplit('/').next().unwrap_or(path);
    let moved = disk.rename(path, &format!("damaged/{name}")).and_then(|()| disk.sync_folder("damaged"));
    match moved {
        Ok(()) => tracing::warn!(path, "{SET_ASIDE}"),
        Err(error) => tracing::error!(path, %error, "{NOT_SET_ASIDE}"),
    }
}
