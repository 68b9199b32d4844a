//! One mail server of a backend: what it offers, and whether it answers.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smtp::Capabilities;
use tokio::time::Instant;

/// How long a server is passed over after its first failure; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause: a server that comes back is noticed within a minute even without a probe.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Where a server listens, and what was learnt of it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    name: Box<str>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Not tried before this, unless no other server is left.
    paused_until: Option<Instant>,
    last_failure: Option<Box<str>>,
    /// Since 1970.
    down_since: Duration,
    offered: Option<Offered>,
}

/// What a server offered to a probe from Postern's own address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// Its banner, without the code.
    pub greeting: Box<str>,
    /// In clear.
    pub plain: Capabilities,
    /// After STARTTLS; `None` if there was none.
    pub encrypted: Option<Capabilities>,
    /// How the handshake went, in words; empty where none was tried.
    pub tls: Box<str>,
}

impl Offered {
    /// What counts for mail: after STARTTLS where there is one.
    pub fn effective(&self) -> &Capabilities {
        self.encrypted.as_ref().unwrap_or(&self.plain)
    }
}

/// How a server fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It was not spoken to yet.
    Unknown,
    /// It answered last time.
    Up,
    /// It failed, this often in a row, last for this reason.
    Down {
        /// When the first of them was, since 1970.
        since: Duration,
        /// In a row.
        failures: u32,
        /// In words.
        reason: Box<str>,
    },
}

impl Server {
    /// `name` is what the config calls it: the TLS name unless another is set.
    pub fn new(address: SocketAddr, name: &str) -> Self {
        Self { address, name: name.into(), state: Mutex::default() }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the config calls it, without a port.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// It answered.
    pub fn answered(&self) {
        let mut state = self.state();
        state.failures = 0;
        state.paused_until = None;
        state.last_failure = None;
    }

    /// It could not be used; `wall` is the time since 1970.
    pub fn failed(&self, now: Instant, wall: Duration, reason: &str) {
        let mut state = self.state();
        if state.failures == 0 {
            state.down_since = wall;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << state.failures.min(8)).min(LONGEST_PAUSE);
        state.failures = state.failures.saturating_add(1);
        state.paused_until = Some(now + pause);
        state.last_failure = Some(reason.into());
    }

    /// Whether it may be tried before others.
    pub fn is_eligible(&self, now: Instant) -> bool {
        self.state().paused_until.is_none_or(|until| until <= now)
    }

    /// How it fares.
    pub fn health(&self) -> Health {
        let state = self.state();
        match (&state.last_failure, state.failures) {
            (Some(reason), failures) if failures > 0 => {
                Health::Down { since: state.down_since, failures, reason: reason.clone() }
            }
            _ if state.offered.is_some() => Health::Up,
            _ => Health::Unknown,
        }
    }

    /// A probe saw this.
    pub fn learn(&self, offered: Offered) {
        self.state().offered = Some(offered);
    }

    /// What the last probe saw.
    pub fn offered(&self) -> Option<Offered> {
        self.state().offered.clone()
    }

    /// Takes over what another value for the same server has learnt: a reload forgets nothing.
    pub fn inherit(&self, other: &Self) {
        let mut other = other.state();
        let mut state = self.state();
        state.failures = other.failures;
        state.down_since = other.down_since;
        state.paused_until = other.paused_until;
        state.last_failure = other.last_failure.take();
        state.offered = other.offered.clone();
    }

    /// Nothing panics while it holds the lock; if it did, the facts are still facts.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_fails_is_passed_over_for_longer_and_longer() {
        let server = Server::new("127.0.0.1:25".parse().unwrap(), "a");
        assert_eq!(server.health(), Health::Unknown);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            server.failed(Instant::now(), Duration::from_secs(pauses.len() as u64 + 7), "refused");
            let began = Instant::now();
            while !server.is_eligible(Instant::now()) {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
            pauses.push(began.elapsed().as_secs());
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(
            server.health(),
            Health::Down { since: Duration::from_secs(7), failures: 8, reason: "refused".into() }
        );
        server.answered();
        assert!(server.is_eligible(Instant::now()));
    }
}
