//! Reports of users, and whom to believe: what was said of one kind of message is kept together, so that who contradicts many others is
//! asked about first, and who is seldom right counts less.
//!
//! Of one kind are messages of one author's domain with one subject, numbers aside: of a mailing everybody has a message of their own.

mod votes;

use std::time::Duration;

use judge::Class;
use sha2::{Digest as _, Sha256};
use sift::Content;
use smtp::TransactionId;
use store::{Change, Store, StoreError, Table};
use tokio::sync::Mutex;

use self::votes::{MAX_REPORTER, Outcome, Standing, Vote, Voter, Votes};
use crate::report::HeldReport;
use judge::pretence::registered;

/// By kind of message: the [`Votes`].
const VOTES: Table = Table("reports");
/// By reporter: the [`Standing`].
const REPORTERS: Table = Table("reporters");
/// How long a report that is held waits for a person, and votes are kept: as long as a message can be reported.
const KEEP: Duration = Duration::from_secs(30 * 86_400);
/// How long a reporter's record is kept.
const KEEP_REPORTERS: Duration = Duration::from_secs(720 * 86_400);
/// Kinds of messages, and reporters, at most; the oldest go first.
const MOST: usize = 50_000;

/// Keeps it. One at a time: a vote rests on those before.
pub(super) struct Reports {
    store: Store,
    turn: Mutex<()>,
}

/// What came of a report.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    /// These messages are learnt, with these weights.
    Learn(Vec<(TransactionId, Class, f32)>),
    /// It waits for a person, or for others who agree.
    Held,
}

/// Of what kind a message is.
pub(super) fn kind(content: &Content) -> u64 {
    let author = content.from.first().map_or("", |from| from.mailbox.as_str());
    let domain = registered(author.rsplit_once('@').map_or("", |(_, domain)| domain)).to_lowercase();
    let letters = content.subject.chars().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase);
    let digest = Sha256::digest(format!("{domain} {}", letters.collect::<String>()).as_bytes());
    digest.first_chunk().map(|octets| u64::from_be_bytes(*octets)).unwrap_or_default()
}

impl Reports {
    pub(super) fn new(store: Store) -> Self {
        Self { store, turn: Mutex::default() }
    }

    /// A reporter's word about a message of this kind.
    pub(super) async fn hear(
        &self,
        (kind, transaction): (u64, TransactionId),
        (reporter, class): (&str, Class),
        now: Duration,
    ) -> Result<Heard, StoreError> {
        let _turn = self.turn.lock().await;
        let reporter = bounded(reporter);
        let weight = self.standing(&reporter).await?.map_or(1.0, |standing| standing.weight(now));
        let mut votes = self.votes(kind).await?;
        let (voter, at) = (Voter::Reporter(reporter), now.as_secs());
        let vote = Vote { voter, class, weight, at, transaction, held: false, was_right: None };
        let outcome = votes.report(vote);
        self.put(kind, &votes, &outcome, now).await?;
        Ok(if outcome.learn.is_empty() { Heard::Held } else { Heard::Learn(outcome.learn) })
    }

    /// An administrator's word about a message; what else is learnt by it.
    pub(super) async fn decide(
        &self,
        (kind, transaction): (u64, TransactionId),
        class: Class,
        now: Duration,
    ) -> Result<Vec<(TransactionId, Class, f32)>, StoreError> {
        let _turn = self.turn.lock().await;
        let mut votes = self.votes(kind).await?;
        let outcome = votes.decide(transaction, class, now.as_secs());
        self.put(kind, &votes, &outcome, now).await?;
        Ok(outcome.learn)
    }

