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

/// Where a domain wants reports (§3): the addresses of its record, and the `https` ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) addresses: Vec<String>,
    pub(crate) sites: Vec<String>,
}

/// Addresses and sites of one record that are heard.
const MAX_WANTED: usize = 5;

impl Wanted {
    /// Reads the texts at `_smtp._tls.DOMAIN`; `None` where there is no record, or more than one.
    pub(crate) fn read<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut records = texts.filter(|text| text.starts_with("v=TLSRPTv1;") || *text == "v=TLSRPTv1");
        let record = records.next().filter(|_| records.next().is_none())?;
        let tags = record.split(';').filter_map(|tag| tag.split_once('='));
        let rua = tags.filter(|(name, _)| name.trim() == "rua").map(|(_, value)| value).next()?;
        let mut wanted = Self::default();
        for uri in rua.split(',').map(str::trim).take(MAX_WANTED) {
            match uri.split_once(':') {
                Some((scheme, address)) if scheme.eq_ignore_ascii_case("mailto") => {
                    // What follows a question mark asks for fields that nobody owes.
                    let address = address.split('?').next().unwrap_or_default();
                    // Decoded, it may hold anything: line ends would make fields and recipients of their own.
                    let mailbox = percent_decoded(address).parse::<smtp::Mailbox>().ok();
                    wanted.addresses.extend(mailbox.map(|mailbox| mailbox.to_string()));
                }
                Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
                    wanted.sites.push(uri.to_owned())
                }
                _ => {}
            }
        }
        Some(wanted).filter(|wanted| !wanted.addresses.is_empty() || !wanted.sites.is_empty())
    }
}

/// RFC 3986 §2.1, as far as it is UTF-8.
fn percent_decoded(text: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let hexadecimal = (first == b'%')
            .then(|| behind.get(..2).and_then(|two| std::str::from_utf8(two).ok()))
            .flatten()
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        match hexadecimal {
            Some(octet) => {
                octets.push(octet);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                octets.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8(octets).unwrap_or_else(|_| text.to_owned())
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

    #[test]
    fn where_reports_go_is_read_from_exactly_one_record() {
        let read = |texts: &[&str]| Wanted::read(texts.iter().copied());
        assert_eq!(
            read(&["v=spf1 -all", "v=TLSRPTv1; rua=mailto:a%2Bb@x.test?subject=z, https://x.test/tls"]),
            Some(Wanted { addresses: vec!["a+b@x.test".into()], sites: vec!["https://x.test/tls".into()] })
        );
        for none in [
            &["v=TLSRPTv1"][..],
            &[],
            &["v=TLSRPTv1; rua=ftp:x"],
            &["v=TLSRPTv1; rua=mailto:a@b", "v=TLSRPTv1; rua=mailto:c@d"],
        ] {
            assert_eq!(read(none), None, "{none:?}");
        }
        assert_eq!(percent_decoded("a%ZZ%4"), "a%ZZ%4");
    }

    #[test]
    fn a_record_adds_no_field_and_no_recipient_to_its_report() {
        for address in [
            "a@x.test%0D%0ABcc:%20b@y.test",
            "a@x.test%3E%0D%0ARCPT%20TO:%3Cb@y.test",
            "a@x.test%00",
            "a",
            "",
        ] {
            let record = format!("v=TLSRPTv1; rua=mailto:{address}");
            assert_eq!(Wanted::read([&*record].into_iter()), None, "{address}");
        }
    }
}
