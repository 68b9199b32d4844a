//! What others report about the domains here.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::answers::{No, Office, html};
use super::desk::Desk;
use super::page::Frame;
use super::tables::{none, still, when_seconds};
use crate::report::{DomainReports, MailSource, ReceivedReports, SetAside, TlsSender};

/// `?domain=`, as often as wanted.
async fn received(desk: &Desk, query: Option<&str>) -> Result<ReceivedReports, No> {
    let mut domains = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "domain" => domains.push(value.to_lowercase()),
            _ => return Err(No(StatusCode::BAD_REQUEST, "`domain`, as often as wanted")),
        }
    }
    let received = desk.live().received_reports(domains).await;
    received.map_err(|_| No(StatusCode::INTERNAL_SERVER_ERROR, "the store says no; the log says why"))
}

pub(super) async fn list(
    State(desk): Office,
    RawQuery(query): RawQuery,
) -> Result<Json<ReceivedReports>, No> {
    received(&desk, query.as_deref()).await.map(Json)
}

pub(super) async fn page(State(desk): Office, RawQuery(query): RawQuery) -> Result<Response, No> {
    let frame = Frame { hostname: desk.hostname().to_owned(), title: "What others report".to_owned() };
    Ok(html(markup(&frame, &received(&desk, query.as_deref()).await?)))
}

fn markup(frame: &Frame, received: &ReceivedReports) -> Markup {
    frame.around(
        "All times are UTC · of the last 60 days",
        html! {
            p.back { a href="/" { "Status" } " · " a href="/dns" { "DNS records" } }
            @if received.domains.is_empty() {
                (still("reports", "What others report", html! { (none("Nobody has reported anything yet.")) }))
            }
            @for domain in &received.domains { (one(domain)) }
            @if !received.set_aside.is_empty() { (set_aside(&received.set_aside)) }
        },
    )
}

fn one(reports: &DomainReports) -> Markup {
    let DomainReports { domain, tls, sources, reporters, messages, passed } = reports;
    still(
        &format!("reports-{domain}"),
        domain,
        html! {
            h3 { "TLS on the way here" }
            @if tls.is_empty() { (none("No report.")) }
            ul.plain { @for sender in tls { li { (tls_sender(sender)) } } }
            h3 { "Who sends in its name" }
            @if reporters.is_empty() { (none("No report.")) } @else {
                p { (messages) " messages, of which " (passed) " pass DMARC." }
                p.note {
                    "Reported by "
                    @for (at, one) in reporters.iter().enumerate() {
                        @if at > 0 { ", " }
                        (one.sender) " (" (one.reports) ", last on " (when_seconds(one.end)) ")"
                    }
                }
                table {
                    thead { tr { th { "Address" } th { "Messages" } th { "Pass" } th { "Signed" } th { "SPF" } th { "" } } }
                    tbody { @for one in sources { (source(one)) } }
                }
            }
        },
    )
}

fn tls_sender(sender: &TlsSender) -> Markup {
    html! {
        p {
            strong.words { (sender.sender) }
            @if !sender.organization.is_empty() { span.note { " calls itself " (sender.organization) } }
            span.note { " · " (sender.reports) " reports, " (when_seconds(sender.begin)) " to " (when_seconds(sender.end)) }
        }
        p { (sender.words) }
        @for trouble in &sender.failures {
            p.reason {
                (trouble.sessions) " × " (trouble.result)
                @if !trouble.mx.is_empty() { " at " (trouble.mx) }
                ": " (trouble.words)
                @if !trouble.reason.is_empty() { " It says: " (trouble.reason) }
            }
        }
    }
}

fn source(source: &MailSource) -> Markup {
    html! {
        tr {
            td { (source.source) }
            td { (source.messages) }
            td { (source.passed) }
            td { (source.dkim) }
            td { (source.spf) }
            td { (source.words) }
        }
    }
}

fn set_aside(list: &[SetAside]) -> Markup {
    still(
        "set-aside",
        "What does not count",
        html! {
            p.note { "Messages that were to be reports, since the last start." }
            ul.plain {
                @for one in list {
                    li {
                        (when_seconds(one.at)) " · " span.words { (one.from) } " · " (one.why) " · "
                        a href=(format!("/transactions/{}", one.transaction)) { "the message" }
                    }
                }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FINE, ask, start};
    use crate::report::ReceivedReports;

    #[tokio::test]
    async fn what_others_report_is_shown_and_trusted_with_nothing() {
        let (address, _stop) = start(FINE, false).await;
        let page = ask(address, "localhost", "/domain-reports?domain=example.net").await;
        for text in [
            "&lt;b&gt; Mail",
            "3 of 10 sessions failed",
            "192.0.2.7",
            "a service of yours that should sign",
            "an &lt;i&gt; reason",
        ] {
            assert!(page.contains(text), "{text}: {page}");
        }
        assert!(!page.contains("<b>") && !page.contains("<i>"));
        let answer = ask(address, "localhost", "/api/v1/domain-reports").await;
        let received: ReceivedReports =
            serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(received.domains[0].tls[0].failed, 3);
        assert!(ask(address, "localhost", "/api/v1/domain-reports?x=y").await.starts_with("HTTP/1.1 400"));
    }
}
