//! From a recipient's domain to the servers that take its mail (RFC 5321 §5.1, RFC 7505): MX records in the order of their
//! preference, shuffled among equals, each host's addresses with the families in turns. Whatever the domain publishes, the
//! number of lookups, of targets and of notes is bounded, and no target lies in the inside.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use dns::{Addresses, Answer, DnsError, Mx, Proof};
use ipnet::IpNet;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use smtp::Domain;
use smtp::address::Host;

use crate::all::all;
use crate::lookup::Lookup;
use crate::mx_set::{MxSet, Note, Published, Target};
use crate::no_route::NoRoute;
use crate::reach::is_public;

/// How many exchangers' addresses are asked for, at the same time. With one target each there are nearly as many as
/// [`crate::MAX_ATTEMPTS`].
pub const MAX_HOSTS: usize = 10;

const SMTP: u16 = 25;
/// What an address literal's set holds for: it has no records that could change.
const UNCHANGING: Duration = Duration::from_secs(3600);
/// Top-level domains that are nobody's on the Internet, and of which the DNS is not asked (RFC 6761 §6.3 and §6.4,
/// RFC 7686). `.local` is left to the administrator's own DNS: many insides are called so.
const NOWHERE: [&str; 3] = ["localhost", "invalid", "onion"];

/// What has to be known of this machine, and of the networks around it.
#[derive(Clone, Debug, Default)]
pub struct ExchangerSettings {
    /// The names by which Postern is known: the hostname, the MX names that point at it.
    pub own_names: HashSet<Domain>,
    /// The addresses at which it takes mail from the outside.
    pub own_addresses: HashSet<IpAddr>,
    /// Networks that are not the Internet's and may be named by an MX record all the same: those of sites that exchange
    /// mail inside.
    pub inside: Vec<IpNet>,
}

/// Finds the servers of the world.
#[derive(Debug)]
pub struct Exchangers<L> {
    lookup: L,
    settings: ExchangerSettings,
}

/// One host that a domain names.
#[derive(Clone, Debug)]
struct Exchanger {
    preference: u16,
    host: Domain,
}

/// What a domain says of its mail.
struct Said {
    exchangers: Vec<Exchanger>,
    published: Published,
    proof: Proof,
    ttl: Duration,
}

/// What was learnt on the way.
#[derive(Default)]
struct Search {
    targets: Vec<Target>,
    notes: Vec<Note>,
    unknown: Option<DnsError>,
    looped: bool,
    closed: bool,
}

impl<L: Lookup> Exchangers<L> {
    /// `lookup` is whoever answers for the DNS.
    pub fn new(lookup: L, mut settings: ExchangerSettings) -> Self {
        settings.own_addresses = settings.own_addresses.iter().map(IpAddr::to_canonical).collect();
        Self { lookup, settings }
    }

    /// The targets of mail for a domain or for an address literal. `seed` decides the order among equals: random, so that
    /// load spreads.
    ///
    /// # Errors
    ///
    /// There is no target, now or for good.
    pub async fn targets(&self, destination: &Host, seed: u64) -> Result<MxSet, NoRoute> {
        match destination {
            Host::Literal(address) => self.literal(*address),
            Host::Name(domain) if is_nowhere(domain) => Err(NoRoute::NoSuchDomain),
            Host::Name(domain) => self.of_domain(domain, seed).await,
        }
    }

    /// The targets of a relay that the administrator named: its addresses, wherever they are.
    ///
    /// # Errors
    ///
    /// Its name has no address, now or for good.
    pub async fn relay(&self, relay: &Host, port: u16, seed: u64) -> Result<MxSet, NoRoute> {
        let host = match relay {
            Host::Literal(address) => {
                return Ok(unnamed(SocketAddr::new(address.to_canonical(), port), Published::Relay));
            }
            Host::Name(host) => host,
        };
        let addresses = self.lookup.addresses(host).await.map_err(no_host)?;
        let exchanger = Exchanger { preference: 0, host: host.clone() };
        let mut search = Search::default();
        note_missing_families(&mut search, host, &addresses);
        let in_turns = in_turns(&addresses, &mut StdRng::seed_from_u64(seed));
        // The administrator's word is no DNS record: there is no proof to be weaker than.
        search.push(&exchanger, addresses.canonical(), Proof::Secure, port, &in_turns);
        Ok(MxSet {
            targets: search.targets,
            published: Published::Relay,
            notes: search.notes,
            ttl: addresses.ttl(),
        })
    }

