//! Fetching MTA-STS policies over HTTPS (RFC 8461 §3.3).
//!
//! Who may forge the DNS sends us to a host of his own: what counts is the certificate, for the policy host's name and of a trusted
//! authority. A redirect would lead to somebody for whom it does not speak, and is not followed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use intercept::Source;
use route::{Fetching, MAX_POLICY, StsFetch, StsFetchError};
use smtp::Domain;
use tls::{Connector, TlsError};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::network::{Network, Stream};

/// For a policy as a whole, as RFC 8461 §3.3 suggests: a client waits for its RCPT meanwhile, for which RFC 5321 §4.5.3.2.3 gives it
/// five minutes.
const DEADLINE: Duration = Duration::from_secs(60);
/// For one address of a policy host to be connected to.
const CONNECT: Duration = Duration::from_secs(10);
/// Addresses of a policy host that are tried.
const ADDRESSES: usize = 4;
/// Octets of status line and header that are read.
const HEADER: usize = 16 * 1024;
const HTTPS: u16 = 443;
const PATH: &str = "/.well-known/mta-sts.txt";

/// The world's policy hosts.
pub struct PolicyHosts {
    network: Arc<dyn Network>,
    connector: Connector,
}

impl PolicyHosts {
    /// `connector` has to verify.
    pub fn new(network: Arc<dyn Network>, connector: Connector) -> Self {
        Self { network, connector }
    }

    async fn get(&self, host: &Domain, addresses: &[IpAddr]) -> Result<Box<str>, StsFetchError> {
        let mut last = StsFetchError::Unreachable("it has no address".into());
        for &address in addresses.iter().take(ADDRESSES) {
            let deadline = Instant::now() + CONNECT;
            let target = SocketAddr::new(address, HTTPS);
            match self.network.connect(target, Source::Kernel, deadline).await {
                Ok(stream) => return self.ask(stream, host).await,
                Err(error) => last = unreachable(&error),
            }
        }
        Err(last)
    }

    async fn ask(&self, stream: Stream, host: &Domain) -> Result<Box<str>, StsFetchError> {
        let (stream, ..) =
            self.connector.connect(stream, host.as_str()).await.map_err(|error| match error {
                TlsError::Certificate(_) => StsFetchError::Certificate(error.reason()),
                other => StsFetchError::Unreachable(other.reason()),
            })?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEADER);
        let (mut sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
        // Ends with this.
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let request = Request::get(PATH)
            .header(HOST, host.as_str())
            .header(USER_AGENT, "postern")
            .body(Empty::<Bytes>::new())
            .map_err(|error| unreachable(&error))?;
        let response = sender.send_request(request).await.map_err(|error| unreachable(&error))?;
        read(response).await
    }
}

async fn read(response: Response<Incoming>) -> Result<Box<str>, StsFetchError> {
    if response.status() != StatusCode::OK {
        return Err(StsFetchError::Answer(format!("status {}", response.status().as_u16()).into()));
    }
    if !is_plain_text(response.headers()) {
        return Err(StsFetchError::Answer("something that is not text/plain".into()));
    }
    let body =
        Limited::new(response.into_body(), MAX_POLICY).collect().await.map_err(|error| match error
            .is::<LengthLimitError>(
        ) {
            true => StsFetchError::Answer("more than 64 KiB".into()),
            false => StsFetchError::Unreachable(error.to_string().into()),
        })?;
    let text = String::from_utf8(body.to_bytes().to_vec());
    text.map(Into::into).map_err(|_| StsFetchError::Answer("what is no text".into()))
}

/// Whatever its parameters are.
fn is_plain_text(headers: &HeaderMap) -> bool {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = text.split(';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case("text/plain")
}

fn unreachable(error: &dyn std::error::Error) -> StsFetchError {
    StsFetchError::Unreachable(error.to_string().into())
}

impl StsFetch for PolicyHosts {
    fn fetch(&self, host: Domain, addresses: Vec<IpAddr>) -> Fetching<'_> {
        Box::pin(async move {
            let late = || Err(StsFetchError::Unreachable("no answer within a minute".into()));
            timeout(DEADLINE, self.get(&host, &addresses)).await.unwrap_or_else(|_| late())
        })
    }
}

impl std::fmt::Debug for PolicyHosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicyHosts").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_told_whatever_its_parameters_are() {
        for (value, is_plain) in [
            ("text/plain", true),
            ("Text/Plain; charset=utf-8", true),
            ("text/plain ;x", true),
            ("text/html", false),
            ("text/plainer", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(is_plain_text(&headers), is_plain, "{value}");
        }
        assert!(!is_plain_text(&HeaderMap::new()));
    }
}
