//! Reports on TLS with the servers of a domain (RFC 8460), as they are sent: from what was tallied to JSON, and to a mail.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use mail_builder::MessageBuilder;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::{BodyPart, MimePart};
use record::{PublishedPolicy, TlsSession};
use serde::{Deserialize, Serialize};

/// A day, in seconds: what a report covers (RFC 8460 §4.1).
pub(crate) const DAY: u64 = 24 * 3600;
/// Kinds of failures that one report has; the most frequent ones. A domain's servers can fail in as many ways as they have addresses.
const MAX_DETAILS: usize = 1000;
/// Characters of the words that say why a session failed.
const MAX_REASON: usize = 200;

/// What the published policy was (§4.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Policy {
    policy_type: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    policy_string: Vec<String>,
    policy_domain: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mx_host: Vec<String>,
}

/// How sessions failed that failed in the same way (§4.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Failure {
    result_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sending_mta_ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receiving_mx_hostname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receiving_ip: Option<IpAddr>,
    #[serde(default)]
    failed_session_count: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure_reason_code: Option<String>,
}

impl Failure {
    /// From what it was counted as.
    pub(crate) fn read(counted: &[u8]) -> Option<Self> {
        serde_json::from_slice(counted).ok()
    }

    /// Without what an attacker can make long.
    pub(crate) fn shortened(&self) -> Self {
        Self { receiving_mx_hostname: None, failure_reason_code: None, ..self.clone() }
    }
}

/// One session's part in a report: its policy, and how it failed if it did.
pub(crate) fn of_session(session: &TlsSession) -> (Policy, Option<Failure>) {
    let strings = |list: &[Box<str>]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (policy_string, mx_host) = match &session.policy {
        PublishedPolicy::Tlsa(records) => (strings(records), Vec::new()),
        PublishedPolicy::Sts { lines, mx } => (strings(lines), strings(mx)),
        PublishedPolicy::None => (Vec::new(), Vec::new()),
    };
    let policy = Policy {
        policy_type: session.policy.name().to_owned(),
        policy_string,
        policy_domain: session.policy_domain.to_lowercase(),
        mx_host,
    };
    let failure = session.failure.as_ref().map(|(kind, why)| Failure {
        result_type: kind.name().to_owned(),
        sending_mta_ip: session.sending_ip,
        receiving_mx_hostname: session.mx_host.as_deref().map(str::to_owned),
        receiving_ip: session.receiving_ip,
        failed_session_count: 0,
        failure_reason_code: Some(why[..why.floor_char_boundary(MAX_REASON)].to_owned()),
    });
    (policy, failure)
}

/// All sessions under one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tallied {
    pub(crate) policy: Policy,
    pub(crate) succeeded: u64,
    pub(crate) failed: Vec<(Failure, u64)>,
}

/// A report on one day.
#[derive(Clone, Debug)]
pub(crate) struct Report<'a> {
    /// Who reports.
    pub(crate) hostname: &'a str,
    /// The person to ask.
    pub(crate) contact: &'a str,
    /// On whom.
    pub(crate) domain: &'a str,
    /// Days since 1970, in UTC.
    pub(crate) day: u64,
    /// At least one.
    pub(crate) policies: &'a [Tallied],
}

