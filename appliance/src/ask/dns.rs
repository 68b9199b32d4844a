//! `postern dns`. The running Postern is asked; where none runs, config and keys are read here.

use std::sync::Arc;

use record::SystemClock;

use super::{order, other_version, running, unreachable};
use crate::client::{self, AskError, Running, encoded};
use crate::command::{CommandLine, DnsRecords, Exit};
use crate::config::{self, Config};
use crate::dkim::Keys;
use crate::engine;
use crate::output;
use crate::report::{RecordState, Zone, ZoneReport};
use crate::zone::{self, Facts, compare};

/// `postern dns`
pub async fn dns(line: &CommandLine, options: &DnsRecords) -> Exit {
    let found = match options.replace_dkim {
        true => replaced(line, options).await,
        false => records(line, options).await,
    };
    match found {
        Ok(report) => tell(line.json, options.verify, &report),
        Err(exit) => exit,
    }
}

/// The records of the domains with their new keys, which only a running Postern makes.
async fn replaced(line: &CommandLine, options: &DnsRecords) -> Result<ZoneReport, Exit> {
    let mut all = ZoneReport { zones: Vec::new() };
    for domain in &options.domains {
        let answer =
            order(line, "/api/v1/dns/replace-dkim", &serde_json::json!({ "domain": domain })).await?;
        if answer.status != 200 {
            let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            output::diagnosis(said["error"].as_str().unwrap_or("Postern does not do that"));
            return Err(match answer.status {
                404 => Exit::Wrong,
                409 => Exit::No,
                _ => Exit::Unreachable,
            });
        }
        let report: ZoneReport =
            serde_json::from_slice(&answer.body).map_err(|error| other_version(&error))?;
        all.zones.extend(report.zones);
    }
    Ok(all)
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
    let config = config::load(&line.config_file()).map_err(|error| {
        output::diagnosis(&error.to_string());
        Exit::Wrong
    })?;
    read(&config, options).await.map_err(|(exit, words)| {
        output::diagnosis(&words);
        exit
    })
}

/// All records of a config, compared with what is published: the running Postern's, else as far as they can be known without one.
pub(crate) async fn verified_records(config: &Config) -> Result<ZoneReport, String> {
    if let Ok(answer) = client::get_patiently(&Running::of(config), "/api/v1/dns?verify=true").await
        && let Some(report) = Some(answer).filter(|answer| answer.status == 200)
        && let Ok(report) = serde_json::from_slice(&report.body)
    {
        return Ok(report);
    }
    let all = DnsRecords { verify: true, ..DnsRecords::default() };
    read(config, &all).await.map_err(|(_, words)| words)
}

async fn read(config: &Config, options: &DnsRecords) -> Result<ZoneReport, (Exit, String)> {
    let wrong = |words: String| (Exit::Wrong, words);
    let facts = Facts::new(config);
    let domains: Vec<_> = options.domains.iter().map(|domain| domain.to_lowercase()).collect();
    if let Some(unknown) = domains.iter().find(|domain| !facts.knows(domain)) {
        return Err(wrong(zone::unknown(&facts, unknown)));
    }
    let clock = Arc::new(SystemClock);
    let keys = Keys::new(&config.state_dir, &config.outbound.dkim.selector_prefix, clock).only_read();
    let made = facts.records(&domains, &keys, &[]);
    let mut report = made.map_err(|error| (Exit::Unreachable, error.to_string()))?;
    if options.verify {
        let resolver = engine::resolver(config).map_err(|error| wrong(error.to_string()))?;
        let fetch = engine::policy_hosts(config, Arc::new(SystemClock));
        let fetch = fetch.as_ref().map(|fetch| fetch as &dyn route::StsFetch);
        compare::compare(&facts, (&resolver, fetch), &mut report)
            .await
            .map_err(|error| (Exit::Unreachable, format!("the name servers cannot be asked: {error}")))?;
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
