//! The driver: does what a session wants, over real sockets or simulated ones, and tells it what came of it.
//!
//! One task holds a session's client, its connections to servers and its timer. Nothing is read into a buffer of the
//! session's own: bytes go from a buffer that a thread's sessions share straight into [`step`], and what cannot be
//! used yet stays in the network. So an idle session costs its sockets and little else.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use delivery::{OpenError, OpenLeg, OpenProbe, OpenRequest, ProbeRequest, Shown, Stream};
use record::{Event, SessionEnd};
use route::{Backend, Listing, Recipients};
use smtp::address::Host;
use smtp::{Mailbox, No, Reply};
use spool::{Folder, ReceiptKey, SpoolError};
use tokio::io::ReadBuf;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::admission::Admitted;
use crate::reporting::{self, Relayed};
use crate::session::{Action, Beginning, Input, LegId, Session, Wants, step};

mod driver;
mod job;
mod spill;
mod wire;

pub use driver::{Driver, Intercepting};
pub(crate) use job::content_of;
use job::{Done, Job};
use spill::Spill;
use wire::Wire;

/// One read. A TLS record is at most 16 KiB; large content comes in reads of this size.
const SCRATCH: usize = 64 * 1024;
/// While this much waits to be written to a client that does not read, its commands wait too.
const MAX_WAITING: usize = 16 * 1024;

