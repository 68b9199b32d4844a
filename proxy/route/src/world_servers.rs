//! The servers of the world as backends: looked up by domain, and remembered as long as DNS allows.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use record::Clock;
use smtp::address::Host;
use smtp::{Domain, No};
use store::Store;
use tls::{Ladder, LegPolicy, Roots, TlsError};
use tokio::time::Instant;

use crate::all::all;
use crate::backend::World;
use crate::destinations::{Destinations, Locating};
use crate::exchangers::{ExchangerSettings, Exchangers};
use crate::far::{Demanded, FarPolicies};
use crate::far_tls::{Connectors, FarTls};
use crate::lookup::Lookup;
use crate::mx_set::{MxSet, Target};
use crate::no_route::NoRoute;
use crate::sts::{Sts, StsFetch, StsFinding};
use crate::tlsa::{self, TlsaFinding};
use crate::{Backend, BackendSettings, Banner, ClientAddress, Server};

/// Destinations that are remembered; a busy site writes to some thousand domains a day. Whoever names more of them makes
/// Postern look up again, not remember more (law 7).
const REMEMBERED: usize = 10_000;
/// What DNS says is believed for this long even where its TTL is shorter: a transaction with many recipients asks once.
const SHORTEST: Duration = Duration::from_secs(60);
/// A server that moved is noticed after this long, whatever the TTL.
const LONGEST: Duration = Duration::from_secs(3600);
/// What could not be told is asked again soon.
const UNDECIDED: Duration = Duration::from_secs(5);

/// How the world's servers are met.
#[derive(Clone, Debug)]
pub struct WorldSettings {
    /// What TLS is spoken.
    pub tls: tls::Settings,
    /// Which authorities are trusted.
    pub roots: Roots,
    /// What TLS must be towards whom.
    pub policies: FarPolicies,
    /// Where connections come from.
    pub world: World,
    /// They come from the client's own address.
    pub transparent: bool,
    /// All mail goes there instead.
    pub relay: Option<Arc<Backend>>,
    /// Servers that hidden servers send through, verified by name.
    pub relays: Vec<Arc<Backend>>,
}

/// How MTA-STS policies are had.
#[derive(Clone)]
pub struct StsSource {
    /// Fetches them.
    pub fetch: Arc<dyn StsFetch>,
    /// Keeps them over a restart.
    pub store: Option<Store>,
}

/// The servers of the world.
pub struct WorldServers<L> {
    exchangers: Exchangers<L>,
    lookup: L,
    sts: Option<Sts<L>>,
    settings: WorldSettings,
    connectors: Connectors,
    by_host: Mutex<Remembered<Host>>,
    by_address: Mutex<Remembered<SocketAddr>>,
}

/// What was found out of a destination's policies, and how long that holds.
struct Found {
    servers: Vec<Server>,
    lasts: Duration,
}

