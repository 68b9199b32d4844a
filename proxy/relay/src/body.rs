//! A message's content while Postern holds it: in memory when small, else on disk but for its end.

use std::sync::Arc;

/// From this size on content goes to disk in pieces of about this size: most mail never gets there, and a large
/// message costs no more memory than a small one.
pub(crate) const PIECE: usize = 256 * 1024;

/// Room for content of which no size was named.
const FIRST: usize = 16 * 1024;

/// Content that is arriving or has arrived.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// Octets that were handed out to be stored.
    stored: u64,
    /// What follows them.
    tail: Vec<u8>,
    /// The same, once it is all there and somebody else looks at it, too.
    shared: Option<Arc<[u8]>>,
}

impl Body {
    /// Appends content. What is returned is to be stored behind what was returned before.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.tail.capacity() == 0 {
            // Most mail fits: growing by doubling would copy it several times. Where a piece was filled, another will be.
            let room = if self.stored > 0 { PIECE + FIRST } else { FIRST };
            self.tail.reserve(room.max(bytes.len()));
        }
        self.tail.extend_from_slice(bytes);
        if self.tail.len() < PIECE {
            return None;
        }
        self.stored += self.tail.len() as u64;
        Some(std::mem::take(&mut self.tail))
    }

    /// Content of which only the length is left.
    pub(crate) fn of_length(length: u64) -> Self {
        Self { stored: length, ..Self::default() }
    }

    /// Room for content of a size that the client named.
    pub(crate) fn expect(&mut self, octets: u64) {
        self.tail.reserve(usize::try_from(octets).unwrap_or(PIECE).min(PIECE));
    }

    /// Octets in all.
    pub(crate) fn len(&self) -> u64 {
        self.stored + self.memory().len() as u64
    }

    fn memory(&self) -> &[u8] {
        self.shared.as_deref().unwrap_or(&self.tail)
    }

    /// The part in memory, once all is there, for whoever looks at it beside the session or outlives it.
    pub(crate) fn share(&mut self) -> Arc<[u8]> {
        let tail = &mut self.tail;
        Arc::clone(self.shared.get_or_insert_with(|| std::mem::take(tail).into()))
    }

    /// Where the content at `position` is.
    pub(crate) fn at(&self, position: u64) -> Place<'_> {
        if position < self.stored {
            let left = usize::try_from(self.stored - position).unwrap_or(PIECE);
            return Place::Stored { length: left.min(PIECE) };
        }
        let start = usize::try_from(position - self.stored).unwrap_or(usize::MAX);
        Place::Memory(self.memory().get(start..).unwrap_or_default())
    }

    /// Octets on disk.
    pub(crate) fn stored(&self) -> u64 {
        self.stored
    }
}

/// Where content is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// All that is left of it is here.
    Memory(&'a [u8]),
    /// On disk; the next piece is this long.
    Stored { length: usize },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_content_stays_in_memory_and_large_content_leaves_it() {
        let mut body = Body::default();
        assert!(body.push(b"small").is_none());
        assert_eq!(body.at(2), Place::Memory(b"all"));
        let piece = body.push(&vec![b'x'; PIECE]).unwrap();
        assert_eq!(piece.len(), PIECE + 5);
        assert!(body.push(b"end").is_none());
        assert_eq!(body.at(0), Place::Stored { length: PIECE });
        assert_eq!(body.at(PIECE as u64), Place::Stored { length: 5 });
        assert_eq!(body.at(PIECE as u64 + 5), Place::Memory(b"end"));
        assert_eq!(body.len(), PIECE as u64 + 8);
        assert_eq!(*body.share(), *b"end");
        assert_eq!((body.at(PIECE as u64 + 6), body.len()), (Place::Memory(b"nd"), PIECE as u64 + 8));
    }
}
