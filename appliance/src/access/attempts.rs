//! Who guesses waits, longer each time: by the name that is tried and by the network that it comes from.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// Names and networks that are remembered; beyond, the one that was quiet for longest is forgotten.
const MAX_KEPT: usize = 4096;
/// Mistakes of people, before anybody has to wait.
const FREE_BY_NAME: u32 = 5;
/// Of a network: several people may be behind it.
const FREE_BY_NETWORK: u32 = 20;
/// The longest wait for a name: whoever guesses at somebody's must not shut them out for long.
const LONGEST_BY_NAME: Duration = Duration::from_secs(60);
const LONGEST_BY_NETWORK: Duration = Duration::from_secs(900);
/// After so long without a mistake all is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// Names are kept by their digest: somebody may have typed a password there.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Name([u8; 32]),
    /// An IPv4 address, or an IPv6 /64.
    Network(IpAddr),
}

impl Key {
    /// The name, unless nothing was said of one, and the network.
    fn of(name: &str, address: IpAddr) -> Vec<Self> {
        let network = match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
            v4 => v4,
        };
        let name = name.trim().to_lowercase();
        let name = (!name.is_empty()).then(|| Self::Name(Sha256::digest(name).into()));
        name.into_iter().chain([Self::Network(network)]).collect()
    }

    fn wait(&self, wrong: u32) -> Duration {
        let (free, longest) = match self {
            Self::Name(_) => (FREE_BY_NAME, LONGEST_BY_NAME),
            Self::Network(_) => (FREE_BY_NETWORK, LONGEST_BY_NETWORK),
        };
        match wrong.checked_sub(free) {
            None => Duration::ZERO,
            Some(more) => Duration::from_secs(1 << more.min(16)).min(longest),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Tally {
    wrong: u32,
    last: Duration,
}

#[derive(Default)]
pub(super) struct Attempts {
    kept: HashMap<Key, Tally>,
}

impl Attempts {
    /// Counts as wrong until [`worked`](Self::worked) says otherwise, so that many at once are no way around it.
    ///
    /// # Errors
    ///
    /// How long to wait; the attempt is none then.
    pub(super) fn begin(&mut self, name: &str, address: IpAddr, now: Duration) -> Result<(), Duration> {
        let keys = Key::of(name, address);
        for key in &keys {
            let Some(tally) = self.kept.get(key) else { continue };
            let until = tally.last + key.wait(tally.wrong);
            if now < until && now.saturating_sub(tally.last) < FORGOTTEN {
                return Err(until - now);
            }
        }
        for key in keys {
            self.make_room(now);
            let tally = self.kept.entry(key).or_default();
            let before = if now.saturating_sub(tally.last) < FORGOTTEN { tally.wrong } else { 0 };
            *tally = Tally { wrong: before.saturating_add(1), last: now };
        }
        Ok(())
    }

    fn make_room(&mut self, now: Duration) {
        if self.kept.len() < MAX_KEPT {
            return;
        }
        self.kept.retain(|_, tally| now.saturating_sub(tally.last) < FORGOTTEN);
        while self.kept.len() >= MAX_KEPT {
            let Some(quietest) =
                self.kept.iter().min_by_key(|(_, tally)| tally.last).map(|(key, _)| key.clone())
            else {
                return;
            };
            self.kept.remove(&quietest);
        }
    }

    /// It was right: the name starts anew. Its network's other mistakes stay, or whoever has one login could guess at all others.
    pub(super) fn worked(&mut self, name: &str, address: IpAddr) {
        for key in Key::of(name, address) {
            match key {
                Key::Name(_) => drop(self.kept.remove(&key)),
                Key::Network(_) => self.one_less(&key),
            }
        }
    }

    /// It was not looked at.
    pub(super) fn undo(&mut self, name: &str, address: IpAddr) {
        Key::of(name, address).iter().for_each(|key| self.one_less(key));
    }

    fn one_less(&mut self, key: &Key) {
        if let Some(tally) = self.kept.get_mut(key) {
            tally.wrong = tally.wrong.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1_795_288_205);

    fn from(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0xc000_0200 + number).into()
    }

    #[test]
    fn waits_grow_up_to_a_bound_and_end() {
        let mut attempts = Attempts::default();
        for number in 0..FREE_BY_NAME {
            assert_eq!(attempts.begin("ann", from(number), START), Ok(()), "{number}");
        }
        let mut now = START;
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            let told = attempts.begin("Ann ", from(99), now).unwrap_err();
            assert_eq!(told.as_secs(), wait);
            now += told;
            assert_eq!(attempts.begin("ann", from(99), now), Ok(()));
        }
        assert!(attempts.begin("bob", from(1), now).is_ok(), "somebody else does not wait");
        attempts.worked("ann", from(99));
        assert!(attempts.begin("ann", from(99), now).is_ok(), "whoever gets in starts anew");
        for _ in 1..FREE_BY_NAME {
            attempts.begin("ann", from(98), now).unwrap();
        }
        assert!(attempts.begin("ann", from(98), now).is_err());
        assert!(attempts.begin("ann", from(98), now + FORGOTTEN).is_ok());
    }

    #[test]
    fn a_network_waits_whatever_names_it_tries_and_though_one_works() {
        let mut attempts = Attempts::default();
        let own = |number: u32| format!("2001:db8::{number:x}").parse::<IpAddr>().unwrap();
        for number in 0..FREE_BY_NETWORK {
            attempts.begin("mallory", own(number), START).unwrap();
            attempts.worked("mallory", own(number));
            attempts.begin(&format!("name{number}"), own(number), START).unwrap();
        }
        assert!(attempts.begin("ann", own(77), START).is_err());
        attempts.undo("nobody", own(1));
        assert!(attempts.begin("ann", own(77), START).is_ok(), "what was not looked at does not count");
        assert!(attempts.begin("ann", from(1), START).is_ok());
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut attempts = Attempts::default();
        for number in (0_u32..).take(3 * MAX_KEPT) {
            let now = START + Duration::from_millis(u64::from(number));
            attempts.begin(&format!("name{number}"), from(number), now).unwrap();
            assert!(attempts.kept.len() <= MAX_KEPT);
        }
    }
}
