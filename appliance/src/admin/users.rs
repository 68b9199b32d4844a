//! Users, for administrators: on the page, over the API, and from the command line.

use axum::Json;
use axum::extract::{Form, Path, State};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answers::{Office, Refused, html};
use super::asker::{asker, may, sight};
use super::desk::Desk;
use super::form;
use super::login::{problem, status};
use super::page::Frame;
use super::passkeys::own_session;
use super::tables::{none, when_seconds, wide};
use crate::access::{AccessError, Needs, Role, UserName, UserState};

pub(super) async fn list(State(desk): Office) -> Json<Vec<UserState>> {
    Json(desk.access().within(&sight()).users())
}

/// `{"name": "ann", "role": "domain-administrator", "domains": ["example.net"]}`; role and domains only with `add` and `role`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ordered {
    #[serde(default)]
    name: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    domains: Vec<String>,
}

/// What came of an order.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Done {
    /// The user, if one is meant.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// A code to choose a password with; it is told once.
    #[serde(default)]
    pub(crate) code: Option<String>,
    /// Until when the code counts, in seconds since 1970; without, until somebody has used it.
    #[serde(default)]
    pub(crate) until: Option<u64>,
}

/// An error as the API tells it.
pub(super) fn refused(error: &AccessError) -> Refused {
    if let AccessError::NotKept(error) = error {
        tracing::error!(%error, "users and tokens cannot be written");
    }
    Refused(status(error), error.to_string())
}

pub(super) async fn order(
    State(desk): Office,
    Path(verb): Path<String>,
    Json(ordered): Json<Ordered>,
) -> Result<Json<Done>, Refused> {
    carry_out(&desk, &verb, ordered).await.map(Json).map_err(|error| refused(&error))
}

/// Orders for users.
pub(super) const VERBS: [&str; 7] = ["add", "passwd", "role", "totp", "passkeys", "remove", "code"];

async fn carry_out(desk: &Desk, verb: &str, ordered: Ordered) -> Result<Done, AccessError> {
    const NOT_YOURS: AccessError =
        AccessError::Role("such a code makes an administrator; administrators alone give it");
    const OWN: AccessError = AccessError::Role("your own login is changed on your own page, /account");
    let reach = sight();
    let access = desk.access().within(&reach);
    if verb == "code" {
        if !may(Needs::Administer) {
            return Err(NOT_YOURS);
        }
        let (code, until) = desk.access().new_code();
        return Ok(Done { name: None, code: Some(code), until });
    }
    let name: UserName = ordered.name.parse()?;
    // A code for one's own password would spare the old one.
    if !may(Needs::Administer) && asker().and_then(|asker| asker.owner()).as_ref() == Some(&name) {
        return Err(OWN);
    }
    let role = || Role::of(&ordered.role, &ordered.domains);
    let mut done = Done { name: Some(name.to_string()), ..Done::default() };
    match verb {
        "add" => {
            let (code, until) = access.add(&name, role()?).await?;
            (done.code, done.until) = (Some(code), Some(until));
        }
        "passwd" => {
            let (code, until) = access.invite(&name).await?;
            (done.code, done.until) = (Some(code), Some(until));
        }
        "role" => access.give_role(&name, role()?).await?,
        "totp" => access.remove_totp(&name).await?,
        "passkeys" => access.remove_passkeys(&name, own_session(&name).as_deref()).await?,
        "remove" => access.remove(&name).await?,
        _ => return Err(AccessError::Role("an order is add, passwd, role, totp, passkeys, remove or code")),
    }
    Ok(done)
}

/// What the appliance's screen shows beside the status.
pub(super) async fn console(State(desk): Office) -> Json<Done> {
    Json(Done { code: desk.access().standing_code(), ..Done::default() })
}

/// What the page's forms send.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filled {
    #[serde(default)]
    name: String,
    #[serde(default)]
    role: String,
    /// With spaces or commas between them.
    #[serde(default)]
    domains: String,
}

pub(super) async fn page(State(desk): Office) -> Response {
    html(markup(&desk, None, None))
}

