//! What came for Postern itself: reports of users, which teach, and what came for traps. Both lie durable in the spool until
//! they are dealt with; nothing waits for it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use judge::{Class, Learnt, Source};
use record::Clock;
use relay::Relay;
use smtp::{ReversePath, TraceId, TransactionId};
use spool::{Entry, EntryId, Folder, Spool, SpoolError};
use tokio::time::Instant;

use super::super::own_mail::{OwnMail, put_into_queue};
use super::Court;
use super::reports::Heard;

/// How often the folders are looked at where nothing is said to have come: after a restart, and after a fault.
const ROUND: Duration = Duration::from_secs(60);
/// How often what is old of reports is forgotten.
const SWEEP: Duration = Duration::from_secs(3600);
/// Octets of a report that are looked through for the message that it is about.
const MAX_REPORT: usize = 1 << 20;
/// Octets of a header that are looked through for the field of Postern's own; it stands on top of what the sender wrote.
const MAX_VERDICT_HEADER: usize = 64 << 10;
/// Identifiers that are looked up for one report; a message that was passed on often has some.
const MAX_CANDIDATES: usize = 64;

/// Deals with reports and traps.
pub(super) struct Clerk {
    court: Arc<Court>,
    relay: Arc<Relay>,
    spool: Spool,
    clock: Arc<dyn Clock>,
}

/// Where reports go, in lower case, by what they say.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    pub(super) spam: String,
    pub(super) ham: String,
}

/// What came of a report.
enum Used {
    Yes(Learnt),
    /// It names no message that is known.
    Unknown,
    /// It waits for a person: it contradicts many others, or comes from who is seldom right.
    Held,
    /// It went to both addresses.
    Both,
}

impl Clerk {
    pub(super) fn new(court: Arc<Court>, relay: Arc<Relay>) -> Self {
        let (spool, clock) = (relay.serving().driver.spool.clone(), Arc::clone(&court.clock));
        Self { court, relay, spool, clock }
    }

    /// Works until the relay drains. What is left is found after the next start.
    pub(super) async fn work(self) {
        let mut swept = Instant::now();
        while !self.relay.is_draining() {
            for id in self.spool.select(Some(Folder::Traps), None) {
                self.clear_trap(id).await;
            }
            let addresses =
                self.court.report_addresses.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for id in self.spool.select(Some(Folder::Reports), None) {
                if let Err(error) = self.take_report(id, &addresses).await {
                    tracing::error!(entry = %id, %error, "a report could not be dealt with");
                }
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                if let Err(error) = self.court.reports.forget(self.clock.now()).await {
                    tracing::error!(%error, "what is old of reports cannot be forgotten");
                }
            }
            let _ = tokio::time::timeout(ROUND, self.court.own_mail.notified()).await;
        }
    }

    /// What came for a trap beside others is learnt when it is judged; what came for traps alone is learnt now.
    async fn clear_trap(&self, id: EntryId) {
        let learnt = self.learn_trap(id).await;
        match self.spool.remove(id).await {
            Ok(()) | Err(SpoolError::Unknown(_)) => {
                tracing::info!(entry = %id, ?learnt, "what came for a trap is learnt and thrown away");
            }
            Err(error) => {
                tracing::error!(entry = %id, %error, "what came for a trap could not be thrown away")
            }
        }
    }

    async fn learn_trap(&self, id: EntryId) -> Option<Learnt> {
        let mut opened = self.spool.open_entry(id).await.ok()?;
        let (transaction, client) = (opened.entry.transaction, opened.entry.client.clone());
        if let Some(features) = self.court.kept.features(transaction).await {
            return self.court.learn_features(features, Class::Spam, (Source::Trap, 1.0), ("", "")).await;
        }
        let mut message = Vec::new();
        while let Ok(Some(piece)) = opened.content.next().await {
            message.extend_from_slice(&piece);
            if message.len() >= MAX_REPORT {
                break;
            }
        }
        let workers = self.court.roles.workers()?;
        let body = sift::Body::from_bytes(&message).ok()?;
        let sifted = workers.read(&body).await.ok()?;
        let transport = judge::Transport {
            helo: client.as_ref().map_or("", |client| &client.helo),
            reverse_path: opened.entry.envelope.mail.reverse_path.as_str(),
            envelope: true,
            ..judge::Transport::default()
        };
        let features = judge::Features::of(&sifted.content, &transport);
        self.court.learn_features(features, Class::Spam, (Source::Trap, 1.0), ("", "")).await
    }

