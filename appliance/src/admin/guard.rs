//! What holds for every request and every answer.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::desk::Desk;

/// Nothing from elsewhere, nothing inline, in nobody's frame. What peers send reaches the page as text; this is the
/// second wall.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const FIELDS: [(HeaderName, &str); 5] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // With less, a browser would not say where the page's own forms come from.
    (REFERRER_POLICY, "same-origin"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Reading is free. Whatever changes something comes from a page of this very server, as its browser says; a program, which
/// has no origin, says so in JSON: a form of another site cannot, not even from a browser that keeps the origin to itself.
fn may_write(request: &Request, host: &str) -> bool {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return true;
    }
    let field =
        |name: HeaderName| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
    let is_json = field(CONTENT_TYPE).is_some_and(|kind| kind.split(';').next() == Some("application/json"));
    let same_site = field(HeaderName::from_static("sec-fetch-site")).is_none_or(|site| site == "same-origin");
    match field(ORIGIN) {
        Some(origin) => origin.strip_prefix("http://") == Some(host) && same_site,
        None => is_json && same_site,
    }
}

pub(super) async fn guard(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let mut response = if host.is_some_and(|host| desk.is_called(host)) {
        if may_write(&request, host.unwrap_or_default()) {
            desk.recording().caught_up().await;
            next.run(request).await
        } else {
            let text = "Orders come from this page itself, or as JSON without an origin.\n";
            (StatusCode::FORBIDDEN, text).into_response()
        }
    } else {
        let text = "This server answers to its own address and to localhost only.\n";
        (StatusCode::MISDIRECTED_REQUEST, text).into_response()
    };
    for (name, value) in FIELDS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
