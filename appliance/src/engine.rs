//! `postern run`: puts the rooms of the data plane together, and takes them apart again in order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use record::{Clock, SystemClock};
use relay::{Budget, Entrance, Relay};
use spool::Spool;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::access::Access;
use crate::admin::{self, Desk, Doors, Terminal};
use crate::command::{CommandLine, Demo, Exit};
use crate::config::{self, Config};
use crate::recorder::Recording;
use crate::report::ListenerState;
use crate::roles::Roles;
use crate::settings::{Order, Orders, Settings};
use crate::web::Policy;
use crate::{logging, output, service};

mod alerts;
mod arming;
mod certifying;
mod changing;
mod demo;
mod directory;
mod dmarc_reports;
mod entries;
mod error;
mod generation;
mod hosted;
mod identity;
mod judging;
mod letters;
mod live;
mod outbound;
mod own_mail;
mod probing;
mod publishing;
mod queue;
mod received;
mod records;
mod remembering;
mod repute;
mod senders;
mod set_aside;
mod signing;
mod sites;
mod strain;
mod tally;
mod tls_reports;
mod trends;
mod webhooks;
mod weekly;
mod workers;
mod zones;

use alerts::Alerts;
use arming::Arming;
use certifying::Certifying;
pub(crate) use certifying::ca_settings;
pub use error::EngineError;
use generation::Base;
pub(crate) use generation::{leg, state_lock, tls_settings};
pub(crate) use judging::{Peers, scanner};
use live::Present;
pub(crate) use outbound::{policy_hosts, resolver};
use queue::Draining;
use trends::Trends;
use workers::{Bound, Workers};

/// How long sessions have to end after SIGTERM: the longest wait for a server's final reply is longer, but service
/// managers and administrators are not that patient. A message that was not answered is sent again by its client.
const DRAIN: Duration = Duration::from_secs(30);

/// `postern run`
pub async fn run(line: &CommandLine, roles: Arc<Roles>) -> Exit {
    let file = line.config_file();
    let config = match config::load(&file) {
        Ok(config) => config,
        Err(error) => {
            output::diagnosis(&error.to_string());
            return Exit::Wrong;
        }
    };
    match serve(config, &file, roles).await {
        Ok(()) => Exit::Done,
        Err(error) => {
            output::diagnosis(&error.to_string());
            error.exit()
        }
    }
}

/// `postern demo`
pub async fn demo(options: Demo, json: bool) -> Exit {
    match demo::demo(options, json).await {
        Ok(exit) => exit,
        Err(error) => {
            output::diagnosis(&error.to_string());
            error.exit()
        }
    }
}

async fn serve(config: Config, file: &Path, roles: Arc<Roles>) -> Result<(), EngineError> {
    let mut signals = Signals::new().map_err(EngineError::Signals)?;
    let (settings, mut orders) = Settings::new(file, &config.state_dir);
    let engine = Engine::start(&config, Arc::clone(&roles), Entry::ByLogin, Some(settings)).await?;
    service::ready("taking mail");
    tracing::info!(hostname = %config.hostname, "ready");
    loop {
        match signals.next(&roles, &mut orders).await {
            Wish::End => break,
            Wish::Reload => {
                service::reloading();
                if let Err(why) = engine.reload(file).await {
                    tracing::error!("{why}");
                }
                service::ready("taking mail");
            }
            Wish::Change(order) => engine.change(file, *order).await,
        }
    }
    service::stopping();
    engine.stop(DRAIN).await;
    Ok(())
}

/// What the outside wants of a running Postern.
enum Wish {
    Reload,
    Change(Box<Order>),
    End,
}

struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self, roles: &Roles, orders: &mut Orders) -> Wish {
        tokio::select! {
            Some(order) = orders.recv() => Wish::Change(Box::new(order)),
            () = roles.reload_wanted() => Wish::Reload,
            _ = self.hangup.recv() => Wish::Reload,
            _ = self.interrupt.recv() => Wish::End,
            _ = self.terminate.recv() => Wish::End,
        }
    }
}

/// A running Postern.
struct Engine {
    base: Base,
    relay: Arc<Relay>,
    present: Arc<Present>,
    recording: Arc<Recording>,
    trends: Arc<Trends>,
    /// The status page's address, as bound.
    admin: SocketAddr,
    stop_admin: oneshot::Sender<()>,
    /// Those of the start, and those of listeners that a reload brought.
    workers: Mutex<Vec<Workers>>,
    /// Where the config has wanted listeners so far.
    addresses: Mutex<Vec<SocketAddr>>,
    arming: Arc<Arming>,
    certifying: Arc<Certifying>,
    roles: Arc<Roles>,
    draining: Draining,
    /// Whether an alert is being told.
    telling: alerts::Telling,
    /// Where alerts go.
    alert: watch::Sender<Vec<String>>,
}

