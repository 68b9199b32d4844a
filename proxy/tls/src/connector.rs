//! The side towards a server, under one policy; or without any, to see what it shows.
//!
//! TLS 1.3 sessions are resumed, each connector from a memory of its own: a session that was established under one policy
//! must not pass for one under another. TLS 1.2 sessions are not (see the acceptor), and no early data is sent.

use std::fmt;
use std::sync::Arc;

use record::{Clock, FarProof, TlsFacts};
use rustls::ClientConfig;
use rustls::client::{Resumption, Tls12Resumption};
use rustls::time_provider::TimeProvider;
use rustls_pki_types::{ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::facts::facts;
use crate::verifier::PolicyVerifier;
use crate::{Association, BUFFER_LIMIT, Chain, Ladder, LegPolicy, Roots, Settings, TlsError, provider};

/// Tickets remembered, 8 for each of 8 servers: a backend has a few. What servers send must not fill memory.
const REMEMBERED_TICKETS: usize = 64;

/// The same where there is a connector for each domain: 8 for each of 2 servers.
const REMEMBERED_TICKETS_OF_A_DOMAIN: usize = 16;

/// Begins TLS sessions with servers. Cheap to clone; a clone shares the memory of sessions.
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    verifier: Arc<PolicyVerifier>,
    clock: Arc<dyn Clock>,
    /// From the policy: asked for and verified instead of the server's own name.
    name: Option<Arc<str>>,
}

impl Connector {
    /// Certificates are judged at the time that `clock` shows. A policy whose step is `off` makes a connector that takes
    /// any certificate; it is the caller who does not use it.
    ///
    /// # Errors
    ///
    /// [`TlsError::NoRoots`], where the policy demands a chain and trusts nobody.
    pub fn new(settings: &Settings, policy: &LegPolicy, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let provider = provider(settings);
        let verifier = Arc::new(PolicyVerifier::new(policy, &provider)?);
        let time = Arc::new(Time(Arc::clone(&clock)));
        let mut config = ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(settings.versions())
            .map_err(|error| TlsError::from(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_no_client_auth();
        config.resumption =
            Resumption::in_memory_sessions(REMEMBERED_TICKETS).tls12_resumption(Tls12Resumption::Disabled);
        let name = own_name(policy).map(Arc::from);
        Ok(Self { config: Arc::new(config), verifier, clock, name })
    }

    /// For [`record`](Self::record): takes whatever certificate is shown, and never resumes, since a resumed
    /// session shows none. `roots` are for [`is_genuine`](Self::is_genuine).
    ///
    /// # Errors
    ///
    /// [`TlsError::Setup`], where the library does not take the settings.
    pub fn recording(settings: &Settings, roots: &Roots, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let anybody = LegPolicy { ladder: Ladder::Encrypt, roots: roots.clone(), ..LegPolicy::default() };
        let mut connector = Self::new(settings, &anybody, clock)?;
        Arc::make_mut(&mut connector.config).resumption = Resumption::disabled();
        Ok(connector)
    }

    /// The same policy for a library that makes its connections itself: the verifier in it ends a handshake that does not satisfy
    /// the policy, under the name that the library asks for.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// The same suites and groups under another policy, with a memory of sessions of its own: for a server of the world, whose
    /// policy is its own.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn under(&self, policy: &LegPolicy) -> Result<Self, TlsError> {
        let verifier = Arc::new(PolicyVerifier::new(policy, self.config.crypto_provider())?);
        let mut config = ClientConfig::clone(&self.config);
        config.dangerous().set_certificate_verifier(Arc::clone(&verifier) as _);
        config.resumption = Resumption::in_memory_sessions(REMEMBERED_TICKETS_OF_A_DOMAIN)
            .tls12_resumption(Tls12Resumption::Disabled);
        let name = own_name(policy).map(Arc::from);
        Ok(Self { config: Arc::new(config), verifier, clock: Arc::clone(&self.clock), name })
    }

    /// For servers whose certificates may also be for this name ([`LegPolicy::also`]). What it takes another does not, so it has a
    /// memory of sessions of its own.
    #[must_use]
    pub fn also(&self, name: &str) -> Self {
        let verifier = Arc::new(self.verifier.also(name));
        let mut config = ClientConfig::clone(&self.config);
        config.dangerous().set_certificate_verifier(Arc::clone(&verifier) as _);
        config.resumption = Resumption::in_memory_sessions(REMEMBERED_TICKETS_OF_A_DOMAIN)
            .tls12_resumption(Tls12Resumption::Disabled);
        Self { config: Arc::new(config), verifier, clock: Arc::clone(&self.clock), name: self.name.clone() }
    }

    /// Takes the client's part in a handshake with the server called `server_name`: its host name, or its IP address,
    /// which is verified as such and never sent (RFC 6066 §3). The policy's name goes before it. The deadline
    /// is the caller's: [`HANDSHAKE_DEADLINE`](crate::HANDSHAKE_DEADLINE).
    ///
    /// # Errors
    ///
    /// [`TlsError`]; the connection is then of no more use, not for plain text either.
    pub async fn connect<S>(
        &self,
        stream: S,
        server_name: &str,
    ) -> Result<(TlsStream<S>, TlsFacts, FarProof), TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = parse_name(self.name.as_deref().unwrap_or(server_name))?;
        let (stream, facts) = self.handshake(stream, &name).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let proof = self.verifier.proof(certificates, &name, self.now());
        Ok((stream, facts, proof))
    }

