//! What SPF asks of the DNS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::MAX_RECORD;

/// It cannot be told now: no answer, or one that is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;

/// Who answers. A name that is not there, or that can be none, has no records.
pub trait Zone: Send + Sync {
    /// TXT records, the strings of each put together.
    fn txt(&self, name: &str) -> impl Future<Output = Result<Vec<Vec<u8>>, Unknown>> + Send;
    /// Addresses of the client's family.
    fn addresses(&self, name: &str, v4: bool) -> impl Future<Output = Result<Vec<IpAddr>, Unknown>> + Send;
    /// Mail exchangers, the most preferred first.
    fn mx(&self, name: &str) -> impl Future<Output = Result<Vec<String>, Unknown>> + Send;
    /// Names of an address.
    fn ptr(&self, address: IpAddr) -> impl Future<Output = Result<Vec<String>, Unknown>> + Send;
}

/// The real DNS.
#[derive(Clone)]
pub struct Hickory(pub TokioResolver);

impl std::fmt::Debug for Hickory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hickory")
    }
}

impl Hickory {
    async fn ask<T>(
        &self,
        name: Option<Name>,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, Unknown> {
        let Some(name) = name else { return Ok(Vec::new()) };
        match self.0.lookup(name, kind).await {
            Ok(lookup) => Ok(lookup.answers().iter().filter_map(|record| read(&record.data)).collect()),
            Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Ok(Vec::new()),
            Err(_) => Err(Unknown),
        }
    }
}

/// Absolute: the search list of the machine is nobody's business.
fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn text(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

impl Zone for Hickory {
    async fn txt(&self, name: &str) -> Result<Vec<Vec<u8>>, Unknown> {
        let read = |data: &RData| {
            let RData::TXT(txt) = data else { return None };
            let octets = txt.txt_data.iter().flat_map(|string| string.iter().copied());
            Some(octets.take(MAX_RECORD + 1).collect())
        };
        self.ask(absolute(name), RecordType::TXT, read).await
    }

    async fn addresses(&self, name: &str, v4: bool) -> Result<Vec<IpAddr>, Unknown> {
        let kind = if v4 { RecordType::A } else { RecordType::AAAA };
        let read = |data: &RData| match data {
            RData::A(address) => Some(Ipv4Addr::from(*address).into()),
            RData::AAAA(address) => Some(Ipv6Addr::from(*address).into()),
            _ => None,
        };
        self.ask(absolute(name), kind, read).await
    }

    async fn mx(&self, name: &str) -> Result<Vec<String>, Unknown> {
        let read = |data: &RData| {
            let RData::MX(mx) = data else { return None };
            Some((mx.preference, text(&mx.exchange)))
        };
        let mut exchangers = self.ask(absolute(name), RecordType::MX, read).await?;
        exchangers.sort();
        Ok(exchangers.into_iter().map(|(_, name)| name).collect())
    }

    async fn ptr(&self, address: IpAddr) -> Result<Vec<String>, Unknown> {
        let read = |data: &RData| if let RData::PTR(name) = data { Some(text(&name.0)) } else { None };
        self.ask(Some(Name::from(address)), RecordType::PTR, read).await
    }
}
