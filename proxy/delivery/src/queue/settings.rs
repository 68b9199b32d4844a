//! What the queue goes by, and how it gets at the way out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use route::{Destinations, Routing};
use smtp::Domain;
use spool::Schedule;

use crate::notification::Reporter;
use crate::open::Opener;
use crate::queue::gate::Pace;

/// The bounds and times of a queue.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When a message that was put off is tried again, and for how long in all.
    pub schedule: Schedule,
    /// The lifetime at backends that have one of their own, by name.
    pub lifetimes: HashMap<Box<str>, Duration>,
    /// What hidden servers are allowed. They are the administrator's own: asked often, never stormed.
    pub hidden: Pace,
    /// What a domain of the world is allowed.
    pub world: Pace,
    /// What single domains of the world are allowed instead.
    pub throttles: HashMap<Domain, Pace>,
    /// Connections in all.
    pub connections: usize,
    /// After this long the sender is told that the message waits.
    pub tell_after: Duration,
    /// How long a message that could not be delivered, and of which nobody may be told, is kept.
    pub keep_expired: Duration,
    /// How long a message that a verdict holds waits for a person.
    pub keep_quarantined: Duration,
    /// Who reports to senders.
    pub reporter: Reporter,
}

impl Settings {
    /// The defaults, for reports of `reporter`: five days, 20 connections to one destination and 200 in all, four hours until
    /// the sender is told, thirty days in `expired` and in `quarantine`.
    pub fn new(reporter: Reporter) -> Self {
        let hidden = Pace {
            connections: 20,
            interval: Duration::ZERO,
            first: Duration::from_secs(5),
            longest: Duration::from_secs(60),
        };
        Self {
            schedule: Schedule::default(),
            lifetimes: HashMap::new(),
            hidden,
            world: Pace { first: Duration::from_secs(60), longest: Duration::from_secs(30 * 60), ..hidden },
            throttles: HashMap::new(),
            connections: 200,
            tell_after: Duration::from_secs(4 * 3600),
            keep_expired: Duration::from_secs(30 * 86_400),
            keep_quarantined: Duration::from_secs(30 * 86_400),
            reporter,
        }
    }

    /// How long a message for a destination waits at most.
    pub fn lifetime(&self, destination: &str) -> Duration {
        self.lifetimes.get(destination).copied().unwrap_or(self.schedule.lifetime)
    }

    /// The schedule for a destination.
    pub(super) fn schedule(&self, destination: &str) -> Schedule {
        Schedule { lifetime: self.lifetime(destination), ..self.schedule }
    }

    pub(super) fn pace(&self, destination: &str, hidden: bool) -> Pace {
        if hidden {
            return self.hidden;
        }
        let domain = destination.parse::<Domain>().ok();
        domain.and_then(|domain| self.throttles.get(&domain).copied()).unwrap_or(self.world)
    }
}

/// What mail goes out by. A reload makes a new one.
pub trait WayOut: Send + Sync + 'static {
    /// Opens connections.
    fn opener(&self) -> &Opener;
    /// To the hidden servers.
    fn routing(&self) -> &Routing;
    /// To the world; `None` where no mail goes out.
    fn destinations(&self) -> Option<&dyn Destinations>;
    /// Bounds and times.
    fn settings(&self) -> &Settings;
}

/// Gives the way out as it is now.
pub type Present = Box<dyn Fn() -> Arc<dyn WayOut> + Send + Sync>;
