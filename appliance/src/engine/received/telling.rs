//! Reports added up, and told in plain words.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sift::report::{Disposition, DmarcReport, Report, Row, TlsFailure, TlsReport};

use super::keeping::Kept;
use crate::report::{DomainReports, MailReporter, MailSource, TlsSender, TlsTrouble};

/// Kinds of failures, and sources, that are told of one sender or domain; the most frequent ones.
const MAX_TROUBLES: usize = 20;
const MAX_SOURCES: usize = 200;
/// Domains by which a source is told to be known otherwise.
const MAX_KNOWN: usize = 4;
/// The result of SPF or DKIM.
const PASS: &str = "pass";

/// By result and server.
type Troubles = BTreeMap<(String, String), TlsTrouble>;

/// One domain's, while it is added up.
#[derive(Default)]
struct Sum {
    tls: BTreeMap<String, (TlsSender, Troubles)>,
    sources: BTreeMap<IpAddr, (MailSource, bool)>,
    reporters: BTreeMap<String, MailReporter>,
    messages: u64,
    passed: u64,
}

pub(super) fn told(kept: Vec<Kept>) -> Vec<DomainReports> {
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    for Kept { domain, sender, report } in kept {
        let sum = sums.entry(domain.clone()).or_default();
        match report {
            Report::Tls(report) => sum.add_tls(sender, report),
            Report::Dmarc(report) => sum.add_mail(sender, &domain, report),
            Report::Unreadable(_) => {}
        }
    }
    sums.into_iter().map(|(domain, sum)| sum.told(domain)).collect()
}

impl Sum {
    fn add_tls(&mut self, name: String, report: TlsReport) {
        let (sender, troubles) = self.tls.entry(name.clone()).or_default();
        let first = sender.reports == 0;
        sender.sender = name;
        sender.organization = report.reporter.organization;
        sender.reports += 1;
        sender.begin = if first { report.reporter.begin } else { sender.begin.min(report.reporter.begin) };
        sender.end = sender.end.max(report.reporter.end);
        for policy in report.policies {
            sender.succeeded = sender.succeeded.saturating_add(policy.succeeded);
            sender.failed = sender.failed.saturating_add(policy.failed);
            for TlsFailure { result, mx, sessions, reason, .. } in policy.failures {
                let trouble = troubles.entry((result.clone(), mx.clone())).or_default();
                let words = meaning(&result).to_owned();
                let sessions = trouble.sessions.saturating_add(sessions);
                *trouble = TlsTrouble { result, mx, sessions, words, reason };
            }
        }
    }

    fn add_mail(&mut self, sender: String, domain: &str, report: DmarcReport) {
        let reporter = self.reporters.entry(sender.clone()).or_default();
        let end = reporter.end.max(report.reporter.end);
        let reports = reporter.reports + 1;
        let organization = report.reporter.organization;
        *reporter = MailReporter { sender, organization, reports, end, policy: report.policy };
        self.messages = self.messages.saturating_add(report.left_out_messages);
        for row in report.rows {
            self.messages = self.messages.saturating_add(row.messages);
            if row.dkim || row.spf {
                self.passed = self.passed.saturating_add(row.messages);
            }
            let (source, is_forwarded) =
                self.sources.entry(row.source).or_insert_with(|| (new(row.source), false));
            *is_forwarded |= matches!(&*row.overridden, "forwarded" | "mailing_list" | "trusted_forwarder");
            add(source, &row, domain);
        }
    }

