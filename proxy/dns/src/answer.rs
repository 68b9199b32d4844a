//! What a lookup gives.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use smtp::Domain;

use crate::error::DnsError;

/// How many MX records of a domain are looked at, the most preferred first. Postfix stops at 100 as well; the largest
/// providers publish fewer than 20, while one answer over TCP could hold 3,000.
pub const MAX_MX: usize = 100;
/// How many addresses of one family a host can have. Those beyond would not be tried anyway; an answer over TCP could hold
/// 4,000.
pub const MAX_ADDRESSES: usize = 16;

/// How many TLSA records of one port are looked at. Two keys in two algorithms, now and next, are four; Postfix and others
/// have no bound of their own.
pub const MAX_TLSA: usize = 32;
/// Octets of one TLSA record's data. A digest has 32 or 64; a whole certificate (matching type 0), which RFC 7671 §10.1.2
/// advises against, about 2,000.
pub const MAX_TLSA_OCTETS: usize = 8 * 1024;

/// How many TXT records of a name are looked at.
pub const MAX_TEXTS: usize = 8;
/// How many names of one address are looked at: as many as RFC 7208 §5.5 does.
pub const MAX_POINTERS: usize = 10;
/// Octets of one TXT record that are kept. The longest that mail needs is a DKIM key: of RSA with 4096 bits some 740, with 8192 some 1,420.
pub const MAX_TEXT_OCTETS: usize = 2048;

/// What DNSSEC says of records or of their absence (RFC 4035 §4.3), from weakest to strongest. The fourth word of the RFC,
/// bogus, is [`DnsError::Bogus`] here: nobody is to work with such records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proof {
    /// Nothing is known: what is needed to tell was not to be had.
    Indeterminate,
    /// The zone is not signed, or nothing is validated.
    Insecure,
    /// There is a chain of signatures from the trust anchor down to it.
    Secure,
}

/// Records of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// The records, at least one, in the order in which the server sent them.
    pub records: Vec<T>,
    /// The weakest proof of the records and of the aliases that led to them.
    pub proof: Proof,
    /// How long they hold from now on, with the resolver's own bounds.
    pub ttl: Duration,
    /// The name that has the records, if it is not the one that was asked for: the end of a chain of CNAMEs.
    pub canonical: Option<Domain>,
    /// Records that were there and are not in `records`: beyond the limit, or without sense.
    pub left_out: usize,
}

/// A mail exchanger (RFC 5321 §5.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mx {
    /// Lower is preferred.
    pub preference: u16,
    /// The host; `None` is the root, `.`, which alone says that the domain takes no mail (RFC 7505). It may look like an
    /// IPv4 address: that is a mistake which some domains make.
    pub exchange: Option<Domain>,
}

/// A TLSA record: what a certificate at some port of a host must be (RFC 6698 §2.1). The numbers are as published; what they mean
/// is up to whoever has a certificate to compare.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tlsa {
    /// Which certificate of a chain is meant.
    pub usage: u8,
    /// Which part of it.
    pub selector: u8,
    /// What was done to that part.
    pub matching: u8,
    /// The part, or its digest; at most [`MAX_TLSA_OCTETS`].
    pub data: Box<[u8]>,
}

/// A TXT record (RFC 1035 §3.3.14), its strings put together; at most [`MAX_TEXT_OCTETS`] of it. What is no UTF-8 is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Text(pub Box<str>);

/// A host that a PTR record names (RFC 1035 §3.3.12).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pointer(pub Domain);

/// The addresses of a host. At least one family has some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// AAAA.
    pub v6: Result<Answer<Ipv6Addr>, DnsError>,
    /// A.
    pub v4: Result<Answer<Ipv4Addr>, DnsError>,
}

impl Addresses {
    /// # Errors
    ///
    /// Neither family has any. A temporary failure of one hides what the other says, because it may hide addresses.
    pub fn new(
        v6: Result<Answer<Ipv6Addr>, DnsError>,
        v4: Result<Answer<Ipv4Addr>, DnsError>,
    ) -> Result<Self, DnsError> {
        match (v6, v4) {
            (Err(v6), Err(v4)) => Err(match (v6.is_temporary(), v4.is_temporary()) {
                (true, false) => v6,
                (false, true) => v4,
                // The server that denies the whole name for one type only is wrong about the name.
                _ if matches!(v6, DnsError::NoSuchDomain { .. }) => v4,
                _ => v6,
            }),
            (v6, v4) => Ok(Self { v6, v4 }),
        }
    }

    /// IPv6 first, each with the proof of its family.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, Proof)> {
        let v6 = self.v6.iter().flat_map(|a| a.records.iter().map(|ip| (IpAddr::V6(*ip), a.proof)));
        let v4 = self.v4.iter().flat_map(|a| a.records.iter().map(|ip| (IpAddr::V4(*ip), a.proof)));
        v6.chain(v4)
    }

    /// The end of a chain of CNAMEs, if the host's name is an alias.
    pub fn canonical(&self) -> Option<&Domain> {
        let v6 = self.v6.iter().find_map(|answer| answer.canonical.as_ref());
        v6.or_else(|| self.v4.iter().find_map(|answer| answer.canonical.as_ref()))
    }

    /// How long both families hold.
    pub fn ttl(&self) -> Duration {
        let v6 = self.v6.as_ref().map_or(Duration::MAX, |answer| answer.ttl);
        v6.min(self.v4.as_ref().map_or(Duration::MAX, |answer| answer.ttl))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer<T>(records: Vec<T>, proof: Proof) -> Answer<T> {
        Answer { records, proof, ttl: Duration::from_secs(60), canonical: None, left_out: 0 }
    }

    #[test]
    fn one_family_is_enough_and_each_keeps_its_proof() {
        let v6 = Ok(answer(vec![Ipv6Addr::LOCALHOST], Proof::Insecure));
        let v4 = Ok(answer(vec![Ipv4Addr::LOCALHOST], Proof::Secure));
        let both = Addresses::new(v6.clone(), v4).unwrap();
        let seen: Vec<_> = both.iter().collect();
        assert_eq!(
            seen,
            [
                (Ipv6Addr::LOCALHOST.into(), Proof::Insecure),
                (IpAddr::from(Ipv4Addr::LOCALHOST), Proof::Secure)
            ]
        );
        let one = Addresses::new(v6, Err(DnsError::TimedOut)).unwrap();
        assert_eq!(one.iter().count(), 1);
        assert_eq!(one.v4, Err(DnsError::TimedOut));
    }

    #[test]
    fn without_addresses_a_temporary_failure_outweighs_a_denial() {
        let denied = DnsError::NoRecords { proof: Proof::Secure };
        let gone = DnsError::NoSuchDomain { proof: Proof::Secure };
        for (v6, v4, error) in [
            (denied.clone(), DnsError::Bogus, DnsError::Bogus),
            (DnsError::TimedOut, gone.clone(), DnsError::TimedOut),
            (gone.clone(), gone.clone(), gone.clone()),
            (gone.clone(), denied.clone(), denied.clone()),
            (denied.clone(), gone, denied),
        ] {
            assert_eq!(Addresses::new(Err(v6), Err(v4)), Err(error));
        }
    }

    #[test]
    fn proofs_are_ordered_by_strength() {
        assert!(Proof::Secure > Proof::Insecure && Proof::Insecure > Proof::Indeterminate);
    }
}
