//! Delivery status notifications: what a sender is told of a message that Postern has promised to deliver (RFC 3461, 3464,
//! 6522, and 6533 for addresses beyond ASCII). Pure: the caller reads the spool, says what has happened, and stores what
//! comes out.
//!
//! Nothing that a server or a sender wrote can leave its place in a report: words are one field's text, without line ends and
//! control characters; what is returned of the message is behind a boundary that depends on it, so that it cannot hold it.
//! All of it is bounded: [`MAX_RECIPIENTS`] in one report, [`MAX_WORDS`] of each server's words, [`MAX_RETURNED`] of the
//! message.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mail_builder::MessageBuilder;
use mail_builder::headers::HeaderType;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::headers::text::Text;
use mail_builder::mime::{BodyPart, MimePart};
use smtp::command::{BodyType, Notify, Ret};
use smtp::{
    Envelope, ForwardPath, Mail, Mailbox, Rcpt, RecipientSet, Reply, ReplyCode, ReversePath, TransactionId,
};
use spool::{Entry, Folder, SenderProof};

mod returned;
mod status;
mod words;

pub use returned::{Excerpt, MAX_RETURNED};

/// Recipients that one report names; with more of them there are several reports. Each costs up to some KiB.
pub const MAX_RECIPIENTS: usize = 100;
/// Octets of one server's words in a report. A reply may have half a mebibyte, and the spool keeps as much as this.
pub const MAX_WORDS: usize = 1024;

/// What has become of a message for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It will not be delivered: the server refuses it for good.
    Failed,
    /// It will not be delivered: its time is over.
    Expired,
    /// It is not delivered yet.
    Delayed {
        /// Until when it is tried, since 1970.
        retry_until: Duration,
    },
    /// A server that does not send reports has it (RFC 3461 §5.2.2).
    Relayed,
}

/// Who said the words that go with an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker<'a> {
    /// Postern: no server was reached, or none said anything.
    Postern,
    /// A hidden server, which is not named to the world.
    Hidden,
    /// A server of the world, by its name.
    World(&'a str),
}

/// What is to be said of one recipient.
#[derive(Clone, Copy, Debug)]
pub struct Fate<'a> {
    /// Its index in the envelope.
    pub recipient: usize,
    /// What has become of the message.
    pub outcome: Outcome,
    /// The last words about it.
    pub reply: &'a Reply,
    /// Whose words they are.
    pub speaker: Speaker<'a>,
    /// When it was last tried, since 1970.
    pub last_attempt: Option<Duration>,
}

/// The message that a report is about.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// The transaction that it came in.
    pub transaction: TransactionId,
    /// All that MAIL and the RCPTs said.
    pub envelope: &'a Envelope,
    /// Whether the reverse-path is the sender's own.
    pub sender: SenderProof,
    /// When its content had arrived, since 1970.
    pub received_at: Duration,
    /// The beginning of its content.
    pub excerpt: &'a Excerpt,
}

impl<'a> Original<'a> {
    /// A message out of the spool.
    pub fn of(entry: &'a Entry, excerpt: &'a Excerpt) -> Self {
        let Entry { transaction, envelope, sender, received_at, .. } = entry;
        Self { transaction: *transaction, envelope, sender: *sender, received_at: *received_at, excerpt }
    }
}

/// Whether a report is owed, and if not, why (RFC 3461 §5.2, DECISIONS 30).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owed {
    /// It is.
    Report,
    /// The sender did not ask for it, or asked not to be told (`NOTIFY`).
    NotAsked,
    /// The message is a report itself: its reverse-path is null.
    NoReversePath,
    /// Nothing proves that the reverse-path is the sender's own.
    Unproven,
}

