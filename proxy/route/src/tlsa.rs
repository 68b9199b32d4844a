//! Which TLSA records a mail exchanger has, if they count (RFC 7672 §2.2).
//!
//! They count only with a DNSSEC proof of every step: the domain's MX records, the host's addresses or at least the alias that the
//! host is, and the records themselves. Where a step is not signed there is no DANE and nothing is asked further; where a step
//! cannot be told, the host is left alone, for that is what a forger would bring about (§2.1.2).

use std::time::Duration;

use dns::{DnsError, Proof, Tlsa};
use smtp::Domain;
use tls::Association;

use crate::lookup::Lookup;
use crate::mx_set::Target;

/// What was found for one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TlsaFinding {
    /// There is no DANE, for this reason.
    None(&'static str),
    /// There are records.
    Records(TlsaRecords),
    /// Nobody can tell whether there are any.
    Undecided {
        /// Where they would be.
        base: Domain,
        /// Why.
        error: DnsError,
    },
}

/// Records, all of them proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsaRecords {
    /// The TLSA base domain: what SNI asks for, and a reference name (RFC 7672 §2.2.3).
    pub(crate) base: Domain,
    /// The further reference names (§3.2.2).
    pub(crate) also: Vec<Domain>,
    pub(crate) records: Vec<Association>,
    /// What was read and makes no sense.
    pub(crate) left_out: usize,
    pub(crate) ttl: Duration,
}

const UNSIGNED_MX: &str = "the MX records are not signed";
const UNSIGNED_HOST: &str = "the server's address is not signed";
const UNNAMED: &str = "the server has no name";
const NO_RECORDS: &str = "the server has no TLSA records";

/// Looks for the records of `target`, a server of `domain`.
pub(crate) async fn find(lookup: &impl Lookup, domain: &Domain, target: &Target) -> TlsaFinding {
    let Some(host) = &target.host else { return TlsaFinding::None(UNNAMED) };
    if target.mx_proof != Proof::Secure {
        return TlsaFinding::None(UNSIGNED_MX);
    }
    let bases: &[&Domain] = match (&target.canonical, target.address_proof) {
        (None, Proof::Secure) => &[host],
        (Some(canonical), Proof::Secure) => &[canonical, host],
        (None, _) => return TlsaFinding::None(UNSIGNED_HOST),
        // An alias that leads out of its signed zone: the host may have records all the same.
        (Some(_), _) => match lookup.alias(host).await {
            Ok(Proof::Secure) => &[host],
            Err(error) if error.is_temporary() => {
                return TlsaFinding::Undecided { base: host.clone(), error };
            }
            _ => return TlsaFinding::None(UNSIGNED_HOST),
        },
    };
    for &base in bases {
        match lookup.tlsa(base, target.address.port()).await {
            Ok(answer) if answer.proof == Proof::Secure => {
                let records = answer.records.into_iter().map(association).collect();
                let also = also(base, host, domain);
                let (base, left_out, ttl) = (base.clone(), answer.left_out, answer.ttl);
                return TlsaFinding::Records(TlsaRecords { base, also, records, left_out, ttl });
            }
            // All of them are beyond what is read: there are some, and none can be used.
            Err(DnsError::Malformed) => {
                let (also, ttl) = (also(base, host, domain), Duration::ZERO);
                let (base, records) = (base.clone(), Vec::new());
                return TlsaFinding::Records(TlsaRecords { base, also, records, left_out: 1, ttl });
            }
            Err(error) if error.is_temporary() => {
                return TlsaFinding::Undecided { base: base.clone(), error };
            }
            // None, or none that is signed: the next name.
            Ok(_) | Err(_) => {}
        }
    }
    TlsaFinding::None(NO_RECORDS)
}

/// The names beside the base that a server below an authority may bear: what it is an alias of has the alias for a name too, and
/// that the domain's MX records are signed is what brought us here.
fn also(base: &Domain, host: &Domain, domain: &Domain) -> Vec<Domain> {
    let mut names = vec![host.clone(), domain.clone()];
    names.retain(|name| name != base);
    names.dedup();
    names
}

