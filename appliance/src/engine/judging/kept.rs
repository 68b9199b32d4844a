//! What is kept of judged mail for 30 days: what the classifier saw of it, by trace identifier, so that a report teaches the
//! message itself and not what a mail program made of it (DECISIONS 32).

use std::sync::Arc;
use std::time::Duration;

use judge::{Class, Features, Lesson, Model, Score, Source, Whom};
use record::Clock;
use smtp::{TraceId, TransactionId};
use store::{Change, Store, StoreError, Table};
use tokio::sync::mpsc;

use super::answers::{self, Answer};
use super::daily::Daily;
use super::teach;

/// By transaction: the time, and the features.
const JUDGED: Table = Table("judged");
/// By a hash of the `Message-ID`: the time, and the transaction.
const BY_MESSAGE_ID: Table = Table("judged-ids");

/// By transaction: the kind of message, for reports.
const KINDS: Table = Table("judged-kinds");

/// How long they are kept.
const KEEP: Duration = Duration::from_secs(30 * 86_400);
/// How often what is older goes.
const SWEEP: Duration = Duration::from_secs(3600);
/// Messages that are kept at most, whoever sends them: about a gigabyte, five at the very most. The oldest go first.
const MOST: u64 = 200_000;
/// How many are left when they were too many: so that room is made seldom.
const FEWER: u64 = MOST - MOST / 8;
/// Messages that wait to be written; one more is not kept, and cannot be reported by its identifier. Mail does not wait for it.
const QUEUE: usize = 1024;

/// What there is to keep of a message.
pub(super) struct Judged {
    pub(super) transaction: TransactionId,
    pub(super) features: Features,
    pub(super) message_id: String,
    /// Which others are like it ([`super::reports`]).
    pub(super) kind: u64,
    /// What is taught at once.
    pub(super) lesson: AtOnce,
}

/// What a message teaches without anybody's word.
pub(super) enum AtOnce {
    /// Nothing.
    Nothing,
    /// It came for a trap.
    Trap,
    /// It holds a virus.
    Virus,
    /// It was sent by one of the site's own, to these domains.
    Outgoing(Vec<String>),
    /// It looks like an answer to what was sent; if it is none, it is as its own.
    Answer(Answer, Score),
    /// What the model thinks of it, if that helps.
    Own(Score),
}

/// Keeps it.
pub(super) struct Kept {
    store: Store,
    queue: mpsc::Sender<Judged>,
}

