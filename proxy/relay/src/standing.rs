//! Which networks have sent mail that a server took: they come first when not everybody can be served.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Networks remembered in each of the two halves; a flood from more of them is not met with more memory.
const HALF: usize = 50_000;
/// After this long the older half is forgotten: good standing lasts for one to two of these.
const AGE: Duration = Duration::from_secs(15 * 86_400);

/// Networks in good standing, the newer ones and those from before.
#[derive(Debug)]
pub(crate) struct Standing {
    newer: HashSet<IpAddr>,
    older: HashSet<IpAddr>,
    turned: Instant,
    /// How old the newer half was then: it may be from before a restart.
    age_then: Duration,
    /// Grows with every change.
    revision: u64,
}

/// All networks in good standing, as they outlive a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InGoodStanding {
    /// Those of the newer half.
    pub newer: Vec<IpAddr>,
    /// Those of the older half.
    pub older: Vec<IpAddr>,
    /// How old the newer half is.
    pub age: Duration,
}

impl Standing {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            newer: HashSet::new(),
            older: HashSet::new(),
            turned: now,
            age_then: Duration::ZERO,
            revision: 0,
        }
    }

    /// A server took mail from there.
    pub(crate) fn note(&mut self, network: IpAddr, now: Instant) {
        if self.newer.len() >= HALF || self.age(now) >= AGE {
            self.older = std::mem::take(&mut self.newer);
            (self.turned, self.age_then) = (now, Duration::ZERO);
        }
        if self.newer.insert(network) {
            self.revision += 1;
        }
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.turned).saturating_add(self.age_then)
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn all(&self, now: Instant) -> InGoodStanding {
        InGoodStanding {
            newer: self.newer.iter().copied().collect(),
            older: self.older.iter().copied().collect(),
            age: self.age(now),
        }
    }

    /// From before a restart, beside what was learnt since. What is too old by now is left out.
    pub(crate) fn restore(&mut self, all: InGoodStanding, now: Instant) {
        let InGoodStanding { newer, older, age } = all;
        let newer = newer.into_iter().take(HALF);
        let older = older.into_iter().take(HALF);
        if age < AGE {
            self.older = older.collect();
            self.newer.extend(newer);
            (self.turned, self.age_then) = (now, age);
        } else if age < 2 * AGE {
            self.older = newer.collect();
        }
    }

    /// Something came from there that no honest client does.
    pub(crate) fn lose(&mut self, network: IpAddr) {
        let (newer, older) = (self.newer.remove(&network), self.older.remove(&network));
        if newer || older {
            self.revision += 1;
        }
    }

    pub(crate) fn is_good(&self, network: IpAddr) -> bool {
        self.newer.contains(&network) || self.older.contains(&network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from(number).into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_networks_does_not_take_more_memory() {
        let mut standing = Standing::new(Instant::now());
        let end = u32::try_from(HALF).unwrap() * 5 / 2;
        for number in 0..end {
            standing.note(network(number), Instant::now());
        }
        assert!(standing.newer.len() + standing.older.len() <= 2 * HALF);
        assert!(standing.is_good(network(end - 1)) && !standing.is_good(network(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_no_more_is_forgotten() {
        let mut standing = Standing::new(Instant::now());
        standing.note(network(1), Instant::now());
        for _ in 0..2 {
            assert!(standing.is_good(network(1)));
            tokio::time::advance(AGE).await;
            standing.note(network(2), Instant::now());
        }
        assert!(!standing.is_good(network(1)) && standing.is_good(network(2)));
        standing.lose(network(2));
        assert!(!standing.is_good(network(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn good_standing_outlives_a_restart_and_ages_meanwhile() {
        let mut before = Standing::new(Instant::now());
        before.note(network(1), Instant::now());
        tokio::time::advance(AGE).await;
        before.note(network(2), Instant::now());
        tokio::time::advance(AGE / 2).await;
        let all = before.all(Instant::now());
        assert_eq!(all.age, AGE / 2);
        let after = |away: Duration| {
            let mut standing = Standing::new(Instant::now());
            standing.note(network(3), Instant::now());
            standing.restore(InGoodStanding { age: all.age + away, ..all.clone() }, Instant::now());
            assert!(standing.is_good(network(3)), "learnt since");
            standing
        };
        let at_once = after(Duration::ZERO);
        assert!(at_once.is_good(network(1)) && at_once.is_good(network(2)));
        assert_eq!(at_once.all(Instant::now()).age, AGE / 2);
        let later = after(AGE);
        assert!(!later.is_good(network(1)) && later.is_good(network(2)));
        assert!(!after(2 * AGE).is_good(network(2)));
    }
}
