//! Room is made: messages that stay get files of their own, and segments in which nothing is needed any more go, the oldest
//! first, so that no message outlives the record of its end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::content::{PIECE, piece_of};
use crate::disk::{Disk, DiskFile, read_exact_at};
use crate::entry::{EntryId, State};
use crate::error::SpoolError;
use crate::fields::{Decoder, Encoder};
use crate::frame::{FrameHeader, Kind, SEGMENT_HEADER, Seal, key_of, read_frame, segment_header};
use crate::index::{Index, Location, Place, own_path, segment_path};
use crate::job::{Change, Job};
use crate::receipts::RECEIPT_LIFE;
use crate::spool::Spool;
use crate::writer::look_at_space;

/// Messages that one call moves, so that it ends.
const MAX_MOVED: usize = 4096;
/// Likewise, and so that little is on the disk twice.
const MAX_MOVED_BYTES: u64 = 256 << 20;

impl Spool {
    /// Makes room: to be called every few seconds. Blocks only a thread of the runtime's blocking pool; storing and delivering
    /// go on meanwhile.
    ///
    /// # Errors
    ///
    /// The disk's. Nothing is lost, and the next call goes on.
    pub async fn tidy(&self, now: Duration) -> Result<(), SpoolError> {
        let spool = self.clone();
        let done = tokio::task::spawn_blocking(move || spool.tidy_blocking(now));
        done.await.map_err(|_| SpoolError::Closed)?
    }

    fn tidy_blocking(&self, now: Duration) -> Result<(), SpoolError> {
        let _only = self.only_one_tidies();
        // A backup is being made: it reads files by their names. What is in the way goes the next time.
        let Some(_leave) = self.inner.disk.leave_to_move().map_err(SpoolError::read)? else { return Ok(()) };
        self.remove_orphans()?;
        // A full disk has no room for copies. What can go without them goes all the same, or it would stay full.
        let moved = self.move_out(now).and_then(|()| self.write_again_what_the_oldest_holds(now));
        self.remove_orphans()?;
        self.remove_segments()?;
        self.index().forget_names();
        look_at_space(&*self.inner.disk, &self.inner.shared);
        moved
    }

    /// Copies what has waited long enough to files of their own. Not from the newest segment: it goes nowhere yet.
    fn move_out(&self, now: Duration) -> Result<(), SpoolError> {
        let candidates: Vec<_> = {
            let mut index = self.index();
            let newest = index.segments.keys().next_back().copied();
            let old = |received_at| now.saturating_sub(received_at) >= self.inner.settings.own_file_after;
            let mut bytes = 0;
            let candidates: Vec<_> = index
                .iter()
                .filter(|(_, held)| match held.location.place {
                    Place::Segment(number) => Some(number) != newest && old(held.received_at),
                    Place::Own => false,
                })
                .take(MAX_MOVED)
                .take_while(|(_, held)| {
                    let within = bytes == 0 || bytes + held.location.length <= MAX_MOVED_BYTES;
                    bytes += held.location.length;
                    within
                })
                .map(|(id, held)| (id, held.location, held.state.clone()))
                .collect();
            // A copy that this call leaves unfinished must go before the message's end can be forgotten.
            index.orphans.extend(candidates.iter().map(|(id, ..)| *id));
            candidates
        };
        let mut moved = Vec::new();
        for (id, from, state) in candidates {
            let revision = state.revision;
            match copy_out(&*self.inner.disk, id, from, &state).map_err(SpoolError::read)? {
                Some(location) => moved.push((id, location, revision)),
                // Sets it aside and takes it out of the spool.
                None => self.drop_damaged(id)?,
            }
        }
        if !moved.is_empty() {
            self.inner.disk.sync_folder("own").map_err(SpoolError::read)?;
        }
        let mut index = self.index();
        for (id, location, revision) in moved {
            index.moved_out(id, location, revision);
        }
        Ok(())
    }

    fn drop_damaged(&self, id: EntryId) -> Result<(), SpoolError> {
        match self.open_blocking(id) {
            Err(SpoolError::Damaged(id)) => self.change_blocking(id, Change::Removed),
            _ => Ok(()),
        }
    }

