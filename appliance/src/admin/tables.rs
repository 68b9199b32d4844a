//! The front page's tables.

use std::time::Duration;

use maud::{Markup, html};

use super::chart;
use crate::config::{duration_in_words, size_in_words};
use crate::report::{
    ArmingState, AuthorityState, BackendState, Count, Health, ListenerState, NetworkCount, NotReached,
    RolesState, ServerState, SessionStory, TlsCount, TransactionStory, VerifyingState,
};

/// A section of the page that the script renews.
pub(super) fn section(id: &str, title: &str, content: Markup) -> Markup {
    html! {
        section id=(id) data-live aria-labelledby=(format!("{id}-title")) {
            h2 id=(format!("{id}-title")) { (title) }
            (content)
        }
    }
}

/// A section that takes the page's whole width.
pub(super) fn wide(id: &str, title: &str, content: Markup) -> Markup {
    html! {
        section.wide id=(id) data-live aria-labelledby=(format!("{id}-title")) {
            h2 id=(format!("{id}-title")) { (title) }
            (content)
        }
    }
}

/// The same, of what the script leaves alone: it is asked for when somebody wants it.
pub(super) fn still(id: &str, title: &str, content: Markup) -> Markup {
    html! {
        section.wide id=(id) aria-labelledby=(format!("{id}-title")) {
            h2 id=(format!("{id}-title")) { (title) }
            (content)
        }
    }
}

pub(super) fn none(words: &str) -> Markup {
    html! { p.none { (words) } }
}

/// When, as `21 Nov 19:10:05`, with the whole date for machines.
pub(super) fn when(rfc3339: &str) -> Markup {
    let (date, time) = rfc3339.split_once('T').unwrap_or((rfc3339, ""));
    let short = time.get(..8).unwrap_or(time);
    html! { time datetime=(rfc3339) { span.date { (date) " " } (short) } }
}

pub(super) fn when_seconds(since_1970: u64) -> Markup {
    when(&record::rfc3339_date(Duration::from_secs(since_1970)))
}

pub(super) fn backends(backends: &[BackendState]) -> Markup {
    wide(
        "backends",
        "Backends",
        html! {
            div.cards {
                @for backend in backends {
                    article.card {
                        h3 { (backend.name) }
                        p.domains { (backend.domains.join(", ")) }
                        @for server in &backend.servers { (one_server(server)) }
                        p.note { "TLS policy: " (backend.tls) }
                        p.note { "Recipients: " (backend.recipients.words()) }
                        @if let Some(advice) = backend.recipients.advice() { p.reason { "It " (advice) } }
                    }
                }
            }
        },
    )
}

fn one_server(server: &ServerState) -> Markup {
    let (class, word) = match &server.health {
        Health::Unknown => ("unknown", "not asked yet"),
        Health::Up => ("good", "up"),
        Health::Down { .. } => ("bad", "down"),
    };
    html! {
        div.server {
            p { span.dot.(class) {} strong { (server.server) } " " span.note { (word) } }
            @if let Health::Down { since, reason } = &server.health {
                p.reason { "since " (when_seconds(*since)) ": " (reason) }
            }
            dl {
                dt { "TLS" } dd { (server.tls.as_deref().unwrap_or("plain text")) }
                dt { "Client's address" } dd { (address_words(&server.client_address)) }
                @if !server.capabilities.is_empty() {
                    dt { "Offers" } dd.words { (server.capabilities.join(" · ")) }
                }
            }
        }
    }
}

/// How a server learns who the client is, for people.
fn address_words(method: &str) -> String {
    match method {
        "transparent" => "seen directly (transparent source)".to_owned(),
        "proxy" => "told by PROXY".to_owned(),
        "xclient" => "told by XCLIENT".to_owned(),
        "xforward" => "told by XFORWARD".to_owned(),
        "none" => "not told: it sees Postern's own".to_owned(),
        other => other.to_owned(),
    }
}

pub(super) fn transactions(transactions: &[TransactionStory]) -> Markup {
    wide(
        "transactions",
        "Last transactions",
        html! {
            @if transactions.is_empty() { (none("No mail has come yet.")) }
            @else {
                (transaction_table(transactions))
                p { a href="/messages" { "Look for a message" } }
            }
        },
    )
}

