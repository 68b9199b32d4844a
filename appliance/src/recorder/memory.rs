//! The trace in memory: the last transactions and sessions, bounded in number and in octets.

use std::collections::VecDeque;
use std::mem::size_of;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use record::{Afterwards, Event, GroupOutcome, Leg, RecipientOutcome, Session, TlsOutcome, Transaction};
use smtp::{TraceId, TransactionId};

use crate::report::NotReached;

/// Transactions kept, and sessions kept.
const MAX_ENTRIES: usize = 10_000;
/// Things that became of messages behind their transactions, kept: a message that waits for days has many.
const MAX_STEPS: usize = 30_000;
/// The last of them that are told of one message.
const STEPS_TOLD: usize = 200;
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

    fn push(&mut self, entry: T, bytes: usize) {
        self.entries.push_back((bytes, Arc::new(entry)));
        self.bytes += bytes;
        while self.entries.len() > self.most || self.bytes > MAX_BYTES {
            let Some((bytes, _)) = self.entries.pop_front() else { break };
            self.bytes -= bytes;
        }
    }

    fn latest_first(&self) -> impl Iterator<Item = &Arc<T>> {
        self.entries.iter().rev().map(|(_, entry)| entry)
    }
}

/// What is looked for; every part that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The sender contains this; case does not matter.
    pub from: Option<String>,
    /// Some recipient contains this; case does not matter.
    pub to: Option<String>,
    /// The client's address.
    pub ip: Option<IpAddr>,
    /// Not before this, since 1970.
    pub since: Duration,
    /// At most so many, the latest.
    pub last: usize,
}

impl Query {
    fn fits(&self, transaction: &Transaction) -> bool {
        let to = |wanted: &String| transaction.recipients.iter().any(|r| contains(&r.address, wanted));
        transaction.began >= self.since
            && self.ip.is_none_or(|ip| transaction.client.ip().to_canonical() == ip)
            && self.from.as_ref().is_none_or(|wanted| contains(&transaction.reverse_path, wanted))
            && self.to.as_ref().is_none_or(to)
    }
}

fn contains(text: &str, wanted: &str) -> bool {
    text.to_lowercase().contains(&wanted.to_lowercase())
}

impl Memory {
    pub(super) fn add(&mut self, event: Event, now: Duration) {
        match event {
            Event::Transaction(transaction) => {
                let bytes = transaction_bytes(&transaction);
                self.transactions.push(*transaction, bytes);
            }
            Event::Session(session) => {
                let bytes = size_of::<Session>() + session.helo.len() + tls_bytes(&session.tls);
                self.sessions.push(*session, bytes);
            }
            Event::Afterwards(afterwards) => {
                let bytes = afterwards_bytes(&afterwards);
                self.afterwards.push(*afterwards, bytes);
            }
            // Counted, and told to whoever keeps it for reports.
            Event::FarTls(_) => {}
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

    /// Transactions that fit, latest first. The list is cheap; what is in it is shared.
    pub fn transactions(&self, query: &Query) -> Vec<Arc<Transaction>> {
        self.transactions.latest_first().filter(|entry| query.fits(entry)).take(query.last).cloned().collect()
    }

    /// Sessions that brought no mail, latest first; of the query only the address, the time and the number count.
    pub fn sessions_without_mail(&self, query: &Query) -> Vec<Arc<Session>> {
        let fits = |session: &Session| {
            session.transactions == 0
                && session.began >= query.since
                && query.ip.is_none_or(|ip| session.client.ip().to_canonical() == ip)
        };
        self.sessions.latest_first().filter(|session| fits(session)).take(query.last).cloned().collect()
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
        size_of_val(recipient) + recipient.address.len() + recipient.reply.as_ref().map_or(0, reply_bytes)
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
    size_of_val(opinion) + opinion.trouble.len() + checks.sum::<usize>() + words.sum::<usize>()
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
        let found = memory.transactions(&query);
        assert_eq!(found.len(), MAX_ENTRIES);
        assert_eq!((found[0].id.number, found[9999].id.number), (10_049, 50));
        assert_eq!(memory.transaction(found[3].id).unwrap().id, found[3].id);
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
        let found = memory.transactions(&Query { last: 1000, ..Query::default() }).len();
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

    #[test]
    fn every_part_of_a_query_must_fit() {
        let memory = memory_of(1..5);
        let all = Query { last: 100, ..Query::default() };
        assert_eq!(memory.transactions(&Query { last: 2, ..all.clone() }).len(), 2);
        for (query, count) in [
            (Query { from: Some("ALICE@".to_owned()), ..all.clone() }, 4),
            (Query { from: Some("bob@".to_owned()), ..all.clone() }, 0),
            (Query { to: Some("bob@example.net".to_owned()), ..all.clone() }, 4),
            (Query { ip: Some("192.0.2.7".parse().unwrap()), ..all.clone() }, 4),
            (Query { ip: Some("192.0.2.8".parse().unwrap()), ..all.clone() }, 0),
            (Query { since: samples::BEGAN + Duration::from_secs(3), ..all }, 2),
        ] {
            assert_eq!(memory.transactions(&query).len(), count, "{query:?}");
        }
    }
}
