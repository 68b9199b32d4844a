//! Whose mail is whose: what is left of an answer for somebody who sees only some domains.
//!
//! A message is of a domain if one of its recipients is in it, or if it was sent from there by somebody who proved to be from here.
//! Of a message to others, too, their addresses are left out, and nobody but who sees all of it may do something with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use maud::html;
use spool::{EntryId, Folder};

use super::answers::{No, html};
use super::asker::sight;
use super::desk::Desk;
use super::page::Frame;
use super::{lookup, queue, tables};
use crate::access::Sight;
use crate::recorder::Query;
use crate::report::{FolderCount, HeldReport, QueueState, QueuedMessage, SenderState, TransactionStory};

/// The most messages that an order of somebody who sees some domains may be for.
const MAX_ORDERED: usize = 1000;
/// Senders that are looked through.
const MAX_SENDERS: usize = 10_000;

const NOT_ALONE: No =
    No(StatusCode::FORBIDDEN, "the message is for others, too; an administrator has to do this");
const TOO_MANY: No = No(StatusCode::PAYLOAD_TOO_LARGE, "that is for more than 1000 messages; name fewer");

/// What is seen of a transaction.
pub(super) fn story(story: TransactionStory) -> Option<TransactionStory> {
    seen(&sight(), story)
}

/// What this one sees of it.
pub(super) fn seen(sight: &Sight, mut story: TransactionStory) -> Option<TransactionStory> {
    if *sight == Sight::All || (story.authenticated && sight.has_address(&story.from)) {
        return Some(story);
    }
    let before = story.recipients.len();
    let named = story.recipients_named;
    story.recipients.retain(|recipient| sight.has_address(&recipient.address));
    let whole = story.recipients.len() == before && usize::try_from(named) == Ok(before);
    for step in &mut story.afterwards {
        step.recipients.retain(|recipient| sight.has_address(&recipient.address));
    }
    if !whole {
        // What servers said may be about the others.
        story.groups.clear();
        story.afterwards.retain(|step| !step.recipients.is_empty());
        story.recipients_named = u32::try_from(story.recipients.len()).unwrap_or(u32::MAX);
    }
    (!story.recipients.is_empty() || !story.afterwards.is_empty()).then_some(story)
}

/// Messages in the spool for domains that are seen, the oldest first.
pub(super) fn select(desk: &Desk, folder: Option<Folder>, name: Option<&str>) -> Vec<EntryId> {
    let spool = desk.queue().spool();
    match sight() {
        Sight::All => spool.select(folder, name),
        Sight::Domains(domains) => {
            let wanted = domains.iter().filter(|domain| name.is_none_or(|name| name == domain.as_str()));
            let found: BTreeSet<EntryId> =
                wanted.flat_map(|domain| spool.select(folder, Some(domain.as_str()))).collect();
            found.into_iter().collect()
        }
    }
}

fn is_from(sight: &Sight, message: &QueuedMessage) -> bool {
    ["inside", "authenticated"].contains(&message.sender.as_str()) && sight.has_address(&message.from)
}

/// What is seen of a message in the spool.
pub(super) fn message(mut message: QueuedMessage) -> Option<QueuedMessage> {
    let sight = sight();
    if sight == Sight::All || is_from(&sight, &message) {
        return Some(message);
    }
    let before = message.recipients;
    message.to.retain(|recipient| sight.has_address(&recipient.address));
    if message.to.len() < before {
        message.recipients = message.to.len();
        // What was said may be of the others.
        message.reason.clear();
    }
    (!message.to.is_empty()).then_some(message)
}

/// The messages of an order, if all of them are whoever asks's to give orders for.
pub(super) async fn ordered(desk: &Desk, ids: Vec<EntryId>, are_named: bool) -> Result<Vec<EntryId>, No> {
    let sight = sight();
    if sight == Sight::All {
        return Ok(ids);
    }
    if ids.len() > MAX_ORDERED {
        return Err(TOO_MANY);
    }
    let mut own = Vec::new();
    for id in ids {
        let Ok(Some(whole)) = QueuedMessage::of(desk.queue(), id).await else { continue };
        let all_seen = whole.to.len() == whole.recipients
            && whole.to.iter().all(|recipient| sight.has_address(&recipient.address));
        if is_from(&sight, &whole) || all_seen {
            own.push(id);
        } else if are_named && whole.to.iter().any(|recipient| sight.has_address(&recipient.address)) {
            return Err(NOT_ALONE);
        }
    }
    Ok(own)
}

/// The queue's numbers, of domains that are seen.
pub(super) fn state(desk: &Desk) -> QueueState {
    let all = QueueState::of(desk.queue(), desk.now());
    let sight = sight();
    if sight == Sight::All {
        return all;
    }
    let domains: Vec<_> = all.domains.into_iter().filter(|domain| sight.has(&domain.domain)).collect();
    let folder = |folder: Folder| {
        let messages = select(desk, Some(folder), None).len();
        (messages > 0).then(|| FolderCount { folder: folder.name().to_owned(), messages, oldest: 0 })
    };
    QueueState {
        messages: domains.iter().map(|domain| domain.messages).sum(),
        bytes: domains.iter().map(|domain| domain.bytes).sum(),
        oldest: domains.iter().map(|domain| domain.oldest).min(),
        folders: Folder::ALL.into_iter().filter_map(folder).collect(),
        disaster: all.disaster,
        domains,
        ..QueueState::default()
    }
}

/// Reports by users of domains that are seen.
pub(super) fn reports(mut reports: Vec<HeldReport>) -> Vec<HeldReport> {
    let sight = sight();
    reports.retain(|report| sight.has_address(&report.reporter));
    reports
}

/// Senders in domains that are seen.
pub(super) fn senders(desk: &Desk, last: usize) -> Vec<SenderState> {
    let sight = sight();
    if sight == Sight::All {
        return desk.live().senders(last);
    }
    let senders = desk.live().senders(MAX_SENDERS).into_iter();
    senders.filter(|sender| sight.has_address(&sender.sender)).take(last).collect()
}

/// Whether somebody may say something of this sender.
pub(super) fn is_own_sender(name: &str) -> bool {
    sight().has_address(name)
}

/// The front page of somebody who sees some domains.
pub(super) async fn front(desk: &Arc<Desk>) -> Response {
    let domains = sight().domains();
    let frame = Frame { hostname: desk.hostname().to_owned(), title: domains.join(", ") };
    let transactions = lookup::transactions(desk, Query { last: 25, ..Query::default() }).await.found;
    let backends: Vec<_> = desk
        .live()
        .backends()
        .into_iter()
        .filter_map(|mut backend| {
            backend.domains.retain(|domain| domains.contains(domain));
            (!backend.domains.is_empty()).then_some(backend)
        })
        .collect();
    let state = state(desk);
    html(frame.around(
        "All times are UTC",
        html! {
            section.state.unknown id="state" data-live role="status" {
                h1 { (domains.join(", ")) }
                p {
                    (state.messages) " messages wait · " (state.in_folder(Folder::Quarantine)) " are held"
                }
                p { a href="/queue" { "Queue" } " · " a href="/quarantine" { "Quarantine" } " · " a href="/senders" { "Senders" } " · " a href="/domains" { "Domains" } " · " a href="/reports" { "Reports" } }
            }
            (tables::backends(&backends))
            (tables::transactions(&transactions))
        },
    ))
}

/// One message as whoever asks sees it, or as if it was not there.
pub(super) fn or_unknown(found: Option<QueuedMessage>) -> Result<QueuedMessage, No> {
    found.and_then(message).ok_or(queue::UNKNOWN)
}
