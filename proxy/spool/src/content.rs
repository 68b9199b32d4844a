//! Message content on its way into the spool and out of it, never whole in memory unless it came so.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::disk::{DiskFile, read_exact_at};
use crate::error::SpoolError;

/// Files are copied and read in pieces of this size.
pub const PIECE: usize = 256 * 1024;

/// Message content: pieces of memory and of files, one after the other.
#[derive(Default)]
pub struct Content {
    pieces: Vec<Piece>,
    length: u64,
}

enum Piece {
    Memory(Box<dyn AsRef<[u8]> + Send + Sync>),
    File {
        file: Arc<File>,
        offset: u64,
        length: u64,
    },
    /// Of another message in the spool.
    Spooled {
        file: Arc<dyn DiskFile>,
        offset: u64,
        length: u64,
    },
}

impl Content {
    /// No octets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds octets in memory; they may be shared.
    #[must_use]
    pub fn bytes(mut self, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        self.length += bytes.as_ref().len() as u64;
        self.pieces.push(Piece::Memory(Box::new(bytes)));
        self
    }

    /// Adds `length` octets of a file from `offset`; its position is not used, so that it may be shared.
    #[must_use]
    pub fn file(mut self, file: Arc<File>, offset: u64, length: u64) -> Self {
        self.length = self.length.saturating_add(length);
        self.pieces.push(Piece::File { file, offset, length });
        self
    }

    /// Adds what is left of a message in the spool.
    #[must_use]
    pub fn spooled(mut self, content: ContentReader) -> Self {
        let ContentReader { file, offset, left, .. } = content;
        self.length = self.length.saturating_add(left);
        self.pieces.push(Piece::Spooled { file, offset, length: left });
        self
    }

    /// Octets in all.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Octets that are in memory.
    pub(crate) fn in_memory(&self) -> u64 {
        let lengths = self.pieces.iter().map(|piece| match piece {
            Piece::Memory(bytes) => (**bytes).as_ref().len() as u64,
            Piece::File { .. } | Piece::Spooled { .. } => 0,
        });
        lengths.sum()
    }

    /// The first octets, at most `most` of them.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub async fn beginning(&self, most: usize) -> io::Result<Vec<u8>> {
        let mut beginning = Vec::new();
        for piece in &self.pieces {
            let room = most - beginning.len();
            match piece {
                Piece::Memory(bytes) => {
                    let bytes = (**bytes).as_ref();
                    beginning.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                Piece::File { file, offset, length } => {
                    let (file, offset) = (Arc::clone(file), *offset);
                    let read = move |bytes: &mut [u8]| file.read_exact_at(bytes, offset);
                    beginning.extend(read_beginning(*length, room, read).await?);
                }
                Piece::Spooled { file, offset, length } => {
                    let (file, offset) = (Arc::clone(file), *offset);
                    let read = move |bytes: &mut [u8]| read_exact_at(&*file, bytes, offset);
                    beginning.extend(read_beginning(*length, room, read).await?);
                }
            }
        }
        Ok(beginning)
    }

    /// Gives all octets to `sink` in order, in pieces.
    pub(crate) fn pour(&self, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), PourError> {
        for piece in &self.pieces {
            match piece {
                Piece::Memory(bytes) => sink((**bytes).as_ref()).map_err(PourError::Sink)?,
                Piece::File { file, offset, length } => {
                    pour_file(&|piece, at| file.read_exact_at(piece, at), *offset, *length, sink)?;
                }
                Piece::Spooled { file, offset, length } => {
                    pour_file(&|piece, at| read_exact_at(&**file, piece, at), *offset, *length, sink)?;
                }
            }
        }
        Ok(())
    }
}

/// At most `room` octets of a piece that has `length`, read on a thread that may block.
async fn read_beginning(
    length: u64,
    room: usize,
    read: impl FnOnce(&mut [u8]) -> io::Result<()> + Send + 'static,
) -> io::Result<Vec<u8>> {
    let size = usize::try_from(length).unwrap_or(usize::MAX).min(room);
    let read = move || {
        let mut bytes = vec![0; size];
        read(&mut bytes).map(|()| bytes)
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

/// Which side failed.
pub(crate) enum PourError {
    Source(io::Error),
    Sink(io::Error),
}

fn pour_file(
    read: &dyn Fn(&mut [u8], u64) -> io::Result<()>,
    mut offset: u64,
    mut left: u64,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), PourError> {
    let mut buffer = vec![0; piece_of(left)];
    while left > 0 {
        let piece = &mut buffer[..piece_of(left)];
        read(piece, offset).map_err(PourError::Source)?;
        sink(piece).map_err(PourError::Sink)?;
        offset += piece.len() as u64;
        left -= piece.len() as u64;
    }
    Ok(())
}

/// How much of `left` octets goes into one piece.
pub(crate) fn piece_of(left: u64) -> usize {
    usize::try_from(left).unwrap_or(PIECE).min(PIECE)
}

/// The content of a message in the spool; it was checked when it was opened, and stays readable when the message is removed.
pub struct ContentReader {
    file: Arc<dyn DiskFile>,
    offset: u64,
    left: u64,
    length: u64,
}

impl ContentReader {
    pub(crate) fn new(file: Arc<dyn DiskFile>, offset: u64, length: u64) -> Self {
        Self { file, offset, left: length, length }
    }

    /// Octets in all.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The next piece, of at most [`PIECE`] octets; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`SpoolError::Read`].
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, SpoolError> {
        if self.left == 0 {
            return Ok(None);
        }
        let (file, offset, size) = (Arc::clone(&self.file), self.offset, piece_of(self.left));
        let read = move || {
            let mut piece = vec![0; size];
            read_exact_at(&*file, &mut piece, offset).map(|()| piece)
        };
        let piece = tokio::task::spawn_blocking(read).await.map_err(|_| SpoolError::Closed)?;
        self.offset += size as u64;
        self.left -= size as u64;
        piece.map(Some).map_err(SpoolError::read)
    }
}
