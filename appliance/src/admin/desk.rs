//! What the handlers answer from.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use delivery::Queue;
use ipnet::IpNet;

use super::events;
use crate::access::Access;
use crate::recorder::{Kept, Recording};
use crate::report::{Live, Problem, State, Status, Strain, Trend, TrendSpan};
use crate::settings::Settings;
use crate::web::places::Places;

/// Networks, and servers that were not reached, in one answer.
const TOP: usize = 20;

/// Everything that can be asked.
pub struct Desk {
    hostname: String,
    listen: SocketAddr,
    networks: Vec<IpNet>,
    live: Arc<dyn Live>,
    recording: Arc<Recording>,
    queue: Arc<Queue>,
    access: Arc<Access>,
    listeners: Places,
    settings: Option<Arc<Settings>>,
    started: Duration,
}

impl Desk {
    /// `listen` is the address as bound; `networks` is who may connect, empty for anyone who can reach it. It counts
    /// as started now.
    pub fn new(
        hostname: String,
        listen: SocketAddr,
        networks: Vec<IpNet>,
        live: Arc<dyn Live>,
        recording: Arc<Recording>,
        queue: Arc<Queue>,
        access: Arc<Access>,
    ) -> Self {
        let started = recording.clock().now();
        let listeners = events::places();
        Self {
            hostname,
            listen,
            networks,
            live,
            recording,
            queue,
            access,
            listeners,
            settings: None,
            started,
        }
    }

    /// From where the config comes, for the page that shows it.
    #[must_use]
    pub fn with_settings(self, settings: Arc<Settings>) -> Self {
        Self { settings: Some(settings), ..self }
    }

    /// Nothing in a demo.
    pub(super) fn settings(&self) -> Option<&Settings> {
        self.settings.as_deref()
    }

    pub(super) fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.is_empty() || self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whether the config names a network that this address is in.
    pub(super) fn lists(&self, address: IpAddr) -> bool {
        !self.networks.is_empty() && self.admits(address)
    }

    /// Whether the page is for this machine alone.
    pub(super) fn is_on_loopback(&self) -> bool {
        self.listen.ip().is_loopback()
    }

    /// Whether `Host` names this server; a browser that was lured here by a foreign name sends that name. `local` is the address that
    /// the connection arrived at.
    pub(super) fn is_called(&self, host: &str, local: SocketAddr) -> bool {
        let port = self.listen.port();
        let name = host.strip_suffix(&format!(":{port}")).unwrap_or(host).to_ascii_lowercase();
        let name = name.trim_matches(['[', ']']);
        ["localhost", "127.0.0.1", "::1"].contains(&name)
            || name == self.hostname.to_ascii_lowercase()
            || [self.listen.ip(), local.ip().to_canonical()].iter().any(|own| name == own.to_string())
    }

    pub(super) fn now(&self) -> Duration {
        self.recording.clock().now()
    }

    pub(super) fn hostname(&self) -> &str {
        &self.hostname
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    /// Places for who listens to events.
    pub(super) fn listeners(&self) -> &Places {
        &self.listeners
    }

    pub(super) fn live(&self) -> &dyn Live {
        &*self.live
    }

    pub(super) fn recording(&self) -> &Recording {
        &self.recording
    }

    /// Answers from what the recorder keeps; `answer` must be quick.
    pub(super) fn kept<T>(&self, answer: impl FnOnce(&Kept) -> T) -> T {
        answer(&self.recording.kept())
    }

    /// What the charts show of this span.
    pub(super) fn trend(&self, span: TrendSpan) -> Trend {
        let now = self.now();
        self.kept(|kept| kept.trends.told(span, now))
    }

    /// Everything that the front page shows, but for the charts over time.
    pub fn status(&self) -> Status {
        let now = self.now();
        let (periods, without_tls, not_reached) = self.kept(|kept| {
            (kept.statistics.periods(now), kept.without_tls.top(TOP), kept.memory.not_reached(TOP))
        });
        let mut problems = Problem::all(self.live(), now);
        let state = State::of(&problems);
        // The first one is the state itself.
        problems.drain(..problems.len().min(1));
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hostname: self.hostname.clone(),
            now: now.as_secs(),
            started: self.started.as_secs(),
            state,
            problems,
            sessions_now: self.live.sessions_now(),
            bytes_in_flight: self.live.bytes_in_flight(),
            strains: self.live.strains().into_iter().filter(|one| one.strain > Strain::None).collect(),
            events_dropped: self.recording.metrics().events_dropped(),
            periods,
            listeners: self.live.listeners(),
            backends: self.live.backends(),
            certificates: self.live.certificates(),
            certifying: self.live.certifying(),
            addresses: self.live.addresses(),
            arming: self.live.arming(),
            authority: self.live.authority(),
            verifying: self.live.verifying(),
            queue: self.live.queue(),
            learning: self.live.learning(),
            roles: self.live.roles(),
            without_tls,
            not_reached,
        }
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk")
            .field("hostname", &self.hostname)
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}
