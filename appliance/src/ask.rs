//! `postern status`, `trace`, `queue`, `quarantine`, `block`, `domains`, `reports`, `senders`, `config`, `certs`, `users`, `tokens`, `audit`, `dns`, `scan` and
//! `learn`: they ask the running Postern and tell its answer; the last three work without one, too.

mod access;
mod block;
mod certs;
mod configs;
mod dns;
mod domains;
mod learn;
mod quarantine;
mod queue;
mod received;
mod reports;
mod scan;
mod senders;
mod trace;
mod words;

pub use access::{audit, tokens, users};
pub use block::block;
pub use certs::certs;
pub(crate) use certs::{day, troubles, zone_line};
pub use configs::config;
pub use dns::dns;
pub(crate) use dns::verified_records;
pub use domains::domains;
pub use learn::learn;
pub use quarantine::quarantine;
pub use queue::queue;
pub use reports::reports;
pub use scan::scan;
pub use senders::senders;
pub use trace::trace;

use std::net::SocketAddr;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::client::{self, Answer, AskError, Running};
use crate::command::{CommandLine, DEFAULT_CONFIG, Exit};
use crate::config;
use crate::output;
use crate::report::Status;
use crate::roles::RoleError;

/// Where `demo` and an unconfigured Postern have their page.
const DEFAULT_ADMIN: &str = "127.0.0.1:8080";

/// `postern status`
pub async fn status(line: &CommandLine) -> Exit {
    match ask(line, "/api/v1/status").await {
        Ok(answer) => tell(line.json, &answer, |status: Status| words::status(&status)),
        Err(exit) => exit,
    }
}

async fn ask(line: &CommandLine, path: &str) -> Result<Answer, Exit> {
    client::get(&running(line)?, path).await.map_err(|error| unreachable(&error))
}

/// Sends an order.
async fn order(line: &CommandLine, path: &str, order: &serde_json::Value) -> Result<Answer, Exit> {
    client::post(&running(line)?, path, order).await.map_err(|error| unreachable(&error))
}

/// From the config; without one from the defaults, so that `status` finds a `demo`.
fn running(line: &CommandLine) -> Result<Running, Exit> {
    if line.config.is_none() && !Path::new(DEFAULT_CONFIG).exists() {
        let default = SocketAddr::from(([127, 0, 0, 1], 8080));
        return Ok(Running::at(DEFAULT_ADMIN.parse().unwrap_or(default)));
    }
    let config = config::load(&line.config_file()).map_err(|error| {
        output::diagnosis(&error.to_string());
        Exit::Wrong
    })?;
    Ok(Running::of(&config))
}

fn unreachable(error: &AskError) -> Exit {
    output::diagnosis(&error.to_string());
    Exit::Unreachable
}

/// Prints what was answered; an answer that says no is told as it came.
fn tell<T: DeserializeOwned>(json: bool, answer: &Answer, words: impl FnOnce(T) -> Vec<String>) -> Exit {
    if answer.status != 200 {
        let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        output::diagnosis(said["error"].as_str().unwrap_or("Postern did not understand the question"));
        return match answer.status {
            404 => Exit::No,
            // Whoever may not ask is as far from it as whoever does not reach it.
            401 | 403 => Exit::Unreachable,
            _ => Exit::Wrong,
        };
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

/// A message that no worker could read.
fn not_read(error: RoleError) -> Exit {
    output::diagnosis(&error.to_string());
    error.exit()
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
    use crate::command::Trace;
    use crate::recorder::samples;

    /// A command line whose config points at `address`.
    pub(crate) fn line(address: SocketAddr, words: &[&str]) -> (tempfile::NamedTempFile, CommandLine) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = format!(
            "hostname = \"mx1.example.net\"\nstate_dir = \"/nowhere/postern\"\n[[backend]]\ndomains = [\"example.net\"]\nservers = [\"10.0.0.10\"]\n\
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