impl Engine {
    /// Everything that can fail is tried before the first client is let in.
    async fn start(
        config: &Config,
        roles: Arc<Roles>,
        entry: Entry,
        settings: Option<Arc<Settings>>,
    ) -> Result<Self, EngineError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (recording, _) = Recording::start(Arc::clone(&clock));
        let base = Base::prepare(config, Arc::clone(&recording), Arc::clone(&clock), Arc::clone(&roles))?;
        send_log(config, base.roots(), Arc::clone(&clock));
        keep_trace(config, &recording).await;
        let access = Arc::new(match entry {
            Entry::ByLogin => Access::load(&config.state_dir, Arc::clone(&clock))?,
            Entry::Free => Access::open(&config.state_dir, Arc::clone(&clock))?,
        });
        let generation = base.generation(config, None).await?;
        let listeners = bind(config, &roles, &[])?;
        let addresses = Mutex::new(config.listeners.iter().map(|listener| listener.address).collect());
        let no_admin = |error| EngineError::Admin { address: config.admin.listen, error };
        let admin = roles.sockets(config.admin.listen, || {
            std::net::TcpListener::bind(config.admin.listen).map(|bound| vec![bound]).map_err(no_admin)
        })?;
        let admin = admin.into_iter().next().ok_or_else(|| no_admin(std::io::ErrorKind::NotFound.into()))?;
        let admin =
            admin.set_nonblocking(true).and_then(|()| TcpListener::from_std(admin)).map_err(no_admin)?;
        let admin_address = admin.local_addr().map_err(no_admin)?;
        let relay =
            Relay::new(generation.serving.clone(), Budget::new(config.limits.in_flight), Arc::clone(&clock));
        let told = (config, generation.names.clone(), generation.own);
        let certifying = Certifying::new(
            base.certifier(),
            &relay,
            Arc::clone(&clock),
            told,
            policies(&base),
            base.zones(),
        );
        certifying.open_ports(config, &roles)?;
        let arming = Arming::new(config, generation.names, Arc::clone(&relay), Arc::clone(&roles));
        let draining = Draining::start(config, &relay, Arc::clone(&clock), base.report_rate());
        let present = Arc::new(Present::new(
            &base,
            Arc::clone(&relay),
            Arc::clone(&certifying),
            states(&listeners),
            Arc::clone(&arming),
            Arc::clone(&roles),
            (Arc::clone(&draining.queue), clock),
        ));
        roles.attend(&relay);
        tokio::spawn(Arc::clone(base.received()).work(Arc::clone(&relay)));
        if let Some(court) = base.court().get() {
            court.employ_clerk(&relay);
        }

