//! What time alone brings about: lifetimes end, senders are told that their mail waits, and what was set aside leaves by the term
//! that is shown with it.

use std::sync::Arc;
use std::time::Duration;

use record::Step;
use smtp::{Reply, ReplyCode};
use spool::{Claim, Entry, Folder, Order};
use tokio::task::JoinSet;

use super::Queue;
use crate::notification::{Outcome as Told, Owed, owed};
use crate::queue::settle::Failure;
use crate::queue::transaction::{Outcome, Server};

/// How often it is looked whose time has come.
const LOOK: Duration = Duration::from_secs(5);
/// A message whose lifetime ends is tried a last time, if its server is there: so long is waited for that.
const LAST_TRY: Duration = Duration::from_secs(60);
/// Messages that are dealt with at the same time.
const AT_ONCE: usize = 64;
/// Messages of a folder that leave at the same time.
const LEAVE_AT_ONCE: usize = 1000;

impl Queue {
    /// Keeps the terms for as long as it is polled.
    pub(super) async fn keep_terms(self: &Arc<Self>) {
        loop {
            self.end_lifetimes().await;
            self.tell_of_delays().await;
            let (expired, quarantined) = {
                let way = self.way_out();
                (way.settings().keep_expired, way.settings().keep_quarantined)
            };
            self.clear(Folder::Expired, expired).await;
            self.clear(Folder::Quarantine, quarantined).await;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Of messages whose servers are away: others are settled with their last attempt.
    async fn end_lifetimes(self: &Arc<Self>) {
        if self.spool().disaster().is_some() {
            return;
        }
        let now = self.clock().now();
        for waiting in self.spool().waiting() {
            let lifetime = self.way_out().settings().lifetime(&waiting.destination);
            let before = now.saturating_sub(lifetime + LAST_TRY.min(lifetime / 100));
            let next = || self.spool().claim_older(&waiting.destination, before);
            self.each(next, |queue, claim| async move { queue.end_lifetime(claim).await }).await;
        }
    }

    async fn end_lifetime(&self, claim: Claim) {
        let Some((entry, words)) = self.last_words(&claim).await else { return };
        let mut outcome = Outcome::default();
        outcome.deferred.extend(words);
        outcome.server = self.spoke(&claim, &entry);
        self.expire(&claim, &entry, outcome).await;
    }

    /// The message, and for each recipient what was said last: of the message, or else of its destination.
    async fn last_words(&self, claim: &Claim) -> Option<(Entry, Vec<(usize, Reply)>)> {
        let entry = match self.spool().peek(claim.id()).await {
            Ok(entry) => entry,
            Err(error) => {
                tracing::error!(entry = %claim.id(), %error, "a message in the queue cannot be read");
                return None;
            }
        };
        let summary = self.spool().entry(claim.id())?;
        let tried = summary.attempts > 0;
        let words = self.words_of(&entry.backend).filter(|_| !tried).unwrap_or(summary.words);
        let of = |index| {
            let own = summary.own_words.iter().find(|(known, _)| *known == index);
            (index, own.map_or(&words, |(_, reply)| reply).clone())
        };
        let words = entry.recipients.iter().map(of).collect();
        Some((entry, words))
    }

    /// Whose the last words are: a server's, if one has ever looked at the message.
    fn spoke(&self, claim: &Claim, entry: &Entry) -> Server {
        let tried = self.spool().entry(claim.id()).is_some_and(|summary| summary.attempts > 0);
        match (tried, self.is_hidden(&entry.backend)) {
            (false, _) => Server::None,
            (true, true) => Server::Hidden,
            (true, false) => Server::World(entry.backend.clone()),
        }
    }

    async fn tell_of_delays(self: &Arc<Self>) {
        let tell_after = self.way_out().settings().tell_after;
        let before = self.clock().now().saturating_sub(tell_after);
        let next = || self.spool().claim_untold(before);
        self.each(next, |queue, claim| async move { queue.tell_of_delay(claim).await }).await;
    }

    /// Once for each message, whether or not its sender may be told.
    async fn tell_of_delay(&self, claim: Claim) {
        let Some((entry, words)) = self.last_words(&claim).await else { return };
        let since = self.spool().entry(claim.id()).map_or(entry.received_at, |summary| summary.since);
        let retry_until = since + self.way_out().settings().lifetime(&entry.backend);
        let outcome = Told::Delayed { retry_until };
        let mut told = Vec::new();
        for (recipient, reply) in &words {
            let Some(rcpt) = entry.envelope.recipients.get(*recipient) else { continue };
            if owed(&entry.envelope.mail, rcpt, entry.sender, outcome) == Owed::Report {
                told.push(Failure { recipient: *recipient, outcome, reply });
            }
        }
        if !told.is_empty() && self.may_report(&entry) {
            let server = self.spoke(&claim, &entry);
            if let Err(error) = self.report(claim.id(), &entry, &told, &server).await {
                tracing::error!(entry = %claim.id(), %error, "a sender could not be told that mail waits");
            }
        }
        if let Err(error) = self.spool().delay_told(claim.id()).await {
            tracing::error!(entry = %claim.id(), %error, "that a sender was told is not on disk yet");
        }
    }

    /// What lay in a folder for its term leaves; the log names each.
    async fn clear(&self, folder: Folder, keep: Duration) {
        if self.spool().disaster().is_some() {
            return;
        }
        let before = self.clock().now().saturating_sub(keep);
        let over = self.spool().lying_since(folder, before, LEAVE_AT_ONCE);
        for id in &over {
            let Some(transaction) = self.spool().entry(*id).map(|summary| summary.transaction) else {
                continue;
            };
            tracing::warn!(entry = %id, %transaction, folder = folder.name(), "leaves the folder: its term is over");
            let words = format!("its term in the folder {} is over", folder.name());
            let words = Reply::new(ReplyCode::COMPLETED, None, words);
            self.tell_step(transaction, Step::Removed, Some(words));
        }
        if let Err(error) = self.spool().order(&over, &Order::Remove).await {
            tracing::error!(%error, folder = folder.name(), "what has lain there for its term could not be removed");
        }
    }

    /// Deals with all that `next` gives, some at the same time.
    async fn each<F>(self: &Arc<Self>, next: impl Fn() -> Option<Claim>, deal: impl Fn(Arc<Self>, Claim) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        // One that cannot be dealt with is found again: as many as there are, and no circle.
        for _ in 0..self.spool().room().messages {
            let Some(claim) = next() else { break };
            tasks.spawn(deal(Arc::clone(self), claim));
            if tasks.len() >= AT_ONCE {
                tasks.join_next().await;
            }
        }
        while tasks.join_next().await.is_some() {}
    }
}
