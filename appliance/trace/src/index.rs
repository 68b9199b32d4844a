//! Which entries of a segment have which keys.
//!
//! In memory while the segment is written ([`Growing`]); beside it as a file when it is full ([`Index`]):
//! `magic · Head · blocks · first key of each chunk · CRC-32 · chunks of keys, each with a CRC-32 · postings`. Only what is before the
//! chunks is held in memory: a search reads one chunk and one posting for each key.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use hashbrown::HashMap;

use crate::block::Span;
use crate::error::TraceError;
use crate::terms::{Terms, Wanted};

/// Entries of a segment, at most.
pub(crate) const ENTRIES: usize = 1 << 14;
const MAGIC: &[u8; 16] = b"postern index 1\n";
/// Keys that are read together.
const CHUNK: usize = 128;
/// Octets of a key, its posting's place and its length.
const KEY: usize = 12;
/// Octets of a set of entries by bits; with as many entries as half of that, a list is as long.
const SET: usize = ENTRIES / 8;
const LIST: usize = SET / 2;
/// Keys of a whole segment, at most: each entry has some hundred, most of them others' too.
const MOST_KEYS: usize = 1 << 22;

/// A set of entries.
#[derive(Clone)]
pub(crate) struct Bits(Box<[u64; ENTRIES / 64]>);

impl Bits {
    fn none() -> Self {
        Self(Box::new([0; ENTRIES / 64]))
    }

    fn all() -> Self {
        Self(Box::new([u64::MAX; ENTRIES / 64]))
    }

    fn set(&mut self, entry: u16) {
        if let Some(word) = self.0.get_mut(usize::from(entry) / 64) {
            *word |= 1 << (entry % 64);
        }
    }

    pub(crate) fn has(&self, entry: u32) -> bool {
        self.0.get(entry as usize / 64).is_some_and(|word| word >> (entry % 64) & 1 == 1)
    }

    fn and(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0.iter()).for_each(|(one, other)| *one &= other);
    }

    fn or(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0.iter()).for_each(|(one, other)| *one |= other);
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Whether any entry from `first` to before `end` is in it.
    pub(crate) fn any_in(&self, first: u32, end: u32) -> bool {
        (first..end).any(|entry| self.has(entry))
    }
}

/// Where keys are looked up.
trait Lookup {
    /// The entries that have this key are left in the set, all others go.
    fn narrow(&mut self, set: &mut Bits, key: u32) -> Result<(), TraceError>;
}

fn select(lookup: &mut impl Lookup, wanted: &Wanted) -> Result<Bits, TraceError> {
    let mut found = Bits::all();
    for clause in &wanted.clauses {
        let mut any = Bits::none();
        for keys in clause {
            let mut all = found.clone();
            for key in keys {
                lookup.narrow(&mut all, *key)?;
                if all.is_empty() {
                    break;
                }
            }
            any.or(&all);
        }
        found = any;
        if found.is_empty() {
            break;
        }
    }
    Ok(found)
}

/// The index of the segment that is written.
#[derive(Debug, Default)]
pub(crate) struct Growing {
    postings: HashMap<u32, Vec<u16>>,
    entries: u16,
}

