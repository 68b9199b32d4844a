//! Which names certificates are wanted for (DECISIONS 25): the host's own, MX names and policy hosts whose addresses are ours, and
//! those that the config names. A name that leads elsewhere is not asked for; the reason is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use acme::{LeftOut, Wanted, is_private, is_reserved};
use dns::DnsError;
use route::Lookup as _;
use smtp::Domain;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::super::outbound::{Names, interface_addresses};
use super::Certifying;
use crate::config::{Challenge, Config, Mode};

/// Lookups at the same time; name servers are not to take it for a flood.
const AT_ONCE: usize = 16;

/// MX names of all domains together: their owners choose how many there are, and the CA counts orders.
const MAX_EXCHANGERS: usize = 500;

/// What a name is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    /// The host's own: where it leads is here by definition.
    Host,
    Exchanger,
    Named,
    Policy,
}

/// Addresses that lead here.
#[derive(Debug)]
struct Here {
    addresses: BTreeSet<IpAddr>,
    /// There may be more: the host's name could not be looked up.
    unclear: bool,
}

/// What a look at a name has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Ours,
    /// It is not, with the reason.
    Not(String),
    /// It cannot be told now.
    Unclear(String),
}

pub(super) async fn wanted(certifying: &Certifying) -> Wanted {
    let (config, names, own) = {
        let now = certifying.now();
        (Arc::clone(&now.config), now.names.clone(), Arc::clone(&now.own))
    };
    let private = is_private(&config.acme.directory);
    let (mut candidates, mail_unclear) = exchangers(&config, &names, private).await;
    let mut add = |name: &Domain, purpose| {
        candidates.entry(name.as_str().to_ascii_lowercase()).or_insert(purpose);
    };
    config.acme.names.iter().for_each(|name| add(name, Purpose::Named));
    let leaving = certifying.zones.leaving();
    for domain in config.backends.iter().flat_map(|backend| &backend.domains).chain(&leaving) {
        if let Ok(host) = format!("mta-sts.{domain}").parse() {
            add(&host, Purpose::Policy);
        }
    }
    candidates.insert(config.hostname.as_str().to_ascii_lowercase(), Purpose::Host);
    let here = Arc::new(here(certifying, &config, &names, private).await);
    let by_dns = config.acme.challenge == Challenge::Dns01;
    let mut looks = JoinSet::new();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut found = Vec::new();
    for (name, purpose) in candidates {
        if let Some(reason) = no_host(&name) {
            found.push((name, purpose, Found::Not(reason.to_owned())));
        } else if !private && is_reserved(&name) {
            let reason = "it is set aside for tests, documents or inner networks".to_owned();
            found.push((name, purpose, Found::Not(reason)));
        } else if own.is_for(&name) {
            found.push((
                name,
                purpose,
                Found::Not("a certificate from [tls] certificates is for it".to_owned()),
            ));
        } else if by_dns && matches!(purpose, Purpose::Host | Purpose::Named) {
            found.push((name, purpose, Found::Ours));
        } else {
            let (names, here, places) = (names.clone(), Arc::clone(&here), Arc::clone(&places));
            looks.spawn(async move {
                let _place = places.acquire().await;
                let found = look(&names, &name, purpose, &here).await;
                (name, purpose, found)
            });
        }
    }
    while let Some(looked) = looks.join_next().await {
        found.extend(looked.ok());
    }
    let mut wanted = sorted(found);
    wanted.mail_unclear = mail_unclear;
    certifying.now().hosts = wanted.mail.clone();
    wanted
}

/// The host's own name first: it is the one that clients without SNI see in front.
fn sorted(mut found: Vec<(String, Purpose, Found)>) -> Wanted {
    found.sort_by(|(one, a, _), (other, b, _)| (a, one).cmp(&(b, other)));
    let mut wanted = Wanted::default();
    for (name, purpose, found) in found {
        let ours = found == Found::Ours;
        if purpose == Purpose::Policy {
            wanted.policies.push((name.clone(), ours));
        } else if ours {
            wanted.mail.push(name.clone());
        }
        match found {
            Found::Ours => {}
            Found::Not(reason) => wanted.not_asked.push(LeftOut { name, reason }),
            Found::Unclear(reason) => {
                wanted.unclear.push(name.clone());
                wanted.not_asked.push(LeftOut { name, reason });
            }
        }
    }
    wanted
}

/// Names that the DNS can have and a certificate cannot (CA/Browser Forum Baseline Requirements §3.2.2.4, RFC 5280 §4.2.1.6).
fn no_host(name: &str) -> Option<&'static str> {
    let last = name.rsplit('.').next().unwrap_or_default();
    if name.contains('_') {
        return Some("no CA certifies a name with an underscore");
    }
    last.bytes().all(|octet| octet.is_ascii_digit()).then_some("it looks like an address")
}

