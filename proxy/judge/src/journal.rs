//! Lessons in the order they were learned: what a start learns again beyond the snapshot, and what an undo takes back.
//!
//! A folder of segments, each a row of frames: length, CRC-32, entry. A lesson is written before it counts as learned, so that a
//! killed process loses none; [`Journal::sync`] makes them outlive the machine. What is damaged at the end of the last segment is
//! cut; damage before ends what is read of that segment.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::features::{Digest, MAX_BYTES};
use crate::members::Addition;

/// An entry is never longer: features, and what the members add.
const MAX_ENTRY: usize = MAX_BYTES + (24 << 10);
/// A segment is not written on beyond.
pub(crate) const SEGMENT: u64 = 64 << 20;
/// Lessons kept in memory, where there is no folder, take so much at most; older ones cannot be undone.
const MEMORY: usize = 64 << 20;
const HEAD: usize = 8;
const PREFIX: &str = "lessons-";
const SUFFIX: &str = ".log";

/// What is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Entry {
    /// A lesson.
    Add(Box<Addition>),
    /// A lesson was taken back.
    Forget(Digest),
}

/// Where an entry lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    offset: u64,
}

/// The lessons.
#[derive(Debug)]
pub(crate) enum Journal {
    /// Nowhere: for evaluation.
    Memory { octets: Vec<u8> },
    /// In a folder.
    Folder(Folder),
}

/// A folder of segments.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    file: File,
    segment: u32,
    length: u64,
    unsynced: bool,
}

/// What was read back.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// Octets that made no sense.
    pub(crate) cut: u64,
}

impl Journal {
    /// Opens the folder for lessons behind `segment`, those in it first told to `each`.
    pub(crate) fn open(
        path: &Path,
        segment: u32,
        mut each: impl FnMut(Entry, Place),
    ) -> io::Result<(Self, Replay)> {
        let mut replay = Replay::default();
        let mut last = segment;
        for number in segments(path)?.into_iter().filter(|number| *number >= segment) {
            let octets = fs::read(file_name(path, number))?;
            let whole = read_all(&octets, |entry, offset| each(entry, Place { segment: number, offset }));
            let left = u64::try_from(octets.len() - whole).unwrap_or_default();
            if left > 0 {
                replay.cut += left;
                OpenOptions::new()
                    .write(true)
                    .open(file_name(path, number))?
                    .set_len(u64::try_from(whole).unwrap_or_default())?;
            }
            last = number;
        }
        let folder = Folder::open(path, last)?;
        Ok((Self::Folder(folder), replay))
    }

    /// The same without changing anything: damage stays where it is, and nothing can be written.
    pub(crate) fn look(path: &Path, segment: u32, mut each: impl FnMut(Entry, Place)) -> io::Result<Self> {
        let mut last = None;
        for number in segments(path)?.into_iter().filter(|number| *number >= segment) {
            let octets = fs::read(file_name(path, number))?;
            read_all(&octets, |entry, offset| each(entry, Place { segment: number, offset }));
            last = Some(number);
        }
        let Some(segment) = last else { return Ok(Self::Memory { octets: Vec::new() }) };
        let file = File::open(file_name(path, segment))?;
        let length = file.metadata()?.len();
        Ok(Self::Folder(Folder { path: path.to_owned(), file, segment, length, unsynced: false }))
    }

    /// Writes an entry behind all others.
    pub(crate) fn append(&mut self, entry: &Entry) -> io::Result<Place> {
        let frame = frame(entry)?;
        match self {
            Self::Memory { octets } => {
                if octets.len() > MEMORY {
                    octets.clear();
                }
                let offset = u64::try_from(octets.len()).unwrap_or_default();
                octets.extend_from_slice(&frame);
                Ok(Place { segment: 0, offset })
            }
            Self::Folder(folder) => folder.append(&frame),
        }
    }

