//! The identities that serve now, and which of them a client gets: by the name it asks for (RFC 6066 §3), else by the
//! address it connected to, else the default.
//!
//! Old clients send no name, and what they verify is then the MX that they looked up; behind one appliance with
//! several hidden servers only the address that they connected to tells which one that was.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::{Chain, Identity};

/// What is to serve.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// All identities. Several may prove the same name.
    pub identities: Vec<Identity>,
    /// The name whose identities serve where nothing else decides; where none proves it, any may serve.
    pub default: String,
    /// Original destination addresses, and the name that is served there to clients that name none.
    pub destinations: HashMap<IpAddr, String>,
}

/// The swappable set. A handshake uses the set that is current when its ClientHello has been read; sessions that are
/// established have no more use for it.
pub struct Identities {
    current: ArcSwap<Table>,
    /// Held by whoever changes a part of it: what another changed meanwhile must not be lost.
    changing: Mutex<()>,
}

impl Identities {
    /// The set to begin with.
    pub fn new(served: Served) -> Arc<Self> {
        Arc::new(Self { current: ArcSwap::from_pointee(Table::new(served)), changing: Mutex::new(()) })
    }

    /// The set from now on. No session is disturbed.
    pub fn replace(&self, served: Served) {
        self.current.store(Arc::new(Table::new(served)));
    }

    /// The identities that serve now.
    pub fn served(&self) -> Vec<Identity> {
        self.current.load().all.0.clone()
    }

    /// From now on these identities serve, under the same rules. No session is disturbed.
    pub fn serve(&self, identities: Vec<Identity>) {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.current.load();
        let destinations =
            now.destinations.iter().map(|(address, name)| (*address, name.to_string())).collect();
        self.replace(Served { identities, default: now.default.to_string(), destinations });
    }

    /// From now on these are the names that are served at original destinations to clients that name none.
    pub fn serve_at(&self, destinations: HashMap<IpAddr, String>) {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.current.load();
        let served = Served { identities: now.all.0.clone(), default: now.default.to_string(), destinations };
        self.replace(served);
    }

    /// Every chain that a client may be shown which asks for this name: one for each kind of key.
    pub fn shown_for(&self, name: &str) -> Vec<Chain> {
        let table = self.current.load();
        let candidates = &table.candidates(Some(name), None).0;
        let first_of_its_kind = |(at, identity): &(usize, &Identity)| {
            candidates.iter().position(|other| other.is_ecdsa() == identity.is_ecdsa()) == Some(*at)
        };
        let shown = candidates.iter().enumerate().filter(first_of_its_kind);
        shown.map(|(_, identity)| Chain::new(identity.chain())).collect()
    }

    /// Whether the original destination can decide anything.
    pub(crate) fn knows(&self, destination: IpAddr) -> bool {
        self.current.load().destinations.contains_key(&destination.to_canonical())
    }

    fn choose(&self, hello: &ClientHello<'_>, destination: Option<IpAddr>) -> Option<Arc<CertifiedKey>> {
        let table = self.current.load();
        table.candidates(hello.server_name(), destination).choose(hello.signature_schemes())
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identities").field(&self.current.load().all.0).finish()
    }
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(&hello, None)
    }
}

/// The set as seen from one original destination: rustls shows a resolver the ClientHello and nothing else.
#[derive(Debug)]
pub(crate) struct AtDestination {
    pub(crate) identities: Arc<Identities>,
    pub(crate) destination: IpAddr,
}

impl ResolvesServerCert for AtDestination {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.identities.choose(&hello, Some(self.destination))
    }
}

/// [`Served`], ready to be looked things up in.
struct Table {
    exact: HashMap<Box<str>, Candidates>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Candidates>,
    /// Canonical addresses.
    destinations: HashMap<IpAddr, Box<str>>,
    default: Box<str>,
    all: Candidates,
}

impl Table {
    fn new(served: Served) -> Self {
        let mut exact: HashMap<Box<str>, Candidates> = HashMap::new();
        let mut wildcard: HashMap<Box<str>, Candidates> = HashMap::new();
        let all = Candidates::new(served.identities);
        // With a single one there is nothing to choose. A leaf for a far side with 250 names would cost 100 KiB here.
        let several = if all.0.len() > 1 { all.0.as_slice() } else { &[] };
        for identity in several {
            for name in identity.names() {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, &**name),
                };
                names.entry(name.into()).or_default().0.push(identity.clone());
            }
        }
        let destinations =
            served.destinations.into_iter().map(|(ip, name)| (ip.to_canonical(), normal(&name))).collect();
        Self { exact, wildcard, destinations, default: normal(&served.default), all }
    }

    fn candidates(&self, name: Option<&str>, destination: Option<IpAddr>) -> &Candidates {
        let by_name = || self.named(&normal(name?));
        let by_destination = || self.named(self.destinations.get(&destination?.to_canonical())?);
        by_name().or_else(by_destination).or_else(|| self.named(&self.default)).unwrap_or(&self.all)
    }

    /// Exactly, then with the first label as a wildcard, which stands for one label only (RFC 9525 §6.3).
    fn named(&self, name: &str) -> Option<&Candidates> {
        self.exact.get(name).or_else(|| self.wildcard.get(name.split_once('.')?.1))
    }
}

