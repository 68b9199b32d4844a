//! `postern quarantine`.

use serde_json::json;

use super::queue::{Done, Listed, entry, show};
use super::{ask, order, tell};
use crate::client::encoded;
use crate::command::{CommandLine, Exit, QuarantineAction};
use crate::report::QueuedMessage;

/// `postern quarantine`
pub async fn quarantine(line: &CommandLine, action: &QuarantineAction) -> Exit {
    let answered = match action {
        QuarantineAction::List(wanted) => {
            let parts =
                [("domain", wanted.domain.clone()), ("last", wanted.last.map(|last| last.to_string()))];
            let given =
                parts.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_ref()?))));
            let query = given.collect::<Vec<_>>().join("&");
            match ask(line, &format!("/api/v1/quarantine?{query}")).await {
                Ok(answer) => Ok(tell(line.json, &answer, |listed: Listed| lines(&listed))),
                Err(exit) => Err(exit),
            }
        }
        QuarantineAction::Show { id } => {
            match ask(line, &format!("/api/v1/quarantine/{}", encoded(id))).await {
                Ok(answer) => Ok(tell(line.json, &answer, |message: QueuedMessage| show(&message))),
                Err(exit) => Err(exit),
            }
        }
        QuarantineAction::Release { ids } => carry_out(line, "release", ids).await,
        QuarantineAction::Remove { ids } => carry_out(line, "remove", ids).await,
        QuarantineAction::Report { ids } => carry_out(line, "report", ids).await,
        QuarantineAction::Block { ids } => carry_out(line, "block", ids).await,
    };
    answered.unwrap_or_else(|exit| exit)
}

fn lines(listed: &Listed) -> Vec<String> {
    let Listed { found, messages, .. } = listed;
    let mut lines: Vec<String> = messages.iter().flat_map(entry).collect();
    if *found > messages.len() {
        lines.push(format!("and {} more; --last N shows more of them", found - messages.len()));
    }
    lines.push(match found {
        0 => "nothing is held".to_owned(),
        found => format!("{found} held; `postern trace --id` says why each was, by its transaction"),
    });
    lines
}

async fn carry_out(line: &CommandLine, verb: &str, ids: &[String]) -> Result<Exit, Exit> {
    let answer = order(line, &format!("/api/v1/quarantine/{verb}"), &json!({ "ids": ids })).await?;
    Ok(tell(line.json, &answer, |done: Done| {
        vec![format!("{verb}: {} of {} messages", done.changed, done.found)]
    }))
}
