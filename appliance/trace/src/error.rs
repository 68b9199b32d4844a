//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};

/// Why the trace could not be opened, written or read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// A file or the folder cannot be read or written.
    #[error("{}: {error}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What was read is not what was written.
    #[error("{}: {why}", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An entry cannot be kept: it is larger than [`Bounds::ENTRY`](crate::Bounds::ENTRY), or has no JSON.
    #[error("an entry cannot be kept: {0}")]
    Entry(String),
}

impl TraceError {
    /// For `map_err` on a file.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::File { path: path.to_owned(), error }
    }

    /// Whether a file is gone, as one does whose time is over while somebody looks.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::File { error, .. } if error.kind() == io::ErrorKind::NotFound)
    }
}
