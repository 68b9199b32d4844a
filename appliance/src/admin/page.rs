//! The front page.

use axum::response::Response;
use maud::{DOCTYPE, Markup, html};

use super::answers::html;
use super::asker::{self, Who};
use super::form;
use super::{certificates, chart, language, learning, tables, trends, waiting};
use crate::access::Needs;
use crate::config::{duration_in_words, size_in_words};
use crate::report::{Level, Period, Problem, SessionStory, State, Status, TransactionStory, Trend};

/// What stands around every page.
pub(super) struct Frame {
    pub(super) hostname: String,
    pub(super) title: String,
}

impl Frame {
    pub(super) fn around(&self, foot: &str, main: Markup) -> Markup {
        // Who listens to a page jumps to its heading.
        let has_heading = main.0.contains("<h1");
        // Its lists are renewed from the page that the form was on.
        let sends = asker::asker().is_some_and(|asker| asker.sends);
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) " · " (self.hostname) " · Postern" }
                    link rel="icon" href="data:,";
                    link rel="stylesheet" href="/assets/postern.css";
                    script src="/assets/postern.js" defer {}
                }
                body data-sent[sends] {
                    header.top {
                        a.mark href="/" { (mark()) span { "Postern" } }
                        div.who { span.host { (self.hostname) } (who()) }
                    }
                    (places(&self.title))
                    main { @if !has_heading { h1 { (self.title) } } (main) }
                    footer { p { (foot) } (language::choice()) }
                }
            }
        }
    }
}

/// Where one can go from everywhere.
const PLACES: [(&str, &str, Needs); 11] = [
    ("/", "Status", Needs::See),
    ("/messages", "Messages", Needs::See),
    ("/queue", "Queue", Needs::See),
    ("/quarantine", "Quarantine", Needs::See),
    ("/senders", "Senders", Needs::See),
    ("/reports", "Reports", Needs::See),
    ("/domains", "Domains", Needs::See),
    ("/block", "Blocked senders", Needs::SeeAll),
    ("/dns", "DNS records", Needs::SeeAll),
    ("/domain-reports", "What others report", Needs::SeeAll),
    ("/weekly", "Weeks", Needs::See),
];

/// Those of them that whoever asks may see; nothing before the login.
fn places(title: &str) -> Markup {
    let Some(asker) = asker::asker() else { return html! {} };
    let may = |needs| asker.rights.suffice(needs);
    html! {
        @if may(Needs::See) {
            nav.places aria-label="Pages" {
                @for (path, name, _) in PLACES.into_iter().filter(|(.., needs)| may(*needs)) {
                    a href=(path) aria-current=[(name == title).then_some("page")] { (name) }
                }
            }
        }
    }
}

/// Who is logged in, and what goes with it.
fn who() -> Markup {
    let Some(asker) = asker::asker() else { return html! {} };
    let is_user = asker.user().is_some();
    html! {
        @if let Who::Anybody = asker.who {
            strong { "Demo: whoever reaches this page is its administrator" }
        }
        @if asker.rights.suffice(Needs::Administer) { a href="/settings" { "Settings" } }
        @if asker.rights.suffice(Needs::Manage) { a href="/users" { "Users" } }
        @if is_user {
            a href="/account" { (asker.words()) }
            (form::button("/logout", &[], "Log out"))
        }
    }
}

/// That something may not be, or cannot be done.
pub(super) fn refusal(frame: &Frame, words: &str) -> Response {
    html(frame.around(
        "",
        html! {
            p.back { a href="/" { "Status" } }
            section.state.bad { span.level { "No" } h1 { (words) "." } }
        },
    ))
}

/// The gate.
fn mark() -> Markup {
    html! {
        svg viewBox="0 0 24 24" aria-hidden="true" {
            path d="M2 22V7l2-2V2h3v3h3V2h4v3h3V2h3v3l2 2v15h-7v-7a3 3 0 0 0-6 0v7z" {}
        }
    }
}

