//! The page of the DNS records: what each domain needs, to be copied, and on demand what is published and what is wrong with it.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::answers::{No, Office, html};
use super::page::Frame;
use super::tables::{none, still};
use super::zone::question;
use crate::report::{Found, RecordState, Zone, ZoneRecord, ZoneReport};
use crate::zone::line;

pub(super) async fn page(State(desk): Office, RawQuery(query): RawQuery) -> Result<Response, No> {
    let wrong = No(StatusCode::BAD_REQUEST, "`domain`, as often as wanted, and `verify`, `true` or `false`");
    let question = question(query.as_deref().unwrap_or_default()).ok_or(wrong)?;
    let verified = question.verify;
    let report = match desk.live().zones(question).await {
        Ok(report) => report,
        Err(error) if error.is_unknown_domain() => {
            return Err(No(StatusCode::NOT_FOUND, "there is no such domain in the config"));
        }
        Err(_) => {
            return Err(No(
                StatusCode::SERVICE_UNAVAILABLE,
                "the name servers or the keys cannot be had now",
            ));
        }
    };
    let frame = Frame { hostname: desk.hostname().to_owned(), title: "DNS records".to_owned() };
    Ok(html(markup(&frame, &report, verified)))
}

fn markup(frame: &Frame, report: &ZoneReport, verified: bool) -> Markup {
    frame.around(
        "What `postern dns` prints",
        html! {
            p.back {
                a href="/" { "Status" } " · " a href="/domain-reports" { "What others report" }
                @if !verified { " · " a href="/dns?verify=true" { "Compare all with what is published" } }
            }
            @if report.zones.is_empty() { (none("There is no domain.")) }
            @for one in &report.zones { (zone(one, verified)) }
        },
    )
}

fn zone(zone: &Zone, verified: bool) -> Markup {
    let domain = &zone.domain;
    let lines: Vec<_> = zone.records.iter().map(line).collect();
    still(
        &format!("zone-{domain}"),
        domain,
        html! {
            @if verified { p { (verdict(&zone.records)) } }
            @else { p.note { a href=(format!("/dns?domain={domain}&verify=true")) { "Compare with what is published" } } }
            @for one in &zone.records { (record(one)) }
            @for note in &zone.notes { p.note { (note) } }
            details {
                summary { "As a zone file" }
                textarea readonly data-copy rows=(lines.len().max(2)) aria-label=(format!("zone file of {domain}")) {
                    (lines.join("\n"))
                }
            }
        },
    )
}

/// The worst first.
fn verdict(records: &[ZoneRecord]) -> String {
    let count = |state| {
        records.iter().filter_map(|one| one.found.as_ref()).filter(|found| found.state == state).count()
    };
    let states = [
        (RecordState::Wrong, "wrong"),
        (RecordState::Missing, "missing"),
        (RecordState::Unknown, "not known"),
        (RecordState::Right, "as they should be"),
    ];
    let counted = states.map(|(state, word)| (count(state), word));
    let words: Vec<_> = counted
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    words.join(", ")
}

fn record(record: &ZoneRecord) -> Markup {
    let (class, word) = match record.found.as_ref().map(|found| found.state) {
        None => ("unknown", ""),
        Some(RecordState::Right) => ("good", "right"),
        Some(RecordState::Missing) => ("bad", "missing"),
        Some(RecordState::Wrong) => ("bad", "wrong"),
        Some(RecordState::Unknown) => ("unknown", "not known"),
    };
    html! {
        div.record {
            p {
                @if !word.is_empty() { span.dot.(class) {} strong { (word) } " · " }
                (record.purpose) " " span.note { (record.kind) }
            }
            @for (what, text) in [("name", &record.name), ("value", &record.value)] {
                p.field { label { (what) " " input readonly data-copy value=(text); } }
            }
            @if let Some(Found { words, state }) = &record.found {
                p class=(if *state == RecordState::Right { "note" } else { "reason" }) { (words) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FINE, ask, start};

    #[tokio::test]
    async fn records_can_be_copied_and_say_what_is_wrong() {
        let (address, _stop) = start(FINE, false).await;
        let page = ask(address, "localhost", "/dns").await;
        let value = "<input readonly data-copy value=\"v=DMARC1; p=none; &lt;b&gt;\">";
        assert!(page.contains(value), "{page}");
        assert!(
            page.contains("_dmarc.example.net. IN TXT &quot;v=DMARC1; p=none; &lt;b&gt;&quot;"),
            "{page}"
        );
        assert!(
            page.contains("href=\"/dns?domain=example.net&amp;verify=true\"") && !page.contains("wrong"),
            "{page}"
        );
        assert!(
            !page.contains("data-live"),
            "the name servers are asked when somebody wants it, not every five seconds"
        );
        let page = ask(address, "localhost", "/dns?domain=example.net&verify=true").await;
        assert!(
            page.contains("<p>1 wrong</p>") && page.contains("There are two records: remove one."),
            "{page}"
        );
        assert!(ask(address, "localhost", "/dns?domain=nowhere.test").await.starts_with("HTTP/1.1 404"));
        assert!(ask(address, "localhost", "/dns?verify=perhaps").await.starts_with("HTTP/1.1 400"));
    }
}
