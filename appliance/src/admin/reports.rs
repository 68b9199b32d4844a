//! Reports of users that wait for a person: who is right?

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
use super::{asker, form, sight};
use crate::access::Needs;
use crate::report::{HeldReport, NotJudging};

/// The most reports of one list.
const MOST: usize = 500;

async fn held(desk: &Desk) -> Result<Vec<HeldReport>, No> {
    match desk.live().held_reports(MOST).await {
        Ok(held) => Ok(sight::reports(held)),
        Err(NotJudging::Off) => Ok(Vec::new()),
        Err(_) => Err(No(StatusCode::INTERNAL_SERVER_ERROR, "the store says no; the log says why")),
    }
}

pub(super) async fn list(State(desk): Office) -> Result<Json<Vec<HeldReport>>, No> {
    held(&desk).await.map(Json)
}

/// `{"ids": [...]}`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    ids: Vec<String>,
}

/// What came of an order.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Done {
    /// Reports that were held.
    settled: usize,
}

pub(super) async fn order(
    State(desk): Office,
    Path(verb): Path<String>,
    Json(named): Json<Named>,
) -> Result<Json<Done>, No> {
    carry_out(&desk, &verb, named.ids).await.map(Json)
}

/// Orders for reports.
pub(super) const VERBS: [&str; 2] = ["accept", "discard"];

async fn carry_out(desk: &Desk, verb: &str, ids: Vec<String>) -> Result<Done, No> {
    let accepts = match verb {
        "accept" => true,
        "discard" => false,
        _ => return Err(No(StatusCode::NOT_FOUND, "an order is accept or discard")),
    };
    let mut settled = 0;
    let own: Vec<String> = held(desk).await?.into_iter().map(|report| report.id).collect();
    for id in ids.into_iter().filter(|id| own.contains(id)) {
        match desk.live().settle_report(id, accepts).await {
            Ok(found) => settled += usize::from(found),
            Err(_) => {
                return Err(No(StatusCode::INTERNAL_SERVER_ERROR, "it is not settled; the log says why"));
            }
        }
    }
    if settled == 0 {
        return Err(No(StatusCode::NOT_FOUND, "no such report is held, or no longer"));
    }
    tracing::info!(verb, settled, "an order for reports was carried out");
    Ok(Done { settled })
}

pub(super) async fn page(State(desk): Office) -> Result<Response, No> {
    let frame = Frame { hostname: desk.hostname().to_owned(), title: "Reports".to_owned() };
    Ok(html(markup(&frame, &held(&desk).await?)))
}

/// What a form of the page sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filled {
    id: String,
}

/// A button of the page; afterwards the page is shown again.
pub(super) async fn button(
    State(desk): Office,
    Path(verb): Path<String>,
    Form(filled): Form<Filled>,
) -> Result<Response, No> {
    carry_out(&desk, &verb, vec![filled.id]).await?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, "/reports")]).into_response())
}

fn markup(frame: &Frame, reports: &[HeldReport]) -> Markup {
    frame.around(
        "All times are UTC",
        html! {
            p.back { a href="/" { "Status" } " · " a href="/quarantine" { "Quarantine" } }
            (wide("reports", "Reports that are held", html! {
                @if reports.is_empty() { (none("No report waits.")) }
                @else {
                    p.note { "They contradict many others, or come from who is seldom right. What is accepted is learnt, and whoever said otherwise counts less from now on." }
                    ul.plain { @for report in reports { li { (one(report)) } } }
                }
            }))
        },
    )
}

fn one(report: &HeldReport) -> Markup {
    html! {
        p {
            strong.words { (report.reporter) } " says " strong { (report.says) }
            span.note { " · " (when_seconds(report.at)) " · " (report.against) " others say something else · weighs " (format!("{:.2}", report.weight)) }
        }
        p.note { a href=(format!("/transactions/{}", report.transaction)) { "the message" } }
        @if asker::may(Needs::Act) { div.actions {
            @for (verb, words) in [("accept", "Accept"), ("discard", "Discard")] {
                (form::button(&format!("/reports/{verb}"), &[("id", &report.id)], words))
            }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FINE, ask, say, start};

    #[tokio::test]
    async fn held_reports_are_shown_and_settled_from_this_page_alone() {
        let (address, _stop) = start(FINE, false).await;
        let host = address.to_string();
        let page = ask(address, &host, "/reports").await;
        assert!(
            page.contains("&lt;b&gt;@example.net") && page.contains("2 others say something else"),
            "{page}"
        );
        let post = |path: &str, origin: &str, kind: &str, body: &str| {
            format!(
                "POST {path} HTTP/1.1\r\nHost: {host}\r\n{origin}Content-Type: {kind}\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            )
        };
        let form = "application/x-www-form-urlencoded";
        let own = format!("Origin: http://{host}\r\n");
        for (origin, id, status) in [
            (own.as_str(), "00c0ffee", 303),
            (own.as_str(), "0", 404),
            ("Origin: http://evil.test\r\n", "00c0ffee", 403),
        ] {
            let answer = say(address, &post("/reports/accept", origin, form, &format!("id={id}"))).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{id}: {answer}");
        }
        let order = "{\"ids\":[\"00c0ffee\"]}";
        let answer = say(address, &post("/api/v1/reports/discard", "", "application/json", order)).await;
        assert!(answer.contains("{\"settled\":1}"), "{answer}");
    }
}
