//! What becomes of a message after an attempt, recipient by recipient: delivered, told of, held for a person, or waiting on.

use std::time::Duration;

use record::Step;
use smtp::{No, RecipientSet, Reply, TraceId, TransactionId};
use spool::{Claim, Content, Deferral, Entry, EntryId, Folder, Settlement, SpoolError};

use super::Queue;
use crate::notification::{Excerpt, Fate, Original, Outcome as Told, Owed, owed};
use crate::queue::settings::WayOut;
use crate::queue::transaction::{Outcome, Server};

/// Recipients for whom it is over, each with the last words about it.
type Failed = Vec<(usize, Reply)>;

impl Queue {
    /// Writes down what an attempt came to.
    pub(super) async fn settle(&self, claim: &Claim, entry: &Entry, attempts: u32, outcome: Outcome) {
        let over = self.is_over(claim.id(), entry);
        self.settle_as(claim, entry, attempts, outcome, over).await;
    }

    /// Its time is over, whatever else is so.
    pub(super) async fn expire(&self, claim: &Claim, entry: &Entry, outcome: Outcome) {
        self.settle_as(claim, entry, 0, outcome, true).await;
    }

    async fn settle_as(&self, claim: &Claim, entry: &Entry, attempts: u32, outcome: Outcome, over: bool) {
        let id = claim.id();
        self.tell_log(id, entry, &outcome);
        self.tell_attempt(entry, &outcome, over);
        let mut gone = outcome.taken();
        let mut failures = vec![(Told::Failed, outcome.refused)];
        let mut waiting = outcome.deferred;
        if over {
            failures.push((Told::Expired, std::mem::take(&mut waiting)));
        }
        failures.retain(|(_, failed)| !failed.is_empty());
        if !failures.is_empty() {
            match self.fail(id, entry, &failures, &outcome.server, &gone).await {
                Ok(Dealt::Moved) => return,
                Ok(Dealt::With(recipients)) => gone.extend(&recipients),
                Err(error) => {
                    // Nothing is lost: they stay, and are tried again.
                    tracing::error!(entry = %id, %error, "what was refused could be neither told nor set aside");
                    waiting.extend(failures.into_iter().flat_map(|(_, failed)| failed));
                }
            }
        }
        let deferred = deferral(waiting, self.next_attempt(id, &entry.backend, attempts + 1));
        match self.spool().settle(id, Settlement { gone, deferred }).await {
            // Somebody removed it meanwhile, or it was moved as a whole.
            Ok(()) | Err(SpoolError::Unknown(_)) => {}
            Err(error) => tracing::error!(entry = %id, %error, "what became of a message is not on disk yet"),
        }
    }

    fn tell_log(&self, id: EntryId, entry: &Entry, outcome: &Outcome) {
        let transaction = entry.transaction;
        if let Some(delivered) = &outcome.delivered {
            let (reply, recipients) = (delivered.reply(), smtp::Proof::recipients(delivered).len());
            self.counts().delivered(recipients);
            tracing::info!(entry = %id, %transaction, recipients, %reply, "delivered from the queue");
        }
        for (index, reply) in &outcome.refused {
            let recipient = recipient(entry, *index);
            tracing::warn!(entry = %id, %transaction, recipient, %reply, "refused for good out of the queue");
        }
        if let Some((_, reply)) = outcome.deferred.first() {
            let recipients = outcome.deferred.len();
            tracing::info!(entry = %id, %transaction, recipients, %reply, "stays in the queue");
        }
    }

    /// Whether the message has waited for its lifetime.
    fn is_over(&self, id: EntryId, entry: &Entry) -> bool {
        let since = self.spool().entry(id).map_or(entry.received_at, |summary| summary.since);
        let way = self.way_out();
        let schedule = way.settings().schedule(&entry.backend);
        self.spool().disaster().is_none() && schedule.expired(since, self.clock().now())
    }

    /// When to try next, since 1970.
    pub(super) fn next_attempt(&self, id: EntryId, destination: &str, attempts: u32) -> Duration {
        let now = self.clock().now();
        let since = self.spool().entry(id).map_or(now, |summary| summary.since);
        self.way_out().settings().schedule(destination).next(id, attempts, since, now)
    }

    /// Tells the sender, or holds for a person what nobody may be told of. `taken` are those who have the message.
    async fn fail(
        &self,
        id: EntryId,
        entry: &Entry,
        failures: &[(Told, Failed)],
        server: &Server,
        taken: &RecipientSet,
    ) -> Result<Dealt, SpoolError> {
        let (mut told, mut held) = (Vec::new(), Vec::new());
        for (outcome, failed) in failures {
            for (index, reply) in failed {
                let one = Failure { recipient: *index, outcome: *outcome, reply };
                if self.may_tell(entry, &one) { told.push(one) } else { held.push(one) }
            }
        }
        if !told.is_empty() && !self.may_report(entry) {
            held.append(&mut told);
        }
        let mut done = taken.clone();
        if !told.is_empty() {
            self.report(id, entry, &told, server).await?;
            told.iter().for_each(|one| done.insert(one.recipient));
        }
        if let Some(first) = held.first() {
            let recipients: RecipientSet = held.iter().map(|one| one.recipient).collect();
            if self.set_aside(id, entry, &recipients, first.reply, &done).await? {
                return Ok(Dealt::Moved);
            }
            done.extend(&recipients);
        }
        Ok(Dealt::With(done))
    }

