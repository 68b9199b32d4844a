//! Mail that Postern writes itself: to reporters and to the postmaster. It waits in the queue like any other mail, comes from nobody,
//! and is never answered.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay::Relay;
use smtp::command::Envelope;
use smtp::{ForwardPath, Mailbox, Reply, ReplyCode, TransactionId};
use spool::{Content, Entry, EntryId, Folder, Spool, SpoolError};

/// Octets of a line of base64 (RFC 2045 §6.8).
const LINE: usize = 76;

/// One of them.
pub(super) struct OwnMail<'a> {
    /// By which it is known; nobody else's.
    pub(super) transaction: TransactionId,
    pub(super) to: &'a Mailbox,
    /// What is not ASCII in it is left out.
    pub(super) subject: &'a str,
    /// Lines that end with LF.
    pub(super) text: &'a str,
    /// Why it is in the queue.
    pub(super) why: &'static str,
}

/// Makes it durable; `None` where its recipient can have no mail.
pub(super) async fn put_into_queue(
    relay: &Relay,
    spool: &Spool,
    now: Duration,
    mail: &OwnMail<'_>,
) -> Result<Option<EntryId>, SpoolError> {
    let serving = relay.serving();
    let recipient = format!("MAIL FROM:<>\r\nRCPT TO:<{}>\r\n", mail.to);
    let Ok(envelope) = Envelope::read(recipient.as_bytes()) else { return Ok(None) };
    let path = ForwardPath::Mailbox(mail.to.clone());
    let backend = path.domain().and_then(|domain| serving.settings.routing.backend_of(domain));
    let backend: Box<str> = match (backend, path.domain()) {
        (Some(backend), _) => backend.name().into(),
        (None, Some(domain)) => domain.as_str().into(),
        (None, None) => return Ok(None),
    };
    let own = Entry {
        transaction: mail.transaction,
        recipients: [0].into_iter().collect(),
        envelope,
        client: None,
        sender: spool::SenderProof::Unknown,
        folder: Folder::Queue,
        backend,
        reason: Reply::new(ReplyCode::COMPLETED, None, mail.why),
        received_at: now,
    };
    let text = mail.written(&serving.settings.hostname, now);
    let text = text.into_bytes();
    let signer = serving.driver.reporting.as_ref().and_then(|reporting| reporting.reporter.signer.clone());
    let signatures = signer.map(|signer| signer.sign(&text)).unwrap_or_default();
    let content = Content::new().bytes(signatures.into_bytes()).bytes(text);
    let stored = spool.store_own(own, content).await?;
    Ok(Some(stored.id()))
}

impl OwnMail<'_> {
    fn written(&self, hostname: &str, now: Duration) -> String {
        let Self { transaction, to, .. } = self;
        let subject: String = self.subject.chars().map(|c| if is_plain(c) { c } else { '?' }).collect();
        let text = self.text.replace('\n', "\r\n");
        let is_plain_text = text.is_ascii() && text.lines().all(|line| line.len() <= 998);
        let (charset, encoding, text) = match is_plain_text {
            true => ("us-ascii", "7bit", text),
            false => ("utf-8", "base64", encoded(&text)),
        };
        format!(
            "From: Postern <postmaster@{hostname}>\r\nTo: <{to}>\r\nSubject: {subject}\r\n\
             Date: {}\r\nMessage-ID: <{transaction}@{hostname}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{text}",
            record::rfc5322_date(now),
        )
    }
}

fn is_plain(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic()
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for line in STANDARD.encode(text).as_bytes().chunks(LINE) {
        out.push_str(std::str::from_utf8(line).unwrap_or_default());
        out.push_str("\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(subject: &str, text: &str) -> String {
        let to: Mailbox = "postmaster@x.test".parse().unwrap();
        let transaction = "0123456789ABE.1".parse().unwrap();
        let mail = OwnMail { transaction, to: &to, subject, text, why: "" };
        mail.written("mx.test", Duration::from_secs(1_795_288_205))
    }

    #[test]
    fn a_subject_makes_no_field_of_its_own_and_text_that_is_not_ascii_is_encoded() {
        let plain = written("x\r\nBcc: y", "one\ntwo\n");
        assert!(
            plain.contains("\r\nSubject: x??Bcc: y\r\n") && plain.ends_with("\r\n\r\none\r\ntwo\r\n"),
            "{plain}"
        );
        let text = "\u{fc}".repeat(200);
        let other = written("\u{fc}", &text);
        assert!(other.contains("base64") && other.is_ascii(), "{other}");
        let body: String = other.split_once("\r\n\r\n").unwrap().1.split("\r\n").collect();
        assert_eq!(STANDARD.decode(body).unwrap(), text.as_bytes());
    }
}
