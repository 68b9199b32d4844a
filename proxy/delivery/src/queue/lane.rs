//! One connection to one destination: it carries one message after another for as long as the gate lets it.

use std::sync::Arc;

use route::Backend;
use smtp::dialogue::Sent;
use smtp::fields::FieldScanner;
use smtp::{Extension, ForwardPath, No, Reply};
use spool::{Claim, Deferral, Entry, Settlement, SpoolError};
use tokio::io::AsyncWriteExt;
use tokio::time::{Duration, Instant, timeout};

use crate::open::{Client, OpenError, OpenLeg, OpenRequest, TlsWish};
use crate::queue::settings::WayOut;
use crate::queue::transaction::{Lost, Outcome, Server, offer};
use crate::queue::{Queue, Said};

/// Servers close connections that carry on for ever, each at a number of its own; this many are welcome anywhere.
const MESSAGES_PER_CONNECTION: u32 = 100;
/// While other destinations wait for a connection, this many.
const MESSAGES_WHEN_CROWDED: u32 = 20;
/// A throttled destination keeps its connection for at most this long without a message.
const THROTTLED: Duration = Duration::from_secs(5);
/// Octets of a message in which its header is looked for a field.
const HEADER: usize = 256 * 1024;
/// For QUIT to go out; nobody waits for its answer.
const GOODBYE: Duration = Duration::from_secs(1);

/// A connection, and what it may be used for.
struct Kept {
    leg: OpenLeg,
    /// It was opened for a client's mail: what is told of clients on it would have been told.
    for_client: bool,
    carried: u32,
}

impl Kept {
    /// Whether a message of this client, or of nobody, may go over it as it is.
    fn serves(&self, backend: &Arc<Backend>, has_client: bool, wish: TlsWish) -> bool {
        let far = &self.leg.far;
        let does_for_tls = match wish {
            TlsWish::Regardless => true,
            TlsWish::AsPolicySays => !far.is_regardless(),
            // Of the world's servers only one that was opened for it is known to be good enough.
            TlsWish::Required => far.is_proved() && far.capabilities().has(Extension::RequireTls),
        };
        Arc::ptr_eq(far.backend(), backend)
            && far.is_settled()
            && far.leg().client_address == "none"
            && (self.for_client || !has_client)
            && does_for_tls
            && self.carried < MESSAGES_PER_CONNECTION
    }

    /// What the server is called, as far as senders may know.
    fn server(&self) -> Server {
        let backend = self.leg.far.backend();
        match (backend.world(), backend.server_at(self.leg.far.leg().server)) {
            (Some(_), Some(server)) => Server::World(server.name().into()),
            (Some(_), None) => Server::World(backend.name().into()),
            (None, _) => Server::Hidden,
        }
    }

    async fn quit(mut self) {
        let mut out = Vec::new();
        self.leg.far.say(Sent::Quit, "QUIT", &mut out);
        let _ = timeout(GOODBYE, self.leg.stream.write_all(&out)).await;
    }
}

/// Why there was no offer.
enum NoOffer {
    /// The destination cannot be reached: it is not the message's fault.
    Unreached(Reply),
    /// TLS with it is weaker than its policy demands.
    TooWeak(Reply),
    /// Where the message goes cannot be found out, for good or for now: it is the domain's; or it can never go there as it is.
    NoWay(Reply),
}

/// A connection in the making or at work.
pub(super) struct Lane {
    queue: Arc<Queue>,
    destination: Arc<str>,
    kept: Option<Kept>,
}

impl Lane {
    pub(super) fn new(queue: Arc<Queue>, destination: Arc<str>) -> Self {
        Self { queue, destination, kept: None }
    }

    /// Delivers `first` and whatever is due behind it.
    pub(super) async fn run(mut self, first: Claim) {
        let (mut claim, mut carried) = (Some(first), 0);
        while let Some(one) = claim {
            self.carry(one).await;
            carried += 1;
            claim = self.next(carried).await;
        }
        if let Some(kept) = self.kept.take() {
            kept.quit().await;
        }
    }

