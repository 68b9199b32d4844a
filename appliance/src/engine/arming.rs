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
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use record::FarProof;
use relay::Relay;
use route::Lookup;
use tls::{Chain, Identities, Ladder, LegPolicy, Roots};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::reached::Reached;
pub(super) use self::verdict::Published;
use self::verdict::{Name, Verdict, verdict};
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
/// Servers that are looked at at the same time; name servers are not to take it for a flood.
const AT_ONCE: usize = 16;
/// How long those that are known wait for the others before the rule set follows; a server that does not answer takes minutes.
const TOGETHER: Duration = Duration::from_secs(10);

/// Keeps an eye on what may be armed.
pub(super) struct Arming {
    relay: Arc<Relay>,
    roles: Arc<Roles>,
    state_dir: PathBuf,
    wanted: Mutex<Wanted>,
    changed: Notify,
    /// As the last look left it, or as far as the first one is.
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

    /// One look at everything; how long until the next. A new config ends it.
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
        let (serving, names) = (self.relay.serving(), wanted.names.clone());
        let look = Arc::new(Look { serving, names, roots, before });
        let mut all = Found { armed: look.before.clone(), ..Found::default() };
        let (mut looks, places) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
        for backend in &wanted.config.backends {
            let backend = Arc::new(backend.clone());
            for server in servers.targets(&backend) {
                let index = all.expect(&backend, server, &lock(&self.found));
                let (look, places, backend) = (Arc::clone(&look), Arc::clone(&places), Arc::clone(&backend));
                looks.spawn(async move {
                    let _place = places.acquire().await;
                    (index, look.at(&backend, server).await)
                });
            }
        }
        let (mut late, mut together) = (false, pin!(sleep(TOGETHER)));
        loop {
            tokio::select! {
                () = self.changed.notified() => return Duration::ZERO,
                () = &mut together, if !late => late = true,
                one = looks.join_next() => match one {
                    Some(Ok((index, looked))) => {
                        all.found(index, looked);
                        *lock(&self.found) = all.states();
                    }
                    // It panicked, and said so; its server stays as it was.
                    Some(Err(_)) => all.left_open = true,
                    None => break,
                },
            }
            if late {
                self.tell(&look, &mut all);
            }
        }
        self.tell(&look, &mut all);
        *lock(&self.found) = all.states();
        if all.left_open { SOON } else { AGAIN }
    }

    /// The rule set follows what is known so far, if something changed.
    fn tell(&self, look: &Look, all: &mut Found) {
        look.identities().into_iter().for_each(|identities| identities.serve_at(all.served_at()));
        let armed = all.armed_now(&look.before);
        if armed == all.armed {
            return;
        }
        for state in all.states() {
            if all.armed.contains(&state.server) != armed.contains(&state.server) {
                let (server, armed) = (state.server, state.armed);
                tracing::info!(%server, backend = state.backend, armed, why = state.why, "arming has changed");
            }
        }
        if let Err(error) = armed::write(&self.state_dir, &armed) {
            let file = armed::path(&self.state_dir);
            return tracing::error!(file = %file.display(), %error, "what is armed cannot be kept: nothing changes");
        }
        all.armed = armed;
        if !self.roles.reapply() {
            tracing::warn!(
                "the rule set is somebody else's here: run `postern firewall apply`, or load what `render` says"
            );
        }
    }
}

/// What a look has brought so far.
#[derive(Default)]
struct Found {
    /// Each server in the config's order, with what is known of it: by this look or, as long as it is not through, by the last.
    servers: Vec<(SocketAddr, Option<ArmingState>)>,
    /// What the rule set was told last, of those with `arm = "auto"`.
    armed: BTreeSet<SocketAddr>,
    /// Something could not be told.
    left_open: bool,
}

impl Found {
    /// A server that will be looked at; its place. What the last look said of it holds until then, if the config says the same.
    fn expect(&mut self, backend: &Backend, server: SocketAddr, last: &[ArmingState]) -> usize {
        let is_it = |state: &&ArmingState| {
            state.server == server
                && state.backend == backend.name
                && state.configured == configured(backend.arm)
        };
        self.servers.push((server, last.iter().find(is_it).cloned()));
        self.servers.len() - 1
    }

    fn found(&mut self, index: usize, looked: Looked) {
        self.left_open |= looked.left_open;
        if let Some((_, state)) = self.servers.get_mut(index) {
            *state = Some(looked.state);
        }
    }

    fn states(&self) -> Vec<ArmingState> {
        self.servers.iter().filter_map(|(_, state)| state.clone()).collect()
    }

    /// Those with `arm = "auto"` that are armed; what is not known yet stays as it was.
    fn armed_now(&self, before: &BTreeSet<SocketAddr>) -> BTreeSet<SocketAddr> {
        let auto = configured(Arm::Auto);
        let is_armed = |(server, state): &&(SocketAddr, Option<ArmingState>)| match state {
            Some(state) => state.armed && state.configured == auto,
            None => before.contains(server),
        };
        self.servers.iter().filter(is_armed).map(|(server, _)| *server).collect()
    }

