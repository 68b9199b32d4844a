//! Reports on TLS (RFC 8460 §4). serde_json keeps to 128 levels, and of lists no more is taken than is kept.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;

use mail_parser::DateTime;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{domain, word};
use crate::report::{MAX_FAILURES, MAX_POLICIES, Reporter, TlsFailure, TlsPolicy, TlsReport};

/// The first elements of a list, and how many there are beyond.
struct Few<T, const MOST: usize> {
    list: Vec<T>,
    left_out: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Whole {
    organization_name: Option<String>,
    date_range: Range,
    contact_info: Option<String>,
    report_id: Option<String>,
    policies: Few<Section, MAX_POLICIES>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Range {
    start_datetime: String,
    end_datetime: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Section {
    policy: Policy,
    summary: Summary,
    #[serde(default)]
    failure_details: Option<Few<Failure, MAX_FAILURES>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Policy {
    policy_type: String,
    policy_domain: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    #[serde(default)]
    total_successful_session_count: u64,
    #[serde(default)]
    total_failure_session_count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Failure {
    result_type: String,
    sending_mta_ip: Option<String>,
    receiving_mx_hostname: Option<String>,
    receiving_ip: Option<String>,
    #[serde(default)]
    failed_session_count: u64,
    failure_reason_code: Option<String>,
    additional_information: Option<String>,
}

/// Reads one.
pub(super) fn read(json: &[u8]) -> Result<TlsReport, &'static str> {
    let whole: Whole = serde_json::from_slice(json).map_err(|_| "it is no JSON as RFC 8460 has it")?;
    let second = |text: &str| {
        let second = DateTime::parse_rfc3339(text).map(|date| date.to_timestamp());
        second.and_then(|second| u64::try_from(second).ok()).ok_or("its dates are none of RFC 3339")
    };
    let reporter = Reporter {
        organization: word(&whole.organization_name.unwrap_or_default()),
        contact: word(&whole.contact_info.unwrap_or_default()),
        id: word(&whole.report_id.unwrap_or_default()),
        begin: second(&whole.date_range.start_datetime)?,
        end: second(&whole.date_range.end_datetime)?,
    };
    let mut report = TlsReport { reporter, policies: Vec::new(), left_out: whole.policies.left_out };
    let mut room = MAX_FAILURES;
    for Section { policy, summary, failure_details } in whole.policies.list {
        let details = failure_details.unwrap_or(Few { list: Vec::new(), left_out: 0 });
        let beyond = details.list.len().saturating_sub(room);
        let failures: Vec<_> = details.list.into_iter().take(room).map(failure).collect();
        room -= failures.len();
        let beyond = u32::try_from(beyond).unwrap_or(u32::MAX).saturating_add(details.left_out);
        report.left_out = report.left_out.saturating_add(beyond);
        report.policies.push(TlsPolicy {
            kind: word(&policy.policy_type),
            domain: domain(&policy.policy_domain),
            succeeded: summary.total_successful_session_count,
            failed: summary.total_failure_session_count,
            failures,
        });
    }
    Ok(report)
}

fn failure(failure: Failure) -> TlsFailure {
    let address = |text: Option<String>| text.and_then(|text| text.trim().parse::<IpAddr>().ok());
    let reason = failure.failure_reason_code.filter(|reason| !reason.is_empty());
    TlsFailure {
        result: word(&failure.result_type),
        mx: domain(&failure.receiving_mx_hostname.unwrap_or_default()),
        receiving: address(failure.receiving_ip),
        sending: address(failure.sending_mta_ip),
        sessions: failure.failed_session_count,
        reason: word(&reason.or(failure.additional_information).unwrap_or_default()),
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Few<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FewVisitor(PhantomData))
    }
}

struct FewVisitor<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for FewVisitor<T, MOST> {
    type Value = Few<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut few = Few { list: Vec::new(), left_out: 0 };
        while few.list.len() < MOST {
            match elements.next_element()? {
                Some(element) => few.list.push(element),
                None => return Ok(few),
            }
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {
            few.left_out = few.left_out.saturating_add(1);
        }
        Ok(few)
    }
}
