//! From what hickory brings to [`Answer`]s and [`DnsError`]s: along the aliases, within the bounds, with the weakest proof.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hickory_resolver::net::{DnsError as Semantic, NetError, NoRecords};
use hickory_resolver::proto::dnssec;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use smtp::Domain;

use crate::answer::{
    Answer, MAX_ADDRESSES, MAX_MX, MAX_POINTERS, MAX_TEXT_OCTETS, MAX_TEXTS, MAX_TLSA, MAX_TLSA_OCTETS, Mx,
    Pointer, Proof, Text, Tlsa,
};
use crate::error::DnsError;

/// How many CNAMEs lead to an answer at most. RFC 1034 §3.6.2 wants none that lead to another; hickory asks on for eight.
pub const MAX_ALIASES: usize = 8;
/// Bounds of a positive answer's time. Below, one busy domain would be asked for at every recipient; above, a domain that
/// moves its mail would wait for us longer than for others.
const TTL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3600));
/// Bounds of a denial's time (RFC 2308 §5): a domain that was just set up gets its mail soon.
const NEGATIVE_TTL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// How long a failure is remembered (RFC 9520 §3.2: one second to five minutes): a queue full of mail for one broken domain
/// asks once, not a thousand times.
const FAILURE_TTL: Duration = Duration::from_secs(5);

/// A kind of record that is looked up.
pub(crate) trait Kind: Clone {
    const TYPE: RecordType;
    /// How many are kept of one answer.
    const LIMIT: usize;

    /// `Some(None)`: it is of this kind, and means nothing.
    fn read(data: &RData) -> Option<Option<Self>>;
    /// What it takes in memory.
    fn octets(&self) -> usize;
    /// Which are kept where there are too many: the least.
    fn rank(&self) -> u16;
}

impl Kind for Mx {
    const TYPE: RecordType = RecordType::MX;
    const LIMIT: usize = MAX_MX;

    fn read(data: &RData) -> Option<Option<Self>> {
        let RData::MX(mx) = data else { return None };
        if mx.exchange.is_root() {
            return Some(Some(Self { preference: mx.preference, exchange: None }));
        }
        Some(domain(&mx.exchange).map(|host| Self { preference: mx.preference, exchange: Some(host) }))
    }

    fn octets(&self) -> usize {
        size_of::<Self>() + self.exchange.as_ref().map_or(0, |host| host.as_str().len())
    }

    fn rank(&self) -> u16 {
        self.preference
    }
}

impl Kind for Ipv4Addr {
    const TYPE: RecordType = RecordType::A;
    const LIMIT: usize = MAX_ADDRESSES;

    fn read(data: &RData) -> Option<Option<Self>> {
        if let RData::A(address) = data { Some(Some(address.0)) } else { None }
    }

    fn octets(&self) -> usize {
        size_of::<Self>()
    }

    fn rank(&self) -> u16 {
        0
    }
}

impl Kind for Ipv6Addr {
    const TYPE: RecordType = RecordType::AAAA;
    const LIMIT: usize = MAX_ADDRESSES;

    fn read(data: &RData) -> Option<Option<Self>> {
        if let RData::AAAA(address) = data { Some(Some(address.0)) } else { None }
    }

    fn octets(&self) -> usize {
        size_of::<Self>()
    }

    fn rank(&self) -> u16 {
        0
    }
}

impl Kind for Tlsa {
    const TYPE: RecordType = RecordType::TLSA;
    const LIMIT: usize = MAX_TLSA;

    fn read(data: &RData) -> Option<Option<Self>> {
        let RData::TLSA(tlsa) = data else { return None };
        let bounded = tlsa.cert_data.len() <= MAX_TLSA_OCTETS;
        Some(bounded.then(|| Self {
            usage: tlsa.cert_usage.into(),
            selector: tlsa.selector.into(),
            matching: tlsa.matching.into(),
            data: tlsa.cert_data.as_slice().into(),
        }))
    }

    fn octets(&self) -> usize {
        size_of::<Self>() + self.data.len()
    }

    fn rank(&self) -> u16 {
        0
    }
}

impl Kind for Text {
    const TYPE: RecordType = RecordType::TXT;
    const LIMIT: usize = MAX_TEXTS;

    fn read(data: &RData) -> Option<Option<Self>> {
        let RData::TXT(txt) = data else { return None };
        let octets: Vec<u8> =
            txt.txt_data.iter().flat_map(|string| string.iter().copied()).take(MAX_TEXT_OCTETS).collect();
        Some(Some(Self(String::from_utf8_lossy(&octets).into())))
    }

