//! The trail of what was changed: written after each order that was carried out, shown to administrators.

use axum::Json;
use axum::extract::{Query as Parameters, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::html;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded;

use super::answers::{No, Office, html};
use super::asker::Asker;
use super::desk::Desk;
use super::guard::Body;
use super::page::Frame;
use super::tables::{none, when_seconds, wide};
use crate::access::trail::{Entry, MAX_LAST};

const DEFAULT_LAST: usize = 100;
/// Fields of orders that name things. Everything else, passwords and codes among it, stays out of the trail.
const NAMES: [&str; 20] = [
    "id",
    "ids",
    "domain",
    "domains",
    "folder",
    "all",
    "entry",
    "entries",
    "order",
    "kind",
    "target",
    "sender",
    "with_mail",
    "name",
    "role",
    "scope",
    "scopes",
    "days",
    "on",
    "disaster",
];

/// What a handler says that it did; goes along with its answer.
#[derive(Clone, Debug)]
pub(super) struct Did {
    /// Who turned out to have asked, where that was not known before.
    pub(super) who: Option<String>,
    pub(super) what: &'static str,
    pub(super) about: String,
}

impl Did {
    pub(super) fn new(what: &'static str) -> Self {
        Self { who: None, what, about: String::new() }
    }
}

/// The names in an order.
pub(super) fn about(content: &[u8], is_json: bool) -> String {
    let mut found: Vec<String> = Vec::new();
    if is_json {
        let order: Value = serde_json::from_slice(content).unwrap_or_default();
        for name in NAMES {
            match &order[name] {
                Value::Null => {}
                Value::String(text) => found.push(format!("{name}={text}")),
                Value::Array(many) => {
                    let many: Vec<&str> = many.iter().filter_map(Value::as_str).collect();
                    found.push(format!("{name}={}", many.join(",")));
                }
                other => found.push(format!("{name}={other}")),
            }
        }
    } else {
        let pairs = form_urlencoded::parse(content);
        let named = pairs.filter(|(name, value)| NAMES.contains(&&**name) && !value.is_empty());
        found.extend(named.map(|(name, value)| format!("{name}={value}")));
    }
    found.join(" ")
}

/// What is to be written down of a request, if something came of it.
pub(super) fn note(
    asker: &Asker,
    response: &Response,
    body: Body,
    path: &str,
    about: &str,
    now: u64,
) -> Option<Entry> {
    let is_done = response.status().is_success() || response.status().is_redirection();
    let entry =
        |who: String, what: String, about: String| Entry { at: now, who, from: asker.address(), what, about };
    match response.extensions().get::<Did>() {
        Some(did) => Some(entry(
            did.who.clone().unwrap_or_else(|| asker.words()),
            did.what.to_owned(),
            did.about.clone(),
        )),
        None if is_done && body == Body::Order => {
            let words = path.strip_prefix("/api/v1").unwrap_or(path).trim_matches('/').replace('/', " ");
            Some(entry(asker.words(), words, about.to_owned()))
        }
        None => None,
    }
}

/// `?last=`, optional.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    last: Option<usize>,
}

async fn entries(desk: &Desk, wanted: &Wanted) -> Result<Vec<Entry>, No> {
    let last = wanted.last.unwrap_or(DEFAULT_LAST).min(MAX_LAST);
    desk.access().trail().last(last).await.map_err(|error| {
        tracing::error!(%error, "the trail of changes cannot be read");
        No(StatusCode::INTERNAL_SERVER_ERROR, "the trail cannot be read; the log says why")
    })
}

pub(super) async fn list(
    State(desk): Office,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Json<Vec<Entry>>, No> {
    entries(&desk, &wanted).await.map(Json)
}

pub(super) async fn page(
    State(desk): Office,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Response, No> {
    let entries = entries(&desk, &wanted).await?;
    let frame = Frame { hostname: desk.hostname().to_owned(), title: "Changes".to_owned() };
    Ok(html(frame.around(
        "All times are UTC",
        html! {
            p.back { a href="/" { "Status" } " · " a href="/users" { "Users" } " · " a href="/tokens" { "API tokens" } }
            (wide("audit", "Who changed what", html! {
                @if entries.is_empty() { (none("Nothing was changed yet.")) }
                @else {
                    p.note { "The last " (entries.len()) ". All that is kept: " span.words { "access/trail.jsonl" } " in the state folder." }
                    table {
                        thead { tr { th { "Time" } th { "Who" } th { "What" } th { "On what" } } }
                        tbody {
                            @for entry in &entries {
                                tr {
                                    td { (when_seconds(entry.at)) }
                                    td.words { (entry.who) @if !entry.from.is_empty() { " " span.note { (entry.from) } } }
                                    td.words { (entry.what) }
                                    td.words { (entry.about) }
                                }
                            }
                        }
                    }
                }
            }))
        },
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_trail_and_secrets_are_not() {
        let form = b"name=ann&password=secret&code=1234&role=viewer&domain=";
        assert_eq!(about(form, false), "name=ann role=viewer");
        let json = br#"{"ids":["1","2"],"all":false,"password":"secret","sender":"a@b.example"}"#;
        assert_eq!(about(json, true), "ids=1,2 all=false sender=a@b.example");
        assert_eq!(about(b"{", true), "");
    }
}
