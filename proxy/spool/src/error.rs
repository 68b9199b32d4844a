//! What can go wrong.

use std::io;
use std::sync::Arc;

use crate::EntryId;

/// Why the spool did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SpoolError {
    /// More octets wait for the disk than [`crate::Settings::max_waiting_bytes`].
    #[error("the disk is too slow for what arrives")]
    Busy,
    /// The spool's writer is gone.
    #[error("the spool is closed")]
    Closed,
    /// What is on disk is not what was written; it was set aside.
    #[error("message {0} is damaged on disk and was set aside")]
    Damaged(EntryId),
    /// The spool holds as much as it may.
    #[error("the spool is full")]
    Full,
    /// The entry cannot be stored; why.
    #[error("not a message that can be kept: {0}")]
    Invalid(&'static str),
    /// A folder of the spool cannot be made, read or synced at start.
    #[error("the spool cannot be opened: {0}")]
    Open(Arc<io::Error>),
    /// Reading failed; the message is still there.
    #[error("reading from the spool failed: {0}")]
    Read(Arc<io::Error>),
    /// The content could not be read from where it was to be copied from.
    #[error("the content to keep could not be read: {0}")]
    Source(Arc<io::Error>),
    /// No such message, or no longer.
    #[error("there is no message {0}")]
    Unknown(EntryId),
    /// Writing or syncing failed: nothing was promised. A change to a message that waits holds in memory and is written as
    /// soon as the disk works.
    #[error("writing to the spool failed: {0}")]
    Write(Arc<io::Error>),
}

impl SpoolError {
    pub(crate) fn open(error: io::Error) -> Self {
        Self::Open(Arc::new(error))
    }

    pub(crate) fn read(error: io::Error) -> Self {
        Self::Read(Arc::new(error))
    }
}
