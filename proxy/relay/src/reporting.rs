//! Reports to senders whose message was handed on to a server that sends none itself (RFC 3461 §5.2.2, DECISIONS 2).

use std::fs::File;
use std::sync::Arc;

use delivery::ReportRate;
use delivery::notification::{Excerpt, Fate, MAX_RETURNED, Original, Outcome, Reporter, Speaker};
use record::{Afterwards, Event, Step};
use smtp::{Envelope, Reply, TransactionId};
use spool::{Content, SenderProof};
use tokio::sync::Semaphore;

use crate::drive::{Driver, content_of};
use crate::senders::{Claim, Senders};
use crate::session::Carriage;

/// Reports being written at once; each holds some of a message. One more is not sent: nobody was promised a report, and
/// whoever floods Postern with requests for them gets no memory for it.
const AT_ONCE: usize = 64;
/// The transactions of a session have smaller numbers, and each has room for several reports.
const FIRST_REPORT: u32 = 1 << 31;
const REPORTS_EACH: u32 = 1 << 8;

/// Who is told, and by whom.
pub struct Reporting {
    /// Writes reports.
    pub reporter: Reporter,
    /// Knows who may be told.
    pub senders: Arc<dyn Senders>,
    /// How often; whoever else reports to senders keeps to the same.
    pub rate: Arc<ReportRate>,
    turns: Semaphore,
}

impl Reporting {
    /// Nobody is being told anything yet.
    pub fn new(reporter: Reporter, senders: Arc<dyn Senders>, rate: Arc<ReportRate>) -> Self {
        Self { reporter, senders, rate, turns: Semaphore::new(AT_ONCE) }
    }
}

/// A message that servers without DSN have taken, and whose sender asked to be told.
#[derive(Debug)]
pub struct Relayed {
    /// The transaction.
    pub transaction: TransactionId,
    /// The whole envelope.
    pub envelope: Envelope,
    /// The client's address, and what it called itself.
    pub client: (std::net::IpAddr, Box<str>),
    /// What is known of the sender without asking anybody.
    pub sender: SenderProof,
    /// When it was received, since 1970.
    pub received: std::time::Duration,
    /// Where the content is.
    pub carriage: Carriage,
    /// Who has it.
    pub handed_on: Vec<HandedOn>,
}

/// One recipient whose server has the message.
#[derive(Debug)]
pub struct HandedOn {
    /// The recipient's index in the envelope.
    pub recipient: usize,
    /// The server's last word.
    pub reply: Reply,
    /// The server, if it is one of the world.
    pub server: Option<Box<str>>,
}

/// Writes the report and puts it into the queue, if the sender may be told.
pub(crate) async fn report(driver: Arc<Driver>, relayed: Relayed, file: Option<Arc<File>>) {
    let Some(reporting) = driver.reporting.as_deref() else { return };
    let transaction = relayed.transaction;
    let Ok(_turn) = reporting.turns.try_acquire() else {
        tracing::warn!(%transaction, "too many reports at once: that this message was relayed is not told");
        return;
    };
    let content = content_of(&relayed.carriage, file);
    let sender = sender_of(reporting, &relayed, &content).await;
    if !sender.allows_report() {
        tracing::info!(%transaction, "relayed; nothing proves who sent it, so that nobody is told");
        return;
    }
    let reverse_path = &relayed.envelope.mail.reverse_path;
    if !reporting.rate.allows(reverse_path, driver.opener.clock.now()) {
        let sender = reverse_path.as_str();
        tracing::warn!(%transaction, sender, "relayed; its sender has had so many reports lately that this one is not sent");
        return;
    }
    let mut excerpt = Excerpt::new();
    match content.beginning(MAX_RETURNED + 1).await {
        Ok(beginning) => excerpt.push(&beginning),
        Err(error) => {
            tracing::error!(%transaction, %error, "a report goes out without the header it is about")
        }
    }
    for notification in compose(reporting, &relayed, sender, &excerpt) {
        let (entry, content) = (notification.entry, Content::new().bytes(notification.content));
        let told = entry.transaction;
        match driver.spool.store(entry, content).await {
            Ok(spooled) => {
                tracing::info!(%transaction, entry = %spooled.id(), proof = sender.name(), "relayed; its sender is told");
                tell_trace(&driver, transaction, told);
            }
            Err(error) => tracing::error!(%transaction, %error, "relayed; the report could not be spooled"),
        }
    }
}

fn tell_trace(driver: &Driver, transaction: TransactionId, report: TransactionId) {
    driver.recorder.record(Event::Afterwards(Box::new(Afterwards {
        transaction,
        at: driver.opener.clock.now(),
        step: Step::Told(report),
        leg: None,
        recipients: Vec::new(),
        recipients_in_all: 0,
        words: None,
    })));
}

async fn sender_of(reporting: &Reporting, relayed: &Relayed, content: &Content) -> SenderProof {
    if relayed.sender.allows_report() {
        return relayed.sender;
    }
    let reverse_path = &relayed.envelope.mail.reverse_path;
    let (client, helo) = (relayed.client.0, &relayed.client.1);
    reporting.senders.prove(Claim { client, helo, reverse_path, content }).await
}

fn compose(
    reporting: &Reporting,
    relayed: &Relayed,
    sender: SenderProof,
    excerpt: &Excerpt,
) -> Vec<delivery::notification::Notification> {
    let TransactionId { session, number } = relayed.transaction;
    let id = TransactionId { session, number: FIRST_REPORT | number.wrapping_mul(REPORTS_EACH) };
    let original = Original {
        transaction: relayed.transaction,
        envelope: &relayed.envelope,
        sender,
        received_at: relayed.received,
        excerpt,
    };
    let fates: Vec<Fate<'_>> = relayed
        .handed_on
        .iter()
        .map(|handed_on| Fate {
            recipient: handed_on.recipient,
            outcome: Outcome::Relayed,
            reply: &handed_on.reply,
            speaker: handed_on.server.as_deref().map_or(Speaker::Hidden, Speaker::World),
            last_attempt: Some(relayed.received),
        })
        .collect();
    reporting.reporter.compose(&original, &fates, id, relayed.received)
}