    /// Learns what it is about, or tells the reporter that it could not; then it has done its duty.
    async fn take_report(&self, id: EntryId, addresses: &Addresses) -> Result<(), SpoolError> {
        let mut opened = self.spool.open_entry(id).await?;
        if self.court.received.is_for(&opened.entry) {
            return Ok(());
        }
        let mut report = Vec::new();
        while let Some(piece) = opened.content.next().await? {
            report.extend_from_slice(&piece);
            if report.len() >= MAX_REPORT {
                break;
            }
        }
        let entry = opened.entry;
        let used = self.use_report(&entry, &report, addresses).await;
        let reporter = entry.envelope.mail.reverse_path.clone();
        match used {
            Used::Yes(learnt) => {
                tracing::info!(entry = %id, transaction = %entry.transaction, ?learnt, "a report was learnt");
            }
            Used::Held => tracing::info!(
                entry = %id, transaction = %entry.transaction,
                "a report is held: `postern reports list`"
            ),
            Used::Unknown | Used::Both => {
                tracing::info!(entry = %id, transaction = %entry.transaction, "a report could not be used");
                if let ReversePath::Mailbox(_) = &reporter {
                    self.answer(&entry, &used).await?;
                }
            }
        }
        self.spool.remove(id).await
    }

    async fn use_report(&self, entry: &Entry, report: &[u8], addresses: &Addresses) -> Used {
        let named = &entry.envelope.recipients;
        let is_for = |wanted: &str| {
            entry
                .recipients
                .iter()
                .filter_map(|index| named.get(index))
                .any(|rcpt| rcpt.forward_path.as_str().to_lowercase() == wanted)
        };
        let class = match (is_for(&addresses.spam), is_for(&addresses.ham)) {
            (true, false) => Class::Spam,
            (false, true) => Class::Ham,
            _ => return Used::Both,
        };
        let reporter = entry.envelope.mail.reverse_path.as_str().to_lowercase();
        let domain = reporter.rsplit_once('@').map_or("", |(_, domain)| domain);
        for transaction in candidates(report) {
            if let Some(used) = self.hear(transaction, class, (domain, &reporter)).await {
                return used;
            }
        }
        for message_id in message_ids(report) {
            if let Some(transaction) = self.court.kept.by_message_id(&message_id).await
                && let Some(used) = self.hear(transaction, class, (domain, &reporter)).await
            {
                return used;
            }
        }
        Used::Unknown
    }

    /// Learns what a reporter says of a message, as far as it is believed; `None` if nothing is known of the message.
    async fn hear(&self, transaction: TransactionId, class: Class, whom: (&str, &str)) -> Option<Used> {
        self.court.kept.features(transaction).await?;
        let kind = self.court.kind_of(transaction).await;
        let heard = self.court.reports.hear((kind, transaction), (whom.1, class), self.clock.now()).await;
        let learn = match heard {
            Ok(Heard::Held) => return Some(Used::Held),
            Ok(Heard::Learn(learn)) => learn,
            Err(error) => {
                tracing::error!(%error, "what others said of a message is not known");
                vec![(transaction, class, 1.0)]
            }
        };
        let (own, others): (Vec<_>, Vec<_>) = learn.into_iter().partition(|(one, ..)| *one == transaction);
        self.court.learn_all(&others).await;
        let weight = own.first().map_or(1.0, |(.., weight)| *weight);
        self.court.learn_weighing(transaction, class, (Source::Report, weight), whom).await.map(Used::Yes)
    }

