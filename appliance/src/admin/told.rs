//! One transaction, told from the client's first word to the last server's.

use maud::{Markup, html};

use super::page::Frame;
use super::tables::{outcome_class, when};
use crate::config::size_in_words;
use crate::report::{AfterwardsStory, GroupStory, OpinionStory, RecipientStory, TransactionStory};

pub(super) fn transaction(frame: &Frame, story: &TransactionStory) -> Markup {
    frame.around("All times are UTC", html! {
        p.back { a href="/" { "Status" } }
        section.state.(outcome_class(&story.outcome)) {
            span.level { (story.outcome) }
            h1 { "Transaction " span.id { (story.id) } }
            @if !story.reply.is_empty() { p { "The client was told: " q.words { (story.reply) } } }
            @if story.alike > 0 { p.note { (story.and_others()) } }
        }
        @if story.has_beginning() { (session(story)) }
        @else {
            p.note { "Its session is not in the trace: it was before the last start, is too long ago, or there was none." }
        }
        @if !story.afterwards.is_empty() {
            section.wide id="afterwards" {
                h2 { "Afterwards" }
                ol.plain { @for step in &story.afterwards { (one_step(step)) } }
            }
        }
    })
}

fn session(story: &TransactionStory) -> Markup {
    let from = if story.from.is_empty() { "<> (no one: a report)" } else { &story.from };
    html! {
        section.wide {
            h2 { "The client" }
            dl.facts {
                dt { "Came" } dd { (when(&story.began)) ", " (story.protocol) }
                dt { "From address" } dd { (story.client) }
                dt { "Called itself" } dd.words { (story.helo) }
                dt { "TLS" } dd.words { (story.tls.words()) }
                dt { "Authenticated" } dd { (if story.authenticated { "yes" } else { "no" }) }
                dt { "Sender" } dd.words { (from) }
                @if let Some(one) = &story.opinion {
                    @if !one.subject.is_empty() { dt { "Subject" } dd.words { (one.subject) } }
                    @if !one.message_id.is_empty() { dt { "Message-ID" } dd.words { (one.message_id) } }
                }
                dt { "Size" } dd { (size_in_words(story.size)) }
                dt { "Judged" } dd { (story.verdict) }
                dt { "Took" } dd { (story.lasted_ms) " ms, " (story.settled_in_ms) " ms of them after the content" }
            }
        }
        @if let Some(one) = &story.opinion { (opinion(one, &story.verdict)) }
        section.wide {
            h2 { "Recipients" }
            ol.plain { @for recipient in &story.recipients { (one_recipient(recipient)) } }
            @if more(story) > 0 { p.note { "and " (more(story)) " more" } }
        }
        section.wide {
            h2 { "Servers" }
            @if story.groups.is_empty() { p.none { "No server was given this message." } }
            ol.plain { @for group in &story.groups { (one_group(group)) } }
        }
    }
}

fn one_step(step: &AfterwardsStory) -> Markup {
    html! {
        li {
            (when(&step.at)) " " span.words { (step.line()) }
            @if !step.words.is_empty() { p.reason.words { q { (step.words) } } }
            @for recipient in step.recipients.iter().filter(|recipient| !recipient.reply.is_empty()) {
                (one_recipient(recipient))
            }
            @if !step.report.is_empty() { p.note { a href=(format!("/transactions/{}", step.report)) { "What became of the report" } } }
        }
    }
}

fn opinion(opinion: &OpinionStory, verdict: &str) -> Markup {
    html! {
        section.wide id="opinion" {
            h2 { "Why" }
            p { strong { (opinion.words(verdict)) } span.note { " · " (opinion.direction) " · " (opinion.took_ms) " ms" } }
            @if !opinion.trouble.is_empty() { p.reason.words { "Failed: " (opinion.trouble) } }
            table {
                thead { tr { th { "Check" } th { "Result" } th { "Weight" } } }
                tbody {
                    @for check in &opinion.checks {
                        tr { td.words { (check.name) } td.words { (check.words()) } td.number { (format!("{:+.2}", check.weight)) } }
                    }
                }
            }
            @if !opinion.otherwise.is_empty() {
                h3 { "What would have changed it" }
                ul.plain {
                    @for other in &opinion.otherwise { li.words { strong { (other.verdict) } " " (other.because) } }
                }
            }
            @if !opinion.words.is_empty() {
                h3 { "What weighed most in its text" }
                p.words {
                    @for word in &opinion.words { q { (word.text) } " " span.note { (format!("{:+.2}", word.weight)) } " " }
                }
            }
        }
    }
}

fn more(story: &TransactionStory) -> usize {
    usize::try_from(story.recipients_named).unwrap_or_default().saturating_sub(story.recipients.len())
}

fn one_recipient(recipient: &RecipientStory) -> Markup {
    html! {
        li {
            strong.words { (recipient.words()) }
            p.reason.words { (if recipient.reply.is_empty() { "no reply was sent" } else { &recipient.reply }) }
        }
    }
}

fn one_group(group: &GroupStory) -> Markup {
    html! {
        li {
            span.outcome.(outcome_class(&group.outcome)) { (group.outcome) } " "
            @match &group.leg {
                Some(leg) => {
                    strong { (leg.server) } " " span.note { (leg.backend) }
                    p.note.words {
                        (leg.tls.words()) " · client's address: " (leg.client_address)
                        @if leg.reused { " · on a kept connection" }
                        @if !leg.policy.is_empty() { " · " (leg.policy) }
                    }
                }
                None => { @if !group.folder.is_empty() { strong { "kept in " (group.folder) } } }
            }
            p.reason.words { q { (group.reply) } }
        }
    }
}

pub(super) fn unknown(frame: &Frame, id: &str) -> Markup {
    frame.around("", html! {
        p.back { a href="/" { "Status" } }
        section.state.unknown {
            span.level { "not found" }
            h1 { "No transaction " span.id.words { (id) } }
            p { "It is older than the trace, or was one of a flood of clients that were refused, of which the trace tells some and counts the others. The log may have it." }
        }
    })
}
