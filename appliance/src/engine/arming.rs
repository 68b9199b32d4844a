//! Arming (DECISIONS 20): a server's address and port is taken on its way once Postern can stand there with a certificate that
//! the world trusts, for the names under which it is reached, and that matches what those names have published.
//!
//! Looked at from the start on, again and again: what was right and is not any more passes unread again. What cannot be
//! told now (a name server that is down, a forged answer) changes nothing.

mod reached;
mod verdict;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use record::FarProof;
use relay::Relay;
use tls::{Chain, Identities, Ladder, LegPolicy, Roots};
use tokio::sync::Notify;
use tokio::time::timeout;

use self::reached::Reached;
use self::verdict::{Name, Published, Verdict, verdict};
use super::outbound::{self, Names};
use crate::armed;
use crate::config::{Arm, Backend, Config, Mode};
use crate::firewall::Servers;
use crate::report::ArmingState;
use crate::roles::Roles;

/// How often it is looked at: a record that was published or withdrawn counts within that time, beside its own.
const AGAIN: Duration = Duration::from_secs(600);
/// The same while something could not be told.
const SOON: Duration = Duration::from_secs(30);

/// Keeps an eye on what may be armed.
pub(super) struct Arming {
    relay: Arc<Relay>,
    roles: Arc<Roles>,
    state_dir: PathBuf,
    wanted: Mutex<Wanted>,
    changed: Notify,
    found: Mutex<Vec<ArmingState>>,
}

/// What a config says of it.
#[derive(Clone)]
struct Wanted {
    config: Arc<Config>,
    names: Names,
}

impl Arming {
    /// Nothing is looked at yet; what was armed before still is.
    pub(super) fn new(config: &Config, names: Names, relay: Arc<Relay>, roles: Arc<Roles>) -> Arc<Self> {
        let wanted = Mutex::new(Wanted { config: Arc::new(config.clone()), names });
        let (changed, found) = (Notify::new(), Mutex::default());
        Arc::new(Self { relay, roles, state_dir: config.state_dir.clone(), wanted, changed, found })
    }

    /// After a reload: looked at anew, at once.
    pub(super) fn config_is(&self, config: &Config, names: Names) {
        *lock(&self.wanted) = Wanted { config: Arc::new(config.clone()), names };
        self.changed.notify_one();
    }

    /// As the page shows it.
    pub(super) fn states(&self) -> Vec<ArmingState> {
        lock(&self.found).clone()
    }

    /// Looks for as long as the relay serves.
    pub(super) async fn keep(self: Arc<Self>) {
        while !self.relay.is_draining() {
            let wanted = lock(&self.wanted).clone();
            let pause = match wanted.config.network.mode {
                Mode::Front => AGAIN,
                Mode::Gateway | Mode::Bridge => self.look(&wanted).await,
            };
            let _ = timeout(pause, self.changed.notified()).await;
        }
    }

    /// One look at everything; how long until the next.
    async fn look(&self, wanted: &Wanted) -> Duration {
        let (servers, roots) = match (Servers::look_up(&wanted.config).await, outbound::roots(&wanted.config))
        {
            (Ok(servers), Ok(roots)) => (servers, roots),
            (Err(error), _) => {
                tracing::warn!(%error, "whether servers can be armed cannot be told");
                return SOON;
            }
            (_, Err(error)) => {
                tracing::warn!(%error, "whether servers can be armed cannot be told");
                return SOON;
            }
        };
        let before = armed::open(&self.state_dir).and_then(|file| armed::read(&file)).unwrap_or_default();
        let look = Look { serving: self.relay.serving(), names: &wanted.names, roots, before: &before };
        let mut all = Found::default();
        for backend in &wanted.config.backends {
            for server in servers.targets(backend) {
                look.at(backend, server, &mut all).await;
                // The first look shows what it has: one server that does not answer can hold it up for minutes.
                let mut found = lock(&self.found);
                if found.len() < all.states.len() {
                    found.clone_from(&all.states);
                }
            }
        }
        look.identities().into_iter().for_each(|identities| identities.serve_at(all.served_at.clone()));
        self.tell(&all, &before);
        *lock(&self.found) = all.states;
        if all.left_open { SOON } else { AGAIN }
    }