/// The MX names of all domains; a domain without MX records is its own (RFC 5321 §5.1).
/// With whether some of them could not be asked for.
async fn exchangers(config: &Config, names: &Names, private: bool) -> (BTreeMap<String, Purpose>, bool) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut looks = JoinSet::new();
    let domains: BTreeSet<_> =
        config.backends.iter().flat_map(|backend| &backend.domains).map(Domain::as_str).collect();
    for domain in domains.into_iter().filter(|domain| private || !is_reserved(domain)) {
        let Ok(domain) = domain.parse::<Domain>() else { continue };
        let (names, places) = (names.clone(), Arc::clone(&places));
        looks.spawn(async move {
            let _place = places.acquire().await;
            match names.mx(&domain).await {
                Ok(answer) => Some(answer.records.into_iter().filter_map(|mx| mx.exchange).collect()),
                Err(DnsError::NoRecords { .. }) => Some(vec![domain]),
                Err(error) if error.is_temporary() => None,
                Err(_) => Some(Vec::new()),
            }
        });
    }
    let (mut found, mut unclear) = (BTreeMap::new(), false);
    while let Some(looked) = looks.join_next().await {
        let looked: Option<Vec<Domain>> = looked.ok().flatten();
        unclear |= looked.is_none();
        for host in looked.unwrap_or_default() {
            if found.len() >= MAX_EXCHANGERS {
                break;
            }
            found.insert(host.as_str().to_ascii_lowercase(), Purpose::Exchanger);
        }
    }
    (found, unclear)
}

/// The addresses that lead here: the machine's own, those that the host's name has (a cloud may keep them from the machine), and in
/// a gateway the servers behind.
async fn here(certifying: &Certifying, config: &Config, names: &Names, private: bool) -> Here {
    let mut here: BTreeSet<IpAddr> = interface_addresses().into_iter().collect();
    let mut unclear = false;
    here.extend(
        config.listeners.iter().map(|listener| listener.address.ip()).filter(|ip| !ip.is_unspecified()),
    );
    if private || !is_reserved(config.hostname.as_str()) {
        let found = names.addresses(&config.hostname).await;
        unclear = found.as_ref().is_err_and(DnsError::is_temporary);
        here.extend(found.iter().flat_map(|found| found.iter().map(|(ip, _)| ip)));
    }
    if config.network.mode != Mode::Front {
        here.extend(certifying.relay.serving().settings.routing.server_addresses());
    }
    Here { addresses: here, unclear }
}

async fn look(names: &Names, name: &str, purpose: Purpose, here: &Here) -> Found {
    let Ok(domain) = name.parse::<Domain>() else { return Found::Not("it is no name".to_owned()) };
    match names.addresses(&domain).await {
        Ok(addresses) => judged(addresses.iter().map(|(ip, _)| ip), purpose, here),
        Err(error) if error.is_temporary() => Found::Unclear(format!("it cannot be looked up now: {error}")),
        Err(_) if purpose == Purpose::Policy => {
            Found::Not("it has no address record; with one that leads here its policy is served".to_owned())
        }
        Err(_) => Found::Not("it has no address record".to_owned()),
    }
}

/// A CA asks at any of a name's addresses.
fn judged(addresses: impl Iterator<Item = IpAddr>, purpose: Purpose, here: &Here) -> Found {
    if purpose == Purpose::Host {
        return Found::Ours;
    }
    match addresses.into_iter().find(|address| !here.addresses.contains(address)) {
        None => Found::Ours,
        Some(other) if here.unclear => Found::Unclear(format!(
            "it leads to {other}, and where the host's own name leads cannot be looked up now"
        )),
        Some(other) => Found::Not(format!("it leads to {other}, which is not here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_is_ours_if_all_its_addresses_are() {
        let addresses = BTreeSet::from([ip("192.0.2.1"), ip("2001:db8::1")]);
        let here = Here { addresses: addresses.clone(), unclear: false };
        let found =
            |addresses: &[&str], purpose| judged(addresses.iter().map(|text| ip(text)), purpose, &here);
        assert_eq!(found(&["2001:db8::1", "192.0.2.1"], Purpose::Exchanger), Found::Ours);
        let elsewhere = found(&["192.0.2.1", "192.0.2.2"], Purpose::Policy);
        assert_eq!(elsewhere, Found::Not("it leads to 192.0.2.2, which is not here".to_owned()));
        assert_eq!(found(&["192.0.2.2"], Purpose::Host), Found::Ours);
        let here = Here { addresses, unclear: true };
        let unclear = judged([ip("192.0.2.2")].into_iter(), Purpose::Exchanger, &here);
        assert!(matches!(unclear, Found::Unclear(_)), "{unclear:?}");
    }

    #[test]
    fn what_no_certificate_can_carry_is_not_asked_for() {
        assert!(no_host("mx_1.example.net").is_some() && no_host("192.0.2.1").is_some());
        assert!(no_host("mx-1.example.net").is_none());
    }

    #[test]
    fn the_hosts_name_comes_first_and_each_name_is_told_of_where_it_is_not_ours() {
        let not = || Found::Not("no".to_owned());
        let wanted = sorted(vec![
            ("a.example.net".into(), Purpose::Exchanger, Found::Ours),
            ("mx.example.net".into(), Purpose::Host, Found::Ours),
            ("mta-sts.example.net".into(), Purpose::Policy, Found::Ours),
            ("mta-sts.example.org".into(), Purpose::Policy, not()),
            ("b.example.net".into(), Purpose::Named, not()),
            ("c.example.net".into(), Purpose::Exchanger, Found::Unclear("later".into())),
        ]);
        assert_eq!(wanted.mail, ["mx.example.net", "a.example.net"]);
        assert_eq!(
            wanted.policies,
            [("mta-sts.example.net".to_owned(), true), ("mta-sts.example.org".to_owned(), false)]
        );
        assert_eq!(wanted.unclear, ["c.example.net"]);
        assert_eq!(wanted.not_asked.len(), 3);
    }
}
