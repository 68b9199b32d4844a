//! Receipts: a server took a message and said 250, but that 250 could not be written to the client (DECISIONS 4). When the
//! client comes again with the same message, it is answered from the receipt and nothing is delivered twice.

use std::time::Duration;

use smtp::{Envelope, Proof, RecipientSet, Reply, TransactionId};
use tokio::sync::oneshot;

use crate::error::SpoolError;
use crate::fields::{Decoder, Encoder, bounded};
use crate::job::Job;
use crate::spool::Spool;

/// How long a receipt is kept: a sender that retries does so within this time.
pub const RECEIPT_LIFE: Duration = Duration::from_secs(4 * 3600);
/// Who breaks connections on purpose at the last moment makes receipts; the oldest go.
pub const MAX_RECEIPTS: usize = 10_000;

/// The same content from the same sender to the same recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiptKey(pub(crate) [u8; 32]);

impl ReceiptKey {
    /// From a digest of the content as the client sent it, and the recipients that were accepted.
    pub fn new(content: &[u8; 32], envelope: &Envelope, recipients: &RecipientSet) -> Self {
        let mut text = Vec::new();
        envelope.mail.write(&mut text, |_| false);
        // In whatever order the client names them the next time.
        let mut lines: Vec<_> = recipients
            .iter()
            .filter_map(|index| envelope.recipients.get(index))
            .map(|rcpt| {
                let mut line = Vec::new();
                rcpt.write(&mut line, false);
                line
            })
            .collect();
        lines.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        hasher.update(content).update(&text);
        lines.iter().for_each(|line| {
            hasher.update(line);
        });
        Self(*hasher.finalize().as_bytes())
    }
}

/// A receipt in memory.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) at: Duration,
    pub(crate) words: Reply,
    /// Where it is durable.
    pub(crate) segment: u64,
}

impl Kept {
    pub(crate) fn encode(key: &[u8; 32], at: Duration, words: &Reply, out: &mut Encoder) {
        out.0.extend_from_slice(key);
        out.duration(at);
        out.reply(words);
    }

    pub(crate) fn decode(from: &mut Decoder<'_>, segment: u64) -> Option<([u8; 32], Self)> {
        let key = from.array()?;
        Some((key, Self { at: from.duration()?, words: from.reply()?, segment }))
    }
}

/// The receipts of a spool; kept in its log.
#[derive(Clone)]
pub struct Receipts {
    spool: Spool,
}

impl std::fmt::Debug for Receipts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipts").finish_non_exhaustive()
    }
}

/// Evidence that a server took this message in an earlier transaction of the same envelope and content, whose answer did not
/// reach the client. Made from a durable receipt alone, and not to be copied.
#[derive(Debug)]
pub struct Recalled {
    transaction: TransactionId,
    recipients: RecipientSet,
    words: Reply,
}

impl Proof for Recalled {
    fn transaction(&self) -> TransactionId {
        self.transaction
    }

    fn recipients(&self) -> &RecipientSet {
        &self.recipients
    }

    fn words(&self) -> Option<&Reply> {
        Some(&self.words)
    }
}

impl Receipts {
    /// The evidence for the client's next try, if there is a receipt for this content, envelope and these recipients.
    pub fn recall(
        &self,
        content: &[u8; 32],
        envelope: &Envelope,
        transaction: TransactionId,
        recipients: &RecipientSet,
    ) -> Option<Recalled> {
        if self.spool.index().receipts.is_empty() {
            return None;
        }
        let words = self.take(ReceiptKey::new(content, envelope, recipients))?;
        Some(Recalled { transaction, recipients: recipients.clone(), words })
    }

    pub(crate) fn new(spool: Spool) -> Self {
        Self { spool }
    }

    /// Keeps the server's words for the client's next try. Done when durable.
    ///
    /// # Errors
    ///
    /// The disk, or the writer, is gone; the client's next try will be delivered again.
    pub async fn record(&self, key: ReceiptKey, words: Reply) -> Result<(), SpoolError> {
        let (answer, answered) = oneshot::channel();
        let at = self.spool.now();
        self.spool.send(Job::Receipt {
            key: key.0,
            receipt: Some((at, bounded(words))),
            answer: Some(answer),
        })?;
        answered.await.map_err(|_| SpoolError::Closed)?
    }

    /// The server's words, if this message was taken before; they are given once, so the caller records them again where it
    /// cannot write them this time either.
    pub fn take(&self, key: ReceiptKey) -> Option<Reply> {
        let kept = self.spool.index().receipts.remove(&key.0)?;
        // If this is lost to a crash, the receipt is there again until its time is over: no harm.
        let _ = self.spool.send(Job::Receipt { key: key.0, receipt: None, answer: None });
        let age = self.spool.now().saturating_sub(kept.at);
        (age < RECEIPT_LIFE).then_some(kept.words)
    }
}