pub(super) fn transaction_table(transactions: &[TransactionStory]) -> Markup {
    html! {
        table.stack {
            thead { tr { th { "Time" } th { "From" } th { "To" } th { "Size" } th { "TLS" } th { "Outcome" } } }
            tbody { @for story in transactions { (transaction_row(story)) } }
        }
    }
}

fn transaction_row(story: &TransactionStory) -> Markup {
    let to = story.recipients.first().map_or("nobody", |recipient| recipient.address.as_str());
    let more = story.recipients_named.saturating_sub(1);
    let from = if story.from.is_empty() { "<>" } else { &story.from };
    let subject = story.opinion.as_ref().map_or("", |opinion| &opinion.subject);
    html! {
        tr {
            td { a href=(format!("/transactions/{}", story.id)) { (when(&story.began)) } }
            td.words { (from) @if !subject.is_empty() { br; span.note { (subject) } } }
            td.words { (to) @if more > 0 { span.note { " +" (more) } } }
            td.number { (size_in_words(story.size)) }
            td { (story.tls.version) }
            td {
                span.outcome.(outcome_class(&story.outcome)) { (story.outcome) }
                @if story.opinion.is_some() { span.note { " " (story.verdict) } }
                @if story.alike > 0 { br; span.note { (story.and_others()) } }
            }
        }
    }
}

pub(super) fn outcome_class(outcome: &str) -> &'static str {
    match outcome {
        "accepted" | "spooled" | "delivered" => "good",
        "deferred" => "attention",
        "refused" => "bad",
        _ => "unknown",
    }
}

pub(super) fn tls(id: &str, title: &str, counts: &[TlsCount]) -> Markup {
    let whole = counts.iter().map(|count| count.count).sum();
    section(
        id,
        title,
        html! {
            @if counts.is_empty() { (none("Nothing in the last two days.")) }
            @else {
                ul.shares {
                    @for count in counts {
                        li {
                            div { span { (tls_words(count)) } span.number { (count.count) } }
                            (chart::share(count.count, whole, if count.suite.is_empty() { "bad" } else { "good" }))
                            @if !count.suite.is_empty() { p.note { (count.suite) } }
                        }
                    }
                }
            }
        },
    )
}

fn tls_words(count: &TlsCount) -> String {
    match count.version.as_str() {
        "plain" => "plain text".to_owned(),
        "failed" => "handshake failed".to_owned(),
        version => format!("{version}, {}", count.group),
    }
}

pub(super) fn expiry(expires: u64, now: u64) -> String {
    match expires.checked_sub(now) {
        Some(left) => format!("expires in {}", duration_in_words(Duration::from_secs(left))),
        None => "has expired".to_owned(),
    }
}

pub(super) fn arming(arming: &[ArmingState]) -> Markup {
    if arming.is_empty() {
        return html! {};
    }
    section(
        "arming",
        "Taken on its way",
        html! {
            ul.plain {
                @for one in arming {
                    li {
                        span.dot.(if one.armed { "good" } else { "attention" }) {}
                        strong { (one.server) } " "
                        span.note { (one.backend) ": " (if one.armed { "armed" } else { "passes unread" }) }
                        p.note { (one.why) }
                    }
                }
            }
        },
    )
}

pub(super) fn authority(
    authority: Option<&AuthorityState>,
    verifying: &[VerifyingState],
    now: u64,
) -> Markup {
    let Some(authority) = authority else { return html! {} };
    section(
        "authority",
        "Authority for hidden servers",
        html! {
            p { a href="/interception-ca.pem" download { "interception-ca.pem" } }
            p.note {
                "Servers inside that verify whom they send to must trust it: " (expiry(authority.expires, now))
            }
            p.note.words { "SHA-256 " (authority.sha256) }
            @if !verifying.is_empty() {
                p.reason { "These verify and do not trust it:" }
                ul.plain {
                    @for one in verifying {
                        li {
                            span.dot.attention {} strong { (one.server) } " "
                            span.note { "left " (one.destination) " " (one.times) " times" }
                        }
                    }
                }
            }
        },
    )
}