/// Whether the sender is owed a report of this outcome for a recipient of the message.
pub fn owed(mail: &Mail, rcpt: &Rcpt, sender: SenderProof, outcome: Outcome) -> Owed {
    if mail.reverse_path == ReversePath::Null {
        return Owed::NoReversePath;
    }
    // Who says nothing wants to know of failures (RFC 3461 §4.1); of delays as we see fit.
    let asked = rcpt.notify.unwrap_or(Notify { success: false, failure: true, delay: true });
    let wanted = match outcome {
        Outcome::Failed | Outcome::Expired => asked.failure,
        Outcome::Delayed { .. } => asked.delay,
        Outcome::Relayed => asked.success,
    };
    match wanted {
        false => Owed::NotAsked,
        true if !sender.allows_report() => Owed::Unproven,
        true => Owed::Report,
    }
}

/// Who reports.
#[derive(Clone, Debug)]
pub struct Reporter {
    /// What this Postern calls itself. Reports come from `MAILER-DAEMON` at this name: with a null reverse-path SPF looks at the
    /// name in EHLO, and DMARC wants the two to agree.
    pub hostname: Box<str>,
    /// The person who is asked about reports.
    pub postmaster: Box<str>,
    /// Who signs them; `None`: nobody.
    pub signer: Option<Arc<dyn Signs>>,
}

/// Signs what Postern itself writes.
pub trait Signs: fmt::Debug + Send + Sync {
    /// The fields for the top of a message, each with its CRLF; empty where it is not signed. Some milliseconds of work.
    fn sign(&self, message: &[u8]) -> String;
}

/// A report, ready for the spool.
#[derive(Clone, Debug)]
pub struct Notification {
    /// From nobody, to the sender of the message; its backend is to be found by the recipient's domain.
    pub entry: Entry,
    /// The content.
    pub content: Vec<u8>,
}

impl Reporter {
    /// The reports that are owed: none, one, or several where more than [`MAX_RECIPIENTS`] are concerned. `id` is the first
    /// one's own transaction, which nothing else may have; the next ones count on. Recipients that are not in the envelope
    /// are passed over.
    pub fn compose(
        &self,
        original: &Original<'_>,
        fates: &[Fate<'_>],
        id: TransactionId,
        now: Duration,
    ) -> Vec<Notification> {
        let ReversePath::Mailbox(sender) = &original.envelope.mail.reverse_path else { return Vec::new() };
        let told: Vec<Told<'_>> = fates.iter().filter_map(|fate| Told::of(original, *fate)).collect();
        let numbered = told.chunks(MAX_RECIPIENTS).zip(id.number..);
        let report = |(told, number)| {
            let id = TransactionId { number, ..id };
            Report { reporter: self, original, told, id, now }.notification(sender)
        };
        numbered.map(report).collect()
    }
}

/// A recipient of whom the sender is told.
struct Told<'a> {
    rcpt: &'a Rcpt,
    fate: Fate<'a>,
}

impl<'a> Told<'a> {
    fn of(original: &Original<'a>, fate: Fate<'a>) -> Option<Self> {
        let Envelope { mail, recipients } = original.envelope;
        let rcpt = recipients.get(fate.recipient)?;
        let owed = owed(mail, rcpt, original.sender, fate.outcome);
        (owed == Owed::Report).then_some(Self { rcpt, fate })
    }
}

/// One report in the making.
struct Report<'a> {
    reporter: &'a Reporter,
    original: &'a Original<'a>,
    told: &'a [Told<'a>],
    id: TransactionId,
    now: Duration,
}

