//! What becomes of the gate's verbs: who may be banned, how many at once, how fast. A gate that was taken over can shut
//! out as many strangers as fit into the set, for a day; it cannot shut out this machine, its servers, or everybody.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tokio::time::Instant;

use super::kernel::Kernel;
use crate::roles::message::Verb;

/// Networks that are banned at once.
const MAX_BANS: usize = 8192;
/// No ban is longer; whoever is a nuisance for longer will be banned again.
const LONGEST: Duration = Duration::from_secs(86_400);
/// The largest networks that may be banned.
const MIN_PREFIX: (u8, u8) = (24, 48);
/// Verbs that are taken at once, and that are taken in a second. More wait in the socket, and then in the gate.
const BURST: u32 = 256;
const PER_SECOND: u32 = 64;
/// How long a verb waits for others, so that `nft` is run for many.
const GATHER: Duration = Duration::from_millis(200);
/// The rule set is put up again at most this often.
const BETWEEN_REAPPLIES: Duration = Duration::from_secs(5);

/// Who is never banned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Never {
    /// This machine's addresses.
    pub own: Vec<IpAddr>,
    /// Servers, inside networks, proxies, administrators.
    pub inside: Vec<IpNet>,
}

impl Never {
    /// Why this network may not be banned; `None` if it may.
    pub fn refuses(&self, network: IpNet) -> Option<&'static str> {
        let overlaps = |other: &IpNet| network.contains(other) || other.contains(&network);
        let too_large = match network {
            IpNet::V4(v4) => v4.prefix_len() < MIN_PREFIX.0,
            IpNet::V6(v6) => v6.prefix_len() < MIN_PREFIX.1,
        };
        if too_large {
            Some("the network is too large")
        } else if self.own.iter().any(|own| network.contains(own)) {
            Some("it holds an address of this machine")
        } else if self.inside.iter().any(overlaps) {
            Some("it is inside")
        } else if special().iter().any(overlaps) {
            Some("no client can come from there")
        } else {
            None
        }
    }
}

/// Loopback, link-local (neighbours and routers are found by it), multicast, and no address at all.
fn special() -> [IpNet; 8] {
    let v4 = |octets: [u8; 4], prefix| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from(octets), prefix));
    let v6 = |first: u16, last: u16, prefix| {
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, last), prefix))
    };
    [
        v4([0, 0, 0, 0], 8),
        v4([127, 0, 0, 0], 8),
        v4([169, 254, 0, 0], 16),
        v4([224, 0, 0, 0], 3),
        v6(0, 0, 128),
        v6(0, 1, 128),
        v6(0xfe80, 0, 10),
        v6(0xff00, 0, 8),
    ]
}

/// The verbs that wait, and the bans that are in force.
#[derive(Debug)]
pub struct BanDesk {
    until: HashMap<IpNet, Instant>,
    bans: HashMap<IpNet, Duration>,
    unbans: HashSet<IpNet>,
    reapply: bool,
    reapplied: Option<Instant>,
    due: Option<Instant>,
    tokens: u32,
    refilled: Instant,
}

impl BanDesk {
    /// Nobody is banned.
    pub fn new(now: Instant) -> Self {
        Self {
            until: HashMap::new(),
            bans: HashMap::new(),
            unbans: HashSet::new(),
            reapply: false,
            reapplied: None,
            due: None,
            tokens: BURST,
            refilled: now,
        }
    }

