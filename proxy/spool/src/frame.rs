//! The format of a log segment, which is also that of a message in a file of its own: a header, then frames.
//!
//! ```text
//! header, 1024 octets:  the same 48 octets at 0 and at 512:  "POSTLOG1"  number u64  salt [16]  tag [16]
//! frame:                "PoFr"  kind u8  version u8  0 u16  meta length u32  content length u64  tag [12]
//!                       meta  content  tag [16]
//! ```
//!
//! Tags are BLAKE3 with a key made from the segment's random salt, and cover the frame's place. Where a frame is damaged the
//! next one is searched for; since nobody outside knows the key, no message can contain what would be taken for a frame.

use std::io;
use std::ops::Range;

use crate::content::PIECE;
use crate::disk::{DiskFile, read_exact_at};

/// Octets before the first frame.
pub(crate) const SEGMENT_HEADER: usize = 1024;
/// The second copy lies in another sector.
const SECOND_COPY: usize = 512;
const COPY: usize = 48;
const SEGMENT_MAGIC: &[u8; 8] = b"POSTLOG1";

/// Octets before a frame's meta.
pub(crate) const FRAME_HEADER: usize = 32;
const FRAME_MAGIC: &[u8; 4] = b"PoFr";
const FRAME_VERSION: u8 = 1;
const UNTAGGED: usize = 20;
/// Octets after a frame's content.
pub(crate) const TRAILER: usize = 16;
/// Envelope and facts of one message: ten thousand long recipients fit. Stops a damaged length from asking for memory.
pub(crate) const MAX_META: usize = 16 << 20;
/// How much of a file is read at once, where all of it is read.
const WINDOW: usize = 1 << 20;
/// For a single frame: most messages are small.
const SMALL_WINDOW: usize = 64 << 10;

/// What the tags of one segment are made with.
#[derive(Clone)]
pub(crate) struct SegmentKey([u8; 32]);

impl SegmentKey {
    fn new(number: u64, salt: &[u8]) -> Self {
        let material = [&number.to_le_bytes(), salt].concat();
        Self(blake3::derive_key("postern spool segment, version 1", &material))
    }
}

/// A header for a new segment.
pub(crate) fn segment_header(number: u64, salt: [u8; 16]) -> ([u8; SEGMENT_HEADER], SegmentKey) {
    let mut copy = [0; COPY];
    copy[..8].copy_from_slice(SEGMENT_MAGIC);
    copy[8..16].copy_from_slice(&number.to_le_bytes());
    copy[16..32].copy_from_slice(&salt);
    let tag = blake3::hash(&copy[..32]);
    copy[32..].copy_from_slice(&tag.as_bytes()[..16]);
    let mut header = [0; SEGMENT_HEADER];
    header[..COPY].copy_from_slice(&copy);
    header[SECOND_COPY..SECOND_COPY + COPY].copy_from_slice(&copy);
    (header, SegmentKey::new(number, &salt))
}

/// The key of a segment, from whichever copy of its header is sound.
pub(crate) fn read_segment_header(header: &[u8]) -> Option<SegmentKey> {
    [0, SECOND_COPY].into_iter().find_map(|start| {
        let copy = header.get(start..start + COPY)?;
        let sound =
            copy.starts_with(SEGMENT_MAGIC) && blake3::hash(&copy[..32]).as_bytes()[..16] == copy[32..];
        let number = u64::from_le_bytes(copy[8..16].try_into().ok()?);
        sound.then(|| SegmentKey::new(number, &copy[16..32]))
    })
}

/// The key of an open segment.
///
/// # Errors
///
/// `InvalidData` where the header is damaged; what the disk says.
pub(crate) fn key_of(file: &dyn DiskFile) -> io::Result<SegmentKey> {
    let mut header = [0; SEGMENT_HEADER];
    read_exact_at(file, &mut header, 0)?;
    read_segment_header(&header).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message with its first state.
    Message,
    /// A later state of a message.
    State,
    /// The end of a message.
    Removed,
    /// A receipt.
    Receipt,
    /// The end of a receipt.
    ReceiptTaken,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Message => 1,
            Self::State => 2,
            Self::Removed => 3,
            Self::Receipt => 4,
            Self::ReceiptTaken => 5,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        let all = [Self::Message, Self::State, Self::Removed, Self::Receipt, Self::ReceiptTaken];
        all.into_iter().find(|kind| kind.code() == code)
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: Kind,
    pub(crate) meta: u32,
    pub(crate) content: u64,
}

