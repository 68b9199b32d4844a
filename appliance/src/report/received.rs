//! What others report about the domains here, added up: how TLS with their servers went (RFC 8460), and who sends in their name (RFC 9990).

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All of it that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReceivedReports {
    /// By domain, in the order of their names; of those that were asked for.
    pub domains: Vec<DomainReports>,
    /// The latest messages that were to be reports and do not count, the latest first.
    pub set_aside: Vec<SetAside>,
}

/// What is reported about one domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DomainReports {
    /// The domain.
    pub domain: String,
    /// By sender, the one with most failures first.
    pub tls: Vec<TlsSender>,
    /// By source, the one with most mail that nothing proves first.
    pub sources: Vec<MailSource>,
    /// Who reported on mail.
    pub reporters: Vec<MailReporter>,
    /// Messages in the domain's name, of all sources, also of those that are not listed.
    pub messages: u64,
    /// Those of them that DMARC passes.
    pub passed: u64,
}

/// How it went for one sender.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TlsSender {
    /// The domain that stands behind the reports, by DMARC or by its signature.
    pub sender: String,
    /// What it calls itself.
    pub organization: String,
    /// Reports.
    pub reports: u64,
    /// What they are on: the first second and the last, since 1970.
    pub begin: u64,
    /// The last second.
    pub end: u64,
    /// Sessions that went well.
    pub succeeded: u64,
    /// Sessions that did not.
    pub failed: u64,
    /// How they failed, the most frequent first.
    pub failures: Vec<TlsTrouble>,
    /// All that in a sentence.
    pub words: String,
}

/// Sessions that failed in one way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TlsTrouble {
    /// The word of RFC 8460 §4.3.
    pub result: String,
    /// The server that was met; empty if that is not said.
    pub mx: String,
    /// How many.
    pub sessions: u64,
    /// What it means, and what to do.
    pub words: String,
    /// What the sender says of it.
    pub reason: String,
}

/// Who hands over mail in a domain's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MailSource {
    /// The address.
    pub source: IpAddr,
    /// Messages.
    pub messages: u64,
    /// Those that DMARC passes.
    pub passed: u64,
    /// Those whose signature is the domain's.
    pub dkim: u64,
    /// Those that SPF allows for the domain.
    pub spf: u64,
    /// Those that were put aside by DMARC.
    pub quarantined: u64,
    /// Those that were refused by DMARC.
    pub rejected: u64,
    /// Domains by which it is known otherwise: those that it signs for, and those that allow it.
    pub known_as: Vec<String>,
    /// All that in a sentence, with what to do.
    pub words: String,
}

/// Who reports on mail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MailReporter {
    /// The domain that stands behind the reports.
    pub sender: String,
    /// What it calls itself.
    pub organization: String,
    /// Reports.
    pub reports: u64,
    /// The last second that they are on, since 1970.
    pub end: u64,
    /// The policy that it saw: `none`, `quarantine` or `reject`.
    pub policy: String,
}

/// A message that was to be a report, and does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetAside {
    /// When, in seconds since 1970.
    pub at: u64,
    /// The transaction that it came by.
    pub transaction: String,
    /// Who is said to have sent it.
    pub from: String,
    /// Why it does not count.
    pub why: String,
}
