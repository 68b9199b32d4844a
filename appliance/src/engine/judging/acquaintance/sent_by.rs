//! Whose a message was, and as what it counts for them: kept so that a person's word about it can turn that.

use std::time::Duration;

use smtp::TransactionId;
use store::{Change, Store, StoreError};

use super::{MAX_WORDS, SENT_BY};

/// Senders of one message that are kept: a network, and the few domains that are proven.
const MAX_SENDERS: usize = 8;

/// Whose a message was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SentBy {
    /// When it was judged, since 1970.
    pub(super) time: Duration,
    pub(super) was_spam: bool,
    /// Keys of the senders.
    pub(super) keys: Vec<Box<[u8]>>,
}

pub(super) async fn get(store: &Store, transaction: TransactionId) -> Result<Option<SentBy>, StoreError> {
    let value = store.get(SENT_BY, transaction.to_string().as_bytes()).await?;
    Ok(value.as_deref().and_then(SentBy::from_bytes))
}

/// How it is kept; nothing is, if nobody sent it.
pub(super) fn put(transaction: TransactionId, sent_by: &SentBy) -> Vec<Change> {
    let is_any = !sent_by.keys.is_empty();
    let key = transaction.to_string().into_bytes().into();
    is_any.then(|| Change::Put(key, sent_by.to_bytes().into())).into_iter().collect()
}

impl SentBy {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.time.as_secs().to_be_bytes().to_vec();
        bytes.push(self.was_spam.into());
        for key in self.keys.iter().take(MAX_SENDERS) {
            // A key is a domain or a network, and never longer than that.
            let length = u16::try_from(key.len().min(MAX_WORDS + 1)).unwrap_or_default();
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&key[..usize::from(length)]);
        }
        bytes
    }

    /// `None` where that is none.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (time, rest) = bytes.split_first_chunk()?;
        let (was_spam, mut rest) = rest.split_first()?;
        let mut keys = Vec::new();
        while let Some((length, behind)) = rest.split_first_chunk() {
            let (key, behind) = behind.split_at_checked(u16::from_be_bytes(*length).into())?;
            keys.push(key.into());
            rest = behind;
        }
        let time = Duration::from_secs(u64::from_be_bytes(*time));
        rest.is_empty().then_some(Self { time, was_spam: *was_spam != 0, keys })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written_and_what_is_none_is_none() {
        let keys = vec![b"dshop.test".as_slice().into(), b"n192.0.2.1".as_slice().into()];
        let sent_by = SentBy { time: Duration::from_secs(7), was_spam: true, keys };
        let bytes = sent_by.to_bytes();
        assert_eq!(SentBy::from_bytes(&bytes), Some(sent_by));
        assert_eq!(SentBy::from_bytes(&bytes[..bytes.len() - 1]), None);
        assert_eq!(SentBy::from_bytes(&[0; 5]), None);
    }
}