    /// The lesson at a place; `None` if it is not there any more.
    pub(crate) fn read(&self, place: Place) -> io::Result<Option<Addition>> {
        let found = match self {
            Self::Memory { octets } => {
                let offset = usize::try_from(place.offset).unwrap_or(usize::MAX);
                octets.get(offset..).and_then(unframe).map(|(entry, _)| entry)
            }
            Self::Folder(folder) => folder.read(place)?,
        };
        Ok(match found {
            Some(Entry::Add(addition)) => Some(*addition),
            _ => None,
        })
    }

    /// Makes durable what was written.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        match self {
            Self::Memory { .. } => Ok(()),
            Self::Folder(folder) => folder.sync(),
        }
    }

    /// Octets since the last snapshot.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Memory { .. } => 0,
            Self::Folder(folder) => folder.length,
        }
    }

    /// Begins a new segment and names it.
    pub(crate) fn turn(&mut self) -> io::Result<u32> {
        match self {
            Self::Memory { .. } => Ok(0),
            Self::Folder(folder) => {
                folder.sync()?;
                *folder = Folder::open(&folder.path, folder.segment + 1)?;
                Ok(folder.segment)
            }
        }
    }

    /// Removes segments before `first` that nobody needs.
    pub(crate) fn drop_before(&self, first: u32, needed: &dyn Fn(u32) -> bool) -> io::Result<()> {
        let Self::Folder(folder) = self else { return Ok(()) };
        for number in segments(&folder.path)?.into_iter().filter(|number| *number < first && !needed(*number))
        {
            fs::remove_file(file_name(&folder.path, number))?;
        }
        Ok(())
    }
}

impl Folder {
    fn open(path: &Path, segment: u32) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(file_name(path, segment))?;
        let length = file.metadata()?.len();
        File::open(path)?.sync_all()?;
        Ok(Self { path: path.to_owned(), file, segment, length, unsynced: false })
    }

    fn append(&mut self, frame: &[u8]) -> io::Result<Place> {
        let place = Place { segment: self.segment, offset: self.length };
        if let Err(error) = self.file.write_all(frame) {
            // Half a frame would hide what comes behind it.
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length += u64::try_from(frame.len()).unwrap_or_default();
        self.unsynced = true;
        Ok(place)
    }

    fn read(&self, place: Place) -> io::Result<Option<Entry>> {
        let mut file = match File::open(file_name(&self.path, place.segment)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(place.offset))?;
        let mut octets = Vec::new();
        let most = u64::try_from(HEAD + MAX_ENTRY).unwrap_or(u64::MAX);
        file.take(most).read_to_end(&mut octets)?;
        Ok(unframe(&octets).map(|(entry, _)| entry))
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.unsynced {
            self.file.sync_data()?;
            self.unsynced = false;
        }
        Ok(())
    }
}

fn file_name(folder: &Path, segment: u32) -> PathBuf {
    folder.join(format!("{PREFIX}{segment:08}{SUFFIX}"))
}

fn segments(folder: &Path) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
        found.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

pub(crate) fn frame(entry: &Entry) -> io::Result<Vec<u8>> {
    let payload = postcard::to_allocvec(entry).map_err(|error| io::Error::other(error.to_string()))?;
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(HEAD + payload.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    frame.extend_from_slice(&payload);
    Ok(frame)
}

/// The entry that octets begin with, and how long its frame is.
pub(crate) fn unframe(octets: &[u8]) -> Option<(Entry, usize)> {
    let (length, rest) = octets.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= MAX_ENTRY)?;
    let payload = rest.get(..length)?;
    if crc32fast::hash(payload) != u32::from_le_bytes(*sum) {
        return None;
    }
    let entry = postcard::from_bytes(payload).ok()?;
    Some((entry, HEAD + length))
}

/// Tells all entries; how many octets were sound.
pub(crate) fn read_all(octets: &[u8], mut each: impl FnMut(Entry, u64)) -> usize {
    let mut at = 0;
    while let Some((entry, length)) = octets.get(at..).and_then(unframe) {
        each(entry, u64::try_from(at).unwrap_or_default());
        at += length;
    }
    at
}
