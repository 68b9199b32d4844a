//! `postern block`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::{ask, order, tell};
use crate::command::{BlockAction, CommandLine, Exit};
use crate::report::BlockedSender;

/// `postern block`
pub async fn block(line: &CommandLine, action: &BlockAction) -> Exit {
    let answered = match action {
        BlockAction::List => {
            let answer = ask(line, "/api/v1/block").await;
            answer.map(|answer| tell(line.json, &answer, |blocked: Vec<BlockedSender>| lines(&blocked)))
        }
        BlockAction::Add { entries } => carry_out(line, "add", entries).await,
        BlockAction::Remove { entries } => carry_out(line, "remove", entries).await,
    };
    answered.unwrap_or_else(|exit| exit)
}

/// What came of an order.
#[derive(Debug, Deserialize)]
struct Done {
    changed: usize,
}

async fn carry_out(line: &CommandLine, verb: &str, entries: &[String]) -> Result<Exit, Exit> {
    let answer = order(line, &format!("/api/v1/block/{verb}"), &json!({ "entries": entries })).await?;
    Ok(tell(line.json, &answer, |done: Done| {
        vec![format!("{verb}: {} of {} entries", done.changed, entries.len())]
    }))
}

fn lines(blocked: &[BlockedSender]) -> Vec<String> {
    if blocked.is_empty() {
        return vec!["nobody is blocked by a person's word".to_owned()];
    }
    let line = |one: &BlockedSender| {
        format!("{} since {}", one.entry, record::rfc3339_date(Duration::from_secs(one.since)))
    };
    blocked.iter().map(line).collect()
}