    fn told(self, domain: String) -> DomainReports {
        let sender = |(mut sender, troubles): (TlsSender, Troubles)| {
            sender.failures = troubles.into_values().collect();
            sender.failures.sort_by_key(|trouble| std::cmp::Reverse(trouble.sessions));
            sender.failures.truncate(MAX_TROUBLES);
            sender.words = how_tls_went(&sender);
            sender
        };
        let mut tls: Vec<_> = self.tls.into_values().map(sender).collect();
        tls.sort_by_key(|sender| std::cmp::Reverse(sender.failed));
        let source = |(source, is_forwarded): (MailSource, bool)| {
            let words = who_sends(&source, &domain, is_forwarded);
            MailSource { words, ..source }
        };
        let mut sources: Vec<_> = self.sources.into_values().map(source).collect();
        sources.sort_by_key(|source| std::cmp::Reverse((source.messages - source.passed, source.messages)));
        sources.truncate(MAX_SOURCES);
        let reporters = self.reporters.into_values().collect();
        DomainReports { domain, tls, sources, reporters, messages: self.messages, passed: self.passed }
    }
}

fn new(source: IpAddr) -> MailSource {
    MailSource {
        source,
        messages: 0,
        passed: 0,
        dkim: 0,
        spf: 0,
        quarantined: 0,
        rejected: 0,
        known_as: Vec::new(),
        words: String::new(),
    }
}

fn add(source: &mut MailSource, row: &Row, domain: &str) {
    let messages = row.messages;
    let count = |number: &mut u64, counts: bool| {
        if counts {
            *number = number.saturating_add(messages);
        }
    };
    count(&mut source.messages, true);
    count(&mut source.passed, row.dkim || row.spf);
    count(&mut source.dkim, row.dkim);
    count(&mut source.spf, row.spf);
    count(&mut source.quarantined, row.disposition == Disposition::Quarantine);
    count(&mut source.rejected, row.disposition == Disposition::Reject);
    let checked = row.signatures.iter().chain([&row.sender]).filter(|one| one.result == PASS);
    for name in checked.map(|one| &one.domain) {
        let is_new = name != domain && !name.is_empty() && !source.known_as.contains(name);
        if is_new && source.known_as.len() < MAX_KNOWN {
            source.known_as.push(name.clone());
        }
    }
}

fn how_tls_went(sender: &TlsSender) -> String {
    match (sender.succeeded, sender.failed) {
        (0, 0) => "It met none of the servers.".into(),
        (succeeded, 0) => format!("All {succeeded} sessions went well."),
        (0, failed) => format!(
            "None of {failed} sessions went well: where a policy is enforced, mail does not come from there."
        ),
        (succeeded, failed) => format!("{failed} of {} sessions failed.", succeeded.saturating_add(failed)),
    }
}

fn who_sends(source: &MailSource, domain: &str, is_forwarded: bool) -> String {
    let unproven = source.messages - source.passed;
    let known = source.known_as.join(", ");
    let held = source.quarantined.saturating_add(source.rejected);
    let done = match held {
        0 => String::new(),
        held => format!(" {held} were put aside or refused."),
    };
    match (unproven, known.is_empty()) {
        (0, _) if source.dkim == source.messages => "All of it is signed for the domain.".into(),
        (0, _) => format!(
            "All of it passes; {} of {} is signed for the domain, the rest by SPF alone, which a forwarder breaks.",
            source.dkim, source.messages
        ),
        (unproven, _) if unproven < source.messages => {
            format!("{unproven} of {} messages are not proven to be from {domain}.{done}", source.messages)
        }
        (_, _) if is_forwarded => format!("A forwarder or a mailing list, by the word of who reports.{done}"),
        (_, false) => format!(
            "It sends as {known}, and in the name of {domain} without its proof: a service of yours that should sign for \
             {domain}, a forwarder, or nobody you know.{done}"
        ),
        (_, true) => format!(
            "Nothing proves it: it sends in the name of {domain} what you know nothing of, or is a server of yours that is \
             neither in the SPF record nor signs.{done}"
        ),
    }
}

