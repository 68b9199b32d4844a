//! What takes a session's driver longer than a poll: handshakes, connections, the disk.

use std::fs::File;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use delivery::{OpenError, OpenLeg, OpenProbe, Stream};
use record::{TlsFacts, TlsOutcome};
use route::{Backend, Listing};
use smtp::address::Host;
use smtp::{Mailbox, No, TransactionId};
use spool::{ClientFacts, Content, Entry, SenderProof, Spool, SpoolError, Spooled, TlsWords};

use super::spill::{self, Spilled};
use crate::judging::{Case, HeldBody, Judge, Judgement};
use crate::senders::{Claim, Senders};
use crate::session::{Carriage, LegId, Question, SigningRequest, SpoolRequest};
use crate::signing::{Signer, Unsigned};

/// Something under way.
pub(super) struct Job {
    leg: Option<LegId>,
    future: Pin<Box<dyn Future<Output = Done> + Send>>,
}

/// What came of it.
pub(super) enum Done {
    Encrypted(Stream, TlsFacts),
    NotEncrypted(Box<str>),
    Opened(LegId, Result<Box<OpenLeg>, OpenError>),
    Probed(LegId, Result<Box<OpenProbe>, OpenError>),
    Located(Host, Result<Arc<Backend>, No>),
    LookedUp(Mailbox, Listing),
    Stored(io::Result<()>),
    Fetched(LegId, io::Result<Vec<u8>>),
    Judged(TransactionId, Option<Box<Judgement>>),
    Signed(TransactionId, Box<str>),
    Spooled(usize, Result<Spooled, SpoolError>),
}

impl Job {
    pub(super) fn new(future: impl Future<Output = Done> + Send + 'static) -> Self {
        Self { leg: None, future: Box::pin(future) }
    }

    /// Given up with its connection.
    pub(super) fn for_leg(leg: LegId, future: impl Future<Output = Done> + Send + 'static) -> Self {
        Self { leg: Some(leg), future: Box::pin(future) }
    }

    pub(super) fn leg(&self) -> Option<LegId> {
        self.leg
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Done> {
        self.future.as_mut().poll(context)
    }
}

/// Has a message judged, in a task of its own: one that panics leaves the session whole, and is no judgement.
pub(super) fn judge(judge: Option<Arc<dyn Judge>>, question: Question, file: Option<Spilled>) -> Job {
    let transaction = question.transaction;
    Job::new(async move {
        let Some(judge) = judge else { return Done::Judged(transaction, None) };
        let file = spill::written(file, question.stored).await;
        let (deadline, case) = (question.deadline, case(question, file));
        let judged = Asked(tokio::spawn(async move { judge.judge(case, deadline).await })).await;
        Done::Judged(transaction, judged.ok().map(Box::new))
    })
}

/// Ended when nobody waits for it any more.
struct Asked<T>(tokio::task::JoinHandle<T>);

impl<T> Future for Asked<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for Asked<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn case(question: Question, file: Option<Arc<File>>) -> Case {
    Case {
        transaction: question.transaction,
        direction: question.direction,
        client: question.client,
        protocol: question.protocol,
        tls: question.tls,
        authenticated: question.authenticated,
        user: question.user,
        envelope: question.envelope,
        recipients: question.recipients,
        trapped: question.trapped,
        received: question.received,
        body: HeldBody { file, stored: question.stored, tail: question.tail },
    }
}

/// Has a message signed. Without a signer, or by one that panics, it is not.
pub(super) fn sign(signer: Option<Arc<dyn Signer>>, request: SigningRequest, file: Option<Spilled>) -> Job {
    let SigningRequest { transaction, client, stored, tail } = request;
    Job::new(async move {
        let Some(signer) = signer else { return Done::Signed(transaction, "".into()) };
        let body = HeldBody { file: spill::written(file, stored).await, stored, tail };
        let message = Unsigned { transaction, client, body };
        let signed = Asked(tokio::spawn(async move { signer.sign(message).await })).await;
        Done::Signed(transaction, signed.unwrap_or_default())
    })
}

/// Makes a message durable as it would have been delivered: Postern's fields on it, forged ones off it. Whether its sender may
/// be told what becomes of it is found out now, while the DNS says what it said when the message came.
pub(super) fn spool(
    spool: Spool,
    senders: Option<Arc<dyn Senders>>,
    request: SpoolRequest,
    file: Option<Spilled>,
) -> Job {
    Job::new(async move {
        let file = spill::written(file, request.carriage.stored).await;
        let content = content_of(&request.carriage, file);
        let group = request.group;
        let sender = match senders.filter(|_| !request.sender.allows_report()) {
            Some(senders) => senders.prove(claim(&request, &content)).await,
            None => request.sender,
        };
        Done::Spooled(group, spool.store(entry(request, sender), content).await)
    })
}

fn claim<'a>(request: &'a SpoolRequest, content: &'a Content) -> Claim<'a> {
    Claim {
        client: request.client.address.ip(),
        helo: &request.client.helo,
        reverse_path: &request.envelope.mail.reverse_path,
        content,
    }
}

fn entry(request: SpoolRequest, sender: SenderProof) -> Entry {
    let tls = match &request.tls {
        TlsOutcome::Established { facts, .. } => {
            Some(TlsWords { version: facts.version.name().into(), suite: facts.suite.into() })
        }
        TlsOutcome::Plain | TlsOutcome::Failed(_) => None,
    };
    let client = ClientFacts {
        address: request.client.address,
        helo: request.client.helo,
        protocol: request.protocol.name().into(),
        tls,
        authenticated: request.authenticated,
    };
    Entry {
        transaction: request.transaction,
        envelope: request.envelope,
        recipients: request.recipients,
        client: Some(client),
        sender,
        folder: request.folder,
        backend: request.backend,
        reason: request.reason,
        received_at: request.received,
    }
}

/// The content between the cuts, from the file and from memory.
pub(crate) fn content_of(carriage: &Carriage, file: Option<Arc<File>>) -> Content {
    let Carriage { outgoing, stored, tail } = carriage;
    let stored = *stored;
    let mut content = Content::new().bytes(outgoing.added.clone());
    let mut position = 0;
    let ends =
        outgoing.cuts.iter().map(|cut| (cut.start, cut.end)).chain([(outgoing.length, outgoing.length)]);
    for (start, next) in ends {
        if position < start.min(stored)
            && let Some(file) = &file
        {
            let length = start.min(stored) - position;
            content = content.file(Arc::clone(file), position, length);
            position += length;
        }
        if position < start {
            let from = usize::try_from(position - stored).unwrap_or(usize::MAX);
            let to = usize::try_from(start - stored).unwrap_or(usize::MAX);
            content = content.bytes(tail.get(from..to).unwrap_or_default().to_vec());
        }
        position = next;
    }
    content
}
