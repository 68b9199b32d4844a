//! What the trace is told of messages whose transaction is over: each attempt, each order, each end (law 9).

use std::sync::Arc;

use record::{Afterwards, Event, Leg, RecipientOutcome, Step};
use smtp::{Proof as _, RecipientSet, Reply, TransactionId};
use spool::{Entry, EntryId, Order};

use super::Queue;
use crate::queue::transaction::Outcome;

/// The record names at most this many recipients.
const NAMED: usize = 100;
/// Of an order for more messages than these, the trace is told of the first ones, and the log how many there were.
const ORDERED: usize = 1000;

/// A message as it was before an order: whether the order has a meaning for it is told by what changes.
pub(super) struct Before {
    id: EntryId,
    transaction: TransactionId,
    folder: spool::Folder,
    held: bool,
}

impl Queue {
    /// What an attempt came to; `over`: for those who were put off, their time is over.
    pub(super) fn tell_attempt(&self, entry: &Entry, outcome: &Outcome, over: bool) {
        let leg = outcome.leg.as_ref();
        if let Some(delivered) = &outcome.delivered {
            let (named, in_all) = named(entry, delivered.recipients());
            self.tell(
                entry.transaction,
                Step::Delivered,
                leg,
                named,
                in_all,
                Some(delivered.reply().clone()),
            );
        }
        let deferred = if over { Step::Expired } else { Step::Deferred };
        for (step, replies) in [(Step::Refused, &outcome.refused), (deferred, &outcome.deferred)] {
            let Some((_, words)) = replies.first() else { continue };
            let named = replies.iter().take(NAMED).map(|(index, reply)| RecipientOutcome {
                address: address(entry, *index),
                alias: None,
                reply: (reply != words).then(|| reply.clone()),
            });
            self.tell(entry.transaction, step, leg, named.collect(), replies.len(), Some(words.clone()));
        }
    }

    /// Something that concerns all who remain.
    pub(super) fn tell_step(&self, transaction: TransactionId, step: Step, words: Option<Reply>) {
        self.tell(transaction, step, None, Vec::new(), 0, words);
    }

    /// What an order may be about.
    pub(super) fn looked_up(&self, ids: &[EntryId]) -> Vec<Before> {
        let found = ids.iter().take(ORDERED).filter_map(|id| self.spool().entry(*id));
        let before = found.map(|summary| Before {
            id: summary.id,
            transaction: summary.transaction,
            folder: summary.folder,
            held: summary.held,
        });
        before.collect()
    }

    /// What has become of an order, message by message.
    pub(super) fn tell_order(&self, before: &[Before], order: &Order) {
        for one in before {
            let now = self.spool().entry(one.id);
            let is_there = now.is_some();
            let folder = now.as_ref().map_or(one.folder, |now| now.folder);
            let held = now.as_ref().is_some_and(|now| now.held);
            let (step, words) = match order {
                Order::Remove if !is_there => (Step::Removed, None),
                Order::Hold if held && !one.held => (Step::Held, None),
                Order::Release(words) if is_there && (folder != one.folder || held != one.held) => {
                    (Step::Released, Some(words.clone()))
                }
                Order::Hasten if is_there && !held => (Step::Hastened, None),
                _ => continue,
            };
            self.tell_step(one.transaction, step, words);
        }
    }

    fn tell(
        &self,
        transaction: TransactionId,
        step: Step,
        leg: Option<&Leg>,
        recipients: Vec<RecipientOutcome>,
        in_all: usize,
        words: Option<Reply>,
    ) {
        let way = self.way_out();
        let recorder = Arc::clone(&way.opener().recorder);
        recorder.record(Event::Afterwards(Box::new(Afterwards {
            transaction,
            at: self.clock().now(),
            step,
            leg: leg.cloned(),
            recipients,
            recipients_in_all: u32::try_from(in_all).unwrap_or(u32::MAX),
            words,
        })));
    }
}

fn named(entry: &Entry, recipients: &RecipientSet) -> (Vec<RecipientOutcome>, usize) {
    let named = recipients.iter().take(NAMED);
    let named =
        named.map(|index| RecipientOutcome { address: address(entry, index), alias: None, reply: None });
    (named.collect(), recipients.len())
}

fn address(entry: &Entry, index: usize) -> Box<str> {
    entry.envelope.recipients.get(index).map_or("", |rcpt| rcpt.forward_path.as_str()).into()
}
