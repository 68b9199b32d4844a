//! `check_host()` (RFC 7208 §4).

use std::net::IpAddr;
use std::pin::Pin;

use super::macros::{DomainSpec, MAX_NAME, Meaning};
use super::record::{Directive, Mechanism, Prefix, Record, is_spf};
use super::zone::{Unknown, Zone};
use super::{MAX_LOOKUPS, MAX_NAMES, MAX_RECORD, MAX_VOID_LOOKUPS};
use crate::Verdict;

/// Who sends.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// What it called itself.
    pub helo: &'a str,
    /// The local part of the sender; empty: `postmaster` (§4.3).
    pub local_part: &'a str,
    /// Its domain, in A-labels.
    pub domain: &'a str,
}

/// Whether the client may send for the domain. Asks at most [`MAX_LOOKUPS`] times [`MAX_NAMES`] names; how long it waits for an
/// answer is the zone's affair and the caller's.
pub async fn check_host(zone: &impl Zone, question: Question<'_>) -> Verdict {
    if !is_fully_qualified(question.domain) {
        return Verdict::None;
    }
    let local_part = if question.local_part.is_empty() { "postmaster" } else { question.local_part };
    let question = Question { client: question.client.to_canonical(), local_part, ..question };
    let mut check = Check { zone, question, lookups: 0, voids: 0, names: None };
    match check.domain(question.domain.to_owned()).await {
        Ok(verdict) => verdict,
        Err(Stop::Temporary) => Verdict::TempError,
        Err(Stop::Permanent) => Verdict::PermError,
    }
}

/// Labels of 1 to 63 octets, at least two of them, no address literal (§4.3).
fn is_fully_qualified(domain: &str) -> bool {
    let name = domain.strip_suffix('.').unwrap_or(domain);
    is_name(name) && name.contains('.') && !name.contains(['[', ']'])
}

fn is_name(name: &str) -> bool {
    let label = |label: &str| (1..=63).contains(&label.len());
    name.len() <= MAX_NAME && name.split('.').all(label)
}

/// Why nothing more is looked at.
enum Stop {
    Temporary,
    Permanent,
}

impl From<Unknown> for Stop {
    fn from(_: Unknown) -> Self {
        Self::Temporary
    }
}

struct Check<'a, Z> {
    zone: &'a Z,
    question: Question<'a>,
    lookups: u32,
    voids: u32,
    /// The client's validated names, once they were asked for.
    names: Option<Vec<String>>,
}

type Checking<'a> = Pin<Box<dyn Future<Output = Result<Verdict, Stop>> + Send + 'a>>;