impl Growing {
    /// The next entry's keys. A segment has no more than [`ENTRIES`].
    pub(crate) fn add(&mut self, terms: &mut Terms) {
        for key in terms.keys() {
            self.postings.entry(*key).or_default().push(self.entries);
        }
        self.entries = self.entries.saturating_add(1);
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.entries)
    }

    pub(crate) fn select(&self, wanted: &Wanted) -> Bits {
        struct InMemory<'a>(&'a HashMap<u32, Vec<u16>>);
        impl Lookup for InMemory<'_> {
            fn narrow(&mut self, set: &mut Bits, key: u32) -> Result<(), TraceError> {
                let mut with = Bits::none();
                self.0.get(&key).into_iter().flatten().for_each(|entry| with.set(*entry));
                set.and(&with);
                Ok(())
            }
        }
        // Nothing is read, so that nothing can fail.
        select(&mut InMemory(&self.postings), wanted).unwrap_or_else(|_| Bits::all())
    }

    /// The file of it.
    pub(crate) fn write(&self, blocks: &[Span], times: (Duration, Duration)) -> Vec<u8> {
        let mut keys: Vec<_> = self.postings.iter().collect();
        keys.sort_unstable_by_key(|(key, _)| **key);
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
        let mut file = MAGIC.to_vec();
        for size in [self.len(), blocks.len(), keys.len()] {
            file.extend_from_slice(&number(size));
        }
        file.extend_from_slice(&times.0.as_secs().to_le_bytes());
        file.extend_from_slice(&times.1.as_secs().to_le_bytes());
        for block in blocks {
            file.extend_from_slice(&block.offset.to_le_bytes());
            file.extend_from_slice(&block.first.to_le_bytes());
        }
        keys.chunks(CHUNK).for_each(|chunk| file.extend_from_slice(&chunk[0].0.to_le_bytes()));
        let sum = crc32fast::hash(&file);
        file.extend_from_slice(&sum.to_le_bytes());
        let mut postings = Vec::new();
        for chunk in keys.chunks(CHUNK) {
            let start = file.len();
            for (key, entries) in chunk {
                file.extend_from_slice(&key.to_le_bytes());
                file.extend_from_slice(&number(postings.len()));
                file.extend_from_slice(&number(entries.len()));
                write_posting(&mut postings, entries);
            }
            let sum = crc32fast::hash(&file[start..]);
            file.extend_from_slice(&sum.to_le_bytes());
        }
        file.append(&mut postings);
        file
    }
}

fn write_posting(postings: &mut Vec<u8>, entries: &[u16]) {
    if entries.len() <= LIST {
        entries.iter().for_each(|entry| postings.extend_from_slice(&entry.to_le_bytes()));
    } else {
        let mut set = Bits::none();
        entries.iter().for_each(|entry| set.set(*entry));
        set.0.iter().for_each(|word| postings.extend_from_slice(&word.to_le_bytes()));
    }
}

/// The index of a full segment, as far as it is held in memory.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) entries: u32,
    pub(crate) blocks: Vec<Span>,
    /// The oldest and the newest entry.
    pub(crate) times: (Duration, Duration),
    keys: usize,
    /// The first key of each chunk.
    chunks: Vec<u32>,
    chunks_at: u64,
}

/// Numbers out of a slice that may be too short.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn u32(&mut self) -> Option<u32> {
        let (four, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*four))
    }

    fn seconds(&mut self) -> Option<Duration> {
        let (eight, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(Duration::from_secs(u64::from_le_bytes(*eight)))
    }
}

const FIXED: usize = MAGIC.len() + 3 * 4 + 2 * 8;

impl Index {
    pub(crate) fn open(path: &Path) -> Result<Self, TraceError> {
        let file = File::open(path).map_err(TraceError::file(path))?;
        let damaged = |why| TraceError::Damaged { path: path.to_owned(), why };
        let read = |into: &mut [u8], at| file.read_exact_at(into, at).map_err(TraceError::file(path));
        let mut fixed = [0; FIXED];
        read(&mut fixed, 0)?;
        let rest = Self::length_behind(&fixed).ok_or_else(|| damaged("it is no index of a trace"))?;
        let mut head = fixed.to_vec();
        head.resize(FIXED + rest, 0);
        read(&mut head[FIXED..], FIXED as u64)?;
        Self::parse(&head).ok_or_else(|| damaged("its beginning is not what was written"))
    }

    /// Octets between the fixed part and the chunks.
    fn length_behind(fixed: &[u8]) -> Option<usize> {
        let mut reader = Reader(fixed.strip_prefix(MAGIC)?);
        let (entries, blocks, keys) =
            (reader.u32()? as usize, reader.u32()? as usize, reader.u32()? as usize);
        let sound = (1..=ENTRIES).contains(&entries) && (1..=entries).contains(&blocks) && keys <= MOST_KEYS;
        sound.then(|| blocks * 8 + keys.div_ceil(CHUNK) * 4 + 4)
    }

