//! `postern domains`.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ask, order, tell};
use crate::admin::domains::Done;
use crate::client::encoded;
use crate::command::{CommandLine, DomainsAction, Exit};
use crate::report::{DomainEntry, DomainState, EntryKind};

/// `postern domains`
pub async fn domains(line: &CommandLine, action: &DomainsAction) -> Exit {
    let answered = match action {
        DomainsAction::List => {
            let answer = ask(line, "/api/v1/domains").await;
            answer.map(|answer| tell(line.json, &answer, |domains: Vec<DomainState>| overview(&domains)))
        }
        DomainsAction::Show { domain } => {
            let answer = ask(line, &place(domain)).await;
            answer.map(|answer| tell(line.json, &answer, |entries: Vec<DomainEntry>| lines(&entries)))
        }
        DomainsAction::Add { domain, kind, entry, target } => {
            let kind = EntryKind::from(*kind).name();
            let target = target.as_deref().unwrap_or_default();
            let ordered = json!({ "order": "add", "kind": kind, "entry": entry, "target": target });
            carry_out(line, domain, &ordered, ("added", "it is there already")).await
        }
        DomainsAction::Remove { domain, kind, entry } => {
            let kind = EntryKind::from(*kind).name();
            let ordered = json!({ "order": "remove", "kind": kind, "entry": entry });
            carry_out(line, domain, &ordered, ("removed", "it was not there")).await
        }
    };
    answered.unwrap_or_else(|exit| exit)
}

fn place(domain: &str) -> String {
    format!("/api/v1/domains/{}/entries", encoded(domain))
}

async fn carry_out(
    line: &CommandLine,
    domain: &str,
    ordered: &Value,
    (changed, unchanged): (&str, &str),
) -> Result<Exit, Exit> {
    let answer = order(line, &place(domain), ordered).await?;
    Ok(tell(line.json, &answer, |done: Done| {
        vec![if done.changed { changed.to_owned() } else { unchanged.to_owned() }]
    }))
}

fn overview(domains: &[DomainState]) -> Vec<String> {
    let line = |one: &DomainState| {
        format!(
            "{} ({}): {} mailboxes, {} blocked, {} allowed, {} traps, {} aliases",
            one.domain, one.backend, one.mailboxes, one.blocked, one.allowed, one.traps, one.aliases
        )
    };
    domains.iter().map(line).collect()
}

fn lines(entries: &[DomainEntry]) -> Vec<String> {
    if entries.is_empty() {
        return vec!["the domain decided nothing for itself".to_owned()];
    }
    let line = |one: &DomainEntry| {
        let target = one.target.as_ref().map(|target| format!(" to {target}")).unwrap_or_default();
        let since = record::rfc3339_date(Duration::from_secs(one.since));
        format!("{} {}{target} since {since} by {}", one.kind.name(), one.entry, one.by)
    };
    entries.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::line;
    use super::*;
    use crate::admin::tests::{FakeEngine, start};
    use crate::command::Command;

    #[tokio::test]
    async fn entries_are_added_and_removed_and_what_is_wrong_is_told() {
        let (address, _stop) = start(FakeEngine { all_down: false, self_signed: true }, true).await;
        for (words, exit) in [
            (&["list"][..], Exit::Done),
            (&["show", "example.net"], Exit::Done),
            (&["show", "nowhere.example"], Exit::No),
            (&["add", "example.net", "block", "shop.example"], Exit::Done),
            (&["add", "example.net", "alias", "info@example.net", "--to", "ann@example.net"], Exit::Done),
            (&["add", "example.net", "trap", "nonsense"], Exit::Wrong),
            (&["remove", "example.net", "block", "block@example.net"], Exit::Done),
            (&["remove", "example.net", "block", "other@example.net"], Exit::No),
        ] {
            let words: Vec<&str> = std::iter::once("domains").chain(words.iter().copied()).collect();
            let (_file, line) = line(address, &words);
            let Command::Domains(action) = &line.command else { panic!("{words:?}") };
            assert_eq!(domains(&line, action).await, exit, "{words:?}");
        }
    }
}
