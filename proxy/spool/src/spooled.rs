//! The proof that a message is on disk.

use smtp::{Proof, RecipientSet, Reply, TransactionId};

use crate::entry::{EntryId, Folder};

/// A message, its envelope and the names of the files that hold them were durable when this was made, and only the spool's
/// writer makes it (law 1). Not `Clone`: one message, one 250.
#[derive(Debug)]
#[must_use = "the message is promised to nobody yet"]
pub struct Spooled {
    pub(crate) id: EntryId,
    pub(crate) transaction: TransactionId,
    pub(crate) recipients: RecipientSet,
    pub(crate) folder: Folder,
}

impl Spooled {
    /// What the message is called in the spool.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// The folder it is in.
    pub fn folder(&self) -> Folder {
        self.folder
    }
}

impl Proof for Spooled {
    fn transaction(&self) -> TransactionId {
        self.transaction
    }

    fn recipients(&self) -> &RecipientSet {
        &self.recipients
    }

    fn words(&self) -> Option<&Reply> {
        None
    }
}
