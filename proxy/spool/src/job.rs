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

/// What an attempt came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// These recipients are done with: a server took the message for them, or they were told of elsewhere. With the last of
    /// them the message is gone.
    pub gone: RecipientSet,
    /// The others wait on.
    pub deferred: Option<Deferral>,
}

/// Why and until when the recipients that remain wait. Counts as an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferral {
    /// What was said of the message. Cut to 1 KiB.
    pub words: Reply,
    /// What was said of single recipients, where it is something else. The first 100 are kept, each cut to 256 octets.
    pub own_words: Vec<(usize, Reply)>,
    /// Not to be tried before, since 1970.
    pub next: Duration,
}

/// What happened to a message.
pub(crate) enum Change {
    Settled(Settlement),
    /// A person holds it back, or lets it go.
    Held(bool),
    /// It is due now.
    Hastened(Duration),
    /// Nobody is to be told again that it waits.
    DelayTold,
    Moved {
        folder: Folder,
        words: Reply,
        now: Duration,
    },
    Removed,
    /// Nothing: its state is to be written again, further on in the log.
    Restated,
}