impl FrameHeader {
    /// Octets of the whole frame.
    pub(crate) fn total(self) -> u64 {
        (FRAME_HEADER + TRAILER) as u64 + u64::from(self.meta) + self.content
    }

    /// Where the content begins in a frame at `offset`.
    pub(crate) fn content_at(self, offset: u64) -> u64 {
        offset + FRAME_HEADER as u64 + u64::from(self.meta)
    }

    pub(crate) fn write(self, key: &SegmentKey, offset: u64) -> [u8; FRAME_HEADER] {
        let mut out = [0; FRAME_HEADER];
        out[..4].copy_from_slice(FRAME_MAGIC);
        out[4] = self.kind.code();
        out[5] = FRAME_VERSION;
        out[8..12].copy_from_slice(&self.meta.to_le_bytes());
        out[12..UNTAGGED].copy_from_slice(&self.content.to_le_bytes());
        let tag = header_tag(&out, key, offset);
        out[UNTAGGED..].copy_from_slice(&tag);
        out
    }

    pub(crate) fn read(bytes: &[u8], key: &SegmentKey, offset: u64) -> Option<Self> {
        let bytes: &[u8; FRAME_HEADER] = bytes.first_chunk()?;
        if !bytes.starts_with(FRAME_MAGIC) || bytes[5] != FRAME_VERSION {
            return None;
        }
        let meta = u32::from_le_bytes(bytes[8..12].try_into().ok()?);
        let content = u64::from_le_bytes(bytes[12..UNTAGGED].try_into().ok()?);
        let sound = header_tag(bytes, key, offset) == bytes[UNTAGGED..]
            && meta as usize <= MAX_META
            && content <= u64::MAX >> 2;
        Some(Self { kind: Kind::from_code(bytes[4])?, meta, content }).filter(|_| sound)
    }
}

fn header_tag(header: &[u8; FRAME_HEADER], key: &SegmentKey, offset: u64) -> [u8; FRAME_HEADER - UNTAGGED] {
    let mut covered = [0; UNTAGGED + 8];
    covered[..UNTAGGED].copy_from_slice(&header[..UNTAGGED]);
    covered[UNTAGGED..].copy_from_slice(&offset.to_le_bytes());
    let mut tag = [0; FRAME_HEADER - UNTAGGED];
    tag.copy_from_slice(&blake3::keyed_hash(&key.0, &covered).as_bytes()[..FRAME_HEADER - UNTAGGED]);
    tag
}

/// Makes the tag at a frame's end.
pub(crate) struct Seal(blake3::Hasher);

impl Seal {
    /// Of the frame that begins with this header, whose own tag stands for its place.
    pub(crate) fn new(key: &SegmentKey, header: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&key.0);
        hasher.update(header);
        Self(hasher)
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn tag(&self) -> [u8; TRAILER] {
        let mut tag = [0; TRAILER];
        tag.copy_from_slice(&self.0.finalize().as_bytes()[..TRAILER]);
        tag
    }
}

/// A file seen through a window of at least `least` octets.
struct Window<'f> {
    file: &'f dyn DiskFile,
    start: u64,
    bytes: Vec<u8>,
    length: u64,
    least: usize,
}

impl<'f> Window<'f> {
    fn new(file: &'f dyn DiskFile, least: usize) -> io::Result<Self> {
        Ok(Self { file, start: 0, bytes: Vec::new(), length: file.length()?, least })
    }

