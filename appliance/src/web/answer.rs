//! From what is asked to what is answered.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use smtp::Domain;

/// RFC 8555 §8.3.
const CHALLENGE: &str = "/.well-known/acme-challenge/";
/// RFC 8461 §3.3.
const POLICY: &str = "/.well-known/mta-sts.txt";
const POLICY_HOST: &str = "mta-sts.";
/// Octets of a token: 22 characters have the 128 bits that RFC 8555 §8.3 demands, CAs send 43.
const MAX_TOKEN: usize = 128;

/// What a client asks for.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    /// With the port, if it was named.
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) tls: bool,
}

pub(super) fn answer(
    asked: &Asked<'_>,
    token: impl Fn(&str) -> Option<String>,
    policy: &dyn Fn(&Domain) -> Option<String>,
) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::HEAD].contains(asked.method) {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, String::new());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let found = match asked.path.strip_prefix(CHALLENGE) {
        // A CA follows a redirection to https, but there is none here: plain it is asked, plain it is answered.
        Some(name) if !asked.tls && is_token(name) => token(name),
        _ if asked.tls && asked.path == POLICY => {
            policy_domain(asked.host).and_then(|domain| policy(&domain))
        }
        _ => None,
    };
    match found {
        Some(text) => plain(StatusCode::OK, text),
        None => plain(StatusCode::NOT_FOUND, "not found\n".to_owned()),
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// base64url (RFC 8555 §8.3).
fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN).contains(&text.len())
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
}

/// Whose policy is asked for at this host.
fn policy_domain(host: &str) -> Option<Domain> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name.strip_prefix(POLICY_HOST)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: Method, host: &str, path: &str, tls: bool) -> u16 {
        let token = |token: &str| (token == "tok-en_1").then(|| "tok-en_1.thumb".to_owned());
        let policy =
            |domain: &Domain| (domain.as_str() == "example.net").then(|| "version: STSv1".to_owned());
        answer(&Asked { method: &method, host, path, tls }, token, &policy).status().as_u16()
    }

    #[test]
    fn two_paths_are_answered_each_where_it_belongs() {
        let challenge = "/.well-known/acme-challenge/tok-en_1";
        for (host, path, tls, expected) in [
            ("mx.example.net", challenge, false, 200),
            ("anything", challenge, false, 200),
            ("mx.example.net", challenge, true, 404),
            ("mx.example.net", "/.well-known/acme-challenge/other", false, 404),
            ("mx.example.net", "/.well-known/acme-challenge/", false, 404),
            ("mx.example.net", "/.well-known/acme-challenge/../tok-en_1", false, 404),
            ("mta-sts.example.net", POLICY, true, 200),
            ("MTA-STS.example.net.:443", POLICY, true, 200),
            ("mta-sts.example.net", POLICY, false, 404),
            ("mta-sts.example.org", POLICY, true, 404),
            ("example.net", POLICY, true, 404),
            ("", POLICY, true, 404),
            ("mta-sts.example.net", "/", true, 404),
        ] {
            assert_eq!(status(Method::GET, host, path, tls), expected, "{host} {path} {tls}");
        }
        assert_eq!(status(Method::HEAD, "mta-sts.example.net", POLICY, true), 200);
        assert_eq!(status(Method::POST, "mta-sts.example.net", POLICY, true), 405);
    }
}
