//! Opening a connection to one of a backend's servers, as far as the moment where MAIL can be said: TCP, PROXY header,
//! banner, EHLO, STARTTLS, EHLO again, the policy's word, XCLIENT.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use intercept::Source;
use record::{Clock, Event, FarProof, Leg, LegFailure, Recorder, TlsOutcome, TlsTally};
use route::{Backend, ClientAddress, Server};
use smtp::dialogue::{OutOfStep, Sent};
use smtp::{Extension, Reply, TraceId};
use tls::{Chain, Connector, Ladder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::far::{Far, Proven, Unproven};
use crate::network::{Network, Stream};
use crate::pool::Pool;
use crate::probe::say_goodbye;
use crate::timeouts;

pub use error::OpenError;
pub(crate) use tally::outcome_of;
pub(crate) use terms::Terms;
pub use terms::TlsWish;

mod client_facts;
mod error;
mod login;
mod tally;
mod terms;

/// What a server is told of the client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where it connects from.
    pub address: SocketAddr,
    /// Where it meant to connect to.
    pub destination: SocketAddr,
    /// What it called itself; empty while it did not.
    pub helo: Box<str>,
    /// Whether it said EHLO.
    pub esmtp: bool,
}

/// What is needed of a connection.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// The session that it is for.
    pub session: TraceId,
    /// The backend.
    pub backend: Arc<Backend>,
    /// Whether AUTH will be said: the servers for submission.
    pub submission: bool,
    /// The client whose mail goes over it; `None` for mail that Postern itself writes.
    pub client: Option<Client>,
    /// Whether a connection out of the pool will do.
    pub may_be_pooled: bool,
    /// What the message wants of TLS.
    pub tls: TlsWish,
}

/// An open connection on which MAIL can be said.
pub struct OpenLeg {
    /// The far side.
    pub far: Far<Proven>,
    /// Its bytes.
    pub stream: Stream,
}

/// Opens connections for sessions, the queue and probes.
pub struct Opener {
    /// How connections come about.
    pub network: Arc<dyn Network>,
    /// What Postern calls itself.
    pub hostname: Box<str>,
    /// Who is told of failures.
    pub recorder: Arc<dyn Recorder>,
    /// Dates failures.
    pub clock: Arc<dyn Clock>,
    /// Connections that wait for a session.
    pub pool: Pool,
    /// Who keeps what TLS with the world came to, for reports.
    pub tally: Option<Arc<dyn TlsTally>>,
}

impl Opener {
    /// A connection that waits in the pool, if one will do.
    pub fn take_pooled(&self, request: &OpenRequest) -> Option<OpenLeg> {
        let client = request.client.as_ref().map(|client| client.address.ip());
        let counts = client.is_some_and(|client| request.backend.is_itself(client));
        let as_usual = request.tls == TlsWish::AsPolicySays;
        let will_do = request.may_be_pooled && as_usual && !request.submission && !counts;
        if will_do { self.pool.take(&request.backend) } else { None }
    }

    /// Puts a connection into the pool, if another session may use it; else it is dropped.
    pub fn release(&self, leg: OpenLeg) {
        self.pool.put(leg);
    }

    /// A new connection to the first server that can be used.
    ///
    /// # Errors
    ///
    /// When none could be used: what a server said that does not want this client, else the last one's failure. Each was
    /// recorded and noted against its server.
    pub async fn open(&self, request: &OpenRequest) -> Result<OpenLeg, OpenError> {
        let servers = match request.submission {
            true => request.backend.submission(),
            false => request.backend.servers(),
        };
        let client = request.client.as_ref().map(|client| client.address.ip());
        let asking_back = client.map(|client| request.backend.asked_by(client)).transpose();
        let asking_back = asking_back.inspect_err(|error| {
            // No fault of the server's that it has to be left alone for.
            self.record_failure(request, servers.first().map(|server| server.address()), error.to_string());
        })?;
        let all = Instant::now() + timeouts::ALL_SERVERS;
        let hidden = request.backend.world().is_none();
        let mut last = OpenError::NoServer;
        let meant = request.client.as_ref().map(|client| client.destination);
        for server in in_order(servers, meant) {
            // Of one that is down the sessions are told by whoever tries it next.
            if hidden && !server.may_be_tried(Instant::now()) {
                if matches!(last, OpenError::NoServer) {
                    last = OpenError::Down(server.last_failure().unwrap_or_default());
                }
                continue;
            }
            let opened = timeout_at(all, self.open_server(request, &server)).await;
            match opened.unwrap_or(Err(OpenError::Silent)) {
                Ok(mut leg) => {
                    server.answered();
                    leg.far.set_asking_back(asking_back.flatten());
                    return Ok(leg);
                }
                Err(error) => {
                    self.note_failure(request, &server, &error);
                    let error = match server.far_tls() {
                        Some(far) => error.of_far_side(&far.demanded().words),
                        None => error,
                    };
                    if is_worse(&error, &last) {
                        last = error;
                    }
                }
            }
        }
        Err(last)
    }

