//! The page on which a message is looked for.

use axum::extract::{Query as Parameters, State};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::answers::{Office, html as answer};
use super::asker;
use super::lookup::{self, Asked};
use super::page::Frame;
use super::tables;
use crate::access::Needs;
use crate::recorder::Outcome;
use crate::report::{SessionStory, TransactionStory};

/// Rows of a page, where nothing else is asked for.
const ROWS: usize = 50;

pub(super) async fn page(State(desk): Office, Parameters(mut asked): Parameters<Asked>) -> Response {
    asked.last = Some(asked.last.unwrap_or(ROWS));
    let query = match asked.query(desk.now()) {
        Ok(query) => query,
        Err(no) => {
            let frame = Frame { hostname: desk.hostname().to_owned(), title: "Messages".to_owned() };
            let content = html! { (form(&asked)) section.wide { p.none role="alert" { (no.1) "." } } };
            return (no.0, answer(frame.around("All times are UTC", content))).into_response();
        }
    };
    // Sessions without mail have neither sender nor verdict: they are told where nothing else is asked for.
    let with_sessions = asked.is_about_clients() && asker::may(Needs::SeeAll);
    let transactions = lookup::transactions(&desk, query.clone()).await;
    let sessions = match with_sessions {
        true => lookup::sessions(&desk, query).await.found,
        false => Vec::new(),
    };
    let kept = desk.recording().disk().and_then(|disk| disk.extent().2);
    let foot = match kept {
        Some(oldest) => format!("All times are UTC · kept since {}", record::rfc3339_date(oldest)),
        None => "All times are UTC".to_owned(),
    };
    let further = transactions.reached.map(|place| asked.further_back(place));
    let frame = Frame { hostname: desk.hostname().to_owned(), title: "Messages".to_owned() };
    answer(frame.around(
        &foot,
        html! {
            (form(&asked))
            (found(&transactions.found, further.as_deref()))
            @if !sessions.is_empty() { (without_mail(&sessions)) }
        },
    ))
}

impl Asked {
    /// Nothing is asked that only a message can answer.
    fn is_about_clients(&self) -> bool {
        let of_mail = [&self.from, &self.to, &self.subject, &self.verdict, &self.outcome, &self.direction];
        self.before.is_none() && of_mail.iter().all(|text| text.as_deref().is_none_or(str::is_empty))
    }
}

fn form(asked: &Asked) -> Markup {
    let verdicts = record::Verdict::JUDGED.map(record::Verdict::name);
    let outcomes = Outcome::ALL.map(Outcome::name);
    html! {
        p.back { a href="/" { "Status" } }
        section.wide id="search" {
            h1 { "Messages" }
            form.search method="get" action="/messages" role="search" {
                label.whole { span { "Anything: address, subject, Message-ID, client, identifier" }
                    input type="search" name="q" value=[asked.q.as_deref()] autofocus maxlength="200"; }
                (field("From", "from", asked.from.as_deref(), "part of the sender"))
                (field("To", "to", asked.to.as_deref(), "part of a recipient"))
                (field("Subject", "subject", asked.subject.as_deref(), "part of it"))
                (field("Client", "ip", asked.ip.as_deref(), "192.0.2.7"))
                (field("Since", "since", asked.since.as_deref(), "2h, or 2026-11-21"))
                (field("Until", "until", asked.until.as_deref(), "1h, or 2026-11-22"))
                (choice("Verdict", "verdict", &verdicts, asked.verdict.as_deref()))
                (choice("Outcome", "outcome", &outcomes, asked.outcome.as_deref()))
                (choice("Direction", "direction", &["inbound", "outbound"], asked.direction.as_deref()))
                button type="submit" { "Search" }
            }
        }
    }
}

fn field(label: &str, name: &str, value: Option<&str>, example: &str) -> Markup {
    html! { label { span { (label) } input type="text" name=(name) value=[value] placeholder=(example) maxlength="200"; } }
}

fn choice(label: &str, name: &str, words: &[&str], chosen: Option<&str>) -> Markup {
    html! {
        label { span { (label) }
            select name=(name) {
                option value="" { "any" }
                @for word in words { option value=(word) selected[chosen == Some(word)] { (word) } }
            }
        }
    }
}

fn found(stories: &[TransactionStory], further: Option<&str>) -> Markup {
    html! {
        section.wide id="found" {
            h2 { @if stories.is_empty() { "Nothing was found" } @else { "Latest first" } }
            @if stories.is_empty() {
                p.none {
                    @if further.is_some() { "Nothing fits in what was looked through so far." }
                    @else { "Nothing in the trace fits. Fewer words find more; what is older than the trace is gone." }
                }
            } @else {
                (tables::transaction_table(stories))
            }
            @if let Some(further) = further { p { a rel="next" href=(format!("/messages{further}")) { "Further back" } } }
        }
    }
}

fn without_mail(sessions: &[SessionStory]) -> Markup {
    html! {
        section.wide id="clients" {
            h2 { "Clients that brought no mail" }
            (tables::session_list(sessions))
        }
    }
}
