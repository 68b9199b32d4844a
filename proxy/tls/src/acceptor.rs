//! The side towards a client.
//!
//! No TLS 1.2 session is ever resumed: that re-uses the first session's secret, so that whoever gets hold of the cache
//! or of the ticket key reads what should be forward-secret (law 5). rustls keeps one ticketer for both versions, hence
//! there is none while TLS 1.2 is spoken, and no memory of sessions either. With TLS 1.3 as the minimum there are
//! tickets: resuming there runs the key exchange anew. Early data, which can be replayed, is never taken.

use std::net::IpAddr;
use std::sync::Arc;

use record::TlsFacts;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::NoServerSessionStorage;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::facts::facts;
use crate::identities::AtDestination;
use crate::validations::{ACME_TLS, ForWeb};
use crate::{BUFFER_LIMIT, Identities, Minimum, Settings, TlsError, Validations, provider};

/// Tickets sent after a handshake, where any are: a sender rarely opens more than one connection next.
const TICKETS: usize = 1;

/// Ends TLS sessions of clients. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    identities: Arc<Identities>,
}

impl Acceptor {
    /// `identities` may be replaced later, `settings` not.
    ///
    /// # Errors
    ///
    /// [`TlsError::Setup`], without random numbers for the ticket key.
    pub fn new(settings: &Settings, identities: Arc<Identities>) -> Result<Self, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider(settings))
            .with_protocol_versions(settings.versions())
            .map_err(|error| TlsError::from(&error))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&identities) as _);
        config.ignore_client_order = true;
        config.max_early_data_size = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        if settings.minimum == Minimum::Tls13 {
            config.ticketer = Ticketer::new().map_err(|error| TlsError::from(&error))?;
            config.send_tls13_tickets = TICKETS;
        }
        Ok(Self { config: Arc::new(config), identities })
    }

    /// For a public web server, which speaks HTTP/1.1 and shows a CA that validates a name what `validations` have for it.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn for_web(
        settings: &Settings,
        identities: Arc<Identities>,
        validations: Validations,
    ) -> Result<Self, TlsError> {
        let mut acceptor = Self::new(settings, identities)?;
        let mut config = ServerConfig::clone(&acceptor.config);
        config.alpn_protocols = vec![b"http/1.1".to_vec(), ACME_TLS.to_vec()];
        let identities = Arc::clone(&acceptor.identities);
        config.cert_resolver = Arc::new(ForWeb { identities, validations });
        acceptor.config = Arc::new(config);
        Ok(acceptor)
    }

    /// The identities that it serves with.
    pub fn identities(&self) -> &Arc<Identities> {
        &self.identities
    }

    /// Takes the server's part in a handshake. `destination` is the address that the client connected to, before any
    /// redirection; it chooses the certificate where the client names none that is known. The deadline is the caller's:
    /// [`HANDSHAKE_DEADLINE`](crate::HANDSHAKE_DEADLINE). Dropping the future closes the stream.
    ///
    /// # Errors
    ///
    /// [`TlsError`]; an alert has been sent where there was one to send.
    pub async fn accept<S>(
        &self,
        stream: S,
        destination: Option<IpAddr>,
    ) -> Result<(TlsStream<S>, TlsFacts), TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = TlsAcceptor::from(self.config_for(destination))
            .accept_with(stream, |connection| connection.set_buffer_limit(Some(BUFFER_LIMIT)))
            .await
            .map_err(TlsError::from_handshake)?;
        let connection = stream.get_ref().1;
        let facts = facts(connection, connection.server_name());
        Ok((stream, facts))
    }

    /// The common config, or where the destination has a say, a copy (a few lists and reference counts)
    /// whose resolver knows it.
    fn config_for(&self, destination: Option<IpAddr>) -> Arc<ServerConfig> {
        match destination {
            Some(destination) if self.identities.knows(destination) => {
                let mut config = ServerConfig::clone(&self.config);
                config.cert_resolver =
                    Arc::new(AtDestination { identities: Arc::clone(&self.identities), destination });
                Arc::new(config)
            }
            _ => Arc::clone(&self.config),
        }
    }
}