    /// A person's word about a report that is held; `None` if there is none of that name.
    pub(super) async fn settle(
        &self,
        id: &str,
        accepts: bool,
        now: Duration,
    ) -> Result<Option<Vec<(TransactionId, Class, f32)>>, StoreError> {
        let _turn = self.turn.lock().await;
        let mut found = None;
        self.each(|kind, votes| {
            let held = votes.0.iter().find(|one| one.held && name_of(kind, one) == id);
            found = found.take().or_else(|| held.cloned().map(|one| (kind, one)));
        })
        .await?;
        let Some((kind, vote)) = found else { return Ok(None) };
        let mut votes = self.votes(kind).await?;
        let outcome = match (&vote.voter, accepts) {
            (_, true) => votes.decide(vote.transaction, vote.class, now.as_secs()),
            (Voter::Reporter(reporter), false) => votes.discard(reporter),
            (Voter::Administrator, false) => Outcome::default(),
        };
        self.put(kind, &votes, &outcome, now).await?;
        Ok(Some(outcome.learn))
    }

    /// Those that are held, the oldest first; at most so many.
    pub(super) async fn held(&self, most: usize) -> Result<Vec<HeldReport>, StoreError> {
        let mut found = Vec::new();
        self.each(|kind, votes| {
            found.extend(votes.0.iter().filter(|one| one.held).map(|one| told(kind, one, votes)));
        })
        .await?;
        found.sort_by_key(|one| one.at);
        found.truncate(most);
        Ok(found)
    }

    /// What is too old goes, and of what is too much the oldest.
    pub(super) async fn forget(&self, now: Duration) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        for (table, keep) in [(VOTES, KEEP), (REPORTERS, KEEP_REPORTERS)] {
            let mut ages = Vec::new();
            self.each_of(table, |key, value| ages.push((age_of(table, value), key.to_vec()))).await?;
            ages.sort_unstable();
            let surplus = ages.len().saturating_sub(MOST);
            let too_old = now.saturating_sub(keep).as_secs();
            let going = ages.into_iter().enumerate().filter(|(at, (age, _))| *at < surplus || *age < too_old);
            let changes: Vec<Change> = going.map(|(_, (_, key))| Change::Remove(key.into())).collect();
            for batch in changes.chunks(1000) {
                self.store.apply(table, batch.to_vec()).await?;
            }
        }
        Ok(())
    }

    async fn votes(&self, kind: u64) -> Result<Votes, StoreError> {
        let value = self.store.get(VOTES, &kind.to_be_bytes()).await?;
        Ok(value.map(|value| Votes::from_bytes(&value)).unwrap_or_default())
    }

    async fn standing(&self, reporter: &str) -> Result<Option<Standing>, StoreError> {
        let value = self.store.get(REPORTERS, reporter.as_bytes()).await?;
        Ok(value.as_deref().and_then(Standing::from_bytes))
    }

    async fn put(
        &self,
        kind: u64,
        votes: &Votes,
        outcome: &Outcome,
        now: Duration,
    ) -> Result<(), StoreError> {
        let change = Change::Put(kind.to_be_bytes().into(), votes.to_bytes().into());
        self.store.apply(VOTES, vec![change]).await?;
        for (reporter, finding) in &outcome.records {
            let before = self.standing(reporter).await?.unwrap_or_else(|| Standing::new(now));
            let after = before.with(*finding, now);
            let change = Change::Put(reporter.as_bytes().into(), after.to_bytes().into());
            self.store.apply(REPORTERS, vec![change]).await?;
        }
        Ok(())
    }

    async fn each(&self, mut take: impl FnMut(u64, &Votes)) -> Result<(), StoreError> {
        self.each_of(VOTES, |key, value| {
            if let Some(kind) = key.try_into().ok().map(u64::from_be_bytes) {
                take(kind, &Votes::from_bytes(value));
            }
        })
        .await
    }

    async fn each_of(&self, table: Table, mut take: impl FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let pairs = self.store.scan(table, after.as_deref()).await?;
            let Some((last, _)) = pairs.last() else { return Ok(()) };
            after = Some(last.clone());
            pairs.iter().for_each(|(key, value)| take(key, value));
        }
    }
}

/// When it was last changed, in seconds since 1970.
fn age_of(table: Table, value: &[u8]) -> u64 {
    match table {
        VOTES => Votes::from_bytes(value).newest(),
        _ => Standing::from_bytes(value).map(Standing::last).unwrap_or_default(),
    }
}

