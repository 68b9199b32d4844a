//! A full segment, and how any segment is read.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::warn;

use crate::Entry;
use crate::block::{self, Span, Unpacked};
use crate::error::TraceError;
use crate::folder::{self, Kind, MAGIC};
use crate::index::{Bits, ENTRIES, Growing, Index};
use crate::terms::{Terms, Wanted};

/// A full segment: nothing in it changes.
#[derive(Debug)]
pub(crate) struct Sealed {
    /// The number of its first entry.
    pub(crate) first: u64,
    pub(crate) index: Index,
    /// Of both files.
    pub(crate) octets: u64,
    records: PathBuf,
    index_path: PathBuf,
}

impl Sealed {
    /// Opens both files; an index that is missing or damaged is made anew.
    pub(crate) fn open<E: Entry>(folder: &Path, first: u64) -> Result<Self, TraceError> {
        let (records, index_path) = (Kind::Records.path(folder, first), Kind::Index.path(folder, first));
        let index = match Index::open(&index_path) {
            Ok(index) => index,
            Err(error) => {
                if !error.is_gone() {
                    warn!(%error, "an index of the trace is made anew");
                }
                let file = File::open(&records).map_err(TraceError::file(&records))?;
                let content = Content::read::<E>(&file, &records)?;
                write_index(folder, first, &content)?;
                Index::open(&index_path)?
            }
        };
        let octets = folder::length(&records)? + folder::length(&index_path)?;
        Ok(Self { first, index, octets, records, index_path })
    }

    pub(crate) fn remove(&self) -> Result<(), TraceError> {
        folder::remove(&self.records)?;
        folder::remove(&self.index_path)
    }

    /// The number behind its last entry.
    pub(crate) fn end(&self) -> u64 {
        self.first + u64::from(self.index.entries)
    }

    /// What of it may be wanted; `None` if that is nothing.
    pub(crate) fn part(&self, wanted: &Wanted) -> Result<Part, TraceError> {
        let index = File::open(&self.index_path).map_err(TraceError::file(&self.index_path))?;
        let bits = self.index.select(&index, &self.index_path, wanted)?;
        let file = File::open(&self.records).map_err(TraceError::file(&self.records))?;
        Ok(Part {
            first: self.first,
            file,
            path: self.records.clone(),
            blocks: self.index.blocks.clone(),
            entries: self.index.entries,
            bits,
            pending: None,
        })
    }
}

/// Writes an index, so that it is there as a whole or not at all.
pub(crate) fn write_index(folder: &Path, first: u64, content: &Content) -> Result<(), TraceError> {
    let octets = content.index.write(&content.blocks, content.times.unwrap_or_default());
    let path = Kind::Index.unfinished(folder, first);
    let written = File::create(&path).and_then(|file| {
        file.write_all_at(&octets, 0)?;
        file.sync_data()
    });
    written.map_err(TraceError::file(&path))?;
    folder::rename(&path, &Kind::Index.path(folder, first))
}

/// What is in a file of blocks.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) index: Growing,
    pub(crate) blocks: Vec<Span>,
    /// The oldest and the newest entry.
    pub(crate) times: Option<(Duration, Duration)>,
    /// Where the first block that is not sound begins, or the file ends.
    pub(crate) end: u64,
}

impl Content {
    /// Of a new file.
    pub(crate) fn empty() -> Self {
        Self { end: MAGIC.len() as u64, ..Self::default() }
    }

    /// Reads as far as blocks are sound.
    pub(crate) fn read<E: Entry>(file: &File, path: &Path) -> Result<Self, TraceError> {
        let mut magic = [0; MAGIC.len()];
        let begun = file.read_exact_at(&mut magic, 0).is_ok() && magic == *MAGIC;
        if !begun {
            return Err(TraceError::Damaged { path: path.to_owned(), why: "it is no file of a trace" });
        }
        let mut content = Self::empty();
        let mut terms = Terms::default();
        while let Some((block, octets)) = block::read_at(file, content.end).map_err(TraceError::file(path))? {
            if content.index.len() + block.len() as usize > ENTRIES {
                break;
            }
            content.begins_block();
            for json in block.entries() {
                terms.clear();
                // One that this version cannot read keeps its number, and is found by nothing.
                if let Ok(entry) = serde_json::from_slice::<E>(json) {
                    entry.describe(&mut terms);
                    content.happened(entry.at());
                }
                content.index.add(&mut terms);
            }
            content.end += octets as u64;
        }
        Ok(content)
    }

    /// The next entry is the first of a block at the end.
    pub(crate) fn begins_block(&mut self) {
        let offset = u32::try_from(self.end).unwrap_or(u32::MAX);
        let first = u32::try_from(self.index.len()).unwrap_or(u32::MAX);
        self.blocks.push(Span { offset, first });
    }

    pub(crate) fn happened(&mut self, at: Duration) {
        let (oldest, newest) = self.times.unwrap_or((at, at));
        self.times = Some((oldest.min(at), newest.max(at)));
    }
}

/// What a search reads of one segment.
pub(crate) struct Part {
    pub(crate) first: u64,
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) blocks: Vec<Span>,
    /// Entries that have a number.
    pub(crate) entries: u32,
    pub(crate) bits: Bits,
    /// Entries that are not in the file yet, and the number of the first.
    pub(crate) pending: Option<(u32, Unpacked)>,
}

impl Part {
    /// Shows what may be wanted to `look`, the newest first, each with its number in the trace; stops when that says false.
    pub(crate) fn backwards(&self, mut look: impl FnMut(u64, &[u8]) -> bool) -> Result<bool, TraceError> {
        let mut show = |first: u32, block: &Unpacked| {
            let entries = block.entries();
            let numbered = (first..).zip(entries).collect::<Vec<_>>();
            let mut wanted = numbered.into_iter().rev().filter(|(number, _)| self.bits.has(*number));
            wanted.all(|(number, json)| look(self.first + u64::from(number), json))
        };
        if let Some((first, block)) = &self.pending
            && !show(*first, block)
        {
            return Ok(false);
        }
        let mut end = self.pending.as_ref().map_or(self.entries, |(first, _)| *first);
        for span in self.blocks.iter().rev() {
            if self.bits.any_in(span.first, end)
                && !self.block(*span).is_none_or(|block| show(span.first, &block))
            {
                return Ok(false);
            }
            end = span.first;
        }
        Ok(true)
    }

    /// A block that cannot be read is told in the log, and left out.
    pub(crate) fn block(&self, span: Span) -> Option<Unpacked> {
        let offset = span.offset;
        match block::read_at(&self.file, u64::from(offset)) {
            Ok(Some((block, _))) => return Some(block),
            Ok(None) => warn!(file = %self.path.display(), offset, "a block of the trace is damaged"),
            Err(error) => {
                warn!(file = %self.path.display(), offset, %error, "a block of the trace cannot be read")
            }
        }
        None
    }
}
