//! One question over HTTPS to somebody in the world, who has to prove by a certificate of a trusted authority who they are.
//!
//! Who may forge the DNS sends us to a host of his own: what counts is the certificate. A redirect would lead to somebody for whom it
//! does not speak, and is not followed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use intercept::Source;
use smtp::Domain;
use tls::{Connector, TlsError};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::network::{Network, Stream};

/// For all of it.
const DEADLINE: Duration = Duration::from_secs(60);
/// For one address to be connected to.
const CONNECT: Duration = Duration::from_secs(10);
/// Addresses of a host that are tried.
const ADDRESSES: usize = 4;
/// Octets of status line and header that are read.
const HEADER: usize = 16 * 1024;

/// Where to ask.
#[derive(Clone, Copy, Debug)]
pub struct HttpsHost<'a> {
    /// Whose certificate it has to be.
    pub name: &'a Domain,
    /// Where it is, tried in order.
    pub addresses: &'a [IpAddr],
    /// Usually 443.
    pub port: u16,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct HttpsAnswer {
    /// The status.
    pub status: StatusCode,
    /// The header.
    pub headers: HeaderMap,
    /// All of the body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpsError {
    /// Its certificate proves nothing.
    #[error("its certificate: {0}")]
    Certificate(Box<str>),
    /// Its body is longer than was asked for.
    #[error("its answer is longer than {0} octets")]
    TooLong(usize),
    /// It cannot be reached, or breaks off, or is silent.
    #[error("{0}")]
    Unreachable(Box<str>),
}

/// Asks.
pub struct Https {
    network: Arc<dyn Network>,
    connector: Connector,
}

impl Https {
    /// `connector` has to verify.
    pub fn new(network: Arc<dyn Network>, connector: Connector) -> Self {
        Self { network, connector }
    }

    /// One question, within a minute; at most so many octets of body are read.
    ///
    /// # Errors
    ///
    /// [`HttpsError`].
    pub async fn ask(
        &self,
        host: HttpsHost<'_>,
        request: Request<Full<Bytes>>,
        most: usize,
    ) -> Result<HttpsAnswer, HttpsError> {
        let asked = timeout(DEADLINE, async {
            let stream = self.connect(host).await?;
            self.exchange(stream, host.name, request, most).await
        });
        asked.await.unwrap_or_else(|_| Err(HttpsError::Unreachable("no answer within a minute".into())))
    }

    async fn connect(&self, host: HttpsHost<'_>) -> Result<Stream, HttpsError> {
        let mut last = HttpsError::Unreachable("it has no address".into());
        for &address in host.addresses.iter().take(ADDRESSES) {
            let target = SocketAddr::new(address, host.port);
            match self.network.connect(target, Source::Kernel, Instant::now() + CONNECT).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = unreachable(&error),
            }
        }
        Err(last)
    }

    async fn exchange(
        &self,
        stream: Stream,
        name: &Domain,
        request: Request<Full<Bytes>>,
        most: usize,
    ) -> Result<HttpsAnswer, HttpsError> {
        let (stream, ..) =
            self.connector.connect(stream, name.as_str()).await.map_err(|error| match error {
                TlsError::Certificate(_) => HttpsError::Certificate(error.reason()),
                other => HttpsError::Unreachable(other.reason()),
            })?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEADER);
        let (mut sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
        // Ends with this.
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let response = sender.send_request(request).await.map_err(|error| unreachable(&error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, most).collect().await.map_err(|error| {
            match error.is::<LengthLimitError>() {
                true => HttpsError::TooLong(most),
                false => HttpsError::Unreachable(error.to_string().into()),
            }
        })?;
        Ok(HttpsAnswer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
    }
}

fn unreachable(error: &dyn std::error::Error) -> HttpsError {
    HttpsError::Unreachable(error.to_string().into())
}

impl std::fmt::Debug for Https {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Https").finish_non_exhaustive()
    }
}
