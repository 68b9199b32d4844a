//! A session, its client, its servers and its disk in one value without time or sockets: what `relay::drive` does, done by
//! hand, in any order that is possible.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use delivery::{Far, Proven};
use record::{Event, Leg, Protocol, SystemClock, TlsOutcome};
use relay::{
    Action, Beginning, Budget, Input, Judgement, Judging, LegId, Limits, OnFailure, OwnAddresses, Question,
    Relayed, Session, Settings, SpoolRequest, Wants, step,
};
use route::{
    Backend, BackendSettings, Banner, ClientAddress, Directory, Known, List, Listing, LookingUp, Recipients,
    Routing,
};
use smtp::dialogue::Sent;
use smtp::{Domain, ForwardPath, Mailbox, No, Reply, ReplyCode, TraceId};
use spool::{ClientFacts, Content, Entry, Folder, SimulatedDisk, Spool};
use tls::{Connector, Ladder, LegPolicy};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::choices::Choices;
use super::server::{Ledger, Server, Taken, Voice, yes};

/// Postern's name in these plays.
// The fuzz target takes this file from elsewhere.
#[path = "harness/behind.rs"]
mod behind;
#[path = "harness/stage.rs"]
mod stage;

pub(crate) use behind::leaving;
use behind::{proven, routing};
pub(crate) use stage::{BUDGET, Bench, Desk, Sentence, Stage};

pub(crate) const HOSTNAME: &str = "mx.postern.example";
/// What a modern server offers.
pub(crate) const MODERN: &[&str] =
    &["PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME", "DSN"];
/// What an old one does.
pub(crate) const OLD: &[&str] = &["SIZE 1000000"];

/// What becomes of a connection that is asked for.
pub(crate) enum Opening {
    /// It is there, with this offered and this voice.
    Opens(&'static [&'static str], Voice),
    Fails,
    /// The server does not want this client.
    Refused,
    /// Nothing is heard of it.
    Hangs,
}

impl Opening {
    pub(crate) fn agreeable() -> Self {
        Self::Opens(MODERN, Box::new(yes))
    }
}

/// Decides it; it is told the backend's name and how many connections there were before.
pub(crate) type Doors = Box<dyn FnMut(&str, usize) -> Opening>;

/// Something that will happen to the session.
enum Due {
    Open(LegId, Arc<Backend>, bool),
    Replies(LegId),
    Stored,
    Fetch(LegId, u64, usize),
    Spool(Box<SpoolRequest>),
    LookUp(Mailbox),
    Judge(Box<Question>),
}

/// A message that is durable.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) transaction: String,
    pub(crate) recipients: Vec<String>,
    pub(crate) content: Vec<u8>,
    pub(crate) folder: Folder,
}

/// When all plays are, since 1970.
pub(crate) const WALL: Duration = Duration::from_secs(1_795_288_205);

pub(crate) struct Play {
    session: Option<Session>,
    pub(crate) now: Instant,
    pub(crate) choices: Choices,
    doors: Doors,
    opened: usize,
    legs: Vec<(LegId, Server)>,
    /// Connections in the pool, of any session.
    pool: Vec<(Arc<Backend>, Far<Proven>, Server)>,
    due: VecDeque<Due>,
    /// Bytes of the client on their way.
    inbox: VecDeque<u8>,
    /// All that the client was told.
    pub(crate) said: Vec<u8>,
    read: usize,
    /// Content that the session gave away.
    file: Vec<u8>,
    disk: Option<(Runtime, Spool)>,
    pub(crate) is_disk_full: bool,
    pub(crate) spooled: Vec<Stored>,
    /// What senders are to be told.
    pub(crate) relayed: Vec<Relayed>,
    pub(crate) ledger: Ledger,
    pub(crate) events: Vec<Event>,
    pub(crate) misbehaved: usize,
    judge: Bench,
    /// Transactions that were given to the judge.
    pub(crate) judged: Vec<String>,
    /// Why servers were doubted.
    pub(crate) doubts: Vec<String>,
    /// Recipients that are on the directory's list; of others it does not answer, or says no.
    pub(crate) listed: Vec<&'static str>,
    pub(crate) is_finished: bool,
    /// Backends whose replies are on their way for now.
    pub(crate) held: Vec<&'static str>,
    /// How many octets come at once from the client and from servers.
    pub(crate) pieces: (usize, usize),
    budget: Arc<Budget>,
}