        // What servers offer is known before the first client asks (DECISIONS 1); of those that are away, from before.
        base.remembering().recall(&relay).await;
        probing::probe_all(&relay.serving()).await;
        tokio::spawn(Arc::clone(base.remembering()).keep(Arc::clone(&relay)));
        tokio::spawn(probing::keep_probing(Arc::clone(&relay)));
        tokio::spawn(Arc::clone(base.tls_reports()).keep(Arc::clone(&relay)));
        tokio::spawn(Arc::clone(base.dmarc_reports()).keep(Arc::clone(&relay)));
        tokio::spawn(set_aside::keep_telling(
            Arc::clone(&relay),
            Arc::clone(&draining.queue),
            base.remembering().store(),
            Arc::new(SystemClock),
        ));
        let (alert, to) = watch::channel(config.log.alerts.clone());
        let alerts = Alerts::new(
            &relay,
            &draining.queue,
            Arc::clone(&present) as _,
            base.remembering().store(),
            Arc::new(SystemClock),
            (to, Arc::clone(base.webhooks())),
        );
        tokio::spawn(Arc::clone(base.repute()).keep(Arc::clone(&relay)));
        tokio::spawn(Arc::clone(base.weekly()).keep(Arc::clone(&relay)));
        tokio::spawn(Arc::clone(base.webhooks()).keep(Arc::clone(&relay)));
        let store = base.remembering().store();
        let trends = Trends::new(Arc::clone(&recording), store, Arc::new(SystemClock));
        trends.recall().await;
        tokio::spawn(Arc::clone(&trends).keep(Arc::clone(&relay), Arc::clone(&draining.queue)));
        let telling = alerts.telling();
        tokio::spawn(alerts.keep());
        tokio::spawn(signing::keep_keys(
            Arc::clone(&relay),
            Arc::clone(base.signing()),
            Arc::clone(base.publishing()),
        ));
        tokio::spawn(Arc::clone(base.hosted()).keep(Arc::clone(&relay)));
        tokio::spawn(Arc::clone(base.records()).keep(Arc::clone(&relay)));
        tokio::spawn(Arc::clone(&arming).keep());
        tokio::spawn(Arc::clone(&certifying).keep());
        tokio::spawn(strain::keep_measuring(
            Arc::clone(&relay),
            config.state_dir.clone(),
            Arc::clone(base.court()),
        ));
        let desk = Desk::new(
            config.hostname.to_string(),
            admin_address,
            config.admin.networks.clone(),
            Arc::clone(&present) as _,
            Arc::clone(&recording),
            Arc::clone(&draining.queue),
            access,
        );
        let desk = match settings {
            Some(settings) => desk.with_settings(settings),
            None => desk,
        };
        let doors = doors(config, admin, &certifying);
        let (stop_admin, stopped) = oneshot::channel();
        tokio::spawn(admin::serve(doors, Arc::new(desk), async {
            let _ = stopped.await;
        }));
        let workers = Mutex::new(vec![workers::start(&relay, listeners)?]);
        let admin = admin_address;
        Ok(Self {
            base,
            relay,
            present,
            recording,
            trends,
            admin,
            stop_admin,
            workers,
            addresses,
            arming,
            certifying,
            roles,
            draining,
            telling,
            alert,
        })
    }

    /// The first listener's address, as bound.
    fn listening(&self) -> Option<SocketAddr> {
        use crate::report::Live as _;
        self.present.listeners().first().map(|listener| listener.address)
    }

    /// Sessions under way keep what they began with. A config that is wrong changes nothing.
    async fn reload(&self, file: &Path) -> Result<(), String> {
        let stays = |error: String| format!("not reloaded, the old config stays: {error}");
        let config = config::load(file).map_err(|error| stays(error.to_string()))?;
        match self.base.generation(&config, Some(&self.relay.serving().settings.routing)).await {
            Ok(generation) => {
                probing::probe_new(&generation.serving).await;
                self.relay.replace(generation.serving);
                if let Err(error) = self.certifying.open_ports(&config, &self.roles) {
                    tracing::error!(%error, "a port of the public web server cannot be had");
                }
                self.certifying.config_is(&config, generation.names.clone(), generation.own).await;
                self.arming.config_is(&config, generation.names);
                self.draining.config_is(&config, &self.relay);
                self.recording.keep_subjects(config.trace.subjects);
                self.alert.send_replace(config.log.alerts.clone());
                if let Some(court) = self.base.court().get() {
                    court.employ_clerk(&self.relay);
                }
                let listens = self.listen_too(&config);
                tracing::info!(
                    "reloaded; listeners that are gone, state_dir, the size and age of the trace and admin.listen change with a \
                     restart only"
                );
                listens.map_err(|error| format!("a new listener cannot be had: {error}"))
            }
            Err(error) => Err(stays(error.to_string())),
        }
    }

    /// Opens the listeners that the config did not have before.
    fn listen_too(&self, config: &Config) -> Result<(), EngineError> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let new = bind(config, &self.roles, &addresses)?;
        if !new.is_empty() {
            addresses.extend(config.listeners.iter().map(|listener| listener.address));
            self.present.listens_too(states(&new));
            let more = workers::start(&self.relay, new)?;
            self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(more);
        }
        Ok(())
    }

    async fn stop(self, patience: Duration) {
        tracing::info!(
            sessions = self.relay.admission().sessions(),
            "no new sessions, waiting for the open ones"
        );
        let left = self.relay.drain(patience).await;
        self.base.tls_reports().write().await;
        self.base.weekly().write().await;
        self.base.dmarc_reports().write().await;
        self.telling.is_over().await;
        self.base.remembering().finish(&self.relay).await;
        if left > 0 {
            tracing::warn!(sessions = left, "closed before they were done");
        }
        self.draining.end().await;
        if let Some(court) = self.base.court().get() {
            court.close().await;
        }
        self.recording.caught_up().await;
        self.trends.write().await;
        // Whoever wrote until now wrote into the store's memory: it may not be closed before the process ends.
        if let Err(error) = self.base.remembering().store().flush().await {
            tracing::error!(%error, "what was counted last is lost");
        }
        self.recording.close().await;
        let _ = self.stop_admin.send(());
        let workers = self.workers.into_inner().unwrap_or_else(PoisonError::into_inner);
        workers.into_iter().for_each(Workers::stop);
    }
}

/// Nothing that is wrong with it keeps mail from flowing.
fn send_log(config: &Config, roots: &tls::Roots, clock: Arc<dyn Clock>) {
    let Some(server) = config.log.syslog.clone() else { return };
    let roots = match &config.log.syslog_ca_file {
        None => Ok(roots.clone()),
        Some(path) => roots.with_file(path).map_err(|error| error.to_string()),
    };
    let sent = roots.and_then(|roots| {
        let destination = logging::Destination { server, roots, hostname: config.hostname.to_string() };
        logging::send(destination, clock).map_err(|error| error.to_string())
    });
    if let Err(error) = sent {
        tracing::error!(%error, "the log is not sent to [log] syslog");
    }
}

