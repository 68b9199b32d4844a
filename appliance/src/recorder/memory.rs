//! The trace in memory: the last transactions and sessions, bounded in number and in octets.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::Arc;
use std::time::Duration;

use record::{Afterwards, Event, GroupOutcome, Leg, RecipientOutcome, Session, TlsOutcome, Transaction};
use smtp::{TraceId, TransactionId};

use super::disk::Traced;
use super::query::{Query, See};
use crate::report::{NotReached, SessionStory, TransactionStory};

/// Transactions kept, and sessions kept.
const MAX_ENTRIES: usize = 10_000;
/// Things that became of messages behind their transactions, kept: a message that waits for days has many.
const MAX_STEPS: usize = 30_000;
/// The last of them that are told of one message.
pub(super) const STEPS_TOLD: usize = 200;
/// Octets kept of each, whatever peers put into addresses, names and replies.
const MAX_BYTES: usize = 48 << 20;
/// Failed connections to servers kept.
const MAX_FAILURES: usize = 100;

/// The trace in memory.
#[derive(Debug)]
pub struct Memory {
    transactions: Ring<Transaction>,
    sessions: Ring<Session>,
    afterwards: Ring<Afterwards>,
    failures: VecDeque<NotReached>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            transactions: Ring::new(MAX_ENTRIES),
            sessions: Ring::new(MAX_ENTRIES),
            afterwards: Ring::new(MAX_STEPS),
            failures: VecDeque::new(),
        }
    }
}

#[derive(Debug)]
struct Ring<T> {
    entries: VecDeque<(usize, Arc<T>)>,
    bytes: usize,
    most: usize,
}

impl<T> Ring<T> {
    fn new(most: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, most }
    }

    fn push(&mut self, entry: T, bytes: usize) -> Arc<T> {
        let entry = Arc::new(entry);
        self.entries.push_back((bytes, Arc::clone(&entry)));
        self.bytes += bytes;
        while self.entries.len() > self.most || self.bytes > MAX_BYTES {
            let Some((bytes, _)) = self.entries.pop_front() else { break };
            self.bytes -= bytes;
        }
        entry
    }

    fn latest_first(&self) -> impl Iterator<Item = &Arc<T>> {
        self.entries.iter().rev().map(|(_, entry)| entry)
    }
}

impl Memory {
    /// Keeps an event, and says what of it goes to disk.
    pub(super) fn add(&mut self, event: Event, now: Duration) -> Option<Traced> {
        match event {
            Event::Transaction(transaction) => {
                let bytes = transaction_bytes(&transaction);
                Some(Traced::Transaction(self.transactions.push(*transaction, bytes)))
            }
            Event::Session(session) => {
                let bytes = size_of::<Session>() + session.helo.len() + tls_bytes(&session.tls);
                Some(Traced::Session(self.sessions.push(*session, bytes)))
            }
            Event::Afterwards(afterwards) => {
                let bytes = afterwards_bytes(&afterwards);
                Some(Traced::Afterwards(self.afterwards.push(*afterwards, bytes)))
            }
            // Counted, and told to whoever keeps it for reports.
            Event::FarTls(_) => None,
            Event::LegFailed(failure) => {
                if self.failures.len() == MAX_FAILURES {
                    self.failures.pop_front();
                }
                self.failures.push_back(NotReached {
                    at: now.as_secs(),
                    session: failure.session.map(|id| id.to_string()).unwrap_or_default(),
                    backend: failure.backend.into(),
                    server: failure.server.to_string(),
                    reason: failure.reason.into(),
                });
                None
            }
        }
    }

    /// One transaction.
    pub fn transaction(&self, id: TransactionId) -> Option<Arc<Transaction>> {
        self.transactions.latest_first().find(|transaction| transaction.id == id).cloned()
    }

    /// What became of a message behind its transaction, the last of it, in order.
    pub fn afterwards(&self, id: TransactionId) -> Vec<Arc<Afterwards>> {
        let steps = self.afterwards.latest_first().filter(|step| step.transaction == id);
        let mut steps: Vec<_> = steps.take(STEPS_TOLD).cloned().collect();
        steps.reverse();
        steps
    }

    /// A session, if it has ended, and its transactions that have, latest first.
    pub fn session(&self, id: TraceId) -> (Option<Arc<Session>>, Vec<Arc<Transaction>>) {
        let session = self.sessions.latest_first().find(|session| session.id == id).cloned();
        let transactions =
            self.transactions.latest_first().filter(|transaction| transaction.id.session == id);
        (session, transactions.cloned().collect())
    }

    /// Transactions that fit, latest first, as they are seen.
    pub fn transactions(&self, query: &Query, see: See<'_>) -> Vec<TransactionStory> {
        let recent = self.transactions.latest_first().filter(|entry| query.is_time(entry.began));
        let stories = recent.map(|entry| TransactionStory::from(&**entry));
        stories.filter_map(|story| query.seen(story, see)).take(query.last).collect()
    }

    /// Sessions that brought no mail, latest first.
    pub fn sessions_without_mail(&self, query: &Query) -> Vec<SessionStory> {
        let without_mail = self.sessions.latest_first().filter(|session| session.transactions == 0);
        let recent = without_mail.filter(|session| query.is_time(session.began));
        let stories = recent.map(|session| SessionStory::from(&**session));
        stories.filter(|story| query.fits_session(story)).take(query.last).collect()
    }

