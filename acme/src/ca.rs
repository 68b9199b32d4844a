//! The way to the CA's server: HTTP/1.1 over TLS, one connection to a request, everything bounded. An order takes a dozen requests in
//! two months.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, RETRY_AFTER};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use record::{Clock, FarProof};
use tls::{Connector, Ladder, LegPolicy, Roots};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::schedule::WINDOW_UNTOLD;
use crate::{AcmeError, Settings};

/// From the look-up of the CA's name to the end of its answer. CAs think for some seconds at times.
const REQUEST: Duration = Duration::from_secs(60);
/// A chain of certificates has 10 KiB, a directory one.
const MAX_ANSWER: usize = 1 << 20;
/// Octets of status line and header fields.
const MAX_HEADER: usize = 64 * 1024;

/// How long the CA wants to be left alone, by its last answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patience(Arc<Mutex<Option<Duration>>>);

impl Patience {
    pub(crate) fn wanted(&self) -> Option<Duration> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is(&self, wanted: Option<Duration>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
    }
}

/// Asks the CA's server.
#[derive(Clone)]
pub(crate) struct CaClient {
    connector: Connector,
    clock: Arc<dyn Clock>,
    patience: Patience,
}

impl CaClient {
    /// `roots` is whom to trust to be the CA's server.
    pub(crate) fn new(roots: &Roots, clock: Arc<dyn Clock>) -> Result<Self, tls::TlsError> {
        let policy = LegPolicy { ladder: Ladder::Verify, roots: roots.clone(), ..LegPolicy::default() };
        let connector = Connector::new(&tls::Settings::default(), &policy, Arc::clone(&clock))?;
        Ok(Self { connector, clock, patience: Patience::default() })
    }

    pub(crate) fn patience(&self) -> Patience {
        self.patience.clone()
    }

    async fn exchange(&self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, String> {
        let is_get = request.method() == Method::GET;
        let (host, port, request) = addressed(request)?;
        let stream = TcpStream::connect((&*host, port)).await.map_err(|error| error.to_string())?;
        let (stream, _, proof) =
            self.connector.connect(stream, &host).await.map_err(|error| error.reason().to_string())?;
        if proof != FarProof::Verified {
            return Err("its certificate proves nothing".to_owned());
        }
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(MAX_HEADER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        // Ends with the request, also where that is given up.
        let mut connections = tokio::task::JoinSet::new();
        connections.spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (mut parts, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| error.to_string())?;
        let value = parts.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        self.patience.is(value.and_then(|value| retry_after(value, self.clock.now())));
        // The client library takes no window without it, though RFC 9773 §4.3.2 only says that there should be one.
        if is_get {
            parts.headers.entry(RETRY_AFTER).or_insert(WINDOW_UNTOLD.as_secs().into());
        }
        Ok(BytesResponse::from(Response::from_parts(parts, Full::new(body.to_bytes()))))
    }
}

impl HttpClient for CaClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            client.patience.is(None);
            let answer = timeout(REQUEST, client.exchange(request)).await;
            let answer = answer.unwrap_or_else(|_| Err("no answer within a minute".to_owned()));
            answer.map_err(|reason| Error::Other(reason.into()))
        })
    }
}

/// Whether the CA answers as one: with a directory (RFC 8555 §7.1.1). Nothing is ordered and no account made.
///
/// # Errors
///
/// [`AcmeError::Unreachable`], with the reason.
pub async fn reach(settings: &Settings, clock: Arc<dyn Clock>) -> Result<(), AcmeError> {
    let failed = |reason: String| AcmeError::Unreachable { directory: settings.directory.clone(), reason };
    let client = CaClient::new(&settings.roots, clock).map_err(|error| failed(error.reason().to_string()))?;
    let request = Request::builder().uri(&settings.directory).body(BodyWrapper::default());
    let request = request.map_err(|error| failed(error.to_string()))?;
    let mut answer = client.request(request).await.map_err(|error| failed(error.to_string()))?;
    let body = answer.body.into_bytes().await.map_err(|error| failed(error.to_string()))?;
    let directory: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    match directory["newOrder"].is_string() {
        true => Ok(()),
        false => Err(failed(format!("{} and no ACME directory", answer.parts.status))),
    }
}

/// Whom to connect to, and the request as it is sent there (RFC 9112 §3.2.1).
fn addressed<B>(mut request: Request<B>) -> Result<(String, u16, Request<B>), String> {
    let uri = request.uri().clone();
    if uri.scheme_str() != Some("https") {
        return Err(format!("{uri} is not an https address"));
    }
    let authority = uri.authority().ok_or_else(|| format!("{uri} names no host"))?;
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let value = authority.as_str().parse().map_err(|_| format!("{uri} names no host"))?;
    request.headers_mut().insert(HOST, value);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse::<Uri>().map_err(|error| error.to_string())?;
    Ok((host, authority.port_u16().unwrap_or(443), request))
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn retry_after(value: &str, now: Duration) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    let date = Duration::from_secs(u64::try_from(date.timestamp().as_second()).ok()?);
    Some(date.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_to_its_host_and_nowhere_without_tls() {
        let request = |uri: &str| addressed(Request::builder().uri(uri).body(()).unwrap());
        let (host, port, sent) = request("https://ca.example.net/dir?x=1").unwrap();
        assert_eq!((host.as_str(), port), ("ca.example.net", 443));
        assert_eq!(sent.uri(), "/dir?x=1");
        assert_eq!(sent.headers()[HOST], "ca.example.net");
        let (host, port, sent) = request("https://[::1]:14000").unwrap();
        assert_eq!((host.as_str(), port), ("::1", 14_000));
        assert_eq!(sent.headers()[HOST], "[::1]:14000");
        assert!(request("http://ca.example.net/").is_err());
    }

    #[test]
    fn patience_is_told_in_seconds_or_by_a_date() {
        let now = Duration::from_secs(1_795_288_205);
        assert_eq!(retry_after(" 120 ", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sat, 21 Nov 2026 19:11:05 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Sat, 21 Nov 2020 19:11:05 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }
}
