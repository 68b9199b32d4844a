//! The queue's page: how much waits for whom and since when, why, and what one can do. Its buttons are forms: no script.

use maud::{Markup, html};
use spool::Folder;

use super::page::Frame;
use super::queue::Wanted;
use super::tables::{none, when_seconds, wide};
use super::{asker, form};
use crate::access::Needs;
use crate::config::{duration_in_words, size_in_words};
use crate::report::{AGES, QueueDestination, QueueDomain, QueueState, QueuedMessage};

/// Units of the drawing; the page stretches it.
const WIDTH: usize = 1000;
const HEIGHT: usize = 10;

pub(super) fn queue(
    frame: &Frame,
    state: &QueueState,
    wanted: &Wanted,
    found: usize,
    messages: &[QueuedMessage],
    now: u64,
) -> Markup {
    frame.around(
        "All times are UTC",
        html! {
            p.back { a href="/" { "Status" } }
            @if asker::may(Needs::SeeAll) { (numbers(state, now)) }
            (disaster(state))
            (depth(state, now))
            @if asker::may(Needs::SeeAll) { (destinations(&state.destinations)) }
            (table(wanted, found, messages))
        },
    )
}

fn numbers(state: &QueueState, now: u64) -> Markup {
    let age = |since: u64| duration_in_words(std::time::Duration::from_secs(now.saturating_sub(since)));
    let oldest = state
        .oldest
        .map_or_else(|| "none waits".to_owned(), |oldest| format!("the oldest for {}", age(oldest)));
    let tiles = [
        ("Waiting", state.messages.to_string(), oldest),
        ("Held back", state.held.to_string(), "by a person".to_owned()),
        ("Expired", state.in_folder(Folder::Expired).to_string(), "need a person".to_owned()),
        (
            "Room taken",
            format!("{} %", state.percent),
            format!("{} left on the disk", size_in_words(state.free)),
        ),
        ("Delivered", state.delivered.to_string(), "recipients, since the start".to_owned()),
    ];
    html! {
        section.tiles id="queue-tiles" data-live aria-label="The queue in numbers" {
            @for (name, number, note) in &tiles {
                dl { dt { (name) } dd { (number) } dd.note { (note) } }
            }
        }
    }
}

fn disaster(state: &QueueState) -> Markup {
    let (words, button, value) = match state.disaster {
        Some(_) => ("On: nothing expires until it is switched off.", "Switch off", "off"),
        None => ("Off: what waits longer than its lifetime expires.", "Switch on", "on"),
    };
    wide(
        "disaster",
        "Disaster mode",
        html! {
            @let told = html! {
                span { (words) @if let Some(since) = state.disaster { " Since " (when_seconds(since)) } }
            };
            @if asker::may(Needs::ActOnAll) {
                (form::form("/queue/disaster", html! { (told) button name="disaster" value=(value) { (button) } }))
            } @else { p { (told) } }
        },
    )
}

/// Bars by domain, each in parts by age.
fn depth(state: &QueueState, now: u64) -> Markup {
    let most = state.domains.iter().map(|domain| domain.messages).max().unwrap_or_default().max(1);
    wide(
        "depth",
        "By domain and age",
        html! {
            @if state.domains.is_empty() { (none("Nothing waits.")) }
            @else {
                ul.shares { @for domain in &state.domains { (bar(domain, most, now)) } }
            }
        },
    )
}

fn bar(domain: &QueueDomain, most: usize, now: u64) -> Markup {
    let oldest = duration_in_words(std::time::Duration::from_secs(now.saturating_sub(domain.oldest)));
    let mut ages = domain.by_age.iter().zip(AGES).filter(|(count, _)| **count > 0);
    let spoken: Vec<_> = ages.by_ref().map(|(count, age)| format!("{count} {age}")).collect();
    let words = format!("{}: {}", domain.domain, spoken.join(", "));
    let mut left = 0;
    html! {
        li {
            div {
                a.words href=(format!("/queue?domain={}", crate::client::encoded(&domain.domain))) { (domain.domain) }
                span.number { (domain.messages) " · " (size_in_words(domain.bytes)) " · oldest " (oldest) }
            }
            svg.depth viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(words) {
                @for (class, count) in domain.by_age.iter().enumerate() {
                    @if *count > 0 {
                        @let width = (count * WIDTH / most).max(4);
                        @let x = { let x = left; left += width; x };
                        rect.(format!("age{class}")) x=(x) y="0" width=(width) height=(HEIGHT) {}
                    }
                }
            }
            // Nobody has to tell the colours apart.
            p.legend aria-hidden="true" {
                @for (class, (count, age)) in domain.by_age.iter().zip(AGES).enumerate() {
                    @if *count > 0 { span.(format!("age{class}")) { (age) } " " b { (count) } }
                }
            }
        }
    }
}