/// What a result of RFC 8460 §4.3 means for whoever runs the server.
fn meaning(result: &str) -> &'static str {
    match result {
        "starttls-not-supported" => {
            "The server did not offer STARTTLS: somebody on the way takes it out, or the name leads past Postern."
        }
        "certificate-host-mismatch" => "The certificate does not have the name of the MX record.",
        "certificate-expired" => "The certificate was out of date.",
        "certificate-not-trusted" => "The certificate is of no authority that the sender trusts.",
        "validation-failure" => "TLS failed in some other way.",
        "tlsa-invalid" => "The TLSA records do not fit the certificate, or cannot be used.",
        "dnssec-invalid" => "The DNS answers were not proved by DNSSEC.",
        "dane-required" => "The sender demands DANE, and there are no TLSA records.",
        "sts-policy-fetch-error" => "The MTA-STS policy could not be fetched.",
        "sts-policy-invalid" => "The MTA-STS policy cannot be read.",
        "sts-webpki-invalid" => {
            "The policy host's certificate, or the server's, is not one that the sender trusts."
        }
        _ => "A word that RFC 8460 does not have.",
    }
}

#[cfg(test)]
mod tests {
    use sift::report::{Checked, Reporter, TlsPolicy};

    use super::*;

    fn row(last: u8, messages: u64, passes: bool) -> Row {
        Row {
            source: [192, 0, 2, last].into(),
            messages,
            disposition: if passes { Disposition::None } else { Disposition::Reject },
            dkim: passes,
            spf: false,
            header_from: "corp.test".into(),
            overridden: String::new(),
            signatures: Vec::new(),
            sender: Checked::default(),
        }
    }

    fn mail(rows: Vec<Row>) -> Kept {
        let report =
            DmarcReport { domain: "corp.test".into(), rows, left_out_messages: 7, ..DmarcReport::default() };
        Kept { domain: "corp.test".into(), sender: "x.test".into(), report: Report::Dmarc(report) }
    }

    #[test]
    fn who_sends_in_a_domains_name_is_added_up_by_source_and_told() {
        let mut service = row(2, 5, false);
        service.sender = Checked { domain: "service.test".into(), result: PASS.into() };
        let all =
            told(vec![mail(vec![row(1, 10, true), service]), mail(vec![row(1, 2, true), row(3, 4, false)])]);
        let [corp] = &all[..] else { panic!("{all:?}") };
        assert_eq!((corp.messages, corp.passed), (35, 12));
        let sources: Vec<_> =
            corp.sources.iter().map(|one| (one.source.to_string(), one.messages, one.rejected)).collect();
        assert_eq!(
            sources,
            [("192.0.2.2".into(), 5, 5), ("192.0.2.3".into(), 4, 4), ("192.0.2.1".into(), 12, 0)],
            "what nothing proves comes first"
        );
        assert!(
            corp.sources[0].words.contains("It sends as service.test")
                && corp.sources[0].words.contains("5 were")
        );
        assert!(corp.sources[1].words.starts_with("Nothing proves it"));
        assert_eq!(corp.sources[2].words, "All of it is signed for the domain.");
        assert_eq!((corp.reporters[0].reports, &*corp.reporters[0].sender), (2, "x.test"));
    }

    #[test]
    fn how_tls_went_is_added_up_by_sender() {
        let report = |end, sessions| {
            let failure = TlsFailure {
                result: "certificate-expired".into(),
                mx: "mx".into(),
                sessions,
                ..TlsFailure::default()
            };
            let policy = TlsPolicy {
                succeeded: 10,
                failed: sessions,
                failures: vec![failure],
                ..TlsPolicy::default()
            };
            let reporter = Reporter { begin: end - 10, end, ..Reporter::default() };
            let report = Report::Tls(TlsReport { reporter, policies: vec![policy], left_out: 0 });
            Kept { domain: "corp.test".into(), sender: "x.test".into(), report }
        };
        let all = told(vec![report(200, 3), report(100, 1)]);
        let sender = &all[0].tls[0];
        assert_eq!((sender.reports, sender.begin, sender.end), (2, 90, 200));
        assert_eq!(sender.words, "4 of 24 sessions failed.");
        assert_eq!((sender.failures.len(), sender.failures[0].sessions), (1, 4));
        assert_eq!(sender.failures[0].words, "The certificate was out of date.");
    }
}