impl<L: Lookup + Clone> WorldServers<L> {
    /// `lookup` answers for the DNS, `clock` dates certificates and policies; without an `StsSource` nobody's MTA-STS policy is
    /// asked for.
    ///
    /// # Errors
    ///
    /// A connector cannot be made.
    pub fn new(
        lookup: L,
        exchangers: ExchangerSettings,
        settings: WorldSettings,
        sts: Option<StsSource>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, TlsError> {
        let connectors = Connectors::new(&settings.tls, &settings.roots, clock)?;
        let source = sts.filter(|_| settings.policies.mta_sts);
        let sts = source
            .map(|StsSource { fetch, store }| Sts::new(lookup.clone(), fetch, store, Arc::clone(clock)));
        let exchangers = Exchangers::new(lookup.clone(), exchangers);
        let (by_host, by_address) = (Mutex::default(), Mutex::default());
        Ok(Self { exchangers, lookup, sts, settings, connectors, by_host, by_address })
    }

    async fn find(&self, host: Host) -> Result<Arc<Backend>, No> {
        if let Some(relay) = &self.settings.relay {
            return Ok(Arc::clone(relay));
        }
        if let Some(known) = lock(&self.by_host).get(&host) {
            return Ok(known);
        }
        let set = self.exchangers.targets(&host, rand::random()).await.map_err(told)?;
        for note in &set.notes {
            tracing::debug!(destination = ?host, %note, "in the DNS of a destination");
        }
        let Found { servers, lasts } =
            self.judge(&host, &set).await.map_err(|error| No::FarTooWeak(error.to_string().into()))?;
        let ladder = servers.iter().filter_map(Server::far_tls).map(|far| far.policy().ladder).max();
        let found = self.backend(name_of(&host), servers, ladder.unwrap_or_default(), false);
        let found = found.map_err(|_| No::FarTooWeak("nobody is trusted to verify it".into()))?;
        Ok(lock(&self.by_host).remember(host, found, lasts))
    }

    /// The servers of a destination in the order in which to try them, each with what is demanded of it. A server is asked for,
    /// and verified, by its own name, unless its policy says otherwise.
    async fn judge(&self, host: &Host, set: &MxSet) -> Result<Found, TlsError> {
        let domain = match host {
            Host::Name(domain) => Some(domain),
            Host::Literal(_) => None,
        };
        let targets: Vec<&Target> = set.attempts().collect();
        let (tlsa, sts) = tokio::join!(self.tlsa_of(domain, &targets), self.sts_of(domain));
        let mut lasts = set.ttl.clamp(SHORTEST, LONGEST);
        let mut servers = Vec::with_capacity(targets.len());
        for (target, tlsa) in targets.into_iter().zip(&tlsa) {
            match tlsa {
                TlsaFinding::Records(found) => lasts = lasts.min(found.ttl.max(UNDECIDED)),
                TlsaFinding::Undecided { .. } => lasts = UNDECIDED,
                TlsaFinding::None(_) => {}
            }
            let demanded: Demanded = self.settings.policies.policy(domain, target, tlsa, &sts);
            let name = match &target.host {
                Some(host) => host.as_str().to_owned(),
                None => target.address.ip().to_string(),
            };
            let far = FarTls::new(demanded, &self.connectors)?;
            servers.push(Server::new(target.address, &name).with_far_tls(far));
        }
        Ok(Found { servers, lasts })
    }

    /// What each target has for TLSA records; addresses of one host are asked about once.
    async fn tlsa_of(&self, domain: Option<&Domain>, targets: &[&Target]) -> Vec<TlsaFinding> {
        let asks = |domain: &&Domain| self.settings.policies.asks_for_tlsa(domain);
        let Some(domain) = domain.filter(asks) else {
            return vec![TlsaFinding::None("it is not asked for"); targets.len()];
        };
        let is_same = |one: &Target, other: &Target| {
            (&one.host, &one.canonical, one.address_proof)
                == (&other.host, &other.canonical, other.address_proof)
        };
        let mut distinct: Vec<&Target> = Vec::new();
        for target in targets {
            if !distinct.iter().any(|known| is_same(known, target)) {
                distinct.push(target);
            }
        }
        let asked = distinct.iter().map(|target| tlsa::find(&self.lookup, domain, target)).collect();
        let found = all(asked).await;
        let of = |target: &&Target| {
            let known = distinct.iter().zip(&found).find(|(known, _)| is_same(known, target));
            known.map_or(TlsaFinding::None("it was not asked for"), |(_, finding)| finding.clone())
        };
        targets.iter().map(of).collect()
    }

    async fn sts_of(&self, domain: Option<&Domain>) -> StsFinding {
        let asks = |domain: &&Domain| self.settings.policies.asks_for_sts(domain);
        match (&self.sts, domain.filter(asks)) {
            (Some(sts), Some(domain)) => sts.find(domain).await,
            _ => StsFinding::default(),
        }
    }
}

impl<L> WorldServers<L> {
    fn backend(
        &self,
        name: Box<str>,
        servers: Vec<Server>,
        ladder: Ladder,
        implicit_tls: bool,
    ) -> Result<Arc<Backend>, TlsError> {
        Ok(Arc::new(Backend::new(BackendSettings {
            name,
            domains: Vec::new(),
            servers,
            submission: Vec::new(),
            connector: self.connectors.of(ladder).or_else(|_| self.connectors.of(Ladder::Encrypt))?.clone(),
            tls: LegPolicy { ladder, roots: self.settings.roots.clone(), ..LegPolicy::default() },
            client_address: match self.settings.transparent {
                true => ClientAddress::Transparent,
                false => ClientAddress::None,
            },
            banner: Banner::Postern,
            world: Some(World { implicit_tls, ..self.settings.world.clone() }),
        })))
    }
}

impl<L: Lookup + Clone + 'static> Destinations for WorldServers<L> {
    fn locate(&self, host: Host) -> Locating<'_> {
        Box::pin(self.find(host))
    }

    fn is_one_relay(&self) -> bool {
        self.settings.relay.is_some()
    }

    fn relay_named(&self, name: &str) -> Option<Arc<Backend>> {
        let mut relays = self.settings.relays.iter().chain(&self.settings.relay);
        relays.find(|relay| relay.name() == name).cloned()
    }

    fn at(&self, address: SocketAddr) -> Option<Arc<Backend>> {
        let relay = self.settings.relays.iter().find(|relay| relay.server_at(address).is_some());
        if relay.is_some() {
            return relay.cloned();
        }
        // Who authenticates there has a password to lose: never in clear (RFC 8314 §3.3).
        let implicit_tls = match address.port() {
            465 => true,
            587 => false,
            _ => return None,
        };
        let mut known = lock(&self.by_address);
        if let Some(known) = known.get(&address) {
            return Some(known);
        }
        let server = Server::new(address, &address.ip().to_string());
        // Nobody knows by what name to verify it but the hidden server, which is shown what this one shows.
        let name = address.to_string().into();
        let backend = self.backend(name, vec![server], Ladder::Encrypt, implicit_tls).ok()?;
        Some(known.remember(address, backend, LONGEST))
    }
}

