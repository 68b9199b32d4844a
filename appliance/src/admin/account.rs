//! What users do with their own login: password, second factor, sessions.

use axum::extract::{Extension, Form, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::answers::{No, Office, html};
use super::asker::{Came, asker};
use super::audit::Did;
use super::desk::Desk;
use super::form;
use super::login::{problem, status};
use super::page::Frame;
use super::passkeys;
use super::tables::{when_seconds, wide};
use crate::access::{AccessError, Enrolment, Session, Sight, UserName, UserState};

const NOT_A_USER: No = No(StatusCode::FORBIDDEN, "this is of a user's own login");

pub(super) fn own() -> Result<(UserName, Session), No> {
    let asker = asker().ok_or(NOT_A_USER)?;
    let (name, session) = asker.user().ok_or(NOT_A_USER)?;
    Ok((name.clone(), session.clone()))
}

pub(super) async fn page(
    State(desk): Office,
    Extension(came): Extension<Came>,
    headers: HeaderMap,
) -> Result<Response, No> {
    shown(&desk, &came, &headers, None, html! {})
}

/// What the forms send.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filled {
    #[serde(default)]
    password: Zeroizing<String>,
    #[serde(default)]
    new: Zeroizing<String>,
    #[serde(default)]
    code: String,
    #[serde(default)]
    id: String,
}

pub(super) async fn password(
    State(desk): Office,
    Extension(came): Extension<Came>,
    headers: HeaderMap,
    Form(filled): Form<Filled>,
) -> Result<Response, No> {
    let (name, session) = own()?;
    let changed = async {
        desk.access().confirm(&name, filled.password, came.peer).await?;
        desk.access().set_password(&name, filled.new, Some(&session.id)).await
    };
    match changed.await {
        Ok(()) => Ok(back(Did::new("own password changed"))),
        Err(error) => shown(&desk, &came, &headers, Some(&error), html! {}),
    }
}

/// Offers a second factor to whoever knows the password.
pub(super) async fn offer(
    State(desk): Office,
    Extension(came): Extension<Came>,
    headers: HeaderMap,
    Form(filled): Form<Filled>,
) -> Result<Response, No> {
    let (name, session) = own()?;
    match desk.access().confirm(&name, filled.password, came.peer).await {
        Ok(()) => {
            let enrolment = desk.access().offer_totp(&session, desk.hostname());
            shown(&desk, &came, &headers, None, offered(&enrolment, None))
        }
        Err(error) => shown(&desk, &came, &headers, Some(&error), html! {}),
    }
}

/// Takes it up: the code shows that an app has the secret. The recovery codes are shown once, here.
pub(super) async fn enrol(
    State(desk): Office,
    Extension(came): Extension<Came>,
    headers: HeaderMap,
    Form(filled): Form<Filled>,
) -> Result<Response, No> {
    const NOT_OFFERED: No =
        No(StatusCode::CONFLICT, "no second factor was offered here; begin with the password");
    let (_, session) = own()?;
    let enrolment = desk.access().offered(&session, desk.hostname()).ok_or(NOT_OFFERED)?;
    match desk.access().enrol(&session, &enrolment, &filled.code).await {
        Ok(codes) => {
            let mut response = shown(&desk, &came, &headers, None, recovery(&codes))?;
            response.extensions_mut().insert(Did::new("second factor added"));
            Ok(response)
        }
        Err(error) => shown(&desk, &came, &headers, None, offered(&enrolment, Some(&error))),
    }
}

pub(super) async fn remove_totp(
    State(desk): Office,
    Extension(came): Extension<Came>,
    headers: HeaderMap,
    Form(filled): Form<Filled>,
) -> Result<Response, No> {
    let (name, _) = own()?;
    let removed = async {
        desk.access().confirm(&name, filled.password, came.peer).await?;
        desk.access().within(&Sight::All).remove_totp(&name).await
    };
    match removed.await {
        Ok(()) => Ok(back(Did::new("second factor removed"))),
        Err(error) => shown(&desk, &came, &headers, Some(&error), html! {}),
    }
}

pub(super) async fn end_session(State(desk): Office, Form(filled): Form<Filled>) -> Result<Response, No> {
    let (name, _) = own()?;
    if !desk.access().end_session(&name, &filled.id) {
        return Err(No(StatusCode::NOT_FOUND, "no such session of yours, or no longer"));
    }
    Ok(back(Did::new("own session ended")))
}

