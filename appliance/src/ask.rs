//! `postern status`, `trace`, `queue`, `quarantine`, `block`, `reports`, `senders`, `certs`, `dns`, `scan` and `learn`: they ask the
//! running Postern and tell its answer; the last three work without one, too.

mod block;
mod certs;
mod dns;
mod learn;
mod quarantine;
mod queue;
mod reports;
mod scan;
mod senders;
mod words;

pub use block::block;
pub use certs::certs;
pub(crate) use certs::{day, troubles, zone_line};
pub use dns::dns;
pub(crate) use dns::verified_records;
pub use learn::learn;
pub use quarantine::quarantine;
pub use queue::queue;
pub use reports::reports;
pub use scan::scan;
pub use senders::senders;

use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::client::{self, Answer, AskError, encoded};
use crate::command::{CommandLine, DEFAULT_CONFIG, Exit, Trace};
use crate::config::{self, ConfigError};
use crate::output;
use crate::report::{SessionStory, Status, TransactionStory};

/// Entries of a list where nothing else is asked for.
const DEFAULT_LAST: usize = 20;
/// Where `demo` and an unconfigured Postern have their page.
const DEFAULT_ADMIN: &str = "127.0.0.1:8080";

/// `postern status`
pub async fn status(line: &CommandLine) -> Exit {
    match ask(line, "/api/v1/status").await {
        Ok(answer) => tell(line.json, &answer, |status: Status| words::status(&status)),
        Err(exit) => exit,
    }
}

/// A session as the API answers it.
#[derive(Debug, Deserialize)]
struct WholeSession {
    session: Option<SessionStory>,
    transactions: Vec<TransactionStory>,
}

/// `postern trace`
pub async fn trace(line: &CommandLine, wanted: &Trace) -> Exit {
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
    let by_mail = wanted.from.is_some() || wanted.to.is_some();
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
        ("from", wanted.from.clone()),
        ("to", wanted.to.clone()),
        ("ip", wanted.ip.map(|ip| ip.to_string())),
        ("since", wanted.since.clone()),
        ("last", wanted.last.map(|last| last.to_string())),
    ];
    let given = parts.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_ref()?))));
    given.collect::<Vec<_>>().join("&")
}

async fn ask(line: &CommandLine, path: &str) -> Result<Answer, Exit> {
    client::get(address(line)?, path).await.map_err(|error| unreachable(&error))
}

/// Sends an order.
async fn order(line: &CommandLine, path: &str, order: &serde_json::Value) -> Result<Answer, Exit> {
    client::post(address(line)?, path, order).await.map_err(|error| unreachable(&error))
}

fn address(line: &CommandLine) -> Result<SocketAddr, Exit> {
    admin_address(line).map_err(|error| {
        output::diagnosis(&error.to_string());
        Exit::Wrong
    })
}

fn unreachable(error: &AskError) -> Exit {
    output::diagnosis(&error.to_string());
    Exit::Unreachable
}

/// From the config; without one from the defaults, so that `status` finds a `demo`.
fn admin_address(line: &CommandLine) -> Result<SocketAddr, ConfigError> {
    if line.config.is_none() && !Path::new(DEFAULT_CONFIG).exists() {
        return Ok(DEFAULT_ADMIN.parse().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 8080))));
    }
    config::load(&line.config_file()).map(|config| config.admin.listen)
}

/// Prints what was answered; an answer that says no is told as it came.
fn tell<T: DeserializeOwned>(json: bool, answer: &Answer, words: impl FnOnce(T) -> Vec<String>) -> Exit {
    if answer.status != 200 {
        let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        output::diagnosis(said["error"].as_str().unwrap_or("Postern did not understand the question"));
        return if answer.status == 404 { Exit::No } else { Exit::Wrong };
    }
    match serde_json::from_slice::<serde_json::Value>(&answer.body) {
        Ok(value) if json => output::json(&value),
        Ok(value) => match serde_json::from_value(value) {
            Ok(value) => words(value).iter().for_each(|line| output::line(line)),
            Err(error) => return other_version(&error),
        },
        Err(error) => return other_version(&error),
    }
    Exit::Done
}

fn other_version(error: &serde_json::Error) -> Exit {
    output::diagnosis(&format!("the running Postern is of another version than this command: {error}"));
    Exit::Unreachable
}

/// Since 1970.
#[allow(clippy::disallowed_methods, reason = "a command's own clock: nothing here is simulated")]
fn now() -> std::time::Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::admin::tests::{FakeEngine, start};
    use crate::recorder::samples;

    /// A command line whose config points at `address`.
    pub(crate) fn line(address: SocketAddr, words: &[&str]) -> (tempfile::NamedTempFile, CommandLine) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = format!(
            "hostname = \"mx1.example.net\"\n[[backend]]\ndomains = [\"example.net\"]\nservers = [\"10.0.0.10\"]\n\
             [admin]\nlisten = \"{address}\"\n"
        );
        std::fs::write(file.path(), config).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let all = ["postern", "--config", &path].into_iter().chain(words.iter().copied());
        let line = CommandLine::try_parse_from(all).unwrap();
        (file, line)
    }

    #[tokio::test]
    async fn every_question_has_its_exit_status() {
        let (address, stop) = start(FakeEngine { all_down: false, self_signed: true }, true).await;
        let (_file, status_line) = line(address, &["status"]);
        assert_eq!(status(&status_line).await, Exit::Done);
        let id = samples::transaction(2).id;
        for (id, exit) in [
            (id.to_string(), Exit::Done),
            (id.session.to_string(), Exit::Done),
            ("0000000000000.1".to_owned(), Exit::No),
            ("0000000000000".to_owned(), Exit::No),
            ("nonsense".to_owned(), Exit::Wrong),
        ] {
            let wanted = Trace { id: Some(id.clone()), ..Trace::default() };
            assert_eq!(trace(&status_line, &wanted).await, exit, "{id}");
        }
        let wanted =
            Trace { from: Some("alice@".to_owned()), since: Some("1h".to_owned()), ..Trace::default() };
        assert_eq!(trace(&status_line, &wanted).await, Exit::Done);
        drop(stop);
        let (_file, nobody) = line("127.0.0.1:1".parse().unwrap(), &["status"]);
        assert_eq!(status(&nobody).await, Exit::Unreachable);
    }
}
