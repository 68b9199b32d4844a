//! The far side of an intercepted connection: met before its client is greeted, proven once it is known for whom the
//! mail is (DECISIONS 15).

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use intercept::Source;
use record::{Event, Leg, LegFailure, TlsFacts, TlsOutcome, TlsSession};
use route::{Backend, World};
use smtp::{Capabilities, Extension, Reply, TraceId};
use tls::{Chain, Connector};
use tokio::time::{Instant, timeout};

use crate::far::{Far, Proven, Unproven};
use crate::network::Stream;
use crate::open::{Greeted, Hail, OpenError, Opener, Terms, TlsWish, greet, outcome_of};
use crate::timeouts;

/// For a far side as a whole: a client waits for its greeting meanwhile, for which RFC 5321 §4.5.3.2.1 gives it five
/// minutes.
const PROBE: std::time::Duration = timeouts::ALL_SERVERS;

/// How far sides are met.
#[derive(Clone)]
pub struct FarSide {
    /// Records what is shown, and judges it later.
    pub connector: Connector,
    /// The appliance's addresses to connect from.
    pub world: World,
    /// The client's own address goes before them.
    pub transparent: bool,
}

impl FarSide {
    /// Where a connection to a far side comes from.
    pub fn source_for(&self, client: SocketAddr, destination: SocketAddr) -> Source {
        if self.transparent {
            return Source::Transparent(client);
        }
        self.world.address_towards(destination).map_or(Source::Kernel, Source::Address)
    }

    /// With the client's own address goes the client's own name (DECISIONS 7).
    fn name_for<'a>(&self, client: &'a str, own: &'a str) -> &'a str {
        let tells = self.transparent && !self.world.hides_client_name && !client.is_empty();
        if tells { client } else { own }
    }
}

/// Where an intercepted connection was on its way to.
#[derive(Clone, Debug)]
pub struct ProbeRequest {
    /// The session.
    pub session: TraceId,
    /// The far side's address.
    pub destination: SocketAddr,
    /// The client's.
    pub client: SocketAddr,
    /// What the client calls itself, as far as it is known: it has not said it yet. Else empty.
    pub helo: Box<str>,
    /// TLS begins with the first octet.
    pub implicit_tls: bool,
}

/// A far side that no policy has looked at, and what it showed of itself.
pub struct Probed {
    far: Far<Unproven>,
    server: SocketAddr,
    shown: Shown,
    connector: Connector,
    client_address: &'static str,
    /// Where the connection to it comes from.
    source: Source,
}

/// What TLS with a far side showed.
#[derive(Clone, Debug)]
pub enum Shown {
    /// It has no TLS, or it failed for this reason.
    Nothing(TlsOutcome),
    /// It has.
    Certificates {
        /// What was agreed on.
        facts: TlsFacts,
        /// The certificates.
        chain: Arc<Chain>,
        /// They lead to a trusted root for the names that they bear (DECISIONS 16).
        genuine: bool,
    },
}

/// An open connection to a far side.
pub struct OpenProbe {
    /// The far side.
    pub probed: Probed,
    /// Its bytes.
    pub stream: Stream,
}

impl Probed {
    /// From a far side after EHLO.
    pub fn new(
        far: Far<Unproven>,
        server: SocketAddr,
        shown: Shown,
        connector: Connector,
        client_address: &'static str,
        source: Source,
    ) -> Self {
        Self { far, server, shown, connector, client_address, source }
    }

    /// Its banner.
    pub fn greeting(&self) -> Option<&Reply> {
        self.far.greeting()
    }

    /// What it offers.
    pub fn capabilities(&self) -> &Capabilities {
        self.far.capabilities()
    }

    /// What TLS showed.
    pub fn shown(&self) -> &Shown {
        &self.shown
    }

    /// Where it is.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Proves it as one of a backend's servers: it is at that server's address, and what it showed satisfies the policy that holds
    /// for that server, under its name; and is what the message wants.
    ///
    /// # Errors
    ///
    /// The far side as it was; with whether it is another's address altogether.
    pub fn prove(self, backend: &Arc<Backend>, wish: TlsWish) -> Result<Proved, Box<(Self, NotProven)>> {
        // Several names of a domain's servers may share an address.
        let servers: Vec<_> = backend.servers_at(self.server).cloned().collect();
        if servers.is_empty() {
            return Err(Box::new((self, NotProven::Elsewhere)));
        }
        let mut probed = self;
        for server in servers {
            match probed.prove_as(backend, &server, wish) {
                Ok(proved) => return Ok(proved),
                Err(unproved) => probed = *unproved,
            }
        }
        Err(Box::new((probed, NotProven::TooWeak)))
    }

