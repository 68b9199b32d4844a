//! The servers of the world as backends: looked up by domain, and remembered as long as DNS allows.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use record::Clock;
use smtp::address::Host;
use smtp::{Domain, No};
use tls::{Connector, Ladder, LegPolicy, Roots, TlsError};
use tokio::time::Instant;

use crate::backend::World;
use crate::destinations::{Destinations, Locating};
use crate::exchangers::Exchangers;
use crate::far::{FarPolicies, FarPolicy};
use crate::lookup::Lookup;
use crate::mx_set::MxSet;
use crate::no_route::NoRoute;
use crate::{Backend, BackendSettings, Banner, ClientAddress, Server};

/// Destinations that are remembered; a busy site writes to some thousand domains a day. Whoever names more of them makes
/// Postern look up again, not remember more (law 7).
const REMEMBERED: usize = 10_000;
/// What DNS says is believed for this long even where its TTL is shorter: a transaction with many recipients asks once.
const SHORTEST: Duration = Duration::from_secs(60);
/// A server that moved is noticed after this long, whatever the TTL.
const LONGEST: Duration = Duration::from_secs(3600);

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

/// The servers of the world.
pub struct WorldServers<L> {
    exchangers: Exchangers<L>,
    settings: WorldSettings,
    /// By what they must prove; sessions that were resumed under one policy do not pass for another's.
    connectors: Vec<(Ladder, Connector)>,
    by_host: Mutex<Remembered<Host>>,
    by_address: Mutex<Remembered<SocketAddr>>,
}

impl<L: Lookup> WorldServers<L> {
    /// `clock` dates certificates.
    ///
    /// # Errors
    ///
    /// A connector cannot be made.
    pub fn new(
        exchangers: Exchangers<L>,
        settings: WorldSettings,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, TlsError> {
        let mut connectors = Vec::new();
        for ladder in LADDERS {
            // Without roots nothing can be verified: the policy that demands it then has no connector, and no server.
            if ladder == Ladder::Verify && settings.roots.is_empty() {
                continue;
            }
            let policy = LegPolicy { ladder, roots: settings.roots.clone(), ..LegPolicy::default() };
            connectors.push((ladder, Connector::new(&settings.tls, &policy, Arc::clone(clock))?));
        }
        let (by_host, by_address) = (Mutex::default(), Mutex::default());
        Ok(Self { exchangers, settings, connectors, by_host, by_address })
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
        let (ladder, also) = self.demanded(&host, &set);
        let found = self.backend(name_of(&host), servers(&set), (ladder, also), false);
        let found = found.ok_or_else(|| No::FarTooWeak("nobody is trusted to verify it".into()))?;
        let lasts = set.ttl.clamp(SHORTEST, LONGEST);
        Ok(lock(&self.by_host).remember(host, found, lasts))
    }

    /// The strictest demand that any of the servers has to meet: which of them is reached is not known yet. And the name that
    /// proves as much as the server's own: the recipient's domain, where one has to be proved at all.
    fn demanded(&self, host: &Host, set: &MxSet) -> (Ladder, Option<Domain>) {
        let domain = match host {
            Host::Name(domain) => Some(domain),
            Host::Literal(_) => None,
        };
        let policies: Vec<_> =
            set.attempts().map(|target| self.settings.policies.policy(domain, target)).collect();
        let ladder = policies.iter().map(FarPolicy::ladder).max().unwrap_or_default();
        let names_it = |policy: &FarPolicy| match policy {
            FarPolicy::Verify { names } => domain.is_some_and(|domain| names.contains(domain)),
            FarPolicy::Off | FarPolicy::Opportunistic | FarPolicy::Encrypt => false,
        };
        (ladder, domain.filter(|_| policies.iter().any(names_it)).cloned())
    }

    fn backend(
        &self,
        name: Box<str>,
        servers: Vec<Server>,
        (ladder, also): (Ladder, Option<Domain>),
        implicit_tls: bool,
    ) -> Option<Arc<Backend>> {
        let (_, connector) = self.connectors.iter().find(|(known, _)| *known == ladder)?;
        let also = also.map(|domain| domain.as_str().to_owned());
        Some(Arc::new(Backend::new(BackendSettings {
            name,
            domains: Vec::new(),
            servers,
            submission: Vec::new(),
            connector: also.as_deref().map_or_else(|| connector.clone(), |name| connector.also(name)),
            tls: LegPolicy { ladder, also, roots: self.settings.roots.clone(), ..LegPolicy::default() },
            client_address: match self.settings.transparent {
                true => ClientAddress::Transparent,
                false => ClientAddress::None,
            },
            banner: Banner::Postern,
            world: Some(World { implicit_tls, ..self.settings.world.clone() }),
        })))
    }
}

impl<L: Lookup + 'static> Destinations for WorldServers<L> {
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
        let backend =
            self.backend(address.to_string().into(), vec![server], (Ladder::Encrypt, None), implicit_tls)?;
        Some(known.remember(address, backend, LONGEST))
    }
}

impl<L> std::fmt::Debug for WorldServers<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorldServers").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// All steps; a server's policy names one of them.
const LADDERS: [Ladder; 4] = [Ladder::Off, Ladder::Opportunistic, Ladder::Encrypt, Ladder::Verify];

fn name_of(host: &Host) -> Box<str> {
    match host {
        Host::Name(domain) => domain.as_str().into(),
        Host::Literal(address) => address.to_string().into(),
    }
}

/// In the order in which to try them. A server is asked for, and verified, by its own name.
fn servers(set: &MxSet) -> Vec<Server> {
    let name = |target: &crate::Target| match &target.host {
        Some(host) => host.as_str().to_owned(),
        None => target.address.ip().to_string(),
    };
    set.attempts().map(|target| Server::new(target.address, &name(target))).collect()
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
    let mut servers = [one, other].map(|backend| {
        let servers = backend.servers().iter();
        servers.map(|server| (server.address(), server.name().to_owned())).collect::<Vec<_>>()
    });
    servers.iter_mut().for_each(|list| list.sort());
    servers[0] == servers[1] && one.tls().ladder == other.tls().ladder
}

/// Nothing panics while it holds the lock; if it did, every entry is still whole.
fn lock<K>(remembered: &Mutex<Remembered<K>>) -> MutexGuard<'_, Remembered<K>> {
    remembered.lock().unwrap_or_else(PoisonError::into_inner)
}
