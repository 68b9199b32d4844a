//! What is to be published in the DNS, and what is: `postern dns`, and the API's answer to it.

use serde::{Deserialize, Serialize};

/// The records of every domain, and of Postern's own name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneReport {
    /// In the config's order; the one of Postern's own name, where it is asked for, last.
    pub zones: Vec<Zone>,
}

/// The records of one domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// The domain; for the records of Postern's own name and addresses, that name.
    pub domain: String,
    /// What is to be published.
    pub records: Vec<ZoneRecord>,
    /// What cannot be said as a record.
    pub notes: Vec<String>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneRecord {
    /// Its owner, without the root's dot.
    pub name: String,
    /// `MX`, `TXT`, `CNAME`, `TLSA` or `PTR`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its data; of a TXT record the whole text, in one piece and without quotes.
    pub value: String,
    /// What it is for: `mx`, `spf`, `dkim`, `dmarc`, `mta-sts`, `tls-rpt`, `tlsa` or `ptr`.
    pub purpose: String,
    /// What was found, where the DNS was asked.
    pub found: Option<Found>,
}

/// What the DNS has in place of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// How that compares.
    pub state: RecordState,
    /// In words, with what to do where something is to be done.
    pub words: String,
}

/// How what is published compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordState {
    /// It is there, or something that does as well.
    Right,
    /// It is not there.
    Missing,
    /// Something else is there, and does not do.
    Wrong,
    /// The DNS does not answer.
    Unknown,
}

/// What the latest daily look found wrong in what the domains here publish.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedState {
    /// Records that do not do, or were there and are not any more.
    pub wrong: Vec<WrongRecord>,
    /// Domains whose enforced policy keeps mail away.
    pub failing: Vec<FailingPolicy>,
}

/// A record that does not do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongRecord {
    /// Whose it is.
    pub domain: String,
    /// Its owner, without the root's dot.
    pub name: String,
    /// As in [`ZoneRecord`].
    #[serde(rename = "type")]
    pub kind: String,
    /// What is wrong, and what to do.
    pub words: String,
}

/// A domain whose MTA-STS policy went to `enforce` by itself and now keeps mail away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailingPolicy {
    /// The domain.
    pub domain: String,
    /// Who reports failures.
    pub reporter: String,
}

/// What is asked of [`Live::zones`](super::Live::zones).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneQuestion {
    /// In lower case; none stands for all.
    pub domains: Vec<String>,
    /// Whether the DNS is to be asked what is there.
    pub verify: bool,
}

/// Why there are no records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoZones {
    /// The config does not have the domain; in words.
    #[error("{0}")]
    UnknownDomain(String),
    /// It is not to be done; in words.
    #[error("{0}")]
    Refused(String),
    /// The keys or the resolver cannot be had; in words.
    #[error("{0}")]
    Failed(String),
}

impl NoZones {
    /// Whether what was ordered is not to be done.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    /// Whether a domain was named that the config does not have.
    pub fn is_unknown_domain(&self) -> bool {
        matches!(self, Self::UnknownDomain(_))
    }
}
