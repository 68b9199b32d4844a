//! What is told of a transaction when it is over.

use record::{Event, GroupOutcome, Opinion, RecipientOutcome, Verdict};
use smtp::command::Envelope;
use smtp::{Reply, TransactionId};
use tokio::time::Instant;

use super::carried::Carried;
use super::{Action, Common};

/// What will be told of a transaction.
pub(super) struct Story {
    pub(super) id: TransactionId,
    pub(super) began: Instant,
    pub(super) content_ended: Option<Instant>,
    pub(super) recipients: Vec<RecipientOutcome>,
    pub(super) named: usize,
    pub(super) reverse_path: Box<str>,
    pub(super) size: u64,
    pub(super) verdict: Verdict,
    pub(super) opinion: Option<Box<Opinion>>,
    pub(super) reply: Option<Reply>,
    pub(super) groups: Vec<GroupOutcome>,
}

/// The record names at most this many recipients.
const NAMED: usize = 100;

pub(super) fn recipient_outcomes(
    envelope: &Envelope,
    told: &[Option<Reply>],
    aliases: &[(usize, Box<str>)],
) -> Vec<RecipientOutcome> {
    let recipients = envelope.recipients.iter().zip(told).enumerate().take(NAMED);
    recipients
        .map(|(index, (rcpt, reply))| RecipientOutcome {
            address: rcpt.forward_path.as_str().into(),
            alias: aliases.iter().find(|(of, _)| *of == index).map(|(_, alias)| alias.clone()),
            reply: reply.clone(),
        })
        .collect()
}

impl Story {
    /// Of a transaction that ended before its content was whole, or was refused for it.
    pub(super) fn without_content(id: TransactionId, envelope: &Envelope, carried: &Carried) -> Self {
        Self {
            id,
            began: carried.began,
            content_ended: None,
            recipients: recipient_outcomes(envelope, &carried.told, &carried.aliases),
            named: envelope.recipients.len(),
            reverse_path: envelope.mail.reverse_path.as_str().into(),
            size: 0,
            verdict: Verdict::Unjudged,
            opinion: None,
            reply: None,
            groups: Vec::new(),
        }
    }
}

impl Common {
    pub(super) fn record_transaction(&mut self, story: &Story) {
        let lasted = self.now.saturating_duration_since(story.began);
        let settled = story.content_ended.map(|ended| self.now.saturating_duration_since(ended));
        let transaction = record::Transaction {
            id: story.id,
            began: self.wall_now().saturating_sub(lasted),
            lasted,
            settled_in: settled.unwrap_or_default(),
            protocol: self.protocol,
            client: self.client.address,
            helo: self.client.helo.clone(),
            tls: self.tls.clone(),
            authenticated: self.authenticated,
            direction: self.direction(),
            reverse_path: story.reverse_path.clone(),
            recipients: story.recipients.clone(),
            recipients_named: u32::try_from(story.named).unwrap_or(u32::MAX),
            size: story.size,
            verdict: story.verdict,
            opinion: story.opinion.clone(),
            reply: story.reply.clone(),
            groups: story.groups.clone(),
            alike: 0,
        };
        self.act(Action::Record(Event::Transaction(Box::new(transaction))));
    }

    /// A server's refusal with the identifier by which to ask about it.
    pub(super) fn with_trace(&self, reply: Reply, id: TransactionId) -> Reply {
        if reply.words().contains(&self.id.to_string()) { reply } else { reply.with_note(&id.to_string()) }
    }
}