    /// `wanted` octets from `offset`; fewer only at the file's end.
    fn slice(&mut self, offset: u64, wanted: usize) -> io::Result<&[u8]> {
        let available = self.length.saturating_sub(offset);
        let wanted = usize::try_from(available).unwrap_or(usize::MAX).min(wanted);
        let inside = offset >= self.start && offset + wanted as u64 <= self.start + self.bytes.len() as u64;
        if !inside {
            let size = usize::try_from(available).unwrap_or(usize::MAX).min(wanted.max(self.least));
            self.bytes.resize(size, 0);
            self.start = offset;
            if let Err(error) = read_exact_at(self.file, &mut self.bytes, offset) {
                self.bytes.clear();
                return Err(error);
            }
        }
        let from = usize::try_from(offset - self.start).unwrap_or_default();
        Ok(self.bytes.get(from..from + wanted).unwrap_or_default())
    }
}

/// A frame that is as it was written.
pub(crate) struct Frame<'a> {
    pub(crate) header: FrameHeader,
    pub(crate) offset: u64,
    pub(crate) meta: &'a [u8],
}

/// Reads the frame at `offset` and checks all of it. `None`: it is damaged, or there is none.
///
/// # Errors
///
/// What the disk says.
pub(crate) fn read_frame(
    file: &dyn DiskFile,
    key: &SegmentKey,
    offset: u64,
) -> io::Result<Option<(FrameHeader, Vec<u8>)>> {
    let mut meta = Vec::new();
    let header = check(&mut Window::new(file, SMALL_WINDOW)?, key, offset, &mut meta)?;
    Ok(header.map(|header| (header, meta)))
}

/// The meta of the frame at `offset`, of which only the header is checked: the content may be large.
///
/// # Errors
///
/// What the disk says.
pub(crate) fn read_meta(file: &dyn DiskFile, key: &SegmentKey, offset: u64) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; FRAME_HEADER];
    read_exact_at(file, &mut header, offset)?;
    let Some(header) = FrameHeader::read(&header, key, offset) else { return Ok(None) };
    let mut meta = vec![0; header.meta as usize];
    read_exact_at(file, &mut meta, offset + FRAME_HEADER as u64)?;
    Ok(Some(meta))
}

fn check(
    window: &mut Window<'_>,
    key: &SegmentKey,
    offset: u64,
    meta: &mut Vec<u8>,
) -> io::Result<Option<FrameHeader>> {
    let bytes = window.slice(offset, FRAME_HEADER)?;
    let Some(header) = FrameHeader::read(bytes, key, offset) else { return Ok(None) };
    let mut seal = Seal::new(key, bytes);
    if header.total() > window.length.saturating_sub(offset) {
        return Ok(None);
    }
    meta.clear();
    meta.extend_from_slice(window.slice(offset + FRAME_HEADER as u64, header.meta as usize)?);
    seal.update(meta);
    let (mut at, end) = (header.content_at(offset), header.content_at(offset) + header.content);
    while at < end {
        let piece = window.slice(at, crate::content::piece_of(end - at))?;
        seal.update(piece);
        at += piece.len() as u64;
    }
    let sound = window.slice(end, TRAILER)? == seal.tag();
    Ok(sound.then_some(header))
}