impl Play {
    /// A session that has been greeted, with servers that agree to everything.
    pub(crate) fn agreeable() -> Self {
        Self::new(Box::new(|_, _| Opening::agreeable()), Choices::Plain)
    }

    /// Servers that offer the same and speak with one voice.
    pub(crate) fn with_voice(
        extensions: &'static [&'static str],
        voice: impl FnMut(super::server::Asked<'_>) -> super::server::Says + Send + Clone + 'static,
    ) -> Self {
        Self::new(Box::new(move |_, _| Opening::Opens(extensions, Box::new(voice.clone()))), Choices::Plain)
    }

    pub(crate) fn new(doors: Doors, choices: Choices) -> Self {
        Self::on(Stage::default(), doors, choices)
    }

    pub(crate) fn on(stage: Stage, doors: Doors, choices: Choices) -> Self {
        let routing = routing(&stage);
        let limits = stage.limits;
        let arrival = match stage.is_inbound {
            true => relay::Arrival::Inbound(Arc::clone(&routing.backends()[0])),
            false => relay::Arrival::Here { may_relay: stage.may_relay },
        };
        let settings = Settings {
            hostname: HOSTNAME.into(),
            routing,
            limits,
            inbound_plain: relay::InboundPlain::Accept,
            offers_tls: false,
            loop_key: [7; 32],
            inside: intercept::Networks::none(),
            originators: intercept::Networks::none(),
            mends_lines_of: intercept::Networks::none(),
            hides: true,
            signs: false,
            judging: stage.judge.is_some().then_some(Judging {
                budget: BUDGET,
                on_failure: stage.on_failure,
                submissions: false,
            }),
            own: stage.own,
        };
        let budget = Budget::new(limits.in_flight);
        let beginning = Beginning {
            arrival,
            id: TraceId::new(1_795_288_205_000, 5),
            settings: Arc::new(settings),
            protocol: Protocol::Smtp,
            client: ([192, 0, 2, 1], 40_000).into(),
            destination: ([192, 0, 2, 2], 25).into(),
            unwelcome: stage.unwelcome,
            wall: WALL,
            budget: Arc::clone(&budget),
        };
        let now = Instant::now();
        let mut play = Self {
            session: Some(Session::new(beginning, now)),
            now,
            choices,
            doors,
            opened: 0,
            legs: Vec::new(),
            pool: Vec::new(),
            due: VecDeque::new(),
            inbox: VecDeque::new(),
            said: Vec::new(),
            read: 0,
            file: Vec::new(),
            disk: None,
            is_disk_full: false,
            spooled: Vec::new(),
            relayed: Vec::new(),
            ledger: Arc::new(Mutex::new(Vec::new())),
            events: Vec::new(),
            misbehaved: 0,
            judge: stage.judge.unwrap_or_else(|| Box::new(|_, _| Sentence::Nothing)),
            judged: Vec::new(),
            doubts: Vec::new(),
            listed: Vec::new(),
            is_finished: false,
            held: Vec::new(),
            pieces: (usize::MAX, usize::MAX),
            budget,
        };
        play.step(Input::Begin);
        play
    }

    pub(crate) fn session(&self) -> &Session {
        match &self.session {
            Some(session) => session,
            None => panic!("inside a step"),
        }
    }