fn destinations(destinations: &[QueueDestination]) -> Markup {
    let away: Vec<_> = destinations.iter().filter(|one| one.away_since.is_some()).collect();
    wide(
        "away",
        "Destinations that are not reached",
        html! {
            @if away.is_empty() { (none("None.")) }
            ul.plain {
                @for one in away {
                    li {
                        span.dot.bad {} strong.words { (one.name) }
                        @if let Some(since) = one.away_since { span.note { " since " (when_seconds(since)) } }
                        p.reason.words { q { (one.reason) } }
                        @if let Some(next) = one.next { p.note { "tried again at " (when_seconds(next)) } }
                        (buttons(&[("domain", &one.name)], &[("retry", "Try now")]))
                    }
                }
            }
        },
    )
}

fn table(wanted: &Wanted, found: usize, messages: &[QueuedMessage]) -> Markup {
    let of = [("folder", wanted.folder.as_str()), ("domain", wanted.domain.as_str())];
    let title = match (wanted.folder.as_str(), wanted.domain.as_str()) {
        ("", "") => "Messages".to_owned(),
        (folder, "") => format!("Messages in {folder}"),
        ("", domain) => format!("Messages for {domain}"),
        (folder, domain) => format!("Messages in {folder} for {domain}"),
    };
    wide(
        "messages",
        &title,
        html! {
            p.note {
                a href="/queue" { "all" }
                @for folder in Folder::ALL { " · " a href=(format!("/queue?folder={}", folder.name())) { (folder.name()) } }
            }
            @if messages.is_empty() { (none("None.")) }
            @else {
                p.note { "The " (messages.len()) " oldest of " (found) }
                @if of.iter().any(|(_, value)| !value.is_empty()) {
                    (buttons(&of, &[("retry", "Try all now"), ("hold", "Hold all"), ("release", "Release all")]))
                }
                ul.plain { @for message in messages { li { (row(message)) } } }
            }
        },
    )
}

fn row(message: &QueuedMessage) -> Markup {
    let to = message.to.first().map_or("nobody", |recipient| recipient.address.as_str());
    let from = if message.from.is_empty() { "<>" } else { &message.from };
    html! {
        p {
            a.id href=(format!("/queue/{}", message.id)) { (message.id) } " "
            span.outcome.(class(message)) { (word(message)) } " "
            span.words { (from) " to " (to) }
            @if message.recipients > 1 { span.note { " +" (message.recipients - 1) } }
            span.note { " · " (size_in_words(message.size)) " · came " (when_seconds(message.received)) }
        }
        p.reason.words { q { (message.reason) } }
        p.note {
            @if let Some(next) = message.next { "tried next at " (when_seconds(next)) " · " }
            @if let Some(until) = message.until { "until " (when_seconds(until)) " · " }
            (message.attempts) " attempts"
        }
        (buttons(&[("id", &message.id)], verbs(message)))
    }
}

fn class(message: &QueuedMessage) -> &'static str {
    if message.folder == "queue" && !message.held { "attention" } else { "bad" }
}

fn word(message: &QueuedMessage) -> &str {
    if message.held { "held" } else { &message.folder }
}

/// What has a meaning for it as it is now.
fn verbs(message: &QueuedMessage) -> &'static [(&'static str, &'static str)] {
    match (message.folder.as_str(), message.held) {
        ("queue", false) => &[("retry", "Try now"), ("hold", "Hold"), ("remove", "Remove")],
        _ => &[("release", "Release"), ("remove", "Remove")],
    }
}

/// A form for each verb.
fn buttons(fields: &[(&str, &str)], verbs: &[(&str, &str)]) -> Markup {
    buttons_at("/queue", fields, verbs)
}

fn buttons_at(place: &str, fields: &[(&str, &str)], verbs: &[(&str, &str)]) -> Markup {
    html! {
        @if asker::may(Needs::Act) {
            div.actions { @for (verb, words) in verbs { (form::button(&format!("{place}/{verb}"), fields, words)) } }
        }
    }
}

