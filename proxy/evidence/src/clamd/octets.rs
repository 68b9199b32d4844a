//! A message's octets, piece by piece: large ones lie on disk, and are not read into memory for the scanner.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Octets of a piece.
const PIECE: usize = 256 * 1024;

/// A message: its beginning in a file, if there is one, and the rest in memory.
#[derive(Clone, Debug)]
pub struct Octets {
    file: Option<(Arc<File>, u64)>,
    tail: Arc<[u8]>,
    /// How many there are, or are sent at most.
    end: u64,
}

impl Octets {
    /// The first `octets` of a file, and those behind them.
    pub fn new(file: Option<(Arc<File>, u64)>, tail: Arc<[u8]>) -> Self {
        let stored = file.as_ref().map_or(0, |(_, octets)| *octets);
        let end = stored.saturating_add(tail.len() as u64);
        Self { file, tail, end }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.end
    }

    /// Nothing behind the first `most` octets.
    #[must_use]
    pub(super) fn up_to(self, most: u64) -> Self {
        Self { end: self.end.min(most), ..self }
    }

    /// What stands there, at most [`PIECE`] of it; empty at the end.
    pub(super) async fn piece(&self, at: u64) -> io::Result<Cow<'_, [u8]>> {
        let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let stored = self.file.as_ref().map_or(0, |(_, octets)| *octets);
        match &self.file {
            Some((file, _)) if at < stored => {
                let length = usize::try_from(stored - at).unwrap_or(usize::MAX).min(left).min(PIECE);
                let file = Arc::clone(file);
                let read = tokio::task::spawn_blocking(move || -> io::Result<Vec<u8>> {
                    let mut bytes = vec![0; length];
                    file.read_exact_at(&mut bytes, at)?;
                    Ok(bytes)
                });
                read.await.map_err(io::Error::other)?.map(Cow::Owned)
            }
            _ => {
                let from = usize::try_from(at - stored).unwrap_or(usize::MAX);
                let tail = self.tail.get(from..).unwrap_or_default();
                Ok(Cow::Borrowed(tail.get(..tail.len().min(left).min(PIECE)).unwrap_or_default()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn a_message_on_disk_and_in_memory_is_read_to_its_end_or_its_bound() {
        let mut file = tempfile::tempfile().unwrap();
        let whole: Vec<u8> = (0..PIECE * 2 + 1000).map(|at| u8::try_from(at % 251).unwrap()).collect();
        // The file has more than belongs to the message.
        file.write_all(&whole).unwrap();
        let stored = PIECE + 10;
        let octets = Octets::new(Some((Arc::new(file), stored as u64)), whole[stored..].into());
        for most in [0, 1, stored, stored + 5, whole.len(), whole.len() + 1] {
            let octets = octets.clone().up_to(most as u64);
            let mut read = Vec::new();
            loop {
                let piece = octets.piece(read.len() as u64).await.unwrap();
                if piece.is_empty() {
                    break;
                }
                read.extend_from_slice(&piece);
            }
            assert_eq!(read, whole[..most.min(whole.len())], "up to {most}");
        }
    }
}