    fn note_failure(&self, request: &OpenRequest, server: &Server, error: &OpenError) {
        let reason = match server.far_tls() {
            Some(far) if !matches!(error, OpenError::Never { .. }) => {
                format!("{error}; {}", far.demanded().words)
            }
            _ => error.to_string(),
        };
        let (now, wall) = (Instant::now(), self.clock.now());
        let clients_own =
            matches!(request.backend.client_address(), ClientAddress::Transparent | ClientAddress::Proxy);
        match error {
            // It is there, and others' mail can go to it.
            error if error.is_final() => {}
            _ if request.backend.world().is_some() => server.failed(now, wall, &reason),
            // It answers: what it does not want may be this client, or this moment.
            OpenError::Refused(_) => server.doubted(now),
            error if !error.is_slow() => server.failed(now, wall, &reason),
            _ if clients_own => server.failed_slowly_for_client(now, wall, &reason),
            _ => server.failed_slowly(now, wall, &reason),
        }
        self.record_failure(request, Some(server.address()), reason);
    }

    fn record_failure(&self, request: &OpenRequest, server: Option<SocketAddr>, reason: String) {
        let client = request.client.as_ref().map(|client| client.address.ip());
        let transparent = request.backend.client_address() == ClientAddress::Transparent;
        let Some(server) = server else { return };
        self.recorder.record(Event::LegFailed(Box::new(LegFailure {
            session: Some(request.session),
            backend: request.backend.name().into(),
            server,
            source: client.filter(|_| transparent),
            reason: reason.into(),
        })));
    }

    /// A server broke off in the middle of a session, or fell silent: down for some, perhaps not for all. Others are tried
    /// before it for a while; the session of `client` is told of in the record.
    pub fn note_doubt(
        &self,
        session: TraceId,
        client: IpAddr,
        backend: &Backend,
        server: SocketAddr,
        reason: Box<str>,
    ) {
        if let Some(server) = backend.server_at(server) {
            server.doubted(Instant::now());
        }
        let transparent = backend.client_address() == ClientAddress::Transparent;
        self.recorder.record(Event::LegFailed(Box::new(LegFailure {
            session: Some(session),
            backend: backend.name().into(),
            server,
            source: transparent.then_some(client),
            reason,
        })));
    }

    /// Where the policy allows plain text, a handshake that fails is followed by a session without TLS.
    async fn open_server(&self, request: &OpenRequest, server: &Server) -> Result<OpenLeg, OpenError> {
        let terms = Terms::of(&request.backend, server, request.tls);
        let opened = match terms.never() {
            Some(never) => Err(never),
            None => match self.open_with(request, server, &terms, None).await {
                Err(OpenError::Tls(error)) if terms.policy.allows_plain() => {
                    self.tell_failure(&terms, server, self.source_of(request, server), &error);
                    self.open_with(request, server, &terms, Some(error.reason())).await
                }
                opened => opened,
            },
        };
        if let Err(error) = &opened {
            self.tell_error(&terms, server, self.source_of(request, server), error);
        }
        match (request.tls, opened) {
            (TlsWish::Required, Err(error)) if terms.far.is_some() => Err(error.with_requiretls()),
            (TlsWish::Required, Ok(leg)) if terms.far.is_some() => leg.with_requiretls().await,
            (_, opened) => opened,
        }
    }

    fn source_of(&self, request: &OpenRequest, server: &Server) -> Source {
        let backend = &request.backend;
        match (backend.client_address(), &request.client) {
            (ClientAddress::Transparent, Some(client)) => Source::Transparent(client.address),
            _ => {
                let own = backend.world().and_then(|world| world.address_towards(server.address()));
                own.map_or(Source::Kernel, Source::Address)
            }
        }
    }

