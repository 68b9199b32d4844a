//! Passkeys on the pages: logging in with one, adding and removing one's own.
//!
//! A browser speaks of passkeys to a script alone (`assets/passkeys.js`): it takes what is asked from a form, and sends what it gets
//! with that form. Without a script, or in a browser that knows none, these forms stay hidden, and the pages are complete without them.

use axum::Json;
use axum::extract::{Extension, Form, State};
use axum::http::header::HOST;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use passkeys::{Asked, Site};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::account::{back, own, shown};
use super::answers::{No, Office, html as page_of};
use super::asker::{Came, Door, asker};
use super::audit::Did;
use super::desk::Desk;
use super::form;
use super::login::{client, entered, failed, login};
use super::tables::when_seconds;
use crate::access::{Brought, MAX_PASSKEYS, PasskeyState};

/// Why there are no passkeys where somebody is, for a page; browsers know them on such pages alone.
pub(super) struct Nowhere(Markup);

/// What the page is to browsers. They know passkeys for a name, over HTTPS or on the machine itself.
pub(super) fn site(desk: &Desk, came: &Came, headers: &HeaderMap) -> Result<Site, Nowhere> {
    let tls = came.door == Door::Web { tls: true };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = name_of(host);
    let is_local = name.eq_ignore_ascii_case("localhost");
    let is_own = tls && name.eq_ignore_ascii_case(desk.hostname());
    // The guard has let nothing through that says to come from elsewhere than here.
    let origin = format!("{}://{host}", if tls { "https" } else { "http" });
    let site = (is_local || is_own).then(|| Site::new(name, &origin)).flatten();
    site.ok_or_else(|| Nowhere(elsewhere(desk)))
}

/// The host of a `Host`, without its port; one of an IPv6 address is none of ours.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => name,
        _ => host,
    }
}

fn elsewhere(desk: &Desk) -> Markup {
    html! {
        p.note {
            @if desk.is_on_loopback() { "Browsers know passkeys for names alone: open this page as localhost to use one." }
            @else { "Browsers know passkeys for names and over HTTPS alone: open this page as " (desk.hostname()) " to use one." }
        }
    }
}

/// What goes wrong in the browser itself. The script shows the one that fits, and the last where none does.
fn browsers_problems(of_login: bool) -> Markup {
    html! {
        p.problem role="alert" hidden data-when="NotAllowedError" {
            @if of_login { "No passkey was chosen, or this device has none for this page; try again, or log in with your password." }
            @else { "No passkey was made; try again." }
        }
        @if !of_login {
            p.problem role="alert" hidden data-when="InvalidStateError" { "This device has a passkey of yours already." }
        }
        p.problem role="alert" hidden data-when="SecurityError" {
            "The browser makes and uses no passkeys here: it has to trust the certificate of this page."
        }
        p.problem role="alert" hidden data-when="" {
            @if of_login { "The browser or the device could not do it; try again, or log in with your password." }
            @else { "The browser or the device could not do it; begin again with your password." }
        }
    }
}

/// Below the form to log in with a password.
pub(super) fn button(site: Result<&Site, &Nowhere>) -> Markup {
    html! {
        @match site {
            Ok(_) => {
                form.fields method="post" action="/login/passkey" data-passkey="get" hidden {
                    (form::token())
                    (browsers_problems(true))
                    input type="hidden" name="ticket";
                    input type="hidden" name="answer";
                    button { "Log in with a passkey" }
                }
                (script())
            }
            Err(Nowhere(why)) => (why),
        }
    }
}

fn script() -> Markup {
    html! { script src="/assets/passkeys.js" defer {} }
}

/// What the browser is to be asked for a login. It changes nothing and fills nothing: what there is to remember goes along.
pub(super) async fn ask(
    State(desk): Office,
    Extension(came): Extension<Came>,
    headers: HeaderMap,
) -> Result<Json<Asked>, No> {
    const NOT_HERE: No = No(StatusCode::NOT_FOUND, "there are no passkeys at this address; use the name");
    const BROKEN: No = No(StatusCode::INTERNAL_SERVER_ERROR, "passkeys do not work; the log says why");
    let site = site(&desk, &came, &headers).map_err(|_| NOT_HERE)?;
    desk.access().ask_for_login(&site).map(Json).map_err(|error| {
        tracing::error!(%error, "nobody can be asked for a passkey");
        BROKEN
    })
}

/// What the forms send.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filled {
    #[serde(default)]
    password: Zeroizing<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    ticket: String,
    #[serde(default)]
    answer: String,
}

impl Filled {
    fn brought(&self) -> Brought<'_> {
        Brought { ticket: &self.ticket, answer: &self.answer }
    }
}

pub(super) async fn log_in(
    State(desk): Office,
    Extension(came): Extension<Came>,
    headers: HeaderMap,
    Form(filled): Form<Filled>,
) -> Response {
    let site = match site(&desk, &came, &headers) {
        Ok(site) => site,
        Err(nowhere) => {
            return (StatusCode::NOT_FOUND, page_of(login(&desk, Err(&nowhere), None))).into_response();
        }
    };
    let client = client(&came, &headers);
    match desk.access().log_in_with_passkey(&site, filled.brought(), &client).await {
        Ok(logged) => entered(
            &came,
            &logged.opened,
            Did { who: Some(logged.name.to_string()), ..Did::new("login with a passkey") },
        ),
        Err(error) => failed(&error, login(&desk, Ok(&site), Some(&error)), &came),
    }
}

