//! The queue's place in the engine: by what it delivers, and what it is kept tidy by.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use delivery::notification::Reporter;
use delivery::{Opener, Pace, Queue, QueueSettings, ReportRate, WayOut};
use record::Clock;
use relay::{Relay, Serving};
use route::{Destinations, Routing};
use tokio::task::JoinHandle;

use crate::config::Config;

/// How often old segments are cleared away.
const TIDY: Duration = Duration::from_secs(10);
/// How often it is looked which servers have come back.
const LOOK: Duration = Duration::from_secs(2);

/// What a generation's mail goes out by.
struct Generation {
    serving: Serving,
    settings: Arc<QueueSettings>,
}

impl WayOut for Generation {
    fn opener(&self) -> &Opener {
        &self.serving.driver.opener
    }

    fn routing(&self) -> &Routing {
        &self.serving.settings.routing
    }

    fn destinations(&self) -> Option<&dyn Destinations> {
        self.serving.driver.destinations.as_deref()
    }

    fn settings(&self) -> &QueueSettings {
        &self.settings
    }
}

/// The queue at work.
pub(super) struct Draining {
    pub(super) queue: Arc<Queue>,
    settings: Arc<Mutex<Arc<QueueSettings>>>,
    delivering: JoinHandle<()>,
}

impl Draining {
    /// Delivers for as long as the relay serves.
    pub(super) fn start(
        config: &Config,
        relay: &Arc<Relay>,
        clock: Arc<dyn Clock>,
        rate: Arc<ReportRate>,
    ) -> Self {
        let settings = Arc::new(Mutex::new(Arc::new(settings(config, relay))));
        let (present, shared) = (Arc::clone(relay), Arc::clone(&settings));
        let way = move || -> Arc<dyn WayOut> {
            let settings = Arc::clone(&shared.lock().unwrap_or_else(PoisonError::into_inner));
            Arc::new(Generation { serving: present.serving(), settings })
        };
        let spool = relay.serving().driver.spool.clone();
        let queue = Queue::new(spool, Arc::clone(&clock), Box::new(way), rate);
        tokio::spawn(keep_tidy(Arc::clone(relay), Arc::clone(&queue), clock));
        tokio::spawn(see_who_is_back(Arc::clone(relay), Arc::clone(&queue)));
        let delivering = tokio::spawn(Arc::clone(&queue).run(until_draining(Arc::clone(relay))));
        Self { queue, settings, delivering }
    }

    /// After a reload.
    pub(super) fn config_is(&self, config: &Config, relay: &Relay) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings(config, relay));
    }

    /// Waits until messages that are being sent are sent; the relay drains already.
    pub(super) async fn end(self) {
        let _ = self.delivering.await;
    }
}

fn settings(config: &Config, relay: &Relay) -> QueueSettings {
    let reporting = relay.serving().driver.reporting.clone();
    let reporter = reporting.map(|reporting| reporting.reporter.clone()).unwrap_or_else(|| Reporter {
        hostname: config.hostname.to_string().into(),
        postmaster: config.postmaster.as_str().into(),
        signer: None,
    });
    let mut settings = QueueSettings::new(reporter);
    settings.schedule.lifetime = config.queue.lifetime;
    settings.tell_after = config.queue.tell_after;
    settings.keep_expired = config.queue.keep_expired;
    settings.keep_quarantined = config.judge.quarantine_for;
    let own = |backend: &crate::config::Backend| Some((backend.name.as_str().into(), backend.lifetime?));
    settings.lifetimes = config.backends.iter().filter_map(own).collect();
    let throttle = |throttle: &crate::config::Throttle| {
        let interval = Duration::from_secs(60).checked_div(throttle.per_minute).unwrap_or_default();
        let pace = Pace { connections: throttle.connections, interval, ..settings.world };
        (throttle.domain.clone(), pace)
    };
    settings.throttles = config.queue.throttles.iter().map(throttle).collect();
    settings
}

async fn until_draining(relay: Arc<Relay>) {
    while !relay.is_draining() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn keep_tidy(relay: Arc<Relay>, queue: Arc<Queue>, clock: Arc<dyn Clock>) {
    while !relay.is_draining() {
        tokio::time::sleep(TIDY).await;
        if let Err(error) = queue.spool().tidy(clock.now()).await {
            tracing::error!(%error, "the spool could not be tidied");
        }
    }
}

/// A probe or a session finds a server up before the queue would try it again.
async fn see_who_is_back(relay: Arc<Relay>, queue: Arc<Queue>) {
    let mut usable: HashMap<Box<str>, bool> = HashMap::new();
    while !relay.is_draining() {
        tokio::time::sleep(LOOK).await;
        for backend in relay.serving().settings.routing.backends() {
            let up = backend.servers().iter().any(|server| server.health() == route::Health::Up);
            let was = usable.insert(backend.name().into(), up);
            if up && was == Some(false) {
                queue.is_back(backend.name());
            }
        }
    }
}