    async fn open_with(
        &self,
        request: &OpenRequest,
        server: &Server,
        terms: &Terms<'_>,
        tls_failed: Option<Box<str>>,
    ) -> Result<OpenLeg, OpenError> {
        let backend = &request.backend;
        let source = self.source_of(request, server);
        let deadline = Instant::now() + timeouts::CONNECT;
        let mut stream = self.network.connect(server.address(), source, deadline).await?;
        if backend.client_address() == ClientAddress::Proxy {
            let mut header = Vec::new();
            match &request.client {
                Some(client) => {
                    intercept::proxy_protocol::write_v2(&mut header, client.address, client.destination);
                }
                None => intercept::proxy_protocol::write_v2_local(&mut header),
            }
            stream.write_all(&header).await?;
        }
        // With the client's own address goes the client's own name (DECISIONS 7).
        let transparent = backend.client_address() == ClientAddress::Transparent;
        let tells = transparent && !backend.world().is_some_and(|world| world.hides_client_name);
        let helo = request.client.as_ref().map(|client| &client.helo);
        let name = helo.filter(|helo| tells && !helo.is_empty()).unwrap_or(&self.hostname);
        let Greeted { far, stream, tls, chain } =
            greet(stream, Hail::under(terms, backend, server), name, tls_failed).await?;
        let tls = terms.refine(tls);
        self.tell_outcome(terms, server, source, &tls, chain.as_ref());
        let leg = Leg {
            backend: backend.name().into(),
            server: server.address(),
            client_address: match backend.client_address() {
                _ if request.client.is_none() => "none",
                ClientAddress::Transparent => "transparent",
                ClientAddress::Proxy => "proxy",
                _ => "none",
            },
            reused: false,
            policy: terms.words(&tls, chain.as_ref()),
            tls,
        };
        let far = far.prove_under(backend, terms, leg);
        let far = far.map_err(|_| OpenError::TooWeak(backend.policy_of(server)))?;
        let leg = OpenLeg { far, stream };
        match (backend.world().and_then(|world| world.login.as_ref()), &request.client) {
            (Some(login), _) => login::authenticate(leg, login).await,
            (None, Some(client)) => client_facts::tell(leg, backend, client, name).await,
            (None, None) => Ok(leg),
        }
    }
}

impl OpenLeg {
    /// The same, if it is as good as RFC 8689 §4.2.1 wants it; else the server hears QUIT.
    async fn with_requiretls(mut self) -> Result<Self, OpenError> {
        let error = match (self.far.is_proved(), self.far.capabilities().has(Extension::RequireTls)) {
            (true, true) => return Ok(self),
            (true, false) => OpenError::NoRequireTls,
            (false, _) => OpenError::Unproved(
                "REQUIRETLS is asked for, and nothing proves that it is the server".into(),
            ),
        };
        say_goodbye(&mut self.stream).await;
        Err(error)
    }
}

/// Whether an error says more than the one before it: that a server does not want this client for good; then that it may be
/// reached later, before that mail as it is can never go there.
fn is_worse(error: &OpenError, last: &OpenError) -> bool {
    match last {
        OpenError::NoServer => true,
        OpenError::Refused(reply) if reply.code().is_permanent() => false,
        last if last.is_final() => true,
        // Mail for which policies do not count could go there.
        OpenError::FarTooWeak(_) => matches!(error, OpenError::Refused(_) | OpenError::FarTooWeak(_)),
        _ => !error.is_final(),
    }
}

/// The servers in the order in which to try them. One that the client itself was on its way to comes first, unless it
/// failed lately.
fn in_order(servers: &[Arc<Server>], destination: Option<SocketAddr>) -> Vec<Arc<Server>> {
    let now = Instant::now();
    let mut servers = Backend::in_order(servers, now);
    let meant = |server: &Arc<Server>| Some(server.address()) == destination && server.is_eligible(now);
    servers.sort_by_key(|server| !meant(server));
    servers
}

/// A connection after EHLO, in clear or behind TLS, that no policy has looked at.
pub(crate) struct Greeted {
    pub(crate) far: Far<Unproven>,
    pub(crate) stream: Stream,
    pub(crate) tls: TlsOutcome,
    /// What a handshake that was only recorded saw.
    pub(crate) chain: Option<Chain>,
}

/// How TLS is begun with a server.
#[derive(Clone, Copy)]
pub(crate) struct Hail<'a> {
    pub(crate) connector: &'a Connector,
    /// Asked for by SNI; an IP address is not sent.
    pub(crate) server_name: &'a str,
    /// There is to be TLS, if the server has it.
    pub(crate) wants_tls: bool,
    /// With the first octet, without STARTTLS.
    pub(crate) implicit: bool,
    /// The certificates are looked at and kept, not judged.
    pub(crate) records: bool,
    /// They are judged, and kept all the same.
    pub(crate) keeps: bool,
}

impl<'a> Hail<'a> {
    /// For a hidden server.
    pub(crate) fn of(backend: &'a Backend, server: &'a Server) -> Self {
        Self::under(&Terms::of(backend, server, TlsWish::AsPolicySays), backend, server)
    }

    fn under(terms: &Terms<'a>, backend: &'a Backend, server: &'a Server) -> Self {
        Self {
            connector: terms.connector,
            server_name: server.name(),
            wants_tls: terms.policy.ladder != Ladder::Off,
            implicit: backend.world().is_some_and(|world| world.implicit_tls),
            records: false,
            keeps: terms.far.is_some(),
        }
    }

