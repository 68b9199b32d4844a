//! What holds for every request and every answer: whether it is meant for this server, who asks, whether they may, whether it
//! was they who asked and not another site, and what goes into the trail.

use std::sync::Arc;

use axum::Json;
use axum::body::{Bytes, HttpBody as _, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST,
    LOCATION, ORIGIN, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::answers::{Named, No};
use super::asker::{Asker, Came, Door, Who, on_behalf};
use super::desk::Desk;
use super::form;
use super::routes::{EVENTS, MAX_BODY, MAX_TEXT_BODY};
use super::{audit, page};
use crate::access::{Needs, Rights};

/// Nothing from elsewhere, nothing inline, in nobody's frame. What peers send reaches the page as text; this is the
/// second wall.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const FIELDS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    // For what knows no policy; browsers go by `frame-ancestors`.
    (X_FRAME_OPTIONS, "DENY"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // With less, a browser would not say where the page's own forms come from.
    (REFERRER_POLICY, "same-origin"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
/// A year (RFC 6797). Browsers pass it over where the certificate is one that they do not take.
const SECURE_ONLY: &str = "max-age=31536000";
/// What the page's script says of what it asks by itself.
const RENEWAL: HeaderName = HeaderName::from_static("x-postern-renewal");
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What becomes of a request's body on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// There is none.
    None,
    /// A form or JSON, whose names go into the trail.
    Order,
    /// A form whose handler says what goes there.
    Own,
    /// The same, as long as a config may be.
    Text,
    /// A message, which is not looked at here.
    Message,
}

/// What a path needs.
#[derive(Clone)]
pub(super) struct Guarded {
    pub(super) desk: Arc<Desk>,
    pub(super) needs: Needs,
    pub(super) body: Body,
}

/// Before everything else: whether the request is meant for this server. After everything: what each answer carries.
pub(super) async fn address(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let came = request.extensions().get::<Came>().copied();
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_api = request.uri().path().starts_with("/api/");
    let is_meant = came.is_some_and(|came| match came.door {
        Door::Command { .. } => true,
        Door::Web { .. } => desk.is_called(host, came.local),
    });
    let mut response = if is_meant {
        next.run(request).await
    } else {
        let text = "This server answers to its own address, its own name and localhost only.\n";
        (StatusCode::MISDIRECTED_REQUEST, text).into_response()
    };
    if is_api && !response.status().is_success() {
        response = in_json(response).await;
    }
    for (name, value) in FIELDS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if came.is_some_and(|came| came.door == Door::Web { tls: true }) {
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(SECURE_ONLY));
    }
    response
}

/// Programs are told why not in JSON, whoever says it: axum has words of its own for what it cannot read.
async fn in_json(response: Response) -> Response {
    if content_type(response.headers()) == Some("application/json") {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let words = to_bytes(body, MAX_BODY).await.unwrap_or_default();
    let words = String::from_utf8_lossy(&words);
    let words = match words.trim() {
        "" => parts.status.canonical_reason().unwrap_or_default(),
        words => words,
    };
    let mut told = (parts.status, Json(serde_json::json!({ "error": words }))).into_response();
    parts.headers.remove(CONTENT_TYPE);
    parts.headers.remove(CONTENT_LENGTH);
    told.headers_mut().extend(parts.headers);
    told
}

/// For one path: who asks, whether they may, and whether it was they.
pub(super) async fn guard(State(guarded): State<Guarded>, request: Request, next: Next) -> Response {
    let Guarded { desk, needs, body } = guarded;
    let Some(came) = request.extensions().get::<Came>().copied() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let wants_page = wants_page(&request);
    // Who listens without end uses nothing by it.
    let is_use = !request.headers().contains_key(RENEWAL) && request.uri().path() != EVENTS;
    let sends = request.method() == Method::POST;
    let asker = Asker { sends, ..identify(&desk, came, request.headers(), is_use).await };
    if !may(&desk, &asker, needs) {
        return refused(&desk, &asker, wants_page).await;
    }
    let order = match own(&asker, request, body).await {
        Ok(order) => order,
        Err(no) => return told(&desk, asker, no.into_response(), wants_page).await,
    };
    desk.recording().caught_up().await;
    let response = on_behalf(asker.clone(), next.run(order.request)).await;
    if order.is_change {
        let now = desk.now().as_secs();
        let entry = audit::note(&asker, &response, body, &order.path, &order.about, now);
        if let Some(entry) = entry {
            desk.access().trail().add(entry).await;
        }
    }
    told(&desk, asker, response, wants_page).await
}

/// Who it is; `is_use` says whether that keeps a session from ending.
pub(super) async fn identify(desk: &Desk, came: Came, headers: &HeaderMap, is_use: bool) -> Asker {
    let asker = |who, rights| Asker { who, rights, came, sends: false };
    let tls = match came.door {
        Door::Command { user } => return asker(Who::Command(user), Rights::all()),
        Door::Web { tls } => tls,
    };
    let access = desk.access();
    if let Some(secret) = bearer(headers) {
        return match access.of_token(secret).await {
            Some(known) => {
                let rights = known.rights.clone();
                asker(Who::Token(known), rights)
            }
            None => asker(Who::Nobody, Rights::none()),
        };
    }
    let session = form::cookie(headers, tls).and_then(|secret| access.of_session(secret, is_use));
    match session {
        Some((known, session)) => asker(Who::User { name: session.user.clone(), session }, known.rights),
        None if access.is_open() => asker(Who::Anybody, Rights::all()),
        None => asker(Who::Nobody, Rights::none()),
    }
}

/// RFC 6750 §2.1.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

fn may(desk: &Desk, asker: &Asker, needs: Needs) -> bool {
    let is_near = || asker.came.peer.to_canonical().is_loopback() || desk.lists(asker.came.peer);
    match needs {
        Needs::Own => asker.user().is_some(),
        // Numbers, no addresses: for the scraper on the machine, and for those that the config names.
        Needs::Metrics => asker.rights.suffice(needs) || is_near(),
        needs => asker.rights.suffice(needs),
    }
}

/// Somebody known is told no; anybody else may log in.
async fn refused(desk: &Desk, asker: &Asker, wants_page: bool) -> Response {
    let is_nobody = matches!(asker.who, Who::Nobody);
    if is_nobody && wants_page {
        let place = if desk.access().has_users() { "/login" } else { "/first" };
        return (StatusCode::SEE_OTHER, [(LOCATION, place)]).into_response();
    }
    if is_nobody {
        const WORDS: &str =
            "log in first: commands must be run as root or as Postern's user, programs need an API token";
        let mut response = No(StatusCode::UNAUTHORIZED, WORDS).into_response();
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    let no = No(StatusCode::FORBIDDEN, "this is not for you to see or to do");
    if wants_page {
        let frame = page::Frame { hostname: desk.hostname().to_owned(), title: "No".to_owned() };
        let page = on_behalf(asker.clone(), async { page::refusal(&frame, no.1) }).await;
        return (no.0, page).into_response();
    }
    no.into_response()
}

/// What is left of a request when it is known to be the asker's own.
struct Ordered {
    request: Request,
    is_change: bool,
    path: String,
    about: String,
}

const FOREIGN: No = No(
    StatusCode::FORBIDDEN,
    "orders come from this page itself, as JSON from a program, or with an API token",
);
const NO_TOKEN: No = No(StatusCode::FORBIDDEN, "the form is of another session; load the page again");
const TOO_LONG: No = No(StatusCode::PAYLOAD_TOO_LARGE, "that is more than an order can be");

/// Reading is free. What changes something comes by the command line's socket, with a token, or from a page of this very server: its
/// browser says so in `Origin`, and each form of a session carries a token that no other site can know.
async fn own(asker: &Asker, request: Request, body: Body) -> Result<Ordered, No> {
    let path = request.uri().path().to_owned();
    // There is no handler for anything but these and POST: whoever tries is told so.
    if *request.method() != Method::POST {
        return Ok(Ordered { request, is_change: false, path, about: String::new() });
    }
    let is_form = content_type(request.headers()) == Some("application/x-www-form-urlencoded");
    let is_json = content_type(request.headers()) == Some("application/json");
    let by_browser = match &asker.who {
        Who::Command(_) | Who::Token(_) => false,
        // As it always was: a program on this machine has no origin, and says so in JSON.
        Who::Anybody => request.headers().contains_key(ORIGIN) || !is_json,
        Who::User { .. } | Who::Nobody => true,
    };
    let is_from_here = is_same_origin(request.headers(), asker.came.door);
    let crosses = request.headers().get(SITE).is_some_and(|site| site != "same-origin");
    if crosses || (by_browser && !is_from_here) {
        return Err(FOREIGN);
    }
    // A program that says nothing needs not say in which form.
    let is_empty =
        !by_browser && !request.headers().contains_key(CONTENT_TYPE) && request.body().is_end_stream();
    if !(is_form || is_json || is_empty) {
        return Err(No(StatusCode::UNSUPPORTED_MEDIA_TYPE, "an order is a form or JSON"));
    }
    if body == Body::Message {
        return Ok(Ordered { request, is_change: true, path, about: String::new() });
    }
    let (parts, content) = request.into_parts();
    let most = if body == Body::Text { MAX_TEXT_BODY } else { MAX_BODY };
    let content = to_bytes(content, most).await.map_err(|_| TOO_LONG)?;
    let about = if body == Body::Order { audit::about(&content, is_json) } else { String::new() };
    let content = match (is_form, asker.user()) {
        (true, Some((_, session))) => form::without_token(&content, &session.token).ok_or(NO_TOKEN)?,
        // Of a page that was loaded before somebody logged in.
        (true, None) => form::without_any_token(&content),
        (false, _) => content,
    };
    Ok(Ordered { request: with_body(parts, content), is_change: true, path, about })
}

fn with_body(mut parts: Parts, content: Bytes) -> Request {
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(content.len()));
    Request::from_parts(parts, content.into())
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next().map(str::trim)
}

/// Whether the browser says that a page of this server asks.
fn is_same_origin(headers: &HeaderMap, door: Door) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = if door == (Door::Web { tls: true }) { "https://" } else { "http://" };
    let origin = text(ORIGIN).and_then(|origin| origin.strip_prefix(scheme));
    origin.is_some() && origin == text(HOST)
}

/// People want pages, programs want JSON.
fn wants_page(request: &Request) -> bool {
    let accepts = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    !request.uri().path().starts_with("/api/") && accepts.contains("text/html")
}

/// An answer that is no, as a page for people.
async fn told(desk: &Desk, asker: Asker, response: Response, wants_page: bool) -> Response {
    let Some(Named(words)) = response.extensions().get::<Named>().copied().filter(|_| wants_page) else {
        return response;
    };
    let frame = page::Frame { hostname: desk.hostname().to_owned(), title: "No".to_owned() };
    let page = on_behalf(asker, async { page::refusal(&frame, words) }).await;
    (response.status(), page).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_where_the_rfc_has_it() {
        let of = |value: &'static str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(of("bearer  abc ").as_deref(), Some("abc"));
        assert_eq!((of("Basic abc"), of("Bearer"), of("")), (None, None, None));
    }
}
