//! What the writer is asked to do.

use std::time::Duration;

use smtp::{RecipientSet, Reply};
use tokio::sync::oneshot;

use crate::content::Content;
use crate::entry::{EntryId, Fixed, Folder, State};
use crate::error::SpoolError;
use crate::spooled::Spooled;

/// Where the outcome goes, once it is durable.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, SpoolError>>;

/// One request.
pub(crate) enum Job {
    Store(Box<Store>),
    Change { id: EntryId, change: Change, answer: Answer<()> },
    Receipt { key: [u8; 32], receipt: Option<(Duration, Reply)>, answer: Option<Answer<()>> },
}

/// A message to be written.
pub(crate) struct Store {
    pub(crate) fixed: Fixed,
    pub(crate) state: State,
    pub(crate) first_seen: Duration,
    pub(crate) content: Content,
    /// What it was counted as in the index's `waiting`.
    pub(crate) cost: u64,
    pub(crate) answer: Answer<Spooled>,
}

/// What happened to a message.
pub(crate) enum Change {
    Delivered(RecipientSet),
    Deferred {
        words: Reply,
        now: Duration,
    },
    Moved {
        folder: Folder,
        words: Reply,
        now: Duration,
    },
    Removed,
    /// Nothing: its state is to be written again, further on in the log.
    Restated,
}