    fn prove_as(
        self,
        backend: &Arc<Backend>,
        server: &route::Server,
        wish: TlsWish,
    ) -> Result<Proved, Box<Self>> {
        let terms = Terms::of(backend, server, wish);
        let (tls, chain) = match &self.shown {
            Shown::Nothing(outcome) => (outcome.clone(), None),
            Shown::Certificates { facts, chain, .. } => {
                let proof = self.connector.judge(chain, terms.policy, server.name());
                (TlsOutcome::Established { facts: facts.clone(), proof }, Some(chain))
            }
        };
        let tls = terms.refine(tls);
        let offers = self.far.capabilities().has(Extension::RequireTls);
        // It may have been asked for under another name than it is known by: its servers are asked again by theirs.
        if wish == TlsWish::Required && terms.far.is_some() && !(offers && terms.proves(&tls)) {
            return Err(Box::new(self));
        }
        let chain = chain.map(|chain| &**chain);
        let sessions = outcome_of(&terms, server, self.source, &tls, chain);
        let leg = Leg {
            backend: backend.name().into(),
            server: self.server,
            client_address: self.client_address,
            reused: false,
            policy: terms.words(&tls, chain),
            tls,
        };
        let Self { far, server, shown, connector, client_address, source } = self;
        match far.prove_under(backend, &terms, leg) {
            Ok(far) => Ok(Proved { far, sessions }),
            Err(far) => Err(Box::new(Self { far, server, shown, connector, client_address, source })),
        }
    }
}

/// A far side that may have mail.
#[derive(Debug)]
pub struct Proved {
    /// The far side.
    pub far: Far<Proven>,
    /// What is to be told of TLS with it, with [`Opener::tell`].
    pub sessions: Vec<TlsSession>,
}

/// Why a far side is not the one that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotProven {
    /// Its address is none of the backend's.
    Elsewhere,
    /// What it showed does not satisfy the policy.
    TooWeak,
}

impl fmt::Debug for Probed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probed")
            .field("server", &self.server)
            .field("shown", &self.shown)
            .finish_non_exhaustive()
    }
}

impl Opener {
    /// Meets the far side of an intercepted connection. A handshake that fails is followed by a connection without TLS;
    /// whether mail may go over that is decided by whoever it is for.
    ///
    /// # Errors
    ///
    /// It cannot be reached or does not speak SMTP; recorded.
    pub async fn probe_far(&self, request: &ProbeRequest, side: &FarSide) -> Result<OpenProbe, OpenError> {
        let met = self.look_at_far(request, side).await;
        if let Err(error) = &met {
            self.recorder.record(Event::LegFailed(Box::new(LegFailure {
                session: Some(request.session),
                backend: "world".into(),
                server: request.destination,
                source: side.transparent.then(|| request.client.ip()),
                reason: error.to_string().into(),
            })));
        }
        met
    }

    /// The same for a look that belongs to no session: nothing is recorded.
    ///
    /// # Errors
    ///
    /// As [`probe_far`](Self::probe_far).
    pub async fn look_at_far(&self, request: &ProbeRequest, side: &FarSide) -> Result<OpenProbe, OpenError> {
        timeout(PROBE, self.meet(request, side)).await.unwrap_or(Err(OpenError::Silent))
    }

    async fn meet(&self, request: &ProbeRequest, side: &FarSide) -> Result<OpenProbe, OpenError> {
        match self.meet_with(request, side, None).await {
            Err(OpenError::Tls(error)) if !request.implicit_tls => {
                self.meet_with(request, side, Some(error.reason())).await
            }
            met => met,
        }
    }

    async fn meet_with(
        &self,
        request: &ProbeRequest,
        side: &FarSide,
        failed: Option<Box<str>>,
    ) -> Result<OpenProbe, OpenError> {
        let deadline = Instant::now() + timeouts::CONNECT;
        let source = side.source_for(request.client, request.destination);
        let stream = self.network.connect(request.destination, source, deadline).await?;
        // No name is known yet, so none is asked for.
        let server_name = request.destination.ip().to_string();
        let hail = Hail {
            connector: &side.connector,
            server_name: &server_name,
            wants_tls: true,
            implicit: request.implicit_tls,
            records: true,
            keeps: false,
        };
        let Greeted { far, stream, tls, chain } =
            greet(stream, hail, side.name_for(&request.helo, &self.hostname), failed).await?;
        let shown = match (tls, chain) {
            (TlsOutcome::Established { facts, .. }, Some(chain)) => {
                let genuine = side.connector.is_genuine(&chain);
                Shown::Certificates { facts, chain: Arc::new(chain), genuine }
            }
            (outcome, _) => Shown::Nothing(outcome),
        };
        let client_address = if side.transparent { "transparent" } else { "none" };
        let connector = side.connector.clone();
        let probed = Probed::new(far, request.destination, shown, connector, client_address, source);
        Ok(OpenProbe { probed, stream })
    }
}