    /// Which name is served where to clients that name none. One of port 25 goes before one of another port: most clients
    /// that name none are other servers.
    fn served_at(&self) -> HashMap<IpAddr, String> {
        let mut served = HashMap::new();
        for state in self.servers.iter().filter_map(|(_, state)| state.as_ref()) {
            let Some(name) = state.names.first() else { continue };
            if state.server.port() == 25 || !served.contains_key(&state.server.ip()) {
                served.insert(state.server.ip(), name.clone());
            }
        }
        served
    }
}

/// What a look at one server has brought.
struct Looked {
    state: ArmingState,
    left_open: bool,
}

/// One look.
struct Look {
    serving: relay::Serving,
    names: Names,
    roots: Roots,
    before: BTreeSet<SocketAddr>,
}

impl Look {
    fn identities(&self) -> Option<Arc<Identities>> {
        self.serving.driver.acceptor.as_ref().map(|acceptor| Arc::clone(acceptor.identities()))
    }

    async fn at(&self, backend: &Backend, server: SocketAddr) -> Looked {
        let reached = match backend.arm {
            Arm::Never => Reached::default(),
            Arm::Auto | Arm::Now => reached::names_of(&self.names, &self.serving, backend, server).await,
        };
        let mut left_open = false;
        let (armed, why) = match backend.arm {
            Arm::Now => (true, "The config says so (arm = \"now\").".to_owned()),
            Arm::Never => (false, "The config says so (arm = \"never\").".to_owned()),
            Arm::Auto => match self.auto(&reached, server).await {
                Verdict::Arm(why) => (true, why),
                Verdict::Leave(why) => (false, why),
                Verdict::Unclear(why) => {
                    left_open = true;
                    (self.before.contains(&server), why)
                }
            },
        };
        let state = ArmingState {
            backend: backend.name.clone(),
            server,
            armed,
            configured: configured(backend.arm).to_owned(),
            names: reached.names.iter().map(ToString::to_string).collect(),
            why,
        };
        Looked { state, left_open }
    }

    async fn auto(&self, reached: &Reached, server: SocketAddr) -> Verdict {
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
        verdict(server, &names, reached.unclear.as_deref())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn server(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([198, 51, 100, last], port))
    }

    fn state(server: SocketAddr, armed: bool, configured: &str, names: &[&str]) -> ArmingState {
        ArmingState {
            backend: "hidden".into(),
            server,
            armed,
            configured: configured.into(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
            why: String::new(),
        }
    }

    #[test]
    fn a_server_that_does_not_answer_keeps_what_it_had_and_holds_up_no_other() {
        let (slow, quick) = (server(25, 25), server(26, 25));
        for slow_was_armed in [false, true] {
            let before: BTreeSet<_> = slow_was_armed.then_some(slow).into_iter().collect();
            let mut all = Found { servers: vec![(slow, None), (quick, None)], ..Found::default() };
            assert_eq!(all.armed_now(&before), before, "nothing is known yet");
            all.found(1, Looked { state: state(quick, true, "auto", &["mx"]), left_open: false });
            let armed = all.armed_now(&before);
            assert_eq!((armed.contains(&slow), armed.contains(&quick)), (slow_was_armed, true));
            all.found(0, Looked { state: state(slow, false, "auto", &[]), left_open: true });
            assert_eq!(all.armed_now(&before), BTreeSet::from([quick]));
            assert!(all.left_open);
            let shown: Vec<_> = all.states().iter().map(|state| state.server).collect();
            assert_eq!(shown, [slow, quick], "in the config's order");
        }
    }

    #[test]
    fn what_the_config_says_is_not_remembered_as_found_out() {
        let states = [state(server(25, 25), true, "now", &[]), state(server(26, 25), false, "never", &[])];
        let servers = states.map(|state| (state.server, Some(state))).into();
        let all = Found { servers, ..Found::default() };
        assert!(all.armed_now(&BTreeSet::from([server(25, 25)])).is_empty());
    }

    #[test]
    fn the_name_of_port_25_is_served_to_those_who_name_none() {
        let all = |order: [u16; 2]| {
            let named = order.map(|port| {
                let name = if port == 25 { "mx" } else { "mail" };
                (server(25, port), Some(state(server(25, port), true, "auto", &[name])))
            });
            Found { servers: named.into(), ..Found::default() }.served_at()
        };
        for order in [[25, 587], [587, 25]] {
            assert_eq!(all(order), HashMap::from([(server(25, 25).ip(), "mx".to_owned())]));
        }
        assert_eq!(all([465, 587]), HashMap::from([(server(25, 25).ip(), "mail".to_owned())]));
    }
}
