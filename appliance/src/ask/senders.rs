//! `postern senders`.

use serde::Deserialize;
use serde_json::json;

use super::{ask, order, tell};
use crate::command::{CommandLine, Exit, SendersAction};
use crate::report::SenderState;

/// `postern senders`
pub async fn senders(line: &CommandLine, action: &SendersAction) -> Exit {
    let answered = match action {
        SendersAction::List { last } => {
            let query = last.map_or_else(String::new, |last| format!("?last={last}"));
            let answer = ask(line, &format!("/api/v1/senders{query}")).await;
            answer.map(|answer| tell(line.json, &answer, |senders: Vec<SenderState>| lines(&senders)))
        }
        SendersAction::Release { sender, with_mail } => carry_out(line, "release", sender, *with_mail).await,
        SendersAction::Stop { sender } => carry_out(line, "stop", sender, false).await,
    };
    answered.unwrap_or_else(|exit| exit)
}

/// What came of an order.
#[derive(Debug, Deserialize)]
struct Done {
    sender: String,
    released: usize,
}

async fn carry_out(line: &CommandLine, verb: &str, sender: &str, with_mail: bool) -> Result<Exit, Exit> {
    let wanted = json!({ "sender": sender, "with_mail": with_mail });
    let answer = order(line, &format!("/api/v1/senders/{verb}"), &wanted).await?;
    Ok(tell(line.json, &answer, |done: Done| {
        let Done { sender, released } = done;
        vec![match verb {
            "stop" => format!("{sender}: its mail is held until it is released"),
            _ => format!("{sender}: it may send again; {released} held messages released"),
        }]
    }))
}

fn lines(senders: &[SenderState]) -> Vec<String> {
    if senders.is_empty() {
        return vec!["nobody has sent anything".to_owned()];
    }
    senders.iter().flat_map(entry).collect()
}

fn entry(sender: &SenderState) -> Vec<String> {
    let state = match (sender.since, sender.held) {
        (Some(_), true) => " HELD",
        (Some(_), false) => " LOOKS TAKEN OVER",
        (None, _) => "",
    };
    let kind = if sender.authenticated { "authenticated" } else { "from inside" };
    let since = sender.since.map(|since| record::rfc3339_date(std::time::Duration::from_secs(since)));
    let since = since.map_or_else(String::new, |since| format!(" since {since}"));
    let probability =
        sender.spam_probability.map_or_else(String::new, |p| format!("; spam probability {p:.2}"));
    let first = format!("{}{state}{since} ({kind})", sender.sender);
    let second = format!(
        "  recipients: {} within an hour, {} within a day in {} messages; {} not written to before; {} refused{probability}",
        sender.recipients_in_an_hour,
        sender.recipients_in_a_day,
        sender.messages_in_a_day,
        sender.strangers_in_a_day,
        sender.refused_in_a_day,
    );
    let seen = sender.seen.iter().map(|seen| format!("  {seen}"));
    [first].into_iter().chain(seen).chain([second]).collect()
}
