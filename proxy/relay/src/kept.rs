//! The proof behind a 250: what was delivered and what was stored, together.

use delivery::Delivered;
use smtp::{Proof, RecipientSet, Reply, TransactionId};
use spool::{Recalled, Spooled};

/// One group's evidence.
#[derive(Debug)]
pub(crate) enum Part {
    /// A server took it.
    Delivered(Delivered),
    /// A server had taken it before, and the client was not told.
    Recalled(Recalled),
    /// It is on disk.
    Spooled(Spooled),
}

impl Part {
    fn proof(&self) -> &dyn Proof {
        match self {
            Self::Delivered(delivered) => delivered,
            Self::Recalled(recalled) => recalled,
            Self::Spooled(spooled) => spooled,
        }
    }
}

/// Evidence for all groups of one transaction.
#[derive(Debug)]
pub struct Kept {
    transaction: TransactionId,
    recipients: RecipientSet,
    words: Option<Reply>,
}

impl Kept {
    /// `None` if there is no evidence, or if some is for another transaction.
    pub(crate) fn new(transaction: TransactionId, parts: &[Part]) -> Option<Self> {
        let mut recipients = RecipientSet::new();
        for part in parts {
            if part.proof().transaction() != transaction {
                return None;
            }
            recipients.extend(part.proof().recipients());
        }
        // With several servers no single one speaks for the message.
        let words = match parts {
            [] => return None,
            [one] => one.proof().words().cloned(),
            _ => None,
        };
        Some(Self { transaction, recipients, words })
    }
}

impl Proof for Kept {
    fn transaction(&self) -> TransactionId {
        self.transaction
    }

    fn recipients(&self) -> &RecipientSet {
        &self.recipients
    }

    fn words(&self) -> Option<&Reply> {
        self.words.as_ref()
    }
}