impl<L> std::fmt::Debug for WorldServers<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorldServers").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn name_of(host: &Host) -> Box<str> {
    match host {
        Host::Name(domain) => domain.as_str().into(),
        Host::Literal(address) => address.to_string().into(),
    }
}

/// What a client hears of a recipient whose servers cannot be found.
fn told(why: NoRoute) -> No {
    match why {
        NoRoute::Closed | NoRoute::NoServer => No::NoServerThere,
        NoRoute::LoopsBack => No::PointsHere,
        NoRoute::NoSuchDomain => No::NoSuchDomain,
        NoRoute::NullMx => No::TakesNoMail,
        NoRoute::Unknown(error) => No::LookupFailed(error.to_string().into()),
    }
}

/// Backends by whatever they are known by, for as long as they hold.
struct Remembered<K> {
    entries: HashMap<K, (Arc<Backend>, Instant)>,
}

impl<K> Default for Remembered<K> {
    fn default() -> Self {
        Self { entries: HashMap::new() }
    }
}

impl<K: Eq + Hash + Clone> Remembered<K> {
    fn get(&self, key: &K) -> Option<Arc<Backend>> {
        let (backend, until) = self.entries.get(key)?;
        (*until > Instant::now()).then(|| Arc::clone(backend))
    }

    /// Remembers a backend, or one that is known already and has the same servers and policy: its connections and what was
    /// learnt of its servers stay of use.
    fn remember(&mut self, key: K, found: Arc<Backend>, lasts: Duration) -> Arc<Backend> {
        if self.entries.len() >= REMEMBERED {
            self.forget();
        }
        let earlier = self.entries.get(&key).map(|(backend, _)| Arc::clone(backend));
        let kept = earlier.filter(|earlier| is_same(earlier, &found)).unwrap_or(found);
        self.entries.insert(key, (Arc::clone(&kept), Instant::now() + lasts));
        kept
    }

    /// What holds no more goes; if that is too little, everything: it is found again.
    fn forget(&mut self) {
        let now = Instant::now();
        self.entries.retain(|_, (_, until)| *until > now);
        if self.entries.len() >= REMEMBERED {
            self.entries.clear();
        }
    }
}

fn is_same(one: &Backend, other: &Backend) -> bool {
    fn known(backend: &Backend) -> Vec<(SocketAddr, &str, Option<&Demanded>)> {
        let servers = backend.servers().iter();
        let mut known: Vec<_> = servers
            .map(|server| (server.address(), server.name(), server.far_tls().map(|far| far.demanded())))
            .collect();
        known.sort_by_key(|(address, name, _)| (*address, *name));
        known
    }
    known(one) == known(other) && one.tls().ladder == other.tls().ladder
}

/// Nothing panics while it holds the lock; if it did, every entry is still whole.
fn lock<K>(remembered: &Mutex<Remembered<K>>) -> MutexGuard<'_, Remembered<K>> {
    remembered.lock().unwrap_or_else(PoisonError::into_inner)
}
