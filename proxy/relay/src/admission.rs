//! Who is let in, before a word is said: limits by address and network, bans, what is left of the budget
//! (DECISIONS 10, 33).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use intercept::{Networks, network_of};
use record::Abuse;
use tokio::time::Instant;

use crate::budget::Budget;
use crate::settings::Limits;

/// Abuses of one network within [`REMEMBERED`] that get it banned.
const ABUSES: u32 = 10;
/// How long an abuse is remembered, and how long a ban lasts.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);
/// Networks of which abuse is remembered; a flood from more of them is not met with more memory.
const MAX_REMEMBERED: usize = 100_000;

/// Counts sessions and remembers abuse.
#[derive(Debug)]
pub struct Admission {
    budget: Arc<Budget>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sessions: usize,
    by_network: HashMap<IpAddr, usize>,
    abuse: HashMap<IpAddr, Misconduct>,
}

#[derive(Debug)]
struct Misconduct {
    count: u32,
    last: Instant,
}

/// A session that was let in; it is counted until this is dropped.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    network: Option<IpAddr>,
}

impl Admission {
    /// Nobody is in yet.
    pub fn new(budget: Arc<Budget>) -> Arc<Self> {
        Arc::new(Self { budget, state: Mutex::default() })
    }

    /// Sessions at the moment.
    pub fn sessions(&self) -> usize {
        self.state().sessions
    }

    /// Networks that are banned at the moment, each with what is left of its ban.
    pub fn bans(&self, now: Instant) -> Vec<(IpAddr, Duration)> {
        let left = |one: &Misconduct| (one.last + REMEMBERED).saturating_duration_since(now);
        let state = self.state();
        let banned = state.abuse.iter().filter(|(_, one)| one.count >= ABUSES && !left(one).is_zero());
        banned.map(|(network, one)| (*network, left(one))).collect()
    }

    /// Lets a client in. Those `inside` are only bounded by what there is in all.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        limits: &Limits,
        inside: &Networks,
        now: Instant,
    ) -> Result<Admitted, Abuse> {
        let network = (!inside.contains(address)).then(|| network_of(address));
        let mut state = self.state();
        if let Some(network) = network {
            if state.is_banned(network, now) {
                return Err(Abuse::Banned);
            }
            if state.by_network.get(&network).copied().unwrap_or(0) >= limits.sessions_per_ip {
                return Err(Abuse::TooManySessions);
            }
        }
        if state.sessions >= limits.sessions || self.budget.is_tight() {
            return Err(Abuse::Overload);
        }
        state.sessions += 1;
        if let Some(network) = network {
            *state.by_network.entry(network).or_default() += 1;
        }
        Ok(Admitted { admission: Arc::clone(self), network })
    }

    /// Nothing panics while it holds the lock; if it did, the counts are still counts.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_banned(&mut self, network: IpAddr, now: Instant) -> bool {
        let Some(one) = self.abuse.get(&network) else { return false };
        if now.saturating_duration_since(one.last) >= REMEMBERED {
            self.abuse.remove(&network);
            return false;
        }
        one.count >= ABUSES
    }
}

impl Admitted {
    /// The client did something that no honest one does; done often, its network is banned for a while.
    pub fn misbehaved(&self, now: Instant) {
        let Some(network) = self.network else { return };
        let mut state = self.admission.state();
        if state.abuse.len() >= MAX_REMEMBERED {
            state.abuse.retain(|_, one| now.saturating_duration_since(one.last) < REMEMBERED);
        }
        if state.abuse.len() >= MAX_REMEMBERED && !state.abuse.contains_key(&network) {
            return;
        }
        let one = state.abuse.entry(network).or_insert(Misconduct { count: 0, last: now });
        one.count = one.count.saturating_add(1);
        one.last = now;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        state.sessions -= 1;
        if let Some(network) = self.network
            && let Some(count) = state.by_network.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                state.by_network.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_are_limited_by_network_and_in_all() {
        let admission = Admission::new(Budget::new(1000));
        let limits = Limits { sessions: 4, sessions_per_ip: 2, ..Limits::default() };
        let inside = Networks::from_iter(["10.0.0.0/8".parse().unwrap()]);
        let admit = |a: &str| admission.admit(address(a), &limits, &inside, Instant::now());
        let held = [admit("2001:db8::1").unwrap(), admit("2001:db8::2").unwrap()];
        assert_eq!(admit("2001:db8::3").unwrap_err(), Abuse::TooManySessions);
        let more = [admit("10.0.0.1").unwrap(), admit("10.0.0.1").unwrap()];
        assert_eq!(admit("10.0.0.1").unwrap_err(), Abuse::Overload);
        drop((held, more));
        assert_eq!(admission.sessions(), 0);
        assert!(admission.state().by_network.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn repeated_abuse_bans_for_a_while() {
        let admission = Admission::new(Budget::new(1000));
        let (limits, inside) = (Limits::default(), Networks::none());
        let admit = || admission.admit(address("192.0.2.1"), &limits, &inside, Instant::now());
        for _ in 0..ABUSES {
            admit().unwrap().misbehaved(Instant::now());
        }
        assert_eq!(admit().unwrap_err(), Abuse::Banned);
        assert_eq!(admission.bans(Instant::now()).len(), 1);
        tokio::time::advance(REMEMBERED).await;
        assert!(admit().is_ok());
    }
}