/// A button of the page. A code is on the page that answers, and nowhere else.
pub(super) async fn button(
    State(desk): Office,
    Path(verb): Path<String>,
    Form(filled): Form<Filled>,
) -> Response {
    let Filled { name, role, domains } = filled;
    let domains = domains.split([' ', ',', '\n', '\r']).map(str::to_owned).filter(|part| !part.is_empty());
    let ordered = Ordered { name, role, domains: domains.collect() };
    match carry_out(&desk, &verb, ordered).await {
        Ok(done) => html(markup(&desk, Some(&done), None)),
        Err(error) => (status(&error), html(markup(&desk, None, Some(&error)))).into_response(),
    }
}

fn markup(desk: &Desk, done: Option<&Done>, error: Option<&AccessError>) -> Markup {
    let frame = Frame { hostname: desk.hostname().to_owned(), title: "Users".to_owned() };
    let users = desk.access().within(&sight()).users();
    let administers = may(Needs::Administer);
    let own = asker().and_then(|asker| asker.owner());
    let is_own =
        |user: &UserState| !administers && own.as_ref().is_some_and(|own| own.to_string() == user.name);
    frame.around(
        "All times are UTC",
        html! {
            p.back {
                a href="/" { "Status" }
                @if administers { " · " a href="/tokens" { "API tokens" } " · " a href="/audit" { "Changes" } }
            }
            (problem(error))
            @if let Some(done) = done { (code(done)) }
            (wide("users", "Users", html! {
                @if users.is_empty() { (none("There are none.")) }
                ul.plain { @for user in &users { li { (one(user, is_own(user))) } } }
            }))
            section.wide id="add" {
                h2 { "Add a user" }
                form.fields method="post" action="/users/add" {
                    (form::token())
                    label { "Name " input name="name" autocomplete="off" autocapitalize="none" required maxlength="64"; }
                    (role_fields())
                    button { "Add" }
                }
                p.note { "You get a code for them, with which they choose their password." }
            }
        },
    )
}

fn code(done: &Done) -> Markup {
    html! {
        @if let Some(code) = &done.code {
            section.state.good id="code" {
                h1 { "The code for " (done.name.as_deref().unwrap_or("a new administrator")) " is " span.record { (code) } }
                p {
                    "It is shown now and never again. They go to /first with it"
                    @if let Some(until) = done.until { ", until " (when_seconds(until)) }
                    "."
                }
            }
        }
    }
}

fn role_fields() -> Markup {
    html! {
        label {
            "Role "
            select name="role" {
                option value="viewer" { "Viewer: looks, changes nothing" }
                option value="domain-administrator" { "Domain administrator: the mail of some domains" }
                @if may(Needs::Administer) { option value="administrator" { "Administrator: everything" } }
            }
        }
        @if may(Needs::Administer) {
            label { "Domains; none for all, where that is possible " input name="domains" autocomplete="off"; }
        } @else {
            label { "Domains, of your own " input name="domains" autocomplete="off" required value=(sight().domains().join(" ")); }
        }
    }
}

fn one(user: &UserState, is_own: bool) -> Markup {
    html! {
        p {
            strong.words { (user.name) } " " (user.role)
            @if !user.domains.is_empty() { " of " span.words { (user.domains.join(", ")) } }
        }
        p.note {
            @match user.last_login {
                Some(at) => { "last login " (when_seconds(at)) }
                None => "has not logged in yet",
            }
            @if user.has_totp { " · with a second factor" } @else { " · without a second factor" }
            @if user.passkeys > 0 { span { " · passkeys: " (user.passkeys) } }
            @if !user.has_password { " · has no password yet" }
            @if let Some(until) = user.invited_until { " · a code counts until " (when_seconds(until)) }
        }
        @if is_own { p.note { a href="/account" { "Your own page" } } } @else { (orders(user)) }
    }
}

fn orders(user: &UserState) -> Markup {
    html! {
        div.actions {
            (form::button("/users/passwd", &[("name", &user.name)], "Code for a new password"))
            @if user.has_totp { (form::button("/users/totp", &[("name", &user.name)], "Remove the second factor")) }
            @if user.passkeys > 0 { (form::button("/users/passkeys", &[("name", &user.name)], "Remove all passkeys")) }
            (form::button("/users/remove", &[("name", &user.name)], "Remove"))
        }
        details {
            summary { "Give another role" }
            form.fields method="post" action="/users/role" {
                (form::token())
                input type="hidden" name="name" value=(user.name);
                (role_fields())
                button { "Give it" }
            }
        }
    }
}