impl Kept {
    pub(super) fn start(
        store: Store,
        (model, daily): (Arc<Model>, Arc<Daily>),
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let (queue, mut judged) = mpsc::channel(QUEUE);
        let writing = store.clone();
        tokio::spawn(async move {
            let mut sweep = tokio::time::interval(SWEEP);
            let mut number = count(&writing).await;
            loop {
                tokio::select! {
                    one = judged.recv() => match one {
                        Some(one) => {
                            take(&writing, (&model, &daily), one, clock.now()).await;
                            number += 1;
                            if number > MOST {
                                number -= forget(&writing, clock.now(), number - FEWER).await;
                            }
                        }
                        None => return,
                    },
                    _ = sweep.tick() => number -= forget(&writing, clock.now(), 0).await,
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

    /// Of what kind it was.
    pub(super) async fn kind(&self, transaction: TransactionId) -> Option<u64> {
        let value = self.get(KINDS, &key(transaction)).await?;
        value.first_chunk().map(|kind| u64::from_be_bytes(*kind))
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

async fn take(store: &Store, (model, daily): (&Arc<Model>, &Arc<Daily>), judged: Judged, now: Duration) {
    let Judged { transaction, features, message_id, kind, lesson } = judged;
    let time = now.as_secs().to_be_bytes();
    let value = [&time[..], &features.to_bytes()].concat();
    let kind = Change::Put(key(transaction).into(), kind.to_be_bytes().into());
    let mut changes =
        vec![(JUDGED, vec![Change::Put(key(transaction).into(), value.into())]), (KINDS, vec![kind])];
    if !message_id.is_empty() {
        let value = [&time[..], &key(transaction)].concat();
        changes.push((BY_MESSAGE_ID, vec![Change::Put(id_key(&message_id).into(), value.into())]));
    }
    if let AtOnce::Outgoing(asked) = &lesson {
        changes.push((answers::SENT, answers::note(&message_id, asked, now)));
    }
    let stored = store.apply_all(changes).await;
    if let Err(error) = stored {
        tracing::error!(%error, "a judged message is not kept for reports");
    }
    let is_answer = match &lesson {
        AtOnce::Answer(answer, _) => answers::is_asked_for(store, answer).await.unwrap_or_else(|error| {
            tracing::error!(%error, "what went out cannot be read");
            false
        }),
        _ => false,
    };
    let (model, daily) = (Arc::clone(model), Arc::clone(daily));
    let learnt = tokio::task::spawn_blocking(move || {
        let (class, source) = match &lesson {
            AtOnce::Nothing => return Ok(()),
            AtOnce::Answer(..) if is_answer => (Class::Ham, Source::Answer),
            AtOnce::Own(score) | AtOnce::Answer(_, score) => {
                return model.teach_itself(&features, score, now).map(drop);
            }
            AtOnce::Trap => (Class::Spam, Source::Trap),
            AtOnce::Virus => (Class::Spam, Source::Virus),
            AtOnce::Outgoing(_) => (Class::Ham, Source::Outgoing),
        };
        let whom = Whom::default();
        let lesson = Lesson { features: &features, class, source, weight: 1.0, whom, now };
        teach(&model, &daily, &lesson).map(drop)
    });
    if let Ok(Err(error)) = learnt.await {
        tracing::error!(%error, "what was learnt is not on disk");
    }
}

async fn count(store: &Store) -> u64 {
    let (mut number, mut after) = (0, None::<Box<[u8]>>);
    while let Ok(pairs) = store.scan(JUDGED, after.as_deref()).await
        && let Some((last, _)) = pairs.last()
    {
        number += pairs.len() as u64;
        after = Some(last.clone());
    }
    number
}

/// What is too old goes, and of the oldest so many that at least `surplus` have gone; how many went. What cannot be forgotten now is
/// tried again with the next.
async fn forget(store: &Store, now: Duration, surplus: u64) -> u64 {
    let forgotten = forget_messages(store, now, surplus).await;
    let forgotten = match forgotten {
        Ok((number, oldest)) => match forget_ids(store, BY_MESSAGE_ID, oldest).await {
            Ok(()) => forget_ids(store, answers::SENT, oldest).await.map(|()| number),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    forgotten.unwrap_or_else(|error| {
        tracing::error!(%error, "what is old of judged mail cannot be forgotten");
        0
    })
}

/// Identifiers begin with their time, and so do keys: the old ones come first. How many went, and how old the rest is at most.
async fn forget_messages(store: &Store, now: Duration, surplus: u64) -> Result<(u64, Duration), StoreError> {
    let too_old = now.saturating_sub(KEEP);
    let (mut number, mut after) = (0, None::<Box<[u8]>>);
    loop {
        let pairs = store.scan(JUDGED, after.as_deref()).await?;
        let most = usize::try_from(surplus.saturating_sub(number)).unwrap_or(usize::MAX);
        let stays = |place: usize, value: &[u8]| place >= most && time_of(value) >= too_old;
        let first = pairs.iter().enumerate().find(|(place, (_, value))| stays(*place, value));
        let going = first.map_or(pairs.len(), |(place, _)| place);
        let oldest = pairs.get(going).map(|(_, value)| time_of(value));
        after = pairs.last().map(|(key, _)| key.clone());
        let changes: Vec<Change> =
            pairs.into_iter().take(going).map(|(key, _)| Change::Remove(key)).collect();
        store.apply(KINDS, changes.clone()).await?;
        store.apply(JUDGED, changes).await?;
        number += going as u64;
        if let Some(oldest) = oldest {
            return Ok((number, oldest));
        }
        if after.is_none() {
            return Ok((number, now));
        }
    }
}

/// The identifiers of messages that are kept no more.
async fn forget_ids(store: &Store, table: Table, oldest: Duration) -> Result<(), StoreError> {
    let mut after = None::<Box<[u8]>>;
    loop {
        let pairs = store.scan(table, after.as_deref()).await?;
        after = pairs.last().map(|(key, _)| key.clone());
        if after.is_none() {
            return Ok(());
        }
        let old = pairs.into_iter().filter(|(_, value)| time_of(value) < oldest);
        store.apply(table, old.map(|(key, _)| Change::Remove(key)).collect()).await?;
    }
}

fn time_of(value: &[u8]) -> Duration {
    Duration::from_secs(value.first_chunk().map(|time| u64::from_be_bytes(*time)).unwrap_or_default())
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

    #[tokio::test]
    async fn what_is_too_old_goes_and_of_what_is_too_much_the_oldest() {
        let folder = tempfile::tempdir().unwrap();
        let settings = store::Settings::in_folder(folder.path().to_owned());
        let store = Store::start(settings, Arc::new(record::SystemClock)).unwrap();
        let put = |seconds: u64| {
            let transaction = TransactionId { session: TraceId::new(seconds * 1000, 7), number: 1 };
            let (time, name) = (seconds.to_be_bytes(), format!("{seconds}@x"));
            let store = store.clone();
            async move {
                let message = Change::Put(key(transaction).into(), time.into());
                store.apply(JUDGED, vec![message]).await.unwrap();
                let value = [&time[..], &key(transaction)].concat();
                store
                    .apply(BY_MESSAGE_ID, vec![Change::Put(id_key(&name).into(), value.into())])
                    .await
                    .unwrap();
            }
        };
        let now = 1_795_288_205;
        for age in [31 * 86_400, 29 * 86_400, 3, 2, 1] {
            put(now - age).await;
        }
        let now = Duration::from_secs(now);
        assert_eq!(count(&store).await, 5);
        assert_eq!(forget(&store, now, 0).await, 1, "thirty days are over for one");
        assert_eq!(forget(&store, now, 2).await, 2, "two are too many");
        assert_eq!(count(&store).await, 2);
        assert_eq!(store.scan(BY_MESSAGE_ID, None).await.unwrap().len(), 2);
        assert_eq!(forget(&store, now, 9).await, 2);
        assert_eq!((count(&store).await, forget(&store, now, 1).await), (0, 0));
    }

    #[test]
    fn keys_name_transactions_and_sort_by_time() {
        let id = |millis, number| TransactionId { session: TraceId::new(millis, 7), number };
        let (early, late) = (id(1_795_288_205_000, 3), id(1_795_288_206_000, 1));
        assert_eq!(transaction_of(&key(early)), Some(early));
        assert!(key(early) < key(late));
        assert_eq!(transaction_of(&[0; 11]), None);
    }
}