    /// When the next verb may be read: `now`, or later where they come too fast.
    pub fn may_read(&mut self, now: Instant) -> Instant {
        let earned = now.saturating_duration_since(self.refilled).as_millis() * u128::from(PER_SECOND) / 1000;
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(u32::try_from(earned).unwrap_or(BURST)).min(BURST);
            self.refilled = now;
        }
        if self.tokens > 0 { now } else { self.refilled + Duration::from_secs(1) / PER_SECOND * 2 }
    }

    /// Takes a verb; [`BanDesk::flush`] carries it out with others.
    ///
    /// # Errors
    ///
    /// Why nothing will come of it.
    pub fn take(&mut self, verb: Verb, never: &Never, now: Instant) -> Result<(), &'static str> {
        self.tokens = self.tokens.saturating_sub(1);
        match verb {
            Verb::Ban { network, seconds } => self.ban(network, seconds, never, now)?,
            Verb::Unban(network) => {
                self.bans.remove(&network);
                if self.until.remove(&network).is_none() {
                    return Err("it is not banned");
                }
                self.unbans.insert(network);
            }
            Verb::Reapply => self.reapply = true,
            // Of another desk; it counts with the others.
            Verb::Config { .. } => return Ok(()),
        }
        self.due.get_or_insert(now + GATHER);
        Ok(())
    }

    fn ban(&mut self, network: IpNet, seconds: u32, never: &Never, now: Instant) -> Result<(), &'static str> {
        if let Some(why) = never.refuses(network) {
            return Err(why);
        }
        if !self.until.contains_key(&network) && self.until.len() >= MAX_BANS {
            self.until.retain(|_, until| *until > now);
            if self.until.len() >= MAX_BANS {
                return Err("enough networks are banned");
            }
        }
        let time = Duration::from_secs(seconds.into()).min(LONGEST);
        self.until.insert(network, now + time);
        self.unbans.remove(&network);
        self.bans.insert(network, time);
        Ok(())
    }

    /// When something waits to be carried out.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Carries out what waits. What the kernel refuses is logged and not tried again: the gate still refuses those whom
    /// it has banned.
    pub fn flush(&mut self, kernel: &mut dyn Kernel, now: Instant) {
        self.due = None;
        let unbans: Vec<IpNet> = self.unbans.drain().collect();
        let bans: Vec<(IpNet, Duration)> = self.bans.drain().collect();
        if !unbans.is_empty() {
            tell("end bans", unbans.len(), kernel.unban(&unbans));
        }
        if !bans.is_empty() {
            tell("ban", bans.len(), kernel.ban(&bans));
        }
        if self.reapply {
            self.reapply(kernel, now);
        }
    }

    fn reapply(&mut self, kernel: &mut dyn Kernel, now: Instant) {
        let earliest = self.reapplied.map(|last| last + BETWEEN_REAPPLIES);
        match earliest.filter(|earliest| *earliest > now) {
            Some(earliest) => self.due = Some(earliest),
            None => {
                self.reapply = false;
                self.reapplied = Some(now);
                tell("put up the rule set again", 1, kernel.apply());
            }
        }
    }
}

