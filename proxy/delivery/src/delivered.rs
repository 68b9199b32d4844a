//! The evidence that a server took a message.

use smtp::{Proof, RecipientSet, Reply, TransactionId};

/// A server said 2yz to the whole content of a message. Made by [`Far`](crate::Far) alone, and not to be copied.
#[derive(Debug)]
pub struct Delivered {
    transaction: TransactionId,
    recipients: RecipientSet,
    reply: Reply,
    leg: record::Leg,
}

impl Delivered {
    pub(crate) fn new(
        transaction: TransactionId,
        recipients: RecipientSet,
        reply: Reply,
        leg: record::Leg,
    ) -> Self {
        Self { transaction, recipients, reply, leg }
    }

    /// The server's final reply.
    pub fn reply(&self) -> &Reply {
        &self.reply
    }

    /// The connection it went over.
    pub fn leg(&self) -> &record::Leg {
        &self.leg
    }
}

impl Proof for Delivered {
    fn transaction(&self) -> TransactionId {
        self.transaction
    }

    fn recipients(&self) -> &RecipientSet {
        &self.recipients
    }

    fn words(&self) -> Option<&Reply> {
        Some(&self.reply)
    }
}