    async fn next(&mut self, carried: u32) -> Option<Claim> {
        if carried >= MESSAGES_WHEN_CROWDED && self.queue.is_crowded() {
            return None;
        }
        if let Some(wait) = self.queue.throttled(&self.destination) {
            if wait > THROTTLED {
                return None;
            }
            tokio::time::sleep(wait).await;
        }
        self.queue.claim_another(&self.destination)
    }

    async fn carry(&mut self, claim: Claim) {
        let opened = match self.queue.spool().open_entry(claim.id()).await {
            Ok(opened) => opened,
            // Somebody removed it meanwhile.
            Err(SpoolError::Unknown(_)) => return,
            Err(error) => return self.unreadable(&claim, &error).await,
        };
        let way = self.queue.way_out();
        let entry = opened.entry.clone();
        let wish = match entry.envelope.mail.requiretls {
            true => TlsWish::Required,
            false => TlsWish::AsPolicySays,
        };
        let mut leg = self.open(&*way, &entry, wish).await;
        if matches!(leg, Err(NoOffer::TooWeak(_))) && goes_regardless(&self.queue, &claim).await {
            leg = self.open(&*way, &entry, TlsWish::Regardless).await;
        }
        match leg {
            Ok(mut kept) => {
                self.queue.sends(&self.destination);
                let offered = offer(&mut kept.leg, &entry, opened.content).await;
                kept.carried += 1;
                self.offered(&claim, &entry, opened.attempts, kept, offered).await;
            }
            // The message waits on as it was: nobody has looked at it.
            Err(NoOffer::Unreached(words) | NoOffer::TooWeak(words)) => {
                self.queue.failed(&self.destination, words);
            }
            Err(NoOffer::NoWay(reply)) => {
                self.queue.said(&self.destination, Said::Deferred);
                let outcome = Outcome::of_all(&entry.recipients, &reply);
                self.queue.settle(&claim, &entry, opened.attempts, outcome).await;
            }
        }
    }

    async fn offered(
        &mut self,
        claim: &Claim,
        entry: &Entry,
        attempts: u32,
        kept: Kept,
        offered: Result<Outcome, Box<Lost>>,
    ) {
        let outcome = match offered {
            Ok(mut outcome) => {
                outcome.server = kept.server();
                outcome.leg = Some(kept.leg.far.leg().clone());
                let deferred_only = outcome.delivered.is_none() && outcome.refused.is_empty();
                let said = if deferred_only { Said::Deferred } else { Said::Answered };
                self.queue.said(&self.destination, said);
                self.kept = Some(kept);
                outcome
            }
            Err(mut lost) => {
                // Servers end kept connections whenever they like: that says nothing.
                if kept.carried <= 1 || lost.in_content {
                    self.doubt(&kept, &lost.words);
                }
                if !lost.in_content && lost.outcome.delivered.is_none() && lost.outcome.refused.is_empty() {
                    // It waits on as it was: the message was not looked at.
                    return;
                }
                lost.outcome.leg = Some(kept.leg.far.leg().clone());
                lost.outcome
            }
        };
        self.queue.settle(claim, entry, attempts, outcome).await;
    }

    /// The next connection goes to another server, if there is one, and not before the gate opens.
    fn doubt(&self, kept: &Kept, words: &Reply) {
        let far = &kept.leg.far;
        if let Some(server) = far.backend().server_at(far.leg().server) {
            server.doubted(Instant::now());
        }
        self.queue.failed(&self.destination, words.clone());
    }

    /// A message that the disk does not give is not tried in a circle.
    async fn unreadable(&mut self, claim: &Claim, error: &SpoolError) {
        tracing::error!(entry = %claim.id(), %error, "a message in the queue cannot be read");
        let words = No::StorageFailed.reply(claim.id());
        let next = self.queue.next_attempt(claim.id(), &self.destination, 5);
        let deferred = Some(Deferral { words, own_words: Vec::new(), next });
        let _ = self.queue.spool().settle(claim.id(), Settlement { deferred, ..Settlement::default() }).await;
    }

