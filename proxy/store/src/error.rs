//! Why the store does not do what it is asked.

use std::io;
use std::path::PathBuf;

/// Why the store does not do what it is asked. Whoever asked keeps what it has in memory and asks again later.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A key, a value or a batch beyond its bound: a fault of the caller's.
    #[error("{0} is larger than the store takes")]
    TooLarge(&'static str),
    /// What is stored under a key is no counter.
    #[error("what is stored there is no counter")]
    NoCounter,
    /// The file has reached the size that it may have.
    #[error("the store has reached its {0} octets")]
    Full(u64),
    /// What is on disk cannot be read for what it is.
    #[error("the store is damaged: {0}")]
    Damaged(Box<str>),
    /// The disk, or another process that has the store open.
    #[error("the store cannot be used: {0}")]
    Unavailable(io::Error),
    /// An export cannot be written or read; the store is as good as before.
    #[error("the store's export: {0}")]
    Export(io::Error),
    /// A damaged store could not be moved aside.
    #[error("the damaged store cannot be moved to {to}: {error}", to = .to.display())]
    NotAside {
        /// Where it was to go.
        to: PathBuf,
        /// Why it did not.
        error: io::Error,
    },
    /// The store's thread has ended.
    #[error("the store is closed")]
    Closed,
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) if is_damage(&error) => Self::Damaged(error.to_string().into()),
            sled::Error::Io(error) => Self::Unavailable(error),
            other => Self::Damaged(other.to_string().into()),
        }
    }
}

/// What a file that was cut off or overwritten leads to.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}