impl Report<'_> {
    fn notification(&self, sender: &Mailbox) -> Notification {
        let returned = self.returned();
        let eight_bit = returned.eight_bit;
        let mut content = self.content(sender, returned);
        if let Some(signer) = &self.reporter.signer {
            content = [signer.sign(&content).as_bytes(), &content].concat();
        }
        Notification { entry: self.entry(sender, eight_bit), content }
    }

    /// Whether it may hold UTF-8 as it is (RFC 6533): only for a sender who cannot be written to without.
    fn is_international(&self) -> bool {
        !self.original.envelope.mail.reverse_path.as_str().is_ascii()
    }

    fn has_failed(&self) -> bool {
        self.told.iter().any(|told| matches!(told.fate.outcome, Outcome::Failed | Outcome::Expired))
    }

    /// The whole message comes back only with a failure and where it was not asked otherwise (RFC 3461 §4.3), never where it was
    /// to stay behind TLS (RFC 8689 §5), and only where a part of a report can hold it.
    fn returned(&self) -> returned::Returned {
        let mail = &self.original.envelope.mail;
        let full = self.has_failed()
            && mail.ret == Some(Ret::Full)
            && !mail.requiretls
            && mail.body != Some(BodyType::BinaryMime);
        returned::Returned::new(self.original.excerpt, full, mail.smtputf8, self.is_international())
    }

    fn content(&self, sender: &Mailbox, returned: returned::Returned) -> Vec<u8> {
        let status = status::fields(self);
        let human = words::text(self);
        let boundary = boundary(self.id, &[status.as_bytes(), &returned.bytes]);
        let status_type = match self.is_international() {
            true => "message/global-delivery-status",
            false => "message/delivery-status",
        };
        let status_encoding = if self.is_international() { "8bit" } else { "7bit" };
        let parts = vec![
            MimePart::new(ContentType::new("text/plain").attribute("charset", "utf-8"), human)
                .header("Content-Description", Raw::new("What has become of your message")),
            MimePart::new(ContentType::new(status_type), BodyPart::Binary(status.into_bytes().into()))
                .transfer_encoding(status_encoding),
            returned.part(),
        ];
        let body = ContentType::new("multipart/report")
            .attribute(
                "report-type",
                if self.is_international() { "global-delivery-status" } else { "delivery-status" },
            )
            .attribute("boundary", boundary);
        let hostname = &self.reporter.hostname;
        let message = MessageBuilder::new()
            .header("From", Raw::new(format!("Mail delivery at {hostname} <MAILER-DAEMON@{hostname}>")))
            .header("To", Raw::new(format!("<{}>", sender.as_str())))
            .header("Reply-To", Raw::new(format!("<{}>", self.reporter.postmaster)))
            .header("Subject", HeaderType::Text(Text::new(words::subject(self))))
            .header("Date", Raw::new(record::rfc5322_date(self.now)))
            .header("Message-ID", Raw::new(format!("<{}@{hostname}>", self.id)))
            .header("Auto-Submitted", Raw::new("auto-replied"))
            .body(MimePart::new(body, BodyPart::Multipart(parts)));
        let mut content = Vec::new();
        message.serialize(&mut content);
        content
    }

    /// Nobody is to be told what becomes of a report (RFC 3461 §6, RFC 3464 §2).
    fn entry(&self, sender: &Mailbox, eight_bit: bool) -> Entry {
        let original = &self.original.envelope.mail;
        let mail = Mail {
            body: (eight_bit || self.is_international()).then_some(BodyType::EightBitMime),
            smtputf8: self.is_international(),
            requiretls: original.requiretls,
            ..Mail::new(ReversePath::Null)
        };
        let rcpt =
            Rcpt { notify: Some(Notify::default()), ..Rcpt::new(ForwardPath::Mailbox(sender.clone())) };
        Entry {
            transaction: self.id,
            envelope: Envelope { mail, recipients: vec![rcpt] },
            recipients: RecipientSet::from_iter([0]),
            client: None,
            sender: SenderProof::Unknown,
            folder: Folder::Queue,
            backend: "".into(),
            reason: Reply::new(
                ReplyCode::COMPLETED,
                None,
                format!("report on {}", self.original.transaction),
            ),
            received_at: self.now,
        }
    }
}

/// Not to be found in the parts, since it depends on them.
fn boundary(id: TransactionId, parts: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(id.to_string().as_bytes());
    for part in parts {
        hasher.update(part);
    }
    format!("=_{}", &hasher.finalize().to_hex()[..32])
}

#[cfg(test)]
mod tests;
