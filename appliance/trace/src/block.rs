//! A block: some entries, compressed together.
//!
//! `length (4) · length unpacked (4) · entries (4) · CRC-32 (4) · LZ4 of (length (4) · JSON)*`, all numbers little-endian.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::Bounds;

/// Entries of a full block: enough of them to compress well, few enough that one of them is read fast.
pub(crate) const ENTRIES: usize = 64;
/// Octets of a full block before they are compressed.
pub(crate) const OCTETS: usize = 128 << 10;
/// A block is closed when it is full, and the last entry may be the largest.
const MOST_UNPACKED: usize = OCTETS + Bounds::ENTRY + 4;
pub(crate) const HEAD: usize = 16;

/// Entries that become a block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unpacked {
    octets: Vec<u8>,
    entries: u32,
}

/// Where a block is in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Of its head.
    pub(crate) offset: u32,
    /// The number of its first entry in the segment.
    pub(crate) first: u32,
}

impl Unpacked {
    pub(crate) fn push(&mut self, json: &[u8]) {
        let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
        self.octets.extend_from_slice(&length.to_le_bytes());
        self.octets.extend_from_slice(json);
        self.entries += 1;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.entries as usize >= ENTRIES || self.octets.len() >= OCTETS
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    pub(crate) fn len(&self) -> u32 {
        self.entries
    }

    pub(crate) fn clear(&mut self) {
        self.octets.clear();
        self.entries = 0;
    }

    /// Head and compressed entries.
    pub(crate) fn pack(&self) -> Vec<u8> {
        let packed = lz4_flex::block::compress(&self.octets);
        let mut block = Vec::with_capacity(HEAD + packed.len());
        let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        block.extend_from_slice(&length(packed.len()));
        block.extend_from_slice(&length(self.octets.len()));
        block.extend_from_slice(&self.entries.to_le_bytes());
        block.extend_from_slice(&crc32fast::hash(&packed).to_le_bytes());
        block.extend_from_slice(&packed);
        block
    }

    /// The JSON of each entry, in order.
    pub(crate) fn entries(&self) -> Vec<&[u8]> {
        let mut rest = &self.octets[..];
        let mut found = Vec::with_capacity(self.entries as usize);
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            let Some((json, behind)) = behind.split_at_checked(length) else { break };
            found.push(json);
            rest = behind;
        }
        found
    }
}

/// What a block's head says.
struct Head {
    packed: usize,
    unpacked: usize,
    entries: u32,
    sum: u32,
}

impl Head {
    fn read(octets: &[u8; HEAD]) -> Option<Self> {
        let number = |at: usize| {
            let four = octets.get(at..at + 4)?;
            Some(u32::from_le_bytes(four.try_into().ok()?))
        };
        let head = Self {
            packed: number(0)? as usize,
            unpacked: number(4)? as usize,
            entries: number(8)?,
            sum: number(12)?,
        };
        // LZ4 never makes much more of anything than it was.
        let sound = head.unpacked <= MOST_UNPACKED
            && head.packed <= lz4_flex::block::get_maximum_output_size(MOST_UNPACKED)
            && (1..=ENTRIES).contains(&(head.entries as usize));
        sound.then_some(head)
    }

    fn unpack(&self, packed: &[u8]) -> Option<Unpacked> {
        if crc32fast::hash(packed) != self.sum {
            return None;
        }
        let octets = lz4_flex::block::decompress(packed, self.unpacked).ok()?;
        let unpacked = Unpacked { octets, entries: self.entries };
        (unpacked.entries().len() == self.entries as usize).then_some(unpacked)
    }
}

/// The block at this place of a file, and how many octets it takes there; `None` if there is no sound one.
pub(crate) fn read_at(file: &File, offset: u64) -> io::Result<Option<(Unpacked, usize)>> {
    let mut head = [0; HEAD];
    if !read_whole(file, &mut head, offset)? {
        return Ok(None);
    }
    let Some(head) = Head::read(&head) else { return Ok(None) };
    let mut packed = vec![0; head.packed];
    if !read_whole(file, &mut packed, offset + HEAD as u64)? {
        return Ok(None);
    }
    Ok(head.unpack(&packed).map(|block| (block, HEAD + packed.len())))
}

/// False if the file ends before.
fn read_whole(file: &File, into: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(into, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads one block from memory and counts its entries: for the fuzzer.
pub fn check_block(octets: &[u8]) -> Option<usize> {
    let (head, rest) = octets.split_first_chunk::<HEAD>()?;
    let head = Head::read(head)?;
    let block = head.unpack(rest.get(..head.packed)?)?;
    Some(block.entries().len())
}
