//! Who sends from here: those that look taken over, and what a person says of them.

use axum::Json;
use axum::extract::{Form, Path, Query as Parameters, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spool::Folder;

use super::answers::{No, Office, html};
use super::desk::Desk;
use super::page::Frame;
use super::tables::{none, when_seconds, wide};
use super::{asker, form, queue, sight};
use crate::access::Needs;
use crate::report::SenderState;

/// The most senders of one list.
const MAX_LAST: usize = 1000;
const DEFAULT_LAST: usize = 50;
/// Octets of a name: no address is longer.
const MAX_NAME: usize = 320;

/// `?last=`, optional.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    last: Option<usize>,
}

impl Wanted {
    fn of(&self, desk: &Desk) -> Vec<SenderState> {
        sight::senders(desk, self.last.unwrap_or(DEFAULT_LAST).min(MAX_LAST))
    }
}

pub(super) async fn list(
    State(desk): Office,
    Parameters(wanted): Parameters<Wanted>,
) -> Json<Vec<SenderState>> {
    Json(wanted.of(&desk))
}

/// `{"sender": "ann@example.net"}`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    sender: String,
    /// With `release`: what is held of it is delivered, too.
    #[serde(default)]
    with_mail: bool,
}

/// What came of an order.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Done {
    /// The sender.
    sender: String,
    /// Messages that were let out of the quarantine.
    released: usize,
}

pub(super) async fn order(
    State(desk): Office,
    Path(verb): Path<String>,
    Json(named): Json<Named>,
) -> Result<Json<Done>, No> {
    carry_out(&desk, &verb, named).await.map(Json)
}

/// Orders for a sender.
pub(super) const VERBS: [&str; 2] = ["release", "stop"];

async fn carry_out(desk: &Desk, verb: &str, named: Named) -> Result<Done, No> {
    let Named { sender, with_mail } = named;
    let sender = sender.trim().to_lowercase();
    if sender.is_empty() || sender.len() > MAX_NAME {
        return Err(No(StatusCode::BAD_REQUEST, "`sender` is a user's name or an address"));
    }
    if !sight::is_own_sender(&sender) {
        return Err(No(StatusCode::NOT_FOUND, "no such sender of your domains"));
    }
    let mut released = 0;
    match verb {
        "release" => {
            if !desk.live().release_sender(&sender) {
                return Err(No(StatusCode::NOT_FOUND, "no such sender looks taken over"));
            }
            if with_mail {
                released = release_mail(desk, &sender).await?;
            }
        }
        "stop" => {
            if !desk.live().stop_sender(&sender) {
                return Err(No(
                    StatusCode::CONFLICT,
                    "nobody is watched: [judge] or [outbound] senders is off",
                ));
            }
        }
        _ => return Err(No(StatusCode::NOT_FOUND, "an order is release or stop")),
    }
    tracing::info!(verb, released, "an order for a sender was carried out");
    Ok(Done { sender, released })
}

/// What the quarantine has of a sender: by what is known of the message, else by its envelope.
async fn release_mail(desk: &Desk, sender: &str) -> Result<usize, No> {
    let spool = desk.queue().spool();
    let mut ids = Vec::new();
    for id in spool.select(Some(Folder::Quarantine), None) {
        let Some(entry) = spool.entry(id) else { continue };
        let is_its = match desk.live().sender_of(entry.transaction) {
            Some(name) => name == sender,
            None => queue::one(desk, &id.to_string()).await.is_ok_and(|held| {
                let is_from_here = ["inside", "authenticated"].contains(&held.sender.as_str());
                is_from_here && held.from.to_lowercase() == sender
            }),
        };
        if is_its {
            ids.push(id.to_string());
        }
    }
    if ids.is_empty() {
        return Ok(0);
    }
    queue::carry_out(desk, "release", &queue::Whom::named(ids)).await.map(|done| done.changed())
}

pub(super) async fn page(State(desk): Office, Parameters(wanted): Parameters<Wanted>) -> Response {
    let frame = Frame { hostname: desk.hostname().to_owned(), title: "Senders".to_owned() };
    html(markup(&frame, &wanted.of(&desk)))
}

/// What a form of the page sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filled {
    sender: String,
    #[serde(default)]
    with_mail: String,
}