    fn may_tell(&self, entry: &Entry, one: &Failure<'_>) -> bool {
        let rcpt = entry.envelope.recipients.get(one.recipient);
        rcpt.is_some_and(|rcpt| owed(&entry.envelope.mail, rcpt, entry.sender, one.outcome) == Owed::Report)
    }

    /// Whether the sender was not told too much already.
    pub(super) fn may_report(&self, entry: &Entry) -> bool {
        let allowed = self.reports().allows(&entry.envelope.mail.reverse_path, self.clock().now());
        if !allowed {
            let sender = entry.envelope.mail.reverse_path.as_str();
            tracing::warn!(sender, "has had so many reports lately that this one is not sent");
        }
        allowed
    }

    /// Puts reports on these recipients into the queue.
    pub(super) async fn report(
        &self,
        id: EntryId,
        entry: &Entry,
        told: &[Failure<'_>],
        server: &Server,
    ) -> Result<(), SpoolError> {
        let excerpt = self.excerpt(id).await?;
        let now = self.clock().now();
        let fates: Vec<_> = told.iter().map(|one| one.fate(server)).collect();
        let session = TraceId::new(u64::try_from(now.as_millis()).unwrap_or_default(), rand::random());
        let number = TransactionId { session, number: 1 };
        let way = self.way_out();
        let original = Original::of(entry, &excerpt);
        for report in way.settings().reporter.compose(&original, &fates, number, now) {
            let mut own = report.entry;
            own.backend = destination_of(&*way, &own);
            let (transaction, about) = (own.transaction, entry.transaction);
            let spooled = self.spool().store_own(own, Content::new().bytes(report.content)).await?;
            self.counts().reported();
            tracing::info!(entry = %spooled.id(), %transaction, %about, "a report to the sender is in the queue");
            self.tell_step(about, Step::Told(transaction), None);
        }
        Ok(())
    }

    async fn excerpt(&self, id: EntryId) -> Result<Excerpt, SpoolError> {
        let mut opened = self.spool().open_entry(id).await?;
        let mut excerpt = Excerpt::new();
        while let Some(piece) = opened.content.next().await? {
            excerpt.push(&piece);
            if excerpt.is_full() {
                break;
            }
        }
        Ok(excerpt)
    }

    /// Into the folder `expired`: the message itself if it is for nobody else any more (`true`), else a copy for these.
    async fn set_aside(
        &self,
        id: EntryId,
        entry: &Entry,
        recipients: &RecipientSet,
        words: &Reply,
        done: &RecipientSet,
    ) -> Result<bool, SpoolError> {
        self.counts().set_aside();
        let transaction = entry.transaction;
        let others = |index: &usize| !recipients.contains(*index) && !done.contains(*index);
        let remaining = self.spool().entry(id).map(|summary| summary.recipients).unwrap_or_default();
        if !remaining.iter().any(|index| others(&index)) {
            self.spool().settle(id, Settlement { gone: done.clone(), deferred: None }).await?;
            self.spool().move_to(id, Folder::Expired, words.clone()).await?;
            self.tell_step(transaction, Step::SetAside, Some(words.clone()));
            tracing::error!(entry = %id, %transaction, %words, "set aside in the folder `expired`: it needs a person");
            return Ok(true);
        }
        let opened = self.spool().open_entry(id).await?;
        let copy = Entry {
            recipients: recipients.clone(),
            folder: Folder::Expired,
            reason: words.clone(),
            ..opened.entry
        };
        let copy = self.spool().store_own(copy, Content::new().spooled(opened.content)).await?;
        let set_aside = copy.id();
        self.tell_step(transaction, Step::SetAside, Some(words.clone()));
        tracing::error!(
            entry = %set_aside, of = %id, %transaction, %words,
            "set aside in the folder `expired` for some recipients: it needs a person"
        );
        Ok(false)
    }
}

/// What became of those for whom it is over.
enum Dealt {
    /// The message lies in `expired` as a whole.
    Moved,
    /// These are done with, together with those who have the message.
    With(RecipientSet),
}

/// A recipient for whom it is over, or that is told of for another reason.
pub(super) struct Failure<'a> {
    pub(super) recipient: usize,
    pub(super) outcome: Told,
    pub(super) reply: &'a Reply,
}

impl<'a> Failure<'a> {
    fn fate(&self, server: &'a Server) -> Fate<'a> {
        let Self { recipient, outcome, reply } = *self;
        Fate { recipient, outcome, reply, speaker: server.speaker(), last_attempt: None }
    }
}

/// The words of most of them for the message, others by recipient.
fn deferral(waiting: Failed, next: Duration) -> Option<Deferral> {
    let (_, words) = waiting.first()?.clone();
    let own_words = waiting.into_iter().filter(|(_, reply)| *reply != words).collect();
    Some(Deferral { words, own_words, next })
}

fn recipient(entry: &Entry, index: usize) -> &str {
    entry.envelope.recipients.get(index).map_or("", |rcpt| rcpt.forward_path.as_str())
}

/// The name under which mail for the recipient of a report waits.
fn destination_of(way: &dyn WayOut, report: &Entry) -> Box<str> {
    let domain = report.envelope.recipients.first().and_then(|rcpt| rcpt.forward_path.domain());
    match domain {
        Some(domain) => match way.routing().backend_of(domain) {
            Some(backend) => backend.name().into(),
            None => domain.as_str().into(),
        },
        None => No::NoServerThere.name().into(),
    }
}
