//! What can go wrong in judging. None of it stops mail: the caller goes on without a score (law 8).

use std::io;

use thiserror::Error;

/// What can go wrong.
#[derive(Debug, Error)]
pub enum JudgeError {
    /// Bytes that were to be features are none, or of another version.
    #[error("not the features of a message: {0}")]
    Features(&'static str),
    /// The folder of the model could not be read or written.
    #[error("the model's folder: {0}")]
    Folder(#[from] io::Error),
    /// The index could not be read.
    #[error("it cannot be read: {0}")]
    Reading(io::Error),
    /// A line of an index is neither `spam PATH` nor `ham PATH`.
    #[error("line {line} of the index: expected `spam PATH` or `ham PATH`, in at most 8 KiB")]
    Index {
        /// Counted from 1.
        line: u64,
    },
}