/// Mail goes on without a trace on disk; the log and the page say that there is none.
async fn keep_trace(config: &Config, recording: &Arc<Recording>) {
    recording.keep_subjects(config.trace.subjects);
    if config.trace.keep.is_zero() {
        return;
    }
    let folder = config.state_dir.join("trace");
    let bounds = trace::Bounds { octets: config.trace.max_size, age: config.trace.keep };
    let (opening, kept) = (folder.clone(), Arc::clone(recording));
    let opened = tokio::task::spawn_blocking(move || -> Result<(), EngineError> {
        generation::make_folder(&opening)?;
        let trace =
            trace::Trace::open(opening, bounds).map_err(|error| EngineError::Trace(error.to_string()))?;
        kept.keep_on_disk(trace).map_err(|error| EngineError::Trace(error.to_string()))
    });
    if let Ok(Err(error)) = opened.await {
        tracing::error!(%error, folder = %folder.display(), "what becomes of mail is kept in memory alone");
    }
}

/// Whether somebody has to log in to the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    ByLogin,
    /// A demo, which is on loopback and has nothing to lose.
    Free,
}

/// How the administrator's server is reached. Without a socket for the command line mail goes on.
fn doors(config: &Config, web: TcpListener, certifying: &Arc<Certifying>) -> Doors {
    let commands = admin::open_for_commands(&config.state_dir).inspect_err(|error| {
        let path = admin::command_socket(&config.state_dir);
        tracing::error!(path = %path.display(), %error, "commands cannot reach this Postern");
    });
    let certifying = Arc::clone(certifying);
    let terminal =
        (!config.admin.listen.ip().is_loopback()).then(|| Terminal::new(move || certifying.acceptor()));
    Doors { web, terminal, commands: commands.ok() }
}

/// The MTA-STS policies of the present config, for the public web server.
fn policies(base: &Base) -> Policy {
    let zones = Arc::clone(base.zones());
    Arc::new(move |domain| zones.policy(domain))
}

/// The sockets of all listeners but those at `known` addresses.
fn bind(config: &Config, roles: &Roles, known: &[SocketAddr]) -> Result<Vec<Bound>, EngineError> {
    let threads = workers::count();
    let bind_one = |listener: &config::Listener| {
        let sockets = roles.sockets(listener.address, || {
            intercept::Listener::sockets(listener.address, threads).map_err(EngineError::Listen)
        })?;
        let proxies = listener.proxy_protocol_from.iter().copied().collect();
        Ok(Bound { sockets, entrance: Entrance::Here(listener.protocol), proxies })
    };
    let new = config.listeners.iter().filter(|listener| !known.contains(&listener.address));
    let mut bound = new.map(bind_one).collect::<Result<Vec<_>, EngineError>>()?;
    // A reload finds these open.
    if config.network.mode == config::Mode::Gateway && known.is_empty() {
        for (entrance, port) in [(Entrance::Inbound, INBOUND_PORT), (Entrance::Outbound, OUTBOUND_PORT)] {
            let address = (std::net::Ipv6Addr::UNSPECIFIED, port).into();
            let sockets = roles.sockets(address, || {
                let sockets =
                    intercept::Listener::transparent_sockets(address, threads, firewall::marks::OWN);
                sockets.map_err(EngineError::Listen)
            })?;
            bound.push(Bound { sockets, entrance, proxies: intercept::Networks::none() });
        }
    }
    Ok(bound)
}

/// Where TPROXY brings what was on its way to hidden servers. Nothing else can reach it: the rule set drops that.
pub(crate) const INBOUND_PORT: u16 = 20025;
/// Where TPROXY brings what was on its way from hidden servers to the world.
pub(crate) const OUTBOUND_PORT: u16 = 20026;

fn states(listeners: &[Bound]) -> Vec<ListenerState> {
    let state = |bound: &Bound| {
        let address = bound.sockets.first()?.local_addr().ok()?;
        let protocol = match bound.entrance {
            Entrance::Here(protocol) => protocol.name().into(),
            Entrance::Inbound => "intercepted, inbound".into(),
            Entrance::Outbound => "intercepted, outbound".into(),
        };
        Some(ListenerState { address, protocol, problem: None })
    };
    listeners.iter().filter_map(state).collect()
}

/// The spool, opened where it can block.
async fn open_spool(
    folder: std::path::PathBuf,
    settings: spool::Settings,
    clock: Arc<dyn Clock>,
) -> Result<Spool, EngineError> {
    let open = move || {
        let disk = spool::RealDisk::new(&folder)?;
        Spool::open(settings, Arc::new(disk), clock).map_err(std::io::Error::other)
    };
    let opened =
        tokio::task::spawn_blocking(open).await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    opened.map_err(EngineError::Spool)
}
