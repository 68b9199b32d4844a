//! Who is let in, before a word is said: limits by address and network, bans, what the machine has left (DECISIONS 10,
//! 33). While little is left, clients in good standing come first.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use intercept::{Networks, network_of};
use record::Abuse;
use tokio::time::Instant;

use crate::budget::Budget;
use crate::scarcity::{Measured, Resource, Strain};
use crate::settings::Limits;
use crate::standing::{InGoodStanding, Standing};

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
    measured: Measured,
    /// Descriptors that the process may have open at once.
    max_files: u64,
    /// The number of the last client's descriptor. The kernel gives the lowest one that is free, so that at least as many
    /// are open.
    files: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    sessions: usize,
    by_network: HashMap<IpAddr, usize>,
    abuse: HashMap<IpAddr, Misconduct>,
    standing: Standing,
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
    /// Its good standing was noted: once a session is enough.
    noted: AtomicBool,
}

/// A client at the door.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Where it comes from.
    pub address: IpAddr,
    /// The number of its descriptor.
    pub file: u64,
}

impl Admission {
    /// Nobody is in yet. The process may open `max_files` descriptors.
    pub fn new(budget: Arc<Budget>, max_files: u64, now: Instant) -> Arc<Self> {
        let state = State {
            sessions: 0,
            by_network: HashMap::new(),
            abuse: HashMap::new(),
            standing: Standing::new(now),
        };
        let (measured, files) = (Measured::default(), AtomicU64::new(0));
        Arc::new(Self { budget, measured, max_files, files, state: Mutex::new(state) })
    }

    /// Where it is told what only the system, or the judge, knows.
    pub fn measured(&self) -> &Measured {
        &self.measured
    }

    /// How far each resource is used up.
    pub fn strains(&self, limits: &Limits) -> [(Resource, Strain); Resource::ALL.len()] {
        let sessions = self.state().sessions;
        Resource::ALL.map(|resource| (resource, self.strain(resource, limits, sessions)))
    }

    fn strain(&self, resource: Resource, limits: &Limits, sessions: usize) -> Strain {
        match resource {
            Resource::Memory => self.measured.memory(),
            Resource::Disk => self.measured.disk(),
            // A session has a connection to a client, one to a server and perhaps a file: those who are in need more yet.
            Resource::Files => Strain::of(self.files.load(Ordering::Relaxed), self.max_files / 10 * 9),
            Resource::Sessions => Strain::of(sessions as u64, limits.sessions as u64),
            Resource::InFlight => Strain::of(self.budget.used(), self.budget.limit() / 10 * 9),
            Resource::Judge => self.measured.judge(),
        }
    }

    /// Sessions at the moment.
    pub fn sessions(&self) -> usize {
        self.state().sessions
    }

    /// A number that changes with who is in good standing.
    pub fn standing_revision(&self) -> u64 {
        self.state().standing.revision()
    }

    /// Who is in good standing.
    pub fn in_good_standing(&self, now: Instant) -> InGoodStanding {
        self.state().standing.all(now)
    }

    /// Who was before a restart.
    pub fn restore_standing(&self, all: InGoodStanding, now: Instant) {
        self.state().standing.restore(all, now);
    }

    /// Networks that are banned at the moment, each with what is left of its ban.
    pub fn bans(&self, now: Instant) -> Vec<(IpAddr, Duration)> {
        let left = |one: &Misconduct| (one.last + REMEMBERED).saturating_duration_since(now);
        let state = self.state();
        let banned = state.abuse.iter().filter(|(_, one)| one.count >= ABUSES && !left(one).is_zero());
        banned.map(|(network, one)| (*network, left(one))).collect()
    }