    /// Does one step and what it wants; nothing happens to the session meanwhile.
    pub(crate) fn step(&mut self, input: Input<'_>) {
        let Some(session) = self.session.take() else { panic!("inside a step") };
        let was_ended = session.is_ended();
        let (session, wants) = step(session, input, self.now);
        self.session = Some(session);
        let Wants { to_client, actions } = wants;
        assert!(!was_ended || to_client.is_empty(), "a word after the last");
        self.said.extend_from_slice(&to_client);
        actions.into_iter().for_each(|action| self.act(action));
        assert_eq!(self.session().is_ended(), self.is_finished, "the end is told");
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Open(leg, request) => {
                let pooled = request.may_be_pooled && !request.submission;
                self.due.push_back(Due::Open(leg, request.backend, pooled));
            }
            Action::Write(leg, bytes) => {
                let Some((_, server)) = self.legs.iter_mut().find(|(id, _)| *id == leg) else { return };
                server.hears(&bytes);
                self.due.push_back(Due::Replies(leg));
            }
            Action::Release(leg, far) => {
                if let Some(server) = self.take_leg(leg) {
                    assert!(
                        far.is_settled() && !far.is_in_transaction(),
                        "only what is in step is used again"
                    );
                    self.pool.push((Arc::clone(far.backend()), *far, server));
                }
            }
            Action::Close(leg, polite) => {
                if let Some(mut server) = self.take_leg(leg).filter(|_| polite) {
                    // QUIT may come in the middle of replies; only the order of lines matters to the server.
                    server.out.clear();
                    server.hears(b"QUIT\r\n");
                }
            }
            Action::Store(bytes) => {
                self.file.extend_from_slice(&bytes);
                self.due.push_back(Due::Stored);
            }
            Action::Fetch(leg, position, length) => self.due.push_back(Due::Fetch(leg, position, length)),
            Action::Judge(question) => {
                // Law 8 and DESIGN §3: nobody has an octet of it yet.
                self.judged.push(question.transaction.to_string());
                self.due.push_back(Due::Judge(question));
            }
            Action::Spool(request) => self.due.push_back(Due::Spool(request)),
            // The receipt for a client that could not be told is the driver's.
            Action::Promised(..) => {}
            Action::Report(relayed) => self.relayed.push(*relayed),
            Action::Forget => self.file.clear(),
            Action::Record(event) => self.events.push(event),
            Action::Misbehaved => self.misbehaved += 1,
            Action::Doubt { reason, .. } => self.doubts.push(reason.into()),
            Action::LookUp(_, mailbox) => self.due.push_back(Due::LookUp(mailbox)),
            Action::StartTls(_) => panic!("TLS is not offered"),
            Action::Probe(..) | Action::Locate(_) | Action::Sign(_) => panic!("nothing goes out"),
            Action::Tell(_) => {}
            Action::Finish => self.is_finished = true,
        }
    }

    fn take_leg(&mut self, leg: LegId) -> Option<Server> {
        self.due.retain(|due| !matches!(due, Due::Open(id, ..) if *id == leg));
        let at = self.legs.iter().position(|(id, _)| *id == leg)?;
        Some(self.legs.swap_remove(at).1)
    }

    /// The client sends this, and all that follows from it happens.
    pub(crate) fn client(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.inbox.extend(bytes.as_ref());
        self.run();
        self
    }

    /// Until nothing more happens by itself.
    pub(crate) fn run(&mut self) {
        while self.happens() {}
    }

    /// One thing that can happen now, if there is one.
    pub(crate) fn happens(&mut self) -> bool {
        let reads = self.session().reads_client() && !self.inbox.is_empty();
        let possible: Vec<usize> =
            (0..self.due.len()).filter(|&at| self.is_possible(&self.due[at])).collect();
        let all = possible.len() + usize::from(reads);
        if all == 0 {
            return false;
        }
        let chosen = self.choices.below(all);
        if reads && chosen == 0 {
            self.client_piece();
        } else if let Some(due) = self.due.remove(possible[chosen - usize::from(reads)]) {
            self.happen(due);
        }
        true
    }

    fn is_possible(&self, due: &Due) -> bool {
        let backend = match due {
            Due::Open(_, backend, _) => backend.name(),
            Due::Replies(leg) => {
                self.legs.iter().find(|(id, _)| id == leg).map_or("", |(_, server)| &server.backend)
            }
            _ => "",
        };
        !self.held.contains(&backend)
    }

    fn client_piece(&mut self) {
        let most = self.inbox.len().min(self.pieces.0);
        let length = if self.choices.once_in(2) { 1 + self.choices.below(most) } else { most };
        let piece: Vec<u8> = self.inbox.drain(..length).collect();
        self.step(Input::Client(&piece));
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Open(leg, backend, pooled) => self.open(leg, &backend, pooled),
            Due::Replies(leg) => self.replies_come(leg),
            Due::Stored if self.choices.once_in(200) => self.step(Input::StoreFailed),
            Due::Stored => self.step(Input::Stored),
            Due::Fetch(leg, position, length) => {
                if !self.legs.iter().any(|(id, _)| *id == leg) {
                    return;
                }
                let from = usize::try_from(position).unwrap_or(usize::MAX);
                match self.file.get(from..from + length).map(<[u8]>::to_vec) {
                    Some(_) if self.choices.once_in(200) => self.step(Input::FetchFailed(leg)),
                    Some(bytes) => self.step(Input::Fetched(leg, &bytes)),
                    None => panic!("content is fetched that was never stored"),
                }
            }
            Due::Spool(request) => self.spool(*request),
            Due::Judge(question) => self.judge(&question),
            Due::LookUp(mailbox) => {
                let listing = match self.listed.contains(&mailbox.as_str()) {
                    true => Listing::Listed,
                    false if self.choices.once_in(4) => Listing::Unanswered,
                    false => Listing::NotListed,
                };
                self.step(Input::LookedUp(mailbox, listing));
            }
        }
    }

    fn open(&mut self, leg: LegId, backend: &Arc<Backend>, pooled: bool) {
        if let Some(at) = self.pool.iter().position(|(of, ..)| pooled && Arc::ptr_eq(of, backend)) {
            let (_, mut far, server) = self.pool.swap_remove(at);
            far.mark_reused();
            self.legs.push((leg, server));
            self.step(Input::Opened(leg, Box::new(far)));
            if self.legs.iter().any(|(id, server)| *id == leg && server.is_closed) {
                self.due.push_back(Due::Replies(leg));
            }
            return;
        }
        self.opened += 1;
        match (self.doors)(backend.name(), self.opened - 1) {
            Opening::Opens(extensions, voice) => {
                let server = Server::new(backend.name(), extensions, voice, Arc::clone(&self.ledger));
                self.legs.push((leg, server));
                self.step(Input::Opened(leg, Box::new(proven(backend, extensions))));
            }
            Opening::Fails => {
                self.step(Input::OpenFailed(leg, No::ServerUnreachable("nobody answers".into())));
            }
            Opening::Refused => self.step(Input::OpenFailed(leg, No::ServerRefuses("554 go away".into()))),
            Opening::Hangs => {}
        }
    }

    fn replies_come(&mut self, leg: LegId) {
        let most = self.pieces.1;
        let cut = self.choices.once_in(2).then(|| self.choices.below(16) + 1);
        let Some((_, server)) = self.legs.iter_mut().find(|(id, _)| *id == leg) else { return };
        let length = server.out.len().min(most).min(cut.unwrap_or(usize::MAX));
        let piece: Vec<u8> = server.out.drain(..length).collect();
        let (more, closed) = (!server.out.is_empty(), server.is_closed);
        if more {
            self.due.push_front(Due::Replies(leg));
        }
        if !piece.is_empty() {
            self.step(Input::Leg(leg, &piece));
        }
        if closed && !more && self.take_leg(leg).is_some() {
            self.step(Input::LegClosed(leg, "the server closed the connection".into()));
        }
    }

    /// The judge is asked; what it gets is the content as it came.
    fn judge(&mut self, question: &Question) {
        let mut content =
            self.file.get(..usize::try_from(question.stored).unwrap_or(usize::MAX)).map(<[u8]>::to_vec);
        assert!(content.is_some(), "content is to be judged that was never stored");
        if let Some(content) = &mut content {
            content.extend_from_slice(&question.tail);
        }
        match (self.judge)(question, &content.unwrap_or_default()) {
            Sentence::Verdict(judgement) => self.step(Input::Judged(question.transaction, judgement)),
            Sentence::Breaks => {
                self.step(Input::NotJudged(question.transaction, "the judge broke off".into()))
            }
            Sentence::Nothing => {}
        }
    }

    /// Stores a message on a simulated disk, and reads back what is there.
    fn spool(&mut self, request: SpoolRequest) {
        let group = request.group;
        if self.is_disk_full || self.choices.once_in(20) {
            let no = if self.is_disk_full { No::NoRoom } else { No::StorageFailed };
            return self.step(Input::SpoolFailed(group, no));
        }
        let mut content = self.file.clone();
        assert_eq!(content.len() as u64, request.carriage.stored);
        content.extend_from_slice(&request.carriage.tail);
        let content = leaving(&content, &request.carriage.outgoing);
        let (runtime, spool) = self.disk.get_or_insert_with(open_disk);
        let (transaction, folder) = (request.transaction.to_string(), request.folder);
        let stored = runtime.block_on(spool.store(entry(request), Content::new().bytes(content)));
        let Ok(proof) = stored else { panic!("a disk that works") };
        let (recipients, content) = runtime.block_on(read_back(spool, proof.id()));
        self.spooled.push(Stored { transaction, recipients, content, folder });
        self.step(Input::Spooled(group, proof));
    }

    /// What was said since the last time, a reply each.
    pub(crate) fn replies(&mut self) -> Vec<String> {
        let replies = split_replies(&self.said[self.read..]);
        self.read = self.said.len();
        replies
    }

    /// The codes of what was said since the last time.
    pub(crate) fn codes(&mut self) -> Vec<u16> {
        self.replies().iter().map(|reply| reply[..3].parse().unwrap_or(0)).collect()
    }

    /// What servers were sent whole.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.ledger.lock().map(|taken| taken.clone()).unwrap_or_default()
    }

    /// The connection to a backend, if one is open.
    pub(crate) fn leg_to(&self, backend: &str) -> Option<LegId> {
        self.legs.iter().find(|(_, server)| server.backend == backend).map(|(id, _)| *id)
    }

    /// The lines that a backend's open connection has heard.
    pub(crate) fn heard(&self, backend: &str) -> Vec<String> {
        let open = self.legs.iter().map(|(_, server)| server);
        let all = open.chain(self.pool.iter().map(|(_, _, server)| server));
        all.filter(|server| server.backend == backend).flat_map(|server| server.lines.clone()).collect()
    }

    /// The connection to a backend breaks.
    pub(crate) fn lose(&mut self, backend: &str) {
        let Some(leg) = self.leg_to(backend) else { panic!("no connection to {backend}") };
        self.take_leg(leg);
        self.step(Input::LegClosed(leg, "the connection broke".into()));
        self.run();
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    /// Lets time pass to the session's deadline, and what follows from it happen.
    pub(crate) fn let_time_run_out(&mut self) {
        self.now = self.now.max(self.session().deadline());
        self.step(Input::Deadline);
        self.run();
    }

    /// Time passes until the session is over, which must not take many deadlines.
    pub(crate) fn end(&mut self) {
        for _ in 0..20 {
            if self.is_finished {
                break;
            }
            self.let_time_run_out();
        }
        assert!(self.is_finished, "the session hangs");
        assert_eq!(self.budget.used(), 0, "what was in flight is given back");
        let left: Vec<_> = self.legs.iter().map(|(leg, server)| (leg, &server.lines)).collect();
        assert!(left.is_empty(), "no connection outlives the session: {left:?}");
    }

    /// Connections that were asked for and not taken from the pool.
    pub(crate) fn opened(&self) -> usize {
        self.opened
    }

    /// Servers close the connections that wait for another session.
    pub(crate) fn close_pooled(&mut self) {
        self.pool.iter_mut().for_each(|(_, _, server)| server.is_closed = true);
    }

    /// Connections that wait for another session.
    pub(crate) fn pooled(&self) -> usize {
        self.pool.len()
    }
}