    /// A short answer, which waits in the queue like any other mail and is never answered itself.
    async fn answer(&self, entry: &Entry, used: &Used) -> Result<(), SpoolError> {
        let now = self.clock.now();
        let ReversePath::Mailbox(to) = &entry.envelope.mail.reverse_path else { return Ok(()) };
        let session = TraceId::new(u64::try_from(now.as_millis()).unwrap_or_default(), rand::random());
        let transaction = TransactionId { session, number: 1 };
        let why = match used {
            Used::Both => "It was sent to the address for spam and to the one for wanted mail at once.",
            _ => {
                "It does not name a message that came in the last 30 days. Forward the message as an attachment, with \
                 its whole header: it has a field X-Postern-Verdict, by which it is known."
            }
        };
        let text = format!(
            "Your report ({}) could not be used.\n{}\n",
            entry.transaction,
            why.replace(". ", ".\n"),
        );
        let subject = "Your report could not be used";
        let mail = OwnMail { transaction, to, subject, text: &text, why: "an answer to a report" };
        let Some(stored) = put_into_queue(&self.relay, &self.spool, now, &mail).await? else { return Ok(()) };
        tracing::info!(entry = %stored, %transaction, about = %entry.transaction, "a reporter is told");
        Ok(())
    }
}

/// Trace identifiers in a report, those in fields of Postern's own first: whatever else a message says of itself its sender has
/// written.
fn candidates(report: &[u8]) -> Vec<TransactionId> {
    let text = String::from_utf8_lossy(report);
    let is_id = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let ids = |text: &str| {
        let words = text.split(|c| !is_id(c)).filter(|word| word.len() > 14);
        words.filter_map(|word| word.trim_end_matches('.').parse().ok()).collect::<Vec<TransactionId>>()
    };
    let verdicts = text.match_indices("X-Postern-Verdict:").map(|(at, _)| &text[at..]);
    let mut found: Vec<TransactionId> = Vec::new();
    let first = verdicts.take(4).filter_map(|rest| rest.get(..rest.floor_char_boundary(200)));
    for id in first.flat_map(ids).chain(ids(&text)) {
        if !found.contains(&id) && found.len() < MAX_CANDIDATES {
            found.push(id);
        }
    }
    found
}

/// The transaction that the message itself says it came by, in a field of Postern's own: forged ones are cut on the way in.
pub(super) fn verdict_field(message: &[u8]) -> Option<TransactionId> {
    let header = message.get(..message.len().min(MAX_VERDICT_HEADER)).unwrap_or_default();
    let text = String::from_utf8_lossy(header);
    let header = text.split("\r\n\r\n").next()?.split("\n\n").next()?;
    let at = header.find("X-Postern-Verdict:").filter(|at| *at == 0 || header[..*at].ends_with('\n'))?;
    let field = header[at..].split('\n').next()?;
    field.split("id=").nth(1)?.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').next()?.parse().ok()
}

/// What stands in angle brackets with an `@`: `References` and `In-Reply-To` of a message that was forwarded, and its own.
fn message_ids(report: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(report);
    let mut found: Vec<String> = Vec::new();
    for part in text.split('<').skip(1) {
        if let Some((id, _)) = part.split_once('>')
            && (3..250).contains(&id.len())
            && id.contains('@')
            && !id.contains(char::is_whitespace)
            && found.len() < MAX_CANDIDATES
            && !found.iter().any(|known| known == id)
        {
            found.push(id.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_the_message_by_posterns_own_field_first() {
        let report = b"Received: by mx (Postern) id 0123456789ABC.7\r\n\r\n> seen (0123456789ABD.2)\r\n\
            > X-Postern-Verdict: pass;\r\n> id=0123456789ABE.1\r\n";
        let found: Vec<_> = candidates(report).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["0123456789ABE.1", "0123456789ABC.7", "0123456789ABD.2"]);
        assert!(candidates("X-Postern-Verdict: ü".repeat(50).as_bytes()).is_empty());
    }

    #[test]
    fn a_message_that_came_through_here_names_its_transaction() {
        let message = "Received: x\r\nX-Postern-Verdict: tag; id=0123456789ABE.1\r\nSubject: y\r\n\r\nz";
        assert_eq!(verdict_field(message.as_bytes()).unwrap().to_string(), "0123456789ABE.1");
        let in_the_body = b"Subject: y\r\n\r\nX-Postern-Verdict: tag; id=0123456789ABE.1\r\n";
        assert_eq!(verdict_field(in_the_body), None);
        assert_eq!(verdict_field(b"X-Postern-Verdict: tag; id=\n"), None);
    }

    #[test]
    fn message_ids_are_what_could_be_one() {
        let report = b"References: <a@x.example>\r\n <b@x.example>\r\n\r\n<not an id@x> <c> <a@x.example> <d@y.example";
        assert_eq!(message_ids(report), ["a@x.example", "b@x.example"]);
    }
}