impl<Z: Zone> Check<'_, Z> {
    /// What a domain's record says; on the heap, as records lead to records.
    fn domain(&mut self, domain: String) -> Checking<'_> {
        Box::pin(async move {
            let Some(record) = self.record(&domain).await? else { return Ok(Verdict::None) };
            for Directive { verdict, mechanism } in &record.directives {
                if self.matches(mechanism, &domain).await? {
                    return Ok(*verdict);
                }
            }
            let Some(redirect) = &record.redirect else { return Ok(Verdict::Neutral) };
            self.count()?;
            let other = self.expand(redirect, &domain).await?;
            match self.domain(other).await? {
                Verdict::None => Err(Stop::Permanent),
                verdict => Ok(verdict),
            }
        })
    }

    async fn record(&self, domain: &str) -> Result<Option<Record>, Stop> {
        if !is_name(domain) {
            return Ok(None);
        }
        let texts = self.zone.txt(domain).await?;
        let mut records = texts.into_iter().filter(|text| is_spf(text));
        let Some(record) = records.next() else { return Ok(None) };
        if records.next().is_some() || record.len() > MAX_RECORD {
            return Err(Stop::Permanent);
        }
        // What is not ASCII is no record either (§3.1).
        let text = String::from_utf8(record).map_err(|_| Stop::Permanent)?;
        text.parse().map(Some).map_err(|_| Stop::Permanent)
    }

    async fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Result<bool, Stop> {
        let client = self.question.client;
        match mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip4(network, length) => Ok(contains((*network).into(), *length, client)),
            Mechanism::Ip6(network, length) => Ok(contains((*network).into(), *length, client)),
            Mechanism::Include(spec) => {
                self.count()?;
                let other = self.expand(spec, domain).await?;
                match self.domain(other).await? {
                    Verdict::Pass => Ok(true),
                    Verdict::Fail | Verdict::SoftFail | Verdict::Neutral => Ok(false),
                    Verdict::TempError => Err(Stop::Temporary),
                    Verdict::None | Verdict::PermError => Err(Stop::Permanent),
                }
            }
            Mechanism::A(spec, prefix) => {
                self.count()?;
                let name = self.target(spec.as_ref(), domain).await?;
                self.has_client(&name, *prefix).await
            }
            Mechanism::Mx(spec, prefix) => {
                self.count()?;
                let name = self.target(spec.as_ref(), domain).await?;
                self.mx_has_client(&name, *prefix).await
            }
            Mechanism::Exists(spec) => {
                self.count()?;
                let name = self.expand(spec, domain).await?;
                // Always of IPv4, whatever the client's family is (§5.7).
                Ok(!self.addresses(&name, true).await?.is_empty())
            }
            Mechanism::Ptr(spec) => {
                self.count()?;
                let name = self.target(spec.as_ref(), domain).await?;
                let names = self.validated().await?;
                Ok(names.iter().any(|validated| is_below(validated, &name)))
            }
        }
    }

    /// A term that costs a lookup (§4.6.4).
    fn count(&mut self) -> Result<(), Stop> {
        self.lookups += 1;
        if self.lookups > MAX_LOOKUPS { Err(Stop::Permanent) } else { Ok(()) }
    }

    fn void(&mut self, nothing: bool) -> Result<(), Stop> {
        self.voids += u32::from(nothing);
        if self.voids > MAX_VOID_LOOKUPS { Err(Stop::Permanent) } else { Ok(()) }
    }

    async fn target(&mut self, spec: Option<&DomainSpec>, domain: &str) -> Result<String, Stop> {
        match spec {
            Some(spec) => self.expand(spec, domain).await,
            None => Ok(domain.to_owned()),
        }
    }

    async fn expand(&mut self, spec: &DomainSpec, domain: &str) -> Result<String, Stop> {
        let validated = match spec.wants_validated() {
            true => self.one_validated(domain).await?,
            false => String::new(),
        };
        let Question { client, helo, local_part, domain: sender_domain } = self.question;
        let meaning =
            Meaning { sender_local: local_part, sender_domain, domain, client, helo, validated: &validated };
        Ok(spec.expand(&meaning))
    }

    async fn addresses(&mut self, name: &str, v4: bool) -> Result<Vec<IpAddr>, Stop> {
        if !is_name(name) {
            return Ok(Vec::new());
        }
        let addresses = self.zone.addresses(name, v4).await?;
        self.void(addresses.is_empty())?;
        Ok(addresses)
    }

    async fn has_client(&mut self, name: &str, prefix: Prefix) -> Result<bool, Stop> {
        let client = self.question.client;
        let length = if client.is_ipv4() { prefix.v4 } else { prefix.v6 };
        let addresses = self.addresses(name, client.is_ipv4()).await?;
        Ok(addresses.into_iter().any(|address| contains(address, length, client)))
    }

    async fn mx_has_client(&mut self, name: &str, prefix: Prefix) -> Result<bool, Stop> {
        if !is_name(name) {
            return Ok(false);
        }
        let exchangers = self.zone.mx(name).await?;
        self.void(exchangers.is_empty())?;
        if exchangers.len() > MAX_NAMES {
            return Err(Stop::Permanent);
        }
        for exchanger in exchangers {
            if self.has_client(&exchanger, prefix).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The client's names that lead back to it; asked for once, however many macros want them. A name server that fails has none
    /// (§5.5).
    async fn validated(&mut self) -> Result<Vec<String>, Stop> {
        if let Some(names) = &self.names {
            return Ok(names.clone());
        }
        let client = self.question.client;
        let names = self.zone.ptr(client).await.unwrap_or_default();
        self.void(names.is_empty())?;
        let mut validated = Vec::new();
        for name in names.into_iter().take(MAX_NAMES).filter(|name| is_name(name)) {
            let addresses = self.zone.addresses(&name, client.is_ipv4()).await.unwrap_or_default();
            if addresses.contains(&client) {
                validated.push(name);
            }
        }
        self.names = Some(validated.clone());
        Ok(validated)
    }

    /// For `%{p}`: the domain itself, else a name below it, else any (§7.3).
    async fn one_validated(&mut self, domain: &str) -> Result<String, Stop> {
        let names = self.validated().await?;
        let same = names.iter().find(|name| name.eq_ignore_ascii_case(domain));
        let below = || names.iter().find(|name| is_below(name, domain));
        let found = same.or_else(below).or_else(|| names.first());
        Ok(found.map_or_else(|| "unknown".to_owned(), Clone::clone))
    }
}

/// Whether a name is the domain or one below it.
fn is_below(name: &str, domain: &str) -> bool {
    let (name, domain) = (name.to_ascii_lowercase(), domain.to_ascii_lowercase());
    let rest = name.strip_suffix(domain.strip_suffix('.').unwrap_or(&domain));
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn contains(network: IpAddr, length: u8, client: IpAddr) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (32, u128::from(u32::from(address)) << 96),
        IpAddr::V6(address) => (128, u128::from(address)),
    };
    let ((width, network), (client_width, client)) = (bits(network), bits(client));
    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    width == client_width && (network ^ client) & mask == 0
}