impl Report<'_> {
    fn id(&self) -> String {
        format!("{}-{}@{}", self.day, self.domain, self.hostname)
    }

    /// The report itself (§4.4).
    pub(crate) fn json(&self) -> String {
        let second = |second| record::rfc3339_date(Duration::from_secs(second)).replace(".000Z", "Z");
        let policy = |tallied: &Tallied| {
            let mut failed = tallied.failed.clone();
            failed.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            let all: u64 = failed.iter().map(|(_, count)| count).sum();
            let details: Vec<_> = failed
                .into_iter()
                .take(MAX_DETAILS)
                .map(|(failure, failed_session_count)| Failure { failed_session_count, ..failure })
                .collect();
            serde_json::json!({
                "policy": tallied.policy,
                "summary": {
                    "total-successful-session-count": tallied.succeeded,
                    "total-failure-session-count": all,
                },
                "failure-details": details,
            })
        };
        serde_json::json!({
            "organization-name": self.hostname,
            "date-range": {
                "start-datetime": second(self.day * DAY),
                "end-datetime": second((self.day + 1) * DAY - 1),
            },
            "contact-info": self.contact,
            "report-id": self.id(),
            "policies": self.policies.iter().map(policy).collect::<Vec<_>>(),
        })
        .to_string()
    }

    /// As `application/tlsrpt+gzip`.
    pub(crate) fn compressed(&self) -> std::io::Result<Vec<u8>> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(self.json().as_bytes())?;
        encoder.finish()
    }

    /// The mail that carries it (§3, §5.3), unsigned. Whoever does not get TLS right is to hear of it, so that none is demanded.
    pub(crate) fn mail(&self, to: &[String], now: Duration) -> std::io::Result<Vec<u8>> {
        let (hostname, domain) = (self.hostname, self.domain);
        let file = format!("{hostname}!{domain}!{}!{}.json.gz", self.day * DAY, (self.day + 1) * DAY - 1);
        let words = format!(
            "This is a report on how TLS with the mail servers of {domain} went, as {hostname} met them.\r\n\
             It is meant for programs (RFC 8460). Questions: {}\r\n",
            self.contact
        );
        let parts = vec![
            MimePart::new(ContentType::new("text/plain").attribute("charset", "utf-8"), words),
            MimePart::new(
                ContentType::new("application/tlsrpt+gzip"),
                BodyPart::Binary(self.compressed()?.into()),
            )
            .attachment(file),
        ];
        let body = ContentType::new("multipart/report").attribute("report-type", "tlsrpt");
        let to = to.iter().map(|to| format!("<{to}>")).collect::<Vec<_>>().join(", ");
        let message = MessageBuilder::new()
            .header("From", Raw::new(format!("TLS reports of {hostname} <{}>", self.contact)))
            .header("To", Raw::new(to))
            .header(
                "Subject",
                Raw::new(format!("Report Domain: {domain} Submitter: {hostname} Report-ID: <{}>", self.id())),
            )
            .header("Date", Raw::new(record::rfc5322_date(now)))
            .header("Message-ID", Raw::new(format!("<tls-report-{}>", self.id())))
            .header("TLS-Report-Domain", Raw::new(domain))
            .header("TLS-Report-Submitter", Raw::new(hostname))
            .header("TLS-Required", Raw::new("No"))
            .header("Auto-Submitted", Raw::new("auto-generated"))
            .body(MimePart::new(body, BodyPart::Multipart(parts)));
        let mut content = Vec::new();
        message.serialize(&mut content);
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::TlsFailure;

    fn session(failure: Option<TlsFailure>) -> TlsSession {
        TlsSession {
            policy_domain: "world.test".into(),
            policy: PublishedPolicy::Sts {
                lines: ["version: STSv1".into(), "mode: testing".into()].into(),
                mx: ["*.world.test".into()].into(),
            },
            mx_host: Some("mx.world.test".into()),
            receiving_ip: Some([192, 0, 2, 1].into()),
            sending_ip: None,
            failure: failure.map(|kind| (kind, "expired on Friday".into())),
        }
    }

    fn tallied() -> Tallied {
        let (policy, failure) = of_session(&session(Some(TlsFailure::CertificateExpired)));
        assert_eq!(of_session(&session(None)), (policy.clone(), None));
        Tallied { policy, succeeded: 5, failed: vec![(failure.unwrap(), 2)] }
    }

    fn report(policies: &[Tallied]) -> Report<'_> {
        Report {
            hostname: "mx.corp.test",
            contact: "postmaster@corp.test",
            domain: "world.test",
            day: 20_778,
            policies,
        }
    }

    #[test]
    fn a_report_has_what_the_rfc_lists() {
        let policies = [tallied()];
        let json: serde_json::Value = serde_json::from_str(&report(&policies).json()).unwrap();
        assert_eq!(json["date-range"]["start-datetime"], "2026-11-21T00:00:00Z");
        assert_eq!(json["date-range"]["end-datetime"], "2026-11-21T23:59:59Z");
        let policy = &json["policies"][0];
        assert_eq!(policy["policy"]["policy-type"], "sts");
        assert_eq!(policy["policy"]["mx-host"][0], "*.world.test");
        assert_eq!(policy["summary"]["total-successful-session-count"], 5);
        assert_eq!(policy["summary"]["total-failure-session-count"], 2);
        let failure = &policy["failure-details"][0];
        assert_eq!(failure["result-type"], "certificate-expired");
        assert_eq!(failure["failed-session-count"], 2);
        assert_eq!(failure["receiving-ip"], "192.0.2.1");
        assert!(failure.get("sending-mta-ip").is_none(), "not known");
    }

    #[test]
    fn its_mail_is_a_multipart_report_that_asks_for_no_tls() {
        let policies = [tallied()];
        let mail =
            report(&policies).mail(&["a@world.test".into()], Duration::from_secs(1_795_288_205)).unwrap();
        let mail = String::from_utf8(mail).unwrap();
        for field in [
            "TLS-Required: No\r\n",
            "TLS-Report-Domain: world.test\r\n",
            "Content-Type: application/tlsrpt+gzip",
            "To: <a@world.test>\r\n",
        ] {
            assert!(mail.contains(field), "{field}: {mail}");
        }
        assert!(!mail.replace("\r\n", "").contains(['\r', '\n']));
    }
}
