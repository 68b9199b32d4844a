//! What lies in `expired` leaves it by itself one day: the postmaster is told by mail before that, of what has come there and until
//! when it is kept (DECISIONS 6).

use std::sync::Arc;
use std::time::Duration;

use delivery::Queue;
use record::Clock;
use relay::Relay;
use smtp::{Mailbox, TraceId, TransactionId};
use spool::{Folder, SpoolError, Summary};
use store::{Change, Store, StoreError, Table};

use super::own_mail::{OwnMail, put_into_queue};

const TOLD: Table = Table("expired-told");
const KEY: &[u8] = b"until";
/// How often it is looked.
const LOOK: Duration = Duration::from_secs(10);
/// Between two mails: when a server is gone for good thousands may come here within an hour.
const PAUSE: Duration = Duration::from_secs(6 * 3600);
/// Messages that one mail names.
const MOST: usize = 50;
/// Characters of the words on each.
const WORDS: usize = 200;

/// What was told, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    /// Of whatever came there until then, in milliseconds since 1970.
    until: u64,
    /// In seconds since 1970.
    at: u64,
}

impl Told {
    fn to_octets(self) -> Box<[u8]> {
        [self.until.to_be_bytes(), self.at.to_be_bytes()].concat().into()
    }

    fn from_octets(octets: &[u8]) -> Option<Self> {
        let (until, rest) = octets.split_first_chunk::<8>()?;
        let at = rest.first_chunk::<8>()?;
        Some(Self { until: u64::from_be_bytes(*until), at: u64::from_be_bytes(*at) })
    }
}

/// Why nobody is told now.
#[derive(Debug, thiserror::Error)]
enum NotTold {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Looks until the relay drains.
pub(super) async fn keep_telling(relay: Arc<Relay>, queue: Arc<Queue>, store: Store, clock: Arc<dyn Clock>) {
    while !relay.is_draining() {
        tokio::time::sleep(LOOK).await;
        if let Err(error) = tell(&relay, &queue, &store, clock.now()).await {
            tracing::error!(%error, "the postmaster cannot be told of what expired; it is tried again");
        }
    }
}

async fn tell(relay: &Relay, queue: &Queue, store: &Store, now: Duration) -> Result<(), NotTold> {
    let told = store.get(TOLD, KEY).await?;
    let told = told.as_deref().and_then(Told::from_octets).unwrap_or_default();
    let spool = queue.spool();
    let ids = spool.select(Some(Folder::Expired), None).into_iter();
    let new: Vec<_> = ids.filter_map(|id| spool.entry(id)).filter(|one| since(one) > told.until).collect();
    let Some(until) = new.iter().map(since).max() else { return Ok(()) };
    if now.as_secs() < told.at.saturating_add(PAUSE.as_secs()) {
        return Ok(());
    }
    let Some(to) = postmaster(relay) else { return Ok(()) };
    let keep = queue.lasts(Folder::Expired, "").unwrap_or_default();
    let session = TraceId::new(u64::try_from(now.as_millis()).unwrap_or_default(), rand::random());
    let mail = OwnMail {
        transaction: TransactionId { session, number: 1 },
        to: &to,
        subject: &subject(new.len()),
        text: &text(&new, keep),
        why: "tells of what expired",
    };
    let stored = put_into_queue(relay, spool, now, &mail).await?;
    tracing::warn!(messages = new.len(), entry = ?stored, "messages expired that nobody may be told of; the postmaster is");
    let told = Told { until, at: now.as_secs() };
    store.apply(TOLD, vec![Change::Put(KEY.into(), told.to_octets())]).await?;
    Ok(())
}

fn since(one: &Summary) -> u64 {
    u64::try_from(one.since.as_millis()).unwrap_or(u64::MAX)
}

fn postmaster(relay: &Relay) -> Option<Mailbox> {
    let reporting = relay.serving().driver.reporting.clone()?;
    reporting.reporter.postmaster.parse().ok()
}

fn subject(number: usize) -> String {
    let messages = if number == 1 { "A message".to_owned() } else { format!("{number} messages") };
    format!("{messages} could not be delivered, and nobody may be told")
}

fn text(new: &[Summary], keep: Duration) -> String {
    let days = keep.as_secs() / 86_400;
    let mut text = format!(
        "What is listed here could not be delivered in time, or its server refuses it. Nothing proves that its\n\
         sender is who it says, so that no report was sent. It is kept in the folder `expired` for {days} days from the\n\
         day it came there, and is removed then.\n\n\
         postern queue show ID                        tells all of one message\n\
         postern queue release ID --folder expired    puts it into the queue again\n\
         postern queue remove ID --folder expired     throws it away\n\n"
    );
    for one in new.iter().take(MOST) {
        let words = one.words.to_string();
        let words: String =
            words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(WORDS).collect();
        let date = record::rfc3339_date(one.since);
        text.push_str(&format!("{}  {date}  for {}\n    {words}\n", one.id, one.domains.join(", ")));
    }
    if new.len() > MOST {
        text.push_str(&format!("and {} more: postern queue list --folder expired\n", new.len() - MOST));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_read_back() {
        let told = Told { until: 1_795_288_205_123, at: 1_795_288_300 };
        assert_eq!(Told::from_octets(&told.to_octets()), Some(told));
        assert_eq!(Told::from_octets(b"short"), None);
    }

    #[test]
    fn one_is_not_many() {
        assert!(subject(1).starts_with("A message could"));
        assert!(subject(2).starts_with("2 messages could"));
    }
}