/// Reads a segment from its start: every sound frame goes to `visit`, which says whether its meta makes sense. Returned are
/// the ranges that are no sound frame; the whole file, if its header is damaged.
///
/// # Errors
///
/// What the disk says.
pub(crate) fn scan(
    file: &dyn DiskFile,
    visit: &mut dyn FnMut(&Frame<'_>) -> bool,
) -> io::Result<Vec<Range<u64>>> {
    let mut window = Window::new(file, WINDOW)?;
    let length = window.length;
    let Some(key) = read_segment_header(window.slice(0, SEGMENT_HEADER)?) else {
        return Ok(Vec::from_iter((length > 0).then_some(0..length)));
    };
    let (mut gaps, mut meta): (Vec<Range<u64>>, _) = (Vec::new(), Vec::new());
    let mut offset = SEGMENT_HEADER as u64;
    while offset < length {
        let sound = check(&mut window, &key, offset, &mut meta)?
            .filter(|&header| visit(&Frame { header, offset, meta: &meta }));
        let end = match sound {
            Some(header) => offset + header.total(),
            None => {
                let next = next_header(&mut window, &key, offset + 1)?;
                match gaps.last_mut() {
                    Some(gap) if gap.end == offset => gap.end = next,
                    _ => gaps.push(offset..next),
                }
                next
            }
        };
        offset = end;
    }
    Ok(gaps)
}

/// The next place from `offset` on where a frame's header stands; the file's end if there is none.
fn next_header(window: &mut Window<'_>, key: &SegmentKey, mut offset: u64) -> io::Result<u64> {
    while offset < window.length {
        let bytes = window.slice(offset, PIECE)?;
        for at in memchr::memmem::find_iter(bytes, FRAME_MAGIC) {
            // One that is cut by the end of this piece is found again in the next.
            if FrameHeader::read(&bytes[at..], key, offset + at as u64).is_some() {
                return Ok(offset + at as u64);
            }
        }
        let step = if bytes.len() < PIECE { bytes.len() } else { PIECE - FRAME_HEADER };
        offset += step as u64;
    }
    Ok(window.length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::disk::{Disk, SimulatedDisk};

    fn segment(contents: &[Vec<u8>]) -> Vec<u8> {
        let (header, key) = segment_header(7, [9; 16]);
        let mut out = header.to_vec();
        for content in contents {
            let meta = b"meta";
            let header = FrameHeader { kind: Kind::Message, meta: 4, content: content.len() as u64 }
                .write(&key, out.len() as u64);
            let mut seal = Seal::new(&key, &header);
            out.extend_from_slice(&header);
            for part in [&meta[..], content] {
                seal.update(part);
                out.extend_from_slice(part);
            }
            out.extend_from_slice(&seal.tag());
        }
        out
    }

    /// Lengths of the contents that were found, and the gaps.
    fn read(bytes: Vec<u8>) -> (Vec<u64>, Vec<Range<u64>>) {
        let disk = SimulatedDisk::new(0);
        disk.plant("x", bytes);
        let mut found = Vec::new();
        let gaps = scan(&*disk.open("x").unwrap(), &mut |frame| {
            found.push(frame.header.content);
            frame.meta == b"meta"
        });
        (found, gaps.unwrap())
    }

    #[test]
    fn frames_larger_than_the_window_are_read() {
        let contents: Vec<_> = [0, 1, PIECE, WINDOW, 2 * WINDOW + 5, 3].map(|n| vec![b'x'; n]).into();
        let lengths: Vec<_> = contents.iter().map(|c| c.len() as u64).collect();
        assert_eq!(read(segment(&contents)), (lengths, vec![]));
    }

    #[test]
    fn one_damaged_octet_costs_one_frame() {
        let contents = [vec![1; 40], vec![2; 50], vec![3; 60]];
        let whole = segment(&contents);
        let frames = [1024..1116, 1116..1218, 1218..1330_u64];
        for at in 1024..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            let (found, gaps) = read(bytes);
            let hit = frames.iter().position(|frame| frame.contains(&(at as u64))).unwrap();
            assert_eq!(gaps, [frames[hit].clone()]);
            assert_eq!(found.len(), 2);
        }
    }

    #[test]
    fn the_second_copy_of_the_header_serves() {
        let mut bytes = segment(&[vec![1; 40]]);
        bytes[..512].fill(0xFF);
        assert_eq!(read(bytes.clone()).0, [40]);
        bytes[520] ^= 1;
        let (length, (found, gaps)) = (bytes.len() as u64, read(bytes));
        assert!(found.is_empty() && gaps.len() == 1 && gaps[0] == (0..length));
    }

    #[test]
    fn a_frame_in_a_message_is_not_taken_for_one() {
        let inner = segment(&[b"forged".to_vec()]);
        let mut outer = segment(&[inner]);
        outer[1024] ^= 1;
        assert_eq!(read(outer).0, [0; 0]);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(
            garbage in proptest::collection::vec(any::<u8>(), 0..3000),
            at in 1024_usize..1400,
            sound_header in any::<bool>(),
        ) {
            let mut bytes = if sound_header { segment(&[vec![1; 40], vec![2; 50]]) } else { Vec::new() };
            bytes.truncate(at);
            bytes.extend_from_slice(&garbage);
            read(bytes);
        }
    }
}
