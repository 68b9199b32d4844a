//! The side towards a server, under one policy.
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
use crate::{BUFFER_LIMIT, LegPolicy, Settings, TlsError, provider};

/// Tickets remembered, 8 for each of 8 servers: a backend has a few. What servers send must not fill memory.
const REMEMBERED_TICKETS: usize = 64;

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
        let name = policy.name.as_deref().filter(|name| !name.is_empty()).map(Arc::from);
        Ok(Self { config: Arc::new(config), verifier, clock, name })
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
        let stream = TlsConnector::from(Arc::clone(&self.config))
            .connect_with(name.clone(), stream, |connection| connection.set_buffer_limit(Some(BUFFER_LIMIT)))
            .await
            .map_err(TlsError::from_handshake)?;
        let connection = stream.get_ref().1;
        let sent = match &name {
            ServerName::DnsName(name) => Some(name.as_ref()),
            _ => None,
        };
        let facts = facts(connection, sent);
        let now = UnixTime::since_unix_epoch(self.clock.now());
        let proof = self.verifier.proof(connection.peer_certificates(), &name, now);
        Ok((stream, facts, proof))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("name", &self.name).finish_non_exhaustive()
    }
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
