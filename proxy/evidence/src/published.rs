//! What a domain has published of DMARC, and who is to be told how its mail fared (RFC 9989 §4.7, §4.10.1; RFC 9990 §4).

use std::sync::Arc;

use mail_auth::common::cache::NoCache;
use mail_auth::dmarc::{Alignment, Dmarc as Record, Policy, Psd, URI};
use mail_auth::{DnsError, Error, Txt};
use smtp::Mailbox;

use crate::authenticator::Authenticator;
use crate::error::EvidenceError;
use crate::result::Asked;

/// Addresses of one record that are told.
const MAX_ADDRESSES: usize = 5;
/// Labels of a domain below which it is walked up at once (RFC 9989 §4.10).
const MAX_LABELS: usize = 8;
/// The name of a record, before the domain.
const PREFIX: &str = "_dmarc.";

/// The policy that applies to an author's domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The domain that publishes it: the author's own, or one above.
    pub domain: Box<str>,
    /// What is asked for, for the domain's own mail, that of domains below, and that of domains below that are not there; `None`
    /// where nothing is said.
    pub policy: Option<Asked>,
    /// For domains below.
    pub subdomains: Option<Asked>,
    /// For domains below that are not there.
    pub missing: Option<Asked>,
    /// Whether a signature has to be of the very same domain.
    pub strict_dkim: bool,
    /// Whether the reverse-path has to be of the very same domain.
    pub strict_spf: bool,
    /// It is tried out.
    pub testing: bool,
    /// Who is told, and wants to be.
    pub addresses: Vec<ReportAddress>,
}

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportAddress {
    /// The mailbox.
    pub mailbox: Mailbox,
    /// Octets of the largest report, packed, that it takes; 0: of any.
    pub most: usize,
}

impl Authenticator {
    /// The policy for mail of this author's domain, with those addresses alone that agree to be told of it; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`EvidenceError::NotKnownNow`]: the DNS does not say.
    pub async fn published(&self, author: &str) -> Result<Option<Published>, EvidenceError> {
        let author = author.trim_end_matches('.').to_ascii_lowercase();
        let mut found: Vec<(String, Arc<Record>)> = Vec::new();
        for name in walk(&author) {
            match self.record(&format!("{PREFIX}{name}.")).await? {
                Some(record) => {
                    let is_last = record.psd != Psd::Default;
                    found.push((name.to_owned(), record));
                    if is_last {
                        break;
                    }
                }
                None => continue,
            }
        }
        let Some((domain, record)) = applying(&found, &author) else { return Ok(None) };
        let wanted = record.rua().iter().take(MAX_ADDRESSES).collect::<Vec<&URI>>();
        let agreed = self.mail_auth.verify_dmarc_report_address(domain, &wanted, NO_CACHE).await;
        let agreed = agreed.ok_or(EvidenceError::NotKnownNow)?;
        let address = |uri: &&&URI| {
            // It may hold anything once decoded: line ends would make fields and recipients of their own.
            let mailbox = uri.uri().parse().ok()?;
            Some(ReportAddress { mailbox, most: uri.max_size() })
        };
        Ok(Some(Published {
            policy: asked(record.p),
            subdomains: asked(record.sp),
            missing: asked(record.np),
            strict_dkim: record.adkim == Alignment::Strict,
            strict_spf: record.aspf == Alignment::Strict,
            testing: record.t,
            addresses: agreed.iter().filter_map(address).collect(),
            domain: domain.as_str().into(),
        }))
    }

    async fn record(&self, name: &str) -> Result<Option<Arc<Record>>, EvidenceError> {
        match self.mail_auth.txt_lookup::<Record>(name, NO_CACHE).await {
            Ok(record) => Ok(Some(record)),
            Err(Error::Dns(DnsError::Resolver(_))) => Err(EvidenceError::NotKnownNow),
            Err(_) => Ok(None),
        }
    }
}

/// hickory's cache is the only one.
const NO_CACHE: Option<&NoCache<Box<str>, Txt>> = None;

/// The names that are asked for, the longest first (RFC 9989 §4.10): the domain, then from seven labels up.
fn walk(author: &str) -> impl Iterator<Item = &str> {
    let labels = author.split('.').count();
    let starts = std::iter::once(0).chain(author.match_indices('.').map(|(at, _)| at + 1));
    let names = starts.map(|at| &author[at..]).enumerate();
    names.filter(move |(at, _)| *at == 0 || labels - at < MAX_LABELS).map(|(_, name)| name)
}

/// The author's own record, else that of the organisation, else that of a public suffix (RFC 9989 §4.10.1, §4.10.2).
fn applying<'a>(found: &'a [(String, Arc<Record>)], author: &str) -> Option<&'a (String, Arc<Record>)> {
    let own = found.iter().find(|(name, _)| name == author);
    own.or_else(|| found.iter().find(|(_, record)| record.psd == Psd::No))
        .or_else(|| found.iter().rev().find(|(_, record)| record.psd == Psd::Default))
        .or_else(|| found.last())
}

pub(crate) fn asked(policy: Policy) -> Option<Asked> {
    match policy {
        Policy::None => Some(Asked::None),
        Policy::Quarantine => Some(Asked::Quarantine),
        Policy::Reject => Some(Asked::Reject),
        Policy::Unspecified => None,
    }
}

#[cfg(test)]
mod tests {
    use mail_auth::common::parse::TxtRecordParser as _;

    use super::*;

    #[test]
    fn a_domain_is_walked_up_and_a_long_one_faster() {
        let names: Vec<_> = walk("a.b.example").collect();
        assert_eq!(names, ["a.b.example", "b.example", "example"]);
        let long = walk("1.2.3.4.5.6.7.8.9.example").collect::<Vec<_>>();
        assert_eq!(long[..2], ["1.2.3.4.5.6.7.8.9.example", "4.5.6.7.8.9.example"]);
        assert_eq!(long.len(), 8);
        assert_eq!(walk("").count(), 1);
    }

    #[test]
    fn the_record_that_applies_is_the_authors_or_the_organisations() {
        let found = |list: &[(&str, &str)]| -> Vec<(String, Arc<Record>)> {
            let one = |(name, text): &(&str, &str)| {
                ((*name).to_owned(), Arc::new(Record::parse(text.as_bytes()).unwrap()))
            };
            list.iter().map(one).collect()
        };
        let applies =
            |list: &[(&str, &str)]| applying(&found(list), "a.b.example").map(|(name, _)| name.clone());
        let plain = "v=DMARC1; p=none";
        assert_eq!(applies(&[("a.b.example", plain), ("b.example", plain)]).as_deref(), Some("a.b.example"));
        assert_eq!(
            applies(&[("b.example", plain), ("example", "v=DMARC1; p=none; psd=y")]).as_deref(),
            Some("b.example")
        );
        assert_eq!(applies(&[("example", "v=DMARC1; p=none; psd=y")]).as_deref(), Some("example"));
        assert_eq!(applies(&[]), None);
    }
}
