//! `postern trace`: what became of mail, and why.

use serde::Deserialize;
use serde_json::Value;

use super::{ask, other_version, tell, words};
use crate::client::{Answer, encoded};
use crate::command::{CommandLine, Exit, Trace};
use crate::output;
use crate::report::{SessionStory, TransactionStory};

/// Entries of a list where nothing else is asked for.
const DEFAULT_LAST: usize = 20;

/// A session as the API answers it.
#[derive(Debug, Deserialize)]
struct WholeSession {
    session: Option<SessionStory>,
    transactions: Vec<TransactionStory>,
}

/// `postern trace`
pub async fn trace(line: &CommandLine, wanted: &Trace) -> Exit {
    if wanted.export {
        return export(line).await;
    }
    if wanted.id.is_none() {
        return trace_list(line, wanted).await;
    }
    let path = path(wanted);
    let answer = match ask(line, &path).await {
        Ok(answer) => answer,
        Err(exit) => return exit,
    };
    match wanted.id.as_deref() {
        Some(id) if id.contains('.') => {
            tell(line.json, &answer, |story: TransactionStory| words::story(&story))
        }
        Some(_) => tell(line.json, &answer, |whole: WholeSession| {
            let session = whole.session.iter().flat_map(words::session);
            session.chain(whole.transactions.iter().rev().flat_map(words::story)).collect()
        }),
        None => Exit::Wrong,
    }
}

/// What was found by address or time.
#[derive(Debug, Deserialize)]
struct Found {
    transactions: Vec<TransactionStory>,
    /// Sessions that brought no mail: refused at the door, thrown out, or just gone (law 9).
    sessions: Vec<SessionStory>,
}

async fn trace_list(line: &CommandLine, wanted: &Trace) -> Exit {
    let mut parts = Vec::new();
    // A session without mail has neither sender nor recipient.
    let of_mail = [&wanted.from, &wanted.to, &wanted.subject, &wanted.verdict, &wanted.outcome];
    let by_mail = of_mail.iter().any(|text| text.is_some());
    for (name, fits_none) in [("transactions", false), ("sessions", by_mail)] {
        let answer = match ask(line, &format!("/api/v1/{name}?{}", query(wanted))).await {
            Ok(answer) if answer.status != 200 => return tell(line.json, &answer, |_: Found| Vec::new()),
            Ok(_) if fits_none => b"[]".to_vec(),
            Ok(answer) => answer.body,
            Err(exit) => return exit,
        };
        parts.push(format!("\"{name}\":{}", String::from_utf8_lossy(&answer)));
    }
    let body = format!("{{{}}}", parts.join(",")).into_bytes();
    let last = wanted.last.unwrap_or(DEFAULT_LAST);
    tell(line.json, &Answer { status: 200, body }, |found: Found| {
        words::list(&found.transactions, &found.sessions, last)
    })
}

fn path(wanted: &Trace) -> String {
    if let Some(id) = &wanted.id {
        let kind = if id.contains('.') { "transactions" } else { "sessions" };
        return format!("/api/v1/{kind}/{}", encoded(id));
    }
    format!("/api/v1/transactions?{}", query(wanted))
}

fn query(wanted: &Trace) -> String {
    let parts = [
        ("q", wanted.any.clone()),
        ("from", wanted.from.clone()),
        ("to", wanted.to.clone()),
        ("subject", wanted.subject.clone()),
        ("ip", wanted.ip.map(|ip| ip.to_string())),
        ("verdict", wanted.verdict.clone()),
        ("outcome", wanted.outcome.clone()),
        ("since", wanted.since.clone()),
        ("until", wanted.until.clone()),
        ("last", wanted.last.map(|last| last.to_string())),
    ];
    let given = parts.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_ref()?))));
    given.collect::<Vec<_>>().join("&")
}

/// A stretch of everything that is kept, as the API answers it.
#[derive(Debug, Deserialize)]
struct Stretch {
    entries: Vec<Value>,
    next: Option<u64>,
}

/// Stretch by stretch, so that neither side ever holds all of it.
async fn export(line: &CommandLine) -> Exit {
    let mut after = 0;
    loop {
        let answer = match ask(line, &format!("/api/v1/trace?after={after}")).await {
            Ok(answer) if answer.status != 200 => return tell(line.json, &answer, |_: Stretch| Vec::new()),
            Ok(answer) => answer,
            Err(exit) => return exit,
        };
        let stretch: Stretch = match serde_json::from_slice(&answer.body) {
            Ok(stretch) => stretch,
            Err(error) => return other_version(&error),
        };
        stretch.entries.iter().for_each(|entry| output::line(&entry.to_string()));
        match stretch.next {
            Some(next) => after = next,
            None => return Exit::Done,
        }
    }
}