/// Begins to add one, for whoever knows the password.
pub(super) async fn offer(
    State(desk): Office,
    Extension(came): Extension<Came>,
    headers: HeaderMap,
    Form(filled): Form<Filled>,
) -> Result<Response, No> {
    let (name, session) = own()?;
    let Ok(site) = site(&desk, &came, &headers) else { return shown(&desk, &came, &headers, None, html! {}) };
    let asked = async {
        desk.access().confirm(&name, filled.password, came.peer).await?;
        desk.access().ask_for_passkey(&session, &site)
    };
    match asked.await {
        Ok(asked) => shown(&desk, &came, &headers, None, offered(&asked, &filled.name)),
        Err(error) => shown(&desk, &came, &headers, Some(&error), html! {}),
    }
}

/// Takes what came of it.
pub(super) async fn take(
    State(desk): Office,
    Extension(came): Extension<Came>,
    headers: HeaderMap,
    Form(filled): Form<Filled>,
) -> Result<Response, No> {
    let (_, session) = own()?;
    let Ok(site) = site(&desk, &came, &headers) else { return shown(&desk, &came, &headers, None, html! {}) };
    match desk.access().take_passkey(&session, &site, &filled.name, filled.brought()).await {
        Ok(called) => Ok(back(Did { about: called, ..Did::new("passkey added") })),
        Err(error) => shown(&desk, &came, &headers, Some(&error), html! {}),
    }
}

pub(super) async fn remove(
    State(desk): Office,
    Extension(came): Extension<Came>,
    headers: HeaderMap,
    Form(filled): Form<Filled>,
) -> Result<Response, No> {
    let (name, _) = own()?;
    let removed = async {
        desk.access().confirm(&name, filled.password, came.peer).await?;
        desk.access().remove_passkey(&name, &filled.id).await
    };
    match removed.await {
        Ok(called) => Ok(back(Did { about: called, ..Did::new("passkey removed") })),
        Err(error) => shown(&desk, &came, &headers, Some(&error), html! {}),
    }
}

/// Adding takes two steps, as of a second factor: browsers want a press of a button for each passkey. The script comes with the
/// section below.
fn offered(asked: &Asked, name: &str) -> Markup {
    html! {
        section.wide id="offer" {
            h2 { "Add a passkey" }
            p { "The browser asks now where the passkey is to be kept, and wants to see that it is you: by finger, face or PIN." }
            form.fields method="post" action="/account/passkeys/confirm" data-passkey="create" data-options=(asked.options) hidden {
                (form::token())
                (browsers_problems(false))
                input type="hidden" name="ticket" value=(asked.ticket);
                input type="hidden" name="answer";
                input type="hidden" name="name" value=(name);
                button { "Make it" }
            }
            (without_script())
        }
    }
}

/// Taken away by the script where it can do something.
fn without_script() -> Markup {
    html! { p.note data-no-passkey { "That takes a browser that knows passkeys and runs scripts; this one does not." } }
}

/// One's own, on one's own page.
pub(super) fn section(passkeys: &[PasskeyState], site: Result<&Site, &Nowhere>) -> Markup {
    html! {
        section id="passkeys" {
            h2 { "Passkeys" }
            p { "One takes the place of name, password and second factor: the device that has it sees to it that it is you." }
            ul.plain { @for passkey in passkeys { li { (one(passkey)) } } }
            @match site {
                Err(Nowhere(why)) => (why),
                Ok(_) if passkeys.len() >= MAX_PASSKEYS => {
                    p.note { "There are as many as there can be; remove one first." }
                }
                Ok(_) => {
                    form.fields method="post" action="/account/passkeys" data-passkey="offer" hidden {
                        (form::token())
                        label { "What you call it " input name="name" autocomplete="off" required maxlength="64"; }
                        label { "Your password " input type="password" name="password" autocomplete="current-password" required maxlength="256"; }
                        button { "Add a passkey" }
                    }
                    (without_script())
                    (script())
                }
            }
        }
    }
}

fn one(passkey: &PasskeyState) -> Markup {
    html! {
        p { strong.words { (passkey.name) } " " span.note.words { (passkey.site) } }
        p.note {
            "added " (when_seconds(passkey.made))
            @match passkey.last_use {
                Some(at) => { " · last used " (when_seconds(at)) }
                None => " · not used yet",
            }
        }
        details {
            summary { "Remove it" }
            form.fields method="post" action="/account/passkeys/remove" {
                (form::token())
                input type="hidden" name="id" value=(passkey.id);
                label { "Your password " input type="password" name="password" autocomplete="current-password" required maxlength="256"; }
                button { "Remove it" }
            }
        }
    }
}

/// Whoever asks, if it is this user, stays in their session.
pub(super) fn own_session(name: &crate::access::UserName) -> Option<String> {
    let asker = asker()?;
    let (own, session) = asker.user()?;
    (own == name).then(|| session.id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_name_and_perhaps_a_port() {
        for (host, name) in [
            ("mx1.example.net:8443", "mx1.example.net"),
            ("localhost", "localhost"),
            ("localhost:x", "localhost:x"),
            ("[::1]:8443", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(name_of(host), name, "{host}");
        }
    }
}
