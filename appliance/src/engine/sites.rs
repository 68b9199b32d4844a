//! Web sites of the world that are told something by HTTPS: who takes reports, and who is called for alerts.

use delivery::{Https, HttpsHost};
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderName, StatusCode};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use url::{Position, Url};

use super::outbound::Names;

/// Octets of an answer that are read; what counts is the status.
const MAX_ANSWER: usize = 64 * 1024;
/// Of HTTPS.
const PORT: u16 = 443;

/// How they are found and asked.
pub(super) struct Sites {
    pub(super) names: Names,
    /// `None`: nobody is trusted who could prove a site.
    pub(super) https: Option<Https>,
}

impl Sites {
    /// The status of the answer. A redirect is one, too, and is not followed: it would lead to somebody whom nobody named.
    pub(super) async fn post(
        &self,
        url: &Url,
        media_type: &str,
        fields: Vec<(HeaderName, String)>,
        content: Vec<u8>,
    ) -> Result<StatusCode, String> {
        let https = self.https.as_ref().ok_or("no authority is trusted that could prove it")?;
        let name = url.host_str().unwrap_or_default().parse::<smtp::Domain>();
        let name = name.map_err(|_| "it has no name")?;
        let resolver = self.names.resolver().await.map_err(|error| error.to_string())?;
        let addresses = resolver.addresses(&name).await.map_err(|error| error.to_string())?;
        let addresses: Vec<_> = addresses.iter().map(|(address, _)| address).collect();
        let port = url.port().unwrap_or(PORT);
        let host = if port == PORT { name.to_string() } else { format!("{name}:{port}") };
        let target = &url[Position::BeforePath..Position::AfterQuery];
        let mut request = Request::post(target)
            .header(HOST, host)
            .header(USER_AGENT, "postern")
            .header(CONTENT_TYPE, media_type);
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(content))).map_err(|error| error.to_string())?;
        let host = HttpsHost { name: &name, addresses: &addresses, port };
        let answer = https.ask(host, request, MAX_ANSWER).await.map_err(|error| error.to_string())?;
        Ok(answer.status)
    }
}