    /// The rule set follows, if something changed.
    fn tell(&self, all: &Found, before: &BTreeSet<SocketAddr>) {
        if all.armed == *before {
            return;
        }
        for state in &all.states {
            if before.contains(&state.server) != all.armed.contains(&state.server) {
                let (server, armed) = (state.server, state.armed);
                tracing::info!(%server, backend = state.backend, armed, why = state.why, "arming has changed");
            }
        }
        if let Err(error) = armed::write(&self.state_dir, &all.armed) {
            let file = armed::path(&self.state_dir);
            return tracing::error!(file = %file.display(), %error, "what is armed cannot be kept: nothing changes");
        }
        if !self.roles.reapply() {
            tracing::warn!(
                "the rule set is somebody else's here: run `postern firewall apply`, or load what `render` says"
            );
        }
    }
}

/// What a look has brought.
#[derive(Default)]
struct Found {
    states: Vec<ArmingState>,
    /// Of those with `arm = "auto"`.
    armed: BTreeSet<SocketAddr>,
    /// Which name is served where to clients that name none.
    served_at: HashMap<IpAddr, String>,
    /// Something could not be told.
    left_open: bool,
}

/// One look.
struct Look<'a> {
    serving: relay::Serving,
    names: &'a Names,
    roots: Roots,
    before: &'a BTreeSet<SocketAddr>,
}

impl Look<'_> {
    fn identities(&self) -> Option<Arc<Identities>> {
        self.serving.driver.acceptor.as_ref().map(|acceptor| Arc::clone(acceptor.identities()))
    }

    async fn at(&self, backend: &Backend, server: SocketAddr, all: &mut Found) {
        let reached = match backend.arm {
            Arm::Never => Reached::default(),
            Arm::Auto | Arm::Now => reached::names_of(self.names, &self.serving, backend, server).await,
        };
        // A name of port 25 goes before one of another port: most clients that name none are other servers.
        if let Some(name) = reached.names.first()
            && (server.port() == 25 || !all.served_at.contains_key(&server.ip()))
        {
            all.served_at.insert(server.ip(), name.to_string());
        }
        let (armed, why) = match backend.arm {
            Arm::Now => (true, "The config says so (arm = \"now\").".to_owned()),
            Arm::Never => (false, "The config says so (arm = \"never\").".to_owned()),
            Arm::Auto => self.auto(&reached, server, all).await,
        };
        if armed && backend.arm == Arm::Auto {
            all.armed.insert(server);
        }
        all.states.push(ArmingState {
            backend: backend.name.clone(),
            server,
            armed,
            configured: configured(backend.arm).to_owned(),
            names: reached.names.iter().map(ToString::to_string).collect(),
            why,
        });
    }

    async fn auto(&self, reached: &Reached, server: SocketAddr, all: &mut Found) -> (bool, String) {
        let mut names = Vec::new();
        for host in &reached.names {
            let shown = self.identities().map(|identities| identities.shown_for(host.as_str()));
            let shown = shown.unwrap_or_default();
            names.push(Name {
                trusted: !shown.is_empty() && shown.iter().all(|chain| self.proves(chain, host.as_str())),
                published: Published::compare(&self.names.tlsa(host, server.port()).await, &shown),
                host: host.to_string(),
            });
        }
        match verdict(server, &names, reached.unclear.as_deref()) {
            Verdict::Arm(why) => (true, why),
            Verdict::Leave(why) => (false, why),
            Verdict::Unclear(why) => {
                all.left_open = true;
                (self.before.contains(&server), why)
            }
        }
    }

    /// Whether the world would take this chain for that name.
    fn proves(&self, chain: &Chain, name: &str) -> bool {
        let Some(intercepting) = &self.serving.driver.interception else { return false };
        let policy = LegPolicy { ladder: Ladder::Verify, roots: self.roots.clone(), ..LegPolicy::default() };
        intercepting.far_side.connector.judge(chain, &policy, name) == FarProof::Verified
    }
}

/// As the config writes it.
fn configured(arm: Arm) -> &'static str {
    match arm {
        Arm::Auto => "auto",
        Arm::Now => "now",
        Arm::Never => "never",
    }
}

/// Nothing panics while it holds the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