    fn parse(head: &[u8]) -> Option<Self> {
        let (summed, sum) = head.split_last_chunk::<4>()?;
        if crc32fast::hash(summed) != u32::from_le_bytes(*sum) {
            return None;
        }
        let mut reader = Reader(summed.strip_prefix(MAGIC)?);
        let (entries, blocks, keys) = (reader.u32()?, reader.u32()?, reader.u32()? as usize);
        let times = (reader.seconds()?, reader.seconds()?);
        let mut spans = Vec::new();
        for _ in 0..blocks {
            spans.push(Span { offset: reader.u32()?, first: reader.u32()? });
        }
        let ascending = spans.is_sorted_by(|one, next| one.first < next.first && one.offset < next.offset);
        let starts = spans.first().is_some_and(|span| span.first == 0);
        let ends = spans.last().is_some_and(|span| span.first < entries);
        let chunks: Vec<u32> = (0..keys.div_ceil(CHUNK)).map(|_| reader.u32()).collect::<Option<_>>()?;
        let sound = ascending && starts && ends && chunks.is_sorted();
        let chunks_at = head.len() as u64;
        sound.then_some(Self { entries, blocks: spans, times, keys, chunks, chunks_at })
    }

    /// The entries that may be wanted. `file` is the index's own.
    pub(crate) fn select(&self, file: &File, path: &Path, wanted: &Wanted) -> Result<Bits, TraceError> {
        select(&mut OnDisk { index: self, file, path }, wanted)
    }

    /// Octets of all chunks.
    fn chunks_length(&self) -> u64 {
        (self.keys * KEY + self.chunks.len() * 4) as u64
    }
}

/// An index that is read for a search.
struct OnDisk<'a> {
    index: &'a Index,
    file: &'a File,
    path: &'a Path,
}

impl OnDisk<'_> {
    fn read(&self, length: usize, at: u64) -> Result<Vec<u8>, TraceError> {
        let mut octets = vec![0; length];
        self.file.read_exact_at(&mut octets, at).map_err(TraceError::file(self.path))?;
        Ok(octets)
    }

    /// Where the posting of a key is, and how many entries it names.
    fn find(&self, key: u32) -> Result<Option<(u32, u32)>, TraceError> {
        let number = self.index.chunks.partition_point(|first| *first <= key);
        let Some(number) = number.checked_sub(1) else { return Ok(None) };
        let keys = (self.index.keys - number * CHUNK).min(CHUNK);
        let at = self.index.chunks_at + (number * (CHUNK * KEY + 4)) as u64;
        let chunk = self.read(keys * KEY + 4, at)?;
        let damaged =
            || TraceError::Damaged { path: self.path.to_owned(), why: "a part of it has another checksum" };
        let (summed, sum) = chunk.split_last_chunk::<4>().ok_or_else(damaged)?;
        if crc32fast::hash(summed) != u32::from_le_bytes(*sum) {
            return Err(damaged());
        }
        let row = summed.chunks_exact(KEY).find_map(|row| {
            let mut reader = Reader(row);
            (reader.u32()? == key).then(|| Some((reader.u32()?, reader.u32()?)))?
        });
        Ok(row)
    }
}

impl Lookup for OnDisk<'_> {
    fn narrow(&mut self, set: &mut Bits, key: u32) -> Result<(), TraceError> {
        let mut with = Bits::none();
        if let Some((offset, entries)) = self.find(key)? {
            let length = if entries as usize <= LIST { entries as usize * 2 } else { SET };
            let at = self.index.chunks_at + self.index.chunks_length() + u64::from(offset);
            let posting = self.read(length, at)?;
            if entries as usize <= LIST {
                posting.as_chunks().0.iter().for_each(|two| with.set(u16::from_le_bytes(*two)));
            } else {
                let words = posting.as_chunks().0.iter().map(|eight| u64::from_le_bytes(*eight));
                with.0.iter_mut().zip(words).for_each(|(slot, word)| *slot = word);
            }
        }
        set.and(&with);
        Ok(())
    }
}

/// Reads the part of an index that is held in memory, and counts its blocks: for the fuzzer.
pub fn check_index(octets: &[u8]) -> Option<usize> {
    let rest = Index::length_behind(octets.get(..FIXED)?)?;
    Some(Index::parse(octets.get(..FIXED + rest)?)?.blocks.len())
}

impl std::fmt::Debug for Bits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let set: u32 = self.0.iter().map(|word| word.count_ones()).sum();
        write!(f, "Bits({set} of {ENTRIES})")
    }
}
