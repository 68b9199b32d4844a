//! Logging in and out, and the first login, by a code.

use ::passkeys::Site;
use axum::extract::{Extension, Form, State};
use axum::http::header::{LOCATION, RETRY_AFTER, SET_COOKIE, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::answers::{Office, html};
use super::asker::{Came, Door, asker};
use super::audit::Did;
use super::desk::Desk;
use super::form;
use super::page::Frame;
use super::passkeys;
use crate::access::{AccessError, Client, Opened, Said};

/// What the page to log in sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filled {
    #[serde(default)]
    name: String,
    #[serde(default)]
    password: Zeroizing<String>,
    #[serde(default)]
    code: String,
}

impl Filled {
    fn said(self) -> Said {
        Said { name: self.name, password: self.password, code: self.code }
    }
}

pub(super) async fn page(
    State(desk): Office,
    Extension(came): Extension<Came>,
    headers: HeaderMap,
) -> Response {
    if asker().is_some_and(|asker| asker.user().is_some()) {
        return home();
    }
    html(login(&desk, passkeys::site(&desk, &came, &headers).as_ref(), None))
}

pub(super) async fn log_in(
    State(desk): Office,
    Extension(came): Extension<Came>,
    headers: HeaderMap,
    Form(filled): Form<Filled>,
) -> Response {
    match desk.access().log_in(filled.said(), &client(&came, &headers)).await {
        Ok(logged) => {
            let who = Some(logged.name.to_string());
            entered(&came, &logged.opened, Did { who, ..Did::new("login") })
        }
        Err(error) => {
            let site = passkeys::site(&desk, &came, &headers);
            failed(&error, login(&desk, site.as_ref(), Some(&error)), &came)
        }
    }
}

pub(super) async fn first_page(State(desk): Office) -> Response {
    html(first(&desk, None))
}

pub(super) async fn redeem(
    State(desk): Office,
    Extension(came): Extension<Came>,
    headers: HeaderMap,
    Form(filled): Form<Filled>,
) -> Response {
    match desk.access().redeem(filled.said(), &client(&came, &headers)).await {
        Ok(redeemed) => {
            let gone = match redeemed.passkeys {
                0 => String::new(),
                passkeys => format!("passkeys taken away: {passkeys}"),
            };
            let who = Some(redeemed.name.to_string());
            let did = Did { who, about: gone, ..Did::new("password chosen with a code") };
            match redeemed.opened {
                Some(opened) => entered(&came, &opened, did),
                None => (StatusCode::SEE_OTHER, [(LOCATION, "/login")], Extension(did)).into_response(),
            }
        }
        Err(error) => failed(&error, first(&desk, Some(&error)), &came),
    }
}

pub(super) async fn log_out(State(desk): Office, Extension(came): Extension<Came>) -> Response {
    if let Some((name, session)) = asker().as_ref().and_then(|asker| asker.user()) {
        desk.access().end_session(name, &session.id);
    }
    let gone = form::set_cookie(None, is_tls(&came));
    let fields = [(LOCATION.as_str(), "/login"), (SET_COOKIE.as_str(), gone.as_str())];
    (StatusCode::SEE_OTHER, fields, Extension(Did::new("logout"))).into_response()
}

fn home() -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, "/")]).into_response()
}

fn is_tls(came: &Came) -> bool {
    came.door == Door::Web { tls: true }
}

/// Where somebody comes from, and with which browser.
pub(super) fn client(came: &Came, headers: &HeaderMap) -> Client {
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    Client { address: came.peer, agent: agent.to_owned() }
}

pub(super) fn entered(came: &Came, opened: &Opened, did: Did) -> Response {
    let cookie = form::set_cookie(Some((&opened.secret, opened.life)), is_tls(came));
    let fields = [(LOCATION.as_str(), "/"), (SET_COOKIE.as_str(), cookie.as_str())];
    (StatusCode::SEE_OTHER, fields, Extension(did)).into_response()
}