    async fn shake_hands(self, stream: Stream) -> Result<(Stream, TlsOutcome, Option<Chain>), OpenError> {
        let shake = async {
            if self.records {
                let (stream, facts, chain) = self.connector.record(stream, self.server_name).await?;
                let tls = TlsOutcome::Established { facts, proof: FarProof::Unverified };
                return Ok((Box::new(stream) as Stream, tls, Some(chain)));
            }
            let (stream, facts, proof) = self.connector.connect(stream, self.server_name).await?;
            let certificates = || stream.get_ref().1.peer_certificates().unwrap_or_default();
            let chain = self.keeps.then(|| Chain::new(certificates()));
            Ok((Box::new(stream) as Stream, TlsOutcome::Established { facts, proof }, chain))
        };
        timeout(tls::HANDSHAKE_DEADLINE, shake).await.map_err(|_| OpenError::Silent)?.map_err(OpenError::Tls)
    }
}

/// Banner, EHLO, and TLS as far as is wanted and the server goes; not where it has just `failed`.
pub(crate) async fn greet(
    stream: Stream,
    hail: Hail<'_>,
    name: &str,
    failed: Option<Box<str>>,
) -> Result<Greeted, OpenError> {
    let (mut stream, early) = match hail.implicit {
        true => {
            let (stream, tls, chain) = hail.shake_hands(stream).await?;
            (stream, Some((tls, chain)))
        }
        false => (stream, None),
    };
    let mut far = Far::new();
    let banner = answer(&mut stream, |input, out| far.read(input, out)).await?;
    if !banner.code().is_positive() {
        return Err(OpenError::Refused(banner));
    }
    hello(&mut far, &mut stream, name).await?;
    if let Some((tls, chain)) = early {
        return Ok(Greeted { far, stream, tls, chain });
    }
    if let Some(reason) = failed {
        return Ok(Greeted { far, stream, tls: TlsOutcome::Failed(reason), chain: None });
    }
    if !(hail.wants_tls && far.capabilities().has(Extension::StartTls)) {
        return Ok(Greeted { far, stream, tls: TlsOutcome::Plain, chain: None });
    }
    let ready = ask(&mut far, &mut stream, Sent::StartTls, "STARTTLS").await?;
    if !ready.code().is_positive() {
        // A server that offers TLS and has none at the moment: the policy decides whether plain text will do.
        hello(&mut far, &mut stream, name).await?;
        return Ok(Greeted { far, stream, tls: TlsOutcome::Plain, chain: None });
    }
    let (mut stream, tls, chain) = hail.shake_hands(stream).await?;
    hello(&mut far, &mut stream, name).await?;
    Ok(Greeted { far, stream, tls, chain })
}

/// EHLO, and HELO where the server does not know EHLO (RFC 5321 §3.2).
async fn hello(far: &mut Far<Unproven>, stream: &mut Stream, name: &str) -> Result<(), OpenError> {
    let reply = ask(far, stream, Sent::Ehlo, &format!("EHLO {name}")).await?;
    if reply.code().is_positive() {
        return Ok(());
    }
    if !reply.code().is_permanent() {
        return Err(OpenError::Refused(reply));
    }
    let reply = ask(far, stream, Sent::Helo, &format!("HELO {name}")).await?;
    if reply.code().is_positive() { Ok(()) } else { Err(OpenError::Refused(reply)) }
}

async fn ask(
    far: &mut Far<Unproven>,
    stream: &mut Stream,
    sent: Sent,
    line: &str,
) -> Result<Reply, OpenError> {
    let mut out = Vec::new();
    far.say(sent, line, &mut out);
    stream.write_all(&out).await?;
    stream.flush().await?;
    answer(stream, |input, out| far.read(input, out)).await
}

/// Reads until one reply is whole. Nothing is sent meanwhile, so a reply more than was asked for is out of step.
pub(crate) async fn answer(
    stream: &mut Stream,
    mut read: impl FnMut(&mut &[u8], &mut Vec<u8>) -> Result<Option<(Sent, Reply)>, OutOfStep>,
) -> Result<Reply, OpenError> {
    let deadline = Instant::now() + timeouts::OPENING;
    let mut buffer = [0; 2048];
    let mut out = Vec::new();
    loop {
        let length =
            timeout_at(deadline, stream.read(&mut buffer)).await.map_err(|_| OpenError::Silent)??;
        if length == 0 {
            return Err(OpenError::Closed);
        }
        let mut input = &buffer[..length];
        if let Some((_, reply)) = read(&mut input, &mut out)? {
            if !input.is_empty() {
                // What follows answers nothing: reading on tells how.
                read(&mut input, &mut out)?;
            }
            return Ok(reply);
        }
    }
}
