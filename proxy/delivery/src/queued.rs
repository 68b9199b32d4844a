//! Delivering a message out of the spool: what was promised is offered to its server again, with the original
//! client's facts (DECISIONS 3, 5, 29, 30).

use std::sync::Arc;

use record::Clock;
use route::{ADDED_FIELDS, Backend, Destinations, Routing};
use smtp::dialogue::Sent;
use smtp::{Extension, ForwardPath, No, Proof, Refusal, Reply};
use spool::{EntryId, Folder, Opened, Spool, SpoolError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Duration, timeout};

use crate::delivered::Delivered;
use crate::far::Answered;
use crate::open::{Client, OpenError, OpenLeg, OpenRequest, Opener};
use crate::outgoing::{ContentWriter, Outgoing};
use crate::timeouts;

/// What an attempt came to; the spool knows it already.
#[derive(Debug)]
pub enum Attempt {
    /// These recipients have it.
    Delivered(Reply),
    /// It is tried again later.
    Deferred(Reply),
    /// It was set aside for a person: the server refuses it for good, or its time is over.
    SetAside(Reply),
}

/// Why one attempt failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    OutOfStep(#[from] smtp::dialogue::OutOfStep),
    #[error("the server did not answer in time")]
    Silent,
    #[error("{0}")]
    Spool(SpoolError),
    /// The server said no.
    #[error("{}", .0.reply())]
    Refused(Refusal),
}

/// Where messages in the queue go.
#[derive(Clone, Copy)]
pub struct Ways<'a> {
    /// To the hidden servers.
    pub routing: &'a Routing,
    /// To the world; `None` where no mail goes out.
    pub destinations: Option<&'a dyn Destinations>,
}

/// One attempt at a message in the queue. `lifetime_over` tells whether it has waited too long already.
///
/// # Errors
///
/// The spool cannot be read or written; nothing was decided.
pub async fn attempt(
    opener: &Opener,
    ways: Ways<'_>,
    spool: &Spool,
    clock: &dyn Clock,
    id: EntryId,
    lifetime_over: impl Fn(Duration) -> bool,
) -> Result<Attempt, SpoolError> {
    let opened = spool.open_entry(id).await?;
    let transaction = opened.entry.transaction;
    let (received, last_words) = (opened.entry.received_at, opened.entry.reason.clone());
    let failure = match deliver(opener, ways, opened).await {
        Ok(delivered) => {
            let words = delivered.reply().clone();
            spool.delivered(id, delivered.recipients()).await?;
            return Ok(Attempt::Delivered(words));
        }
        Err(failure) => failure,
    };
    let reply = match &failure {
        Failure::Refused(refusal) => refusal.reply().clone(),
        other => No::ServerLost(other.to_string().into()).reply(transaction),
    };
    if reply.code().is_permanent() {
        spool.move_to(id, Folder::Expired, reply.clone()).await?;
        return Ok(Attempt::SetAside(reply));
    }
    if lifetime_over(received) {
        spool.move_to(id, Folder::Expired, last_words.clone()).await?;
        return Ok(Attempt::SetAside(last_words));
    }
    spool.deferred(id, reply.clone(), clock.now()).await?;
    Ok(Attempt::Deferred(reply))
}

async fn deliver(opener: &Opener, ways: Ways<'_>, opened: Opened) -> Result<Delivered, Failure> {
    let backend = backend_of(ways, &opened).await?;
    let client = opened.entry.client.as_ref().map(|client| Client {
        address: client.address,
        destination: client.address,
        helo: client.helo.clone(),
        esmtp: true,
    });
    let request = OpenRequest {
        session: opened.entry.transaction.session,
        backend,
        submission: false,
        client,
        may_be_pooled: false,
    };
    let mut leg = opener.open(&request).await?;
    name_recipients(&mut leg, &opened).await?;
    send_content(&mut leg, opened).await
}

/// The backend or relay that the message was for; after a change of config the one that has its recipients' domain now. What
/// else was for the world is looked up anew: a group of it has one destination.
async fn backend_of(ways: Ways<'_>, opened: &Opened) -> Result<Arc<Backend>, Failure> {
    let named = ways.routing.backends().iter().find(|backend| backend.name() == &*opened.entry.backend);
    if let Some(backend) = named {
        return Ok(Arc::clone(backend));
    }
    if let Some(relay) = ways.destinations.and_then(|all| all.relay_named(&opened.entry.backend)) {
        return Ok(relay);
    }
    let first = opened.entry.recipients.iter().next();
    let rcpt =
        first.and_then(|index| opened.entry.envelope.recipients.get(index)).ok_or(OpenError::NoServer)?;
    let ForwardPath::Mailbox(mailbox) = &rcpt.forward_path else { return Err(OpenError::NoServer.into()) };
    if let Some(backend) = mailbox.domain().and_then(|domain| ways.routing.backend_of(domain)) {
        return Ok(Arc::clone(backend));
    }
    let destinations = ways.destinations.ok_or(OpenError::NoServer)?;
    let located = destinations.locate(mailbox.host().clone()).await;
    located.map_err(|no| Failure::Refused(no.refusal(opened.entry.transaction)))
}