pub(super) fn listeners(listeners: &[ListenerState]) -> Markup {
    section(
        "listeners",
        "Listeners",
        html! {
            ul.plain {
                @for listener in listeners {
                    li {
                        span.dot.(if listener.problem.is_none() { "good" } else { "bad" }) {}
                        strong { (listener.address) } " " span.note { (listener.protocol) }
                        @if let Some(problem) = &listener.problem { p.reason { (problem) } }
                    }
                }
            }
        },
    )
}

pub(super) fn roles(roles: &RolesState) -> Markup {
    section(
        "roles",
        "Roles",
        html! {
            p { (roles.words) }
            ul.plain {
                @for process in &roles.processes {
                    li {
                        span.dot.(if process.works { "good" } else { "attention" }) {}
                        strong { (process.role) } " "
                        span.note { "pid " (process.pid) @if process.restarts > 0 { ", restarts: " (process.restarts) } }
                    }
                }
            }
        },
    )
}

pub(super) fn refusals(refusals: &[Count]) -> Markup {
    let whole = refusals.iter().map(|count| count.count).sum();
    section(
        "refusals",
        "Refusals by reason",
        html! {
            @if refusals.is_empty() { (none("Nothing was refused in the last two days.")) }
            @else {
                ul.shares {
                    @for count in refusals.iter().take(10) {
                        li {
                            div { span { (count.what) } span.number { (count.count) } }
                            (chart::share(count.count, whole, "attention"))
                        }
                    }
                }
            }
        },
    )
}

pub(super) fn verdicts(verdicts: &[Count]) -> Markup {
    let whole = verdicts.iter().map(|count| count.count).sum();
    section(
        "verdicts",
        "Verdicts of the last two days",
        html! {
            @if verdicts.is_empty() { (none("Nothing was judged.")) }
            @else {
                ul.shares {
                    @for count in verdicts {
                        li {
                            div { span { (count.what) } span.number { (count.count) } }
                            (chart::share(count.count, whole, verdict_class(&count.what)))
                        }
                    }
                }
            }
            p.note { a href="/quarantine" { "What is held" } " · " a href="/reports" { "Reports that are held" } " · " a href="/senders" { "Who sends" } " · " a href="/domain-reports" { "What others report" } " · " a href="/dns" { "DNS records" } }
        },
    )
}

fn verdict_class(verdict: &str) -> &'static str {
    match verdict {
        "pass" => "good",
        "tag" | "defer" => "attention",
        _ => "bad",
    }
}

pub(super) fn without_tls(networks: &[NetworkCount]) -> Markup {
    section(
        "without-tls",
        "Without forward secrecy",
        html! {
            @if networks.is_empty() { (none("Every client that brought mail encrypted it.")) }
            @else {
                table {
                    thead { tr { th { "Network" } th { "Plain" } th { "Failed" } th { "Called itself" } } }
                    tbody {
                        @for network in networks.iter().take(10) {
                            tr {
                                td.number { (network.network) }
                                td.number { (network.plain) }
                                td.number { (network.failed) }
                                td.words { (network.helo) @if !network.reason.is_empty() { p.note { (network.reason) } } }
                            }
                        }
                    }
                }
            }
        },
    )
}

pub(super) fn not_reached(failures: &[NotReached]) -> Markup {
    section(
        "not-reached",
        "Servers not reached",
        html! {
            @if failures.is_empty() { (none("Every server that was needed answered.")) }
            @else {
                ul.plain {
                    @for failure in failures.iter().take(8) {
                        li {
                            (when_seconds(failure.at)) " " strong { (failure.server) } " "
                            span.note { (failure.backend) }
                            p.reason { (failure.reason) }
                        }
                    }
                }
            }
        },
    )
}

pub(super) fn sessions(sessions: &[SessionStory]) -> Markup {
    section(
        "sessions",
        "Sessions without mail",
        html! {
            @if sessions.is_empty() { (none("None.")) }
            @else { (session_list(sessions)) }
        },
    )
}

pub(super) fn session_list(sessions: &[SessionStory]) -> Markup {
    html! {
        ul.plain {
            @for session in sessions {
                li {
                    (when(&session.began)) " " strong.words { (session.client) } " "
                    span.note.words { (session.helo) }
                    p.note { (session.end) " · " (session.tls.words()) }
                }
            }
        }
    }
}