fn tell(what: &str, count: usize, done: Result<(), String>) {
    match done {
        Ok(()) => tracing::debug!(what, count, "the rule set follows"),
        Err(error) => tracing::error!(what, count, error, "the rule set does not follow"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Noting {
        banned: Vec<(IpNet, Duration)>,
        unbanned: Vec<IpNet>,
        applied: usize,
        calls: usize,
    }

    impl Kernel for Noting {
        fn apply(&mut self) -> Result<(), String> {
            self.applied += 1;
            Ok(())
        }

        fn ban(&mut self, bans: &[(IpNet, Duration)]) -> Result<(), String> {
            self.calls += 1;
            self.banned.extend(bans);
            Ok(())
        }

        fn unban(&mut self, networks: &[IpNet]) -> Result<(), String> {
            self.calls += 1;
            self.unbanned.extend(networks);
            Ok(())
        }
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn ban(text: &str, seconds: u32) -> Verb {
        Verb::Ban { network: net(text), seconds }
    }

    fn never() -> Never {
        Never {
            own: vec!["192.0.2.1".parse().unwrap(), "2001:db8:1::1".parse().unwrap()],
            inside: vec![net("10.0.0.0/8"), net("2001:db8:2::25/128")],
        }
    }

    #[test]
    fn own_and_inside_addresses_and_everybody_at_once_are_never_banned() {
        for (network, refused) in [
            ("192.0.2.1/32", true),
            ("192.0.2.0/24", true),
            ("10.1.2.3/32", true),
            ("198.51.0.0/16", true),
            ("0.0.0.0/0", true),
            ("127.0.0.1/32", true),
            ("169.254.169.254/32", true),
            ("255.255.255.255/32", true),
            ("2001:db8:1::/64", true),
            ("2001:db8:2::/64", true),
            ("2001:db8::/32", true),
            ("fe80::/64", true),
            ("::1/128", true),
            ("ff02::1/128", true),
            ("192.0.2.2/32", false),
            ("198.51.100.0/24", false),
            ("2001:db8:3::/64", false),
        ] {
            assert_eq!(never().refuses(net(network)).is_some(), refused, "{network}");
        }
    }

    #[test]
    fn many_bans_are_one_call_and_the_last_word_counts() {
        let (mut desk, mut kernel, now) = (BanDesk::new(Instant::now()), Noting::default(), Instant::now());
        for last in 1..=100 {
            desk.take(ban(&format!("198.51.100.{last}/32"), 900), &never(), now).unwrap();
        }
        desk.take(Verb::Unban(net("198.51.100.7/32")), &never(), now).unwrap();
        desk.take(ban("198.51.100.8/32", u32::MAX), &never(), now).unwrap();
        assert_eq!(desk.take(Verb::Unban(net("203.0.113.1/32")), &never(), now), Err("it is not banned"));
        assert_eq!(desk.due(), Some(now + GATHER));
        desk.flush(&mut kernel, now + GATHER);
        assert_eq!((kernel.banned.len(), kernel.unbanned.len(), kernel.calls), (99, 1, 2));
        assert!(kernel.banned.contains(&(net("198.51.100.8/32"), LONGEST)));
        assert_eq!(desk.due(), None);
    }

    #[test]
    fn the_set_is_capped_until_bans_have_run_out() {
        let (mut desk, now) = (BanDesk::new(Instant::now()), Instant::now());
        let address = |number: u32| IpNet::from(IpAddr::V4(Ipv4Addr::from_bits(0xC633_0000 + number)));
        for number in 0..u32::try_from(MAX_BANS).unwrap() {
            let verb = Verb::Ban { network: address(number), seconds: 60 };
            desk.take(verb, &never(), now).unwrap();
        }
        let one_more = Verb::Ban { network: address(9000), seconds: 60 };
        assert!(desk.take(one_more, &never(), now).is_err());
        desk.take(ban("198.51.0.1/32", 60), &never(), now).unwrap();
        desk.take(one_more, &never(), now + Duration::from_secs(61)).unwrap();
    }

    #[test]
    fn verbs_that_come_too_fast_have_to_wait() {
        let (mut desk, now) = (BanDesk::new(Instant::now()), Instant::now());
        for _ in 0..BURST {
            assert_eq!(desk.may_read(now), now);
            let _ = desk.take(Verb::Reapply, &never(), now);
        }
        let later = desk.may_read(now);
        assert!(later > now);
        assert_eq!(desk.may_read(later), later);
    }

    #[test]
    fn the_rule_set_is_not_put_up_again_all_the_time() {
        let (mut desk, mut kernel, now) = (BanDesk::new(Instant::now()), Noting::default(), Instant::now());
        for _ in 0..10 {
            desk.take(Verb::Reapply, &never(), now).unwrap();
            desk.flush(&mut kernel, now);
        }
        assert_eq!(kernel.applied, 1);
        assert_eq!(desk.due(), Some(now + BETWEEN_REAPPLIES));
        desk.flush(&mut kernel, now + BETWEEN_REAPPLIES);
        assert_eq!((kernel.applied, desk.due()), (2, None));
    }
}
