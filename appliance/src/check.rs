//! `postern check`: says what is wrong with the config, or what it means.

use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::command::{Check, CommandLine, Exit};
use crate::config::{self, Config, ConfigError, Inactive, ServerAddress, size_in_words};
use crate::output;

/// How long one server may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// `postern check`: 0 if the config can be run, 2 if not, 3 if `--online` finds something missing.
pub async fn check(line: &CommandLine, options: Check) -> Exit {
    let file = line.config_file();
    let config = match config::load(&file) {
        Ok(config) => config,
        Err(error) => {
            refuse(line.json, &error);
            return Exit::Wrong;
        }
    };
    let findings = if options.online { online(&config).await } else { Vec::new() };
    if line.json {
        let file = file.display();
        let (valid, inactive) = (true, &config.inactive);
        output::json(&serde_json::json!({
            "file": file.to_string(), "valid": valid, "inactive": inactive, "online": findings,
        }));
    } else {
        output::line(&format!("{} is valid", file.display()));
        summary(&config).iter().chain(&inactive(&config.inactive)).for_each(|text| output::line(text));
        findings.iter().for_each(|finding| output::line(&finding.to_string()));
    }
    if findings.iter().all(|finding| finding.good) { Exit::Done } else { Exit::Unreachable }
}

fn refuse(json: bool, error: &ConfigError) {
    output::diagnosis(&error.to_string());
    if json {
        output::json(&serde_json::json!({ "valid": false, "problems": error.problems() }));
    }
}

/// What the config means, for whoever wrote it.
fn summary(config: &Config) -> Vec<String> {
    let mut lines = vec![format!("  name {}, postmaster {}", config.hostname, config.postmaster)];
    for listener in &config.listeners {
        lines.push(format!("  listens on {} for {}", listener.address, listener.protocol.name()));
    }
    for backend in &config.backends {
        let servers: Vec<_> = backend.servers.iter().map(ServerAddress::to_string).collect();
        let domains: Vec<_> = backend.domains.iter().map(|domain| domain.as_str()).collect();
        lines.push(format!(
            "  {} go to {} (TLS {})",
            domains.join(", "),
            servers.join(", "),
            backend.tls.name()
        ));
    }
    if config.tls.certificates.is_empty() {
        lines.push(format!("  a self-signed certificate for {} serves", config.hostname));
    }
    lines.push(format!("  messages up to {}", size_in_words(config.limits.message_size)));
    lines.push(format!("  status page on http://{}/", config.admin.listen));
    lines
}

fn inactive(inactive: &[Inactive]) -> Vec<String> {
    let one = |entry: &Inactive| format!("  not active in this version: {}: {}", entry.key, entry.meaning);
    inactive.iter().map(one).collect()
}

/// Something that only the network could tell.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was tried.
    pub what: String,
    /// Whether it is as it should be.
    pub good: bool,
    /// What was found, in words.
    pub words: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "  {} {}: {}", if self.good { "ok" } else { "NOT" }, self.what, self.words)
    }
}

/// Whether every server can be found and reached. What it says in its EHLO is the engine's to ask.
async fn online(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for backend in &config.backends {
        for server in &backend.servers {
            let reached = reach(server).await;
            let what = format!("server {server} of {}", backend.name);
            let good = reached.is_ok();
            findings.push(Finding { what, good, words: reached.unwrap_or_else(|reason| reason) });
        }
    }
    findings
}

async fn reach(server: &ServerAddress) -> Result<String, String> {
    let addresses =
        server.look_up().await.map_err(|error| format!("the name cannot be resolved: {error}"))?;
    let mut reason = "the name has no address".to_owned();
    for address in addresses {
        match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(format!("{address} accepts connections")),
            Ok(Err(error)) => reason = format!("{address}: {error}"),
            Err(_) => reason = format!("{address}: no answer within 10 s"),
        }
    }
    Err(reason)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    async fn exit_of(config: &str, online: bool) -> Exit {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config).unwrap();
        let words = ["postern", "--config", file.path().to_str().unwrap(), "check"];
        check(&CommandLine::try_parse_from(words).unwrap(), Check { online }).await
    }

    fn config_with(server: &str) -> String {
        format!(
            "hostname = \"mx.example\"\n[[backend]]\ndomains = [\"a.example\"]\nservers = [\"{server}\"]\n"
        )
    }

    #[tokio::test]
    async fn the_exit_status_tells_a_wrong_config_from_a_missing_server() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap().to_string();
        assert_eq!(exit_of(&config_with(&there), true).await, Exit::Done);
        assert_eq!(exit_of(&config_with("127.0.0.1:1"), true).await, Exit::Unreachable);
        assert_eq!(exit_of(&config_with("127.0.0.1:1"), false).await, Exit::Done);
        assert_eq!(exit_of("hostname = 5\n", false).await, Exit::Wrong);
    }

    #[test]
    fn what_is_not_active_is_said() {
        let text = format!("{}[queue]\nlifetime = \"5d\"\n", config_with("10.0.0.1"));
        let config = config::parse(&text, std::path::Path::new("p.toml")).unwrap();
        assert!(inactive(&config.inactive)[0].contains("queue: nothing is queued"));
        assert!(summary(&config).iter().any(|line| line.contains("a.example go to 10.0.0.1:25")));
    }
}
