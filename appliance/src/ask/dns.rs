//! `postern dns`. The running Postern is asked; where none runs, config and keys are read here.

use std::sync::Arc;

use record::SystemClock;

use super::{other_version, running, unreachable};
use crate::client::{self, AskError, encoded};
use crate::command::{CommandLine, DnsRecords, Exit};
use crate::config;
use crate::dkim::Keys;
use crate::output;
use crate::report::{RecordState, Zone, ZoneReport};
use crate::zone::{self, Facts, compare};

/// `postern dns`
pub async fn dns(line: &CommandLine, options: &DnsRecords) -> Exit {
    match records(line, options).await {
        Ok(report) => tell(line.json, options.verify, &report),
        Err(exit) => exit,
    }
}

async fn records(line: &CommandLine, options: &DnsRecords) -> Result<ZoneReport, Exit> {
    let mut parts: Vec<_> =
        options.domains.iter().map(|domain| format!("domain={}", encoded(domain))).collect();
    parts.push(format!("verify={}", options.verify));
    let path = format!("/api/v1/dns?{}", parts.join("&"));
    match client::get_patiently(&running(line)?, &path).await {
        Ok(answer) if answer.status == 200 => {
            serde_json::from_slice(&answer.body).map_err(|error| other_version(&error))
        }
        Ok(answer) => {
            let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            output::diagnosis(said["error"].as_str().unwrap_or("Postern does not answer that"));
            Err(if answer.status == 404 { Exit::Wrong } else { Exit::Unreachable })
        }
        Err(AskError::Unreachable { .. }) => alone(line, options).await,
        Err(error) => Err(unreachable(&error)),
    }
}

/// Without a running Postern.
async fn alone(line: &CommandLine, options: &DnsRecords) -> Result<ZoneReport, Exit> {
    let wrong = |words: String| {
        output::diagnosis(&words);
        Exit::Wrong
    };
    let config = config::load(&line.config_file()).map_err(|error| wrong(error.to_string()))?;
    let facts = Facts::new(&config);
    let domains: Vec<_> = options.domains.iter().map(|domain| domain.to_lowercase()).collect();
    if let Some(unknown) = domains.iter().find(|domain| !facts.knows(domain)) {
        return Err(wrong(zone::unknown(&facts, unknown)));
    }
    let clock = Arc::new(SystemClock);
    let keys = Keys::new(&config.state_dir, &config.outbound.dkim.selector_prefix, clock).only_read();
    let mut report = facts.records(&domains, &keys, &[]).map_err(|error| {
        output::diagnosis(&error.to_string());
        Exit::Unreachable
    })?;
    if options.verify {
        let trust = config.resolver.dnssec_trust_anchor.clone().map_or(dns::Trust::Root, dns::Trust::File);
        let servers = config.resolver.servers.clone();
        let settings = dns::Settings { servers, trust, ..dns::Settings::default() };
        let resolver = dns::Resolver::new(&settings).map_err(|error| wrong(error.to_string()))?;
        compare::compare(&facts, &resolver, &mut report).await.map_err(|error| {
            output::diagnosis(&format!("the name servers cannot be asked: {error}"));
            Exit::Unreachable
        })?;
    }
    Ok(report)
}

fn tell(json: bool, verified: bool, report: &ZoneReport) -> Exit {
    if json {
        output::json(report);
    } else {
        report.zones.iter().flat_map(words).for_each(|line| output::line(&line));
    }
    match compare::all_right(report) {
        _ if !verified => Exit::Done,
        Some(true) => Exit::Done,
        Some(false) => Exit::No,
        None => Exit::Unreachable,
    }
}

/// A zone file, with what was found as comments.
fn words(zone: &Zone) -> Vec<String> {
    let mut lines = vec![format!("; {}", zone.domain)];
    for record in &zone.records {
        if let Some(found) = &record.found {
            let state = match found.state {
                RecordState::Right => "ok",
                RecordState::Missing => "MISSING",
                RecordState::Wrong => "WRONG",
                RecordState::Unknown => "not known",
            };
            lines.push(format!("; {state}: {}", found.words));
        }
        lines.push(zone::line(record));
    }
    lines.extend(zone.notes.iter().map(|note| format!("; {note}")));
    lines.push(String::new());
    lines
}