    /// States of messages that have files of their own, and receipts: what the oldest segment alone holds of them moves to
    /// the newest.
    fn write_again_what_the_oldest_holds(&self, now: Duration) -> Result<(), SpoolError> {
        let (states, receipts) = {
            let mut index = self.index();
            index.receipts.retain(|_, kept| now.saturating_sub(kept.at) < RECEIPT_LIFE);
            let Some(oldest) = index.oldest_to_go() else { return Ok(()) };
            if index.iter().any(|(_, held)| held.location.place == Place::Segment(oldest)) {
                return Ok(());
            }
            let states: Vec<_> =
                index.iter().filter(|(_, held)| held.state_in == Some(oldest)).map(|(id, _)| id).collect();
            let receipts: Vec<_> = index
                .receipts
                .iter()
                .filter(|(_, kept)| kept.segment == oldest)
                .map(|(key, kept)| (*key, (kept.at, kept.words.clone())))
                .collect();
            (states, receipts)
        };
        let mut answers = Vec::new();
        for id in states {
            answers.push(self.begin_change(id, Change::Restated)?);
        }
        for (key, receipt) in receipts {
            let (answer, answered) = tokio::sync::oneshot::channel();
            self.send(Job::Receipt { key, receipt: Some(receipt), answer: Some(answer) })?;
            answers.push(answered);
        }
        for answer in answers {
            match answer.blocking_recv().map_err(|_| SpoolError::Closed)? {
                Ok(()) | Err(SpoolError::Unknown(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn change_blocking(&self, id: EntryId, change: Change) -> Result<(), SpoolError> {
        self.begin_change(id, change)?.blocking_recv().map_err(|_| SpoolError::Closed)?
    }

    /// Removes the own files of messages that are gone; durably, before any segment that says that they are.
    fn remove_orphans(&self) -> Result<(), SpoolError> {
        let orphans: Vec<_> = self.index().orphans.iter().copied().collect();
        if orphans.is_empty() {
            return Ok(());
        }
        for id in &orphans {
            match self.inner.disk.remove(&own_path(*id)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(SpoolError::read(error)),
                _ => {}
            }
        }
        self.inner.disk.sync_folder("own").map_err(SpoolError::read)?;
        let mut index = self.index();
        orphans.iter().for_each(|id| {
            index.orphans.remove(id);
        });
        Ok(())
    }

    fn remove_segments(&self) -> Result<(), SpoolError> {
        loop {
            let oldest = {
                let index = self.index();
                index.oldest_to_go().filter(|&oldest| !index.needs(oldest))
            };
            let Some(oldest) = oldest else { return Ok(()) };
            self.inner.disk.remove(&segment_path(oldest)).map_err(SpoolError::read)?;
            // One by one: a later segment may hold the end of a message in this one.
            self.inner.disk.sync_folder("log").map_err(SpoolError::read)?;
            self.index().segments.remove(&oldest);
        }
    }
}

impl Index {
    /// The oldest segment, unless it is also the newest, which is being written and keeps the numbers rising.
    fn oldest_to_go(&self) -> Option<u64> {
        let (oldest, newest) = (self.segments.keys().next()?, self.segments.keys().next_back()?);
        (oldest != newest).then_some(*oldest)
    }

    /// Whether something would be lost, or come back, without this segment, which is the oldest.
    fn needs(&self, segment: u64) -> bool {
        !self.orphans.is_empty()
            || self.pinned.contains(&segment)
            || self.receipts.values().any(|kept| kept.segment == segment)
            || self
                .all_held()
                .any(|held| held.state_in == Some(segment) || held.location.place == Place::Segment(segment))
    }
}

/// Writes a message with its present state to a file of its own, whose name is durable once the folder is synced. `None`: the
/// message is damaged.
fn copy_out(disk: &dyn Disk, id: EntryId, from: Location, state: &State) -> io::Result<Option<Location>> {
    let source: Arc<dyn DiskFile> = disk.open(&from.path(id))?.into();
    let Some((header, meta)) = read_frame(&*source, &key_of(&*source)?, from.offset)? else {
        return Ok(None);
    };
    let mut decoder = Decoder(&meta);
    if decoder.u64() != Some(id.to_bits()) || State::decode(&mut decoder).is_none() {
        return Ok(None);
    }
    let mut meta = Encoder::default();
    meta.u64(id.to_bits());
    state.encode(&mut meta);
    meta.0.extend_from_slice(decoder.0);
    let unfinished = format!("own/{id}.tmp");
    let _ = disk.remove(&unfinished);
    let mut file = disk.create(&unfinished)?;
    let length = write_alone(&mut *file, &meta.0, &*source, header.content_at(from.offset), header.content)?;
    file.sync()?;
    disk.rename(&unfinished, &own_path(id))?;
    Ok(Some(Location { place: Place::Own, offset: SEGMENT_HEADER as u64, length }))
}

/// Header and frame; returns the frame's length.
fn write_alone(
    file: &mut dyn DiskFile,
    meta: &[u8],
    source: &dyn DiskFile,
    mut at: u64,
    content: u64,
) -> io::Result<u64> {
    let (header, key) = segment_header(0, rand::random());
    let length = u32::try_from(meta.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let frame = FrameHeader { kind: Kind::Message, meta: length, content };
    let frame_header = frame.write(&key, SEGMENT_HEADER as u64);
    let mut seal = Seal::new(&key, &frame_header);
    seal.update(meta);
    // Small messages, which most are, go out in one write.
    let mut buffer = [&header[..], &frame_header, meta].concat();
    let end = at + content;
    while at < end {
        let start = buffer.len();
        let size = piece_of(end - at);
        buffer.resize(start + size, 0);
        read_exact_at(source, &mut buffer[start..], at)?;
        seal.update(&buffer[start..]);
        at += size as u64;
        if buffer.len() >= PIECE {
            file.append(&buffer)?;
            buffer.clear();
        }
    }
    buffer.extend_from_slice(&seal.tag());
    file.append(&buffer)?;
    Ok(frame.total())
}