thread_local! {
    /// What is read is used before the next read: one buffer serves all sessions of a thread.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// Drives a session to its end.
pub async fn drive(
    driver: Arc<Driver>,
    beginning: Beginning,
    stream: Stream,
    admitted: Option<Admitted>,
    drain: watch::Receiver<bool>,
) {
    let destination = beginning.destination;
    let session = Session::new(beginning, Instant::now()).with_receipts(driver.spool.receipts());
    let mut run = Run {
        timer: Box::pin(sleep_until(session.deadline())),
        session: Some(session),
        client: Some(Wire::new(stream)),
        destination,
        legs: Vec::new(),
        jobs: Vec::new(),
        spill: Spill::new(driver.spill.clone()),
        wants_tls: None,
        finishing: false,
        drained: false,
        broken: None,
        promise: None,
        bytes: (0, 0),
        drains: drain.clone(),
        drain: Box::pin(wait_for_drain(drain)),
        awaits_drain: false,
        admitted,
        driver,
    };
    run.begin();
    std::future::poll_fn(|context| run.poll(context)).await;
    run.finish();
}

async fn wait_for_drain(mut drain: watch::Receiver<bool>) {
    // Without a sender nobody will ever ask for it.
    if drain.changed().await.is_err() {
        std::future::pending().await
    }
}

struct Run {
    driver: Arc<Driver>,
    /// `None` only while a step is under way.
    session: Option<Session>,
    /// `None` while a handshake is under way.
    client: Option<Wire>,
    destination: std::net::SocketAddr,
    legs: Vec<(LegId, Wire)>,
    jobs: Vec<Job>,
    spill: Spill,
    /// A handshake is due once all is written; like what a far side has shown.
    wants_tls: Option<Option<Shown>>,
    finishing: bool,
    drained: bool,
    /// The client's connection broke.
    broken: Option<Box<str>>,
    /// The last 250 to a message, until the client shows that it goes on.
    promise: Option<(ReceiptKey, Reply)>,
    /// Octets from and to the client.
    bytes: (u64, u64),
    timer: Pin<Box<Sleep>>,
    drains: watch::Receiver<bool>,
    /// Polled once, so that the task is woken for it.
    drain: Pin<Box<dyn Future<Output = ()> + Send>>,
    awaits_drain: bool,
    admitted: Option<Admitted>,
}

impl Run {
    /// Whoever has spoken already has not waited for the greeting.
    fn begin(&mut self) {
        let implicit = self.session.as_ref().is_some_and(Session::begins_with_tls);
        if !implicit {
            let mut context = Context::from_waker(Waker::noop());
            let _ = self.poll_client(&mut context);
        }
        self.step(Input::Begin);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            self.flush(context);
            if self.is_over() {
                return Poll::Ready(());
            }
            let mut progress = self.poll_jobs(context);
            progress |= self.poll_client(context).is_ready();
            progress |= self.poll_legs(context);
            progress |= self.poll_drain(context);
            if !progress && self.poll_timer(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Nothing is left to be done, or nobody to do it for.
    fn is_over(&self) -> bool {
        let ended = self.session.as_ref().is_none_or(Session::is_ended);
        let written = self.client.as_ref().is_none_or(Wire::is_flushed);
        (self.finishing && written) || (self.broken.is_some() && ended)
    }

    fn step(&mut self, input: Input<'_>) {
        let Some(session) = self.session.take() else { return };
        let (session, wants) = step(session, input, Instant::now());
        self.session = Some(session);
        self.perform(wants);
    }

    fn perform(&mut self, wants: Wants) {
        self.bytes.1 += wants.to_client.len() as u64;
        match &mut self.client {
            Some(client) if self.broken.is_none() => client.push(wants.to_client),
            _ => {}
        }
        for action in wants.actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::StartTls(shown) => self.wants_tls = Some(shown),
            Action::Open(leg, request) => self.open(leg, *request),
            Action::Probe(leg, request) => self.probe(leg, *request),
            Action::Locate(host) => self.locate(host),
            Action::LookUp(backend, mailbox) => self.look_up(backend, mailbox),
            Action::Doubt { backend, server, reason } => {
                if let Some(session) = &self.session {
                    let (id, client) = (session.id(), session.client().ip());
                    self.driver.opener.note_doubt(id, client, &backend, server, reason);
                }
            }
            Action::Write(leg, bytes) => {
                if let Some(wire) = self.leg(leg) {
                    wire.push(bytes);
                }
            }
            Action::Release(leg, far) => {
                if let Some(stream) = self.take_leg(leg).and_then(Wire::into_stream) {
                    self.driver.opener.release(OpenLeg { far: *far, stream });
                }
            }
            Action::Close(leg, polite) => {
                self.jobs.retain(|job| job.leg() != Some(leg));
                if let Some(wire) = self.take_leg(leg).filter(|_| polite) {
                    wire.say_goodbye();
                }
            }
            Action::Store(bytes) => self.jobs.push(self.spill.store(bytes)),
            Action::Fetch(leg, position, length) => {
                if let Some(wire) = self.leg(leg) {
                    wire.fetch = Some((position, length));
                }
            }
            Action::Spool(request) => {
                let senders = self.driver.reporting.as_ref().map(|reporting| Arc::clone(&reporting.senders));
                self.jobs.push(job::spool(self.driver.spool.clone(), senders, *request, self.spill.file()));
            }
            Action::Judge(question) => {
                self.jobs.push(job::judge(self.driver.judge.clone(), *question, self.spill.file()));
            }
            Action::Sign(request) => {
                self.jobs.push(job::sign(self.driver.signer.clone(), *request, self.spill.file()));
            }
            Action::Report(relayed) => self.report(*relayed),
            Action::Forget => self.spill.forget(),
            Action::Record(event) => {
                if let (Some(admitted), Event::Transaction(transaction)) = (&self.admitted, &event)
                    && transaction.reply.as_ref().is_some_and(|reply| reply.code().is_positive())
                {
                    admitted.was_served(Instant::now());
                }
                self.driver.recorder.record(event);
            }
            Action::Tell(sessions) => self.driver.opener.tell(sessions),
            Action::Promised(key, words) => {
                self.promise = Some((key, words));
                if self.broken.is_some() {
                    self.keep_promise();
                }
            }
            Action::Misbehaved => {
                if let Some(admitted) = &self.admitted {
                    admitted.misbehaved(Instant::now());
                }
            }
            Action::Finish => self.finishing = true,
        }
    }

    /// A connection out of the pool is there at once.
    fn open(&mut self, leg: LegId, request: OpenRequest) {
        if let Some(open) = self.driver.opener.take_pooled(&request) {
            self.opened(leg, open);
            return;
        }
        let driver = Arc::clone(&self.driver);
        let opening = async move { Done::Opened(leg, driver.opener.open(&request).await.map(Box::new)) };
        self.jobs.push(Job::for_leg(leg, opening));
    }

    fn probe(&mut self, leg: LegId, mut request: ProbeRequest) {
        if request.helo.is_empty()
            && let Some(intercepting) = &self.driver.interception
        {
            request.helo = intercepting.called.name_of(request.client.ip()).unwrap_or_default();
        }
        let driver = Arc::clone(&self.driver);
        self.jobs.push(Job::for_leg(leg, async move {
            let met = match &driver.interception {
                Some(intercepting) => driver.opener.probe_far(&request, &intercepting.far_side).await,
                None => Err(OpenError::NoServer),
            };
            Done::Probed(leg, met.map(Box::new))
        }));
    }

    fn locate(&mut self, host: Host) {
        let destinations = self.driver.destinations.clone();
        self.jobs.push(Job::new(async move {
            let found = match destinations {
                Some(destinations) => destinations.locate(host.clone()).await,
                None => Err(No::RelayDenied),
            };
            Done::Located(host, found)
        }));
    }

    fn look_up(&mut self, backend: Arc<Backend>, mailbox: Mailbox) {
        self.jobs.push(Job::new(async move {
            let directory = backend.recipients().and_then(Recipients::directory);
            let listing = match directory {
                Some(directory) => directory.look_up(mailbox.clone()).await,
                None => Listing::NoList,
            };
            Done::LookedUp(mailbox, listing)
        }));
    }

    fn opened(&mut self, leg: LegId, open: OpenLeg) {
        self.legs.push((leg, Wire::new(open.stream)));
        self.step(Input::Opened(leg, Box::new(open.far)));
    }

    fn leg(&mut self, leg: LegId) -> Option<&mut Wire> {
        self.legs.iter_mut().find(|(id, _)| *id == leg).map(|(_, wire)| wire)
    }

    fn take_leg(&mut self, leg: LegId) -> Option<Wire> {
        let at = self.legs.iter().position(|(id, _)| *id == leg)?;
        Some(self.legs.swap_remove(at).1)
    }

    fn flush(&mut self, context: &mut Context<'_>) {
        if let Some(client) = &mut self.client
            && let Poll::Ready(Err(error)) = client.poll_flush(context)
        {
            self.client_broke(&error.to_string());
        }
        if self.wants_tls.is_some() && self.client.as_ref().is_some_and(Wire::is_flushed) {
            self.handshake();
        }
        let mut at = 0;
        while let Some((leg, wire)) = self.legs.get_mut(at) {
            let leg = *leg;
            match wire.poll_flush(context) {
                Poll::Ready(Err(error)) => {
                    self.lose_leg(leg, &error.to_string());
                    continue;
                }
                Poll::Ready(Ok(())) => {
                    if let Some((position, length)) = wire.fetch.take() {
                        self.jobs.push(self.spill.fetch(leg, position, length));
                    }
                }
                Poll::Pending => {}
            }
            at += 1;
        }
    }

    fn client_broke(&mut self, reason: &str) {
        if self.broken.is_none() {
            self.broken = Some(reason.into());
            self.client = None;
            self.keep_promise();
            self.step(Input::ClientClosed);
        }
    }

    /// The client cannot have read the 250: it will come again, and nothing is to be delivered twice (DECISIONS 4).
    fn keep_promise(&mut self) {
        let Some((key, words)) = self.promise.take() else { return };
        let receipts = self.driver.spool.receipts();
        tokio::spawn(async move {
            if let Err(error) = receipts.record(key, words).await {
                tracing::error!(%error, "a delivery of which the client does not know may be repeated");
            }
        });
    }

    /// The session does not wait for it, and may be over before.
    fn report(&self, relayed: Relayed) {
        let (driver, spilled) = (Arc::clone(&self.driver), self.spill.file());
        tokio::spawn(async move {
            let file = spill::written(spilled, relayed.carriage.stored).await;
            reporting::report(driver, relayed, file).await;
        });
    }

    fn lose_leg(&mut self, leg: LegId, reason: &str) {
        self.take_leg(leg);
        self.step(Input::LegClosed(leg, reason.into()));
    }

    fn handshake(&mut self) {
        let shown = self.wants_tls.take().flatten();
        let Some(stream) = self.client.take().and_then(Wire::into_stream) else { return };
        let (driver, destination) = (Arc::clone(&self.driver), self.destination.ip());
        self.jobs.push(Job::new(async move {
            let acceptor = match driver.acceptor_like(shown.as_ref()) {
                Ok(acceptor) => acceptor,
                Err(reason) => return Done::NotEncrypted(reason),
            };
            match acceptor.accept(stream, Some(destination)).await {
                Ok((stream, facts)) => Done::Encrypted(Box::new(stream), facts),
                Err(error) => Done::NotEncrypted(error.reason()),
            }
        }));
    }

    fn poll_jobs(&mut self, context: &mut Context<'_>) -> bool {
        let mut progress = false;
        let mut at = 0;
        while at < self.jobs.len() {
            match self.jobs[at].poll(context) {
                Poll::Pending => at += 1,
                Poll::Ready(done) => {
                    self.jobs.swap_remove(at);
                    self.job_done(done);
                    // What was done may have changed the list.
                    at = 0;
                    progress = true;
                }
            }
        }
        progress
    }

    fn job_done(&mut self, done: Done) {
        match done {
            Done::Encrypted(stream, facts) => {
                self.client = Some(Wire::new(stream));
                self.step(Input::Encrypted(facts));
            }
            Done::NotEncrypted(reason) => {
                if let Some(session) = &mut self.session {
                    session.tls_failed(&reason);
                }
                self.client_broke(&reason);
            }
            Done::Opened(leg, Ok(open)) => self.opened(leg, *open),
            Done::Probed(leg, Ok(open)) => {
                let OpenProbe { probed, stream } = *open;
                self.legs.push((leg, Wire::new(stream)));
                self.step(Input::Probed(leg, Box::new(probed)));
            }
            Done::Probed(leg, Err(error)) => {
                self.step(Input::OpenFailed(leg, No::ServerUnreachable(error.to_string().into())));
            }
            Done::Located(host, found) => self.step(Input::Located(host, found)),
            Done::LookedUp(mailbox, listing) => self.step(Input::LookedUp(mailbox, listing)),
            Done::Opened(leg, Err(error)) => self.step(Input::OpenFailed(leg, error.no())),
            Done::Stored(Ok(())) => self.step(Input::Stored),
            Done::Stored(Err(error)) => {
                tracing::error!(%error, "content could not be stored");
                self.step(Input::StoreFailed);
            }
            Done::Fetched(leg, Ok(bytes)) => self.step(Input::Fetched(leg, &bytes)),
            Done::Fetched(leg, Err(error)) => {
                tracing::error!(%error, "stored content could not be read");
                self.step(Input::FetchFailed(leg));
            }
            Done::Judged(transaction, Some(judgement)) => self.step(Input::Judged(transaction, judgement)),
            Done::Judged(transaction, None) => {
                self.step(Input::NotJudged(transaction, "the judge broke off".into()));
            }
            Done::Signed(transaction, fields) => self.step(Input::Signed(transaction, fields)),
            Done::Spooled(group, Ok(spooled)) => {
                if matches!(spooled.folder(), Folder::Reports | Folder::Traps)
                    && let Some(judge) = &self.driver.judge
                {
                    judge.own_mail_came();
                }
                self.step(Input::Spooled(group, spooled));
            }
            Done::Spooled(group, Err(error)) => {
                let no = match error {
                    SpoolError::Full | SpoolError::Busy => No::NoRoom,
                    _ => No::StorageFailed,
                };
                tracing::error!(%error, "a message could not be spooled");
                self.step(Input::SpoolFailed(group, no));
            }
        }
    }

    fn poll_client(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let reads = self.session.as_ref().is_some_and(Session::reads_client) && self.wants_tls.is_none();
        if !reads {
            return Poll::Pending;
        }
        READ.with_borrow_mut(|scratch| {
            let Some(client) = self.client.as_mut().filter(|client| client.waiting() < MAX_WAITING) else {
                return Poll::Pending;
            };
            let mut buffer = ReadBuf::new(scratch);
            match ready!(client.poll_read(context, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => self.step(Input::ClientClosed),
                Ok(()) => {
                    self.promise = None;
                    self.bytes.0 += buffer.filled().len() as u64;
                    self.step(Input::Client(buffer.filled()));
                }
                Err(error) => self.client_broke(&error.to_string()),
            }
            Poll::Ready(())
        })
    }

    fn poll_legs(&mut self, context: &mut Context<'_>) -> bool {
        let mut progress = false;
        let mut at = 0;
        while at < self.legs.len() {
            progress |= self.poll_leg(at, context);
            at += 1;
        }
        progress
    }

    fn poll_leg(&mut self, at: usize, context: &mut Context<'_>) -> bool {
        READ.with_borrow_mut(|scratch| {
            let Some((leg, wire)) = self.legs.get_mut(at) else { return false };
            let leg = *leg;
            let mut buffer = ReadBuf::new(scratch);
            match wire.poll_read(context, &mut buffer) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    self.lose_leg(leg, "the server closed the connection");
                }
                Poll::Ready(Ok(())) => self.step(Input::Leg(leg, buffer.filled())),
                Poll::Ready(Err(error)) => self.lose_leg(leg, &error.to_string()),
            }
            true
        })
    }

    /// Every poll of the future takes a lock that all sessions share: it is polled once, to be woken, and after that
    /// only the version is looked at.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> bool {
        if self.drained || (self.awaits_drain && !self.drains.has_changed().unwrap_or(false)) {
            return false;
        }
        self.awaits_drain = true;
        if self.drain.as_mut().poll(context).is_pending() && !*self.drains.borrow() {
            return false;
        }
        self.drained = true;
        self.step(Input::Drain);
        true
    }

    /// The timer is set anew only when it fires or when the deadline has come nearer: most never fire.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(deadline) = self.session.as_ref().map(Session::deadline) else { return Poll::Pending };
            if deadline < self.timer.deadline() {
                self.timer.as_mut().reset(deadline);
            }
            ready!(self.timer.as_mut().poll(context));
            if deadline <= Instant::now() {
                if self.finishing || self.broken.is_some() {
                    // The client does not even take its last reply.
                    self.client = None;
                    self.broken.get_or_insert_with(|| "the client reads nothing".into());
                } else {
                    self.step(Input::Deadline);
                }
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(deadline);
        }
    }

    fn finish(mut self) {
        let now = Instant::now();
        let Some(session) = self.session.take() else { return };
        let ended = session.end().cloned();
        let end = match (self.broken.take(), ended) {
            (Some(_), Some(SessionEnd::Abuse(abuse))) => SessionEnd::Abuse(abuse),
            (Some(reason), _) => SessionEnd::Broken(reason),
            (None, ended) => ended.unwrap_or(SessionEnd::Closed),
        };
        if let (Some(verdict), Some(intercepting)) = (session.verdict(), &self.driver.interception) {
            intercepting.inner.note(session.client().ip(), self.destination, verdict, now);
        }
        if let (Some(name), Some(intercepting)) = (session.name_of_server(), &self.driver.interception) {
            intercepting.called.note(session.client().ip(), name);
        }
        self.driver.recorder.record(Event::Session(Box::new(session.record(self.bytes, end, now))));
        if let Some(client) = self.client.take() {
            client.shut();
        }
    }
}
