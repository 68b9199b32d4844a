//! `postern queue`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::{ask, order, tell};
use crate::client::encoded;
use crate::command::{CommandLine, Exit, QueueAction, QueueList, QueueWhom, Switch};
use crate::config::{duration_in_words, size_in_words};
use crate::report::{QueueState, QueuedMessage};

/// `postern queue`
pub async fn queue(line: &CommandLine, action: &QueueAction) -> Exit {
    let answered = match action {
        QueueAction::List(wanted) => return list(line, wanted).await,
        QueueAction::Show { id } => {
            let answer = ask(line, &format!("/api/v1/queue/{}", encoded(id))).await;
            return match answer {
                Ok(answer) => tell(line.json, &answer, |message: QueuedMessage| show(&message)),
                Err(exit) => exit,
            };
        }
        QueueAction::Disaster { switch } => {
            let on = *switch == Switch::On;
            let answer = order(line, "/api/v1/queue/disaster", &json!({ "on": on })).await;
            return match answer {
                Ok(answer) => tell(line.json, &answer, |state: QueueState| vec![disaster(&state)]),
                Err(exit) => exit,
            };
        }
        QueueAction::Retry(whom) => carry_out(line, "retry", whom).await,
        QueueAction::Hold(whom) => carry_out(line, "hold", whom).await,
        QueueAction::Release(whom) => carry_out(line, "release", whom).await,
        QueueAction::Remove(whom) => carry_out(line, "remove", whom).await,
    };
    answered.unwrap_or_else(|exit| exit)
}

#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    state: QueueState,
    pub(super) found: usize,
    pub(super) messages: Vec<QueuedMessage>,
}

async fn list(line: &CommandLine, wanted: &QueueList) -> Exit {
    let parts = [
        ("folder", wanted.folder.clone()),
        ("domain", wanted.domain.clone()),
        ("last", wanted.last.map(|last| last.to_string())),
    ];
    let given = parts.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_ref()?))));
    let query = given.collect::<Vec<_>>().join("&");
    match ask(line, &format!("/api/v1/queue?{query}")).await {
        Ok(answer) => tell(line.json, &answer, |listed: Listed| lines(&listed)),
        Err(exit) => exit,
    }
}

fn lines(listed: &Listed) -> Vec<String> {
    let Listed { state, found, messages } = listed;
    let mut lines: Vec<String> = messages.iter().flat_map(entry).collect();
    if *found > messages.len() {
        lines.push(format!("and {} more; --last N shows more of them", found - messages.len()));
    }
    for one in state.destinations.iter().filter(|one| one.away_since.is_some()) {
        let next = one.next.map_or_else(|| "now".to_owned(), date);
        lines.push(format!("{} is not reached: {}; tried again at {next}", one.name, one.reason));
    }
    let mut folders: Vec<_> =
        state.folders.iter().map(|count| format!("{} in {}", count.messages, count.folder)).collect();
    if folders.is_empty() {
        folders.push("nothing waits".to_owned());
    }
    lines.push(format!("{}; {} % of the room is taken", folders.join(", "), state.percent));
    if state.disaster.is_some() {
        lines.push(disaster(state));
    }
    lines
}

/// Two lines: what it is, and why it waits.
pub(super) fn entry(message: &QueuedMessage) -> [String; 2] {
    let to = message.to.first().map_or("nobody", |recipient| recipient.address.as_str());
    let more = match message.recipients {
        0 | 1 => String::new(),
        all => format!(" +{}", all - 1),
    };
    let held = if message.held { " HELD" } else { "" };
    let QueuedMessage { id, folder, from, .. } = message;
    let first = format!(
        "{id} {folder}{held} {} {} <{from}> to <{to}>{more}",
        date(message.received),
        size_in_words(message.size)
    );
    let next = message.next.map(|next| format!("next try {}", date(next)));
    let until = message.until.map(|until| format!("until {}", date(until)));
    let when: Vec<_> = next.into_iter().chain(until).collect();
    let when = if when.is_empty() { String::new() } else { format!(" ({})", when.join(", ")) };
    [first, format!("  {}{when}", message.reason)]
}

pub(super) fn show(message: &QueuedMessage) -> Vec<String> {
    let mut lines = Vec::from(entry(message));
    let client = if message.client.is_empty() { "Postern itself" } else { &message.client };
    lines.push(format!("  transaction {}, from {client}, for {}", message.transaction, message.destination));
    lines
        .push(format!("  {} failed attempts; the sender is proved by: {}", message.attempts, message.sender));
    lines.push("recipients that remain:".to_owned());
    for recipient in &message.to {
        let reason =
            if recipient.reason.is_empty() { String::new() } else { format!(": {}", recipient.reason) };
        lines.push(format!("  {}{reason}", recipient.address));
    }
    if message.recipients > message.to.len() {
        lines.push(format!("  and {} more", message.recipients - message.to.len()));
    }
    lines
}

fn disaster(state: &QueueState) -> String {
    match state.disaster {
        Some(since) => format!("disaster mode is on since {}: nothing expires", date(since)),
        None => "disaster mode is off: what waits longer than its lifetime expires".to_owned(),
    }
}

fn date(since_1970: u64) -> String {
    record::rfc3339_date(Duration::from_secs(since_1970)).replace(".000Z", "Z")
}

/// What the queue is like, for `postern status`.
pub(super) fn summary(state: &QueueState, now: u64) -> Vec<String> {
    let oldest = match state.oldest {
        Some(oldest) => {
            let age = duration_in_words(Duration::from_secs(now.saturating_sub(oldest)));
            format!(", the oldest for {age}")
        }
        None => String::new(),
    };
    let mut lines = vec![format!(
        "queue: {} messages wait, {}{oldest}; {} % of the room is taken",
        state.messages,
        size_in_words(state.bytes),
        state.percent
    )];
    let others = state.folders.iter().filter(|count| count.folder != "queue");
    lines.extend(others.map(|count| format!("  {} in {}", count.messages, count.folder)));
    for one in state.destinations.iter().filter(|one| one.away_since.is_some()) {
        lines.push(format!("  {} is not reached: {}", one.name, one.reason));
    }
    if state.disaster.is_some() {
        lines.push(format!("  {}", disaster(state)));
    }
    if state.damaged > 0 {
        lines.push(format!("  {} damaged records were set aside in spool/damaged", state.damaged));
    }
    lines
}

/// What came of an order.
#[derive(Debug, Deserialize)]
pub(super) struct Done {
    pub(super) changed: usize,
    pub(super) found: usize,
}

async fn carry_out(line: &CommandLine, verb: &str, whom: &QueueWhom) -> Result<Exit, Exit> {
    let wanted = json!({
        "ids": whom.ids,
        "domain": whom.domain.clone().unwrap_or_default(),
        "all": whom.all,
        "folder": whom.folder.clone().unwrap_or_default(),
    });
    let answer = order(line, &format!("/api/v1/queue/{verb}"), &wanted).await?;
    Ok(tell(line.json, &answer, |done: Done| {
        vec![format!("{verb}: {} of {} messages", done.changed, done.found)]
    }))
}