    fn octets(&self) -> usize {
        size_of::<Self>() + self.0.len()
    }

    fn rank(&self) -> u16 {
        0
    }
}

impl Kind for Pointer {
    const TYPE: RecordType = RecordType::PTR;
    const LIMIT: usize = MAX_POINTERS;

    fn read(data: &RData) -> Option<Option<Self>> {
        if let RData::PTR(host) = data { Some(domain(&host.0).map(Self)) } else { None }
    }

    fn octets(&self) -> usize {
        size_of::<Self>() + self.0.as_str().len()
    }

    fn rank(&self) -> u16 {
        0
    }
}

/// What a lookup came to, and how long that holds.
pub(crate) struct Outcome<T> {
    pub(crate) result: Result<Answer<T>, DnsError>,
    pub(crate) ttl: Duration,
}

impl<T> Outcome<T> {
    /// What may have another outcome soon.
    pub(crate) fn failed(error: DnsError) -> Self {
        Self { result: Err(error), ttl: FAILURE_TTL }
    }
}

/// Reads what came for the end of `way`.
pub(crate) fn outcome<T: Kind>(way: Way, brought: Result<&Message, NetError>) -> Outcome<T> {
    match brought {
        Ok(message) => positive(way, &message.answers),
        Err(NetError::Dns(Semantic::NoRecordsFound(denial))) => denied(&way, &denial),
        Err(NetError::Dns(Semantic::Nsec { response, proof: dnssec::Proof::Insecure, .. })) => {
            // Signed with more NSEC3 iterations than are worth computing (RFC 9276 §3.2): as if not signed.
            let way = Way { proof: way.proof.min(Proof::Insecure), ..way };
            if response.answers.iter().any(|record| record.record_type() == T::TYPE) {
                return positive(way, &response.answers);
            }
            negative(response.response_code, way.proof, NEGATIVE_TTL.0)
        }
        Err(error) => Outcome::failed(failure(error)),
    }
}

/// The name as a question, with its final dot: nothing is appended to it.
pub(crate) fn question(domain: &Domain) -> Result<Name, DnsError> {
    let mut name = Name::from_ascii(domain.as_str()).map_err(|_| DnsError::NotAName)?;
    name.set_fqdn(true);
    Ok(name)
}

/// `None` for what is no host's name: escaped octets, a wildcard, spaces.
fn domain(name: &Name) -> Option<Domain> {
    name.to_ascii().parse().ok()
}

fn positive<T: Kind>(way: Way, answers: &[Record]) -> Outcome<T> {
    let result = way.follow(answers).and_then(|way| collect(&way, answers));
    let ttl = match &result {
        Ok(answer) => answer.ttl,
        Err(_) => FAILURE_TTL,
    };
    Outcome { result, ttl }
}

/// From the name that was asked for along its aliases, with what was met there.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    end: Name,
    aliases: usize,
    /// Of the first of them.
    first: Option<Proof>,
    /// The weakest on the way.
    proof: Proof,
    /// The shortest on the way, in seconds.
    ttl: u32,
    validating: bool,
}

impl Way {
    /// `validating`: whether hickory's proofs mean anything.
    pub(crate) fn new(asked: &Name, validating: bool) -> Self {
        let proof = if validating { Proof::Secure } else { Proof::Insecure };
        Self { end: asked.clone(), aliases: 0, first: None, proof, ttl: u32::MAX, validating }
    }

    /// Where it leads.
    pub(crate) fn end(&self) -> &Name {
        &self.end
    }

    /// What is known of the alias at the name that was asked for, if it is one.
    pub(crate) fn first_alias(&self) -> Option<Proof> {
        self.first
    }

    /// How many aliases were met.
    pub(crate) fn aliases(&self) -> usize {
        self.aliases
    }

    /// Goes on along the aliases in an answer, which may stand in any order.
    pub(crate) fn follow(mut self, answers: &[Record]) -> Result<Self, DnsError> {
        while let Some((record, target)) = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == self.end => Some((record, target)),
            _ => None,
        }) {
            if self.aliases == MAX_ALIASES {
                return Err(DnsError::Malformed);
            }
            let proof = proof(record.proof, self.validating)?;
            self.first.get_or_insert(proof);
            self.proof = self.proof.min(proof);
            self.ttl = self.ttl.min(record.ttl);
            self.aliases += 1;
            self.end = target.0.clone();
        }
        Ok(self)
    }
}

