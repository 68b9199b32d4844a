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
}

impl Standing {
    pub(crate) fn new(now: Instant) -> Self {
        Self { newer: HashSet::new(), older: HashSet::new(), turned: now }
    }

    /// A server took mail from there.
    pub(crate) fn note(&mut self, network: IpAddr, now: Instant) {
        if self.newer.len() >= HALF || now.saturating_duration_since(self.turned) >= AGE {
            self.older = std::mem::take(&mut self.newer);
            self.turned = now;
        }
        self.newer.insert(network);
    }

    /// Something came from there that no honest client does.
    pub(crate) fn lose(&mut self, network: IpAddr) {
        self.newer.remove(&network);
        self.older.remove(&network);
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
}