/// MAIL and the RCPTs that remain. The server need not take all of them: who it took is known to the far side.
async fn name_recipients(leg: &mut OpenLeg, opened: &Opened) -> Result<(), Failure> {
    let envelope = &opened.entry.envelope;
    let size = envelope.mail.size.map(|size| size.saturating_add(ADDED_FIELDS));
    let mut out = Vec::new();
    leg.far.mail(&envelope.mail, size, &mut out);
    for index in opened.entry.recipients.iter() {
        if let Some(rcpt) = envelope.recipients.get(index) {
            leg.far.rcpt(index, rcpt, &mut out);
        }
    }
    let mut refusals = Vec::new();
    let mut mail_refused = None;
    write(leg, &out).await?;
    while !leg.far.is_settled() {
        let Answered::Reply(sent, reply) = answer(leg, timeouts::ENVELOPE).await? else { continue };
        match (sent, Refusal::new(reply)) {
            (Sent::Mail, Some(refusal)) => mail_refused = Some(refusal),
            (Sent::Rcpt(_), Some(refusal)) => refusals.push(refusal),
            _ => {}
        }
    }
    if let Some(refusal) = mail_refused {
        return Err(Failure::Refused(refusal));
    }
    if leg.far.accepted().is_empty() {
        // One that may be taken later keeps the others waiting with it.
        let transient = refusals.iter().position(Refusal::is_transient).unwrap_or(0);
        let refusal = refusals.into_iter().nth(transient);
        return Err(refusal.map_or(Failure::Silent, Failure::Refused));
    }
    Ok(())
}

async fn send_content(leg: &mut OpenLeg, opened: Opened) -> Result<Delivered, Failure> {
    let Opened { entry, mut content, .. } = opened;
    let outgoing = Outgoing { length: content.length(), ..Outgoing::default() };
    let mut out = Vec::new();
    let mut writer = if leg.far.capabilities().has(Extension::Chunking) {
        leg.far.chunk(outgoing.size(), entry.transaction, &mut out);
        ContentWriter::for_chunk(&outgoing, &mut out)
    } else {
        leg.far.data(&mut out);
        write(leg, &out).await?;
        out.clear();
        match answer(leg, timeouts::DATA_START).await? {
            Answered::Reply(Sent::Data, reply) if reply.code().is_intermediate() => {}
            Answered::Reply(_, reply) => return Err(refused(reply)),
            _ => return Err(Failure::Silent),
        }
        leg.far.begin_content(entry.transaction);
        ContentWriter::for_data(&outgoing, &mut out)
    };
    while let Some(piece) = content.next().await.map_err(Failure::Spool)? {
        writer.write(&outgoing, &piece, &mut out);
        write(leg, &out).await?;
        out.clear();
    }
    writer.finish(&mut out);
    leg.far.finish_content();
    write(leg, &out).await?;
    match answer(leg, timeouts::DATA_END).await? {
        Answered::Delivered(delivered) => Ok(delivered),
        Answered::Undelivered(reply) | Answered::Reply(_, reply) => Err(refused(reply)),
    }
}

/// A reply that is neither yes nor no counts as no answer.
fn refused(reply: Reply) -> Failure {
    Refusal::new(reply).map_or(Failure::Silent, Failure::Refused)
}

async fn write(leg: &mut OpenLeg, bytes: &[u8]) -> Result<(), Failure> {
    let written = async {
        leg.stream.write_all(bytes).await?;
        leg.stream.flush().await
    };
    timeout(timeouts::DATA_BLOCK, written).await.map_err(|_| Failure::Silent)??;
    Ok(())
}

/// The next answer; commands that waited for one are sent.
async fn answer(leg: &mut OpenLeg, patience: Duration) -> Result<Answered, Failure> {
    // One octet at a time is slow and simple: replies are short, and nothing may be read beyond one.
    let read = async {
        let mut byte = [0];
        loop {
            if leg.stream.read(&mut byte).await? == 0 {
                return Err(Failure::Open(OpenError::Closed));
            }
            let mut out = Vec::new();
            if let Some(answered) = leg.far.read(&mut &byte[..], &mut out)? {
                leg.stream.write_all(&out).await?;
                leg.stream.flush().await?;
                return Ok(answered);
            }
        }
    };
    timeout(patience, read).await.map_err(|_| Failure::Silent)?
}
