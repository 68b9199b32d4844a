//! Reports that Postern sends by mail: signed by its author's domain, and put into the queue, which sees to everything else.

use std::sync::Arc;
use std::time::Duration;

use record::Clock;
use relay::Relay;
use smtp::{Domain, Envelope, ForwardPath, Reply, ReplyCode, TraceId, TransactionId};
use spool::{Content, Entry, Folder};

use super::signing;

/// Sends them.
pub(super) struct Letters {
    signing: Arc<signing::Present>,
    clock: Arc<dyn Clock>,
}

/// One of them.
pub(super) struct Letter<'a> {
    /// Its author, and who hears that it could not be delivered.
    pub(super) from: &'a str,
    pub(super) to: &'a [String],
    /// All of it, unsigned.
    pub(super) content: Vec<u8>,
    /// What it is, for the log and for the queue.
    pub(super) what: &'static str,
}

impl Letters {
    pub(super) fn new(signing: Arc<signing::Present>, clock: Arc<dyn Clock>) -> Self {
        Self { signing, clock }
    }

    /// What is not signed is not believed (RFC 8460 §5.3, RFC 9990 §3.5). An address that can have no mail is passed over.
    pub(super) async fn send(&self, relay: &Relay, letter: Letter<'_>) -> Result<(), String> {
        let Letter { from, to, content, what } = letter;
        let signatures = match self.signing.now() {
            Some((signatures, _)) => signatures.sign_own(content.clone()).await?,
            None => String::new(),
        };
        for to in to {
            let entry = match entry(relay, from, to, (self.clock.now(), what)) {
                Ok(entry) => entry,
                Err(why) => {
                    tracing::info!(why, "{what} is not sent there");
                    continue;
                }
            };
            let id = entry.transaction;
            let content = Content::new().bytes(signatures.clone().into_bytes()).bytes(content.clone());
            let stored = relay.serving().driver.spool.store_own(entry, content).await;
            let stored = stored.map_err(|error| error.to_string())?;
            tracing::info!(entry = %stored.id(), transaction = %id, to, "{what} is sent");
        }
        Ok(())
    }
}

fn entry(
    relay: &Relay,
    from: &str,
    to: &str,
    (now, what): (Duration, &'static str),
) -> Result<Entry, String> {
    let text = format!("MAIL FROM:<{from}>\r\nRCPT TO:<{to}> NOTIFY=NEVER\r\n");
    let envelope = Envelope::read(text.as_bytes()).map_err(|_| format!("{to} is no address"))?;
    let domain = envelope.recipients.first().and_then(|rcpt| match &rcpt.forward_path {
        ForwardPath::Mailbox(mailbox) => mailbox.domain().cloned(),
        ForwardPath::Postmaster(_) => None,
    });
    let domain: Domain = domain.ok_or_else(|| format!("{to} has no domain"))?;
    let serving = relay.serving();
    let backend = serving.settings.routing.backend_of(&domain);
    let backend = backend.map_or_else(|| domain.as_str().into(), |backend| backend.name().into());
    let session = TraceId::new(u64::try_from(now.as_millis()).unwrap_or_default(), rand::random());
    Ok(Entry {
        transaction: TransactionId { session, number: 1 },
        recipients: [0].into_iter().collect(),
        envelope,
        client: None,
        sender: spool::SenderProof::Unknown,
        folder: Folder::Queue,
        backend,
        reason: Reply::new(ReplyCode::COMPLETED, None, what),
        received_at: now,
    })
}