fn collect<T: Kind>(way: &Way, answers: &[Record]) -> Result<Answer<T>, DnsError> {
    let (mut records, mut left_out) = (Vec::new(), 0);
    let (mut weakest, mut ttl) = (way.proof, way.ttl);
    for record in answers.iter().filter(|record| record.name == way.end) {
        let Some(read) = T::read(&record.data) else { continue };
        weakest = weakest.min(proof(record.proof, way.validating)?);
        ttl = ttl.min(record.ttl);
        match read {
            Some(read) => records.push(read),
            None => left_out += 1,
        }
    }
    if records.is_empty() {
        return Err(if left_out > 0 { DnsError::Malformed } else { DnsError::NoRecords { proof: weakest } });
    }
    if records.len() > T::LIMIT {
        records.sort_by_key(T::rank);
        left_out += records.len() - T::LIMIT;
        records.truncate(T::LIMIT);
    }
    let canonical = match way.aliases {
        0 => None,
        _ => Some(domain(&way.end).ok_or(DnsError::Malformed)?),
    };
    let ttl = Duration::from_secs(ttl.into()).clamp(TTL.0, TTL.1);
    Ok(Answer { records, proof: weakest, ttl, canonical, left_out })
}

fn denied<T>(way: &Way, denial: &NoRecords) -> Outcome<T> {
    match weakest(denial.authorities.as_deref().unwrap_or_default(), way.validating) {
        Ok(proof) => negative(denial.response_code, way.proof.min(proof), negative_ttl(denial)),
        Err(bogus) => Outcome::failed(bogus),
    }
}

/// RFC 2308 §5: the lesser of the SOA record's own time and of its last field.
fn negative_ttl(denial: &NoRecords) -> Duration {
    let soa = denial.soa.as_ref().map(|soa| soa.ttl.min(soa.data.minimum));
    let ttl = Duration::from_secs(denial.negative_ttl.or(soa).unwrap_or(0).into());
    ttl.clamp(NEGATIVE_TTL.0, NEGATIVE_TTL.1)
}

fn negative<T>(code: ResponseCode, proof: Proof, ttl: Duration) -> Outcome<T> {
    let error = match code {
        ResponseCode::NXDomain => DnsError::NoSuchDomain { proof },
        ResponseCode::NoError => DnsError::NoRecords { proof },
        code => DnsError::ServerFailure(code.to_string().into()),
    };
    Outcome { ttl: if error.is_temporary() { FAILURE_TTL } else { ttl }, result: Err(error) }
}

fn proof(of: dnssec::Proof, validating: bool) -> Result<Proof, DnsError> {
    match of {
        _ if !validating => Ok(Proof::Insecure),
        dnssec::Proof::Secure => Ok(Proof::Secure),
        dnssec::Proof::Insecure => Ok(Proof::Insecure),
        dnssec::Proof::Indeterminate => Ok(Proof::Indeterminate),
        dnssec::Proof::Bogus => Err(DnsError::Bogus),
    }
}

/// The weakest proof of all records, whatever they are. A signature that was not needed has none of its own.
pub(crate) fn weakest(records: &[Record], validating: bool) -> Result<Proof, DnsError> {
    let none = if validating { Proof::Indeterminate } else { Proof::Insecure };
    let proofs = records.iter().filter(|record| !record.record_type().is_rrsig());
    let proofs = proofs.map(|record| proof(record.proof, validating));
    proofs.reduce(|one, other| Ok(one?.min(other?))).unwrap_or(Ok(none))
}

pub(crate) fn failure(error: NetError) -> DnsError {
    match error {
        NetError::Dns(Semantic::DnssecBogus | Semantic::Nsec { .. }) => DnsError::Bogus,
        NetError::Dns(Semantic::ResponseCode(code)) => DnsError::ServerFailure(code.to_string().into()),
        NetError::Timeout => DnsError::TimedOut,
        NetError::Busy | NetError::Io(_) | NetError::NoConnections => {
            DnsError::Unreachable(error.to_string().into())
        }
        NetError::Proto(_)
        | NetError::Truncated
        | NetError::QueryCaseMismatch
        | NetError::ForeignClassRecord { .. } => DnsError::Garbled(error.to_string().into()),
        error => DnsError::ServerFailure(error.to_string().into()),
    }
}

#[cfg(test)]
mod tests;