fn association(record: Tlsa) -> Association {
    let Tlsa { usage, selector, matching, data } = record;
    Association { usage, selector, matching, data }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::Ipv4Addr;

    use dns::{Addresses, Answer, Mx, Text};

    use super::*;

    const TTL: Duration = Duration::from_secs(300);

    /// TLSA records and aliases of a few names; what is not in it is denied.
    #[derive(Default)]
    struct Fake {
        tlsa: HashMap<&'static str, Result<Proof, DnsError>>,
        aliases: HashMap<&'static str, Result<Proof, DnsError>>,
    }

    const DENIED: DnsError = DnsError::NoSuchDomain { proof: Proof::Secure };

    impl Lookup for Fake {
        async fn mx(&self, _: &Domain) -> Result<Answer<Mx>, DnsError> {
            Err(DENIED)
        }

        async fn addresses(&self, _: &Domain) -> Result<Addresses, DnsError> {
            Err(DENIED)
        }

        async fn tlsa(&self, host: &Domain, port: u16) -> Result<Answer<Tlsa>, DnsError> {
            assert_eq!(port, 25);
            let proof = self.tlsa.get(host.as_str()).cloned().unwrap_or(Err(DENIED))?;
            let data = host.as_str().as_bytes().into();
            let records = vec![Tlsa { usage: 3, selector: 1, matching: 0, data }];
            Ok(Answer { records, proof, ttl: TTL, canonical: None, left_out: 0 })
        }

        async fn alias(&self, name: &Domain) -> Result<Proof, DnsError> {
            self.aliases.get(name.as_str()).cloned().unwrap_or(Err(DENIED))
        }

        async fn text(&self, _: &Domain) -> Result<Answer<Text>, DnsError> {
            Err(DENIED)
        }
    }

    fn name(text: &str) -> Domain {
        text.parse().unwrap()
    }

    fn target(canonical: Option<&str>, mx_proof: Proof, address_proof: Proof) -> Target {
        Target {
            host: Some(name("mx.one.example")),
            canonical: canonical.map(name),
            address: (Ipv4Addr::new(192, 0, 2, 1), 25).into(),
            preference: 10,
            mx_proof,
            address_proof,
        }
    }

    /// The base whose records count, and the further reference names; or why none do.
    async fn found(fake: &Fake, target: &Target) -> Result<(String, Vec<String>), String> {
        match find(fake, &name("one.example"), target).await {
            TlsaFinding::None(why) => Err(why.to_owned()),
            TlsaFinding::Undecided { base, error } => Err(format!("{base}: {error}")),
            TlsaFinding::Records(found) => {
                assert_eq!(&*found.records[0].data, found.base.as_str().as_bytes());
                Ok((found.base.to_string(), found.also.iter().map(ToString::to_string).collect()))
            }
        }
    }

    const BOTH: [(&str, Result<Proof, DnsError>); 2] =
        [("mx.one.example", Ok(Proof::Secure)), ("real.two.example", Ok(Proof::Secure))];

    #[tokio::test]
    async fn every_step_must_be_proved() {
        let fake = Fake { tlsa: BOTH.into(), ..Fake::default() };
        let secure = target(None, Proof::Secure, Proof::Secure);
        let names = vec!["one.example".to_owned()];
        assert_eq!(found(&fake, &secure).await, Ok(("mx.one.example".to_owned(), names)));
        for weaker in [Proof::Insecure, Proof::Indeterminate] {
            assert_eq!(found(&fake, &target(None, weaker, Proof::Secure)).await, Err(UNSIGNED_MX.to_owned()));
            assert_eq!(
                found(&fake, &target(None, Proof::Secure, weaker)).await,
                Err(UNSIGNED_HOST.to_owned())
            );
            let fake = Fake { tlsa: [("mx.one.example", Ok(weaker))].into(), ..Fake::default() };
            assert_eq!(found(&fake, &secure).await, Err(NO_RECORDS.to_owned()), "unsigned records are none");
        }
        let unnamed = Target { host: None, ..secure };
        assert_eq!(found(&fake, &unnamed).await, Err(UNNAMED.to_owned()));
    }

    #[tokio::test]
    async fn where_an_alias_leads_counts_first_and_then_the_alias() {
        let alias = target(Some("real.two.example"), Proof::Secure, Proof::Secure);
        let fake = Fake { tlsa: BOTH.into(), ..Fake::default() };
        let names = ["mx.one.example", "one.example"].map(str::to_owned).to_vec();
        assert_eq!(found(&fake, &alias).await, Ok(("real.two.example".to_owned(), names)));
        for denial in [Err(DENIED), Ok(Proof::Insecure)] {
            let tlsa = [BOTH[0].clone(), ("real.two.example", denial)].into();
            let fake = Fake { tlsa, ..Fake::default() };
            let names = vec!["one.example".to_owned()];
            assert_eq!(found(&fake, &alias).await, Ok(("mx.one.example".to_owned(), names)));
        }
    }

    #[tokio::test]
    async fn an_alias_that_leads_out_of_a_signed_zone_has_its_own_records() {
        let alias = target(Some("real.two.example"), Proof::Secure, Proof::Insecure);
        for (proof, expected) in [
            (Ok(Proof::Secure), Ok("mx.one.example".to_owned())),
            (Ok(Proof::Insecure), Err(UNSIGNED_HOST.to_owned())),
            (Err(DENIED), Err(UNSIGNED_HOST.to_owned())),
            (Err(DnsError::Bogus), Err(format!("mx.one.example: {}", DnsError::Bogus))),
        ] {
            let fake = Fake { tlsa: BOTH.into(), aliases: [("mx.one.example", proof)].into() };
            assert_eq!(found(&fake, &alias).await.map(|(base, _)| base), expected);
        }
    }

    #[tokio::test]
    async fn what_nobody_can_tell_is_no_denial() {
        let secure = target(None, Proof::Secure, Proof::Secure);
        let alias = target(Some("real.two.example"), Proof::Secure, Proof::Secure);
        for error in [DnsError::Bogus, DnsError::TimedOut, DnsError::ServerFailure("SERVFAIL".into())] {
            let tlsa =
                [("mx.one.example", Err(error.clone())), ("real.two.example", Err(error.clone()))].into();
            let fake = Fake { tlsa, ..Fake::default() };
            assert_eq!(found(&fake, &secure).await, Err(format!("mx.one.example: {error}")));
            // Nor is the next name asked then.
            assert_eq!(found(&fake, &alias).await, Err(format!("real.two.example: {error}")));
        }
        let fake = Fake { tlsa: [("mx.one.example", Err(DnsError::Malformed))].into(), ..Fake::default() };
        let finding = find(&fake, &name("one.example"), &secure).await;
        assert!(matches!(finding, TlsaFinding::Records(TlsaRecords { left_out: 1, .. })), "{finding:?}");
    }
}
