//! `postern run`: puts the rooms of the data plane together, and takes them apart again in order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use record::{Clock, SystemClock};
use relay::{Budget, Relay};
use spool::Spool;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::admin::{self, Desk};
use crate::command::{CommandLine, Demo, Exit};
use crate::config::{self, Config};
use crate::recorder::Recording;
use crate::report::ListenerState;
use crate::{output, service};

mod demo;
mod error;
mod generation;
mod identity;
mod live;
mod probing;
mod queue;
mod workers;

pub use error::EngineError;
use generation::Base;
pub(crate) use generation::{leg, tls_settings};
use live::Present;
use workers::{Bound, Workers};

/// How long sessions have to end after SIGTERM: the longest wait for a server's final reply is longer, but service
/// managers and administrators are not that patient. A message that was not answered is sent again by its client.
const DRAIN: Duration = Duration::from_secs(30);

/// `postern run`
pub async fn run(line: &CommandLine) -> Exit {
    let file = line.config_file();
    let config = match config::load(&file) {
        Ok(config) => config,
        Err(error) => {
            output::diagnosis(&error.to_string());
            return Exit::Wrong;
        }
    };
    match serve(config, &file).await {
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

async fn serve(config: Config, file: &Path) -> Result<(), EngineError> {
    let mut signals = Signals::new().map_err(EngineError::Signals)?;
    let engine = Engine::start(&config).await?;
    service::ready("taking mail");
    tracing::info!(hostname = %config.hostname, "ready");
    while let Wish::Reload = signals.next().await {
        service::reloading();
        engine.reload(file).await;
        service::ready("taking mail");
    }
    service::stopping();
    engine.stop(DRAIN).await;
    Ok(())
}

/// What the outside wants of a running Postern.
enum Wish {
    Reload,
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

    async fn next(&mut self) -> Wish {
        tokio::select! {
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
    /// The status page's address, as bound.
    admin: SocketAddr,
    stop_admin: oneshot::Sender<()>,
    workers: Workers,
}

impl Engine {
    /// Everything that can fail is tried before the first client is let in.
    async fn start(config: &Config) -> Result<Self, EngineError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (recording, _) = Recording::start(Arc::clone(&clock));
        let base = Base::prepare(config, Arc::clone(&recording), Arc::clone(&clock))?;
        let generation = base.generation(config, None).await?;
        let listeners = bind(config)?;
        let no_admin = |error| EngineError::Admin { address: config.admin.listen, error };
        let admin = TcpListener::bind(config.admin.listen).await.map_err(no_admin)?;
        let admin_address = admin.local_addr().map_err(no_admin)?;
        let relay =
            Relay::new(generation.serving.clone(), Budget::new(config.limits.in_flight), Arc::clone(&clock));
        let present = Arc::new(Present::new(Arc::clone(&relay), generation.certificates, states(&listeners)));

        // What servers offer is known before the first client asks (DECISIONS 1).
        probing::probe_all(&relay.serving()).await;
        tokio::spawn(probing::keep_probing(Arc::clone(&relay)));
        tokio::spawn(queue::drain(Arc::clone(&relay), clock, base.schedule()));
        let desk = Desk::new(
            config.hostname.to_string(),
            admin_address,
            config.admin.networks.clone(),
            Arc::clone(&present) as _,
            Arc::clone(&recording),
        );
        let (stop_admin, stopped) = oneshot::channel();
        tokio::spawn(admin::serve(admin, Arc::new(desk), async {
            let _ = stopped.await;
        }));
        let workers = workers::start(&relay, listeners)?;
        Ok(Self { base, relay, present, recording, admin: admin_address, stop_admin, workers })
    }

    /// The first listener's address, as bound.
    fn listening(&self) -> Option<SocketAddr> {
        use crate::report::Live as _;
        self.present.listeners().first().map(|listener| listener.address)
    }

    /// Sessions under way keep what they began with. A config that is wrong changes nothing.
    async fn reload(&self, file: &Path) {
        let config = match config::load(file) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(%error, "not reloaded, the old config stays");
                return;
            }
        };
        match self.base.generation(&config, Some(&self.relay.serving().settings.routing)).await {
            Ok(generation) => {
                probing::probe_new(&generation.serving).await;
                self.present.certificates_are(generation.certificates);
                self.relay.replace(generation.serving);
                tracing::info!("reloaded; listeners, state_dir and admin.listen change with a restart only");
            }
            Err(error) => tracing::error!(%error, "not reloaded, the old config stays"),
        }
    }

    async fn stop(self, patience: Duration) {
        tracing::info!(
            sessions = self.relay.admission().sessions(),
            "no new sessions, waiting for the open ones"
        );
        let left = self.relay.drain(patience).await;
        if left > 0 {
            tracing::warn!(sessions = left, "closed before they were done");
        }
        let _ = self.stop_admin.send(());
        self.workers.stop();
    }
}

fn bind(config: &Config) -> Result<Vec<Bound>, EngineError> {
    let threads = workers::count();
    let bind_one = |listener: &config::Listener| {
        let sockets = intercept::Listener::sockets(listener.address, threads).map_err(EngineError::Listen)?;
        let proxies = listener.proxy_protocol_from.iter().copied().collect();
        Ok(Bound { sockets, protocol: listener.protocol, proxies })
    };
    config.listeners.iter().map(bind_one).collect()
}

fn states(listeners: &[Bound]) -> Vec<ListenerState> {
    let state = |bound: &Bound| {
        let address = bound.sockets.first()?.local_addr().ok()?;
        Some(ListenerState { address, protocol: bound.protocol.name().into(), problem: None })
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
