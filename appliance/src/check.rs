//! `postern check`: says what is wrong with the config, or what it means.

mod online;
mod world;

pub use online::Finding;

use crate::command::{Check, CommandLine, Exit};
use crate::config::{self, Config, ConfigError, Inactive, Recipients, ServerAddress, size_in_words};
use crate::{output, web};

/// `postern check`: 0 if the config can be run, 2 if not; with `--online` 1 if something that was reached is not as the
/// config needs it, 3 if something could not be reached.
pub async fn check(line: &CommandLine, options: Check) -> Exit {
    let file = line.config_file();
    let config = match config::load(&file) {
        Ok(config) => config,
        Err(error) => {
            refuse(line.json, &error);
            return Exit::Wrong;
        }
    };
    let findings = if options.online { online::look(&config).await } else { Vec::new() };
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
    exit(&findings)
}

fn exit(findings: &[Finding]) -> Exit {
    let bad = |finding: &&Finding| !finding.good;
    match findings.iter().filter(bad).map(|finding| finding.reached).min() {
        None => Exit::Done,
        Some(true) => Exit::No,
        Some(false) => Exit::Unreachable,
    }
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
        lines.extend(match &backend.recipients {
            Recipients::Ask => None,
            Recipients::File(path) => Some(format!("    whose recipients are in {}", path.display())),
            Recipients::Ldap(directory) => Some(format!(
                "    whose recipients are in {} under {}, found by {}",
                directory.url, directory.base, directory.filter
            )),
        });
    }
    lines.extend(certificates(config));
    lines.push(format!("  messages up to {}", size_in_words(config.limits.message_size)));
    lines.push(match config.admin.listen.ip().is_loopback() {
        true => format!("  status page on http://{}/", config.admin.listen),
        false => format!("  status page on https://{}:{}/", config.hostname, config.admin.listen.port()),
    });
    lines
}

fn certificates(config: &Config) -> Option<String> {
    let hostname = &config.hostname;
    if web::sockets::orders(config) {
        let (directory, challenge) = (&config.acme.directory, config.acme.challenge.name());
        return Some(format!(
            "  certificates are ordered from {directory} by {challenge}: for {hostname}, and for MX and policy hosts that lead here"
        ));
    }
    config.tls.certificates.is_empty().then(|| format!("  a self-signed certificate for {hostname} serves"))
}

fn inactive(inactive: &[Inactive]) -> Vec<String> {
    let one = |entry: &Inactive| format!("  not active in this version: {}: {}", entry.key, entry.meaning);
    inactive.iter().map(one).collect()
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
            "hostname = \"mx.example\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [[backend]]\ndomains = [\"a.example\"]\nservers = [\"{server}\"]\n"
        )
    }

    #[tokio::test]
    async fn the_exit_status_tells_a_wrong_config_from_a_missing_server_and_from_one_that_will_not_do() {
        let there = online::tests::server(&["PIPELINING"]).await.to_string();
        assert_eq!(exit_of(&config_with(&there), true).await, Exit::Done);
        assert_eq!(exit_of(&format!("{}tls = \"encrypt\"\n", config_with(&there)), true).await, Exit::No);
        assert_eq!(exit_of(&config_with("127.0.0.1:1"), true).await, Exit::Unreachable);
        assert_eq!(exit_of(&config_with("127.0.0.1:1"), false).await, Exit::Done);
        assert_eq!(exit_of("hostname = 5\n", false).await, Exit::Wrong);
    }

    #[test]
    fn what_is_not_active_is_said() {
        let text = format!("{}arm = \"never\"\n", config_with("10.0.0.1"));
        let config = config::parse(&text, std::path::Path::new("p.toml")).unwrap();
        assert!(inactive(&config.inactive)[0].contains("front mode needs no arming"));
        assert!(summary(&config).iter().any(|line| line.contains("a.example go to 10.0.0.1:25")));
    }
}