fn open_disk() -> (Runtime, Spool) {
    let runtime = Builder::new_current_thread().build();
    let disk = Arc::new(SimulatedDisk::new(1));
    let spool = Spool::open(spool::Settings::default(), disk, Arc::new(SystemClock));
    let (Ok(runtime), Ok(spool)) = (runtime, spool) else { panic!("no disk to play with") };
    (runtime, spool)
}

fn entry(request: SpoolRequest) -> Entry {
    Entry {
        transaction: request.transaction,
        envelope: request.envelope,
        recipients: request.recipients,
        client: Some(ClientFacts {
            address: request.client.address,
            helo: request.client.helo,
            protocol: request.protocol.name().into(),
            tls: None,
            authenticated: request.authenticated,
        }),
        sender: request.sender,
        folder: request.folder,
        backend: request.backend,
        reason: request.reason,
        received_at: request.received,
    }
}

pub(crate) async fn read_back(spool: &Spool, id: spool::EntryId) -> (Vec<String>, Vec<u8>) {
    let Ok(mut opened) = spool.open_entry(id).await else { panic!("what was stored is there") };
    let mut content = Vec::new();
    while let Ok(Some(piece)) = opened.content.next().await {
        content.extend_from_slice(&piece);
    }
    let named =
        |index: usize| Some(opened.entry.envelope.recipients.get(index)?.forward_path.as_str().to_owned());
    (opened.entry.recipients.iter().filter_map(named).collect(), content)
}

/// Whole replies; each begins with its code.
pub(crate) fn split_replies(said: &[u8]) -> Vec<String> {
    let (mut replies, mut reply) = (Vec::new(), String::new());
    for line in String::from_utf8_lossy(said).split_inclusive("\r\n") {
        reply.push_str(line.trim_end());
        let more = line.as_bytes().get(3) == Some(&b'-');
        if line.ends_with("\r\n") && !more {
            replies.push(std::mem::take(&mut reply));
        } else {
            reply.push('\n');
        }
    }
    assert!(reply.trim().is_empty(), "half a reply: {reply}");
    replies
}
