//! API tokens, for administrators.

use axum::Json;
use axum::extract::{Path, RawForm, State};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::answers::{Office, Refused, html};
use super::asker::asker;
use super::desk::Desk;
use super::form;
use super::login::{problem, status};
use super::page::Frame;
use super::tables::{none, when_seconds, wide};
use super::users::refused;
use crate::access::{AccessError, NewToken, Scope, Sight, TokenState};

/// The longest life that is asked for; without one, a token counts until it is removed.
const MAX_DAYS: u64 = 3650;

pub(super) async fn list(State(desk): Office) -> Json<Vec<TokenState>> {
    Json(desk.access().tokens())
}

/// With `add`: `{"name": "grafana", "scopes": ["metrics"], "domains": [], "days": 365}`; with `remove`: `{"id": "..."}`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ordered {
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    domains: Vec<String>,
    #[serde(default)]
    days: Option<u64>,
}

/// What came of an order.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Done {
    /// What the token is called.
    pub(crate) name: String,
    /// For `Authorization: Bearer`; it is told once.
    #[serde(default)]
    pub(crate) secret: Option<String>,
    /// The token that was made.
    #[serde(default)]
    pub(crate) token: Option<TokenState>,
}

pub(super) async fn order(
    State(desk): Office,
    Path(verb): Path<String>,
    Json(ordered): Json<Ordered>,
) -> Result<Json<Done>, Refused> {
    carry_out(&desk, &verb, ordered).await.map(Json).map_err(|error| refused(&error))
}

/// Orders for tokens.
pub(super) const VERBS: [&str; 2] = ["add", "remove"];

async fn carry_out(desk: &Desk, verb: &str, ordered: Ordered) -> Result<Done, AccessError> {
    match verb {
        "add" => {
            let days = ordered.days.filter(|days| *days > 0);
            if days.is_some_and(|days| days > MAX_DAYS) {
                return Err(AccessError::Role("a token lives up to 3650 days, or without a bound"));
            }
            let name: crate::access::UserName = ordered.name.parse()?;
            let new = NewToken {
                name,
                scopes: ordered
                    .scopes
                    .iter()
                    .map(|scope| scope.parse::<Scope>())
                    .collect::<Result<_, _>>()?,
                sight: Sight::of(&ordered.domains)?,
                life: days.map(|days| std::time::Duration::from_secs(days * 86_400)),
                owner: asker().and_then(|asker| asker.owner()),
            };
            let (secret, token) = desk.access().add_token(new).await?;
            Ok(Done { name: token.name.clone(), secret: Some(secret), token: Some(token) })
        }
        "remove" => {
            let name = desk.access().remove_token(&ordered.id).await?;
            Ok(Done { name, ..Done::default() })
        }
        _ => Err(AccessError::Role("an order is add or remove")),
    }
}

pub(super) async fn page(State(desk): Office) -> Response {
    html(markup(&desk, None, None))
}

/// A button of the page. A secret is on the page that answers, and nowhere else.
pub(super) async fn button(
    State(desk): Office,
    Path(verb): Path<String>,
    RawForm(content): RawForm,
) -> Response {
    let mut ordered = Ordered::default();
    for (name, value) in form_urlencoded::parse(&content) {
        let value = value.into_owned();
        match &*name {
            "id" => ordered.id = value,
            "name" => ordered.name = value,
            "scope" => ordered.scopes.push(value),
            "days" => ordered.days = value.trim().parse().ok(),
            "domains" => ordered
                .domains
                .extend(value.split([' ', ',']).filter(|part| !part.is_empty()).map(str::to_owned)),
            _ => {}
        }
    }
    match carry_out(&desk, &verb, ordered).await {
        Ok(done) => html(markup(&desk, Some(&done), None)),
        Err(error) => (status(&error), html(markup(&desk, None, Some(&error)))).into_response(),
    }
}

fn markup(desk: &Desk, done: Option<&Done>, error: Option<&AccessError>) -> Markup {
    let frame = Frame { hostname: desk.hostname().to_owned(), title: "API tokens".to_owned() };
    let tokens = desk.access().tokens();
    let words = |scope: Scope| match scope {
        Scope::Metrics => "metrics: the numbers for a scraper",
        Scope::Read => "read: what a viewer sees",
        Scope::Write => "write: what the page offers to do with mail",
        Scope::Administer => "administer: everything",
    };
    frame.around(
        "All times are UTC",
        html! {
            p.back { a href="/" { "Status" } " · " a href="/users" { "Users" } " · " a href="/audit" { "Changes" } }
            (problem(error))
            @if let Some(Done { name, secret: Some(secret), .. }) = done {
                section.state.good id="secret" {
                    h1 { "The token " (name) " is made" }
                    p.record { (secret) }
                    p { "It is shown now and never again. Programs send it as Authorization: Bearer." }
                }
            }
            (wide("tokens", "API tokens", html! {
                @if tokens.is_empty() { (none("There are none.")) }
                ul.plain { @for token in &tokens { li { (one(token)) } } }
            }))
            section.wide id="add" {
                h2 { "Make a token" }
                form.fields method="post" action="/tokens/add" {
                    (form::token())
                    label { "Name " input name="name" autocomplete="off" autocapitalize="none" required maxlength="64"; }
                    @for scope in Scope::ALL {
                        label.choice { input type="checkbox" name="scope" value=(scope.name()); " " (words(scope)) }
                    }
                    label { "Domains; none for all " input name="domains" autocomplete="off"; }
                    label { "Days that it counts; empty: until it is removed " input name="days" inputmode="numeric" autocomplete="off" maxlength="4"; }
                    button { "Make it" }
                }
                p.note { "It goes when you are removed, and counts only as long as you are an administrator." }
            }
        },
    )
}

fn one(token: &TokenState) -> Markup {
    html! {
        p {
            strong.words { (token.name) } " " (token.scopes.join(", "))
            @if !token.domains.is_empty() { " for " span.words { (token.domains.join(", ")) } }
        }
        p.note {
            "made " (when_seconds(token.made)) " by " (token.owner.as_deref().unwrap_or("the command line"))
            @match token.until {
                Some(until) => { " · counts until " (when_seconds(until)) }
                None => " · until it is removed",
            }
            @match token.last_use {
                Some(at) => { " · last used " (when_seconds(at)) }
                None => " · never used",
            }
        }
        div.actions { (form::button("/tokens/remove", &[("id", &token.id)], "Remove")) }
    }
}
