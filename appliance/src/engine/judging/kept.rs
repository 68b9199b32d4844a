//! What is kept of judged mail for 30 days: what the classifier saw of it, by trace identifier, so that a report teaches the
//! message itself and not what a mail program made of it (DECISIONS 32).

use std::sync::Arc;
use std::time::Duration;

use judge::{Class, Features, Lesson, Model, Score, Source, Whom};
use record::Clock;
use smtp::{TraceId, TransactionId};
use store::{Change, Store, Table};
use tokio::sync::mpsc;

/// By transaction: the time, and the features.
const JUDGED: Table = Table("judged");
/// By a hash of the `Message-ID`: the time, and the transaction.
const BY_MESSAGE_ID: Table = Table("judged-ids");

/// How long they are kept.
const KEEP: Duration = Duration::from_secs(30 * 86_400);
/// How often what is older goes.
const SWEEP: Duration = Duration::from_secs(3600);
/// Messages that wait to be written; one more is not kept, and cannot be reported by its identifier. Mail does not wait for it.
const QUEUE: usize = 1024;

/// What there is to keep of a message.
pub(super) struct Judged {
    pub(super) transaction: TransactionId,
    pub(super) features: Features,
    pub(super) message_id: String,
    /// What is taught at once.
    pub(super) lesson: AtOnce,
}

/// What a message teaches without anybody's word.
pub(super) enum AtOnce {
    /// Nothing.
    Nothing,
    /// It came for a trap.
    Trap,
    /// It was sent by one of the site's own.
    Outgoing,
    /// What the model thinks of it, if that helps.
    Own(Score),
}

/// Keeps it.
pub(super) struct Kept {
    store: Store,
    queue: mpsc::Sender<Judged>,
}

impl Kept {
    pub(super) fn start(store: Store, model: Arc<Model>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let (queue, mut judged) = mpsc::channel(QUEUE);
        let writing = store.clone();
        tokio::spawn(async move {
            let mut sweep = tokio::time::interval(SWEEP);
            loop {
                tokio::select! {
                    one = judged.recv() => match one {
                        Some(one) => take(&writing, &model, one, clock.now()).await,
                        None => return,
                    },
                    _ = sweep.tick() => forget_old(&writing, clock.now()).await,
                }
            }
        });
        Arc::new(Self { store, queue })
    }

    /// Never waits.
    pub(super) fn keep(&self, judged: Judged) {
        if let Err(error) = self.queue.try_send(judged) {
            tracing::warn!(%error, "too much mail at once: this message cannot be reported by its identifier");
        }
    }

    /// What the classifier saw of a message.
    pub(super) async fn features(&self, transaction: TransactionId) -> Option<Features> {
        let value = self.get(JUDGED, &key(transaction)).await?;
        Features::from_bytes(value.get(8..)?).ok()
    }

    /// The message of this `Message-ID`.
    pub(super) async fn by_message_id(&self, message_id: &str) -> Option<TransactionId> {
        let value = self.get(BY_MESSAGE_ID, &id_key(message_id)).await?;
        transaction_of(value.get(8..)?)
    }

    async fn get(&self, table: Table, key: &[u8]) -> Option<Box<[u8]>> {
        match self.store.get(table, key).await {
            Ok(value) => value,
            Err(error) => {
                tracing::error!(%error, "what is known of judged mail cannot be read");
                None
            }
        }
    }
}

async fn take(store: &Store, model: &Arc<Model>, judged: Judged, now: Duration) {
    let Judged { transaction, features, message_id, lesson } = judged;
    let time = now.as_secs().to_be_bytes();
    let value = [&time[..], &features.to_bytes()].concat();
    let stored = store.apply(JUDGED, vec![Change::Put(key(transaction).into(), value.into())]).await;
    let stored = match stored {
        Ok(()) if !message_id.is_empty() => {
            let value = [&time[..], &key(transaction)].concat();
            store.apply(BY_MESSAGE_ID, vec![Change::Put(id_key(&message_id).into(), value.into())]).await
        }
        other => other,
    };
    if let Err(error) = stored {
        tracing::error!(%error, "a judged message is not kept for reports");
    }
    let model = Arc::clone(model);
    let learnt = tokio::task::spawn_blocking(move || {
        let (class, source) = match &lesson {
            AtOnce::Nothing => return Ok(()),
            AtOnce::Own(score) => return model.teach_itself(&features, score, now).map(drop),
            AtOnce::Trap => (Class::Spam, Source::Trap),
            AtOnce::Outgoing => (Class::Ham, Source::Outgoing),
        };
        let whom = Whom::default();
        model.learn(&Lesson { features: &features, class, source, weight: 1.0, whom, now }).map(drop)
    });
    if let Ok(Err(error)) = learnt.await {
        tracing::error!(%error, "what was learnt is not on disk");
    }
}

/// Identifiers begin with their time, and so do keys: the old ones come first.
async fn forget_old(store: &Store, now: Duration) {
    for table in [JUDGED, BY_MESSAGE_ID] {
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let pairs = match store.scan(table, after.as_deref()).await {
                Ok(pairs) if !pairs.is_empty() => pairs,
                Ok(_) => break,
                Err(error) => {
                    tracing::error!(%error, "what is old of judged mail cannot be forgotten");
                    return;
                }
            };
            after = pairs.last().map(|(key, _)| key.clone());
            let old: Vec<_> = pairs.iter().filter(|(_, value)| is_old(value, now)).collect();
            let done = table == JUDGED && old.len() < pairs.len();
            let changes = old.into_iter().map(|(key, _)| Change::Remove(key.clone())).collect();
            if let Err(error) = store.apply(table, changes).await {
                tracing::error!(%error, "what is old of judged mail cannot be forgotten");
                return;
            }
            if done {
                break;
            }
        }
    }
}

fn is_old(value: &[u8], now: Duration) -> bool {
    let time = value.first_chunk().map(|time| u64::from_be_bytes(*time)).unwrap_or_default();
    Duration::from_secs(time) + KEEP < now
}

fn key(transaction: TransactionId) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&transaction.session.to_bits().to_be_bytes());
    key[8..].copy_from_slice(&transaction.number.to_be_bytes());
    key
}

fn transaction_of(key: &[u8]) -> Option<TransactionId> {
    let (session, number) = (key.first_chunk::<8>()?, key.get(8..)?.first_chunk::<4>()?);
    let session = TraceId::from_bits(u64::from_be_bytes(*session));
    Some(TransactionId { session, number: u32::from_be_bytes(*number) })
}

fn id_key(message_id: &str) -> [u8; 16] {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(message_id.as_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_transactions_and_sort_by_time() {
        let id = |millis, number| TransactionId { session: TraceId::new(millis, 7), number };
        let (early, late) = (id(1_795_288_205_000, 3), id(1_795_288_206_000, 1));
        assert_eq!(transaction_of(&key(early)), Some(early));
        assert!(key(early) < key(late));
        assert_eq!(transaction_of(&[0; 11]), None);
    }
}