    fn literal(&self, address: IpAddr) -> Result<MxSet, NoRoute> {
        let address = address.to_canonical();
        if self.settings.own_addresses.contains(&address) {
            return Err(NoRoute::LoopsBack);
        }
        if !self.is_open(address) {
            return Err(NoRoute::Closed);
        }
        Ok(unnamed(SocketAddr::new(address, SMTP), Published::Literal))
    }

    async fn of_domain(&self, domain: &Domain, seed: u64) -> Result<MxSet, NoRoute> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut search = Search::default();
        let mut said = self.say(domain, &mut search).await?;
        // A stable sort keeps the order among equals.
        said.exchangers.shuffle(&mut random);
        said.exchangers.sort_by_key(|exchanger| exchanger.preference);
        self.leave_out_own_names(&mut said.exchangers, &mut search);
        if said.exchangers.len() > MAX_HOSTS {
            search.notes.push(Note::TooMany(said.exchangers.len() - MAX_HOSTS));
            said.exchangers.truncate(MAX_HOSTS);
        }
        let asked = said.exchangers.iter().map(|exchanger| self.find(exchanger));
        let found = all(asked.collect()).await;
        let mut ttl = said.ttl;
        for (exchanger, found) in said.exchangers.iter().zip(found) {
            match found {
                Ok(addresses) if self.is_own(&addresses) => {
                    search.own(exchanger);
                    break;
                }
                Ok(addresses) => {
                    ttl = ttl.min(addresses.ttl());
                    self.add(exchanger, &addresses, said.proof, &mut random, &mut search);
                }
                Err(error) => search.unresolved(&exchanger.host, error),
            }
        }
        search.finish(said.published, ttl)
    }

    /// What the domain's MX records say; the domain itself where it has none.
    async fn say(&self, domain: &Domain, search: &mut Search) -> Result<Said, NoRoute> {
        match self.lookup.mx(domain).await {
            Ok(answer) => said(answer, search),
            Err(DnsError::NoRecords { proof }) => Ok(Said {
                exchangers: vec![Exchanger { preference: 0, host: domain.clone() }],
                published: Published::Implicit,
                proof,
                ttl: Duration::MAX,
            }),
            Err(error) => Err(no_host(error)),
        }
    }

    /// A machine may know itself by name where its addresses are not its own, behind a translating router.
    fn leave_out_own_names(&self, exchangers: &mut Vec<Exchanger>, search: &mut Search) {
        let own = exchangers.iter().find(|exchanger| self.settings.own_names.contains(&exchanger.host));
        if let Some(own) = own.cloned() {
            exchangers.retain(|exchanger| exchanger.preference < own.preference);
            search.own(&own);
        }
    }

    async fn find(&self, exchanger: &Exchanger) -> Result<Addresses, DnsError> {
        match exchanger.host.as_str().parse::<Ipv4Addr>() {
            // Most such records come from people who did not know better, and most mail servers deliver there.
            Ok(address) => {
                Addresses::new(Err(DnsError::NoRecords { proof: Proof::Insecure }), Ok(given(address)))
            }
            Err(_) => self.lookup.addresses(&exchanger.host).await,
        }
    }

    fn add(
        &self,
        exchanger: &Exchanger,
        addresses: &Addresses,
        mx_proof: Proof,
        random: &mut StdRng,
        search: &mut Search,
    ) {
        note_missing_families(search, &exchanger.host, addresses);
        let mut in_turns = in_turns(addresses, random);
        in_turns.retain(|(address, _)| {
            let open = self.is_open(*address);
            if !open {
                search.closed = true;
                search.notes.push(Note::Closed { host: Some(exchanger.host.clone()), address: *address });
            }
            open
        });
        search.push(exchanger, addresses.canonical(), mx_proof, SMTP, &in_turns);
    }

    fn is_own(&self, addresses: &Addresses) -> bool {
        addresses.iter().any(|(address, _)| self.settings.own_addresses.contains(&address.to_canonical()))
    }

    fn is_open(&self, address: IpAddr) -> bool {
        is_public(address)
            || self.settings.inside.iter().any(|network| network.contains(&address.to_canonical()))
    }
}

impl Search {
    /// This exchanger is Postern: what is not preferred to it is left out, its equals too.
    fn own(&mut self, exchanger: &Exchanger) {
        self.looped = true;
        self.notes.push(Note::Own(exchanger.host.clone()));
        self.targets.retain(|target| target.preference < exchanger.preference);
    }

    fn unresolved(&mut self, host: &Domain, error: DnsError) {
        if error.is_temporary() {
            self.unknown = Some(error.clone());
        }
        self.notes.push(Note::Unresolved { host: host.clone(), error });
    }

