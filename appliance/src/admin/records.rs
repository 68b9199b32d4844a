//! The page of the DNS records: what each domain needs, to be copied, and on demand what is published and what is wrong with it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::answers::{No, Office, html};
use super::asked::Pairs;
use super::page::Frame;
use super::tables::{none, still, when_seconds};
use super::zone::Wanted;
use crate::report::{
    AddressState, AddressesState, Found, NameState, RecordState, Zone, ZoneRecord, ZoneReport,
};
use crate::zone::line;

pub(super) async fn page(State(desk): Office, Pairs(wanted): Pairs<Wanted>) -> Result<Response, No> {
    let question = wanted.question();
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
    Ok(html(markup(&frame, &report, verified, &desk.live().addresses())))
}

fn markup(frame: &Frame, report: &ZoneReport, verified: bool, addresses: &AddressesState) -> Markup {
    frame.around(
        "What `postern dns` prints",
        html! {
            p.back {
                a href="/" { "Status" } " · " a href="/domain-reports" { "What others report" }
                @if !verified { " · " a href="/dns?verify=true" { "Compare all with what is published" } }
            }
            @if report.zones.is_empty() { (none("There is no domain.")) }
            (where_from(addresses))
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

/// How the world sees where mail leaves from.
fn where_from(state: &AddressesState) -> Markup {
    let one = |address: &AddressState| {
        let (class, words) = match address.name {
            NameState::Right => ("good", "has the right name, both ways"),
            NameState::Missing => ("bad", "has no name (PTR)"),
            NameState::Other => ("bad", "is called something else (PTR)"),
            NameState::Unconfirmed => ("bad", "has the right name, which does not lead back to it"),
            NameState::Unknown => ("unknown", "is called what cannot be looked up now"),
        };
        html! {
            li {
                span.dot.(class) {} strong { (address.address) } " " (words)
                @if !address.names.is_empty() { " · " span.words { (address.names.join(", ")) } }
                @for listed in &address.lists {
                    p.reason.words { span.dot.bad {} "on the block list " (listed.list) " " q { (listed.reason) } }
                }
                p.note { "looked at " (when_seconds(address.looked)) }
            }
        }
    };
    html! {
        @if !state.addresses.is_empty() {
            (still("addresses", "Where mail leaves from", html! {
                ul.plain { @for address in &state.addresses { (one(address)) } }
            }))
        }
    }
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