    /// The same, without a judgement: what the server showed comes back, to be judged when it is known for which domain, and
    /// by which policy. That the server has the key of its first certificate is checked here as everywhere. It is
    /// a [`recording`](Self::recording) connector that lets every chain through.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn record<S>(
        &self,
        stream: S,
        server_name: &str,
    ) -> Result<(TlsStream<S>, TlsFacts, Chain), TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = parse_name(self.name.as_deref().unwrap_or(server_name))?;
        let (stream, facts) = self.handshake(stream, &name).await?;
        let chain = Chain::new(stream.get_ref().1.peer_certificates().unwrap_or_default());
        Ok((stream, facts, chain))
    }

    /// What a chain proves for the server called `name`, now: what a session under `policy` with a server that shows
    /// it would be recorded with. Where there would be no session, for want of a proof, of roots or of a name that is one,
    /// it is [`FarProof::Unverified`], which [`LegPolicy::is_satisfied_by`] then refuses. Costs some 0.1 ms of CPU time for each
    /// signature in the chain; webpki tries 100 at most, however the chain was made.
    pub fn judge(&self, chain: &Chain, policy: &LegPolicy, name: &str) -> FarProof {
        self.examine(chain, policy, name).unwrap_or(FarProof::Unverified)
    }

    /// The same, with the reason where there would be no session.
    ///
    /// # Errors
    ///
    /// What such a session would have failed with.
    pub fn examine(&self, chain: &Chain, policy: &LegPolicy, name: &str) -> Result<FarProof, TlsError> {
        let verifier = PolicyVerifier::new(policy, self.config.crypto_provider())?;
        let name = parse_name(own_name(policy).unwrap_or(name))?;
        verifier.examine(chain, &name, self.now())
    }

    /// The TLSA record of this connector's policy that a chain satisfies.
    pub fn matching(&self, chain: &Chain) -> Option<Association> {
        self.verifier.matching(chain, self.now())
    }

    /// Whether a chain leads to one of this connector's roots, is valid now, and carries at least one host name: whoever showed
    /// it is somebody, if not the one that was looked for. Costs what [`judge`](Self::judge) does.
    pub fn is_genuine(&self, chain: &Chain) -> bool {
        self.verifier.is_genuine(chain, self.now())
    }

    async fn handshake<S>(
        &self,
        stream: S,
        name: &ServerName<'static>,
    ) -> Result<(TlsStream<S>, TlsFacts), TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = TlsConnector::from(Arc::clone(&self.config))
            .connect_with(name.clone(), stream, |connection| connection.set_buffer_limit(Some(BUFFER_LIMIT)))
            .await
            .map_err(TlsError::from_handshake)?;
        let connection = stream.get_ref().1;
        let sent = match name {
            ServerName::DnsName(name) => Some(name.as_ref()),
            _ => None,
        };
        let facts = facts(connection, sent);
        Ok((stream, facts))
    }

    fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(self.clock.now())
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The name that the policy has instead of the server's.
fn own_name(policy: &LegPolicy) -> Option<&str> {
    policy.name.as_deref().filter(|name| !name.is_empty())
}

fn parse_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    ServerName::try_from(bare).map(|name| name.to_owned()).map_err(|_| TlsError::Name(name.into()))
}

/// Wall time for rustls.
struct Time(Arc<dyn Clock>);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.now()))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Time")
    }
}