pub(super) fn back(did: Did) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, "/account")], Extension(did)).into_response()
}

pub(super) fn shown(
    desk: &Desk,
    came: &Came,
    headers: &HeaderMap,
    error: Option<&AccessError>,
    first: Markup,
) -> Result<Response, No> {
    let (name, session) = own()?;
    let user = desk.access().user(&name).ok_or(NOT_A_USER)?;
    let sessions = desk.access().sessions_of(&name);
    let site = passkeys::site(desk, came, headers);
    let frame = Frame { hostname: desk.hostname().to_owned(), title: "Your login".to_owned() };
    let page = frame.around(
        "All times are UTC",
        html! {
            p.back { a href="/" { "Status" } }
            (first)
            (facts(&user, error))
            (new_password())
            (second_factor(&user))
            (passkeys::section(&desk.access().passkeys_of(&name), site.as_ref()))
            (open_sessions(&sessions, &session))
        },
    );
    let status = error.map_or(StatusCode::OK, status);
    Ok((status, html(page)).into_response())
}

fn facts(user: &UserState, error: Option<&AccessError>) -> Markup {
    html! {
        section.state.unknown {
            h1 { (user.name) }
            p { (user.role) @if !user.domains.is_empty() { " of " (user.domains.join(", ")) } }
            (problem(error))
        }
    }
}

fn new_password() -> Markup {
    html! {
        section id="password" {
            h2 { "Password" }
            form.fields method="post" action="/account/password" {
                (form::token())
                label { "The present one " input type="password" name="password" autocomplete="current-password" required maxlength="256"; }
                label { "The new one, 12 characters at least " input type="password" name="new" autocomplete="new-password" required minlength="12" maxlength="256"; }
                button { "Change it" }
            }
            p.note { "Your other sessions end." }
            p.note { "Passkeys stay: remove those that you do not know." }
        }
    }
}

fn second_factor(user: &UserState) -> Markup {
    let (action, words) = match user.has_totp {
        true => ("/account/totp/remove", "Remove it"),
        false => ("/account/totp", "Add one"),
    };
    html! {
        section id="totp" {
            h2 { "Second factor" }
            @if user.has_totp {
                p { "An authenticator app. " (user.recovery_codes) " recovery codes are left." }
            } @else {
                p { "None. With an authenticator app a password that somebody learns is not enough." }
            }
            form.fields method="post" action=(action) {
                (form::token())
                label { "Your password " input type="password" name="password" autocomplete="current-password" required maxlength="256"; }
                button { (words) }
            }
        }
    }
}

fn offered(enrolment: &Enrolment, error: Option<&AccessError>) -> Markup {
    html! {
        section.wide id="offer" {
            h2 { "Add a second factor" }
            (problem(error))
            p { "Scan this with an authenticator app, or type its secret there; then type the code that the app shows." }
            (enrolment.drawing())
            p.record { (enrolment.secret()) }
            p.note.record { (enrolment.uri()) }
            form.fields method="post" action="/account/totp/confirm" {
                (form::token())
                label { "Code " input name="code" autocomplete="one-time-code" inputmode="numeric" required maxlength="6"; }
                button { "Use it from now on" }
            }
        }
    }
}

fn recovery(codes: &[String]) -> Markup {
    html! {
        section.wide id="recovery" {
            h2 { "Recovery codes" }
            p { "For the day when the telephone is gone: each counts once instead of a code. They are shown now and never again." }
            ul.plain.record { @for code in codes { li { (code) } } }
        }
    }
}

fn open_sessions(sessions: &[Session], own: &Session) -> Markup {
    wide(
        "sessions",
        "Where you are logged in",
        html! {
            ul.plain {
                @for session in sessions {
                    li {
                        p {
                            strong.words { (session.from) }
                            span.note { " · since " (when_seconds(session.began)) " · last used " (when_seconds(session.used)) }
                            @if session.id == own.id { span.note { " · this one" } }
                        }
                        p.note.words { (session.agent) }
                        @if session.id != own.id {
                            div.actions { (form::button("/account/sessions/end", &[("id", &session.id)], "End it")) }
                        }
                    }
                }
            }
        },
    )
}
