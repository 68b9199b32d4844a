//! One question to a metadata service: a connection of its own, a deadline, a bound.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::document::MAX_DOCUMENT;
use crate::error::FirstBootError;

/// Where every cloud has it (RFC 3927: no router passes it on).
pub const SERVICE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);
/// Octets of an answer's head.
const MAX_HEAD: usize = 16 << 10;

/// Asks one service.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    patience: Duration,
}

impl Client {
    /// For one question and its whole answer. It is answered on the host that the machine runs on.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// Asks at this address, [`SERVICE`] but in tests.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, patience: Self::PATIENCE }
    }

    /// With another time for one question.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// A document; `None` if there is none there.
    pub(super) async fn get(
        &self,
        path: &str,
        fields: &[(&'static str, &str)],
    ) -> Result<Option<Answer>, FirstBootError> {
        let answer = self.ask(Method::GET, path, fields).await?;
        match answer.status {
            200 => Ok(Some(answer)),
            204 | 404 => Ok(None),
            status => Err(said(path, status.to_string(), "200")),
        }
    }

    /// A document that must be there.
    pub(super) async fn must_get(
        &self,
        path: &str,
        fields: &[(&'static str, &str)],
    ) -> Result<Answer, FirstBootError> {
        self.get(path, fields).await?.ok_or_else(|| said(path, "404", "200"))
    }

    /// What is answered to a PUT without content.
    pub(super) async fn put(
        &self,
        path: &str,
        fields: &[(&'static str, &str)],
    ) -> Result<Answer, FirstBootError> {
        let answer = self.ask(Method::PUT, path, fields).await?;
        if answer.status == 200 { Ok(answer) } else { Err(said(path, answer.status.to_string(), "200")) }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        fields: &[(&'static str, &str)],
    ) -> Result<Answer, FirstBootError> {
        let unreachable = |reason: String| FirstBootError::Unreachable { path: path.to_owned(), reason };
        match timeout(self.patience, self.exchange(method, path, fields)).await {
            Err(_) => Err(unreachable(format!("no whole answer within {} ms", self.patience.as_millis()))),
            Ok(Err(Broken::Passing(reason))) => Err(unreachable(reason)),
            Ok(Err(Broken::TooLarge)) => {
                Err(said(path, format!("more than {MAX_DOCUMENT} octets"), "a document"))
            }
            Ok(Ok(answer)) => Ok(answer),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        fields: &[(&'static str, &str)],
    ) -> Result<Answer, Broken> {
        let stream = TcpStream::connect(self.address).await.map_err(passing)?;
        let builder = hyper::client::conn::http1::Builder::new().max_buf_size(MAX_HEAD).clone();
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(passing)?;
        let mut request = Request::builder().method(method).uri(path).header(HOST, self.address.to_string());
        for (name, value) in fields {
            let value = HeaderValue::from_str(value).map_err(passing)?;
            request = request.header(HeaderName::from_static(name), value);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(passing)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(passing)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_DOCUMENT).collect().await.map_err(|error| {
                match error.downcast_ref::<http_body_util::LengthLimitError>() {
                    Some(_) => Broken::TooLarge,
                    None => Broken::Passing(error.to_string()),
                }
            })?;
            let body = body.to_bytes().to_vec();
            Ok(Answer { status: head.status.as_u16(), fields: head.headers, body })
        };
        // The connection works as long as it is polled, and ends with the answer.
        tokio::pin!(exchange);
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            ended = connection => {
                let ended = ended.map_or_else(|error| error.to_string(), |()| "it closed the connection".to_owned());
                // What it had sent before it closed may be a whole answer.
                let rest = timeout(Duration::from_millis(1), exchange).await;
                rest.unwrap_or_else(|_| Err(Broken::Passing(ended)))
            }
        }
    }
}

enum Broken {
    Passing(String),
    TooLarge,
}

fn passing(error: impl std::fmt::Display) -> Broken {
    Broken::Passing(error.to_string())
}

pub(super) fn said(path: &str, said: impl Into<String>, expected: &'static str) -> FirstBootError {
    FirstBootError::Answer { path: path.to_owned(), said: said.into(), expected }
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    fields: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The value of a header field, if there is one and it is text.
    pub(super) fn field(&self, name: &'static str) -> Option<&str> {
        self.fields.get(HeaderName::from_static(name)).and_then(|value| value.to_str().ok())
    }

    /// The body as one line of text.
    pub(super) fn line(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.body).ok()?.trim();
        (!text.contains(['\r', '\n'])).then_some(text)
    }
}