/// A button of the page; afterwards the page is shown again.
pub(super) async fn button(
    State(desk): Office,
    Path(verb): Path<String>,
    Form(filled): Form<Filled>,
) -> Result<Response, No> {
    let named = Named { sender: filled.sender, with_mail: filled.with_mail == "yes" };
    carry_out(&desk, &verb, named).await?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, "/senders")]).into_response())
}

fn markup(frame: &Frame, senders: &[SenderState]) -> Markup {
    let (suspects, others): (Vec<_>, Vec<_>) = senders.iter().partition(|sender| sender.is_suspect());
    frame.around(
        "All times are UTC",
        html! {
            p.back { a href="/" { "Status" } " · " a href="/quarantine" { "Quarantine" } " · " a href="/domains" { "Domains" } }
            (wide("suspects", "Senders that look taken over", html! {
                @if suspects.is_empty() { (none("Nobody does.")) }
                @else { ul.plain { @for sender in &suspects { li { (suspect(sender)) } } } }
            }))
            (wide("senders", "Who sends most", html! {
                @if others.is_empty() { (none("Nobody has sent anything.")) }
                @else { ul.plain { @for sender in &others { li { (other(sender)) } } } }
            }))
        },
    )
}

fn suspect(sender: &SenderState) -> Markup {
    html! {
        p {
            strong.words { (sender.sender) }
            @if let Some(since) = sender.since { span.note { " · since " (when_seconds(since)) } }
            span.note { @if sender.held { " · its mail is held" } @else { " · its mail goes out" } }
        }
        @for seen in &sender.seen { p.reason { (seen) } }
        (numbers(sender))
        (buttons(sender, &[("release", "no", "Let it send"), ("release", "yes", "Let it send, and release what is held")]))
    }
}

fn other(sender: &SenderState) -> Markup {
    html! {
        p { strong.words { (sender.sender) } span.note { " · last heard of " (when_seconds(sender.last)) } }
        (numbers(sender))
        (buttons(sender, &[("stop", "no", "Hold its mail")]))
    }
}

fn numbers(sender: &SenderState) -> Markup {
    html! {
        p.note {
            (sender.recipients_in_an_hour) " recipients within an hour, " (sender.recipients_in_a_day) " within a day in "
            (sender.messages_in_a_day) " messages; " (sender.strangers_in_a_day) " not written to before, "
            (sender.refused_in_a_day) " refused by their servers"
            @if let Some(probability) = sender.spam_probability { "; spam probability " (format!("{probability:.2}")) }
        }
    }
}

fn buttons(sender: &SenderState, verbs: &[(&str, &str, &str)]) -> Markup {
    html! {
        @if asker::may(Needs::Act) { div.actions {
            @for (verb, with_mail, words) in verbs {
                (form::button(&format!("/senders/{verb}"), &[("sender", &sender.sender), ("with_mail", with_mail)], words))
            }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FINE, ask, say, start};

    #[tokio::test]
    async fn senders_are_shown_and_orders_come_from_this_page_alone() {
        let (address, _stop) = start(FINE, false).await;
        let host = address.to_string();
        let page = ask(address, &host, "/senders").await;
        for part in [
            "ann@example.net",
            "90 of 91 recipients",
            "its mail is held",
            "news@example.net",
            "Hold its mail",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(ask(address, &host, "/api/v1/senders?last=1").await.contains("\"held\":true"));
        let post = |path: &str, origin: &str, kind: &str, body: &str| {
            format!(
                "POST {path} HTTP/1.1\r\nHost: {host}\r\n{origin}Content-Type: {kind}\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            )
        };
        let form = "application/x-www-form-urlencoded";
        let filled = "sender=ann%40example.net&with_mail=yes";
        let own = format!("Origin: http://{host}\r\n");
        let answer = say(address, &post("/senders/release", &own, form, filled)).await;
        assert!(answer.starts_with("HTTP/1.1 303 "), "{answer}");
        let answer =
            say(address, &post("/senders/release", "Origin: http://evil.test\r\n", form, filled)).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        for (verb, sender, status) in [
            ("release", "Ann@example.net", 200),
            ("release", "bob", 404),
            ("stop", "bob", 200),
            ("stop", "", 400),
            ("x", "b", 404),
        ] {
            let order = format!("{{\"sender\":\"{sender}\"}}");
            let path = format!("/api/v1/senders/{verb}");
            let answer = say(address, &post(&path, "", "application/json", &order)).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{verb} {sender}: {answer}");
        }
    }
}