    /// The connection that is open, if it will do; else a new one.
    async fn open(&mut self, way: &dyn WayOut, entry: &Entry, wish: TlsWish) -> Result<Kept, NoOffer> {
        let backend = backend_of(way, entry).await?;
        let kept = self.kept.take();
        if let Some(kept) = kept {
            if kept.serves(&backend, entry.client.is_some(), wish) {
                return Ok(kept);
            }
            kept.quit().await;
        }
        // To the server that the client once spoke to, as it would have been spoken to then.
        let client = entry.client.as_ref().map(|client| Client {
            address: client.address,
            destination: client.address,
            helo: client.helo.clone(),
            esmtp: &*client.protocol != "SMTP",
        });
        let for_client = client.is_some();
        let request = OpenRequest {
            session: entry.transaction.session,
            backend,
            submission: false,
            client,
            may_be_pooled: false,
            tls: wish,
        };
        let leg = way.opener().open(&request).await.map_err(|error| no_offer(error, entry))?;
        Ok(Kept { leg, for_client, carried: 0 })
    }
}

/// Whether its sender wants it delivered whatever the recipient's domain demands of TLS (RFC 8689 §5).
async fn goes_regardless(queue: &Queue, claim: &Claim) -> bool {
    let Ok(mut opened) = queue.spool().open_entry(claim.id()).await else { return false };
    let (mut scanner, mut scanned) = (FieldScanner::new(""), 0);
    while let Ok(Some(piece)) = opened.content.next().await {
        scanner.scan(&piece);
        scanned += piece.len();
        if scanned >= HEADER {
            break;
        }
    }
    scanner.finish().tls_not_required
}

/// The server's own words where it had any.
fn no_offer(error: OpenError, entry: &Entry) -> NoOffer {
    let reply = || error.no().reply(entry.transaction);
    match error {
        OpenError::Refused(reply) => NoOffer::Unreached(reply),
        OpenError::FarTooWeak(_) => NoOffer::TooWeak(reply()),
        OpenError::NoRequireTls | OpenError::Unproved(_) => NoOffer::NoWay(reply()),
        _ => NoOffer::Unreached(reply()),
    }
}

/// The backend that the message was for; after a change of config the one that has its recipients' domain now. What is
/// for the world is looked up anew: a group of it has one destination.
async fn backend_of(way: &dyn WayOut, entry: &Entry) -> Result<Arc<Backend>, NoOffer> {
    let named = way.routing().backends().iter().find(|backend| backend.name() == &*entry.backend);
    if let Some(backend) = named {
        return Ok(Arc::clone(backend));
    }
    if let Some(relay) = way.destinations().and_then(|all| all.relay_named(&entry.backend)) {
        return Ok(relay);
    }
    let none = || NoOffer::NoWay(No::NoServerThere.reply(entry.transaction));
    let first = entry.recipients.iter().next().and_then(|index| entry.envelope.recipients.get(index));
    let mailbox = match first.map(|rcpt| &rcpt.forward_path) {
        Some(ForwardPath::Mailbox(mailbox)) => mailbox,
        Some(ForwardPath::Postmaster(_)) => return way.routing().postmasters().cloned().ok_or_else(none),
        None => return Err(none()),
    };
    if let Some(backend) = mailbox.domain().and_then(|domain| way.routing().backend_of(domain)) {
        return Ok(Arc::clone(backend));
    }
    let destinations = way.destinations().ok_or_else(none)?;
    let located = destinations.locate(mailbox.host().clone()).await;
    located.map_err(|no| {
        let reply = no.reply(entry.transaction);
        // That the DNS does not answer is nothing that the message could help.
        if reply.code().is_permanent() { NoOffer::NoWay(reply) } else { NoOffer::Unreached(reply) }
    })
}