pub(super) fn message(frame: &Frame, message: &QueuedMessage) -> Markup {
    let from = if message.from.is_empty() { "<> (no one: a report)" } else { &message.from };
    frame.around(
        "All times are UTC",
        html! {
            p.back { a href="/queue" { "Queue" } }
            section.state.(class(message)) {
                span.level { (word(message)) }
                h1 { "Message " span.id { (message.id) } }
                p { "It waits because: " q.words { (message.reason) } }
                (buttons(&[("id", &message.id)], verbs(message)))
            }
            section.wide {
                h2 { "The message" }
                dl.facts {
                    dt { "Came" } dd { (when_seconds(message.received)) }
                    dt { "In transaction" } dd { a href=(format!("/transactions/{}", message.transaction)) { (message.transaction) } }
                    dt { "From address" } dd { (if message.client.is_empty() { "Postern itself" } else { &message.client }) }
                    dt { "Sender" } dd.words { (from) }
                    dt { "Sender proved by" } dd { (message.sender) }
                    dt { "Goes to" } dd.words { (message.destination) }
                    dt { "Size" } dd { (size_in_words(message.size)) }
                    dt { "Attempts" } dd { (message.attempts) }
                    @if let Some(next) = message.next { dt { "Tried next" } dd { (when_seconds(next)) } }
                    @if let Some(until) = message.until { dt { "Stays until" } dd { (when_seconds(until)) } }
                }
            }
            section.wide {
                h2 { "Recipients that remain" }
                ol.plain {
                    @for recipient in &message.to {
                        li {
                            strong.words { (recipient.address) }
                            @if !recipient.reason.is_empty() { p.reason.words { q { (recipient.reason) } } }
                        }
                    }
                }
                @if message.recipients > message.to.len() { p.note { "and " (message.recipients - message.to.len()) " more" } }
            }
        },
    )
}

/// What verdicts hold, each with what one can do.
pub(super) fn quarantine(
    frame: &Frame,
    state: &QueueState,
    found: usize,
    messages: &[QueuedMessage],
) -> Markup {
    frame.around(
        "All times are UTC",
        html! {
            p.back { a href="/" { "Status" } " · " a href="/queue" { "Queue" } " · " a href="/reports" { "Reports" } " · " a href="/block" { "Blocked senders" } }
            (wide("held", "Quarantine", html! {
                @if messages.is_empty() { (none("Nothing is held.")) }
                @else {
                    p.note { "The " (messages.len()) " oldest of " (found) ". Released is delivered, and learnt as wanted mail; what is spam is learnt as that." }
                    ul.plain { @for message in messages { li { (held(message)) } } }
                }
                @if state.disaster.is_some() { p.reason { "Disaster mode: nothing expires" } }
            }))
        },
    )
}

fn held(message: &QueuedMessage) -> Markup {
    let to = message.to.first().map_or("nobody", |recipient| recipient.address.as_str());
    let from = if message.from.is_empty() { "<>" } else { &message.from };
    html! {
        p {
            a.id href=(format!("/queue/{}", message.id)) { (message.id) } " "
            span.words { (from) " to " (to) }
            @if message.recipients > 1 { span.note { " +" (message.recipients - 1) } }
            span.note { " · " (size_in_words(message.size)) " · came " (when_seconds(message.received)) }
        }
        p.reason.words { q { (message.reason) } }
        p.note {
            a href=(format!("/transactions/{}", message.transaction)) { "why" }
            @if let Some(until) = message.until { " · stays until " (when_seconds(until)) }
        }
        (buttons_at("/quarantine", &[("id", &message.id)], orders(message)))
    }
}

/// What a person can say of it.
fn orders(message: &QueuedMessage) -> &'static [(&'static str, &'static str)] {
    match super::quarantine::may_be_blocked(message) && asker::may(Needs::ActOnAll) {
        true => &[
            ("release", "Release"),
            ("report", "Spam: learn and remove"),
            ("block", "Never from this sender again"),
            ("remove", "Remove"),
        ],
        false => &[("release", "Release"), ("report", "Spam: learn and remove"), ("remove", "Remove")],
    }
}

/// The queue's section of the front page.
pub(super) fn summary(state: &QueueState, now: u64) -> Markup {
    let most = state.domains.iter().map(|domain| domain.messages).max().unwrap_or_default().max(1);
    super::tables::section(
        "queue",
        "Queue",
        html! {
            @if state.messages == 0 { (none("Nothing waits.")) }
            @else { ul.shares { @for domain in state.domains.iter().take(5) { (bar(domain, most, now)) } } }
            @let expired = state.in_folder(Folder::Expired);
            @if expired > 0 { p.reason { (expired) " could not be delivered and need a person" } }
            @let held = state.in_folder(Folder::Quarantine);
            @if held > 0 { p.reason { a href="/quarantine" { (held) " held by their verdicts" } } }
            @if state.disaster.is_some() { p.reason { "Disaster mode: nothing expires" } }
            p.note { a href="/queue" { "All of it, and what one can do" } }
        },
    )
}
