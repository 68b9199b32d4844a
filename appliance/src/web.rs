//! The public web server: answers to a CA that validates a name, and MTA-STS policies; nothing else.
//!
//! It faces the Internet: requests have no body that anybody reads, a connection has a short life, a client few connections, and the
//! header is bounded. Everything that is not one of the two paths is 404.

mod answer;
pub(crate) mod places;
pub mod sockets;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use acme::Answers;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use smtp::Domain;
use tls::{Acceptor, Identities};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tracing::debug;

use self::answer::{Asked, answer};
use self::places::Places;

/// Connections at once, of both listeners: a CA looks from some five places, senders fetch a policy once a day.
const MAX_CONNECTIONS: usize = 256;
/// Of one client (a /64 of IPv6): a resolver farm behind one address still gets its policies.
const MAX_OF_CLIENT: usize = 16;
/// For the request line and the header. Also how long an idle connection is kept.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// The longest life of a connection: a few requests and answers of some hundred octets.
const MAX_LIFE: Duration = Duration::from_secs(30);
/// Request line and header fields; more than 8 KiB nobody sends who wants one of these files. hyper takes no less.
const MAX_HEADER: usize = 8 << 10;
/// Header fields.
const MAX_FIELDS: usize = 64;
/// Out of descriptors: accepting again at once would spin.
const PAUSE: Duration = Duration::from_millis(100);

/// The text of a domain's policy (RFC 8461 §3.2); `None`: it has none.
pub type Policy = Arc<dyn Fn(&Domain) -> Option<String> + Send + Sync>;

/// What the server answers from.
pub struct Web {
    answers: Answers,
    policy: Policy,
    places: Places,
    identities: Box<dyn Fn() -> Option<Arc<Identities>> + Send + Sync>,
    tls: Mutex<tls::Settings>,
    /// For the identities that served last.
    acceptor: Mutex<Option<Acceptor>>,
}

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Web").field("answers", &self.answers).finish_non_exhaustive()
    }
}

impl Web {
    /// `identities` tells who serves now.
    pub fn new(
        answers: Answers,
        policy: Policy,
        tls: tls::Settings,
        identities: impl Fn() -> Option<Arc<Identities>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            answers,
            policy,
            places: Places::new(MAX_CONNECTIONS, MAX_OF_CLIENT),
            identities: Box::new(identities),
            tls: Mutex::new(tls),
            acceptor: Mutex::new(None),
        })
    }

    /// After a reload.
    pub fn tls_is(&self, tls: tls::Settings) {
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = tls;
        *self.acceptor.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Serves for as long as the program runs. `tls`: whether TLS comes first.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, tls: bool) {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    debug!(%error, "the public web server cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(place) = self.places.take(peer.ip()) else {
                debug!(%peer, "too many connections to the public web server");
                continue;
            };
            let web = Arc::clone(&self);
            tokio::spawn(async move {
                let _place = place;
                if timeout(MAX_LIFE, web.connection(stream, peer, tls)).await.is_err() {
                    debug!(%peer, "a connection to the public web server took too long");
                }
            });
        }
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, tls: bool) {
        if !tls {
            return self.exchange(stream, peer, false).await;
        }
        let Some(acceptor) = self.acceptor() else { return };
        match timeout(tls::HANDSHAKE_DEADLINE, acceptor.accept(stream, None)).await {
            Ok(Ok((stream, _))) => self.exchange(stream, peer, true).await,
            Ok(Err(error)) => {
                debug!(%peer, reason = %error.reason(), "no TLS with a client of the web server")
            }
            Err(_) => debug!(%peer, "a handshake took too long"),
        }
    }

    async fn exchange<S>(&self, stream: S, peer: SocketAddr, tls: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let service = service_fn(|request: Request<Incoming>| async move {
            Ok::<_, std::convert::Infallible>(self.answered(&request, tls))
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .max_headers(MAX_FIELDS)
            .max_buf_size(MAX_HEADER)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = served.await {
            debug!(%peer, %error, "a connection to the public web server broke");
        }
    }

    fn answered<B>(&self, request: &Request<B>, tls: bool) -> Response<Full<Bytes>> {
        let named = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
        let asked = Asked {
            method: request.method(),
            host: request.uri().host().or(named).unwrap_or_default(),
            path: request.uri().path(),
            tls,
        };
        answer(&asked, |token| self.answers.token(token), &*self.policy)
    }

    /// What ends TLS with the identities that serve now.
    pub(crate) fn acceptor(&self) -> Option<Acceptor> {
        let identities = (self.identities)()?;
        let mut kept = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(acceptor) = kept.as_ref().filter(|kept| Arc::ptr_eq(kept.identities(), &identities)) {
            return Some(acceptor.clone());
        }
        let settings = *self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        let made = Acceptor::for_web(&settings, identities, self.answers.validations().clone());
        if let Err(error) = &made {
            tracing::error!(%error, "the public web server has no TLS");
        }
        *kept = made.ok();
        kept.clone()
    }
}

#[cfg(test)]
mod tests;