/// Failures are in the log, not in the trail: whoever guesses must not push out of it what was changed.
pub(super) fn failed(error: &AccessError, page: Markup, came: &Came) -> Response {
    let from = came.peer.to_canonical();
    match error {
        AccessError::Passkey { who: Some(who), why } => {
            tracing::warn!(target: "postern::access", %from, %who, reason = %why, "a passkey was not let in");
        }
        AccessError::Passkey { who: None, why } => {
            tracing::warn!(target: "postern::access", %from, reason = %why, "a passkey was not let in");
        }
        error => tracing::warn!(target: "postern::access", %from, %error, "somebody was not let in"),
    }
    let mut response = (status(error), html(page)).into_response();
    if let AccessError::Wait(wait) = error {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    response
}

/// The status that goes with it.
pub(super) fn status(error: &AccessError) -> StatusCode {
    match error {
        AccessError::Wrong | AccessError::WrongCode | AccessError::Passkey { .. } => StatusCode::FORBIDDEN,
        AccessError::Wait(_) => StatusCode::TOO_MANY_REQUESTS,
        AccessError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        AccessError::UnknownUser | AccessError::UnknownToken | AccessError::UnknownPasskey => {
            StatusCode::NOT_FOUND
        }
        AccessError::Exists | AccessError::LastAdministrator | AccessError::TooMany => StatusCode::CONFLICT,
        AccessError::NotKept(_) | AccessError::State { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        AccessError::Name | AccessError::NotTaken | AccessError::Password | AccessError::Role(_) => {
            StatusCode::BAD_REQUEST
        }
    }
}

/// An error as a sentence above a form.
pub(super) fn problem(error: Option<&AccessError>) -> Markup {
    html! { @if let Some(error) = error { p.problem role="alert" { (error) "." } } }
}

pub(super) fn login(
    desk: &Desk,
    site: Result<&Site, &passkeys::Nowhere>,
    error: Option<&AccessError>,
) -> Markup {
    let frame = Frame { hostname: desk.hostname().to_owned(), title: "Log in".to_owned() };
    frame.around(
        "",
        html! {
            section.state.unknown.entry {
                h1 { "Log in" }
                (problem(error))
                form.fields method="post" action="/login" {
                    (form::token())
                    label { "Name " input name="name" autocomplete="username" autocapitalize="none" required maxlength="64" autofocus; }
                    label { "Password " input type="password" name="password" autocomplete="current-password" required maxlength="256"; }
                    label {
                        "Code of your second factor, if you have one "
                        input name="code" autocomplete="one-time-code" maxlength="32";
                    }
                    button { "Log in" }
                }
                (passkeys::button(site))
                p.note { a href="/first" { "I have a code for a first login" } }
            }
        },
    )
}

fn first(desk: &Desk, error: Option<&AccessError>) -> Markup {
    let frame = Frame { hostname: desk.hostname().to_owned(), title: "First login".to_owned() };
    let nobody_yet = !desk.access().has_users();
    frame.around(
        "",
        html! {
            section.state.unknown.entry {
                h1 { @if nobody_yet { "Nobody can log in here yet" } @else { "First login" } }
                @if nobody_yet {
                    p {
                        "A code makes you the administrator. The appliance shows it on its screen; elsewhere whoever is root asks for it: "
                        strong.words { "postern users code" }
                    }
                } @else {
                    p { "With the code that an administrator gave you." }
                    p.note { "Passkeys that you had until now count no more afterwards." }
                }
                (problem(error))
                form.fields method="post" action="/first" {
                    (form::token())
                    label { "Code " input name="code" autocomplete="off" autocapitalize="characters" required maxlength="32" autofocus; }
                    label {
                        @if nobody_yet { "Name that you choose " } @else { "Name " }
                        input name="name" autocomplete="username" autocapitalize="none" required maxlength="64";
                    }
                    label { "Password that you choose, 12 characters at least " input type="password" name="password" autocomplete="new-password" required minlength="12" maxlength="256"; }
                    button { "Set up my login" }
                }
                p.note { "A second factor can be added afterwards, on your own page; administrators should. " a href="/login" { "Log in" } }
            }
        },
    )
}
