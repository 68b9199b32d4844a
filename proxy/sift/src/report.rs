//! What others report about domains, as bounded values: how TLS with their servers went (RFC 8460), and who sent in their name and
//! what DMARC made of it (RFC 9990, and RFC 7489 appendix C). Nothing of it is believed here.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Octets of a name, a domain or an address that are kept.
pub const MAX_WORD: usize = 255;
/// Policies that are kept of one report on TLS; a domain has one or two, and reports are of one domain.
pub const MAX_POLICIES: usize = 32;
/// Kinds of failures that are kept of one report, in all; of more the number is kept.
pub const MAX_FAILURES: usize = 200;
/// Rows that are kept of one report on DMARC: sources with what became of their mail. Of more the number is kept.
pub const MAX_ROWS: usize = 300;
/// Signatures that are kept of one row.
pub const MAX_SIGNATURES: usize = 3;

/// A report that a message carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// How TLS went.
    Tls(TlsReport),
    /// Who sends, and what passes.
    Dmarc(DmarcReport),
    /// It is called a report, and cannot be read; why, in words.
    Unreadable(String),
}

/// Who reports, and on which time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reporter {
    /// What the organisation calls itself.
    pub organization: String,
    /// Whom to ask.
    pub contact: String,
    /// What it calls this report.
    pub id: String,
    /// The first second, since 1970.
    pub begin: u64,
    /// The last second, since 1970.
    pub end: u64,
}

/// How TLS with a domain's servers went (RFC 8460 §4.4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsReport {
    /// Who reports.
    pub reporter: Reporter,
    /// By the policy that was applied.
    pub policies: Vec<TlsPolicy>,
    /// Policies and kinds of failures beyond the bounds.
    pub left_out: u32,
}

/// How it went under one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsPolicy {
    /// `tlsa`, `sts` or `no-policy-found`.
    pub kind: String,
    /// The domain, in lower case.
    pub domain: String,
    /// Sessions that went well.
    pub succeeded: u64,
    /// Sessions that did not.
    pub failed: u64,
    /// How they failed.
    pub failures: Vec<TlsFailure>,
}

/// Sessions that failed in one way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFailure {
    /// The word of RFC 8460 §4.3.
    pub result: String,
    /// The server that was met.
    pub mx: String,
    /// Its address.
    pub receiving: Option<IpAddr>,
    /// The address of who met it.
    pub sending: Option<IpAddr>,
    /// How many.
    pub sessions: u64,
    /// What else is said of it.
    pub reason: String,
}

/// Who sent mail in the name of a domain (RFC 9990 §3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmarcReport {
    /// Who reports.
    pub reporter: Reporter,
    /// The domain whose policy was applied, in lower case.
    pub domain: String,
    /// Its policy: `none`, `quarantine` or `reject`.
    pub policy: String,
    /// By source.
    pub rows: Vec<Row>,
    /// Rows beyond [`MAX_ROWS`], or without an address.
    pub left_out: u32,
    /// Messages of those.
    pub left_out_messages: u64,
}

/// Messages of one source that fared alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Who handed them over.
    pub source: IpAddr,
    /// How many.
    pub messages: u64,
    /// What was done.
    pub disposition: Disposition,
    /// Whether a signature of the author's domain is good.
    pub dkim: bool,
    /// Whether SPF allows the source for the author's domain.
    pub spf: bool,
    /// The domain in `From`, in lower case.
    pub header_from: String,
    /// Why something else was done than the policy says: `forwarded`, `mailing_list` and so on.
    pub overridden: String,
    /// Who signed.
    pub signatures: Vec<Checked>,
    /// Whom SPF was asked about.
    pub sender: Checked,
}

/// A domain that was asked about, and what came out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// In lower case.
    pub domain: String,
    /// The word of RFC 8601.
    pub result: String,
}

/// What was done with mail by DMARC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Disposition {
    /// Nothing.
    #[default]
    None,
    /// It was put aside.
    Quarantine,
    /// It was refused.
    Reject,
}

impl Report {
    /// Whether nothing in it is longer than the bounds above allow.
    pub(crate) fn is_within_bounds(&self) -> bool {
        match self {
            Self::Tls(report) => report.reporter.is_within_bounds() && are_bounded(&report.policies),
            Self::Dmarc(report) => {
                let DmarcReport { reporter, domain, policy, rows, .. } = report;
                reporter.is_within_bounds()
                    && fit(&[domain, policy])
                    && rows.len() <= MAX_ROWS
                    && rows.iter().all(Row::is_within_bounds)
            }
            Self::Unreadable(why) => fit(&[why]),
        }
    }
}

impl Reporter {
    fn is_within_bounds(&self) -> bool {
        fit(&[&self.organization, &self.contact, &self.id])
    }
}

impl Row {
    fn is_within_bounds(&self) -> bool {
        let checked = |one: &Checked| fit(&[&one.domain, &one.result]);
        fit(&[&self.header_from, &self.overridden])
            && self.signatures.len() <= MAX_SIGNATURES
            && self.signatures.iter().all(checked)
            && checked(&self.sender)
    }
}

fn are_bounded(policies: &[TlsPolicy]) -> bool {
    let failures: usize = policies.iter().map(|policy| policy.failures.len()).sum();
    let failure = |one: &TlsFailure| fit(&[&one.result, &one.mx, &one.reason]);
    policies.len() <= MAX_POLICIES
        && failures <= MAX_FAILURES
        && policies.iter().all(|policy| fit(&[&policy.kind, &policy.domain]))
        && policies.iter().flat_map(|policy| &policy.failures).all(failure)
}

fn fit(words: &[&String]) -> bool {
    words.iter().all(|word| word.len() <= MAX_WORD)
}
