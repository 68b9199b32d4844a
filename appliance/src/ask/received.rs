//! `postern reports received`.

use std::time::Duration;

use super::{ask, tell};
use crate::client::encoded;
use crate::command::{CommandLine, Exit};
use crate::report::{DomainReports, ReceivedReports};

/// What others report about these domains, or about all.
pub(super) async fn received(line: &CommandLine, domains: &[String]) -> Result<Exit, Exit> {
    let wanted: Vec<_> = domains.iter().map(|domain| format!("domain={}", encoded(domain))).collect();
    let answer = ask(line, &format!("/api/v1/domain-reports?{}", wanted.join("&"))).await?;
    Ok(tell(line.json, &answer, |received: ReceivedReports| lines(&received)))
}

fn lines(received: &ReceivedReports) -> Vec<String> {
    let mut lines: Vec<_> = received.domains.iter().flat_map(of_domain).collect();
    if received.domains.is_empty() {
        lines.push("nobody has reported anything yet".to_owned());
    }
    if !received.set_aside.is_empty() {
        lines.push("does not count:".to_owned());
    }
    for one in &received.set_aside {
        lines.push(format!("  {} <{}> {}: {}", date(one.at), one.from, one.transaction, one.why));
    }
    lines
}

fn of_domain(reports: &DomainReports) -> Vec<String> {
    let mut lines = vec![reports.domain.clone()];
    for sender in &reports.tls {
        let (begin, end) = (date(sender.begin), date(sender.end));
        lines.push(format!(
            "  TLS from {} ({} reports, {begin} to {end}): {}",
            sender.sender, sender.reports, sender.words
        ));
        for trouble in &sender.failures {
            let at = if trouble.mx.is_empty() { String::new() } else { format!(" at {}", trouble.mx) };
            lines.push(format!("    {} x {}{at}: {}", trouble.sessions, trouble.result, trouble.words));
        }
    }
    if !reports.reporters.is_empty() {
        let names: Vec<_> = reports.reporters.iter().map(|one| one.sender.as_str()).collect();
        let (messages, passed) = (reports.messages, reports.passed);
        lines.push(format!(
            "  mail in its name: {messages}, {passed} of them pass DMARC; by {}",
            names.join(", ")
        ));
    }
    for source in &reports.sources {
        lines.push(format!(
            "    {} {} messages, {} pass: {}",
            source.source, source.messages, source.passed, source.words
        ));
    }
    lines
}

fn date(second: u64) -> String {
    record::rfc3339_date(Duration::from_secs(second)).chars().take(10).collect()
}
