//! `postern config`: the running Postern changes its own config, as on the page.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::{ask, order, tell};
use crate::command::{CommandLine, ConfigAction, Exit};
use crate::output;
use crate::settings::difference::{Line, Sign};
use crate::settings::history::Change;
use crate::settings::place::MAX_TEXT;

/// `postern config`
pub async fn config(line: &CommandLine, action: &ConfigAction) -> Exit {
    let answered = match action {
        ConfigAction::Show => show(line).await,
        ConfigAction::Set { key, value } => match key_of(key) {
            Some((section, number, key)) => {
                let more = json!({ "section": section, "number": number, "key": key, "value": value });
                carry_out(line, "set", more).await
            }
            None => Err(wrong("a key is such as `limits.sessions` or `backend[0].domains`")),
        },
        ConfigAction::Change { file, dry_run } => match read(file) {
            Ok(text) => {
                let verb = if *dry_run { "check" } else { "change" };
                carry_out(line, verb, json!({ "text": text })).await
            }
            Err(error) => Err(wrong(&format!("{}: {error}", file.display()))),
        },
        ConfigAction::History => {
            let answer = ask(line, "/api/v1/config/history").await;
            answer.map(|answer| {
                tell(line.json, &answer, |changes: Vec<Change>| changes.iter().map(one).collect())
            })
        }
        ConfigAction::Difference { number } => {
            let answer = ask(line, &format!("/api/v1/config/history/{number}")).await;
            answer.map(|answer| {
                tell(line.json, &answer, |told: Told| {
                    std::iter::once(one(&told.change)).chain(told.difference.iter().map(signed)).collect()
                })
            })
        }
        ConfigAction::Undo { number } => carry_out(line, "undo", json!({ "change": number })).await,
    };
    answered.unwrap_or_else(|exit| exit)
}

#[derive(Debug, Deserialize)]
struct Present {
    text: String,
    base: String,
}

#[derive(Debug, Deserialize)]
struct Told {
    change: Change,
    difference: Vec<Line>,
}

#[derive(Debug, Deserialize)]
struct Done {
    valid: bool,
    problems: Vec<String>,
    difference: Vec<Line>,
    after_restart: Vec<String>,
    change: Option<Change>,
}

async fn show(line: &CommandLine) -> Result<Exit, Exit> {
    let answer = ask(line, "/api/v1/config").await?;
    Ok(tell(line.json, &answer, |present: Present| present.text.lines().map(str::to_owned).collect()))
}

/// Of the config as it is at this moment.
async fn carry_out(line: &CommandLine, verb: &str, mut more: serde_json::Value) -> Result<Exit, Exit> {
    let present = ask(line, "/api/v1/config").await?;
    let base = serde_json::from_slice::<Present>(&present.body).map(|present| present.base);
    more["base"] = json!(base.unwrap_or_default());
    let answer = order(line, &format!("/api/v1/config/{verb}"), &more).await?;
    let is_wrong = serde_json::from_slice::<Done>(&answer.body).is_ok_and(|done| !done.valid);
    let exit = tell(line.json, &answer, |done: Done| lines(&done));
    Ok(if is_wrong { Exit::Wrong } else { exit })
}

fn lines(done: &Done) -> Vec<String> {
    let mut lines = done.problems.clone();
    lines.extend(done.difference.iter().map(signed));
    if !done.after_restart.is_empty() {
        lines.push(format!("after a restart only: {}", done.after_restart.join(", ")));
    }
    lines.extend(
        done.change
            .as_ref()
            .map(|change| format!("in force; `postern config undo {}` takes it back", change.number)),
    );
    lines
}

fn signed(line: &Line) -> String {
    let number = if line.sign == Sign::Removed { String::new() } else { line.number.to_string() };
    format!("{} {number:>5} {}", line.mark(), line.text)
}

fn one(change: &Change) -> String {
    let Change { number, at, who, from, what, added, removed } = change;
    let from = if from.is_empty() { String::new() } else { format!(" from {from}") };
    let at = record::rfc3339_date(Duration::from_secs(*at));
    format!("{number}  {at}  {who}{from}: {what}; {added} lines added, {removed} removed")
}

/// `backend[1].recipients` as the API has it: section, number from 1, key.
fn key_of(text: &str) -> Option<(String, usize, String)> {
    let (section, key) = text.rsplit_once('.').unwrap_or(("", text));
    let (section, number) = match section.split_once('[') {
        Some((name, at)) => (name, at.strip_suffix(']')?.parse::<usize>().ok()?.checked_add(1)?),
        None => (section, 0),
    };
    (!key.is_empty()).then(|| (section.to_owned(), number, key.to_owned()))
}

fn read(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let most = MAX_TEXT as u64 + 1;
    if file == Path::new("-") {
        std::io::stdin().take(most).read_to_string(&mut text)?;
    } else {
        std::fs::File::open(file)?.take(most).read_to_string(&mut text)?;
    }
    Ok(text)
}

fn wrong(words: &str) -> Exit {
    output::diagnosis(words);
    Exit::Wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_as_errors_name_them() {
        let read =
            |text: &str| key_of(text).map(|(section, number, key)| format!("{section} {number} {key}"));
        assert_eq!(read("hostname").as_deref(), Some(" 0 hostname"));
        assert_eq!(read("limits.sessions").as_deref(), Some("limits 0 sessions"));
        assert_eq!(read("outbound.senders.alert").as_deref(), Some("outbound.senders 0 alert"));
        assert_eq!(read("backend[1].domains").as_deref(), Some("backend 2 domains"));
        assert!(read("backend[x].domains").is_none() && read("limits.").is_none());
    }
}
