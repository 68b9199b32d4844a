//! Fetching MTA-STS policies over HTTPS (RFC 8461 §3.3).
//!
//! Who may forge the DNS sends us to a host of his own: what counts is the certificate, for the policy host's name and of a trusted
//! authority. A redirect would lead to somebody for whom it does not speak, and is not followed.

use std::net::IpAddr;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, USER_AGENT};
use hyper::{Request, StatusCode};
use route::{Fetching, MAX_POLICY, StsFetch, StsFetchError};
use smtp::Domain;
use tls::Connector;

use crate::https::{Https, HttpsAnswer, HttpsError, HttpsHost};
use crate::network::Network;

const HTTPS: u16 = 443;
const PATH: &str = "/.well-known/mta-sts.txt";

/// The world's policy hosts. A minute for a policy as a whole, as RFC 8461 §3.3 suggests: a client waits for its RCPT meanwhile, for which
/// RFC 5321 §4.5.3.2.3 gives it five minutes.
pub struct PolicyHosts {
    https: Https,
}

impl PolicyHosts {
    /// `connector` has to verify.
    pub fn new(network: Arc<dyn Network>, connector: Connector) -> Self {
        Self { https: Https::new(network, connector) }
    }

    async fn get(&self, name: &Domain, addresses: &[IpAddr]) -> Result<Box<str>, StsFetchError> {
        let request = Request::get(PATH).header(HOST, name.as_str()).header(USER_AGENT, "postern");
        let request = request.body(Full::<Bytes>::default());
        let request = request.map_err(|error| StsFetchError::Unreachable(error.to_string().into()))?;
        let host = HttpsHost { name, addresses, port: HTTPS };
        let answer = self.https.ask(host, request, MAX_POLICY).await.map_err(|error| match error {
            HttpsError::Certificate(why) => StsFetchError::Certificate(why),
            HttpsError::TooLong(_) => StsFetchError::Answer("more than 64 KiB".into()),
            HttpsError::Unreachable(why) => StsFetchError::Unreachable(why),
        })?;
        read(&answer)
    }
}

fn read(answer: &HttpsAnswer) -> Result<Box<str>, StsFetchError> {
    if answer.status != StatusCode::OK {
        return Err(StsFetchError::Answer(format!("status {}", answer.status.as_u16()).into()));
    }
    if !is_plain_text(&answer.headers) {
        return Err(StsFetchError::Answer("something that is not text/plain".into()));
    }
    let text = String::from_utf8(answer.body.to_vec());
    text.map(Into::into).map_err(|_| StsFetchError::Answer("what is no text".into()))
}

/// Whatever its parameters are.
fn is_plain_text(headers: &HeaderMap) -> bool {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = text.split(';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case("text/plain")
}

impl StsFetch for PolicyHosts {
    fn fetch(&self, host: Domain, addresses: Vec<IpAddr>) -> Fetching<'_> {
        Box::pin(async move { self.get(&host, &addresses).await })
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