/// Names are compared without regard to case and to the root's dot.
fn normal(name: &str) -> Box<str> {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into_boxed_str()
}

/// Identities for one name, the preferred one first: ECDSA before the rest, then the one that lasts longest.
#[derive(Default)]
struct Candidates(Vec<Identity>);

impl Candidates {
    fn new(mut identities: Vec<Identity>) -> Self {
        identities.sort_by_key(|identity| (!identity.is_ecdsa(), Reverse(identity.not_after())));
        Self(identities)
    }

    /// The first whose signature the client can verify. Where there is none the first of all goes out, so that what is
    /// recorded is what the client lacks. rustls has already taken from `offered` what the client's suites rule out.
    fn choose(&self, offered: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let usable = |identity: &&Identity| identity.certified().key.choose_scheme(offered).is_some();
        let chosen = self.0.iter().find(usable).or_else(|| self.0.first())?;
        Some(Arc::clone(chosen.certified()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    const NOW: Duration = Duration::from_secs(1_795_288_205);

    fn table() -> Table {
        let identity = |names: &[&str]| Identity::self_signed(names, NOW).unwrap();
        Table::new(Served {
            identities: vec![
                identity(&["*.example.net"]),
                identity(&["mx.example.org"]),
                identity(&["mx.example.net"]),
            ],
            default: "MX.example.org".to_owned(),
            destinations: HashMap::from([([192, 0, 2, 7].into(), "other.example.net".to_owned())]),
        })
    }

    fn chosen(table: &Table, name: Option<&str>, destination: Option<&str>) -> String {
        let destination = destination.map(|ip| ip.parse().unwrap());
        table.candidates(name, destination).0[0].names()[0].to_string()
    }

    #[test]
    fn the_name_decides_exactly_then_by_wildcard_in_any_case() {
        let table = table();
        assert_eq!(chosen(&table, Some("MX.Example.NET."), None), "mx.example.net");
        assert_eq!(chosen(&table, Some("www.example.net"), None), "*.example.net");
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let table = table();
        assert_eq!(chosen(&table, Some("a.b.example.net"), None), "mx.example.org");
        assert_eq!(chosen(&table, Some("example.net"), None), "mx.example.org");
    }

    #[test]
    fn without_a_known_name_the_destination_decides_then_the_default() {
        let table = table();
        assert_eq!(chosen(&table, None, Some("192.0.2.7")), "*.example.net");
        assert_eq!(chosen(&table, Some("unknown.test"), Some("::ffff:192.0.2.7")), "*.example.net");
        assert_eq!(chosen(&table, Some("mx.example.net"), Some("192.0.2.7")), "mx.example.net");
        assert_eq!(chosen(&table, None, Some("192.0.2.8")), "mx.example.org");
        assert_eq!(chosen(&table, None, None), "mx.example.org");
    }

    #[test]
    fn names_at_destinations_change_and_identities_stay() {
        let identity = |names: &[&str]| Identity::self_signed(names, NOW).unwrap();
        let (first, second) = (identity(&["a.example"]), identity(&["b.example"]));
        let identities = Identities::new(Served {
            identities: vec![first.clone(), second.clone()],
            default: "b.example".to_owned(),
            destinations: HashMap::new(),
        });
        let address = [192, 0, 2, 7].into();
        identities.serve_at(HashMap::from([(address, "a.example".to_owned())]));
        assert!(identities.knows(address) && identities.served().len() == 2);
        let table = identities.current.load();
        assert_eq!(table.candidates(None, Some(address)).0[0].pin(), first.pin());
        assert_eq!(table.candidates(None, None).0[0].pin(), second.pin());
        let third = identity(&["a.example", "b.example"]);
        identities.serve(vec![third]);
        assert!(identities.knows(address), "rules stay where identities change");
        identities.serve(vec![first.clone(), second]);
        let shown = identities.shown_for("A.example");
        assert_eq!(shown.len(), 1, "of two with the same kind of key one serves");
        assert_eq!(&shown[0].certificates()[0], &first.chain()[0]);
    }

    #[test]
    fn a_single_one_serves_whoever_asks_for_whatever() {
        let one = Identity::self_signed(&["mx.example.net"], NOW).unwrap();
        let table = Table::new(Served { identities: vec![one], ..Served::default() });
        for name in [Some("mx.example.net"), Some("unknown.test"), None] {
            assert_eq!(chosen(&table, name, None), "mx.example.net");
        }
    }

    #[test]
    fn of_two_for_the_same_name_the_one_that_lasts_longer_serves() {
        let old = Identity::self_signed(&["mx.example.net"], NOW).unwrap();
        let new = Identity::self_signed(&["mx.example.net"], NOW + Duration::from_secs(99)).unwrap();
        let pin = new.pin();
        let candidates = Candidates::new(vec![old, new]);
        assert_eq!(candidates.0[0].pin(), pin);
    }
}
