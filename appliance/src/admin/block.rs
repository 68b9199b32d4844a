//! From whom a person wants nothing more.

use axum::Json;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answers::{No, Office, html};
use super::desk::Desk;
use super::page::Frame;
use super::tables::{none, when_seconds, wide};
use super::{asker, form};
use crate::access::Needs;
use crate::report::{BlockedSender, NotJudging};

pub(super) async fn list(State(desk): Office) -> Json<Vec<BlockedSender>> {
    Json(desk.live().blocked())
}

/// `{"entries": [...]}`: addresses and domains.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    entries: Vec<String>,
}

/// What came of an order.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Done {
    /// Entries that are new, or gone.
    changed: usize,
}

pub(super) async fn order(
    State(desk): Office,
    Path(verb): Path<String>,
    Json(named): Json<Named>,
) -> Result<Json<Done>, No> {
    carry_out(&desk, &verb, named.entries).await.map(Json)
}

const UNKNOWN: No = No(StatusCode::NOT_FOUND, "an order is add or remove");

/// Orders for the list.
pub(super) const VERBS: [&str; 2] = ["add", "remove"];

async fn carry_out(desk: &Desk, verb: &str, entries: Vec<String>) -> Result<Done, No> {
    if !VERBS.contains(&verb) {
        return Err(UNKNOWN);
    }
    let mut changed = 0;
    for entry in entries {
        let done = match verb {
            "add" => desk.live().block(entry).await,
            "remove" => desk.live().unblock(entry).await,
            _ => return Err(UNKNOWN),
        };
        changed += usize::from(done.map_err(no)?);
    }
    if verb == "remove" && changed == 0 {
        return Err(No(StatusCode::NOT_FOUND, "no such entry; what the config blocks is changed there"));
    }
    tracing::info!(verb, changed, "an order for the list of blocked senders was carried out");
    Ok(Done { changed })
}

fn no(error: NotJudging) -> No {
    match error {
        NotJudging::Off => No(StatusCode::CONFLICT, "nothing is judged: [judge] is off"),
        NotJudging::Wrong(why) => No(StatusCode::BAD_REQUEST, why),
        NotJudging::Failed(_) => No(StatusCode::INTERNAL_SERVER_ERROR, "it is not stored; the log says why"),
    }
}

pub(super) async fn page(State(desk): Office) -> Response {
    let frame = Frame { hostname: desk.hostname().to_owned(), title: "Blocked senders".to_owned() };
    html(markup(&frame, &desk.live().blocked()))
}

/// What a form of the page sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filled {
    entry: String,
}

/// A button of the page; afterwards the page is shown again.
pub(super) async fn button(
    State(desk): Office,
    Path(verb): Path<String>,
    Form(filled): Form<Filled>,
) -> Result<Response, No> {
    carry_out(&desk, &verb, vec![filled.entry]).await?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, "/block")]).into_response())
}

fn markup(frame: &Frame, blocked: &[BlockedSender]) -> Markup {
    frame.around(
        "All times are UTC",
        html! {
            p.back { a href="/" { "Status" } " · " a href="/quarantine" { "Quarantine" } " · " a href="/domains" { "Domains" } }
            (wide("blocked", "Blocked senders", html! {
                p.note { "Beside what [judge] block says in the config. Their mail is refused, as far as action lets it." }
                @if blocked.is_empty() { (none("Nobody is.")) }
                @else {
                    ul.plain {
                        @for one in blocked {
                            li {
                                p { strong.words { (one.entry) } span.note { " · since " (when_seconds(one.since)) } }
                                @if asker::may(Needs::ActOnAll) { div.actions {
                                    (form::button("/block/remove", &[("entry", &one.entry)], "Let it write again"))
                                } }
                            }
                        }
                    }
                }
                @if asker::may(Needs::ActOnAll) { (form::form("/block/add", html! {
                    label { "Address or domain " input name="entry" required maxlength="320"; }
                    button { "Block" }
                })) }
            }))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FINE, ask, say, start};

    #[tokio::test]
    async fn blocked_senders_are_shown_and_orders_come_from_this_page_alone() {
        let (address, _stop) = start(FINE, false).await;
        let host = address.to_string();
        let page = ask(address, &host, "/block").await;
        assert!(page.contains("spam.example") && page.contains("Let it write again"), "{page}");
        let post = |path: &str, origin: &str, kind: &str, body: &str| {
            format!(
                "POST {path} HTTP/1.1\r\nHost: {host}\r\n{origin}Content-Type: {kind}\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            )
        };
        let form = "application/x-www-form-urlencoded";
        let own = format!("Origin: http://{host}\r\n");
        for (origin, path, entry, status) in [
            (own.as_str(), "/block/add", "a%40x.example", 303),
            (own.as_str(), "/block/remove", "spam.example", 303),
            (own.as_str(), "/block/remove", "x.example", 404),
            (own.as_str(), "/block/add", "nonsense", 400),
            ("Origin: http://evil.test\r\n", "/block/add", "a%40x.example", 403),
        ] {
            let answer = say(address, &post(path, origin, form, &format!("entry={entry}"))).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {entry}: {answer}");
        }
        assert!(ask(address, &host, "/api/v1/block").await.contains("\"entry\":\"spam.example\""));
    }
}