    fn push(
        &mut self,
        exchanger: &Exchanger,
        canonical: Option<&Domain>,
        mx_proof: Proof,
        port: u16,
        addresses: &[(IpAddr, Proof)],
    ) {
        let literal = exchanger.host.as_str().parse::<Ipv4Addr>().ok();
        if let Some(address) = literal {
            self.notes.push(Note::AddressForName(address.into()));
        } else if canonical.is_some() {
            self.notes.push(Note::Alias(exchanger.host.clone()));
        }
        self.targets.extend(addresses.iter().map(|(address, proof)| Target {
            host: literal.is_none().then(|| exchanger.host.clone()),
            canonical: canonical.cloned(),
            address: SocketAddr::new(address.to_canonical(), port),
            preference: exchanger.preference,
            mx_proof,
            address_proof: *proof,
        }));
    }

    fn finish(self, published: Published, ttl: Duration) -> Result<MxSet, NoRoute> {
        if !self.targets.is_empty() {
            return Ok(MxSet { targets: self.targets, published, notes: self.notes, ttl });
        }
        // A server that cannot be found now may be the one that is preferred to us, or the one that is not closed.
        Err(match self.unknown {
            Some(error) => NoRoute::Unknown(error),
            None if self.looped => NoRoute::LoopsBack,
            None if self.closed => NoRoute::Closed,
            None => NoRoute::NoServer,
        })
    }
}

/// What MX records say. A host that is named twice counts where it is preferred.
fn said(answer: Answer<Mx>, search: &mut Search) -> Result<Said, NoRoute> {
    let mut records = answer.records;
    let several = records.len() > 1 || answer.left_out > 0;
    records.sort();
    let mut seen = HashSet::new();
    let mut exchangers = Vec::new();
    for Mx { preference, exchange } in records {
        match exchange {
            Some(host) if seen.insert(host.clone()) => exchangers.push(Exchanger { preference, host }),
            Some(_) => {}
            None if several => search.notes.push(Note::NullAmongOthers),
            None => return Err(NoRoute::NullMx),
        }
    }
    if answer.left_out > 0 {
        search.notes.push(Note::TooMany(answer.left_out));
    }
    if exchangers.is_empty() {
        return Err(NoRoute::NullMx);
    }
    Ok(Said { exchangers, published: Published::Mx, proof: answer.proof, ttl: answer.ttl })
}

fn no_host(error: DnsError) -> NoRoute {
    match error {
        DnsError::NoSuchDomain { .. } | DnsError::NotAName => NoRoute::NoSuchDomain,
        DnsError::NoRecords { .. } | DnsError::Malformed => NoRoute::NoServer,
        error => NoRoute::Unknown(error),
    }
}

/// One family may hide addresses behind a failure; the other serves meanwhile.
fn note_missing_families(search: &mut Search, host: &Domain, addresses: &Addresses) {
    let failed = [addresses.v6.as_ref().err(), addresses.v4.as_ref().err()];
    for error in failed.into_iter().flatten().filter(|error| error.is_temporary()) {
        search.unresolved(host, error.clone());
    }
}

/// IPv6 and IPv4 in turns, IPv6 first (RFC 6724), so that the second attempt is in the other family where the first has no
/// route; shuffled within each.
fn in_turns(addresses: &Addresses, random: &mut StdRng) -> Vec<(IpAddr, Proof)> {
    let (mut v6, mut v4): (Vec<_>, Vec<_>) = addresses.iter().partition(|(address, _)| address.is_ipv6());
    v6.shuffle(random);
    v4.shuffle(random);
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut merged = Vec::with_capacity(v6.len() + v4.len());
    while v6.len() + v4.len() > 0 {
        merged.extend(v6.next());
        merged.extend(v4.next());
    }
    merged
}

fn given(address: Ipv4Addr) -> Answer<Ipv4Addr> {
    Answer { records: vec![address], proof: Proof::Insecure, ttl: UNCHANGING, canonical: None, left_out: 0 }
}

fn unnamed(address: SocketAddr, published: Published) -> MxSet {
    let target = Target {
        host: None,
        canonical: None,
        address,
        preference: 0,
        mx_proof: Proof::Insecure,
        address_proof: Proof::Insecure,
    };
    MxSet { targets: vec![target], published, notes: Vec::new(), ttl: UNCHANGING }
}

fn is_nowhere(domain: &Domain) -> bool {
    domain.as_str().rsplit('.').next().is_some_and(|top| NOWHERE.contains(&top))
}

#[cfg(test)]
mod tests;