    /// Lets a client in. Those `inside` are only bounded by what there is in all, and always in good standing.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn admit(
        self: &Arc<Self>,
        caller: Caller,
        limits: &Limits,
        inside: &Networks,
        now: Instant,
    ) -> Result<Admitted, Abuse> {
        self.files.store(caller.file, Ordering::Relaxed);
        let network = (!inside.contains(caller.address)).then(|| network_of(caller.address));
        let mut state = self.state();
        if let Some(network) = network {
            if state.is_banned(network, now) {
                return Err(Abuse::Banned);
            }
            if state.by_network.get(&network).copied().unwrap_or(0) >= limits.sessions_per_ip {
                return Err(Abuse::TooManySessions);
            }
        }
        let strains = Resource::ALL.map(|resource| self.strain(resource, limits, state.sessions));
        let is_good = || network.is_none_or(|network| state.standing.is_good(network));
        match strains.into_iter().max().unwrap_or_default() {
            Strain::None => {}
            Strain::High if is_good() => {}
            Strain::High | Strain::Full => return Err(Abuse::Overload),
        }
        state.sessions += 1;
        if let Some(network) = network {
            *state.by_network.entry(network).or_default() += 1;
        }
        Ok(Admitted { admission: Arc::clone(self), network, noted: AtomicBool::new(false) })
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
    /// A server took a message of the client's.
    pub fn was_served(&self, now: Instant) {
        if let Some(network) = self.network
            && !self.noted.swap(true, Ordering::Relaxed)
        {
            self.admission.state().standing.note(network, now);
        }
    }

    /// The client did something that no honest one does; done often, its network is banned for a while.
    pub fn misbehaved(&self, now: Instant) {
        let Some(network) = self.network else { return };
        let mut state = self.admission.state();
        state.standing.lose(network);
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

    const MANY: u64 = 1000;

    fn caller(text: &str) -> Caller {
        Caller { address: text.parse().unwrap(), file: 10 }
    }

    fn admission(budget: u64) -> Arc<Admission> {
        Admission::new(Budget::new(budget), MANY, Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_are_limited_by_network_and_in_all() {
        let admission = admission(1000);
        let limits = Limits { sessions: 4, sessions_per_ip: 2, ..Limits::default() };
        let inside = Networks::from_iter(["10.0.0.0/8".parse().unwrap()]);
        let admit = |a: &str| admission.admit(caller(a), &limits, &inside, Instant::now());
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
        let admission = admission(1000);
        let (limits, inside) = (Limits::default(), Networks::none());
        let admit = || admission.admit(caller("192.0.2.1"), &limits, &inside, Instant::now());
        for _ in 0..ABUSES {
            admit().unwrap().misbehaved(Instant::now());
        }
        assert_eq!(admit().unwrap_err(), Abuse::Banned);
        assert_eq!(admission.bans(Instant::now()).len(), 1);
        tokio::time::advance(REMEMBERED).await;
        assert!(admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn while_little_is_left_those_in_good_standing_come_first() {
        let admission = admission(1000);
        let limits = Limits::default();
        let inside = Networks::from_iter(["10.0.0.0/8".parse().unwrap()]);
        let admit = |a: &str| admission.admit(caller(a), &limits, &inside, Instant::now());
        admit("192.0.2.1").unwrap().was_served(Instant::now());
        for set in [Measured::memory_is, Measured::disk_is, Measured::judge_is] {
            set(admission.measured(), Strain::High);
            assert!(admit("192.0.2.1").is_ok() && admit("10.0.0.1").is_ok());
            assert_eq!(admit("192.0.2.2").unwrap_err(), Abuse::Overload);
            set(admission.measured(), Strain::Full);
            assert_eq!(admit("192.0.2.1").unwrap_err(), Abuse::Overload);
            assert_eq!(admit("10.0.0.1").unwrap_err(), Abuse::Overload);
            set(admission.measured(), Strain::None);
            assert!(admit("192.0.2.2").is_ok());
        }
        admit("192.0.2.1").unwrap().misbehaved(Instant::now());
        admission.measured().memory_is(Strain::High);
        assert_eq!(admit("192.0.2.1").unwrap_err(), Abuse::Overload, "it has lost its standing");
    }

    #[tokio::test(start_paused = true)]
    async fn descriptors_are_kept_for_those_who_are_in() {
        let admission = admission(1000);
        let (limits, inside) = (Limits::default(), Networks::none());
        let admit = |file| {
            let caller = Caller { file, ..caller("192.0.2.1") };
            admission.admit(caller, &limits, &inside, Instant::now())
        };
        assert!(admit(MANY / 10 * 8).is_ok());
        assert_eq!(admit(MANY / 10 * 9).unwrap_err(), Abuse::Overload);
        let files = admission.strains(&limits).into_iter().find(|(resource, _)| *resource == Resource::Files);
        assert_eq!(files, Some((Resource::Files, Strain::Full)));
    }
}