    /// Servers that could not be used, latest first.
    pub fn not_reached(&self, last: usize) -> Vec<NotReached> {
        self.failures.iter().rev().take(last).cloned().collect()
    }
}

fn reply_bytes(reply: &smtp::Reply) -> usize {
    const REPLY: usize = 64;
    REPLY + reply.lines().map(|line| line.len() + 1).sum::<usize>()
}

fn recipients_bytes(recipients: &[RecipientOutcome]) -> usize {
    let one = |recipient: &RecipientOutcome| {
        size_of_val(recipient)
            + recipient.address.len()
            + recipient.alias.as_ref().map_or(0, |alias| alias.len())
            + recipient.reply.as_ref().map_or(0, reply_bytes)
    };
    recipients.iter().map(one).sum()
}

fn leg_bytes(leg: &Leg) -> usize {
    leg.backend.len() + leg.policy.len() + tls_bytes(&leg.tls)
}

fn afterwards_bytes(afterwards: &Afterwards) -> usize {
    size_of::<Afterwards>()
        + afterwards.leg.as_ref().map_or(0, leg_bytes)
        + recipients_bytes(&afterwards.recipients)
        + afterwards.words.as_ref().map_or(0, reply_bytes)
}

/// What it takes in memory, roughly and rather too much.
fn transaction_bytes(transaction: &Transaction) -> usize {
    let groups = transaction.groups.iter().map(|group| {
        let words = match group {
            GroupOutcome::Delivered { reply, .. } | GroupOutcome::Refused { reply, .. } => reply,
            GroupOutcome::Spooled { reason, .. } => reason,
        };
        let leg = super::metrics::leg_of(group).map_or(0, leg_bytes);
        size_of_val(group) + reply_bytes(words) + leg
    });
    size_of::<Transaction>()
        + transaction.opinion.as_deref().map_or(0, opinion_bytes)
        + transaction.helo.len()
        + transaction.reverse_path.len()
        + tls_bytes(&transaction.tls)
        + transaction.reply.as_ref().map_or(0, reply_bytes)
        + recipients_bytes(&transaction.recipients)
        + groups.sum::<usize>()
}

fn opinion_bytes(opinion: &record::Opinion) -> usize {
    let checks =
        opinion.checks.iter().map(|check| size_of_val(check) + check.name.len() + check.result.len());
    let words = opinion.words.iter().map(|word| size_of_val(word) + word.0.len());
    let otherwise = opinion.otherwise.iter().map(|other| size_of_val(other) + other.1.len());
    let named = opinion.subject.len() + opinion.message_id.len();
    size_of_val(opinion)
        + opinion.trouble.len()
        + named
        + checks.sum::<usize>()
        + words.sum::<usize>()
        + otherwise.sum::<usize>()
}

fn tls_bytes(outcome: &TlsOutcome) -> usize {
    match outcome {
        TlsOutcome::Plain => 0,
        TlsOutcome::Failed(reason) => reason.len(),
        TlsOutcome::Established { facts, .. } => facts.server_name.as_ref().map_or(0, |name| name.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::samples;

    fn memory_of(numbers: std::ops::Range<u32>) -> Memory {
        let mut memory = Memory::default();
        for number in numbers {
            let event = Event::Transaction(Box::new(samples::transaction(number)));
            memory.add(event, Duration::from_secs(9));
        }
        memory
    }

    #[test]
    fn the_latest_come_first_and_the_oldest_go() {
        let memory = memory_of(0..10_050);
        let query = Query { last: 20_000, ..Query::default() };
        let found = memory.transactions(&query, &Some);
        assert_eq!(found.len(), MAX_ENTRIES);
        assert!(found[0].id.ends_with(".10049") && found[9999].id.ends_with(".50"));
        assert!(memory.transaction(found[3].id.parse().unwrap()).is_some());
        assert!(memory.transaction(samples::transaction(1).id).is_none());
    }

    #[test]
    fn large_entries_are_bounded_by_their_octets() {
        let mut memory = Memory::default();
        for number in 0..100 {
            let mut transaction = samples::transaction(number);
            transaction.helo = "x".repeat(1 << 20).into();
            memory.add(Event::Transaction(Box::new(transaction)), Duration::ZERO);
        }
        let found = memory.transactions(&Query { last: 1000, ..Query::default() }, &Some).len();
        assert!((40..48).contains(&found), "{found}");
    }

    #[test]
    fn what_became_of_a_message_is_told_in_order_and_bounded() {
        let mut memory = Memory::default();
        let (one, other) = (samples::transaction(1).id, samples::transaction(2).id);
        let mut add = |id, second: u64| {
            let step = samples::afterwards(id, record::Step::Deferred, Duration::from_secs(second));
            memory.add(Event::Afterwards(Box::new(step)), Duration::ZERO);
        };
        add(other, 0);
        (0..300).for_each(|second| add(one, second));
        let seconds: Vec<_> = memory.afterwards(one).iter().map(|step| step.at.as_secs()).collect();
        assert_eq!(seconds, (100..300).collect::<Vec<_>>());
        assert_eq!(memory.afterwards(other).len(), 1);
        let mut add = |id| {
            let step = samples::afterwards(id, record::Step::Deferred, Duration::ZERO);
            memory.add(Event::Afterwards(Box::new(step)), Duration::ZERO);
        };
        (0..MAX_STEPS).for_each(|_| add(one));
        assert!(memory.afterwards(other).is_empty(), "the oldest go");
    }
}