pub(super) fn front(
    status: &Status,
    trend: &Trend,
    transactions: &[TransactionStory],
    sessions: &[SessionStory],
) -> Markup {
    let title = status.state.sentence.trim_end_matches('.').to_owned();
    let frame = Frame { hostname: status.hostname.clone(), title };
    let up = duration_in_words(std::time::Duration::from_secs(status.now.saturating_sub(status.started)));
    let foot = format!("Postern {} · running for {up} · all times are UTC", status.version);
    let [hour, days] = &status.periods[..] else { return frame.around(&foot, html! {}) };
    let content = html! {
        (state(&status.state))
        @if !status.problems.is_empty() { (also(&status.problems)) }
        (tiles(status, hour))
        section.wide id="flow" data-live aria-label="Messages over time" {
            h2 { "Messages" }
            div.charts {
                (chart::messages("hour", hour, "Last hour, by the minute", "1 h ago"))
                (chart::messages("days", days, "Last two days, by the hour", "2 d ago"))
            }
        }
        (tables::backends(&status.backends))
        (waiting::summary(&status.queue, status.now))
        (tables::verdicts(&days.verdicts))
        (learning::section(&status.learning))
        (tables::transactions(transactions))
        (trends::section(trend))
        (tables::tls("client-tls", "TLS with clients", &days.client_tls))
        (tables::tls("server-tls", "TLS with servers", &days.server_tls))
        (certificates::table(&status.certificates, &status.certifying, status.now))
        (tables::arming(&status.arming))
        (tables::authority(status.authority.as_ref(), &status.verifying, status.now))
        (tables::listeners(&status.listeners))
        (tables::roles(&status.roles))
        (tables::refusals(&days.refusals))
        (tables::without_tls(&status.without_tls))
        (tables::not_reached(&status.not_reached))
        (tables::sessions(sessions))
    };
    frame.around(&foot, content)
}

fn state(state: &State) -> Markup {
    let word = match state.level {
        Level::Good => "Good",
        Level::Attention => "Attention",
        Level::Bad => "Trouble",
    };
    html! {
        section.state.(level_class(state.level)) id="state" data-live role="status" {
            span.level { (word) }
            h1 { (state.sentence) }
            @if !state.advice.is_empty() { p { (state.advice) } }
        }
    }
}

/// What the one sentence leaves out.
fn also(problems: &[Problem]) -> Markup {
    html! {
        section.wide id="also" data-live {
            h2 { "What else wants to be looked after" }
            ul.plain {
                @for problem in problems {
                    li.(level_class(problem.level)) {
                        span.dot {} (problem.sentence)
                        p.note { (problem.advice) }
                    }
                }
            }
        }
    }
}

fn level_class(level: Level) -> &'static str {
    match level {
        Level::Good => "good",
        Level::Attention => "attention",
        Level::Bad => "bad",
    }
}

fn tiles(status: &Status, hour: &Period) -> Markup {
    let sums = &hour.totals;
    let plain = match (sums.plain_sessions, sums.sessions) {
        (_, 0) => "none yet".to_owned(),
        (0, _) => "all encrypted".to_owned(),
        (plain, _) => format!("{plain} not encrypted"),
    };
    let refused = format!("{} deferred", sums.deferred);
    let in_flight = format!("{} in flight", size_in_words(status.bytes_in_flight));
    let dropped = match status.events_dropped {
        0 => "last hour".to_owned(),
        dropped => format!("{dropped} events not kept"),
    };
    let tiles = [
        ("Open sessions", status.sessions_now.to_string(), in_flight),
        ("Sessions", sums.sessions.to_string(), plain),
        ("Accepted", sums.accepted.to_string(), dropped),
        ("Content", size_in_words(sums.bytes), "accepted, last hour".to_owned()),
        ("Refused", sums.refused.to_string(), refused),
    ];
    html! {
        section.tiles id="tiles" data-live aria-label="The last hour in numbers" {
            @for (name, number, note) in &tiles {
                dl { dt { (name) } dd { (number) } dd.note { (note) } }
            }
        }
    }
}
