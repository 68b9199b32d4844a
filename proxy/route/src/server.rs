//! One mail server of a backend: what it offers, and whether it answers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::far_tls::FarTls;
use crate::offered::Offered;

/// How long a server is passed over after its first failure; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause: a server that comes back is noticed within a minute even without a probe.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// From this many failures in a row that took their time on it counts as down: during a pause nobody waits for it, and behind
/// the pause one session tries it while the others still do not. One that fails at once costs nobody a wait, and is tried.
const DOWN: u32 = 3;
/// How long whoever tries a server that is down keeps the others from it: a connection takes no longer to be had or not.
const TRIAL: Duration = Duration::from_secs(60);
/// How long a server that failed one session stands behind the others of its backend.
const DOUBT: Duration = Duration::from_secs(10);

/// Where a server listens, and what was learnt of it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    name: Box<str>,
    far: Option<Arc<FarTls>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Those of the last ones that were waited for.
    slow: u32,
    /// Not tried before this, unless no other server is left and it is not down.
    paused_until: Option<Instant>,
    /// It broke off or refused one session: others are tried before it until then.
    doubted_until: Option<Instant>,
    last_failure: Option<Box<str>>,
    /// Since 1970.
    down_since: Duration,
    offered: Option<Offered>,
    /// It was seen before a restart, not since.
    recalled: bool,
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
        Self { address, name: name.into(), far: None, state: Mutex::default() }
    }

    /// The same with a policy of its own, as servers of the world have it.
    #[must_use]
    pub(crate) fn with_far_tls(self, far: FarTls) -> Self {
        Self { far: Some(Arc::new(far)), ..self }
    }

    /// Its own policy, where it has one; else its backend's holds.
    pub fn far_tls(&self) -> Option<&Arc<FarTls>> {
        self.far.as_ref()
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
        state.slow = 0;
        state.paused_until = None;
        state.last_failure = None;
    }

    /// A probe from Postern's own address had an answer: whatever it did to one session, it works.
    pub fn proved_well(&self) {
        self.answered();
        self.state().doubted_until = None;
    }

    /// It broke off in the middle of a session, or did not want this client: down for some, perhaps not for all. Others of
    /// the backend are tried before it for some seconds, and a probe looks at it soon.
    pub fn doubted(&self, now: Instant) {
        self.state().doubted_until = Some(now + DOUBT);
    }

    /// Whether something was wrong with it lately.
    pub fn is_doubted(&self, now: Instant) -> bool {
        self.state().doubted_until.is_some_and(|until| until > now)
    }

    /// It could not be used by a session with the client's own address, which may be the reason: that alone does not make
    /// it count as down, a probe has to find the same.
    pub fn failed_slowly_for_client(&self, now: Instant, wall: Duration, reason: &str) {
        if self.state().slow + 1 < DOWN {
            self.failed_slowly(now, wall, reason);
        } else {
            self.doubted(now);
        }
    }

    /// It did not answer in time.
    pub fn failed_slowly(&self, now: Instant, wall: Duration, reason: &str) {
        let slow = self.state().slow;
        self.failed(now, wall, reason);
        self.state().slow = slow.saturating_add(1);
    }

    /// It could not be used, and that was found out at once; `wall` is the time since 1970.
    pub fn failed(&self, now: Instant, wall: Duration, reason: &str) {
        let mut state = self.state();
        if state.failures == 0 {
            state.down_since = wall;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << state.failures.min(8)).min(LONGEST_PAUSE);
        state.failures = state.failures.saturating_add(1);
        state.slow = 0;
        state.paused_until = Some(now + pause);
        state.last_failure = Some(reason.into());
    }

    /// Whether it may be tried before others.
    pub fn is_eligible(&self, now: Instant) -> bool {
        let state = self.state();
        let past = |until: Option<Instant>| until.is_none_or(|until| until <= now);
        past(state.paused_until) && past(state.doubted_until)
    }

    /// Whether a session may try it now. While it is down, one session in a while may (the half-open state of a circuit
    /// breaker); the others are told `false` and do not wait for it.
    pub fn may_be_tried(&self, now: Instant) -> bool {
        let mut state = self.state();
        if state.slow < DOWN {
            return true;
        }
        let tried = state.paused_until.is_none_or(|until| until <= now);
        if tried {
            state.paused_until = Some(now + TRIAL);
        }
        tried
    }

    /// Why it could not be used last time; `None` if it could.
    pub fn last_failure(&self) -> Option<Box<str>> {
        self.state().last_failure.clone()
    }

    /// How it fares.
    pub fn health(&self) -> Health {
        let state = self.state();
        match (&state.last_failure, state.failures) {
            (Some(reason), failures) if failures > 0 => {
                Health::Down { since: state.down_since, failures, reason: reason.clone() }
            }
            _ if state.offered.is_some() && !state.recalled => Health::Up,
            _ => Health::Unknown,
        }
    }

    /// A probe saw this.
    pub fn learn(&self, offered: Offered) {
        let mut state = self.state();
        state.offered = Some(offered);
        state.recalled = false;
    }

    /// What it offered before a restart, unless a probe has seen it since.
    pub fn recall(&self, offered: Offered) {
        let mut state = self.state();
        state.recalled |= state.offered.is_none();
        state.offered.get_or_insert(offered);
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
        state.slow = other.slow;
        state.down_since = other.down_since;
        state.paused_until = other.paused_until;
        state.doubted_until = other.doubted_until;
        state.last_failure = other.last_failure.take();
        state.offered = other.offered.clone();
        state.recalled = other.recalled;
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

    #[tokio::test(start_paused = true)]
    async fn while_a_server_is_down_one_session_tries_it_and_the_others_do_not_wait() {
        let server = Server::new("127.0.0.1:25".parse().unwrap(), "a");
        let fail = || server.failed_slowly(Instant::now(), Duration::ZERO, "no answer in time");
        fail();
        fail();
        assert!(server.may_be_tried(Instant::now()) && server.may_be_tried(Instant::now()), "not down yet");
        fail();
        assert!(!server.may_be_tried(Instant::now()), "a pause");
        tokio::time::advance(Duration::from_secs(8)).await;
        assert!(server.may_be_tried(Instant::now()), "half open for one");
        assert!(!server.may_be_tried(Instant::now()), "and for no other");
        fail();
        tokio::time::advance(Duration::from_secs(15)).await;
        assert!(!server.may_be_tried(Instant::now()), "a longer pause");
        server.answered();
        assert!(server.may_be_tried(Instant::now()) && server.may_be_tried(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_fails_at_once_is_tried_every_time() {
        let server = Server::new("127.0.0.1:25".parse().unwrap(), "a");
        for _ in 0..20 {
            server.failed(Instant::now(), Duration::ZERO, "refused");
        }
        assert!(server.may_be_tried(Instant::now()) && !server.is_eligible(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_came_to_nothing_is_repeated() {
        let server = Server::new("127.0.0.1:25".parse().unwrap(), "a");
        (0..DOWN).for_each(|_| server.failed_slowly(Instant::now(), Duration::ZERO, "no answer in time"));
        tokio::time::advance(LONGEST_PAUSE).await;
        assert!(server.may_be_tried(Instant::now()));
        tokio::time::advance(TRIAL).await;
        assert!(server.may_be_tried(Instant::now()), "who tried it went away without a word");
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_client_meets_does_not_make_a_server_count_as_down() {
        let server = Server::new("127.0.0.1:25".parse().unwrap(), "a");
        for _ in 0..20 {
            server.failed_slowly_for_client(Instant::now(), Duration::ZERO, "no answer in time");
        }
        assert!(server.may_be_tried(Instant::now()) && !server.is_eligible(Instant::now()));
        server.failed_slowly(Instant::now(), Duration::ZERO, "the probe finds the same");
        assert!(!server.may_be_tried(Instant::now()));
        server.proved_well();
        assert!(server.is_eligible(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_broke_off_stands_behind_the_others_for_some_seconds() {
        let server = Server::new("127.0.0.1:25".parse().unwrap(), "a");
        server.doubted(Instant::now());
        assert!(!server.is_eligible(Instant::now()) && server.may_be_tried(Instant::now()));
        server.answered();
        assert!(!server.is_eligible(Instant::now()), "another session's luck proves nothing for the next");
        tokio::time::advance(DOUBT).await;
        assert!(server.is_eligible(Instant::now()));
    }

    #[test]
    fn what_was_seen_before_a_restart_does_not_make_a_server_count_as_up() {
        let server = Server::new("127.0.0.1:25".parse().unwrap(), "a");
        server.recall(Offered { greeting: "old".into(), ..Offered::default() });
        assert_eq!(server.health(), Health::Unknown);
        server.learn(Offered { greeting: "new".into(), ..Offered::default() });
        assert_eq!(server.health(), Health::Up);
        server.recall(Offered::default());
        assert_eq!(server.offered().map(|offered| offered.greeting), Some("new".into()));
    }
}