fn told(kind: u64, vote: &Vote, votes: &Votes) -> HeldReport {
    HeldReport {
        id: name_of(kind, vote),
        reporter: reporter_of(vote).to_owned(),
        says: if vote.class == Class::Spam { "spam" } else { "ham" }.to_owned(),
        transaction: vote.transaction.to_string(),
        at: vote.at,
        weight: f64::from(vote.weight),
        against: votes.against(vote.class),
    }
}

fn reporter_of(vote: &Vote) -> &str {
    match &vote.voter {
        Voter::Administrator => "",
        Voter::Reporter(reporter) => reporter,
    }
}

/// By kind and reporter, of whom there is one vote.
fn name_of(kind: u64, vote: &Vote) -> String {
    let digest = Sha256::digest(reporter_of(vote).as_bytes());
    let short = digest.first_chunk().map(|octets| u32::from_be_bytes(*octets)).unwrap_or_default();
    format!("{kind:016x}{short:08x}")
}

fn bounded(reporter: &str) -> String {
    reporter.get(..reporter.floor_char_boundary(MAX_REPORTER)).unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use smtp::TraceId;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_288_205);
    const DAY: Duration = Duration::from_secs(86_400);

    fn id(number: u32) -> TransactionId {
        TransactionId { session: TraceId::new(1, 2), number }
    }

    fn mail(from: &str, subject: &str) -> u64 {
        let from = vec![sift::content::Address { mailbox: from.to_owned(), ..Default::default() }];
        kind(&Content { from, subject: subject.to_owned(), ..Content::default() })
    }

    #[test]
    fn a_mailing_is_one_kind_whatever_it_counts() {
        assert_eq!(
            mail("a@news.shop.example", "Order 123: 20% off"),
            mail("b@shop.example", "ORDER 9: 5% off!")
        );
        assert_ne!(mail("a@shop.example", "Hello"), mail("a@other.example", "Hello"));
        assert_ne!(mail("a@shop.example", "Hello"), mail("a@shop.example", "Goodbye"));
    }

    #[tokio::test]
    async fn what_contradicts_many_others_waits_for_a_person_who_says_what_becomes_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let settings = store::Settings::in_folder(folder.path().to_owned());
        let reports = Reports::new(Store::start(settings, Arc::new(record::SystemClock)).unwrap());
        let hear =
            async |number, who: &str, class| reports.hear((7, id(number)), (who, class), NOW).await.unwrap();
        assert_eq!(hear(1, "A@x.test", Class::Spam).await, Heard::Learn(vec![(id(1), Class::Spam, 1.0)]));
        assert_eq!(hear(2, "b@x.test", Class::Spam).await, Heard::Learn(vec![(id(2), Class::Spam, 1.0)]));
        assert_eq!(hear(3, "c@x.test", Class::Ham).await, Heard::Held);
        let held = reports.held(10).await.unwrap();
        assert_eq!((held.len(), held[0].reporter.as_str(), held[0].against), (1, "c@x.test", 2));
        assert_eq!(reports.settle("nonsense", true, NOW).await.unwrap(), None);
        let learnt = reports.settle(&held[0].id, true, NOW).await.unwrap();
        assert_eq!(learnt, Some(vec![(id(3), Class::Ham, 1.0)]));
        assert!(reports.held(10).await.unwrap().is_empty());
        // Who was wrong counts less, of whatever is reported next.
        let next = reports.hear((8, id(4)), ("a@x.test", Class::Spam), NOW).await.unwrap();
        let Heard::Learn(next) = next else { panic!("{next:?}") };
        assert!((0.5..0.7).contains(&next[0].2), "{next:?}");
        reports.forget(NOW + 31 * DAY).await.unwrap();
        assert!(reports.votes(7).await.unwrap().0.is_empty());
        assert!(reports.standing("a@x.test").await.unwrap().is_some());
    }
}
